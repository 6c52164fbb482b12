//! Pure: one service of the descriptor becomes what one container is asked to be.

use std::collections::BTreeMap;
use std::time::Duration;

use addon_descriptor::ImageRef;
use addon_descriptor::descriptor;
use addon_descriptor::descriptor::{
    FileSource, HealthTest, HostPort, MountSource as DescriptorSource, ServiceSpec,
};

use super::choose::{Choices, TakenPort};
use super::network::Layout;
use super::{HostDefaults, ResolveError, Subject};
use crate::domain::installation::Pin;
use crate::domain::naming;
use crate::domain::specification::{
    Dependency, DependencyCondition, Device, FileSpecification, HealthcheckSpecification, Logging,
    MountSource, MountSpecification, NamespaceMode, NetworkMode, PinnedImage, Protocol, PublishedPort,
    Resources, RestartPolicy, RevisionSpecification, ServiceSpecification, Settings, Ulimit,
    VolumeSpecification,
};

/// Takes every host port that the descriptor fixes.
pub(super) fn take_fixed_ports(service: &ServiceSpec, choices: &mut Choices) {
    for mapping in &service.ports {
        if let HostPort::Fixed(range) = &mapping.host {
            let protocol = protocol(mapping.protocol);
            range
                .iter()
                .for_each(|port| choices.take_port(TakenPort { ip: mapping.address, port, protocol }));
        }
    }
}

/// The specification of a service. Volumes that it brings without naming them are added to the revision's, external ones to its list.
pub(super) fn resolve(
    spec: &ServiceSpec,
    subject: Subject<'_>,
    host: &HostDefaults,
    layout: &Layout<'_>,
    choices: &mut Choices,
    revision: &mut RevisionSpecification,
) -> Result<ServiceSpecification, ResolveError> {
    let network = layout.mode(spec);
    let ServiceSpec {
        service_name,
        image,
        command,
        entrypoint,
        environment,
        labels,
        sysctls,
        ports,
        volumes,
        networks: _,
        aliases: _,
        files,
        healthcheck,
        depends_on,
        restart,
        resources,
        update,
        // Refused before this.
        replaces: _,
        user,
        group_add,
        working_dir,
        hostname,
        domainname,
        dns,
        dns_search,
        extra_hosts,
        init,
        tty,
        stdin_open,
        read_only,
        tmpfs,
        ulimits,
        stop_signal,
        stop_grace_period,
        logging,
        platform,
        cap_add,
        cap_drop,
        security_opt,
        network_mode: _,
        pid,
        ipc,
        devices,
        gpus,
        privileged,
    } = spec;
    let name = service_name.as_str();
    let words = |words: &Vec<String>| (!words.is_empty()).then(|| words.clone());
    let settings = Settings {
        user: user.clone(),
        group_add: group_add.iter().cloned().collect(),
        working_dir: working_dir.clone(),
        hostname: hostname.clone(),
        domainname: domainname.clone(),
        dns: dns.iter().map(ToString::to_string).collect(),
        dns_search: dns_search.clone(),
        extra_hosts: extra_hosts
            .iter()
            .flat_map(|(host, addresses)| addresses.iter().map(move |address| format!("{host}:{address}")))
            .collect(),
        init: init.then_some(true),
        tty: *tty,
        stdin_open: *stdin_open,
        read_only: *read_only,
        tmpfs: tmpfs.iter().map(|tmpfs| (tmpfs.target.clone(), tmpfs.options.join(","))).collect(),
        ulimits: ulimits
            .iter()
            .map(|(name, limit)| Ulimit { name: name.clone(), soft: limit.soft, hard: limit.hard })
            .collect(),
        stop_signal: stop_signal.clone(),
        stop_grace_period_s: (*stop_grace_period != ServiceSpec::DEFAULT_STOP_GRACE_PERIOD)
            .then(|| whole_seconds(*stop_grace_period)),
        logging: Some(log_target(logging.as_ref(), &host.logging)),
        cap_add: cap_add.iter().map(ToString::to_string).collect(),
        cap_drop: cap_drop.iter().map(ToString::to_string).collect(),
        security_opt: security_options(*security_opt, host.no_new_privileges),
        privileged: *privileged,
        devices: devices
            .iter()
            .map(|device| Device {
                host_path: device.host.clone(),
                container_path: device.container.clone(),
                permissions: device.permissions(),
            })
            .collect(),
        gpus: gpus.map(|gpus| match gpus {
            descriptor::Gpus::All => -1,
            descriptor::Gpus::Count(count) => i64::from(count),
        }),
    };
    Ok(ServiceSpecification {
        service_name: name.to_owned(),
        container_name: naming::container_name(&host.prefix, subject.name, name),
        image: pinned(name, image, platform.as_ref(), subject, host)?,
        command: words(command),
        entrypoint: words(entrypoint),
        environment: environment.clone(),
        labels: labels.clone(),
        sysctls: sysctls.clone(),
        ports: published(name, ports, choices)?,
        mounts: mounts(name, volumes, subject, revision),
        files: file_specifications(files)?,
        pid: pid.as_ref().map(|mode| match mode {
            descriptor::PidMode::Host => NamespaceMode::Host,
            descriptor::PidMode::Service(other) => NamespaceMode::Service(other.to_string()),
        }),
        ipc: ipc.as_ref().map(ipc_mode),
        healthcheck: healthcheck.as_ref().map(healthcheck_specification),
        // A check that an image brings is one for its server: a job of it that takes its time is not stopped because of that.
        restart_unhealthy: healthcheck.as_ref().map_or(!is_job(*restart), |check| check.restart),
        depends_on: dependencies(depends_on, &network, pid.as_ref(), ipc.as_ref()),
        restart: match *restart {
            // Measured: an engine leaves `unless-stopped` containers down after a crash.
            descriptor::RestartPolicy::Always | descriptor::RestartPolicy::UnlessStopped => {
                RestartPolicy::Always
            }
            descriptor::RestartPolicy::OnFailure { max_retries } => RestartPolicy::OnFailure(max_retries),
            descriptor::RestartPolicy::No => RestartPolicy::No,
        },
        start_first: update.order == descriptor::UpdateOrder::StartFirst,
        resources: limits(resources, host.pids),
        network,
        settings,
    })
}

fn is_job(restart: descriptor::RestartPolicy) -> bool {
    matches!(restart, descriptor::RestartPolicy::No | descriptor::RestartPolicy::OnFailure { .. })
}

/// The image by the digest that was reviewed.
fn pinned(
    service: &str,
    image: &ImageRef,
    platform: Option<&descriptor::Platform>,
    subject: Subject<'_>,
    host: &HostDefaults,
) -> Result<PinnedImage, ResolveError> {
    let fits = |pin: &&Pin| pin.service_name == service && pin.image == image.as_written();
    let pin = subject.pins.iter().find(fits).ok_or_else(|| ResolveError::NoPin {
        service: service.to_owned(),
        image: image.as_written().to_owned(),
    })?;
    let platform = platform.map(ToString::to_string);
    let wanted = platform.as_deref().unwrap_or(&host.platform);
    let of_platform =
        pin.manifests.iter().find(|manifest| manifest.platform == wanted).map(|manifest| manifest.bytes);
    Ok(PinnedImage {
        reference: image.as_written().to_owned(),
        repository: image.name(),
        digest: pin.digest.to_string(),
        // The pin's own figure is that of its largest platform: an upper bound where ours is not told.
        bytes: of_platform.or_else(|| (pin.bytes > 0).then_some(pin.bytes)),
        platform,
    })
}

/// Every published port, ranges spelled out; a free one is chosen where the descriptor takes any.
fn published(
    service: &str,
    mappings: &[descriptor::PortMapping],
    choices: &mut Choices,
) -> Result<Vec<PublishedPort>, ResolveError> {
    let mut ports = Vec::new();
    for descriptor::PortMapping { container, protocol: transport, address, host } in mappings {
        let protocol = protocol(*transport);
        for (offset, container_port) in container.iter().enumerate() {
            let host_port = match host {
                HostPort::Fixed(range) => range
                    .iter()
                    .nth(offset)
                    .expect("both ranges have one length, which was checked when it was read"),
                HostPort::Any => {
                    let kept = choices.kept_port(service, container_port, *address, protocol);
                    let port = kept.or_else(|| choices.port(*address, protocol));
                    port.ok_or_else(|| ResolveError::NoFreePort {
                        service: service.to_owned(),
                        container_port,
                        protocol: transport.as_str(),
                    })?
                }
                HostPort::Parameter(_) => return Err(unsupported_parameter()),
            };
            let chosen = matches!(host, HostPort::Any);
            ports.push(PublishedPort { container_port, protocol, host_ip: *address, host_port, chosen });
        }
    }
    ports.sort();
    Ok(ports)
}

/// Volumes and host paths, in order of their target.
fn mounts(
    service: &str,
    mounts: &[descriptor::Mount],
    subject: Subject<'_>,
    revision: &mut RevisionSpecification,
) -> Vec<MountSpecification> {
    let mut specifications: Vec<_> = mounts
        .iter()
        .filter_map(|descriptor::Mount { source, target, options }| {
            let source = match source {
                DescriptorSource::Volume(name) => match subject.descriptor.volume(name.as_str()) {
                    Some(volume) if volume.external => {
                        revision.external_volumes.push(name.to_string());
                        MountSource::Volume(name.to_string())
                    }
                    _ => MountSource::Volume(naming::object_name(subject.name, name.as_str())),
                },
                DescriptorSource::HostPath(path) => MountSource::HostPath(path.clone()),
                // Refused before this, with all of `parameters`.
                DescriptorSource::HostParameter(_) => return None,
                DescriptorSource::Anonymous => {
                    let name = naming::path_volume_name(subject.name, service, target);
                    let volume = VolumeSpecification {
                        key: None,
                        driver: descriptor::VolumeSpec::DEFAULT_DRIVER.to_owned(),
                        driver_opts: BTreeMap::new(),
                        labels: BTreeMap::new(),
                    };
                    revision.volumes.insert(name.clone(), volume);
                    MountSource::Volume(name)
                }
            };
            let descriptor::MountOptions { read_only, selinux, nocopy, propagation } = options;
            Some(MountSpecification {
                target: target.clone(),
                source,
                read_only: *read_only,
                propagation: propagation.map(|propagation| propagation.as_str().to_owned()),
                selinux: selinux.map(|label| label.as_str().to_owned()),
                no_copy: *nocopy,
            })
        })
        .collect();
    specifications.sort_by(|one, other| one.target.cmp(&other.target));
    specifications
}

fn file_specifications(files: &[descriptor::FileSpec]) -> Result<Vec<FileSpecification>, ResolveError> {
    let file = |descriptor::FileSpec { path, source, mode }: &descriptor::FileSpec| match source {
        FileSource::Content(content) => {
            Ok(FileSpecification { path: path.clone(), content: content.clone(), mode: *mode })
        }
        FileSource::Parameter(_) => Err(unsupported_parameter()),
    };
    files.iter().map(file).collect()
}

/// A document that uses a parameter declares it, and one that declares any is refused before this.
fn unsupported_parameter() -> ResolveError {
    ResolveError::NotSupported { field: "parameters", path: "/parameters".to_owned() }
}

fn healthcheck_specification(check: &descriptor::Healthcheck) -> HealthcheckSpecification {
    let descriptor::Healthcheck {
        test,
        interval,
        timeout,
        retries,
        start_period,
        start_interval,
        restart: _,
    } = check;
    let word = |word: &str| word.to_owned();
    HealthcheckSpecification {
        test: match test {
            HealthTest::Image => Vec::new(),
            HealthTest::Disabled => vec![word("NONE")],
            HealthTest::Command(words) => std::iter::once(word("CMD")).chain(words.iter().cloned()).collect(),
            HealthTest::Shell(line) => vec![word("CMD-SHELL"), line.clone()],
        },
        interval_ns: interval.map(nanoseconds),
        timeout_ns: timeout.map(nanoseconds),
        start_period_ns: start_period.map(nanoseconds),
        start_interval_ns: start_interval.map(nanoseconds),
        retries: retries.map(i64::from),
    }
}

/// What must be so before the start, by the other's name; a service whose namespace is used is one of them.
fn dependencies(
    depends_on: &BTreeMap<addon_descriptor::ServiceName, descriptor::Dependency>,
    network: &NetworkMode,
    pid: Option<&descriptor::PidMode>,
    ipc: Option<&descriptor::IpcMode>,
) -> Vec<Dependency> {
    let mut all: BTreeMap<String, Dependency> = depends_on
        .iter()
        .map(|(service, descriptor::Dependency { condition, restart })| {
            let condition = match condition {
                descriptor::Condition::Started => DependencyCondition::ServiceStarted,
                descriptor::Condition::Healthy => DependencyCondition::ServiceHealthy,
                descriptor::Condition::Completed => DependencyCondition::ServiceCompletedSuccessfully,
            };
            let service = service.to_string();
            (service.clone(), Dependency { service, condition, restart: *restart, namespace: false })
        })
        .collect();
    let of_network = match network {
        NetworkMode::Service(other) => Some(other.clone()),
        _ => None,
    };
    let of_pid = pid.and_then(|mode| match mode {
        descriptor::PidMode::Service(other) => Some(other.to_string()),
        descriptor::PidMode::Host => None,
    });
    let of_ipc = ipc.and_then(|mode| match mode {
        descriptor::IpcMode::Service(other) => Some(other.to_string()),
        _ => None,
    });
    for other in [of_network, of_pid, of_ipc].into_iter().flatten() {
        let started = Dependency {
            service: other.clone(),
            condition: DependencyCondition::ServiceStarted,
            restart: false,
            namespace: false,
        };
        all.entry(other).or_insert(started).namespace = true;
    }
    all.into_values().collect()
}

fn ipc_mode(mode: &descriptor::IpcMode) -> NamespaceMode {
    match mode {
        descriptor::IpcMode::Private => NamespaceMode::Private,
        descriptor::IpcMode::Shareable => NamespaceMode::Shareable,
        descriptor::IpcMode::Host => NamespaceMode::Host,
        descriptor::IpcMode::Service(other) => NamespaceMode::Service(other.to_string()),
    }
}

fn limits(resources: &descriptor::Resources, host_pids: i64) -> Resources {
    let descriptor::Resources { memory, memory_reservation, memory_swap, shm_size, cpus, cpuset, pids } =
        resources;
    let bytes = |bytes: u64| i64::try_from(bytes).expect("sizes are at most 2^53 - 1");
    Resources {
        memory_bytes: memory.map(bytes),
        memory_reservation_bytes: memory_reservation.map(bytes),
        memory_swap_bytes: memory_swap.map(descriptor::MemorySwap::as_engine_value),
        shm_bytes: shm_size.map(bytes),
        nano_cpus: cpus.as_ref().map(descriptor::Cpus::nano_cpus),
        cpuset: cpuset.clone(),
        pids: Some(pids.map_or(host_pids, i64::from)),
    }
}

/// The host's default; with the descriptor's options over it where both mean one driver.
fn log_target(asked: Option<&descriptor::Logging>, host: &Logging) -> Logging {
    let Some(descriptor::Logging { driver, options }) = asked else { return host.clone() };
    let driver = driver.map_or(host.driver.as_str(), |driver| driver.as_str());
    let mut all = if driver == host.driver { host.options.clone() } else { BTreeMap::new() };
    all.extend(options.clone());
    Logging { driver: driver.to_owned(), options: all }
}

/// As the engine reads them. `no-new-privileges=false` is written out, since an engine may have it as its own default.
fn security_options(options: descriptor::SecurityOptions, host_no_new_privileges: bool) -> Vec<String> {
    let descriptor::SecurityOptions {
        no_new_privileges,
        seccomp_unconfined,
        apparmor_unconfined,
        label_disable,
    } = options;
    [
        (no_new_privileges && host_no_new_privileges, "no-new-privileges"),
        (!no_new_privileges, "no-new-privileges=false"),
        (seccomp_unconfined, "seccomp=unconfined"),
        (apparmor_unconfined, "apparmor=unconfined"),
        (label_disable, "label=disable"),
    ]
    .into_iter()
    .filter(|(set, _)| *set)
    .map(|(_, word)| word.to_owned())
    .collect()
}

fn protocol(protocol: descriptor::Protocol) -> Protocol {
    match protocol {
        descriptor::Protocol::Tcp => Protocol::Tcp,
        descriptor::Protocol::Udp => Protocol::Udp,
        descriptor::Protocol::Sctp => Protocol::Sctp,
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos())
        .expect("durations are at most 100 years, which was checked when they were read")
}

/// Rounded up: half a second of grace is not none.
fn whole_seconds(duration: Duration) -> i64 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i64::try_from(seconds).expect("durations are at most 100 years, which was checked when they were read")
}
