//! The typed builder and the comparison: a container that uses every field is as it was meant, and one that differs in any is not.

use std::collections::BTreeMap;

use addons_manager::domain::specification::{
    Device, FileSpecification, HealthcheckSpecification, Logging, MountSource, MountSpecification,
    NamespaceMode, NetworkMode, Protocol, PublishedPort, Resources, RestartPolicy, ServiceSpecification,
    Ulimit,
};
use addons_manager::runtime::docker::DockerRuntime;
use addons_manager::runtime::{ContainerMeant, ContainerRuntime, OwnContainerId};
use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, HostConfig, Mount, MountType, RestartPolicy as EnginePolicy,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use serde_json::json;
use system_tests::{Image, World};

use super::{attachment, docker, labels, local_volume, network_on, run, service};

/// An image that sets everything that a container may take from it.
fn talkative_image() -> Image {
    Image::demo("talkative", "1")
        .set("Env", json!(["FROM_IMAGE=yes", "OVERRIDDEN=image", "PATH=/"]))
        .set("Cmd", json!(["--port", "9000"]))
        .set("ExposedPorts", json!({"9000/tcp": {}}))
        .set("WorkingDir", json!("/tmp"))
        .set("StopSignal", json!("SIGINT"))
        .set("User", json!("0"))
        .labels(&[("of.image", "yes"), ("overridden", "image")])
        .volume("/data")
        .healthcheck(&["/demo-addon", "healthcheck", "--port", "9000"])
}

fn mount(target: &str, source: MountSource) -> MountSpecification {
    MountSpecification {
        target: target.to_owned(),
        source,
        read_only: false,
        propagation: None,
        selinux: None,
        no_copy: false,
    }
}

fn port(container_port: u16, protocol: Protocol, host_ip: Option<&str>, host_port: u16) -> PublishedPort {
    PublishedPort {
        container_port,
        protocol,
        host_ip: host_ip.map(|ip| ip.parse().expect("an address")),
        host_port,
        chosen: false,
    }
}

/// A specification that sets every field that can stand beside the others, and what it needs on the engine.
async fn everything(
    world: &World,
    docker: &DockerRuntime,
) -> anyhow::Result<(ServiceSpecification, ContainerMeant)> {
    let (mut specification, mut meant) = service(world, docker, &talkative_image(), "full").await?;
    let host = world.folder("host")?;
    let path = |name: &str| -> anyhow::Result<String> {
        let path = host.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path.to_str().expect("UTF-8").to_owned())
    };
    let file = host.join("written");
    std::fs::write(&file, "content")?;

    specification.command = Some(vec!["serve".to_owned(), "--port".to_owned(), "9000".to_owned()]);
    specification.entrypoint = Some(vec!["/demo-addon".to_owned()]);
    specification.environment =
        pairs(&[("OVERRIDDEN", "ours"), ("EMPTY", ""), ("EQUALS", "a=b=c"), ("LINES", "a\nb")]);
    specification.labels = pairs(&[("overridden", "ours"), ("own", "1")]);
    specification.sysctls = pairs(&[("net.core.somaxconn", "1024")]);
    specification.ports = vec![
        port(9000, Protocol::Tcp, None, 20001),
        port(9000, Protocol::Tcp, Some("127.0.0.1"), 20002),
        port(53, Protocol::Udp, Some("127.0.0.1"), 20053),
        port(54, Protocol::Udp, None, 20054),
    ];
    specification.mounts = vec![
        mount("/v", MountSource::Volume("full_v".to_owned())),
        MountSpecification {
            read_only: true,
            no_copy: true,
            ..mount("/v-ro", MountSource::Volume("full_w".to_owned()))
        },
        MountSpecification {
            selinux: Some("z".to_owned()),
            no_copy: true,
            ..mount("/v-z", MountSource::Volume("full_z".to_owned()))
        },
        mount("/h", MountSource::HostPath(path("plain")?)),
        MountSpecification {
            read_only: true,
            propagation: Some("rprivate".to_owned()),
            ..mount("/h-ro", MountSource::HostPath(path("read-only")?))
        },
        MountSpecification {
            read_only: true,
            selinux: Some("Z".to_owned()),
            propagation: Some("rprivate".to_owned()),
            ..mount("/h-z", MountSource::HostPath(path("labelled")?))
        },
    ];
    specification.files = vec![FileSpecification {
        path: "/etc/app.conf".to_owned(),
        content: "content".to_owned(),
        mode: 0o444,
    }];
    meant.file_sources = pairs(&[("/etc/app.conf", file.to_str().expect("UTF-8"))]);
    meant.image_volumes = pairs(&[("/data", "full_image-data")]);
    let mut first = attachment("full_front", &["web", "full"]);
    first.ipv4_address = Some("10.77.1.9".parse()?);
    let mut second = attachment("full_back", &["db"]);
    second.courtesy_alias = Some("root_web".to_owned());
    specification.network = NetworkMode::Networks(vec![first, second]);
    meant.courtesy_aliases = pairs(&[("full_back", "root_web")]);
    specification.ipc = Some(NamespaceMode::Shareable);
    specification.healthcheck = Some(HealthcheckSpecification {
        test: vec![
            "CMD".to_owned(),
            "/demo-addon".to_owned(),
            "healthcheck".to_owned(),
            "--port".to_owned(),
            "9000".to_owned(),
        ],
        interval_ns: Some(200_000_000),
        timeout_ns: None,
        start_period_ns: Some(1_000_000_000),
        start_interval_ns: Some(100_000_000),
        retries: Some(7),
    });
    specification.resources = Resources {
        memory_bytes: Some(64 << 20),
        memory_reservation_bytes: Some(32 << 20),
        memory_swap_bytes: Some(96 << 20),
        shm_bytes: Some(8 << 20),
        nano_cpus: Some(500_000_000),
        cpuset: Some("0".to_owned()),
        pids: Some(128),
    };
    let settings = &mut specification.settings;
    settings.user = Some("0:0".to_owned());
    settings.group_add = vec!["27".to_owned(), "100".to_owned()];
    settings.working_dir = Some("/tmp".to_owned());
    settings.hostname = Some("box.example".to_owned());
    settings.domainname = Some("example".to_owned());
    settings.dns = vec!["10.0.0.2".to_owned(), "10.0.0.1".to_owned()];
    settings.dns_search = vec!["b.example".to_owned(), "a.example".to_owned()];
    settings.extra_hosts = vec!["z:10.0.0.9".to_owned(), "a:10.0.0.8".to_owned()];
    settings.init = Some(false);
    settings.tty = true;
    settings.stdin_open = true;
    settings.read_only = true;
    settings.tmpfs = pairs(&[("/run", "rw,noexec,size=65536k"), ("/scratch", "")]);
    settings.ulimits = vec![
        Ulimit { name: "nofile".to_owned(), soft: 1024, hard: 2048 },
        Ulimit { name: "core".to_owned(), soft: 0, hard: 0 },
    ];
    settings.stop_signal = Some("SIGTERM".to_owned());
    settings.stop_grace_period_s = Some(3);
    settings.logging = Some(Logging {
        driver: "json-file".to_owned(),
        options: pairs(&[("max-size", "10m"), ("max-file", "3")]),
    });
    settings.cap_add = vec!["NET_ADMIN".to_owned(), "SYS_TIME".to_owned()];
    settings.cap_drop = vec!["MKNOD".to_owned()];
    settings.security_opt = vec![
        "no-new-privileges".to_owned(),
        "seccomp=unconfined".to_owned(),
        "apparmor=unconfined".to_owned(),
    ];
    settings.devices = vec![Device {
        host_path: "/dev/null".to_owned(),
        container_path: "/dev/nothing".to_owned(),
        permissions: "rw".to_owned(),
    }];
    meant.restart = RestartPolicy::OnFailure(Some(3));
    specification.restart = RestartPolicy::OnFailure(Some(3));

    for volume in ["full_v", "full_w", "full_z", "full_image-data"] {
        docker.create_volume(volume, &local_volume(), &labels("v")).await?;
    }
    for (name, subnet) in [("full_front", "10.77.1.0/24"), ("full_back", "10.77.2.0/24")] {
        let id = docker.create_network(name, &network_on(&[subnet]), &labels("n")).await?;
        meant.network_ids.insert(name.to_owned(), id);
    }
    Ok((specification, meant))
}

fn pairs(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

async fn made(
    docker: &DockerRuntime,
    specification: &ServiceSpecification,
    meant: &ContainerMeant,
) -> anyhow::Result<OwnContainerId> {
    Ok(OwnContainerId::proved(docker.create_container(specification, meant).await?))
}

async fn differences(
    docker: &DockerRuntime,
    name: &str,
    specification: &ServiceSpecification,
    meant: &ContainerMeant,
) -> anyhow::Result<Vec<String>> {
    let found = docker.inspect_against(name, specification, meant).await?;
    Ok(found.ok_or_else(|| anyhow::anyhow!("{name} is not there"))?.differences)
}

#[test]
fn every_field_reaches_the_engine_and_is_as_it_was_meant() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (specification, meant) = everything(world, &docker).await?;
        let id = made(&docker, &specification, &meant).await?;
        assert_eq!(differences(&docker, "full", &specification, &meant).await?, [""; 0], "made");
        docker.start(&id).await?;
        super::until(&docker, "full", "it is healthy", |listed| listed.health.is_some()).await?;
        assert_eq!(differences(&docker, "full", &specification, &meant).await?, [""; 0], "started");
        let inspected = docker.inspect_against("full", &specification, &meant).await?.expect("it is there");
        assert_eq!(inspected.limits, specification.resources);
        assert_eq!(inspected.restart, Some(RestartPolicy::OnFailure(Some(3))));
        assert_eq!(inspected.asked_ports.len(), 4, "{:?}", inspected.asked_ports);

        // The engine's own words, so that builder and comparison are not wrong together.
        let raw = world.container("full").await?;
        let host = raw.host_config.clone().expect("a host configuration");
        assert_eq!(
            (host.memory, host.memory_swap, host.nano_cpus),
            (Some(64 << 20), Some(96 << 20), Some(500_000_000))
        );
        assert_eq!(host.security_opt.as_deref().map(<[String]>::len), Some(3));
        assert_eq!(host.readonly_rootfs, Some(true));
        assert_eq!(host.privileged, Some(false));
        let config = raw.config.clone().expect("a configuration");
        assert!(config.env.iter().flatten().any(|word| word == "EQUALS=a=b=c"), "{:?}", config.env);
        assert_eq!(config.stop_timeout, Some(3));
        let networks = raw.network_settings.and_then(|settings| settings.networks).expect("networks");
        assert_eq!(networks["full_front"].ip_address.as_deref(), Some("10.77.1.9"));
        let front = networks["full_back"].aliases.clone().unwrap_or_default();
        assert!(front.contains(&"db".to_owned()) && front.contains(&"root_web".to_owned()), "{front:?}");

        // And the container's own view.
        let page = |path: &str| format!("http://127.0.0.1:20002{path}");
        let environment = reqwest::get(page("/env")).await?.text().await?;
        assert!(
            environment.contains("OVERRIDDEN=ours") && environment.contains("FROM_IMAGE=yes"),
            "{environment}"
        );
        let file = reqwest::get(page("/fs?path=/etc/app.conf")).await?.text().await?;
        assert!(file.contains("content"), "{file}");
        Ok(())
    });
}

#[test]
fn a_container_with_nothing_asked_for_is_as_it_was_meant() {
    system_tests::run(async |world| {
        let docker = docker(world);
        // The host's defaults of every installation, and nothing else.
        let (mut specification, mut meant) =
            service(world, &docker, &Image::demo("plain", "1"), "plain").await?;
        specification.settings.security_opt = vec!["no-new-privileges:true".to_owned()];
        specification.resources.pids = Some(4096);
        meant.restart = RestartPolicy::Always;
        for network in
            [NetworkMode::Bridge, NetworkMode::None, NetworkMode::Host, NetworkMode::Networks(Vec::new())]
        {
            specification.network = network;
            let id = made(&docker, &specification, &meant).await?;
            assert_eq!(
                differences(&docker, "plain", &specification, &meant).await?,
                [""; 0],
                "made {:?}",
                specification.network
            );
            docker.start(&id).await?;
            assert_eq!(
                differences(&docker, "plain", &specification, &meant).await?,
                [""; 0],
                "started {:?}",
                specification.network
            );
            docker.remove_container(&id).await?;
        }
        // What comes from the image is no difference either.
        let (specification, mut meant) = service(world, &docker, &talkative_image(), "talkative").await?;
        meant.image_volumes = pairs(&[("/data", "talkative_data")]);
        docker.create_volume("talkative_data", &local_volume(), &labels("v")).await?;
        run(&docker, &specification, &meant).await?;
        assert_eq!(differences(&docker, "talkative", &specification, &meant).await?, [""; 0]);
        Ok(())
    });
}

#[test]
fn shared_namespaces_and_privileges_are_as_they_were_meant() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (mut base, mut meant_base) = service(world, &docker, &Image::demo("base", "1"), "base").await?;
        base.network = NetworkMode::Bridge;
        base.ipc = Some(NamespaceMode::Shareable);
        meant_base.restart = RestartPolicy::Always;
        let base_id = run(&docker, &base, &meant_base).await?;
        let base_engine_id = docker.list().await?.containers[0].id.clone();

        let (mut specification, mut meant) =
            service(world, &docker, &Image::demo("guest", "1"), "guest").await?;
        specification.command = Some(vec!["--port".to_owned(), "8081".to_owned()]);
        specification.network = NetworkMode::Service("base".to_owned());
        specification.pid = Some(NamespaceMode::Service("base".to_owned()));
        specification.ipc = Some(NamespaceMode::Service("base".to_owned()));
        meant.namespace_containers = pairs(&[("base", &base_engine_id)]);
        let id = run(&docker, &specification, &meant).await?;
        assert_eq!(
            differences(&docker, "guest", &specification, &meant).await?,
            [""; 0],
            "in another's namespaces"
        );
        docker.remove_container(&id).await?;

        specification.network = NetworkMode::Host;
        specification.pid = Some(NamespaceMode::Host);
        specification.ipc = Some(NamespaceMode::Host);
        specification.settings.privileged = true;
        specification.settings.gpus = Some(-1);
        let id = made(&docker, &specification, &meant).await?;
        assert_eq!(differences(&docker, "guest", &specification, &meant).await?, [""; 0], "in the host's");
        docker.remove_container(&id).await?;
        // Neither a graphics card nor all capabilities are on every machine that runs this.
        specification.settings.gpus = None;
        specification.settings.privileged = false;
        specification.ipc = Some(NamespaceMode::Private);
        run(&docker, &specification, &meant).await?;
        assert_eq!(differences(&docker, "guest", &specification, &meant).await?, [""; 0], "started");
        docker.remove_container(&base_id).await?;
        Ok(())
    });
}

/// One change of what is meant, and the field in which the container then differs.
type Change = (&'static str, fn(&mut ServiceSpecification, &mut ContainerMeant));

#[test]
fn a_container_that_differs_in_any_field_shows_it() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (specification, meant) = everything(world, &docker).await?;
        let id = made(&docker, &specification, &meant).await?;
        docker.start(&id).await?;
        let changes: &[Change] = &[
            ("Name", |_, meant| meant.name = "other".to_owned()),
            ("Image", |spec, _| spec.image.digest = format!("sha256:{}", "0".repeat(64))),
            ("Config.Cmd", |spec, _| spec.command = Some(vec!["serve".to_owned()])),
            ("Config.Entrypoint", |spec, _| spec.entrypoint = Some(vec!["/other".to_owned()])),
            ("Config.Entrypoint", |spec, _| spec.entrypoint = Some(Vec::new())),
            ("Config.Env: OVERRIDDEN", |spec, _| drop(spec.environment.remove("OVERRIDDEN"))),
            ("Config.Env: NEW", |spec, _| drop(spec.environment.insert("NEW".to_owned(), "1".to_owned()))),
            ("Config.Env: EMPTY", |spec, _| drop(spec.environment.remove("EMPTY"))),
            ("Config.Labels: own", |spec, _| drop(spec.labels.remove("own"))),
            ("Config.Labels: overridden", |spec, _| drop(spec.labels.remove("overridden"))),
            ("Config.Labels: oak.create", |_, meant| {
                drop(meant.labels.insert("oak.create".to_owned(), "n2".to_owned()));
            }),
            ("HostConfig.Sysctls", |spec, _| spec.sysctls.clear()),
            ("HostConfig.PortBindings", |spec, _| _ = spec.ports.pop()),
            ("HostConfig.PortBindings", |spec, _| spec.ports[0].host_port = 29_999),
            ("HostConfig.PortBindings", |spec, _| {
                spec.ports[0].host_ip = Some("127.0.0.1".parse().expect("an address"));
            }),
            ("Config.ExposedPorts", |spec, _| spec.ports.retain(|port| port.protocol != Protocol::Udp)),
            ("HostConfig.Mounts", |spec, _| spec.mounts[0].read_only = true),
            ("HostConfig.Mounts", |spec, _| spec.mounts[1].no_copy = false),
            ("HostConfig.Mounts", |spec, _| spec.mounts[4].propagation = None),
            ("HostConfig.Binds", |spec, _| spec.mounts[5].read_only = false),
            ("Mounts: /v", |spec, _| spec.mounts[0].source = MountSource::Volume("full_other".to_owned())),
            ("Mounts: /h is", |spec, _| spec.mounts.retain(|mount| mount.target != "/h")),
            ("Mounts: /data is", |_, meant| meant.image_volumes.clear()),
            ("Mounts: /more is not", |spec, _| {
                spec.mounts.push(mount("/more", MountSource::Volume("full_v".to_owned())));
            }),
            ("Mounts: /etc/app.conf", |_, meant| {
                drop(meant.file_sources.insert("/etc/app.conf".to_owned(), "/elsewhere".to_owned()));
            }),
            ("HostConfig.NetworkMode", |spec, _| spec.network = NetworkMode::Host),
            ("Networks: is on full_back", |spec, _| keep_networks(spec, 1)),
            ("Networks: answers to", |spec, _| attachments(spec)[0].aliases.clear()),
            ("Networks: answers to", |_, meant| meant.courtesy_aliases.clear()),
            ("Networks: has another fixed", |spec, _| attachments(spec)[0].ipv4_address = None),
            ("Networks: is not on", |_, meant| {
                drop(meant.network_ids.insert("full_back".to_owned(), "f".repeat(64)));
            }),
            ("HostConfig.PidMode", |spec, _| spec.pid = Some(NamespaceMode::Host)),
            ("HostConfig.IpcMode", |spec, _| spec.ipc = Some(NamespaceMode::Host)),
            ("Config.Healthcheck", |spec, _| spec.healthcheck = None),
            ("Config.Healthcheck", |spec, _| spec.healthcheck.as_mut().expect("one").retries = Some(9)),
            ("HostConfig.Memory:", |spec, _| spec.resources.memory_bytes = None),
            ("HostConfig.MemoryReservation", |spec, _| spec.resources.memory_reservation_bytes = None),
            ("HostConfig.MemorySwap", |spec, _| spec.resources.memory_swap_bytes = Some(-1)),
            ("HostConfig.MemorySwap", |spec, _| spec.resources.memory_swap_bytes = None),
            ("HostConfig.ShmSize", |spec, _| spec.resources.shm_bytes = Some(1 << 20)),
            ("HostConfig.NanoCpus", |spec, _| spec.resources.nano_cpus = None),
            ("HostConfig.CpusetCpus", |spec, _| spec.resources.cpuset = None),
            ("HostConfig.PidsLimit", |spec, _| spec.resources.pids = None),
            ("HostConfig.RestartPolicy", |_, meant| meant.restart = RestartPolicy::Always),
            ("HostConfig.RestartPolicy", |_, meant| meant.restart = RestartPolicy::OnFailure(None)),
            ("Config.User", |spec, _| spec.settings.user = None),
            ("HostConfig.GroupAdd", |spec, _| drop(spec.settings.group_add.pop())),
            ("Config.WorkingDir", |spec, _| spec.settings.working_dir = Some("/".to_owned())),
            ("Config.Hostname", |spec, _| spec.settings.hostname = None),
            ("Config.Domainname", |spec, _| spec.settings.domainname = None),
            ("HostConfig.Dns:", |spec, _| spec.settings.dns.reverse()),
            ("HostConfig.DnsSearch", |spec, _| spec.settings.dns_search.reverse()),
            ("HostConfig.ExtraHosts", |spec, _| drop(spec.settings.extra_hosts.pop())),
            ("HostConfig.Init", |spec, _| spec.settings.init = Some(true)),
            ("Config.Tty", |spec, _| spec.settings.tty = false),
            ("Config.OpenStdin", |spec, _| spec.settings.stdin_open = false),
            ("HostConfig.ReadonlyRootfs", |spec, _| spec.settings.read_only = false),
            ("HostConfig.Tmpfs", |spec, _| drop(spec.settings.tmpfs.remove("/run"))),
            ("HostConfig.Ulimits", |spec, _| spec.settings.ulimits[0].soft = 512),
            ("Config.StopSignal", |spec, _| spec.settings.stop_signal = None),
            ("Config.StopTimeout", |spec, _| spec.settings.stop_grace_period_s = None),
            ("HostConfig.LogConfig", |spec, _| {
                let logging = spec.settings.logging.as_mut().expect("one");
                logging.options.insert("max-size".to_owned(), "1m".to_owned());
            }),
            ("HostConfig.LogConfig", |spec, _| {
                spec.settings.logging.as_mut().expect("one").driver = "local".to_owned();
            }),
            ("HostConfig.CapAdd", |spec, _| drop(spec.settings.cap_add.pop())),
            ("HostConfig.CapDrop", |spec, _| spec.settings.cap_drop.clear()),
            ("HostConfig.SecurityOpt", |spec, _| drop(spec.settings.security_opt.remove(0))),
            ("HostConfig.SecurityOpt", |spec, _| drop(spec.settings.security_opt.pop())),
            ("HostConfig.Privileged", |spec, _| spec.settings.privileged = true),
            ("HostConfig.Devices", |spec, _| spec.settings.devices[0].permissions = "r".to_owned()),
            ("HostConfig.DeviceRequests", |spec, _| spec.settings.gpus = Some(1)),
        ];
        for (field, change) in changes {
            let (mut specification, mut meant) = (specification.clone(), meant.clone());
            change(&mut specification, &mut meant);
            let found = differences(&docker, "full", &specification, &meant).await?;
            assert!(found.iter().any(|words| words.starts_with(field)), "{field}: {found:?}");
        }
        assert_eq!(
            differences(&docker, "full", &specification, &meant).await?,
            [""; 0],
            "unchanged after all of these"
        );

        // Other notations of the same are none.
        let mut same = specification.clone();
        same.settings.cap_add = vec!["CAP_SYS_TIME".to_owned(), "net_admin".to_owned()];
        same.settings.security_opt = vec![
            "seccomp=unconfined".to_owned(),
            "apparmor=unconfined".to_owned(),
            "no-new-privileges:true".to_owned(),
        ];
        same.settings.stop_signal = Some("TERM".to_owned());
        assert_eq!(differences(&docker, "full", &same, &meant).await?, [""; 0]);
        // A later revision that leaves the container alone has other labels and another tag.
        let mut later = meant.clone();
        later.image_tag = "oak.local/0a:r2-full".to_owned();
        later.labels.insert("oak.revision".to_owned(), "2".to_owned());
        assert_eq!(differences(&docker, "full", &specification, &later).await?, [""; 0]);
        // No value of the environment or of a command is ever shown.
        let mut other = specification.clone();
        other.environment.insert("PASSWORD".to_owned(), "hunter2".to_owned());
        other.command = Some(vec!["hunter2".to_owned()]);
        let found = differences(&docker, "full", &other, &meant).await?.join("\n");
        assert!(found.contains("PASSWORD") && !found.contains("hunter2"), "{found}");
        Ok(())
    });
}

fn attachments(
    specification: &mut ServiceSpecification,
) -> &mut Vec<addons_manager::domain::specification::NetworkAttachment> {
    match &mut specification.network {
        NetworkMode::Networks(attachments) => attachments,
        other => panic!("{other:?}"),
    }
}

fn keep_networks(specification: &mut ServiceSpecification, count: usize) {
    attachments(specification).truncate(count);
}

/// What somebody may have given a container that looks like ours.
type Extra = (&'static str, fn(&mut ContainerCreateBody, &mut HostConfig));

#[test]
fn an_impostor_with_more_power_shows_it() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (specification, meant) = service(world, &docker, &Image::demo("demo", "1"), "demo").await?;
        let extras: &[Extra] = &[
            ("HostConfig.Privileged", |_, host| host.privileged = Some(true)),
            ("HostConfig.CapAdd", |_, host| host.cap_add = Some(vec!["SYS_ADMIN".to_owned()])),
            ("HostConfig.Binds", |_, host| host.binds = Some(vec!["/etc:/host".to_owned()])),
            ("Mounts: /host", |_, host| {
                let mount = Mount {
                    typ: Some(MountType::BIND),
                    source: Some("/etc".to_owned()),
                    target: Some("/host".to_owned()),
                    ..Mount::default()
                };
                host.mounts = Some(vec![mount]);
            }),
            ("Mounts: /anonymous", |body, _| body.volumes = Some(vec!["/anonymous".to_owned()])),
            ("HostConfig.PidMode", |_, host| host.pid_mode = Some("host".to_owned())),
            ("HostConfig.UTSMode", |_, host| host.uts_mode = Some("host".to_owned())),
            ("HostConfig.UsernsMode", |_, host| host.userns_mode = Some("host".to_owned())),
            ("HostConfig.SecurityOpt", |_, host| {
                host.security_opt = Some(vec!["seccomp=unconfined".to_owned()]);
            }),
            ("HostConfig.MaskedPaths", |_, host| {
                host.masked_paths = Some(Vec::new());
                host.readonly_paths = Some(Vec::new());
            }),
            ("HostConfig.DeviceCgroupRules", |_, host| {
                host.device_cgroup_rules = Some(vec!["c 1:3 rwm".to_owned()]);
            }),
            ("HostConfig.CgroupParent", |_, host| host.cgroup_parent = Some("/elsewhere".to_owned())),
            ("HostConfig.OomScoreAdj", |_, host| host.oom_score_adj = Some(-500)),
            ("HostConfig.PublishAllPorts", |_, host| host.publish_all_ports = Some(true)),
            ("HostConfig.AutoRemove", |_, host| host.auto_remove = Some(true)),
            ("HostConfig.CpuShares", |_, host| host.cpu_shares = Some(2)),
            ("HostConfig.RestartPolicy", |_, host| {
                host.restart_policy = Some(EnginePolicy {
                    name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                    maximum_retry_count: None,
                });
            }),
            ("HostConfig.NetworkMode", |_, host| host.network_mode = Some("host".to_owned())),
            ("Config.Env: LD_PRELOAD", |body, _| body.env = Some(vec!["LD_PRELOAD=/x".to_owned()])),
            ("Config.Labels: extra", |body, _| {
                body.labels.get_or_insert_default().extend([("extra".to_owned(), "1".to_owned())]);
            }),
            ("Config.User", |body, _| body.user = Some("65534".to_owned())),
            ("Config.NetworkDisabled", |body, _| body.network_disabled = Some(true)),
        ];
        for (field, extra) in extras {
            let mut body = ContainerCreateBody {
                image: Some(meant.image_tag.clone()),
                labels: Some(meant.labels.clone().into_iter().collect()),
                ..ContainerCreateBody::default()
            };
            let mut host = HostConfig { network_mode: Some("none".to_owned()), ..HostConfig::default() };
            extra(&mut body, &mut host);
            body.host_config = Some(host);
            let options = CreateContainerOptionsBuilder::new().name("demo").build();
            world.docker.create_container(Some(options), body).await?;
            let found = differences(&docker, "demo", &specification, &meant).await?;
            assert!(found.iter().any(|words| words.starts_with(field)), "{field}: {found:?}");
            let by_force = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            world.docker.remove_container("demo", Some(by_force)).await?;
        }
        Ok(())
    });
}

#[test]
fn what_a_person_changes_on_a_running_container_shows() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (mut specification, mut meant) =
            service(world, &docker, &Image::demo("demo", "1"), "demo").await?;
        let network =
            docker.create_network("demo_default", &network_on(&["10.77.3.0/24"]), &labels("n")).await?;
        let other = docker.create_network("demo_other", &network_on(&["10.77.4.0/24"]), &labels("n")).await?;
        specification.network = NetworkMode::Networks(vec![attachment("demo_default", &["demo"])]);
        meant.network_ids = pairs(&[("demo_default", &network)]);
        let id = run(&docker, &specification, &meant).await?;
        assert_eq!(differences(&docker, "demo", &specification, &meant).await?, [""; 0]);

        let policy = EnginePolicy { name: Some(RestartPolicyNameEnum::ALWAYS), maximum_retry_count: None };
        let body = ContainerUpdateBody {
            restart_policy: Some(policy),
            memory: Some(32 << 20),
            memory_swap: Some(64 << 20),
            ..Default::default()
        };
        world.docker.update_container("demo", body).await?;
        let found = docker.inspect_against("demo", &specification, &meant).await?.expect("it is there");
        assert_eq!(found.limits.memory_bytes, Some(32 << 20));
        assert_eq!(found.restart, Some(RestartPolicy::Always));
        let fields: Vec<&str> =
            found.differences.iter().filter_map(|words| words.split(':').next()).collect();
        assert_eq!(fields, ["HostConfig.Memory", "HostConfig.RestartPolicy"], "{:?}", found.differences);

        docker.connect(&id, &other, &attachment("demo_other", &[]), None).await?;
        let found = differences(&docker, "demo", &specification, &meant).await?;
        assert!(found.iter().any(|words| words.starts_with("Networks: is on demo_other")), "{found:?}");
        docker.disconnect(&id, &other).await?;
        docker.disconnect(&id, &network).await?;
        let found = differences(&docker, "demo", &specification, &meant).await?;
        assert!(found.iter().any(|words| words.starts_with("Networks: is not on demo_default")), "{found:?}");
        docker.connect(&id, &network, &attachment("demo_default", &["demo"]), None).await?;
        docker
            .update(
                &id,
                RestartPolicy::No,
                &Resources { memory_bytes: Some(32 << 20), ..Resources::default() },
            )
            .await?;
        specification.resources.memory_bytes = Some(32 << 20);
        assert_eq!(differences(&docker, "demo", &specification, &meant).await?, [""; 0], "mended");
        Ok(())
    });
}
