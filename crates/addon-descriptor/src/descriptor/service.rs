//! One service: a container, and how it is run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::{
    Capability, Condition, Device, FileSpec, Gpus, Healthcheck, IpcMode, Logging, Mount, NetworkMode,
    PidMode, Platform, PortMapping, Resources, RestartPolicy, SecurityOptions, Tmpfs, Ulimit, UpdateOrder,
    is_default, ports,
};
use crate::image::ImageRef;
use crate::names::{ComponentName, NetworkName, ServiceName};
use crate::quantity::format_duration;
use crate::violation::Invalid;

/// A service of an addon: one container.
///
/// Text marked *substituted* may hold `${parameter}` and `$$` when the document declares parameters; see
/// [`parameters`](crate::parameters).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceSpec {
    /// Unique in the addon in its [folded](ServiceName::folded) form.
    pub service_name: ServiceName,
    /// The image, as it was published.
    pub image: ImageRef,
    /// Words, each *substituted*; empty: the image's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Words, each *substituted*; empty: the image's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Values are *substituted*; default none beside the image's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Default none beside the image's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Namespaced kernel settings; default none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// Sorted, each once; default none.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "ports::as_map")]
    pub ports: Vec<PortMapping>,
    /// Volumes and paths of the host, in the order of the document; no two on one target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Mount>,
    /// Networks by name; empty: the platform's (and the addon's default) network, or see `network_mode`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "list_or_map")]
    pub networks: BTreeMap<NetworkName, NetworkAttachment>,
    /// Further names on the addon's own networks.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub aliases: BTreeSet<String>,
    /// Small files that the service finds, read-only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileSpec>,
    /// `None`: the image's own, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// What is started before this service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub depends_on: BTreeMap<ServiceName, Dependency>,
    /// What happens when it ends; default [`RestartPolicy::Always`].
    #[serde(skip_serializing_if = "is_default")]
    pub restart: RestartPolicy,
    /// Limits; default none.
    #[serde(skip_serializing_if = "is_default")]
    pub resources: Resources,
    /// How an upgrade replaces it.
    #[serde(skip_serializing_if = "is_default")]
    pub update: Update,
    /// The core component that this service takes over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<ComponentName>,
    /// `user[:group]`, names or numbers; `None`: the image's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Further groups, names or numbers.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub group_add: BTreeSet<String>,
    /// An absolute path; `None`: the image's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// *Substituted*; `None`: the engine's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// Name servers in order; empty: the engine's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// Search domains in order; empty: the engine's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    /// Further lines of the hosts file, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "one_or_many")]
    pub extra_hosts: BTreeMap<String, Vec<HostAddress>>,
    /// An init process inside the container; default `false`.
    #[serde(skip_serializing_if = "is_default")]
    pub init: bool,
    /// A terminal; default `false`.
    #[serde(skip_serializing_if = "is_default")]
    pub tty: bool,
    /// Standard input stays open; default `false`.
    #[serde(skip_serializing_if = "is_default")]
    pub stdin_open: bool,
    /// The root file system cannot be written; default `false`.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// File systems in memory; default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<Tmpfs>,
    /// By name without `RLIMIT_`, lower case; default the engine's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// As `SIGTERM`; `None`: the image's own, else `SIGTERM`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// From the signal to the kill; default 10 s.
    #[serde(skip_serializing_if = "is_default_grace", serialize_with = "duration")]
    pub stop_grace_period: Duration,
    /// `None`: the host's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// `None`: that of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Beside Docker's default set.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub cap_add: BTreeSet<Capability>,
    /// Taken from Docker's default set.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub cap_drop: BTreeSet<Capability>,
    /// Default: no new privileges, and the engine's own profiles.
    #[serde(skip_serializing_if = "is_default")]
    pub security_opt: SecurityOptions,
    /// `None`: the networks above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_mode: Option<NetworkMode>,
    /// `None`: its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<PidMode>,
    /// `None`: the engine's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipc: Option<IpcMode>,
    /// Devices of the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Graphics processors of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Gpus>,
    /// Everything that the host can do; default `false`.
    #[serde(skip_serializing_if = "is_default")]
    pub privileged: bool,
}

impl ServiceSpec {
    /// From the stop signal to the kill when nothing else is said: the engine's own default.
    pub const DEFAULT_STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);

    /// A service with nothing but defaults.
    pub fn new(service_name: ServiceName, image: ImageRef) -> Self {
        Self {
            service_name,
            image,
            command: Vec::new(),
            entrypoint: Vec::new(),
            environment: BTreeMap::new(),
            labels: BTreeMap::new(),
            sysctls: BTreeMap::new(),
            ports: Vec::new(),
            volumes: Vec::new(),
            networks: BTreeMap::new(),
            aliases: BTreeSet::new(),
            files: Vec::new(),
            healthcheck: None,
            depends_on: BTreeMap::new(),
            restart: RestartPolicy::default(),
            resources: Resources::default(),
            update: Update::default(),
            replaces: None,
            user: None,
            group_add: BTreeSet::new(),
            working_dir: None,
            hostname: None,
            domainname: None,
            dns: Vec::new(),
            dns_search: Vec::new(),
            extra_hosts: BTreeMap::new(),
            init: false,
            tty: false,
            stdin_open: false,
            read_only: false,
            tmpfs: Vec::new(),
            ulimits: BTreeMap::new(),
            stop_signal: None,
            stop_grace_period: Self::DEFAULT_STOP_GRACE_PERIOD,
            logging: None,
            platform: None,
            cap_add: BTreeSet::new(),
            cap_drop: BTreeSet::new(),
            security_opt: SecurityOptions::default(),
            network_mode: None,
            pid: None,
            ipc: None,
            devices: Vec::new(),
            gpus: None,
            privileged: false,
        }
    }
}

/// How a service is on one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NetworkAttachment {
    /// Further names on this network.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub aliases: BTreeSet<String>,
    /// A fixed address, inside a subnet of the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_address: Option<Ipv4Addr>,
    /// A fixed address, inside a subnet of the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<Ipv6Addr>,
}

/// What a service waits for before it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// Default [`Condition::Started`].
    #[serde(skip_serializing_if = "is_default")]
    pub condition: Condition,
    /// Restarted together with what it depends on; default `false`.
    #[serde(skip_serializing_if = "is_default")]
    pub restart: bool,
}

/// How an upgrade replaces a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Update {
    /// Default [`UpdateOrder::StopFirst`].
    #[serde(skip_serializing_if = "is_default")]
    pub order: UpdateOrder,
}

/// Where a name of `extra_hosts` points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostAddress {
    /// An address.
    Ip(IpAddr),
    /// `host-gateway`: the host, as seen from the container.
    HostGateway,
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::HostGateway => f.write_str("host-gateway"),
        }
    }
}

impl FromStr for HostAddress {
    type Err = Invalid;

    /// Reads `host-gateway`, or an address, of IPv6 with or without brackets.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "host-gateway" {
            return Ok(Self::HostGateway);
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match bare {
            Some(inner) => inner.parse::<Ipv6Addr>().map(|ip| Self::Ip(ip.into())).ok(),
            None => text.parse().map(Self::Ip).ok(),
        }
        .ok_or_else(|| Invalid::new("not an IP address, nor `host-gateway`"))
    }
}

impl Serialize for HostAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn is_default_grace(period: &Duration) -> bool {
    *period == ServiceSpec::DEFAULT_STOP_GRACE_PERIOD
}

pub(super) fn duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*value))
}

/// A list of names while nothing is said about any of them, else a map.
fn list_or_map<S: Serializer>(
    networks: &BTreeMap<NetworkName, NetworkAttachment>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if networks.values().any(|attachment| !is_default(attachment)) {
        return networks.serialize(serializer);
    }
    let mut list = serializer.serialize_seq(Some(networks.len()))?;
    for name in networks.keys() {
        list.serialize_element(name)?;
    }
    list.end()
}

/// A map in which a single address stands alone.
fn one_or_many<S: Serializer>(
    hosts: &BTreeMap<String, Vec<HostAddress>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum OneOrMany<'a> {
        One(&'a HostAddress),
        Many(&'a [HostAddress]),
    }
    serializer.collect_map(hosts.iter().map(|(name, addresses)| {
        let value = match addresses.as_slice() {
            [one] => OneOrMany::One(one),
            many => OneOrMany::Many(many),
        };
        (name, value)
    }))
}
