//! The marketplace's database. No SQL and no `sqlx` type leaves this folder.
//!
//! Texts of SQL are written once for SQLite and PostgreSQL; the few that differ are in `dialect`. A state change is
//! conditional and says whether it hit.

pub mod audit;
mod backup;
mod counts;
mod dialect;
mod epochs;
mod events;
mod feeds;
mod leases;
mod limits;
mod lookups;
mod notify;
mod owners;
mod publish;
mod queue;
mod registries;
mod releases;
mod search;
mod trust;

#[cfg(test)]
mod conformance;

use std::path::Path;
use std::sync::Arc;

use addon_client::ReleaseId;
use service_kit::db::{Db, OpenError, PostgresSettings};
use sqlx::migrate::Migrator;

use self::lookups::Lookups;
use self::notify::Caller;
use self::publish::Publications;
use crate::domain::limits::Limits;

pub use self::audit::AuditFilter;
pub use self::backup::{CheckError, check_sqlite, copy_sqlite};
pub use self::counts::Counted;
pub use self::epochs::{Epochs, Source};
pub use self::events::{Identity, KEPT as KEPT_EVENTS, Numbered};
pub use self::feeds::Standing;
pub use self::owners::{Invited, Removal};
pub use self::publish::{InsertError, NewRelease, Published};
pub use self::queue::{Job, Purpose, Report, Verdicted};
pub use self::registries::spread;
pub use self::releases::{Decision, Filter, Part};
pub use self::search::{COUNTED, Facets, Found, RELEVANT, Search};
pub use self::trust::{IndexState, KeyChange, Revoked, Revoking, Signed, SignedDocument};

static SQLITE: Migrator = sqlx::migrate!("../../migrations/marketplace/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("../../migrations/marketplace/postgres");

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Storage {
    db: Db,
    epochs: Arc<Epochs>,
    /// Releases that share a question.
    lookups: Lookups,
    /// Documents that share a commit.
    publications: Publications,
    /// This process's name among those at the database.
    replica: Arc<str>,
    /// How much an account may do at once; `None`: as much as it likes.
    limits: Option<Limits>,
    /// Tells the other replicas that there is something new.
    caller: Caller,
}

/// What the database could not do.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// It failed, or is not there.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// A row makes no sense to this version.
    #[error("the row {id} of {table} makes no sense: {what}")]
    Corrupt {
        /// Where it stands.
        table: &'static str,
        /// Its key.
        id: String,
        /// What is wrong with it.
        what: String,
    },
}

impl StorageError {
    /// Whether there is no room for what was to be stored.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Database(error) if service_kit::db::is_full(error))
    }

    /// Whether waiting may help.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Database(error) => service_kit::db::is_unavailable(error),
            Self::Corrupt { .. } => false,
        }
    }
}

impl Storage {
    /// Opens or makes a SQLite file.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_sqlite(path: &Path) -> Result<Self, OpenError> {
        Ok(Self::new(Db::open_sqlite(path, &SQLITE).await?, replica()))
    }

    /// Connects to a PostgreSQL server.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_postgres(settings: &PostgresSettings) -> Result<Self, OpenError> {
        let replica = replica();
        // The database writes this name beside each change, and so knows whose it is.
        let settings = PostgresSettings { application: replica.to_string(), ..settings.clone() };
        let db = Db::open_postgres(&settings, &POSTGRES).await?;
        Ok(Self::new(db, replica))
    }

    fn new(db: Db, replica: Arc<str>) -> Self {
        let (lookups, publications) = (Lookups::start(&db), Publications::start(&db));
        let (epochs, caller) = (Arc::default(), Caller::default());
        Self { db, epochs, lookups, publications, replica, limits: None, caller }
    }

    /// With bounds on how much an account may do at once.
    #[must_use]
    pub fn with_limits(mut self, limits: Option<Limits>) -> Self {
        self.limits = limits;
        self
    }

    /// The pools, for what the services share (tokens).
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Which answers that were made from here still hold.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// After a commit that changed this release. Every change of a release may change what is listed of its addon.
    fn changed(&self, id: ReleaseId, listed_too: bool) {
        self.epochs.end(Source::Release(id));
        if listed_too {
            self.epochs.end(Source::Approved);
        }
        self.caller.call();
    }
}

/// A name that no other process has.
fn replica() -> Arc<str> {
    let name: String = service_kit::random::bytes::<8>().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("marketplace-{name}").into()
}
