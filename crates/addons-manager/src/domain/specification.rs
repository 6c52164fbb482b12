//! The resolved specification of a service: exactly what the engine is asked for, as stored with a revision.
//!
//! It is made once, by `resolve.rs`, from the descriptor, the pins, the parameters and the host's defaults of that day. Passes compare the
//! engine with the stored value and never compute it anew. It knows neither the engine's client nor the database.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::claim::addresses_overlap;

/// Everything that one revision of an installation asks of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionSpecification {
    /// One entry a service, by its name in the descriptor.
    pub services: BTreeMap<String, ServiceSpecification>,
    /// The networks that belong to the addon, by their name on the engine.
    pub networks: BTreeMap<String, NetworkSpecification>,
    /// The volumes that belong to the addon, by their name on the engine (those of images are known at create only).
    pub volumes: BTreeMap<String, VolumeSpecification>,
    /// Networks of others that services are attached to, by their name on the engine. The platform's network is made when missing and
    /// never removed.
    pub shared_networks: BTreeMap<String, SharedNetwork>,
    /// Volumes of others (`external`) that services mount, by their name on the engine.
    pub external_volumes: Vec<String>,
}

/// A network that is not the addon's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SharedNetwork {
    /// `platform.network`: created when it is missing, never removed.
    Platform,
    /// Somebody else's: must exist.
    External,
}

/// What one container is asked to be. Names, `oak.*` labels, image tags and paths of `files` on the host are not part of
/// [`ServiceSpecification::digest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpecification {
    /// Name in the descriptor.
    pub service_name: String,
    /// Name on the engine.
    pub container_name: String,
    /// What runs.
    pub image: PinnedImage,
    /// Words of the command; none: the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Words of the entrypoint; none: the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Environment, `K` to `V`.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The descriptor's own labels. Ours are added at create.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Namespaced kernel settings.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// Published ports, one entry a container port and host address; host ports are chosen once and fixed here.
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
    /// Mounts other than `files`, in order of their target.
    #[serde(default)]
    pub mounts: Vec<MountSpecification>,
    /// Small files bound read-only.
    #[serde(default)]
    pub files: Vec<FileSpecification>,
    /// How the container is connected.
    pub network: NetworkMode,
    /// PID namespace; none: its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<NamespaceMode>,
    /// IPC namespace; none: the engine's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipc: Option<NamespaceMode>,
    /// Health check that replaces the image's; none: the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthcheckSpecification>,
    /// Whether an unhealthy container is restarted.
    pub restart_unhealthy: bool,
    /// What must be so before this service is started.
    #[serde(default)]
    pub depends_on: Vec<Dependency>,
    /// When it is restarted.
    pub restart: RestartPolicy,
    /// Whether an upgrade has the new container up before the old one is stopped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub start_first: bool,
    /// Limits.
    #[serde(default)]
    pub resources: Resources,
    /// Everything else that is handed to the engine as it is.
    #[serde(default)]
    pub settings: Settings,
}

/// An image by the digest that was reviewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedImage {
    /// As published, for people: `nginx:1.27`.
    pub reference: String,
    /// Registry and repository as the engine pulls it: `docker.io/library/nginx`.
    pub repository: String,
    /// `sha256:…` of the index or manifest.
    pub digest: String,
    /// `os/architecture[/variant]` where the descriptor asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Compressed bytes of the host's platform, where the pin says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A port of the container that is published on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Port in the container.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: Protocol,
    /// Address on the host; none: all addresses of both families.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// Port on the host, never 0.
    pub host_port: u16,
    /// Nobody asked for this one: it was chosen, and is the installation's for its life.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chosen: bool,
}

/// Transport of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// Something that is mounted into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpecification {
    /// Absolute path in the container.
    pub target: String,
    /// What is mounted there.
    pub source: MountSource,
    /// `ro`.
    #[serde(default)]
    pub read_only: bool,
    /// Bind propagation (`rslave`, …), for host paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<String>,
    /// `z` or `Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selinux: Option<String>,
    /// `nocopy`, for volumes.
    #[serde(default)]
    pub no_copy: bool,
}

/// The left side of a mount.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountSource {
    /// A volume, by its name on the engine: the addon's own (also of a mount that is only a path), or an external one.
    Volume(String),
    /// A path of the host.
    HostPath(String),
}

/// A small file the service finds at `path`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSpecification {
    /// Absolute path in the container.
    pub path: String,
    /// What stands in it.
    pub content: String,
    /// Permission bits, `0o444` by default.
    pub mode: u32,
}

/// How a container is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// On these networks, by their names on the engine; the first is given at create.
    Networks(Vec<NetworkAttachment>),
    /// The engine's default bridge.
    Bridge,
    /// The host's network.
    Host,
    /// No network.
    None,
    /// The network of another service of this addon.
    Service(String),
}

/// One network of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAttachment {
    /// Name on the engine.
    pub network: String,
    /// Names it answers to there, besides the container's own. Sorted.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The prefixed alias that is given only while nobody else has it there; never a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub courtesy_alias: Option<String>,
    /// Fixed address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_address: Option<Ipv4Addr>,
    /// Fixed address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<Ipv6Addr>,
}

/// Whose namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamespaceMode {
    /// The host's.
    Host,
    /// Another service's of this addon.
    Service(String),
    /// Its own, shared with nobody (`ipc` only).
    Private,
    /// Its own, others may join (`ipc` only).
    Shareable,
}

/// A health check; durations in nanoseconds, as the engine takes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthcheckSpecification {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", "…"]`; empty: the image's test.
    pub test: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[allow(missing_docs)]
    pub interval_ns: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[allow(missing_docs)]
    pub timeout_ns: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[allow(missing_docs)]
    pub start_period_ns: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[allow(missing_docs)]
    pub start_interval_ns: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[allow(missing_docs)]
    pub retries: Option<i64>,
}

/// One entry of `depends_on`, and each service whose namespace is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The other service, by its name in the descriptor.
    pub service: String,
    /// What must be so of it.
    pub condition: DependencyCondition,
    /// Whether this service is restarted when the other one is.
    #[serde(default)]
    pub restart: bool,
    /// Whether this service lives in the other's namespace: then it is restarted, or recreated, with it.
    #[serde(default)]
    pub namespace: bool,
}

/// As in Compose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum DependencyCondition {
    ServiceStarted,
    ServiceHealthy,
    ServiceCompletedSuccessfully,
}

/// When a container that ended is run again. `unless-stopped` is `Always` here: it was
/// measured to stay down after a crash of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// It is a service: it must run.
    Always,
    /// It is a job that may be tried again this often; none: without bound.
    OnFailure(Option<u32>),
    /// It is a job that is run once.
    No,
}

impl RestartPolicy {
    /// Whether an exit with 0 completes the service.
    pub fn is_job(self) -> bool {
        !matches!(self, Self::Always)
    }
}

/// Limits, in bytes, nano CPUs and counts; none: no limit that nobody asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Resources {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_reservation_bytes: Option<i64>,
    /// As the engine takes it: memory and swap together, -1 is without bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_swap_bytes: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_bytes: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<String>,
    /// The host's default where the descriptor says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<i64>,
}

/// The rest of what the engine is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Settings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_add: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    /// `host:ip`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    #[serde(default)]
    pub tty: bool,
    #[serde(default)]
    pub stdin_open: bool,
    #[serde(default)]
    pub read_only: bool,
    /// Path to options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tmpfs: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ulimits: Vec<Ulimit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Whole seconds, rounded up; none: the engine's 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_grace_period_s: Option<i64>,
    /// Driver and options; the host's default (json-file, 3 x 10 MiB) where the descriptor says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    /// As the engine takes them, `no-new-privileges` included where it applies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_opt: Vec<String>,
    #[serde(default)]
    pub privileged: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// -1 is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Logging {
    pub driver: String,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Device {
    pub host_path: String,
    pub container_path: String,
    /// Some of `rwm`.
    pub permissions: String,
}

/// A network of the addon's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct NetworkSpecification {
    /// Name in the descriptor (`default` for the one that is made unasked).
    pub key: String,
    pub driver: String,
    #[serde(default)]
    pub driver_opts: BTreeMap<String, String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub internal: bool,
    #[serde(default)]
    pub enable_ipv6: bool,
    /// CIDR; chosen from the host's pool and claimed where the descriptor names none. Empty for drivers without address management.
    #[serde(default)]
    pub subnets: Vec<String>,
}

/// A volume of the addon's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct VolumeSpecification {
    /// Name in the descriptor; none for a mount that was only a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    pub driver: String,
    #[serde(default)]
    pub driver_opts: BTreeMap<String, String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl RevisionSpecification {
    /// Services in an order in which each comes after those that it depends on.
    pub fn start_order(&self) -> Vec<&ServiceSpecification> {
        let mut order: Vec<&ServiceSpecification> = Vec::new();
        let mut placed = BTreeSet::new();
        while order.len() < self.services.len() {
            let before = order.len();
            for service in self.services.values() {
                let name = service.service_name.as_str();
                let ready = service.depends_on.iter().all(|dependency| {
                    placed.contains(dependency.service.as_str())
                        || !self.services.contains_key(&dependency.service)
                });
                if !placed.contains(name) && ready {
                    placed.insert(name);
                    order.push(service);
                }
            }
            if order.len() == before {
                // A cycle, which validation refuses: the rest in order of names rather than never.
                order.extend(
                    self.services.values().filter(|service| !placed.contains(service.service_name.as_str())),
                );
            }
        }
        order
    }
}

impl ServiceSpecification {
    /// Whether the other one cannot run, or not well, while this one does: both want the same port, address, name,
    /// volume or device.
    pub fn is_in_the_way_of(&self, other: &Self) -> bool {
        let ports = self.ports.iter().any(|port| {
            other.ports.iter().any(|theirs| {
                port.host_port == theirs.host_port
                    && port.protocol == theirs.protocol
                    && addresses_overlap(port.host_ip, theirs.host_ip)
            })
        });
        let networks = match (&self.network, &other.network) {
            // Which ports they listen on, nothing tells.
            (NetworkMode::Host, NetworkMode::Host) => true,
            (NetworkMode::Host, _) => !other.ports.is_empty(),
            (_, NetworkMode::Host) => !self.ports.is_empty(),
            (NetworkMode::Service(ours), NetworkMode::Service(theirs)) => ours == theirs,
            (NetworkMode::Networks(ours), NetworkMode::Networks(theirs)) => ours.iter().any(|ours| {
                theirs.iter().any(|theirs| {
                    let same_v4 = ours.ipv4_address.is_some() && ours.ipv4_address == theirs.ipv4_address;
                    let same_v6 = ours.ipv6_address.is_some() && ours.ipv6_address == theirs.ipv6_address;
                    ours.network == theirs.network && (same_v4 || same_v6)
                })
            }),
            _ => false,
        };
        let volumes = self.mounts.iter().any(|mount| {
            let theirs = other.mounts.iter();
            !mount.read_only
                && theirs.filter(|theirs| !theirs.read_only).any(|theirs| theirs.source == mount.source)
        });
        let ours = &self.settings.devices;
        let devices = ours
            .iter()
            .any(|device| other.settings.devices.iter().any(|theirs| theirs.host_path == device.host_path));
        ports || networks || volumes || devices || self.container_name == other.container_name
    }

    /// SHA-256 over what recreates the container, `sha256:<hex>`: the image by its pin and `files` by their content, neither names, `oak.*`
    /// labels, tags, which ports were chosen, nor what only the reconciler uses (dependencies, restart of unhealthy ones, the order of an upgrade, the restart policy, which can be changed in place).
    pub fn digest(&self) -> String {
        use sha2::Digest as _;
        let mut covered = self.clone();
        covered.container_name.clear();
        covered.image.reference.clear();
        covered.image.bytes = None;
        covered.depends_on.clear();
        covered.restart_unhealthy = true;
        covered.restart = RestartPolicy::Always;
        covered.start_first = false;
        for port in &mut covered.ports {
            port.chosen = false;
        }
        let bytes = serde_json::to_vec(&covered).expect("a specification has string keys only");
        let hash = sha2::Sha256::digest(&bytes);
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }
}
