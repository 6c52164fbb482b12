//! Memory, start and size of both services as they are shipped.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::ensure;
use reqwest::Method;
use serde_json::json;
use system_tests::{Image, Service, Setup, Signal};

use crate::load;
use crate::report::{Report, Target, median};

const STARTS: usize = 10;
const LOAD: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(300);
const START_LIMIT: Duration = Duration::from_secs(20);
const MIB: f64 = 1024.0 * 1024.0;

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    for binary in ["marketplace", "addons-manager"] {
        let path = system_tests::target_folder()?.join(binary);
        let size = mebibytes(std::fs::metadata(&path)?.len());
        report.absolute(&format!("binary of {binary}"), size, "MiB", Target::AtMost(25.0));
    }
    let report = Mutex::new(report);
    system_tests::run_for(LIMIT, async |world| {
        let add = |what: &str, value: f64, unit, most| {
            report.lock().expect("no panic").absolute(what, value, unit, Target::AtMost(most));
        };
        let mut market = world.marketplace(Setup::default()).await?;
        let mut manager = world.manager(Setup::default()).await?;
        let image = world.registry.push(&Image::demo("demo", "1")).await?;
        let document =
            json!({"name": "bench", "services": [{"service_name": "s", "image": image.reference}]});
        let release = market.approved(&document).await?;
        manager.installed(&release).await?;

        for (name, service) in
            [("marketplace", &mut market.service), ("addons-manager", &mut manager.service)]
        {
            let mut times = Vec::new();
            for _ in 0..STARTS {
                service.stop(Signal::Term).await?;
                times.push(start(service).await?.as_secs_f64() * 1000.0);
            }
            add(&format!("cold start of {name} to ready"), median(times), "ms", 100.0);
            add(&format!("memory of {name}, idle"), resident(service)?, "MiB", 20.0);
        }
        let token = manager.service.token().unwrap_or_default().to_owned();
        let paths =
            [format!("/api/v1/marketplace/addons/{}", release.id), "/api/v1/marketplace/addons".to_owned()];
        under_load(&market.service, 11102, &paths).await?;
        add("memory of marketplace, under load", resident(&market.service)?, "MiB", 60.0);
        // Its lists need the token, which the load's own requests do not carry: many clients of the library instead.
        let calls = (0..2000).map(|_| async {
            let request = manager.service.anonymous(Method::GET, "/api/v1/addons").bearer_auth(&token);
            manager.service.send(request).await
        });
        for chunk in chunks(calls, 32) {
            for answer in futures_util::future::try_join_all(chunk).await? {
                ensure!(answer.status == 200, "{answer:?}");
            }
        }
        add("memory of addons-manager, under load", resident(&manager.service)?, "MiB", 60.0);
        Ok(())
    });
    Ok(())
}

fn chunks<F>(futures: impl Iterator<Item = F>, size: usize) -> Vec<Vec<F>> {
    let mut chunks: Vec<Vec<F>> = Vec::new();
    for future in futures {
        match chunks.last_mut() {
            Some(last) if last.len() < size => last.push(future),
            _ => chunks.push(vec![future]),
        }
    }
    chunks
}

/// The load blocks, and its process is to be in the world: it is started from the thread that is.
async fn under_load(service: &Service, port: u16, paths: &[String]) -> anyhow::Result<()> {
    load::get(port, paths, LOAD)?;
    ensure!(service.get("/readyz").await?.status == 200, "it is ready after the load");
    Ok(())
}

/// From the start of the process to its word that it is ready, asked every millisecond.
async fn start(service: &mut Service) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    service.spawn()?;
    loop {
        if let Ok(answer) = service.send(service.anonymous(Method::GET, "/readyz")).await
            && answer.status == 200
        {
            return Ok(begun.elapsed());
        }
        ensure!(begun.elapsed() < START_LIMIT, "it is not ready after {START_LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn resident(service: &Service) -> anyhow::Result<f64> {
    Ok(mebibytes(service.resident_bytes()?))
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "some million bytes")]
    let bytes = bytes as f64;
    bytes / MIB
}
