//! Services that do their work and end.

use std::time::Duration;

use addon_client::{InstallationStatus, ServicePhase};
use anyhow::{Context, ensure};
use bollard::query_parameters::{KillContainerOptions, PruneContainersOptions};
use serde_json::json;
use system_tests::{Image, Manager, Setup, demo_service, eventually};

const LIMIT: Duration = Duration::from_secs(20);

async fn job_state(
    manager: &Manager,
    id: addon_client::InstallationId,
) -> anyhow::Result<addon_client::ServiceState> {
    let installation = manager.installation(id).await?;
    installation
        .service_states
        .into_iter()
        .find(|service| service.service_name == "job")
        .context("the job's state")
}

#[test]
fn a_completed_job_is_not_run_again_though_its_container_is_pruned() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let job = json!({
            "service_name": "job",
            "image": image.reference,
            "command": ["write", "/data/done", "once"],
            "volumes": ["data:/data"],
            "restart": "no"
        });
        let mut web = demo_service("web", &image.reference);
        web["depends_on"] = json!({"job": {"condition": "service_completed_successfully"}});
        web["volumes"] = json!(["data:/data"]);
        web["ports"] = json!({"8080": "8080"});
        let release = market.approved(&json!({"name": "hello", "services": [job, web]})).await?;
        let installation = manager.installed(&release).await?;
        assert_eq!(job_state(&manager, installation.id).await?.state, ServicePhase::Completed);
        assert_eq!(world.fetch(8080, "/fs?path=/data/done").await?, "once");

        // If it ran again, this would be written over.
        let file = world.volume_folder("hello_data").await?.join("done");
        std::fs::write(&file, "touched by nobody since")?;
        world.docker.prune_containers(None::<PruneContainersOptions>).await?;
        assert_eq!(world.container_names().await?, ["hello-web"]);
        // A pass over this installation after the prune: the repair of its other service.
        world.docker.kill_container("hello-web", None::<KillContainerOptions>).await?;
        eventually("the other service is repaired", LIMIT, async || {
            world.running("hello-web").await?;
            Ok(())
        })
        .await?;
        manager.reaches(installation.id, InstallationStatus::Active).await?;
        // And a stop and start of the engine, with all that happens then.
        world.engine.stop(system_tests::Signal::Term).await?;
        world.engine.start().await?;
        eventually("the other service runs again", LIMIT, async || {
            world.running("hello-web").await?;
            let installation = manager.installation(installation.id).await?;
            ensure!(
                installation.status == InstallationStatus::Active && installation.conditions.is_empty(),
                "{installation:?}"
            );
            Ok(())
        })
        .await?;
        assert_eq!(world.container_names().await?, ["hello-web"], "no new container of the job");
        assert_eq!(job_state(&manager, installation.id).await?.state, ServicePhase::Completed);
        assert_eq!(std::fs::read_to_string(&file)?, "touched by nobody since");

        // On request it runs again.
        manager.client.restart(installation.id).await?;
        eventually("the job has run again", LIMIT, async || {
            let text = std::fs::read_to_string(&file)?;
            ensure!(text == "once", "{text}");
            Ok(())
        })
        .await?;
        manager.reaches(installation.id, InstallationStatus::Active).await?;
        Ok(())
    });
}

#[test]
fn a_job_that_fails_is_said_and_what_waits_for_it_too() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let job = json!({"service_name": "job", "image": image.reference, "command": ["exit", "4"], "restart": "no"});
        let mut web = demo_service("web", &image.reference);
        web["depends_on"] = json!({"job": {"condition": "service_completed_successfully"}});
        let release = market.approved(&json!({"name": "hello", "services": [job, web]})).await?;
        let installation = manager.install(&release).await?;
        let (failed, _) = manager.reaches(installation.id, InstallationStatus::Failed).await?;
        assert_eq!(failed.status_details.failed_services, ["job"]);
        let state = job_state(&manager, installation.id).await?;
        assert_eq!((state.state, state.exit_code), (ServicePhase::Failed, Some(4)), "{state:?}");
        let (waiting, _) = eventually("what waits for it says so", LIMIT, async || {
            let installation = manager.installation(installation.id).await?;
            let web = installation.service_states.into_iter().find(|service| service.service_name == "web");
            web.context("its state")?.waiting.context("it waits for nothing")
        })
        .await?;
        assert!(waiting.message.contains("job"), "{waiting:?}");
        assert!(
            world.container("hello-web").await.is_err() || world.running("hello-web").await.is_err(),
            "it does not run"
        );
        Ok(())
    });
}
