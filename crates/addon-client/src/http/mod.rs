//! Typed HTTP clients of both services. They know paths, bodies and errors; no retries and no caching: those are the
//! callers' decisions. Only [`NewsStream`] comes back by itself, since that is its purpose.

mod events;
mod manager;
mod marketplace;
mod people;
mod tokens;
mod transport;
#[cfg(feature = "trust")]
mod trust;

pub use events::{MarketNews, NewsStream};
pub use manager::ManagerClient;
pub use marketplace::MarketplaceClient;
pub use transport::{ClientError, ClientOptions, Page};
#[cfg(feature = "trust")]
pub use trust::{Fetched, SyncError, TrustTags};
