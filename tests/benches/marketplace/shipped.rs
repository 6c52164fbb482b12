//! The binary that users run, on a filled database: how long its first index takes, and how much memory it and its commands need.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use marketplace::storage::Signed;
use system_tests::{eventually, target_folder};

use crate::fill::{self, Draw};
use crate::load;
use crate::measure::{LIST, cold};
use crate::report::Column;

/// Longest wait for the binary to do a thing.
const LIMIT: Duration = Duration::from_secs(900);
/// One load.
const ROUND: Duration = Duration::from_secs(3);
/// Different paths of a load.
const PATHS: usize = 2_000;

const KIB_OF_MIB: f64 = 1024.0;

/// A process of the binary, killed when it is dropped.
struct Process(Child);

impl Process {
    fn start(column: &Column, port: u16, arguments: &[&str]) -> anyhow::Result<Self> {
        let binary = target_folder()?.join("marketplace");
        ensure!(binary.exists(), "{} is missing: cargo build --release --bin marketplace", binary.display());
        let mut command = Command::new(binary);
        command
            .args(arguments)
            .env("MARKETPLACE__STATE_DIR", &column.state)
            .env("MARKETPLACE__SERVER__PORT", port.to_string())
            // Nothing is verified: there is no registry.
            .env("MARKETPLACE__VERIFICATION__RECHECK_HOURS", "0")
            .env("MARKETPLACE__LOG__LEVEL", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if let Some(url) = &column.url {
            command.env("MARKETPLACE__DATABASE__URL", url);
        }
        Ok(Self(command.spawn()?))
    }

    /// A line of what the kernel says of its memory, in MiB: `VmRSS` now, `VmHWM` the most so far.
    fn memory(&self, line: &str) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
        let kib = value.and_then(|value| value.trim().strip_suffix(" kB")).context("it runs")?;
        Ok(kib.parse::<f64>()? / KIB_OF_MIB)
    }

    /// The most begins anew from now.
    fn forget_most(&self) -> anyhow::Result<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.0.id()), "5")?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// The service's first start on a full database: the index of everything, and what it is like afterwards.
pub(crate) async fn first_index(column: &mut Column) -> anyhow::Result<()> {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let process = Process::start(column, port, &[])?;
    let storage = column.storage.clone();
    let (_, took) = eventually("everything is in a signed index", LIMIT, async || {
        process.memory("VmRSS")?;
        let (state, signed) = (storage.index_state().await?, storage.signed(Signed::Index).await?);
        let covers = signed.is_some_and(|index| index.covers == state.built);
        ensure!(covers && !state.changes && !state.unbuilt, "{state:?}");
        Ok(())
    })
    .await?;
    column.plain("first signed index of everything", took.as_secs_f64(), "s");
    column.at_most("  most memory of the service meanwhile", process.memory("VmHWM")?, "MiB", 60.0);
    eventually("the audit log is chained", LIMIT, async || {
        ensure!(!storage.audit_is_behind().await?, "it is behind");
        Ok(())
    })
    .await?;
    column.at_most("memory of the service, idle", process.memory("VmRSS")?, "MiB", 20.0);

    let mut draw = Draw(11);
    let releases = cold(&storage, PATHS).await?;
    let lists = (0..PATHS).map(|_| format!("{LIST}?limit=1000&cursor={}", draw.below(1_000_000)));
    let searches = (0..PATHS).map(|number| format!("{LIST}?limit=20&q={}", fill::query(number)));
    for (what, paths) in [
        ("memory of the service under load: releases", releases),
        ("memory of the service under load: searches", searches.collect()),
        ("memory of the service under load: lists of 1,000", lists.collect()),
    ] {
        process.forget_most()?;
        tokio::task::spawn_blocking(move || load::get(port, &paths, ROUND)).await??;
        column.at_most(what, process.memory("VmHWM")?, "MiB", 60.0);
    }
    Ok(())
}

/// Commands that read everything.
pub(crate) async fn commands(column: &mut Column) -> anyhow::Result<()> {
    let (took, most) = run(column, &["audit", "verify"]).await?;
    column.plain("audit verify, a row for every fifth release", took, "s");
    column.at_most("  most memory", most, "MiB", 60.0);
    if column.url.is_none() {
        let file = column.state.join("backup.db");
        let path = file.to_str().context("a path of ours is UTF-8")?;
        let (took, most) = run(column, &["backup", path]).await?;
        fs::remove_file(&file)?;
        column.plain("backup", took, "s");
        column.at_most("  most memory of the backup", most, "MiB", 60.0);
    }
    Ok(())
}

/// How long a command took, in seconds, and the most memory that it had, in MiB.
async fn run(column: &Column, arguments: &[&str]) -> anyhow::Result<(f64, f64)> {
    let begun = Instant::now();
    let mut process = Process::start(column, 0, arguments)?;
    let mut most: f64 = 0.0;
    loop {
        match process.0.try_wait()? {
            Some(status) if status.success() => return Ok((begun.elapsed().as_secs_f64(), most)),
            Some(status) => bail!("{arguments:?} ended with {status}"),
            // It may end between the two.
            None => most = most.max(process.memory("VmHWM").unwrap_or(most)),
        }
        ensure!(begun.elapsed() < LIMIT, "{arguments:?} does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
