//! `/api/v1/audit`: every change that somebody asked for is in it, once, and nothing else.

use reqwest::Method;
use serde_json::{Value, json};

use crate::manager::{Manager, addon};

/// Action, account and subject of each row, the oldest first, without those about tokens.
async fn told(manager: &Manager) -> Vec<(String, String, String)> {
    let rows = manager.get("/api/v1/audit?limit=1000").await.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut rows: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (text(&row["action"]), text(&row["account"]), text(&row["subject"]["id"])))
        .filter(|(action, ..)| !action.starts_with("token.") && !action.starts_with("account."))
        .collect();
    rows.reverse();
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_asked_for_is_written_down_once() {
    let manager = Manager::start_with(|config| config.rollouts.settle_ms = 50).await;
    let send = async |method: Method, path: &str, body: Option<Value>| {
        let answer = manager.send(method, path, body).await;
        assert!(answer.status < 300, "{path}: {}", answer.text);
    };
    let document = addon("shop", json!({"volumes": ["data:/d"]}));
    let id = manager.installed(document.clone()).await;
    manager.until(&id, "active").await;
    let path = format!("/api/v1/addons/{id}");
    send(Method::POST, &format!("{path}/restart"), None).await;
    let mut newer = document;
    newer["version"] = json!("2.0.0");
    newer["services"][0]["image"] = json!("registry.example/web:2");
    let release = manager.publish(newer).await;
    for (call, body) in
        [("upgrade", json!({"marketplace_id": release})), ("rollback", json!({"revision": 1}))]
    {
        send(Method::POST, &format!("{path}/{call}"), Some(body)).await;
        manager
            .eventually("it is through", async || {
                let answer = manager.get(&path).await.json();
                let is_through = answer["rollout"]["phase"] == "done" && answer["status"] == "active";
                if is_through { Ok(()) } else { Err(answer.to_string()) }
            })
            .await;
    }
    // What changes nothing, and what is refused, is no row.
    send(Method::PATCH, &path, Some(json!({"status": "active"}))).await;
    manager.send(Method::POST, &format!("{path}/rollback"), Some(json!({"revision": 9}))).await.refused(
        422,
        "no-such-revision",
        &["9"],
    );
    send(Method::PATCH, &path, Some(json!({"status": "disabled"}))).await;
    manager.until(&id, "disabled").await;
    send(Method::PATCH, &path, Some(json!({"status": "active"}))).await;
    manager.until(&id, "active").await;
    send(Method::DELETE, &format!("{path}?force=true"), None).await;
    manager.until_gone(&id).await;
    send(Method::DELETE, "/api/v1/host/volumes/shop_data", None).await;

    let row = |action: &str, subject: &str| (action.to_owned(), "admin".to_owned(), subject.to_owned());
    let actions = ["install", "restart", "upgrade", "rollback", "disable", "enable", "uninstall"];
    let mut wanted: Vec<_> =
        actions.iter().map(|action| row(&format!("installation.{action}"), &id)).collect();
    wanted.push(row("volume.delete", "shop_data"));
    assert_eq!(told(&manager).await, wanted);

    let of = async |query: &str| manager.get(&format!("/api/v1/audit?{query}")).await.json();
    let upgrade = of("action=installation.upgrade").await;
    let detail = &upgrade[0]["detail"];
    assert_eq!(
        (&detail["name"], &detail["from"], &detail["to"], &detail["version"]),
        (&json!("shop"), &json!(1), &json!(2), &json!("2.0.0")),
        "{upgrade}"
    );
    assert!(upgrade[0]["request_id"].is_string() && upgrade[0]["token_id"].is_string(), "{upgrade}");
    let uninstall = of("action=installation.uninstall").await;
    assert_eq!(uninstall[0]["detail"]["volumes"], "keep", "{uninstall}");
    assert_eq!(of(&format!("subject={id}")).await.as_array().unwrap().len(), 7);
    assert_eq!(of("account=nobody").await, json!([]));
    let at = upgrade[0]["at"].as_str().unwrap();
    assert!(of(&format!("since={at}&subject={id}")).await.as_array().unwrap().len() >= 5);
    // Part by part it is the same.
    let mut found = Vec::new();
    let mut next = Some(format!("/api/v1/audit?limit=2&subject={id}"));
    while let Some(path) = next {
        let answer = manager.get(&path).await;
        found.extend(answer.json().as_array().unwrap().clone());
        let link = answer.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link.trim_start_matches('<').split('>').next().unwrap().to_owned());
    }
    assert_eq!(json!(found), of(&format!("subject={id}")).await);
    manager.get("/api/v1/audit?limit=0").await.refused(400, "bad-query", &["1 to 1000"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_for_administrators_of_every_addon() {
    let mut manager = Manager::start().await;
    let admin = manager.take_token(&["operate"]).await;
    manager.get("/api/v1/audit").await.refused(403, "missing-scope", &["admin"]);
    manager.with_token(Some(admin));
    let body = json!({"account": "ci", "scopes": ["admin"], "name_pattern": "mar*"});
    let made = manager.send(Method::POST, "/api/v1/tokens", Some(body)).await.json();
    manager.with_token(Some(made["token"].as_str().unwrap().to_owned()));
    manager.get("/api/v1/audit").await.refused(403, "name-not-allowed", &["mar*"]);
}
