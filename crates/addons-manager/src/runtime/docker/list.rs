//! The three unfiltered lists, read into the runtime's own types. State, health and exit code come out of the list's status text, so that
//! no container has to be inspected for them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bollard::models::{
    ContainerSummary, ContainerSummaryStateEnum, EndpointSettings, MountPoint, Network, PortSummary,
    PortSummaryTypeEnum, Volume,
};

use crate::domain::specification::Protocol;
use crate::runtime::{
    ContainerState, Health, ListedAttachment, ListedContainer, ListedMount, ListedNetwork, ListedPort,
    ListedVolume,
};

pub(super) fn container(summary: ContainerSummary, networks: &[ListedNetwork]) -> ListedContainer {
    let status = summary.status.unwrap_or_default();
    let state = summary.state.map_or_else(|| state_of_text(&status), state_of);
    let attached = summary.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    ListedContainer {
        id: summary.id.unwrap_or_default(),
        name: own_name(&summary.names.unwrap_or_default()),
        image_id: summary.image_id.unwrap_or_default(),
        state,
        health: health(&status),
        labels: summary.labels.unwrap_or_default().into_iter().collect(),
        networks: attachments(attached.iter(), networks),
        mounts: mounts(summary.mounts.unwrap_or_default()),
        ports: ports(summary.ports.unwrap_or_default()),
        exit_code: exit_code(&status),
    }
}

pub(super) fn network(network: Network) -> ListedNetwork {
    let pools = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    ListedNetwork {
        id: network.id.unwrap_or_default(),
        name: network.name.unwrap_or_default(),
        driver: network.driver.unwrap_or_default(),
        internal: network.internal.unwrap_or_default(),
        enable_ipv6: network.enable_ipv6.unwrap_or_default(),
        subnets: pools.into_iter().filter_map(|pool| pool.subnet).collect(),
        options: network.options.unwrap_or_default().into_iter().collect(),
        labels: network.labels.unwrap_or_default().into_iter().collect(),
        created: network.created.unwrap_or_default(),
    }
}

pub(super) fn volume(volume: Volume) -> ListedVolume {
    ListedVolume {
        name: volume.name,
        driver: volume.driver,
        options: volume.options.into_iter().collect(),
        labels: volume.labels.into_iter().collect(),
    }
}

/// A container's own name: links of other containers are listed beside it as `/other/alias`.
fn own_name(names: &[String]) -> String {
    let own = names.iter().find(|name| name.matches('/').count() <= 1).or_else(|| names.first());
    own.map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default()
}

fn state_of(state: ContainerSummaryStateEnum) -> ContainerState {
    match state {
        ContainerSummaryStateEnum::CREATED | ContainerSummaryStateEnum::EMPTY => ContainerState::Created,
        ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::STOPPING => ContainerState::Running,
        ContainerSummaryStateEnum::PAUSED => ContainerState::Paused,
        ContainerSummaryStateEnum::RESTARTING => ContainerState::Restarting,
        ContainerSummaryStateEnum::EXITED => ContainerState::Exited,
        ContainerSummaryStateEnum::REMOVING => ContainerState::Removing,
        ContainerSummaryStateEnum::DEAD => ContainerState::Dead,
    }
}

/// The state in words, for an engine that lists no `State`.
fn state_of_text(status: &str) -> ContainerState {
    let first = status.split_whitespace().next().unwrap_or_default();
    match first {
        "Up" if status.contains("(Paused)") => ContainerState::Paused,
        "Up" => ContainerState::Running,
        "Restarting" => ContainerState::Restarting,
        "Exited" => ContainerState::Exited,
        "Removal" => ContainerState::Removing,
        "Dead" => ContainerState::Dead,
        _ => ContainerState::Created,
    }
}

/// `Up 3 minutes (healthy)`, `Up 2 seconds (health: starting)`; a paused or stopped container tells nothing.
fn health(status: &str) -> Option<Health> {
    if status.ends_with("(healthy)") {
        Some(Health::Healthy)
    } else if status.ends_with("(unhealthy)") {
        Some(Health::Unhealthy)
    } else if status.ends_with("(health: starting)") {
        Some(Health::Starting)
    } else {
        None
    }
}

/// `Exited (137) 2 hours ago`, `Restarting (1) 5 seconds ago`.
fn exit_code(status: &str) -> Option<i64> {
    let rest = status.strip_prefix("Exited (").or_else(|| status.strip_prefix("Restarting ("))?;
    rest.split_once(')')?.0.parse().ok()
}

/// By network id. An endpoint of a container that was never started may lack the id: it is found by the name where only one network has it.
pub(super) fn attachments<'a>(
    attached: impl Iterator<Item = (&'a String, &'a EndpointSettings)>,
    networks: &[ListedNetwork],
) -> BTreeMap<String, ListedAttachment> {
    let mut by_id = BTreeMap::new();
    for (name, endpoint) in attached {
        let named: Vec<&ListedNetwork> =
            networks.iter().filter(|network| network.name == *name || network.id == *name).collect();
        let id = match endpoint.network_id.as_deref() {
            Some(id) if !id.is_empty() => id,
            _ if named.len() == 1 => named[0].id.as_str(),
            _ => name.as_str(),
        };
        let addresses = [endpoint.ip_address.as_deref(), endpoint.global_ipv6_address.as_deref()];
        let addresses =
            addresses.into_iter().flatten().filter_map(|address| address.parse::<IpAddr>().ok()).collect();
        by_id.insert(id.to_owned(), ListedAttachment { network_name: name.clone(), addresses });
    }
    by_id
}

/// In order of their targets: the engine lists them in none.
pub(super) fn mounts(points: Vec<MountPoint>) -> Vec<ListedMount> {
    let mut mounts: Vec<ListedMount> = points
        .into_iter()
        .map(|point| {
            let volume = point.typ.as_deref() == Some("volume");
            ListedMount {
                target: point.destination.unwrap_or_default(),
                volume: volume.then(|| point.name.unwrap_or_default()),
                host_path: if point.typ.as_deref() == Some("bind") { point.source } else { None },
                read_only: point.rw == Some(false),
            }
        })
        .collect();
    mounts.sort_by(|left, right| left.target.cmp(&right.target));
    mounts
}

/// Published ports; `0.0.0.0` and `::`, which the engine lists as two, are one: all addresses.
fn ports(listed: Vec<PortSummary>) -> Vec<ListedPort> {
    let published = listed.into_iter().filter_map(|port| {
        Some(ListedPort {
            host_ip: host_address(port.ip.as_deref()),
            host_port: port.public_port?,
            container_port: port.private_port,
            protocol: match port.typ {
                Some(PortSummaryTypeEnum::UDP) => Protocol::Udp,
                Some(PortSummaryTypeEnum::SCTP) => Protocol::Sctp,
                _ => Protocol::Tcp,
            },
        })
    });
    let mut ports: Vec<ListedPort> = published.collect();
    ports.sort();
    ports.dedup();
    ports
}

/// `None` for all addresses.
pub(super) fn host_address(text: Option<&str>) -> Option<IpAddr> {
    text.and_then(|text| text.parse::<IpAddr>().ok()).filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_text_tells_state_health_and_exit_code() {
        let table = [
            ("Created", ContainerState::Created, None, None),
            ("Up 3 minutes", ContainerState::Running, None, None),
            (
                "Up Less than a second (health: starting)",
                ContainerState::Running,
                Some(Health::Starting),
                None,
            ),
            ("Up 3 minutes (healthy)", ContainerState::Running, Some(Health::Healthy), None),
            ("Up 3 minutes (unhealthy)", ContainerState::Running, Some(Health::Unhealthy), None),
            ("Up 2 hours (Paused)", ContainerState::Paused, None, None),
            ("Restarting (1) 5 seconds ago", ContainerState::Restarting, None, Some(1)),
            ("Exited (0) Less than a second ago", ContainerState::Exited, None, Some(0)),
            ("Exited (137) 2 hours ago", ContainerState::Exited, None, Some(137)),
            ("Exited (-1) 2 hours ago", ContainerState::Exited, None, Some(-1)),
            ("Removal In Progress", ContainerState::Removing, None, None),
            ("Dead", ContainerState::Dead, None, None),
            ("", ContainerState::Created, None, None),
            ("Exited (", ContainerState::Exited, None, None),
        ];
        for (text, state, expected_health, code) in table {
            assert_eq!(
                (state_of_text(text), health(text), exit_code(text)),
                (state, expected_health, code),
                "{text}"
            );
        }
    }

    #[test]
    fn both_families_of_a_port_are_one() {
        let port = |ip: &str| PortSummary {
            ip: Some(ip.to_owned()),
            private_port: 80,
            public_port: Some(8080),
            typ: Some(PortSummaryTypeEnum::TCP),
        };
        let listed =
            |host_ip| ListedPort { host_ip, host_port: 8080, container_port: 80, protocol: Protocol::Tcp };
        assert_eq!(ports(vec![port("0.0.0.0"), port("::")]), [listed(None)]);
        let loopback = "127.0.0.1".parse().ok();
        assert_eq!(ports(vec![port("127.0.0.1")]), [listed(loopback)]);
        let only_exposed = PortSummary {
            ip: None,
            private_port: 80,
            public_port: None,
            typ: Some(PortSummaryTypeEnum::TCP),
        };
        assert_eq!(ports(vec![only_exposed]), []);
    }

    #[test]
    fn the_own_name_is_the_one_without_a_second_slash() {
        let names = ["/other/alias".to_owned(), "/root_web".to_owned()];
        assert_eq!(own_name(&names), "root_web");
        assert_eq!(own_name(&[]), "");
    }

    #[test]
    fn an_endpoint_without_an_id_is_found_by_a_name_that_only_one_network_has() {
        let network = |id: &str, name: &str| ListedNetwork {
            id: id.to_owned(),
            name: name.to_owned(),
            ..ListedNetwork::default()
        };
        let attached = std::collections::HashMap::from([("shop".to_owned(), EndpointSettings::default())]);
        let alone = [network("1f", "shop")];
        assert!(attachments(attached.iter(), &alone).contains_key("1f"));
        let doubled = [network("1f", "shop"), network("2e", "shop")];
        assert!(attachments(attached.iter(), &doubled).contains_key("shop"));
    }
}
