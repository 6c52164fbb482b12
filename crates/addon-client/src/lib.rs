//! What the marketplace and the addons manager say over HTTP, as types, and (feature `http`) typed clients of both.
//!
//! Services, tools and tests share these types, so that a field has one name and one form everywhere. The crate knows
//! neither a database nor an engine, and no service's internals: only what stands on the wire. The document itself,
//! its rules and its digest are the `addon-descriptor` crate.
//!
//! Features: `http` (default) for [`MarketplaceClient`] and [`ManagerClient`]; `trust` for what a marketplace signs and how a
//! host checks it; `openapi` for the schemas that the services' OpenAPI documents use.

mod audit;
mod diff;
mod events;
mod history;
mod host;
mod ids;
mod installation;
mod owners;
mod problem;
mod release;
mod stats;
mod timestamp;
mod tokens;
mod verification;

#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "trust")]
pub mod trust;

pub use audit::{AuditEntry, AuditReport, AuditSubject, ListAudit};
pub use diff::{DiffBase, FieldChange, ImageChange, ImageState, ReleaseDiff};
pub use events::{EventReset, ReleaseEvent, ReleaseEventKind, ResetCause, ResetWord, StreamedEvent};
pub use history::{RevisionView, WhyEntry};
pub use host::{AdoptRequest, DiskView, EngineView, ForeignKind, ForeignObject, HostView, KeptVolume};
pub use ids::{InstallationId, InvalidId, ReleaseId};
pub use installation::{
    Condition, DesiredState, Health, ImageProgress, InstallRequest, Installation, InstallationStatus,
    ListInstallations, PatchInstallation, PatchStatus, PortBinding, Progress, RollbackRequest, RolloutView,
    ServicePhase, ServiceState, StatusDetails, UpgradeRequest, VolumesChoice, Waiting,
};
pub use owners::{InvitationView, InviteRequest, OwnerView, OwnersView};
pub use problem::{Finding, Problem};
pub use release::{
    Because, FacetCount, FacetsAnswer, ListReleases, Pin, PlatformManifest, Release, ReleaseStatus,
    ReviewRequest, RightLevel, RightView, ValidationAnswer,
};
pub use stats::{AddonStats, InstallReport, MarketStats};
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use tokens::{CreatedToken, TokenRequest, TokenView};
pub use verification::{Check, Verdict, VerificationReport};

#[cfg(feature = "http")]
pub use http::{ClientError, ClientOptions, ManagerClient, MarketNews, MarketplaceClient, NewsStream};
