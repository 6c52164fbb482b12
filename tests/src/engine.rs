//! A private Docker Engine: its own containerd, data, sockets, control groups and process namespace.
//!
//! It can be stopped, killed and started again with the data that it had. Measured on two cores: half a second from
//! nothing to an answer.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bollard::Docker;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::isolation::Isolation;
use crate::wait::eventually;

/// Longest wait for a daemon to answer, in a machine that does much else.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Limit of one call to the engine, in seconds.
const CALL_LIMIT: u64 = 60;

/// What a process can be sent; the engine's own daemons and the services both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ends in good order.
    Term,
    /// Ends at once.
    Kill,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Term => "TERM",
            Self::Kill => "KILL",
        })
    }
}

/// A running engine.
pub struct Engine {
    /// A client of it, for what a test does to containers behind the manager's back.
    pub docker: Docker,
    folder: PathBuf,
    command: String,
    supervisor: Supervisor,
}

impl Engine {
    /// Starts an engine in this world and waits until it answers.
    pub(crate) async fn start_in(isolation: &Isolation) -> anyhow::Result<Self> {
        for (program, package) in [
            ("dockerd", "docker.io"),
            ("containerd", "containerd"),
            ("runc", "runc"),
            ("iptables", "iptables"),
        ] {
            ensure!(
                is_installed(program),
                "`{program}` is missing (package {package}); `scripts/setup.sh engine` installs what the tests need"
            );
        }
        let folder = isolation.folder.clone();
        for part in ["run", "logs", "containerd", "docker"] {
            fs::create_dir_all(folder.join(part))?;
        }
        // The registry at the bridge's address, for those who reach it from within a container.
        fs::write(folder.join("daemon.json"), r#"{"insecure-registries": ["172.17.0.1:5000"]}"#)?;
        let world = folder.display();
        fs::write(
            folder.join("containerd.toml"),
            format!(
                "version = 2\nroot = \"{world}/containerd/root\"\nstate = \"{world}/containerd/state\"\n\
                 disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
                 [grpc]\naddress = \"{world}/run/containerd.sock\"\n"
            ),
        )?;
        let mut supervisor = Supervisor::start(&folder).await?;
        supervisor.run(&format!("start containerd containerd --config {world}/containerd.toml")).await?;
        listens(&folder.join("run/containerd.sock")).await?;
        let command = start_command(&folder, &isolation.name);
        supervisor.run(&command).await?;
        // The client refuses a socket that is not there yet.
        let socket = folder.join("run/docker.sock");
        listens(&socket).await?;
        let socket = socket.to_str().context("a path of ours is UTF-8")?;
        let docker = Docker::connect_with_unix(socket, CALL_LIMIT, bollard::API_DEFAULT_VERSION)?;
        let engine = Self { docker, folder, command, supervisor };
        engine.answers().await?;
        Ok(engine)
    }

    /// Where it listens, as `docker.host` and `DOCKER_HOST` have it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The socket it listens on.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("run/docker.sock")
    }

    /// Starts the daemon, with the data that it had, and waits until it answers.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        // One that was killed leaves its id behind, and would find somebody else under it.
        let _removed = fs::remove_file(self.folder.join("run/dockerd.pid"));
        self.supervisor.run(&self.command).await?;
        self.answers().await
    }

    async fn answers(&self) -> anyhow::Result<()> {
        eventually("the engine answers", START_LIMIT, async || Ok(self.docker.ping().await?)).await?;
        Ok(())
    }

    /// Ends the daemon and waits until it has ended. With `Term` its containers are stopped first, as when a machine
    /// goes down; with `Kill` they are left as they are.
    pub async fn stop(&mut self, signal: Signal) -> anyhow::Result<()> {
        self.supervisor.run(&format!("end dockerd {signal}")).await
    }

    /// Stops the daemon's threads: it takes connections and answers nothing, until `resume`.
    pub async fn freeze(&mut self) -> anyhow::Result<()> {
        self.supervisor.run("hold dockerd STOP").await
    }

    /// Undoes `freeze`.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        self.supervisor.run("hold dockerd CONT").await
    }

    /// Starts a program of the world beside the engine, its output in `logs/<name>.log`.
    pub(crate) async fn start_beside(&mut self, name: &str, command: &str) -> anyhow::Result<()> {
        self.supervisor.run(&format!("start {name} {command}")).await
    }

    /// Ends a program that `start_beside` started.
    pub(crate) async fn end_beside(&mut self, name: &str, signal: Signal) -> anyhow::Result<()> {
        self.supervisor.run(&format!("end {name} {signal}")).await
    }

    /// Ends everything at once.
    pub(crate) async fn destroy(mut self) {
        drop(self.supervisor.input);
        // It ends when its input does; the children's parent is killed with it, so there is nothing to wait for after.
        let _ended = tokio::time::timeout(Duration::from_secs(10), self.supervisor.child.wait()).await;
    }
}

fn start_command(folder: &Path, group: &str) -> String {
    let world = folder.display();
    format!(
        "start dockerd dockerd --config-file {world}/daemon.json --host unix://{world}/run/docker.sock \
         --containerd {world}/run/containerd.sock --data-root {world}/docker --exec-root {world}/run/docker \
         --pidfile {world}/run/dockerd.pid --cgroup-parent /{group}"
    )
}

async fn listens(socket: &Path) -> anyhow::Result<()> {
    eventually(&format!("somebody listens on {}", socket.display()), START_LIMIT, async || {
        ensure!(socket.exists(), "no socket yet");
        Ok(())
    })
    .await?;
    Ok(())
}

/// Whether a program is in the usual places: `PATH` of a service or a `su` often lacks the `sbin` ones.
pub(crate) fn is_installed(program: &str) -> bool {
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).exists())
}

/// `engine.sh`, and the two pipes to it.
struct Supervisor {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Supervisor {
    async fn start(folder: &Path) -> anyhow::Result<Self> {
        let script = folder.join("engine.sh");
        fs::write(&script, include_str!("engine.sh"))?;
        let mut child = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child=KILL",
                "--propagation",
                "private",
                "--mount-proc",
            ])
            .arg("bash")
            .arg(&script)
            .arg(folder)
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(folder.join("logs/supervisor.log"))?)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start `unshare` (package util-linux)")?;
        let input = child.stdin.take().context("it was asked for")?;
        let output = BufReader::new(child.stdout.take().context("it was asked for")?).lines();
        let mut supervisor = Self { child, input, output };
        supervisor.answer("setting up").await?;
        Ok(supervisor)
    }

    async fn run(&mut self, command: &str) -> anyhow::Result<()> {
        self.input.write_all(format!("{command}\n").as_bytes()).await?;
        self.answer(command).await
    }

    async fn answer(&mut self, command: &str) -> anyhow::Result<()> {
        match self.output.next_line().await?.as_deref() {
            Some("done 0") => Ok(()),
            Some(other) => bail!("the engine's supervisor answered {other:?} to: {command}"),
            None => bail!("the engine's supervisor ended during: {command} (logs/supervisor.log says why)"),
        }
    }
}
