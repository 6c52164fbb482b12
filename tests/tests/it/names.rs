//! What things are called where several addons, or one addon several times, live side by side.

use anyhow::Context;
use serde_json::json;
use system_tests::{Image, Manager, Marketplace, Setup, World, demo_service};

async fn start(world: &World, prefix: &str) -> anyhow::Result<(String, Marketplace, Manager)> {
    let image = world.registry.push(&Image::demo("web", "1")).await?;
    let market = world.marketplace(Setup::default()).await?;
    let setup =
        if prefix.is_empty() { Setup::default() } else { Setup::default().set("platform.prefix", prefix) };
    Ok((image.reference, market, world.manager(setup).await?))
}

async fn two_addons_with_a_db_each(world: &World, prefix: &str) -> anyhow::Result<()> {
    let (image, market, manager) = start(world, prefix).await?;
    for (name, port) in [("shop", "8081"), ("blog", "8082")] {
        let mut web = demo_service("web", &image);
        web["ports"] = json!({"8080": port});
        let document = json!({"name": name, "services": [web, demo_service("db", &image)]});
        manager.installed(&market.approved(&document).await?).await?;
    }
    // Each finds its own, by the bare name and by the prefixed one, and one address only.
    for (name, port) in [("shop", 8081), ("blog", 8082)] {
        let db = world.running(&format!("{prefix}{name}-db")).await?;
        for alias in ["db".to_owned(), format!("{prefix}db")] {
            let answer = world.fetch(port, &format!("/fetch?url=http://{alias}:8080/id")).await?;
            assert_eq!(answer, format!("200 {}", &db[..12]), "{alias} as {name} sees it");
        }
        let addresses = world.fetch(port, "/resolve?name=db").await?;
        assert_eq!(addresses.lines().count(), 1, "one db and no other: {addresses}");
    }
    Ok(())
}

#[test]
fn two_addons_may_each_have_a_db() {
    system_tests::run(async |world| two_addons_with_a_db_each(world, "").await);
}

#[test]
fn two_addons_may_each_have_a_db_under_a_prefix_too() {
    system_tests::run(async |world| two_addons_with_a_db_each(world, "root_").await);
}

async fn one_addon_twice(world: &World, prefix: &str) -> anyhow::Result<()> {
    let (image, market, manager) = start(world, prefix).await?;
    let mut web = demo_service("web", &image);
    web["ports"] = json!({"8080": ""});
    web["volumes"] = json!(["data:/data"]);
    let release =
        market.approved(&json!({"name": "wiki", "services": [web, demo_service("db", &image)]})).await?;
    let mut ports = Vec::new();
    for name in ["wiki", "team-wiki"] {
        let asked = manager.install_as(&release, name).await?;
        let (active, _) = manager.reaches(asked.id, addon_client::InstallationStatus::Active).await?;
        assert_eq!((active.name.as_str(), active.addon.as_str()), (name, "wiki"));
        let web = active
            .service_states
            .iter()
            .find(|service| service.service_name == "web")
            .context("its state")?;
        let port = web.ports.first().context("a port was chosen")?.host_port;
        world.fetch(port, &format!("/write?path=/data/mine&text={name}")).await?;
        ports.push((name, port));
    }
    assert_ne!(ports[0].1, ports[1].1);
    for (name, port) in ports {
        assert_eq!(world.fetch(port, "/fs?path=/data/mine").await?, name);
        let db = world.running(&format!("{prefix}{name}-db")).await?;
        assert_eq!(world.fetch(port, "/fetch?url=http://db:8080/id").await?, format!("200 {}", &db[..12]));
    }
    let expected =
        ["team-wiki-db", "team-wiki-web", "wiki-db", "wiki-web"].map(|name| format!("{prefix}{name}"));
    assert_eq!(world.container_names().await?, expected);
    assert_eq!(world.volume_names().await?, ["team-wiki_data", "wiki_data"]);
    Ok(())
}

#[test]
fn one_addon_may_be_installed_twice_under_two_names() {
    system_tests::run(async |world| one_addon_twice(world, "").await);
}

#[test]
fn one_addon_may_be_installed_twice_under_a_prefix_too() {
    system_tests::run(async |world| one_addon_twice(world, "root_").await);
}
