//! The one typed builder: what a specification is in the engine's terms. Pure.
//!
//! Nothing of a descriptor or a request is passed through: every field that the engine knows is named below, with the value that the
//! specification gives it or the reason why it is left to the engine. `compare.rs` holds what the engine made to the same body.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, DeviceMapping, DeviceRequest, EndpointIpamConfig,
    EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig, Ipam, IpamConfig, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountType, MountVolumeOptions, NetworkCreateRequest,
    NetworkingConfig, PortBinding, ResourcesUlimits, RestartPolicy as EngineRestartPolicy,
    RestartPolicyNameEnum, VolumeCreateRequest,
};

use crate::domain::specification::{
    HealthcheckSpecification, MountSource, MountSpecification, NamespaceMode, NetworkAttachment, NetworkMode,
    NetworkSpecification, PublishedPort, Resources, RestartPolicy, ServiceSpecification, VolumeSpecification,
};
use crate::runtime::{ChangeNeeded, ContainerMeant, RuntimeError};

/// The body of a create call. An error names what the plan has not given, or what the engine has no words for.
pub(super) fn container(
    specification: &ServiceSpecification,
    meant: &ContainerMeant,
) -> Result<ContainerCreateBody, RuntimeError> {
    let operation = || format!("create container {}", meant.name);
    let settings = &specification.settings;
    let (network_mode, networking_config) = network(specification, meant)?;
    let (mounts, binds) = mounts(specification, meant)?;
    let host_config = HostConfig {
        // Limits: none that nobody asked for.
        memory: specification.resources.memory_bytes,
        memory_reservation: specification.resources.memory_reservation_bytes,
        memory_swap: specification.resources.memory_swap_bytes,
        nano_cpus: specification.resources.nano_cpus,
        cpuset_cpus: specification.resources.cpuset.clone(),
        pids_limit: specification.resources.pids,
        shm_size: specification.resources.shm_bytes,
        ulimits: some(ulimits(specification)),
        // What is mounted.
        binds: some(binds),
        mounts: some(mounts),
        tmpfs: some(settings.tmpfs.clone()).map(unordered),
        // How it is connected.
        network_mode: Some(network_mode),
        port_bindings: some(port_bindings(&specification.ports)),
        dns: some(settings.dns.clone()),
        dns_search: some(settings.dns_search.clone()),
        extra_hosts: some(settings.extra_hosts.clone()),
        // Whose namespaces.
        ipc_mode: namespace(specification.ipc.as_ref(), meant, &operation)?,
        pid_mode: namespace(specification.pid.as_ref(), meant, &operation)?,
        // What it may do.
        cap_add: some(settings.cap_add.clone()),
        cap_drop: some(settings.cap_drop.clone()),
        security_opt: some(settings.security_opt.clone()),
        privileged: Some(settings.privileged),
        readonly_rootfs: Some(settings.read_only),
        group_add: some(settings.group_add.clone()),
        devices: some(devices(specification)),
        device_requests: settings.gpus.map(|count| vec![gpus(count)]),
        sysctls: some(specification.sysctls.clone()).map(unordered),
        // How it lives.
        init: settings.init,
        restart_policy: Some(restart_policy(meant.restart)),
        log_config: settings.logging.as_ref().map(|logging| HostConfigLogConfig {
            typ: Some(logging.driver.clone()),
            config: Some(unordered(logging.options.clone())),
        }),
        // The reconciler removes: a container that the engine removes by itself would take its logs along.
        auto_remove: None,
        // Host ports are chosen, never drawn.
        publish_all_ports: None,
        // The engine's own defaults, which the descriptor cannot change: they confine.
        masked_paths: None,
        readonly_paths: None,
        cgroupns_mode: None,
        userns_mode: None,
        uts_mode: None,
        cgroup_parent: None,
        cgroup: None,
        runtime: None,
        isolation: None,
        oom_kill_disable: None,
        oom_score_adj: None,
        device_cgroup_rules: None,
        storage_opt: None,
        // Nothing in a descriptor leads here.
        cpu_shares: None,
        blkio_weight: None,
        blkio_weight_device: None,
        blkio_device_read_bps: None,
        blkio_device_write_bps: None,
        blkio_device_read_iops: None,
        blkio_device_write_iops: None,
        cpu_period: None,
        cpu_quota: None,
        cpu_realtime_period: None,
        cpu_realtime_runtime: None,
        cpuset_mems: None,
        memory_swappiness: None,
        cpu_count: None,
        cpu_percent: None,
        io_maximum_iops: None,
        io_maximum_bandwidth: None,
        container_id_file: None,
        volume_driver: None,
        volumes_from: None,
        console_size: None,
        annotations: None,
        dns_options: None,
        links: None,
    };
    Ok(ContainerCreateBody {
        image: Some(meant.image_tag.clone()),
        cmd: specification.command.clone(),
        entrypoint: specification.entrypoint.clone(),
        env: some(
            specification
                .environment
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>(),
        ),
        labels: Some(labels(&specification.labels, &meant.labels)),
        exposed_ports: some(exposed_ports(&specification.ports)),
        healthcheck: specification.healthcheck.as_ref().map(healthcheck),
        hostname: settings.hostname.clone(),
        domainname: settings.domainname.clone(),
        user: settings.user.clone(),
        working_dir: settings.working_dir.clone(),
        tty: Some(settings.tty),
        open_stdin: Some(settings.stdin_open),
        stop_signal: settings.stop_signal.clone(),
        stop_timeout: settings.stop_grace_period_s,
        host_config: Some(host_config),
        networking_config,
        // Nobody is attached; volumes are all named and mounted; the rest is for Windows or for builds.
        attach_stdin: None,
        attach_stdout: None,
        attach_stderr: None,
        stdin_once: None,
        args_escaped: None,
        volumes: None,
        network_disabled: None,
        on_build: None,
        shell: None,
    })
}

/// Labels by whose presence another program takes a container for one of its own: Oakestra's monitor removes what it does not know, and
/// `docker compose down` what it finds under the project. An engine lets a label of an image be emptied and not be taken away.
const TAKEN_BY_PRESENCE: &[&str] = &["oak.addon.id", "com.docker.compose.config-hash"];

/// Labels that are ours to set: what an image brings of them says nothing of the container.
pub(super) fn is_reserved(label: &str) -> bool {
    label.starts_with("oak.") || label.starts_with("com.docker.compose.")
}

/// Empties every label of ours that comes with the image and that we do not set. An error for one that must not be there at all.
pub(super) fn empty_image_labels(
    labels: &mut HashMap<String, String>,
    of_image: &HashMap<String, String>,
    operation: &str,
) -> Result<(), RuntimeError> {
    if let Some(label) = TAKEN_BY_PRESENCE.iter().find(|label| of_image.contains_key(**label)) {
        return Err(RuntimeError::Never {
            operation: operation.to_owned(),
            message: format!(
                "the image has the label {label}, by which another program would take its container for one of its own and remove it; build \
                 the image without that label"
            ),
        });
    }
    for label in of_image.keys().filter(|label| is_reserved(label)) {
        labels.entry(label.clone()).or_default();
    }
    Ok(())
}

/// The descriptor's labels and ours, which nothing overrides.
fn labels(own: &BTreeMap<String, String>, ours: &BTreeMap<String, String>) -> HashMap<String, String> {
    own.iter().chain(ours).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Network mode and, for networks of its own, the first one's endpoint. Engines before API 1.44 take one endpoint at create and refuse
/// more, so the others are connected right after it on every engine: one way that is always taken is a way that is always tested.
fn network(
    specification: &ServiceSpecification,
    meant: &ContainerMeant,
) -> Result<(String, Option<NetworkingConfig>), RuntimeError> {
    let mode = match &specification.network {
        NetworkMode::Networks(attachments) => {
            let Some(first) = attachments.first() else { return Ok(("none".to_owned(), None)) };
            // Before anything is made: those that are connected afterwards must be known as well.
            for attachment in attachments {
                network_id(attachment, meant)?;
            }
            let id = network_id(first, meant)?;
            let courtesy = meant.courtesy_aliases.get(&first.network).map(String::as_str);
            let endpoints = HashMap::from([(id.clone(), endpoint(id, first, courtesy))]);
            return Ok((id.clone(), Some(NetworkingConfig { endpoints_config: Some(endpoints) })));
        }
        NetworkMode::Bridge => "bridge".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Service(service) => {
            joined(service, meant, &|| format!("create container {}", meant.name))?
        }
    };
    Ok((mode, None))
}

/// The engine's id of a network that is to be used.
pub(super) fn network_id<'a>(
    attachment: &NetworkAttachment,
    meant: &'a ContainerMeant,
) -> Result<&'a String, RuntimeError> {
    meant.network_ids.get(&attachment.network).ok_or_else(|| RuntimeError::Gone {
        operation: format!("create container {}", meant.name),
        message: format!("network {} is not there", attachment.network),
    })
}

/// How a container stands on one network. With the id in it the engine does not look the name up, which another network may have too.
pub(super) fn endpoint(
    network_id: &str,
    attachment: &NetworkAttachment,
    courtesy_alias: Option<&str>,
) -> EndpointSettings {
    let aliases: BTreeSet<String> =
        attachment.aliases.iter().cloned().chain(courtesy_alias.map(str::to_owned)).collect();
    let fixed = attachment.ipv4_address.is_some() || attachment.ipv6_address.is_some();
    EndpointSettings {
        network_id: Some(network_id.to_owned()),
        aliases: some(aliases.into_iter().collect::<Vec<_>>()),
        ipam_config: fixed.then(|| EndpointIpamConfig {
            ipv4_address: attachment.ipv4_address.map(|address| address.to_string()),
            ipv6_address: attachment.ipv6_address.map(|address| address.to_string()),
            link_local_ips: None,
        }),
        ..EndpointSettings::default()
    }
}

fn namespace(
    mode: Option<&NamespaceMode>,
    meant: &ContainerMeant,
    operation: &impl Fn() -> String,
) -> Result<Option<String>, RuntimeError> {
    Ok(match mode {
        None => None,
        Some(NamespaceMode::Host) => Some("host".to_owned()),
        Some(NamespaceMode::Private) => Some("private".to_owned()),
        Some(NamespaceMode::Shareable) => Some("shareable".to_owned()),
        Some(NamespaceMode::Service(service)) => Some(joined(service, meant, operation)?),
    })
}

fn joined(
    service: &str,
    meant: &ContainerMeant,
    operation: &impl Fn() -> String,
) -> Result<String, RuntimeError> {
    let id = meant.namespace_containers.get(service).ok_or_else(|| RuntimeError::Gone {
        operation: operation(),
        message: format!("the container of service {service}, whose namespace it uses, is not there"),
    })?;
    Ok(format!("container:{id}"))
}

/// Mounts, and binds for those that only a bind can say: SELinux labels have no field in a mount.
fn mounts(
    specification: &ServiceSpecification,
    meant: &ContainerMeant,
) -> Result<(Vec<Mount>, Vec<String>), RuntimeError> {
    let mut mounts = Vec::new();
    let mut binds = Vec::new();
    for mount in &specification.mounts {
        match &mount.selinux {
            None => mounts.push(plain_mount(mount)),
            Some(label) => binds.push(labelled_mount(mount, label, meant)?),
        }
    }
    for (target, volume) in &meant.image_volumes {
        if specification.mounts.iter().all(|mount| mount.target != *target) {
            mounts.push(volume_mount(volume, target, false, false));
        }
    }
    for file in &specification.files {
        let source = meant.file_sources.get(&file.path).ok_or_else(|| RuntimeError::Retry {
            operation: format!("create container {}", meant.name),
            message: format!("the file for {} has not been written", file.path),
            after: None,
            engine_unreachable: false,
        })?;
        mounts.push(bind_mount(source, &file.path, true, None));
    }
    Ok((mounts, binds))
}

fn plain_mount(mount: &MountSpecification) -> Mount {
    match &mount.source {
        MountSource::Volume(name) => volume_mount(name, &mount.target, mount.read_only, mount.no_copy),
        MountSource::HostPath(path) => {
            bind_mount(path, &mount.target, mount.read_only, mount.propagation.as_deref())
        }
    }
}

fn volume_mount(name: &str, target: &str, read_only: bool, no_copy: bool) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(name.to_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        volume_options: no_copy
            .then(|| MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }),
        ..Mount::default()
    }
}

/// A missing source is the engine's error here; as a bind it would become a new, empty folder that belongs to root.
fn bind_mount(source: &str, target: &str, read_only: bool, propagation: Option<&str>) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        bind_options: propagation
            .and_then(propagation_of)
            .map(|mode| MountBindOptions { propagation: Some(mode), ..MountBindOptions::default() }),
        ..Mount::default()
    }
}

fn propagation_of(name: &str) -> Option<MountBindOptionsPropagationEnum> {
    use MountBindOptionsPropagationEnum as Mode;
    Some(match name {
        "private" => Mode::PRIVATE,
        "rprivate" => Mode::RPRIVATE,
        "shared" => Mode::SHARED,
        "rshared" => Mode::RSHARED,
        "slave" => Mode::SLAVE,
        "rslave" => Mode::RSLAVE,
        _ => return None,
    })
}

/// `source:target:options`, the only notation that takes `z` and `Z`.
fn labelled_mount(
    mount: &MountSpecification,
    label: &str,
    meant: &ContainerMeant,
) -> Result<String, RuntimeError> {
    let (MountSource::Volume(source) | MountSource::HostPath(source)) = &mount.source;
    if source.contains(':') || mount.target.contains(':') {
        return Err(RuntimeError::WaitForChange {
            operation: format!("create container {}", meant.name),
            message: format!(
                "the mount {} has a colon in a path and an SELinux option: the engine cannot take both; drop z or Z",
                mount.target
            ),
            reason: ChangeNeeded::Configuration,
        });
    }
    let mut options = vec![if mount.read_only { "ro" } else { "rw" }, label];
    options.extend(mount.propagation.as_deref());
    if mount.no_copy {
        options.push("nocopy");
    }
    Ok(format!("{source}:{}:{}", mount.target, options.join(",")))
}

/// Host paths that are given as binds: the engine would make a folder where they are missing, so they are looked for before.
pub(super) fn bound_paths(specification: &ServiceSpecification) -> Vec<&str> {
    let labelled = specification.mounts.iter().filter(|mount| mount.selinux.is_some());
    labelled
        .filter_map(|mount| match &mount.source {
            MountSource::HostPath(path) => Some(path.as_str()),
            MountSource::Volume(_) => None,
        })
        .collect()
}

/// A create call that can make nothing, since it asks for a capability that does not exist, which the engine finds out after it has
/// looked at the mounts: its refusal tells whether a path is missing. (There is no call that asks for a path of the engine's host.)
pub(super) fn probe_of_paths(image_tag: &str, paths: &[&str]) -> ContainerCreateBody {
    let mounts = paths
        .iter()
        .enumerate()
        .map(|(index, path)| bind_mount(path, &format!("/probe/{index}"), true, None))
        .collect();
    ContainerCreateBody {
        image: Some(image_tag.to_owned()),
        host_config: Some(HostConfig {
            mounts: Some(mounts),
            cap_add: Some(vec!["CAP_THAT_IS_NONE".to_owned()]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

fn exposed_ports(ports: &[PublishedPort]) -> Vec<String> {
    let exposed: BTreeSet<String> = ports.iter().map(port_key).collect();
    exposed.into_iter().collect()
}

fn port_key(port: &PublishedPort) -> String {
    format!("{}/{}", port.container_port, protocol_name(port.protocol))
}

pub(super) fn protocol_name(protocol: crate::domain::specification::Protocol) -> &'static str {
    use crate::domain::specification::Protocol;
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// An empty address is all addresses of both families.
fn port_bindings(ports: &[PublishedPort]) -> HashMap<String, Option<Vec<PortBinding>>> {
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in ports {
        let binding = PortBinding {
            host_ip: Some(port.host_ip.map(|address| address.to_string()).unwrap_or_default()),
            host_port: Some(port.host_port.to_string()),
        };
        bindings.entry(port_key(port)).or_default().get_or_insert_default().push(binding);
    }
    bindings
}

fn healthcheck(check: &HealthcheckSpecification) -> HealthConfig {
    HealthConfig {
        test: some(check.test.clone()),
        interval: check.interval_ns,
        timeout: check.timeout_ns,
        retries: check.retries,
        start_period: check.start_period_ns,
        // Engines before API 1.44 do not know it and leave it away.
        start_interval: check.start_interval_ns,
    }
}

fn ulimits(specification: &ServiceSpecification) -> Vec<ResourcesUlimits> {
    let limits = specification.settings.ulimits.iter();
    limits
        .map(|limit| ResourcesUlimits {
            name: Some(limit.name.clone()),
            soft: Some(limit.soft),
            hard: Some(limit.hard),
        })
        .collect()
}

fn devices(specification: &ServiceSpecification) -> Vec<DeviceMapping> {
    let devices = specification.settings.devices.iter();
    devices
        .map(|device| DeviceMapping {
            path_on_host: Some(device.host_path.clone()),
            path_in_container: Some(device.container_path.clone()),
            cgroup_permissions: Some(device.permissions.clone()),
        })
        .collect()
}

/// What `--gpus` asks for; -1 is all.
fn gpus(count: i64) -> DeviceRequest {
    DeviceRequest {
        count: Some(count),
        capabilities: Some(vec![vec!["gpu".to_owned()]]),
        ..DeviceRequest::default()
    }
}

fn restart_policy(policy: RestartPolicy) -> EngineRestartPolicy {
    let (name, retries) = match policy {
        RestartPolicy::Always => (RestartPolicyNameEnum::ALWAYS, 0),
        RestartPolicy::OnFailure(retries) => (RestartPolicyNameEnum::ON_FAILURE, retries.unwrap_or(0)),
        RestartPolicy::No => (RestartPolicyNameEnum::NO, 0),
    };
    EngineRestartPolicy { name: Some(name), maximum_retry_count: Some(i64::from(retries)) }
}

/// The body of an update: the policy, and the limits that are wanted. The engine has no word for taking away a limit of memory, CPUs or
/// processors (an absent or zero value leaves what is there); a limit of processes can be taken away.
pub(super) fn update(restart: RestartPolicy, resources: &Resources) -> ContainerUpdateBody {
    // A memory limit above the swap limit that is set is refused unless both come together; the engine's default is twice the memory.
    let swap =
        resources.memory_swap_bytes.or_else(|| resources.memory_bytes.map(|bytes| bytes.saturating_mul(2)));
    ContainerUpdateBody {
        restart_policy: Some(restart_policy(restart)),
        memory: resources.memory_bytes,
        memory_reservation: resources.memory_reservation_bytes,
        memory_swap: swap,
        nano_cpus: resources.nano_cpus,
        cpuset_cpus: resources.cpuset.clone(),
        pids_limit: Some(resources.pids.unwrap_or(0)),
        ..ContainerUpdateBody::default()
    }
}

/// The body of a network create call.
pub(super) fn network_request(
    name: &str,
    specification: &NetworkSpecification,
    ours: &BTreeMap<String, String>,
) -> NetworkCreateRequest {
    let subnets = specification.subnets.iter();
    let pools: Vec<_> =
        subnets.map(|subnet| IpamConfig { subnet: Some(subnet.clone()), ..IpamConfig::default() }).collect();
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some(specification.driver.clone()),
        internal: Some(specification.internal),
        enable_ipv6: Some(specification.enable_ipv6),
        options: some(specification.driver_opts.clone()).map(unordered),
        labels: Some(labels(&specification.labels, ours)),
        ipam: some(pools).map(|config| Ipam { config: Some(config), ..Ipam::default() }),
        // For Swarm, or the engine's defaults.
        scope: None,
        attachable: None,
        ingress: None,
        config_only: None,
        config_from: None,
        enable_ipv4: None,
    }
}

/// The body of a volume create call.
pub(super) fn volume_request(
    name: &str,
    specification: &VolumeSpecification,
    ours: &BTreeMap<String, String>,
) -> VolumeCreateRequest {
    VolumeCreateRequest {
        name: Some(name.to_owned()),
        driver: Some(specification.driver.clone()),
        driver_opts: some(specification.driver_opts.clone()).map(unordered),
        labels: Some(labels(&specification.labels, ours)),
        cluster_volume_spec: None,
    }
}

fn unordered(map: BTreeMap<String, String>) -> HashMap<String, String> {
    map.into_iter().collect()
}

/// `None` for what is empty: the engine then keeps its own or the image's.
fn some<T: Emptiness>(value: T) -> Option<T> {
    (!value.is_void()).then_some(value)
}

trait Emptiness {
    fn is_void(&self) -> bool;
}

impl<T> Emptiness for Vec<T> {
    fn is_void(&self) -> bool {
        self.is_empty()
    }
}

impl<K, V> Emptiness for BTreeMap<K, V> {
    fn is_void(&self) -> bool {
        self.is_empty()
    }
}

impl<K, V> Emptiness for HashMap<K, V> {
    fn is_void(&self) -> bool {
        self.is_empty()
    }
}
