//! What is on the engine as one installation sees it: its own, by the proof of its rows, and everything else, which no step can name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::desired::{ContainerRow, DesiredState, Role};
use super::world::World;
use super::{NONCE_LABEL, short};
use crate::domain::claim::addresses_overlap;
use crate::domain::specification::PublishedPort;
use crate::runtime::{
    ContainerState, InspectedContainer, ListedContainer, ListedNetwork, ListedVolume, OwnContainerId,
    OwnNetworkId, OwnVolumeName,
};

/// What is there, as one installation sees it.
#[derive(Debug, Clone, Default)]
pub struct ObservedState {
    /// What the database proves to be its own.
    pub ours: Ours,
    /// Everything else: facts to find conflicts by. No step can name any of it.
    pub others: Others,
}

/// Objects of the installation, by the key of the row that proves each.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Ours {
    pub containers: BTreeMap<i64, OurContainer>,
    pub networks: BTreeMap<i64, OurNetwork>,
    pub volumes: BTreeMap<i64, OurVolume>,
}

/// A container of ours.
#[derive(Debug, Clone)]
pub struct OurContainer {
    /// Its id; only rows make one.
    pub id: OwnContainerId,
    /// As listed, or as inspected where that is newer.
    pub listed: ListedContainer,
    /// As inspected in this pass.
    pub inspected: Option<InspectedContainer>,
}

/// A network of ours.
#[derive(Debug, Clone)]
pub struct OurNetwork {
    /// Its id; only rows make one.
    pub id: OwnNetworkId,
    /// As listed.
    pub listed: ListedNetwork,
    /// Others that carry the same name and nonce, while the row has no id: as much ours, and one too many.
    pub surplus: Vec<String>,
}

/// A volume of ours.
#[derive(Debug, Clone)]
pub struct OurVolume {
    /// Its name; only rows make one.
    pub name: OwnVolumeName,
    /// As listed.
    pub listed: ListedVolume,
}

/// What is on the engine and not the installation's own.
#[derive(Debug, Clone, Default)]
pub struct Others {
    world: Arc<World>,
    own: BTreeSet<String>,
    /// Those that were inspected, by id: no listing tells their aliases.
    inspected: BTreeMap<String, InspectedContainer>,
}

/// Id of something that is not ours. No call of the runtime that changes anything takes one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForeignId(pub String);

/// A container of somebody else.
#[derive(Debug, Clone, Copy)]
pub struct OtherContainer<'a>(&'a ListedContainer);

impl OtherContainer<'_> {
    /// Its id.
    pub fn id(&self) -> ForeignId {
        ForeignId(self.0.id.clone())
    }

    /// For people: `container web (0123456789ab)`.
    pub fn describe(&self) -> String {
        format!("container {} ({})", self.0.name, short(&self.0.id))
    }
}

impl Others {
    /// A container of others that has this name.
    pub fn container_named(&self, name: &str) -> Option<OtherContainer<'_>> {
        let container = self.world.container_named(name)?;
        (!self.own.contains(&container.id)).then_some(OtherContainer(container))
    }

    /// A container of others that has the host's port.
    pub fn port_holder(&self, port: &PublishedPort) -> Option<OtherContainer<'_>> {
        self.world.containers_with_port(port.host_port).find_map(|container| {
            let taken = container.ports.iter().any(|theirs| {
                theirs.host_port == port.host_port
                    && theirs.protocol == port.protocol
                    && addresses_overlap(theirs.host_ip, port.host_ip)
            });
            (taken && !self.own.contains(&container.id)).then_some(OtherContainer(container))
        })
    }

    /// Id of the oldest network of that name that is not the installation's own.
    pub fn network_named(&self, name: &str) -> Option<&str> {
        self.world.networks_named(name).map(|network| network.id.as_str()).find(|id| !self.own.contains(*id))
    }

    /// Whether a volume of that name is there that is not the installation's own.
    pub fn has_volume(&self, name: &str) -> bool {
        self.world.volume(name).is_some() && !self.own.contains(&volume_key(name))
    }

    /// Labels of a volume of that name that is not the installation's own, where one is there.
    pub fn volume_labels(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        let listed = self.world.volume(name).filter(|_| !self.own.contains(&volume_key(name)))?;
        Some(&listed.labels)
    }

    /// Whether a network of that id is there, whoever's it is.
    pub fn has_network_id(&self, id: &str) -> bool {
        self.world.network(id).is_some()
    }

    /// Whether a container of others on that network answers to this name, as far as the listing and what was inspected tell.
    pub fn answers_to(&self, network_id: &str, name: &str) -> bool {
        self.world.listing().containers.iter().any(|container| {
            let Some(attachment) = container.networks.get(network_id) else { return false };
            let has_alias = |found: &InspectedContainer| {
                found.host_name.as_deref() == Some(name)
                    || found
                        .aliases
                        .get(&attachment.network_name)
                        .is_some_and(|aliases| aliases.contains(name))
            };
            !self.own.contains(&container.id)
                && (container.name == name
                    || container
                        .labels
                        .get("com.docker.compose.service")
                        .is_some_and(|service| service == name)
                    || self.inspected.get(&container.id).is_some_and(has_alias))
        })
    }

    /// Ids of the containers of others on networks of this name.
    pub fn containers_on(&self, network: &str) -> impl Iterator<Item = &str> {
        let on_it = move |container: &&ListedContainer| {
            container.networks.values().any(|attachment| attachment.network_name == network)
        };
        let containers = self.world.listing().containers.iter().filter(on_it);
        containers.map(|container| container.id.as_str()).filter(|id| !self.own.contains(*id))
    }
}

/// Volumes have names where the others have ids; in one set they are told apart by this.
fn volume_key(name: &str) -> String {
    format!("volume {name}")
}

/// Splits what is there into what the rows prove to be the installation's own, and the rest.
///
/// `inspected` are live answers of this pass, by id: newer than the listing, and `None` where the container is gone.
pub fn observe(
    desired: &DesiredState,
    world: &Arc<World>,
    inspected: &BTreeMap<String, Option<InspectedContainer>>,
) -> ObservedState {
    let mut ours = Ours::default();
    // One of ours that is gone by now may still be in the listing: it is not somebody else's for that.
    let mut own: BTreeSet<String> =
        desired.containers.iter().filter_map(|row| row.engine_id.clone()).collect();
    for row in &desired.containers {
        let listed = match &row.engine_id {
            Some(id) => world
                .container(id)
                .cloned()
                .or_else(|| inspected.get(id)?.as_ref().map(|found| found.listed.clone())),
            None => world.container_with_nonce(&row.name, &row.nonce).cloned(),
        };
        let Some(mut listed) = listed else { continue };
        let live = match inspected.get(&listed.id) {
            Some(None) => continue,
            Some(Some(live)) => {
                listed = live.listed.clone();
                Some(live.clone())
            }
            None => None,
        };
        own.insert(listed.id.clone());
        ours.containers
            .insert(row.row, OurContainer { id: OwnContainerId(listed.id.clone()), listed, inspected: live });
    }
    for row in &desired.networks {
        let (listed, surplus) = match &row.engine_id {
            Some(id) => (world.network(id), Vec::new()),
            None => {
                let mut proven = world.networks_named(&row.name).filter(|network| {
                    network.labels.get(NONCE_LABEL).is_some_and(|nonce| *nonce == row.nonce)
                });
                (proven.next(), proven.map(|network| network.id.clone()).collect())
            }
        };
        let Some(listed) = listed.cloned() else { continue };
        own.insert(listed.id.clone());
        own.extend(surplus.iter().cloned());
        ours.networks.insert(row.row, OurNetwork { id: OwnNetworkId(listed.id.clone()), listed, surplus });
    }
    for row in &desired.volumes {
        let proven = world
            .volume(&row.name)
            .filter(|volume| volume.labels.get(NONCE_LABEL).is_some_and(|nonce| *nonce == row.nonce));
        if let Some(listed) = proven.cloned() {
            own.insert(volume_key(&row.name));
            ours.volumes.insert(row.row, OurVolume { name: OwnVolumeName(row.name.clone()), listed });
        }
    }
    let others = inspected.iter().filter(|(id, _)| !own.contains(*id));
    let inspected = others.filter_map(|(id, found)| Some((id.clone(), found.clone()?))).collect();
    ObservedState { ours, others: Others { world: Arc::clone(world), own, inspected } }
}

impl ObservedState {
    /// The container that serves for `service`, where it is there.
    pub fn current<'a>(
        &'a self,
        desired: &'a DesiredState,
        service: &str,
    ) -> Option<(&'a ContainerRow, &'a OurContainer)> {
        let row = desired.current(service)?;
        Some((row, self.ours.containers.get(&row.row)?))
    }

    /// The service's container of that role, where it is there.
    pub fn with_role<'a>(
        &'a self,
        desired: &'a DesiredState,
        service: &str,
        role: Role,
    ) -> Option<(&'a ContainerRow, &'a OurContainer)> {
        let row = desired.with_role(service, role)?;
        Some((row, self.ours.containers.get(&row.row)?))
    }

    /// Whether no container has this name, whoever's it is.
    pub fn is_free_name(&self, name: &str) -> bool {
        self.others.container_named(name).is_none()
            && !self.ours.containers.values().any(|container| container.listed.name == name)
    }

    /// Id of the installation's own (or the platform's) network of that name, where it is there.
    pub fn own_network(&self, desired: &DesiredState, name: &str) -> Option<&OurNetwork> {
        let row = desired.networks.iter().find(|row| row.name == name && !row.surplus)?;
        self.ours.networks.get(&row.row)
    }

    /// The installation's own volume of that name, where it is there.
    pub fn own_volume(&self, desired: &DesiredState, name: &str) -> Option<&OurVolume> {
        let row = desired.volumes.iter().find(|row| row.name == name)?;
        self.ours.volumes.get(&row.row)
    }
}

impl OurContainer {
    /// What it does. A live answer is read with `Restarting` first: `Running` is true meanwhile.
    pub fn state(&self) -> ContainerState {
        match &self.inspected {
            Some(live) if live.restarting => ContainerState::Restarting,
            _ => self.listed.state,
        }
    }
}
