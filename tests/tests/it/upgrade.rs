//! Another release of an addon on a real engine: what its users notice, what a failure costs, what a kill finds.

use std::time::Duration;

use addon_client::{Installation, InstallationStatus, UpgradeRequest};
use anyhow::ensure;
use serde_json::{Value, json};
use system_tests::{Image, Manager, Marketplace, Setup, Signal, World, demo_service, eventually};

const LIMIT: Duration = Duration::from_secs(60);

/// A server with a volume, a file and a port that is chosen for it, and one in its network; what differs between versions is what the server says.
fn document(version: &str, image: &str, message: &str, more: &[&str]) -> Value {
    let mut web = demo_service("web", image);
    web["ports"] = json!({"8080": ""});
    web["volumes"] = json!(["data:/data"]);
    web["files"] = json!([{"path": "/etc/web.conf", "content": format!("version = {version}\n")}]);
    let words = ["serve", "--message", message].into_iter().chain(more.iter().copied());
    web["command"] = words.collect();
    let mut side = demo_service("side", image);
    side["network_mode"] = json!("service:web");
    side["command"] = json!(["serve", "--port", "9090"]);
    side["healthcheck"] =
        json!({"test": ["CMD", "/demo-addon", "healthcheck", "--port", "9090"], "interval": "100ms"});
    json!({"name": "hello", "version": version, "services": [web, side, demo_service("log", image)], "volumes": [{"name": "data"}]})
}

fn settings() -> Setup {
    Setup::default().set("rollouts.settle_ms", 500)
}

async fn upgrade(manager: &Manager, id: addon_client::InstallationId, version: &str) -> anyhow::Result<()> {
    let request = UpgradeRequest { version: Some(version.to_owned()), ..UpgradeRequest::default() };
    let answer = manager.client.upgrade(id, &request).await?;
    ensure!(answer.status == InstallationStatus::Upgrading, "it is {}", answer.status);
    Ok(())
}

fn port(installation: &Installation) -> u16 {
    let web = installation.service_states.iter().find(|state| state.service_name == "web");
    web.expect("it has web").ports[0].host_port
}

/// Waits until its rollout has this phase and it is active.
async fn through(
    manager: &Manager,
    id: addon_client::InstallationId,
    phase: &str,
) -> anyhow::Result<Installation> {
    let what = format!("the rollout is {phase}");
    let found = eventually(&what, LIMIT, async || {
        let installation = manager.installation(id).await?;
        let rollout = installation.rollout.as_ref();
        ensure!(rollout.is_some_and(|rollout| rollout.phase == phase), "{rollout:?}");
        ensure!(installation.status == InstallationStatus::Active, "it is {}", installation.status);
        Ok(installation)
    });
    Ok(found.await?.0)
}

async fn whole(world: &World) -> anyhow::Result<()> {
    let names = world.container_names().await?;
    ensure!(names == ["hello-log", "hello-side", "hello-web"], "{names:?}");
    let networks = world.network_names().await?;
    ensure!(networks == ["hello_default", "oakestra"], "{networks:?}");
    let volumes = world.volume_names().await?;
    ensure!(volumes == ["hello_data"], "{volumes:?}");
    Ok(())
}

async fn published(world: &World, market: &Marketplace) -> anyhow::Result<addon_client::Release> {
    let (first, second) = (
        world.registry.push(&Image::demo("hello", "1")).await?,
        world.registry.push(&Image::demo("hello", "2").set("Env", json!(["V=2"]))).await?,
    );
    let release = market.approved(&document("1.0.0", &first.reference, "one", &[])).await?;
    market.approved(&document("2.0.0", &second.reference, "two", &[])).await?;
    market
        .approved(&document("3.0.0", &second.reference, "three", &["--exit", "3", "--after", "200"]))
        .await?;
    Ok(release)
}

#[test]
fn an_upgrade_keeps_port_and_data_and_a_rollback_brings_the_old_one_back() {
    system_tests::run(async |world| {
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(settings()).await?;
        let release = published(world, &market).await?;
        let installed = manager.installed(&release).await?;
        let port_before = port(&installed);
        ensure!(world.fetch(port_before, "/").await?.contains("one"));
        world.fetch(port_before, "/write?path=/data/x&text=kept").await?;
        let log_before = world.running("hello-log").await?;

        upgrade(&manager, installed.id, "2.0.0").await?;
        let again = manager.client.upgrade(installed.id, &UpgradeRequest::default()).await;
        ensure!(again.unwrap_err().to_string().contains("is under way"), "one at a time");
        let upgraded = through(&manager, installed.id, "done").await?;
        ensure!((upgraded.version.as_str(), upgraded.revision) == ("2.0.0", 2));
        ensure!(port(&upgraded) == port_before, "its port is its own for life");
        ensure!(world.fetch(port_before, "/").await?.contains("two"));
        ensure!(world.fetch(port_before, "/fs?path=/data/x").await?.contains("kept"));
        ensure!(world.fetch(port_before, "/fs?path=/etc/web.conf").await?.contains("2.0.0"));
        eventually("it stands whole", LIMIT, async || whole(world).await).await?;

        let rolled = manager.client.rollback(installed.id, 1).await?;
        ensure!(rolled.status == InstallationStatus::RollingBack, "it is {}", rolled.status);
        let back = through(&manager, installed.id, "done").await?;
        ensure!((back.version.as_str(), back.revision) == ("1.0.0", 1));
        ensure!(world.fetch(port_before, "/").await?.contains("one"));
        ensure!(world.fetch(port_before, "/fs?path=/data/x").await?.contains("kept"));
        eventually("it stands whole", LIMIT, async || whole(world).await).await?;
        ensure!(world.running("hello-log").await? != log_before, "its image is another one in each");
        Ok(())
    });
}

#[test]
fn an_upgrade_that_fails_is_undone_and_says_why() {
    system_tests::run(async |world| {
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(settings()).await?;
        let release = published(world, &market).await?;
        let installed = manager.installed(&release).await?;
        let port = port(&installed);
        world.fetch(port, "/write?path=/data/x&text=kept").await?;
        upgrade(&manager, installed.id, "3.0.0").await?;
        let undone = through(&manager, installed.id, "undone").await?;
        ensure!((undone.version.as_str(), undone.revision) == ("1.0.0", 1));
        let rollout = undone.rollout.expect("there was one");
        ensure!(rollout.why.as_deref() == Some("web: it exited with 3"), "{:?}", rollout.why);
        ensure!(rollout.logs.is_some_and(|logs| logs.contains("serving on port")), "its last words");
        ensure!(world.fetch(port, "/").await?.contains("one"));
        ensure!(world.fetch(port, "/fs?path=/data/x").await?.contains("kept"));
        eventually("it stands whole", LIMIT, async || whole(world).await).await?;
        let policy = world.container("hello-web").await?.host_config.and_then(|host| host.restart_policy);
        ensure!(
            format!("{policy:?}").contains("ALWAYS") || format!("{policy:?}").contains("Always"),
            "{policy:?}"
        );
        Ok(())
    });
}

#[test]
fn a_manager_killed_at_any_moment_of_an_upgrade_comes_to_the_same_end() {
    system_tests::run_for(Duration::from_secs(240), async |world| {
        let market = world.marketplace(Setup::default()).await?;
        let mut manager = world.manager(settings()).await?;
        let release = published(world, &market).await?;
        let installed = manager.installed(&release).await?;
        let port = port(&installed);
        for (good, version) in [(true, "2.0.0"), (false, "3.0.0")] {
            for part in 0..3_u32 {
                upgrade(&manager, installed.id, version).await?;
                tokio::time::sleep(Duration::from_millis(700) * part).await;
                manager.service.stop(Signal::Kill).await?;
                manager.service.start().await?;
                let phase = if good { "done" } else { "undone" };
                let found = through(&manager, installed.id, phase).await?;
                let expected = if good { ("2.0.0", "two") } else { ("1.0.0", "one") };
                ensure!(found.version == expected.0, "{} after a kill at {part}", found.version);
                ensure!(world.fetch(port, "/").await?.contains(expected.1));
                eventually("it stands whole", LIMIT, async || whole(world).await).await?;
                if good {
                    manager.client.rollback(installed.id, 1).await?;
                    through(&manager, installed.id, "done").await?;
                }
            }
        }
        let host = manager.client.host().await?;
        ensure!(host.foreign.is_empty(), "{:?}", host.foreign);
        manager.uninstalled(world, &installed, true).await?;
        Ok(())
    });
}
