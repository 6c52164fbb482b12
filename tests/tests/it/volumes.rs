//! Data that outlives containers, and installations.

use std::time::Duration;

use addon_client::{InstallRequest, VolumesChoice};
use anyhow::ensure;
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use serde_json::json;
use system_tests::{Image, Setup, demo_service, eventually};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_reinstall_finds_its_kept_volumes() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("db", "1").volume("/image-data")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let mut db = demo_service("db", &image.reference);
        db["ports"] = json!({"8080": "8080"});
        db["volumes"] = json!(["data:/data", "/anonymous"]);
        let release = market.approved(&json!({"name": "base", "version": "1.0.0", "services": [db]})).await?;
        let installation = manager.installed(&release).await?;
        let volumes = world.volume_names().await?;
        assert_eq!(volumes.len(), 3, "the declared one, the anonymous one and the image's: {volumes:?}");
        for folder in ["data", "anonymous", "image-data"] {
            world.fetch(8080, &format!("/write?path=/{folder}/note&text=kept-in-{folder}")).await?;
        }

        // A container that is made anew has them all.
        let force = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        world.docker.remove_container("base-db", Some(force)).await?;
        eventually("its data is there", LIMIT, async || {
            for folder in ["data", "anonymous", "image-data"] {
                let note = world.fetch(8080, &format!("/fs?path=/{folder}/note")).await?;
                ensure!(note == format!("kept-in-{folder}"), "{folder}: {note}");
            }
            Ok(())
        })
        .await?;
        assert_eq!(world.volume_names().await?, volumes);

        // So has an installation that comes after another.
        manager.uninstalled(world, &installation, false).await?;
        let (kept, _) = eventually("they are listed as kept", LIMIT, async || {
            let kept = manager.client.host().await?.kept_volumes;
            ensure!(kept.len() == 3, "{kept:?}");
            Ok(kept)
        })
        .await?;
        assert!(kept.iter().all(|volume| volume.addon == "base"), "{kept:?}");
        let again = manager.installed(&release).await?;
        for folder in ["data", "anonymous", "image-data"] {
            assert_eq!(
                world.fetch(8080, &format!("/fs?path=/{folder}/note")).await?,
                format!("kept-in-{folder}")
            );
        }
        assert_eq!(world.volume_names().await?, volumes);
        assert!(manager.client.host().await?.kept_volumes.is_empty(), "they are in use again");

        // For another addon they are in the way, and for this one when it asks for new ones.
        manager.uninstalled(world, &again, false).await?;
        let mut other = demo_service("db", &image.reference);
        other["volumes"] = json!(["data:/data"]);
        let other = market.approved(&json!({"name": "other", "services": [other]})).await?;
        let body = json!({"marketplace_id": other.id.to_string(), "name": "base"});
        let answer = manager.service.post("/api/v1/addons", &body).await?;
        assert!(
            answer.status == 409 && answer.text.contains("base_data"),
            "{} {}",
            answer.status,
            answer.text
        );
        let body = InstallRequest {
            marketplace_id: Some(release.id.to_string()),
            volumes: Some(VolumesChoice::New),
            ..Default::default()
        };
        assert_eq!(manager.client.install(&body).await.err().and_then(|error| error.status()), Some(409));
        for volume in kept {
            assert!(manager.client.delete_volume(&volume.name).await?, "{} can be deleted", volume.name);
        }
        assert_eq!(world.volume_names().await?, [""; 0]);
        let fresh = manager.installed(&release).await?;
        assert!(world.fetch(8080, "/fs?path=/data/note").await.is_err(), "nothing of the old data");
        // One that is in use is not deleted.
        assert!(manager.client.delete_volume("base_data").await.is_err());
        manager.uninstalled(world, &fresh, true).await?;
        eventually("they are gone with it", LIMIT, async || {
            ensure!(world.volume_names().await?.is_empty(), "{:?}", world.volume_names().await?);
            Ok(())
        })
        .await?;
        Ok(())
    });
}
