//! A registry that speaks the distribution API, and misbehaves on request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use addon_descriptor::Digest;
use marketplace::config::Config;
use serde_json::{Value, json};
use wiremock::matchers::{header, method, path, path_regex};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::market::insecure;

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A registry on a loopback port.
pub(crate) struct Registry {
    pub(crate) server: MockServer,
}

/// What stands under a tag.
pub(crate) struct Pushed {
    pub(crate) digest: Digest,
    pub(crate) image: String,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .and(path_regex("^/v2/.*"))
            .respond_with(error(404, "MANIFEST_UNKNOWN"))
            .with_priority(200)
            .mount(&server)
            .await;
        Self { server }
    }

    /// `host:port`, as it stands in images.
    pub(crate) fn host(&self) -> String {
        self.server.address().to_string()
    }

    /// Lets a marketplace ask this registry.
    pub(crate) fn allow(&self, config: &mut Config) {
        config.registries.insert(self.host(), insecure());
    }

    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// An image of one platform, under a tag.
    pub(crate) async fn push(&self, repository: &str, tag: &str) -> Pushed {
        let digest = self.manifest(repository, "amd64", 1000).await.0;
        self.tag(repository, tag, digest, OCI_MANIFEST, manifest("amd64", 1000)).await
    }

    /// An image of so many bytes, under its digest alone.
    pub(crate) async fn push_of(&self, repository: &str, bytes: u64) -> Digest {
        self.manifest(repository, "amd64", bytes).await.0
    }

    /// An index of images with these configurations, each for the platform that is written here, under a tag.
    pub(crate) async fn push_configured(
        &self,
        repository: &str,
        tag: &str,
        parts: &[(&str, Value)],
    ) -> Pushed {
        let mut entries = Vec::new();
        for (architecture, config) in parts {
            let mut entry = self.entry(repository, config).await;
            entry["platform"] = json!({"os": "linux", "architecture": architecture});
            entries.push(entry);
        }
        self.push_listing(repository, tag, &entries).await
    }

    /// An image with this configuration, as an index lists it, without platform.
    pub(crate) async fn entry(&self, repository: &str, config: &Value) -> Value {
        let config = serde_json::to_vec(config).unwrap();
        let manifest = manifest_of(&config, 1000);
        let digest = Digest::of(&manifest);
        let at = format!("/v2/{repository}/manifests/{digest}");
        self.serve(&at, served(OCI_MANIFEST, &manifest), 100).await;
        let blob = format!("/v2/{repository}/blobs/{}", Digest::of(&config));
        self.serve(&blob, served("application/octet-stream", &config), 100).await;
        json!({"mediaType": OCI_MANIFEST, "digest": digest.to_string(), "size": manifest.len()})
    }

    /// An index of these entries, under a tag.
    pub(crate) async fn push_listing(&self, repository: &str, tag: &str, entries: &[Value]) -> Pushed {
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
        let bytes = serde_json::to_vec(&index).unwrap();
        self.tag(repository, tag, Digest::of(&bytes), OCI_INDEX, bytes).await
    }

    /// An index of several platforms and an attestation, under a tag.
    pub(crate) async fn push_index(&self, repository: &str, tag: &str, architectures: &[&str]) -> Pushed {
        let mut entries = Vec::new();
        for (n, architecture) in architectures.iter().enumerate() {
            let (digest, size) = self.manifest(repository, architecture, 1000 + n as u64).await;
            entries.push(json!({
                "mediaType": OCI_MANIFEST, "digest": digest.to_string(), "size": size,
                "platform": {"os": "linux", "architecture": architecture},
            }));
        }
        entries.push(json!({
            "mediaType": OCI_MANIFEST, "digest": Digest::of(b"attestation").to_string(), "size": 1,
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
        }));
        self.push_listing(repository, tag, &entries).await
    }

    async fn tag(&self, repository: &str, tag: &str, digest: Digest, kind: &str, bytes: Vec<u8>) -> Pushed {
        for reference in [tag.to_owned(), digest.to_string()] {
            self.serve(&format!("/v2/{repository}/manifests/{reference}"), served(kind, &bytes), 100).await;
        }
        Pushed { digest, image: self.image(&format!("{repository}:{tag}")) }
    }

    async fn manifest(&self, repository: &str, architecture: &str, bytes: u64) -> (Digest, usize) {
        let manifest = manifest(architecture, bytes);
        let digest = Digest::of(&manifest);
        let size = manifest.len();
        self.serve(&format!("/v2/{repository}/manifests/{digest}"), served(OCI_MANIFEST, &manifest), 100)
            .await;
        let config = config(architecture);
        let blob = format!("/v2/{repository}/blobs/{}", Digest::of(&config));
        self.serve(&blob, served("application/octet-stream", &config), 100).await;
        (digest, size)
    }

    /// Answers GETs of a path; a lower priority goes first.
    pub(crate) async fn serve(&self, at: &str, answer: impl Respond + 'static, priority: u8) {
        Mock::given(method("GET"))
            .and(path(at))
            .respond_with(answer)
            .with_priority(priority)
            .mount(&self.server)
            .await;
    }

    /// Answers everything so, `times` times, before what is otherwise served.
    pub(crate) async fn fail(&self, answer: ResponseTemplate, times: u64) {
        Mock::given(method("GET"))
            .respond_with(answer)
            .up_to_n_times(times)
            .with_priority(1)
            .mount(&self.server)
            .await;
    }

    /// Answers everything so while the switch is on.
    pub(crate) async fn switch(&self, answer: ResponseTemplate) -> Switch {
        let on = Arc::new(AtomicBool::new(true));
        let held = Arc::clone(&on);
        Mock::given(method("GET"))
            .and(move |_: &Request| held.load(Ordering::SeqCst))
            .respond_with(answer)
            .with_priority(1)
            .mount(&self.server)
            .await;
        Switch(on)
    }

    /// Asks for a login before anything below `/v2/`.
    pub(crate) async fn protect(&self, challenge: &str, authorization: &str) {
        self.protect_paths("^/v2/.*", challenge, authorization).await;
    }

    /// Asks for a login before paths like this one.
    pub(crate) async fn protect_paths(&self, paths: &str, challenge: &str, authorization: &str) {
        let wanted = authorization.to_owned();
        let without = move |request: &Request| {
            request.headers.get("authorization").and_then(|value| value.to_str().ok())
                != Some(wanted.as_str())
        };
        let answer = error(401, "UNAUTHORIZED").insert_header("www-authenticate", challenge);
        Mock::given(method("GET"))
            .and(path_regex(paths))
            .and(without)
            .respond_with(answer)
            .with_priority(2)
            .mount(&self.server)
            .await;
    }

    /// A token service at `/token`, open to who sends this `Authorization`, or to all.
    pub(crate) async fn token_service(&self, authorization: Option<&str>, token: &str) {
        let answer = ResponseTemplate::new(200)
            .set_body_json(json!({"token": token, "access_token": token, "expires_in": 60}));
        let mock = Mock::given(method("GET")).and(path("/token"));
        let mock = match authorization {
            Some(value) => mock.and(header("authorization", value)),
            None => mock,
        };
        mock.respond_with(answer).with_priority(3).mount(&self.server).await;
    }

    /// Requests that came so far.
    pub(crate) async fn requests(&self) -> Vec<Request> {
        self.server.received_requests().await.unwrap()
    }
}

/// A fault that can be ended.
pub(crate) struct Switch(Arc<AtomicBool>);

impl Switch {
    pub(crate) fn off(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// An error as registries write it.
pub(crate) fn error(status: u16, code: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({"errors": [{"code": code, "message": "no"}]}))
}

pub(crate) fn served(kind: &str, bytes: &[u8]) -> ResponseTemplate {
    ResponseTemplate::new(200)
        .insert_header("docker-content-digest", Digest::of(bytes).to_string())
        .set_body_raw(bytes.to_vec(), kind)
}

pub(crate) fn config(architecture: &str) -> Vec<u8> {
    serde_json::to_vec(&json!({"os": "linux", "architecture": architecture, "rootfs": {"type": "layers"}}))
        .unwrap()
}

/// The manifest of an image of one layer.
pub(crate) fn manifest(architecture: &str, bytes: u64) -> Vec<u8> {
    manifest_of(&config(architecture), bytes)
}

/// The manifest of an image of one layer with this configuration.
fn manifest_of(config: &[u8], bytes: u64) -> Vec<u8> {
    let manifest: Value = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": Digest::of(config).to_string(), "size": config.len()},
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": Digest::of(&Digest::of(config).to_string().into_bytes()).to_string(), "size": bytes,
        }],
    });
    serde_json::to_vec(&manifest).unwrap()
}
