//! Repairs, against a minimal client that waits for the event and makes the same calls directly.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context;
use bollard::Docker;
use bollard::models::{EventMessage, RestartPolicy, RestartPolicyNameEnum};
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectContainerOptions, KillContainerOptions, StartContainerOptions,
};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use system_tests::{Image, Setup, World, eventually};

use crate::direct::{as_asked, look, remove, run};
use crate::install::document;
use crate::report::{Report, Target, median, milliseconds};

/// Times that each is done, in turn.
const ROUNDS: usize = 10;
const LIMIT: Duration = Duration::from_secs(300);
const SOON: Duration = Duration::from_secs(30);

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    let report = Mutex::new(report);
    system_tests::run_for(LIMIT, async |world| {
        let image = world.registry.push(&Image::demo("demo", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let release = market.approved(&document(1, &image.reference)).await?;
        let installation = manager.installed(&release).await?;
        look(world, &installation.name).await?;
        for (what, harm) in
            [("repair after docker kill", Harm::Kill), ("repair after docker rm -f", Harm::Remove)]
        {
            let (ours, direct) = repairs(world, harm).await?;
            report.lock().expect("no panic").ratio(what, ours, direct, "ms", Target::AtMost(1.15));
        }
        Ok(())
    });
    Ok(())
}

/// What a person does to a container.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Kill,
    Remove,
}

impl Harm {
    async fn done_to(self, docker: &Docker, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Kill => docker.kill_container(name, None::<KillContainerOptions>).await?,
            Self::Remove => remove(docker, name).await?,
        }
        Ok(())
    }
}

/// The median times, in milliseconds, from the harm to the event of the start: by the manager, and by a client that waits for the event of
/// the end and makes the same calls.
async fn repairs(world: &World, harm: Harm) -> anyhow::Result<(f64, f64)> {
    let name = "bench-1-s0";
    let found = world.docker.inspect_container(name, None::<InspectContainerOptions>).await?;
    let (_, mut body, further) = as_asked(name, found)?;
    let direct_name = "direct";
    // Nobody but the client starts it again.
    if let Some(host) = &mut body.host_config {
        host.restart_policy =
            Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None });
        host.port_bindings = None;
    }
    body.labels = None;
    let (mut ours, mut direct) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let took = timed(&world.docker, name, harm, async || Ok(())).await?;
        // What the manager still does after the start is not the next round's.
        eventually("it runs", SOON, async || world.running(name).await).await?;
        run(&world.docker, direct_name, &body, &further).await?;
        let mut ends = events(&world.docker, &["die", "destroy"]);
        let client = async || {
            let end = match harm {
                Harm::Kill => "die",
                Harm::Remove => "destroy",
            };
            while !is(&next(&mut ends).await?, direct_name, end) {}
            match harm {
                Harm::Kill => {
                    world.docker.start_container(direct_name, None::<StartContainerOptions>).await?;
                }
                Harm::Remove => run(&world.docker, direct_name, &body, &further).await?,
            }
            Ok(())
        };
        let directly = timed(&world.docker, direct_name, harm, client).await?;
        remove(&world.docker, direct_name).await?;
        if round > 0 {
            ours.push(milliseconds(took));
            direct.push(milliseconds(directly));
        }
    }
    Ok((median(ours), median(direct)))
}

/// From the harm to the event of the start that follows it, while `client` does what it does.
async fn timed(
    docker: &Docker,
    name: &str,
    harm: Harm,
    client: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Duration> {
    let mut starts = events(docker, &["start"]);
    let started = async {
        while !is(&next(&mut starts).await?, name, "start") {}
        anyhow::Ok(Instant::now())
    };
    let harmed = async {
        // The streams are open once the engine has answered something after them.
        docker.ping().await?;
        let begun = Instant::now();
        harm.done_to(docker, name).await?;
        anyhow::Ok(begun)
    };
    let (started, begun, ()) = tokio::try_join!(started, harmed, client())?;
    Ok(started - begun)
}

fn events(
    docker: &Docker,
    actions: &[&'static str],
) -> BoxStream<'static, Result<EventMessage, bollard::errors::Error>> {
    let filters = HashMap::from([("type", vec!["container"]), ("event", actions.to_vec())]);
    docker.events(Some(EventsOptionsBuilder::new().filters(&filters).build())).boxed()
}

async fn next(
    events: &mut BoxStream<'static, Result<EventMessage, bollard::errors::Error>>,
) -> anyhow::Result<EventMessage> {
    tokio::time::timeout(SOON, events.try_next())
        .await
        .context("no event in time")??
        .context("the stream ended")
}

fn is(event: &EventMessage, name: &str, action: &str) -> bool {
    let of = event.actor.as_ref().and_then(|actor| actor.attributes.as_ref()?.get("name"));
    event.action.as_deref() == Some(action) && of.is_some_and(|of| of == name)
}
