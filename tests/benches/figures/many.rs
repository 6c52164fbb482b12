//! A host with very many addons: what the manager asks of the engine and of the processor while there is nothing to do, and the memory that
//! so many installations take.
//!
//! Each installation is one running container without a network, since a thousand bridges are more than an engine makes in a bench.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use system_tests::{Image, Manager, Proxy, Setup};

use crate::process::mebibytes;
use crate::report::{Report, Target};

/// Installations where nobody says how many.
pub(crate) const INSTALLATIONS: usize = 1000;
/// Requests for one at a time.
const AT_ONCE: usize = 8;
/// How long the manager is watched while nothing happens: two of its resyncs, as they are by default.
const WATCHED: Duration = Duration::from_secs(120);
/// `reconciler.resync_interval_ms` by default, in seconds.
const RESYNC_S: usize = 60;
/// Each running container is inspected once in this time, in seconds.
const INSPECT_S: usize = 600;
const LIMIT: Duration = Duration::from_secs(3600);
/// How often it is looked whether all are active: it costs the manager a list of all.
const LOOK_EVERY: Duration = Duration::from_secs(2);

pub(crate) fn measure(report: &mut Report, installations: usize) -> anyhow::Result<()> {
    let report = Mutex::new(report);
    system_tests::run_for(LIMIT, async |world| {
        let add = |what: &str, value: f64, unit, most| {
            report.lock().expect("no panic").absolute(what, value, unit, Target::AtMost(most));
        };
        let image = world.registry.push(&Image::demo("demo", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let socket = world.folder("engine-proxy")?.join("docker.sock");
        let proxy = Proxy::unix(&socket, &world.engine.socket())?;
        let host = format!("unix://{}", socket.display());
        let manager = world.manager(Setup::default().docker_host(host)).await?;
        let service = json!({"service_name": "s", "image": image.reference, "network_mode": "none"});
        let document = json!({"name": "many", "version": "1.0.0", "services": [service]});
        let release = market.approved(&document).await?;

        let names = (0..installations).map(|number| format!("many-{number:04}"));
        let asked = futures_util::stream::iter(names)
            .map(async |name| manager.install_as(&release, &name).await.with_context(|| name.clone()));
        asked.buffer_unordered(AT_ONCE).try_for_each(async |_| Ok(())).await?;
        all_active(&manager, installations).await?;
        add(
            &format!("memory of addons-manager, {installations} installations"),
            mebibytes(manager.service.resident_bytes()?),
            "MiB",
            60.0,
        );

        proxy.requests();
        let before = manager.service.processor_time()?;
        tokio::time::sleep(WATCHED).await;
        let spent = manager.service.processor_time()? - before;
        let calls = Calls::of(&proxy.requests());
        ensure!(calls.resyncs > 0, "no resync within {WATCHED:?}");
        let what = format!("resync of {installations} containers, nothing to do");
        add(&format!("{what}: calls"), calls.per_resync(calls.others), "calls", 5.0);
        #[expect(clippy::cast_precision_loss, reason = "some hundred")]
        let few = (installations * RESYNC_S).div_ceil(INSPECT_S) as f64;
        add(&format!("{what}: inspects"), calls.per_resync(calls.inspects), "calls", few);
        let percent = 100.0 * spent.as_secs_f64() / WATCHED.as_secs_f64();
        add(&format!("processor, idle, {installations} containers"), percent, "%", 0.2);
        Ok(())
    });
    Ok(())
}

/// Waits until every installation is active: as long as their number goes up.
async fn all_active(manager: &Manager, installations: usize) -> anyhow::Result<()> {
    let (mut most, mut since) = (0, Instant::now());
    loop {
        let answer = manager.service.get("/api/v1/addons?status=active").await?;
        let active = answer.json().as_array().map_or(0, Vec::len);
        if active == installations {
            return Ok(());
        }
        if active > most {
            (most, since) = (active, Instant::now());
        }
        ensure!(since.elapsed() < Duration::from_secs(120), "{active} of {installations} are active");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What was asked of the engine.
struct Calls {
    resyncs: usize,
    inspects: usize,
    /// All but inspects and the question whether it is still there.
    others: usize,
}

impl Calls {
    fn of(requests: &[String]) -> Self {
        let mut calls = Self { resyncs: 0, inspects: 0, others: 0 };
        for request in requests {
            let path = request.split(['?', ' ']).nth(1).unwrap_or_default();
            let last: Vec<&str> = path.rsplit('/').take(2).collect();
            match last[..] {
                ["_ping", ..] => (),
                ["json", "containers"] => {
                    calls.resyncs += 1;
                    calls.others += 1;
                }
                ["json", _] if path.contains("/containers/") => calls.inspects += 1,
                _ => calls.others += 1,
            }
        }
        calls
    }

    #[expect(clippy::cast_precision_loss, reason = "some thousand at most")]
    fn per_resync(&self, calls: usize) -> f64 {
        calls as f64 / self.resyncs as f64
    }
}
