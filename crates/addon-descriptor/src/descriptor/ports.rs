//! Published ports: container first, as Oakestra has it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

use crate::names::ParameterName;

/// One published port, or one range of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortMapping {
    /// The port, or ports, inside the container.
    pub container: PortRange,
    /// Default TCP.
    pub protocol: Protocol,
    /// The address of the host that it is published on; `None`: all.
    pub address: Option<IpAddr>,
    /// The port, or ports, of the host.
    pub host: HostPort,
}

impl PortMapping {
    /// The key of the canonical map: `80`, `53/udp`, `8000-8002`.
    pub fn container_text(&self) -> String {
        match self.protocol {
            Protocol::Tcp => self.container.to_string(),
            protocol => format!("{}/{protocol}", self.container),
        }
    }

    /// The value of the canonical map: a host port, `ip:port`, `[::1]:port`, a range, or empty for any free one.
    pub fn host_text(&self) -> String {
        match (self.address, &self.host) {
            (Some(IpAddr::V4(ip)), HostPort::Any) => format!("{ip}:0"),
            (Some(IpAddr::V6(ip)), HostPort::Any) => format!("[{ip}]:0"),
            (None, host) => host.to_string(),
            (Some(IpAddr::V4(ip)), host) => format!("{ip}:{host}"),
            (Some(IpAddr::V6(ip)), host) => format!("[{ip}]:{host}"),
        }
    }
}

/// Ports from `first` to `last`, both included; 1 to 65535, `first` not above `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port; the same as `first` for a single one.
    pub last: u16,
}

impl PortRange {
    /// How many ports there are; at least 1.
    pub fn count(&self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// Each port, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u16> + use<> {
        self.first..=self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// The host's side of a published port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPort {
    /// Any free one (of a range: each), chosen once.
    Any,
    /// These; as many as the container has.
    Fixed(PortRange),
    /// The value of a parameter.
    Parameter(ParameterName),
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::Fixed(range) => write!(f, "{range}"),
            Self::Parameter(name) => write!(f, "${{{name}}}"),
        }
    }
}

/// The protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `tcp`
    Tcp,
    /// `udp`
    Udp,
    /// `sctp`
    Sctp,
}

impl Protocol {
    /// `tcp`, `udp`, `sctp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A map of container port to host port; a list where one port is published several times.
pub(super) fn as_map<S: Serializer>(ports: &[PortMapping], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    let mut map: BTreeMap<String, OneOrMany> = BTreeMap::new();
    for port in ports {
        let text = port.host_text();
        match map.remove(&port.container_text()) {
            None => map.insert(port.container_text(), OneOrMany::One(text)),
            Some(OneOrMany::One(first)) => {
                map.insert(port.container_text(), OneOrMany::Many(vec![first, text]))
            }
            Some(OneOrMany::Many(mut all)) => {
                all.push(text);
                map.insert(port.container_text(), OneOrMany::Many(all))
            }
        };
    }
    map.serialize(serializer)
}
