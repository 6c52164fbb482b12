//! `GET /api/v1/addons` and what hangs below one installation.

use reqwest::Method;
use serde_json::{Value, json};

use crate::manager::{Manager, addon};

fn names(answer: &Value) -> Vec<&str> {
    answer.as_array().unwrap().iter().map(|installation| installation["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_filtered_and_paged() {
    let manager = Manager::start().await;
    for name in ["a", "b", "c"] {
        let id = manager.installed(addon(name, json!({}))).await;
        manager.until(&id, "active").await;
    }
    let get = async |query: &str| manager.get(&format!("/api/v1/addons{query}")).await;
    assert_eq!(names(&get("").await.json()), ["a", "b", "c"]);
    assert_eq!(names(&get("?status=active").await.json()).len(), 3);
    assert_eq!(get("?status=disabled").await.json(), json!([]));
    assert_eq!(get("?status=dancing").await.json(), json!([]), "an unknown status is no fault");
    assert_eq!(names(&get("?name=b").await.json()), ["b"]);
    assert_eq!(get("").await.header("link"), "");

    let first = get("?limit=2&status=active").await;
    assert_eq!(names(&first.json()), ["a", "b"]);
    let link = first.header("link").to_owned();
    let next = link.strip_prefix('<').unwrap().split_once(">; rel=\"next\"").unwrap().0.to_owned();
    // A cursor stays good while entries go.
    let id = first.json()[1]["_id"].as_str().unwrap().to_owned();
    assert_eq!(
        manager.send(Method::DELETE, &format!("/api/v1/addons/{id}?force=true"), None).await.status,
        204
    );
    let second = manager.get(&next).await;
    assert_eq!((names(&second.json()), second.header("link")), (vec!["c"], ""));
    get("?cursor=x").await.refused(400, "bad-query", &["Link"]);
    get("?limit=0").await.refused(400, "bad-query", &["limit"]);
    assert_eq!(get("?limit=many").await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_events_and_logs_of_an_installation() {
    let manager = Manager::start().await;
    let id = manager.installed(addon("shop", json!({}))).await;
    let active = manager.until(&id, "active").await;
    let below = async |path: &str| manager.get(&format!("/api/v1/addons/{id}/{path}")).await;

    let revisions = below("revisions").await.json();
    assert_eq!(
        (&revisions[0]["revision"], &revisions[0]["current"], &revisions[0]["version"]),
        (&json!(1), &json!(true), &json!("1.0.0"))
    );
    assert_eq!(revisions[0]["digest"], active["digest"]);

    let why = below("why").await.json();
    let entries = why.as_array().unwrap();
    assert!(entries.iter().any(|entry| entry["service_name"] == "web" && entry["result"] == "done"), "{why}");
    let first = entries.last().unwrap();
    assert_eq!((&first["operation"], &first["cause"]), (&json!("install"), &json!("admin asked for it")));
    assert!(entries.iter().all(|entry| entry["at"].is_string()
        && entry["cause"].is_string()
        && entry["operation"].is_string()));
    assert_eq!(below("why?limit=1").await.json().as_array().unwrap().len(), 1);
    assert!(
        below("why?service=web")
            .await
            .json()
            .as_array()
            .unwrap()
            .iter()
            .all(|entry| entry["service_name"] == "web")
    );
    assert_eq!(below("why?limit=0").await.status, 400);

    let logs = below("logs").await;
    assert_eq!((logs.status, logs.header("content-type")), (200, "text/plain; charset=utf-8"));
    assert!(
        logs.text.contains("==> web <==") && logs.text.contains("the last 100 lines of shop-web"),
        "{}",
        logs.text
    );
    assert_eq!(below("logs?service=web&tail=5").await.text, "the last 5 lines of shop-web\n");
    below("logs?service=nobody").await.refused(404, "not-found", &["`nobody`"]);
    assert_eq!(below("logs?tail=0").await.status, 400);
    for path in ["revisions", "why", "logs"] {
        assert_eq!(manager.get(&format!("/api/v1/addons/6b00fc9223516c5e37bee27c/{path}")).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarting_starts_every_service_afresh() {
    let manager = Manager::start().await;
    let id = manager.installed(addon("shop", json!({}))).await;
    manager.until(&id, "active").await;
    let started = manager.engine.by_name("shop-web").unwrap().started_at;
    let restart = async || manager.send(Method::POST, &format!("/api/v1/addons/{id}/restart"), None).await;
    let answer = restart().await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    manager
        .eventually("it was started again", async || match manager.engine.by_name("shop-web") {
            Some(container) if container.running && container.started_at != started => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    manager.send(Method::PATCH, &format!("/api/v1/addons/{id}"), Some(json!({"status": "disabled"}))).await;
    restart().await.refused(409, "disabled", &["PATCH"]);
    let nobody = manager.send(Method::POST, "/api/v1/addons/6b00fc9223516c5e37bee27c/restart", None).await;
    nobody.refused(404, "not-found", &[]);
}
