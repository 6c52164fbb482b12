//! Disable, enable, uninstall, and what becomes of volumes.

use reqwest::Method;
use serde_json::{Value, json};

use crate::manager::{Answer, Manager, addon};

async fn patch(manager: &Manager, id: &str, body: Value) -> Answer {
    manager.send(Method::PATCH, &format!("/api/v1/addons/{id}"), Some(body)).await
}

async fn delete(manager: &Manager, id: &str, query: &str) -> Answer {
    manager.send(Method::DELETE, &format!("/api/v1/addons/{id}{query}"), None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disabling_removes_containers_and_enabling_brings_them_back() {
    let manager = Manager::start().await;
    let id = manager.installed(addon("shop", json!({"volumes": ["data:/d"]}))).await;
    manager.until(&id, "active").await;
    let answer = patch(&manager, &id, json!({"status": "disabled"})).await;
    assert_eq!(
        (answer.status, answer.json()["status"].as_str()),
        (200, Some("disabling")),
        "{}",
        answer.text
    );
    let disabled = manager.until(&id, "disabled").await;
    assert_eq!(disabled["desired"], "disabled");
    assert!(manager.engine.by_name("shop-web").is_none());
    assert_eq!(manager.engine.snapshot().volumes.len(), 1, "volumes stay");
    assert_eq!(
        patch(&manager, &id, json!({"status": "disabled"})).await.json()["status"],
        "disabled",
        "asking again changes nothing"
    );

    let answer = patch(&manager, &id, json!({"status": "active"})).await;
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("installing")));
    manager.until(&id, "active").await;
    assert!(manager.engine.by_name("shop-web").unwrap().running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anything_else_cannot_be_patched() {
    let manager = Manager::start().await;
    let id = manager.installed(addon("shop", json!({}))).await;
    for status in ["installing", "disabling", "failed", "partially_active", "", "Active"] {
        assert_eq!(patch(&manager, &id, json!({"status": status})).await.status, 422, "{status}");
    }
    for (status, meant) in [
        ("enabled", "active"),
        ("enable", "active"),
        ("on", "active"),
        ("running", "active"),
        ("start", "active"),
        ("stopped", "disabled"),
        ("off", "disabled"),
        ("disable", "disabled"),
    ] {
        let problem = patch(&manager, &id, json!({"status": status})).await.json();
        assert_eq!(problem["errors"][0]["suggestion"], meant, "{status}: {problem}");
    }
    for body in [json!({}), json!({"status": null}), json!({"status": 1}), json!({"name": "x"}), json!([])] {
        assert_eq!(patch(&manager, &id, body.clone()).await.status, 422, "{body}");
    }
    patch(&manager, &id, json!({"parameters": {"a": 1}})).await.refused(
        422,
        "not-supported",
        &["`parameters`"],
    );
    for unknown in ["6b00fc9223516c5e37bee27c", "nonsense"] {
        patch(&manager, unknown, json!({"status": "active"})).await.refused(
            404,
            "not-found",
            &["Addon not found"],
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_delete_disables_and_the_second_removes() {
    let manager = Manager::start().await;
    let id = manager.installed(addon("shop", json!({}))).await;
    manager.until(&id, "active").await;
    let first = delete(&manager, &id, "").await;
    assert_eq!((first.status, first.json()["status"].as_str()), (200, Some("disabling")), "{}", first.text);
    manager.until(&id, "disabled").await;
    let second = delete(&manager, &id, "").await;
    assert_eq!((second.status, second.text.as_str()), (204, ""));
    delete(&manager, &id, "").await.refused(404, "not-found", &["Addon not found"]);
    assert_eq!(manager.get(&format!("/api/v1/addons/{id}")).await.status, 404);
    assert_eq!(manager.get("/api/v1/addons").await.json(), json!([]));
    manager.until_gone(&id).await;
    delete(&manager, "nonsense", "").await.refused(404, "not-found", &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn force_removes_at_once_and_the_name_is_free_when_all_is_gone() {
    let manager = Manager::start().await;
    let release = manager.publish(addon("shop", json!({}))).await;
    let id = manager.install(json!({"marketplace_id": release})).await.id();
    manager.until(&id, "active").await;
    manager.engine.set_away(true);
    assert_eq!(delete(&manager, &id, "?force=true").await.status, 204, "also while the engine is away");
    manager.engine.set_away(false);
    manager.until_gone(&id).await;
    assert!(manager.engine.by_name("shop-web").is_none());
    assert_eq!(manager.install(json!({"marketplace_id": release})).await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_being_freed_is_said_to_be() {
    let manager = Manager::start().await;
    let release = manager.publish(addon("shop", json!({}))).await;
    let id = manager.install(json!({"marketplace_id": release})).await.id();
    manager.until(&id, "active").await;
    manager.engine.set_away(true);
    assert_eq!(delete(&manager, &id, "?force=true").await.status, 204);
    let refused = manager.install(json!({"marketplace_id": release})).await;
    refused.refused(409, "being-removed", &[&id, "try again"]);
    assert!(!refused.header("retry-after").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_stay_for_the_next_installation_of_that_name() {
    let manager = Manager::start().await;
    let release = manager.publish(addon("shop", json!({"volumes": ["data:/d", "/cache"]}))).await;
    let id = manager.install(json!({"marketplace_id": release})).await.id();
    manager.until(&id, "active").await;
    let before = manager.engine.snapshot().volumes;
    assert_eq!(before.len(), 2);
    assert_eq!(delete(&manager, &id, "?force=true").await.status, 204);
    manager.until_gone(&id).await;
    assert_eq!(manager.engine.snapshot().volumes, before);
    let kept = manager.get("/api/v1/host").await.json()["kept_volumes"].clone();
    assert_eq!(kept.as_array().unwrap().len(), 2);
    assert_eq!((&kept[0]["addon"], &kept[0]["installation"]), (&json!("shop"), &json!("shop")));

    let declined = manager.install(json!({"marketplace_id": release, "volumes": "new"})).await;
    declined.refused(409, "conflict", &["shop_data", "DELETE /api/v1/host/volumes/shop_data"]);
    let other = manager.publish(addon("store", json!({"volumes": ["data:/d"]}))).await;
    let other = manager.install(json!({"marketplace_id": other, "name": "shop"})).await;
    other.refused(409, "conflict", &["shop_data", "addon `shop`"]);
    let elsewhere = manager.install(json!({"marketplace_id": release, "name": "shop2"})).await;
    assert_eq!(elsewhere.status, 201, "{}", elsewhere.text);

    let again = manager.install(json!({"marketplace_id": release})).await;
    assert_eq!(again.status, 201, "{}", again.text);
    manager.until(&again.id(), "active").await;
    assert!(
        before.iter().all(|volume| manager.engine.snapshot().volumes.contains(volume)),
        "the very same ones"
    );
    assert_eq!(manager.get("/api/v1/host").await.json()["kept_volumes"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_go_where_that_is_asked_for() {
    let manager = Manager::start().await;
    let id = manager.installed(addon("shop", json!({"volumes": ["data:/d"]}))).await;
    manager.until(&id, "active").await;
    for query in ["?volumes=all", "?force=perhaps", "?volume=delete"] {
        assert!([400, 422].contains(&delete(&manager, &id, query).await.status), "{query}");
    }
    // By the order of two words nothing is deleted, and nothing kept.
    for (query, name) in [
        ("?volumes=delete&volumes=keep", "volumes"),
        ("?volumes=keep&force=true&volumes=delete", "volumes"),
        ("?force=false&force=true", "force"),
    ] {
        delete(&manager, &id, query).await.refused(400, "bad-query", &[name, "twice"]);
    }
    assert_eq!(manager.get(&format!("/api/v1/addons/{id}")).await.json()["desired"], "active");
    assert_eq!(delete(&manager, &id, "?force=true&volumes=delete").await.status, 204);
    manager.until_gone(&id).await;
    assert!(manager.engine.snapshot().volumes.is_empty());
    assert_eq!(manager.get("/api/v1/host").await.json()["kept_volumes"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_of_volumes_at_the_first_delete_counts_at_the_second() {
    let manager = Manager::start().await;
    let release = manager.publish(addon("shop", json!({"volumes": ["data:/d"]}))).await;
    let marked = |shown: &Value| {
        let conditions = shown["conditions"].as_array().unwrap();
        conditions.iter().filter(|condition| condition["type"] == "volumes_go").count()
    };
    // (what is said of the volumes at each call, whether they are kept)
    for (first, second, kept) in [
        ("?volumes=delete", "", false),
        ("", "?volumes=delete", false),
        ("?volumes=delete", "?volumes=keep", true),
        ("", "", true),
    ] {
        let id = manager.install(json!({"marketplace_id": release})).await.id();
        manager.until(&id, "active").await;
        let answer = delete(&manager, &id, first).await;
        assert_eq!(
            (answer.status, marked(&answer.json())),
            (200, usize::from(!first.is_empty())),
            "{}",
            answer.text
        );
        let disabled = manager.until(&id, "disabled").await;
        assert_eq!(marked(&disabled), usize::from(!first.is_empty()), "{disabled}");
        assert_eq!(delete(&manager, &id, second).await.status, 204);
        let names = |host: Value| host["kept_volumes"].as_array().unwrap().len();
        assert_eq!(names(manager.get("/api/v1/host").await.json()), usize::from(kept), "at once");
        manager.until_gone(&id).await;
        assert_eq!(names(manager.get("/api/v1/host").await.json()), usize::from(kept), "{first} {second}");
        assert_eq!(manager.engine.snapshot().volumes.len(), usize::from(kept), "{first} {second}");
    }
    // Enabled again, it is in use: what was said before counts no more.
    let id = manager.install(json!({"marketplace_id": release})).await.id();
    manager.until(&id, "active").await;
    assert_eq!(delete(&manager, &id, "?volumes=delete").await.status, 200);
    manager.until(&id, "disabled").await;
    assert_eq!(marked(&patch(&manager, &id, json!({"status": "active"})).await.json()), 0);
    manager.until(&id, "active").await;
    assert_eq!(delete(&manager, &id, "").await.status, 200);
    assert_eq!(marked(&manager.until(&id, "disabled").await), 0);
    assert_eq!(delete(&manager, &id, "").await.status, 204);
    manager.until_gone(&id).await;
    assert_eq!(manager.engine.snapshot().volumes.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_that_will_stay_are_listed_at_once_and_not_deleted_before() {
    let manager = Manager::start().await;
    let id = manager.installed(addon("shop", json!({"volumes": ["data:/d"]}))).await;
    manager.until(&id, "active").await;
    manager.engine.set_away(true);
    assert_eq!(delete(&manager, &id, "?force=true").await.status, 204);
    let kept = manager.get("/api/v1/host").await.json()["kept_volumes"].clone();
    assert_eq!((&kept[0]["name"], &kept[0]["addon"]), (&json!("shop_data"), &json!("shop")), "{kept}");
    let early = manager.send(Method::DELETE, "/api/v1/host/volumes/shop_data", None).await;
    early.refused(409, "being-removed", &["shop_data", "try again"]);
    manager.engine.set_away(false);
    manager.until_gone(&id).await;
    assert_eq!(manager.get("/api/v1/host").await.json()["kept_volumes"].as_array().unwrap().len(), 1);
    assert_eq!(manager.send(Method::DELETE, "/api/v1/host/volumes/shop_data", None).await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_a_call_does_not_take_is_refused() {
    let manager = Manager::start().await;
    let id = manager.installed(addon("shop", json!({}))).await;
    let path = format!("/api/v1/addons/{id}");
    manager.send(Method::POST, &format!("{path}/restart?service=web"), None).await.refused(
        400,
        "bad-query",
        &["service"],
    );
    delete(&manager, &id, "?volume=delete").await.refused(400, "bad-query", &["did you mean", "volumes"]);
    manager.get("/api/v1/addons?stat=failed").await.refused(400, "bad-query", &["did you mean", "status"]);
    assert_eq!(manager.get(&path).await.json()["desired"], "active");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_for_some_names_changes_no_others() {
    let mut manager = Manager::start().await;
    let id = manager.installed(addon("shop", json!({}))).await;
    let release = manager.publish(addon("market", json!({}))).await;
    let body = json!({"account": "ci", "scopes": ["operate"], "name_pattern": "mar*"});
    let token = manager.send(Method::POST, "/api/v1/tokens", Some(body)).await.json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    manager.with_token(Some(token));
    for answer in [
        patch(&manager, &id, json!({"status": "disabled"})).await,
        delete(&manager, &id, "?force=true").await,
        manager.send(Method::POST, &format!("/api/v1/addons/{id}/restart"), None).await,
    ] {
        answer.refused(403, "name-not-allowed", &["mar*"]);
    }
    assert_eq!(manager.install(json!({"marketplace_id": release})).await.status, 201);
    assert_eq!(
        manager.get("/api/v1/addons").await.json().as_array().unwrap().len(),
        2,
        "reading is for every token"
    );
}
