//! Bodies that say more than a caller may, drawn from the OpenAPI document: every call that takes a body, every property of
//! it; what is refused has changed nothing.

use std::collections::BTreeSet;

use addon_client::AuditEntry;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::market::{ADDONS, Answer, Market, document};
use crate::registry::Registry;

/// What the service decides, by the names that it stores or shows them under.
const NOT_THEIRS: [&str; 26] = [
    "_id",
    "id",
    "seq",
    "status",
    "pins",
    "rights",
    "risk",
    "held",
    "warnings",
    "publisher",
    "created_at",
    "approved_at",
    "image_missing_since",
    "waiting_since",
    "verdict",
    "decided_by",
    "yanked_by_admin",
    "listed",
    "owner",
    "owners",
    "admin",
    "is_admin",
    "role",
    "__proto__",
    "token",
    "hash",
];

/// A call that takes a body, with one that is good, and the names that it may have.
struct Call {
    method: Method,
    path: String,
    good: Value,
    known: BTreeSet<String>,
    /// It may have other names, and says of each whether it is one.
    is_document: bool,
}

/// The object schema that a reference or an optional body leads to.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return resolved(document, document.pointer(reference.trim_start_matches('#')).unwrap());
    }
    let parts = schema["oneOf"].as_array().or_else(|| schema["allOf"].as_array());
    match parts.and_then(|parts| parts.iter().find(|part| part["type"] != "null")) {
        Some(part) => resolved(document, part),
        None => schema,
    }
}

/// Every call with a body of the OpenAPI document. One that nobody has said a good body of fails the test.
async fn calls(market: &Market, id: &str, image: &str) -> Vec<Call> {
    let document = market.get("/docs/openapi.json").await.expect(200).json();
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if schema.is_null() || operation["deprecated"] == true {
                continue;
            }
            let known = resolved(&document, schema)["properties"].as_object();
            let known = known.into_iter().flatten().map(|(name, _)| name.clone()).collect();
            let is_document = path.ends_with("/addons") || path.ends_with("/validate");
            let good = match path.rsplit('/').next().unwrap() {
                "addons" | "validate" => {
                    json!({"name": "fresh", "description": "d", "keywords": ["k"], "labels": {"a": "b"},
                        "services": [{"service_name": "a", "image": image, "environment": {"A": "b"}}]})
                }
                "tokens" => json!({"account": "zoe", "scopes": ["read"], "name_pattern": "a-*"}),
                "owners" => json!({"account": "zoe"}),
                "installs" => json!({"addon": "kept", "report": "0a".repeat(16)}),
                "revoke" => json!({"reason": "r", "severity": "warn", "fixed_in": "9.0.0"}),
                "approve" | "reject" | "reverify" | "yank" | "unyank" => json!({"reason": "r"}),
                other => panic!("nobody has said yet what a good body of {method} …/{other} is: say it here"),
            };
            let path = path.replace("{id}", id).replace("{name}", "kept");
            calls.push(Call {
                method: method.to_uppercase().parse().unwrap(),
                path,
                good,
                known,
                is_document,
            });
        }
    }
    calls
}

async fn send(market: &Market, call: &Call, body: String) -> Answer {
    let Call { method, path, .. } = call;
    market.send(method.clone(), path, Some(market.admin()), Some(body.into_bytes())).await
}

/// What must not change: the release, and the log.
async fn state(market: &Market, id: &str) -> (Value, Option<AuditEntry>) {
    let log = market.get_as_admin("/api/v1/audit?limit=1").await.expect(200).text;
    let log: Vec<AuditEntry> = serde_json::from_str(&log).unwrap();
    // When a row is chained is no change of what it says.
    (market.release(id).await, log.into_iter().next().map(|row| AuditEntry { hash: None, ..row }))
}

fn with(good: &Value, name: &str, value: Value) -> Value {
    let mut body = good.as_object().unwrap().clone();
    body.insert(name.to_owned(), value);
    Value::Object(body)
}

/// The object with one of its names written twice.
fn twice(good: &Map<String, Value>, name: &str) -> String {
    let mut text = serde_json::to_string(good).unwrap();
    text.truncate(text.len() - 1);
    format!("{text},{}:{}}}", json!(name), good[name])
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sets_what_is_not_theirs_and_no_body_is_read_in_two_ways() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::without_limits(&registry).await;
    let id = market.approved(&document("kept", &image)).await["_id"].as_str().unwrap().to_owned();
    let before = state(&market, &id).await;
    let (mut tried, calls) = (0, calls(&market, &id, &image).await);
    assert!(calls.len() >= 9, "{}", calls.len());
    for call in &calls {
        let good = call.good.as_object().unwrap();
        let mut refused = Vec::new();
        for name in NOT_THEIRS.iter().filter(|name| !call.known.contains(**name)) {
            for value in [json!("admin"), json!(true), json!(["admin"]), json!({"a": 1})] {
                refused.push(with(&call.good, name, value).to_string());
            }
        }
        for name in good.keys() {
            refused.push(twice(good, name));
        }
        // Of a document several notations are good: what is not is the descriptor's own tests' to say.
        for name in good.keys().filter(|_| !call.is_document) {
            for value in [json!(7), json!(true), json!({"a": {}}), json!([[]]), json!(1.5)] {
                refused.push(with(&call.good, name, value).to_string());
            }
        }
        for text in [
            "[]",
            "\"x\"",
            "7",
            "[{}]",
            "{}{}",
            "{\"a\":1,}",
            "{'reason':'r'}",
            "\u{feff}{}x",
            "{\"reason\":\"\\ud800\"}",
            "nul",
        ] {
            refused.push(text.to_owned());
        }
        for body in refused {
            let answer = send(&market, call, body.clone()).await;
            let is_validation = call.path.ends_with("/validate") && answer.status == 200;
            assert!(
                (400..500).contains(&answer.status) || is_validation && answer.json()["valid"] == false,
                "{} {} took {body}: {} {}",
                call.method,
                call.path,
                answer.status,
                answer.text
            );
            tried += 1;
        }
        assert_eq!(state(&market, &id).await, before, "{} {}", call.method, call.path);
    }
    assert!(tried > 900, "only {tried}");
}

/// `value` with one of its texts, the n-th, ending in a NUL.
fn with_nul(value: &Value, n: &mut usize) -> Value {
    match value {
        Value::String(text) => {
            *n = n.wrapping_sub(1);
            if *n == usize::MAX { Value::String(format!("{text}\0")) } else { value.clone() }
        }
        Value::Array(parts) => parts.iter().map(|part| with_nul(part, n)).collect(),
        Value::Object(parts) => {
            let mut done = Map::new();
            for (name, part) in parts {
                *n = n.wrapping_sub(1);
                let name = if *n == usize::MAX { format!("{name}\0") } else { name.clone() };
                done.insert(name, with_nul(part, n));
            }
            Value::Object(done)
        }
        other => other.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nul_is_a_fault_of_the_request_wherever_it_stands() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::without_limits(&registry).await;
    let id = market.approved(&document("kept", &image)).await["_id"].as_str().unwrap().to_owned();
    for call in &calls(&market, &id, &image).await {
        for n in 0.. {
            let body = with_nul(&call.good, &mut n.clone());
            if body == call.good {
                break;
            }
            let answer = send(&market, call, body.to_string()).await;
            assert!(answer.status < 500, "{} {}: {body}: {}", call.method, call.path, answer.text);
        }
    }
    let document = market.get("/docs/openapi.json").await.expect(200).json();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let at = |value: &str| {
                path.replace("{id}", value)
                    .replace("{name}", value)
                    .replace("{version}", value)
                    .replace("{account}", value)
                    .replace("{shard}", value)
            };
            if path.contains('{') {
                let answer = market.send(method.clone(), &at("a%00b"), Some(market.admin()), None).await;
                answer.problem(400, "bad-path");
                asked += 1;
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if parameter["in"] == "query" {
                    let url = format!("{}?{}=a%00b", at("kept"), parameter["name"].as_str().unwrap());
                    let answer = market.send(method.clone(), &url, Some(market.admin()), None).await;
                    answer.problem(400, "bad-query");
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 30, "only {asked}");
    let text = market.get(&format!("{ADDONS}?q=a%2500b")).await;
    assert!(text.status < 500, "{text:?}");
}
