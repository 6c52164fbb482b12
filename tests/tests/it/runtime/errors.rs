//! Real failures, each as what the executor can do about it.

use std::net::SocketAddr;
use std::time::Duration;

use addons_manager::domain::specification::{
    FileSpecification, Logging, MountSource, MountSpecification, NetworkMode, Protocol, PublishedPort,
};
use addons_manager::runtime::docker::{DockerRuntime, DockerTimeouts};
use addons_manager::runtime::{
    ChangeNeeded, ContainerRuntime, OwnContainerId, OwnNetworkId, OwnVolumeName, RuntimeError,
};
use system_tests::{Image, Signal};

use super::{attachment, demo, docker, labels, local_volume, network_on, reason, run, service, settings};

#[test]
fn names_ports_and_addresses_that_others_have() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (mut specification, mut meant) = demo(world, &docker).await?;
        specification.network = NetworkMode::Bridge;
        specification.ports = vec![PublishedPort {
            container_port: 8080,
            protocol: Protocol::Tcp,
            host_ip: None,
            host_port: 20020,
            chosen: false,
        }];
        let first = run(&docker, &specification, &meant).await?;
        assert_eq!(reason(docker.create_container(&specification, &meant).await), ChangeNeeded::NameTaken);
        meant.name = "second".to_owned();
        let second = OwnContainerId::proved(docker.create_container(&specification, &meant).await?);
        assert_eq!(reason(docker.start(&second).await), ChangeNeeded::PortTaken);
        assert_eq!(reason(docker.rename(&second, "demo").await), ChangeNeeded::NameTaken);
        docker.remove_container(&first).await?;
        docker.start(&second).await?;

        // A process of the host on the port.
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], 20021))).await?;
        specification.ports[0].host_port = 20021;
        meant.name = "third".to_owned();
        let third = OwnContainerId::proved(docker.create_container(&specification, &meant).await?);
        assert_eq!(reason(docker.start(&third).await), ChangeNeeded::PortTaken);
        drop(listener);
        docker.start(&third).await?;

        // An address of a host that this one is not.
        specification.ports[0].host_ip = Some("192.0.2.1".parse()?);
        meant.name = "fourth".to_owned();
        let fourth = OwnContainerId::proved(docker.create_container(&specification, &meant).await?);
        assert_eq!(reason(docker.start(&fourth).await), ChangeNeeded::Configuration);

        // A fixed address that another container has, and one outside the network.
        let network = docker.create_network("fixed", &network_on(&["10.77.10.0/24"]), &labels("n")).await?;
        specification.ports.clear();
        meant.network_ids = [("fixed".to_owned(), network)].into();
        let mut fixed = attachment("fixed", &[]);
        fixed.ipv4_address = Some("10.77.10.9".parse()?);
        specification.network = NetworkMode::Networks(vec![fixed.clone()]);
        meant.name = "fifth".to_owned();
        run(&docker, &specification, &meant).await?;
        meant.name = "sixth".to_owned();
        assert_eq!(reason(run(&docker, &specification, &meant).await), ChangeNeeded::AddressPool);
        fixed.ipv4_address = Some("10.99.0.1".parse()?);
        specification.network = NetworkMode::Networks(vec![fixed]);
        meant.name = "seventh".to_owned();
        assert_eq!(reason(run(&docker, &specification, &meant).await), ChangeNeeded::Configuration);
        Ok(())
    });
}

#[test]
fn what_cannot_be_started_says_so() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (plain, meant) = demo(world, &docker).await?;
        let start = async |name: &str, specification| {
            let mut meant = meant.clone();
            meant.name = name.to_owned();
            run(&docker, &specification, &meant).await
        };
        let mut no_program = plain.clone();
        no_program.entrypoint = Some(vec!["/nothing".to_owned()]);
        assert_eq!(reason(start("no-program", no_program).await), ChangeNeeded::Configuration);
        let mut no_user = plain.clone();
        no_user.settings.user = Some("nobody2".to_owned());
        assert_eq!(reason(start("no-user", no_user).await), ChangeNeeded::Configuration);
        let mut no_permission = plain.clone();
        no_permission.entrypoint = Some(vec!["/etc/passwd".to_owned()]);
        assert_eq!(reason(start("no-permission", no_permission).await), ChangeNeeded::Configuration);
        let mut not_shared = plain.clone();
        let mount = MountSpecification {
            target: "/h".to_owned(),
            source: MountSource::HostPath(world.folder("private")?.to_str().expect("UTF-8").to_owned()),
            read_only: false,
            propagation: Some("rshared".to_owned()),
            selinux: None,
            no_copy: false,
        };
        not_shared.mounts = vec![mount];
        assert_eq!(reason(start("not-shared", not_shared).await), ChangeNeeded::Configuration);
        let mut no_gpu = plain.clone();
        no_gpu.settings.gpus = Some(-1);
        assert_eq!(reason(start("no-gpu", no_gpu).await), ChangeNeeded::Configuration);
        let mut no_capability = plain.clone();
        no_capability.settings.cap_add = vec!["NOPE".to_owned()];
        assert_eq!(reason(start("no-capability", no_capability).await), ChangeNeeded::Configuration);

        // A file that is a program for nobody.
        let image = Image::demo("garbage", "1").file("/garbage", vec![0x7f, b'E', b'L', b'F', 0, 0, 0, 0]);
        let (mut garbage, meant_garbage) = service(world, &docker, &image, "garbage").await?;
        garbage.entrypoint = Some(vec!["/garbage".to_owned()]);
        let outcome = run(&docker, &garbage, &meant_garbage).await;
        assert!(
            matches!(
                outcome,
                Err(RuntimeError::Never { .. }
                    | RuntimeError::WaitForChange { reason: ChangeNeeded::Configuration, .. })
            ),
            "{outcome:?}"
        );

        // In the namespace of a container that does not run, and of one that is not there.
        let (mut guest, mut meant_guest) =
            service(world, &docker, &Image::demo("guest", "1"), "guest").await?;
        let mut sleeping = meant.clone();
        sleeping.name = "sleeping".to_owned();
        let host = docker.create_container(&plain, &sleeping).await?;
        guest.network = NetworkMode::Service("host".to_owned());
        let outcome = docker.create_container(&guest, &meant_guest).await;
        assert!(matches!(outcome, Err(RuntimeError::Gone { .. })), "the plan did not say whose: {outcome:?}");
        meant_guest.namespace_containers = [("host".to_owned(), host)].into();
        let outcome = run(&docker, &guest, &meant_guest).await;
        assert!(matches!(outcome, Err(RuntimeError::Retry { engine_unreachable: false, .. })), "{outcome:?}");
        meant_guest.name = "orphan".to_owned();
        meant_guest.namespace_containers = [("host".to_owned(), "f".repeat(64))].into();
        let outcome = run(&docker, &guest, &meant_guest).await;
        assert!(matches!(outcome, Err(RuntimeError::Gone { .. })), "{outcome:?}");
        Ok(())
    });
}

#[test]
fn a_missing_host_path_is_an_error_and_not_a_new_folder() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (mut specification, mut meant) = demo(world, &docker).await?;
        let missing = world.folder("host")?.join("missing");
        let source = MountSource::HostPath(missing.to_str().expect("UTF-8").to_owned());
        for selinux in [None, Some("z"), Some("Z")] {
            specification.mounts = vec![MountSpecification {
                target: "/h".to_owned(),
                source: source.clone(),
                read_only: false,
                propagation: None,
                selinux: selinux.map(str::to_owned),
                no_copy: false,
            }];
            assert_eq!(
                reason(docker.create_container(&specification, &meant).await),
                ChangeNeeded::Configuration,
                "{selinux:?}"
            );
            assert!(!missing.exists(), "{selinux:?}: a folder was made");
            assert!(docker.list().await?.containers.is_empty(), "{selinux:?}: a container was made");
        }
        std::fs::create_dir(&missing)?;
        let id = run(&docker, &specification, &meant).await?;
        docker.remove_container(&id).await?;

        specification.mounts[0].source = MountSource::HostPath("/with:colon".to_owned());
        assert_eq!(
            reason(docker.create_container(&specification, &meant).await),
            ChangeNeeded::Configuration
        );
        specification.mounts.clear();
        specification.files =
            vec![FileSpecification { path: "/f".to_owned(), content: String::new(), mode: 0o444 }];
        let outcome = docker.create_container(&specification, &meant).await;
        assert!(matches!(outcome, Err(RuntimeError::Retry { .. })), "it was not written: {outcome:?}");
        meant.file_sources = [("/f".to_owned(), "/nowhere/f".to_owned())].into();
        assert_eq!(
            reason(docker.create_container(&specification, &meant).await),
            ChangeNeeded::Configuration
        );
        Ok(())
    });
}

#[test]
fn what_others_use_is_not_removed() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (mut specification, mut meant) = demo(world, &docker).await?;
        let network = docker.create_network("used", &network_on(&["10.77.11.0/24"]), &labels("n")).await?;
        docker.create_volume("used", &local_volume(), &labels("v")).await?;
        specification.network = NetworkMode::Networks(vec![attachment("used", &[])]);
        specification.mounts = vec![MountSpecification {
            target: "/v".to_owned(),
            source: MountSource::Volume("used".to_owned()),
            read_only: false,
            propagation: None,
            selinux: None,
            no_copy: false,
        }];
        meant.network_ids = [("used".to_owned(), network.clone())].into();
        let id = run(&docker, &specification, &meant).await?;
        assert_eq!(
            reason(docker.remove_network(&OwnNetworkId::proved(network.clone())).await),
            ChangeNeeded::InUse
        );
        assert_eq!(reason(docker.remove_volume(&OwnVolumeName::proved("used")).await), ChangeNeeded::InUse);
        // The network's name is free for nobody while a stopped container still means to use it; the engine lets it go.
        docker.stop(&id, Some(1)).await?;
        docker.remove_network(&OwnNetworkId::proved(network)).await?;
        let outcome = docker.start(&id).await;
        assert!(matches!(outcome, Err(RuntimeError::Gone { .. })), "its network has gone: {outcome:?}");
        Ok(())
    });
}

#[test]
fn subnets_that_overlap_and_pools_that_are_exhausted() {
    system_tests::run(async |world| {
        let docker = docker(world);
        docker.create_network("one", &network_on(&["10.77.12.0/24"]), &labels("n")).await?;
        let overlapping = docker.create_network("two", &network_on(&["10.77.12.128/25"]), &labels("n")).await;
        assert_eq!(reason(overlapping), ChangeNeeded::AddressPool);
        let mut last = Ok(String::new());
        for number in 0..40 {
            last = docker.create_network(&format!("pool-{number}"), &network_on(&[]), &labels("n")).await;
            if last.is_err() {
                break;
            }
        }
        assert_eq!(reason(last), ChangeNeeded::AddressPool);
        let bad = docker.create_network("bad", &network_on(&["10.77.13.0/99"]), &labels("n")).await;
        assert_eq!(reason(bad), ChangeNeeded::Configuration);

        // Drivers and options that this engine has not got: no missing object, though the status says so.
        let mut driven = network_on(&["10.77.13.0/24"]);
        driven.driver = "nobodys".to_owned();
        assert_eq!(
            reason(docker.create_network("driven", &driven, &labels("n")).await),
            ChangeNeeded::Configuration
        );
        let mut volume = local_volume();
        volume.driver = "nobodys".to_owned();
        assert_eq!(
            reason(docker.create_volume("driven", &volume, &labels("v")).await),
            ChangeNeeded::Configuration
        );
        let mut volume = local_volume();
        volume.driver_opts = [("nonsense".to_owned(), "1".to_owned())].into();
        assert_eq!(
            reason(docker.create_volume("driven", &volume, &labels("v")).await),
            ChangeNeeded::Configuration
        );
        let (mut logged, meant) = demo(world, &docker).await?;
        logged.settings.logging = Some(Logging { driver: "nobodys".to_owned(), options: Default::default() });
        assert_eq!(reason(run(&docker, &logged, &meant).await), ChangeNeeded::Configuration);
        Ok(())
    });
}

#[test]
fn an_engine_that_is_away_hangs_or_comes_late() {
    system_tests::run(async |world| {
        let mut settings = settings(&world.engine.host());
        settings.timeouts = DockerTimeouts {
            read: Duration::from_millis(500),
            change: Duration::from_millis(500),
            ..DockerTimeouts::default()
        };
        let docker = DockerRuntime::new(settings.clone());
        docker.list().await?;
        let away = |outcome: Result<(), RuntimeError>| match outcome {
            Err(RuntimeError::Retry { engine_unreachable, .. }) => engine_unreachable,
            other => panic!("{other:?}"),
        };
        world.engine.freeze().await?;
        assert!(away(docker.list().await.map(drop)), "one that hangs is as good as away");
        assert!(
            !away(docker.create_volume("v", &local_volume(), &labels("v")).await.map(drop)),
            "a change may only be slow"
        );
        world.engine.resume().await?;
        world.engine.stop(Signal::Kill).await?;
        assert!(away(docker.list().await.map(drop)));
        assert!(away(docker.engine().await.map(drop)));
        assert!(away(docker.start(&OwnContainerId::proved("f".repeat(64))).await));
        world.engine.start().await?;
        docker.list().await?;

        // Not there when we begin: found when it comes.
        settings.host = Some("unix:///nowhere/docker.sock".to_owned());
        let nowhere = DockerRuntime::new(settings.clone());
        let outcome = nowhere.list().await;
        assert!(
            outcome.as_ref().is_err_and(|error| error.to_string().contains("/nowhere/docker.sock")),
            "{outcome:?}"
        );
        assert!(away(outcome.map(drop)));
        let late = world.folder("late")?.join("docker.sock");
        settings.host = Some(format!("unix://{}", late.display()));
        let docker = DockerRuntime::new(settings.clone());
        assert!(away(docker.list().await.map(drop)));
        std::os::unix::fs::symlink(world.engine.socket(), &late)?;
        docker.list().await?;

        settings.host = Some("carrier-pigeon://coop".to_owned());
        let outcome = DockerRuntime::new(settings).list().await;
        assert!(outcome.is_err_and(|error| error.to_string().contains("tcp://host:port")));
        Ok(())
    });
}

/// The engine over TCP, by way of a proxy that takes bytes from one to the other.
#[test]
fn an_engine_over_tcp() {
    system_tests::run(async |world| {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let socket = world.engine.socket();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let socket = socket.clone();
                tokio::spawn(async move {
                    if let Ok(mut engine) = tokio::net::UnixStream::connect(socket).await {
                        let _ended = tokio::io::copy_bidirectional(&mut client, &mut engine).await;
                    }
                });
            }
        });
        let docker = DockerRuntime::new(settings(&format!("tcp://{address}")));
        docker.list().await?;
        assert_eq!(docker.free_bytes().await?, None, "a path of another machine means nothing here");
        let mut events = docker.events();
        assert_eq!(events.recv().await, Some(addons_manager::runtime::EventMessage::Connected));
        Ok(())
    });
}
