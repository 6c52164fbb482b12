//! The two services as the processes that users run: started, killed and started again on the same state.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use addon_client::{
    ClientError, ClientOptions, InstallRequest, Installation, InstallationId, InstallationStatus,
    ManagerClient, MarketplaceClient, Release, ReleaseId, ReleaseStatus,
};
use anyhow::{Context, bail, ensure};
use nix::sys::signal;
use nix::unistd::Pid;
use reqwest::{Client, Method, RequestBuilder, header};
use serde_json::Value;
use url::Url;

use crate::engine::Signal;
use crate::wait::eventually;
use crate::world::{World, target_folder};

/// Longest wait for a service to be ready, on a machine that does much else.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Longest wait for a service to end after SIGTERM; its own limit is 5 s.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for a release or an installation to come to a status.
const STATUS_LIMIT: Duration = Duration::from_secs(45);
/// Limit of one request of a test.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// How a service is started. The default is what a user gets who configures nothing but where the registry and the
/// engine are.
#[derive(Debug, Clone)]
pub struct Setup {
    name: Option<String>,
    port: Option<u16>,
    marketplace: Option<String>,
    docker_host: Option<String>,
    registries: Vec<String>,
    settings: Vec<(String, String)>,
    without_token: bool,
    token_file: Option<PathBuf>,
    before: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            name: None,
            port: None,
            marketplace: None,
            docker_host: None,
            registries: vec!["127.0.0.1:5000".to_owned()],
            settings: Vec::new(),
            without_token: false,
            token_file: None,
            before: Vec::new(),
        }
    }
}

impl Setup {
    /// A second service of a kind needs another name, which its state and log are called by, and another port.
    #[must_use]
    pub fn second(mut self, name: &str, port: u16) -> Self {
        self.name = Some(name.to_owned());
        self.port = Some(port);
        self
    }

    /// Another address for the marketplace than its own: that of a proxy before it.
    #[must_use]
    pub fn marketplace_at(mut self, base_url: impl Into<String>) -> Self {
        self.marketplace = Some(base_url.into());
        self
    }

    /// Another engine than the world's, as `unix:///path`: a proxy before it.
    #[must_use]
    pub fn docker_host(mut self, host: impl Into<String>) -> Self {
        self.docker_host = Some(host.into());
        self
    }

    /// One more registry that is spoken to without TLS, as `host:port`.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "an address or a text, as it is at the call")]
    pub fn registry(mut self, host: impl ToString) -> Self {
        self.registries.push(host.to_string());
        self
    }

    /// A setting by its dotted name; it goes by way of the environment: `platform.prefix` is `…__PLATFORM__PREFIX`.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a number or a text, as it is at the call")]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// The administrator's token is that of another replica, in this file.
    #[must_use]
    pub fn token_of(mut self, file: &Path) -> Self {
        self.token_file = Some(file.to_owned());
        self
    }

    /// A command of the service that is run before its first start, as `restore`.
    #[must_use]
    pub fn before(mut self, arguments: &[&str]) -> Self {
        self.before = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self
    }

    /// Everybody is an administrator, as clients that know no tokens need it.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.without_token = true;
        self.set("auth.mode", "open")
    }
}

/// One process of a service, and its state folder.
pub struct Service {
    name: String,
    binary: PathBuf,
    prefix: &'static str,
    state: PathBuf,
    config: PathBuf,
    log: PathBuf,
    settings: Vec<(String, String)>,
    ahead: Option<String>,
    base_url: Url,
    http: Client,
    token: Option<String>,
    child: Option<Child>,
}

/// What a raw request was answered with.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: header::HeaderMap,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// The body as JSON, `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// A header as text, empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Service {
    fn new(world: &World, kind: &Kind, setup: &Setup) -> anyhow::Result<Self> {
        let name = setup.name.clone().unwrap_or_else(|| kind.binary.to_owned());
        let port = setup.port.unwrap_or(kind.port);
        let binary = target_folder()?.join(kind.binary);
        ensure!(
            binary.exists(),
            "{} is missing: build it with `cargo build --bin {}` (and `--release` for a release test)",
            binary.display(),
            kind.binary
        );
        let state = world.folder(&format!("state-{name}"))?;
        let config = world.folder("config")?.join(format!("{name}.toml"));
        let registries =
            setup.registries.iter().map(|host| format!("[registries.\"{host}\"]\ninsecure = true\n"));
        fs::write(&config, registries.collect::<String>())?;
        let mut settings = vec![
            ("server.port".to_owned(), port.to_string()),
            ("state_dir".to_owned(), state.display().to_string()),
        ];
        settings.extend((kind.settings)(world, setup));
        settings.extend(setup.settings.clone());
        Ok(Self {
            log: world.folder("logs")?.join(format!("{name}.log")),
            name,
            binary,
            prefix: kind.prefix,
            state,
            config,
            settings,
            ahead: None,
            base_url: Url::parse(&format!("http://127.0.0.1:{port}"))?,
            http: Client::builder().no_proxy().timeout(CALL_LIMIT).build()?,
            token: None,
            child: None,
        })
    }

    /// Runs a command of the service, with the settings that the service has. Answers what it printed.
    pub fn command(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.invocation()?.args(arguments).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} ended with {}: {said}", arguments.join(" "), output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The binary with its settings.
    fn invocation(&self) -> anyhow::Result<Command> {
        // The child is killed with the thread that started it, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.binary).arg("--config").arg(&self.config);
        command.env_clear().env("RUST_BACKTRACE", "1");
        if let Some(ahead) = &self.ahead {
            // Only what the time of day is: waits and timers go on as ever.
            command.env("LD_PRELOAD", faketime()?).env("FAKETIME", ahead).env("DONT_FAKE_MONOTONIC", "1");
        }
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        for (key, value) in &self.settings {
            command.env(format!("{}__{}", self.prefix, key.to_uppercase().replace('.', "__")), value);
        }
        Ok(command)
    }

    /// Starts the process without waiting for anything.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = self.invocation()?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("cannot start `setpriv` (package util-linux)")?);
        Ok(())
    }

    /// Starts the process and waits until it says that it is ready. Answers how long that took.
    pub async fn start(&mut self) -> anyhow::Result<Duration> {
        self.spawn()?;
        let url = self.url("/readyz");
        let http = self.http.clone();
        let name = self.name.clone();
        let (_, took) = eventually(&format!("{name} is ready"), START_LIMIT, async || {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                // Ended before it was ready: no use in waiting out the limit.
                return Ok(Err(anyhow::anyhow!("{name} ended with {status}; see its log")));
            }
            http.get(&url).send().await?.error_for_status()?;
            Ok(Ok(()))
        })
        .await
        .and_then(|(ended, took)| Ok((ended?, took)))?;
        Ok(took)
    }

    /// From its next start on its clock is ahead by that much, as `+11m`.
    pub fn set_ahead(&mut self, by: &str) {
        self.ahead = Some(by.to_owned());
    }

    /// Sends a signal and waits for the end. Answers how it ended and how long that took.
    pub async fn stop(&mut self, signal: Signal) -> anyhow::Result<(ExitStatus, Duration)> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        let kind = match signal {
            Signal::Term => signal::Signal::SIGTERM,
            Signal::Kill => signal::Signal::SIGKILL,
        };
        signal::kill(Pid::from_raw(i32::try_from(child.id())?), kind)?;
        eventually(&format!("{} ends", self.name), STOP_LIMIT, async || {
            child.try_wait()?.context("it still runs")
        })
        .await
    }

    /// `http://127.0.0.1:<port>` and a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url.as_str().trim_end_matches('/'))
    }

    /// The administrator's token.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Its state folder.
    pub fn state(&self) -> &PathBuf {
        &self.state
    }

    /// What it has logged so far, of all its processes.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// A variable that the process runs with.
    pub fn variable(&self, name: &str) -> anyhow::Result<Option<String>> {
        let id = self.child.as_ref().map(Child::id).with_context(|| format!("{} does not run", self.name))?;
        let all = String::from_utf8(fs::read(format!("/proc/{id}/environ"))?)?;
        let found = all.split('\0').find_map(|variable| variable.strip_prefix(name)?.strip_prefix('='));
        Ok(found.map(str::to_owned))
    }

    /// Resident memory of the process, in bytes.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let id = self.child.as_ref().map(Child::id).with_context(|| format!("{} does not run", self.name))?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process has a VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
    }

    /// Time that the process has had a processor for so far, in steps of 10 ms.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        let id = self.child.as_ref().map(Child::id).with_context(|| format!("{} does not run", self.name))?;
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        // proc(5): after the name in brackets `utime` and `stime` are the 12th and 13th words, in hundredths of a second.
        let words = stat.rsplit_once(')').context("a process has a name")?.1.split_ascii_whitespace();
        let hundredths: u64 = words.skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(hundredths * 10))
    }

    /// A request with the administrator's token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.anonymous(method, path);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// A request without a token.
    pub fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// Sends a request and reads its answer, whatever the status.
    pub async fn send(&self, request: RequestBuilder) -> anyhow::Result<Answer> {
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { status, headers, text: answer.text().await? })
    }

    /// `GET` with the administrator's token.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(self.request(Method::GET, path)).await
    }

    /// `POST` of JSON with the administrator's token.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    fn client_options(&self) -> ClientOptions {
        ClientOptions::new(self.base_url.clone()).with_token(self.token.clone())
    }

    /// Reads the token that the first start wrote; a test that removes a service's state has to ask for it.
    pub fn reread_token(&mut self) -> anyhow::Result<()> {
        let file = self.state.join("admin-token");
        self.read_token(&file)
    }

    fn read_token(&mut self, file: &Path) -> anyhow::Result<()> {
        let token =
            fs::read_to_string(file).with_context(|| format!("no first token in {}", file.display()))?;
        self.token = Some(token.trim().to_owned());
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ended_already = child.kill();
            let _reaped = child.wait();
        }
    }
}

fn waiting_helps(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Problem { retry_after_s: Some(_), .. }))
}

fn faketime() -> anyhow::Result<PathBuf> {
    let folders =
        fs::read_dir("/usr/lib")?.flatten().map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    folders
        .into_iter()
        .find(|library| library.exists())
        .context("libfaketime is missing (package libfaketime); `scripts/setup.sh faketime` installs it")
}

/// What tells one service from the other.
struct Kind {
    binary: &'static str,
    prefix: &'static str,
    port: u16,
    settings: fn(&World, &Setup) -> Vec<(String, String)>,
}

/// A running marketplace.
pub struct Marketplace {
    /// The process.
    pub service: Service,
    /// A client with the administrator's token.
    pub client: MarketplaceClient,
}

impl Marketplace {
    pub(crate) async fn start(world: &World, setup: Setup) -> anyhow::Result<Self> {
        let kind =
            Kind { binary: "marketplace", prefix: "MARKETPLACE", port: 11102, settings: |_, _| Vec::new() };
        let mut service = Service::new(world, &kind, &setup)?;
        if !setup.before.is_empty() {
            let arguments: Vec<&str> = setup.before.iter().map(String::as_str).collect();
            service.command(&arguments)?;
        }
        service.start().await?;
        match &setup.token_file {
            _ if setup.without_token => (),
            Some(file) => service.read_token(file)?,
            None => service.reread_token()?,
        }
        let client = MarketplaceClient::new(service.client_options())?;
        Ok(Self { service, client })
    }

    /// Publishes a document.
    pub async fn publish(&self, document: &Value) -> anyhow::Result<Release> {
        Ok(self.client.publish(document.to_string()).await?)
    }

    /// A release by its id.
    pub async fn release(&self, id: ReleaseId) -> anyhow::Result<Release> {
        self.client.get(id).await?.with_context(|| format!("there is no release {id}"))
    }

    /// Waits until a release has that status.
    pub async fn reaches(&self, id: ReleaseId, status: ReleaseStatus) -> anyhow::Result<(Release, Duration)> {
        eventually(&format!("release {id} is {}", status.as_str()), STATUS_LIMIT, async || {
            let release = self.release(id).await?;
            ensure!(release.status == status, "it is {}", release.status.as_str());
            Ok(release)
        })
        .await
    }

    /// Publishes a document and waits until it is approved.
    pub async fn approved(&self, document: &Value) -> anyhow::Result<Release> {
        let release = self.publish(document).await?;
        Ok(self.reaches(release.id, ReleaseStatus::Approved).await?.0)
    }
}

/// A running addons manager.
pub struct Manager {
    /// The process.
    pub service: Service,
    /// A client with the administrator's token.
    pub client: ManagerClient,
}

impl Manager {
    pub(crate) async fn start(world: &World, setup: Setup) -> anyhow::Result<Self> {
        let settings = |world: &World, setup: &Setup| {
            let marketplace =
                setup.marketplace.clone().unwrap_or_else(|| "http://127.0.0.1:11102".to_owned());
            let host = setup.docker_host.clone().unwrap_or_else(|| world.engine.host());
            vec![("marketplace.url".to_owned(), marketplace), ("docker.host".to_owned(), host)]
        };
        let kind = Kind { binary: "addons-manager", prefix: "ADDONS_MANAGER", port: 11101, settings };
        let mut service = Service::new(world, &kind, &setup)?;
        service.start().await?;
        if !setup.without_token {
            service.reread_token()?;
        }
        let client = ManagerClient::new(service.client_options())?;
        Ok(Self { service, client })
    }

    /// Asks for an installation of a release.
    pub async fn install(&self, release: &Release) -> anyhow::Result<Installation> {
        let body =
            InstallRequest { marketplace_id: Some(release.id.to_string()), ..InstallRequest::default() };
        Ok(self.client.install(&body).await?)
    }

    /// The same under another name than the addon's own.
    pub async fn install_as(&self, release: &Release, name: &str) -> anyhow::Result<Installation> {
        let body = InstallRequest {
            marketplace_id: Some(release.id.to_string()),
            name: Some(name.to_owned()),
            ..InstallRequest::default()
        };
        Ok(self.client.install(&body).await?)
    }

    /// An installation by its id.
    pub async fn installation(&self, id: InstallationId) -> anyhow::Result<Installation> {
        self.client.get(id).await?.with_context(|| format!("there is no installation {id}"))
    }

    /// Waits until an installation has that status.
    pub async fn reaches(
        &self,
        id: InstallationId,
        status: InstallationStatus,
    ) -> anyhow::Result<(Installation, Duration)> {
        eventually(&format!("installation {id} is {status}"), STATUS_LIMIT, async || {
            let installation = self.installation(id).await?;
            if installation.status != status {
                let services: Vec<String> = installation
                    .service_states
                    .iter()
                    .map(|service| {
                        format!("{} {:?} {:?}", service.service_name, service.state, service.waiting)
                    })
                    .collect();
                bail!(
                    "it is {}: {}; {:?}",
                    installation.status,
                    services.join(", "),
                    installation.conditions
                );
            }
            Ok(installation)
        })
        .await
    }

    /// Installs a release and waits until it is active. While the answer is that waiting helps, because something of
    /// that name is still being removed, it is asked for again.
    pub async fn installed(&self, release: &Release) -> anyhow::Result<Installation> {
        let (asked, _) = eventually("the installation is accepted", STATUS_LIMIT, async || {
            match self.install(release).await {
                Err(error) if waiting_helps(&error) => Err(error),
                answer => Ok(answer),
            }
        })
        .await?;
        let installation = asked?;
        Ok(self.reaches(installation.id, InstallationStatus::Active).await?.0)
    }

    /// Removes an installation, disabled or not, and waits until its containers and networks are gone.
    pub async fn uninstalled(
        &self,
        world: &World,
        installation: &Installation,
        volumes: bool,
    ) -> anyhow::Result<()> {
        self.client.uninstall(installation.id, volumes).await?;
        let name = &installation.name;
        eventually(&format!("nothing of {name} is left"), STATUS_LIMIT, async || {
            let names = world.container_names().await?;
            ensure!(!names.iter().any(|container| container.contains(name)), "containers: {names:?}");
            let names = world.network_names().await?;
            ensure!(
                !names.iter().any(|network| network.starts_with(&format!("{name}_"))),
                "networks: {names:?}"
            );
            Ok(())
        })
        .await?;
        Ok(())
    }
}
