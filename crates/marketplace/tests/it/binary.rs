//! The binary as users run it: its command line, its signals, and what a killed process leaves behind.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use crate::market::{ADDONS, document, eventually};
use crate::process::{Process, marketplace, run};
use crate::registry::Registry;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_was_verifying_is_verified() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let slow = registry.switch(ResponseTemplate::new(500).set_delay(Duration::from_secs(5))).await;
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), &registry).await;
    let token = std::fs::read_to_string(folder.path().join("admin-token")).unwrap();
    let mut ids = Vec::new();
    for n in 0..12 {
        let request =
            reqwest::Client::new().post(format!("{}{ADDONS}", process.url)).bearer_auth(token.trim());
        let answer = request.json(&document(&format!("probe-{n}"), &image)).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        ids.push(answer.json::<Value>().await.unwrap()["_id"].as_str().unwrap().to_owned());
    }
    // Of the room for 8, a quarter is not for one publisher.
    eventually("it is asking", || async { (registry.requests().await.len() >= 6).then_some(()) }).await;
    process.kill();
    slow.off();
    let process = Process::start(folder.path(), &registry).await;
    for id in &ids {
        eventually("it is approved", || async {
            (process.release(id).await["status"] == "approved").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_stops_it_in_order_and_in_time() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let _slow = registry.switch(ResponseTemplate::new(500).set_delay(Duration::from_secs(30))).await;
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), &registry).await;
    let token = std::fs::read_to_string(folder.path().join("admin-token")).unwrap();
    let request = reqwest::Client::new().post(format!("{}{ADDONS}", process.url)).bearer_auth(token.trim());
    assert_eq!(request.json(&document("probe", &image)).send().await.unwrap().status(), 201);
    eventually("it is asking", || async { (!registry.requests().await.is_empty()).then_some(()) }).await;
    let begun = Instant::now();
    let pid = process.id().to_string();
    assert!(run(Command::new("kill").args(["-TERM", &pid])).status.success());
    let status = process.ended();
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_command_line_is_good() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &registry).await;
    let made =
        run(marketplace(folder.path()).args(["token", "create", "--account", "ci", "--scope", "publish"]));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let token = String::from_utf8(made.stdout).unwrap();
    let request = reqwest::Client::new().post(format!("{}{ADDONS}", process.url)).bearer_auth(token.trim());
    let answer = request.json(&document("probe", "registry.invalid/a:1")).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.json::<Value>().await.unwrap()["publisher"], json!("ci"));
    let wrong =
        run(marketplace(folder.path()).args(["token", "create", "--account", "ci", "--scope", "operate"]));
    assert!(!wrong.status.success());
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("operate"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_one_on_the_same_state_does_not_start() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &registry).await;
    let second = run(marketplace(folder.path()).env("MARKETPLACE__SERVER__PORT", "0"));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains("in use by another marketplace"), "{said}");
    drop(process);
    // A process that was killed leaves no lock behind.
    Process::start(folder.path(), &registry).await;
}

#[test]
fn settings_are_shown_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let shown = run(marketplace(folder.path())
        .arg("--print-config")
        .env("HTTPS_PROXY", "http://me:geheim@proxy.example:3128")
        .env("ADDON_MARKETPLACE_PORT", "4711"));
    assert!(shown.status.success());
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("port = 4711") && text.contains("retry_base_ms = 2000"), "{text}");
    assert!(!text.contains("geheim"), "{text}");
}

#[test]
fn a_reader_that_has_gone_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let shown = marketplace(folder.path())
        .arg("--print-config")
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(Child::wait_with_output)
        .unwrap();
    assert!(shown.status.success(), "{shown:?}");
    assert!(shown.stderr.is_empty(), "{shown:?}");
    // Unlike a disk that is full.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let shown = marketplace(folder.path())
        .arg("--print-config")
        .stdin(Stdio::null())
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(Child::wait_with_output)
        .unwrap();
    assert!(!shown.status.success() && !shown.stderr.is_empty(), "{shown:?}");
}

#[test]
fn settings_that_cannot_be_used_end_it_with_what_to_change() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("x.toml");
    std::fs::write(&config, "[registries.\"localhost:5000\"]\ninsecure = true\n").unwrap();
    let argument = config.to_str().unwrap();
    for (variable, value, expected) in [
        ("MARKETPLACE__SERVR__PORT", "1", "did you mean server?"),
        ("MARKETPLACE__VERIFICATION__PARALLEL", "0", "verification.parallel"),
        ("MARKETPLACE__SERVER__ADDRESS", "0.0.0.0", "server.address"),
        ("MARKETPLACE__DOCKER__CONFIG_FILE", "/nowhere/config.json", "/nowhere/config.json"),
        ("MARKETPLACE__AUTH__MODE", "opened", "`token` or `open`"),
        ("MARKETPLACE__REVIEW__HOLD", "danger", "`normal`, `takeover`, `dangerous`"),
        ("MARKETPLACE__LOG__LEVEL", "shout", "\"shout\" is no level"),
        ("MARKETPLACE__SERVER__CORS_ORIGINS", "*", "scheme://host"),
        ("MARKETPLACE__SERVER__BODY_LIMIT_BYTES", "0", "server.body_limit_bytes"),
    ] {
        let ended = run(marketplace(folder.path()).args(["--config", argument]).env(variable, value));
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && said.contains(expected), "{variable}: {said}");
    }
}
