//! Every call with every kind of token; the first token; tokens made and revoked.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use addon_client::{ClientOptions, ManagerClient, TokenRequest};
use clap::Parser;
use service_kit::audit::Actor;
use service_kit::auth::{Access, AuthMode, AuthStartError, Scope, TokenCommand};
use service_kit::clock::Clock;

use crate::service::{Example, NOON, Options, PROFILE, open_db, table};

const ID: &str = "6b00fc9223516c5e37bee27c";

/// A request of this call that would be answered with 2xx to those who may.
fn call(example: &Example, method: &str, path: &str) -> reqwest::RequestBuilder {
    let request = example.request(method, &path.replace("{id}", ID));
    match (method, path) {
        ("POST", path) if path.ends_with("/things") => request.json(&serde_json::json!({"name": "a"})),
        _ => request,
    }
}

/// The calls of the table that end by themselves and succeed.
fn calls() -> Vec<(String, String, Access)> {
    let quiet = |path: &str| {
        !["/events", "/slow", "/failing", "/foreign-failing"].iter().any(|end| path.ends_with(end))
    };
    let table = table();
    let own = table.calls().map(|(method, path, access)| (method.to_string(), path.to_owned(), access));
    let tokens = [("GET", "/api/v1/tokens"), ("DELETE", "/api/v1/tokens/{id}")]
        .map(|(method, path)| (method.to_owned(), path.to_owned(), Access::Scope(Scope::Admin)));
    own.filter(|(_, path, _)| quiet(path)).chain(tokens).collect()
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, serde_json::Value, reqwest::header::HeaderMap) {
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, answer.json().await.unwrap_or_default(), headers)
}

#[tokio::test]
async fn every_call_asks_for_what_its_entry_says() {
    let example = Example::start().await;
    let expired = example.token_until(&[Scope::Admin], Some(NOON + Duration::from_secs(60))).await;
    let revoked = example.token(&[Scope::Admin]).await;
    example.clock.advance(Duration::from_secs(60));
    let admin = example.admin();
    let id = revoked.split('_').nth(1).unwrap();
    assert_eq!(answer(example.with("DELETE", &format!("/api/v1/tokens/{id}"), &admin)).await.0, 204);
    let unknown = service_kit::auth::Token::new("oakt", [1; 8], [1; 32]).text().to_owned();
    let damaged = admin.replace(&admin[30..34], "AAAA");
    let foreign = service_kit::auth::Token::new("oakx", [1; 8], [1; 32]).text().to_owned();
    let bad = ["garbage", "", "oakt_x", &unknown, &damaged, &foreign, &expired, &revoked, &"x".repeat(5_000)];

    for (method, path, access) in calls() {
        let what = format!("{method} {path}");
        // So many tokens that are not good would be too many at once.
        example.clock.advance(Duration::from_secs(60));
        let Access::Scope(scope) = access else {
            for token in bad {
                let (status, ..) = answer(call(&example, &method, &path).bearer_auth(token)).await;
                assert_eq!(
                    status, 200,
                    "{what}: a token that is not good is no reason to refuse what needs none"
                );
            }
            assert_eq!(answer(call(&example, &method, &path)).await.0, 200, "{what}");
            continue;
        };
        let without = answer(call(&example, &method, &path)).await;
        assert_eq!((without.0, &without.1["code"]), (401, &"unauthorized".into()), "{what}");
        assert_eq!(without.2["www-authenticate"], "Bearer", "{what}");
        let message = without.1["detail"].as_str().unwrap();
        let file = example.state.join("admin-token").display().to_string();
        assert!(message.contains("Authorization: Bearer") && message.contains(&file), "{message}");
        assert!(message.contains("auth.mode = \"open\""), "{message}");
        for token in bad {
            let (status, problem, _) = answer(call(&example, &method, &path).bearer_auth(token)).await;
            assert_eq!(status, 401, "{what} {token}");
            let text = problem.to_string();
            assert!(token.len() < 10 || !text.contains(token), "the token is not said again: {text}");
        }
        for other in [Scope::Read, Scope::Publish, Scope::Review, Scope::Operate, Scope::Consent] {
            let token = example.token(&[other]).await;
            let (status, problem, _) = answer(call(&example, &method, &path).bearer_auth(&token)).await;
            if other == scope || scope == Scope::Read {
                assert!(status < 300, "{what} {other}: {status} {problem}");
            } else {
                assert_eq!((status, &problem["code"]), (403, &"missing-scope".into()), "{what} {other}");
                assert!(problem["detail"].as_str().unwrap().contains(scope.as_str()), "{what}: {problem}");
            }
        }
        let (status, problem, _) = answer(call(&example, &method, &path).bearer_auth(&admin)).await;
        assert!(status < 300 || path == "/api/v1/tokens/{id}" && status == 404, "{what}: {status} {problem}");
    }
}

#[tokio::test]
async fn other_schemes_are_refused_and_the_scheme_is_read_in_any_case() {
    let example = Example::start().await;
    let admin = example.admin();
    for header in [format!("bearer {admin}"), format!("BEARER  {admin} ")] {
        let request = example.request("GET", "/api/v1/request").header("authorization", &header);
        assert_eq!(answer(request).await.0, 200, "{header}");
    }
    for header in [format!("Basic {admin}"), admin.clone(), "Bearer".to_owned(), format!("Bearer {admin} x")]
    {
        let request = example.request("GET", "/api/v1/request").header("authorization", &header);
        assert_eq!(answer(request).await.0, 401, "{header}");
    }
}

#[tokio::test]
async fn without_public_read_nothing_is_public() {
    let mut options = Options::default();
    options.auth.public_read = Some(false);
    let example = Example::start_with(options).await.unwrap();
    assert_eq!(answer(example.request("GET", "/api/v1/things")).await.0, 401);
    assert_eq!(answer(example.with("GET", "/api/v1/things", "garbage")).await.0, 401);
    let token = example.token(&[Scope::Publish]).await;
    assert_eq!(answer(example.with("GET", "/api/v1/things", &token)).await.0, 200);
    for path in ["/", "/healthz", "/readyz", "/metrics", "/docs/openapi.json", "/api/docs"] {
        assert_eq!(answer(example.request("GET", path)).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn the_first_start_makes_the_administrators_token_once() {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options { state: Some(folder.path().to_owned()), ..Options::default() };
    let first = Example::start_with(options()).await.unwrap();
    let file = folder.path().join("admin-token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = first.admin();
    assert_eq!(answer(first.with("GET", "/api/v1/tokens", &token)).await.0, 200);
    first.running.stop().await;

    let second = Example::start_with(options()).await.unwrap();
    assert_eq!(second.admin(), token);
    assert_eq!(answer(second.with("GET", "/api/v1/tokens", &token)).await.0, 200);
    assert_eq!(second.store.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_administrators_token_comes_whatever_other_tokens_were_made_before() {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options { state: Some(folder.path().to_owned()), ..Options::default() };
    let store = service_kit::auth::TokenStore::new(open_db(folder.path()).await);
    let clock: service_kit::clock::SharedClock =
        std::sync::Arc::new(service_kit::clock::TestClock::at(NOON - Duration::from_secs(2 * 86_400)));
    // None of these can do everything: a publisher, a limited administrator, one whose time is over.
    for arguments in [
        &["--account", "ci", "--scope", "publish"][..],
        &["--account", "admin", "--scope", "read"],
        &["--account", "ops", "--scope", "admin", "--names", "mqtt-*"],
        &["--account", "ops", "--scope", "admin", "--expires-in-days", "1"],
    ] {
        let cli = Cli::parse_from([&["x", "create"], arguments].concat());
        cli.command.run(&PROFILE, &store, &clock).await.unwrap();
    }
    let first = Example::start_with(options()).await.unwrap();
    assert_eq!(answer(first.with("GET", "/api/v1/tokens", &first.admin())).await.0, 200);
    assert_eq!(store.list().await.unwrap().len(), 5);
    first.running.stop().await;
    let second = Example::start_with(options()).await.unwrap();
    assert_eq!(second.store.list().await.unwrap().len(), 5, "there is an administrator now");
    second.running.stop().await;

    // One that was made by hand is an administrator's too: what was revoked on purpose does not come back.
    let admin = Cli::parse_from(["x", "create", "--account", "ops", "--scope", "admin"]);
    admin.command.run(&PROFILE, &store, &clock).await.unwrap();
    let made = store.list().await.unwrap();
    let first =
        made.iter().find(|token| token.account == "admin" && token.scopes.allows(Scope::Admin)).unwrap();
    assert!(store.remove(&first.id, &Actor::host(), NOON).await.unwrap());
    let third = Example::start_with(options()).await.unwrap();
    assert_eq!(third.store.list().await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_token_of_a_file_that_is_configured_no_more_is_no_administrators() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef").unwrap();
    let mut options = Options { state: Some(folder.path().to_owned()), ..Options::default() };
    options.auth.admin_token_file = Some(file);
    Example::start_with(options).await.unwrap().running.stop().await;
    let options = Options { state: Some(folder.path().to_owned()), ..Options::default() };
    let example = Example::start_with(options).await.unwrap();
    assert_eq!(answer(example.with("GET", "/api/v1/tokens", &example.admin())).await.0, 200);
}

#[tokio::test]
async fn of_many_starts_at_once_one_makes_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let store = service_kit::auth::TokenStore::new(open_db(folder.path()).await);
    let start = || async {
        service_kit::auth::Auth::start(
            PROFILE,
            &service_kit::auth::AuthSettings::default(),
            "127.0.0.1".parse().unwrap(),
            folder.path(),
            store.clone(),
            service_kit::clock::SystemClock::shared(),
        )
        .await
        .map(|_| ())
    };
    for started in futures_util::future::join_all((0..8).map(|_| start())).await {
        started.unwrap();
    }
    let tokens = store.list().await.unwrap();
    assert_eq!(tokens.len(), 1);
    let text = std::fs::read_to_string(folder.path().join("admin-token")).unwrap();
    assert_eq!(service_kit::auth::TokenHash::of(text.trim()).hex(), tokens[0].hash);
}

#[tokio::test]
async fn a_token_that_cannot_be_written_is_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    // A folder stands where the file should be.
    std::fs::create_dir_all(folder.path().join("admin-token/x")).unwrap();
    let options = Options { state: Some(folder.path().to_owned()), ..Options::default() };
    let Err(fault) = Example::start_with(options).await else { panic!("it started") };
    assert!(
        matches!(&fault, AuthStartError::WriteToken { path, .. } if path.ends_with("admin-token")),
        "{fault}"
    );

    std::fs::remove_dir_all(folder.path().join("admin-token")).unwrap();
    let options = Options { state: Some(folder.path().to_owned()), ..Options::default() };
    let example = Example::start_with(options).await.unwrap();
    assert_eq!(answer(example.with("GET", "/api/v1/tokens", &example.admin())).await.0, 200);
}

#[tokio::test]
async fn an_operator_can_choose_the_administrators_token_and_change_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let options = || {
        let mut options = Options { state: Some(folder.path().to_owned()), ..Options::default() };
        options.auth.admin_token_file = Some(file.clone());
        options
    };
    let (old, new) = ("0123456789abcdef0123456789abcdef", "another-text-of-the-operator");
    std::fs::write(&file, format!("{old}\n")).unwrap();
    let example = Example::start_with(options()).await.unwrap();
    assert!(!folder.path().join("admin-token").exists());
    assert_eq!(answer(example.with("GET", "/api/v1/tokens", old)).await.0, 200);
    assert_eq!(answer(example.with("GET", "/api/v1/tokens", new)).await.0, 401);
    example.running.stop().await;

    std::fs::write(&file, new).unwrap();
    let example = Example::start_with(options()).await.unwrap();
    assert_eq!(answer(example.with("GET", "/api/v1/tokens", new)).await.0, 200);
    let (status, problem, _) = answer(example.with("GET", "/api/v1/tokens", old)).await;
    assert_eq!(status, 401);
    assert!(problem["detail"].as_str().unwrap().contains(&file.display().to_string()), "{problem}");
    example.running.stop().await;

    for (content, expected) in [
        ("short", "20 to 512 characters"),
        ("", "20 to 512 characters"),
        ("a text of several words and more", "without blanks"),
        ("oakt_0123456789abcdef_0123456789", "checksum"),
    ] {
        std::fs::write(&file, content).unwrap();
        let Err(fault) = Example::start_with(options()).await else { panic!("it started with {content:?}") };
        let fault = fault.to_string();
        assert!(fault.contains(expected) && fault.contains("auth.admin_token_file"), "{fault}");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(Example::start_with(options()).await, Err(AuthStartError::ReadToken { .. })));
}

#[tokio::test]
async fn the_file_of_the_first_token_is_named_as_long_as_that_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options { state: Some(folder.path().to_owned()), ..Options::default() };
    let example = Example::start_with(options()).await.unwrap();
    let file = folder.path().join("admin-token").display().to_string();
    let (first, other) = (example.admin(), example.token(&[Scope::Admin]).await);
    let said = async |example: &Example| {
        let (status, problem, _) = answer(example.request("GET", "/api/v1/tokens")).await;
        assert_eq!(status, 401);
        let page = example.request("GET", "/").header("accept", "text/html").send().await.unwrap();
        (problem["detail"].as_str().unwrap().to_owned(), page.text().await.unwrap())
    };
    let (detail, page) = said(&example).await;
    assert!(detail.contains(&file) && page.contains(&file), "{detail}");

    let id = first.split('_').nth(1).unwrap();
    assert_eq!(answer(example.with("DELETE", &format!("/api/v1/tokens/{id}"), &other)).await.0, 204);
    let (detail, page) = said(&example).await;
    assert!(!detail.contains(&file) && !page.contains(&file), "{detail}");
    assert!(
        detail.contains("token create --account admin --scope admin") && page.contains("token create"),
        "{detail}"
    );
    example.running.stop().await;
    // There is an administrator, so none is made at the next start.
    let example = Example::start_with(options()).await.unwrap();
    assert!(said(&example).await.0.contains("token create"));
}

/// Another replica revokes the token: this one learns of it when somebody shows it.
#[tokio::test]
async fn the_file_is_not_named_to_whoever_shows_its_token_in_vain() {
    let example = Example::start().await;
    let first = example.admin();
    let id = first.split('_').nth(1).unwrap();
    assert!(example.store.remove(id, &Actor::host(), NOON).await.unwrap());
    let (status, problem, _) = answer(example.with("GET", "/api/v1/tokens", &first)).await;
    assert_eq!(status, 401);
    assert!(problem["detail"].as_str().unwrap().contains("token create"), "{problem}");
}

#[tokio::test]
async fn in_open_mode_everyone_is_an_administrator() {
    let example = Example::start_with(Options::open()).await.unwrap();
    let limited = example.token(&[Scope::Read]).await;
    for header in [
        None,
        Some("Bearer garbage".to_owned()),
        Some("Basic x".to_owned()),
        Some(format!("Bearer {limited}")),
    ] {
        let mut request = example.request("GET", "/api/v1/request");
        if let Some(header) = &header {
            request = request.header("authorization", header);
        }
        let (status, body, _) = answer(request).await;
        assert_eq!((status, &body["account"]), (200, &"anonymous".into()), "{header:?}");
    }
    assert_eq!(answer(example.request("DELETE", &format!("/api/v1/things/{ID}"))).await.0, 204);
    assert_eq!(answer(example.request("GET", "/api/v1/tokens")).await.0, 200);
}

#[tokio::test]
async fn open_mode_for_a_whole_network_must_be_meant() {
    let options = |allow| {
        let mut options = Options::default();
        options.auth.mode = AuthMode::Open;
        options.auth.allow_open_network = allow;
        options.server.address = "0.0.0.0".parse().unwrap();
        options
    };
    let Err(fault) = Example::start_with(options(false)).await else { panic!("it started") };
    let fault = fault.to_string();
    assert!(fault.contains("auth.allow_open_network = true") && fault.contains("0.0.0.0"), "{fault}");
    let example = Example::start_with(options(true)).await.unwrap();
    assert!(example.running.url().starts_with("http://127.0.0.1:"));
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked_through_the_api() {
    let example = Example::start().await;
    let base = format!("http://{}", example.address).parse().unwrap();
    let client = ManagerClient::new(ClientOptions::new(base).with_token(Some(example.admin()))).unwrap();
    let request = TokenRequest {
        account: "ci".to_owned(),
        scopes: vec!["publish".to_owned()],
        name_pattern: Some("mqtt-*".to_owned()),
        expires_at: Some(NOON + Duration::from_secs(3_600)),
    };
    example.clock.advance(Duration::from_secs(1));
    let created = client.create_token(&request).await.unwrap();
    assert_eq!((created.view.account.as_str(), created.view.created_at), ("ci", example.clock.now()));
    assert_eq!(created.view.expires_at, request.expires_at);

    let publish = |name: &str| {
        example.with("POST", "/api/v1/things", &created.token).json(&serde_json::json!({"name": name}))
    };
    assert_eq!(answer(publish("mqtt-broker")).await.0, 201);
    let (status, problem, _) = answer(publish("redis")).await;
    assert_eq!((status, &problem["code"]), (403, &"name-not-allowed".into()));
    assert!(problem["detail"].as_str().unwrap().contains("mqtt-*"));

    let tokens = client.tokens().await.unwrap();
    assert_eq!(tokens.iter().map(|token| token.account.as_str()).collect::<Vec<_>>(), ["admin", "ci"]);
    let listed = answer(example.with("GET", "/api/v1/tokens", &example.admin())).await.1.to_string();
    assert!(!listed.contains(&created.token) && !listed.contains("hash"), "{listed}");

    assert!(client.revoke_token(&created.view.id).await.unwrap());
    assert_eq!(answer(publish("mqtt-broker")).await.0, 401, "this process knows at once");
    assert!(!client.revoke_token(&created.view.id).await.unwrap());

    let bad = serde_json::json!({"account": "", "scopes": ["pubish"], "x": 1});
    let (status, problem, _) =
        answer(example.with("POST", "/api/v1/tokens", &example.admin()).json(&bad)).await;
    assert_eq!((status, &problem["code"]), (422, &"invalid-body".into()), "{problem}");
    let bad = serde_json::json!({"account": "", "scopes": ["pubish"]});
    let (status, problem, _) =
        answer(example.with("POST", "/api/v1/tokens", &example.admin()).json(&bad)).await;
    assert_eq!((status, &problem["code"]), (422, &"bad-token".into()));
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_token_that_is_made_allows_no_more_than_the_one_that_makes_it() {
    let example = Example::start().await;
    let make = |token: &str, body: serde_json::Value| {
        answer(example.with("POST", "/api/v1/tokens", token).json(&body))
    };
    let limited = serde_json::json!({
        "account": "ops", "scopes": ["admin"], "name_pattern": "mqtt-*", "expires_at": "2026-11-21T13:00:00Z"});
    let (status, limited, _) = make(&example.admin(), limited).await;
    assert_eq!(status, 201, "{limited}");
    let limited_text = limited["token"].as_str().unwrap();
    let (status, problem, _) =
        make(limited_text, serde_json::json!({"account": "ci", "scopes": ["publish"]})).await;
    assert_eq!((status, &problem["code"]), (403, &"exceeds-own-token".into()), "{problem}");
    assert_eq!(problem["errors"][0]["suggestion"], "mqtt-*");
    assert_eq!(problem["errors"][1]["suggestion"], "2026-11-21T13:00:00.000Z");
    let body = serde_json::json!({
        "account": "ci", "scopes": ["publish"], "name_pattern": "mqtt-a*", "expires_at": "2026-11-21T12:30:00Z"});
    let (status, made, _) = make(limited_text, body).await;
    assert_eq!(status, 201, "{made}");

    // It takes away what it could have given, and nothing else.
    let revoke = |id: &serde_json::Value| {
        let path = format!("/api/v1/tokens/{}", id.as_str().unwrap());
        answer(example.with("DELETE", &path, limited_text))
    };
    let admin =
        example.store.list().await.unwrap().into_iter().find(|token| token.account == "admin").unwrap();
    let (status, problem, _) = revoke(&admin.id.into()).await;
    assert_eq!((status, &problem["code"]), (403, &"exceeds-own-token".into()), "{problem}");
    assert_eq!(revoke(&made["_id"]).await.0, 204);
    assert_eq!(revoke(&made["_id"]).await.0, 404);
    assert_eq!(revoke(&limited["_id"]).await.0, 204, "its own too");
}

#[tokio::test]
async fn accounts_that_differ_only_in_case_are_not_made() {
    let example = Example::start().await;
    let make = |account: &str| {
        let body = serde_json::json!({"account": account, "scopes": ["publish"]});
        answer(example.with("POST", "/api/v1/tokens", &example.admin()).json(&body))
    };
    assert_eq!(make("Paul").await.0, 201);
    assert_eq!(make("Paul").await.0, 201, "another token of the same account");
    for other in ["paul", "PAUL"] {
        let (status, problem, _) = make(other).await;
        assert_eq!((status, &problem["code"]), (409, &"account-case".into()), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("\"Paul\""), "{problem}");
        assert_eq!(problem["errors"][0]["suggestion"], "Paul");
    }
    assert_eq!(make("Admin").await.0, 422);
    let cli = Cli::parse_from(["x", "create", "--account", "pAUL", "--scope", "publish"]);
    let clock: service_kit::clock::SharedClock = std::sync::Arc::new(example.clock.clone());
    let fault = cli.command.run(&PROFILE, &example.store, &clock).await.unwrap_err();
    assert!(format!("{fault:#}").contains("\"Paul\""), "{fault:#}");
}

#[tokio::test]
async fn a_token_that_another_replica_revokes_ends_within_a_second() {
    let example = Example::start().await;
    let token = example.token(&[Scope::Read]).await;
    let ask = || answer(example.with("GET", "/api/v1/request", &token));
    assert_eq!(ask().await.0, 200);
    assert!(example.store.remove(token.split('_').nth(1).unwrap(), &Actor::host(), NOON).await.unwrap());
    example.clock.advance(Duration::from_millis(999));
    assert_eq!(ask().await.0, 401);
}

#[tokio::test]
async fn a_token_ends_at_its_time_also_while_it_is_remembered() {
    let example = Example::start().await;
    let token = example.token_until(&[Scope::Read], Some(NOON + Duration::from_millis(100))).await;
    let ask = || answer(example.with("GET", "/api/v1/request", &token));
    assert_eq!(ask().await.0, 200);
    example.clock.advance(Duration::from_millis(99));
    assert_eq!(ask().await.0, 200);
    example.clock.advance(Duration::from_millis(1));
    let (status, problem, _) = ask().await;
    assert_eq!(status, 401);
    assert!(problem["detail"].as_str().unwrap().contains("ended at 2026-11-21T12:00:00.100Z"), "{problem}");
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_no_revoked_token_alive() {
    let example = Example::start().await;
    let token = example.token(&[Scope::Read]).await;
    let ask = || answer(example.with("GET", "/api/v1/request", &token));
    assert_eq!(ask().await.0, 200);
    example.store.remove(token.split('_').nth(1).unwrap(), &Actor::host(), NOON).await.unwrap();
    example.clock.set(NOON - Duration::from_secs(3_600));
    assert_eq!(ask().await.0, 401);
}

#[tokio::test]
async fn while_nobody_can_say_whose_a_token_is_it_is_not_told_to_be_wrong_and_the_public_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { state: Some(folder.path().to_owned()), ..Options::default() };
    let example = Example::start_with(options).await.unwrap();
    let admin = example.admin();
    let db = take_table_away(folder.path()).await;
    let (status, problem, headers) = answer(example.with("GET", "/api/v1/request", &admin)).await;
    // No waiting helps where the table is gone: that is said of a server that does not answer.
    assert_eq!((status, headers.contains_key("retry-after")), (500, false), "{problem}");
    assert!(!problem.to_string().contains("table"), "{problem}");
    assert_eq!(answer(example.request("GET", "/api/v1/things")).await.0, 200);
    // What is answered may depend on whose it is.
    assert_eq!(answer(example.with("GET", "/api/v1/things", &admin)).await.0, 500);
    assert_eq!(answer(example.with("GET", "/healthz", &admin)).await.0, 200);
    db.close().await;
}

/// Takes the table away from under a running service.
async fn take_table_away(folder: &std::path::Path) -> service_kit::db::Db {
    let db = open_db(folder).await;
    let service_kit::db::Db::Sqlite { writer, .. } = &db else { unreachable!("it is SQLite") };
    sqlx::query("ALTER TABLE tokens RENAME TO away").execute(writer).await.unwrap();
    db
}

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: TokenCommand,
}

#[tokio::test]
async fn the_command_line_makes_tokens() {
    let example = Example::start().await;
    let run = |arguments: &[&str]| {
        let cli = Cli::parse_from([&["x", "create"], arguments].concat());
        let (store, clock): (_, service_kit::clock::SharedClock) =
            (&example.store, std::sync::Arc::new(example.clock.clone()));
        async move { cli.command.run(&PROFILE, store, &clock).await }
    };
    let token =
        run(&["--account", "ci", "--scope", "publish,read", "--names", "a*", "--expires-in-days", "2"])
            .await
            .unwrap();
    assert_eq!(answer(example.with("GET", "/api/v1/request", &token)).await.1["account"], "ci");
    let stored =
        example.store.list().await.unwrap().into_iter().find(|stored| stored.account == "ci").unwrap();
    assert_eq!(stored.expires_at, Some(example.clock.now() + Duration::from_secs(2 * 86_400)));
    assert_eq!(stored.names.unwrap().as_str(), "a*");
    let fault = run(&["--account", "c i", "--scope", "pubish"]).await.unwrap_err().to_string();
    assert!(fault.contains("account") && fault.contains("pubish"), "{fault}");
}
