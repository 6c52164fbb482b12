//! The clients against a server that answers what a test says.

#![allow(clippy::unwrap_used, reason = "everything here is a test or helps one")]

use std::time::Duration;

use addon_client::{
    AdoptRequest, ClientError, ClientOptions, InstallRequest, Installation, InstallationId,
    InstallationStatus, ListInstallations, ListReleases, ManagerClient, MarketplaceClient, PatchInstallation,
    PatchStatus, Release, ReleaseId, ReleaseStatus, ReviewRequest, TokenRequest,
};
use addon_descriptor::Digest;
use serde_json::{Value, json};
use wiremock::matchers::{body_json, header, method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

const ID: &str = "6b00fc9223516c5e37bee27c";

fn options(server: &MockServer) -> ClientOptions {
    ClientOptions::new(server.uri().parse().unwrap())
}

fn marketplace(server: &MockServer) -> MarketplaceClient {
    MarketplaceClient::new(options(server)).unwrap()
}

fn manager(server: &MockServer) -> ManagerClient {
    ManagerClient::new(options(server)).unwrap()
}

fn id() -> ReleaseId {
    ID.parse().unwrap()
}

fn installation_id() -> InstallationId {
    ID.parse().unwrap()
}

/// What Oakestra's own marketplace answers.
fn oakestras() -> Value {
    json!({"_id": ID, "name": "probe-min", "networks": [], "services": [{"environment": {}, "image": "busybox:1",
        "labels": {}, "networks": [], "ports": {}, "service_name": "probe_a", "volumes": []}],
        "status": "under_review", "volumes": []})
}

fn ours() -> Value {
    let mut release = oakestras();
    let digest = Digest::of(b"x").to_string();
    let more = json!({"status": "approved", "version": "1.2.0", "digest": digest, "rights": ["host-port:80/tcp"],
        "risk": 2, "publisher": "ci", "created_at": "2026-11-21T10:00:00Z", "approved_at": "2026-11-21T10:00:01.500Z",
        "pins": [{"service_name": "probe_a", "image": "busybox:1", "digest": digest, "platforms": ["linux/amd64"],
            "bytes": 700_000}],
        "warnings": [{"path": "/services/0/image", "rule": "latest-tag", "message": "m", "line": 1, "column": 2}]});
    release.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    release
}

fn installation() -> Value {
    json!({"_id": ID, "marketplace_id": ID, "name": "web", "description": "", "services": [{"service_name": "a"}],
        "volumes": [], "networks": [], "status": "partially_active",
        "status_details": {"failed_services": ["a"]}, "logs": "text", "addon": "web", "version": "1.0.0",
        "digest": Digest::of(b"x").to_string(), "desired": "active",
        "service_states": [{"service_name": "a", "state": "failed", "health": "unhealthy", "container": "c",
            "ports": [{"container": "80/tcp", "host_port": 8080}], "restarts": 3, "exit_code": 1,
            "waiting": {"reason": "backoff", "message": "m", "next_attempt_at": "2026-11-21T10:00:00Z"}}],
        "conditions": [{"type": "engine_unreachable", "message": "m", "since": "2026-11-21T10:00:00Z"}],
        "created_at": "2026-11-21T10:00:00Z", "updated_at": "2026-11-21T10:00:00Z"})
}

async fn answer(server: &MockServer, verb: &str, at: &str, template: ResponseTemplate) {
    Mock::given(method(verb)).and(path(at)).respond_with(template).expect(1..).mount(server).await;
}

#[tokio::test]
async fn a_release_is_read_from_either_marketplace() {
    let server = MockServer::start().await;
    let at = format!("/api/v1/marketplace/addons/{ID}");
    Mock::given(path(at.as_str()))
        .respond_with(ResponseTemplate::new(200).set_body_json(oakestras()))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    answer(&server, "GET", &at, ResponseTemplate::new(200).set_body_json(ours())).await;
    let client = marketplace(&server);

    let release = client.get(id()).await.unwrap().unwrap();
    assert_eq!((release.id, release.status), (id(), ReleaseStatus::UnderReview));
    assert_eq!((release.name(), release.version(), release.digest), (Some("probe-min"), None, None));
    assert_eq!(serde_json::to_value(&release).unwrap(), oakestras(), "nothing is added and nothing lost");

    let release = client.get(id()).await.unwrap().unwrap();
    assert_eq!((release.version(), release.risk), (Some("1.2.0"), Some(2)));
    assert_eq!(release.pins[0].digest, Digest::of(b"x"));
    assert_eq!(release.approved_at.unwrap().to_string(), "2026-11-21T10:00:01.500Z");
    assert_eq!(release.warnings[0].rule, "latest-tag");
    let again: Release = serde_json::from_value(serde_json::to_value(&release).unwrap()).unwrap();
    assert_eq!(again, release);
}

#[tokio::test]
async fn the_token_is_sent_where_there_is_one_and_the_base_is_kept() {
    let server = MockServer::start().await;
    Mock::given(path(format!("/below/here/api/v1/marketplace/addons/{ID}")))
        .and(header("authorization", "Bearer secret"))
        .and(header("accept", "application/json"))
        .respond_with(ResponseTemplate::new(200).set_body_json(ours()))
        .expect(2)
        .mount(&server)
        .await;
    for base in ["/below/here", "/below/here/"] {
        let base = format!("{}{base}", server.uri()).parse().unwrap();
        let options = ClientOptions::new(base).with_token(Some("secret".to_owned()));
        assert!(!format!("{options:?}").contains("secret"));
        let client = MarketplaceClient::new(options).unwrap();
        assert!(!format!("{client:?}").contains("secret"));
        assert!(client.get(id()).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn lists_are_asked_for_in_parts() {
    let server = MockServer::start().await;
    let at = "/api/v1/marketplace/addons";
    Mock::given(path(at))
        .and(query_param("name", "a&b"))
        .and(query_param("limit", "1"))
        .and(query_param_is_missing("cursor"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!([ours()])).insert_header(
            "link",
            "</api/v1/marketplace/addons?x=1>; rel=\"prev\", </api/v1/marketplace/addons?limit=1&cursor=a%2Fb>; rel=\"next\"",
        ))
        .mount(&server)
        .await;
    Mock::given(path(at))
        .and(query_param("cursor", "a/b"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!([])))
        .mount(&server)
        .await;
    let client = marketplace(&server);
    let mut query = ListReleases { name: Some("a&b".to_owned()), limit: Some(1), ..ListReleases::default() };
    let page = client.list(&query).await.unwrap();
    assert_eq!((page.items.len(), page.next.as_deref()), (1, Some("a/b")));
    query.cursor = page.next;
    let page = client.list(&query).await.unwrap();
    assert_eq!((page.items.len(), page.next), (0, None));
}

#[tokio::test]
async fn the_canonical_bytes_are_held_to_their_digest() {
    let server = MockServer::start().await;
    let at = format!("/api/v1/marketplace/addons/{ID}/descriptor");
    answer(&server, "GET", &at, ResponseTemplate::new(200).set_body_bytes(b"{}".to_vec())).await;
    let client = marketplace(&server);
    assert_eq!(client.checked_descriptor(id(), Digest::of(b"{}")).await.unwrap().unwrap(), b"{}");
    let fault = client.checked_descriptor(id(), Digest::of(b"other")).await.unwrap_err();
    assert!(matches!(fault, ClientError::Unreadable { .. }), "{fault}");
    assert!(fault.to_string().contains(&Digest::of(b"{}").to_string()), "{fault}");
}

#[tokio::test]
async fn what_is_not_there_is_none() {
    let server = MockServer::start().await;
    let client = marketplace(&server);
    assert_eq!(client.get(id()).await.unwrap(), None);
    assert_eq!(client.descriptor(id()).await.unwrap(), None);
    assert_eq!(client.verification(id()).await.unwrap(), None);
    assert_eq!(client.versions("x").await.unwrap(), None);
    assert_eq!(client.resolve("x", None).await.unwrap(), None);
    assert!(!client.delete(id(), None).await.unwrap());
    assert!(!client.revoke_token("x").await.unwrap());
    let client = manager(&server);
    assert_eq!(client.get(installation_id()).await.unwrap(), None);
    assert_eq!(client.delete(installation_id()).await.unwrap(), None);
    assert!(!client.delete_volume("a b/c").await.unwrap());
    assert!(client.host().await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn every_version_comes_in_however_many_parts() {
    let server = MockServer::start().await;
    let at = "/api/v1/marketplace/by-name/x";
    let part = |cursor: Option<&str>, next: Option<&str>| {
        let mock = Mock::given(method("GET")).and(path(at));
        let mock = match cursor {
            Some(cursor) => mock.and(query_param("cursor", cursor)),
            None => mock.and(query_param_is_missing("cursor")),
        };
        let answer = ResponseTemplate::new(200).set_body_json([ours()]);
        let link = next.map(|next| format!("<{at}?cursor={next}>; rel=\"next\""));
        mock.respond_with(link.map_or(answer.clone(), |link| answer.insert_header("link", link)))
    };
    part(None, Some("1.1.0")).mount(&server).await;
    part(Some("1.1.0"), Some("1.0.0")).mount(&server).await;
    part(Some("1.0.0"), None).mount(&server).await;
    assert_eq!(marketplace(&server).versions("x").await.unwrap().unwrap().len(), 3);

    server.reset().await;
    part(None, Some("1.0.0")).mount(&server).await;
    part(Some("1.0.0"), Some("1.0.0")).mount(&server).await;
    let fault = marketplace(&server).versions("x").await.unwrap_err();
    assert!(matches!(&fault, ClientError::Unreadable { what, .. } if what.contains("100 parts")), "{fault}");
}

#[tokio::test]
async fn a_problem_keeps_everything_that_it_says() {
    let server = MockServer::start().await;
    let problem = json!({"type": "about:blank", "title": "Conflict", "status": 409, "detail": "d", "code": "name-taken",
        "message": "d", "errors": [{"path": "/name", "rule": "r", "message": "m"}], "request_id": "abc"});
    let template = ResponseTemplate::new(409).set_body_json(problem).insert_header("retry-after", "7");
    answer(&server, "POST", "/api/v1/marketplace/addons", template).await;
    let fault = marketplace(&server).publish("{}").await.unwrap_err();
    assert_eq!((fault.status(), fault.is_transient(), fault.is_not_found()), (Some(409), false, false));
    assert!(fault.to_string().ends_with("/api/v1/marketplace/addons answered 409: d"), "{fault}");
    let ClientError::Problem { problem, retry_after_s, .. } = fault else { panic!("{fault}") };
    assert_eq!((problem.code.as_str(), problem.request_id.as_deref()), ("name-taken", Some("abc")));
    assert_eq!((problem.errors[0].path.as_str(), retry_after_s), ("/name", Some(7)));
}

#[tokio::test]
async fn errors_of_other_forms_are_problems_too() {
    for (status, body, detail) in [
        (404, r#"{"code":404,"message":"Addon not found","status":"Not Found"}"#, "Addon not found"),
        (405, r#"{"code":405,"status":"Method Not Allowed"}"#, "Method Not Allowed"),
        (
            422,
            r#"{"code":422,"errors":{"json":{"name":["Missing"]}},"status":"Unprocessable Entity"}"#,
            r#"{"json":{"name":["Missing"]}}"#,
        ),
        (502, "<html>Bad Gateway</html>", "Bad Gateway"),
        (500, "", "Internal Server Error"),
        (308, "", "Permanent Redirect"),
    ] {
        let server = MockServer::start().await;
        answer(&server, "GET", "/api/v1/addons", ResponseTemplate::new(status).set_body_string(body)).await;
        let fault = manager(&server).list(&ListInstallations::default()).await.unwrap_err();
        assert_eq!(fault.is_transient(), status >= 500, "{status}");
        let ClientError::Problem { status: said, problem, .. } = fault else { panic!("{fault}") };
        assert_eq!(
            (said, problem.status, problem.detail.as_str(), problem.message.as_str()),
            (status, status, detail, detail)
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_unreadable() {
    for body in ["", "[", "{}", "{\"_id\": \"x\"}", "<html>"] {
        let server = MockServer::start().await;
        let at = format!("/api/v1/addons/{ID}");
        answer(&server, "GET", &at, ResponseTemplate::new(200).set_body_string(body)).await;
        let fault = manager(&server).get(installation_id()).await.unwrap_err();
        assert!(matches!(fault, ClientError::Unreadable { .. }), "{body}: {fault}");
        assert!(!fault.is_transient());
    }
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_read() {
    let server = MockServer::start().await;
    let at = format!("/api/v1/marketplace/addons/{ID}/descriptor");
    answer(&server, "GET", &at, ResponseTemplate::new(200).set_body_bytes(vec![b'x'; 1_001])).await;
    let mut options = options(&server);
    options.max_body_bytes = 1_000;
    let client = MarketplaceClient::new(options.clone()).unwrap();
    let fault = client.descriptor(id()).await.unwrap_err();
    assert!(matches!(fault, ClientError::TooLarge { limit: 1_000, .. }), "{fault}");
    options.max_body_bytes = 1_001;
    assert_eq!(
        MarketplaceClient::new(options).unwrap().descriptor(id()).await.unwrap().unwrap().len(),
        1_001
    );
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_unreachable_and_the_address_has_no_secrets() {
    let server = MockServer::start().await;
    answer(&server, "GET", "/api/v1/host", ResponseTemplate::new(200).set_delay(Duration::from_secs(30)))
        .await;
    let mut slow = options(&server);
    slow.read_timeout = Duration::from_millis(50);
    let fault = ManagerClient::new(slow).unwrap().host().await.unwrap_err();
    assert!(matches!(fault, ClientError::Unreachable { .. }) && fault.is_transient(), "{fault}");

    // Nor does one that may be silent for longer than the whole answer may take.
    let mut slow = options(&server);
    slow.timeout = Duration::from_millis(50);
    let fault = ManagerClient::new(slow).unwrap().host().await.unwrap_err();
    assert!(matches!(fault, ClientError::Unreachable { .. }) && fault.is_transient(), "{fault}");

    // Port 1 of the loopback address: nothing listens there.
    let away = ClientOptions::new("http://user:secret@127.0.0.1:1/".parse().unwrap());
    let client = ManagerClient::new(away).unwrap();
    let fault = client
        .list(&ListInstallations { name: Some("n".to_owned()), ..Default::default() })
        .await
        .unwrap_err();
    assert_eq!(fault.to_string(), "http://127.0.0.1:1/api/v1/addons cannot be reached");
    assert!(!format!("{fault:?}").contains("secret"), "{fault:?}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = MockServer::start().await;
    answer(
        &server,
        "GET",
        "/api/v1/host",
        ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:1/"),
    )
    .await;
    assert_eq!(manager(&server).host().await.unwrap_err().status(), Some(302));
}

#[tokio::test]
async fn the_marketplaces_calls_go_where_they_belong() {
    let server = MockServer::start().await;
    let client = marketplace(&server);
    let review = ReviewRequest { reason: Some("r".to_owned()), digest: None };
    for action in ["approve", "reject", "yank", "unyank", "reverify"] {
        Mock::given(method("POST"))
            .and(path(format!("/api/v1/marketplace/addons/{ID}/{action}")))
            .and(body_json(json!({"reason": "r"})))
            .respond_with(ResponseTemplate::new(200).set_body_json(ours()))
            .expect(1)
            .mount(&server)
            .await;
    }
    client.approve(id(), &review).await.unwrap();
    client.reject(id(), &review).await.unwrap();
    client.yank(id(), &review).await.unwrap();
    client.unyank(id(), &review).await.unwrap();
    client.reverify(id(), &review).await.unwrap();

    Mock::given(path("/api/v1/marketplace/by-name/a%20b"))
        .and(query_param("version", "^1.2"))
        .respond_with(ResponseTemplate::new(200).set_body_json(ours()))
        .expect(1)
        .mount(&server)
        .await;
    assert_eq!(client.resolve("a b", Some("^1.2")).await.unwrap().unwrap().version(), Some("1.2.0"));

    let valid = json!({"valid": true, "violations": [], "warnings": [], "rights": [{"right": "x", "level": "dangerous"}],
        "risk": 5, "digest": Digest::of(b"x").to_string(), "canonical": {"name": "a"}});
    Mock::given(path("/api/v1/marketplace/validate"))
        .and(header("content-type", "application/json"))
        .respond_with(ResponseTemplate::new(200).set_body_json(valid))
        .expect(1)
        .mount(&server)
        .await;
    assert!(client.validate("{}").await.unwrap().valid);

    let report = json!({"release_id": ID, "status": "under_review", "digest": Digest::of(b"x").to_string(),
        "verdict": "no_answer", "attempts": 2, "next_attempt_at": "2026-11-21T10:00:00.000Z", "checks": [{"check": "image-exists",
        "subject": "a", "verdict": "no_answer", "message": "m", "evidence": {"status": 503}, "attempts": 2}]});
    let at = format!("/api/v1/marketplace/addons/{ID}/verification");
    answer(&server, "GET", &at, ResponseTemplate::new(200).set_body_json(&report)).await;
    let read = client.verification(id()).await.unwrap().unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), report);

    let at = format!("/api/v1/marketplace/addons/{ID}");
    answer(&server, "DELETE", &at, ResponseTemplate::new(204)).await;
    assert!(client.delete(id(), None).await.unwrap());
}

#[tokio::test]
async fn the_managers_calls_go_where_they_belong() {
    let server = MockServer::start().await;
    let client = manager(&server);
    let body = InstallRequest { marketplace_id: Some(ID.to_owned()), ..InstallRequest::default() };
    Mock::given(method("POST"))
        .and(path("/api/v1/addons"))
        .and(body_json(json!({"marketplace_id": ID})))
        .respond_with(ResponseTemplate::new(201).set_body_json(installation()))
        .expect(1)
        .mount(&server)
        .await;
    let installed: Installation = client.install(&body).await.unwrap();
    assert_eq!(installed.status, InstallationStatus::PartiallyActive);
    assert_eq!(installed.service_states[0].ports[0].host_port, 8080);
    let again: Installation = serde_json::from_value(serde_json::to_value(&installed).unwrap()).unwrap();
    assert_eq!(again, installed);

    Mock::given(method("PATCH"))
        .and(path(format!("/api/v1/addons/{ID}")))
        .and(body_json(json!({"status": "disabled"})))
        .respond_with(ResponseTemplate::new(200).set_body_json(installation()))
        .expect(1)
        .mount(&server)
        .await;
    let patch = PatchInstallation { status: Some(PatchStatus::Disabled), parameters: None };
    client.patch(installation_id(), &patch).await.unwrap();

    Mock::given(method("DELETE"))
        .and(path(format!("/api/v1/addons/{ID}")))
        .and(query_param("force", "true"))
        .and(query_param("volumes", "delete"))
        .respond_with(ResponseTemplate::new(204))
        .expect(1)
        .mount(&server)
        .await;
    assert_eq!(client.uninstall(installation_id(), true).await.unwrap(), None);
    Mock::given(method("DELETE"))
        .and(path(format!("/api/v1/addons/{ID}")))
        .and(query_param_is_missing("force"))
        .respond_with(ResponseTemplate::new(200).set_body_json(installation()))
        .expect(1)
        .mount(&server)
        .await;
    assert!(client.delete(installation_id()).await.unwrap().is_some());

    answer(&server, "POST", &format!("/api/v1/addons/{ID}/restart"), ResponseTemplate::new(202)).await;
    client.restart(installation_id()).await.unwrap();
    let why = json!([{"at": "2026-11-21T10:00:00.000Z", "cause": "c", "operation": "o", "result": "r"}]);
    answer(
        &server,
        "GET",
        &format!("/api/v1/addons/{ID}/why"),
        ResponseTemplate::new(200).set_body_json(&why),
    )
    .await;
    assert_eq!(serde_json::to_value(client.why(installation_id()).await.unwrap().unwrap()).unwrap(), why);
    let revisions = json!([{"revision": 1, "current": true, "marketplace_id": ID, "version": "1.0.0",
        "digest": Digest::of(b"x").to_string(), "created_at": "2026-11-21T10:00:00.000Z"}]);
    let at = format!("/api/v1/addons/{ID}/revisions");
    answer(&server, "GET", &at, ResponseTemplate::new(200).set_body_json(&revisions)).await;
    assert_eq!(
        serde_json::to_value(client.revisions(installation_id()).await.unwrap().unwrap()).unwrap(),
        revisions
    );
    Mock::given(path(format!("/api/v1/addons/{ID}/logs")))
        .and(query_param("service", "a"))
        .and(query_param("tail", "5"))
        .respond_with(ResponseTemplate::new(200).set_body_string("one\ntwo"))
        .mount(&server)
        .await;
    assert_eq!(client.logs(installation_id(), Some("a"), 5).await.unwrap().as_deref(), Some("one\ntwo"));
    assert_eq!(client.logs(installation_id(), Some("b"), 5).await.unwrap(), None);
    answer(&server, "POST", "/api/v1/host/foreign/abc/adopt", ResponseTemplate::new(202)).await;
    client.adopt("abc", &AdoptRequest { installation: installation_id() }).await.unwrap();
    answer(&server, "DELETE", "/api/v1/host/volumes/web_data", ResponseTemplate::new(204)).await;
    assert!(client.delete_volume("web_data").await.unwrap());
    let host = json!({"manager_id": "m", "engine": {"reachable": true, "version": "20.10"}, "disk": {"reserve_bytes": 1},
        "foreign": [{"kind": "container", "id": "x", "name": "n", "reason": "r"}], "kept_volumes": []});
    answer(&server, "GET", "/api/v1/host", ResponseTemplate::new(200).set_body_json(&host)).await;
    assert_eq!(serde_json::to_value(client.host().await.unwrap()).unwrap(), host);
}

#[tokio::test]
async fn tokens_are_made_and_revoked() {
    let server = MockServer::start().await;
    let token = json!({"token": "oakm_secret", "_id": "1", "account": "ci", "scopes": ["read"], "created_at": "2026-11-21T10:00:00Z"});
    answer(&server, "POST", "/api/v1/tokens", ResponseTemplate::new(201).set_body_json(token)).await;
    answer(&server, "GET", "/api/v1/tokens", ResponseTemplate::new(200).set_body_json(json!([]))).await;
    answer(&server, "DELETE", "/api/v1/tokens/1", ResponseTemplate::new(204)).await;
    let client = marketplace(&server);
    let asked = TokenRequest {
        account: "ci".to_owned(),
        scopes: vec!["read".to_owned()],
        name_pattern: None,
        expires_at: None,
    };
    let created = client.create_token(&asked).await.unwrap();
    assert_eq!((created.token.as_str(), created.view.account.as_str()), ("oakm_secret", "ci"));
    assert!(!format!("{created:?}").contains("secret"));
    assert_eq!(client.tokens().await.unwrap(), []);
    assert!(client.revoke_token(&created.view.id).await.unwrap());
}

#[tokio::test]
async fn unknown_members_of_requests_are_refused() {
    for body in [r#"{"marketplace_id": "x", "force": true}"#, r#"{"status": "active"}"#] {
        assert!(serde_json::from_str::<InstallRequest>(body).is_err(), "{body}");
    }
    assert!(serde_json::from_str::<PatchInstallation>(r#"{"status": "installing"}"#).is_err());
    assert!(serde_json::from_str::<ReviewRequest>(r#"{"because": "x"}"#).is_err());
}
