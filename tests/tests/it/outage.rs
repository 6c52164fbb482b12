//! What goes on working while something else does not.

use std::time::Duration;

use addon_client::{InstallRequest, InstallationStatus};
use anyhow::{Context, ensure};
use bollard::query_parameters::{KillContainerOptions, RemoveContainerOptionsBuilder};
use serde_json::json;
use service_kit::clock::{Clock as _, SystemClock};
use system_tests::{Fault, Image, Proxy, Setup, Signal, World, demo_service, eventually};

const LIMIT: Duration = Duration::from_secs(20);

async fn serves(world: &World) -> anyhow::Result<()> {
    world.running("hello-web").await?;
    world.fetch(8080, "/").await?;
    Ok(())
}

fn document(image: &str) -> serde_json::Value {
    let mut web = demo_service("web", image);
    web["ports"] = json!({"8080": "8080"});
    json!({"name": "hello", "services": [web]})
}

#[test]
fn without_marketplace_and_registry_addons_are_repaired_all_the_same() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let mut market = world.marketplace(Setup::default()).await?;
        let mut manager = world.manager(Setup::default()).await?;
        let release = market.approved(&document(&image.reference)).await?;
        let installation = manager.installed(&release).await?;
        let other = market
            .approved(&json!({"name": "other", "services": [demo_service("web", &image.reference)]}))
            .await?;
        market.service.stop(Signal::Kill).await?;
        world.registry.stop(&mut world.engine).await?;

        let force = RemoveContainerOptionsBuilder::default().force(true).build();
        world.docker.remove_container("hello-web", Some(force.clone())).await?;
        let (_, took) = eventually("it is repaired", LIMIT, async || serves(world).await).await?;
        crate::measured("repaired with nobody else there", took);
        // A new process of the manager needs neither as well.
        manager.service.stop(Signal::Kill).await?;
        world.docker.remove_container("hello-web", Some(force)).await?;
        manager.service.start().await?;
        eventually("it is repaired after a start", LIMIT, async || serves(world).await).await?;
        manager.reaches(installation.id, InstallationStatus::Active).await?;

        // What needs the marketplace says that waiting helps.
        let body = json!({"marketplace_id": other.id.to_string()});
        let answer = manager.service.post("/api/v1/addons", &body).await?;
        assert!([502, 503].contains(&answer.status), "{} {}", answer.status, answer.text);
        assert_eq!(answer.status == 503, !answer.header("retry-after").is_empty(), "{:?}", answer.headers);
        market.service.start().await?;
        world.registry.resume(&mut world.engine).await?;
        manager.installed(&other).await?;
        Ok(())
    });
}

#[test]
fn a_marketplace_that_answers_nonsense_is_not_believed() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let proxy = Proxy::tcp(([127, 0, 0, 1], 11102).into()).await?;
        let manager =
            world.manager(Setup::default().marketplace_at(format!("http://{}", proxy.address()))).await?;
        let release = market.approved(&document(&image.reference)).await?;
        let body = InstallRequest { marketplace_id: Some(release.id.to_string()), ..Default::default() };
        for fault in
            [Fault::Status(500), Fault::Status(404), Fault::Garbage, Fault::Refuse, Fault::CutAfter(200)]
        {
            proxy.set(fault.clone());
            proxy.cut();
            let error =
                manager.client.install(&body).await.err().context("it should not have been installed")?;
            let status = error.status().context("the manager answered")?;
            let expected: &[u16] = if fault == Fault::Status(404) { &[404] } else { &[502, 503] };
            assert!(expected.contains(&status), "{fault:?}: {error:?}");
        }
        assert!(manager.client.list(&Default::default()).await?.items.is_empty(), "nothing came of it");
        proxy.set(Fault::None);
        proxy.cut();
        manager.installed(&release).await?;
        Ok(())
    });
}

#[test]
fn a_cut_event_stream_loses_nothing() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let socket = world.folder("proxy")?.join("docker.sock");
        let proxy = Proxy::unix(&socket, &world.engine.socket())?;
        let market = world.marketplace(Setup::default()).await?;
        let manager =
            world.manager(Setup::default().docker_host(format!("unix://{}", socket.display()))).await?;
        let installation = manager.installed(&market.approved(&document(&image.reference)).await?).await?;

        // Cut, and something happens at that moment.
        for round in 0..3 {
            let started = world.container("hello-web").await?.state.and_then(|state| state.started_at);
            proxy.cut();
            world.docker.kill_container("hello-web", None::<KillContainerOptions>).await?;
            let (_, took) = eventually("it is repaired", LIMIT, async || {
                serves(world).await?;
                let now = world.container("hello-web").await?.state.and_then(|state| state.started_at);
                ensure!(now != started, "the same run");
                Ok(())
            })
            .await?;
            crate::measured(&format!("repaired after a cut stream ({round})"), took);
        }
        // Away for a while, and something happens in that time.
        proxy.set(Fault::Refuse);
        proxy.cut();
        world.docker.kill_container("hello-web", None::<KillContainerOptions>).await?;
        eventually("the manager says that the engine is away", LIMIT, async || {
            let installation = manager.installation(installation.id).await?;
            ensure!(!installation.conditions.is_empty(), "no condition");
            Ok(())
        })
        .await?;
        proxy.set(Fault::None);
        let (_, took) = eventually("it is repaired", LIMIT, async || serves(world).await).await?;
        crate::measured("repaired after the engine was reachable again", took);
        manager.reaches(installation.id, InstallationStatus::Active).await?;
        Ok(())
    });
}

#[test]
fn an_engine_that_hangs_does_not_hang_the_api() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let installation = manager.installed(&market.approved(&document(&image.reference)).await?).await?;
        let frozen = SystemClock.now();
        world.engine.freeze().await?;
        for path in ["/api/v1/addons", &format!("/api/v1/addons/{}", installation.id), "/healthz", "/metrics"]
        {
            let answer = tokio::time::timeout(Duration::from_secs(2), manager.service.get(path)).await;
            assert_eq!(
                answer.with_context(|| format!("{path} hangs with the engine"))??.status,
                200,
                "{path}"
            );
        }
        // Also before it is known.
        let (host, ready) = tokio::time::timeout(
            Duration::from_secs(6),
            futures_util::future::try_join(manager.client.host(), async {
                Ok(manager.service.get("/readyz").await)
            }),
        )
        .await
        .context("the host is not shown while the engine hangs")??;
        assert!(!host.engine.reachable, "{host:?}");
        assert_eq!(ready?.status, 200);
        // It is said, and since when: not only after the longest of all deadlines.
        let (since, took) =
            eventually("the manager says that the engine is away", Duration::from_secs(30), async || {
                let installation = manager.installation(installation.id).await?;
                let condition =
                    installation.conditions.iter().find(|condition| condition.kind == "engine_unreachable");
                Ok(condition.context("no condition")?.since)
            })
            .await?;
        crate::measured("a frozen engine is noticed", took);
        // What is known is told at once, and what cannot be known is refused at once.
        let host = tokio::time::timeout(Duration::from_secs(1), manager.client.host()).await??;
        assert_eq!((host.engine.reachable, host.engine.unreachable_since), (false, Some(since)));
        let ready = tokio::time::timeout(Duration::from_secs(1), manager.service.get("/readyz")).await??;
        assert_eq!(ready.status, 200, "{}", ready.text);
        let logs = format!("/api/v1/addons/{}/logs", installation.id);
        let logs = tokio::time::timeout(Duration::from_secs(5), manager.service.get(&logs)).await??;
        assert_eq!(logs.status, 503, "{}", logs.text);
        let body = json!({"addon": "hello", "name": "other"});
        let other = manager.service.post("/api/v1/addons", &body);
        let other = tokio::time::timeout(Duration::from_secs(5), other).await??;
        assert_eq!((other.status, other.header("retry-after").is_empty()), (503, false), "{}", other.text);
        let late = since.since(frozen);
        assert!(late < Duration::from_secs(7), "since {since}, {late:?} after it was frozen at {frozen}");
        world.engine.resume().await?;
        eventually("it is back", LIMIT, async || {
            let installation = manager.installation(installation.id).await?;
            ensure!(installation.conditions.is_empty(), "{:?}", installation.conditions);
            Ok(())
        })
        .await?;
        manager.reaches(installation.id, InstallationStatus::Active).await?;
        serves(world).await
    });
}
