//! Tables of what becomes of each field of a descriptor.

use addon_descriptor::{AddonDescriptor, Digest};
use serde_json::{Value, json};

use super::choose::{Choices, TakenPort, ula_prefix};
use super::{HostDefaults, ResolveError, Subject, resolve};
use crate::domain::installation::Pin;
use crate::domain::specification::{
    Dependency, DependencyCondition, FileSpecification, Logging, MountSource, MountSpecification,
    NamespaceMode, NetworkAttachment, NetworkMode, Protocol, PublishedPort, RestartPolicy,
    RevisionSpecification, ServiceSpecification, SharedNetwork,
};

fn host() -> HostDefaults {
    HostDefaults {
        prefix: "root_".to_owned(),
        platform_network: Some("oakestra".to_owned()),
        logging: Logging {
            driver: "json-file".to_owned(),
            options: [("max-file".to_owned(), "3".to_owned()), ("max-size".to_owned(), "10m".to_owned())]
                .into(),
        },
        pids: 4_096,
        no_new_privileges: true,
        platform: "linux/amd64".to_owned(),
    }
}

fn choices() -> Choices {
    Choices::new(20_000..=20_009, "10.209.0.0/16".parse().unwrap(), ula_prefix([0, 0, 0, 0, 1]), [], [])
}

fn read(document: &Value) -> AddonDescriptor {
    let reading = addon_descriptor::read(document.to_string().as_bytes()).unwrap();
    reading.descriptor.unwrap_or_else(|| panic!("{:#?}", reading.violations))
}

/// A pin for each service.
fn pins(descriptor: &AddonDescriptor) -> Vec<Pin> {
    let pin = |service: &addon_descriptor::ServiceSpec| Pin {
        service_name: service.service_name.to_string(),
        image: service.image.as_written().to_owned(),
        digest: Digest::of(service.image.as_written().as_bytes()),
        platforms: Vec::new(),
        bytes: 0,
        manifests: Vec::new(),
    };
    descriptor.services.iter().map(pin).collect()
}

fn resolved_on(host: &HostDefaults, document: &Value) -> RevisionSpecification {
    let descriptor = read(document);
    resolve(Subject { name: "shop", descriptor: &descriptor, pins: &pins(&descriptor) }, host, &mut choices())
        .unwrap()
}

/// One service `web` with these fields.
fn service(fields: Value) -> ServiceSpecification {
    let mut document = json!({"name": "store", "services": [{"service_name": "web", "image": "nginx:1.27"}]});
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    document["services"][0].as_object_mut().unwrap().extend(fields);
    resolved_on(&host(), &document).services.remove("web").unwrap()
}

fn attachments(service: &ServiceSpecification) -> &[NetworkAttachment] {
    match &service.network {
        NetworkMode::Networks(attachments) => attachments,
        other => panic!("{other:?}"),
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_service_with_nothing_but_defaults_gets_the_hosts() {
    let web = service(json!({}));
    assert_eq!(web.container_name, "root_shop-web", "<prefix><installation>-<service>");
    assert_eq!(
        (web.image.reference.as_str(), web.image.repository.as_str()),
        ("nginx:1.27", "docker.io/library/nginx")
    );
    assert_eq!((web.command, web.entrypoint, web.healthcheck), (None, None, None));
    assert_eq!((web.restart, web.restart_unhealthy), (RestartPolicy::Always, true));
    assert_eq!(web.resources.pids, Some(4_096));
    assert_eq!(web.resources.memory_bytes, None, "no limit that nobody asked for");
    assert_eq!(web.settings.logging.unwrap(), host().logging);
    assert_eq!(web.settings.security_opt, ["no-new-privileges"]);
    assert_eq!(web.settings.stop_grace_period_s, None);
    assert!(web.depends_on.is_empty() && web.mounts.is_empty() && web.ports.is_empty());
}

#[test]
fn every_plain_setting_reaches_the_specification() {
    let web = service(json!({
        "command": "serve --root '/a b'", "entrypoint": ["/bin/run", "-x"],
        "environment": ["A=1", "B=two words"], "labels": {"team": "x"}, "sysctls": {"net.core.somaxconn": 1024},
        "user": "1000:1000", "group_add": ["dialout", "20"], "working_dir": "/srv", "hostname": "web1", "domainname": "example.org",
        "dns": ["10.0.0.2"], "dns_search": ["example.org"], "extra_hosts": ["db:10.0.0.3", "me:host-gateway"], "init": true, "tty": true,
        "stdin_open": true, "read_only": true, "tmpfs": ["/run:size=64m,exec", "/tmp"], "ulimits": {"nofile": {"soft": 1024, "hard": 2048}},
        "stop_signal": "SIGQUIT", "stop_grace_period": "1500ms", "platform": "linux/arm64", "privileged": true,
        "cap_add": ["NET_ADMIN"], "cap_drop": ["MKNOD"], "devices": ["/dev/ttyUSB0:/dev/tty0:rw"], "gpus": "all"
    }));
    assert_eq!(web.command, Some(strings(&["serve", "--root", "/a b"])));
    assert_eq!(web.entrypoint, Some(strings(&["/bin/run", "-x"])));
    assert_eq!(web.environment["B"], "two words");
    assert_eq!((web.labels["team"].as_str(), web.sysctls["net.core.somaxconn"].as_str()), ("x", "1024"));
    assert_eq!(web.image.platform.as_deref(), Some("linux/arm64"));
    let settings = web.settings;
    assert_eq!(settings.user.as_deref(), Some("1000:1000"));
    assert_eq!(settings.group_add, ["20", "dialout"]);
    assert_eq!(settings.working_dir.as_deref(), Some("/srv"));
    assert_eq!(
        (settings.hostname.as_deref(), settings.domainname.as_deref()),
        (Some("web1"), Some("example.org"))
    );
    assert_eq!((settings.dns, settings.dns_search), (strings(&["10.0.0.2"]), strings(&["example.org"])));
    assert_eq!(settings.extra_hosts, ["db:10.0.0.3", "me:host-gateway"]);
    assert_eq!(settings.init, Some(true));
    assert!(settings.tty && settings.stdin_open && settings.read_only && settings.privileged);
    assert_eq!(
        (settings.tmpfs["/run"].as_str(), settings.tmpfs["/tmp"].as_str()),
        ("exec,size=67108864", "")
    );
    assert_eq!(
        (settings.ulimits[0].name.as_str(), settings.ulimits[0].soft, settings.ulimits[0].hard),
        ("nofile", 1_024, 2_048)
    );
    assert_eq!(settings.stop_signal.as_deref(), Some("SIGQUIT"));
    assert_eq!(settings.stop_grace_period_s, Some(2), "rounded up to whole seconds");
    assert_eq!((settings.cap_add, settings.cap_drop), (strings(&["NET_ADMIN"]), strings(&["MKNOD"])));
    let device = &settings.devices[0];
    assert_eq!(
        (device.host_path.as_str(), device.container_path.as_str(), device.permissions.as_str()),
        ("/dev/ttyUSB0", "/dev/tty0", "rw")
    );
    assert_eq!(settings.gpus, Some(-1));
    assert_eq!(service(json!({"gpus": 2})).settings.gpus, Some(2));
}

#[test]
fn limits_are_bytes_and_counts() {
    let resources = service(json!({"resources": {
        "memory": "64m", "memory_reservation": "32m", "memory_swap": -1, "shm_size": "1m", "cpus": "0.5", "cpuset": "0-1", "pids": 100
    }}))
    .resources;
    assert_eq!(resources.memory_bytes, Some(64 << 20));
    assert_eq!(resources.memory_reservation_bytes, Some(32 << 20));
    assert_eq!((resources.memory_swap_bytes, resources.shm_bytes), (Some(-1), Some(1 << 20)));
    assert_eq!(
        (resources.nano_cpus, resources.cpuset.as_deref(), resources.pids),
        (Some(500_000_000), Some("0-1"), Some(100))
    );
}

#[test]
fn restart_policies_are_those_of_a_service_or_a_job() {
    for (text, expected) in [
        ("always", RestartPolicy::Always),
        ("unless-stopped", RestartPolicy::Always),
        ("on-failure", RestartPolicy::OnFailure(None)),
        ("on-failure:3", RestartPolicy::OnFailure(Some(3))),
        ("no", RestartPolicy::No),
    ] {
        assert_eq!(service(json!({"restart": text})).restart, expected, "{text}");
    }
}

#[test]
fn a_healthcheck_is_in_the_engines_words() {
    for (fields, test) in [
        (json!({"test": "curl -f localhost"}), strings(&["CMD-SHELL", "curl -f localhost"])),
        (json!({"test": ["CMD", "curl", "localhost"]}), strings(&["CMD", "curl", "localhost"])),
        (json!({"test": ["NONE"]}), strings(&["NONE"])),
        (json!({"disable": true}), strings(&["NONE"])),
        (json!({"interval": "5s"}), Vec::new()),
    ] {
        assert_eq!(
            service(json!({"healthcheck": fields.clone()})).healthcheck.unwrap().test,
            test,
            "{fields}"
        );
    }
    let web = service(json!({"healthcheck": {
        "test": ["CMD", "true"], "interval": "5s", "timeout": "500ms", "retries": 4, "start_period": "1m", "start_interval": "1s", "restart": false
    }}));
    let check = web.healthcheck.unwrap();
    assert_eq!((check.interval_ns, check.timeout_ns), (Some(5_000_000_000), Some(500_000_000)));
    assert_eq!(
        (check.start_period_ns, check.start_interval_ns, check.retries),
        (Some(60_000_000_000), Some(1_000_000_000), Some(4))
    );
    assert!(!web.restart_unhealthy);
}

#[test]
fn the_check_of_a_jobs_image_stops_no_job() {
    for (restart, expected) in
        [("always", true), ("unless-stopped", true), ("no", false), ("on-failure:3", false)]
    {
        let check = json!({"test": ["CMD", "true"]});
        assert_eq!(service(json!({"restart": restart})).restart_unhealthy, expected, "{restart}");
        let asked = service(json!({"restart": restart, "healthcheck": check}));
        assert!(asked.restart_unhealthy, "{restart}: a check that the descriptor itself asks for is meant");
    }
}

#[test]
fn ports_are_spelled_out_and_free_ones_chosen() {
    let ports = |ports: Value| service(json!({"ports": ports})).ports;
    let port = |container_port, protocol, host_ip: Option<&str>, host_port| PublishedPort {
        container_port,
        protocol,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        host_port,
        chosen: (20_000..21_000).contains(&host_port),
    };
    let tcp = Protocol::Tcp;
    assert_eq!(ports(json!({"80": "8080"})), [port(80, tcp, None, 8_080)]);
    assert_eq!(ports(json!({"53/udp": "127.0.0.1:53"})), [port(53, Protocol::Udp, Some("127.0.0.1"), 53)]);
    assert_eq!(ports(json!({"80": "[::1]:80"})), [port(80, tcp, Some("::1"), 80)]);
    assert_eq!(
        ports(json!({"8000-8001": "9000-9001"})),
        [port(8_000, tcp, None, 9_000), port(8_001, tcp, None, 9_001)]
    );
    assert_eq!(ports(json!({"80": ""})), [port(80, tcp, None, 20_000)]);
    assert_eq!(
        ports(json!({"80-81": ""})),
        [port(80, tcp, None, 20_000), port(81, tcp, None, 20_001)],
        "each of a range"
    );
    assert_eq!(
        ports(json!({"80": ["8080", "127.0.0.1:8081"]})),
        [port(80, tcp, None, 8_080), port(80, tcp, Some("127.0.0.1"), 8_081)]
    );
}

#[test]
fn a_port_that_another_service_fixes_is_not_chosen() {
    let document = json!({"name": "store", "services": [
        {"service_name": "a", "image": "x", "ports": {"80": ""}},
        {"service_name": "b", "image": "x", "ports": {"80": "20000"}}
    ]});
    let revision = resolved_on(&host(), &document);
    assert_eq!(revision.services["a"].ports[0].host_port, 20_001);
}

#[test]
fn a_range_that_is_used_up_is_an_error() {
    let descriptor = read(
        &json!({"name": "store", "services": [{"service_name": "a", "image": "x", "ports": {"80": ""}}]}),
    );
    let taken = TakenPort { ip: None, port: 20_000, protocol: Protocol::Tcp };
    let mut choices =
        Choices::new(20_000..=20_000, "10.209.0.0/16".parse().unwrap(), ula_prefix([0; 5]), [taken], []);
    let refused = resolve(
        Subject { name: "shop", descriptor: &descriptor, pins: &pins(&descriptor) },
        &host(),
        &mut choices,
    );
    assert_eq!(
        refused,
        Err(ResolveError::NoFreePort { service: "a".to_owned(), container_port: 80, protocol: "tcp" })
    );
}

#[test]
fn mounts_are_sorted_and_belong_to_the_addon_unless_external() {
    let document = json!({"name": "store",
        "volumes": [{"name": "data", "driver_opts": {"type": "tmpfs"}, "labels": {"a": "b"}}, {"name": "films", "external": true}, {"name": "unused"}],
        "services": [{"service_name": "db", "image": "x",
            "volumes": ["films:/films:ro", "/srv/x:/bind:rslave,z", "data:/data:nocopy", "undeclared:/more", "/var/lib/db"]}]});
    let revision = resolved_on(&host(), &document);
    let anonymous = "shop_db-var-lib-db-";
    let targets: Vec<&str> =
        revision.services["db"].mounts.iter().map(|mount| mount.target.as_str()).collect();
    assert_eq!(targets, ["/bind", "/data", "/films", "/more", "/var/lib/db"]);
    let mounts = &revision.services["db"].mounts;
    let plain = |target: &str, source| MountSpecification {
        target: target.to_owned(),
        source,
        read_only: false,
        propagation: None,
        selinux: None,
        no_copy: false,
    };
    let bind = plain("/bind", MountSource::HostPath("/srv/x".to_owned()));
    assert_eq!(
        mounts[0],
        MountSpecification { propagation: Some("rslave".to_owned()), selinux: Some("z".to_owned()), ..bind }
    );
    assert_eq!(
        mounts[1],
        MountSpecification { no_copy: true, ..plain("/data", MountSource::Volume("shop_data".to_owned())) }
    );
    assert_eq!(
        mounts[2],
        MountSpecification { read_only: true, ..plain("/films", MountSource::Volume("films".to_owned())) }
    );
    assert_eq!(mounts[3], plain("/more", MountSource::Volume("shop_undeclared".to_owned())));
    assert!(
        matches!(&mounts[4].source, MountSource::Volume(name) if name.starts_with(anonymous)),
        "{mounts:?}"
    );
    assert_eq!(revision.external_volumes, ["films"]);
    let names: Vec<&str> = revision.volumes.keys().map(String::as_str).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(revision.volumes["shop_data"].driver_opts["type"], "tmpfs");
    assert_eq!(revision.volumes["shop_data"].labels["a"], "b");
    assert_eq!(
        revision.volumes["shop_unused"].key.as_deref(),
        Some("unused"),
        "declared ones are made though nobody mounts them"
    );
    assert!(
        revision.volumes.iter().any(|(name, volume)| name.starts_with(anonymous) && volume.key.is_none())
    );
}

#[test]
fn files_carry_their_content_and_mode() {
    let files = service(json!({"files": [{"path": "/etc/a.conf", "content": "x=$y $$"}, {"path": "/b", "content": "", "mode": "0600"}]})).files;
    let file = |path: &str, content: &str, mode| FileSpecification {
        path: path.to_owned(),
        content: content.to_owned(),
        mode,
    };
    assert_eq!(
        files,
        [file("/etc/a.conf", "x=$y $$", 0o444), file("/b", "", 0o600)],
        "without parameters $ means nothing"
    );
}

#[test]
fn a_single_service_is_on_the_platforms_network_alone() {
    let revision =
        resolved_on(&host(), &json!({"name": "store", "services": [{"service_name": "web", "image": "x"}]}));
    assert_eq!(
        attachments(&revision.services["web"]),
        [NetworkAttachment {
            network: "oakestra".to_owned(),
            aliases: Vec::new(),
            courtesy_alias: Some("root_web".to_owned()),
            ipv4_address: None,
            ipv6_address: None,
        }],
        "never the bare name where others are"
    );
    assert_eq!(revision.shared_networks, [("oakestra".to_owned(), SharedNetwork::Platform)].into());
    assert!(revision.networks.is_empty());
}

#[test]
fn several_services_share_a_network_of_their_own_beside_the_platforms() {
    let revision = resolved_on(
        &host(),
        &json!({"name": "store", "services": [
            {"service_name": "web", "image": "x", "aliases": ["front"]}, {"service_name": "root_db", "image": "x"}
        ]}),
    );
    let web = attachments(&revision.services["web"]);
    assert_eq!(web[0].network, "oakestra");
    assert_eq!(
        (web[1].network.as_str(), web[1].aliases.clone()),
        ("shop_default", strings(&["front", "root_web", "web"]))
    );
    let db = attachments(&revision.services["root_db"]);
    assert_eq!(db[1].aliases, ["root_db"], "the prefix is never doubled");
    let network = &revision.networks["shop_default"];
    assert_eq!((network.key.as_str(), network.driver.as_str()), ("default", "bridge"));
    assert_eq!(network.subnets, ["10.209.0.0/26"]);
}

#[test]
fn without_a_platform_network_a_service_is_on_the_addons_own() {
    let host = HostDefaults { platform_network: None, prefix: String::new(), ..host() };
    let revision =
        resolved_on(&host, &json!({"name": "store", "services": [{"service_name": "web", "image": "x"}]}));
    let web = attachments(&revision.services["web"]);
    assert_eq!(web.len(), 1);
    assert_eq!(
        (web[0].network.as_str(), web[0].aliases.clone(), web[0].courtesy_alias.clone()),
        ("shop_default", strings(&["web"]), None)
    );
    assert!(revision.shared_networks.is_empty());
}

#[test]
fn a_network_is_own_when_declared_shared_when_not_and_the_platforms_by_its_name() {
    let document = json!({"name": "store",
    "networks": [
        {"name": "back", "internal": true, "enable_ipv6": true, "labels": {"a": "b"}, "driver_opts": {"o": "1"}},
        {"name": "lan", "driver": "macvlan", "subnets": ["192.168.7.0/24"]},
        {"name": "oakestra"},
        {"name": "corp", "external": true}
    ],
    "services": [{"service_name": "web", "image": "x", "networks": {
        "back": {"aliases": ["b"]}, "lan": {"ipv4_address": "192.168.7.9"}, "oakestra": {"aliases": ["shop"]}, "corp": null, "undeclared": {}
    }}]});
    let revision = resolved_on(&host(), &document);
    assert_eq!(revision.networks.keys().collect::<Vec<_>>(), ["shop_back", "shop_lan"]);
    let back = &revision.networks["shop_back"];
    assert!(back.internal && back.enable_ipv6);
    assert_eq!(
        back.subnets,
        ["10.209.0.0/26", "fd00:0:1::/64"],
        "the host gives both, since an engine of 20.10 has no pool for IPv6"
    );
    assert_eq!((back.labels["a"].as_str(), back.driver_opts["o"].as_str()), ("b", "1"));
    assert_eq!(revision.networks["shop_lan"].subnets, ["192.168.7.0/24"]);
    let shared: Vec<(&str, SharedNetwork)> =
        revision.shared_networks.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
    assert_eq!(
        shared,
        [
            ("corp", SharedNetwork::External),
            ("oakestra", SharedNetwork::Platform),
            ("undeclared", SharedNetwork::External)
        ]
    );
    let of = |name: &str| {
        attachments(&revision.services["web"])
            .iter()
            .find(|attachment| attachment.network == name)
            .unwrap()
            .clone()
    };
    assert_eq!(of("shop_back").aliases, ["b", "root_web", "web"]);
    assert_eq!(of("shop_lan").ipv4_address, Some("192.168.7.9".parse().unwrap()));
    assert_eq!(
        (of("oakestra").aliases, of("oakestra").courtesy_alias.as_deref()),
        (strings(&["shop"]), Some("root_web"))
    );
    assert_eq!(of("corp").aliases, Vec::<String>::new());
}

#[test]
fn a_network_that_the_descriptor_gives_subnets_keeps_them_and_they_are_not_chosen() {
    let document = json!({"name": "store",
        "networks": [{"name": "a"}, {"name": "b", "subnets": ["10.209.0.0/25"]}],
        "services": [{"service_name": "web", "image": "x", "networks": ["a", "b"]}]});
    let revision = resolved_on(&host(), &document);
    assert_eq!(revision.networks["shop_b"].subnets, ["10.209.0.0/25"]);
    assert_eq!(revision.networks["shop_a"].subnets, ["10.209.0.128/26"]);
}

#[test]
fn other_namespaces_are_named_and_waited_for() {
    let document = json!({"name": "store", "services": [
        {"service_name": "vpn", "image": "x", "ipc": "shareable"},
        {"service_name": "app", "image": "x", "network_mode": "service:vpn", "pid": "service:vpn", "ipc": "service:vpn",
         "depends_on": {"vpn": {"condition": "service_healthy", "restart": true}}},
        {"service_name": "tool", "image": "x", "network_mode": "host", "pid": "host", "ipc": "host", "depends_on": ["app"]},
        {"service_name": "job", "image": "x", "network_mode": "none", "ipc": "private", "restart": "no"},
        {"service_name": "old", "image": "x", "network_mode": "bridge", "ports": {"80": "8080"},
         "depends_on": {"job": {"condition": "service_completed_successfully"}}}
    ]});
    let services = resolved_on(&host(), &document).services;
    let vpn = || NamespaceMode::Service("vpn".to_owned());
    let app = &services["app"];
    assert_eq!(app.network, NetworkMode::Service("vpn".to_owned()));
    assert_eq!((app.pid.clone(), app.ipc.clone()), (Some(vpn()), Some(vpn())));
    let dependency = |service: &str, condition, restart, namespace| Dependency {
        service: service.to_owned(),
        condition,
        restart,
        namespace,
    };
    assert_eq!(app.depends_on, [dependency("vpn", DependencyCondition::ServiceHealthy, true, true)]);
    assert_eq!(services["vpn"].ipc, Some(NamespaceMode::Shareable));
    let tool = &services["tool"];
    assert_eq!(
        (&tool.network, tool.pid.clone(), tool.ipc.clone()),
        (&NetworkMode::Host, Some(NamespaceMode::Host), Some(NamespaceMode::Host))
    );
    assert_eq!(tool.depends_on, [dependency("app", DependencyCondition::ServiceStarted, false, false)]);
    assert_eq!(
        (&services["job"].network, services["job"].ipc.clone()),
        (&NetworkMode::None, Some(NamespaceMode::Private))
    );
    assert_eq!(services["old"].network, NetworkMode::Bridge);
    assert_eq!(
        services["old"].depends_on,
        [dependency("job", DependencyCondition::ServiceCompletedSuccessfully, false, false)]
    );
}

#[test]
fn hardening_is_declined_by_name_only() {
    for (options, expected) in [
        (json!(["no-new-privileges:true"]), strings(&["no-new-privileges"])),
        (json!(["no-new-privileges:false"]), strings(&["no-new-privileges=false"])),
        (
            json!(["seccomp=unconfined", "apparmor=unconfined", "label=disable"]),
            strings(&["no-new-privileges", "seccomp=unconfined", "apparmor=unconfined", "label=disable"]),
        ),
    ] {
        assert_eq!(
            service(json!({"security_opt": options.clone()})).settings.security_opt,
            expected,
            "{options}"
        );
    }
    let document = json!({"name": "store", "services": [{"service_name": "web", "image": "x"}]});
    let relaxed = HostDefaults { no_new_privileges: false, ..host() };
    assert!(resolved_on(&relaxed, &document).services["web"].settings.security_opt.is_empty());
}

#[test]
fn log_options_stand_over_the_hosts_where_both_mean_one_driver() {
    let logging = |fields: Value| service(json!({"logging": fields})).settings.logging.unwrap();
    let more = logging(json!({"options": {"max-size": "1m"}}));
    assert_eq!(
        (more.driver.as_str(), more.options["max-size"].as_str(), more.options["max-file"].as_str()),
        ("json-file", "1m", "3")
    );
    let other = logging(json!({"driver": "syslog", "options": {"tag": "x"}}));
    assert_eq!((other.driver.as_str(), other.options.len()), ("syslog", 1));
    assert_eq!(logging(json!({"driver": "json-file"})).options["max-size"], "10m");
}

#[test]
fn images_are_pinned_by_what_was_reviewed() {
    let descriptor = read(&json!({"name": "store", "services": [
        {"service_name": "a", "image": "quay.io/x/a:1"}, {"service_name": "b", "image": "b", "platform": "linux/arm64"}
    ]}));
    let digest = |text: &str| Digest::of(text.as_bytes());
    let pin = |service: &str, image: &str, bytes| {
        let of = |platform: &str, bytes| addon_client::PlatformManifest {
            platform: platform.to_owned(),
            digest: digest("m"),
            config: digest("c"),
            bytes,
        };
        Pin {
            service_name: service.to_owned(),
            image: image.to_owned(),
            digest: digest(service),
            platforms: strings(&["linux/amd64", "linux/arm64"]),
            bytes,
            manifests: vec![of("linux/amd64", 10), of("linux/arm64", 20)],
        }
    };
    let pins = [pin("a", "quay.io/x/a:1", 99), pin("b", "b", 99)];
    let subject = Subject { name: "shop", descriptor: &descriptor, pins: &pins };
    let revision = resolve(subject, &host(), &mut choices()).unwrap();
    let image = &revision.services["a"].image;
    assert_eq!(
        (image.repository.as_str(), image.digest.clone(), image.bytes),
        ("quay.io/x/a", digest("a").to_string(), Some(10))
    );
    assert_eq!(revision.services["b"].image.bytes, Some(20), "of the platform that is asked for");

    let strange = [pin("a", "quay.io/x/a:2", 0), pin("b", "b", 0)];
    let refused = resolve(Subject { pins: &strange, ..subject }, &host(), &mut choices());
    assert_eq!(
        refused,
        Err(ResolveError::NoPin { service: "a".to_owned(), image: "quay.io/x/a:1".to_owned() })
    );
}

#[test]
fn what_later_versions_do_is_refused_by_its_name() {
    for (document, field, path) in [
        (
            json!({"name": "s", "parameters": [{"name": "p", "type": "string", "default": "x"}],
                   "services": [{"service_name": "a", "image": "x", "environment": {"P": "${p}"}}]}),
            "parameters",
            "/parameters",
        ),
        (
            json!({"name": "s", "services": [{"service_name": "a", "image": "x"}, {"service_name": "b", "image": "x", "replaces": "scheduler"}]}),
            "replaces",
            "/services/1/replaces",
        ),
    ] {
        let descriptor = read(&document);
        let refused =
            resolve(Subject { name: "s", descriptor: &descriptor, pins: &[] }, &host(), &mut choices());
        assert_eq!(refused, Err(ResolveError::NotSupported { field, path: path.to_owned() }));
    }
}

#[test]
fn two_names_of_one_addon_have_nothing_in_common() {
    let descriptor = read(&json!({"name": "store", "volumes": [{"name": "data"}], "services": [
        {"service_name": "web", "image": "x", "ports": {"80": ""}, "volumes": ["data:/d", "/cache"]}, {"service_name": "db", "image": "x"}
    ]}));
    let mut choices = choices();
    let mut claimed = std::collections::BTreeSet::new();
    for name in ["one", "two"] {
        let revision = resolve(
            Subject { name, descriptor: &descriptor, pins: &pins(&descriptor) },
            &host(),
            &mut choices,
        )
        .unwrap();
        for claim in crate::domain::claim::claims(name, &revision) {
            assert!(claimed.insert(claim.clone()), "{claim:?} is claimed by both");
        }
    }
}
