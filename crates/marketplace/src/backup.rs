//! `marketplace backup` and `marketplace restore`: the SQLite database as one file. PostgreSQL has programs of its own for
//! that, which are named instead.
//!
//! A backup is a database that nobody writes to, complete as of one moment; it is there as a whole or not at all. What else
//! lies in the state folder (the first token, keys) is copied by whoever keeps it: it does not change while the service runs.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::app::{self, BuildError, DATABASE};
use crate::config::{Config, SettingsError};
use crate::storage::{CheckError, check_sqlite, copy_sqlite};

/// Why there is no backup, or nothing was restored. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Releases are in PostgreSQL.
    #[error("releases are in PostgreSQL (database.url), which has programs for this: {instead}")]
    Postgres {
        /// What to run.
        instead: &'static str,
    },
    /// There is nothing to copy.
    #[error("there is no database at {}: state_dir is the folder of another one, or nothing was published yet", path.display())]
    NoDatabase {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is a file already.
    #[error("{} is there already: name a file that is not there", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is a database already.
    #[error(
        "there is a database at {} already: move it away first, with {}-wal and {}-shm beside it where they are there",
        path.display(),
        DATABASE,
        DATABASE
    )]
    Occupied {
        /// The database.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database cannot be copied.
    #[error("the database {} cannot be copied", path.display())]
    Copy {
        /// The database.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// The file is no backup.
    #[error("{} cannot be restored", path.display())]
    Check {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CheckError,
    },
    /// The state folder cannot be used, or a marketplace runs on it.
    #[error(transparent)]
    State(#[from] BuildError),
}

/// Writes the database to a file that is not there yet; a marketplace may be running on it. Answers its size in bytes.
///
/// # Errors
/// See [`BackupError`]; there is no file then.
pub async fn backup(config: &Config, file: &Path) -> Result<u64, BackupError> {
    if config.postgres()?.is_some() {
        return Err(BackupError::Postgres { instead: "pg_dump --format=custom --file=FILE URL" });
    }
    let database = config.state_dir().join(DATABASE);
    if !database.exists() {
        return Err(BackupError::NoDatabase { path: database });
    }
    let part = Part::beside(file)?;
    let copied = copy_sqlite(&database, &part.path).await;
    copied.map_err(|source| BackupError::Copy { path: database.clone(), source })?;
    check_sqlite(&part.path).await.map_err(|source| BackupError::Check { path: database, source })?;
    part.finish(file)
}

/// Puts a backup where a marketplace will look for its database. None may run there, and there must be no database. Answers
/// its size in bytes.
///
/// # Errors
/// See [`BackupError`]; nothing was changed then.
pub async fn restore(config: &Config, file: &Path) -> Result<u64, BackupError> {
    if config.postgres()?.is_some() {
        let instead =
            "pg_restore --no-owner --exit-on-error --dbname=URL FILE, into a database that is empty";
        return Err(BackupError::Postgres { instead });
    }
    check_sqlite(file).await.map_err(|source| BackupError::Check { path: file.to_owned(), source })?;
    let folder = config.state_dir();
    let _nobody_runs = app::lock(&folder)?;
    let database = folder.join(DATABASE);
    // A log of another database beside this one would be played into it.
    let beside = ["", "-wal", "-shm"].map(|end| folder.join(format!("{DATABASE}{end}")));
    if beside.iter().any(|path| path.exists()) {
        return Err(BackupError::Occupied { path: database });
    }
    let part = Part::beside(&database)?;
    fs::copy(file, &part.path).map_err(|source| BackupError::File { path: part.path.clone(), source })?;
    part.finish(&database)
}

/// A file that is being written; it goes again where it is not finished.
struct Part {
    path: PathBuf,
    finished: bool,
}

impl Part {
    /// An empty file beside the one that is to be, which only its owner can read: what is not approved is for nobody else.
    fn beside(file: &Path) -> Result<Self, BackupError> {
        if file.exists() {
            return Err(BackupError::Exists { path: file.to_owned() });
        }
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let path = file.with_file_name(name);
        let made = File::options().write(true).create_new(true).mode(0o600).open(&path);
        match made {
            Ok(_) => Ok(Self { path, finished: false }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(BackupError::Exists { path }),
            Err(source) => Err(BackupError::File { path, source }),
        }
    }

    /// Gives it its name, once it is on the disk.
    fn finish(mut self, file: &Path) -> Result<u64, BackupError> {
        let unusable = |source| BackupError::File { path: file.to_owned(), source };
        let written = File::open(&self.path).map_err(unusable)?;
        written.sync_all().map_err(unusable)?;
        let bytes = written.metadata().map_err(unusable)?.len();
        fs::rename(&self.path, file).map_err(unusable)?;
        self.finished = true;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(unusable)?;
        Ok(bytes)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.finished {
            _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Storage;

    fn config(folder: &Path) -> Config {
        Config { state_dir: Some(folder.to_owned()), ..Config::default() }
    }

    async fn state() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        Storage::open_sqlite(&folder.path().join(DATABASE)).await.unwrap().db().close().await;
        folder
    }

    fn left(folder: &Path) -> Vec<String> {
        let names =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_backup_is_for_its_owner_alone_and_never_replaces_a_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let (from, to) = (state().await, tempfile::tempdir().unwrap());
        let file = to.path().join("a.db");
        assert!(backup(&config(from.path()), &file).await.unwrap() > 0);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let again = backup(&config(from.path()), &file).await.unwrap_err();
        assert!(matches!(again, BackupError::Exists { .. }), "{again:?}");
        assert_eq!(left(to.path()), ["a.db"]);
    }

    #[tokio::test]
    async fn what_cannot_be_copied_leaves_nothing() {
        let (empty, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let none = backup(&config(empty.path()), &to.path().join("a.db")).await.unwrap_err();
        assert!(matches!(none, BackupError::NoDatabase { .. }), "{none:?}");
        fs::write(empty.path().join(DATABASE), "no database at all, but long enough to be looked at")
            .unwrap();
        let broken = backup(&config(empty.path()), &to.path().join("a.db")).await.unwrap_err();
        assert!(matches!(broken, BackupError::Copy { .. }), "{broken:?}");
        let nowhere = backup(&config(empty.path()), &to.path().join("none/a.db")).await.unwrap_err();
        assert!(matches!(nowhere, BackupError::File { .. }), "{nowhere:?}");
        assert!(left(to.path()).is_empty());
    }

    #[tokio::test]
    async fn only_a_marketplaces_database_is_restored_and_only_where_there_is_none() {
        let (from, to) = (state().await, tempfile::tempdir().unwrap());
        let file = from.path().join("a.db");
        backup(&config(from.path()), &file).await.unwrap();
        for (text, expected) in [("rubbish that SQLite has never written", "Unreadable"), ("", "Foreign")] {
            let other = from.path().join("other.db");
            fs::write(&other, text).unwrap();
            let refused = restore(&config(to.path()), &other).await.unwrap_err();
            assert!(format!("{refused:?}").contains(expected), "{refused:?}");
        }
        let running = app::lock(to.path()).unwrap();
        let refused = restore(&config(to.path()), &file).await.unwrap_err();
        assert!(matches!(refused, BackupError::State(BuildError::InUse { .. })), "{refused:?}");
        drop(running);
        restore(&config(to.path()), &file).await.unwrap();
        let refused = restore(&config(to.path()), &file).await.unwrap_err();
        assert!(matches!(refused, BackupError::Occupied { .. }), "{refused:?}");
        Storage::open_sqlite(&to.path().join(DATABASE)).await.unwrap().db().close().await;
    }

    #[tokio::test]
    async fn postgresql_is_left_to_its_own_programs() {
        let folder = state().await;
        let mut config = config(folder.path());
        config.database.url = Some(service_kit::config::Secret::new("postgres://me:geheim@db/x"));
        let file = folder.path().join("a.db");
        for (refused, program) in [
            (backup(&config, &file).await.unwrap_err(), "pg_dump"),
            (restore(&config, &file).await.unwrap_err(), "pg_restore"),
        ] {
            let said = refused.to_string();
            assert!(said.contains(program) && !said.contains("geheim"), "{said}");
        }
    }
}
