//! The settings of a service that are a choice among few: enums with their one text each.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::is_default;
use crate::names::ServiceName;
use crate::violation::Invalid;

/// Writes types as the text that they show.
macro_rules! serialize_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
pub(super) use serialize_as_text;

serialize_as_text!(RestartPolicy, NetworkMode, PidMode, IpcMode, Condition, UpdateOrder, LogDriver, Platform);

/// What happens when a container ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// `always`: it runs again.
    #[default]
    Always,
    /// `unless-stopped`
    UnlessStopped,
    /// `on-failure[:n]`: again after an exit code other than 0, at most `n` times (at least 1).
    OnFailure {
        /// `None`: without bound.
        max_retries: Option<u32>,
    },
    /// `no`: it is a job.
    No,
}

impl RestartPolicy {
    /// Whether a service with this policy may complete: exit 0 is its end.
    pub fn is_job(self) -> bool {
        matches!(self, Self::No | Self::OnFailure { .. })
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::UnlessStopped => f.write_str("unless-stopped"),
            Self::OnFailure { max_retries: None } => f.write_str("on-failure"),
            Self::OnFailure { max_retries: Some(n) } => write!(f, "on-failure:{n}"),
            Self::No => f.write_str("no"),
        }
    }
}

/// The network namespace, where it is not that of the networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkMode {
    /// The engine's own bridge.
    Bridge,
    /// The host's.
    Host,
    /// No network at all.
    None,
    /// That of another service of the addon.
    Service(ServiceName),
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge => f.write_str("bridge"),
            Self::Host => f.write_str("host"),
            Self::None => f.write_str("none"),
            Self::Service(name) => write!(f, "service:{name}"),
        }
    }
}

/// The process namespace, where it is not the container's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PidMode {
    /// The host's.
    Host,
    /// That of another service of the addon.
    Service(ServiceName),
}

impl fmt::Display for PidMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Service(name) => write!(f, "service:{name}"),
        }
    }
}

/// The namespace of shared memory, where it is not the engine's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IpcMode {
    /// Its own, nobody else's.
    Private,
    /// Its own, and others may join.
    Shareable,
    /// The host's.
    Host,
    /// That of another service of the addon.
    Service(ServiceName),
}

impl fmt::Display for IpcMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => f.write_str("private"),
            Self::Shareable => f.write_str("shareable"),
            Self::Host => f.write_str("host"),
            Self::Service(name) => write!(f, "service:{name}"),
        }
    }
}

/// What must be true of a service before another starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Condition {
    /// `service_started`
    #[default]
    Started,
    /// `service_healthy`
    Healthy,
    /// `service_completed_successfully`
    Completed,
}

impl Condition {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Started, Self::Healthy, Self::Completed];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "service_started",
            Self::Healthy => "service_healthy",
            Self::Completed => "service_completed_successfully",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which container goes first when an upgrade replaces one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UpdateOrder {
    /// The old one stops before the new one starts.
    #[default]
    StopFirst,
    /// The new one is healthy before the old one stops.
    StartFirst,
}

impl fmt::Display for UpdateOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StopFirst => "stop-first",
            Self::StartFirst => "start-first",
        })
    }
}

/// Where logs go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Logging {
    /// `None`: the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<LogDriver>,
    /// Handed to the driver.
    #[serde(skip_serializing_if = "is_default")]
    pub options: std::collections::BTreeMap<String, String>,
}

/// A log driver that is built into Docker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogDriver(&'static str);

impl LogDriver {
    /// The names of all of them.
    pub const ALL: [&str; 11] = [
        "json-file",
        "local",
        "none",
        "syslog",
        "journald",
        "gelf",
        "fluentd",
        "awslogs",
        "splunk",
        "gcplogs",
        "etwlogs",
    ];

    /// As the engine writes it.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// Whether the log stays with the engine.
    pub fn is_local(self) -> bool {
        matches!(self.0, "json-file" | "local" | "none")
    }
}

impl FromStr for LogDriver {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|name| *name == text).map(Self).ok_or_else(|| {
            Invalid::new(format!(
                "none of the log drivers that are built into Docker: {}",
                Self::ALL.join(", ")
            ))
        })
    }
}

impl fmt::Display for LogDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// An operating system and architecture: `linux/arm64`, `linux/arm/v7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform(&'static str);

impl Platform {
    /// Those that engines run on.
    pub const ALL: [&str; 13] = [
        "linux/386",
        "linux/amd64",
        "linux/arm/v5",
        "linux/arm/v6",
        "linux/arm/v7",
        "linux/arm64",
        "linux/loong64",
        "linux/mips64le",
        "linux/ppc64le",
        "linux/riscv64",
        "linux/s390x",
        "linux/amd64/v2",
        "linux/amd64/v3",
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// `linux`
    pub fn os(self) -> &'static str {
        self.part(0).expect("every platform has an operating system")
    }

    /// `arm`
    pub fn architecture(self) -> &'static str {
        self.part(1).expect("every platform has an architecture")
    }

    /// `v7`
    pub fn variant(self) -> Option<&'static str> {
        self.part(2)
    }

    fn part(self, index: usize) -> Option<&'static str> {
        self.0.split('/').nth(index)
    }
}

impl FromStr for Platform {
    type Err = Invalid;

    /// Reads a known one; `linux/arm` is `linux/arm/v7` and `linux/arm64/v8` is `linux/arm64`, as registries have it.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let plain = match text {
            "linux/arm" => "linux/arm/v7",
            "linux/arm64/v8" => "linux/arm64",
            "linux/amd64/v1" => "linux/amd64",
            other => other,
        };
        Self::ALL
            .into_iter()
            .find(|name| *name == plain)
            .map(Self)
            .ok_or_else(|| Invalid::new(format!("none of the platforms: {}", Self::ALL.join(", "))))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_have_parts() {
        let platform: Platform = "linux/arm".parse().unwrap();
        assert_eq!(
            (platform.os(), platform.architecture(), platform.variant()),
            ("linux", "arm", Some("v7"))
        );
        assert_eq!("linux/arm64/v8".parse::<Platform>().unwrap().to_string(), "linux/arm64");
        assert!("windows/amd64".parse::<Platform>().is_err());
    }
}
