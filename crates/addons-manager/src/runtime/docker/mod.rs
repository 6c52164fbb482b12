//! The Docker Engine, through bollard: the only folder that knows it.
//!
//! Each method is one call, or the few that one thing takes, with its own deadline; "already so" is success. What is asked for is built in
//! `create.rs`, what came of it is held to that in `compare.rs`, what went wrong is judged in `errors.rs`. Nothing here knows installations,
//! the database, or why anything is done.

mod compare;
mod create;
mod disk;
mod errors;
mod events;
mod inspect;
mod list;
mod logins;
mod pull;
mod silence;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bollard::container::LogOutput;
use bollard::models::{
    ContainerInspectResponse, ImageInspect, NetworkConnectRequest, NetworkDisconnectRequest,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    ListNetworksOptions, ListVolumesOptions, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveImageOptions, RemoveVolumeOptions, RenameContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder, TagImageOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use self::compare::Comparison;
use self::errors::{Asked, Failure};
pub use self::logins::{LoginFiles, RegistryLogin};
pub use self::pull::PullSettings;
use super::{
    ContainerMeant, ContainerRuntime, EngineFacts, EventMessage, InspectedContainer, InspectedImage,
    ListedVolume, Listing, OwnContainerId, OwnNetworkId, OwnVolumeName, PullProgress, RuntimeError,
    Surroundings,
};
use crate::domain::specification::{
    NetworkAttachment, NetworkMode, NetworkSpecification, PinnedImage, Resources, RestartPolicy,
    ServiceSpecification, VolumeSpecification,
};

/// Where the engine is when nobody says.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// The client's own limit, above all of ours: each call has its deadline here.
const CLIENT_LIMIT_S: u64 = 24 * 3600;

/// Bytes of a container's log that are kept at most: a line may be of any length.
const LOG_BYTES: usize = 256 * 1024;

/// Images whose inspect answer is kept, by id. What is under an id never changes.
const KEPT_IMAGES: u64 = 256;

/// How the engine is reached and how long it may take.
#[derive(Debug, Clone, Default)]
pub struct DockerSettings {
    /// `unix:///path`, `tcp://host:port`; none: the default socket.
    pub host: Option<String>,
    /// For an engine behind TLS.
    pub tls: Option<DockerTls>,
    /// Deadlines.
    pub timeouts: DockerTimeouts,
    /// Pulls.
    pub pulls: PullSettings,
    /// Logins by registry, as the configuration or Docker's `config.json` names it.
    pub registries: BTreeMap<String, RegistryLogin>,
    /// Where they came from: read anew when a file has changed.
    pub login_files: Option<LoginFiles>,
}

impl DockerSettings {
    fn host(&self) -> &str {
        self.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(DEFAULT_HOST)
    }

    /// Whether the engine runs on this machine, so that its paths may mean something here.
    fn engine_is_local(&self) -> bool {
        self.host().starts_with("unix://") || self.host().starts_with('/')
    }
}

/// Files in PEM format for an engine that checks its clients.
#[derive(Debug, Clone)]
pub struct DockerTls {
    /// The authority that signed the engine's certificate.
    pub ca: PathBuf,
    /// Our certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// How long each kind of call may take.
#[derive(Debug, Clone)]
pub struct DockerTimeouts {
    /// Lists, inspects, facts: beyond it the engine counts as away.
    pub read: Duration,
    /// Creating, connecting, renaming, updating, removing.
    pub change: Duration,
    /// Starting (a volume's driver may have to mount something far away first).
    pub start: Duration,
    /// Stopping, beyond the container's own grace period.
    pub stop_beyond_grace: Duration,
    /// Reading logs.
    pub logs: Duration,
    /// Pause between two questions whether the engine is still there, while events are followed and while a call is silent.
    pub heartbeat: Duration,
    /// How long it may take to say so: beyond it the engine counts as away, however long the call itself may take.
    pub ping: Duration,
}

impl Default for DockerTimeouts {
    fn default() -> Self {
        Self {
            read: Duration::from_secs(30),
            change: Duration::from_secs(120),
            start: Duration::from_secs(180),
            stop_beyond_grace: Duration::from_secs(30),
            logs: Duration::from_secs(20),
            heartbeat: Duration::from_secs(5),
            ping: Duration::from_secs(10),
        }
    }
}

/// A Docker Engine. Cheap to clone.
#[derive(Clone)]
pub struct DockerRuntime {
    inner: Arc<Inner>,
}

/// What the modules of this folder share.
struct Inner {
    settings: DockerSettings,
    client: OnceLock<Docker>,
    pulls: pull::Pulls,
    logins: logins::Logins,
    silence: silence::Silence,
    images: moka::sync::Cache<String, Arc<ImageInspect>>,
    facts: RwLock<Option<Arc<Facts>>>,
    /// The connection was lost since they were asked for: another engine may answer next.
    facts_are_old: AtomicBool,
}

/// What does not change while an engine runs.
struct Facts {
    /// `linux/amd64`
    platform: String,
    root_dir: String,
    abilities: compare::Abilities,
    shown: EngineFacts,
}

impl DockerRuntime {
    /// An engine that need not be there yet: it is looked for at the first call, and at each until it is found.
    pub fn new(settings: DockerSettings) -> Self {
        let pulls = pull::Pulls::new(settings.pulls.parallel);
        let images = moka::sync::Cache::new(KEPT_IMAGES);
        let logins = logins::Logins::new(settings.registries.clone(), settings.login_files.clone());
        Self {
            inner: Arc::new(Inner {
                settings,
                client: OnceLock::new(),
                pulls,
                logins,
                silence: silence::Silence::default(),
                images,
                facts: RwLock::default(),
                facts_are_old: AtomicBool::new(false),
            }),
        }
    }

    /// Free bytes on the disk of the engine's root; `None` when it cannot be seen from here.
    pub async fn free_bytes(&self) -> Result<Option<u64>, RuntimeError> {
        let facts = self
            .inner
            .facts()
            .await
            .map_err(|failure| failure.into_error("look at the engine's disk", Asked::Read))?;
        Ok(disk::EngineDisk::of(&facts.root_dir, self.inner.settings.engine_is_local()).free_bytes())
    }
}

impl Inner {
    fn client(&self) -> Result<&Docker, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = connect(&self.settings)?.with_request_modifier(|mut request| {
            // Engines read this header in the alphabet for URLs, and take a login that they cannot read for none.
            if let Some(login) = request.headers_mut().get_mut("X-Registry-Auth")
                && let Ok(text) = login.to_str().map(|text| text.replace('+', "-").replace('/', "_"))
                && let Ok(text) = text.parse()
            {
                *login = text;
            }
            request
        });
        Ok(self.client.get_or_init(|| client))
    }

    /// `None` when it is not there.
    async fn raw_container(&self, id: &str) -> Result<Option<ContainerInspectResponse>, Failure> {
        let call = self.client()?.inspect_container(id, None::<InspectContainerOptions>);
        absent(self.within(self.settings.timeouts.read, call).await)
    }

    /// `None` when it is not there.
    async fn raw_image(&self, reference: &str) -> Result<Option<ImageInspect>, Failure> {
        absent(self.within(self.settings.timeouts.read, self.client()?.inspect_image(reference)).await)
    }

    /// An image by id, from memory where it is known and `is_enough` says that nothing newer is needed.
    async fn known_image(
        &self,
        id: &str,
        is_enough: impl Fn(&ImageInspect) -> bool,
    ) -> Result<Option<Arc<ImageInspect>>, Failure> {
        if let Some(known) = self.images.get(id).filter(|known| is_enough(known)) {
            return Ok(Some(known));
        }
        let found = self.raw_image(id).await?.map(Arc::new);
        if let Some(found) = &found {
            self.images.insert(id.to_owned(), Arc::clone(found));
        }
        Ok(found)
    }

    async fn facts(&self) -> Result<Arc<Facts>, Failure> {
        match self.known_facts() {
            Some(known) => Ok(known),
            None => self.fresh_facts().await,
        }
    }

    fn known_facts(&self) -> Option<Arc<Facts>> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn fresh_facts(&self) -> Result<Arc<Facts>, Failure> {
        let docker = self.client()?;
        let limit = self.settings.timeouts.read;
        // Before the question: a connection that is lost meanwhile makes its answer old.
        self.facts_are_old.store(false, Ordering::SeqCst);
        let answer =
            tokio::try_join!(self.within(limit, docker.version()), self.within(limit, docker.info()));
        let (version, info) = answer.inspect_err(|_| self.facts_are_old.store(true, Ordering::SeqCst))?;
        let platform = format!("{}/{}", version.os.unwrap_or_default(), version.arch.unwrap_or_default());
        // An engine that says nothing is taken to be able: then a limit that is not kept is a difference.
        let able = |said: Option<bool>| said.unwrap_or(true);
        let facts = Arc::new(Facts {
            abilities: compare::Abilities {
                memory: able(info.memory_limit),
                swap: able(info.swap_limit),
                cpuset: able(info.cpu_set),
                pids: able(info.pids_limit),
            },
            root_dir: info.docker_root_dir.clone().unwrap_or_default(),
            shown: EngineFacts {
                version: version.version.unwrap_or_default(),
                api_version: version.api_version.unwrap_or_default(),
                platform: platform.clone(),
                root_dir: info.docker_root_dir.unwrap_or_default(),
                name: info.name.unwrap_or_default(),
                cpus: info.ncpu.unwrap_or_default(),
                memory_bytes: info.mem_total.unwrap_or_default(),
                storage_driver: info.driver.unwrap_or_default(),
            },
            platform,
        });
        *self.facts.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&facts));
        Ok(facts)
    }

    /// Says which of the host paths that are given as binds are missing: the engine would make folders of them.
    async fn check_bound_paths(
        &self,
        specification: &ServiceSpecification,
        meant: &ContainerMeant,
    ) -> Result<(), RuntimeError> {
        let paths = create::bound_paths(specification);
        if paths.is_empty() {
            return Ok(());
        }
        let operation = format!("create container {}", meant.name);
        let docker = self.client().map_err(|failure| failure.into_error(&operation, Asked::Change))?;
        let probe = docker.create_container(None, create::probe_of_paths(&meant.image_tag, &paths));
        match self.within(self.settings.timeouts.change, probe).await {
            Err(failure) if failure.says("bind source path does not exist") => {
                Err(failure.into_error(&operation, Asked::Change))
            }
            Err(failure @ (Failure::Unreachable(_) | Failure::Deadline(_))) => {
                Err(failure.into_error(&operation, Asked::Change))
            }
            _ => Ok(()),
        }
    }
}

fn connect(settings: &DockerSettings) -> Result<Docker, Failure> {
    let host = settings.host();
    if let Some(path) = host.strip_prefix("unix://").or_else(|| host.starts_with('/').then_some(host)) {
        return Ok(Docker::connect_with_unix(path, CLIENT_LIMIT_S, API_DEFAULT_VERSION)?);
    }
    if !["tcp://", "http://", "https://"].iter().any(|scheme| host.starts_with(scheme)) {
        return Err(Failure::Unreachable(format!(
            "docker.host {host:?} is neither unix:///path nor tcp://host:port"
        )));
    }
    let client = match &settings.tls {
        Some(tls) => Docker::connect_with_ssl(
            host,
            &tls.key,
            &tls.certificate,
            &tls.ca,
            CLIENT_LIMIT_S,
            API_DEFAULT_VERSION,
        )?,
        None => Docker::connect_with_http(host, CLIENT_LIMIT_S, API_DEFAULT_VERSION)?,
    };
    Ok(client)
}

/// `None` for what is not there.
fn absent<T>(outcome: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.is_not_there() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// `Ok` for a failure that says that it is so already.
fn unless(outcome: Result<(), Failure>, already: impl Fn(&Failure) -> bool) -> Result<(), Failure> {
    match outcome {
        Err(failure) if already(&failure) => Ok(()),
        outcome => outcome,
    }
}

/// `repository` and `tag`: the last colon after the last slash.
fn split_tag(reference: &str) -> (&str, &str) {
    match reference.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (reference, "latest"),
    }
}

#[async_trait]
impl ContainerRuntime for DockerRuntime {
    async fn list(&self) -> Result<Listing, RuntimeError> {
        let listed = async {
            let docker = self.inner.client()?;
            let limit = self.inner.settings.timeouts.read;
            let all = ListContainersOptionsBuilder::new().all(true).build();
            tokio::try_join!(
                self.inner.within(limit, docker.list_containers(Some(all))),
                self.inner.within(limit, docker.list_networks(None::<ListNetworksOptions>)),
                self.inner.within(limit, docker.list_volumes(None::<ListVolumesOptions>)),
            )
        };
        let (containers, networks, volumes) =
            listed.await.map_err(|failure: Failure| failure.into_error("list", Asked::Read))?;
        let networks: Vec<_> = networks.into_iter().map(list::network).collect();
        Ok(Listing {
            containers: containers.into_iter().map(|summary| list::container(summary, &networks)).collect(),
            networks,
            volumes: volumes.volumes.unwrap_or_default().into_iter().map(list::volume).collect(),
        })
    }

    async fn inspect(&self, id: &str) -> Result<Option<InspectedContainer>, RuntimeError> {
        let found = self.inner.raw_container(id).await;
        let found =
            found.map_err(|failure| failure.into_error(&format!("inspect container {id}"), Asked::Read))?;
        Ok(found.as_ref().map(inspect::container))
    }

    async fn inspect_against(
        &self,
        id: &str,
        specification: &ServiceSpecification,
        meant: &ContainerMeant,
    ) -> Result<Option<InspectedContainer>, RuntimeError> {
        let body = create::container(specification, meant)?;
        let looked = async {
            let Some(made) = self.inner.raw_container(id).await? else { return Ok(None) };
            let pin = &specification.image.digest;
            let image_id = made.image.as_deref().unwrap_or_default();
            let image = self.inner.known_image(image_id, |known| compare::holds_pin(known, pin)).await?;
            let abilities = self.inner.facts().await?.abilities;
            Ok(Some((made, image, abilities)))
        };
        let looked = looked.await.map_err(|failure: Failure| {
            failure.into_error(&format!("inspect container {}", meant.name), Asked::Read)
        })?;
        let Some((made, image, abilities)) = looked else { return Ok(None) };
        let comparison =
            Comparison { specification, meant, body: &body, made: &made, image: image.as_deref(), abilities };
        let differences = comparison.differences();
        let fields = differences.iter().map(|difference| difference.field.clone()).collect();
        let mut inspected = inspect::container(&made);
        inspected.limits = inspect::limits_as_meant(inspected.limits, &specification.resources, &fields);
        inspected.differences = differences.into_iter().map(|difference| difference.words).collect();
        Ok(Some(inspected))
    }

    async fn inspect_volume(&self, name: &str) -> Result<Option<ListedVolume>, RuntimeError> {
        let looked = async {
            let call = self.inner.client()?.inspect_volume(name);
            absent(self.inner.within(self.inner.settings.timeouts.read, call).await)
        };
        let found = looked
            .await
            .map_err(|failure: Failure| failure.into_error(&format!("inspect volume {name}"), Asked::Read))?;
        Ok(found.map(list::volume))
    }

    async fn inspect_image(&self, reference: &str) -> Result<Option<InspectedImage>, RuntimeError> {
        let found = self.inner.raw_image(reference).await;
        let found = found
            .map_err(|failure| failure.into_error(&format!("inspect image {reference}"), Asked::Read))?;
        Ok(found.as_ref().map(inspect::image))
    }

    async fn registry_digest(&self, repository: &str, tag: &str) -> Result<String, RuntimeError> {
        pull::registry_digest(&self.inner, repository, tag).await
    }

    async fn engine(&self) -> Result<EngineFacts, RuntimeError> {
        let asked = async {
            // An engine starts four programs to tell its version. Once it has, it only has to be there.
            let known = self.inner.known_facts().filter(|_| !self.inner.facts_are_old.load(Ordering::SeqCst));
            let Some(known) = known else { return self.inner.fresh_facts().await };
            self.inner.within(self.inner.settings.timeouts.read, self.inner.client()?.ping()).await?;
            Ok(known)
        };
        asked
            .await
            .map(|facts| facts.shown.clone())
            .map_err(|failure: Failure| failure.into_error("ask the engine for its facts", Asked::Read))
    }

    async fn logs(&self, id: &str, tail: usize) -> Result<String, RuntimeError> {
        let read = async {
            let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&tail.to_string()).build();
            let mut stream = self.inner.client()?.logs(id, Some(options)).boxed();
            let mut text: Vec<u8> = Vec::new();
            while let Some(chunk) = stream.next().await {
                text.extend_from_slice(&chunk.map(LogOutput::into_bytes).map_err(Failure::from)?);
                if text.len() > 2 * LOG_BYTES {
                    text.drain(..text.len() - LOG_BYTES);
                }
            }
            Ok(text)
        };
        let limit = self.inner.settings.timeouts.logs;
        let outcome = tokio::time::timeout(limit, read).await.unwrap_or(Err(Failure::Deadline(limit)));
        match outcome {
            Ok(text) => {
                Ok(String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_BYTES)..]).into_owned())
            }
            Err(failure) if failure.says("does not support reading") => {
                Ok("(the service's logging driver keeps no logs that can be read here)\n".to_owned())
            }
            Err(failure) => Err(failure.into_error(&format!("read the logs of container {id}"), Asked::Read)),
        }
    }

    async fn pull(
        &self,
        image: &PinnedImage,
        progress: mpsc::Sender<PullProgress>,
    ) -> Result<InspectedImage, RuntimeError> {
        pull::pull(&self.inner, image, progress).await
    }

    async fn tag(&self, image_id: &str, tag: &str) -> Result<(), RuntimeError> {
        let (repository, name) = split_tag(tag);
        let options = TagImageOptionsBuilder::new().repo(repository).tag(name).build();
        self.change(|docker| docker.tag_image(image_id, Some(options)), &format!("tag {tag}")).await
    }

    async fn untag(&self, tag: &str) -> Result<(), RuntimeError> {
        let operation = format!("remove tag {tag}");
        let Some(image) = self.inspect_image(tag).await? else { return Ok(()) };
        let remove = |docker: &Docker, reference: String| {
            let docker = docker.clone();
            async move { docker.remove_image(&reference, None::<RemoveImageOptions>, None).await.map(|_| ()) }
        };
        // A container that was made from it keeps it: it is asked for again when that has gone.
        let in_use = |failure: &Failure| failure.status() == Some(409);
        let limit = self.inner.settings.timeouts.change;
        let removed = async {
            let docker = self.inner.client()?;
            unless(self.inner.within(limit, remove(docker, tag.to_owned())).await, |failure| {
                failure.is_not_there() || in_use(failure)
            })?;
            let left = self.inner.raw_image(&image.id).await?;
            // The digest under which it was pulled is no reason to keep an image that nobody has a name for.
            if left.is_some_and(|left| left.repo_tags.unwrap_or_default().is_empty()) {
                unless(self.inner.within(limit, remove(docker, image.id.clone())).await, |failure| {
                    failure.is_not_there() || in_use(failure)
                })?;
            }
            Ok(())
        };
        removed.await.map_err(|failure: Failure| failure.into_error(&operation, Asked::Change))
    }

    async fn create_container(
        &self,
        specification: &ServiceSpecification,
        meant: &ContainerMeant,
    ) -> Result<String, RuntimeError> {
        let operation = format!("create container {}", meant.name);
        let mut body = create::container(specification, meant)?;
        // What was made is compared with the image afterwards, from memory then.
        let image = self.inner.known_image(&meant.image_id, |_| true).await;
        let image = image.map_err(|failure| failure.into_error(&operation, Asked::Read))?;
        if let Some(of_image) = image.as_ref().and_then(|image| image.config.as_ref()?.labels.as_ref()) {
            create::empty_image_labels(body.labels.get_or_insert_default(), of_image, &operation)?;
        }
        self.inner.check_bound_paths(specification, meant).await?;
        let options = CreateContainerOptionsBuilder::new().name(&meant.name).build();
        let created = self.change(|docker| docker.create_container(Some(options), body), &operation).await?;
        for warning in &created.warnings {
            tracing::warn!(container.name = %meant.name, warning, "the engine made a container with a warning");
        }
        // The further networks, before anybody can start it. What fails here leaves a container that is found again by its name and nonce.
        let id = OwnContainerId(created.id);
        if let NetworkMode::Networks(attachments) = &specification.network {
            for attachment in attachments.iter().skip(1) {
                let courtesy = meant.courtesy_aliases.get(&attachment.network).map(String::as_str);
                self.connect(&id, create::network_id(attachment, meant)?, attachment, courtesy).await?;
            }
        }
        Ok(id.0)
    }

    async fn create_network(
        &self,
        name: &str,
        specification: &NetworkSpecification,
        labels: &BTreeMap<String, String>,
    ) -> Result<String, RuntimeError> {
        let body = create::network_request(name, specification, labels);
        Ok(self.change(|docker| docker.create_network(body), &format!("create network {name}")).await?.id)
    }

    async fn create_volume(
        &self,
        name: &str,
        specification: &VolumeSpecification,
        labels: &BTreeMap<String, String>,
    ) -> Result<ListedVolume, RuntimeError> {
        let body = create::volume_request(name, specification, labels);
        Ok(list::volume(
            self.change(|docker| docker.create_volume(body), &format!("create volume {name}")).await?,
        ))
    }

    async fn start(&self, id: &OwnContainerId) -> Result<(), RuntimeError> {
        let started = async {
            let call = self.inner.client()?.start_container(&id.0, None::<StartContainerOptions>);
            self.inner.within(self.inner.settings.timeouts.start, call).await
        };
        started
            .await
            .map_err(|failure| failure.into_error(&format!("start container {}", id.0), Asked::Start))
    }

    async fn stop(&self, id: &OwnContainerId, grace_s: Option<i64>) -> Result<(), RuntimeError> {
        let operation = format!("stop container {}", id.0);
        let stopped = async {
            let docker = self.inner.client()?;
            // How long the engine will wait is the container's own affair, unless we say so.
            let grace_s = match grace_s {
                Some(grace_s) => Some(grace_s),
                None => self.inner.raw_container(&id.0).await?.and_then(|found| found.config?.stop_timeout),
            };
            let mut options = StopContainerOptionsBuilder::new();
            if let Some(grace_s) = grace_s {
                options = options.t(i32::try_from(grace_s).unwrap_or(i32::MAX));
            }
            let grace = Duration::from_secs(u64::try_from(grace_s.unwrap_or(ENGINE_GRACE_S)).unwrap_or(0));
            let limit = grace.saturating_add(self.inner.settings.timeouts.stop_beyond_grace);
            let options = options.build();
            match self.inner.within(limit, docker.stop_container(&id.0, Some(options.clone()))).await {
                // A frozen process hears no signal.
                Err(failure) if failure.says("is paused") => {
                    self.inner
                        .within(self.inner.settings.timeouts.change, docker.unpause_container(&id.0))
                        .await?;
                    self.inner.within(limit, docker.stop_container(&id.0, Some(options))).await
                }
                outcome => outcome,
            }
        };
        stopped.await.map_err(|failure| failure.into_error(&operation, Asked::Change))
    }

    async fn remove_container(&self, id: &OwnContainerId) -> Result<(), RuntimeError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let operation = format!("remove container {}", id.0);
        gone_is_fine(self.change(|docker| docker.remove_container(&id.0, Some(options)), &operation).await)
    }

    async fn rename(&self, id: &OwnContainerId, name: &str) -> Result<(), RuntimeError> {
        let options = RenameContainerOptionsBuilder::new().name(name).build();
        let operation = format!("rename container {} to {name}", id.0);
        let already = |failure: &Failure| failure.says("same name as its current name");
        self.change_unless(|docker| docker.rename_container(&id.0, options), &operation, already).await
    }

    async fn unpause(&self, id: &OwnContainerId) -> Result<(), RuntimeError> {
        let operation = format!("unpause container {}", id.0);
        let already = |failure: &Failure| failure.says("is not paused");
        self.change_unless(|docker| docker.unpause_container(&id.0), &operation, already).await
    }

    async fn update(
        &self,
        id: &OwnContainerId,
        restart: RestartPolicy,
        resources: &Resources,
    ) -> Result<(), RuntimeError> {
        let body = create::update(restart, resources);
        self.change(|docker| docker.update_container(&id.0, body), &format!("update container {}", id.0))
            .await
    }

    async fn connect(
        &self,
        id: &OwnContainerId,
        network_id: &str,
        attachment: &NetworkAttachment,
        courtesy_alias: Option<&str>,
    ) -> Result<(), RuntimeError> {
        let operation = format!("connect container {} to network {}", id.0, attachment.network);
        let endpoint = create::endpoint(network_id, attachment, courtesy_alias);
        let body = NetworkConnectRequest { container: id.0.clone(), endpoint_config: Some(endpoint) };
        let connected = async {
            let limit = self.inner.settings.timeouts.change;
            match self.inner.within(limit, self.inner.client()?.connect_network(network_id, body)).await {
                // Either this container is there already, or one that died left its end behind: only the container itself tells.
                Err(failure)
                    if failure.says("already exists in network")
                        || failure.says("already attached to network") =>
                {
                    let found = self.inner.raw_container(&id.0).await?;
                    let is_there = found.is_some_and(|found| {
                        inspect::container(&found).listed.networks.contains_key(network_id)
                    });
                    if is_there { Ok(()) } else { Err(failure) }
                }
                outcome => outcome,
            }
        };
        connected.await.map_err(|failure| failure.into_error(&operation, Asked::Change))
    }

    async fn disconnect(&self, id: &OwnContainerId, network_id: &str) -> Result<(), RuntimeError> {
        let body = NetworkDisconnectRequest { container: id.0.clone(), force: Some(false) };
        let operation = format!("disconnect container {} from network {network_id}", id.0);
        let already = |failure: &Failure| failure.says("is not connected to") || failure.is_not_there();
        self.change_unless(|docker| docker.disconnect_network(network_id, body), &operation, already).await
    }

    async fn remove_network(&self, id: &OwnNetworkId) -> Result<(), RuntimeError> {
        gone_is_fine(
            self.change(|docker| docker.remove_network(&id.0), &format!("remove network {}", id.0)).await,
        )
    }

    async fn remove_volume(&self, name: &OwnVolumeName) -> Result<(), RuntimeError> {
        let call = |docker: &Docker| {
            let docker = docker.clone();
            async move { docker.remove_volume(&name.0, None::<RemoveVolumeOptions>).await }
        };
        let operation = format!("remove volume {}", name.0);
        let already = Failure::is_not_there;
        let removed = async {
            unless(
                self.inner.within(self.inner.settings.timeouts.change, call(self.inner.client()?)).await,
                already,
            )
        };
        removed.await.map_err(|failure: Failure| failure.into_error(&operation, Asked::Change))
    }

    fn unanswered_for(&self) -> Option<Duration> {
        self.inner.silence.since_first()
    }

    fn surroundings(&self) -> Surroundings {
        let facts = self.inner.known_facts();
        let disk =
            facts.map(|facts| disk::EngineDisk::of(&facts.root_dir, self.inner.settings.engine_is_local()));
        Surroundings {
            free_bytes: disk.and_then(|disk| disk.free_bytes()),
            logins: self.inner.logins.fingerprint(),
        }
    }

    fn events(&self) -> mpsc::Receiver<EventMessage> {
        events::follow(Arc::clone(&self.inner))
    }
}

/// The engine's grace period where neither the container nor the call has one.
const ENGINE_GRACE_S: i64 = 10;

fn gone_is_fine(outcome: Result<(), RuntimeError>) -> Result<(), RuntimeError> {
    match outcome {
        Err(RuntimeError::Gone { .. }) => Ok(()),
        outcome => outcome,
    }
}

impl DockerRuntime {
    /// One call that changes something.
    async fn change<'a, T, F>(
        &'a self,
        call: impl FnOnce(&'a Docker) -> F,
        operation: &str,
    ) -> Result<T, RuntimeError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        let changed = async {
            self.inner.within(self.inner.settings.timeouts.change, call(self.inner.client()?)).await
        };
        changed.await.map_err(|failure| failure.into_error(operation, Asked::Change))
    }

    /// One call that changes something, unless it is so already.
    async fn change_unless<'a, F>(
        &'a self,
        call: impl FnOnce(&'a Docker) -> F,
        operation: &str,
        already: impl Fn(&Failure) -> bool,
    ) -> Result<(), RuntimeError>
    where
        F: Future<Output = Result<(), bollard::errors::Error>>,
    {
        let changed = async {
            unless(
                self.inner.within(self.inner.settings.timeouts.change, call(self.inner.client()?)).await,
                already,
            )
        };
        changed.await.map_err(|failure| failure.into_error(operation, Asked::Change))
    }
}
