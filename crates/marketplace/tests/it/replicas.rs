//! Several marketplaces on one PostgreSQL: what one does, the others show; and what is said where there is none.

use std::time::{Duration, Instant};

use marketplace::app::App;
use marketplace::config::Config;
use postgres_for_tests::Server;
use serde_json::json;
use service_kit::clock::SystemClock;
use service_kit::config::Secret;

use crate::market::{ADDONS, Market, document, eventually, postgres};
use crate::registry::Registry;

/// The longest that one replica may show what another has changed.
const STALE: Duration = Duration::from_secs(1);

fn on(config: &mut Config, url: &str) {
    config.database.url = Some(Secret::new(url));
}

/// Two replicas that may ask this registry.
pub(crate) async fn two(registry: &Registry, url: &str) -> (Market, Market) {
    let one = Market::start(|config| {
        registry.allow(config);
        on(config, url);
    })
    .await;
    let token = one.admin().to_owned();
    let other = Market::joining(&token, |config| {
        registry.allow(config);
        on(config, url);
    })
    .await;
    (one, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_decides_the_other_shows_within_a_second() {
    let (registry, database) = (Registry::start().await, postgres().await);
    let image = registry.push("a", "1").await.image;
    let (one, other) = two(&registry, database.url()).await;
    let held = json!({"name": "probe", "services": [
        {"service_name": "a", "image": image, "privileged": true}]});
    let id = one.published(&held).await;
    one.until_report(&id, "its checks are green", |report| report.checked_at.is_some()).await;
    // Both keep what they answer.
    for market in [&one, &other] {
        assert_eq!(market.release(&id).await["status"], "under_review");
        assert_eq!(market.get(ADDONS).await.expect(200).json(), json!([]));
    }
    let digest = one.release(&id).await["digest"].clone();
    one.act(&id, "approve", &json!({"digest": digest})).await.expect(200);
    assert_eq!(
        one.release(&id).await["status"],
        "approved",
        "nobody is shown what was before their own write"
    );
    let begun = Instant::now();
    other.until(&id, "approved").await;
    eventually("it is listed", || async {
        (other.get(ADDONS).await.json().as_array().map(Vec::len) == Some(1)).then_some(())
    })
    .await;
    assert!(begun.elapsed() < STALE, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_nobody_called_out_is_found_within_a_second() {
    let (registry, database) = (Registry::start().await, postgres().await);
    let image = registry.push("a", "1").await.image;
    let (one, other) = two(&registry, database.url()).await;
    let release = one.approved(&document("probe", &image)).await;
    let id = release["_id"].as_str().unwrap();
    for market in [&one, &other] {
        market.until(id, "approved").await;
    }
    // As a replica leaves it that was killed between its commit and its call.
    database.sql(&format!("UPDATE releases SET status = 'rejected', listed = 0 WHERE id = '{id}'"));
    let begun = Instant::now();
    for market in [&one, &other] {
        market.until(id, "rejected").await;
        assert_eq!(market.get(ADDONS).await.expect(200).json(), json!([]));
    }
    assert!(begun.elapsed() < STALE, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_at_once_make_one_first_token() {
    let database = postgres().await;
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let starting = folders.iter().map(async |folder| {
        let mut config = Config { state_dir: Some(folder.path().to_owned()), ..Config::default() };
        config.server.port = 0;
        on(&mut config, database.url());
        App::build(&config, SystemClock::shared()).await.unwrap()
    });
    let apps = futures_util::future::join_all(starting).await;
    let files: Vec<_> =
        folders.iter().map(|folder| folder.path().join("admin-token")).filter(|file| file.exists()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let token = std::fs::read_to_string(&files[0]).unwrap();
    for app in &apps {
        let request = reqwest::Client::new().get(format!("{}/api/v1/tokens", app.running().url()));
        assert_eq!(request.bearer_auth(token.trim()).send().await.unwrap().status(), 200);
    }
    for app in apps {
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_one_replica_revokes_ends_at_the_other_within_a_second() {
    let (registry, database) = (Registry::start().await, postgres().await);
    let (one, other) = two(&registry, database.url()).await;
    let made =
        one.post("/api/v1/tokens", &json!({"account": "ci", "scopes": ["publish"]})).await.expect(201).json();
    let (id, token) = (made["_id"].as_str().unwrap(), made["token"].as_str().unwrap());
    // Of no release: who has a token is told so.
    let report = format!("{ADDONS}/{}/verification", "0".repeat(24));
    let ask = || async { other.send(reqwest::Method::GET, &report, Some(token), None).await.status };
    assert_eq!(ask().await, 404);
    let revoked =
        one.send(reqwest::Method::DELETE, &format!("/api/v1/tokens/{id}"), Some(one.admin()), None).await;
    revoked.expect(204);
    let begun = Instant::now();
    eventually("it is refused", || async { (ask().await == 401).then_some(()) }).await;
    assert!(begun.elapsed() < STALE, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_takes_in_the_other_verifies() {
    let (registry, database) = (Registry::start().await, postgres().await);
    let image = registry.push("a", "1").await.image;
    let (one, other) = two(&registry, database.url()).await;
    // Neither asks alone for what both can: every release once, whoever does it.
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(one.published(&document(&format!("probe-{n}"), &image)).await);
    }
    for id in &ids {
        other.until(id, "approved").await;
        assert_eq!(one.report(id).await.attempts, 1, "verified once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_lose_nothing_when_the_server_is_gone_for_a_while() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let mut server = Server::start();
    server.create("market");
    let (one, other) = two(&registry, &server.url("market")).await;
    let kept = one.approved(&document("kept", &image)).await;
    let id = kept["_id"].as_str().unwrap();
    other.until(id, "approved").await;

    server.crash();
    for market in [&one, &other] {
        eventually("/readyz says so", || async {
            let answer = market.get("/readyz").await;
            (answer.status == 503 && answer.text.contains("database")).then_some(())
        })
        .await;
        let refused = market.publish(&document("later", &image)).await;
        assert_eq!(refused.header("retry-after"), "1");
        refused.problem(503, "database-away");
        eventually("what is kept is not believed", || async {
            (market.get(&format!("{ADDONS}/{id}")).await.status == 503).then_some(())
        })
        .await;
    }
    server.start_again();
    for market in [&one, &other] {
        eventually("it is ready again", || async {
            (market.get("/readyz").await.status == 200).then_some(())
        })
        .await;
        assert_eq!(market.release(id).await["digest"], kept["digest"]);
    }
    let later = other.published(&document("later", &image)).await;
    one.until(&later, "approved").await;
    // Calls are heard again: what one changes the other shows.
    let deleted = other.published(&document("deleted", "registry.invalid/none:1")).await;
    one.release(&deleted).await;
    // A connection from before the crash may be met once more.
    eventually("it is deleted", || async { (other.delete(&deleted).await.status == 204).then_some(()) })
        .await;
    let begun = Instant::now();
    eventually("it is gone", || async {
        (one.get(&format!("{ADDONS}/{deleted}")).await.status == 404).then_some(())
    })
    .await;
    assert!(begun.elapsed() < STALE, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_used_is_told_with_what_to_change() {
    let server = Server::start();
    for sql in [
        "CREATE ROLE me LOGIN PASSWORD 'richtig'; CREATE ROLE guest LOGIN PASSWORD 'richtig'",
        "CREATE DATABASE market OWNER me",
        "CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0",
    ] {
        server.sql("postgres", sql);
    }
    let start = async |url: &str| -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { state_dir: Some(folder.path().to_owned()), ..Config::default() };
        config.server.port = 0;
        config.database.patience_ms = 300;
        on(&mut config, url);
        match App::build(&config, SystemClock::shared()).await {
            Ok(app) => {
                app.stop().await;
                Ok(())
            }
            Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
        }
    };
    for (url, expected) in [
        (server.tcp_url("me", "geheim", "market"), "does not let me in: check user and password"),
        (server.tcp_url("me", "richtig", "none"), "createdb --owner me none"),
        (server.tcp_url("guest", "richtig", "market"), "guest may not make tables"),
        (server.url("ascii"), "SQL_ASCII"),
        (server.tcp_url("me", "geheim", "market").replace("sslmode=disable", "sslmode=require"), "TLS"),
        ("mysql://me:geheim@127.0.0.1/x".to_owned(), "begin with postgres://"),
    ] {
        let said = start(&url).await.unwrap_err();
        assert!(said.contains(expected) && !said.contains("geheim"), "{expected}: {said}");
    }
    start(&server.tcp_url("me", "richtig", "market")).await.unwrap();
    server.sql(
        "market",
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'of a later version', true, '\\x00', 0)",
    );
    let said = start(&server.tcp_url("me", "richtig", "market")).await.unwrap_err();
    assert!(said.contains("later version") && said.contains("9999"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_up_late_is_waited_for() {
    let mut server = Server::start();
    server.create("market");
    let url = server.url("market");
    server.crash();
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config { state_dir: Some(folder.path().to_owned()), ..Config::default() };
    config.server.port = 0;
    on(&mut config, &url);
    let coming = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    });
    // The server ends with this value, after the marketplace.
    let (app, server) = tokio::join!(App::build(&config, SystemClock::shared()), coming);
    app.unwrap().stop().await;
    drop(server);
}

#[test]
fn the_address_is_shown_nowhere_and_said_once() {
    let mut config = Config::default();
    assert!(config.postgres().unwrap().is_none());
    on(&mut config, "postgres://me:geheim@db/x");
    assert!(!format!("{config:?}").contains("geheim"));
    assert!(!service_kit::config::show(&config).contains("geheim"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, "postgres://me:geheim@db/x\n").unwrap();
    config.database.url_file = Some(file.clone());
    let both = config.postgres().unwrap_err().to_string();
    assert!(both.contains("database.url_file"), "{both}");
    config.database.url = None;
    assert!(config.postgres().unwrap().is_some());
    config.database.url_file = Some(folder.path().join("none"));
    assert!(config.postgres().unwrap_err().to_string().contains("none"));
    config.database.url_file = Some(file);
    config.database.connections = 1;
    assert!(config.postgres().unwrap_err().to_string().contains("4 to 500"));
}
