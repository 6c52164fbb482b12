//! The rights that a document asks for, field by field.
//!
//! Every field is named here: one that is added later does not compile until somebody has said what right it needs.

use std::collections::BTreeSet;

use super::{Right, paths};
use crate::descriptor::{
    AddonDescriptor, Gpus, HostPort, IpcMode, LogDriver, MountSource, NetworkMode, NetworkSpec, PidMode,
    PortMapping, ServiceSpec, VolumeSpec,
};
use crate::parameters::{Parameter, ParameterKind};
use crate::validate::DEFAULT_PLATFORM_NETWORK;

/// Every right that the document asks for. What only limits (`cap_drop`, `read_only`, `no-new-privileges`), and what
/// Docker gives every container anyway, is none.
pub fn rights(descriptor: &AddonDescriptor) -> BTreeSet<Right> {
    let AddonDescriptor {
        services,
        volumes,
        networks,
        parameters,
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
        for mount in &service.volumes {
            of_default_path(&mount.source, mount.options.read_only, parameters, &mut rights);
        }
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
    // The engine takes the last word.
    let access = volume.mount_words().filter(|word| matches!(*word, "ro" | "rw")).last();
    volume.is_bound().then_some((device.as_str(), access == Some("ro")))
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
        // A path of a mount is normal already; that of a volume's options need not be.
        let is_normal = !path.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."));
        let shown = if is_normal { path } else { clean.as_str() };
        rights.insert(host_path(shown, read_only));
    }
}

/// What a parameter's default gives, when that is root on the host: who changes nothing gets it.
fn of_default_path(
    source: &MountSource,
    read_only: bool,
    parameters: &[Parameter],
    rights: &mut BTreeSet<Right>,
) {
    let MountSource::HostParameter(name) = source else { return };
    let declared = parameters.iter().find(|parameter| parameter.name == *name).map(|found| &found.kind);
    if let Some(ParameterKind::Path { default: Some(path) }) = declared
        && paths::gives_root(path, read_only)
    {
        of_host_path(path, read_only, rights);
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fields;
    use crate::read;

    fn rights_of(document: &Value) -> Vec<String> {
        let reading = read(document.to_string().as_bytes()).unwrap();
        let descriptor =
            reading.descriptor.unwrap_or_else(|| panic!("{document}: {:#?}", reading.violations));
        rights(&descriptor).iter().map(ToString::to_string).collect()
    }

    /// The rights of a document whose first service has this field beside nothing that needs any.
    fn of_field(field: &str, value: &Value) -> Vec<String> {
        let mut document = json!({
            "name": "sample",
            "services": [
                { "service_name": "web", "image": "nginx:1.27", "networks": ["own"] },
                { "service_name": "other", "image": "nginx:1.27", "networks": ["own"], "ipc": "shareable" }
            ],
            "networks": [{ "name": "own" }],
            "parameters": [{ "name": "films", "type": "path" }, { "name": "web", "type": "port" }]
        });
        document["services"][0][field] = value.clone();
        if field == "network_mode" {
            document["services"][0]["networks"] = json!([]);
        }
        rights_of(&document)
    }

    /// Every field of a service, with values and the rights that they need.
    fn table() -> Vec<(&'static str, Value, Vec<&'static str>)> {
        let none = |field: &'static str, value: Value| (field, value, vec![]);
        vec![
            none("command", json!("x")),
            none("entrypoint", json!("x")),
            none("environment", json!({ "A": "b" })),
            none("labels", json!({ "a": "b" })),
            ("sysctls", json!({ "net.core.somaxconn": 512 }), vec!["sysctl:net.core.somaxconn=512"]),
            (
                "ports",
                json!({ "80": "8080", "53/udp": "5353" }),
                vec!["host-port:5353/udp", "host-port:8080/tcp"],
            ),
            ("ports", json!({ "80": "127.0.0.1:8080" }), vec!["host-port:127.0.0.1:8080/tcp"]),
            ("ports", json!({ "80": "[::1]:8080" }), vec!["host-port:[::1]:8080/tcp"]),
            ("ports", json!({ "8000-8002": "8000-8002" }), vec!["host-port:8000-8002/tcp"]),
            ("ports", json!({ "80": "" }), vec!["host-port:any/tcp"]),
            ("ports", json!({ "80": "127.0.0.1:" }), vec!["host-port:127.0.0.1:any/tcp"]),
            ("ports", json!({ "80": "${web}" }), vec!["host-port:${web}/tcp"]),
            ("volumes", json!(["/var/run/docker.sock:/var/run/docker.sock"]), vec!["docker-socket"]),
            ("volumes", json!(["/run/docker.sock:/s:ro"]), vec!["docker-socket"]),
            ("volumes", json!(["/var/run:/x"]), vec!["docker-socket", "host-path:/var/run:rw"]),
            ("volumes", json!(["/var:/x:ro"]), vec!["docker-socket", "host-path:/var:ro"]),
            ("volumes", json!(["/run:/x"]), vec!["docker-socket", "host-path:/run:rw"]),
            ("volumes", json!(["/:/x:ro"]), vec!["docker-socket", "host-path:/:ro"]),
            ("volumes", json!(["/srv:/x:ro"]), vec!["host-path:/srv:ro"]),
            ("volumes", json!(["${films}:/x"]), vec!["host-path:${films}:rw"]),
            none("volumes", json!(["v:/x", "/y"])),
            ("networks", json!([]), vec!["platform-network"]),
            ("networks", json!(["theirs"]), vec!["external-network:theirs"]),
            none("networks", json!({ "own": { "aliases": ["x"] } })),
            none("aliases", json!(["x"])),
            none("files", json!([{ "path": "/x", "content": "x" }])),
            none("healthcheck", json!({ "test": "true" })),
            none("depends_on", json!(["other"])),
            none("restart", json!("no")),
            none("resources", json!({ "memory": "64m" })),
            none("update", json!({ "order": "start-first" })),
            ("replaces", json!("root_scheduler"), vec!["replaces:root_scheduler"]),
            none("user", json!("root")),
            none("group_add", json!(["docker"])),
            none("working_dir", json!("/x")),
            none("hostname", json!("x")),
            none("domainname", json!("x")),
            none("dns", json!("1.1.1.1")),
            none("dns_search", json!("x")),
            none("extra_hosts", json!(["x:host-gateway"])),
            none("init", json!(true)),
            none("tty", json!(true)),
            none("stdin_open", json!(true)),
            none("read_only", json!(true)),
            none("tmpfs", json!("/x")),
            none("ulimits", json!({ "nofile": 1024 })),
            none("stop_signal", json!("INT")),
            none("stop_grace_period", json!("1s")),
            none("logging", json!({ "driver": "local" })),
            ("logging", json!({ "driver": "syslog" }), vec!["log-driver:syslog"]),
            none("platform", json!("linux/amd64")),
            none("cap_add", json!(["CHOWN"])),
            ("cap_add", json!(["NET_ADMIN"]), vec!["capability:NET_ADMIN"]),
            none("cap_drop", json!(["ALL"])),
            none("security_opt", json!(["no-new-privileges"])),
            (
                "security_opt",
                json!([
                    "no-new-privileges:false",
                    "seccomp=unconfined",
                    "apparmor=unconfined",
                    "label=disable"
                ]),
                vec![
                    "security-opt:apparmor=unconfined",
                    "security-opt:label=disable",
                    "security-opt:no-new-privileges=false",
                    "security-opt:seccomp=unconfined",
                ],
            ),
            ("network_mode", json!("host"), vec!["host-network"]),
            none("network_mode", json!("none")),
            none("network_mode", json!("service:other")),
            ("pid", json!("host"), vec!["host-pid"]),
            none("pid", json!("service:other")),
            ("ipc", json!("host"), vec!["host-ipc"]),
            none("ipc", json!("service:other")),
            ("devices", json!(["/dev/ttyUSB0:/dev/x:r"]), vec!["device:/dev/ttyUSB0"]),
            ("gpus", json!("all"), vec!["gpus:all"]),
            ("gpus", json!(2), vec!["gpus:2"]),
            ("privileged", json!(true), vec!["privileged"]),
        ]
    }

    #[test]
    fn every_field_of_a_service_has_the_rights_that_it_needs() {
        let table = table();
        for (field, value, expected) in &table {
            assert_eq!(of_field(field, value), *expected, "{field}: {value}");
        }
        for (field, _) in fields::SERVICE.fields {
            let is_plain = matches!(*field, "service_name" | "image");
            assert!(
                is_plain || table.iter().any(|(tabled, ..)| tabled == field),
                "{field} is not in the table"
            );
        }
    }

    #[test]
    fn the_default_of_a_path_counts_when_root_follows_from_it() {
        let of_default = |default: &str| {
            rights_of(&json!({
                "name": "sample",
                "parameters": [{ "name": "f", "type": "path", "default": default }],
                "services": [{
                    "service_name": "web", "image": "nginx:1.27", "network_mode": "none", "volumes": ["${f}:/x:ro"]
                }]
            }))
        };
        assert_eq!(of_default("/srv/films"), ["host-path:${f}:ro"]);
        assert_eq!(of_default("/var/run/docker.sock"), ["docker-socket", "host-path:${f}:ro"]);
        assert_eq!(of_default("/etc"), ["host-path:${f}:ro", "host-path:/etc:ro"]);
        assert_eq!(of_default("/etc/localtime"), ["host-path:${f}:ro"]);
    }

    #[test]
    fn volumes_and_networks_have_the_rights_that_they_need() {
        let of_volume = |volume: Value| {
            rights_of(&json!({
                "name": "sample",
                "services": [{ "service_name": "web", "image": "nginx:1.27", "network_mode": "none" }],
                "volumes": [volume]
            }))
        };
        let bind = json!({ "type": "none", "o": "bind,ro", "device": "/srv/films" });
        assert_eq!(of_volume(json!({ "name": "v", "driver_opts": bind })), ["host-path:/srv/films:ro"]);
        for (words, access) in [("bind,ro,rw", "rw"), ("bind,rw,ro", "ro"), ("ro,bind", "ro")] {
            let bind = json!({ "type": "none", "o": words, "device": "/etc/localtime" });
            let expected = [format!("host-path:/etc/localtime:{access}")];
            assert_eq!(of_volume(json!({ "name": "v", "driver_opts": bind })), expected, "{words}");
        }
        let slash = json!({ "o": "bind", "device": "/srv/films/" });
        assert_eq!(of_volume(json!({ "name": "v", "driver_opts": slash })), ["host-path:/srv/films:rw"]);
        let socket = json!({ "o": "rbind", "device": "/var/run" });
        assert_eq!(
            of_volume(json!({ "name": "v", "driver_opts": socket })),
            ["docker-socket", "host-path:/var/run:rw"]
        );
        let nfs = json!({ "type": "nfs", "o": "addr=10.0.0.1", "device": ":/x" });
        assert_eq!(
            of_volume(json!({ "name": "v", "driver_opts": nfs })),
            [
                "volume-driver-opts:v:device=:/x",
                "volume-driver-opts:v:o=addr=10.0.0.1",
                "volume-driver-opts:v:type=nfs"
            ]
        );
        assert_eq!(
            of_volume(json!({ "name": "v", "driver": "nfs", "driver_opts": { "share": "x" } })),
            ["volume-driver-opts:v:share=x", "volume-plugin:nfs"]
        );
        assert_eq!(of_volume(json!({ "name": "v", "external": true })), ["external-volume:v"]);
        assert_eq!(of_volume(json!({ "name": "v", "labels": { "a": "b" } })), Vec::<String>::new());

        let of_network = |network: Value| {
            rights_of(&json!({
                "name": "sample",
                "services": [{ "service_name": "web", "image": "nginx:1.27", "networks": [network["name"]] }],
                "networks": [network]
            }))
        };
        assert_eq!(
            of_network(json!({ "name": "n", "subnets": ["10.0.0.0/24"], "internal": true })),
            Vec::<String>::new()
        );
        assert_eq!(of_network(json!({ "name": "n", "external": true })), ["external-network:n"]);
        assert_eq!(of_network(json!({ "name": "oakestra" })), ["platform-network"]);
        assert_eq!(
            of_network(json!({ "name": "n", "driver": "macvlan", "driver_opts": { "parent": "eth0" } })),
            ["network-driver-opts:n:parent=eth0", "network-driver:macvlan"]
        );
    }
}
