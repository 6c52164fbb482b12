//! Hosts and origins.

use crate::service::{Example, Options, send};
use service_kit::auth::Scope;

fn dashboard() -> Options {
    let mut options = Options::open();
    options.server.cors_origins = vec!["http://dash.example:11103".to_owned()];
    options.server.allowed_hosts = vec!["addons_manager".to_owned()];
    options
}

#[tokio::test]
async fn a_foreign_name_is_421_unless_a_token_is_shown() {
    let example = Example::start_with(dashboard()).await.unwrap();
    let line = "GET /api/v1/things HTTP/1.1";
    for host in ["localhost", "127.0.0.1:1", "[::1]", "10.1.2.3", "addons_manager:11101"] {
        assert_eq!(example.raw_with_host(line, host).await.status, 200, "{host}");
    }
    for (method, path) in [
        ("GET", "/api/v1/things"),
        ("GET", "/"),
        ("POST", "/api/v1/things"),
        ("GET", "/nothing"),
        ("OPTIONS", "/api/v1/things"),
        ("PUT", "/api/v1/things"),
        ("GET", "/api/docs"),
    ] {
        let answer =
            example.raw_with_host(&format!("{method} {path} HTTP/1.1"), "rebind.example:11101").await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (421, Some("host-not-allowed")),
            "{method} {path}"
        );
        assert!(answer.json()["detail"].as_str().unwrap().contains("server.allowed_hosts"));
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(
            example.raw_with_host(&format!("GET {path} HTTP/1.1"), "rebind.example").await.status,
            200,
            "{path}"
        );
    }
    let token = example.token(&[Scope::Read]).await;
    for (token, expected) in [(token.as_str(), 200), ("garbage", 421)] {
        let head = format!("{line}\r\nAuthorization: Bearer {token}");
        assert_eq!(example.raw_with_host(&head, "any.name").await.status, expected, "{token}");
    }
}

#[tokio::test]
async fn a_request_has_one_host() {
    let example = Example::start().await;
    let answer = send(example.address, b"GET /api/v1/things HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert_eq!(answer.status, 400);
    let two =
        "GET /api/v1/things HTTP/1.1\r\nHost: localhost\r\nHost: rebind.example\r\nConnection: close\r\n\r\n";
    assert_eq!(send(example.address, two.as_bytes()).await.status, 400);
    let old = b"GET /api/v1/things HTTP/1.0\r\n\r\n";
    assert_eq!(send(example.address, old).await.status, 200);
    let absolute =
        "GET http://rebind.example/api/v1/things HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(send(example.address, absolute.as_bytes()).await.status, 421);
}

#[tokio::test]
async fn pages_of_configured_origins_may_call_and_others_may_not() {
    let example = Example::start_with(dashboard()).await.unwrap();
    let create = |origin: &'static str| {
        let request = example.request("POST", "/api/v1/things").json(&serde_json::json!({"name": "a"}));
        async move { request.header("origin", origin).send().await.unwrap() }
    };
    let answer = create("http://dash.example:11103").await;
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["access-control-allow-origin"], "http://dash.example:11103");
    assert_eq!(answer.headers()["vary"], "Origin");
    assert!(answer.headers()["access-control-expose-headers"].to_str().unwrap().contains("Content-Type"));
    assert!(!answer.headers().contains_key("access-control-allow-credentials"));
    for origin in ["http://evil.example", "http://dash.example", "null", "http://127.0.0.1:1"] {
        let answer = create(origin).await;
        assert_eq!(answer.status(), 403, "{origin}");
        assert!(!answer.headers().contains_key("access-control-allow-origin"), "{origin}");
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], "foreign-origin");
        assert!(problem["detail"].as_str().unwrap().contains("server.cors_origins"));
    }
    let own: &'static str = format!("http://{}", example.address).leak();
    assert_eq!(create(own).await.status(), 201);
    let answer =
        example.request("DELETE", "/api/v1/things/x").header("sec-fetch-site", "cross-site").send().await;
    assert_eq!(answer.unwrap().status(), 403);
}

#[tokio::test]
async fn errors_can_be_read_by_configured_origins_too() {
    let example = Example::start_with(dashboard()).await.unwrap();
    for (method, path, status) in [
        ("GET", "/api/v1/things/5", 404),
        ("GET", "/api/nothing", 404),
        ("PUT", "/api/v1/things", 405),
        ("POST", "/api/v1/things", 415),
        ("GET", "/api/v1/failing", 500),
        ("GET", "/api/v1/%2e", 400),
    ] {
        let answer =
            example.raw(&format!("{method} {path} HTTP/1.1\r\nOrigin: http://dash.example:11103")).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("http://dash.example:11103"),
            "{method} {path}"
        );
        assert_eq!(answer.header("vary"), Some("Origin"), "{method} {path}");
    }
    let answer = example.raw("GET / HTTP/1.1\r\nOrigin: http://dash.example:11103").await;
    assert_eq!(answer.header("access-control-allow-origin"), None, "/ has no CORS headers");
}

#[tokio::test]
async fn a_preflight_is_answered_without_a_token() {
    let mut options = dashboard();
    options.auth.mode = service_kit::auth::AuthMode::Token;
    let example = Example::start_with(options).await.unwrap();
    let preflight = |origin: &str| {
        format!(
            "OPTIONS /api/v1/things/5 HTTP/1.1\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PATCH\r\n\
             Access-Control-Request-Headers: content-type,authorization,x-more"
        )
    };
    let answer = example.raw(&preflight("http://dash.example:11103")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://dash.example:11103"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("DELETE, GET, OPTIONS, PATCH, POST, PUT"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("content-type, authorization"));
    assert_eq!(answer.header("access-control-max-age"), None);
    let answer = example.raw(&preflight("http://evil.example")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("access-control-allow-methods"), None);
}

#[tokio::test]
async fn without_configured_origins_there_is_no_cors_at_all() {
    let example = Example::start_with(Options::open()).await.unwrap();
    let answer = example.raw("GET /api/v1/things HTTP/1.1\r\nOrigin: http://dash.example:11103").await;
    assert_eq!(answer.status, 200);
    assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), (None, None));
}
