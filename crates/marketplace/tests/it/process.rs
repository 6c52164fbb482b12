//! The binary as a process of a test's own: started, killed and started again on the same state.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use reqwest::Method;
use serde_json::Value;

use crate::market::{ADDONS, Answer, eventually};
use crate::registry::Registry;

/// The binary, on the state in this folder.
pub(crate) fn marketplace(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marketplace"));
    command.env_clear().env("MARKETPLACE__STATE_DIR", folder);
    command
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// What a command that fails says.
pub(crate) fn refusal(command: &mut Command) -> String {
    let output = run(command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it did not fail: {said}");
    said
}

/// A process that ends with its test.
pub(crate) struct Process {
    child: Child,
    pub(crate) url: String,
    token: String,
    http: reqwest::Client,
}

impl Process {
    /// Starts it, and waits until it is ready.
    pub(crate) async fn start(folder: &Path, registry: &Registry) -> Self {
        Self::start_with(folder, registry, &[]).await
    }

    /// The same with these settings, by their variables.
    pub(crate) async fn start_with(folder: &Path, registry: &Registry, settings: &[(&str, &str)]) -> Self {
        let mut process = Self::spawn(folder, registry, settings);
        eventually("it is ready", || async {
            let answer = process.http.get(format!("{}/readyz", process.url)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        let file = folder.join("admin-token");
        process.token = std::fs::read_to_string(file).map_or(String::new(), |token| token.trim().to_owned());
        process
    }

    /// Starts it without waiting.
    pub(crate) fn spawn(folder: &Path, registry: &Registry, settings: &[(&str, &str)]) -> Self {
        let config = folder.join("marketplace.toml");
        // Not written again: the disk may be full by now.
        if !config.exists() {
            let host = registry.host();
            std::fs::write(&config, format!("[registries.\"{host}\"]\ninsecure = true\n")).unwrap();
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = marketplace(folder)
            .arg("--config")
            .arg(&config)
            .env("MARKETPLACE__SERVER__PORT", port.to_string())
            .env("MARKETPLACE__VERIFICATION__RETRY_BASE_MS", "50")
            .env("MARKETPLACE__LOG__LEVEL", "error")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { child, url: format!("http://127.0.0.1:{port}"), token: String::new(), http }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The administrator's token, where it was made in the state folder.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&mut self) {
        assert!(run(Command::new("kill").args(["-TERM", &self.id().to_string()])).status.success());
        assert!(self.ended().success());
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Whether it runs no more.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// The most memory that it had so far, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// As the administrator; `None` where no answer came.
    pub(crate) async fn try_send(&self, method: Method, path: &str, body: Option<&Value>) -> Option<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Some(Answer { status, headers, text: response.text().await.ok()? })
    }

    /// As the administrator.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        self.try_send(method, path, body).await.expect("it answers")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn publish(&self, document: &Value) -> Answer {
        self.send(Method::POST, ADDONS, Some(document)).await
    }

    pub(crate) async fn release(&self, id: &str) -> Value {
        self.get(&format!("{ADDONS}/{id}")).await.json()
    }

    pub(crate) async fn until(&self, id: &str, status: &str) -> Value {
        eventually(&format!("{id} is {status}"), || async {
            let release = self.release(id).await;
            (release["status"] == status).then_some(release)
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
