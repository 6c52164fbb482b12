//! Installing and repairing, against a minimal client that makes the same calls of the engine directly: as many as can be at one time.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use addon_client::{InstallationStatus, Release};
use anyhow::{Context, ensure};
use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, EndpointSettings, EventMessage, Ipam, IpamConfig,
    NetworkConnectRequest, NetworkCreateRequest, NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, EventsOptionsBuilder, InspectContainerOptions, InspectNetworkOptions,
    KillContainerOptions, RemoveContainerOptionsBuilder, StartContainerOptions, TagImageOptionsBuilder,
};
use futures_util::future::try_join_all;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use system_tests::{Image, Manager, Setup, World, eventually};

use crate::report::{Report, Target, median};

/// Services of an addon, and how much longer than the direct calls its installation may take.
const INSTALLS: [(usize, f64); 3] = [(1, 1.2), (3, 1.15), (10, 1.1)];
/// Times that each is done, in turn.
const ROUNDS: usize = 10;
/// How often it is looked whether an installation is active.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const LIMIT: Duration = Duration::from_secs(900);
const SOON: Duration = Duration::from_secs(30);

pub(crate) fn measure_installs(report: &mut Report) -> anyhow::Result<()> {
    let report = Mutex::new(report);
    system_tests::run_for(LIMIT, async |world| {
        let image = world.registry.push(&Image::demo("demo", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        for (services, most) in INSTALLS {
            let release = market.approved(&document(services, &image.reference)).await?;
            let (ours, direct) = installs(world, &manager, &release).await?;
            let what = format!("install of {services} to active");
            report.lock().expect("no panic").ratio(&what, ours, direct, "ms", Target::AtMost(most));
        }
        Ok(())
    });
    Ok(())
}

pub(crate) fn measure_repairs(report: &mut Report) -> anyhow::Result<()> {
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

fn document(services: usize, image: &str) -> Value {
    let service = |number: usize| json!({"service_name": format!("s{number}"), "image": image});
    let services: Vec<Value> = (0..services).map(service).collect();
    json!({"name": format!("bench-{}", services.len()), "version": "1.0.0", "services": services})
}

/// What was made for an installation, to make the same again.
struct Made {
    networks: Vec<NetworkCreateRequest>,
    containers: Vec<AsAsked>,
}

/// A container's name, what it is made with, and the networks that it is on.
type AsAsked = (String, ContainerCreateBody, Vec<(String, EndpointSettings)>);

/// The median times, in milliseconds, of an installation and of the same calls made directly.
async fn installs(world: &World, manager: &Manager, release: &Release) -> anyhow::Result<(f64, f64)> {
    // Once, so that the images are there; a tag of our own keeps them.
    let installation = manager.installed(release).await?;
    let made = look(world, &installation.name).await?;
    manager.uninstalled(world, &installation, true).await?;
    let (mut ours, mut direct) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        // The name is free a moment after the last container has gone.
        let (begun, installation) = loop {
            let begun = Instant::now();
            match manager.install(release).await {
                Ok(installation) => break (begun, installation),
                Err(error) if error.to_string().contains("being removed") => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Err(error) => return Err(error),
            }
        };
        loop {
            let found = manager.installation(installation.id).await?;
            if found.status == InstallationStatus::Active {
                break;
            }
            ensure!(begun.elapsed() < SOON, "it is {}", found.status);
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let took = begun.elapsed();
        manager.uninstalled(world, &installation, true).await?;
        let directly = make(&world.docker, &made).await?;
        unmake(&world.docker, &made).await?;
        if round > 0 {
            ours.push(milliseconds(took));
            direct.push(milliseconds(directly));
        }
    }
    Ok((median(ours), median(direct)))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Everything that belongs to an installation, as the engine was asked for it.
async fn look(world: &World, name: &str) -> anyhow::Result<Made> {
    let mut containers = Vec::new();
    let mut own_networks = Vec::new();
    for container in
        world.container_names().await?.iter().filter(|container| container.starts_with(&format!("{name}-")))
    {
        let found = world.docker.inspect_container(container, None::<InspectContainerOptions>).await?;
        let image = found.image.clone().unwrap_or_default();
        let keep = TagImageOptionsBuilder::new().repo("kept").tag("1").build();
        world.docker.tag_image(&image, Some(keep)).await?;
        for network in attached(&found).into_keys().filter(|network| network.starts_with(&format!("{name}_")))
        {
            if !own_networks.contains(&network) {
                own_networks.push(network);
            }
        }
        containers.push(as_asked(container, found)?);
    }
    let mut networks = Vec::new();
    for network in own_networks {
        let found = world.docker.inspect_network(&network, None::<InspectNetworkOptions>).await?;
        let pools = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        let pools = pools
            .into_iter()
            .map(|pool| IpamConfig { subnet: pool.subnet, ..IpamConfig::default() })
            .collect();
        networks.push(NetworkCreateRequest {
            name: network,
            driver: found.driver,
            ipam: Some(Ipam { config: Some(pools), ..Ipam::default() }),
            labels: found.labels,
            ..NetworkCreateRequest::default()
        });
    }
    Ok(Made { networks, containers })
}

fn attached(found: &ContainerInspectResponse) -> HashMap<String, EndpointSettings> {
    found.network_settings.as_ref().and_then(|settings| settings.networks.clone()).unwrap_or_default()
}

fn as_asked(name: &str, found: ContainerInspectResponse) -> anyhow::Result<AsAsked> {
    let mut endpoints: Vec<(String, EndpointSettings)> = attached(&found)
        .into_iter()
        .map(|(network, endpoint)| {
            (network, EndpointSettings { aliases: endpoint.aliases, ..EndpointSettings::default() })
        })
        .collect();
    endpoints.sort_by(|left, right| left.0.cmp(&right.0));
    let config = found.config.context("an inspected container has a configuration")?;
    let mut host = found.host_config.context("an inspected container has a host configuration")?;
    host.network_mode = endpoints.first().map(|(network, _)| network.clone());
    let first = endpoints.first().cloned().into_iter().collect();
    let body = ContainerCreateBody {
        image: Some("kept:1".to_owned()),
        labels: config.labels,
        env: config.env,
        host_config: Some(host),
        networking_config: Some(NetworkingConfig { endpoints_config: Some(first) }),
        ..ContainerCreateBody::default()
    };
    Ok((name.to_owned(), body, endpoints.into_iter().skip(1).collect()))
}

/// Networks first, then all containers at once: create, connect, start.
async fn make(docker: &Docker, made: &Made) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    try_join_all(made.networks.iter().map(|network| docker.create_network(network.clone()))).await?;
    try_join_all(made.containers.iter().map(|(name, body, further)| run(docker, name, body, further)))
        .await?;
    Ok(begun.elapsed())
}

async fn run(
    docker: &Docker,
    name: &str,
    body: &ContainerCreateBody,
    further: &[(String, EndpointSettings)],
) -> anyhow::Result<()> {
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    let id = docker.create_container(Some(options), body.clone()).await?.id;
    for (network, endpoint) in further {
        let body = NetworkConnectRequest { container: id.clone(), endpoint_config: Some(endpoint.clone()) };
        docker.connect_network(network, body).await?;
    }
    Ok(docker.start_container(&id, None::<StartContainerOptions>).await?)
}

async fn unmake(docker: &Docker, made: &Made) -> anyhow::Result<()> {
    try_join_all(made.containers.iter().map(|(name, _, _)| remove(docker, name))).await?;
    try_join_all(made.networks.iter().map(|network| docker.remove_network(&network.name))).await?;
    Ok(())
}

async fn remove(docker: &Docker, name: &str) -> Result<(), bollard::errors::Error> {
    let by_force = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    docker.remove_container(name, Some(by_force)).await
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
