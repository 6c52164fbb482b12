//! A disk without room: a small file system of a test's own, which only root can make.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::market::{ADDONS, document, eventually};
use crate::process::{Process, run};
use crate::registry::Registry;

/// A file system in memory, which goes with its test.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new(options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        let done = run(mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path()));
        assert!(done.status.success(), "it takes root: {}", String::from_utf8_lossy(&done.stderr));
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).unwrap();
        for size in [65_536, 4_096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }

    /// Takes all names that are left.
    fn use_up(&self) -> PathBuf {
        let folder = self.path().join("names");
        fs::create_dir(&folder).unwrap();
        let mut number = 0;
        while File::create(folder.join(number.to_string())).is_ok() {
            number += 1;
        }
        assert!(number > 0);
        folder
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(self.path()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_changes_serves_reads_and_recovers_without_a_restart() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let disk = Disk::new("size=8m,mode=0700");
    let process = Process::start(disk.path(), &registry).await;
    let kept = process.publish(&document("kept", &image)).await.expect(201).json();
    let id = kept["_id"].as_str().unwrap();
    process.until(id, "approved").await;
    let filler = disk.fill();

    // The log of the database has some room that it was given before; then there is none.
    let mut taken = vec![];
    let refused = loop {
        let document = document(&format!("later-{}", taken.len()), &image);
        let answer = process.publish(&document).await;
        if answer.status != 201 {
            break answer;
        }
        taken.push(answer.json()["_id"].as_str().unwrap().to_owned());
        assert!(taken.len() < 4_000, "the disk is not full");
    };
    assert!(!refused.header("retry-after").is_empty());
    refused.problem(503, "no-space");
    let rows = || async { process.get("/api/v1/audit?limit=1").await.expect(200).json()[0]["seq"].clone() };
    let before = rows().await;
    let yank = process
        .send(reqwest::Method::POST, &format!("{ADDONS}/{id}/yank"), Some(&json!({"reason": "r"})))
        .await;
    yank.problem(503, "no-space");
    let token = json!({"account": "paul", "scopes": ["read"]});
    let refused = process.send(reqwest::Method::POST, "/api/v1/tokens", Some(&token)).await;
    assert_eq!(refused.header("retry-after"), "60");
    refused.problem(503, "no-space");
    assert_eq!(rows().await, before, "no row without its change");
    for path in [
        format!("{ADDONS}/{id}"),
        format!("{ADDONS}?q=kept&limit=1"),
        ADDONS.to_owned(),
        "/healthz".to_owned(),
    ] {
        process.get(&path).await.expect(200);
    }
    assert_eq!(process.release(id).await["status"], "approved");

    fs::remove_file(filler).unwrap();
    let later = eventually("there is room again", || async {
        let answer = process.publish(&document("last", &image)).await;
        (answer.status == 201).then(|| answer.json())
    })
    .await;
    process.until(later["_id"].as_str().unwrap(), "approved").await;
    for id in &taken {
        assert_eq!(
            process.release(id).await["_id"],
            Value::from(id.as_str()),
            "what was acknowledged is there"
        );
    }
    let report = eventually("every row is chained", || async {
        let report = process.get("/api/v1/audit/verify").await.expect(200).json();
        (report["not_chained"] == json!([])).then_some(report)
    })
    .await;
    assert_eq!(report["intact"], true, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_room_for_another_file_hinders_nothing_that_runs() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let disk = Disk::new("size=64m,nr_inodes=64,mode=0700");
    let process = Process::start(disk.path(), &registry).await;
    let names = disk.use_up();
    let release = process.publish(&document("probe", &image)).await.expect(201).json();
    process.until(release["_id"].as_str().unwrap(), "approved").await;
    process.get(&format!("{ADDONS}?q=probe&limit=5&sort=name")).await.expect(200);
    fs::remove_dir_all(names).unwrap();
    process.publish(&document("other", &image)).await.expect(201);
}
