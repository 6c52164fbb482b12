//! Oakestra's wire format, row by row: what its dashboard, its monitor and curl from its manual rely on.

use reqwest::{Method, header};
use serde_json::{Value, json};
use service_kit::openapi::gaps;

use crate::manager::{Manager, addon};

/// The form that Oakestra's dashboard sends: everything is there, most of it empty.
fn form() -> Value {
    json!({"name": "probe-min", "networks": [{"name": "oakestra", "driver": "bridge", "enable_ipv6": false}],
           "volumes": [{"name": "data", "driver": "bridge", "driver_opts": {}, "labels": {}}],
           "services": [{"service_name": "probe_a", "image": "registry.example/busybox:1", "command": "", "environment": {}, "labels": {},
                         "networks": ["oakestra"], "ports": {"80": "10080"}, "volumes": ["data:/d"]}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_has_the_members_that_oakestras_clients_read() {
    let manager = Manager::start().await;
    let id = manager.installed(form()).await;
    let active = manager.until(&id, "active").await;
    let answer = manager.get(&format!("/api/v1/addons/{id}")).await;
    assert_eq!(answer.header("content-type"), "application/json");
    let keys: Vec<&str> = active.as_object().unwrap().keys().map(String::as_str).collect();
    for key in [
        "_id",
        "marketplace_id",
        "name",
        "description",
        "services",
        "volumes",
        "networks",
        "status",
        "status_details",
    ] {
        assert!(keys.contains(&key), "{key} is not in {keys:?}");
    }
    assert_eq!(active["description"], "");
    let service = &active["services"][0];
    assert_eq!(
        *service,
        json!({"service_name": "probe_a", "image": "registry.example/busybox:1", "environment": {}, "labels": {}, "networks": ["oakestra"],
               "ports": {"80": "10080"}, "volumes": ["data:/d"]}),
        "labels and networks are always there, nothing is null"
    );
    let volume: Vec<&String> = active["volumes"][0].as_object().unwrap().keys().collect();
    assert!(
        volume.iter().all(|key| ["name", "driver", "driver_opts", "labels"].contains(&key.as_str())),
        "{volume:?}"
    );
    assert_eq!(active["volumes"][0]["driver"], "local");
    let network: Vec<&String> = active["networks"][0].as_object().unwrap().keys().collect();
    assert!(
        network.iter().all(|key| ["name", "driver", "enable_ipv6"].contains(&key.as_str())),
        "{network:?}"
    );
    assert_eq!(active["status_details"], json!({}));
    assert!(active.get("logs").is_none(), "nothing failed");
    // The list has the whole of it: the dashboard's dialog reads nothing else.
    let listed = manager.get("/api/v1/addons").await.json()[0].clone();
    for key in ["_id", "services", "volumes", "networks", "status"] {
        assert_eq!(listed[key], active[key]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flow_of_oakestras_manual() {
    let manager = Manager::start().await;
    let release = manager.publish(form()).await;
    let installed =
        manager.send(Method::POST, "/api/v1/addons/", Some(json!({"marketplace_id": release}))).await;
    assert_eq!((installed.status, installed.json()["status"].as_str()), (201, Some("installing")));
    let id = installed.id();
    assert!(id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()));
    manager.until(&id, "active").await;
    assert_eq!(manager.install(json!({"marketplace_id": release})).await.status, 409);
    let running = manager.get("/api/v1/addons?status=active").await.json();
    assert_eq!(running.as_array().unwrap().len(), 1, "what the dashboard's filter asks for");
    let first = manager.send(Method::DELETE, &format!("/api/v1/addons/{id}"), None).await;
    assert_eq!((first.status, first.header("content-type")), (200, "application/json"));
    assert!(["disabling", "disabled"].contains(&first.json()["status"].as_str().unwrap()));
    let again = manager.send(Method::DELETE, &format!("/api/v1/addons/{id}"), None).await;
    assert!([200, 204].contains(&again.status), "also when already so");
    if again.status == 200 {
        manager.until(&id, "disabled").await;
        assert_eq!(manager.send(Method::DELETE, &format!("/api/v1/addons/{id}"), None).await.status, 204);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trailing_slash_and_the_case_of_an_id_make_no_difference_and_aliases_are_other_names() {
    let manager = Manager::start().await;
    let release = manager.publish(addon("shop", json!({}))).await;
    let id = manager
        .send(Method::POST, "/api/addons/install/", Some(json!({"marketplace_id": release})))
        .await
        .id();
    manager.until(&id, "active").await;
    for path in [
        format!("/api/v1/addons/{id}"),
        format!("/api/v1/addons/{id}/"),
        format!("/api/v1/addons/{}", id.to_uppercase()),
        format!("/api/addons/{id}"),
        format!("/api/addons/{id}/"),
    ] {
        let answer = manager.get(&path).await;
        assert_eq!((answer.status, answer.id()), (200, id.clone()), "{path}");
    }
    for path in
        ["/api/v1/addons", "/api/v1/addons/", "/api/addons", "/api/addons/", "/api/v1/addons/?status=active"]
    {
        assert_eq!(manager.get(path).await.json()[0]["_id"], id.as_str(), "{path}");
    }
    let release = manager.publish(addon("other", json!({}))).await;
    assert_eq!(
        manager
            .send(Method::POST, "/api/addons/install", Some(json!({"marketplace_id": release})))
            .await
            .status,
        201
    );
    assert_eq!(manager.get("//api/v1/addons").await.status, 308);
    assert_eq!(manager.get("/api/v1%2faddons").await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_every_service_of_oakestra_answers() {
    let manager = Manager::start().await;
    let root = manager.get("/").await;
    assert_eq!((root.status, root.text.as_str()), (200, "ok"));
    assert!(root.header("content-type").starts_with("text/html"));
    let head = manager.send(Method::HEAD, "/api/v1/addons", None).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    let options = manager.send(Method::OPTIONS, "/api/v1/addons", None).await;
    assert_eq!((options.status, options.text.as_str()), (200, ""));
    assert!(options.header("allow").contains("POST"));
    let method = manager.send(Method::PUT, "/api/v1/addons", None).await;
    method.refused(405, "method-not-allowed", &[]);
    assert!(method.header("allow").contains("GET"));
    manager.get("/api/v1/nothing").await.refused(404, "not-found", &[]);
    manager.get("/docs").await.refused(404, "not-found", &[]);
    let docs = manager.get("/api/docs").await;
    assert!([200, 301, 302, 307, 308].contains(&docs.status), "{}", docs.text);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(manager.get(path).await.status, 200, "{path}");
    }
    let document = manager.get("/docs/openapi.json").await.json();
    assert_eq!(
        (&document["info"]["title"], &document["openapi"]),
        (&json!("Addons Manager"), &json!("3.1.0"))
    );
    for path in
        ["/api/v1/addons", "/api/v1/addons/{id}", "/api/v1/host", "/api/addons/install", "/api/v1/tokens"]
    {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    assert!(document["paths"]["/api/addons/install"]["post"].is_object());
    assert_eq!(gaps(&document), [""; 0]);
    let metrics = manager.get("/metrics").await.text;
    for line in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(metrics.contains(&format!("# HELP {name} ")), "{name} is not explained");
        assert_ne!(kind, "summary", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_service_is_named_with_its_logs() {
    let manager = Manager::start().await;
    let mut document = addon("shop", json!({"restart": "no"}));
    document["services"]
        .as_array_mut()
        .unwrap()
        .push(json!({"service_name": "good", "image": "registry.example/good:1"}));
    let id = manager.installed(document).await;
    manager.until(&id, "active").await;
    manager.engine.exit(&manager.engine.id_of("shop-web"), 3);
    manager.until(&id, "partially_active").await;
    // They are read from the engine after the status is known.
    let failed = manager
        .eventually("the logs are there", async || {
            let answer = manager.get(&format!("/api/v1/addons/{id}")).await.json();
            if answer["logs"].is_string() { Ok(answer) } else { Err(answer.to_string()) }
        })
        .await;
    assert_eq!(failed["status_details"], json!({"failed_services": ["web"]}));
    assert!(failed["logs"].as_str().unwrap().starts_with("Logs for container 'shop-web':\n"), "{failed}");
    let state = failed["service_states"]
        .as_array()
        .unwrap()
        .iter()
        .find(|state| state["service_name"] == "web")
        .unwrap();
    assert_eq!((&state["state"], &state["exit_code"]), (&json!("failed"), &json!(3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_open_mode_a_page_of_the_configured_origin_can_do_everything() {
    let manager = Manager::start_with(|config| {
        config.auth.mode = service_kit::auth::AuthMode::Open;
        config.server.0.cors_origins = vec!["http://dashboard.example:11103".to_owned()];
    })
    .await;
    let from = |origin: &str, method: Method, path: &str| {
        manager.request(method, path).header(header::ORIGIN, origin.to_owned())
    };
    let listed = from("http://dashboard.example:11103", Method::GET, "/api/v1/addons").send().await.unwrap();
    assert_eq!(listed.headers()["access-control-allow-origin"], "http://dashboard.example:11103");
    let preflight =
        from("http://dashboard.example:11103", Method::OPTIONS, "/api/v1/addons/6b00fc9223516c5e37bee27c")
            .header("access-control-request-method", "PATCH")
            .header("access-control-request-headers", "content-type")
            .send()
            .await
            .unwrap();
    assert!(preflight.status().is_success());
    assert!(preflight.headers()["access-control-allow-methods"].to_str().unwrap().contains("PATCH"));
    let error = from("http://dashboard.example:11103", Method::GET, "/api/v1/addons/x").send().await.unwrap();
    assert_eq!(
        (error.status().as_u16(), error.headers().contains_key("access-control-allow-origin")),
        (404, true)
    );
    let stranger = from("http://evil.example", Method::GET, "/api/v1/addons").send().await.unwrap();
    assert!(!stranger.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_nothing_but_what_is_public() {
    let mut manager = Manager::start().await;
    let admin = manager.take_token(&["read"]).await;
    assert_eq!(manager.get("/api/v1/addons").await.status, 200);
    for (method, path) in [
        (Method::POST, "/api/v1/addons".to_owned()),
        (Method::PATCH, "/api/v1/addons/6b00fc9223516c5e37bee27c".to_owned()),
        (Method::DELETE, "/api/v1/addons/6b00fc9223516c5e37bee27c".to_owned()),
        (Method::POST, "/api/v1/addons/6b00fc9223516c5e37bee27c/restart".to_owned()),
        (Method::POST, "/api/v1/host/foreign/x/adopt".to_owned()),
        (Method::DELETE, "/api/v1/host/volumes/x".to_owned()),
        (Method::GET, "/api/v1/tokens".to_owned()),
    ] {
        let answer = manager.send(method.clone(), &path, Some(json!({}))).await;
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text);
    }
    manager.with_token(None);
    for path in ["/api/v1/addons", "/api/addons", "/api/v1/host", "/api/v1/addons/x/why"] {
        assert_eq!(manager.get(path).await.status, 401, "{path}");
    }
    assert_eq!(manager.install(json!({})).await.status, 401);
    assert_eq!(manager.get("/").await.status, 200);
    manager.with_token(Some(admin));
    assert_eq!(manager.get("/api/v1/tokens").await.status, 200);
}
