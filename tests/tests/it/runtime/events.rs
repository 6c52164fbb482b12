//! The event stream: what it tells, that it misses nothing after it has said so, and that it comes back.

use std::time::Duration;

use addons_manager::domain::specification::{HealthcheckSpecification, NetworkMode};
use addons_manager::runtime::docker::{DockerRuntime, DockerTimeouts};
use addons_manager::runtime::{
    ContainerRuntime, EventMessage, EventObject, OwnContainerId, OwnNetworkId, OwnVolumeName, RuntimeEvent,
};
use bollard::query_parameters::KillContainerOptionsBuilder;
use system_tests::{Fault, Proxy, Signal};
use tokio::sync::mpsc;

use super::{SOON, attachment, demo, docker, labels, local_volume, network_on, run, settings};

async fn next(events: &mut mpsc::Receiver<EventMessage>) -> EventMessage {
    tokio::time::timeout(SOON, events.recv())
        .await
        .expect("a message in time")
        .expect("the stream goes on for ever")
}

/// Events up to the first that is it.
async fn until(
    events: &mut mpsc::Receiver<EventMessage>,
    object: EventObject,
    action: &str,
) -> Vec<RuntimeEvent> {
    let mut seen = Vec::new();
    loop {
        match next(events).await {
            EventMessage::Event(event) => {
                let found = event.object == object && event.action == action;
                seen.push(event);
                if found {
                    return seen;
                }
            }
            other => panic!("{other:?} while waiting for {action}"),
        }
    }
}

fn actions(events: &[RuntimeEvent], object: EventObject) -> Vec<&str> {
    events.iter().filter(|event| event.object == object).map(|event| event.action.as_str()).collect()
}

#[test]
fn what_happens_is_told_and_checks_are_not() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (mut specification, meant) = demo(world, &docker).await?;
        let mut events = docker.events();
        assert_eq!(next(&mut events).await, EventMessage::Connected);
        specification.healthcheck = Some(HealthcheckSpecification {
            test: ["CMD", "/demo-addon", "healthcheck"].map(str::to_owned).into(),
            interval_ns: Some(100_000_000),
            timeout_ns: None,
            start_period_ns: None,
            start_interval_ns: None,
            retries: Some(1),
        });
        let id = run(&docker, &specification, &meant).await?;
        let seen = until(&mut events, EventObject::Container, "health_status: healthy").await;
        assert_eq!(actions(&seen, EventObject::Container), ["create", "start", "health_status: healthy"]);
        assert!(seen.iter().all(|event| event.at_ns > 0 && !event.id.is_empty()), "{seen:?}");
        world.docker.pause_container("demo").await?;
        docker.unpause(&id).await?;
        docker.rename(&id, "renamed").await?;
        world
            .docker
            .kill_container("renamed", Some(KillContainerOptionsBuilder::new().signal("KILL").build()))
            .await?;
        let seen = until(&mut events, EventObject::Container, "die").await;
        // A busy engine was seen to tell of one pause twice.
        let mut told = Vec::new();
        for action in actions(&seen, EventObject::Container) {
            if !told.contains(&action) {
                told.push(action);
            }
        }
        assert_eq!(told, ["pause", "unpause", "rename", "kill", "die"]);
        let of = |action: &str| seen.iter().find(|event| event.action == action).expect("it was just told");
        assert_eq!(of("kill").attributes["signal"], "9", "who ended it");
        assert_eq!(of("die").attributes["exitCode"], "137");
        assert_eq!(of("die").attributes["name"], "renamed");
        docker.start(&id).await?;
        docker.stop(&id, Some(1)).await?;
        docker.remove_container(&id).await?;
        let seen = until(&mut events, EventObject::Container, "destroy").await;
        let mut told = actions(&seen, EventObject::Container);
        told.retain(|action| !action.starts_with("health_status"));
        assert!(
            told.starts_with(&["start", "kill"]) && told.contains(&"stop") && told.contains(&"die"),
            "{told:?}"
        );

        let network = docker.create_network("net", &network_on(&["10.77.20.0/24"]), &labels("n")).await?;
        docker.remove_network(&OwnNetworkId::proved(network.clone())).await?;
        let seen = until(&mut events, EventObject::Network, "destroy").await;
        assert!(seen.iter().any(|event| event.id == network), "{seen:?}");
        docker.create_volume("vol", &local_volume(), &labels("v")).await?;
        docker.remove_volume(&OwnVolumeName::proved("vol")).await?;
        let seen = until(&mut events, EventObject::Volume, "destroy").await;
        assert_eq!(seen.last().map(|event| event.id.as_str()), Some("vol"));
        docker.untag(&meant.image_tag).await?;
        until(&mut events, EventObject::Image, "untag").await;
        Ok(())
    });
}

#[test]
fn networks_tell_who_was_connected() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (mut specification, mut meant) = demo(world, &docker).await?;
        let network = docker.create_network("net", &network_on(&["10.77.21.0/24"]), &labels("n")).await?;
        specification.network = NetworkMode::Networks(vec![attachment("net", &[])]);
        meant.network_ids = [("net".to_owned(), network.clone())].into();
        let id = run(&docker, &specification, &meant).await?;
        let engine_id = docker.list().await?.containers[0].id.clone();
        let mut events = docker.events();
        assert_eq!(next(&mut events).await, EventMessage::Connected);
        docker.disconnect(&id, &network).await?;
        let seen = until(&mut events, EventObject::Network, "disconnect").await;
        let last = seen.last().expect("one at least");
        assert_eq!(
            (last.id.as_str(), last.attributes["container"].as_str()),
            (network.as_str(), engine_id.as_str())
        );
        Ok(())
    });
}

#[test]
fn nothing_is_missed_from_the_moment_that_it_says_connected() {
    system_tests::run(async |world| {
        let docker = docker(world);
        for round in 0..30 {
            let mut events = docker.events();
            assert_eq!(next(&mut events).await, EventMessage::Connected);
            let name = format!("round-{round}");
            world
                .docker
                .create_volume(bollard::models::VolumeCreateRequest {
                    name: Some(name.clone()),
                    ..Default::default()
                })
                .await?;
            let seen = until(&mut events, EventObject::Volume, "create").await;
            assert!(seen.iter().any(|event| event.id == name), "{round}: {seen:?}");
        }
        Ok(())
    });
}

#[test]
fn a_cut_stream_comes_back_and_gives_each_event_once() {
    system_tests::run(async |world| {
        let socket = world.folder("proxied")?.join("docker.sock");
        let proxy = Proxy::unix(&socket, &world.engine.socket())?;
        let docker = DockerRuntime::new(settings(&format!("unix://{}", socket.display())));
        let (specification, meant) = demo(world, &docker).await?;
        let mut events = docker.events();
        assert_eq!(next(&mut events).await, EventMessage::Connected);
        let id = run(&docker, &specification, &meant).await?;
        until(&mut events, EventObject::Container, "start").await;

        proxy.set(Fault::Refuse);
        proxy.cut();
        assert_eq!(next(&mut events).await, EventMessage::Lost);
        // While nobody looks.
        world
            .docker
            .kill_container("demo", Some(KillContainerOptionsBuilder::new().signal("KILL").build()))
            .await?;
        super::eventually("it has ended", SOON, async || {
            let state = world.container("demo").await?.state.and_then(|state| state.running);
            anyhow::ensure!(state == Some(false));
            Ok(())
        })
        .await?;
        proxy.set(Fault::None);
        assert_eq!(
            next(&mut events).await,
            EventMessage::Connected,
            "Lost is said once, however long it takes"
        );
        let seen = until(&mut events, EventObject::Container, "die").await;
        assert_eq!(
            actions(&seen, EventObject::Container),
            ["kill", "die"],
            "what was missed, and nothing twice"
        );
        docker.remove_container(&id).await?;
        let seen = until(&mut events, EventObject::Container, "destroy").await;
        assert_eq!(actions(&seen, EventObject::Container), ["destroy"]);
        Ok(())
    });
}

#[test]
fn an_engine_that_ends_or_hangs_is_lost_and_found() {
    system_tests::run(async |world| {
        let mut settings = settings(&world.engine.host());
        settings.timeouts = DockerTimeouts {
            heartbeat: Duration::from_millis(200),
            read: Duration::from_millis(500),
            ping: Duration::from_millis(500),
            ..DockerTimeouts::default()
        };
        let docker = DockerRuntime::new(settings);
        let mut events = docker.events();
        assert_eq!(next(&mut events).await, EventMessage::Connected);
        world.engine.freeze().await?;
        assert_eq!(next(&mut events).await, EventMessage::Lost, "it takes the connection and says nothing");
        world.engine.resume().await?;
        assert_eq!(next(&mut events).await, EventMessage::Connected);
        for signal in [Signal::Kill, Signal::Term] {
            world.engine.stop(signal).await?;
            assert_eq!(next(&mut events).await, EventMessage::Lost);
            world.engine.start().await?;
            assert_eq!(next(&mut events).await, EventMessage::Connected);
        }
        docker.create_volume("after", &local_volume(), &labels("v")).await?;
        let seen = until(&mut events, EventObject::Volume, "create").await;
        assert_eq!(seen.last().map(|event| event.id.as_str()), Some("after"));
        Ok(())
    });
}

#[test]
fn it_waits_for_an_engine_and_ends_with_its_reader() {
    system_tests::run(async |world| {
        let socket = world.folder("proxied")?.join("docker.sock");
        let docker = DockerRuntime::new(settings(&format!("unix://{}", socket.display())));
        let mut events = docker.events();
        assert_eq!(next(&mut events).await, EventMessage::Lost);
        let proxy = Proxy::unix(&socket, &world.engine.socket())?;
        assert_eq!(next(&mut events).await, EventMessage::Connected);
        drop(events);
        let begun = proxy.taken();
        proxy.cut();
        // Its own connection is the only one that would come back.
        docker.list().await?;
        assert_eq!(proxy.taken(), begun + 3, "nobody listens: nobody connects");
        Ok(())
    });
}

/// A slow reader is given everything; the engine itself would drop what is not taken within 100 ms.
#[test]
fn a_slow_reader_misses_nothing() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let mut events = docker.events();
        assert_eq!(next(&mut events).await, EventMessage::Connected);
        for number in 0..1500 {
            let name = format!("v{number}");
            docker.create_volume(&name, &local_volume(), &labels("v")).await?;
        }
        let mut seen = 0;
        while seen < 1500 {
            match next(&mut events).await {
                EventMessage::Event(event) => {
                    seen += usize::from(event.object == EventObject::Volume && event.action == "create");
                }
                other => panic!("{other:?}"),
            }
        }
        let id = OwnContainerId::proved("0".repeat(64));
        assert!(docker.start(&id).await.is_err());
        Ok(())
    });
}
