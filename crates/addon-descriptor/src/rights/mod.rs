//! What an addon may do to its host: derived from the document, never declared by its author.
//!
//! Pure. Which of these an installation has is the manager's to decide; what each means is said here once.

mod derive;
mod paths;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::violation::Invalid;

pub use derive::rights;

/// One right, known by its text on the wire: `host-port:8080/tcp`, `docker-socket`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Right(String);

/// How far a right reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What most addons need; granted by installing.
    Normal,
    /// Taking over a component of the platform.
    Takeover,
    /// Beyond the container; must be consented to by name.
    Dangerous,
}

impl Level {
    /// `normal`, `takeover`, `dangerous`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Takeover => "takeover",
            Self::Dangerous => "dangerous",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Rights that say everything by their name.
const PLAIN: [(&str, Level); 6] = [
    ("platform-network", Level::Normal),
    ("docker-socket", Level::Dangerous),
    ("privileged", Level::Dangerous),
    ("host-pid", Level::Dangerous),
    ("host-network", Level::Dangerous),
    ("host-ipc", Level::Dangerous),
];

/// Rights that say of what, after a colon.
const OF: [(&str, Level); 15] = [
    ("external-network", Level::Normal),
    ("host-port", Level::Normal),
    ("replaces", Level::Takeover),
    ("host-path", Level::Dangerous),
    ("volume-driver-opts", Level::Dangerous),
    ("volume-plugin", Level::Dangerous),
    ("network-driver", Level::Dangerous),
    ("network-driver-opts", Level::Dangerous),
    ("external-volume", Level::Dangerous),
    ("device", Level::Dangerous),
    ("gpus", Level::Dangerous),
    ("capability", Level::Dangerous),
    ("sysctl", Level::Dangerous),
    ("security-opt", Level::Dangerous),
    ("log-driver", Level::Dangerous),
];

/// File systems that are the kernel's own, those of the host, when a volume is one: nothing masks them then.
const KERNEL_FILE_SYSTEMS: [&str; 10] = [
    "proc",
    "sysfs",
    "devtmpfs",
    "debugfs",
    "tracefs",
    "configfs",
    "securityfs",
    "efivarfs",
    "bpf",
    "binfmt_misc",
];

/// Capabilities from which root on the host follows.
const ROOT_CAPABILITIES: [&str; 10] = [
    "ALL",
    "BPF",
    "DAC_READ_SEARCH",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "PERFMON",
    "SYS_ADMIN",
    "SYS_MODULE",
    "SYS_PTRACE",
    "SYS_RAWIO",
];

impl Right {
    /// The right to take over the running component of that name; also of a takeover that is found at install.
    pub fn replaces(component: &str) -> Self {
        Self::of("replaces", component)
    }

    fn plain(kind: &str) -> Self {
        debug_assert!(PLAIN.iter().any(|(known, _)| *known == kind), "{kind} is in the table");
        Self(kind.to_owned())
    }

    fn of(kind: &str, what: impl fmt::Display) -> Self {
        debug_assert!(OF.iter().any(|(known, _)| *known == kind), "{kind} is in the table");
        Self(format!("{kind}:{what}"))
    }

    /// The text on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What sort of right it is: the text before the first colon.
    pub fn kind(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// What it is a right to: the text after the first colon.
    pub fn subject(&self) -> Option<&str> {
        self.0.split_once(':').map(|(_, subject)| subject)
    }

    /// How far it reaches.
    pub fn level(&self) -> Level {
        let table = if self.subject().is_some() { OF.as_slice() } else { PLAIN.as_slice() };
        table
            .iter()
            .find(|(kind, _)| *kind == self.kind())
            .map(|(_, level)| *level)
            .expect("a right is made from the tables, or parsed against them")
    }

    /// Whether who has it can become root on the host.
    pub fn root_on_host(&self) -> bool {
        let subject = self.subject().unwrap_or_default();
        match self.kind() {
            "docker-socket" | "privileged" | "host-pid" => true,
            "host-path" => {
                let (path, access) = subject.rsplit_once(':').unwrap_or((subject, "rw"));
                paths::gives_root(path, access == "ro")
            }
            "device" => paths::is_disk_or_memory(subject),
            "capability" => ROOT_CAPABILITIES.contains(&subject),
            // The options of a `local` volume are those of mount(8): a disk of the host, or layers of its paths.
            "volume-driver-opts" => match subject.split_once(':') {
                Some((_, option)) => {
                    option.strip_prefix("device=").is_some_and(paths::is_disk_or_memory)
                        || option.strip_prefix("o=").is_some_and(|words| words.contains("dir="))
                        || option.strip_prefix("type=").is_some_and(|kind| {
                            KERNEL_FILE_SYSTEMS.contains(&kind) || kind.starts_with("cgroup")
                        })
                }
                None => false,
            },
            _ => false,
        }
    }
}

/// A grade from 1 to 6 for people to look at: 1 nothing beyond the platform's network, 2 normal rights, 3 a takeover,
/// 4 one dangerous right, 5 several, 6 root on the host.
pub fn risk(rights: &BTreeSet<Right>) -> u8 {
    let dangerous = rights.iter().filter(|right| right.level() == Level::Dangerous).count();
    if rights.iter().any(Right::root_on_host) {
        6
    } else if dangerous > 1 {
        5
    } else if dangerous == 1 {
        4
    } else if rights.iter().any(|right| right.level() == Level::Takeover) {
        3
    } else if rights.iter().any(|right| right.as_str() != "platform-network") {
        2
    } else {
        1
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Right {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_known = match text.split_once(':') {
            None => PLAIN.iter().any(|(kind, _)| *kind == text),
            Some((kind, what)) => !what.is_empty() && OF.iter().any(|(known, _)| *known == kind),
        };
        if is_known { Ok(Self(text.to_owned())) } else { Err(Invalid::new("no right is written so")) }
    }
}

impl Serialize for Right {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Right {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(text: &str) -> Right {
        text.parse().unwrap()
    }

    #[test]
    fn levels_follow_the_kind() {
        assert_eq!(right("host-port:127.0.0.1:8080/tcp").level(), Level::Normal);
        assert_eq!(right("platform-network").level(), Level::Normal);
        assert_eq!(Right::replaces("root_scheduler").level(), Level::Takeover);
        assert_eq!(right("gpus:all").level(), Level::Dangerous);
    }

    #[test]
    fn what_is_no_right_is_refused() {
        for text in ["", "root", "docker-socket:x", "host-port", "host-port:", "privileged "] {
            assert!(text.parse::<Right>().is_err(), "{text}");
        }
    }

    #[test]
    fn root_on_the_host_is_known() {
        for text in [
            "docker-socket",
            "privileged",
            "host-pid",
            "host-path:/:ro",
            "host-path:/etc:ro",
            "host-path:/var/lib:rw",
            "host-path:/run/containerd/containerd.sock:rw",
            "device:/dev/sda1",
            "device:/dev/mem",
            "capability:SYS_ADMIN",
            "volume-driver-opts:v:device=/dev/sda1",
            "volume-driver-opts:v:o=lowerdir=/etc,upperdir=/a,workdir=/b",
            "volume-driver-opts:v:type=proc",
            "volume-driver-opts:v:type=sysfs",
            "volume-driver-opts:v:type=devtmpfs",
            "volume-driver-opts:v:type=debugfs",
            "volume-driver-opts:v:type=cgroup2",
        ] {
            assert!(right(text).root_on_host(), "{text}");
        }
        for text in [
            "host-path:/srv:rw",
            "host-path:/etc/localtime:ro",
            "host-path:${films}:rw",
            "device:/dev/ttyUSB0",
            "capability:NET_ADMIN",
            "host-network",
            "volume-driver-opts:v:device=:/export",
            "volume-driver-opts:v:type=tmpfs",
            "volume-driver-opts:v:type=nfs4",
            "host-path:/etcetera:rw",
        ] {
            assert!(!right(text).root_on_host(), "{text}");
        }
    }

    #[test]
    fn the_grade_grows_with_the_rights() {
        let grade = |texts: &[&str]| risk(&texts.iter().map(|text| right(text)).collect());
        assert_eq!(grade(&[]), 1);
        assert_eq!(grade(&["platform-network"]), 1);
        assert_eq!(grade(&["host-port:80/tcp"]), 2);
        assert_eq!(grade(&["replaces:x", "host-port:80/tcp"]), 3);
        assert_eq!(grade(&["gpus:all", "replaces:x"]), 4);
        assert_eq!(grade(&["gpus:all", "host-ipc"]), 5);
        assert_eq!(grade(&["docker-socket"]), 6);
    }
}
