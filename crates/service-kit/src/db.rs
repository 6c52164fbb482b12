//! The database pools, and the macros that run one SQL text on either database.
//!
//! SQL is written once, with `$1` placeholders, and only in storage modules. SQLite has one writer (`BEGIN IMMEDIATE`:
//! a plain `BEGIN` that reads before it writes fails under load in spite of the busy timeout) and a pool of read-only
//! connections; PostgreSQL has one pool.
//!
//! ```ignore
//! let row = read!(db, |pool| sqlx::query_as(SQL).bind(id).fetch_optional(pool).await)?;
//! let id: i64 = write_tx!(db, |tx| { sqlx::query_scalar(SQL).bind(name).fetch_one(&mut *tx).await? });
//! ```
//! `write_tx!` stands in a function whose error is made from [`sqlx::Error`]: `?` in its body rolls back.

#[cfg(feature = "postgres")]
mod postgres;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

/// Longest wait for a lock or a connection.
const ACQUIRE: Duration = Duration::from_secs(5);

/// Longest wait for a server to answer a question. It ends its statements itself, see `postgres.rs`; but a server that went
/// silent ends nothing, and the network may take a quarter of an hour to tell.
pub const READ: Duration = Duration::from_secs(10);

/// Longest wait for a transaction that writes. Whether it was committed is then not known.
pub const WRITE: Duration = Duration::from_secs(35);

/// Connections that only read, beside the one that writes: one more than a long question and an index being made keep busy. Each takes some
/// 300 KiB.
const SQLITE_READERS: u32 = 3;

/// Rows that a connection to SQLite reads ahead.
const ROWS_AHEAD: usize = 16;

/// Pages that each connection to SQLite keeps, in KiB (negative: `PRAGMA cache_size` takes positive numbers for pages). The system keeps
/// those of the file as well, once for all connections, and gives them up where memory is short.
const KEPT_PAGES: &str = "-512";

/// A file of at most so many bytes is looked at as a whole when it is opened: that takes some tens of milliseconds.
const LOOKED_AT: u64 = 32 * 1024 * 1024;

#[cfg(feature = "postgres")]
pub use self::postgres::PostgresSettings;

/// The connections to a PostgreSQL server.
#[cfg(feature = "postgres")]
pub type PostgresPool = sqlx::PgPool;

/// The connections to a PostgreSQL server: there are none without the feature `postgres`. What is written for both
/// databases reads the same, and the compiler knows that this half is never run.
#[cfg(not(feature = "postgres"))]
#[derive(Debug, Clone, Copy)]
pub enum PostgresPool {}

/// A database that is open. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Db {
    /// One file.
    Sqlite {
        /// The one connection that writes.
        writer: SqlitePool,
        /// Connections that cannot write.
        reader: SqlitePool,
    },
    /// A server.
    Postgres(PostgresPool),
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be opened or made.
    #[error("the database file {} cannot be opened", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// What the file holds is no database any more.
    #[error(
        "the database file {} is damaged ({what}): move it away, with what is called like it and ends in -wal or -shm, and bring \
         back a backup",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In SQLite's words.
        what: String,
    },
    /// The address of a server is none. It is a secret, so it is not shown.
    #[error(
        "database.url is no address of a PostgreSQL server, as postgres://user:password@host:5432/name: {reason}"
    )]
    Address {
        /// What is wrong with it.
        reason: String,
    },
    /// The server gives no answer.
    #[error(
        "the PostgreSQL server {place} that database.url names gave no answer within {} s (database.patience_ms): is it \
         running, and does this machine reach it?",
        waited.as_secs_f64()
    )]
    Unreachable {
        /// Host and port.
        place: String,
        /// How long it was waited for.
        waited: Duration,
        /// The last answer.
        source: sqlx::Error,
    },
    /// The server does not know the user, or the password is wrong.
    #[error("the PostgreSQL server {place} does not let {user} in: check user and password in database.url")]
    Login {
        /// Host and port.
        place: String,
        /// The user.
        user: String,
        /// In the server's words.
        source: sqlx::Error,
    },
    /// There is no such database.
    #[error(
        "the PostgreSQL server {place} has no database {database}: make it, as with `createdb --owner {user} {database}`"
    )]
    NoDatabase {
        /// Host and port.
        place: String,
        /// The user.
        user: String,
        /// The database.
        database: String,
    },
    /// The user may not make tables.
    #[error(
        "{user} may not make tables in the database {database} of {place}: let it own the database, or grant CREATE on its \
         schema public"
    )]
    Rights {
        /// Host and port.
        place: String,
        /// The user.
        user: String,
        /// The database.
        database: String,
    },
    /// The server refuses for another reason, as that it speaks no TLS.
    #[error("the PostgreSQL server {place} that database.url names cannot be used")]
    Refused {
        /// Host and port.
        place: String,
        /// Why.
        source: sqlx::Error,
    },
    /// The server is too old.
    #[error("the PostgreSQL server {place} is of version {version}: it takes {oldest} or later")]
    TooOld {
        /// Host and port.
        place: String,
        /// Its version.
        version: String,
        /// The oldest major version that will do.
        oldest: i32,
    },
    /// The database keeps texts in another encoding.
    #[error(
        "the database {database} keeps its texts as {encoding}: make one with `createdb --encoding UTF8 --template template0`"
    )]
    Encoding {
        /// The database.
        database: String,
        /// Its encoding.
        encoding: String,
    },
    /// The server only copies another one.
    #[error(
        "the PostgreSQL server {place} is a standby that takes no writes: name the primary one in database.url"
    )]
    Standby {
        /// Host and port.
        place: String,
    },
    /// A later version of this program has been here.
    #[error(
        "the database is of a later version of this program (its step {step} is not known here): run that version or a later \
         one, or restore a backup from before"
    )]
    Newer {
        /// The first step that is not known.
        step: i64,
    },
    /// The tables cannot be brought to this version's form.
    #[error("the database cannot be brought to the form that this version needs")]
    Migrate(#[source] MigrateError),
}

/// What SQLite says of a file that is damaged: SQLITE_CORRUPT, SQLITE_NOTADB. `None`: it says something else.
fn damage(fault: &sqlx::Error) -> Option<String> {
    let fault = fault.as_database_error()?;
    let code: u32 = fault.code()?.parse().ok()?;
    matches!(code & 0xff, 11 | 26).then(|| fault.message().to_owned())
}

/// Why tables did not come to this version's form.
fn migration_failed(fault: MigrateError) -> OpenError {
    match fault {
        MigrateError::VersionMissing(step) => OpenError::Newer { step },
        other => OpenError::Migrate(other),
    }
}

impl Db {
    /// Opens or makes a SQLite file, and brings its tables to this version's form.
    ///
    /// # Errors
    /// See [`OpenError`]. A small file is looked at as a whole, of a larger one its head and its tables' definitions.
    pub async fn open_sqlite(path: &Path, migrations: &Migrator) -> Result<Self, OpenError> {
        let file = |source: sqlx::Error| match damage(&source) {
            Some(what) => OpenError::Damaged { path: path.to_owned(), what },
            None => OpenError::File { path: path.to_owned(), source },
        };
        for_its_owner_alone(path).map_err(|error| file(error.into()))?;
        let small = std::fs::metadata(path).map_or(0, |found| found.len()) <= LOOKED_AT;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // What was acknowledged survives power loss.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(ACQUIRE)
            .foreign_keys(true)
            .pragma("cache_size", KEPT_PAGES)
            // Rows that are read ahead of who takes them: a row may be a long document.
            .row_buffer_size(ROWS_AHEAD);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE)
            // SQLite takes a transaction back by itself when the disk is full; then the library believes for ever that it
            // is in one, and begins no other. Such a connection is replaced.
            .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .connect_with(options.clone())
            .await
            .map_err(file)?;
        if small {
            let sql = "PRAGMA quick_check(1)";
            let found: String = sqlx::query_scalar(sql).fetch_one(&writer).await.map_err(file)?;
            // It has read every page, and would keep them.
            sqlx::query("PRAGMA shrink_memory").execute(&writer).await.map_err(file)?;
            if found != "ok" {
                return Err(OpenError::Damaged { path: path.to_owned(), what: found });
            }
        }
        migrations.run(&writer).await.map_err(|fault| match fault {
            MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)
                if damage(&source).is_some() =>
            {
                file(source)
            }
            other => migration_failed(other),
        })?;
        let reader = SqlitePoolOptions::new()
            .max_connections(SQLITE_READERS)
            .acquire_timeout(ACQUIRE)
            .connect_with(options.read_only(true))
            .await
            .map_err(file)?;
        Ok(Self::Sqlite { writer, reader })
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        crate::read!(self, |pool| sqlx::query("SELECT 1").execute(pool).await.map(|_| ()))
    }

    /// Ends every connection; SQLite's log is written back into its file.
    pub async fn close(&self) {
        match self {
            Self::Sqlite { writer, reader } => {
                reader.close().await;
                writer.close().await;
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => pool.close().await,
            #[cfg(not(feature = "postgres"))]
            Self::Postgres(none) => match *none {},
        }
    }
}

/// Makes the file where there is none, and keeps it from everybody else. SQLite makes its log beside it with the rights that it has.
fn for_its_owner_alone(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

    // One that is there is not opened here: with the file that is closed first, this process would lose its locks on it.
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => return made.map(drop),
    }
    let found = std::fs::metadata(path)?;
    let mode = found.permissions().mode();
    if !found.is_file() || mode & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o700))
}

/// Runs an expression with a pool to read from: `read!(db, |pool| sqlx::query_as(SQL).fetch_all(pool).await)`.
#[macro_export]
macro_rules! read {
    ($db:expr, |$pool:ident| $body:expr) => {
        match $db {
            $crate::db::Db::Sqlite { reader: $pool, .. } => $body,
            $crate::db::Db::Postgres(server) => {
                $crate::on_postgres!(server, |$pool| {
                    match $crate::db::in_time($crate::db::READ, async { $body }).await {
                        Some(done) => done,
                        None => Err($crate::db::away()),
                    }
                })
            }
        }
    };
}

/// Runs a body in a transaction that writes, commits it and gives the body's value. `?` in the body leaves the function
/// and rolls back. Queries run on `&mut *tx`. There is one writer on SQLite: nothing else that writes may be awaited in it.
#[macro_export]
macro_rules! write_tx {
    ($db:expr, |$tx:ident| $body:expr) => {
        match $db {
            $crate::db::Db::Sqlite { writer, .. } => {
                let mut $tx = writer.begin_with("BEGIN IMMEDIATE").await?;
                let value = $body;
                $tx.commit().await?;
                value
            }
            $crate::db::Db::Postgres(server) => $crate::on_postgres!(server, |pool| {
                let work = async {
                    let mut $tx = pool.begin().await?;
                    let value = $body;
                    $tx.commit().await?;
                    Ok(value)
                };
                match $crate::db::in_time($crate::db::WRITE, work).await {
                    Some(Ok(value)) => value,
                    Some(Err(error)) => return Err(error),
                    None => return Err($crate::db::away().into()),
                }
            }),
        }
    };
}

/// What is done with a pool of PostgreSQL, where there can be one. Which of the two this is, is decided here: a
/// condition in what it stands for would be one on the features of the crate that uses it.
#[cfg(feature = "postgres")]
#[macro_export]
macro_rules! on_postgres {
    ($given:expr, |$pool:ident| $body:expr) => {{
        let $pool = $given;
        $body
    }};
}

/// What is done with a pool of PostgreSQL, where there is none.
#[cfg(not(feature = "postgres"))]
#[macro_export]
macro_rules! on_postgres {
    ($given:expr, |$pool:ident| $body:expr) => {
        match *$given {}
    };
}

/// What comes of work in this time; `None`: nothing.
#[doc(hidden)]
pub async fn in_time<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(time, work).await.ok()
}

/// What is said of a server that gave no answer in time.
#[doc(hidden)]
pub fn away() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the server gave no answer in time"))
}

/// The unique constraint that a statement ran into, by the name that PostgreSQL gives it by default:
/// `<table>_<column>_<column>_key`, `<table>_pkey` for the primary key. `None` for any other error.
///
/// SQLite does not know constraint names, so the name is made from the columns it reports. Migrations therefore leave
/// constraint names to the database, or give an index the name that PostgreSQL would give the constraint.
pub fn unique_violation(fault: &sqlx::Error) -> Option<String> {
    let fault = fault.as_database_error()?;
    if !fault.is_unique_violation() {
        return None;
    }
    if let Some(name) = fault.constraint() {
        return Some(name.to_owned());
    }
    let columns = fault.message().split_once("UNIQUE constraint failed: ")?.1;
    // SQLITE_CONSTRAINT_PRIMARYKEY: https://www.sqlite.org/rescode.html
    let is_primary_key = fault.code().is_some_and(|code| code == "1555");
    let mut columns = columns.split(", ").map(|column| column.split_once('.').unwrap_or((column, "")));
    let (table, first) = columns.next()?;
    if is_primary_key {
        return Some(format!("{table}_pkey"));
    }
    if let Some(index) = table.strip_prefix("index '") {
        return Some(index.trim_end_matches('\'').to_owned());
    }
    let names: Vec<&str> = [table, first].into_iter().chain(columns.map(|(_, column)| column)).collect();
    Some(format!("{}_key", names.join("_")))
}

/// Whether waiting may help: no connection, a lock that is held, a server that is away.
pub fn is_unavailable(fault: &sqlx::Error) -> bool {
    match fault {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) => true,
        sqlx::Error::Database(fault) => fault.code().is_some_and(|code| code_is_unavailable(&code)),
        _ => false,
    }
}

/// Whether waiting may help after this code of a database. PostgreSQL's have five characters:
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn code_is_unavailable(code: &str) -> bool {
    if code.len() == 5 {
        // No connection; a write on what has become a standby; deadlocks; no room; a lock or statement that took too long;
        // a server that stops or starts.
        let known =
            ["25006", "25P03", "40001", "40P01", "53300", "55P03", "57014", "57P01", "57P02", "57P03"];
        return code.starts_with("08") || known.contains(&code) || code_is_full(code);
    }
    // SQLITE_BUSY, SQLITE_LOCKED, SQLITE_IOERR and SQLITE_CANTOPEN stand in the low byte.
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 14)) || code_is_full(code)
}

/// Whether there is no room for what was to be stored.
pub fn is_full(fault: &sqlx::Error) -> bool {
    fault.as_database_error().and_then(|fault| fault.code()).is_some_and(|code| code_is_full(&code))
}

/// `disk_full` of PostgreSQL, SQLITE_FULL.
fn code_is_full(code: &str) -> bool {
    code == "53100" || code == "13"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_waiting_helps_with() {
        for code in [
            "5", "517", "6", "08006", "08001", "57P01", "57P03", "40P01", "25006", "53300", "53100", "13",
            "778", "14",
        ] {
            assert!(code_is_unavailable(code), "{code}");
        }
        for code in ["1", "2067", "787", "23505", "42P01", "28P01", "22P02", "8"] {
            assert!(!code_is_unavailable(code), "{code}");
        }
    }

    #[tokio::test]
    async fn a_file_without_room_takes_writes_again_once_there_is_some() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(folder.path()).await;
        let pages = async |pragma: &'static str| {
            let Db::Sqlite { writer, .. } = &db else { unreachable!() };
            sqlx::query_scalar::<_, i64>(pragma).fetch_one(writer).await.unwrap()
        };
        insert(&db, "0", "a", "0").await.unwrap();
        // As on a disk that is full.
        pages("PRAGMA max_page_count = 8").await;
        let mut number = 0;
        let full = loop {
            number += 1;
            match insert(&db, &number.to_string(), &"a".repeat(1000), &number.to_string()).await {
                Ok(_) => assert!(number < 100),
                Err(fault) => break fault,
            }
        };
        assert!(is_full(&full) && is_unavailable(&full), "{full:?}");
        pages("PRAGMA max_page_count = 1000").await;
        insert(&db, "x", &"a".repeat(10_000), "b").await.unwrap();
        assert_eq!(count(&db).await, number + 1, "what failed left nothing");
    }

    #[tokio::test]
    async fn a_damaged_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(folder.path()).await;
        for n in 0..200 {
            insert(&db, &n.to_string(), &"a".repeat(200), &n.to_string()).await.unwrap();
        }
        db.close().await;
        let path = folder.path().join("test.db");
        let whole = std::fs::read(&path).unwrap();
        let migrator = Migrator::new(folder.path().join("migrations")).await.unwrap();
        // The head, a page in the middle, the end.
        for (from, to) in [(0, 100), (3 * 4096, 4 * 4096), (whole.len() - 4096, whole.len())] {
            let mut bytes = whole.clone();
            bytes[from..to].fill(0);
            std::fs::write(&path, bytes).unwrap();
            let fault = Db::open_sqlite(&path, &migrator).await.unwrap_err();
            assert!(matches!(fault, OpenError::Damaged { .. }), "{from}: {fault:?}");
            assert!(fault.to_string().contains("test.db is damaged"), "{fault}");
        }
        std::fs::write(&path, whole).unwrap();
        assert_eq!(count(&Db::open_sqlite(&path, &migrator).await.unwrap()).await, 200);
    }

    #[tokio::test]
    async fn a_file_of_a_later_version_is_told() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).await.close().await;
        let empty = folder.path().join("none");
        std::fs::create_dir(&empty).unwrap();
        let older = Migrator::new(empty).await.unwrap();
        let fault = Db::open_sqlite(&folder.path().join("test.db"), &older).await.unwrap_err();
        assert!(matches!(fault, OpenError::Newer { step: 1 }), "{fault:?}");
        assert!(fault.to_string().contains("later version"), "{fault}");
    }

    #[tokio::test]
    async fn the_files_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let mode =
            |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        let db = open(folder.path()).await;
        insert(&db, "1", "a", "b").await.unwrap();
        assert_eq!(["test.db", "test.db-wal", "test.db-shm"].map(mode), [0o600; 3]);
        db.close().await;
        // As a copy of a backup may be.
        let everybodys = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(folder.path().join("test.db"), everybodys).unwrap();
        open(folder.path()).await.close().await;
        assert_eq!(mode("test.db"), 0o600);
    }

    async fn open(folder: &Path) -> Db {
        let sql =
            "CREATE TABLE things (id TEXT PRIMARY KEY, a TEXT NOT NULL, b TEXT NOT NULL, UNIQUE (a, b));
                   CREATE TABLE names (name TEXT NOT NULL);
                   CREATE UNIQUE INDEX names_lower_key ON names (lower(name));
                   CREATE TABLE parts (thing TEXT NOT NULL REFERENCES things (id));";
        let migrations = folder.join("migrations");
        std::fs::create_dir_all(&migrations).unwrap();
        std::fs::write(migrations.join("0001_things.sql"), sql).unwrap();
        let migrator = Migrator::new(migrations).await.unwrap();
        Db::open_sqlite(&folder.join("test.db"), &migrator).await.unwrap()
    }

    async fn insert(db: &Db, id: &str, a: &str, b: &str) -> Result<u64, sqlx::Error> {
        Ok(write_tx!(db, |tx| {
            let sql = "INSERT INTO things (id, a, b) VALUES ($1, $2, $3)";
            sqlx::query(sql).bind(id).bind(a).bind(b).execute(&mut *tx).await?.rows_affected()
        }))
    }

    async fn count(db: &Db) -> i64 {
        read!(db, |pool| sqlx::query_scalar("SELECT count(*) FROM things").fetch_one(pool).await).unwrap()
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(folder.path()).await;
        assert_eq!(insert(&db, "1", "a", "b").await.unwrap(), 1);
        db.close().await;
        let db = open(folder.path()).await;
        assert_eq!(count(&db).await, 1);
        db.ping().await.unwrap();
        db.close().await;
        assert!(is_unavailable(&db.ping().await.unwrap_err()));
    }

    #[tokio::test]
    async fn an_error_in_a_transaction_takes_everything_back() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(folder.path()).await;
        async fn both(db: &Db) -> Result<(), sqlx::Error> {
            write_tx!(db, |tx| {
                sqlx::query("INSERT INTO things (id, a, b) VALUES ('1', 'a', 'b')").execute(&mut *tx).await?;
                sqlx::query("INSERT INTO things (id, a, b) VALUES ('1', 'c', 'd')").execute(&mut *tx).await?;
            });
            Ok(())
        }
        both(&db).await.unwrap_err();
        assert_eq!(count(&db).await, 0);
        assert_eq!(insert(&db, "1", "a", "b").await.unwrap(), 1);
    }

    #[tokio::test]
    async fn the_constraint_that_was_run_into_has_the_name_that_postgresql_gives_it() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(folder.path()).await;
        insert(&db, "1", "a", "b").await.unwrap();
        let key = unique_violation(&insert(&db, "2", "a", "b").await.unwrap_err());
        assert_eq!(key.as_deref(), Some("things_a_b_key"));
        let key = unique_violation(&insert(&db, "1", "x", "y").await.unwrap_err());
        assert_eq!(key.as_deref(), Some("things_pkey"));

        async fn twice(db: &Db) -> Result<(), sqlx::Error> {
            write_tx!(db, |tx| {
                sqlx::query("INSERT INTO names (name) VALUES ('a'), ('A')").execute(&mut *tx).await?;
            });
            Ok(())
        }
        let key = unique_violation(&twice(&db).await.unwrap_err());
        assert_eq!(key.as_deref(), Some("names_lower_key"));

        async fn orphan(db: &Db) -> Result<(), sqlx::Error> {
            write_tx!(db, |tx| {
                sqlx::query("INSERT INTO parts (thing) VALUES ('none')").execute(&mut *tx).await?;
            });
            Ok(())
        }
        let fault = orphan(&db).await.unwrap_err();
        assert_eq!(unique_violation(&fault), None);
        assert!(fault.as_database_error().is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation));
        assert!(!is_unavailable(&fault));
    }

    #[tokio::test]
    async fn every_connection_keeps_few_pages() {
        let folder = tempfile::tempdir().unwrap();
        let Db::Sqlite { writer, reader } = open(folder.path()).await else { panic!("it is SQLite") };
        for pool in [writer, reader] {
            let kept: i64 = sqlx::query_scalar("PRAGMA cache_size").fetch_one(&pool).await.unwrap();
            assert_eq!(kept.to_string(), KEPT_PAGES);
        }
    }

    #[tokio::test]
    async fn a_reader_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(folder.path()).await;
        let done = read!(&db, |pool| sqlx::query("DELETE FROM things").execute(pool).await.map(|_| ()));
        assert!(done.unwrap_err().to_string().contains("readonly"));
    }

    #[tokio::test]
    async fn writers_at_once_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(folder.path()).await;
        let writers = (0..50).map(|n| {
            let db = db.clone();
            tokio::spawn(async move { insert(&db, &n.to_string(), &n.to_string(), "b").await })
        });
        for writer in futures_util::future::join_all(writers).await {
            writer.unwrap().unwrap();
        }
        assert_eq!(count(&db).await, 50);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_opened_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let migrator = Migrator::new(folder.path().join(".")).await.unwrap();
        let path = folder.path().join("missing/test.db");
        let fault = Db::open_sqlite(&path, &migrator).await.unwrap_err();
        assert!(fault.to_string().contains("missing/test.db"), "{fault}");
    }
}
