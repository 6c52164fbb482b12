//! One test's world: what is in it, how it begins, and what is shown when a test fails.

use std::fs;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use bollard::Docker;
use futures_util::FutureExt;

use crate::engine::Engine;
use crate::images::Registry;
use crate::isolation::Isolation;
use crate::services::{Manager, Marketplace, Setup};

/// Longest time of one test. Past it something hangs, and the logs are worth more than the wait.
const TEST_LIMIT: Duration = Duration::from_secs(120);
/// Lines of each log that a failed test shows.
const SHOWN_LINES: usize = 60;

/// An engine, a registry, and a place for everything else.
pub struct World {
    /// The private Docker Engine.
    pub engine: Engine,
    /// A client of it.
    pub docker: Docker,
    /// The registry, on `127.0.0.1:5000`.
    pub registry: Registry,
    folder: PathBuf,
    // Last: what stands above lives in it.
    isolation: Isolation,
}

/// Runs a test in a world of its own. Its error, or panic, fails the calling test, after the logs of everything.
pub fn run(test: impl AsyncFnOnce(&mut World) -> anyhow::Result<()> + Send) {
    run_for(TEST_LIMIT, test);
}

/// The same with another limit, for a test that is slow by nature.
pub fn run_for(limit: Duration, test: impl AsyncFnOnce(&mut World) -> anyhow::Result<()> + Send) {
    // A thread of its own, because a thread that has left the host's namespaces cannot come back.
    let outcome = std::thread::scope(|scope| scope.spawn(|| run_isolated(limit, test)).join());
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => panic!("{error:?}"),
        Err(panic) => resume_unwind(panic),
    }
}

fn run_isolated(
    limit: Duration,
    test: impl AsyncFnOnce(&mut World) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let isolation = Isolation::enter()?;
    // One thread: a child process is told to end with the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let folder = isolation.folder.clone();
        let mut world = match World::start(isolation).await {
            Ok(world) => world,
            Err(error) => {
                show_logs(&folder);
                return Err(error);
            }
        };
        let test = AssertUnwindSafe(tokio::time::timeout(limit, test(&mut world))).catch_unwind().await;
        let outcome = match test {
            Ok(Ok(Ok(()))) => Ok(Ok(())),
            Ok(Ok(Err(error))) => Ok(Err(error)),
            Ok(Err(_)) => Ok(Err(anyhow::anyhow!("the test was not done within {limit:?}"))),
            Err(panic) => Err(panic),
        };
        if !matches!(outcome, Ok(Ok(()))) {
            // First what is the matter: a reader may get no more than the beginning.
            if let Ok(Err(error)) = &outcome {
                say(&format!("--- {error:#}"));
            }
            world.show().await;
        }
        world.end().await;
        match outcome {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic),
        }
    })
}

impl World {
    async fn start(isolation: Isolation) -> anyhow::Result<Self> {
        let folder = isolation.folder.clone();
        let mut engine = Engine::start_in(&isolation).await?;
        let registry = Registry::start(&mut engine, &folder).await?;
        Ok(Self { docker: engine.docker.clone(), engine, registry, folder, isolation })
    }

    /// A folder of this world, made when it is missing. It lies in memory and ends with the world.
    pub fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// Starts a marketplace that takes images from this world's registry, and waits until it is ready.
    pub async fn marketplace(&self, setup: Setup) -> anyhow::Result<Marketplace> {
        Marketplace::start(self, setup).await
    }

    /// Starts an addons manager of this world's engine, and waits until it is ready.
    pub async fn manager(&self, setup: Setup) -> anyhow::Result<Manager> {
        Manager::start(self, setup).await
    }

    /// Prints what a person needs to see why a test failed.
    async fn show(&self) {
        let listing =
            tokio::time::timeout(Duration::from_secs(5), crate::observe::describe(&self.docker)).await;
        say(&format!("--- containers\n{}", listing.unwrap_or_else(|_| "the engine does not answer".into())));
        show_logs(&self.folder);
    }

    async fn end(self) {
        self.engine.destroy().await;
        drop(self.isolation);
    }
}

fn show_logs(folder: &Path) {
    let entries = fs::read_dir(folder.join("logs")).into_iter().flatten().flatten();
    let mut logs: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    // What the engine's own programs say is much, and seldom the matter.
    let is_engine =
        |log: &PathBuf| log.file_stem().is_some_and(|name| name == "containerd" || name == "dockerd");
    logs.sort_by_key(|log| (is_engine(log), log.clone()));
    for log in logs {
        let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        say(&format!("--- {} (last {} of {} lines)", log.display(), shown.len(), lines.len()));
        say(&shown.join("\n"));
    }
}

#[expect(clippy::print_stderr, reason = "the test runner shows it with the test that failed")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// The folder in which Cargo puts the binaries of this profile: the one that this test was built into.
pub fn target_folder() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(Path::parent).context("a test lies in <target>/<profile>/deps")?;
    Ok(folder.to_owned())
}

/// The static demo addon, which `scripts/demo-addon.sh` builds.
pub fn demo_addon() -> anyhow::Result<PathBuf> {
    let folder = target_folder()?;
    let binary =
        folder.parent().context("a profile lies in the target folder")?.join("demo-addon/demo-addon");
    ensure!(binary.exists(), "{} is missing: build it with `scripts/demo-addon.sh`", binary.display());
    Ok(binary)
}
