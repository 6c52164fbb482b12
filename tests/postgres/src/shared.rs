//! The server that the tests of a run share, and the databases on it.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::server::{answers, await_answer, make, postgres, sql, url};

/// Keeps the server while somebody uses it.
const KEEPER: &str = include_str!("server.sh");

/// Longest wait for another process that makes what this one waits for.
const LIMIT: Duration = Duration::from_secs(60);

/// A database of one test's own. It goes with this value.
#[derive(Debug)]
pub struct Database {
    folder: PathBuf,
    name: String,
    url: String,
}

impl Database {
    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs SQL as the superuser, and gives what it answers, unaligned.
    ///
    /// # Panics
    /// When it fails.
    pub fn sql(&self, text: &str) -> String {
        sql(&self.folder, &self.name, text)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name);
        let mut psql = crate::server::client(&self.folder, "psql");
        // At the worst it goes with the server.
        let _dropped = psql
            .args(["--no-psqlrc", "--quiet", "-d", "postgres", "-c", &drop])
            .stderr(Stdio::null())
            .status();
    }
}

/// A database that is a copy of a template. `prepare` makes the template, once a run for each `key`, in the database whose
/// address it is given; it has to have left that when it comes back.
///
/// # Panics
/// When there is no PostgreSQL, or the template cannot be made.
pub async fn database(key: &str, prepare: impl AsyncFnOnce(String)) -> Database {
    let folder = server();
    let template = format!("template_{key}");
    {
        let _one_makes_it = lock(&locks().join("template")).await;
        let there = format!("SELECT count(*) FROM pg_database WHERE datname = '{template}'");
        if sql(folder, "postgres", &there) == "0" {
            let making = format!("{template}_making");
            sql(folder, "postgres", &format!("DROP DATABASE IF EXISTS \"{making}\" WITH (FORCE)"));
            sql(folder, "postgres", &format!("CREATE DATABASE \"{making}\""));
            prepare(url(folder, &making)).await;
            sql(folder, "postgres", &format!("ALTER DATABASE \"{making}\" RENAME TO \"{template}\""));
        }
    }
    let name = name();
    sql(folder, "postgres", &format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\""));
    Database { folder: folder.to_owned(), url: url(folder, &name), name }
}

/// A database without anything in it, of this locale of the C library.
///
/// # Panics
/// When there is no PostgreSQL, or it does not know the locale.
pub fn empty_database(locale: &str) -> Database {
    let (folder, name) = (server(), name());
    let version: u32 = sql(folder, "postgres", "SHOW server_version_num").parse().expect("it is a number");
    // Before 15 there was no other provider; since then the server's own may be ICU, which goes by no locale of these.
    let provider = if version >= 150_000 { "LOCALE_PROVIDER libc" } else { "" };
    let create =
        format!("CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING UTF8 LOCALE '{locale}' {provider}");
    sql(folder, "postgres", &create);
    Database { folder: folder.to_owned(), url: url(folder, &name), name }
}

/// A name that no other database has.
fn name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The folder of the server that runs, which is started where none does. This process is one of its users from then on.
fn server() -> &'static Path {
    static SERVER: OnceLock<(PathBuf, File)> = OnceLock::new();
    let (folder, _) = SERVER.get_or_init(|| {
        let locks = locks();
        fs::create_dir_all(&locks).expect("the target folder can be written");
        let open = |name: &str| {
            File::options()
                .create(true)
                .append(true)
                .open(locks.join(name))
                .expect("the target folder can be written")
        };
        let start = open("start");
        start.lock().expect("files can be locked");
        let users = open("users");
        users.lock_shared().expect("files can be locked");
        let note = locks.join("folder");
        let known = fs::read_to_string(&note).map(PathBuf::from).ok();
        if let Some(folder) = known.filter(|folder| answers(folder)) {
            return (folder, users);
        }
        let folder =
            tempfile::Builder::new().prefix("oak-pg-").tempdir_in("/tmp").expect("/tmp takes folders").keep();
        make(&folder);
        fs::write(&note, folder.display().to_string()).expect("the target folder can be written");
        let server = postgres(&folder, None);
        let mut keeper = Command::new("setsid");
        keeper.args(["--fork", "bash", "-c", KEEPER, "server.sh"]).arg(&locks).arg(&folder);
        keeper.arg("env").arg("LC_ALL=C.UTF-8").arg(server.get_program()).args(server.get_args());
        keeper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // It forks, and goes on when this process has ended.
        keeper.status().expect("setsid is there (package util-linux)");
        await_answer(&folder);
        (folder, users)
    });
    folder
}

/// The folder of the locks: beside the test that runs, below the target folder.
fn locks() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    test.parent()
        .and_then(Path::parent)
        .expect("a test lies in <target>/<profile>/deps")
        .join("postgres-tests")
}

/// Takes a lock that another thread or process may hold, without holding up this one's other tasks.
async fn lock(path: &Path) -> File {
    let file =
        File::options().create(true).append(true).open(path).expect("the target folder can be written");
    let begun = Instant::now();
    while let Err(error) = file.try_lock() {
        let error = std::io::Error::from(error);
        assert!(error.kind() == ErrorKind::WouldBlock, "{}: {error}", path.display());
        assert!(begun.elapsed() < LIMIT, "{} is held for too long", path.display());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    file
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, PgConnection};

    use super::*;

    #[tokio::test]
    async fn a_test_has_a_copy_of_its_own() {
        let prepare = async |url: String| {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            sqlx::query("CREATE TABLE things (name TEXT)").execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        };
        let (one, other) = (database("harness", prepare).await, database("harness", prepare).await);
        one.sql("INSERT INTO things VALUES ('a')");
        assert_eq!(one.sql("SELECT count(*) FROM things"), "1");
        assert_eq!(other.sql("SELECT count(*) FROM things"), "0");
        let name = one.name.clone();
        drop(one);
        assert_eq!(other.sql(&format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'")), "0");
    }
}
