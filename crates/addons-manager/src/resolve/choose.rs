//! Pure: host ports and subnets that an installation may have, chosen once among what nobody has.
//!
//! What is taken is told from outside (claims, the engine's objects, listeners of the host); what is chosen here is taken from then on.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::domain::claim::{addresses_overlap, subnets_overlap};
use crate::domain::specification::{NetworkSpecification, Protocol, RevisionSpecification};

/// Above this many services a network gets a /24 instead of a /26 (62 addresses): room for the candidates of an upgrade beside them.
const SERVICES_OF_A_SMALL_SUBNET: usize = 30;

/// A port of the host that somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TakenPort {
    /// Address; none: all.
    pub ip: Option<IpAddr>,
    /// Port.
    pub port: u16,
    /// Transport.
    pub protocol: Protocol,
}

/// The free part of a host: chooses, and remembers what it chose.
#[derive(Debug, Clone)]
pub struct Choices {
    ports: RangeInclusive<u16>,
    taken_ports: BTreeSet<TakenPort>,
    pool: Ipv4Net,
    ula: Ipv6Net,
    taken_subnets: Vec<IpNet>,
    kept: Option<Kept>,
}

/// What an installation has already, and keeps for its life.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The revision that it is to have; names of networks that change are told apart by it.
    pub revision: i64,
    /// The revision that it has.
    pub before: RevisionSpecification,
    /// The other revisions that it can go back to, newest first.
    pub others: Vec<RevisionSpecification>,
}

impl Kept {
    fn revisions(&self) -> impl Iterator<Item = &RevisionSpecification> {
        std::iter::once(&self.before).chain(&self.others)
    }

    fn has_network(&self, name: &str) -> bool {
        self.revisions().any(|revision| revision.networks.contains_key(name))
    }

    /// Ports that were chosen for it: nothing else of it gets one of them.
    fn has_chosen(&self, port: u16, protocol: Protocol) -> bool {
        let services = self.revisions().flat_map(|revision| revision.services.values());
        let mut ports = services.flat_map(|service| &service.ports);
        ports.any(|known| known.chosen && known.host_port == port && known.protocol == protocol)
    }
}

impl Choices {
    /// Ports of `ports.range` and subnets of `networks.pool` and of the host's own /48 that are not taken.
    pub fn new(
        ports: RangeInclusive<u16>,
        pool: Ipv4Net,
        ula: Ipv6Net,
        taken_ports: impl IntoIterator<Item = TakenPort>,
        taken_subnets: impl IntoIterator<Item = IpNet>,
    ) -> Self {
        Self {
            ports,
            taken_ports: taken_ports.into_iter().collect(),
            pool,
            ula,
            taken_subnets: taken_subnets.into_iter().collect(),
            kept: None,
        }
    }

    /// What the installation had in its revision before, it has again.
    pub fn keeping(mut self, kept: Kept) -> Self {
        // A network that changes is made beside the one that it takes the place of.
        let subnets = kept.before.networks.values().flat_map(|network| &network.subnets);
        self.taken_subnets.extend(subnets.filter_map(|subnet| subnet.parse::<IpNet>().ok()));
        Self { kept: Some(kept), ..self }
    }

    /// The port that a service has had for this one of its container, unless something else has it by now.
    pub fn kept_port(
        &mut self,
        service: &str,
        container_port: u16,
        ip: Option<IpAddr>,
        protocol: Protocol,
    ) -> Option<u16> {
        let port = {
            let revisions = self.kept.as_ref()?.revisions();
            let services = revisions.filter_map(|revision| revision.services.get(service));
            let same = services.flat_map(|service| &service.ports).find(|port| {
                port.container_port == container_port && port.host_ip == ip && port.protocol == protocol
            });
            same?.host_port
        };
        if !self.is_free_port(ip, port, protocol) {
            return None;
        }
        self.take_port(TakenPort { ip, port, protocol });
        Some(port)
    }

    /// The network that the installation has had under this key: its name on the engine, and what it was made as.
    pub fn kept_network(&self, key: &str) -> Option<(&str, &NetworkSpecification)> {
        let networks = &self.kept.as_ref()?.before.networks;
        let (name, network) = networks.iter().find(|(_, network)| network.key == key)?;
        Some((name, network))
    }

    /// A name for a network that is none of those that the installation can go back to.
    pub fn network_name(&self, name: String) -> String {
        match &self.kept {
            Some(kept) if kept.has_network(&name) => format!("{name}.r{}", kept.revision),
            _ => name,
        }
    }

    /// The lowest port of the range that is free on that address; none when there is none.
    pub fn port(&mut self, ip: Option<IpAddr>, protocol: Protocol) -> Option<u16> {
        let is_kept = |port: u16| self.kept.as_ref().is_some_and(|kept| kept.has_chosen(port, protocol));
        let port =
            self.ports.clone().find(|port| self.is_free_port(ip, *port, protocol) && !is_kept(*port))?;
        self.take_port(TakenPort { ip, port, protocol });
        Some(port)
    }

    fn is_free_port(&self, ip: Option<IpAddr>, port: u16, protocol: Protocol) -> bool {
        let mut taken = self.taken_ports.iter();
        !taken
            .any(|taken| taken.port == port && taken.protocol == protocol && addresses_overlap(taken.ip, ip))
    }

    /// From now on nobody gets this port.
    pub fn take_port(&mut self, port: TakenPort) {
        self.taken_ports.insert(port);
    }

    /// The lowest subnet of the pool that overlaps no other, large enough for so many services.
    pub fn subnet(&mut self, services: usize) -> Option<Ipv4Net> {
        let prefix = if services > SERVICES_OF_A_SMALL_SUBNET { 24 } else { 26 };
        let subnet = self
            .pool
            .subnets(prefix.max(self.pool.prefix_len()))
            .ok()?
            .find(|subnet| self.is_free(&IpNet::V4(*subnet)))?;
        self.take_subnet(IpNet::V4(subnet));
        Some(subnet)
    }

    /// The lowest /64 of the host's own prefix that overlaps no other.
    pub fn subnet_v6(&mut self) -> Option<Ipv6Net> {
        let subnet = self.ula.subnets(64).ok()?.find(|subnet| self.is_free(&IpNet::V6(*subnet)))?;
        self.take_subnet(IpNet::V6(subnet));
        Some(subnet)
    }

    /// From now on nothing that overlaps this is chosen.
    pub fn take_subnet(&mut self, subnet: IpNet) {
        self.taken_subnets.push(subnet);
    }

    fn is_free(&self, subnet: &IpNet) -> bool {
        !self.taken_subnets.iter().any(|taken| subnets_overlap(taken, subnet))
    }
}

/// A /48 of unique local addresses (RFC 4193, 3.1) of these 40 random bits.
pub fn ula_prefix(random: [u8; 5]) -> Ipv6Net {
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&random);
    Ipv6Net::new(Ipv6Addr::from(octets), 48).expect("48 is at most 128")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(taken_ports: &[(Option<&str>, u16, Protocol)], taken_subnets: &[&str]) -> Choices {
        Choices::new(
            20_000..=20_002,
            "10.209.0.0/24".parse().unwrap(),
            ula_prefix([1, 2, 3, 4, 5]),
            taken_ports.iter().map(|(ip, port, protocol)| TakenPort {
                ip: ip.map(|ip| ip.parse().unwrap()),
                port: *port,
                protocol: *protocol,
            }),
            taken_subnets.iter().map(|subnet| subnet.parse().unwrap()),
        )
    }

    #[test]
    fn the_lowest_free_port_is_chosen_and_not_twice() {
        let mut choices = choices(&[(Some("127.0.0.1"), 20_000, Protocol::Tcp)], &[]);
        assert_eq!(choices.port(None, Protocol::Tcp), Some(20_001), "127.0.0.1 is one of all addresses");
        assert_eq!(choices.port(None, Protocol::Udp), Some(20_000), "another transport");
        assert_eq!(
            choices.port(Some("127.0.0.2".parse().unwrap()), Protocol::Tcp),
            Some(20_000),
            "another address"
        );
        assert_eq!(choices.port(None, Protocol::Tcp), Some(20_002));
        assert_eq!(choices.port(None, Protocol::Tcp), None, "the range is used up");
    }

    #[test]
    fn the_lowest_subnet_that_overlaps_none_is_chosen() {
        let mut choices = choices(&[], &["10.209.0.70/32", "172.17.0.0/16"]);
        assert_eq!(choices.subnet(1).unwrap().to_string(), "10.209.0.0/26");
        assert_eq!(
            choices.subnet(30).unwrap().to_string(),
            "10.209.0.128/26",
            "an engine's network lies in the second"
        );
        assert_eq!(choices.subnet(31), None, "no /24 is left");
        assert_eq!(choices.subnet(1).unwrap().to_string(), "10.209.0.192/26");
        assert_eq!(choices.subnet(1), None);
    }

    #[test]
    fn above_30_services_a_network_is_larger() {
        assert_eq!(choices(&[], &[]).subnet(31).unwrap().to_string(), "10.209.0.0/24");
    }

    #[test]
    fn a_pool_that_is_smaller_than_a_subnet_is_used_whole() {
        let mut choices = Choices::new(1..=1, "10.0.0.0/27".parse().unwrap(), ula_prefix([0; 5]), [], []);
        assert_eq!(choices.subnet(1).unwrap().to_string(), "10.0.0.0/27");
    }

    #[test]
    fn a_subnet_of_ipv6_lies_in_the_hosts_own_prefix() {
        let mut choices = choices(&[], &["fd01:203:405::/64"]);
        assert_eq!(choices.subnet_v6().unwrap().to_string(), "fd01:203:405:1::/64");
    }
}
