//! Connecting to a PostgreSQL server: what is waited for, what is refused, and in which words.
//!
//! A server that is starting, restarting or out of reach for a moment is waited for; a wrong password, a database that is
//! not there, a server that is too old are told at once. Nothing here shows a password.

use std::str::FromStr as _;
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};

use super::{ACQUIRE, Db, OpenError, is_unavailable, migration_failed};

/// The oldest major version that has all that is used here: transaction numbers of 64 bits.
const OLDEST: i32 = 13;

/// Wait between two attempts to reach a server.
const BETWEEN: Duration = Duration::from_millis(500);

/// Longest wait for one attempt.
const ATTEMPT: Duration = Duration::from_secs(5);

/// How often somebody who waits is told what for.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// A connection that nobody used for longer is asked whether it still stands before somebody gets it.
const TRUSTED: Duration = Duration::from_secs(1);

/// How long a connection has to say that it still stands.
const ANSWER: Duration = Duration::from_secs(2);

/// How long a session that takes no writes is used, where nobody knows whether a new one would: for reads, the next one will
/// do as well.
const READ_ONLY: Duration = Duration::from_secs(1);

/// How a server is used.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// Its address, as `postgres://user:password@host:5432/name`. A secret, for the password in it.
    pub url: SecretString,
    /// Most connections at once.
    pub connections: u32,
    /// How long a server that gives no answer is waited for at the start.
    pub patience: Duration,
    /// What the connections are called on the server.
    pub application: String,
}

impl Db {
    /// Connects to a PostgreSQL server, and brings its tables to this version's form. Replicas that start at once do that
    /// one after the other.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_postgres(
        settings: &PostgresSettings,
        migrations: &Migrator,
    ) -> Result<Self, OpenError> {
        let options = options(settings)?;
        let place = Place::of(&options);
        let mut connection = first_connection(&options, &place, settings.patience).await?;
        check_server(&mut connection, &place).await?;
        // On a connection of its own: a migration of large tables may take longer than any statement may afterwards.
        migrations.run(&mut connection).await.map_err(|fault| match denied(&fault) {
            true => OpenError::Rights {
                place: place.text(),
                user: place.user.clone(),
                database: place.database.clone(),
            },
            false => migration_failed(fault),
        })?;
        _ = connection.close().await;
        Ok(Self::Postgres(pool(settings, options)))
    }
}

fn options(settings: &PostgresSettings) -> Result<PgConnectOptions, OpenError> {
    let text = settings.url.expose_secret();
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    if !matches!(scheme, Some("postgres" | "postgresql")) {
        return Err(OpenError::Address { reason: "it does not begin with postgres://".to_owned() });
    }
    let options = PgConnectOptions::from_str(text).map_err(|fault| {
        let reason = match fault {
            sqlx::Error::Configuration(fault) => fault.to_string(),
            other => other.to_string(),
        };
        OpenError::Address { reason }
    })?;
    // Statements are not logged: values of others stand in them.
    Ok(options.application_name(&settings.application).disable_statement_logging())
}

fn pool(settings: &PostgresSettings, options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(settings.connections)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > TRUSTED { is_well(connection, meta.age).await } else { Ok(true) }
            })
        })
        // What was given up in the midst of a question stands in the way of others until it is known to be well.
        .after_release(|connection, meta| Box::pin(is_well(connection, meta.age)))
        .after_connect(|connection, _| {
            Box::pin(async move {
                // A replica that is cut off must not hold a row for ever, nor a statement run on for nobody. Statements here
                // take milliseconds: compiling one takes longer.
                let sql =
                    "SELECT set_config('statement_timeout', '30s', false), set_config('jit', 'off', false),
                                  set_config('idle_in_transaction_session_timeout', '5s', false)";
                sqlx::query(sql).execute(connection).await.map(|_| ())
            })
        })
        .connect_lazy_with(options)
}

/// Whether a connection of this age is used on; one that does not answer within [`ANSWER`] is not. A session keeps what it
/// began with, also that the server took no writes then (`default_transaction_read_only`).
async fn is_well(connection: &mut PgConnection, age: Duration) -> Result<bool, sqlx::Error> {
    let read_only = sqlx::query_scalar("SHOW transaction_read_only").fetch_one(connection);
    let read_only: String = super::in_time(ANSWER, read_only).await.ok_or_else(super::away)??;
    Ok(read_only == "off" || age < READ_ONLY)
}

/// Connects, waiting for a server that gives no answer.
async fn first_connection(
    options: &PgConnectOptions,
    place: &Place,
    patience: Duration,
) -> Result<PgConnection, OpenError> {
    let begun = Instant::now();
    let mut told: Option<Instant> = None;
    loop {
        let fault = match tokio::time::timeout(ATTEMPT.min(patience.max(BETWEEN)), options.connect()).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(fault)) if !is_unavailable(&fault) => return Err(place.refused(fault)),
            Ok(Err(fault)) => fault,
            Err(_) => sqlx::Error::PoolTimedOut,
        };
        if begun.elapsed() >= patience {
            return Err(OpenError::Unreachable { place: place.text(), waited: patience, source: fault });
        }
        if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            told = Some(Instant::now());
            tracing::warn!(
                server = place.text(),
                error = &fault as &dyn std::error::Error,
                "waiting for PostgreSQL, at most {} s",
                patience.as_secs()
            );
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

async fn check_server(connection: &mut PgConnection, place: &Place) -> Result<(), OpenError> {
    let sql = "SELECT current_setting('server_version_num'), current_setting('server_version'),
                      current_setting('server_encoding'), pg_is_in_recovery(),
                      set_config('client_min_messages', 'warning', false)";
    let row = sqlx::query(sql).fetch_one(connection).await.map_err(|fault| place.refused(fault))?;
    let number: i32 = row.get::<&str, _>(0).parse().unwrap_or(0);
    judge(place, number, row.get(1), row.get(2), row.get(3))
}

/// Whether a server of this version, with texts in this encoding, will do.
fn judge(place: &Place, number: i32, version: &str, encoding: &str, standby: bool) -> Result<(), OpenError> {
    if number / 10_000 < OLDEST {
        let (place, version) = (place.text(), version.to_owned());
        return Err(OpenError::TooOld { place, version, oldest: OLDEST });
    }
    if encoding != "UTF8" {
        let (database, encoding) = (place.database.clone(), encoding.to_owned());
        return Err(OpenError::Encoding { database, encoding });
    }
    if standby {
        return Err(OpenError::Standby { place: place.text() });
    }
    Ok(())
}

/// Whether a migration failed because the user may not make tables.
fn denied(fault: &MigrateError) -> bool {
    let (MigrateError::Execute(fault) | MigrateError::ExecuteMigration(fault, _)) = fault else {
        return false;
    };
    fault.as_database_error().and_then(|fault| fault.code()).is_some_and(|code| code == "42501")
}

/// What an address says without its password.
#[derive(Debug)]
struct Place {
    host: String,
    port: u16,
    user: String,
    database: String,
}

impl Place {
    fn of(options: &PgConnectOptions) -> Self {
        let socket = options.get_socket().map(|socket| socket.display().to_string());
        Self {
            host: socket.unwrap_or_else(|| options.get_host().to_owned()),
            port: options.get_port(),
            user: options.get_username().to_owned(),
            database: options.get_database().unwrap_or_else(|| options.get_username()).to_owned(),
        }
    }

    fn text(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Why a server that answers lets nobody in.
    fn refused(&self, fault: sqlx::Error) -> OpenError {
        let (place, user, database) = (self.text(), self.user.clone(), self.database.clone());
        let code = fault.as_database_error().and_then(|fault| fault.code()).map(|code| code.into_owned());
        match code.as_deref() {
            Some("28P01" | "28000") => OpenError::Login { place, user, source: fault },
            Some("3D000") => OpenError::NoDatabase { place, user, database },
            Some("42501") => OpenError::Rights { place, user, database },
            _ => OpenError::Refused { place, source: fault },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> PostgresSettings {
        PostgresSettings {
            url: url.to_owned().into(),
            connections: 2,
            patience: Duration::from_millis(200),
            application: "test".to_owned(),
        }
    }

    fn place() -> Place {
        Place::of(&options(&settings("postgres://me:geheim@db.example:5433/market")).unwrap())
    }

    #[test]
    fn an_address_that_is_none_is_told_without_its_password() {
        for (url, expected) in [
            ("mysql://me:geheim@db/x", "does not begin with postgres://"),
            ("db.example", "does not begin with postgres://"),
            ("postgres://me:geheim@db:notaport/x", "port"),
        ] {
            let fault = options(&settings(url)).unwrap_err().to_string();
            assert!(fault.contains(expected) && fault.contains("postgres://user:password@host"), "{fault}");
            assert!(!fault.contains("geheim"), "{fault}");
        }
    }

    #[test]
    fn a_server_that_will_not_do_is_told_with_what_would() {
        let place = place();
        judge(&place, 130_004, "13.4", "UTF8", false).unwrap();
        judge(&place, 180_000, "18.0", "UTF8", false).unwrap();
        let old = judge(&place, 120_022, "12.22", "UTF8", false).unwrap_err().to_string();
        assert!(old.contains("12.22") && old.contains("13"), "{old}");
        let encoded = judge(&place, 150_000, "15.0", "SQL_ASCII", false).unwrap_err().to_string();
        assert!(encoded.contains("SQL_ASCII") && encoded.contains("UTF8"), "{encoded}");
        let standby = judge(&place, 150_000, "15.0", "UTF8", true).unwrap_err().to_string();
        assert!(standby.contains("standby") && standby.contains("db.example:5433"), "{standby}");
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_waited_for_and_then_named() {
        // Nobody listens on a port that was just given back.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = settings(&format!("postgres://me:geheim@127.0.0.1:{port}/market"));
        let folder = tempfile::tempdir().unwrap();
        let migrator = Migrator::new(folder.path()).await.unwrap();
        let begun = Instant::now();
        let fault = Db::open_postgres(&settings, &migrator).await.unwrap_err();
        assert!(begun.elapsed() >= settings.patience, "{:?}", begun.elapsed());
        assert!(matches!(&fault, OpenError::Unreachable { .. }), "{fault:?}");
        let said = fault.to_string();
        assert!(said.contains(&format!("127.0.0.1:{port}")) && !said.contains("geheim"), "{said}");
    }
}
