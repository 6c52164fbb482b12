//! A database file that somebody locks, that is damaged, or whose migrations are cut short.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use addon_client::{ReleaseId, Timestamp};
use marketplace::app::DATABASE;
use marketplace::storage::audit::Actor;
use marketplace::storage::{Filter, NewRelease, Storage, check_sqlite};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};

use crate::market::{ADDONS, Market, document};
use crate::process::{Process, marketplace, refusal, run};
use crate::registry::Registry;

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_file_is_locked_writers_are_told_to_wait_and_readers_are_served() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let mut folder = None;
    let market = Market::in_a_file(|config| {
        registry.allow(config);
        folder.clone_from(&config.state_dir);
    })
    .await;
    let kept = market.approved(&document("kept", &image)).await;
    let id = kept["_id"].as_str().unwrap();
    let mut other = connect(&folder.unwrap().join(DATABASE)).await;
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();

    let begun = Instant::now();
    let flood = futures_util::future::join_all((0..60).map(|n| {
        let (market, image) = (&market, &image);
        async move { market.publish(&document(&format!("later-{n}"), image)).await }
    }));
    let reads = async {
        // While all of them wait.
        for _ in 0..50 {
            let asked = Instant::now();
            market.get("/healthz").await.expect(200);
            market.get(&format!("{ADDONS}/{id}")).await.expect(200);
            market.get(&format!("{ADDONS}?q=kept&limit=10")).await.expect(200);
            assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        }
    };
    let (refused, ()) = tokio::join!(flood, reads);
    for answer in refused {
        assert_eq!(answer.header("retry-after"), "1");
        answer.problem(503, "database-away");
    }
    // They share a few waits for the lock, and do not wait one after the other.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    let later = market.published(&document("later-0", &image)).await;
    market.until(&later, "approved").await;
    assert_eq!(market.release(id).await["digest"], kept["digest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_refused_and_the_way_back_is_named_and_works() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), &registry).await;
    let release = process.publish(&document("probe", &image)).await.expect(201).json();
    let id = release["_id"].as_str().unwrap();
    process.until(id, "approved").await;
    let backup = folder.path().join("backup");
    let made = run(marketplace(folder.path()).arg("backup").arg(&backup));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    process.stop();

    let database = folder.path().join(DATABASE);
    let whole = fs::read(&database).unwrap();
    for (what, from, to) in
        [("its head", 0, 100), ("a page", 4 * 4096, 5 * 4096), ("its definitions", 200, 4096)]
    {
        let mut bytes = whole.clone();
        bytes[from..to].fill(0);
        fs::write(&database, bytes).unwrap();
        let said = refusal(marketplace(folder.path()).env("MARKETPLACE__SERVER__PORT", "0"));
        assert!(said.contains("is damaged") && said.contains("marketplace restore FILE"), "{what}: {said}");
    }
    let said = refusal(marketplace(folder.path()).arg("restore").arg(&database));
    assert!(said.contains("cannot be restored"), "a damaged file is no backup: {said}");
    for end in ["", "-wal", "-shm"] {
        _ = fs::rename(
            folder.path().join(format!("{DATABASE}{end}")),
            folder.path().join(format!("away{end}")),
        );
    }
    let restored = run(marketplace(folder.path()).arg("restore").arg(&backup));
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let process = Process::start(folder.path(), &registry).await;
    let back = process.release(id).await;
    assert_eq!((&back["digest"], &back["status"]), (&release["digest"], &json!("approved")));
}

/// So few that their log is not written back into the file before its time.
const DOCUMENTS: usize = 12;

/// Publishes so many documents one after the other, and gives what lies in the folder then, its log not written back.
async fn with_a_log(folder: &Path, number: usize) {
    let storage = Storage::open_sqlite(&folder.join(DATABASE)).await.unwrap();
    let paul = Actor::named("paul");
    for n in 0..number {
        let text = format!(
            r#"{{"name": "probe-{n:03}", "services": [{{"service_name": "a", "image": "r.example/a:1"}}]}}"#
        );
        let descriptor = addon_descriptor::read(text.as_bytes()).unwrap().descriptor.unwrap();
        let now = Timestamp::from_millis(1_795_255_200_000 + i64::try_from(n).unwrap());
        let id = ReleaseId::new(now.seconds(), service_kit::random::bytes());
        storage
            .publish(NewRelease::new(id, descriptor, format!("probe-{n}"), Vec::new(), paul.clone(), now))
            .await
            .unwrap();
        storage.chain_audit(100).await.unwrap();
    }
    // As a crash leaves it: copied while it is open, and nobody writes.
    for end in ["", "-wal"] {
        fs::copy(folder.join(format!("{DATABASE}{end}")), folder.join(format!("crashed{end}"))).unwrap();
    }
    storage.db().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_cut_or_changed_loses_its_end_and_never_its_sense() {
    let folder = tempfile::tempdir().unwrap();
    with_a_log(folder.path(), DOCUMENTS).await;
    let log = fs::read(folder.path().join("crashed-wal")).unwrap();
    assert!(log.len() > 100_000, "there is a log: {}", log.len());
    let mut shorter = 0;
    // Cut at, and a bit turned at, places all over the log.
    for step in 0..24 {
        let place = log.len() * (step + 1) / 26 + step;
        for cut in [true, false] {
            let state = tempfile::tempdir().unwrap();
            let database = state.path().join(DATABASE);
            fs::copy(folder.path().join("crashed"), &database).unwrap();
            let mut bytes = log.clone();
            if cut {
                bytes.truncate(place);
            } else {
                bytes[place] ^= 0x10;
            }
            fs::write(state.path().join(format!("{DATABASE}-wal")), bytes).unwrap();
            let storage = Storage::open_sqlite(&database).await.unwrap();
            let filter = Filter {
                addon: None,
                status: Some(addon_client::ReleaseStatus::UnderReview),
                publisher: None,
                after: 0,
                limit: 100,
            };
            let found: Vec<String> = storage
                .list(filter)
                .await
                .unwrap()
                .releases
                .into_iter()
                .map(|release| release.addon)
                .collect();
            let expected: Vec<String> = (0..found.len()).map(|n| format!("probe-{n:03}")).collect();
            assert_eq!(found, expected, "what is there is a beginning of what was");
            shorter += usize::from(found.len() < DOCUMENTS);
            let report = storage.verify_audit().await.unwrap();
            assert!(report.intact, "{place}: {report:?}");
            assert_eq!(storage.queue_depth().await.unwrap(), i64::try_from(found.len()).unwrap());
            storage.db().close().await;
            check_sqlite(&database).await.unwrap();
        }
    }
    assert!(shorter > 12, "many places are those of commits that count: {shorter}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marketplace_killed_while_it_migrates_finishes_at_the_next_start() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    // A database of the first version, with enough in it that its migrations take a while.
    let steps = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/marketplace/sqlite");
    let first = folder.path().join("first");
    fs::create_dir(&first).unwrap();
    fs::copy(steps.join("0001_init.sql"), first.join("0001_init.sql")).unwrap();
    let database = folder.path().join(DATABASE);
    let options = SqliteConnectOptions::new().filename(&database).create_if_missing(true);
    let mut connection = options.journal_mode(sqlx::sqlite::SqliteJournalMode::Wal).connect().await.unwrap();
    sqlx::migrate::Migrator::new(first).await.unwrap().run(&mut connection).await.unwrap();
    let numbers = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 15000)";
    for sql in [
        format!(
            "{numbers} INSERT INTO addons (addon, name, skeleton, owner, created_at_ms, changed_at_ms)
             SELECT 'probe-' || n, 'probe-' || n, 'probe-' || n, 'paul', n, n FROM n"
        ),
        format!("{numbers} INSERT INTO releases ({COLUMNS}) SELECT {VALUES} FROM n"),
    ] {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();

    // Killed later and later, until it comes to its end.
    let (mut kills, mut delay) = (0, Duration::from_millis(10));
    let process = loop {
        let mut process = Process::spawn(folder.path(), &registry, &[]);
        let begun = Instant::now();
        let ready = loop {
            if begun.elapsed() >= delay {
                break false;
            }
            if process.has_ended() {
                panic!("it does not start after {kills} kills");
            }
            let answer = process.try_send(reqwest::Method::GET, "/readyz", None).await;
            if answer.is_some_and(|answer| answer.status == 200) {
                break true;
            }
        };
        if ready {
            break process;
        }
        process.kill();
        kills += 1;
        check_file(&database).await;
        delay = delay * 5 / 4;
        assert!(delay < Duration::from_secs(30), "it never comes up");
    };
    assert!(kills >= 5, "{kills}");
    let listed = process.get(&format!("{ADDONS}?limit=1&sort=name")).await.expect(200).json();
    assert_eq!(listed[0]["name"], "probe-1");
    let found = process.get(&format!("{ADDONS}?q=probe-15000&limit=5")).await.expect(200).json();
    assert_eq!(found[0]["name"], "probe-15000", "{found}");
    drop(process);
    check_sqlite(&database).await.unwrap();
}

/// Whether what a kill left is a database without a fault.
async fn check_file(database: &Path) {
    let mut connection = connect(database).await;
    let found: String = sqlx::query_scalar("PRAGMA quick_check").fetch_one(&mut connection).await.unwrap();
    assert_eq!(found, "ok");
    connection.close().await.unwrap();
}

const COLUMNS: &str = "id, addon, name, version, version_id, version_order, version_rank, digest, canonical, wire, rights, risk,
    warnings, publisher, created_at_ms, status, verdict, held, pins, approved_at_ms, changed_at_ms, listed";

const VALUES: &str = r#"printf('%024x', n), 'probe-' || n, 'probe-' || n, '1.0.0', '1.0.0', '1', '1',
    'sha256:' || printf('%064x', n), '{}',
    '{"name":"probe-' || n || '","version":"1.0.0","description":"one of many","services":[]}', '[]', 1, '[]', 'paul', n,
    'approved', 'pass', '[]', '[]', n, n, 1"#;
