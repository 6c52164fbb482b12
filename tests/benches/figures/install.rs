//! Installing, against the direct calls of `direct.rs` and against Docker Compose, in turn.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use addon_client::{Installation, InstallationStatus, Release};
use anyhow::ensure;
use serde_json::{Map, Value, json};
use system_tests::{Compose, Image, Manager, Setup, World, output};

use crate::direct::{KEPT_IMAGE, look, make, unmake};
use crate::report::{Report, Target, median, milliseconds};

/// Services of an addon, and how much longer than the direct calls its installation may take.
const INSTALLS: [(usize, f64); 3] = [(1, 1.2), (3, 1.15), (10, 1.1)];
/// How much longer than `docker compose up -d` it may take.
const BESIDE_COMPOSE: f64 = 1.03;
/// Times that each is done, in turn.
const ROUNDS: usize = 10;
/// How often it is looked whether something has come about.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(2);
const LIMIT: Duration = Duration::from_secs(900);
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    let report = Mutex::new(report);
    system_tests::run_for(LIMIT, async |world| {
        let image = world.registry.push(&Image::demo("demo", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let compose = Compose::find(world).await?;
        for (services, most) in INSTALLS {
            let release = market.approved(&document(services, &image.reference)).await?;
            let project = Project::new(world, &compose, services)?;
            let times = installs(world, &manager, &release, &project).await?;
            let (ours, direct, composed) = (median(times.ours), median(times.direct), median(times.compose));
            let mut report = report.lock().expect("no panic");
            let what = format!("install of {services} to active");
            report.ratio(&format!("{what}, direct calls"), ours, direct, "ms", Target::AtMost(most));
            report.ratio(
                &format!("{what}, compose up -d"),
                ours,
                composed,
                "ms",
                Target::AtMost(BESIDE_COMPOSE),
            );
        }
        Ok(())
    });
    Ok(())
}

/// An addon of so many services, each the demo addon.
pub(crate) fn document(services: usize, image: &str) -> Value {
    let service = |number: usize| json!({"service_name": format!("s{number}"), "image": image});
    let services: Vec<Value> = (0..services).map(service).collect();
    json!({"name": format!("bench-{}", services.len()), "version": "1.0.0", "services": services})
}

/// The same services as a Compose project.
struct Project<'c> {
    compose: &'c Compose,
    file: PathBuf,
}

impl<'c> Project<'c> {
    fn new(world: &World, compose: &'c Compose, services: usize) -> anyhow::Result<Self> {
        let service = |number: usize| {
            (format!("s{number}"), json!({"image": KEPT_IMAGE, "pull_policy": "never", "restart": "always"}))
        };
        let services_of: Map<String, Value> = (0..services).map(service).collect();
        let file = world.folder("projects")?.join(format!("{services}.json"));
        std::fs::write(
            &file,
            json!({"name": format!("beside-{services}"), "services": services_of}).to_string(),
        )?;
        Ok(Self { compose, file })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.compose.command();
        command.arg("-f").arg(&self.file).args(arguments);
        command
    }

    /// From the start of the program to its end, which is after the start of the last container.
    async fn up(&self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        output(self.command(&["up", "-d"])).await?;
        Ok(begun.elapsed())
    }

    async fn down(&self) -> anyhow::Result<()> {
        output(self.command(&["down", "--volumes", "--timeout", "0"])).await?;
        Ok(())
    }
}

/// Milliseconds of each round.
#[derive(Default)]
struct Times {
    ours: Vec<f64>,
    direct: Vec<f64>,
    compose: Vec<f64>,
}

/// An installation, the same calls made directly, and the same services by Compose; in turn, so that all three meet the same machine.
async fn installs(
    world: &World,
    manager: &Manager,
    release: &Release,
    project: &Project<'_>,
) -> anyhow::Result<Times> {
    // Once, so that the images are there; a tag of our own keeps them.
    let installation = manager.installed(release).await?;
    let made = look(world, &installation.name).await?;
    manager.uninstalled(world, &installation, true).await?;
    let mut times = Times::default();
    for round in 0..=ROUNDS {
        let (installation, took) = to_active(manager, release).await?;
        manager.uninstalled(world, &installation, true).await?;
        let directly = make(&world.docker, &made).await?;
        unmake(&world.docker, &made).await?;
        let composed = project.up().await?;
        project.down().await?;
        // The first of each finds caches cold.
        if round > 0 {
            times.ours.push(milliseconds(took));
            times.direct.push(milliseconds(directly));
            times.compose.push(milliseconds(composed));
        }
    }
    Ok(times)
}

/// From the request to the answer that says `active`.
async fn to_active(manager: &Manager, release: &Release) -> anyhow::Result<(Installation, Duration)> {
    // The name is free a moment after the last container has gone.
    let asked = Instant::now();
    let (begun, installation) = loop {
        let begun = Instant::now();
        match manager.install(release).await {
            Ok(installation) => break (begun, installation),
            Err(error) if error.to_string().contains("being removed") && asked.elapsed() < SOON => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error) => return Err(error),
        }
    };
    loop {
        let found = manager.installation(installation.id).await?;
        if found.status == InstallationStatus::Active {
            return Ok((installation, begun.elapsed()));
        }
        ensure!(begun.elapsed() < SOON, "it is {}", found.status);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
