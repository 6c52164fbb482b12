//! `/api/v1/host`: the engine, foreign objects, kept volumes.

use reqwest::Method;
use serde_json::json;

use crate::manager::{Manager, addon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_is_shown_also_while_its_engine_is_away() {
    let manager = Manager::start().await;
    let host = manager.get("/api/v1/host").await.json();
    assert_eq!(host["manager_id"].as_str().unwrap().len(), 32);
    assert_eq!(
        (&host["engine"]["reachable"], &host["engine"]["version"]),
        (&json!(true), &json!("20.10.24"))
    );
    assert_eq!(host["engine"]["platform"], "linux/amd64");
    assert_eq!(host["disk"], json!({"free_bytes": 7_u64 << 30, "reserve_bytes": 2_u64 << 30}));
    assert_eq!((&host["foreign"], &host["kept_volumes"]), (&json!([]), &json!([])));

    manager.engine.set_away(true);
    let away = manager.get("/api/v1/host").await;
    assert_eq!((away.status, &away.json()["engine"]["reachable"]), (200, &json!(false)), "{}", away.text);
    let ready = manager.get("/readyz").await;
    assert_eq!(ready.status, 200, "the manager does its own work");
    let engine = &ready.json()["checks"][1];
    assert_eq!(
        (&engine["name"], &engine["ok"], &engine["informative"]),
        (&json!("engine"), &json!(false), &json!(true))
    );
    assert!(engine["message"].as_str().unwrap().contains("docker.host"), "{}", ready.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_keeps_its_last_status_while_the_engine_is_away() {
    let manager = Manager::start().await;
    let id = manager.installed(addon("shop", json!({}))).await;
    manager.until(&id, "active").await;
    manager.engine.set_away(true);
    manager.app.reconciler().wake(id.parse().unwrap());
    let answer = manager
        .eventually("the condition is there", async || {
            let answer = manager.get(&format!("/api/v1/addons/{id}")).await.json();
            if answer["conditions"][0]["type"] == "engine_unreachable" {
                Ok(answer)
            } else {
                Err(answer.to_string())
            }
        })
        .await;
    assert_eq!(answer["status"], "active");
    assert!(answer["conditions"][0]["since"].is_string());
    let host = manager.get("/api/v1/host").await.json();
    assert_eq!(host["engine"]["unreachable_since"], answer["conditions"][0]["since"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_looks_like_ours_is_listed_and_adopted_on_request() {
    let manager = Manager::start().await;
    let id = manager.installed(addon("shop", json!({}))).await;
    manager.until(&id, "active").await;
    let manager_id = manager.get("/api/v1/host").await.json()["manager_id"].as_str().unwrap().to_owned();
    let labels = [
        ("oak.manager.id", manager_id.as_str()),
        ("oak.installation.id", id.as_str()),
        ("oak.create", "x"),
        ("oak.service.name", "web"),
    ];
    let foreign = manager.engine.foreign_container("copied", &labels, &[]);
    let listed = manager.get("/api/v1/host").await.json()["foreign"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(
        (&listed[0]["kind"], &listed[0]["name"], &listed[0]["id"]),
        (&json!("container"), &json!("copied"), &json!(foreign))
    );
    assert!(listed[0]["reason"].as_str().unwrap().contains("does not prove"));

    let adopt = async |object: &str, installation: &str| {
        let path = format!("/api/v1/host/foreign/{object}/adopt");
        manager.send(Method::POST, &path, Some(json!({"installation": installation}))).await
    };
    // Its place is taken by the one that runs.
    assert_eq!(adopt(&foreign, &id).await.status, 409);
    adopt("nothing", &id).await.refused(404, "not-found", &[]);
    adopt(&foreign, "6b00fc9223516c5e37bee27c").await.refused(404, "not-found", &[]);
    assert_eq!(adopt(&foreign, "nonsense").await.status, 422);
    assert!(manager.engine.by_name("copied").unwrap().running, "nobody touched it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_volume_is_deleted_unless_it_is_used_or_somebody_elses() {
    let manager = Manager::start().await;
    let remove =
        async |name: &str| manager.send(Method::DELETE, &format!("/api/v1/host/volumes/{name}"), None).await;
    remove("shop_data").await.refused(404, "not-found", &["shop_data"]);
    let release = manager.publish(addon("shop", json!({"volumes": ["data:/d", "more:/m"]}))).await;
    let id = manager.install(json!({"marketplace_id": release})).await.id();
    manager.until(&id, "active").await;
    remove("shop_data").await.refused(409, "in-use", &["`shop`", &id]);
    manager.send(Method::DELETE, &format!("/api/v1/addons/{id}?force=true"), None).await;
    manager.until_gone(&id).await;

    manager.engine.set_away(true);
    remove("shop_data").await.refused(503, "engine-unreachable", &["docker.host", "/readyz"]);
    manager.engine.set_away(false);
    assert_eq!(
        manager.get("/api/v1/host").await.json()["kept_volumes"].as_array().unwrap().len(),
        2,
        "it is still kept"
    );

    assert_eq!(remove("shop_data").await.status, 204);
    let names: Vec<String> =
        manager.engine.snapshot().volumes.into_iter().map(|volume| volume.name).collect();
    assert_eq!(names, ["shop_more"]);
    remove("shop_data").await.refused(404, "not-found", &[]);

    manager.engine.remove_volume_by_hand("shop_more");
    manager.engine.foreign_volume("shop_more", &[]);
    remove("shop_more").await.refused(409, "not-ours", &["shop_more"]);
    assert_eq!(manager.engine.snapshot().volumes.len(), 1, "somebody else's stays");
}
