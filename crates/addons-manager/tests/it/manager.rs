//! A manager for one test, with its engine and its marketplace.

use std::sync::Arc;
use std::time::Duration;

use addon_descriptor::{AddonDescriptor, Digest};
use addons_manager::app::{App, AppError, Disk, Parts};
use addons_manager::config::Config;
use addons_manager::runtime::memory::MemoryRuntime;
use reqwest::{Client, Method, header};
use serde_json::{Value, json};
use service_kit::clock::{SharedClock, SystemClock};
use tempfile::TempDir;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// Longest wait for something that the reconciler brings about, on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(20);

/// A manager that runs, and everything around it.
pub(crate) struct Manager {
    pub(crate) app: App,
    pub(crate) engine: MemoryRuntime,
    pub(crate) market: MockServer,
    pub(crate) config: Config,
    pub(crate) folder: TempDir,
    http: Client,
    token: Option<String>,
}

/// What a request was answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Its id, when it is an installation.
    pub(crate) fn id(&self) -> String {
        self.json()["_id"].as_str().unwrap_or_else(|| panic!("{}", self.text)).to_owned()
    }

    /// Holds it to a refusal with this status and code, whose words have all of these parts.
    pub(crate) fn refused(&self, status: u16, code: &str, parts: &[&str]) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{}", self.text);
        assert_eq!(problem["message"], problem["detail"]);
        for part in parts {
            assert!(self.text.contains(part), "{part:?} is not in {}", self.text);
        }
    }
}

struct FreeDisk;

#[async_trait::async_trait]
impl Disk for FreeDisk {
    async fn free_bytes(&self) -> Option<u64> {
        Some(7 << 30)
    }
}

/// A configuration for tests: any free port, no waiting.
pub(crate) fn config(market: &str) -> Config {
    let mut config = Config::default();
    config.server.0.port = 0;
    config.server.0.workers = 1;
    config.server.0.shutdown_timeout_ms = 500;
    config.marketplace.url = market.parse().unwrap();
    config
}

/// An application with this configuration, state folder and engine.
pub(crate) async fn build(
    config: &Config,
    state: &std::path::Path,
    engine: &MemoryRuntime,
) -> Result<App, AppError> {
    let parts =
        Parts { runtime: Arc::new(engine.clone()), disk: Arc::new(FreeDisk), clock: SystemClock::shared() };
    App::build(config, state, parts).await
}

impl Manager {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(change, SystemClock::shared()).await
    }

    /// One whose clock the test moves; the engine's is the machine's.
    pub(crate) async fn start_at(change: impl FnOnce(&mut Config), clock: SharedClock) -> Self {
        let market = MockServer::start().await;
        let mut config = config(&market.uri());
        change(&mut config);
        let folder = tempfile::tempdir().unwrap();
        let engine = MemoryRuntime::new(SystemClock::shared());
        let parts = Parts { runtime: Arc::new(engine.clone()), disk: Arc::new(FreeDisk), clock };
        let app = App::build(&config, &folder.path().join("state"), parts).await.unwrap();
        let token =
            std::fs::read_to_string(folder.path().join("state/admin-token")).unwrap().trim().to_owned();
        let http = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(LIMIT)
            .build()
            .unwrap();
        Self { app, engine, market, config, folder, http, token: Some(token) }
    }

    /// From now on requests carry this token, or none.
    pub(crate) fn with_token(&mut self, token: Option<String>) {
        self.token = token;
    }

    /// Puts an approved release of a document into the marketplace and its images into the registry. Its id is the answer.
    pub(crate) async fn publish(&self, document: Value) -> String {
        self.publish_with(document, json!({})).await
    }

    /// The same with members of the release changed.
    pub(crate) async fn publish_with(&self, document: Value, changes: Value) -> String {
        let descriptor = read(&document);
        let id = format!("{:024x}", u64::from_be_bytes(service_kit::random::bytes::<8>()));
        let pins: Vec<Value> = descriptor
            .services
            .iter()
            .map(|service| {
                let digest = Digest::of(service.image.as_written().as_bytes()).to_string();
                self.engine.publish(&digest, &[], false);
                json!({"service_name": service.service_name, "image": service.image.as_written(), "digest": digest,
                       "platforms": ["linux/amd64", "linux/arm64"], "bytes": 1000})
            })
            .collect();
        let mut release = descriptor.wire_value();
        let own = json!({"_id": id, "status": "approved", "digest": descriptor.digest(), "pins": pins});
        for changes in [own, changes] {
            for (key, value) in changes.as_object().unwrap() {
                match value {
                    Value::Null => drop(release.as_object_mut().unwrap().remove(key)),
                    value => release[key] = value.clone(),
                }
            }
        }
        self.serve(
            &format!("/api/v1/marketplace/addons/{id}"),
            ResponseTemplate::new(200).set_body_json(&release),
        )
        .await;
        self.serve(
            &format!("/api/v1/marketplace/addons/{id}/descriptor"),
            ResponseTemplate::new(200).set_body_raw(descriptor.canonical(), "application/json"),
        )
        .await;
        id
    }

    /// What the marketplace answers to `GET` at a path.
    pub(crate) async fn serve(&self, at: &str, answer: ResponseTemplate) {
        // Of mocks that fit, the first one answers: a later one is meant to stand before it.
        Mock::given(method("GET"))
            .and(path(at))
            .respond_with(answer)
            .with_priority(1)
            .mount(&self.market)
            .await;
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.app.url()));
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        self.send_raw(request).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.app.url()))
    }

    pub(crate) async fn send_raw(&self, mut request: reqwest::RequestBuilder) -> Answer {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            text: answer.text().await.unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn install(&self, body: Value) -> Answer {
        self.send(Method::POST, "/api/v1/addons", Some(body)).await
    }

    /// Installs a document that nothing speaks against.
    pub(crate) async fn installed(&self, document: Value) -> String {
        let release = self.publish(document).await;
        let answer = self.install(json!({"marketplace_id": release})).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.id()
    }

    /// The installation, once it has this status.
    pub(crate) async fn until(&self, id: &str, status: &str) -> Value {
        self.eventually(&format!("{id} is {status}"), async || {
            let answer = self.get(&format!("/api/v1/addons/{id}")).await.json();
            if answer["status"] == status { Ok(answer) } else { Err(answer.to_string()) }
        })
        .await
    }

    /// Until the row of an uninstalled addon is gone.
    pub(crate) async fn until_gone(&self, id: &str) {
        let id = id.parse().unwrap();
        self.eventually("the row is gone", async || {
            match self.app.storage().installation(id).await.unwrap() {
                None => Ok(()),
                Some(installation) => Err(format!("{installation:?}")),
            }
        })
        .await;
    }

    /// Asks until the answer is `Ok`, with a limit; panics with the last `Err`.
    pub(crate) async fn eventually<T>(&self, what: &str, ask: impl AsyncFn() -> Result<T, String>) -> T {
        let begun = std::time::Instant::now();
        loop {
            match ask().await {
                Ok(value) => return value,
                Err(last) if begun.elapsed() > LIMIT => panic!("not so in time: {what}; last: {last}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

pub(crate) fn read(document: &Value) -> AddonDescriptor {
    let reading = addon_descriptor::read(document.to_string().as_bytes()).unwrap();
    reading.descriptor.unwrap_or_else(|| panic!("{:#?}", reading.violations))
}

/// A document of one service.
pub(crate) fn addon(name: &str, service: Value) -> Value {
    let mut services = json!([{"service_name": "web", "image": "registry.example/web:1"}]);
    for (key, value) in service.as_object().unwrap() {
        services[0][key] = value.clone();
    }
    json!({"name": name, "version": "1.0.0", "services": services})
}

impl Manager {
    /// A release as the marketplace serves it now.
    pub(crate) async fn market_release(&self, id: &str) -> Value {
        let url = format!("{}/api/v1/marketplace/addons/{id}", self.market.uri());
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// A release as `publish` makes it.
    pub(crate) fn release_of(&self, id: &str, document: &Value) -> Value {
        let descriptor = read(document);
        let mut release = descriptor.wire_value();
        let pins = descriptor.services.iter().map(|service| {
            let digest = Digest::of(service.image.as_written().as_bytes());
            json!({"service_name": service.service_name, "image": service.image.as_written(), "digest": digest, "platforms": [], "bytes": 0})
        });
        release["pins"] = pins.collect();
        release["_id"] = json!(id);
        release["status"] = json!("approved");
        release["digest"] = json!(descriptor.digest());
        release
    }

    /// Makes a token with these scopes and goes on with it; the answer is the token before.
    pub(crate) async fn take_token(&mut self, scopes: &[&str]) -> String {
        let body = json!({"account": "somebody", "scopes": scopes});
        let made = self.send(Method::POST, "/api/v1/tokens", Some(body)).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let token = made.json()["token"].as_str().unwrap().to_owned();
        self.token.replace(token).unwrap()
    }
}
