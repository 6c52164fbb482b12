//! The rights that a document asks for, field by field.
//!
//! Every field is named here: one that is added later does not compile until somebody has said what right it needs.

use std::collections::BTreeSet;

use super::{Right, paths};
use crate::descriptor::{
    AddonDescriptor, Gpus, HostPort, IpcMode, LogDriver, MountSource, NetworkMode, NetworkSpec, PidMode,
    PortMapping, ServiceSpec, VolumeSpec,
};
use crate::validate::DEFAULT_PLATFORM_NETWORK;

/// Every right that the document asks for. What only limits (`cap_drop`, `read_only`, `no-new-privileges`), and what
/// Docker gives every container anyway, is none.
pub fn rights(descriptor: &AddonDescriptor) -> BTreeSet<Right> {
    let AddonDescriptor {
        services,
        volumes,
        networks,
        // What people read, and what the manager asks of its host before it begins.
        name: _,
        title: _,
        version: _,
        description: _,
        readme: _,
        license: _,
        homepage: _,
        source: _,
        icon: _,
        keywords: _,
        categories: _,
        changes: _,
        parameters: _,
        requires: _,
    } = descriptor;
    let mut rights = BTreeSet::new();
    for volume in volumes {
        of_volume(volume, &mut rights);
    }
    for network in networks {
        of_network(network, &mut rights);
    }
    for service in services {
        of_service(service, networks, &mut rights);
    }
    rights
}

fn of_volume(volume: &VolumeSpec, rights: &mut BTreeSet<Right>) {
    let VolumeSpec { name, driver, driver_opts, external, labels: _ } = volume;
    if *external {
        rights.insert(Right::of("external-volume", name));
        return;
    }
    if driver != VolumeSpec::DEFAULT_DRIVER {
        rights.insert(Right::of("volume-plugin", driver));
    } else if let Some((path, read_only)) = bound_path(volume) {
        of_host_path(path, read_only, rights);
        return;
    }
    for (key, value) in driver_opts {
        rights.insert(Right::of("volume-driver-opts", format_args!("{name}:{key}={value}")));
    }
}

/// The path of the host that a `local` volume with bind options is, and whether it is only read.
fn bound_path(volume: &VolumeSpec) -> Option<(&str, bool)> {
    let device = volume.driver_opts.get("device").filter(|device| device.starts_with('/'))?;
    let words: Vec<&str> =
        volume.driver_opts.get("o").map(|words| words.split(',').collect()).unwrap_or_default();
    let kind = volume.driver_opts.get("type").map(String::as_str);
    let is_bound = words.iter().any(|word| matches!(*word, "bind" | "rbind")) || matches!(kind, Some("bind"));
    is_bound.then_some((device.as_str(), words.contains(&"ro")))
}

fn of_network(network: &NetworkSpec, rights: &mut BTreeSet<Right>) {
    // Subnets are claimed and compared with the host's; the rest stays inside the network.
    let NetworkSpec {
        name,
        driver,
        driver_opts,
        external,
        subnets: _,
        enable_ipv6: _,
        internal: _,
        labels: _,
    } = network;
    if *external {
        return;
    }
    if driver != NetworkSpec::DEFAULT_DRIVER {
        rights.insert(Right::of("network-driver", driver));
    }
    for (key, value) in driver_opts {
        rights.insert(Right::of("network-driver-opts", format_args!("{name}:{key}={value}")));
    }
}

fn of_host_path(path: &str, read_only: bool, rights: &mut BTreeSet<Right>) {
    let clean = paths::clean(path);
    if paths::holds_docker_socket(&clean) {
        rights.insert(Right::plain("docker-socket"));
    }
    if clean != paths::DOCKER_SOCKET {
        rights.insert(host_path(path, read_only));
    }
}

fn host_path(path: &str, read_only: bool) -> Right {
    Right::of("host-path", format_args!("{path}:{}", if read_only { "ro" } else { "rw" }))
}

fn of_service(service: &ServiceSpec, declared: &[NetworkSpec], rights: &mut BTreeSet<Right>) {
    let ServiceSpec {
        ports,
        volumes,
        networks,
        network_mode,
        replaces,
        pid,
        ipc,
        cap_add,
        devices,
        gpus,
        privileged,
        sysctls,
        security_opt,
        logging,
        // The rest stays inside the container and the addon, or only limits.
        service_name: _,
        image: _,
        command: _,
        entrypoint: _,
        environment: _,
        labels: _,
        aliases: _,
        files: _,
        healthcheck: _,
        depends_on: _,
        restart: _,
        resources: _,
        update: _,
        user: _,
        group_add: _,
        working_dir: _,
        hostname: _,
        domainname: _,
        dns: _,
        dns_search: _,
        extra_hosts: _,
        init: _,
        tty: _,
        stdin_open: _,
        read_only: _,
        tmpfs: _,
        ulimits: _,
        stop_signal: _,
        stop_grace_period: _,
        platform: _,
        cap_drop: _,
    } = service;
    rights.extend(ports.iter().map(host_port));
    for mount in volumes {
        match &mount.source {
            MountSource::HostPath(path) => of_host_path(path, mount.options.read_only, rights),
            MountSource::HostParameter(name) => {
                rights.insert(host_path(&format!("${{{name}}}"), mount.options.read_only));
            }
            // The volume's own settings were looked at above.
            MountSource::Volume(_) | MountSource::Anonymous => (),
        }
    }
    match network_mode {
        None if networks.is_empty() => {
            rights.insert(Right::plain("platform-network"));
        }
        Some(NetworkMode::Host) => {
            rights.insert(Right::plain("host-network"));
        }
        None | Some(NetworkMode::Bridge | NetworkMode::None | NetworkMode::Service(_)) => (),
    }
    for name in networks.keys() {
        match declared.iter().find(|network| network.name == *name) {
            Some(network) if !network.external && name.as_str() == DEFAULT_PLATFORM_NETWORK => {
                rights.insert(Right::plain("platform-network"));
            }
            Some(network) if !network.external => (),
            _ => {
                rights.insert(Right::of("external-network", name));
            }
        }
    }
    rights.extend(replaces.as_ref().map(|component| Right::replaces(component.as_str())));
    if let Some(PidMode::Host) = pid {
        rights.insert(Right::plain("host-pid"));
    }
    if let Some(IpcMode::Host) = ipc {
        rights.insert(Right::plain("host-ipc"));
    }
    let beyond_docker = cap_add.iter().filter(|capability| !capability.is_docker_default());
    rights.extend(beyond_docker.map(|capability| Right::of("capability", capability)));
    rights.extend(devices.iter().map(|device| Right::of("device", &device.host)));
    match gpus {
        None => (),
        Some(Gpus::All) => {
            rights.insert(Right::of("gpus", "all"));
        }
        Some(Gpus::Count(count)) => {
            rights.insert(Right::of("gpus", count));
        }
    }
    if *privileged {
        rights.insert(Right::plain("privileged"));
    }
    rights.extend(sysctls.iter().map(|(key, value)| Right::of("sysctl", format_args!("{key}={value}"))));
    rights.extend(
        security_opt.words().into_iter().map(|word| Right::of("security-opt", word.replace(':', "="))),
    );
    if let Some(logging) = logging {
        let driver = logging.driver.filter(|driver: &LogDriver| !driver.is_local());
        rights.extend(driver.map(|driver| Right::of("log-driver", driver)));
    }
}

/// `host-port:[ip:]8080/tcp`, with `any` for a free one.
fn host_port(port: &PortMapping) -> Right {
    let any = PortMapping { host: HostPort::Any, ..port.clone() };
    let text = match (&port.host, port.address) {
        (HostPort::Any, None) => "any".to_owned(),
        (HostPort::Any, Some(_)) => format!("{}any", any.host_text().trim_end_matches('0')),
        _ => port.host_text(),
    };
    Right::of("host-port", format_args!("{text}/{}", port.protocol))
}
