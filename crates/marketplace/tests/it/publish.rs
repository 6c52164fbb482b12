//! Publishing: what becomes a release, what is refused, and who is faster.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::market::{ADDONS, Market, document};
use crate::registry::Registry;

const NOWHERE: &str = "registry.invalid/a:1";

fn versioned(name: &str, version: &str, description: &str) -> Value {
    let mut document = document(name, NOWHERE);
    document["version"] = version.into();
    document["description"] = description.into();
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_becomes_a_release_under_review() {
    let market = Market::start(|_| ()).await;
    let answer = market.publish(&document("probe", NOWHERE)).await.expect(201);
    let release = answer.json();
    let id = release["_id"].as_str().unwrap();
    assert_eq!(answer.header("location"), format!("{ADDONS}/{id}"));
    assert!(answer.header("content-type").starts_with("application/json"));
    assert_eq!(id.len(), 24);
    assert_eq!(release["status"], "under_review");
    assert_eq!(release["version"], "0.1.0");
    assert_eq!(release["publisher"], "admin");
    assert_eq!(market.release(id).await["digest"], release["digest"]);
    let row = market.app().storage().release(id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(
        (row.addon.as_str(), row.digest.to_string().as_str()),
        ("probe", release["digest"].as_str().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_safe_however_it_is_written() {
    let market = Market::start(|_| ()).await;
    let first = market.publish(&document("probe", NOWHERE)).await.expect(201).json();
    let reordered = format!(
        "{{ \"services\" : [ {{\"image\":\"{NOWHERE}\", \"restart\": \"always\", \"service_name\":\"a\"}} ],\n \"name\":\"probe\" }}"
    );
    let token = market.token("admin", &["publish"], None).await;
    let again =
        market.send(Method::POST, ADDONS, Some(&token), Some(reordered.into_bytes())).await.expect(200);
    assert_eq!(again.json()["_id"], first["_id"]);
    let fetched = market.release(first["_id"].as_str().unwrap()).await;
    assert_eq!(
        market.publish(&fetched).await.expect(200).json()["_id"],
        first["_id"],
        "what was fetched can be posted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_given_and_kept() {
    let market = Market::start(|_| ()).await;
    for (description, version) in [("a", "0.1.0"), ("b", "0.1.1")] {
        let mut document = document("probe", NOWHERE);
        document["description"] = description.into();
        assert_eq!(market.publish(&document).await.expect(201).json()["version"], version);
    }
    market.publish(&versioned("probe", "1.3.0-rc.1", "c")).await.expect(201);
    let problem = market.publish(&versioned("probe", "1.3.0-rc.1", "d")).await.problem(409, "version-taken");
    assert_eq!(problem["errors"][0]["path"], "/version");
    market.publish(&versioned("probe", "1.3.0-rc.1+build", "c")).await.problem(409, "version-taken");
    let mut next = document("probe", NOWHERE);
    next["description"] = "e".into();
    assert_eq!(market.publish(&next).await.expect(201).json()["version"], "1.3.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_version_is_not_given_again() {
    let market = Market::start(|_| ()).await;
    let id = market.published(&versioned("probe", "1.0.0", "x")).await;
    market.delete(&id).await.expect(204);
    market.get(&format!("{ADDONS}/{id}")).await.problem(404, "not-found");
    market.publish(&versioned("probe", "1.0.0", "y")).await.problem(409, "version-deleted");
    let again = market.published(&versioned("probe", "1.0.0", "x")).await;
    assert_ne!(again, id);
    market.delete(&again).await.expect(204);
    let mut next = document("probe", NOWHERE);
    next["description"] = "y".into();
    assert_eq!(market.publish(&next).await.expect(201).json()["version"], "1.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_spelling_of_a_name_is_taken() {
    let market = Market::start(|_| ()).await;
    market.published(&document("my-probe", NOWHERE)).await;
    for name in ["My-Probe", "my_probe", "my.probe"] {
        let problem = market.publish(&document(name, NOWHERE)).await.problem(409, "name-taken");
        assert_eq!(problem["errors"][0]["suggestion"], "my-probe");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_violation_comes_back_at_once() {
    let market = Market::start(|_| ()).await;
    let body = json!({"nmae": "x", "services": [{"service_name": "a b", "image": ""}]});
    let problem = market.publish(&body).await.problem(422, "invalid-descriptor");
    let errors = problem["errors"].as_array().unwrap();
    let paths: BTreeSet<&str> = errors.iter().map(|error| error["path"].as_str().unwrap()).collect();
    for path in ["/name", "/nmae", "/services/0/service_name", "/services/0/image"] {
        assert!(paths.contains(path), "{paths:?}");
    }
    assert!(errors.iter().all(|error| error["line"].is_u64() && error["rule"].is_string()));
    market.publish(&json!({})).await.problem(422, "invalid-descriptor");
    market.publish(&json!([])).await.problem(422, "invalid-descriptor");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_is_malformed_with_its_place() {
    let market = Market::start(|_| ()).await;
    let token = market.token("paul", &["publish"], None).await;
    for body in [&b"{\n  \"name\": }"[..], b"", b"\xef\xbb\xbf{}", b"{\"a\": \"\xff\"}", b"{\"a\": 1} x"] {
        let answer = market.send(Method::POST, ADDONS, Some(&token), Some(body.to_vec())).await;
        let problem = answer.problem(400, "malformed-json");
        assert!(problem["errors"][0]["line"].is_u64(), "{problem}");
    }
    let answer = market.send(Method::POST, ADDONS, Some(&token), Some(b"{\n  \"name\": }".to_vec())).await;
    assert_eq!(answer.json()["errors"][0]["line"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_bodies_and_other_types_are_refused() {
    let market = Market::start(|_| ()).await;
    let token = market.token("paul", &["publish"], None).await;
    let long = vec![b' '; (256 << 10) + 1];
    market.send(Method::POST, ADDONS, Some(&token), Some(long)).await.problem(413, "too-large");
    let request = market.request(Method::POST, ADDONS).bearer_auth(&token);
    market
        .finish(request.header("content-type", "text/plain").body("{}"))
        .await
        .problem(415, "unsupported-media-type");
    let request = market.request(Method::POST, ADDONS).bearer_auth(&token);
    let body = serde_json::to_vec(&document("typed", NOWHERE)).unwrap();
    market
        .finish(request.header("content-type", "application/merge-patch+json").body(body))
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_takes_a_token_with_scope_and_name() {
    let market = Market::start(|_| ()).await;
    let body = || Some(serde_json::to_vec(&document("probe", NOWHERE)).unwrap());
    market.send(Method::POST, ADDONS, None, body()).await.problem(401, "unauthorized");
    market.send(Method::POST, ADDONS, Some("garbage"), body()).await.problem(401, "unauthorized");
    let reader = market.token("rita", &["read"], None).await;
    market.send(Method::POST, ADDONS, Some(&reader), body()).await.problem(403, "missing-scope");
    let other = market.token("paul", &["publish"], Some("mqtt-*")).await;
    market.send(Method::POST, ADDONS, Some(&other), body()).await.problem(403, "name-not-allowed");
    let own = market.token("paul", &["publish"], Some("pro*")).await;
    let release = market.send(Method::POST, ADDONS, Some(&own), body()).await.expect(201).json();
    assert_eq!(release["publisher"], "paul");
    let id = release["_id"].as_str().unwrap();
    let path = format!("{ADDONS}/{id}");
    market.send(Method::DELETE, &path, None, None).await.problem(401, "unauthorized");
    market.send(Method::DELETE, &path, Some(&reader), None).await.problem(403, "missing-scope");
    market.send(Method::DELETE, &path, Some(&other), None).await.problem(403, "name-not-allowed");
    market.send(Method::DELETE, &path, Some(&own), None).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_release_posted_again_is_verified_again() {
    let registry = Registry::start().await;
    let market = Market::beside(&registry).await;
    let document = document("probe", &registry.image("late:1"));
    let id = market.published(&document).await;
    let failed = market.until(&id, "verification_failed").await;
    assert!(failed["reason"].as_str().unwrap().contains("does not exist"), "{failed}");
    registry.push("late", "1").await;
    let again = market.publish(&document).await.expect(200).json();
    assert_eq!((again["_id"].as_str().unwrap(), &again["status"]), (id.as_str(), &json!("under_review")));
    assert_eq!(market.until(&id, "approved").await.get("reason"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_equal_at_once_make_one_release() {
    let market = Market::start(|_| ()).await;
    let body = document("probe", NOWHERE);
    let answers = futures_util::future::join_all((0..8).map(|_| market.publish(&body))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 201)));
    let ids: BTreeSet<String> = answers.iter().map(|answer| answer.json()["_id"].to_string()).collect();
    assert_eq!(ids.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_different_at_once_get_eight_versions() {
    let market = Market::start(|_| ()).await;
    let bodies: Vec<Value> = (0..8)
        .map(|n| {
            let mut document = document("probe", NOWHERE);
            document["description"] = format!("number {n}").into();
            document
        })
        .collect();
    let answers = futures_util::future::join_all(bodies.iter().map(|body| market.publish(body))).await;
    let versions: BTreeSet<String> =
        answers.iter().map(|answer| answer.json()["version"].to_string()).collect();
    let expected: BTreeSet<String> = (0..8).map(|n| format!("\"0.1.{n}\"")).collect();
    assert_eq!(versions, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn validating_stores_nothing() {
    let market = Market::start(|_| ()).await;
    let path = "/api/v1/marketplace/validate";
    let body = |value: &Value| Some(serde_json::to_vec(value).unwrap());
    let good = document("probe", NOWHERE);
    let answer = market.send(Method::POST, path, None, body(&good)).await.expect(200).json();
    assert_eq!((&answer["valid"], &answer["violations"]), (&json!(true), &json!([])));
    assert!(answer["digest"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(answer["canonical"]["name"], "probe");
    assert!(answer["risk"].is_u64() && answer["rights"].is_array());
    let answer = market.send(Method::POST, path, None, body(&json!({"name": 1}))).await.expect(200).json();
    assert_eq!(answer["valid"], false);
    assert!(answer["violations"].as_array().unwrap().len() >= 2, "{answer}");
    assert_eq!(answer.get("digest"), None);
    market.send(Method::POST, path, None, Some(b"{".to_vec())).await.problem(400, "malformed-json");
    market.send(Method::POST, path, None, Some(vec![b' '; 300 << 10])).await.problem(413, "too-large");
    market.finish(market.request(Method::POST, path).body("{}")).await.problem(415, "unsupported-media-type");
    market.get("/api/v1/marketplace/by-name/probe").await.problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_is_told_in_words_and_a_query_is_refused() {
    let market = Market::start(|_| ()).await;
    let token = market.token("ci", &["publish"], None).await;
    for (body, part) in [
        ("", "the body is empty: send a descriptor as JSON"),
        (" \n", "the body is empty"),
        (r#"{"name":"x",}"#, "the comma before it is one too many at line 1, column 13"),
        (r#"{"name": {"a": 1}"#, "the `{` of line 1, column 1 is not closed"),
    ] {
        let answer = market.send(Method::POST, ADDONS, Some(&token), Some(body.as_bytes().to_vec())).await;
        let problem = answer.problem(400, "malformed-json");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
    }
    let path = format!("{ADDONS}?dry_run=true");
    let body = serde_json::to_vec(&document("probe", NOWHERE)).unwrap();
    let answer = market.send(Method::POST, &path, Some(&token), Some(body)).await;
    assert!(answer.problem(400, "bad-query")["detail"].as_str().unwrap().contains("dry_run"));
    let problem = market.get(&format!("{ADDONS}?stat=rejected")).await.problem(400, "bad-query");
    assert_eq!(problem["errors"][0]["suggestion"], "status");
    assert_eq!(market.get(ADDONS).await.text, "[]", "nothing was published");
}
