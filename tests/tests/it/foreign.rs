//! What is not ours is never touched, whatever it looks like.

use std::collections::HashMap;
use std::time::Duration;

use addon_client::{ForeignKind, InstallationStatus, PatchInstallation, PatchStatus};
use anyhow::{Context, ensure};
use bollard::models::{
    ContainerConfig, ContainerCreateBody, HostConfig, NetworkCreateRequest, VolumeCreateRequest,
};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptionsBuilder, KillContainerOptions,
    RemoveContainerOptionsBuilder, StartContainerOptions,
};
use serde_json::json;
use system_tests::{Image, Setup, Signal, World, demo_service, eventually};

const LIMIT: Duration = Duration::from_secs(20);

async fn start(
    world: &World,
    name: &str,
    image: &str,
    labels: HashMap<String, String>,
) -> anyhow::Result<()> {
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        labels: Some(labels),
        cmd: Some(vec!["serve".into()]),
        host_config: Some(HostConfig::default()),
        ..Default::default()
    };
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    world.docker.create_container(Some(options), body).await?;
    world.docker.start_container(name, None::<StartContainerOptions>).await?;
    Ok(())
}

#[test]
fn objects_that_look_like_ours_are_never_touched() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let mut manager = world.manager(Setup::default()).await?;
        let mut web = demo_service("web", &image.reference);
        web["volumes"] = json!(["data:/data"]);
        let document = json!({"name": "hello", "services": [web, demo_service("db", &image.reference)]});
        let installation = manager.installed(&market.approved(&document).await?).await?;

        // Somebody's objects with all of our labels, copied from the real ones, and with names like ours.
        let ours = world.container("hello-web").await?;
        let labels = ours.config.context("an inspected container has one")?.labels.unwrap_or_default();
        assert!(labels.contains_key("oak.create"), "{labels:?}");
        crate::world::pull(world, &image.reference).await?;
        start(world, "hello-web-1", &image.reference, labels.clone()).await?;
        start(world, "hello-web.r1", &image.reference, HashMap::new()).await?;
        start(world, "xhello-web", &image.reference, HashMap::new()).await?;
        // An image made of our container carries its labels too.
        let commit = CommitContainerOptionsBuilder::default()
            .container("hello-web")
            .repo("committed")
            .tag("1")
            .build();
        world.docker.commit_container(commit, ContainerConfig::default()).await?;
        start(world, "made-of-ours", "committed:1", HashMap::new()).await?;
        let volume = VolumeCreateRequest {
            name: Some("hello_data2".into()),
            labels: Some(labels.clone()),
            ..Default::default()
        };
        world.docker.create_volume(volume).await?;
        let network = NetworkCreateRequest {
            name: "hello_default2".into(),
            labels: Some(labels),
            ..Default::default()
        };
        world.docker.create_network(network).await?;
        let foreign = (
            ["hello-web-1", "hello-web.r1", "xhello-web", "made-of-ours"],
            ["hello_default2"],
            ["hello_data2"],
        );
        let before = world.snapshot(&foreign.0, &foreign.1, &foreign.2).await?;

        // They are shown as what they are.
        let (listed, _) = eventually("they are listed as foreign", LIMIT, async || {
            let listed = manager.client.host().await?.foreign;
            let names: Vec<&str> = listed.iter().map(|object| object.name.as_str()).collect();
            ensure!(names.contains(&"hello-web-1") && names.contains(&"made-of-ours"), "{names:?}");
            Ok(listed)
        })
        .await?;
        assert!(
            listed.iter().all(|object| object.kind != ForeignKind::Container || object.name != "hello-web"),
            "{listed:?}"
        );

        // Everything that a manager does with an addon, while they stand beside it.
        world.docker.kill_container("hello-web", None::<KillContainerOptions>).await?;
        let force = RemoveContainerOptionsBuilder::default().force(true).build();
        world.docker.remove_container("hello-db", Some(force)).await?;
        eventually("both are repaired", LIMIT, async || {
            world.running("hello-web").await?;
            world.running("hello-db").await?;
            Ok(())
        })
        .await?;
        manager.service.stop(Signal::Kill).await?;
        manager.service.start().await?;
        manager.reaches(installation.id, InstallationStatus::Active).await?;
        let disable = PatchInstallation { status: Some(PatchStatus::Disabled), ..Default::default() };
        manager.client.patch(installation.id, &disable).await?;
        manager.reaches(installation.id, InstallationStatus::Disabled).await?;
        manager.client.uninstall(installation.id, true).await?;
        let mut expected = foreign.0.map(str::to_owned).to_vec();
        expected.sort();
        eventually("ours are gone", LIMIT, async || {
            ensure!(world.container_names().await? == expected, "{:?}", world.container_names().await?);
            ensure!(world.volume_names().await? == foreign.2, "{:?}", world.volume_names().await?);
            Ok(())
        })
        .await?;
        world.snapshot(&foreign.0, &foreign.1, &foreign.2).await?.assert_is(&before, "not touched");
        Ok(())
    });
}

#[test]
fn names_that_somebody_has_are_conflicts_before_anything_is_made() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        crate::world::pull(world, &image.reference).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let mut web = demo_service("web", &image.reference);
        web["volumes"] = json!(["data:/data"]);
        let release = market
            .approved(&json!({"name": "hello", "services": [web, demo_service("db", &image.reference)]}))
            .await?;
        let body = json!({"marketplace_id": release.id.to_string()});
        start(world, "hello-db", &image.reference, HashMap::new()).await?;
        let volume = VolumeCreateRequest { name: Some("hello_data".into()), ..Default::default() };
        world.docker.create_volume(volume).await?;
        let network = NetworkCreateRequest { name: "hello_default".into(), ..Default::default() };
        world.docker.create_network(network).await?;
        let foreign = (["hello-db"], ["hello_default"], ["hello_data"]);
        let before = world.snapshot(&foreign.0, &foreign.1, &foreign.2).await?;
        let answer = manager.service.post("/api/v1/addons", &body).await?;
        assert_eq!(answer.status, 409, "{}", answer.text);
        // All of them at once, so that nobody has to try three times.
        for name in ["hello-db", "hello_data", "hello_default"] {
            assert!(answer.text.contains(name), "{name} in {}", answer.text);
        }
        assert_eq!(world.container_names().await?, ["hello-db"], "nothing was made");
        world.snapshot(&foreign.0, &foreign.1, &foreign.2).await?.assert_is(&before, "not touched");

        // Under another name there is room.
        let other = manager.install_as(&release, "hello2").await?;
        manager.reaches(other.id, InstallationStatus::Active).await?;
        world.snapshot(&foreign.0, &foreign.1, &foreign.2).await?.assert_is(&before, "not touched");
        Ok(())
    });
}

#[test]
fn containers_of_a_lost_database_are_adopted_only_where_they_are_what_is_meant() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let mut manager = world.manager(Setup::default()).await?;
        let mut web = demo_service("web", &image.reference);
        web["volumes"] = json!(["data:/data"]);
        let release = market.approved(&json!({"name": "hello", "services": [web]})).await?;
        manager.installed(&release).await?;
        let before = world.snapshot(&["hello-web"], &[], &[]).await?;
        // A new database: nothing is known, and nothing is removed.
        manager.service.stop(Signal::Term).await?;
        for entry in std::fs::read_dir(manager.service.state())?.flatten() {
            if entry.file_name().to_string_lossy().contains(".db")
                || entry.file_name().to_string_lossy().contains("sqlite")
            {
                std::fs::remove_file(entry.path())?;
            }
        }
        std::fs::remove_file(manager.service.state().join("admin-token"))?;
        manager.service.start().await?;
        manager.service.reread_token()?;
        let (foreign, _) = eventually("it is listed as foreign", LIMIT, async || {
            let answer = manager.service.get("/api/v1/host").await?.json();
            let listed = answer["foreign"].as_array().context("a list")?.clone();
            ensure!(listed.iter().any(|object| object["name"] == "hello-web"), "{listed:?}");
            Ok(listed)
        })
        .await?;
        assert!(
            foreign.iter().all(|object| !object["reason"].as_str().unwrap_or_default().is_empty()),
            "{foreign:?}"
        );
        world.snapshot(&["hello-web"], &[], &[]).await?.assert_is(&before, "not touched");

        // Installed again it is in its own way, and the answer says how to go on without losing data.
        let volume = world.volume_folder("hello_data").await?.join("mine");
        std::fs::write(&volume, "kept")?;
        let body = json!({"marketplace_id": release.id.to_string()});
        let answer = manager.service.post("/api/v1/addons", &body).await?;
        assert_eq!(answer.status, 409, "{}", answer.text);
        for part in ["docker rm -f hello-web", "backup", "volumes", "kept"] {
            assert!(answer.text.contains(part), "{part} in {}", answer.text);
        }
        let force = RemoveContainerOptionsBuilder::default().force(true).build();
        world.docker.remove_container("hello-web", Some(force)).await?;
        let body = json!({"marketplace_id": release.id.to_string(), "volumes": "kept"});
        let answer = manager.service.post("/api/v1/addons", &body).await?;
        assert_eq!(answer.status, 201, "{}", answer.text);
        eventually("it runs again", LIMIT, async || {
            world.running("hello-web").await?;
            Ok(())
        })
        .await?;
        assert_eq!(std::fs::read_to_string(&volume)?, "kept");
        assert_eq!(world.volume_names().await?, ["hello_data"]);
        Ok(())
    });
}
