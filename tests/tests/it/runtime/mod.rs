//! `runtime/docker/` of the addons manager against a real engine: every method, every field, and each fact of Docker's that the design
//! relies on.

mod differences;
mod differential;
mod errors;
mod events;
mod listing;
mod objects;
mod pulls;

use std::collections::BTreeMap;
use std::time::Duration;

use addons_manager::domain::specification::{
    NetworkAttachment, NetworkMode, NetworkSpecification, PinnedImage, Resources, RestartPolicy,
    ServiceSpecification, Settings, VolumeSpecification,
};
use addons_manager::runtime::docker::{DockerRuntime, DockerSettings, DockerTimeouts, PullSettings};
use addons_manager::runtime::{
    ContainerMeant, ContainerRuntime, ContainerState, InspectedContainer, OwnContainerId, RuntimeError,
};
use system_tests::{Image, Pushed, World, eventually};
use tokio::sync::mpsc;

/// Longest wait for something that takes milliseconds.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// The runtime on the world's engine. The reserve is small: worlds live in memory.
pub(crate) fn docker(world: &World) -> DockerRuntime {
    DockerRuntime::new(settings(&world.engine.host()))
}

pub(crate) fn settings(host: &str) -> DockerSettings {
    DockerSettings {
        host: Some(host.to_owned()),
        tls: None,
        timeouts: DockerTimeouts::default(),
        pulls: PullSettings { disk_reserve_bytes: 1024 * 1024, ..PullSettings::default() },
        registries: BTreeMap::new(),
        login_files: None,
    }
}

/// The pin of a pushed image.
pub(crate) fn pin(pushed: &Pushed) -> PinnedImage {
    pin_of(&pushed.reference, &pushed.digest)
}

pub(crate) fn pin_of(reference: &str, digest: &str) -> PinnedImage {
    let (repository, _) = reference.rsplit_once(':').expect("a tag");
    PinnedImage {
        reference: reference.to_owned(),
        repository: repository.to_owned(),
        digest: digest.to_owned(),
        platform: None,
        bytes: None,
    }
}

/// Pulls without looking at the progress.
pub(crate) async fn pull(docker: &DockerRuntime, image: &PinnedImage) -> Result<String, RuntimeError> {
    let (sender, _receiver) = mpsc::channel(1);
    Ok(docker.pull(image, sender).await?.id)
}

/// A service of the demo image, pushed, pulled and tagged, with nothing asked for.
pub(crate) async fn demo(
    world: &World,
    docker: &DockerRuntime,
) -> anyhow::Result<(ServiceSpecification, ContainerMeant)> {
    service(world, docker, &Image::demo("demo", "1"), "demo").await
}

pub(crate) async fn service(
    world: &World,
    docker: &DockerRuntime,
    image: &Image,
    name: &str,
) -> anyhow::Result<(ServiceSpecification, ContainerMeant)> {
    let pushed = world.registry.push(image).await?;
    let id = pull(docker, &pin(&pushed)).await?;
    let tag = format!("oak.local/0a:r1-{name}");
    docker.tag(&id, &tag).await?;
    let specification = ServiceSpecification {
        service_name: name.to_owned(),
        container_name: name.to_owned(),
        image: pin(&pushed),
        command: None,
        entrypoint: None,
        environment: BTreeMap::new(),
        labels: BTreeMap::new(),
        sysctls: BTreeMap::new(),
        ports: Vec::new(),
        mounts: Vec::new(),
        files: Vec::new(),
        network: NetworkMode::None,
        pid: None,
        ipc: None,
        healthcheck: None,
        restart_unhealthy: true,
        depends_on: Vec::new(),
        restart: RestartPolicy::No,
        start_first: false,
        resources: Resources::default(),
        settings: Settings::default(),
    };
    let meant = ContainerMeant {
        name: name.to_owned(),
        image_tag: tag,
        image_id: id,
        labels: labels("nonce-1"),
        image_volumes: BTreeMap::new(),
        file_sources: BTreeMap::new(),
        network_ids: BTreeMap::new(),
        courtesy_aliases: BTreeMap::new(),
        restart: RestartPolicy::No,
        namespace_containers: BTreeMap::new(),
    };
    Ok((specification, meant))
}

/// Labels as the manager sets them.
pub(crate) fn labels(nonce: &str) -> BTreeMap<String, String> {
    let pairs = [
        ("oak.create", nonce),
        ("oak.installation.id", "0123456789abcdef01234567"),
        ("oak.service.name", "demo"),
        ("oak.spec.digest", "sha256:00"),
        ("oak.revision", "1"),
        ("com.docker.compose.project", "addon-demo"),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

pub(crate) fn network_on(subnets: &[&str]) -> NetworkSpecification {
    NetworkSpecification {
        key: "default".to_owned(),
        driver: "bridge".to_owned(),
        driver_opts: BTreeMap::new(),
        labels: BTreeMap::new(),
        internal: false,
        enable_ipv6: false,
        subnets: subnets.iter().map(|&subnet| subnet.to_owned()).collect(),
    }
}

pub(crate) fn local_volume() -> VolumeSpecification {
    VolumeSpecification {
        key: None,
        driver: "local".to_owned(),
        driver_opts: BTreeMap::new(),
        labels: BTreeMap::new(),
    }
}

pub(crate) fn attachment(network: &str, aliases: &[&str]) -> NetworkAttachment {
    NetworkAttachment {
        network: network.to_owned(),
        aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
        courtesy_alias: None,
        ipv4_address: None,
        ipv6_address: None,
    }
}

/// The container as it is, which must be there.
pub(crate) async fn look(
    docker: &DockerRuntime,
    id: &OwnContainerId,
    name: &str,
) -> anyhow::Result<InspectedContainer> {
    let listing = docker.list().await?;
    let listed = listing.containers.iter().find(|container| container.name == name);
    let listed = listed.ok_or_else(|| anyhow::anyhow!("no container {name}"))?;
    let found = docker.inspect(&listed.id).await?.ok_or_else(|| anyhow::anyhow!("{id:?} has gone"))?;
    // What both tell is the same; but an inspect answer has no network ids before the first start.
    let mut told = found.listed.clone();
    if told.state == ContainerState::Created {
        told.networks.clone_from(&listed.networks);
    }
    anyhow::ensure!(told == *listed, "the listing tells {listed:?}, inspect {told:?}");
    Ok(found)
}

/// Creates and starts.
pub(crate) async fn run(
    docker: &DockerRuntime,
    specification: &ServiceSpecification,
    meant: &ContainerMeant,
) -> Result<OwnContainerId, RuntimeError> {
    let id = OwnContainerId::proved(docker.create_container(specification, meant).await?);
    docker.start(&id).await?;
    Ok(id)
}

/// The reason that an error waits for.
pub(crate) fn reason<T: std::fmt::Debug>(
    outcome: Result<T, RuntimeError>,
) -> addons_manager::runtime::ChangeNeeded {
    match outcome {
        Err(RuntimeError::WaitForChange { reason, .. }) => reason,
        other => panic!("expected an error that waits for a change, got {other:?}"),
    }
}

/// Waits until the listing shows it so.
pub(crate) async fn until(
    docker: &DockerRuntime,
    name: &str,
    what: &str,
    condition: impl Fn(&addons_manager::runtime::ListedContainer) -> bool,
) -> anyhow::Result<()> {
    eventually(what, SOON, async || {
        let listing = docker.list().await?;
        let listed = listing.containers.iter().find(|container| container.name == name);
        anyhow::ensure!(listed.is_some_and(&condition), "{listed:?}");
        Ok(())
    })
    .await?;
    Ok(())
}
