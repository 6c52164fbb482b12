//! The calls of the engine in memory, as the reconciler makes them.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{Attachment, Container, MemoryRuntime, change_needed, gone};
use crate::domain::specification::{
    NetworkAttachment, NetworkSpecification, PinnedImage, Resources, RestartPolicy, ServiceSpecification,
    VolumeSpecification,
};
use crate::runtime::{
    ChangeNeeded, ContainerMeant, ContainerRuntime, ContainerState, EngineFacts, EventMessage, EventObject,
    InspectedContainer, InspectedImage, ListedNetwork, ListedVolume, Listing, OwnContainerId, OwnNetworkId,
    OwnVolumeName, PullProgress, RuntimeError, Surroundings,
};

#[async_trait]
impl ContainerRuntime for MemoryRuntime {
    async fn list(&self) -> Result<Listing, RuntimeError> {
        let (engine, lost) = self.call("list", "", false)?;
        unless_lost(lost, engine.listing())
    }

    async fn inspect(&self, id: &str) -> Result<Option<InspectedContainer>, RuntimeError> {
        let (engine, lost) = self.call("inspect", id, false)?;
        unless_lost(lost, engine.inspected(id))
    }

    async fn inspect_against(
        &self,
        id: &str,
        specification: &ServiceSpecification,
        meant: &ContainerMeant,
    ) -> Result<Option<InspectedContainer>, RuntimeError> {
        let (engine, lost) = self.call("inspect_against", id, false)?;
        let inspected = engine.inspected(id).map(|mut inspected| {
            let container = &engine.containers[id];
            inspected.differences.clone_from(&container.differences);
            match &container.made_of {
                Some((made, asked)) => {
                    if made.digest() != specification.digest() {
                        inspected.differences.push("its specification is another one".to_owned());
                    }
                    if asked.labels != meant.labels {
                        inspected.differences.push("its labels are others".to_owned());
                    }
                    if asked.image_volumes != meant.image_volumes || asked.file_sources != meant.file_sources
                    {
                        inspected.differences.push("its mounts are others".to_owned());
                    }
                    if container.name != meant.name || container.restart != meant.restart {
                        inspected.differences.push("its name or restart policy is another one".to_owned());
                    }
                }
                None => inspected.differences.push("it was made by somebody else".to_owned()),
            }
            inspected
        });
        unless_lost(lost, inspected)
    }

    async fn inspect_volume(&self, name: &str) -> Result<Option<ListedVolume>, RuntimeError> {
        let (engine, lost) = self.call("inspect_volume", name, false)?;
        unless_lost(lost, engine.volumes.get(name).cloned())
    }

    async fn inspect_image(&self, reference: &str) -> Result<Option<InspectedImage>, RuntimeError> {
        let (engine, lost) = self.call("inspect_image", reference, false)?;
        unless_lost(lost, engine.image(reference).map(|image| image.inspected.clone()))
    }

    async fn registry_digest(&self, repository: &str, tag: &str) -> Result<String, RuntimeError> {
        let name = format!("{repository}:{tag}");
        let (engine, lost) = self.call("registry_digest", &name, false)?;
        let never = || RuntimeError::Never {
            operation: format!("look up {name}"),
            message: "the registry has no such image".to_owned(),
        };
        let digest = engine.registry_names.get(&name).cloned().ok_or_else(never)?;
        unless_lost(lost, digest)
    }

    async fn engine(&self) -> Result<EngineFacts, RuntimeError> {
        let (engine, lost) = self.call("engine", "", false)?;
        unless_lost(lost, engine.facts.clone())
    }

    async fn logs(&self, id: &str, tail: usize) -> Result<String, RuntimeError> {
        let (engine, lost) = self.call("logs", id, false)?;
        if !engine.containers.contains_key(id) {
            return Err(gone("logs", id));
        }
        unless_lost(lost, format!("the last {tail} lines of {}\n", engine.containers[id].name))
    }

    async fn pull(
        &self,
        image: &PinnedImage,
        progress: mpsc::Sender<PullProgress>,
    ) -> Result<InspectedImage, RuntimeError> {
        let (mut engine, lost) = self.call("pull", &image.digest, false)?;
        let found = engine.registry.get(&image.digest).cloned();
        let id = found.unwrap_or_else(|| {
            Err(RuntimeError::Never {
                operation: format!("pull {}", image.reference),
                message: "manifest unknown".to_owned(),
            })
        })?;
        let pulled = engine.images.get_mut(&id).expect("what is published is known");
        let digest = format!("{}@{}", image.repository, image.digest);
        if !pulled.inspected.repo_digests.contains(&digest) {
            let _ = progress.try_send(PullProgress { done_bytes: 1, total_bytes: 2 });
            pulled.inspected.repo_digests.push(digest);
        }
        let inspected = pulled.inspected.clone();
        unless_lost(lost, inspected)
    }

    async fn tag(&self, image_id: &str, tag: &str) -> Result<(), RuntimeError> {
        let (mut engine, lost) = self.call("tag", tag, false)?;
        if engine.image(image_id).is_none() {
            return Err(gone("tag", image_id));
        }
        for image in engine.images.values_mut() {
            image.tags.remove(tag);
        }
        engine.images.get_mut(image_id).expect("it was just found").tags.insert(tag.to_owned());
        unless_lost(lost, ())
    }

    async fn untag(&self, tag: &str) -> Result<(), RuntimeError> {
        let (mut engine, lost) = self.call("untag", tag, false)?;
        for image in engine.images.values_mut() {
            image.tags.remove(tag);
        }
        unless_lost(lost, ())
    }

    async fn create_container(
        &self,
        specification: &ServiceSpecification,
        meant: &ContainerMeant,
    ) -> Result<String, RuntimeError> {
        let (mut engine, lost) = self.call("create_container", &meant.name, false)?;
        if let Some(volume) = engine.vanishing_volume.take() {
            engine.volumes.remove(&volume);
        }
        let id = engine.create(specification, meant)?;
        engine.event(&self.clock, EventObject::Container, &id, "create", &[]);
        unless_lost(lost, id)
    }

    async fn create_network(
        &self,
        name: &str,
        specification: &NetworkSpecification,
        labels: &BTreeMap<String, String>,
    ) -> Result<String, RuntimeError> {
        let (mut engine, lost) = self.call("create_network", name, false)?;
        let id = engine.new_id();
        let created = engine.time(&self.clock);
        let comes_true_late = engine.late_networks.remove(name);
        let mut all = specification.labels.clone();
        all.extend(labels.clone());
        let network = ListedNetwork {
            id: id.clone(),
            name: name.to_owned(),
            driver: specification.driver.clone(),
            internal: specification.internal,
            enable_ipv6: specification.enable_ipv6,
            subnets: specification.subnets.clone(),
            options: specification.driver_opts.clone(),
            labels: all,
            created,
        };
        engine.networks.insert(id.clone(), network);
        engine.event(&self.clock, EventObject::Network, &id, "create", &[]);
        if comes_true_late {
            let message = "Pool overlaps with other one on this address space".to_owned();
            return Err(change_needed(format!("create network {name}"), message, ChangeNeeded::AddressPool));
        }
        unless_lost(lost, id)
    }

    async fn create_volume(
        &self,
        name: &str,
        specification: &VolumeSpecification,
        labels: &BTreeMap<String, String>,
    ) -> Result<ListedVolume, RuntimeError> {
        let (mut engine, lost) = self.call("create_volume", name, false)?;
        let mut all = specification.labels.clone();
        all.extend(labels.clone());
        let new = ListedVolume {
            name: name.to_owned(),
            driver: specification.driver.clone(),
            options: specification.driver_opts.clone(),
            labels: all,
        };
        let found = engine.volumes.entry(name.to_owned()).or_insert(new).clone();
        unless_lost(lost, found)
    }

    async fn start(&self, id: &OwnContainerId) -> Result<(), RuntimeError> {
        let (mut engine, lost) = self.call("start", &id.0, true)?;
        engine.start(&self.clock, &id.0)?;
        unless_lost(lost, ())
    }

    async fn stop(&self, id: &OwnContainerId, _grace_s: Option<i64>) -> Result<(), RuntimeError> {
        let (mut engine, lost) = self.call("stop", &id.0, true)?;
        if !engine.containers.contains_key(&id.0) {
            return Err(gone("stop container", &id.0));
        }
        if engine.is_running(&id.0) || engine.containers[&id.0].state == ContainerState::Restarting {
            let code = engine.exit_on_stop;
            engine.event(&self.clock, EventObject::Container, &id.0, "kill", &[("signal", "15")]);
            engine.end(&self.clock, &id.0, code, false);
            engine.event(&self.clock, EventObject::Container, &id.0, "stop", &[]);
        }
        unless_lost(lost, ())
    }

    async fn remove_container(&self, id: &OwnContainerId) -> Result<(), RuntimeError> {
        let (mut engine, lost) = self.call("remove_container", &id.0, true)?;
        if engine.containers.contains_key(&id.0) {
            if engine.is_running(&id.0) {
                engine.event(&self.clock, EventObject::Container, &id.0, "kill", &[("signal", "9")]);
                engine.end(&self.clock, &id.0, 137, false);
            }
            engine.containers.remove(&id.0);
            engine.event(&self.clock, EventObject::Container, &id.0, "destroy", &[]);
        }
        unless_lost(lost, ())
    }

    async fn rename(&self, id: &OwnContainerId, name: &str) -> Result<(), RuntimeError> {
        let (mut engine, lost) = self.call("rename", &id.0, true)?;
        if engine.containers.iter().any(|(other, container)| *other != id.0 && container.name == name) {
            return Err(change_needed(
                format!("rename to {name}"),
                "the name is in use".to_owned(),
                ChangeNeeded::NameTaken,
            ));
        }
        engine.containers.get_mut(&id.0).ok_or_else(|| gone("rename", &id.0))?.name = name.to_owned();
        engine.event(&self.clock, EventObject::Container, &id.0, "rename", &[]);
        unless_lost(lost, ())
    }

    async fn unpause(&self, id: &OwnContainerId) -> Result<(), RuntimeError> {
        let (mut engine, lost) = self.call("unpause", &id.0, true)?;
        let container = engine.containers.get_mut(&id.0).ok_or_else(|| gone("unpause", &id.0))?;
        if container.state == ContainerState::Paused {
            container.state = ContainerState::Running;
        }
        engine.event(&self.clock, EventObject::Container, &id.0, "unpause", &[]);
        unless_lost(lost, ())
    }

    async fn update(
        &self,
        id: &OwnContainerId,
        restart: RestartPolicy,
        resources: &Resources,
    ) -> Result<(), RuntimeError> {
        let (mut engine, lost) = self.call("update", &id.0, true)?;
        let container = engine.containers.get_mut(&id.0).ok_or_else(|| gone("update", &id.0))?;
        container.restart = restart;
        // A limit of 0 is "leave it as it is".
        let limits = &mut container.limits;
        limits.memory_bytes = resources.memory_bytes.or(limits.memory_bytes);
        limits.memory_reservation_bytes =
            resources.memory_reservation_bytes.or(limits.memory_reservation_bytes);
        limits.memory_swap_bytes = resources.memory_swap_bytes.or(limits.memory_swap_bytes);
        limits.nano_cpus = resources.nano_cpus.or(limits.nano_cpus);
        limits.pids = resources.pids.or(limits.pids);
        if resources.cpuset.is_some() {
            limits.cpuset.clone_from(&resources.cpuset);
        }
        engine.event(&self.clock, EventObject::Container, &id.0, "update", &[]);
        unless_lost(lost, ())
    }

    async fn connect(
        &self,
        id: &OwnContainerId,
        network_id: &str,
        attachment: &NetworkAttachment,
        courtesy_alias: Option<&str>,
    ) -> Result<(), RuntimeError> {
        let (mut engine, lost) = self.call("connect", &id.0, true)?;
        let network_name =
            engine.networks.get(network_id).ok_or_else(|| gone("connect to", network_id))?.name.clone();
        let known: BTreeSet<String> = engine.networks.keys().cloned().collect();
        let container = engine.containers.get_mut(&id.0).ok_or_else(|| gone("connect", &id.0))?;
        let aliases = attachment.aliases.iter().cloned().chain(courtesy_alias.map(str::to_owned)).collect();
        // What is there already stays as it is; of a container that does not run, one of that name that has gone makes room.
        if !matches!(container.state, ContainerState::Running | ContainerState::Paused) {
            container
                .networks
                .retain(|id, attached| attached.network_name != network_name || known.contains(id));
        }
        if container.networks.values().all(|attached| attached.network_name != network_name) {
            container.networks.insert(network_id.to_owned(), Attachment { network_name, aliases });
        }
        engine.event(&self.clock, EventObject::Network, network_id, "connect", &[("container", &id.0)]);
        unless_lost(lost, ())
    }

    async fn disconnect(&self, id: &OwnContainerId, network_id: &str) -> Result<(), RuntimeError> {
        let (mut engine, lost) = self.call("disconnect", &id.0, true)?;
        // What does not run is written down by the network's name only.
        let name = engine.networks.get(network_id).map(|network| network.name.clone());
        engine.change(&id.0, |container| {
            let runs = matches!(container.state, ContainerState::Running | ContainerState::Paused);
            container.networks.retain(|id, attached| {
                id != network_id && (runs || Some(&attached.network_name) != name.as_ref())
            });
        });
        engine.event(&self.clock, EventObject::Network, network_id, "disconnect", &[("container", &id.0)]);
        unless_lost(lost, ())
    }

    async fn remove_network(&self, id: &OwnNetworkId) -> Result<(), RuntimeError> {
        let (mut engine, lost) = self.call("remove_network", &id.0, true)?;
        let user = engine
            .containers
            .iter()
            .find(|(other, container)| engine.is_running(other) && container.networks.contains_key(&id.0));
        if let Some((_, container)) = user {
            let message = format!("network has active endpoints: {}", container.name);
            return Err(change_needed("remove network".to_owned(), message, ChangeNeeded::InUse));
        }
        engine.networks.remove(&id.0);
        engine.event(&self.clock, EventObject::Network, &id.0, "destroy", &[]);
        unless_lost(lost, ())
    }

    async fn remove_volume(&self, name: &OwnVolumeName) -> Result<(), RuntimeError> {
        let (mut engine, lost) = self.call("remove_volume", &name.0, true)?;
        let used = |container: &Container| {
            container.mounts.iter().any(|mount| mount.volume.as_deref() == Some(name.0.as_str()))
        };
        if let Some(container) = engine.containers.values().find(|container| used(container)) {
            let message = format!("volume is in use: {}", container.name);
            return Err(change_needed("remove volume".to_owned(), message, ChangeNeeded::InUse));
        }
        engine.volumes.remove(&name.0);
        engine.event(&self.clock, EventObject::Volume, &name.0, "destroy", &[]);
        unless_lost(lost, ())
    }

    fn surroundings(&self) -> Surroundings {
        self.engine().surroundings
    }

    fn events(&self) -> mpsc::Receiver<EventMessage> {
        let (sender, receiver) = mpsc::channel(65_536);
        let _ = sender.try_send(EventMessage::Connected);
        self.engine().listeners.push(sender);
        receiver
    }
}

/// The result, or the error that comes back though it was done.
fn unless_lost<T>(lost: Option<RuntimeError>, result: T) -> Result<T, RuntimeError> {
    lost.map_or(Ok(result), Err)
}
