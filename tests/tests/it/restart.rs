//! The manager, or the engine, ends at a bad moment and comes back.

use std::time::{Duration, Instant};

use addon_client::InstallationStatus;
use anyhow::{Context, ensure};
use serde_json::json;
use system_tests::{Fault, Image, Manager, Proxy, Setup, Signal, World, demo_service, eventually};

const LIMIT: Duration = Duration::from_secs(30);

/// Three services, a network, a volume, a file and an order: every kind of step that an install has.
fn document(image: &str) -> serde_json::Value {
    let mut web = demo_service("web", image);
    web["ports"] = json!({"8080": "8080"});
    web["depends_on"] = json!({"db": {"condition": "service_healthy"}});
    let mut db = demo_service("db", image);
    db["volumes"] = json!(["data:/data", "/cache"]);
    db["files"] = json!([{"path": "/etc/db.conf", "content": "x = 1\n"}]);
    json!({"name": "hello", "services": [web, db, demo_service("log", image)]})
}

/// What stands on the engine when all is well, whatever happened before.
async fn whole(world: &World) -> anyhow::Result<()> {
    ensure!(
        world.container_names().await? == ["hello-db", "hello-log", "hello-web"],
        "{:?}",
        world.container_names().await?
    );
    ensure!(
        world.network_names().await? == ["hello_default", "oakestra"],
        "{:?}",
        world.network_names().await?
    );
    let volumes = world.volume_names().await?;
    ensure!(volumes.len() == 2 && volumes.iter().all(|name| name.starts_with("hello_")), "{volumes:?}");
    world.fetch(8080, "/").await?;
    Ok(())
}

#[test]
fn a_manager_killed_at_any_moment_of_an_install_comes_to_the_same_end() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let mut manager = world.manager(Setup::default()).await?;
        let release = market.approved(&document(&image.reference)).await?;
        let body = json!({"marketplace_id": release.id.to_string()});
        // How long an install takes here, so that the moments lie within it.
        let begun = Instant::now();
        let first = manager.installed(&release).await?;
        let whole_time = begun.elapsed();
        crate::measured("an install that nobody disturbs", whole_time);
        whole(world).await?;
        manager.uninstalled(world, &first, true).await?;
        for part in 0..8 {
            let moment = whole_time * part / 8;
            let post = manager.service.request(reqwest::Method::POST, "/api/v1/addons").json(&body);
            // The answer may be lost with the process; what counts is what is there afterwards.
            let asking = tokio::time::timeout(moment, async {
                let _answer = post.send().await;
                std::future::pending::<()>().await;
            });
            assert!(asking.await.is_err(), "it waits for its moment");
            manager.service.stop(Signal::Kill).await?;
            manager.service.start().await?;
            let listed = manager.client.list(&Default::default()).await?.items;
            let begun = Instant::now();
            let installation = match listed.into_iter().next() {
                Some(installation) => manager.reaches(installation.id, InstallationStatus::Active).await?.0,
                None => manager.installed(&release).await?,
            };
            crate::measured(&format!("active after a kill at {} ms", moment.as_millis()), begun.elapsed());
            eventually("it stands whole", LIMIT, async || whole(world).await).await?;
            let host = manager.client.host().await?;
            assert!(
                host.foreign.is_empty(),
                "nothing is left that the manager does not know: {:?}",
                host.foreign
            );
            manager.uninstalled(world, &installation, true).await?;
            let (_, _) = eventually("its volumes are gone", LIMIT, async || {
                let volumes = world.volume_names().await?;
                ensure!(volumes.is_empty(), "{volumes:?}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    });
}

#[test]
fn a_manager_killed_in_the_middle_of_a_pull_goes_on_with_it() {
    system_tests::run(async |world| {
        let noise: Vec<u8> =
            (0_u32..2_000_000).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let image = world.registry.push(&Image::demo("hello", "1").file("/noise", noise)).await?;
        let proxy = Proxy::tcp(world.registry.address()).await?;
        let market = world.marketplace(Setup::default().registry(proxy.address())).await?;
        let mut manager = world.manager(Setup::default().registry(proxy.address())).await?;
        let release = market.approved(&document(&image.by_way_of(proxy.address()))).await?;
        proxy.set(Fault::Slow { piece: 16 << 10, pause: Duration::from_millis(20) });
        let installation = manager.install(&release).await?;
        eventually("the pull is under way", LIMIT, async || {
            let progress =
                manager.installation(installation.id).await?.progress.context("no progress yet")?;
            ensure!(progress.bytes_done > 0, "{progress:?}");
            Ok(())
        })
        .await?;
        manager.service.stop(Signal::Kill).await?;
        manager.service.start().await?;
        assert_eq!(manager.installation(installation.id).await?.status, InstallationStatus::Installing);
        proxy.set(Fault::None);
        manager.reaches(installation.id, InstallationStatus::Active).await?;
        // What the engine was asked for before the kill may come late, and is one network of that name too many for a moment.
        eventually("it stands whole", LIMIT, async || whole(world).await).await?;
        Ok(())
    });
}

async fn installed(world: &World) -> anyhow::Result<(Manager, addon_client::Installation)> {
    let image = world.registry.push(&Image::demo("hello", "1")).await?;
    let market = world.marketplace(Setup::default()).await?;
    let manager = world.manager(Setup::default()).await?;
    let installation = manager.installed(&market.approved(&document(&image.reference)).await?).await?;
    Ok((manager, installation))
}

#[test]
fn stopping_and_starting_the_manager_leaves_every_addon_running() {
    system_tests::run(async |world| {
        let (mut manager, installation) = installed(world).await?;
        let containers = ["hello-web", "hello-db", "hello-log"];
        let before = world.snapshot(&containers, &["hello_default", "oakestra"], &["hello_data"]).await?;
        for signal in [Signal::Term, Signal::Kill] {
            let (_, took) = manager.service.stop(signal).await?;
            assert!(took < Duration::from_secs(5), "{took:?}");
            whole(world).await?;
            crate::measured("ready again", manager.service.start().await?);
            manager.reaches(installation.id, InstallationStatus::Active).await?;
            let now = world.snapshot(&containers, &["hello_default", "oakestra"], &["hello_data"]).await?;
            now.assert_is(&before, &format!("after {signal:?}: the same containers, started when they were"));
        }
        Ok(())
    });
}

#[test]
fn a_second_manager_keeps_off_the_state_of_the_first() {
    system_tests::run(async |world| {
        let (manager, installation) = installed(world).await?;
        let setup =
            Setup::default().second("second", 11111).set("state_dir", manager.service.state().display());
        let begun = Instant::now();
        let second = world.manager(setup).await;
        let error = second.err().context("the second one should not have started")?;
        assert!(begun.elapsed() < Duration::from_secs(10), "it ends by itself: {error:?}");
        let log = std::fs::read_to_string(world.folder("logs")?.join("second.log"))?;
        assert!(
            log.contains(&manager.service.state().display().to_string()),
            "it says which state is held: {log}"
        );
        manager.reaches(installation.id, InstallationStatus::Active).await?;
        Ok(())
    });
}

#[test]
fn an_engine_that_stops_and_starts_again_finds_everything_as_it_was() {
    system_tests::run(async |world| {
        let (manager, installation) = installed(world).await?;
        let ids = async |world: &World| {
            anyhow::Ok([
                world.running("hello-web").await?,
                world.running("hello-db").await?,
                world.running("hello-log").await?,
            ])
        };
        let before = ids(world).await?;
        for (round, signal) in (1..).zip([Signal::Term, Signal::Kill]) {
            world.engine.stop(signal).await?;
            eventually("the manager says that the engine is away", LIMIT, async || {
                let installation = manager.installation(installation.id).await?;
                // What cannot be seen is not taken to be gone. An engine that ends in good order ends the containers first, and may still
                // be there to say so.
                let ended_first =
                    signal == Signal::Term && installation.status == InstallationStatus::PartiallyActive;
                ensure!(
                    ended_first || installation.status == InstallationStatus::Active,
                    "{}",
                    installation.status
                );
                let kinds: Vec<&str> =
                    installation.conditions.iter().map(|condition| condition.kind.as_str()).collect();
                ensure!(kinds.contains(&"engine_unreachable"), "{kinds:?}");
                Ok(())
            })
            .await?;
            world.engine.start().await?;
            let (_, took) = eventually("all is as before", LIMIT, async || {
                ensure!(ids(world).await? == before, "other containers");
                whole(world).await?;
                let installation = manager.installation(installation.id).await?;
                ensure!(installation.status == InstallationStatus::Active, "{}", installation.status);
                ensure!(installation.conditions.is_empty(), "{:?}", installation.conditions);
                // It says so of what runs now, not of what it saw last.
                let services = &installation.service_states;
                ensure!(services.iter().all(|service| service.restarts >= round), "{services:?}");
                Ok(())
            })
            .await?;
            crate::measured(&format!("whole after an engine that ended with {signal}"), took);
        }
        // Its events were those of a `docker stop`, and there was nobody.
        let database = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(manager.service.state().join("addons-manager.db"))
            .read_only(true);
        let database = sqlx::SqlitePool::connect_with(database).await?;
        let ended: Vec<String> =
            sqlx::query_scalar("SELECT ended_by FROM attempts WHERE ended_at_ms IS NOT NULL")
                .fetch_all(&database)
                .await?;
        assert!(ended.len() >= 6 && ended.iter().all(|by| by == "engine"), "{ended:?}");
        Ok(())
    });
}

#[test]
fn the_manager_takes_its_memory_from_one_place() {
    system_tests::run(async |world| {
        let mut manager = world.manager(Setup::default()).await?;
        let set = manager.service.variable("MALLOC_ARENA_MAX")?;
        assert_eq!(set.as_deref(), cfg!(target_env = "gnu").then_some("1"));
        // It is the process that was started: a signal to it ends it.
        let (status, _) = manager.service.stop(Signal::Term).await?;
        assert!(status.success(), "{status}");
        Ok(())
    });
}
