//! A PostgreSQL server that is killed, whose connections are cut, that takes no writes, that is frozen, whose connections
//! are all in use; and replicas at one of them that share no key.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use marketplace::config::Config;
use postgres_for_tests::Server;
use serde_json::{Value, json};
use service_kit::config::Secret;
use sqlx::{Connection as _, PgConnection};

use crate::market::{ADDONS, Market, document, eventually, postgres};
use crate::registry::Registry;

/// Reads are served again so long after the server is back, at the latest.
const BACK: Duration = Duration::from_secs(5);

fn on(config: &mut Config, url: &str) {
    config.database.url = Some(Secret::new(url));
}

async fn beside(registry: &Registry, url: &str) -> Market {
    Market::start(|config| {
        registry.allow(config);
        on(config, url);
    })
    .await
}

/// Publishes one document after the other until `done`; ids and digests of what was acknowledged, and the documents of what
/// was not. Everything else than a yes is a request to come again.
async fn publish_until(
    market: &Market,
    worker: u32,
    image: &str,
    done: &Mutex<bool>,
) -> (Vec<(String, Value)>, Vec<Value>) {
    let (mut taken, mut unknown) = (Vec::new(), Vec::new());
    for n in 0.. {
        if *done.lock().unwrap() {
            break;
        }
        let document = document(&format!("probe-{worker}-{n}"), image);
        let answer = market.publish(&document).await;
        if answer.status == 201 {
            let release = answer.json();
            taken.push((release["_id"].as_str().unwrap().to_owned(), release["digest"].clone()));
        } else {
            assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
            answer.expect(503);
            unknown.push(document);
        }
    }
    (taken, unknown)
}

/// Waits until reads are served, which must not take longer than [`BACK`].
async fn reads_are_back(market: &Market, path: &str) {
    let begun = Instant::now();
    eventually("reads are served", || async { (market.get(path).await.status == 200).then_some(()) }).await;
    assert!(begun.elapsed() < BACK, "{:?}", begun.elapsed());
}

/// Waits until a release is approved; a connection that was cut may be met meanwhile.
async fn is_approved(market: &Market, id: &str) {
    eventually("it is approved", || async {
        let answer = market.get(&format!("{ADDONS}/{id}")).await;
        (answer.status == 200 && answer.json()["status"] == "approved").then_some(())
    })
    .await;
}

/// Has what was sent, and sends again what nobody knows of: that is safe, and makes one release.
async fn nothing_is_lost(market: &Market, taken: &[(String, Value)], unknown: &[Value]) {
    for (id, digest) in taken {
        let release = eventually("it is read", || async {
            let answer = market.get(&format!("{ADDONS}/{id}")).await;
            (answer.status == 200).then(|| answer.json())
        })
        .await;
        assert_eq!(release["digest"], *digest);
    }
    for document in unknown {
        let answer = eventually("it is taken", || async {
            let answer = market.publish(document).await;
            [200, 201].contains(&answer.status).then_some(answer)
        })
        .await;
        let name = document["name"].as_str().unwrap();
        let id = answer.json()["_id"].as_str().unwrap().to_owned();
        let rows = eventually("the log is read", || async {
            let path = format!("/api/v1/audit?subject={id}&action=release.publish");
            let answer = market.get_as_admin(&path).await;
            (answer.status == 200).then(|| answer.json())
        })
        .await;
        assert_eq!(rows.as_array().map(Vec::len), Some(1), "{name} was published once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_and_cut_connections_lose_nothing_that_was_acknowledged() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let mut server = Server::start();
    server.create("market");
    let market = beside(&registry, &server.url("market")).await;
    let kept = market.approved(&document("kept", &image)).await;
    let path = format!("{ADDONS}/{}", kept["_id"].as_str().unwrap());
    let done = Mutex::new(false);
    let faults = async {
        for round in 0..6 {
            // Work is under way. A connection that was cut may be met once by each who asks.
            let newest = async || {
                let answer = market.get_as_admin("/api/v1/audit?limit=1").await;
                (answer.status == 200).then(|| answer.json()[0]["seq"].as_i64().unwrap())
            };
            let seq = eventually("the log is read", &newest).await;
            eventually("something is published", async || newest().await.filter(|now| *now > seq + 5)).await;
            if round % 2 == 0 {
                server.sql("market", "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'market' AND pid <> pg_backend_pid()");
            } else {
                server.kill();
                server.start_again();
            }
            reads_are_back(&market, &path).await;
        }
        *done.lock().unwrap() = true;
    };
    let ((), one, two) = tokio::join!(
        faults,
        publish_until(&market, 1, &image, &done),
        publish_until(&market, 2, &image, &done)
    );
    for (taken, unknown) in [one, two] {
        assert!(taken.len() > 10, "{} were taken", taken.len());
        nothing_is_lost(&market, &taken, &unknown).await;
    }
    let report = eventually("every row is chained", || async {
        let answer = market.get_as_admin("/api/v1/audit/verify").await;
        (answer.status == 200).then(|| answer.json()).filter(|report| report["not_chained"] == json!([]))
    })
    .await;
    assert_eq!(report["intact"], true, "{report}");
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_writes_serves_reads() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let server = Server::start();
    server.create("market");
    let market = beside(&registry, &server.url("market")).await;
    let kept = market.approved(&document("kept", &image)).await;
    let id = kept["_id"].as_str().unwrap();
    // For sessions that begin from now on.
    let read_only = |on: bool| {
        server.sql("postgres", &format!("ALTER DATABASE market SET default_transaction_read_only = {on}"));
    };
    read_only(true);
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'market'";
    server.sql("postgres", cut);
    reads_are_back(&market, &format!("{ADDONS}/{id}")).await;
    for (path, body) in [
        (ADDONS.to_owned(), document("later", &image)),
        (format!("{ADDONS}/{id}/yank"), json!({"reason": "r"})),
        ("/api/v1/tokens".to_owned(), json!({"account": "paul", "scopes": ["read"]})),
    ] {
        let answer = market.post(&path, &body).await;
        assert!(!answer.header("retry-after").is_empty(), "{path}: {answer:?}");
        answer.problem(503, "database-away");
    }
    reads_are_back(&market, &format!("{ADDONS}?q=kept&limit=1")).await;
    // The sessions of now would take no writes as long as they stand.
    read_only(false);
    let writable = Instant::now();
    let later = eventually("it takes writes again", || async {
        let answer = market.publish(&document("later", &image)).await;
        [200, 201].contains(&answer.status).then(|| answer.json())
    })
    .await;
    assert!(writable.elapsed() < BACK, "{:?}", writable.elapsed());
    is_approved(&market, later["_id"].as_str().unwrap()).await;
    // A session of before that was used a moment ago is not asked whether it takes writes now: who meets it is told to come again.
    let all = (0..32).map(|n| {
        let (market, image) = (&market, &image);
        async move {
            let what = format!("last-{n} is taken");
            eventually(&what, || async {
                let answer = market.publish(&document(&format!("last-{n}"), image)).await;
                [200, 201].contains(&answer.status).then_some(())
            })
            .await;
        }
    });
    futures_util::future::join_all(all).await;
    reads_are_back(&market, &format!("{ADDONS}/{id}")).await;
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_waited_for_and_found_again() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let server = Server::start();
    server.create("market");
    let market = beside(&registry, &server.url("market")).await;
    let kept = market.approved(&document("kept", &image)).await;
    let path = format!("{ADDONS}/{}", kept["_id"].as_str().unwrap());
    server.freeze();
    let asked = Instant::now();
    market.get("/healthz").await.expect(200);
    assert!(asked.elapsed() < Duration::from_secs(1));
    eventually("it says that it is not ready", || async {
        let answer = market.get("/readyz").await;
        (answer.status == 503 && answer.text.contains("database")).then_some(())
    })
    .await;
    // Those who ask meanwhile are told to come again, or get their answer once it goes on; never anything else.
    let meanwhile = async {
        let asked = (0..8).map(|n| {
            let (market, image, path) = (&market, &image, &path);
            async move {
                let later = document(&format!("later-{n}"), image);
                (market.publish(&later).await.status, market.get(path).await.status)
            }
        });
        futures_util::future::join_all(asked).await
    };
    let thaw = async {
        eventually("a probe is refused for want of a connection", || async {
            (market.get("/readyz").await.status == 503).then_some(())
        })
        .await;
        tokio::task::block_in_place(|| server.thaw());
        reads_are_back(&market, &path).await;
    };
    let (answers, ()) = tokio::join!(meanwhile, thaw);
    for (published, read) in answers {
        assert!([201, 503].contains(&published) && [200, 503].contains(&read), "{published} {read}");
    }
    let later = eventually("it takes writes again", || async {
        let answer = market.publish(&document("last", &image)).await;
        [200, 201].contains(&answer.status).then(|| answer.json())
    })
    .await;
    is_approved(&market, later["_id"].as_str().unwrap()).await;
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_that_uses_up_all_connections_is_told_to_wait_and_health_answers() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let database = postgres().await;
    let market = Market::start(|config| {
        registry.allow(config);
        on(config, database.url());
        config.database.connections = 4;
    })
    .await;
    // Whoever publishes or reads a release waits for this.
    let mut other = PgConnection::connect(database.url()).await.unwrap();
    sqlx::query("BEGIN").execute(&mut other).await.unwrap();
    sqlx::query("LOCK TABLE releases IN ACCESS EXCLUSIVE MODE").execute(&mut other).await.unwrap();
    let refused = Mutex::new(0);
    let flood = futures_util::future::join_all((0..80).map(|n| {
        let (market, image, refused) = (&market, &image, &refused);
        async move {
            let answer = match n % 4 {
                0 => market.publish(&document(&format!("probe-{n}"), image)).await,
                _ => market.get_as_admin(&format!("{ADDONS}/{n:024x}/verification")).await,
            };
            *refused.lock().unwrap() += u32::from(answer.status == 503);
            answer
        }
    }));
    let watch = async {
        eventually("some are refused", || async {
            let asked = Instant::now();
            market.get("/healthz").await.expect(200);
            assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
            (*refused.lock().unwrap() >= 40).then_some(())
        })
        .await;
        sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
        reads_are_back(&market, ADDONS).await;
    };
    let (answers, ()) = tokio::join!(flood, watch);
    for answer in answers {
        // What had a connection has its answer, and the rest is told to wait.
        if ![201, 404].contains(&answer.status) {
            assert_eq!(answer.header("retry-after"), "1");
            answer.problem(503, "database-away");
        }
    }
    let id = eventually("it takes documents again", || async {
        let answer = market.publish(&document("last", &image)).await;
        [200, 201].contains(&answer.status).then(|| answer.json()["_id"].as_str().unwrap().to_owned())
    })
    .await;
    market.until(&id, "approved").await;
    market.stop().await;
    other.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_the_shared_key_shows_it_and_serves_all_the_same() {
    let (registry, database) = (Registry::start().await, postgres().await);
    let one = beside(&registry, database.url()).await;
    let token = one.admin().to_owned();
    let other = Market::joining(&token, |config| {
        registry.allow(config);
        on(config, database.url());
    })
    .await;
    let signing = async |market: &Market| {
        let ready = market.get("/readyz").await.expect(200).json();
        let checks = ready["checks"].as_array().unwrap().clone();
        checks.into_iter().find(|check| check["name"] == "signing").unwrap()
    };
    assert_eq!(signing(&one).await["ok"], true);
    let shown = signing(&other).await;
    assert_eq!((&shown["ok"], &shown["informative"]), (&json!(false), &json!(true)));
    assert!(shown["message"].as_str().unwrap().contains("signing.key_file"), "{shown}");
    let image = registry.push("a", "1").await.image;
    let id = other.published(&document("probe", &image)).await;
    one.until(&id, "approved").await;
    for market in [one, other] {
        market.stop().await;
    }
}
