//! Inspect answers read into the runtime's own types.

use std::collections::BTreeSet;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, EndpointSettings, HealthStatusEnum, HostConfig,
    ImageInspect, PortMap, RestartPolicy as EngineRestartPolicy, RestartPolicyNameEnum,
};

use super::list;
use crate::domain::specification::{Protocol, Resources, RestartPolicy};
use crate::runtime::{
    ContainerState, Health, InspectedContainer, InspectedImage, ListedContainer, ListedPort,
};

pub(super) fn container(answer: &ContainerInspectResponse) -> InspectedContainer {
    let state = answer.state.clone().unwrap_or_default();
    let host = answer.host_config.clone().unwrap_or_default();
    let id = answer.id.clone().unwrap_or_default();
    let networks =
        answer.network_settings.as_ref().and_then(|settings| settings.networks.clone()).unwrap_or_default();
    let labels = answer.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default();
    let published = answer.network_settings.as_ref().and_then(|settings| settings.ports.as_ref());
    let status = container_state(state.status, state.restarting, state.paused);
    let ended = matches!(status, ContainerState::Exited | ContainerState::Restarting | ContainerState::Dead);
    let running = state.running.unwrap_or_default();
    InspectedContainer {
        listed: ListedContainer {
            name: answer.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned(),
            image_id: answer.image.clone().unwrap_or_default(),
            state: status,
            // As in the list: a container that does not run, or is paused, tells no health.
            health: state
                .health
                .as_ref()
                .and_then(|found| health(found.status?, found.failing_streak))
                .filter(|_| status == ContainerState::Running),
            labels: labels.into_iter().collect(),
            networks: list::attachments(networks.iter(), &[]),
            mounts: list::mounts(answer.mounts.clone().unwrap_or_default()),
            ports: published.filter(|_| running).map(ports).unwrap_or_default(),
            exit_code: if ended { state.exit_code } else { None },
            id,
        },
        running,
        restarting: state.restarting.unwrap_or_default(),
        pid: state.pid.unwrap_or_default(),
        started_at: state.started_at.unwrap_or_default(),
        finished_at: state.finished_at.unwrap_or_default(),
        exit_code: state.exit_code.unwrap_or_default(),
        oom_killed: state.oom_killed.unwrap_or_default(),
        error: state.error.unwrap_or_default(),
        restart_count: answer.restart_count.unwrap_or_default(),
        restart: host.restart_policy.as_ref().map_or(Some(RestartPolicy::No), restart_policy),
        aliases: networks
            .iter()
            .map(|(name, endpoint)| (name.clone(), aliases(endpoint, answer, &BTreeSet::new())))
            .collect(),
        host_name: host_name(answer),
        asked_ports: host.port_bindings.as_ref().map(ports).unwrap_or_default(),
        limits: limits(&host),
        differences: Vec::new(),
    }
}

pub(super) fn image(answer: &ImageInspect) -> InspectedImage {
    let config = answer.config.clone().unwrap_or_default();
    let test = config.healthcheck.and_then(|check| check.test).unwrap_or_default();
    // `VOLUME /data/` is mounted on `/data`.
    let volumes = config.volumes.unwrap_or_default();
    let volumes: BTreeSet<String> =
        volumes.iter().map(|path| path.trim_end_matches('/').to_owned()).collect();
    InspectedImage {
        id: answer.id.clone().unwrap_or_default(),
        repo_digests: answer.repo_digests.clone().unwrap_or_default(),
        repo_tags: answer.repo_tags.clone().unwrap_or_default(),
        volumes: volumes.into_iter().filter(|path| !path.is_empty()).collect(),
        has_healthcheck: test.first().is_some_and(|word| word != "NONE"),
        platform: platform(answer),
    }
}

/// `os/architecture[/variant]`.
fn platform(answer: &ImageInspect) -> String {
    let parts = [answer.os.as_deref(), answer.architecture.as_deref(), answer.variant.as_deref()];
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// `Restarting` and `Running` may be true at once: the first counts.
fn container_state(
    status: Option<ContainerStateStatusEnum>,
    restarting: Option<bool>,
    paused: Option<bool>,
) -> ContainerState {
    if restarting == Some(true) {
        return ContainerState::Restarting;
    }
    if paused == Some(true) {
        return ContainerState::Paused;
    }
    match status {
        Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::STOPPING) => {
            ContainerState::Running
        }
        Some(ContainerStateStatusEnum::PAUSED) => ContainerState::Paused,
        Some(ContainerStateStatusEnum::RESTARTING) => ContainerState::Restarting,
        Some(ContainerStateStatusEnum::REMOVING) => ContainerState::Removing,
        Some(ContainerStateStatusEnum::EXITED) => ContainerState::Exited,
        Some(ContainerStateStatusEnum::DEAD) => ContainerState::Dead,
        Some(ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY) | None => {
            ContainerState::Created
        }
    }
}

/// An engine says `unhealthy` too when its monitor was interrupted, by a pause for one (measured on 20.10): with no probe that failed, the
/// next one has not spoken yet.
fn health(status: HealthStatusEnum, failing_streak: Option<i64>) -> Option<Health> {
    match status {
        HealthStatusEnum::UNHEALTHY if failing_streak == Some(0) => Some(Health::Starting),
        HealthStatusEnum::STARTING => Some(Health::Starting),
        HealthStatusEnum::HEALTHY => Some(Health::Healthy),
        HealthStatusEnum::UNHEALTHY => Some(Health::Unhealthy),
        HealthStatusEnum::NONE | HealthStatusEnum::EMPTY => None,
    }
}

/// `None` for a policy that we never write.
fn restart_policy(policy: &EngineRestartPolicy) -> Option<RestartPolicy> {
    match policy.name {
        None | Some(RestartPolicyNameEnum::EMPTY | RestartPolicyNameEnum::NO) => Some(RestartPolicy::No),
        Some(RestartPolicyNameEnum::ALWAYS) => Some(RestartPolicy::Always),
        Some(RestartPolicyNameEnum::UNLESS_STOPPED) => None,
        Some(RestartPolicyNameEnum::ON_FAILURE) => {
            let retries = policy
                .maximum_retry_count
                .and_then(|count| u32::try_from(count).ok())
                .filter(|count| *count > 0);
            Some(RestartPolicy::OnFailure(retries))
        }
    }
}

/// As they were asked for: the engine adds the container's short id and its host name by itself, which count only where they are `wanted`.
pub(super) fn aliases(
    endpoint: &EndpointSettings,
    made: &ContainerInspectResponse,
    wanted: &BTreeSet<String>,
) -> BTreeSet<String> {
    let id = made.id.as_deref().unwrap_or_default();
    let host_name = made.config.as_ref().and_then(|config| config.hostname.as_deref()).unwrap_or_default();
    let added = |alias: &str| alias == host_name || (alias.len() == SHORT_ID && id.starts_with(alias));
    endpoint
        .aliases
        .iter()
        .flatten()
        .filter(|alias| wanted.contains(*alias) || !added(alias))
        .cloned()
        .collect()
}

/// The host name that somebody chose. The engine makes it an alias on every network.
fn host_name(made: &ContainerInspectResponse) -> Option<String> {
    let id = made.id.as_deref().unwrap_or_default();
    let name = made.config.as_ref()?.hostname.as_deref()?;
    let by_default = name.is_empty() || (name.len() == SHORT_ID && id.starts_with(name));
    (!by_default).then(|| name.to_owned())
}

/// Digits of the id that engines show and use as host name.
pub(super) const SHORT_ID: usize = 12;

fn ports(map: &PortMap) -> Vec<ListedPort> {
    let mut ports = BTreeSet::new();
    for (key, bindings) in map {
        let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
        let Ok(container_port) = port.parse() else { continue };
        let protocol = match protocol {
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        for binding in bindings.iter().flatten() {
            // None was asked for: the engine draws one at each start.
            let host_port = binding.host_port.as_deref().and_then(|port| port.parse().ok()).unwrap_or(0);
            ports.insert(ListedPort {
                host_ip: list::host_address(binding.host_ip.as_deref()),
                host_port,
                container_port,
                protocol,
            });
        }
    }
    ports.into_iter().collect()
}

/// Zero is none.
fn limits(host: &HostConfig) -> Resources {
    let set = |value: Option<i64>| value.filter(|value| *value != 0);
    Resources {
        memory_bytes: set(host.memory),
        memory_reservation_bytes: set(host.memory_reservation),
        memory_swap_bytes: set(host.memory_swap),
        shm_bytes: set(host.shm_size),
        nano_cpus: set(host.nano_cpus),
        cpuset: host.cpuset_cpus.clone().filter(|set| !set.is_empty()),
        pids: set(host.pids_limit).filter(|pids| *pids > 0),
    }
}

/// The limits with what the engine adds to them taken away again: those fields that are as they were meant are shown as they were meant,
/// so that a swap limit of twice the memory, or the engine's own size of `/dev/shm`, is no difference.
pub(super) fn limits_as_meant(
    shown: Resources,
    meant: &Resources,
    differing: &BTreeSet<String>,
) -> Resources {
    fn pick<T>(differs: bool, shown: T, meant: T) -> T {
        if differs { shown } else { meant }
    }
    let differs = |field: &str| differing.contains(&format!("HostConfig.{field}"));
    Resources {
        memory_bytes: pick(differs("Memory"), shown.memory_bytes, meant.memory_bytes),
        memory_reservation_bytes: pick(
            differs("MemoryReservation"),
            shown.memory_reservation_bytes,
            meant.memory_reservation_bytes,
        ),
        memory_swap_bytes: pick(differs("MemorySwap"), shown.memory_swap_bytes, meant.memory_swap_bytes),
        shm_bytes: pick(differs("ShmSize"), shown.shm_bytes, meant.shm_bytes),
        nano_cpus: pick(differs("NanoCpus"), shown.nano_cpus, meant.nano_cpus),
        cpuset: pick(differs("CpusetCpus"), shown.cpuset, meant.cpuset.clone()),
        pids: pick(differs("PidsLimit"), shown.pids, meant.pids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::{ContainerConfig, PortBinding};

    #[test]
    fn restarting_counts_before_running() {
        assert_eq!(
            container_state(Some(ContainerStateStatusEnum::RUNNING), Some(true), None),
            ContainerState::Restarting
        );
        assert_eq!(
            container_state(Some(ContainerStateStatusEnum::RUNNING), Some(false), Some(true)),
            ContainerState::Paused
        );
        assert_eq!(
            container_state(Some(ContainerStateStatusEnum::RUNNING), None, None),
            ContainerState::Running
        );
    }

    #[test]
    fn a_policy_that_we_never_write_is_none() {
        let policy = |name, count| EngineRestartPolicy { name: Some(name), maximum_retry_count: count };
        assert_eq!(restart_policy(&policy(RestartPolicyNameEnum::UNLESS_STOPPED, None)), None);
        assert_eq!(
            restart_policy(&policy(RestartPolicyNameEnum::ON_FAILURE, Some(0))),
            Some(RestartPolicy::OnFailure(None))
        );
        assert_eq!(
            restart_policy(&policy(RestartPolicyNameEnum::ON_FAILURE, Some(3))),
            Some(RestartPolicy::OnFailure(Some(3)))
        );
        assert_eq!(restart_policy(&policy(RestartPolicyNameEnum::EMPTY, None)), Some(RestartPolicy::No));
    }

    #[test]
    fn what_the_engine_adds_is_no_alias_unless_it_was_asked_for() {
        let made = ContainerInspectResponse {
            id: Some("0123456789abcdef".to_owned()),
            config: Some(ContainerConfig { hostname: Some("box".to_owned()), ..ContainerConfig::default() }),
            ..ContainerInspectResponse::default()
        };
        let names = ["db", "0123456789ab", "box"].map(str::to_owned);
        let endpoint = EndpointSettings { aliases: Some(names.to_vec()), ..EndpointSettings::default() };
        assert_eq!(aliases(&endpoint, &made, &BTreeSet::new()), ["db".to_owned()].into());
        assert_eq!(host_name(&made).as_deref(), Some("box"), "and a name on its networks all the same");
        let by_default = ContainerInspectResponse {
            config: Some(ContainerConfig {
                hostname: Some("0123456789ab".to_owned()),
                ..ContainerConfig::default()
            }),
            ..made.clone()
        };
        assert_eq!(host_name(&by_default), None);
        assert_eq!(
            aliases(&endpoint, &made, &["box".to_owned()].into()),
            ["box".to_owned(), "db".to_owned()].into()
        );
        assert_eq!(aliases(&EndpointSettings::default(), &made, &BTreeSet::new()), BTreeSet::new());
    }

    #[test]
    fn asked_ports_are_read_with_their_address() {
        let binding = |ip: &str, port: &str| PortBinding {
            host_ip: Some(ip.to_owned()),
            host_port: Some(port.to_owned()),
        };
        let map = PortMap::from([
            ("53/udp".to_owned(), Some(vec![binding("::1", "5353")])),
            ("80/tcp".to_owned(), Some(vec![binding("", "8080"), binding("0.0.0.0", "8080")])),
            ("81/tcp".to_owned(), None),
        ]);
        let found = ports(&map);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.contains(&ListedPort {
            host_ip: None,
            host_port: 8080,
            container_port: 80,
            protocol: Protocol::Tcp
        }));
        assert!(found.contains(&ListedPort {
            host_ip: "::1".parse().ok(),
            host_port: 5353,
            container_port: 53,
            protocol: Protocol::Udp
        }));
    }
}
