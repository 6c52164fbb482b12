//! The state of this manager: one SQLite file beside the engine that it looks after.
//!
//! One method a query, in the file of its table; each SQL text is a literal inside the function that runs it and portable (`$1`
//! placeholders, times as milliseconds since the epoch). No SQL and no row type leaves this folder. A change that belongs together is one
//! method and one `Storage::begin` transaction. What the rows mean is decided elsewhere: use cases and the reconciler.

pub mod attempts;
pub mod audit;
pub mod claims;
pub mod completions;
pub mod containers;
pub mod events;
pub mod installations;
pub mod kept;
pub mod objects;
pub mod passes;
pub mod reports;
pub mod revisions;
pub mod rollouts;
#[cfg(test)]
mod tests;

use std::path::Path;

use service_kit::db::{Db, OpenError};
use sqlx::sqlite::SqlitePool;
use sqlx::{Sqlite, Transaction};

/// A transaction of the one writer.
pub(crate) type WriteTransaction = Transaction<'static, Sqlite>;

/// The database. Cheap to clone; every clone speaks to the same file.
#[derive(Debug, Clone)]
pub struct Storage {
    db: Db,
    /// One connection: SQLite has one writer, and a queue of our own is fairer than its busy handler.
    writer: SqlitePool,
    /// Read-only connections, which never wait for the writer (WAL).
    reader: SqlitePool,
}

/// Why the database did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The file could not be opened or brought to the newest schema.
    #[error("the state cannot be opened")]
    Open(#[from] OpenError),
    /// A statement failed: disk full, file gone, locked for too long.
    #[error("database: {what} failed")]
    Query {
        /// Which one, for the log.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: sqlx::Error,
    },
    /// A row makes no sense to this version.
    #[error("database: {table} {id}: {detail}")]
    Corrupt {
        /// Table.
        table: &'static str,
        /// Key of the row.
        id: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl StorageError {
    /// For `.map_err(StorageError::query("insert installation"))`.
    pub(crate) fn query(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Query { what, source }
    }

    /// A row whose content cannot be read.
    pub(crate) fn corrupt(
        table: &'static str,
        id: impl std::fmt::Display,
        detail: impl std::fmt::Display,
    ) -> Self {
        Self::Corrupt { table, id: id.to_string(), detail: detail.to_string() }
    }
}

impl Storage {
    /// Opens the file, makes it where it is missing, and brings its schema up to date. What was committed survives power loss.
    ///
    /// # Errors
    /// [`StorageError::Open`] when the file cannot be opened, is no database, or was written by a newer version.
    pub async fn open(path: &Path) -> Result<Self, StorageError> {
        let db = Db::open_sqlite(path, &sqlx::migrate!("../../migrations/addons-manager/sqlite")).await?;
        let Db::Sqlite { writer, reader } = &db else {
            unreachable!("a file was opened");
        };
        let (writer, reader) = (writer.clone(), reader.clone());
        Ok(Self { db, writer, reader })
    }

    /// The same database for what both services share: tokens and accounts.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Pool for statements that only read.
    pub(crate) fn reader(&self) -> &SqlitePool {
        &self.reader
    }

    /// Pool for single statements that change something.
    pub(crate) fn writer(&self) -> &SqlitePool {
        &self.writer
    }

    /// Begins a transaction that nobody else's change can come into (`BEGIN IMMEDIATE`): what it reads stays so until it commits.
    ///
    /// # Errors
    /// [`StorageError::Query`] when the writer is not free within its deadline.
    pub(crate) async fn begin(&self) -> Result<WriteTransaction, StorageError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(StorageError::query("begin"))
    }

    /// Whether the database answers, for `/readyz`.
    ///
    /// # Errors
    /// [`StorageError::Query`] when it does not.
    pub async fn ping(&self) -> Result<(), StorageError> {
        self.db.ping().await.map_err(StorageError::query("ping"))
    }

    /// Waits for running statements and closes the file.
    pub async fn close(&self) {
        self.db.close().await;
    }
}

/// A time as it is stored.
pub(crate) fn millis(millis: i64) -> addon_client::Timestamp {
    addon_client::Timestamp::from_millis(millis)
}

/// Reads a column that holds JSON which this program wrote.
pub(crate) fn json<T: serde::de::DeserializeOwned>(
    table: &'static str,
    id: &str,
    column: &str,
    text: &str,
) -> Result<T, StorageError> {
    serde_json::from_str(text)
        .map_err(|error| StorageError::corrupt(table, id, format_args!("{column}: {error}")))
}

/// Writes a value for a column that holds JSON.
pub(crate) fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("what is stored has string keys only")
}

/// Reads a column that holds an id or a digest.
pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    table: &'static str,
    id: &str,
    column: &str,
    text: &str,
) -> Result<T, StorageError> {
    text.parse().map_err(|error| StorageError::corrupt(table, id, format_args!("{column}: {error}")))
}
