//! What is left after an addon has gone: nothing of it, and everything of the others.

use std::time::Duration;

use addon_client::{InstallationStatus, PatchInstallation, PatchStatus};
use anyhow::ensure;
use bollard::query_parameters::ListImagesOptions;
use serde_json::json;
use system_tests::{Image, Setup, Signal, demo_service, eventually};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn one_of_two_addons_goes_without_a_trace() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let second = world.registry.push(&Image::demo("second", "1").file("/other", "image")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let document = |name: &str, image: &str| {
            let mut web = demo_service("web", image);
            web["volumes"] = json!(["data:/data"]);
            web["files"] = json!([{"path": "/etc/web.conf", "content": name}]);
            json!({"name": name, "services": [web, demo_service("db", image)]})
        };
        manager.installed(&market.approved(&document("stays", &image.reference)).await?).await?;
        let going = manager.installed(&market.approved(&document("goes", &second.reference)).await?).await?;
        let kept = (["stays-web", "stays-db"], ["stays_default"], ["stays_data"]);
        let before = world.snapshot(&kept.0, &kept.1, &kept.2).await?;
        manager.uninstalled(world, &going, true).await?;
        assert!(manager.client.get(going.id).await?.is_none());
        let path = format!("/api/v1/addons/{}", going.id);
        let again = manager.service.send(manager.service.request(reqwest::Method::DELETE, &path)).await?;
        assert_eq!(again.status, 404, "from then on");
        eventually("its volume, images and files are gone", LIMIT, async || {
            ensure!(world.volume_names().await? == ["stays_data"], "{:?}", world.volume_names().await?);
            let images = world.docker.list_images(None::<ListImagesOptions>).await?;
            let tags: Vec<String> = images.into_iter().flat_map(|image| image.repo_tags).collect();
            let id = going.id.to_string();
            ensure!(!tags.iter().any(|tag| tag.contains(&id)), "{tags:?}");
            let files = manager.service.state().join("files").join(&id);
            ensure!(!files.exists(), "{} is there", files.display());
            Ok(())
        })
        .await?;
        world.snapshot(&kept.0, &kept.1, &kept.2).await?.assert_is(&before, "the other one was not touched");
        Ok(())
    });
}

#[test]
fn a_manager_killed_while_it_removes_goes_on_removing() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let mut manager = world.manager(Setup::default()).await?;
        let services: Vec<_> = (0..4).map(|n| demo_service(&format!("s{n}"), &image.reference)).collect();
        let installation = manager
            .installed(&market.approved(&json!({"name": "hello", "services": services})).await?)
            .await?;
        manager.client.uninstall(installation.id, true).await?;
        manager.service.stop(Signal::Kill).await?;
        manager.service.start().await?;
        assert!(manager.client.get(installation.id).await?.is_none(), "404 also after the restart");
        eventually("nothing is left", LIMIT, async || {
            ensure!(world.container_names().await?.is_empty(), "{:?}", world.container_names().await?);
            ensure!(world.network_names().await? == ["oakestra"], "{:?}", world.network_names().await?);
            Ok(())
        })
        .await?;
        Ok(())
    });
}

#[test]
fn a_name_is_free_again_once_everything_is_gone() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        // It takes its time to stop, so the name is held for a while.
        let mut web = demo_service("web", &image.reference);
        web["command"] = json!(["serve", "--ignore-term"]);
        web["stop_grace_period"] = json!("2s");
        let release = market.approved(&json!({"name": "hello", "services": [web]})).await?;
        let installation = manager.installed(&release).await?;
        manager.client.uninstall(installation.id, true).await?;
        let body = json!({"marketplace_id": release.id.to_string()});
        let answer = manager.service.post("/api/v1/addons", &body).await?;
        assert_eq!(answer.status, 409, "its container still stops: {}", answer.text);
        assert!(!answer.header("retry-after").is_empty(), "{:?}", answer.headers);
        let (again, _) =
            eventually("it can be installed again", LIMIT, async || manager.install(&release).await).await?;
        assert_ne!(again.id, installation.id);
        manager.reaches(again.id, InstallationStatus::Active).await?;
        Ok(())
    });
}

#[test]
fn disabling_in_the_middle_of_an_install_wins() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let services: Vec<_> = (0..4).map(|n| demo_service(&format!("s{n}"), &image.reference)).collect();
        let installation =
            manager.install(&market.approved(&json!({"name": "hello", "services": services})).await?).await?;
        let disable = PatchInstallation { status: Some(PatchStatus::Disabled), ..Default::default() };
        manager.client.patch(installation.id, &disable).await?;
        manager.reaches(installation.id, InstallationStatus::Disabled).await?;
        assert_eq!(world.container_names().await?, [""; 0]);
        Ok(())
    });
}
