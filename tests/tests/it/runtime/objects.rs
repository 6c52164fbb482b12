//! Every change: that it takes effect, and that what is so already is success.

use std::time::{Duration, Instant};

use addons_manager::domain::specification::{Logging, NetworkMode, Resources, RestartPolicy};
use addons_manager::runtime::{
    ContainerRuntime, ContainerState, OwnContainerId, OwnNetworkId, OwnVolumeName, RuntimeError,
};
use system_tests::{Image, eventually};

use super::{attachment, demo, docker, labels, local_volume, look, network_on, pin, pull, run, service};

#[test]
fn what_is_so_already_is_success() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (mut specification, mut meant) = demo(world, &docker).await?;
        let first = docker.create_network("first", &network_on(&["10.77.6.0/24"]), &labels("n")).await?;
        let second = docker.create_network("second", &network_on(&["10.77.7.0/24"]), &labels("n")).await?;
        specification.network = NetworkMode::Networks(vec![attachment("first", &["demo"])]);
        meant.network_ids = [("first".to_owned(), first.clone())].into();
        let id = OwnContainerId::proved(docker.create_container(&specification, &meant).await?);
        let more = attachment("second", &["db"]);
        for round in 0..2 {
            docker.connect(&id, &second, &more, Some("courtesy")).await?;
            let aliases = look(&docker, &id, "demo").await?.aliases["second"].clone();
            assert_eq!(
                aliases,
                ["courtesy".to_owned(), "db".to_owned()].into(),
                "not started, round {round}"
            );
        }
        for _ in 0..2 {
            docker.start(&id).await?;
        }
        for _ in 0..2 {
            docker.disconnect(&id, &second).await?;
        }
        for _ in 0..2 {
            docker.connect(&id, &second, &more, None).await?;
        }
        assert_eq!(look(&docker, &id, "demo").await?.aliases["second"], ["db".to_owned()].into());
        for _ in 0..2 {
            docker.unpause(&id).await?;
        }
        for _ in 0..2 {
            docker.rename(&id, "renamed").await?;
        }
        for _ in 0..2 {
            docker.stop(&id, Some(1)).await?;
        }
        for _ in 0..2 {
            docker.remove_container(&id).await?;
        }
        for network in [&first, &second] {
            for _ in 0..2 {
                docker.remove_network(&OwnNetworkId::proved(network.clone())).await?;
            }
        }
        for _ in 0..2 {
            docker.create_volume("kept", &local_volume(), &labels("v")).await?;
        }
        for _ in 0..2 {
            docker.remove_volume(&OwnVolumeName::proved("kept")).await?;
        }
        docker.disconnect(&id, &second).await?;
        Ok(())
    });
}

#[test]
fn what_has_gone_is_said_to_have_gone() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let nobody = OwnContainerId::proved("f".repeat(64));
        let network = docker.create_network("first", &network_on(&["10.77.6.0/24"]), &labels("n")).await?;
        let outcomes = [
            docker.start(&nobody).await,
            docker.stop(&nobody, None).await,
            docker.rename(&nobody, "other").await,
            docker.unpause(&nobody).await,
            docker.update(&nobody, RestartPolicy::No, &Resources::default()).await,
            docker.connect(&nobody, &network, &attachment("first", &[]), None).await,
            docker.logs(&nobody_id(), 10).await.map(drop),
        ];
        for (index, outcome) in outcomes.iter().enumerate() {
            assert!(matches!(outcome, Err(RuntimeError::Gone { .. })), "{index}: {outcome:?}");
        }
        assert_eq!(docker.inspect(&nobody_id()).await?, None);
        assert_eq!(docker.inspect_image("oak.local/none:none").await?, None);
        let (specification, meant) = demo(world, &docker).await?;
        assert_eq!(docker.inspect_against(&nobody_id(), &specification, &meant).await?, None);
        docker.untag(&meant.image_tag).await?;
        let created = docker.create_container(&specification, &meant).await;
        assert!(matches!(created, Err(RuntimeError::Gone { .. })), "no image: {created:?}");
        docker.untag(&meant.image_tag).await?;
        Ok(())
    });
}

fn nobody_id() -> String {
    "f".repeat(64)
}

#[test]
fn a_container_is_stopped_within_its_grace_and_thawed_for_it() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (mut specification, meant) = demo(world, &docker).await?;
        specification.settings.stop_grace_period_s = Some(1);
        specification.command = Some(["serve", "--ignore-term"].map(str::to_owned).into());
        let id = run(&docker, &specification, &meant).await?;
        let begun = Instant::now();
        docker.stop(&id, None).await?;
        assert!(
            begun.elapsed() >= Duration::from_secs(1) && begun.elapsed() < Duration::from_secs(8),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(look(&docker, &id, "demo").await?.listed.exit_code, Some(137));
        docker.remove_container(&id).await?;

        specification.command = None;
        let id = run(&docker, &specification, &meant).await?;
        world.docker.pause_container("demo").await?;
        docker.stop(&id, Some(1)).await?;
        assert_eq!(look(&docker, &id, "demo").await?.listed.state, ContainerState::Exited);
        docker.start(&id).await?;
        world.docker.pause_container("demo").await?;
        docker.remove_container(&id).await?;
        assert!(docker.list().await?.containers.is_empty());
        Ok(())
    });
}

#[test]
fn policy_and_limits_are_changed_in_place() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (mut specification, meant) = demo(world, &docker).await?;
        specification.resources =
            Resources { memory_bytes: Some(32 << 20), pids: Some(64), ..Resources::default() };
        let id = run(&docker, &specification, &meant).await?;
        let before = look(&docker, &id, "demo").await?.started_at;
        for policy in [
            RestartPolicy::Always,
            RestartPolicy::OnFailure(Some(2)),
            RestartPolicy::OnFailure(None),
            RestartPolicy::No,
        ] {
            docker.update(&id, policy, &specification.resources).await?;
            assert_eq!(look(&docker, &id, "demo").await?.restart, Some(policy));
        }
        // Beyond the swap limit that the engine has set by itself.
        let more = Resources {
            memory_bytes: Some(256 << 20),
            nano_cpus: Some(250_000_000),
            cpuset: Some("0".to_owned()),
            ..Resources::default()
        };
        docker.update(&id, RestartPolicy::No, &more).await?;
        let found = look(&docker, &id, "demo").await?;
        assert_eq!(
            (found.limits.memory_bytes, found.limits.nano_cpus, found.limits.pids),
            (Some(256 << 20), Some(250_000_000), None)
        );
        assert_eq!(found.started_at, before, "it was not restarted");
        // The engine's fact on which the planner relies: a limit of memory cannot be taken away.
        docker.update(&id, RestartPolicy::No, &Resources::default()).await?;
        assert_eq!(look(&docker, &id, "demo").await?.limits.memory_bytes, Some(256 << 20));
        Ok(())
    });
}

#[test]
fn logs_are_the_last_lines_of_both_streams() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (mut specification, mut meant) = demo(world, &docker).await?;
        specification.command = Some(["nonsense"].map(str::to_owned).into());
        let id = run(&docker, &specification, &meant).await?;
        super::until(&docker, "demo", "it has ended", |listed| listed.exit_code.is_some()).await?;
        let engine_id = docker.list().await?.containers[0].id.clone();
        let all = docker.logs(&engine_id, 100).await?;
        assert!(all.contains("unknown command") && all.lines().count() > 3, "{all}");
        let last = docker.logs(&engine_id, 2).await?;
        assert_eq!(last.lines().count(), 2, "{last}");
        assert!(all.ends_with(&last), "{all} / {last}");
        docker.remove_container(&id).await?;

        specification.settings.logging =
            Some(Logging { driver: "none".to_owned(), options: Default::default() });
        meant.name = "silent".to_owned();
        run(&docker, &specification, &meant).await?;
        let engine_id = docker.list().await?.containers[0].id.clone();
        let words = docker.logs(&engine_id, 10).await?;
        assert!(words.contains("keeps no logs"), "{words}");
        Ok(())
    });
}

#[test]
fn an_image_goes_with_its_last_tag_and_not_while_a_container_uses_it() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (specification, meant) = demo(world, &docker).await?;
        let image = docker.inspect_image(&meant.image_tag).await?.expect("it is there");
        assert!(
            image.repo_digests.iter().any(|held| held.ends_with(&specification.image.digest)),
            "{image:?}"
        );
        let second = "oak.local/0a:r2-demo";
        docker.tag(&image.id, second).await?;
        docker.tag(&image.id, second).await?;
        docker.untag(&meant.image_tag).await?;
        assert!(docker.inspect_image(&image.id).await?.is_some(), "another tag holds it");
        let mut with_second = meant.clone();
        with_second.image_tag = second.to_owned();
        let id = OwnContainerId::proved(docker.create_container(&specification, &with_second).await?);
        docker.untag(second).await?;
        assert!(docker.inspect_image(&image.id).await?.is_some(), "a container holds it");
        docker.remove_container(&id).await?;
        docker.tag(&image.id, second).await?;
        docker.untag(second).await?;
        assert_eq!(docker.inspect_image(&image.id).await?, None);
        docker.untag(second).await?;

        // A tag of somebody else keeps it.
        let pushed = world.registry.push(&Image::demo("other", "1")).await?;
        let id = pull(&docker, &pin(&pushed)).await?;
        docker.tag(&id, "theirs:1").await?;
        docker.tag(&id, second).await?;
        docker.untag(second).await?;
        assert!(docker.inspect_image("theirs:1").await?.is_some());
        Ok(())
    });
}

/// What Docker does, and what the design therefore does.
#[test]
fn facts_of_the_engine_that_the_design_relies_on() {
    system_tests::run(async |world| {
        let docker = docker(world);
        // Names of networks are not unique: by id a container starts all the same.
        let one = docker.create_network("twice", &network_on(&["10.77.8.0/24"]), &labels("a")).await?;
        let two = docker.create_network("twice", &network_on(&["10.77.9.0/24"]), &labels("b")).await?;
        assert_ne!(one, two);
        let (mut specification, mut meant) = demo(world, &docker).await?;
        specification.network = NetworkMode::Networks(vec![attachment("twice", &["demo"])]);
        meant.network_ids = [("twice".to_owned(), two.clone())].into();
        let id = run(&docker, &specification, &meant).await?;
        let found = docker.inspect_against("demo", &specification, &meant).await?.expect("it is there");
        assert_eq!(found.differences, [""; 0]);
        assert!(found.listed.networks.contains_key(&two), "{:?}", found.listed.networks);
        docker.remove_container(&id).await?;

        // A volume that is there keeps its options, whatever is asked for: the answer is to be compared.
        docker.create_volume("kept", &local_volume(), &labels("first")).await?;
        let mut other = local_volume();
        other.driver_opts =
            [("type".to_owned(), "tmpfs".to_owned()), ("device".to_owned(), "tmpfs".to_owned())].into();
        let answer = docker.create_volume("kept", &other, &labels("second")).await?;
        assert_eq!((answer.labels["oak.create"].as_str(), answer.options.len()), ("first", 0));

        // The image's volumes become anonymous ones unless something is mounted there.
        let image =
            Image::demo("with-volume", "1").set("Volumes", serde_json::json!({"/data": {}, "/more/": {}}));
        let (specification, mut meant) = service(world, &docker, &image, "voluminous").await?;
        assert_eq!(
            docker.inspect_image(&meant.image_tag).await?.expect("it is there").volumes,
            ["/data", "/more"]
        );
        meant.image_volumes =
            [("/data".to_owned(), "named-data".to_owned()), ("/more".to_owned(), "named-more".to_owned())]
                .into();
        let id = run(&docker, &specification, &meant).await?;
        let volumes: Vec<String> =
            docker.list().await?.volumes.into_iter().map(|volume| volume.name).collect();
        assert_eq!(volumes.len(), 3, "{volumes:?}");
        docker.remove_container(&id).await?;
        let left = docker.list().await?.volumes.len();
        assert_eq!(left, 3, "removing a container with its anonymous volumes leaves named ones");

        // Containers of one name: the name is a lock.
        let mut meant = meant.clone();
        meant.name = "one".to_owned();
        let outcomes =
            futures_util::future::join_all((0..20).map(|_| docker.create_container(&specification, &meant)))
                .await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        eventually("it is listed", super::SOON, async || {
            let _: () = anyhow::ensure!(docker.list().await?.containers.len() == 1);
            Ok(())
        })
        .await?;
        Ok(())
    });
}

#[test]
fn labels_of_ours_that_an_image_brings_say_nothing() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let copied = Image::demo("copied", "1").labels(&[
            ("oak.installation.id", "somebody's"),
            ("oak.addon", "somebody's"),
            ("com.docker.compose.version", "2.0"),
            ("team", "x"),
        ]);
        let (specification, meant) = service(world, &docker, &copied, "copied").await?;
        let id = docker.create_container(&specification, &meant).await?;
        let made = docker.inspect_against(&id, &specification, &meant).await?.expect("it was made");
        assert_eq!(made.differences, Vec::<String>::new());
        let labels = made.listed.labels;
        assert_eq!(labels["oak.installation.id"], meant.labels["oak.installation.id"]);
        assert_eq!((labels["oak.addon"].as_str(), labels["com.docker.compose.version"].as_str()), ("", ""));
        assert_eq!(labels["team"], "x", "the rest is the image's own affair");

        for label in ["oak.addon.id", "com.docker.compose.config-hash"] {
            let name = label.replace(['.', '_'], "-");
            let image = Image::demo(&name, "1").labels(&[(label, "x")]);
            let (specification, meant) = service(world, &docker, &image, &name).await?;
            let refused = docker.create_container(&specification, &meant).await;
            let words = refused.as_ref().err().map(ToString::to_string).unwrap_or_default();
            assert!(matches!(refused, Err(RuntimeError::Never { .. })), "{refused:?}");
            assert!(words.contains(label) && words.contains("build the image without"), "{words}");
        }
        Ok(())
    });
}

#[test]
fn a_host_name_is_a_name_on_every_network_and_is_told() {
    system_tests::run(async |world| {
        let docker = docker(world);
        let (mut specification, mut meant) = demo(world, &docker).await?;
        let network = docker.create_network("lan", &network_on(&["10.209.9.0/26"]), &labels("n")).await?;
        meant.network_ids.insert("lan".to_owned(), network);
        specification.network = NetworkMode::Networks(vec![attachment("lan", &[])]);
        specification.settings.hostname = Some("box".to_owned());
        let id = run(&docker, &specification, &meant).await?;
        let found = look(&docker, &id, "demo").await?;
        assert_eq!((found.host_name.as_deref(), found.aliases["lan"].len()), (Some("box"), 0));
        // What is said of it is so: the engine itself shows it among the names.
        let raw = world.container("demo").await?.network_settings.and_then(|settings| settings.networks);
        let names = raw.and_then(|networks| networks.get("lan")?.aliases.clone()).unwrap_or_default();
        assert!(names.contains(&"box".to_owned()), "{names:?}");
        Ok(())
    });
}

#[test]
fn a_volume_is_looked_at_by_its_name() {
    system_tests::run(async |world| {
        let docker = docker(world);
        assert_eq!(docker.inspect_volume("data").await?, None);
        let made = docker.create_volume("data", &local_volume(), &labels("v")).await?;
        assert_eq!(docker.inspect_volume("data").await?, Some(made));
        Ok(())
    });
}
