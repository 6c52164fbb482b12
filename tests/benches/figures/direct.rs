//! The minimal client: what the manager made is looked at once, and the same calls of the engine are made directly, as many as can be at
//! one time. It writes nothing down, compares nothing and heals nothing: no manager can be faster.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest,
    NetworkCreateRequest, NetworkingConfig,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, InspectNetworkOptions,
    RemoveContainerOptionsBuilder, StartContainerOptions, TagImageOptionsBuilder,
};
use futures_util::future::{join_all, try_join_all};
use system_tests::World;

use crate::install::{LOOK_EVERY, SOON};

/// A tag that keeps the image when its addon has gone.
pub(crate) const KEPT_IMAGE: &str = "kept:1";

/// What was made for an installation, to make the same again.
pub(crate) struct Made {
    networks: Vec<NetworkCreateRequest>,
    containers: Vec<AsAsked>,
}

/// A container's name, what it is made with, and the networks that it is on.
pub(crate) type AsAsked = (String, ContainerCreateBody, Vec<(String, EndpointSettings)>);

/// Everything that belongs to an installation, as the engine was asked for it.
pub(crate) async fn look(world: &World, name: &str) -> anyhow::Result<Made> {
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

pub(crate) fn as_asked(name: &str, found: ContainerInspectResponse) -> anyhow::Result<AsAsked> {
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
        image: Some(KEPT_IMAGE.to_owned()),
        labels: config.labels,
        env: config.env,
        host_config: Some(host),
        networking_config: Some(NetworkingConfig { endpoints_config: Some(first) }),
        ..ContainerCreateBody::default()
    };
    Ok((name.to_owned(), body, endpoints.into_iter().skip(1).collect()))
}

/// Networks first, then all containers at once: create, connect, start.
pub(crate) async fn make(docker: &Docker, made: &Made) -> anyhow::Result<Duration> {
    let asked = Instant::now();
    // An engine lists a network no more before it gives its addresses back: the clock starts when they are free.
    let begun = loop {
        let begun = Instant::now();
        let created =
            join_all(made.networks.iter().map(|network| docker.create_network(network.clone()))).await;
        match created.iter().find_map(|network| network.as_ref().err()) {
            None => break begun,
            Some(error) if error.to_string().contains("Pool overlaps") => {
                ensure!(asked.elapsed() < SOON, "{error}");
                try_join_all(created.iter().flatten().map(|network| docker.remove_network(&network.id)))
                    .await?;
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Some(error) => bail!("{error}"),
        }
    };
    try_join_all(made.containers.iter().map(|(name, body, further)| run(docker, name, body, further)))
        .await?;
    Ok(begun.elapsed())
}

pub(crate) async fn run(
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

pub(crate) async fn unmake(docker: &Docker, made: &Made) -> anyhow::Result<()> {
    try_join_all(made.containers.iter().map(|(name, _, _)| remove(docker, name))).await?;
    let asked = Instant::now();
    for network in &made.networks {
        // Of a container that was removed a moment ago the engine may still have the endpoint.
        while let Err(error) = docker.remove_network(&network.name).await {
            ensure!(error.to_string().contains("active endpoints") && asked.elapsed() < SOON, "{error}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

pub(crate) async fn remove(docker: &Docker, name: &str) -> Result<(), bollard::errors::Error> {
    let by_force = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    docker.remove_container(name, Some(by_force)).await
}
