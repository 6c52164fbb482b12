//! A marketplace of a test's own, and how a test speaks with it. On SQLite; with `MARKETPLACE_TESTS_ON=postgres` in the
//! environment the same tests run on PostgreSQL.

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use addon_client::{Timestamp, VerificationReport};
use marketplace::app::App;
use marketplace::config::Config;
use marketplace::storage::Storage;
use postgres_for_tests::Database;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use service_kit::clock::{SharedClock, SystemClock, TestClock};
use service_kit::config::{RegistrySettings, Secret};

use crate::registry::Registry;

/// Longest wait for something that happens at once.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) const ADDONS: &str = "/api/v1/marketplace/addons";

/// A running marketplace.
pub(crate) struct Market {
    app: Option<App>,
    config: Config,
    clock: SharedClock,
    http: reqwest::Client,
    url: String,
    token: String,
    _folder: tempfile::TempDir,
    /// Where the whole run is on PostgreSQL.
    _database: Option<Database>,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The answer, which must have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// The body of a problem, which must have this status and code.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        let body = self.expect(status).json();
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["status"], status);
        assert_eq!(body["message"], body["detail"]);
        body
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Waits until `condition` gives something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(begun.elapsed() < LIMIT, "in {LIMIT:?} it did not come to this: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A document with one service.
pub(crate) fn document(name: &str, image: &str) -> Value {
    json!({"name": name, "services": [{"service_name": "a", "image": image}]})
}

/// A PostgreSQL database with the marketplace's tables.
pub(crate) async fn postgres() -> Database {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/marketplace/postgres");
    let mut steps: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    steps.sort();
    let texts: Vec<u8> = steps.iter().flat_map(|step| std::fs::read(step).unwrap()).collect();
    let key = format!("it_{}", &addon_descriptor::Digest::of(&texts).hex()[..16]);
    postgres_for_tests::database(&key, async |url| {
        let mut config = Config::default();
        config.database.url = Some(Secret::new(url));
        let settings = config.postgres().unwrap().unwrap();
        Storage::open_postgres(&settings).await.unwrap().db().close().await;
    })
    .await
}

/// A database of its own on PostgreSQL for a marketplace that has none, where the run is to be on that.
async fn on_postgres(config: &mut Config) -> Option<Database> {
    let wanted = std::env::var_os("MARKETPLACE_TESTS_ON").is_some_and(|on| on == "postgres");
    if !wanted || config.database.url.is_some() {
        return None;
    }
    let database = postgres().await;
    config.database.url = Some(Secret::new(database.url()));
    Some(database)
}

impl Market {
    /// A marketplace that may ask this registry.
    pub(crate) async fn beside(registry: &Registry) -> Self {
        Self::start(|config| registry.allow(config)).await
    }

    /// The same for tests that do more at once than an account may.
    pub(crate) async fn without_limits(registry: &Registry) -> Self {
        Self::start(|config| {
            registry.allow(config);
            config.limits.enabled = false;
        })
        .await
    }

    /// A marketplace with other settings than the defaults.
    pub(crate) async fn start(configure: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(configure, SystemClock::shared()).await
    }

    /// One whose clock the test moves.
    pub(crate) async fn start_with_clock(configure: impl FnOnce(&mut Config)) -> (Self, TestClock) {
        let clock = TestClock::at("2026-11-21T10:00:00Z".parse::<Timestamp>().unwrap());
        (Self::start_at(configure, std::sync::Arc::new(clock.clone())).await, clock)
    }

    /// One on SQLite, whatever the run is on: for what only one process at a database can rely on.
    pub(crate) async fn in_a_file(configure: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(configure, SystemClock::shared(), None, true).await
    }

    /// One more on the database that `configure` names, whose administrator has this token.
    pub(crate) async fn joining(token: &str, configure: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(configure, SystemClock::shared(), Some(token), false).await
    }

    async fn start_at(configure: impl FnOnce(&mut Config), clock: SharedClock) -> Self {
        Self::start_with(configure, clock, None, false).await
    }

    async fn start_with(
        configure: impl FnOnce(&mut Config),
        clock: SharedClock,
        token: Option<&str>,
        in_a_file: bool,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { state_dir: Some(folder.path().to_owned()), ..Config::default() };
        config.server.port = 0;
        config.verification.retry_base_ms = 20;
        config.verification.retry_cap_ms = 100;
        config.verification.lease_ms = 10_000;
        config.verification.request_timeout_ms = 2_000;
        config.verification.idle_timeout_ms = 500;
        configure(&mut config);
        let database = if in_a_file { None } else { on_postgres(&mut config).await };
        let app = App::build(&config, clock.clone()).await.unwrap();
        let url = app.running().url();
        let written =
            || std::fs::read_to_string(folder.path().join("admin-token")).unwrap().trim().to_owned();
        let token = token.map_or_else(written, str::to_owned);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { app: Some(app), config, clock, http, url, token, _folder: folder, _database: database }
    }

    /// Stops and starts on the same state.
    pub(crate) async fn restart(&mut self) {
        self.app.take().unwrap().stop().await;
        let app = App::build(&self.config, self.clock.clone()).await.unwrap();
        self.url = app.running().url();
        self.app = Some(app);
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Writes a backup, while it runs.
    pub(crate) async fn back_up(&self, file: &Path) {
        marketplace::backup::backup(&self.config, file).await.unwrap();
    }

    /// Stops, puts a backup in the place of the database, and starts.
    pub(crate) async fn restore(&mut self, file: &Path) {
        self.app.take().unwrap().stop().await;
        for end in ["", "-wal", "-shm"] {
            let path = self.config.state_dir().join(format!("marketplace.db{end}"));
            if path.exists() {
                std::fs::remove_file(path).unwrap();
            }
        }
        marketplace::backup::restore(&self.config, file).await.unwrap();
        let app = App::build(&self.config, self.clock.clone()).await.unwrap();
        self.url = app.running().url();
        self.app = Some(app);
    }

    pub(crate) fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    /// Sends a request as somebody: `None` is nobody.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Vec<u8>>,
    ) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        self.finish(request).await
    }

    /// The administrator's token.
    pub(crate) fn admin(&self) -> &str {
        &self.token
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn finish(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    /// As nobody.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, None).await
    }

    /// As the administrator.
    pub(crate) async fn get_as_admin(&self, path: &str) -> Answer {
        self.send(Method::GET, path, Some(&self.token), None).await
    }

    /// As the administrator.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(&self.token), Some(serde_json::to_vec(body).unwrap())).await
    }

    /// As the administrator.
    pub(crate) async fn delete(&self, id: &str) -> Answer {
        self.send(Method::DELETE, &format!("{ADDONS}/{id}"), Some(&self.token), None).await
    }

    /// As the administrator.
    pub(crate) async fn publish(&self, document: &Value) -> Answer {
        self.post(ADDONS, document).await
    }

    /// Publishes, and gives the new release's id.
    pub(crate) async fn published(&self, document: &Value) -> String {
        let answer = self.publish(document).await.expect(201);
        answer.json()["_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn release(&self, id: &str) -> Value {
        self.get(&format!("{ADDONS}/{id}")).await.expect(200).json()
    }

    /// Waits until a release has this status.
    pub(crate) async fn until(&self, id: &str, status: &str) -> Value {
        eventually(&format!("{id} is {status}"), || async {
            let release = self.release(id).await;
            (release["status"] == status).then_some(release)
        })
        .await
    }

    /// Publishes, and waits until it is approved.
    pub(crate) async fn approved(&self, document: &Value) -> Value {
        let id = self.published(document).await;
        self.until(&id, "approved").await
    }

    pub(crate) async fn report(&self, id: &str) -> VerificationReport {
        let answer = self.get_as_admin(&format!("{ADDONS}/{id}/verification")).await.expect(200);
        serde_json::from_str(&answer.text).unwrap()
    }

    /// Waits for a report of which this holds.
    pub(crate) async fn until_report(
        &self,
        id: &str,
        what: &str,
        holds: impl Fn(&VerificationReport) -> bool,
    ) -> VerificationReport {
        eventually(what, || async {
            let report = self.report(id).await;
            holds(&report).then_some(report)
        })
        .await
    }

    /// A token of another account.
    pub(crate) async fn token(&self, account: &str, scopes: &[&str], names: Option<&str>) -> String {
        let mut body = json!({"account": account, "scopes": scopes});
        if let Some(names) = names {
            body["name_pattern"] = names.into();
        }
        let answer = self.post("/api/v1/tokens", &body).await;
        assert_eq!(StatusCode::from_u16(answer.status).unwrap(), StatusCode::CREATED, "{}", answer.text);
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn act(&self, id: &str, action: &str, body: &Value) -> Answer {
        self.post(&format!("{ADDONS}/{id}/{action}"), body).await
    }

    pub(crate) async fn stop(mut self) {
        self.app.take().unwrap().stop().await;
    }
}

/// How tests name a registry that is spoken to in plain http.
pub(crate) fn insecure() -> RegistrySettings {
    RegistrySettings { insecure: true, ..RegistrySettings::default() }
}
