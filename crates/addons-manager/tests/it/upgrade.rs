//! `POST …/upgrade` and `…/rollback`: what is accepted, and everything that is refused.

use reqwest::Method;
use serde_json::{Value, json};

use crate::manager::{Answer, Manager, addon};

async fn manager() -> Manager {
    Manager::start_with(|config| config.rollouts.settle_ms = 50).await
}

/// The same addon with another version and image.
fn newer(name: &str, service: Value) -> Value {
    let mut document = addon(name, service);
    document["version"] = json!("2.0.0");
    document["services"][0]["image"] = json!("registry.example/web:2");
    document
}

impl Manager {
    async fn upgrade(&self, id: &str, body: Value) -> Answer {
        self.send(Method::POST, &format!("/api/v1/addons/{id}/upgrade"), Some(body)).await
    }

    async fn roll_back(&self, id: &str, body: Value) -> Answer {
        self.send(Method::POST, &format!("/api/v1/addons/{id}/rollback"), Some(body)).await
    }

    async fn until_through(&self, id: &str, phase: &str) -> Value {
        self.eventually(&format!("the rollout is {phase}"), async || {
            let answer = self.get(&format!("/api/v1/addons/{id}")).await.json();
            let is_through = answer["rollout"]["phase"] == phase && answer["status"] == "active";
            if is_through { Ok(answer) } else { Err(answer.to_string()) }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_is_upgraded_and_rolled_back() {
    let manager = manager().await;
    let id = manager.installed(addon("shop", json!({"ports": {"80": ""}, "volumes": ["data:/d"]}))).await;
    let before = manager.until(&id, "active").await;
    let release =
        manager.publish(newer("shop", json!({"ports": {"80": "", "81": ""}, "volumes": ["data:/d"]}))).await;
    let answer = manager.upgrade(&id, json!({"marketplace_id": release})).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let told = answer.json();
    assert_eq!((&told["status"], &told["version"]), (&json!("upgrading"), &json!("1.0.0")));
    let rollout = &told["rollout"];
    assert_eq!(
        (&rollout["kind"], &rollout["from"], &rollout["to"]),
        (&json!("upgrade"), &json!(1), &json!(2))
    );

    let after = manager.until_through(&id, "done").await;
    assert_eq!((&after["version"], &after["revision"]), (&json!("2.0.0"), &json!(2)));
    assert_eq!(after["marketplace_id"], release.as_str());
    let port =
        |answer: &Value, place: usize| answer["service_states"][0]["ports"][place]["host_port"].clone();
    assert_eq!(port(&after, 0), port(&before, 0), "a port that was chosen stays");
    assert_ne!(port(&after, 1), port(&before, 0));
    let revisions = manager.get(&format!("/api/v1/addons/{id}/revisions")).await.json();
    let current = |place: usize| revisions[place]["current"].clone();
    assert_eq!((revisions.as_array().unwrap().len(), current(0), current(1)), (2, json!(true), json!(false)));

    let answer = manager.roll_back(&id, json!({"revision": 1})).await;
    assert_eq!((answer.status, &answer.json()["status"]), (202, &json!("rolling_back")));
    let back = manager.until_through(&id, "done").await;
    assert_eq!((&back["version"], &back["revision"]), (&json!("1.0.0"), &json!(1)));
    // The port that was chosen for the newer one stays its own: it can go there again, and has it there.
    let taken = port(&after, 1);
    let other = manager.publish(addon("other", json!({"ports": {"80": taken.to_string()}}))).await;
    let answer = manager.install(json!({"marketplace_id": other})).await;
    answer.refused(409, "conflict", &[&taken.to_string(), "`shop`"]);
    let drawn = manager.installed(addon("drawn", json!({"ports": {"80": ""}}))).await;
    let drawn = manager.until(&drawn, "active").await;
    assert_ne!(port(&drawn, 0), taken);
    let mut third = newer("shop", json!({"ports": {"81": "", "82": ""}, "volumes": ["data:/d"]}));
    third["version"] = json!("3.0.0");
    let third = manager.publish(third).await;
    assert_eq!(manager.upgrade(&id, json!({"marketplace_id": third})).await.status, 202);
    let third = manager.until_through(&id, "done").await;
    assert_eq!(port(&third, 0), taken, "chosen once");
    assert!(![port(&before, 0), taken].contains(&port(&third, 1)), "another port of it, another number");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let manager = manager().await;
    let first = addon("shop", json!({"volumes": ["data:/d"]}));
    let release = manager.publish(first).await;
    let id = manager.install(json!({"marketplace_id": release})).await.id();
    manager.until(&id, "active").await;
    let upgrade = async |body: Value| manager.upgrade(&id, body).await;

    upgrade(json!({"marketplace_id": release})).await.refused(409, "already-installed", &["1.0.0"]);
    let other = manager.publish(addon("other", json!({}))).await;
    upgrade(json!({"marketplace_id": other})).await.refused(422, "other-addon", &["`other`", "`shop`"]);
    let waiting = manager.publish_with(newer("shop", json!({})), json!({"status": "under_review"})).await;
    upgrade(json!({"marketplace_id": waiting})).await.refused(409, "release-not-approved", &[]);
    upgrade(json!({"marketplace_id": release, "version": "1"})).await.refused(
        422,
        "invalid-request",
        &["/version"],
    );
    upgrade(json!({"revision": 1})).await.refused(422, "invalid-body", &["revision"]);
    let mut changed = newer("shop", json!({"volumes": ["data:/d"]}));
    changed["volumes"] = json!([{"name": "data", "driver_opts": {"type": "tmpfs", "device": "tmpfs"}}]);
    let changed = manager.publish(changed).await;
    let rights = ["volume-driver-opts:data:device=tmpfs", "volume-driver-opts:data:type=tmpfs"];
    let answer = upgrade(json!({"marketplace_id": changed, "rights": rights})).await;
    answer.refused(409, "volume-changes", &["`data`"]);
    manager.installed(addon("holder", json!({"ports": {"80": "9000"}}))).await;
    let taken = manager.publish(newer("shop", json!({"ports": {"80": "9000"}}))).await;
    upgrade(json!({"marketplace_id": taken})).await.refused(409, "conflict", &["9000", "`holder`"]);

    manager.roll_back(&id, json!({"revision": 7})).await.refused(422, "no-such-revision", &["there are: 1"]);
    manager.roll_back(&id, json!({"revision": 1})).await.refused(409, "already-installed", &["revision 1"]);
    let nobody = "0123456789abcdef01234567";
    manager.upgrade(nobody, json!({})).await.refused(404, "not-found", &[]);
    manager.roll_back(nobody, json!({"revision": 1})).await.refused(404, "not-found", &[]);
    let after = manager.get(&format!("/api/v1/addons/{id}")).await.json();
    assert_eq!((&after["revision"], &after["rollout"]), (&json!(1), &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_on_shared_networks_are_its_own_and_nobody_elses() {
    let manager = manager().await;
    let asks = |alias: &str| json!({"networks": {"oakestra": {"aliases": [alias]}}});
    let id = manager.installed(addon("shop", asks("store"))).await;
    manager.until(&id, "active").await;
    let same = manager.publish(newer("shop", asks("store"))).await;
    let answer = manager.upgrade(&id, json!({"marketplace_id": same})).await;
    assert_eq!(answer.status, 202, "the name is its own: {}", answer.text);
    manager.until_through(&id, "done").await;
    let mut without = newer("shop", json!({}));
    without["version"] = json!("3.0.0");
    let without = manager.publish(without).await;
    assert_eq!(manager.upgrade(&id, json!({"marketplace_id": without})).await.status, 202);
    manager.until_through(&id, "done").await;

    // Somebody else has it now.
    let foreign = manager.engine.foreign_container("redis", &[], &[]);
    let listing = manager.engine.snapshot();
    let network = listing.networks.iter().find(|network| network.name == "oakestra").unwrap();
    manager.engine.connect_by_hand(&foreign, &network.id, &["store"]);
    let said = ["the name `store`", "container `redis`"];
    manager.upgrade(&id, json!({"marketplace_id": same})).await.refused(409, "conflict", &said);
    manager.roll_back(&id, json!({"revision": 2})).await.refused(409, "conflict", &said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_release_is_taken_only_by_its_name() {
    let manager = manager().await;
    let old = manager.publish(addon("shop", json!({}))).await;
    let id = manager.installed(newer("shop", json!({}))).await;
    manager.until(&id, "active").await;
    // As after a yank of the newer one.
    let newest = manager.market_release(&old).await;
    let answer = wiremock::ResponseTemplate::new(200).set_body_json(newest);
    manager.serve("/api/v1/marketplace/by-name/shop", answer).await;
    let refused = manager.upgrade(&id, json!({})).await;
    refused.refused(409, "older", &["1.0.0", "2.0.0", "name the version"]);
    assert_eq!(manager.upgrade(&id, json!({"marketplace_id": old})).await.status, 202);
    let after = manager.until_through(&id, "done").await;
    assert_eq!(after["version"], "1.0.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_changes_twice_is_no_revision_s_but_its_own() {
    let manager = manager().await;
    let release = |version: &str, internal: bool| {
        let mut document = addon("shop", json!({"networks": ["lan"]}));
        document["version"] = json!(version);
        document["networks"] = json!([{"name": "lan", "internal": internal}]);
        document
    };
    let id = manager.installed(release("1.0.0", true)).await;
    manager.until(&id, "active").await;
    let networks = || {
        let networks = manager.engine.snapshot().networks.into_iter();
        let networks = networks.filter(|network| network.name.starts_with("shop_"));
        networks.map(|network| (network.name, network.internal)).collect::<Vec<_>>()
    };
    for (version, internal, name) in [("2.0.0", false, "shop_lan.r2"), ("3.0.0", true, "shop_lan.r3")] {
        let release = manager.publish(release(version, internal)).await;
        let answer = manager.upgrade(&id, json!({"marketplace_id": release})).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        manager.until_through(&id, "done").await;
        let found = manager.eventually("the network before is gone", async || match networks() {
            found if found.len() == 1 => Ok(found),
            found => Err(format!("{found:?}")),
        });
        assert_eq!(found.await, [(name.to_owned(), internal)]);
    }
    assert_eq!(manager.roll_back(&id, json!({"revision": 2})).await.status, 202);
    manager.until_through(&id, "done").await;
    assert!(networks().contains(&("shop_lan.r2".to_owned(), false)), "{:?}", networks());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_agreed_to_adds_up_while_it_is_disabled() {
    let manager = manager().await;
    let id = manager.installed(addon("shop", json!({}))).await;
    manager.until(&id, "active").await;
    let disabled = Some(json!({"status": "disabled"}));
    manager.send(Method::PATCH, &format!("/api/v1/addons/{id}"), disabled).await;
    manager.until(&id, "disabled").await;
    for (version, right) in [("2.0.0", "pid"), ("3.0.0", "ipc")] {
        let mut document = newer("shop", json!({right: "host"}));
        document["version"] = json!(version);
        let release = manager.publish(document).await;
        let rights = [format!("host-{right}")];
        let answer = manager.upgrade(&id, json!({"marketplace_id": release, "rights": rights})).await;
        assert_eq!((answer.status, &answer.json()["version"]), (202, &json!(version)), "{}", answer.text);
    }
    let answer = manager.roll_back(&id, json!({"revision": 2})).await;
    assert_eq!(answer.status, 202, "it was agreed to: {}", answer.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_been_moved_is_shown_as_the_new_revision_has_it() {
    let manager = Manager::start_with(|config| config.rollouts.settle_ms = 300_000).await;
    let id = manager.installed(addon("shop", json!({"ports": {"80": ""}}))).await;
    let before = manager.until(&id, "active").await;
    let release = manager.publish(newer("shop", json!({"ports": {"80": "", "81": ""}}))).await;
    assert_eq!(manager.upgrade(&id, json!({"marketplace_id": release})).await.status, 202);
    let moved = manager
        .eventually("the service is moved", async || {
            let answer = manager.get(&format!("/api/v1/addons/{id}")).await.json();
            if answer["rollout"]["moved"] == json!(["web"]) { Ok(answer) } else { Err(answer.to_string()) }
        })
        .await;
    let service = |answer: &Value| answer["service_states"][0].clone();
    assert_ne!(service(&moved)["image_digest"], service(&before)["image_digest"]);
    assert_eq!(service(&moved)["ports"].as_array().unwrap().len(), 2);
    assert_eq!((&moved["version"], &moved["rollout"]["phase"]), (&json!("1.0.0"), &json!("forward")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_change_at_a_time() {
    let manager = Manager::start_with(|config| config.rollouts.settle_ms = 300_000).await;
    let id = manager.installed(addon("shop", json!({}))).await;
    manager.until(&id, "active").await;
    let release = manager.publish(newer("shop", json!({}))).await;
    let upgrades = (0..8).map(|_| manager.upgrade(&id, json!({"marketplace_id": release})));
    let answers = futures_util::future::join_all(upgrades).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 202).count(), 1);
    for refused in answers.iter().filter(|answer| answer.status != 202) {
        refused.refused(409, "rollout-under-way", &["the upgrade from revision 1 to 2"]);
        assert_eq!(refused.header("retry-after"), "15");
    }
    manager.roll_back(&id, json!({"revision": 2})).await.refused(409, "rollout-under-way", &[]);

    // Disabling ends it, and the installation is what it was.
    let patched = manager
        .send(Method::PATCH, &format!("/api/v1/addons/{id}"), Some(json!({"status": "disabled"})))
        .await;
    assert_eq!((patched.status, &patched.json()["rollout"]["phase"]), (200, &json!("ended")));
    let disabled = manager.until(&id, "disabled").await;
    assert_eq!((&disabled["version"], &disabled["revision"]), (&json!("1.0.0"), &json!(1)));
    // What does not run is changed at once.
    let answer = manager.roll_back(&id, json!({"revision": 2})).await;
    assert_eq!((answer.status, &answer.json()["version"]), (202, &json!("2.0.0")));
    assert_eq!(answer.json()["status"], "disabled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_rights_that_are_new_are_asked_for() {
    let mut manager = manager().await;
    let first = manager.publish(addon("shop", json!({"pid": "host"}))).await;
    let id = manager.install(json!({"marketplace_id": first, "rights": ["host-pid"]})).await.id();
    manager.until(&id, "active").await;
    let same = manager.publish(newer("shop", json!({"pid": "host"}))).await;
    let mut wider = newer("shop", json!({"pid": "host", "ipc": "host"}));
    wider["version"] = json!("3.0.0");
    let wider = manager.publish(wider).await;

    let refused = manager.upgrade(&id, json!({"marketplace_id": wider})).await;
    refused.refused(403, "rights-required", &["host-ipc"]);
    assert!(!refused.text.contains("host-pid"), "it was granted: {}", refused.text);
    let admin = manager.take_token(&["read", "operate"]).await;
    let answer = manager.upgrade(&id, json!({"marketplace_id": same})).await;
    assert_eq!(answer.status, 202, "nothing new is granted: {}", answer.text);
    manager.until_through(&id, "done").await;
    let body = json!({"marketplace_id": wider, "rights": ["host-ipc"]});
    let answer = manager.upgrade(&id, body.clone()).await;
    assert_eq!(answer.status, 403, "who grants needs the scope `consent`: {}", answer.text);
    manager.with_token(Some(admin));
    let answer = manager.upgrade(&id, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    manager.until_through(&id, "done").await;
}
