//! The harness itself: a world has a working engine and registry, and ends without a trace.

use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig, PortBinding};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, InspectContainerOptions, StartContainerOptions,
};
use futures_util::TryStreamExt;
use serde_json::json;
use system_tests::{Image, Signal, World, eventually};

pub(crate) async fn pull(world: &World, reference: &str) -> anyhow::Result<()> {
    let options = CreateImageOptionsBuilder::default().from_image(reference).build();
    world.docker.create_image(Some(options), None, None).try_collect::<Vec<_>>().await?;
    Ok(())
}

#[test]
fn an_image_made_here_runs_and_serves() {
    system_tests::run(async |world| {
        let image = Image::demo("hello", "1")
            .set("Cmd", json!(["--port", "80"]))
            .volume("/data")
            .labels(&[("a", "b")]);
        let image = image.healthcheck(&["/demo-addon", "healthcheck", "--port", "80"]);
        let pushed = world.registry.push(&image).await?;
        pull(world, &pushed.reference).await?;
        let binding = PortBinding { host_ip: Some("127.0.0.1".into()), host_port: Some("8080".into()) };
        let body = ContainerCreateBody {
            image: Some(pushed.reference.clone()),
            host_config: Some(HostConfig {
                port_bindings: Some([("80/tcp".to_owned(), Some(vec![binding]))].into()),
                ..Default::default()
            }),
            exposed_ports: Some(vec!["80/tcp".into()]),
            ..Default::default()
        };
        let options = CreateContainerOptionsBuilder::default().name("hello").build();
        world.docker.create_container(Some(options), body).await?;
        world.docker.start_container("hello", None::<StartContainerOptions>).await?;
        let (page, _) = eventually("a page is served", Duration::from_secs(10), async || {
            Ok(reqwest::get("http://127.0.0.1:8080/").await?.text().await?)
        })
        .await?;
        assert!(page.contains("Your addon is up and running"), "{page}");
        let inspect = world.docker.inspect_container("hello", None::<InspectContainerOptions>).await?;
        assert_eq!(inspect.image.as_deref(), Some(pushed.config.as_str()));
        assert_eq!(inspect.mounts.unwrap_or_default().len(), 1, "the image's volume is mounted");
        eventually("it is healthy", Duration::from_secs(10), async || {
            let inspect = world.container("hello").await?;
            let health = inspect.state.and_then(|state| state.health).and_then(|health| health.status);
            anyhow::ensure!(health == Some(bollard::models::HealthStatusEnum::HEALTHY), "{health:?}");
            Ok(())
        })
        .await?;

        // It handles SIGTERM though it is process 1, else this takes the engine's ten seconds.
        let begun = std::time::Instant::now();
        world.docker.stop_container("hello", None::<bollard::query_parameters::StopContainerOptions>).await?;
        assert!(begun.elapsed() < Duration::from_secs(5), "stopping took {:?}", begun.elapsed());
        Ok(())
    });
}

#[test]
fn an_engine_comes_back_with_its_data() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        for signal in [Signal::Term, Signal::Kill] {
            pull(world, &image.reference).await?;
            world.engine.stop(signal).await?;
            assert!(world.docker.ping().await.is_err(), "it is stopped");
            world.engine.start().await?;
            world.docker.inspect_image(&image.reference).await?;
        }
        world.registry.stop(&mut world.engine).await?;
        assert!(pull(world, "127.0.0.1:5000/hello:2").await.is_err(), "the registry is stopped");
        world.registry.resume(&mut world.engine).await?;
        pull(world, &image.reference).await?;
        Ok(())
    });
}

#[test]
fn an_index_offers_this_machine_its_own_image() {
    system_tests::run(async |world| {
        let other = if cfg!(target_arch = "x86_64") { "arm64" } else { "amd64" };
        let images = [Image::demo("many", "1"), Image::demo("many", "1").architecture(other)];
        let pushed = world.registry.push_index(&images).await?;
        pull(world, &pushed.reference).await?;
        let image = world.docker.inspect_image(&pushed.reference).await?;
        assert_eq!(image.id.as_deref(), Some(pushed.config.as_str()));
        let pin = format!("127.0.0.1:5000/many@{}", pushed.digest);
        assert_eq!(image.repo_digests, Some(vec![pin]), "the digest is the index's");
        assert!(world.registry.has(&pushed).await?);
        world.registry.delete(&pushed).await?;
        assert!(!world.registry.has(&pushed).await?, "it is deleted");
        Ok(())
    });
}
