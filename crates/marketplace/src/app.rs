//! Puts the marketplace together: storage, registry client, worker, server. `main` and the tests both start here.

use std::fs::{File, Permissions, TryLockError};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use service_kit::auth::{Auth, AuthProfile, AuthStartError, Scope, TokenStore};
use service_kit::clock::SharedClock;
use service_kit::config::prepare_state_dir;
use service_kit::db::OpenError;
use service_kit::health::ReadyCheck;
use service_kit::metrics::{self, Described};
use service_kit::server::{Running, Service, StartError};
use service_kit::{About, Count};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi as _;

use crate::chain;
use crate::config::{Config, SettingsError};
use crate::domain::release::Status;
use crate::http::counts::KeptStats;
use crate::http::{self, Services};
use crate::news::News;
use crate::storage::{Storage, StorageError};
use crate::trust::{Signer, SigningError, key_file};
use crate::verification::registry::RegistryClient;
use crate::verification::worker::{Bell, Pulse, Worker};

/// How the marketplace's tokens look, and what they can allow.
pub const AUTH: AuthProfile =
    AuthProfile { prefix: "oakm", scopes: &[Scope::Read, Scope::Publish, Scope::Review, Scope::Admin] };

/// Name of the database in the state folder.
pub const DATABASE: &str = "marketplace.db";

/// Name of the file in the state folder that is locked while a marketplace runs on it.
const LOCK: &str = "lock";

/// A marketplace that runs.
#[derive(Debug)]
pub struct App {
    running: Running,
    worker: JoinHandle<()>,
    follower: JoinHandle<()>,
    signer: JoinHandle<()>,
    storage: Storage,
    /// Held while this runs, for a second one on the same state.
    lock: File,
}

/// Why it does not.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The folder of its state.
    #[error("the state folder {} cannot be used (state_dir)", path.display())]
    StateDir {
        /// The folder.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another marketplace runs on it.
    #[error(
        "the state folder {} is in use by another marketplace: stop that one, or set another state_dir",
        path.display()
    )]
    InUse {
        /// The folder.
        path: std::path::PathBuf,
    },
    /// The database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database file cannot be read any more.
    #[error(
        "the database {} is damaged ({what}): move it away, with {DATABASE}-wal and {DATABASE}-shm beside it where they are \
         there, and bring back a backup with: marketplace restore FILE",
        path.display()
    )]
    Damaged {
        /// The database.
        path: std::path::PathBuf,
        /// In SQLite's words.
        what: String,
    },
    /// The tokens.
    #[error(transparent)]
    Auth(#[from] AuthStartError),
    /// The signing key.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The database, once it is open.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// TLS.
    #[error("registries cannot be asked: the machine has no root certificates (package ca-certificates)")]
    Registry(#[source] reqwest::Error),
    /// The server.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// What is counted and measured here.
const METRICS: &[Described] = &[
    Described::Counter("marketplace_publishes_total", "Descriptors that were sent, by what became of them."),
    Described::Counter(
        "marketplace_verdicts_total",
        "Verifications of a release that ended, by their verdict.",
    ),
    Described::Counter(
        "marketplace_images_asked_total",
        "Images that registries were asked about, by the outcome.",
    ),
    Described::Counter(
        "marketplace_registry_requests_total",
        "Requests to registries, by the kind of answer.",
    ),
    Described::Gauge(
        "marketplace_index_age_seconds",
        "Age of the signed index: above a day nothing signs it, above seven hosts install nothing new.",
    ),
    Described::Gauge("marketplace_event_listeners", "Clients that follow the events of this replica."),
    Described::Gauge("marketplace_queue_depth", "Releases that wait for their verification."),
    Described::Gauge("marketplace_verifications_running", "Releases that are being verified."),
    Described::Duration(
        "marketplace_verification_duration_seconds",
        "Time that one verification of a release took.",
    ),
];

impl App {
    /// Opens what there is, and starts answering and verifying.
    ///
    /// # Errors
    /// See [`BuildError`]; nothing is left running.
    pub async fn build(config: &Config, clock: SharedClock) -> Result<Self, BuildError> {
        metrics::describe(METRICS);
        let rules = Arc::new(config.rules()?);
        let settings = config.registry_settings()?;
        // Reads the machine's root certificates, some hundred files: beside opening the database, not before it.
        let client = tokio::task::spawn_blocking(move || RegistryClient::new(settings));
        let state_dir = config.state_dir();
        let lock = lock(&state_dir)?;
        let (configured, in_state) = (config.signing.key_file.clone(), state_dir.join(key_file::NAME));
        if config.postgres()?.is_none() && !state_dir.join(DATABASE).exists() {
            // An empty database that a refused start leaves would stand in the way of a restored one.
            Signer::without_database(configured.as_deref(), &in_state)?;
        }
        let storage = open(config).await?;
        if !storage.knows_letters().await? {
            tracing::warn!(
                "the database's locale knows the letters A to Z alone: words of other alphabets are found only with the same \
                 capitals as they are written with. Move to a database with a locale that knows them (createdb --encoding UTF8 \
                 --locale C.UTF-8 --template template0, or one of ICU) as docs/OPERATIONS.md says (Which database)"
            );
        }
        // Before the first token, which would be written over that of a database that is lost.
        let signer = Signer::prepare(storage.clone(), clock.clone(), configured, in_state).await?;
        let tokens = TokenStore::audited(storage.db().clone());
        let address = config.server.address;
        let auth = Auth::start(AUTH, &config.auth, address, &state_dir, tokens, clock.clone()).await?;

        let client = client.await.expect("making a client does not panic").map_err(BuildError::Registry)?;

        let (bell, pulse, shutdown) = (Bell::default(), Pulse::default(), CancellationToken::new());
        let news = News::open(storage.clone()).await?;
        let services = Services {
            bell: bell.clone(),
            reserved_names: rules.reserved.clone(),
            shutdown: shutdown.clone(),
            ..Services::new(config, storage.clone(), auth.clone(), clock.clone(), news.clone())
        };
        let running = Service::new("Addon Marketplace", auth, http::routes(), http::ApiDoc::openapi)
            .with_about(about(services.stats.clone()))
            .with_shutdown(shutdown.clone())
            .with_data(web::Data::new(services))
            .with_check(database_check(&storage))
            .with_check(worker_check(&pulse, &clock))
            .with_check(signing_check(&signer))
            .start(&config.server)?;
        let client = Arc::new(client.with_memory(Arc::new(storage.clone()), clock.clone()));
        let ring = bell.clone();
        let follow = storage.clone().follow(move || ring.ring(), shutdown.clone());
        let chain = chain::run(storage.clone(), clock.clone(), shutdown.clone());
        let news = news.run(clock.clone(), shutdown.clone());
        let follower = tokio::spawn(async { _ = tokio::join!(follow, chain, news) });
        let signer = tokio::spawn(signer.run(shutdown.clone()));
        let worker = Worker { storage: storage.clone(), client, rules, clock, bell, pulse };
        let worker = tokio::spawn(worker.run(shutdown));
        Ok(Self { running, worker, follower, signer, storage, lock })
    }

    /// What answers.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// The database, for tests that look at rows.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Runs until a signal, then stops in order: requests, verification, database.
    pub async fn run_until_signal(self) {
        let Self { running, worker, follower, signer, storage, lock } = self;
        running.run_until_signal().await;
        finish(worker, follower, signer, &storage).await;
        drop(lock);
    }

    /// Stops in the same order.
    pub async fn stop(self) {
        let Self { running, worker, follower, signer, storage, lock } = self;
        running.stop().await;
        finish(worker, follower, signer, &storage).await;
        drop(lock);
    }
}

/// Takes the lock of the state folder, which is given back when the file is dropped or the process ends in whatever way:
/// kept answers and leases hold only while one process writes.
pub(crate) fn lock(folder: &Path) -> Result<File, BuildError> {
    let unusable = |source| BuildError::StateDir { path: folder.to_owned(), source };
    prepare_state_dir(folder).map_err(unusable)?;
    let mode = std::fs::metadata(folder).map_err(unusable)?.permissions().mode();
    // It holds what is not approved yet, and the first token: that is for nobody else.
    if mode & 0o077 != 0
        && let Err(error) = std::fs::set_permissions(folder, Permissions::from_mode(0o700))
    {
        tracing::warn!(%error, "others on this machine can read the state folder {}", folder.display());
    }
    let mut options = File::options();
    let file = options.create(true).append(true).mode(0o600).open(folder.join(LOCK)).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BuildError::InUse { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

/// Opens the database: that of `database.url`, or a file in the state folder, which is made where it is missing.
///
/// # Errors
/// The settings, the folder, or the database.
pub async fn open(config: &Config) -> Result<Storage, BuildError> {
    let (postgres, limits) = (config.postgres()?, config.limits()?);
    let path = config.state_dir();
    prepare_state_dir(&path).map_err(|source| BuildError::StateDir { path: path.clone(), source })?;
    let storage = match postgres {
        Some(settings) => Storage::open_postgres(&settings).await?,
        None => Storage::open_sqlite(&path.join(DATABASE)).await.map_err(|fault| match fault {
            OpenError::Damaged { path, what } => BuildError::Damaged { path, what },
            other => other.into(),
        })?,
    };
    Ok(storage.with_limits(limits))
}

/// What the marketplace says of itself.
fn about(stats: KeptStats) -> About {
    About::new(
        "Takes descriptors of addons, verifies every image in its registry and pins its digest, and serves approved releases, which \
         never change.",
    )
    .beside("Addons are installed by the addons manager of each host, usually at port 11101 there.", None)
    .counting(move || {
        let stats = stats.clone();
        async move {
            let counts = &stats.stats().await.ok()?.releases;
            let shown = [
                (Status::Approved, "releases are approved"),
                (Status::UnderReview, "under review"),
                (Status::VerificationFailed, "failed verification"),
            ];
            let count = |(status, what): (Status, &str)| Count {
                number: counts.get(status.as_str()).copied().unwrap_or(0),
                what: what.to_owned(),
            };
            Some(shown.map(count).into())
        }
    })
}

/// Longest wait for what runs beside the server to end: it may wait for a database that is silent.
const FINISH: Duration = Duration::from_secs(5);

async fn finish(worker: JoinHandle<()>, follower: JoinHandle<()>, signer: JoinHandle<()>, storage: &Storage) {
    let done = async {
        if let Err(error) = worker.await {
            tracing::error!(%error, "the verification ended badly");
        }
        if let Err(error) = follower.await {
            tracing::error!(%error, "following other replicas ended badly");
        }
        if let Err(error) = signer.await {
            tracing::error!(%error, "signing ended badly");
        }
        if let Err(error) = storage.give_back(storage.replica()).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "leases were not given back; they run out"
            );
        }
        storage.db().close().await;
    };
    if tokio::time::timeout(FINISH, done).await.is_err() {
        tracing::warn!("the database gives no answer: not waited for; leases run out");
    }
}

fn database_check(storage: &Storage) -> ReadyCheck {
    let storage = storage.clone();
    ReadyCheck::new("database", move || {
        let storage = storage.clone();
        async move { storage.db().ping().await.map_err(|_| "the database gives no answer".to_owned()) }
    })
}

fn signing_check(signer: &Signer) -> ReadyCheck {
    let signer = signer.clone();
    ReadyCheck::informative("signing", move || {
        let signer = signer.clone();
        async move { signer.can_sign().await }
    })
}

fn worker_check(pulse: &Pulse, clock: &SharedClock) -> ReadyCheck {
    let (pulse, clock) = (pulse.clone(), Arc::clone(clock));
    ReadyCheck::new("verification", move || {
        let beats = pulse.beats(clock.now());
        async move { if beats { Ok(()) } else { Err("the verification does not run".to_owned()) } }
    })
}
