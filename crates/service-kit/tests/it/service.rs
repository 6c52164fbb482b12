//! The service that the tests speak to, and the two ways to speak to it: a client that does everything right, and raw text.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use addon_client::{ReleaseId, ReviewRequest};
use serde::{Deserialize, Serialize};
use service_kit::auth::{
    Access, Auth, AuthMode, AuthProfile, AuthSettings, AuthStartError, Principal, Scope, Scopes, StoredToken,
    Token, TokenStore,
};
use service_kit::body::{Json, JsonOrDefault, Query};
use service_kit::clock::{Clock, TestClock, Timestamp};
use service_kit::config::ServerSettings;
use service_kit::db::Db;
use service_kit::events::{Event, EventHub};
use service_kit::health::ReadyCheck;
use service_kit::problem::Problem;
use service_kit::routes::RouteTable;
use service_kit::server::{Running, Service};
use service_kit::{About, Count};
use service_kit::{RequestId, random};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use utoipa::{OpenApi, ToSchema};

pub(crate) const PROFILE: AuthProfile = AuthProfile {
    prefix: "oakt",
    scopes: &[Scope::Read, Scope::Publish, Scope::Review, Scope::Operate, Scope::Admin],
};

/// Noon of a day, when every test begins.
pub(crate) const NOON: Timestamp = Timestamp::from_millis(1_795_262_400_000);

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Thing {
    name: String,
    #[serde(default)]
    count: u32,
}

#[derive(Debug, Deserialize)]
struct List {
    #[serde(default)]
    name: Option<String>,
}

pub(crate) struct World {
    hub: EventHub,
    /// Told when the slow handler has begun.
    pub(crate) begun: Notify,
    /// Lets the slow handler end.
    pub(crate) end: Notify,
    /// Told when the slow change has ended.
    pub(crate) ended: Notify,
}

impl World {
    pub(crate) fn publish(&self, thing: &str) {
        self.hub.publish(Event::new(thing, "changed", &BTreeMap::from([("thing", thing)])));
    }
}

#[utoipa::path(get, path = "/api/v1/things", responses((status = 200)))]
async fn list(query: Query<List>, principal: Principal) -> web::Json<Vec<String>> {
    let name = query.0.name.unwrap_or_else(|| "all".to_owned());
    web::Json(vec![name, principal.account().unwrap_or("nobody").to_owned()])
}

#[utoipa::path(post, path = "/api/v1/things", responses((status = 201)))]
async fn create(principal: Principal, thing: Json<Thing>) -> Result<HttpResponse, Problem> {
    principal.require_name(&thing.0.name)?;
    Ok(HttpResponse::Created().json(thing.into_inner()))
}

#[utoipa::path(get, path = "/api/v1/things/{id}", responses((status = 200)))]
async fn get(id: web::Path<ReleaseId>) -> web::Json<ReleaseId> {
    web::Json(*id)
}

#[utoipa::path(patch, path = "/api/v1/things/{id}", responses((status = 200)))]
async fn patch(id: web::Path<ReleaseId>) -> web::Json<ReleaseId> {
    web::Json(*id)
}

#[utoipa::path(delete, path = "/api/v1/things/{id}", responses((status = 204)))]
async fn delete(_: web::Path<ReleaseId>) -> HttpResponse {
    HttpResponse::NoContent().finish()
}

#[utoipa::path(post, path = "/api/v1/things/{id}/review", responses((status = 200)))]
async fn review(_: web::Path<ReleaseId>, body: JsonOrDefault<ReviewRequest>) -> web::Json<Option<String>> {
    web::Json(body.0.reason)
}

#[utoipa::path(get, path = "/api/v1/request", responses((status = 200)))]
async fn request(id: RequestId, principal: Principal) -> web::Json<BTreeMap<&'static str, String>> {
    let account = principal.account().unwrap_or("nobody").to_owned();
    web::Json(BTreeMap::from([("id", id.to_string()), ("account", account)]))
}

#[utoipa::path(get, path = "/api/v1/events", responses((status = 200)))]
async fn events(world: web::Data<World>) -> HttpResponse {
    world.hub.stream(None)
}

#[utoipa::path(get, path = "/api/v1/failing", responses((status = 200)))]
async fn failing() -> Result<HttpResponse, Problem> {
    let source = anyhow::anyhow!("the disk at /secret/place is full").context("the thing cannot be read");
    Err(Problem::internal(source))
}

#[utoipa::path(get, path = "/api/v1/foreign-failing", responses((status = 200)))]
async fn foreign_failing() -> Result<HttpResponse, actix_web::Error> {
    Err(actix_web::error::ErrorInternalServerError("the disk at /secret/place is full"))
}

#[utoipa::path(get, path = "/api/v1/slow", responses((status = 200)))]
async fn slow(world: web::Data<World>) -> &'static str {
    world.begun.notify_one();
    world.end.notified().await;
    "done"
}

#[utoipa::path(post, path = "/api/v1/slow", responses((status = 200)))]
async fn slow_change(world: web::Data<World>) -> &'static str {
    world.begun.notify_one();
    world.end.notified().await;
    world.ended.notify_one();
    "done"
}

#[utoipa::path(post, path = "/api/v1/failing", responses((status = 200)))]
async fn panicking() -> HttpResponse {
    panic!("the disk at /secret/place is full");
}

#[derive(OpenApi)]
#[openapi(paths(
    slow_change,
    panicking,
    list,
    create,
    get,
    patch,
    delete,
    review,
    request,
    events,
    failing,
    foreign_failing,
    slow
))]
pub(crate) struct Doc;

pub(crate) fn table() -> RouteTable {
    RouteTable::new()
        .get("/api/v1/things", Access::PublicRead, list)
        .post("/api/v1/things", Scope::Publish, create)
        .get("/api/v1/things/{id}", Access::PublicRead, get)
        .patch("/api/v1/things/{id}", Scope::Operate, patch)
        .delete("/api/v1/things/{id}", Scope::Admin, delete)
        .post("/api/v1/things/{id}/review", Scope::Review, review)
        .get("/api/v1/request", Scope::Read, request)
        .get("/api/v1/events", Scope::Read, events)
        .get("/api/v1/failing", Scope::Read, failing)
        .get("/api/v1/foreign-failing", Scope::Read, foreign_failing)
        .get("/api/v1/slow", Scope::Read, slow)
        .post("/api/v1/slow", Scope::Operate, slow_change)
        .post("/api/v1/failing", Scope::Operate, panicking)
        .alias("/api/things", "/api/v1/things")
}

/// What a test changes about the service.
pub(crate) struct Options {
    pub(crate) auth: AuthSettings,
    pub(crate) server: ServerSettings,
    pub(crate) state: Option<PathBuf>,
    pub(crate) ready: Result<(), String>,
    /// Of what is only shown.
    pub(crate) aside: Result<(), String>,
}

impl Default for Options {
    fn default() -> Self {
        let server =
            ServerSettings { body_limit_bytes: 1_000, body_timeout_ms: 300, ..ServerSettings::default() };
        Self { auth: AuthSettings::default(), server, state: None, ready: Ok(()), aside: Ok(()) }
    }
}

impl Options {
    pub(crate) fn open() -> Self {
        let mut options = Self::default();
        options.auth.mode = AuthMode::Open;
        options
    }
}

/// The service, running.
pub(crate) struct Example {
    pub(crate) running: Running,
    pub(crate) address: SocketAddr,
    pub(crate) clock: TestClock,
    pub(crate) store: TokenStore,
    pub(crate) world: web::Data<World>,
    pub(crate) state: PathBuf,
    client: reqwest::Client,
    _folder: TempDir,
}

pub(crate) async fn open_db(folder: &std::path::Path) -> Db {
    let migrations = folder.join("migrations");
    std::fs::create_dir_all(&migrations).unwrap();
    std::fs::write(migrations.join("0001_init.sql"), service_kit::auth::store::TABLES).unwrap();
    let migrator = sqlx::migrate::Migrator::new(migrations).await.unwrap();
    Db::open_sqlite(&folder.join("test.db"), &migrator).await.unwrap()
}

impl Example {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await.unwrap()
    }

    pub(crate) async fn start_with(options: Options) -> Result<Self, AuthStartError> {
        let folder = tempfile::tempdir().unwrap();
        let state = options.state.clone().unwrap_or_else(|| folder.path().to_owned());
        let store = TokenStore::new(open_db(&state).await);
        let clock = TestClock::at(NOON);
        let shared = Arc::new(clock.clone());
        let auth = Auth::start(PROFILE, &options.auth, options.server.address, &state, store.clone(), shared)
            .await?;
        let shutdown = CancellationToken::new();
        let hub = EventHub::new(16, shutdown.clone());
        let world =
            web::Data::new(World { hub, begun: Notify::new(), end: Notify::new(), ended: Notify::new() });
        let (ready, aside) = (options.ready.clone(), options.aside.clone());
        let things = || vec![Count { number: 2, what: "things".to_owned() }];
        let about = About::new("Keeps things.").counting(move || std::future::ready(Some(things())));
        let running = Service::new("Things", auth, table(), Doc::openapi)
            .with_shutdown(shutdown)
            .with_data(world.clone())
            .with_about(about)
            .with_check(ReadyCheck::new("things", move || std::future::ready(ready.clone())))
            .with_check(ReadyCheck::informative("aside", move || std::future::ready(aside.clone())))
            .start(&options.server)
            .unwrap();
        let address = running.address();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Ok(Self { running, address, clock, store, world, state, client, _folder: folder })
    }

    /// The administrator's token, as the first start wrote it.
    pub(crate) fn admin(&self) -> String {
        std::fs::read_to_string(self.state.join("admin-token")).unwrap().trim().to_owned()
    }

    /// A token with these scopes.
    pub(crate) async fn token(&self, scopes: &[Scope]) -> String {
        self.token_until(scopes, None).await
    }

    pub(crate) async fn token_until(&self, scopes: &[Scope], expires_at: Option<Timestamp>) -> String {
        let token = Token::new(PROFILE.prefix, random::bytes(), random::bytes());
        let stored = StoredToken {
            id: token.id().to_owned(),
            account: "someone".to_owned(),
            hash: token.hash().hex(),
            scopes: scopes.iter().copied().collect::<Scopes>(),
            names: None,
            created_at: self.clock.now(),
            expires_at,
        };
        self.store.insert(&stored, &service_kit::audit::Actor::host()).await.unwrap();
        token.text().to_owned()
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// A request with a token.
    pub(crate) fn with(&self, method: &str, path: &str, token: &str) -> reqwest::RequestBuilder {
        self.request(method, path).bearer_auth(token)
    }

    /// What is answered to a request line (and headers) as they stand; the connection is closed after it.
    pub(crate) async fn raw(&self, head: &str) -> Raw {
        self.raw_with_host(head, &self.address.to_string()).await
    }

    pub(crate) async fn raw_with_host(&self, head: &str, host: &str) -> Raw {
        let text = format!("{head}\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        send(self.address, text.as_bytes()).await
    }
}

/// Sends bytes as they are and reads until the end.
pub(crate) async fn send(address: SocketAddr, bytes: &[u8]) -> Raw {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .expect("the service closes the connection")
        .unwrap();
    Raw::parse(&answer)
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Raw {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        Self { status, headers: headers.collect(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|fault| panic!("{fault}: {:?}", self.body))
    }
}
