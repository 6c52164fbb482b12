//! Typed HTTP clients of both services. They know paths, bodies and errors; no retries and no caching: those are the
//! callers' decisions.

mod manager;
mod marketplace;
mod tokens;
mod transport;
#[cfg(feature = "trust")]
mod trust;

pub use manager::ManagerClient;
pub use marketplace::MarketplaceClient;
pub use transport::{ClientError, ClientOptions, Page};
#[cfg(feature = "trust")]
pub use trust::{Fetched, SyncError, TrustTags};
