//! Ports that processes of the host listen on, where this process sees the host's network.
//!
//! Linux tells them in `/proc/net/{tcp,tcp6,udp,udp6}` (proc(5)). Inside a container with a network of its own those tell nothing about the
//! host, so they are read only where an interface of the engine's is seen too; elsewhere the engine's error at start is the finding.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use crate::domain::specification::Protocol;
use crate::resolve::choose::TakenPort;
use crate::runtime::Listing;

/// Socket state TCP_LISTEN (include/net/tcp_states.h).
const TCP_LISTEN: &str = "0A";
/// Socket state of a UDP socket that is bound and not connected, TCP_CLOSE there.
const UDP_BOUND: &str = "07";

/// What the host's own processes listen on; empty where that cannot be told.
pub fn of_host(engine: &Listing) -> Vec<TakenPort> {
    if shares_network(engine) { read(Path::new("/proc/net")) } else { Vec::new() }
}

/// Whether an interface of one of the engine's bridges is seen from here. `/proc/net` is that of this process's network; `/sys/class/net`
/// may be that of whoever mounted it.
fn shares_network(engine: &Listing) -> bool {
    let devices = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    has_bridge_of(engine, &devices)
}

/// The table of devices names one in each line: `docker0: 1234 …`.
fn has_bridge_of(engine: &Listing, devices: &str) -> bool {
    let seen: Vec<&str> = devices.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    engine.networks.iter().filter(|network| network.driver == "bridge").any(|network| {
        let interface = match network.options.get("com.docker.network.bridge.name") {
            Some(name) => name.clone(),
            // The engine names a bridge by the first 12 digits of the network's id.
            None => format!("br-{}", network.id.get(..12).unwrap_or(&network.id)),
        };
        seen.contains(&interface.as_str())
    })
}

fn read(folder: &Path) -> Vec<TakenPort> {
    let tables = [
        ("tcp", Protocol::Tcp, TCP_LISTEN),
        ("tcp6", Protocol::Tcp, TCP_LISTEN),
        ("udp", Protocol::Udp, UDP_BOUND),
        ("udp6", Protocol::Udp, UDP_BOUND),
    ];
    let mut ports = Vec::new();
    for (file, protocol, state) in tables {
        // A table that is not there (a kernel without IPv6) has nobody in it.
        let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        ports.extend(text.lines().skip(1).filter_map(|line| listener(line, protocol, state)));
    }
    ports.sort();
    ports.dedup();
    ports
}

/// One line: `sl local_address rem_address st …`, the address in hex, each 32 bits of it in the machine's order.
fn listener(line: &str, protocol: Protocol, state: &str) -> Option<TakenPort> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (address, port) = words.next()?.split_once(':')?;
    if words.nth(1)? != state {
        return None;
    }
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes())),
        32 => {
            let mut octets = [0; 16];
            for (index, group) in octets.chunks_exact_mut(4).enumerate() {
                let word = u32::from_str_radix(address.get(index * 8..index * 8 + 8)?, 16).ok()?;
                group.copy_from_slice(&word.to_ne_bytes());
            }
            // A mapped IPv4 address is that address.
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return None,
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    // A socket on `::` takes the port of both families unless it says otherwise, which the table does not tell.
    let ip = if ip.is_unspecified() && ip.is_ipv6() { None } else { Some(ip) };
    (port != 0).then_some(TakenPort { ip, port, protocol })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ListedNetwork;

    #[test]
    fn listening_sockets_are_read_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let hex = |ip: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(ip));
        let tcp = format!(
            "{head}   0: {}:1F90 00000000:0000 0A 0:0 0:0 0 0 0 1\n   1: {}:0050 {}:C000 01 0:0 0:0 0 0 0 2\nbroken\n",
            hex([127, 0, 0, 1]),
            hex([10, 0, 0, 1]),
            hex([10, 0, 0, 2])
        );
        let zeros = "0".repeat(32);
        let tcp6 = format!("{head}   0: {zeros}:0016 {zeros}:0000 0A 0:0 0:0 0 0 0 3\n");
        let udp = format!("{head}   0: {}:0035 00000000:0000 07 0:0 0:0 0 0 0 4\n", hex([0, 0, 0, 0]));
        for (file, text) in [("tcp", tcp), ("tcp6", tcp6), ("udp", udp)] {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        let of = |ip: Option<&str>, port, protocol| TakenPort {
            ip: ip.map(|ip| ip.parse().unwrap()),
            port,
            protocol,
        };
        assert_eq!(
            read(folder.path()),
            [
                of(None, 22, Protocol::Tcp),
                of(Some("0.0.0.0"), 53, Protocol::Udp),
                of(Some("127.0.0.1"), 8080, Protocol::Tcp),
            ]
        );
    }

    #[test]
    fn a_socket_of_this_process_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = read(Path::new("/proc/net"));
        assert!(
            found.contains(&TakenPort {
                ip: Some("127.0.0.1".parse().unwrap()),
                port,
                protocol: Protocol::Tcp
            }),
            "{found:?}"
        );
    }

    #[test]
    fn without_an_interface_of_the_engine_nothing_is_told() {
        assert_eq!(of_host(&Listing::default()), []);
    }

    #[test]
    fn an_interface_of_the_engine_is_known_by_its_name_or_its_networks_id() {
        let devices =
            "Inter-|   Receive\n face |bytes    packets\n    lo: 1 2\nbr-0123456789ab: 0 0\ndocker0: 3 4\n";
        let network = |id: &str, driver: &str, name: Option<&str>| Listing {
            networks: vec![ListedNetwork {
                id: id.to_owned(),
                driver: driver.to_owned(),
                options: name
                    .map(|name| ("com.docker.network.bridge.name".to_owned(), name.to_owned()))
                    .into_iter()
                    .collect(),
                ..ListedNetwork::default()
            }],
            ..Listing::default()
        };
        assert!(has_bridge_of(&network("ffff", "bridge", Some("docker0")), devices));
        assert!(has_bridge_of(&network("0123456789abcdef", "bridge", None), devices));
        assert!(!has_bridge_of(&network("fedcba9876543210", "bridge", None), devices));
        assert!(!has_bridge_of(&network("0123456789abcdef", "macvlan", None), devices));
    }
}
