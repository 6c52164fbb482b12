//! A process that is killed again and again while it works. `MARKETPLACE_KILLS=500` when this is built kills more often.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use addon_client::AuditReport;
use reqwest::Method;
use serde_json::{Value, json};

use crate::market::{ADDONS, eventually, postgres};
use crate::process::Process;
use crate::registry::{OCI_MANIFEST, Registry, error, manifest, served};

const KILLS: Option<&str> = option_env!("MARKETPLACE_KILLS");

fn kills() -> u32 {
    KILLS.map_or(12, |number| number.parse().unwrap())
}

/// What becomes of a document by its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Its image is there.
    Good,
    /// It is not.
    Missing,
    /// It is, and what the addon may do is for a reviewer.
    Held,
}

/// What was asked for, and what of it was answered.
#[derive(Default)]
struct Ledger {
    /// By name: what was sent, and id and digest where that was acknowledged.
    sent: BTreeMap<String, (Kind, Option<(String, Value)>)>,
    /// Ids of which an approval was acknowledged.
    approved: Vec<String>,
}

/// The same sequence each time.
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Publishes, and approves what waits for that, until nobody answers any more.
async fn work(process: &Process, round: u32, worker: u32, image: &str, ledger: &Mutex<Ledger>) {
    for n in 0.. {
        let kind = [Kind::Good, Kind::Missing, Kind::Held][n % 3];
        let name = format!("probe-{round}-{worker}-{n}");
        let image =
            if kind == Kind::Missing { image.replace("/good:", "/missing:") } else { image.to_owned() };
        let mut document = json!({"name": name, "services": [{"service_name": "a", "image": image}]});
        if kind == Kind::Held {
            document["services"][0]["privileged"] = true.into();
        }
        ledger.lock().unwrap().sent.insert(name.clone(), (kind, None));
        let Some(answer) = process.try_send(Method::POST, ADDONS, Some(&document)).await else { return };
        let release = answer.expect(201).json();
        let id = release["_id"].as_str().unwrap().to_owned();
        let digest = release["digest"].clone();
        ledger.lock().unwrap().sent.insert(name, (kind, Some((id.clone(), digest.clone()))));
        if kind == Kind::Held {
            let approve = format!("{ADDONS}/{id}/approve");
            let body = json!({"digest": digest});
            // Until its checks are green that is refused.
            loop {
                let Some(answer) = process.try_send(Method::POST, &approve, Some(&body)).await else {
                    return;
                };
                if answer.status == 200 {
                    ledger.lock().unwrap().approved.push(id);
                    break;
                }
                answer.problem(409, "checks-not-green");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_marketplace_never_approves_without_a_pass_and_loses_nothing() {
    let registry = Registry::start().await;
    let image = registry.push("good", "1").await.image;
    // Answers take a moment, so that many kills come between question and answer.
    let slow = served(OCI_MANIFEST, &manifest("amd64", 1000)).set_delay(Duration::from_millis(8));
    registry.serve("/v2/good/manifests/1", slow, 50).await;
    let gone = error(404, "MANIFEST_UNKNOWN").set_delay(Duration::from_millis(8));
    registry.serve("/v2/missing/manifests/1", gone, 50).await;
    let folder = tempfile::tempdir().unwrap();
    let database = match std::env::var_os("MARKETPLACE_TESTS_ON") {
        Some(on) if on == "postgres" => Some(postgres().await),
        _ => None,
    };
    let url = database.as_ref().map_or("", |database| database.url());
    let mut settings = vec![("MARKETPLACE__VERIFICATION__LEASE_MS", "1000")];
    if database.is_some() {
        settings.push(("MARKETPLACE__DATABASE__URL", url));
    }
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut sequence = Sequence(1);
    // On a machine that is slow it takes more rounds, and longer ones, until an approval comes through.
    for round in 0..kills() + 40 {
        let over = u64::from((round + 1).saturating_sub(kills()));
        if over > 0 && !ledger.lock().unwrap().approved.is_empty() {
            break;
        }
        let mut process = Process::start_with(folder.path(), &registry, &settings).await;
        let workers = async {
            tokio::join!(work(&process, round, 0, &image, &ledger), work(&process, round, 1, &image, &ledger))
        };
        // Not for something to happen: the moment of the kill is what is drawn.
        let moment = Duration::from_millis(sequence.below(400) + 100 * over);
        _ = tokio::time::timeout(moment, workers).await;
        process.kill();
    }
    let process = Process::start_with(folder.path(), &registry, &settings).await;
    let ledger = std::mem::take(&mut *ledger.lock().unwrap());
    let sent: Vec<_> = ledger.sent.iter().collect();
    assert!(sent.len() >= kills() as usize, "too little was under way: {}", sent.len());
    let (mut found, mut approvals) = (0, 0);
    for (name, (kind, acknowledged)) in sent {
        let Some((id, digest)) = acknowledged else {
            // It was taken in or not; if it was, it is whole, and the same as every other.
            let answer =
                process.get(&format!("{ADDONS}?name={name}&status=approved")).await.expect(200).json();
            assert!(*kind != Kind::Missing || answer == json!([]), "{name} has no image and is approved");
            continue;
        };
        found += 1;
        let settled = |release: &Value| match kind {
            Kind::Good => release["status"] == "approved",
            Kind::Missing => release["status"] == "verification_failed",
            Kind::Held => {
                release["status"] == "approved"
                    || release["held"].as_array().is_some_and(|held| !held.is_empty())
            }
        };
        let release = eventually(&format!("{name} is judged"), || async {
            let release = process.release(id).await;
            settled(&release).then_some(release)
        })
        .await;
        assert_eq!(&release["digest"], digest, "{name}");
        let rows = process.get(&format!("/api/v1/audit?subject={id}")).await.expect(200).json();
        let count =
            |action: &str| rows.as_array().unwrap().iter().filter(|row| row["action"] == action).count();
        assert_eq!(count("release.publish"), 1, "{name}: {rows}");
        let by_a_person = count("release.approve");
        if release["status"] == "approved" {
            assert_eq!(release["pins"].as_array().map(Vec::len), Some(1), "{name} is approved: {release}");
            assert_eq!(by_a_person, usize::from(*kind == Kind::Held), "{name}: {rows}");
        } else {
            assert_eq!(by_a_person, 0, "{name}: {rows}");
        }
        if ledger.approved.contains(id) {
            assert_eq!(release["status"], "approved", "{name}: an approval that was acknowledged");
            approvals += 1;
        }
        let report = process.get(&format!("{ADDONS}/{id}/verification")).await.expect(200).json();
        let passed = report["verdict"] == "pass";
        assert_eq!(passed, *kind != Kind::Missing, "{name}: {report}");
        assert!(report.get("next_attempt_at").is_none(), "{name} still waits: {report}");
    }
    assert!(approvals > 0 && approvals == ledger.approved.len(), "{found} {approvals}");
    let report = eventually("every row is chained", || async {
        let text = process.get("/api/v1/audit/verify").await.expect(200).text;
        let report: AuditReport = serde_json::from_str(&text).unwrap();
        report.not_chained.is_empty().then_some(report)
    })
    .await;
    assert!(report.intact, "{report:?}");
    println!(
        "{} kills: {} documents sent, {found} acknowledged, {approvals} approvals",
        kills(),
        ledger.sent.len()
    );
    drop(process);
    assert!(folder.path().join("lock").exists() && is_whole(folder.path(), database.is_some()).await);
}

/// Whether the file is a database without a fault.
async fn is_whole(folder: &Path, elsewhere: bool) -> bool {
    elsewhere || marketplace::storage::check_sqlite(&folder.join(marketplace::app::DATABASE)).await.is_ok()
}
