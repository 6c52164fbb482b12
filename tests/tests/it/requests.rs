//! What both services answer to requests that are wrong in every usual way, and what they tell about themselves.

use std::time::Duration;

use reqwest::{Method, header};
use serde_json::json;
use system_tests::{Image, Service, Setup, Signal, World, demo_service};

/// One wrong request: method, path, content type, body; then the status, and a part of what stands in the answer.
type Wrong<'a> = (Method, &'a str, &'a str, String, u16, &'a str);

const JSON: &str = "application/json";

async fn refused(service: &Service, cases: Vec<Wrong<'_>>) -> anyhow::Result<()> {
    for (method, path, kind, body, status, part) in cases {
        for path in [path.to_owned(), with_slash(path)] {
            let request =
                service.request(method.clone(), &path).header(header::CONTENT_TYPE, kind).body(body.clone());
            let answer = service.send(request).await?;
            let shown = format!(
                "{method} {path} {}: {} {}",
                body.chars().take(80).collect::<String>(),
                answer.status,
                answer.text
            );
            assert_eq!(answer.status, status, "{shown}");
            assert!(answer.header("content-type").starts_with("application/problem+json"), "{shown}");
            let problem = answer.json();
            assert_eq!(problem["status"], status, "{shown}");
            for member in ["title", "detail", "code", "message", "request_id"] {
                assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {shown}");
            }
            assert!(answer.text.contains(part), "{part:?} in {shown}");
        }
    }
    Ok(())
}

fn with_slash(path: &str) -> String {
    match path.split_once('?') {
        Some((path, query)) => format!("{path}/?{query}"),
        None => format!("{path}/"),
    }
}

#[test]
fn the_marketplace_says_what_is_wrong() {
    system_tests::run(async |world| {
        let market = world.marketplace(Setup::default()).await?;
        let addons = "/api/v1/marketplace/addons";
        let unknown = "/api/v1/marketplace/addons/0123456789abcdef01234567";
        let two_faults = r#"{"name": 7, "servces": []}"#;
        let twice = r#"{"name": "a", "name": "b", "services": [{"service_name": "a", "image": "b"}]}"#;
        refused(
            &market.service,
            vec![
                (Method::GET, unknown, JSON, String::new(), 404, "not-found"),
                (Method::DELETE, unknown, JSON, String::new(), 404, "not-found"),
                (Method::GET, "/api/v1/marketplace/addons/not-an-id", JSON, String::new(), 404, "not-found"),
                (Method::GET, "/api/v1/nothing", JSON, String::new(), 404, "not-found"),
                (Method::POST, addons, JSON, "{\n  \"name\": ".into(), 400, "line"),
                (Method::POST, addons, JSON, "\u{feff}{}".into(), 400, ""),
                (Method::POST, addons, JSON, two_faults.into(), 422, "/name"),
                (Method::POST, addons, JSON, two_faults.into(), 422, "/servces"),
                (Method::POST, addons, JSON, twice.into(), 422, "/name"),
                (Method::POST, addons, JSON, "[]".into(), 422, ""),
                (Method::POST, addons, JSON, "{}".into(), 422, "/services"),
                (Method::POST, addons, "text/plain", "{}".into(), 415, JSON),
                (Method::POST, addons, JSON, format!("{{\"name\": \"{}\"}}", "x".repeat(300 << 10)), 413, ""),
                (Method::PUT, addons, JSON, "{}".into(), 405, ""),
                (Method::PATCH, unknown, JSON, "{}".into(), 405, ""),
                (Method::GET, "/api/v1/marketplace/addons?limit=many", JSON, String::new(), 400, "limit"),
            ],
        )
        .await?;
        let allow = market.service.send(market.service.request(Method::PUT, addons)).await?;
        assert!(
            allow.header("allow").contains("GET") && allow.header("allow").contains("POST"),
            "{:?}",
            allow.headers
        );
        common_ground(&market.service, addons).await
    });
}

#[test]
fn the_manager_says_what_is_wrong() {
    system_tests::run(async |world| {
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let addons = "/api/v1/addons";
        let unknown = "/api/v1/addons/0123456789abcdef01234567";
        refused(
            &manager.service,
            vec![
                (Method::GET, unknown, JSON, String::new(), 404, "not-found"),
                (Method::DELETE, unknown, JSON, String::new(), 404, "not-found"),
                (Method::PATCH, unknown, JSON, r#"{"status": "disabled"}"#.into(), 404, "not-found"),
                (Method::GET, "/api/v1/addons/zzz", JSON, String::new(), 404, "not-found"),
                (Method::POST, addons, JSON, "{\"marketplace_id\": ".into(), 400, "line"),
                (Method::POST, addons, JSON, r#"{"marketplace_id": 7}"#.into(), 422, "marketplace_id"),
                (Method::POST, addons, JSON, r#"{"marketplace_ids": "x"}"#.into(), 422, "marketplace_id"),
                (Method::POST, addons, JSON, "{}".into(), 422, "marketplace_id"),
                (Method::POST, addons, JSON, "[]".into(), 422, ""),
                (
                    Method::POST,
                    addons,
                    JSON,
                    r#"{"marketplace_id": "0123456789abcdef01234567"}"#.into(),
                    404,
                    "",
                ),
                (Method::POST, addons, "text/plain", "{}".into(), 415, JSON),
                (
                    Method::POST,
                    addons,
                    JSON,
                    format!("{{\"addon\": \"{}\"}}", "x".repeat(300 << 10)),
                    413,
                    "",
                ),
                (Method::PUT, addons, JSON, "{}".into(), 405, ""),
            ],
        )
        .await?;

        // Of an installation that is there: nothing but its status can be patched, and to two values only.
        let image = world.registry.push(&Image::demo("web", "1")).await?;
        let release = market
            .approved(&json!({"name": "web", "services": [demo_service("web", &image.reference)]}))
            .await?;
        let installation = manager.installed(&release).await?;
        let path = format!("/api/v1/addons/{}", installation.id);
        refused(
            &manager.service,
            vec![
                (Method::PATCH, &path, JSON, r#"{"status": "failed"}"#.into(), 422, "status"),
                (Method::PATCH, &path, JSON, r#"{"services": []}"#.into(), 422, "services"),
                (Method::PATCH, &path, JSON, "{}".into(), 422, "status"),
                (Method::PATCH, &path, JSON, r#"{"status": 1}"#.into(), 422, "status"),
                (
                    Method::POST,
                    addons,
                    JSON,
                    format!(r#"{{"marketplace_id": "{}"}}"#, release.id),
                    409,
                    "already-installed",
                ),
            ],
        )
        .await?;
        common_ground(&manager.service, addons).await
    });
}

/// What both services have in common.
async fn common_ground(service: &Service, listing: &str) -> anyhow::Result<()> {
    // The same with and without a slash at the end.
    let (without, with) = (service.get(listing).await?, service.get(&format!("{listing}/")).await?);
    assert_eq!((without.status, &without.text), (200, &with.text));
    let head = service.send(service.request(Method::HEAD, listing)).await?;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    let options = service.send(service.request(Method::OPTIONS, listing)).await?;
    assert!(options.status == 200 && options.header("allow").contains("POST"), "{options:?}");

    // Public, without a token.
    for (path, part) in [
        ("/healthz", ""),
        ("/readyz", ""),
        ("/metrics", "# TYPE"),
        ("/docs/openapi.json", "\"openapi\":\"3.1"),
        ("/api/docs/", "swagger"),
        ("/", "ok"),
    ] {
        let answer = service.send(service.anonymous(Method::GET, path)).await?;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(answer.text.replace(": ", ":").contains(part), "{part:?} at {path}: {:.300}", answer.text);
        assert!(
            !answer.text.contains("https://cdn") && !answer.text.contains("unpkg"),
            "{path} loads from elsewhere"
        );
    }

    // Without a token, or with a wrong one: 401 that says how to go on.
    let post = service.anonymous(Method::POST, listing).json(&json!({}));
    let answer = service.send(post.try_clone().expect("its body is bytes")).await?;
    assert_eq!(answer.status, 401, "{}", answer.text);
    let token_file = service.state().join("admin-token");
    assert!(answer.text.contains(&token_file.display().to_string()), "{}", answer.text);
    assert!(answer.text.contains("auth.mode"), "{}", answer.text);
    assert!(answer.header("www-authenticate").starts_with("Bearer"), "{:?}", answer.headers);
    assert_eq!(service.send(post.bearer_auth("not-a-token")).await?.status, 401);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(token_file)?);
    assert_eq!(mode & 0o777, 0o600, "the first token is its owner's alone");

    // A name that is not ours is somebody's DNS rebinding; an address is not.
    let foreign = service.anonymous(Method::GET, listing).header(header::HOST, "evil.example");
    let answer = service.send(foreign).await?;
    assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text);
    let health = service.anonymous(Method::GET, "/healthz").header(header::HOST, "evil.example");
    assert_eq!(service.send(health).await?.status, 200, "probes call by other names");
    // No origin is configured, so no page of another site can read anything.
    let page = service.request(Method::GET, listing).header(header::ORIGIN, "http://evil.example");
    assert_eq!(service.send(page).await?.header("access-control-allow-origin"), "");
    assert!(!without.header("x-request-id").is_empty(), "every answer has a request id");
    Ok(())
}

#[test]
fn both_services_start_and_stop_quickly() {
    system_tests::run(async |world: &mut World| {
        let mut market = world.marketplace(Setup::default()).await?;
        let mut manager = world.manager(Setup::default()).await?;
        for service in [&mut market.service, &mut manager.service] {
            let (status, took) = service.stop(Signal::Term).await?;
            assert!(status.success(), "{status}");
            assert!(took < Duration::from_secs(5), "it took {took:?}");
            crate::measured("ended after SIGTERM", took);
            crate::measured("ready after a start", service.start().await?);
            let again = service.send(service.request(Method::GET, "/readyz")).await?;
            assert_eq!(again.status, 200);
        }
        Ok(())
    });
}
