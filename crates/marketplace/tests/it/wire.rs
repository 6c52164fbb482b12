//! What Oakestra's clients rely on: the record of its services, row by row, in `auth.mode = "open"`.

use reqwest::Method;
use serde_json::{Value, json};
use service_kit::auth::AuthMode;
use service_kit::openapi::gaps;

use crate::market::{ADDONS, Market, document};
use crate::registry::Registry;

async fn open(registry: &Registry) -> Market {
    Market::start(|config| {
        registry.allow(config);
        config.auth.mode = AuthMode::Open;
        config.server.cors_origins = vec!["http://dashboard.example:11103".to_owned()];
    })
    .await
}

async fn post(market: &Market, document: &Value) -> crate::market::Answer {
    market.send(Method::POST, ADDONS, None, Some(serde_json::to_vec(document).unwrap())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_minimal_document_has_the_fields_that_oakestra_fills_in() {
    let registry = Registry::start().await;
    let image = registry.push("busybox", "1").await.image;
    let market = open(&registry).await;
    let body = json!({"name": "probe-min", "services": [{"service_name": "probe_a", "image": image}]});
    let release = post(&market, &body).await.expect(201).json();
    assert_eq!(release["status"], "under_review");
    for field in ["networks", "volumes"] {
        assert_eq!(release[field], json!([]), "{release}");
    }
    let service = json!({"environment": {}, "image": image, "labels": {}, "networks": [], "ports": {},
        "service_name": "probe_a", "volumes": []});
    assert_eq!(release["services"], json!([service]));
    for absent in ["description", "command"] {
        assert!(release.get(absent).is_none() && release["services"][0].get(absent).is_none());
    }
    assert_eq!(release["publisher"], "anonymous");
    let approved = market.until(release["_id"].as_str().unwrap(), "approved").await;
    assert_eq!(approved["services"], release["services"]);
    let listed = market.get(&format!("{ADDONS}?name=probe-min")).await.expect(200).json();
    assert_eq!(listed, json!([approved]));
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_and_networks_carry_only_what_its_monitor_knows() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = open(&registry).await;
    let body = json!({"name": "addon-name", "networks": [{"name": "net", "enable_ipv6": "yes"}],
        "volumes": [{"name": "myvolume", "driver": "bridge"}],
        "services": [{"image": image, "service_name": "my_service", "networks": ["net"],
            "volumes": ["myvolume:/somevolume"], "ports": {"10007": 10007}, "environment": {"N": 1}}]});
    let release = post(&market, &body).await.expect(201).json();
    assert_eq!(
        release["volumes"],
        json!([{"name": "myvolume", "driver": "local", "driver_opts": {}, "labels": {}}])
    );
    assert_eq!(release["networks"], json!([{"name": "net", "driver": "bridge", "enable_ipv6": true}]));
    let service = &release["services"][0];
    assert_eq!(service["ports"], json!({"10007": "10007"}));
    assert_eq!(service["environment"], json!({"N": "1"}));
    assert_eq!(service["volumes"], json!(["myvolume:/somevolume"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_the_dashboard_is_accepted() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = open(&registry).await;
    let body = json!({"name": "my addon", "description": "", "networks": [{"name": "oakestra", "enable_ipv6": false}],
        "volumes": [{"name": "v", "driver": "local", "driver_opts": {}, "labels": {}}],
        "services": [{"image": image, "service_name": "s", "command": "", "environment": {}, "labels": {},
            "networks": ["oakestra"], "ports": {}, "volumes": ["v:/v"]}]});
    let release = post(&market, &body).await.expect(201).json();
    assert_eq!(release["name"], "my-addon");
    assert!(release["services"][0].get("command").is_none());
    market.until(release["_id"].as_str().unwrap(), "approved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_answers_204_and_then_404() {
    let registry = Registry::start().await;
    let market = open(&registry).await;
    let id = post(&market, &document("probe", "registry.invalid/a:1")).await.json()["_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("{ADDONS}/{}", id.to_uppercase());
    let deleted = market.send(Method::DELETE, &path, None, None).await.expect(204);
    assert_eq!(deleted.text, "");
    let problem = market.send(Method::DELETE, &path, None, None).await.problem(404, "not-found");
    assert_eq!(problem["message"], "Addon not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn slashes_methods_and_aliases_are_as_recorded() {
    let registry = Registry::start().await;
    let market = open(&registry).await;
    let id = post(&market, &document("probe", "registry.invalid/a:1")).await.json()["_id"]
        .as_str()
        .unwrap()
        .to_owned();
    for path in [
        format!("{ADDONS}/"),
        format!("{ADDONS}/{id}/"),
        format!("/api/addons/{id}"),
        "/api/addons".to_owned(),
    ] {
        market.get(&path).await.expect(200);
        assert_eq!(market.send(Method::HEAD, &path, None, None).await.expect(200).text, "");
        let options = market.send(Method::OPTIONS, &path, None, None).await.expect(200);
        assert!(options.header("allow").contains("GET"), "{path}");
    }
    let body = Some(serde_json::to_vec(&document("other", "registry.invalid/a:1")).unwrap());
    market.send(Method::POST, "/api/addons/", None, body).await.expect(201);
    assert_eq!(market.get("/").await.expect(200).text, "ok");
    market.send(Method::PATCH, ADDONS, None, None).await.problem(405, "method-not-allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_dashboard_may_call_from_its_origin_on_errors_too() {
    let registry = Registry::start().await;
    let market = open(&registry).await;
    let origin = "http://dashboard.example:11103";
    for (path, status) in [(ADDONS.to_owned(), 200), (format!("{ADDONS}/xyz"), 404)] {
        let answer =
            market.finish(market.request(Method::GET, &path).header("origin", origin)).await.expect(status);
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        assert!(answer.header("vary").contains("Origin"));
    }
    let preflight = market
        .request(Method::OPTIONS, ADDONS)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type");
    let answer = market.finish(preflight).await.expect(200);
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    assert_eq!(answer.header("access-control-allow-headers"), "content-type");
    let foreign =
        market.finish(market.request(Method::GET, ADDONS).header("origin", "http://evil.example")).await;
    assert_eq!(foreign.header("access-control-allow-origin"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_is_there() {
    let registry = Registry::start().await;
    let market = open(&registry).await;
    let openapi = market.get("/docs/openapi.json").await.expect(200).json();
    for path in [ADDONS, "/api/v1/marketplace/addons/{id}/approve", "/api/addons/{id}"] {
        assert!(openapi["paths"].get(path).is_some(), "{path}");
    }
    assert!(openapi["info"]["title"].as_str().unwrap().contains("Addon Marketplace"));
    assert_eq!(gaps(&openapi), [""; 0]);
    assert!(market.get("/api/docs/").await.expect(200).text.contains("swagger"));
    let ready = market.get("/readyz").await.expect(200).json();
    assert_eq!(ready["status"], "ready");
    let id = post(&market, &document("probe", &registry.image("missing:1"))).await.json()["_id"]
        .as_str()
        .unwrap()
        .to_owned();
    market.until(&id, "verification_failed").await;
    let metrics = market.get("/metrics").await.expect(200).text;
    for name in [
        "marketplace_publishes_total",
        "marketplace_verdicts_total",
        "marketplace_registry_requests_total",
        "marketplace_images_asked_total",
        "marketplace_queue_depth",
        "marketplace_verification_duration_seconds_bucket",
    ] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
    for line in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(metrics.contains(&format!("# HELP {name} ")), "{name} is not explained");
        assert_ne!(kind, "summary", "{name}");
    }
    market.stop().await;
}
