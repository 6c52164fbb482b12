//! What people and crashes do to containers is undone, and in how long.

use std::time::{Duration, Instant};

use addon_client::{InstallationStatus, ServicePhase};
use anyhow::{Context, ensure};
use bollard::models::{ContainerUpdateBody, NetworkDisconnectRequest, RestartPolicy, RestartPolicyNameEnum};
use bollard::query_parameters::{
    KillContainerOptions, RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder, StopContainerOptions,
};
use serde_json::json;
use system_tests::{Image, Setup, Signal, World, demo_service, eventually};

const LIMIT: Duration = Duration::from_secs(15);
/// A repair comes from an event, never from the periodic look a minute later; the container's own start, its first
/// healthcheck and two cores full of other tests included.
const PROMPT: Duration = Duration::from_secs(5);

const NAME: &str = "hello-web";

/// Which run of a container this is: the id and the start time.
async fn run_of(world: &World) -> anyhow::Result<(String, String)> {
    let id = world.running(NAME).await?;
    let started =
        world.container(NAME).await?.state.and_then(|state| state.started_at).context("a start time")?;
    Ok((id, started))
}

async fn policy(world: &World) -> anyhow::Result<Option<RestartPolicyNameEnum>> {
    let host = world.container(NAME).await?.host_config.context("an inspected container has one")?;
    Ok(host.restart_policy.and_then(|policy| policy.name))
}

/// The networks of the container, and that it answers to its service's name on its own.
async fn networks(world: &World) -> anyhow::Result<Vec<String>> {
    let settings =
        world.container(NAME).await?.network_settings.context("an inspected container has them")?;
    let networks = settings.networks.unwrap_or_default();
    let own = networks.get("hello_default").context("it is not on hello_default")?;
    let aliases = own.aliases.clone().unwrap_or_default();
    ensure!(aliases.iter().any(|alias| alias == "web"), "aliases: {aliases:?}");
    let mut names: Vec<String> = networks.into_keys().collect();
    names.sort();
    Ok(names)
}

#[test]
fn what_a_person_does_to_a_container_is_undone_at_once() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let mut web = demo_service("web", &image.reference);
        web["ports"] = json!({"8080": "8080"});
        let document = json!({"name": "hello", "services": [web, demo_service("db", &image.reference)]});
        let installation = manager.installed(&market.approved(&document).await?).await?;
        let other = world.snapshot(&["hello-db"], &[], &[]).await?;
        let docker = world.docker.clone();

        // Twice each: the second time within ten minutes is as prompt, since what a person did is no failure.
        for round in 1..=2 {
            for what in ["kill", "stop", "rm -f", "pause", "rename", "network disconnect", "update --restart"]
            {
                let (id, started) = run_of(world).await?;
                let begun = Instant::now();
                match what {
                    "kill" => docker.kill_container(NAME, None::<KillContainerOptions>).await?,
                    "stop" => docker.stop_container(NAME, None::<StopContainerOptions>).await?,
                    "rm -f" => {
                        let force = RemoveContainerOptionsBuilder::default().force(true).build();
                        docker.remove_container(NAME, Some(force)).await?;
                    }
                    "pause" => docker.pause_container(NAME).await?,
                    "rename" => {
                        let name = RenameContainerOptionsBuilder::default().name("something-else").build();
                        docker.rename_container(NAME, name).await?;
                    }
                    "network disconnect" => {
                        let request = NetworkDisconnectRequest { container: NAME.into(), force: Some(false) };
                        docker.disconnect_network("hello_default", request).await?;
                    }
                    _ => {
                        let restart_policy =
                            RestartPolicy { name: Some(RestartPolicyNameEnum::NO), ..Default::default() };
                        let update = ContainerUpdateBody {
                            restart_policy: Some(restart_policy),
                            ..Default::default()
                        };
                        docker.update_container(NAME, update).await?;
                    }
                }
                let (_, _) = eventually(&format!("`docker {what}` is undone"), LIMIT, async || {
                    let (now, run) = run_of(world).await?;
                    match what {
                        "kill" | "stop" => ensure!(now == id && run != started, "the same run"),
                        "rm -f" => ensure!(now != id, "the same container"),
                        // Mended in place: the same run goes on.
                        _ => ensure!(now == id && run == started, "it was restarted or replaced"),
                    }
                    ensure!(
                        policy(world).await? == Some(RestartPolicyNameEnum::ALWAYS),
                        "{:?}",
                        policy(world).await?
                    );
                    ensure!(
                        networks(world).await? == ["hello_default", "oakestra"],
                        "{:?}",
                        networks(world).await?
                    );
                    world.fetch(8080, "/").await?;
                    Ok(())
                })
                .await?;
                let took = begun.elapsed();
                crate::measured(&format!("docker {what}, undone (round {round})"), took);
                assert!(took < PROMPT, "`docker {what}` took {took:?}");
                manager.reaches(installation.id, InstallationStatus::Active).await?;
            }
        }
        assert_eq!(world.container_names().await?, ["hello-db", NAME], "nothing is left of any of it");
        world.snapshot(&["hello-db"], &[], &[]).await?.assert_is(&other, "the other service was not touched");
        Ok(())
    });
}

#[test]
fn a_lost_network_or_volume_is_made_again() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let mut web = demo_service("web", &image.reference);
        web["volumes"] = json!(["data:/data"]);
        let document = json!({"name": "hello", "services": [web, demo_service("db", &image.reference)]});
        let installation = manager.installed(&market.approved(&document).await?).await?;
        // Both ends are off it for a moment, and the network itself gone.
        for name in [NAME, "hello-db"] {
            let request = NetworkDisconnectRequest { container: name.into(), force: Some(true) };
            world.docker.disconnect_network("hello_default", request).await?;
        }
        // The manager may already have put one of them back, which is as good.
        let _refused = world.docker.remove_network("hello_default").await;
        let (_, took) = eventually("both are connected", LIMIT, async || {
            ensure!(
                world.network_names().await? == ["hello_default", "oakestra"],
                "{:?}",
                world.network_names().await?
            );
            ensure!(networks(world).await? == ["hello_default", "oakestra"], "{:?}", networks(world).await?);
            Ok(())
        })
        .await?;
        crate::measured("network made again", took);
        manager.reaches(installation.id, InstallationStatus::Active).await?;
        assert_eq!(world.volume_names().await?, ["hello_data"]);
        Ok(())
    });
}

#[test]
fn a_crash_loop_is_taken_over_shown_and_given_back() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let mut manager = world.manager(Setup::default()).await?;
        let service = json!({
            "service_name": "web",
            "image": image.reference,
            "command": ["serve", "--exit", "3", "--after", "50", "--unless", "/data/fixed"],
            "volumes": ["data:/data"]
        });
        let installation = manager
            .install(&market.approved(&json!({"name": "hello", "services": [service]})).await?)
            .await?;
        let (restarts, took) = eventually("it is out of the engine's hands", LIMIT, async || {
            ensure!(policy(world).await? == Some(RestartPolicyNameEnum::NO), "{:?}", policy(world).await?);
            Ok(world.container(NAME).await?.restart_count.unwrap_or_default())
        })
        .await?;
        crate::measured("taken over from the engine", took);
        assert!((5..=7).contains(&restarts), "after 5 restarts of the engine's, not after {restarts}");
        let (state, _) = eventually("the backoff is shown", LIMIT, async || {
            let installation = manager.installation(installation.id).await?;
            ensure!(installation.status == InstallationStatus::Failed, "{}", installation.status);
            let state = installation.service_states[0].clone();
            ensure!(
                state.waiting.as_ref().is_some_and(|waiting| waiting.next_attempt_at.is_some()),
                "{state:?}"
            );
            ensure!(
                installation.logs.as_ref().is_some_and(|logs| logs.contains("ending with 3")),
                "{:?}",
                installation.logs
            );
            Ok(state)
        })
        .await?;
        assert_eq!((state.state, state.exit_code), (ServicePhase::Failed, Some(3)), "{state:?}");
        assert_eq!(state.waiting.map(|waiting| waiting.reason).as_deref(), Some("backoff"));

        // What was wrong is put right: the next attempt, at most a dozen seconds away, runs well.
        std::fs::write(world.volume_folder("hello_data").await?.join("fixed"), "")?;
        let (_, took) = manager.reaches(installation.id, InstallationStatus::Active).await?;
        crate::measured("tried again after the backoff", took);
        assert_eq!(policy(world).await?, Some(RestartPolicyNameEnum::NO), "it has not run well for long yet");
        let run = run_of(world).await?;

        // Eleven minutes later, by the manager's clock.
        manager.service.stop(Signal::Term).await?;
        manager.service.set_ahead("+11m");
        manager.service.start().await?;
        let (_, took) = eventually("the engine has it back", LIMIT, async || {
            ensure!(
                policy(world).await? == Some(RestartPolicyNameEnum::ALWAYS),
                "{:?}",
                policy(world).await?
            );
            Ok(())
        })
        .await?;
        crate::measured("given back after a start of the manager", took);
        assert_eq!(run_of(world).await?, run, "without touching the container");
        Ok(())
    });
}
