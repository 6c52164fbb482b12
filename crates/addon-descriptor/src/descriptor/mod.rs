//! The document as types: what it means, whatever notation it was written in.
//!
//! Deriving `Serialize` here makes the canonical form: one notation for each thing, every field that equals its default
//! left out. There is no `Deserialize`: [`read`](crate::read()) is the only way in, and a test holds the two together.
//! Read on in `service` for what runs; `ports`, `mounts`, `health`, `limits`, `privileges` and `modes` hold its settings.

mod health;
mod limits;
mod modes;
mod mounts;
mod ports;
mod privileges;
mod service;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use semver::{Version, VersionReq};
use serde::{Serialize, Serializer};

use crate::names::{AddonName, NetworkName, VolumeName};
use crate::parameters::Parameter;

pub use health::{HealthTest, Healthcheck};
pub use limits::{Cpus, MemorySwap, Resources, Ulimit};
pub use modes::{
    Condition, IpcMode, LogDriver, Logging, NetworkMode, PidMode, Platform, RestartPolicy, UpdateOrder,
};
pub use mounts::{FileSource, FileSpec, Mount, MountOptions, MountSource, Propagation, SelinuxLabel, Tmpfs};
pub use ports::{HostPort, PortMapping, PortRange, Protocol};
pub use privileges::{Capability, Device, Gpus, SecurityOptions};
pub use service::{Dependency, HostAddress, NetworkAttachment, ServiceSpec, Update};

/// A whole `addon.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AddonDescriptor {
    /// Unique in a marketplace in its [folded](AddonName::folded) form.
    pub name: AddonName,
    /// What people see; `None`: the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// `None`: the marketplace gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// One paragraph, at most 1,000 characters; empty when none was given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Markdown, at most 128 KiB; empty when none was given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub readme: String,
    /// An SPDX expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// An `http` or `https` URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// Where the source is: an `http` or `https` URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// A `data:image/png` or `data:image/webp` URL in base64, at most 32 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// At most 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// At most 5.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// What this version changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// At least one, at most 64.
    pub services: Vec<ServiceSpec>,
    /// The volumes that belong to the addon, also those that only a service names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeSpec>,
    /// The networks that are declared. One that a service names without a declaration is somebody else's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<NetworkSpec>,
    /// What the operator may or must set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// What the addon needs of its host.
    #[serde(skip_serializing_if = "is_default")]
    pub requires: Requires,
}

impl AddonDescriptor {
    /// The same document with a version filled in.
    #[must_use]
    pub fn with_version(self, version: Version) -> Self {
        Self { version: Some(version), ..self }
    }

    /// What people see: the title, or the name.
    pub fn display_title(&self) -> &str {
        self.title.as_deref().unwrap_or(self.name.as_str())
    }

    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&ServiceSpec> {
        self.services.iter().find(|service| service.service_name.as_str() == name)
    }

    /// The declared volume of that name.
    pub fn volume(&self, name: &str) -> Option<&VolumeSpec> {
        self.volumes.iter().find(|volume| volume.name.as_str() == name)
    }

    /// The declared network of that name.
    pub fn network(&self, name: &str) -> Option<&NetworkSpec> {
        self.networks.iter().find(|network| network.name.as_str() == name)
    }
}

/// One line of what a version changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What sort of change it is.
    pub kind: ChangeKind,
    /// What changed, for people.
    pub text: String,
}

/// The sorts of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// Something new.
    Added,
    /// Something that works in another way.
    Changed,
    /// A fault that is gone.
    Fixed,
    /// Something that is gone.
    Removed,
    /// A weakness that is closed.
    Security,
}

/// A volume of the addon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VolumeSpec {
    /// Unique among the volumes of the addon.
    pub name: VolumeName,
    /// The volume driver; default `local`.
    #[serde(skip_serializing_if = "is_local")]
    pub driver: String,
    /// Handed to the driver; default none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: BTreeMap<String, String>,
    /// Default none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// It exists already, under this very name, and is only used; default `false`.
    #[serde(skip_serializing_if = "is_default")]
    pub external: bool,
}

impl VolumeSpec {
    /// The driver when none is given.
    pub const DEFAULT_DRIVER: &str = "local";

    /// The words of the option `o`, in order: of those that contradict each other the engine takes the last.
    pub(crate) fn mount_words(&self) -> impl Iterator<Item = &str> {
        self.driver_opts.get("o").into_iter().flat_map(|words| words.split(','))
    }

    /// Whether the options bind a path of the host (of the driver `local`).
    pub(crate) fn is_bound(&self) -> bool {
        self.driver_opts.get("type").is_some_and(|kind| kind == "bind")
            || self.mount_words().any(|word| matches!(word, "bind" | "rbind"))
    }

    /// A volume of that name with nothing but defaults.
    pub fn new(name: VolumeName) -> Self {
        Self {
            name,
            driver: Self::DEFAULT_DRIVER.to_owned(),
            driver_opts: BTreeMap::new(),
            labels: BTreeMap::new(),
            external: false,
        }
    }
}

/// A network of the addon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkSpec {
    /// Unique among the networks of the addon.
    pub name: NetworkName,
    /// The network driver; default `bridge`.
    #[serde(skip_serializing_if = "is_bridge")]
    pub driver: String,
    /// Handed to the driver; default none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: BTreeMap<String, String>,
    /// Default `false`.
    #[serde(skip_serializing_if = "is_default")]
    pub enable_ipv6: bool,
    /// No way out of the host; default `false`.
    #[serde(skip_serializing_if = "is_default")]
    pub internal: bool,
    /// Empty: chosen by the host. At most one of each family, without host bits.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "texts")]
    pub subnets: Vec<IpNet>,
    /// Default none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// It exists already, under this very name, and is only used; default `false`.
    #[serde(skip_serializing_if = "is_default")]
    pub external: bool,
}

impl NetworkSpec {
    /// The driver when none is given.
    pub const DEFAULT_DRIVER: &str = "bridge";

    /// A network of that name with nothing but defaults.
    pub fn new(name: NetworkName) -> Self {
        Self {
            name,
            driver: Self::DEFAULT_DRIVER.to_owned(),
            driver_opts: BTreeMap::new(),
            enable_ipv6: false,
            internal: false,
            subnets: Vec::new(),
            labels: BTreeMap::new(),
            external: false,
        }
    }
}

/// What an addon needs of its host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Requires {
    /// The host is one of these; empty: any that the images have.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub platforms: BTreeSet<Platform>,
    /// Addons that are installed before this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addons: Vec<AddonRequirement>,
}

/// Another addon that must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddonRequirement {
    /// The addon's name.
    pub name: AddonName,
    /// A range as Cargo writes them; default `*`, any version.
    #[serde(skip_serializing_if = "is_any_version", serialize_with = "text")]
    pub version: VersionReq,
}

fn is_local(driver: &str) -> bool {
    driver == VolumeSpec::DEFAULT_DRIVER
}

fn is_bridge(driver: &str) -> bool {
    driver == NetworkSpec::DEFAULT_DRIVER
}

fn is_any_version(range: &VersionReq) -> bool {
    *range == VersionReq::STAR
}

/// For fields whose default is that of their type.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Writes a value as its text.
pub(crate) fn text<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn texts<T: std::fmt::Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(ToString::to_string))
}
