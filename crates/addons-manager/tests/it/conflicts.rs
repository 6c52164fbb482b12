//! What somebody else has is found before anything is made, and who has it is said.

use addons_manager::domain::specification::Protocol;
use addons_manager::runtime::ListedPort;
use serde_json::{Value, json};

use crate::manager::{Manager, addon};

/// Installs a document and holds the answer to a conflict with these parts; nothing was made for it.
async fn refused(manager: &Manager, document: Value, parts: &[&str]) {
    let name = document["name"].as_str().unwrap().to_owned();
    let release = manager.publish(document).await;
    let before = manager.engine.snapshot();
    manager.install(json!({"marketplace_id": release})).await.refused(409, "conflict", parts);
    assert_eq!(manager.engine.snapshot(), before);
    let listed = manager.get(&format!("/api/v1/addons?name={name}")).await.json();
    assert_eq!(listed, json!([]));
}

fn port(ip: Option<&str>, host_port: u16) -> ListedPort {
    ListedPort {
        host_ip: ip.map(|ip| ip.parse().unwrap()),
        host_port,
        container_port: 80,
        protocol: Protocol::Tcp,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_of_other_addons_and_containers() {
    let manager = Manager::start().await;
    let first =
        manager.installed(addon("first", json!({"ports": {"80": "127.0.0.1:8080", "81": "8081"}}))).await;
    manager.until(&first, "active").await;
    manager.engine.foreign_container("somebody", &[], &[port(Some("10.0.0.1"), 9_000)]);
    refused(
        &manager,
        addon("a", json!({"ports": {"80": "8080"}})),
        &["host port 8080/tcp", "`first`", &first],
    )
    .await;
    let release = manager.publish(addon("a", json!({"ports": {"443": "8443", "80": "8080"}}))).await;
    let problem = manager.install(json!({"marketplace_id": release})).await.json();
    assert_eq!(problem["errors"][0]["path"], "/services/0/ports/80", "{problem}");
    assert!(
        problem["errors"][0]["message"].as_str().unwrap().contains("another host port, or with none"),
        "{problem}"
    );
    refused(&manager, addon("b", json!({"ports": {"80": "192.168.0.1:8081"}})), &["`first`"]).await;
    refused(&manager, addon("c", json!({"ports": {"80": "9000"}})), &["container `somebody`"]).await;
    // Another address, another transport.
    let free = manager
        .installed(addon(
            "d",
            json!({"ports": {"80": "127.0.0.2:8080", "81/udp": "8081", "82": "10.0.0.2:9000"}}),
        ))
        .await;
    manager.until(&free, "active").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_conflict_is_said_at_once() {
    let manager = Manager::start().await;
    let first = manager.installed(addon("first", json!({"ports": {"80": "8080"}}))).await;
    manager.until(&first, "active").await;
    manager.engine.foreign_container("second-web", &[], &[]);
    manager.engine.foreign_volume("second_data", &[]);
    let document = addon("second", json!({"ports": {"80": "8080"}, "volumes": ["data:/d"]}));
    refused(
        &manager,
        document.clone(),
        &["8080", "second-web", "second_data", "host-port", "container-name", "volume"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_containers_networks_and_volumes_that_are_there() {
    let manager = Manager::start_with(|config| config.platform.prefix = "root_".to_owned()).await;
    manager.engine.foreign_container("root_a-web", &[], &[]);
    refused(&manager, addon("a", json!({})), &["container `root_a-web`", "did not make"]).await;
    manager.engine.foreign_network("b_back", &[]);
    let mut document = addon("b", json!({"networks": ["back"]}));
    document["networks"] = json!([{"name": "back"}]);
    refused(&manager, document, &["network `b_back`"]).await;
    // A look-alike label proves nothing.
    manager.engine.foreign_volume(
        "c_data",
        &[("oak.create", "x"), ("oak.installation.id", "6b00fc9223516c5e37bee27c")],
    );
    refused(&manager, addon("c", json!({"volumes": ["data:/d"]})), &["`c_data`"]).await;
    // Names that two addons would make of different parts.
    let mut first = addon("x_y", json!({"networks": ["z"]}));
    first["networks"] = json!([{"name": "z"}]);
    let id = manager.installed(first).await;
    manager.until(&id, "active").await;
    let mut second = addon("x", json!({"networks": ["y_z"]}));
    second["networks"] = json!([{"name": "y_z"}]);
    refused(&manager, second, &["`x_y_z`", &id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_on_shared_networks_that_a_descriptor_asks_for() {
    let manager = Manager::start_with(|config| config.platform.prefix = "root_".to_owned()).await;
    let asks = |name: &str, alias: &str| addon(name, json!({"networks": {"oakestra": {"aliases": [alias]}}}));
    let first = manager.installed(asks("first", "db")).await;
    manager.until(&first, "active").await;
    refused(&manager, asks("second", "db"), &["the name `db` on network `oakestra`", &first]).await;
    refused(&manager, asks("third", "root_first-web"), &[&first]).await;
    // The alias that nobody asked for refuses nobody.
    let plain = manager.installed(addon("plain", json!({}))).await;
    manager.until(&plain, "active").await;

    // And who asks for it gets it: the other one gives it back. `None`: it is off the network, between two connections to it.
    let answers = |name: &str, alias: &str| {
        let container = manager.engine.by_name(name).unwrap();
        container.aliases.get("oakestra").map(|aliases| aliases.contains(alias))
    };
    assert_eq!(answers("root_first-web", "root_web"), Some(true));
    let asking = manager.installed(asks("asking", "root_web")).await;
    manager.until(&asking, "active").await;
    manager.app.reconciler().wake_all();
    manager
        .eventually("the alias is given back", async || {
            match (answers("root_first-web", "root_web"), answers("root_asking-web", "root_web")) {
                (Some(false), Some(true)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;

    let foreign = manager.engine.foreign_container("redis", &[], &[]);
    let network = manager
        .engine
        .snapshot()
        .networks
        .iter()
        .find(|network| network.name == "oakestra")
        .unwrap()
        .id
        .clone();
    manager.engine.connect_by_hand(&foreign, &network, &["cache"]);
    refused(&manager, asks("fourth", "cache"), &["container `redis`"]).await;
    refused(&manager, asks("fifth", "redis"), &["container `redis`"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_name_is_a_name_on_shared_networks() {
    let manager = Manager::start().await;
    let first = manager.installed(addon("first", json!({"hostname": "db"}))).await;
    manager.until(&first, "active").await;
    refused(
        &manager,
        addon("second", json!({"hostname": "db"})),
        &["the name `db` on network `oakestra`", &first],
    )
    .await;
    let foreign = manager.engine.foreign_container("redis", &[], &[]);
    let listing = manager.engine.snapshot();
    let network = listing.networks.iter().find(|network| network.name == "oakestra").unwrap();
    manager.engine.connect_by_hand(&foreign, &network.id, &["cache"]);
    refused(&manager, addon("third", json!({"hostname": "cache"})), &["container `redis`"]).await;
    let named = addon("fourth", json!({"hostname": "cache", "networks": ["oakestra"]}));
    refused(&manager, named, &["container `redis`"]).await;
    // The host name of somebody else's container is a name as well.
    manager.engine.set_host_name(&foreign, "store");
    refused(&manager, addon("sixth", json!({"hostname": "store"})), &["container `redis`"]).await;
    let asks = addon("seventh", json!({"networks": {"oakestra": {"aliases": ["store"]}}}));
    refused(&manager, asks, &["the name `store`", "container `redis`"]).await;
    // On networks of an addon's own it disturbs nobody.
    let mut own = addon("fifth", json!({"hostname": "db", "networks": ["lan"]}));
    own["networks"] = json!([{"name": "lan"}]);
    let own = manager.installed(own).await;
    manager.until(&own, "active").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_addon_only_uses_has_to_be_there() {
    let manager = Manager::start().await;
    let mut document = addon("first", json!({"networks": ["lan"], "volumes": ["films:/films"]}));
    document["volumes"] = json!([{"name": "films", "external": true}]);
    let release = manager.publish(document.clone()).await;
    let body =
        json!({"marketplace_id": release, "rights": ["external-network:lan", "external-volume:films"]});
    let before = manager.engine.snapshot();
    manager.install(body.clone()).await.refused(
        409,
        "conflict",
        &[
            "the network `lan`",
            "docker network create lan",
            "the volume `films`",
            "docker volume create films",
        ],
    );
    assert_eq!(manager.engine.snapshot(), before, "nothing was made");
    manager.engine.foreign_network("lan", &[]);
    manager.engine.foreign_volume("films", &[]);
    let installed = manager.install(body).await;
    assert_eq!(installed.status, 201, "{}", installed.text);
    manager.until(&installed.id(), "active").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_database_has_left_has_a_way_on() {
    let manager = Manager::start().await;
    let release = manager.publish(addon("shop", json!({"volumes": ["data:/d"]}))).await;
    let lost = [
        ("oak.create", "n1"),
        ("oak.installation.id", "6b00fc9223516c5e37bee27c"),
        ("oak.addon", "shop"),
        ("oak.manager.id", "another"),
    ];
    let container = manager.engine.foreign_container("shop-web", &lost, &[]);
    let network = manager.engine.foreign_network("shop_default", &lost);
    manager.engine.foreign_volume("shop_data", &lost);
    let volume = manager.engine.snapshot().volumes[0].clone();
    manager.install(json!({"marketplace_id": release})).await.refused(
        409,
        "conflict",
        &["docker rm -f shop-web", "backup", "volumes", "kept", "6b00fc9223516c5e37bee27c"],
    );
    manager.engine.remove_by_hand(&container);
    manager.engine.remove_network_by_hand(&network);
    manager.install(json!({"marketplace_id": release})).await.refused(409, "conflict", &["shop_data"]);
    let installed = manager.install(json!({"marketplace_id": release, "volumes": "kept"})).await;
    assert_eq!(installed.status, 201, "{}", installed.text);
    manager.until(&installed.id(), "active").await;
    assert_eq!(manager.engine.snapshot().volumes, [volume], "the very same one");
    let web = manager.engine.by_name("shop-web").unwrap();
    assert_eq!(web.listed.mounts[0].volume.as_deref(), Some("shop_data"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subnets_that_a_descriptor_fixes() {
    let manager = Manager::start().await;
    let with_subnet = |name: &str, subnet: &str| {
        let mut document = addon(name, json!({"networks": ["lan"]}));
        document["networks"] = json!([{"name": "lan", "subnets": [subnet]}]);
        document
    };
    let first = manager.installed(with_subnet("first", "10.50.0.0/24")).await;
    manager.until(&first, "active").await;
    refused(&manager, with_subnet("second", "10.50.0.128/25"), &["the subnet 10.50.0.128/25", &first]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_another_addon() {
    let manager = Manager::start().await;
    let first = manager.installed(addon("first", json!({}))).await;
    let release = manager.publish(addon("second", json!({}))).await;
    let taken = manager.install(json!({"marketplace_id": release, "name": "First"})).await;
    taken.refused(409, "name-taken", &["addon `first`", &first]);
}
