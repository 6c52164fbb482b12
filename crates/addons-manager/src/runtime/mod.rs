//! The container runtime as the reconciler sees it: what can be observed, what can be asked, and what can go wrong.
//!
//! `docker/` is the one implementation for real engines and the only folder that knows bollard; `memory.rs` is the one for tests. Nothing
//! here decides anything.

pub mod docker;
pub mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::domain::specification::{
    NetworkSpecification, PinnedImage, Protocol, RestartPolicy, ServiceSpecification, VolumeSpecification,
};

/// An engine's id of a container that the database proves to be ours. Only `reconciler/` makes one, from a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnContainerId(pub(crate) String);

/// An engine's id of a network that the database proves to be ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnNetworkId(pub(crate) String);

/// A name of a volume that name and nonce prove to be ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnVolumeName(pub(crate) String);

impl OwnContainerId {
    /// An id for which there is a proof: a row of the ledger, or, in a test of a runtime, that the test made it.
    pub fn proved(id: impl Into<String>) -> Self {
        Self(id.into())
    }
}

impl OwnNetworkId {
    /// As [`OwnContainerId::proved`].
    pub fn proved(id: impl Into<String>) -> Self {
        Self(id.into())
    }
}

impl OwnVolumeName {
    /// As [`OwnContainerId::proved`].
    pub fn proved(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

/// One unfiltered listing of everything, taken together. Who owns what is not known here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// All containers, running or not.
    pub containers: Vec<ListedContainer>,
    /// All networks.
    pub networks: Vec<ListedNetwork>,
    /// All volumes.
    pub volumes: Vec<ListedVolume>,
}

/// A container as the list call shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ListedContainer {
    /// Engine id, 64 hex digits.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
    /// Image id, `sha256:…`.
    pub image_id: String,
    /// `created`, `running`, `restarting`, `paused`, `exited`, `dead`, `removing`.
    pub state: ContainerState,
    /// Health where there is a check, as far as the list's status text tells it.
    pub health: Option<Health>,
    /// Labels, the image's included: they prove nothing.
    pub labels: BTreeMap<String, String>,
    /// Network id to the name under which it is attached and the address it has there.
    pub networks: BTreeMap<String, ListedAttachment>,
    /// Mount targets to their source.
    pub mounts: Vec<ListedMount>,
    /// Published ports.
    pub ports: Vec<ListedPort>,
    /// Exit code as the status text tells it, for one that ended.
    pub exit_code: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum ContainerState {
    #[default]
    Created,
    Running,
    /// The engine waits before it starts it again, or is doing so. Look at this before `Running`.
    Restarting,
    Paused,
    Exited,
    Dead,
    Removing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Health {
    Starting,
    Healthy,
    Unhealthy,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct ListedAttachment {
    pub network_name: String,
    pub addresses: Vec<IpAddr>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct ListedMount {
    pub target: String,
    /// Name for a volume.
    pub volume: Option<String>,
    /// Path on the host for a bind.
    pub host_path: Option<String>,
    pub read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct ListedPort {
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: Protocol,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct ListedNetwork {
    pub id: String,
    pub name: String,
    pub driver: String,
    pub internal: bool,
    pub enable_ipv6: bool,
    pub subnets: Vec<String>,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// RFC 3339, as the engine writes it: the oldest of several of one name is the one to keep.
    pub created: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct ListedVolume {
    pub name: String,
    pub driver: String,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// A container as inspect shows it: what the listing does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InspectedContainer {
    /// What the listing tells, read from the inspect answer.
    pub listed: ListedContainer,
    /// `State.Restarting`, `State.Running`: both may be true at once.
    pub running: bool,
    /// The engine is between two starts.
    pub restarting: bool,
    /// Process id of the main process on the host, 0 when not running.
    pub pid: i64,
    /// RFC 3339, as the engine writes it: changes with each start.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
    /// Last exit code.
    pub exit_code: i64,
    /// Ended by the kernel for want of memory.
    pub oom_killed: bool,
    /// The engine's own words on a failed start.
    pub error: String,
    /// Restarts since the last start by somebody.
    pub restart_count: i64,
    /// Policy as it stands in the engine; none: one that we never write (`unless-stopped`).
    pub restart: Option<RestartPolicy>,
    /// Aliases by network name, as asked at connect (the container's short id left out).
    pub aliases: BTreeMap<String, BTreeSet<String>>,
    /// The host name that it was given: a further name on each of its networks. None where it is the short id, as by default.
    pub host_name: Option<String>,
    /// Ports as they were asked for (`HostConfig.PortBindings`), also when not running.
    pub asked_ports: Vec<ListedPort>,
    /// Limits as they stand.
    pub limits: crate::domain::specification::Resources,
    /// Differences between what was meant and what the engine made of it, in words; filled by [`ContainerRuntime::inspect_against`].
    pub differences: Vec<String>,
}

/// What an image says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InspectedImage {
    /// `sha256:…`
    pub id: String,
    /// `repository@sha256:…`
    pub repo_digests: Vec<String>,
    /// `repository:tag`
    pub repo_tags: Vec<String>,
    /// Paths of `VOLUME`.
    pub volumes: Vec<String>,
    /// Whether the image has a `HEALTHCHECK` other than `NONE`.
    pub has_healthcheck: bool,
    /// `linux/amd64`, with variant where there is one.
    pub platform: String,
}

/// What goes on beside the specification when a container is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerMeant {
    /// Name to create it under (a candidate's differs from the specification's).
    pub name: String,
    /// Local tag that the container is created from, `oak.local/<installation>:r<revision>-<service>`.
    pub image_tag: String,
    /// The image that the tag stands for.
    pub image_id: String,
    /// Ours; `oak.create` is the nonce.
    pub labels: BTreeMap<String, String>,
    /// Volumes of the image's `VOLUME`s that nothing is mounted on: target to the volume's name on the engine.
    pub image_volumes: BTreeMap<String, String>,
    /// Source folders and files of `files`: target in the container to path on the host.
    pub file_sources: BTreeMap<String, String>,
    /// Names of networks to engine ids: several networks may have one name.
    pub network_ids: BTreeMap<String, String>,
    /// Courtesy aliases that are free (network name to alias).
    pub courtesy_aliases: BTreeMap<String, String>,
    /// Restart policy to set (`no` for one that is kept out of the engine's hands).
    pub restart: RestartPolicy,
    /// Engine id of the container whose namespace is used, by service name.
    pub namespace_containers: BTreeMap<String, String>,
}

/// Something that happened on the engine. It only wakes: what is so is read anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEvent {
    /// Seconds and nanoseconds since the epoch, the engine's clock.
    pub at_ns: i64,
    /// Which kind of object.
    pub object: EventObject,
    /// Engine id of a container or network, name of a volume.
    pub id: String,
    /// `die`, `kill`, `stop`, `start`, `health_status: unhealthy`, `oom`, `destroy`, `rename`, `update`, `pause`, `unpause`, `connect`, …
    pub action: String,
    /// `exitCode`, `signal`, `name`, `container`, …
    pub attributes: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum EventObject {
    Container,
    Network,
    Volume,
    Image,
}

/// What the stream of events tells its reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventMessage {
    /// The stream is (again) open; everything since may have been missed: list.
    Connected,
    /// Something happened.
    Event(RuntimeEvent),
    /// The stream broke; the reader waits for `Connected`.
    Lost,
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// Compressed bytes that have arrived.
    pub done_bytes: u64,
    /// Compressed bytes in all, as far as known.
    pub total_bytes: u64,
}

/// The engine itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct EngineFacts {
    /// `20.10.24`
    pub version: String,
    pub api_version: String,
    /// `linux/amd64`
    pub platform: String,
    /// Where the engine keeps its data; visible to us only when we share its file system.
    pub root_dir: String,
    pub name: String,
    pub cpus: i64,
    pub memory_bytes: i64,
    pub storage_driver: String,
}

/// Why the engine did not do what it was asked for. The three kinds are what the executor acts on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// Waiting may help: no answer, 5xx, engine away, registry down or limiting.
    #[error("{operation}: {message}")]
    Retry {
        /// What was asked: `create container root_web`.
        operation: String,
        /// Why not, in the engine's words.
        message: String,
        /// As the registry or engine asked for.
        after: Option<Duration>,
        /// The engine itself did not answer.
        engine_unreachable: bool,
    },
    /// Something has to change first: bad configuration, port taken, disk full, authentication.
    #[error("{operation}: {message}")]
    WaitForChange {
        /// What was asked.
        operation: String,
        /// Why not.
        message: String,
        /// What it waits for.
        reason: ChangeNeeded,
    },
    /// Will never work: no such image, wrong architecture.
    #[error("{operation}: {message}")]
    Never {
        /// What was asked.
        operation: String,
        /// Why not.
        message: String,
    },
    /// The object is not there (any more): success for a removal, a new pass for anything else.
    #[error("{operation}: {message}")]
    Gone {
        /// What was asked.
        operation: String,
        /// What is not there: the object itself, or one that it needs.
        message: String,
    },
}

/// What around the engine decides over pulls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Bytes that are free on the engine's disk; `None` when it cannot be seen from here.
    pub free_bytes: Option<u64>,
    /// Another number when a file with logins of registries was changed.
    pub logins: u64,
}

/// What has to change before a call can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ChangeNeeded {
    PortTaken,
    NameTaken,
    DiskFull,
    Authentication,
    Configuration,
    AddressPool,
    /// A network or volume of ours that somebody else's container uses.
    InUse,
}

/// A container engine. Every call has its own deadline. "Already so" is success everywhere: starting what runs, stopping what is stopped,
/// removing what is gone, connecting what is connected. Calls that change or remove take ids that only the ledger can prove.
#[async_trait]
pub trait ContainerRuntime: Send + Sync + 'static {
    /// Containers, networks and volumes: three calls.
    async fn list(&self) -> Result<Listing, RuntimeError>;
    /// One container by id; `None` when it is not there. Also for those of others: reading is harmless.
    async fn inspect(&self, id: &str) -> Result<Option<InspectedContainer>, RuntimeError>;
    /// Inspects and says in words where the container differs from what is meant.
    async fn inspect_against(
        &self,
        id: &str,
        specification: &ServiceSpecification,
        meant: &ContainerMeant,
    ) -> Result<Option<InspectedContainer>, RuntimeError>;
    /// A volume by its name; `None` when it is not there. Also for those of others.
    async fn inspect_volume(&self, name: &str) -> Result<Option<ListedVolume>, RuntimeError>;
    /// An image by tag, id or digest reference; `None` when it is not there.
    async fn inspect_image(&self, reference: &str) -> Result<Option<InspectedImage>, RuntimeError>;
    /// The digest that a name (`docker.io/library/nginx:1.27`) has in its registry now, as the engine sees that registry; nothing is pulled.
    async fn registry_digest(&self, repository: &str, tag: &str) -> Result<String, RuntimeError>;
    /// The engine's version, platform and root, from an engine that answers now.
    async fn engine(&self) -> Result<EngineFacts, RuntimeError>;
    /// The last lines of both streams of a container, oldest first.
    async fn logs(&self, id: &str, tail: usize) -> Result<String, RuntimeError>;

    /// Pulls by digest with the credentials that are configured for the registry; idle and total deadlines. Nothing is asked of the registry
    /// when the digest is already there, and only then no progress is sent.
    async fn pull(
        &self,
        image: &PinnedImage,
        progress: mpsc::Sender<PullProgress>,
    ) -> Result<InspectedImage, RuntimeError>;
    /// Gives the image (by id) a local tag.
    async fn tag(&self, image_id: &str, tag: &str) -> Result<(), RuntimeError>;
    /// Takes a local `oak.local/…` tag away (the image goes with its last tag, unless a container uses it).
    async fn untag(&self, tag: &str) -> Result<(), RuntimeError>;

    /// Creates; `Ok` is the engine's id. A name in use is `WaitForChange(NameTaken)`.
    async fn create_container(
        &self,
        specification: &ServiceSpecification,
        meant: &ContainerMeant,
    ) -> Result<String, RuntimeError>;
    /// Creates a network with these labels; addresses by id. (An engine makes a second one of the same name: list first.)
    async fn create_network(
        &self,
        name: &str,
        specification: &NetworkSpecification,
        labels: &BTreeMap<String, String>,
    ) -> Result<String, RuntimeError>;
    /// Creates a volume with these labels, or returns the one of that name as it is: compare the answer.
    async fn create_volume(
        &self,
        name: &str,
        specification: &VolumeSpecification,
        labels: &BTreeMap<String, String>,
    ) -> Result<ListedVolume, RuntimeError>;

    /// Starts.
    async fn start(&self, id: &OwnContainerId) -> Result<(), RuntimeError>;
    /// Stops, with the grace period of the container.
    async fn stop(&self, id: &OwnContainerId, grace_s: Option<i64>) -> Result<(), RuntimeError>;
    /// Removes by force, its anonymous volumes with it (ours are all named).
    async fn remove_container(&self, id: &OwnContainerId) -> Result<(), RuntimeError>;
    /// Renames.
    async fn rename(&self, id: &OwnContainerId, name: &str) -> Result<(), RuntimeError>;
    /// Unpauses.
    async fn unpause(&self, id: &OwnContainerId) -> Result<(), RuntimeError>;
    /// Sets restart policy and limits in place.
    async fn update(
        &self,
        id: &OwnContainerId,
        restart: RestartPolicy,
        resources: &crate::domain::specification::Resources,
    ) -> Result<(), RuntimeError>;
    /// Connects a container to a network by id.
    async fn connect(
        &self,
        id: &OwnContainerId,
        network_id: &str,
        attachment: &crate::domain::specification::NetworkAttachment,
        courtesy_alias: Option<&str>,
    ) -> Result<(), RuntimeError>;
    /// Disconnects a container from a network by id.
    async fn disconnect(&self, id: &OwnContainerId, network_id: &str) -> Result<(), RuntimeError>;
    /// Removes a network of ours.
    async fn remove_network(&self, id: &OwnNetworkId) -> Result<(), RuntimeError>;
    /// Removes a volume of ours.
    async fn remove_volume(&self, name: &OwnVolumeName) -> Result<(), RuntimeError>;

    /// How long the engine has left calls without an answer, counted from the first of them; `None` while it answers.
    fn unanswered_for(&self) -> Option<Duration> {
        None
    }
    /// What failed operations may wait for and no event tells of. Cheap enough to be asked every few seconds: the engine is not asked.
    fn surroundings(&self) -> Surroundings {
        Surroundings::default()
    }

    /// Follows the engine's events for ever: reconnects with `since`, says `Lost` and `Connected`; ends when the receiver is dropped.
    fn events(&self) -> mpsc::Receiver<EventMessage>;
}

/// How long a request waits for an engine that has answered lately.
const REQUEST_WAITS: Duration = Duration::from_secs(10);
/// How long for one that has left the call before without an answer.
const REQUEST_WAITS_AGAIN: Duration = Duration::from_secs(2);

/// A read that a client's request waits for: it ends long before the read's own deadline, since people and their tools do not wait so long.
///
/// # Errors
/// Those of the call; and that the engine is unreachable where it says nothing within 10 s, or within 2 s where it was silent before.
pub async fn for_a_request<T>(
    runtime: &dyn ContainerRuntime,
    call: impl Future<Output = Result<T, RuntimeError>>,
) -> Result<T, RuntimeError> {
    let limit = if runtime.unanswered_for().is_some() { REQUEST_WAITS_AGAIN } else { REQUEST_WAITS };
    at_most(limit, call).await
}

async fn at_most<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, RuntimeError>>,
) -> Result<T, RuntimeError> {
    tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
        Err(RuntimeError::Retry {
            operation: "answer a request".to_owned(),
            message: format!("the engine said nothing within {limit:?}"),
            after: None,
            engine_unreachable: true,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_does_not_wait_for_an_engine_that_says_nothing() {
        let limit = Duration::from_millis(1);
        assert_eq!(at_most(limit, async { Ok(7) }).await.unwrap(), 7);
        let error = at_most::<()>(limit, std::future::pending()).await.unwrap_err();
        assert!(matches!(error, RuntimeError::Retry { engine_unreachable: true, .. }), "{error}");
    }
}
