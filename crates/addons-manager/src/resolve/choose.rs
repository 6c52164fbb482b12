//! Pure: host ports and subnets that an installation may have, chosen once among what nobody has.
//!
//! What is taken is told from outside (claims, the engine's objects, listeners of the host); what is chosen here is taken from then on.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::domain::claim::{addresses_overlap, subnets_overlap};
use crate::domain::specification::Protocol;

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
        }
    }

    /// The lowest port of the range that is free on that address; none when there is none.
    pub fn port(&mut self, ip: Option<IpAddr>, protocol: Protocol) -> Option<u16> {
        let free = |port: &u16| {
            let of_port = |ip| TakenPort { ip, port: *port, protocol };
            // `None` sorts first, so the range below holds every address of this port, of other transports too.
            !self
                .taken_ports
                .iter()
                .filter(|taken| taken.port == *port && taken.protocol == protocol)
                .any(|taken| addresses_overlap(taken.ip, of_port(ip).ip))
        };
        let port = self.ports.clone().find(free)?;
        self.take_port(TakenPort { ip, port, protocol });
        Some(port)
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
