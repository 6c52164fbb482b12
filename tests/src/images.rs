//! A real registry, and images made for it without a builder: a layer, a configuration and a manifest are three HTTP
//! calls (OCI distribution specification, "Push").

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::{Client, StatusCode, header};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::engine::{Engine, Signal, is_installed};
use crate::wait::eventually;
use crate::world::demo_addon;

const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 5000);
/// The gateway of the engine's default bridge, as every engine has it that is not told otherwise.
const BRIDGE: ([u8; 4], u16) = ([172, 17, 0, 1], 5000);
const START_LIMIT: Duration = Duration::from_secs(30);
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A registry of this world.
pub struct Registry {
    http: Client,
    command: String,
}

/// An image in the registry.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// As a descriptor names it: `127.0.0.1:5000/hello:1`.
    pub reference: String,
    /// Digest of the manifest, or of the index: `sha256:…`.
    pub digest: String,
    /// Digest of the configuration, which is the image id on an engine; of the first image of an index.
    pub config: String,
    repository: String,
    bytes: usize,
}

/// What is to be pushed.
#[derive(Debug, Clone)]
pub struct Image {
    repository: String,
    tag: String,
    architecture: String,
    config: Map<String, Value>,
    files: Vec<(String, Vec<u8>, u32)>,
}

impl Image {
    /// The demo addon as `<repository>:<tag>`, serving on port 8080, made for this machine.
    pub fn demo(repository: &str, tag: &str) -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let mut config = Map::new();
        config.insert("Entrypoint".into(), json!(["/demo-addon"]));
        Self {
            repository: repository.into(),
            tag: tag.into(),
            architecture: architecture.into(),
            config,
            files: Vec::new(),
        }
    }

    /// Sets a member of the image's configuration as the OCI image specification has it: `Cmd`, `Env`, `User`, …
    #[must_use]
    pub fn set(mut self, key: &str, value: Value) -> Self {
        self.config.insert(key.into(), value);
        self
    }

    /// `Labels` of the image, which the engine copies to its containers.
    #[must_use]
    pub fn labels(self, labels: &[(&str, &str)]) -> Self {
        let labels: Map<String, Value> =
            labels.iter().map(|(key, value)| ((*key).into(), json!(value))).collect();
        self.set("Labels", Value::Object(labels))
    }

    /// `VOLUME` of the image.
    #[must_use]
    pub fn volume(self, path: &str) -> Self {
        self.set("Volumes", json!({path: {}}))
    }

    /// `HEALTHCHECK` of the image, every 100 ms, failing after three.
    #[must_use]
    pub fn healthcheck(self, words: &[&str]) -> Self {
        let test: Vec<&str> = ["CMD"].iter().chain(words).copied().collect();
        // Nanoseconds: an extension of Docker's, not in the OCI specification.
        self.set(
            "Healthcheck",
            json!({"Test": test, "Interval": 100_000_000, "Timeout": 2_000_000_000_u64, "Retries": 3}),
        )
    }

    /// Another processor, as in `linux/<architecture>`. The binary stays what it is.
    #[must_use]
    pub fn architecture(mut self, architecture: &str) -> Self {
        self.architecture = architecture.into();
        self
    }

    /// One more file in the image.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.trim_start_matches('/').into(), content.into(), 0o644));
        self
    }

    fn layer(&self) -> anyhow::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut folder = tar::Header::new_gnu();
        folder.set_entry_type(tar::EntryType::Directory);
        folder.set_size(0);
        folder.set_mode(0o1777);
        archive.append_data(&mut folder, "tmp", std::io::empty())?;
        let passwd = b"root:x:0:0::/:\nnobody:x:65534:65534::/:\n".to_vec();
        let own = [
            ("demo-addon".to_owned(), fs::read(demo_addon()?)?, 0o755),
            ("etc/passwd".to_owned(), passwd, 0o644),
        ];
        for (path, content, mode) in own.iter().chain(&self.files) {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(*mode);
            archive.append_data(&mut header, path, content.as_slice())?;
        }
        Ok(archive.into_inner()?)
    }
}

impl Registry {
    pub(crate) async fn start(engine: &mut Engine, folder: &Path) -> anyhow::Result<Self> {
        ensure!(
            is_installed("docker-registry"),
            "`docker-registry` is missing (package docker-registry); `scripts/setup.sh registry` installs what the tests need"
        );
        let config = folder.join("registry.yml");
        let data = folder.join("registry");
        let port = SocketAddr::from(ADDRESS).port();
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
                 http: {{addr: ':{port}'}}\n",
                data.display()
            ),
        )?;
        let registry = Self {
            http: Client::builder().no_proxy().build()?,
            command: format!("docker-registry serve {}", config.display()),
        };
        registry.resume(engine).await?;
        Ok(registry)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(ADDRESS)
    }

    /// Where containers reach it.
    pub fn bridge_address(&self) -> SocketAddr {
        SocketAddr::from(BRIDGE)
    }

    /// Ends the registry; its images stay on its disk.
    pub async fn stop(&self, engine: &mut Engine) -> anyhow::Result<()> {
        engine.end_beside("registry", Signal::Kill).await
    }

    /// Starts it again.
    pub async fn resume(&self, engine: &mut Engine) -> anyhow::Result<()> {
        engine.start_beside("registry", &self.command).await?;
        eventually("the registry answers", START_LIMIT, async || {
            self.http.get(self.url("")).send().await?.error_for_status()?;
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Pushes one image.
    pub async fn push(&self, image: &Image) -> anyhow::Result<Pushed> {
        self.push_manifest(image, &image.tag).await
    }

    /// Pushes an index of images, one a platform, under the repository and tag of the first. The digest is the index's.
    pub async fn push_index(&self, images: &[Image]) -> anyhow::Result<Pushed> {
        let first = images.first().context("an index has at least one image")?;
        let mut manifests = Vec::new();
        let mut configs = Vec::new();
        for image in images {
            // By digest only: the tag is the index's.
            let image = Image { repository: first.repository.clone(), ..image.clone() };
            let pushed = self.push_manifest(&image, "").await?;
            manifests.push(json!({
                "mediaType": MANIFEST, "digest": pushed.digest, "size": pushed.bytes,
                "platform": {"os": "linux", "architecture": image.architecture},
            }));
            configs.push(pushed.config);
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        let config = configs.swap_remove(0);
        self.put_manifest(&first.repository, &first.tag, INDEX, serde_json::to_vec(&index)?, config).await
    }

    /// Deletes a manifest by its digest, and with it the tags that name it.
    pub async fn delete(&self, pushed: &Pushed) -> anyhow::Result<()> {
        let url = self.url(&format!("{}/manifests/{}", pushed.repository, pushed.digest));
        self.http.delete(url).send().await?.error_for_status()?;
        Ok(())
    }

    /// Whether it still serves that manifest.
    pub async fn has(&self, pushed: &Pushed) -> anyhow::Result<bool> {
        let url = self.url(&format!("{}/manifests/{}", pushed.repository, pushed.digest));
        let accept = format!("{MANIFEST}, {INDEX}");
        Ok(self.http.head(url).header(header::ACCEPT, accept).send().await?.status() == StatusCode::OK)
    }

    async fn push_manifest(&self, image: &Image, tag: &str) -> anyhow::Result<Pushed> {
        let layer = image.layer()?;
        let layer_digest = digest(&layer);
        let config = serde_json::to_vec(&json!({
            "architecture": image.architecture,
            "os": "linux",
            "config": image.config,
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        }))?;
        let config_digest = digest(&config);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config_digest, "size": config.len()},
            "layers": [{"mediaType": LAYER, "digest": layer_digest, "size": layer.len()}],
        });
        self.put_blob(&image.repository, layer).await?;
        self.put_blob(&image.repository, config).await?;
        self.put_manifest(&image.repository, tag, MANIFEST, serde_json::to_vec(&manifest)?, config_digest)
            .await
    }

    async fn put_blob(&self, repository: &str, content: Vec<u8>) -> anyhow::Result<()> {
        let digest = digest(&content);
        let answer = self.http.post(self.url(&format!("{repository}/blobs/uploads/"))).send().await?;
        ensure!(answer.status() == StatusCode::ACCEPTED, "the upload was answered with {}", answer.status());
        let location = answer.headers().get(header::LOCATION).context("an upload has a location")?;
        let place = answer.url().join(location.to_str()?)?;
        let upload = self.http.put(place).query(&[("digest", &digest)]);
        upload
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(content)
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }

    async fn put_manifest(
        &self,
        repository: &str,
        tag: &str,
        kind: &str,
        content: Vec<u8>,
        config: String,
    ) -> anyhow::Result<Pushed> {
        let digest = digest(&content);
        let bytes = content.len();
        let name = if tag.is_empty() { digest.as_str() } else { tag };
        let put = self
            .http
            .put(self.url(&format!("{repository}/manifests/{name}")))
            .header(header::CONTENT_TYPE, kind);
        put.body(content).send().await?.error_for_status()?;
        let address = self.address();
        let reference = match tag {
            "" => format!("{address}/{repository}@{digest}"),
            tag => format!("{address}/{repository}:{tag}"),
        };
        Ok(Pushed { reference, digest, config, repository: repository.to_owned(), bytes })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v2/{path}", self.address())
    }
}

impl Pushed {
    /// The same image by way of another address: that of a proxy before the registry.
    pub fn by_way_of(&self, address: SocketAddr) -> String {
        self.reference.replacen(&SocketAddr::from(ADDRESS).to_string(), &address.to_string(), 1)
    }
}

fn digest(content: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(content).iter().fold(String::from("sha256:"), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string succeeds");
        text
    })
}
