//! Builds a service's HTTP server from its route table, and stops it within its time. `main` and tests both start here.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::guard;
use actix_web::http::{KeepAlive, Method};
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, HttpServer};
use socket2::SockRef;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::auth::{self, Access, Auth};
use crate::body::BodyLimits;
use crate::config::ServerSettings;
use crate::gate::{Gate, Guarded, Paths, Policy};
use crate::guard::{Hosts, Origins};
use crate::health::{self, Health, ReadyCheck};
use crate::page::{self, About, Pages};
use crate::problem::Problem;
use crate::routes::{PathEntry, RouteTable};
use crate::{metrics, openapi};

/// Longest time that a request's head may take to arrive.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// Time that a connection without a request is kept open.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

type Configure = Arc<dyn Fn(&mut ServiceConfig) + Send + Sync>;

/// A service that can be started.
#[derive(Clone)]
pub struct Service {
    title: &'static str,
    about: About,
    auth: Auth,
    table: RouteTable,
    openapi: fn() -> utoipa::openapi::OpenApi,
    checks: Vec<ReadyCheck>,
    configure: Vec<Configure>,
    shutdown: CancellationToken,
}

/// Why a service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The route table contradicts itself or the OpenAPI document: a mistake in the program.
    #[error("the route table and the OpenAPI document do not fit: {}", faults.join("; "))]
    Table {
        /// Every difference.
        faults: Vec<String>,
    },
    /// The address cannot be listened on.
    #[error("{address} cannot be listened on (server.address, server.port)")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

impl Service {
    /// A service of this title (as `Addon Marketplace`) with its route table and what makes the OpenAPI document of its handlers.
    /// Tokens, health, metrics and documentation are added here.
    pub fn new(
        title: &'static str,
        auth: Auth,
        table: RouteTable,
        openapi: fn() -> utoipa::openapi::OpenApi,
    ) -> Self {
        let kit = RouteTable::new()
            .get("/healthz", Access::Probe, health::healthz)
            .get("/readyz", Access::Probe, health::readyz)
            .get("/metrics", Access::Probe, health::show_metrics);
        let table = table.and(auth::api::routes()).and(kit).and(page::routes());
        let shutdown = CancellationToken::new();
        let (about, checks, configure) = (About::default(), Vec::new(), Vec::new());
        Self { title, about, auth, table, openapi, checks, configure, shutdown }
    }

    /// The same with what it says of itself on its page and in its documentation.
    #[must_use]
    pub fn with_about(mut self, about: About) -> Self {
        self.about = about;
        self
    }

    /// The same, stopping everything that waits on this token; it is cancelled when the service begins to stop.
    #[must_use]
    pub fn with_shutdown(mut self, shutdown: CancellationToken) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// The same with something that handlers take as `web::Data<T>`.
    #[must_use]
    pub fn with_data<T: Send + Sync + 'static>(mut self, data: web::Data<T>) -> Self {
        self.configure.push(Arc::new(move |config| {
            config.app_data(data.clone());
        }));
        self
    }

    /// The same with something that must be so for the service to be ready.
    #[must_use]
    pub fn with_check(mut self, check: ReadyCheck) -> Self {
        self.checks.push(check);
        self
    }

    /// The OpenAPI document, or every difference between it and the route table.
    pub fn openapi(&self) -> Result<String, StartError> {
        let faults = self.table.faults();
        if !faults.is_empty() {
            return Err(StartError::Table { faults });
        }
        let intro = openapi::Intro {
            title: self.title,
            purpose: self.about.purpose,
            scopes: self.auth.profile().scopes,
        };
        openapi::document(&intro, (self.openapi)(), &self.table)
            .map_err(|faults| StartError::Table { faults })
    }

    /// Every call that the service answers: its own and those that both services have.
    pub fn table(&self) -> &RouteTable {
        &self.table
    }

    /// Listens and answers, in threads of its own, until it is stopped. Needs a tokio runtime around it.
    pub fn start(self, settings: &ServerSettings) -> Result<Running, StartError> {
        let faults = self.table.faults();
        if !faults.is_empty() {
            return Err(StartError::Table { faults });
        }
        // A mistake in the program, which every test that starts it finds. Users pay for the document when they ask for it: making
        // it takes megabytes and as long as all else at a start.
        if cfg!(debug_assertions) {
            self.openapi()?;
        }
        let gate = |guarded: &Arc<Guarded>, policy: &Arc<Policy>| Gate {
            policy: Arc::clone(policy),
            guarded: Arc::clone(guarded),
        };
        let policy = Arc::new(Policy {
            auth: self.auth.clone(),
            hosts: Hosts::new(&settings.allowed_hosts),
            origins: Origins::new(&settings.cors_origins),
        });
        let paths: Vec<(PathEntry, Arc<Guarded>)> = self
            .table
            .in_order()
            .into_iter()
            .map(|entry| (entry.clone(), Arc::new(Guarded::new(entry))))
            .collect();
        let unmatched = Arc::new(Guarded::unmatched(&self.table));
        let guarded =
            paths.iter().map(|(_, guarded)| Arc::clone(guarded)).chain([Arc::clone(&unmatched)]).collect();
        let health =
            web::Data::new(Health { checks: self.checks.clone(), shutdown: self.shutdown.clone(), guarded });
        let described = self.clone();
        let document = move || described.openapi();
        let pages = web::Data::new(Pages::new(self.title, self.about.clone(), self.auth.clone(), document));
        let auth = web::Data::new(self.auth.clone());
        let limits = BodyLimits {
            bytes: settings.body_limit_bytes,
            time: Duration::from_millis(settings.body_timeout_ms),
        };
        let configure = self.configure.clone();
        metrics::recorder();

        let factory = move || {
            let register = |config: &mut ServiceConfig| {
                for (entry, guarded) in &paths {
                    let mut resource = web::resource(entry.path.as_str());
                    for call in &entry.calls {
                        let method = call.method.clone();
                        resource = resource.route((call.make)().guard(guard::fn_guard(move |context| {
                            let asked = &context.head().method;
                            *asked == method || (method == Method::GET && *asked == Method::HEAD)
                        })));
                    }
                    config.service(resource.wrap(gate(guarded, &policy)));
                }
                for more in &configure {
                    more(config);
                }
            };
            let not_found =
                async || Err::<&'static str, _>(Problem::not_found("there is nothing at this path"));
            App::new()
                .app_data(health.clone())
                .app_data(pages.clone())
                .app_data(auth.clone())
                .app_data(limits)
                .app_data(web::PayloadConfig::new(limits.bytes))
                .app_data(
                    web::PathConfig::default()
                        .error_handler(|_, _| Problem::not_found("there is nothing at this path").into()),
                )
                .configure(register)
                .default_service(web::to(not_found).wrap(gate(&unmatched, &policy)))
                .wrap(Paths { gate: gate(&unmatched, &policy) })
        };
        let address = SocketAddr::new(settings.address, settings.port);
        let bind = |source| StartError::Bind { address, source };
        let timeout = settings.shutdown_timeout();
        let unread = Duration::from_millis(settings.unread_timeout_ms.into());
        let server = HttpServer::new(factory)
            .on_connect(move |connection, _| cut_off_after(connection, unread))
            .workers(settings.workers.max(1))
            .disable_signals()
            .client_request_timeout(HEAD_TIME)
            .keep_alive(KeepAlive::Timeout(KEEP_ALIVE))
            .shutdown_timeout(timeout.as_secs())
            .tcp_nodelay(true)
            .bind(address)
            .map_err(bind)?;
        let addresses = server.addrs();
        let server = server.run();
        let handle = server.handle();
        let address = addresses.first().copied().unwrap_or(address);
        tracing::info!(server.address = %address, "{} answers at http://{address}", self.title);
        Ok(Running { address, handle, shutdown: self.shutdown, server: tokio::spawn(server), timeout })
    }
}

/// Has the system end a connection whose client takes nothing of what it was sent for so long (`TCP_USER_TIMEOUT`, tcp(7)): a
/// stream of events, or a large answer, would wait for it without end.
fn cut_off_after(connection: &dyn Any, unread: Duration) {
    let Some(stream) = connection.downcast_ref::<TcpStream>() else { return };
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(unread)) {
        tracing::debug!(%error, "a client that reads nothing is not cut off");
    }
}

/// A service that answers.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    handle: ServerHandle,
    shutdown: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
    timeout: Duration,
}

impl Running {
    /// Where it listens; with port 0, the port that it was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address for clients on this machine.
    pub fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() {
                std::net::Ipv4Addr::LOCALHOST.into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            });
        }
        format!("http://{address}")
    }

    /// Cancelled when the service begins to stop.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Stops: no new connections, streams ended, requests under way finished within the time that is configured.
    pub async fn stop(self) {
        self.shutdown.cancel();
        // The server gives requests their time; a little more than that, and it is stopped without.
        let graceful =
            tokio::time::timeout(self.timeout + Duration::from_millis(500), self.handle.stop(true));
        if graceful.await.is_err() {
            tracing::warn!("requests under way did not end in time");
            self.handle.stop(false).await;
        }
        self.server.abort();
    }

    /// Runs until a signal (`SIGINT`, `SIGTERM`) or until the shutdown token is cancelled, then stops.
    pub async fn run_until_signal(self) {
        tokio::select! {
            signal = shutdown_signal() => tracing::info!(signal, "stopping"),
            () = self.shutdown.cancelled() => (),
        }
        self.stop().await;
    }
}

/// Waits for `SIGINT` or `SIGTERM`, and gives its name.
pub async fn shutdown_signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};

    let on = |kind| signal(kind).expect("a program may wait for SIGINT and SIGTERM");
    let (mut interrupt, mut terminate) = (on(SignalKind::interrupt()), on(SignalKind::terminate()));
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
