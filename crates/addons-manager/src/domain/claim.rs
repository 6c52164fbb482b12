//! Claims: what an installation has for itself on this host, so that no other can ask for it.
//!
//! Equal claims are refused by the database's unique index; overlaps (a port on one address and on all, a subnet in a subnet) by
//! [`Claim::overlaps`] in the same transaction. It knows neither the database nor the engine.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::installation::{InstallationId, folded_name};
use super::specification::{NetworkMode, Protocol, RevisionSpecification};

/// What is claimed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// The name of an installation, folded.
    InstallationName(String),
    /// The name of a container.
    ContainerName(String),
    /// A port of the host; no address: all of both families.
    HostPort {
        /// Address that it is published on.
        ip: Option<IpAddr>,
        /// Port, never 0.
        port: u16,
        /// Transport.
        protocol: Protocol,
    },
    /// A name on a network that several installations share.
    Alias {
        /// Name of the network on the engine.
        network: String,
        /// The name there.
        alias: String,
    },
    /// A component of the platform that is taken over.
    Component(String),
    /// Addresses of a network.
    Subnet(IpNet),
    /// A volume, by its name on the engine.
    Volume(String),
    /// A network, by its name on the engine.
    Network(String),
}

/// A claim that an installation has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldClaim {
    /// What.
    pub claim: Claim,
    /// Who.
    pub installation: InstallationId,
    /// The installation's name, for people.
    pub installation_name: String,
}

impl Claim {
    /// As stored: the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InstallationName(_) => "installation-name",
            Self::ContainerName(_) => "container-name",
            Self::HostPort { .. } => "host-port",
            Self::Alias { .. } => "alias",
            Self::Component(_) => "component",
            Self::Subnet(_) => "subnet",
            Self::Volume(_) => "volume",
            Self::Network(_) => "network",
        }
    }

    /// As stored: the value, in one form only, so that equal claims are equal texts.
    pub fn value(&self) -> String {
        match self {
            Self::InstallationName(name)
            | Self::ContainerName(name)
            | Self::Component(name)
            | Self::Volume(name)
            | Self::Network(name) => name.clone(),
            Self::HostPort { ip, port, protocol } => {
                let protocol = protocol_name(*protocol);
                match ip {
                    None => format!("{port}/{protocol}"),
                    Some(IpAddr::V4(ip)) => format!("{ip}:{port}/{protocol}"),
                    Some(IpAddr::V6(ip)) => format!("[{ip}]:{port}/{protocol}"),
                }
            }
            Self::Alias { network, alias } => format!("{network}/{alias}"),
            Self::Subnet(subnet) => subnet.trunc().to_string(),
        }
    }

    /// Reads what [`kind`](Self::kind) and [`value`](Self::value) wrote.
    pub fn parse(kind: &str, value: &str) -> Option<Self> {
        let owned = value.to_owned();
        Some(match kind {
            "installation-name" => Self::InstallationName(owned),
            "container-name" => Self::ContainerName(owned),
            "host-port" => {
                let (address, protocol) = value.rsplit_once('/')?;
                let protocol = protocol_from_name(protocol)?;
                let (ip, port) = match address.rsplit_once(':') {
                    None => (None, address),
                    Some((ip, port)) => {
                        let bare = ip.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(ip);
                        (Some(bare.parse().ok()?), port)
                    }
                };
                Self::HostPort { ip, port: port.parse().ok()?, protocol }
            }
            // A name on a network holds no slash; the name of a network does not either.
            "alias" => {
                let (network, alias) = value.split_once('/')?;
                Self::Alias { network: network.to_owned(), alias: alias.to_owned() }
            }
            "component" => Self::Component(owned),
            "subnet" => Self::Subnet(IpNet::from_str(value).ok()?),
            "volume" => Self::Volume(owned),
            "network" => Self::Network(owned),
            _ => return None,
        })
    }

    /// Whether both cannot be had at once.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::HostPort { ip, port, protocol },
                Self::HostPort { ip: other_ip, port: other_port, protocol: other_protocol },
            ) => port == other_port && protocol == other_protocol && addresses_overlap(*ip, *other_ip),
            (Self::Subnet(subnet), Self::Subnet(other)) => subnets_overlap(subnet, other),
            _ => self == other,
        }
    }

    /// What it is, for people: `host port 8080/tcp`.
    pub fn describe(&self) -> String {
        match self {
            Self::InstallationName(name) => format!("the name `{name}`"),
            Self::ContainerName(name) => format!("the container name `{name}`"),
            Self::HostPort { .. } => format!("host port {}", self.value()),
            Self::Alias { network, alias } => format!("the name `{alias}` on network `{network}`"),
            Self::Component(name) => format!("the component `{name}`"),
            Self::Subnet(subnet) => format!("the subnet {subnet}"),
            Self::Volume(name) => format!("the volume `{name}`"),
            Self::Network(name) => format!("the network `{name}`"),
        }
    }
}

/// Whether a port on the one address is a port on the other; none and the unspecified ones are all addresses.
pub fn addresses_overlap(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    match (one, other) {
        (None, _) | (_, None) => true,
        (Some(one), Some(other)) => {
            one == other
                || (one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified()))
        }
    }
}

/// Whether one of them holds an address of the other.
pub fn subnets_overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

/// `tcp`, `udp`, `sctp`.
pub fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

fn protocol_from_name(name: &str) -> Option<Protocol> {
    match name {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        "sctp" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// Everything that a revision has for itself under the installation's name, in a stable order, each once.
///
/// On shared networks a container's own name and its host name are names there too (the engine makes the latter an alias on every network),
/// so they are claimed beside the aliases that the descriptor asks for. The courtesy alias is no claim. Names on the addon's own networks disturb nobody.
pub fn claims(installation: &str, revision: &RevisionSpecification) -> Vec<Claim> {
    let mut claims = vec![Claim::InstallationName(folded_name(installation))];
    for service in revision.services.values() {
        claims.push(Claim::ContainerName(service.container_name.clone()));
        for port in &service.ports {
            claims.push(Claim::HostPort { ip: port.host_ip, port: port.host_port, protocol: port.protocol });
        }
        let NetworkMode::Networks(attachments) = &service.network else { continue };
        for attachment in
            attachments.iter().filter(|attachment| revision.shared_networks.contains_key(&attachment.network))
        {
            let names = attachment.aliases.iter().chain(&service.settings.hostname);
            for alias in names.chain([&service.container_name]) {
                claims.push(Claim::Alias { network: attachment.network.clone(), alias: alias.clone() });
            }
        }
    }
    for (name, network) in &revision.networks {
        claims.push(Claim::Network(name.clone()));
        claims.extend(network.subnets.iter().filter_map(|subnet| subnet.parse().ok()).map(Claim::Subnet));
    }
    claims.extend(revision.volumes.keys().cloned().map(Claim::Volume));
    claims.sort();
    claims.dedup();
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: Option<&str>, port: u16) -> Claim {
        Claim::HostPort { ip: ip.map(|ip| ip.parse().unwrap()), port, protocol: Protocol::Tcp }
    }

    #[test]
    fn every_claim_is_read_as_it_was_written() {
        let claims = [
            Claim::InstallationName("shop".into()),
            Claim::ContainerName("root_shop-db".into()),
            port(None, 80),
            port(Some("127.0.0.1"), 80),
            port(Some("::1"), 80),
            Claim::HostPort { ip: None, port: 53, protocol: Protocol::Udp },
            Claim::Alias { network: "oakestra".into(), alias: "db".into() },
            Claim::Component("root_scheduler".into()),
            Claim::Subnet("10.209.0.64/26".parse().unwrap()),
            Claim::Subnet("fd00::/64".parse().unwrap()),
            Claim::Volume("shop_data".into()),
            Claim::Network("shop_default".into()),
        ];
        for claim in claims {
            assert_eq!(Claim::parse(claim.kind(), &claim.value()), Some(claim.clone()), "{claim:?}");
        }
        assert_eq!(Claim::parse("planet", "mars"), None);
        assert_eq!(Claim::parse("host-port", "80"), None);
    }

    #[test]
    fn a_port_on_all_addresses_overlaps_every_address() {
        for (one, other, overlap) in [
            (port(None, 80), port(None, 80), true),
            (port(None, 80), port(Some("127.0.0.1"), 80), true),
            (port(Some("::1"), 80), port(None, 80), true),
            (port(Some("127.0.0.1"), 80), port(Some("127.0.0.2"), 80), false),
            (port(Some("127.0.0.1"), 80), port(Some("::1"), 80), false),
            (port(Some("::"), 80), port(Some("::1"), 80), true),
            (port(Some("::"), 80), port(Some("127.0.0.1"), 80), false),
            (port(None, 80), port(None, 81), false),
        ] {
            assert_eq!(one.overlaps(&other), overlap, "{one:?} {other:?}");
            assert_eq!(other.overlaps(&one), overlap, "{other:?} {one:?}");
        }
        let udp = Claim::HostPort { ip: None, port: 80, protocol: Protocol::Udp };
        assert!(!udp.overlaps(&port(None, 80)));
    }

    #[test]
    fn a_subnet_overlaps_what_it_holds_and_what_holds_it() {
        let subnet = |text: &str| Claim::Subnet(text.parse().unwrap());
        for (one, other, overlap) in [
            ("10.0.0.0/8", "10.209.0.0/26", true),
            ("10.209.0.0/26", "10.209.0.64/26", false),
            ("10.209.0.0/26", "10.209.0.0/26", true),
            ("fd00::/48", "fd00:0:0:1::/64", true),
            ("0.0.0.0/0", "fd00::/48", false),
        ] {
            assert_eq!(subnet(one).overlaps(&subnet(other)), overlap, "{one} {other}");
            assert_eq!(subnet(other).overlaps(&subnet(one)), overlap, "{other} {one}");
        }
    }
}
