//! The engine in memory, which the reconciler's tests run on, held to a real one: the same calls, the same outcomes, the same state.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use addons_manager::domain::specification::{
    MountSource, MountSpecification, NetworkMode, Protocol, PublishedPort, Resources, RestartPolicy,
    ServiceSpecification,
};
use addons_manager::runtime::docker::DockerRuntime;
use addons_manager::runtime::memory::MemoryRuntime;
use addons_manager::runtime::{
    ChangeNeeded, ContainerMeant, ContainerRuntime, ContainerState, OwnContainerId, OwnNetworkId,
    OwnVolumeName, RuntimeError,
};
use bollard::container::LogOutput;
use bollard::models::NetworkDisconnectRequest;
use bollard::query_parameters::{KillContainerOptions, LogsOptionsBuilder};
use futures_util::TryStreamExt as _;
use service_kit::clock::SystemClock;
use system_tests::World;

use super::{attachment, demo, docker, labels, local_volume, network_on};

/// What a person or the reconciler does. Containers, networks and volumes by their number.
#[derive(Debug, Clone, Copy)]
enum Step {
    CreateNetwork(usize),
    RemoveNetwork(usize),
    CreateVolume(usize),
    RemoveVolume(usize),
    Create(usize),
    Start(usize),
    Stop(usize),
    Remove(usize),
    Rename(usize, usize),
    Unpause(usize),
    Update(usize, RestartPolicy),
    Connect(usize, usize),
    Disconnect(usize, usize),
    Pause(usize),
    Kill(usize),
    DisconnectByHand(usize, usize),
}

const CONTAINERS: [&str; 3] = ["one", "two", "three"];
const NETWORKS: [(&str, &str); 2] = [("front", "10.77.30.0/24"), ("back", "10.77.31.0/24")];
const VOLUMES: [&str; 2] = ["data", "more"];

/// What came of a call, without the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Retry,
    Wait(ChangeNeeded),
    Never,
    Gone,
    /// The step was for something that has never been there, so that there is no id to name it by.
    Skipped,
}

#[expect(clippy::needless_pass_by_value, reason = "the calls read better")]
fn outcome<T>(result: Result<T, RuntimeError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(RuntimeError::Retry { .. }) => Outcome::Retry,
        Err(RuntimeError::WaitForChange { reason, .. }) => Outcome::Wait(reason),
        Err(RuntimeError::Never { .. }) => Outcome::Never,
        Err(RuntimeError::Gone { .. }) => Outcome::Gone,
    }
}

/// A container as both show it.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    state: ContainerState,
    exit_code: Option<i64>,
    restart: Option<RestartPolicy>,
    aliases: BTreeMap<String, BTreeSet<String>>,
    mounts: Vec<(String, Option<String>)>,
    ports: Vec<u16>,
    labels: BTreeMap<String, String>,
}

/// One engine with the ids that its objects were given.
struct Side<'a, R> {
    runtime: &'a R,
    specifications: Vec<(ServiceSpecification, ContainerMeant)>,
    containers: BTreeMap<usize, String>,
    networks: BTreeMap<usize, String>,
}

impl<R: ContainerRuntime> Side<'_, R> {
    async fn take(&mut self, step: Step) -> Outcome {
        let runtime = self.runtime;
        let container = |number: usize| self.containers.get(&number).map(OwnContainerId::proved);
        match step {
            Step::CreateNetwork(number) => {
                let (name, subnet) = NETWORKS[number];
                if self.networks.contains_key(&number) {
                    return Outcome::Skipped;
                }
                let made = runtime.create_network(name, &network_on(&[subnet]), &labels("n")).await;
                if let Ok(id) = &made {
                    self.networks.insert(number, id.clone());
                }
                outcome(made)
            }
            Step::RemoveNetwork(number) => {
                let Some(id) = self.networks.get(&number).cloned() else { return Outcome::Skipped };
                let removed = runtime.remove_network(&OwnNetworkId::proved(id)).await;
                if removed.is_ok() {
                    self.networks.remove(&number);
                }
                outcome(removed)
            }
            Step::CreateVolume(number) => {
                outcome(runtime.create_volume(VOLUMES[number], &local_volume(), &labels("v")).await)
            }
            Step::RemoveVolume(number) => {
                outcome(runtime.remove_volume(&OwnVolumeName::proved(VOLUMES[number])).await)
            }
            Step::Create(number) => {
                let (specification, mut meant) = self.specifications[number].clone();
                meant.network_ids = NETWORKS
                    .iter()
                    .enumerate()
                    .filter_map(|(index, (name, _))| {
                        Some(((*name).to_owned(), self.networks.get(&index)?.clone()))
                    })
                    .collect();
                if specification.network == NetworkMode::Service("one".to_owned())
                    && let Some(first) = self.containers.get(&0)
                {
                    meant.namespace_containers = [("one".to_owned(), first.clone())].into();
                }
                let made = runtime.create_container(&specification, &meant).await;
                if let Ok(id) = &made {
                    self.containers.insert(number, id.clone());
                }
                outcome(made)
            }
            Step::Start(number) => match container(number) {
                Some(id) => outcome(runtime.start(&id).await),
                None => Outcome::Skipped,
            },
            Step::Stop(number) => match container(number) {
                Some(id) => outcome(runtime.stop(&id, Some(5)).await),
                None => Outcome::Skipped,
            },
            Step::Remove(number) => match container(number) {
                Some(id) => outcome(runtime.remove_container(&id).await),
                None => Outcome::Skipped,
            },
            Step::Rename(number, name) => match container(number) {
                Some(id) => outcome(runtime.rename(&id, ["one", "other"][name]).await),
                None => Outcome::Skipped,
            },
            Step::Unpause(number) => match container(number) {
                Some(id) => outcome(runtime.unpause(&id).await),
                None => Outcome::Skipped,
            },
            Step::Update(number, policy) => match container(number) {
                Some(id) => outcome(runtime.update(&id, policy, &Resources::default()).await),
                None => Outcome::Skipped,
            },
            Step::Connect(number, network) => match (container(number), self.networks.get(&network)) {
                (Some(id), Some(network_id)) => outcome(
                    runtime
                        .connect(&id, network_id, &attachment(NETWORKS[network].0, &["alias"]), None)
                        .await,
                ),
                _ => Outcome::Skipped,
            },
            Step::Disconnect(number, network) => match (container(number), self.networks.get(&network)) {
                (Some(id), Some(network_id)) => outcome(runtime.disconnect(&id, network_id).await),
                _ => Outcome::Skipped,
            },
            Step::Pause(_) | Step::Kill(_) | Step::DisconnectByHand(..) => Outcome::Skipped,
        }
    }

    /// Everything that is there, in terms that both sides share.
    async fn shown(&self) -> anyhow::Result<(BTreeMap<String, Shown>, Vec<String>, Vec<String>)> {
        let listing = self.runtime.list().await?;
        let mut containers = BTreeMap::new();
        for listed in &listing.containers {
            let found = self
                .runtime
                .inspect(&listed.id)
                .await?
                .ok_or_else(|| anyhow::anyhow!("{} went", listed.name))?;
            let mut ports: Vec<u16> = found.asked_ports.iter().map(|port| port.host_port).collect();
            ports.sort_unstable();
            let mut aliases = found.aliases.clone();
            // Networks that the engine has by itself.
            aliases.retain(|name, _| NETWORKS.iter().any(|(ours, _)| ours == name));
            let shown = Shown {
                state: listed.state,
                exit_code: listed.exit_code,
                restart: found.restart,
                aliases,
                mounts: listed
                    .mounts
                    .iter()
                    .map(|mount| (mount.target.clone(), mount.volume.clone()))
                    .collect(),
                ports,
                labels: listed.labels.clone(),
            };
            containers.insert(listed.name.clone(), shown);
        }
        let mut networks: Vec<String> = listing.networks.iter().map(|network| network.name.clone()).collect();
        networks.retain(|name| NETWORKS.iter().any(|(ours, _)| ours == name));
        networks.sort();
        let mut volumes: Vec<String> = listing.volumes.into_iter().map(|volume| volume.name).collect();
        volumes.sort();
        Ok((containers, networks, volumes))
    }
}

fn equal<T: PartialEq + Debug>(what: &str, steps: &[Step], memory: &T, engine: &T) -> anyhow::Result<()> {
    anyhow::ensure!(memory == engine, "{what} after {steps:?}\nmemory: {memory:?}\nengine: {engine:?}");
    Ok(())
}

/// Three services: a port and a volume; two networks; another's namespace.
async fn services(
    world: &World,
    runtime: &DockerRuntime,
) -> anyhow::Result<Vec<(ServiceSpecification, ContainerMeant)>> {
    let (specification, meant) = demo(world, runtime).await?;
    let mut all = Vec::new();
    for name in CONTAINERS {
        let (mut specification, mut meant) = (specification.clone(), meant.clone());
        meant.name = name.to_owned();
        specification.command =
            Some(["--port", if name == "three" { "8081" } else { "8080" }].map(str::to_owned).into());
        all.push((specification, meant));
    }
    all[0].0.network = NetworkMode::Networks(vec![attachment("front", &["one"])]);
    all[0].0.ports = vec![PublishedPort {
        container_port: 8080,
        protocol: Protocol::Tcp,
        host_ip: None,
        host_port: 20100,
        chosen: false,
    }];
    all[0].0.mounts = vec![MountSpecification {
        target: "/data".to_owned(),
        source: MountSource::Volume("data".to_owned()),
        read_only: false,
        propagation: None,
        selinux: None,
        no_copy: false,
    }];
    all[1].0.network =
        NetworkMode::Networks(vec![attachment("back", &["two"]), attachment("front", &["second"])]);
    all[1].0.ports = all[0].0.ports.clone();
    all[2].0.network = NetworkMode::Service("one".to_owned());
    Ok(all)
}

/// Takes the steps on both and compares after each.
async fn compare(world: &World, steps: &[Step]) -> anyhow::Result<()> {
    let engine = docker(world);
    let specifications = services(world, &engine).await?;
    let memory = MemoryRuntime::new(SystemClock::shared());
    memory.set_exit_on_stop(0);
    let image = specifications[0].0.image.clone();
    memory.publish(&image.digest, &[], false);
    let (sender, _receiver) = tokio::sync::mpsc::channel(1);
    let pulled = memory.pull(&image, sender).await?;
    memory.tag(&pulled.id, &specifications[0].1.image_tag).await?;
    let mut model = Side {
        runtime: &memory,
        specifications: specifications.clone(),
        containers: BTreeMap::new(),
        networks: BTreeMap::new(),
    };
    let mut real =
        Side { runtime: &engine, specifications, containers: BTreeMap::new(), networks: BTreeMap::new() };
    for (index, step) in steps.iter().enumerate() {
        let taken = &steps[..=index];
        match *step {
            Step::Pause(number) | Step::Kill(number) | Step::DisconnectByHand(number, _)
                if !is_running(&model, number).await? =>
            {
                continue;
            }
            Step::Pause(number) => {
                memory.pause(&model.containers[&number]);
                world.docker.pause_container(&real.containers[&number]).await?;
            }
            Step::Kill(number) => {
                memory.kill(&model.containers[&number]);
                world.docker.kill_container(&real.containers[&number], None::<KillContainerOptions>).await?;
                let listed = super::eventually("it has ended", super::SOON, async || {
                    let _: () = anyhow::ensure!(!is_running(&real, number).await?);
                    Ok(())
                });
                listed.await?;
            }
            Step::DisconnectByHand(number, network) => {
                let (Some(modelled), Some(id)) = (model.networks.get(&network), real.networks.get(&network))
                else {
                    continue;
                };
                memory.disconnect_by_hand(&model.containers[&number], modelled);
                let body =
                    NetworkDisconnectRequest { container: real.containers[&number].clone(), force: None };
                // Refused when it is not connected.
                let _refused = world.docker.disconnect_network(id, body).await;
            }
            Step::Start(number) => {
                let served = times_served(world, &real, number).await?;
                let was_running = is_running(&real, number).await?;
                equal("outcome", taken, &model.take(*step).await, &real.take(*step).await)?;
                if !was_running && is_running(&real, number).await? {
                    // Until then its process does not hear that it is to stop.
                    let serves = super::eventually("it serves", super::SOON, async || {
                        let _: () = anyhow::ensure!(times_served(world, &real, number).await? > served);
                        Ok(())
                    });
                    serves.await?;
                }
            }
            step => equal("outcome", taken, &model.take(step).await, &real.take(step).await)?,
        }
        let (modelled, shown) = (model.shown().await?, real.shown().await?);
        equal("containers", taken, &modelled.0, &shown.0)?;
        equal("networks", taken, &modelled.1, &shown.1)?;
        equal("volumes", taken, &modelled.2, &shown.2)?;
    }
    for listed in engine.list().await?.containers {
        engine.remove_container(&OwnContainerId::proved(listed.id)).await?;
    }
    for id in real.networks.values() {
        world.docker.remove_network(id).await?;
    }
    for volume in VOLUMES {
        engine.remove_volume(&OwnVolumeName::proved(volume)).await?;
    }
    Ok(())
}

/// How often the process of a container has said that it serves.
async fn times_served(world: &World, real: &Side<'_, DockerRuntime>, number: usize) -> anyhow::Result<usize> {
    let Some(id) = real.containers.get(&number) else { return Ok(0) };
    let options = LogsOptionsBuilder::default().stdout(true).build();
    let lines: Vec<LogOutput> = match world.docker.logs(id, Some(options)).try_collect().await {
        Ok(lines) => lines,
        // It was removed.
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let text: String = lines.iter().map(ToString::to_string).collect();
    Ok(text.matches("serving on port").count())
}

async fn is_running<R: ContainerRuntime>(side: &Side<'_, R>, number: usize) -> anyhow::Result<bool> {
    let Some(id) = side.containers.get(&number) else { return Ok(false) };
    Ok(side.runtime.inspect(id).await?.is_some_and(|found| found.listed.state == ContainerState::Running))
}

#[test]
fn the_life_of_a_container_is_the_same() {
    system_tests::run(async |world| {
        use Step::{
            Connect, Create, CreateNetwork, CreateVolume, Disconnect, DisconnectByHand, Kill, Pause, Remove,
            RemoveNetwork, RemoveVolume, Rename, Start, Stop, Unpause, Update,
        };
        let made = [CreateNetwork(0), CreateNetwork(1), CreateVolume(0), Create(0)];
        let lives: &[&[Step]] = &[
            &[
                Start(0),
                Start(0),
                Stop(0),
                Stop(0),
                Start(0),
                Kill(0),
                Start(0),
                Remove(0),
                Remove(0),
                Start(0),
                Stop(0),
            ],
            &[
                Create(0),
                Create(1),
                Start(0),
                Start(1),
                Rename(1, 0),
                Rename(1, 1),
                Rename(1, 1),
                Stop(0),
                Start(1),
                Start(0),
            ],
            &[
                Start(0),
                Pause(0),
                Start(0),
                Stop(0),
                Start(0),
                Pause(0),
                Unpause(0),
                Unpause(0),
                Pause(0),
                Remove(0),
            ],
            &[
                Connect(0, 1),
                Connect(0, 1),
                Start(0),
                Disconnect(0, 1),
                Disconnect(0, 1),
                Connect(0, 1),
                RemoveNetwork(1),
                RemoveNetwork(0),
            ],
            &[
                Start(0),
                DisconnectByHand(0, 0),
                Connect(0, 0),
                Stop(0),
                Start(0),
                Disconnect(0, 0),
                RemoveNetwork(0),
                Start(0),
            ],
            &[Start(0), Stop(0), RemoveNetwork(0), Start(0), Remove(0)],
            &[
                RemoveVolume(0),
                CreateVolume(0),
                CreateVolume(1),
                RemoveVolume(1),
                RemoveVolume(1),
                Remove(0),
                RemoveVolume(0),
            ],
            &[
                Update(0, RestartPolicy::Always),
                Start(0),
                Kill(0),
                Start(0),
                Stop(0),
                Update(0, RestartPolicy::OnFailure(Some(2))),
                Remove(0),
            ],
            &[Create(2), Start(2), Start(0), Start(2), Stop(0), Stop(2), Start(2), Remove(0), Start(2)],
        ];
        for life in lives {
            let steps: Vec<Step> = made.iter().chain(*life).copied().collect();
            compare(world, &steps).await?;
        }
        Ok(())
    });
}

/// The same, for steps in any order. The seeds are fixed: what fails once fails again.
#[test]
fn any_order_of_steps_comes_to_the_same() {
    system_tests::run(async |world| {
        for seed in 1..=6_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut draw = |bound: usize| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                usize::try_from(state % bound as u64).expect("below the bound")
            };
            let steps: Vec<Step> = (0..40)
                .map(|_| match draw(20) {
                    0 => Step::CreateNetwork(draw(2)),
                    1 => Step::RemoveNetwork(draw(2)),
                    2 => Step::CreateVolume(draw(2)),
                    3 => Step::RemoveVolume(draw(2)),
                    4..=6 => Step::Create(draw(3)),
                    7..=9 => Step::Start(draw(3)),
                    10 => Step::Stop(draw(3)),
                    11 => Step::Remove(draw(3)),
                    12 => Step::Rename(draw(2), draw(2)),
                    13 => Step::Unpause(draw(3)),
                    14 => Step::Update(draw(3), [RestartPolicy::No, RestartPolicy::Always][draw(2)]),
                    15 => Step::Connect(draw(2), draw(2)),
                    16 => Step::Disconnect(draw(2), draw(2)),
                    17 => Step::Pause(draw(3)),
                    18 => Step::Kill(draw(3)),
                    _ => Step::DisconnectByHand(draw(2), draw(2)),
                })
                .collect();
            let steps: Vec<Step> =
                [Step::CreateNetwork(0), Step::CreateNetwork(1)].into_iter().chain(steps).collect();
            compare(world, &steps).await?;
        }
        Ok(())
    });
}
