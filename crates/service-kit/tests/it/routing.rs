//! Paths, methods, the calls that both services have, and what every answer carries.

use std::collections::BTreeSet;

use service_kit::server::StartError;
use utoipa::OpenApi;

use crate::service::{Doc, Example, Options, table};

const ID: &str = "6b00fc9223516c5e37bee27c";

#[tokio::test]
async fn a_trailing_slash_makes_no_difference() {
    let example = Example::start().await;
    for path in
        ["/api/v1/things", "/api/v1/things/", "/api/things", "/api/things/", "/api/v1/things/?name=all"]
    {
        let answer = example.raw(&format!("GET {path} HTTP/1.1")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "[\"all\",\"nobody\"]"), "{path}");
    }
    let answer = example.raw(&format!("GET /api/v1/things/{}/ HTTP/1.1", ID.to_uppercase())).await;
    assert_eq!((answer.status, answer.json()), (200, ID.into()));
    let answer = example.raw("GET /api/v1/things/?name=x HTTP/1.1").await;
    assert_eq!(answer.body, "[\"x\",\"nobody\"]");
}

#[tokio::test]
async fn slashes_that_follow_each_other_lead_to_the_single_one() {
    let example = Example::start().await;
    for (path, location) in [
        ("//", "/"),
        ("/api//v1///things", "/api/v1/things"),
        ("/api//v1/things/?a=b//c", "/api/v1/things/?a=b//c"),
        ("//evil.example/x", "/evil.example/x"),
    ] {
        let answer = example.raw(&format!("GET {path} HTTP/1.1")).await;
        assert_eq!((answer.status, answer.header("location")), (308, Some(location)), "{path}");
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(answer.header("x-request-id").is_some());
    }
}

#[tokio::test]
async fn paths_that_can_be_read_in_two_ways_are_refused_before_anything_looks_at_them() {
    let example = Example::start().await;
    for path in [
        "/api/v1/things/.",
        "/api/v1/things/..",
        "/api/v1/../v1/things",
        "/./api/v1/things",
        "/api/v1/things/%2e%2e/events",
        "/api/v1%2fthings",
        "/api/v1%2Fthings",
        "/api/v1%5cthings",
        "/api/v1/things/%00",
        "/api/v1/things/%",
        "/api/v1/things/%zz",
    ] {
        let answer = example.raw(&format!("GET {path} HTTP/1.1")).await;
        assert_eq!(answer.status, 400, "{path}");
        let problem = answer.json();
        assert_eq!(problem["code"], "bad-path", "{path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(problem["request_id"], answer.header("x-request-id").unwrap());
    }
}

#[tokio::test]
async fn encoded_letters_are_the_letters_and_open_no_other_door() {
    let example = Example::start().await;
    assert_eq!(example.raw("GET /api/v1/%74hings HTTP/1.1").await.status, 200);
    assert_eq!(example.raw("GET /api/v1/%72equest HTTP/1.1").await.status, 401);
    assert_eq!(example.raw("GET /%61pi/v1/tokens/ HTTP/1.1").await.status, 401);
}

#[tokio::test]
async fn what_is_not_there_is_404_whatever_the_method() {
    let example = Example::start().await;
    let admin = example.admin();
    for path in [
        "/nothing",
        "/api",
        "/api/v1",
        "/api/v1/thing",
        "/api/v1/things/a/b/c",
        "/docs",
        "/docs/",
        "/API/v1/things",
    ] {
        for method in ["GET", "POST", "DELETE", "OPTIONS", "BREW"] {
            let answer = example.with(method, path, &admin).send().await.unwrap();
            assert_eq!(answer.status(), 404, "{method} {path}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
        }
    }
    for id in [
        "5",
        "6b00fc9223516c5e37bee27",
        "6b00fc9223516c5e37bee27cc",
        "6b00fc9223516c5e37bee27g",
        "%C3%B1",
        "%ff",
    ] {
        let answer = example.raw(&format!("GET /api/v1/things/{id} HTTP/1.1")).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (404, Some("not-found")), "{id}");
    }
}

#[tokio::test]
async fn other_methods_are_405_with_those_that_are_allowed() {
    let example = Example::start().await;
    for (method, path, allow) in [
        ("PUT", "/api/v1/things", "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/api/things/", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/api/v1/things/x", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("HEAD", "/api/v1/things/x/review", "OPTIONS, POST"),
        ("TRACE", "/healthz", "GET, HEAD, OPTIONS"),
        ("POST", "/", "GET, HEAD, OPTIONS"),
    ] {
        let answer = example.raw(&format!("{method} {path} HTTP/1.1")).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {path}");
        let options = example.raw(&format!("OPTIONS {path} HTTP/1.1")).await;
        assert_eq!(
            (options.status, options.header("allow"), options.body.as_str()),
            (200, Some(allow), ""),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_the_service_allows_can_be_asked_of_it_as_a_whole() {
    let example = Example::start().await;
    let answer = example.raw_with_host("OPTIONS * HTTP/1.1\r\nOrigin: http://page.example", "any.name").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(answer.header("allow"), Some("DELETE, GET, HEAD, OPTIONS, PATCH, POST"));
    assert_eq!(answer.header("content-length"), Some("0"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert!(answer.header("x-request-id").is_some());
    let answer = example.raw("GET * HTTP/1.1").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("bad-path")));
}

#[tokio::test]
async fn probes_say_what_they_allow_whatever_they_are_called() {
    let example = Example::start().await;
    for path in ["/healthz", "/readyz", "/metrics", "/metrics/"] {
        let preflight = "Origin: http://page.example\r\nAccess-Control-Request-Method: GET";
        let head = format!("OPTIONS {path} HTTP/1.1\r\n{preflight}");
        let answer = example.raw_with_host(&head, "any.name").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{path}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"), "{path}");
        for cors in ["access-control-allow-origin", "access-control-allow-methods"] {
            assert_eq!(answer.header(cors), None, "{path}: pages of others read no probes");
        }
        let answer = example.raw_with_host(&format!("POST {path} HTTP/1.1"), "any.name").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD, OPTIONS")), "{path}");
    }
    let answer = example.raw_with_host("OPTIONS /api/v1/things HTTP/1.1", "any.name").await;
    assert_eq!(answer.status, 421, "nothing else is called by any name");
}

#[tokio::test]
async fn head_answers_as_get_without_the_body() {
    let example = Example::start().await;
    for path in ["/", "/healthz", "/api/v1/things", "/docs/openapi.json", "/api/docs/swagger-ui.css"] {
        let get = example.raw(&format!("GET {path} HTTP/1.1")).await;
        let head = example.raw(&format!("HEAD {path} HTTP/1.1")).await;
        assert_eq!((get.status, head.status, head.body.as_str()), (200, 200, ""), "{path}");
        for name in ["content-type", "content-length"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
    }
    assert_eq!(example.raw("HEAD /api/v1/request HTTP/1.1").await.status, 401);
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_is_safe_in_a_browser() {
    let example = Example::start().await;
    for path in [
        "/",
        "/nothing",
        "/api/v1/things",
        "/api/v1/request",
        "/api/v1//things",
        "/a/..",
        "/healthz",
        "/api/docs",
    ] {
        let answer = example.raw(&format!("GET {path} HTTP/1.1")).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        let csp = answer.header("content-security-policy").unwrap();
        assert!(
            csp.contains("default-src 'none'") && csp.contains("frame-ancestors 'none'"),
            "{path}: {csp}"
        );
        assert!(answer.header("cache-control").is_some(), "{path}");
        assert_eq!(answer.header("x-request-id").map(str::len), Some(16), "{path}");
    }
    let admin = example.admin();
    let answer =
        example.with("GET", "/api/v1/request", &admin).header("x-request-id", "mine-1").send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "mine-1");
    let body: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(body, serde_json::json!({"id": "mine-1", "account": "admin"}));
    let answer = example.raw("GET /nothing HTTP/1.1\r\nX-Request-Id: <script>").await;
    assert_eq!(answer.header("x-request-id").map(str::len), Some(16));
    assert_eq!(answer.json()["request_id"], answer.header("x-request-id").unwrap());
}

#[tokio::test]
async fn nothing_internal_is_in_a_5xx() {
    let example = Example::start().await;
    let admin = example.admin();
    for path in ["/api/v1/failing", "/api/v1/foreign-failing"] {
        let answer = example.with("GET", path, &admin).send().await.unwrap();
        assert_eq!(answer.status(), 500, "{path}");
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert_eq!((&problem["code"], &problem["request_id"]), (&"internal".into(), &id.into()), "{path}");
        assert_eq!(problem["message"], problem["detail"]);
        assert!(!problem.to_string().contains("secret"), "{path}: {problem}");
    }
}

#[tokio::test]
async fn health_readiness_and_metrics_are_open_to_probes() {
    let example = Example::start().await;
    let healthy = example.raw_with_host("GET /healthz HTTP/1.1", "any.name").await;
    assert_eq!((healthy.status, healthy.json()), (200, serde_json::json!({"status": "ok"})));
    let ready = example.raw_with_host("GET /readyz HTTP/1.1", "any.name").await;
    let aside = serde_json::json!({"name": "aside", "ok": true, "informative": true});
    let expected = serde_json::json!({"status": "ready", "checks": [{"name": "things", "ok": true}, aside]});
    assert_eq!((ready.status, ready.json()), (200, expected));

    example.raw("GET /api/v1/things/5 HTTP/1.1").await;
    example.raw("BREW /nothing HTTP/1.1").await;
    let metrics = example.raw_with_host("GET /metrics HTTP/1.1", "any.name").await;
    assert_eq!(metrics.status, 200);
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "http_requests_total{method=\"GET\",route=\"/healthz\",status=\"200\"} 1",
        "http_requests_total{method=\"GET\",route=\"/api/v1/things/{id}\",status=\"404\"} 1",
        "http_requests_total{method=\"other\",route=\"unmatched\",status=\"404\"} 1",
    ] {
        assert!(metrics.body.lines().any(|other| other == line), "{line}\n{}", metrics.body);
    }
}

#[tokio::test]
async fn a_service_that_lacks_something_is_not_ready_and_says_what() {
    let options = Options { ready: Err("no things".to_owned()), ..Options::default() };
    let example = Example::start_with(options).await.unwrap();
    let answer = example.raw("GET /readyz HTTP/1.1").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    let aside = serde_json::json!({"name": "aside", "ok": true, "informative": true});
    let things = serde_json::json!({"name": "things", "ok": false, "message": "no things"});
    assert_eq!(answer.json(), serde_json::json!({"status": "not ready", "checks": [things, aside]}));
    let page = example.raw("GET / HTTP/1.1\r\nAccept: text/html").await;
    assert!(page.body.contains("<h2>Not ready</h2>") && page.body.contains("no things"), "{}", page.body);
    assert_eq!(example.raw("GET /healthz HTTP/1.1").await.status, 200);
}

#[tokio::test]
async fn what_is_only_shown_decides_nothing() {
    let options = Options { aside: Err("it is elsewhere".to_owned()), ..Options::default() };
    let example = Example::start_with(options).await.unwrap();
    let answer = example.raw("GET /readyz HTTP/1.1").await;
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("ready")));
    let expected =
        serde_json::json!({"name": "aside", "ok": false, "informative": true, "message": "it is elsewhere"});
    assert_eq!(answer.json()["checks"][1], expected);
}

#[tokio::test]
async fn the_root_is_ok_for_programs_and_a_page_for_browsers() {
    let example = Example::start().await;
    for accept in ["", "\r\nAccept: */*", "\r\nAccept: application/json"] {
        let answer = example.raw(&format!("GET / HTTP/1.1{accept}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    }
    let page = example.raw("GET / HTTP/1.1\r\nAccept: text/html,application/xhtml+xml,*/*;q=0.8").await;
    assert!(page.body.contains("<h1>Things</h1>") && page.body.contains("href=\"/api/docs\""));
    assert!(page.body.contains(concat!("version ", env!("CARGO_PKG_VERSION"))));
    assert!(
        page.body.contains("<h2>Ready</h2>") && page.body.contains("<b>2</b> <span>things</span>"),
        "{}",
        page.body
    );
    assert!(page.body.contains(&example.state.join("admin-token").display().to_string()));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    for (asset, kind) in
        [("/page.css", "text/css"), ("/page.js", "text/javascript"), ("/docs.css", "text/css")]
    {
        let answer = example.raw(&format!("GET {asset} HTTP/1.1")).await;
        assert!(answer.header("content-type").unwrap().starts_with(kind), "{asset}: {answer:?}");
    }
    assert!(!page.body.contains("Open mode"));
    assert!(!page.body.contains("{{"), "{}", page.body);
    assert_no_inline(&page.body);

    let open = Example::start_with(Options::open()).await.unwrap();
    let page = open.raw("GET / HTTP/1.1\r\nAccept: text/html").await;
    assert!(page.body.contains("Open mode: everyone who reaches this service is an administrator"));
    let page = open.raw("GET /api/docs HTTP/1.1").await;
    assert!(page.body.contains("Open mode: everyone who reaches this service is an administrator"));
}

fn assert_no_inline(page: &str) {
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onload"), "{page}");
    assert_eq!(page.matches("<script").count(), page.matches("<script src=\"/").count(), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
}

#[tokio::test]
async fn the_documentation_is_whole_and_loads_nothing_from_elsewhere() {
    let example = Example::start().await;
    for path in ["/api/docs", "/api/docs/"] {
        let page = example.raw(&format!("GET {path} HTTP/1.1")).await;
        assert_eq!(page.status, 200);
        let policy = page.header("content-security-policy").unwrap();
        for needed in ["script-src 'self'", "img-src 'self' data:", "connect-src 'self'"] {
            assert!(policy.contains(needed), "{policy}");
        }
        assert!(page.body.contains("<title>Things</title>"));
        assert!(!page.body.contains("Open mode") && !page.body.contains("{{"), "{}", page.body);
        assert_no_inline(&page.body);
        let assets = page.body.split('"').filter(|part| part.starts_with("/api/docs/"));
        for asset in assets {
            let answer = example.raw(&format!("GET {asset} HTTP/1.1")).await;
            assert_eq!(answer.status, 200, "{asset}");
            // With `nosniff` a browser runs and applies nothing that is of another type.
            let expected = match asset.rsplit('.').next().unwrap() {
                "js" => "text/javascript",
                "css" => "text/css",
                _ => "image/png",
            };
            assert!(answer.header("content-type").unwrap().starts_with(expected), "{asset}: {answer:?}");
            assert!(answer.header("content-length").unwrap().parse::<usize>().unwrap() > 100, "{asset}");
        }
    }
    let script = example.raw("GET /api/docs/swagger-initializer.js HTTP/1.1").await;
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert!(script.body.contains("/docs/openapi.json") && script.body.contains("oauth2RedirectUrl"));
    assert!(script.body.contains("validatorUrl: null"), "its badge is on another host");
    let style = example.raw("GET /api/docs/swagger-ui.css HTTP/1.1").await.body;
    let foreign = style.split("url(").skip(1).map(|rest| rest.trim_start_matches(['"', '\'']));
    assert!(foreign.clone().count() > 0, "there are images to look at");
    for url in foreign {
        assert!(url.starts_with("data:"), "{:?}", url.get(..40));
    }
    let accepted = "GET /api/docs/swagger-ui.css HTTP/1.1\r\nAccept-Encoding: gzip, br";
    let zipped = example.raw(accepted).await;
    assert_eq!((zipped.status, zipped.header("content-encoding")), (200, Some("gzip")));
    let plain = example.raw("GET /api/docs/swagger-ui.css HTTP/1.1\r\nAccept-Encoding: gzip;q=0").await;
    assert_eq!((plain.header("content-encoding"), plain.body.as_str()), (None, style.as_str()));
    let length =
        |answer: &crate::service::Raw| answer.header("content-length").unwrap().parse::<usize>().unwrap();
    assert!(length(&zipped) * 3 < length(&plain), "{} of {}", length(&zipped), length(&plain));
    for answer in [&zipped, &plain] {
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        assert_eq!(answer.header("content-type"), Some("text/css; charset=utf-8"));
    }
    let head = example.raw(&accepted.replace("GET", "HEAD")).await;
    assert_eq!((head.header("content-encoding"), length(&head)), (Some("gzip"), length(&zipped)));
    for missing in ["/api/docs/nothing.js", "/api/docs/index.html", "/api/docs/Cargo.toml"] {
        assert_eq!(example.raw(&format!("GET {missing} HTTP/1.1")).await.status, 404, "{missing}");
    }
}

#[tokio::test]
async fn the_openapi_document_names_what_is_answered_and_what_it_needs() {
    let example = Example::start().await;
    let answer = example.raw("GET /docs/openapi.json HTTP/1.1").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.body.starts_with("{\n  \""), "indented by two");
    let document = answer.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(document["info"]["title"], "Things");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let intro = document["info"]["description"].as_str().unwrap();
    assert!(intro.starts_with("Keeps things.") && intro.contains("- `publish`: may publish"), "{intro}");
    assert!(intro.contains("application/problem+json") && !intro.contains("`consent`"), "{intro}");
    let paths = &document["paths"];
    let create = &paths["/api/v1/things"]["post"];
    assert_eq!(create["security"], serde_json::json!([{"token": []}]));
    assert!(create["description"].as_str().unwrap().contains("`publish`"));
    // What follows from the table is one answer, which the document has once.
    let problem = &document["components"]["responses"]["Problem"]["content"]["application/problem+json"];
    assert_eq!(problem["schema"]["$ref"], "#/components/schemas/Problem");
    let other = |call: &serde_json::Value| {
        let answer = &call["responses"]["default"];
        assert_eq!(answer["$ref"], "#/components/responses/Problem");
        let text = answer["description"].as_str().unwrap();
        ["400", "401", "403", "408", "413", "415", "421"].map(|status| text.contains(status))
    };
    let (yes, no) = (true, false);
    assert_eq!(other(create), [yes; 7]);
    let token = &paths["/api/v1/tokens"]["post"];
    // 403 has its own words there.
    assert_eq!(other(token), [yes, yes, no, yes, yes, yes, yes]);
    for status in ["403", "409", "422"] {
        let answer = &token["responses"][status];
        assert!(answer["content"]["application/problem+json"].is_object(), "{status}: {token}");
        assert!(!answer["description"].as_str().unwrap().is_empty(), "{status}");
    }
    assert_eq!(other(&paths["/healthz"]["get"]), [no; 7]);
    let sent = &token["requestBody"]["content"]["application/json"]["example"];
    assert!(sent["scopes"].is_array(), "{token}");
    assert_eq!(paths["/api/v1/things"]["get"]["security"], serde_json::json!([{}, {"token": []}]));
    assert_eq!(paths["/healthz"]["get"]["security"], serde_json::json!([]));
    assert_eq!(paths["/api/things"]["post"]["deprecated"], true);
    let last = document["tags"].as_array().unwrap().last().unwrap();
    assert_eq!(paths["/api/things"]["post"]["tags"], serde_json::json!([last["name"]]));
    let ids: Vec<&str> = paths
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .filter_map(|operation| operation["operationId"].as_str())
        .collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    for (path, item) in paths.as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let path = path.replace("{id}", ID);
            let answer =
                example.raw(&format!("{} {path} HTTP/1.1\r\nContent-Length: 0", method.to_uppercase())).await;
            assert!(![404, 405].contains(&answer.status), "{method} {path}: {}", answer.status);
        }
    }
}

#[tokio::test]
async fn a_table_that_does_not_fit_the_document_does_not_start() {
    async fn nothing() -> &'static str {
        ""
    }
    let example = Example::start().await;
    let auth = {
        use service_kit::auth::{Auth, AuthSettings};
        let clock = service_kit::clock::SystemClock::shared();
        let loopback = "127.0.0.1".parse().unwrap();
        let store = example.store.clone();
        let profile = crate::service::PROFILE;
        Auth::start(profile, &AuthSettings::default(), loopback, &example.state, store, clock).await.unwrap()
    };
    let more = table().get("/api/v1/undescribed", service_kit::auth::Scope::Read, nothing);
    let service = service_kit::server::Service::new("Things", auth.clone(), more, Doc::openapi);
    let Err(StartError::Table { faults }) = service.start(&Options::default().server) else {
        panic!("it started")
    };
    assert_eq!(faults, ["GET /api/v1/undescribed is answered and not described"]);

    let less = service_kit::routes::RouteTable::new();
    let service = service_kit::server::Service::new("Things", auth, less, Doc::openapi);
    let Err(StartError::Table { faults }) = service.openapi() else { panic!("it fits") };
    assert!(
        faults.contains(&"DELETE /api/v1/things/{id} is described and not answered".to_owned()),
        "{faults:?}"
    );
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let example = Example::start().await;
    let mut options = Options::default();
    options.server.port = example.address.port();
    let clock = service_kit::clock::SystemClock::shared();
    let loopback = "127.0.0.1".parse().unwrap();
    let auth = service_kit::auth::Auth::start(
        crate::service::PROFILE,
        &options.auth,
        loopback,
        &example.state,
        example.store.clone(),
        clock,
    );
    let service = service_kit::server::Service::new("Things", auth.await.unwrap(), table(), Doc::openapi);
    let fault = service.start(&options.server).unwrap_err().to_string();
    assert!(fault.contains(&example.address.to_string()) && fault.contains("server.port"), "{fault}");
}
