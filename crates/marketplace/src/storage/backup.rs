//! A SQLite database as one file: written while a marketplace goes on, and looked at before it is used.

use std::path::Path;

use sqlx::migrate::Migrate as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::SQLITE;

/// What is wrong with a file that is to be a marketplace's database.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// SQLite cannot read it.
    #[error("it is no database that can be read")]
    Unreadable(#[source] sqlx::Error),
    /// SQLite finds it damaged.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It holds something else.
    #[error("it is a database of something else than a marketplace")]
    Foreign,
    /// A later version wrote it.
    #[error("it is of a later version of this program (its step {0} is not known here)")]
    Newer(i64),
}

/// Writes what is committed now as one file, which must be empty or missing. Writers go on meanwhile, and nothing in the
/// database is changed: neither is it brought to this version's form.
///
/// # Errors
/// The database cannot be read, or the file not written.
pub async fn copy_sqlite(database: &Path, to: &Path) -> Result<(), sqlx::Error> {
    let mut connection = open(database).await?;
    sqlx::query("VACUUM INTO $1").bind(to.to_string_lossy().as_ref()).execute(&mut connection).await?;
    connection.close().await
}

/// Whether a file is the database of a marketplace that this version can use.
///
/// # Errors
/// See [`CheckError`].
pub async fn check_sqlite(path: &Path) -> Result<(), CheckError> {
    let mut connection = open(path).await.map_err(CheckError::Unreadable)?;
    let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(3)")
        .fetch_all(&mut connection)
        .await
        .map_err(CheckError::Unreadable)?;
    if found != ["ok"] {
        return Err(CheckError::Damaged(found.join("; ")));
    }
    let sql = "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('releases', $1)";
    let tables: i64 = sqlx::query_scalar(sql)
        .bind(MIGRATIONS)
        .fetch_one(&mut connection)
        .await
        .map_err(CheckError::Unreadable)?;
    if tables != 2 {
        return Err(CheckError::Foreign);
    }
    let steps = connection.list_applied_migrations(MIGRATIONS).await.map_err(|_| CheckError::Foreign)?;
    let newer = steps.iter().find(|step| !SQLITE.version_exists(step.version));
    if let Some(step) = newer {
        return Err(CheckError::Newer(step.version));
    }
    _ = connection.close().await;
    Ok(())
}

/// Where it is written down which steps a database has made.
const MIGRATIONS: &str = "_sqlx_migrations";

async fn open(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new().filename(path).read_only(true).connect().await
}
