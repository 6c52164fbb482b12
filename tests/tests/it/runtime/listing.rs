//! One listing tells what passes need: state, health, exit code, networks by id, mounts, ports; and the same as inspect.

use std::time::Duration;

use addons_manager::domain::specification::{
    HealthcheckSpecification, MountSource, MountSpecification, NetworkMode, Protocol, PublishedPort,
    RestartPolicy,
};
use addons_manager::runtime::docker::DockerRuntime;
use addons_manager::runtime::{ContainerRuntime, ContainerState, EventMessage, Health, ListedPort};
use system_tests::{Image, Proxy, eventually};

use super::{
    attachment, demo, docker, labels, local_volume, look, network_on, run, service, settings, until,
};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn states_health_and_exit_codes() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (mut specification, mut meant) = demo(world, &docker).await?;
        let id = addons_manager::runtime::OwnContainerId::proved(
            docker.create_container(&specification, &meant).await?,
        );
        let created = look(&docker, &id, "demo").await?;
        assert_eq!((created.listed.state, created.listed.exit_code), (ContainerState::Created, None));
        docker.start(&id).await?;
        let running = look(&docker, &id, "demo").await?;
        assert_eq!(
            (running.listed.state, running.listed.health, running.listed.exit_code),
            (ContainerState::Running, None, None)
        );
        assert!(running.running && running.pid > 0 && !running.restarting);
        world.docker.pause_container("demo").await?;
        assert_eq!(look(&docker, &id, "demo").await?.listed.state, ContainerState::Paused);
        docker.unpause(&id).await?;
        docker.stop(&id, Some(1)).await?;
        let stopped = look(&docker, &id, "demo").await?;
        assert_eq!((stopped.listed.state, stopped.listed.exit_code), (ContainerState::Exited, Some(0)));
        assert!(stopped.finished_at > stopped.started_at && !stopped.running, "{stopped:?}");
        docker.remove_container(&id).await?;

        specification.command = Some(["exit", "42"].map(str::to_owned).into());
        let id = run(&docker, &specification, &meant).await?;
        until(&docker, "demo", "it has ended", |listed| listed.exit_code == Some(42)).await?;
        assert_eq!(look(&docker, &id, "demo").await?.exit_code, 42);
        docker.remove_container(&id).await?;

        meant.restart = RestartPolicy::Always;
        specification.command = Some(["exit", "3"].map(str::to_owned).into());
        let id = run(&docker, &specification, &meant).await?;
        until(&docker, "demo", "it waits between two starts", |listed| {
            listed.state == ContainerState::Restarting && listed.exit_code == Some(3)
        })
        .await?;
        docker.remove_container(&id).await?;

        meant.restart = RestartPolicy::No;
        specification.command = None;
        let check = |path: &str| HealthcheckSpecification {
            test: ["CMD", "/demo-addon", "healthcheck", "--path", path].map(str::to_owned).into(),
            interval_ns: Some(300_000_000),
            timeout_ns: None,
            start_period_ns: None,
            start_interval_ns: None,
            retries: Some(1),
        };
        for (path, outcome) in [("/health", Health::Healthy), ("/nowhere", Health::Unhealthy)] {
            specification.healthcheck = Some(check(path));
            let id = run(&docker, &specification, &meant).await?;
            assert_eq!(look(&docker, &id, "demo").await?.listed.health, Some(Health::Starting));
            until(&docker, "demo", "its health is known", |listed| listed.health == Some(outcome)).await?;
            assert_eq!(look(&docker, &id, "demo").await?.listed.health, Some(outcome));
            docker.remove_container(&id).await?;
        }
        Ok(())
    });
}

#[test]
fn networks_mounts_ports_and_labels() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let image =
            Image::demo("demo", "1").labels(&[("oak.installation.id", "an image's lie"), ("of.image", "1")]);
        let (mut specification, mut meant) = service(world, &docker, &image, "demo").await?;
        let network =
            docker.create_network("demo_default", &network_on(&["10.77.5.0/24"]), &labels("n")).await?;
        docker.create_volume("demo_data", &local_volume(), &labels("v")).await?;
        let folder = world.folder("bound")?.to_str().expect("UTF-8").to_owned();
        let mount = |target: &str, source, read_only| MountSpecification {
            target: target.to_owned(),
            source,
            read_only,
            propagation: None,
            selinux: None,
            no_copy: false,
        };
        specification.mounts = vec![
            mount("/h", MountSource::HostPath(folder.clone()), true),
            mount("/data", MountSource::Volume("demo_data".to_owned()), false),
        ];
        let port = |host_ip: Option<&str>, host_port| PublishedPort {
            container_port: 8080,
            protocol: Protocol::Tcp,
            host_ip: host_ip.map(|ip| ip.parse().expect("an address")),
            host_port,
            chosen: false,
        };
        specification.ports =
            vec![port(None, 20010), port(Some("127.0.0.1"), 20011), port(Some("::1"), 20012)];
        specification.network = NetworkMode::Networks(vec![attachment("demo_default", &["demo"])]);
        meant.network_ids = [("demo_default".to_owned(), network.clone())].into();
        let id = run(&docker, &specification, &meant).await?;

        let found = look(&docker, &id, "demo").await?;
        let attached = &found.listed.networks[&network];
        assert_eq!(attached.network_name, "demo_default");
        assert_eq!(attached.addresses, ["10.77.5.2".parse::<std::net::IpAddr>()?]);
        assert_eq!(found.aliases["demo_default"], ["demo".to_owned()].into());
        let mounts: Vec<_> = found
            .listed
            .mounts
            .iter()
            .map(|mount| {
                (mount.target.as_str(), mount.volume.as_deref(), mount.host_path.as_deref(), mount.read_only)
            })
            .collect();
        assert_eq!(
            mounts,
            [("/data", Some("demo_data"), None, false), ("/h", None, Some(folder.as_str()), true)]
        );
        let listed = |host_ip: Option<&str>, host_port| ListedPort {
            host_ip: host_ip.map(|ip| ip.parse().expect("an address")),
            host_port,
            container_port: 8080,
            protocol: Protocol::Tcp,
        };
        let expected = [listed(None, 20010), listed(Some("127.0.0.1"), 20011), listed(Some("::1"), 20012)];
        assert_eq!(found.asked_ports, expected);
        assert_eq!(found.listed.ports, expected);
        assert_eq!(
            found.listed.labels["oak.installation.id"], "0123456789abcdef01234567",
            "ours win over the image's"
        );
        assert_eq!(
            found.listed.labels["of.image"], "1",
            "an image's labels become the container's: they prove nothing"
        );
        assert_eq!(
            found.listed.image_id,
            docker.inspect_image(&meant.image_tag).await?.expect("it is there").id
        );

        let listing = docker.list().await?;
        let network = listing.networks.iter().find(|listed| listed.id == network).expect("it is listed");
        assert_eq!(
            (network.name.as_str(), network.driver.as_str(), network.internal),
            ("demo_default", "bridge", false)
        );
        assert_eq!(network.subnets, ["10.77.5.0/24"]);
        assert_eq!(network.labels["oak.create"], "n");
        assert!(!network.created.is_empty());
        let volume = listing.volumes.iter().find(|listed| listed.name == "demo_data").expect("it is listed");
        assert_eq!((volume.driver.as_str(), volume.labels["oak.create"].as_str()), ("local", "v"));
        // Stopped, its ports are free, and what it asked for stands.
        docker.stop(&id, Some(1)).await?;
        let stopped = look(&docker, &id, "demo").await?;
        assert!(stopped.listed.ports.is_empty());
        assert_eq!(stopped.asked_ports.len(), 3);
        Ok(())
    });
}

#[test]
fn the_engine_tells_what_it_is() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let facts = docker.engine().await?;
        let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        assert_eq!(facts.platform, format!("linux/{architecture}"));
        assert!(facts.version.split('.').count() >= 2 && facts.api_version.starts_with("1."), "{facts:?}");
        assert!(
            facts.cpus > 0
                && facts.memory_bytes > 0
                && !facts.storage_driver.is_empty()
                && !facts.name.is_empty(),
            "{facts:?}"
        );
        assert!(facts.root_dir.starts_with('/'));
        assert!(
            docker.free_bytes().await?.is_some_and(|free| free > 0),
            "the world's engine shares our file system"
        );
        Ok(())
    });
}

/// An engine starts four programs to tell its version: an installation is not to wait for that each time.
#[test]
fn what_an_engine_is_is_asked_for_once_until_the_connection_is_lost() {
    system_tests::run(async |world| {
        let socket = world.folder("proxy")?.join("docker.sock");
        let proxy = Proxy::unix(&socket, &world.engine.socket())?;
        let versions = || proxy.requests().iter().filter(|request| request.ends_with("/version")).count();
        let docker = DockerRuntime::new(settings(&format!("unix://{}", socket.display())));
        let mut events = docker.events();
        assert_eq!(events.recv().await, Some(EventMessage::Connected));
        let first = docker.engine().await?;
        assert_eq!(versions(), 1);
        assert_eq!(docker.engine().await?, first);
        assert_eq!(versions(), 0);

        proxy.cut();
        while events.recv().await != Some(EventMessage::Lost) {}
        let again = eventually("it answers again", SOON, async || Ok(docker.engine().await?)).await?.0;
        assert_eq!(again, first);
        assert!(versions() > 0, "another engine may have answered");
        Ok(())
    });
}
