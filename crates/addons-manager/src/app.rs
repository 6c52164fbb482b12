//! Builds the manager from its parts and starts it. `main` and the tests both start here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use addon_client::{ClientError, ClientOptions, MarketplaceClient};
use async_trait::async_trait;
use service_kit::auth::{Auth, AuthProfile, AuthStartError, Scope, TokenStore};
use service_kit::clock::SharedClock;
use service_kit::health::ReadyCheck;
use service_kit::metrics::{self, Described};
use service_kit::server::{Running, Service, StartError, shutdown_signal};
use service_kit::{About, Count};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, InvalidSetting};
use crate::http::{self, Api, wire::Answers};
use crate::install::{HostPolicy, Installer};
use crate::logins::{LoginError, logins};
use crate::marketplace::Marketplace;
use crate::reconciler::{self, Reconciler};
use crate::reports::Reporter;
use crate::runtime::ContainerRuntime;
use crate::runtime::docker::{DockerRuntime, DockerSettings, DockerTls, LoginFiles, PullSettings};
use crate::state::{StateError, StateFolder};
use crate::storage::{Storage, StorageError};

/// What this service says about its tokens.
pub const AUTH: AuthProfile =
    AuthProfile { prefix: "oakh", scopes: &[Scope::Read, Scope::Operate, Scope::Consent, Scope::Admin] };

/// Longest time that the reconciler has to end its steps at a stop; the server's own is in its settings. Both run at once.
const RECONCILER_STOP: Duration = Duration::from_secs(4);

/// What is counted and measured here.
const METRICS: &[Described] = &[
    Described::Counter(
        "addons_manager_resyncs_total",
        "Comparisons of everything that is wanted with the engine.",
    ),
    Described::Counter("addons_manager_events_total", "Events of the engine that were heard."),
    Described::Counter("addons_manager_passes_total", "Times that one installation was compared and mended."),
    Described::Counter(
        "addons_manager_inspects_total",
        "Containers that the engine was asked about one by one.",
    ),
    Described::Counter("addons_manager_listings_total", "Lists of containers that the engine was asked for."),
    Described::Counter(
        "addons_manager_steps_total",
        "Steps that were taken on the engine, by kind and result.",
    ),
    Described::Gauge("addons_manager_installations", "Installations, by status."),
    Described::Duration(
        "addons_manager_pass_duration_seconds",
        "Time that one pass over an installation took.",
    ),
    Described::Duration(
        "addons_manager_step_duration_seconds",
        "Time that one step on the engine took, by kind.",
    ),
];

/// What is another one in tests.
pub struct Parts {
    /// The engine.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Its disk.
    pub disk: Arc<dyn Disk>,
    /// The time.
    pub clock: SharedClock,
}

/// The disk that an engine keeps its data on.
#[async_trait]
pub trait Disk: Send + Sync + 'static {
    /// Bytes that are free; `None` when it cannot be seen from here, or the engine does not say where it is.
    async fn free_bytes(&self) -> Option<u64>;
}

#[async_trait]
impl Disk for DockerRuntime {
    async fn free_bytes(&self) -> Option<u64> {
        Self::free_bytes(self).await.ok().flatten()
    }
}

/// A manager that runs.
pub struct App {
    running: Running,
    reconciler: Reconciler,
    /// Where installations are reported.
    reporting: Option<(Reporter, JoinHandle<()>)>,
    storage: Storage,
    // Dropped last: nobody else may have the folder while anything here still writes.
    _state: StateFolder,
}

/// Why the manager does not start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum AppError {
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Auth(#[from] AuthStartError),
    #[error("the client of the marketplace cannot be made")]
    Marketplace(#[source] ClientError),
    #[error(transparent)]
    Server(#[from] StartError),
}

impl Parts {
    /// The Docker Engine that the settings name. It need not be there yet.
    ///
    /// # Errors
    /// [`AppError`] for settings that cannot be.
    pub fn docker(config: &Config, clock: SharedClock) -> Result<Self, AppError> {
        let checked = config.check()?;
        let settings = DockerSettings {
            host: Some(config.docker.host.clone()),
            tls: config.docker.tls_dir.as_ref().map(|folder| DockerTls {
                ca: folder.join("ca.pem"),
                certificate: folder.join("cert.pem"),
                key: folder.join("key.pem"),
            }),
            pulls: PullSettings {
                parallel: usize::try_from(config.pulls.parallel).expect("at most 256"),
                idle: Duration::from_millis(config.pulls.idle_timeout_ms),
                total: Duration::from_millis(config.pulls.total_timeout_ms),
                disk_reserve_bytes: checked.disk_reserve_bytes,
                ..PullSettings::default()
            },
            registries: logins(&config.registries, config.docker.config_file.as_deref())?,
            login_files: Some(login_files(config)),
            ..DockerSettings::default()
        };
        let runtime = DockerRuntime::new(settings);
        Ok(Self { runtime: Arc::new(runtime.clone()), disk: Arc::new(runtime), clock })
    }
}

/// The files that logins come from, for those who read them anew.
fn login_files(config: &Config) -> LoginFiles {
    let (registries, config_file) = (config.registries.clone(), config.docker.config_file.clone());
    let passwords = registries.values().filter_map(|registry| registry.password_file.clone());
    let files = config_file.iter().cloned().chain(passwords).collect();
    LoginFiles::new(files, move || {
        logins(&registries, config_file.as_deref()).map_err(|error| error.to_string())
    })
}

impl App {
    /// Takes the state folder, opens the database, starts the reconciler and answers requests. Neither engine nor marketplace need be there.
    ///
    /// # Errors
    /// [`AppError`], which says what to change.
    pub async fn build(config: &Config, state_dir: &Path, parts: Parts) -> Result<Self, AppError> {
        metrics::describe(METRICS);
        let checked = config.check()?;
        let state = StateFolder::open(state_dir)?;
        let storage = Storage::open(&state.database()).await?;
        let server = &config.server.0;
        let tokens = TokenStore::audited(storage.db().clone());
        let auth = Auth::start(AUTH, &config.auth, server.address, state.path(), tokens, parts.clock.clone())
            .await?;

        let token = checked.marketplace_token.as_ref().map(|token| token.expose().to_owned());
        let options = ClientOptions::new(config.marketplace.url.clone()).with_token(token);
        let client = MarketplaceClient::new(options).map_err(AppError::Marketplace)?;
        let reporter = config
            .marketplace
            .report_installs
            .then(|| Reporter::new(storage.clone(), client.clone(), parts.clock.clone()));
        let marketplace = Marketplace::new(client, config.marketplace.allow_unpinned);
        let host = HostPolicy {
            defaults: checked.defaults,
            ports: checked.ports,
            pool: checked.pool,
            ula: state.ula(),
        };
        let installer = Installer {
            storage: storage.clone(),
            marketplace,
            runtime: Arc::clone(&parts.runtime),
            host,
            clock: parts.clock.clone(),
        };
        let reconciler = Reconciler::start(reconciler::Parts {
            storage: storage.clone(),
            runtime: Arc::clone(&parts.runtime),
            clock: parts.clock.clone(),
            settings: reconciler::Settings {
                state_folder: state.path().to_owned(),
                manager_id: state.manager_id().to_owned(),
                project: checked.project,
                resync_interval: checked.resync_interval,
                parallel_installations: usize::try_from(config.reconciler.parallel).expect("at most 256"),
                parallel_steps: usize::try_from(config.reconciler.parallel_steps).expect("at most 256"),
                parallel_pulls: usize::try_from(config.pulls.parallel).expect("at most 256"),
                settle: Duration::from_millis(config.rollouts.settle_ms),
                rollout_deadline: Duration::from_millis(config.rollouts.deadline_ms),
            },
        });
        let api = Api {
            storage: storage.clone(),
            installer,
            reconciler: reconciler.clone(),
            answers: Answers::new(storage.clone()),
            runtime: parts.runtime,
            disk: parts.disk,
            disk_reserve_bytes: checked.disk_reserve_bytes,
            manager_id: state.manager_id().to_owned(),
            clock: parts.clock,
        };
        let (runtime, engine_host) = (Arc::clone(&api.runtime), config.docker.host.clone());
        // The manager does its own work without: what is installed is shown, and what is asked for is done afterwards.
        let asked = reconciler.clone();
        let engine = ReadyCheck::informative("engine", move || {
            let (runtime, host) = (Arc::clone(&runtime), engine_host.clone());
            let is_away = asked.engine_unreachable().is_some();
            async move {
                let answers = !is_away && runtime.engine().await.is_ok();
                answers
                    .then_some(())
                    .ok_or_else(|| format!("no container engine answers at {host} (docker.host)"))
            }
        });
        let about = about(config, &storage);
        let database = storage.clone();
        let ready = ReadyCheck::new("database", move || {
            let database = database.clone();
            async move { database.ping().await.map_err(|_| "the database does not answer".to_owned()) }
        });
        let shutdown = CancellationToken::new();
        let started = Service::new("Addons Manager", auth, http::routes(), http::document)
            .with_about(about)
            .with_shutdown(shutdown.clone())
            .with_data(web::Data::new(api))
            .with_check(ready)
            .with_check(engine)
            .start(server);
        let running = match started {
            Ok(running) => running,
            Err(error) => {
                reconciler.shutdown().await;
                return Err(error.into());
            }
        };
        let reporting = reporter.map(|reporter| {
            let task = tokio::spawn(reporter.clone().run(shutdown));
            (reporter, task)
        });
        Ok(Self { running, reconciler, reporting, storage, _state: state })
    }

    /// Its address for clients on this machine.
    pub fn url(&self) -> String {
        self.running.url()
    }

    /// The reconciler, for tests that wake it.
    pub fn reconciler(&self) -> &Reconciler {
        &self.reconciler
    }

    /// Who reports installations, where that is wanted: for tests that wake it.
    pub fn reporter(&self) -> Option<&Reporter> {
        self.reporting.as_ref().map(|(reporter, _)| reporter)
    }

    /// The database, for tests that look into it.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Runs until `SIGINT` or `SIGTERM`.
    pub async fn run_until_signal(self) {
        let signal = shutdown_signal().await;
        tracing::info!(signal, "stopping; addons go on running");
        self.stop().await;
    }

    /// Stops answering and reconciling. Every addon goes on running.
    pub async fn stop(self) {
        let reconciler = tokio::time::timeout(RECONCILER_STOP, self.reconciler.shutdown());
        let ((), ended) = tokio::join!(self.running.stop(), reconciler);
        if ended.is_err() {
            tracing::warn!("steps under way did not end in time; they are looked at again at the next start");
        }
        if let Some((_, task)) = self.reporting
            && let Err(error) = task.await
        {
            tracing::error!(%error, "reporting installations ended badly");
        }
        self.storage.close().await;
    }
}

/// What the manager says of itself.
fn about(config: &Config, storage: &Storage) -> About {
    let mut url = config.marketplace.url.clone();
    // There may be a name and a password in it.
    let bare = url.set_username("").and_then(|()| url.set_password(None)).map(|()| url.to_string()).ok();
    let storage = storage.clone();
    About::new(
        "Installs addons onto the Docker Engine of this host and keeps them as they should be: what is killed, removed or edited is \
         healed, and what is not wanted any more is taken away.",
    )
    .beside("Releases come from the marketplace at", bare)
    .counting(move || {
        let storage = storage.clone();
        async move {
            let counts = storage.statuses().await.ok()?;
            let number = |wanted: &dyn Fn(&str) -> bool| {
                counts.iter().filter(|(status, _)| wanted(status)).map(|(_, number)| number).sum()
            };
            let count = |number, what: &str| Count { number, what: what.to_owned() };
            let all = number(&|_| true);
            let mut shown = vec![
                count(all, if all == 1 { "addon is installed" } else { "addons are installed" }),
                count(number(&|status| status == "active"), "active"),
            ];
            shown.extend(counts.iter().filter(|(status, number)| status != "active" && *number > 0).map(
                |(status, number)| count(*number, &status.replace('_', " ")),
            ));
            Some(shown)
        }
    })
}

/// The state folder that the settings name, or the user's.
pub fn state_dir(config: &Config, environment: &service_kit::config::Environment) -> PathBuf {
    config
        .state_dir
        .clone()
        .unwrap_or_else(|| service_kit::config::default_state_dir("addons-manager", environment))
}
