//! `POST /api/v1/addons`: what is installed, and everything that is refused.

use std::collections::BTreeSet;

use reqwest::{Method, header};
use serde_json::json;
use wiremock::ResponseTemplate;

use crate::manager::{Manager, addon, read};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_installed_and_comes_up() {
    let manager = Manager::start().await;
    let release = manager.publish(addon("shop", json!({"ports": {"80": "8080"}}))).await;
    let answer = manager.install(json!({"marketplace_id": release})).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let id = answer.id();
    assert_eq!(answer.header("location"), format!("/api/v1/addons/{id}"));
    assert_eq!(answer.json()["status"], "installing");

    let active = manager.until(&id, "active").await;
    assert_eq!(active["marketplace_id"], release.as_str());
    assert_eq!(
        (&active["name"], &active["addon"], &active["version"]),
        (&json!("shop"), &json!("shop"), &json!("1.0.0"))
    );
    assert_eq!(active["desired"], "active");
    let state = &active["service_states"][0];
    assert_eq!(
        (&state["service_name"], &state["state"], &state["container"]),
        (&json!("web"), &json!("running"), &json!("shop-web"))
    );
    assert_eq!(state["ports"], json!([{"container": "80/tcp", "host_port": 8080}]));
    assert!(state["image_digest"].as_str().unwrap().starts_with("sha256:"));
    assert!(manager.engine.by_name("shop-web").unwrap().running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_named_by_its_addon_and_a_range() {
    let manager = Manager::start().await;
    let release = manager.publish(addon("shop", json!({}))).await;
    let body = manager.market_release(&release).await;
    manager.serve("/api/v1/marketplace/by-name/shop", ResponseTemplate::new(200).set_body_json(body)).await;
    for (body, sent) in [
        (json!({"addon": "shop", "name": "a"}), "*"),
        (json!({"addon": "shop", "version": "^1", "name": "b"}), "^1"),
        (json!({"addon": "shop", "version": "1.0.0", "name": "c"}), "=1.0.0"),
    ] {
        let answer = manager.install(body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert_eq!(answer.json()["marketplace_id"], release.as_str());
        let requests = manager.market.received_requests().await.unwrap();
        let asked = requests.iter().rev().find(|request| request.url.path().contains("by-name")).unwrap();
        let version = asked.url.query_pairs().find(|(key, _)| key == "version").unwrap().1.into_owned();
        assert_eq!(version, sent, "a plain version is that version, not a range");
    }
    manager.install(json!({"addon": "nobody"})).await.refused(404, "not-found", &["nobody"]);
    // One that waits for a reviewer is told as by its id.
    let waiting = "held 1.0.0 is under_review: a reviewer decides";
    let problem = json!({"status": 404, "code": "not-found", "detail": "there is none",
        "errors": [{"path": "", "rule": "release-not-approved", "message": waiting}]});
    let answer = ResponseTemplate::new(404).set_body_json(problem);
    manager.serve("/api/v1/marketplace/by-name/held", answer).await;
    manager.install(json!({"addon": "held"})).await.refused(409, "release-not-approved", &[waiting]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_addon_is_installed_twice_under_two_names() {
    let manager = Manager::start().await;
    let release = manager.publish(addon("shop", json!({"volumes": ["data:/d"], "ports": {"80": ""}}))).await;
    let first = manager.install(json!({"marketplace_id": release})).await;
    let again = manager.install(json!({"marketplace_id": release})).await;
    again.refused(409, "already-installed", &[&first.id(), "another `name`"]);
    assert_eq!(again.header("location"), format!("/api/v1/addons/{}", first.id()));
    let second = manager.install(json!({"marketplace_id": release, "name": "shop2"})).await;
    assert_eq!((second.status, second.json()["name"].clone()), (201, json!("shop2")));
    let port =
        |answer: serde_json::Value| answer["service_states"][0]["ports"][0]["host_port"].as_u64().unwrap();
    let ports =
        [port(manager.until(&first.id(), "active").await), port(manager.until(&second.id(), "active").await)];
    assert_eq!(ports, [20_000, 20_001], "free ports are chosen once each");
    manager.install(json!({"marketplace_id": release, "name": "SHOP_2"})).await;
    manager.install(json!({"marketplace_id": release, "name": "Shop"})).await.refused(
        409,
        "already-installed",
        &[&first.id()],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_equal_installs_at_once_make_one() {
    let manager = Manager::start().await;
    let release = manager.publish(addon("shop", json!({"ports": {"80": "8080"}}))).await;
    let installs = (0..8).map(|_| manager.install(json!({"marketplace_id": release})));
    let answers = futures_util::future::join_all(installs).await;
    let made: BTreeSet<String> =
        answers.iter().filter(|answer| answer.status == 201).map(crate::manager::Answer::id).collect();
    assert_eq!(made.len(), 1);
    let id = made.first().unwrap();
    let refused = answers.iter().filter(|answer| answer.status != 201);
    assert_eq!(refused.inspect(|answer| answer.refused(409, "already-installed", &[id])).count(), 7);
    assert_eq!(manager.get("/api/v1/addons").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_approved_is_not_installed() {
    let manager = Manager::start().await;
    for (status, code) in [
        ("under_review", "release-not-approved"),
        ("verification_failed", "release-not-approved"),
        ("rejected", "release-not-approved"),
        ("yanked", "release-yanked"),
        ("revoked", "release-revoked"),
    ] {
        let release = manager
            .publish_with(addon("shop", json!({})), json!({"status": status, "reason": "it leaks"}))
            .await;
        manager.install(json!({"marketplace_id": release})).await.refused(409, code, &[status, "it leaks"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_marketplace_does_not_have_is_not_found() {
    let manager = Manager::start().await;
    for id in ["6b00fc9223516c5e37bee27c", "nonsense", ""] {
        manager.install(json!({"marketplace_id": id})).await.refused(
            404,
            "not-found",
            &["the marketplace has no"],
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marketplace_that_is_away_or_answers_nonsense_is_told_apart() {
    let manager = Manager::start().await;
    let answers = |template: ResponseTemplate| async {
        let id = format!("{:024x}", u64::from_be_bytes(service_kit::random::bytes::<8>()));
        manager.serve(&format!("/api/v1/marketplace/addons/{id}"), template).await;
        manager.install(json!({"marketplace_id": id})).await
    };
    let down = answers(ResponseTemplate::new(503).insert_header("retry-after", "7")).await;
    down.refused(503, "marketplace-unreachable", &[]);
    assert_eq!(down.header("retry-after"), "7");
    answers(ResponseTemplate::new(500)).await.refused(503, "marketplace-unreachable", &[]);
    answers(ResponseTemplate::new(200).set_body_string("<html>")).await.refused(
        502,
        "marketplace-unusable",
        &[],
    );
    answers(ResponseTemplate::new(200).set_body_json(json!({"hello": 1}))).await.refused(
        502,
        "marketplace-unusable",
        &[],
    );
    answers(ResponseTemplate::new(401)).await.refused(
        502,
        "marketplace-unusable",
        &["marketplace.token_file"],
    );

    let nobody =
        Manager::start_with(|config| config.marketplace.url = "http://127.0.0.1:9".parse().unwrap()).await;
    let away = nobody.install(json!({"marketplace_id": "6b00fc9223516c5e37bee27c"})).await;
    away.refused(503, "marketplace-unreachable", &[]);
    assert!(!away.header("retry-after").is_empty());
    assert_eq!(nobody.get("/api/v1/addons").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_descriptor_must_be_what_was_reviewed() {
    let manager = Manager::start().await;
    let document = addon("shop", json!({}));
    let release = manager.publish(document.clone()).await;
    let altered = read(&addon("shop", json!({"privileged": true}))).canonical();
    manager.market.reset().await;
    let body = manager.release_of(&release, &document);
    manager
        .serve(
            &format!("/api/v1/marketplace/addons/{release}"),
            ResponseTemplate::new(200).set_body_json(body),
        )
        .await;
    let at = format!("/api/v1/marketplace/addons/{release}/descriptor");
    manager.serve(&at, ResponseTemplate::new(200).set_body_raw(altered, "application/json")).await;
    manager.install(json!({"marketplace_id": release})).await.refused(
        502,
        "marketplace-unusable",
        &["digest"],
    );
    assert_eq!(manager.get("/api/v1/addons").await.json(), json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dangerous_rights_are_named_by_somebody_who_may_consent() {
    let mut manager = Manager::start().await;
    let document = addon("shop", json!({"volumes": ["/srv/films:/films:ro"], "network_mode": "host"}));
    let release = manager.publish(document).await;
    let refused = manager.install(json!({"marketplace_id": release})).await;
    refused.refused(403, "rights-required", &["host-network", "host-path:/srv/films:ro"]);
    let missing = refused.json()["errors"].as_array().unwrap().len();
    assert_eq!(missing, 2);
    let half = manager.install(json!({"marketplace_id": release, "rights": ["host-network"]})).await;
    half.refused(403, "rights-required", &["host-path:/srv/films:ro"]);
    assert!(!half.json()["detail"].as_str().unwrap().contains("host-network"));

    let rights = json!(["host-network", "host-path:/srv/films:ro"]);
    let admin = manager.take_token(&["operate"]).await;
    let lacking = manager.install(json!({"marketplace_id": release, "rights": rights})).await;
    assert_eq!((lacking.status, lacking.text.contains("consent")), (403, true), "{}", lacking.text);
    manager.with_token(Some(admin));
    let admin = manager.take_token(&["operate", "consent"]).await;
    let answer = manager.install(json!({"marketplace_id": release, "rights": rights})).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    manager.with_token(Some(admin));
    let stored = manager.app.storage().installation(answer.id().parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((stored.consent.by.as_str(), stored.consent.rights.len()), ("somebody", 2));
    assert_eq!(stored.consent.digest, stored.release_digest.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_later_versions_do_is_named() {
    let manager = Manager::start().await;
    let mut with_parameters = addon("shop", json!({"environment": {"P": "${p}"}}));
    with_parameters["parameters"] = json!([{"name": "p", "type": "string", "default": "x"}]);
    let release = manager.publish(with_parameters).await;
    manager.install(json!({"marketplace_id": release})).await.refused(
        422,
        "not-supported",
        &["`parameters`", "/parameters"],
    );
    let release = manager.publish(addon("plug", json!({"replaces": "scheduler"}))).await;
    manager.install(json!({"marketplace_id": release})).await.refused(
        422,
        "not-supported",
        &["`replaces`", "/services/0/replaces"],
    );
    let release = manager.publish(addon("plain", json!({}))).await;
    let body = json!({"marketplace_id": release, "parameters": {"a": 1}});
    manager.install(body).await.refused(422, "not-supported", &["`parameters`"]);
    let answer = manager.install(json!({"marketplace_id": release, "parameters": {}})).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_of_another_platform_is_refused() {
    let manager = Manager::start().await;
    let mut document = addon("shop", json!({}));
    document["requires"] = json!({"platforms": ["linux/riscv64"]});
    let release = manager.publish(document).await;
    manager.install(json!({"marketplace_id": release})).await.refused(
        409,
        "platform",
        &["linux/riscv64", "linux/amd64"],
    );

    let document = addon("armed", json!({}));
    let body = json!({"pins": [{"service_name": "web", "image": "registry.example/web:1", "platforms": ["linux/arm64"], "bytes": 1,
                                "digest": format!("sha256:{}", "a".repeat(64))}]});
    let release = manager.publish_with(document, body).await;
    manager.install(json!({"marketplace_id": release})).await.refused(
        409,
        "platform",
        &["linux/arm64", "linux/amd64"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_required_addon_has_to_be_active() {
    let manager = Manager::start().await;
    let broker = manager.publish(addon("broker", json!({}))).await;
    let body = json!([manager.market_release(&broker).await]);
    manager.serve("/api/v1/marketplace/by-name/broker", ResponseTemplate::new(200).set_body_json(body)).await;
    let mut document = addon("shop", json!({}));
    document["requires"] = json!({"addons": [{"name": "broker", "version": "^1"}]});
    let shop = manager.publish(document).await;
    let refused = manager.install(json!({"marketplace_id": shop})).await;
    refused.refused(409, "requires-addons", &["`broker` ^1", &broker, "broker 1.0.0"]);
    let broker = manager.install(json!({"marketplace_id": broker})).await.id();
    let shop = manager.install(json!({"marketplace_id": shop})).await;
    assert_eq!(shop.status, 201, "{}", shop.text);

    let needed = manager.send(Method::DELETE, &format!("/api/v1/addons/{broker}"), None).await;
    needed.refused(409, "required-by-others", &["`shop`", &shop.id(), "force"]);
    let forced = manager.send(Method::DELETE, &format!("/api/v1/addons/{broker}?force=true"), None).await;
    assert_eq!(forced.status, 204, "{}", forced.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_away_is_waited_for() {
    let manager = Manager::start().await;
    let release = manager.publish(addon("shop", json!({}))).await;
    manager.engine.set_away(true);
    let away = manager.install(json!({"marketplace_id": release})).await;
    away.refused(503, "engine-unreachable", &[]);
    assert!(!away.header("retry-after").is_empty());
    assert_eq!(manager.get("/api/v1/addons").await.json(), json!([]), "nothing was written");
    manager.engine.set_away(false);
    assert_eq!(manager.install(json!({"marketplace_id": release})).await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_pinned_is_installed_only_where_that_is_allowed() {
    let unpinned = json!({"digest": null, "pins": null});
    let strict = Manager::start().await;
    let release = strict.publish_with(addon("shop", json!({})), unpinned.clone()).await;
    strict.install(json!({"marketplace_id": release})).await.refused(
        409,
        "release-unpinned",
        &["marketplace.allow_unpinned"],
    );

    let lenient = Manager::start_with(|config| config.marketplace.allow_unpinned = true).await;
    let release = lenient.publish_with(addon("shop", json!({})), unpinned).await;
    let unknown = lenient.install(json!({"marketplace_id": release})).await;
    unknown.refused(409, "engine-refuses", &["no such image"]);
    let digest = format!("sha256:{}", "b".repeat(64));
    lenient.engine.publish(&digest, &[], false);
    lenient.engine.publish_name("registry.example/web:1", &digest);
    let answer = lenient.install(json!({"marketplace_id": release})).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.json()["digest"], read(&addon("shop", json!({}))).digest().to_string());
    let active = lenient.until(&answer.id(), "active").await;
    assert_eq!(
        active["service_states"][0]["image_digest"],
        digest.as_str(),
        "pinned to what the registry had at install"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_gone_is_needed_on_the_host() {
    let manager = Manager::start().await;
    let since = json!({"image_missing_since": "2026-11-21T10:00:00Z"});
    let document = addon("shop", json!({"image": "registry.example/gone:1"}));
    let release = manager.publish_with(document, since).await;
    manager.install(json!({"marketplace_id": release})).await.refused(
        409,
        "image-missing",
        &["registry.example/gone:1"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_wrong_say_where() {
    let manager = Manager::start().await;
    for (body, status, code, part) in [
        ("{\n  \"marketplace_id\": ", 400, "malformed-json", "\"line\":"),
        ("[]", 422, "invalid-body", "object"),
        ("{}", 422, "invalid-request", "/marketplace_id"),
        (r#"{"marketplace_id": 7}"#, 422, "invalid-body", "/marketplace_id"),
        (r#"{"marketplaceid": "x"}"#, 422, "invalid-body", "marketplace_id"),
        (r#"{"marketplace_id": "6b00fc9223516c5e37bee27c", "name": "-x-"}"#, 422, "invalid-request", "/name"),
        (
            r#"{"marketplace_id": "6b00fc9223516c5e37bee27c", "volumes": "some"}"#,
            422,
            "invalid-body",
            "/volumes",
        ),
        (r#"{"marketplace_id": "a", "marketplace_id": "b"}"#, 422, "invalid-body", "repeated-key"),
    ] {
        let request = manager
            .request(Method::POST, "/api/v1/addons")
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        let answer = manager.send_raw(request).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
        assert!(answer.text.contains(part), "{body}: {part} is not in {}", answer.text);
        assert_eq!(answer.json()["code"], code, "{body}: {}", answer.text);
    }
    let text =
        manager.request(Method::POST, "/api/v1/addons").header(header::CONTENT_TYPE, "text/plain").body("{}");
    assert_eq!(manager.send_raw(text).await.status, 415);
    let long = manager
        .request(Method::POST, "/api/v1/addons")
        .header(header::CONTENT_TYPE, "application/json")
        .body("x".repeat(300 << 10));
    assert_eq!(manager.send_raw(long).await.status, 413);
}
