//! Two marketplaces, as processes, on one PostgreSQL: what one takes in the other shows and finishes, and what was
//! acknowledged is there when the server comes back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use addon_client::ReleaseStatus;
use anyhow::ensure;
use postgres_for_tests::Server;
use serde_json::{Value, json};
use system_tests::{Fault, Image, Marketplace, Proxy, Setup, Signal, World, demo_service, eventually};

const LIMIT: Duration = Duration::from_secs(30);
/// The longest that one replica may show what another has changed.
const STALE: Duration = Duration::from_secs(1);
/// How long a release is one worker's here.
const LEASE_MS: u64 = 3_000;

fn setup(server: &Server) -> Setup {
    Setup::default().set("database.url", server.url("market")).set("verification.lease_ms", LEASE_MS)
}

/// Two replicas; the first start's token is in the state folder of the first.
async fn two(world: &World, setup: &Setup) -> anyhow::Result<(Marketplace, Marketplace)> {
    let one = world.marketplace(setup.clone()).await?;
    let token = one.service.state().join("admin-token");
    let second = setup.clone().second("replica", 11_112);
    // Both accept it: a token is a row.
    let other = world.marketplace(second.token_of(&token)).await?;
    ensure!(!other.service.state().join("admin-token").exists(), "there is one first token");
    Ok((one, other))
}

fn document(name: &str, image: &str) -> Value {
    json!({"name": name, "services": [demo_service("web", image)]})
}

#[test]
fn what_one_replica_changes_the_other_shows() {
    system_tests::run(async |world| {
        let server = Server::start();
        server.create("market");
        let (one, other) = two(world, &setup(&server)).await?;
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let release = one.approved(&document("hello", &image.reference)).await?;
        let (seen, took) = other.reaches(release.id, ReleaseStatus::Approved).await?;
        crate::measured("an approval at the other replica", took);
        assert_eq!(seen.digest, release.digest);
        let path = format!("/api/v1/marketplace/addons/{}", release.id);
        let list = "/api/v1/marketplace/addons";
        let (_, took) =
            eventually("it is listed", STALE, async || {
                ensure!(
                    other.service.send(other.service.anonymous(reqwest::Method::GET, list)).await?.json()[0]
                        ["name"]
                        == "hello"
                );
                Ok(())
            })
            .await?;
        crate::measured("its place in the other's list", took);

        // Both have it in their caches; then it goes.
        for market in [&one, &other] {
            assert_eq!(market.service.get(&path).await?.status, 200);
        }
        let gone = one.service.send(one.service.request(reqwest::Method::DELETE, &path)).await?;
        assert_eq!(gone.status, 204, "{}", gone.text);
        let (_, took) = eventually("the other knows", STALE, async || {
            let list = other.service.send(other.service.anonymous(reqwest::Method::GET, list)).await?;
            ensure!(list.json() == json!([]), "{}", list.text);
            Ok(())
        })
        .await?;
        crate::measured("a cache entry that was dropped by the other", took);
        Ok(())
    });
}

#[test]
fn what_a_killed_replica_was_verifying_the_other_finishes() {
    system_tests::run(async |world| {
        let server = Server::start();
        server.create("market");
        let proxy = Proxy::tcp("127.0.0.1:5000".parse()?).await?;
        let image = world.registry.push(&Image::demo("hello", "1")).await?.by_way_of(proxy.address());
        // The other stands still meanwhile, so that it is the first that takes all of them.
        let (mut one, mut other) = two(world, &setup(&server).registry(proxy.address())).await?;
        other.service.stop(Signal::Term).await?;
        proxy.set(Fault::Hang);
        let mut ids = Vec::new();
        for n in 0..6 {
            ids.push(one.publish(&document(&format!("hello-{n}"), &image)).await?.id);
        }
        let held = "SELECT count(*) FROM verification_jobs WHERE lease_owner IS NOT NULL";
        eventually("it verifies", LIMIT, async || {
            ensure!(server.sql("market", held) != "0", "no lease is taken");
            Ok(())
        })
        .await?;
        one.service.stop(Signal::Kill).await?;
        proxy.cut();
        proxy.set(Fault::None);
        assert_ne!(server.sql("market", held), "0", "a killed process gives nothing back");
        other.service.start().await?;
        for id in &ids {
            let (_, took) = other.reaches(*id, ReleaseStatus::Approved).await?;
            crate::measured("a release whose replica was killed", took);
        }
        assert_eq!(server.sql("market", "SELECT count(*) FROM verification_jobs"), "0");
        // And the first, back again, shows the same.
        one.service.start().await?;
        for id in ids {
            assert_eq!(one.release(id).await?.status, ReleaseStatus::Approved);
        }
        Ok(())
    });
}

#[test]
fn a_server_that_restarts_under_both_loses_nothing_that_was_acknowledged() {
    system_tests::run(async |world| {
        let mut server = Server::start();
        server.create("market");
        let (one, other) = two(world, &setup(&server)).await?;
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        // Both publish without a pause while the server crashes, twice.
        let stop = tokio_util::sync::CancellationToken::new();
        let count = AtomicUsize::new(0);
        let publishing = async |market: &Marketplace, kind: &str| -> anyhow::Result<Vec<String>> {
            let mut acknowledged = Vec::new();
            let mut n = 0;
            while !stop.is_cancelled() {
                let body = document(&format!("{kind}-{n}"), &image.reference);
                let answer = market.service.post("/api/v1/marketplace/addons", &body).await?;
                match answer.status {
                    200 | 201 => {
                        acknowledged.push(answer.json()["_id"].as_str().unwrap_or_default().to_owned());
                        n += 1;
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    // Nothing internal, and it may be sent again.
                    503 => ensure!(!answer.header("retry-after").is_empty(), "{}", answer.text),
                    status => anyhow::bail!("{status}: {}", answer.text),
                }
            }
            Ok(acknowledged)
        };
        let crashing = async {
            for _ in 0..2 {
                let before = count.load(Ordering::Relaxed);
                eventually("both publish", LIMIT, async || {
                    ensure!(count.load(Ordering::Relaxed) >= before + 20, "too few");
                    Ok(())
                })
                .await?;
                server.crash();
                for market in [&one, &other] {
                    eventually("/readyz says that the database is away", LIMIT, async || {
                        let answer = market.service.get("/readyz").await?;
                        ensure!(answer.status == 503 && answer.text.contains("database"), "{}", answer.text);
                        Ok(())
                    })
                    .await?;
                }
                server.start_again();
            }
            for market in [&one, &other] {
                let (_, took) = eventually("it is ready again", LIMIT, async || {
                    ensure!(market.service.get("/readyz").await?.status == 200, "not yet");
                    Ok(())
                })
                .await?;
                crate::measured("ready after the server came back", took);
            }
            stop.cancel();
            anyhow::Ok(())
        };
        let (first, second, crashed) =
            tokio::join!(publishing(&one, "one"), publishing(&other, "other"), crashing);
        crashed?;
        let acknowledged = [first?, second?].concat();
        for (n, id) in acknowledged.iter().enumerate() {
            let market = if n % 2 == 0 { &one } else { &other };
            let release = market.reaches(id.parse()?, ReleaseStatus::Approved).await?.0;
            ensure!(release.id.to_string() == *id, "{id}");
        }
        Ok(())
    });
}

#[test]
fn a_dump_restored_elsewhere_serves_the_same_bytes() {
    system_tests::run(async |world| {
        let server = Server::start();
        for name in ["market", "restored"] {
            server.create(name);
        }
        let one = world.marketplace(setup(&server)).await?;
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let mut paths = Vec::new();
        for n in 0..5 {
            let release = one.approved(&document(&format!("hello-{n}"), &image.reference)).await?;
            paths.push(format!("/api/v1/marketplace/addons/{}", release.id));
            paths.push(format!("/api/v1/marketplace/addons/{}/descriptor", release.id));
        }
        paths.push("/api/v1/marketplace/addons".to_owned());
        let dump = world.folder("backup")?.join("market.dump");
        let run = |command: &mut std::process::Command| -> anyhow::Result<()> {
            let output = command.output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(())
        };
        // While it runs.
        run(server.program("pg_dump").args(["--format=custom", "--dbname=market"]).arg("--file").arg(&dump))?;
        run(server
            .program("pg_restore")
            .args(["--no-owner", "--exit-on-error", "--dbname=restored"])
            .arg(&dump))?;
        let token = one.service.state().join("admin-token");
        let second = Setup::default().second("restored", 11_112).set("database.url", server.url("restored"));
        let restored = world.marketplace(second.token_of(&token)).await?;
        for path in &paths {
            let (before, after) = (one.service.get(path).await?, restored.service.get(path).await?);
            assert_eq!((before.status, &before.text), (after.status, &after.text), "{path}");
            assert_eq!(before.status, 200, "{path}");
            assert_eq!(before.header("etag"), after.header("etag"), "{path}");
        }
        // It is a database to go on with.
        restored.approved(&document("later", &image.reference)).await?;
        Ok(())
    });
}

#[test]
fn a_backup_restored_elsewhere_serves_the_same_bytes() {
    system_tests::run(async |world| {
        let one = world.marketplace(Setup::default()).await?;
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let mut paths = vec!["/api/v1/marketplace/addons".to_owned()];
        for n in 0..5 {
            let release = one.approved(&document(&format!("hello-{n}"), &image.reference)).await?;
            paths.push(format!("/api/v1/marketplace/addons/{}", release.id));
            paths.push(format!("/api/v1/marketplace/addons/{}/descriptor", release.id));
        }
        let file = world.folder("backup")?.join("market.db");
        let name = file.display().to_string();
        // While it runs.
        one.service.command(&["backup", &name])?;
        let again = one.service.command(&["backup", &name]).unwrap_err().to_string();
        assert!(again.contains("is there already"), "{again}");
        let running = one.service.command(&["restore", &name]).unwrap_err().to_string();
        assert!(running.contains("in use by another marketplace"), "{running}");

        let token = one.service.state().join("admin-token");
        let second = Setup::default().second("restored", 11_112).token_of(&token).before(&["restore", &name]);
        let restored = world.marketplace(second).await?;
        for path in &paths {
            let (before, after) = (one.service.get(path).await?, restored.service.get(path).await?);
            assert_eq!((before.status, &before.text), (after.status, &after.text), "{path}");
            assert_eq!(before.status, 200, "{path}");
        }
        restored.approved(&document("later", &image.reference)).await?;
        Ok(())
    });
}
