//! What is on the engine, whoever's it is: a listing with indexes.

use std::collections::{BTreeSet, HashMap};

use super::NONCE_LABEL;
use crate::runtime::{ListedContainer, ListedNetwork, ListedVolume, Listing};

/// A listing with the indexes that passes look things up in. One serves every installation of a resync.
#[derive(Debug, Default)]
pub struct World {
    listing: Listing,
    containers_by_id: HashMap<String, usize>,
    containers_by_name: HashMap<String, usize>,
    containers_by_port: HashMap<u16, Vec<usize>>,
    containers_by_nonce: HashMap<String, Vec<usize>>,
    networks_by_id: HashMap<String, usize>,
    networks_by_name: HashMap<String, Vec<usize>>,
    volumes_by_name: HashMap<String, usize>,
}

impl World {
    /// Indexes a listing.
    pub fn new(listing: Listing) -> Self {
        let mut world = Self::default();
        for (index, container) in listing.containers.iter().enumerate() {
            world.containers_by_id.insert(container.id.clone(), index);
            world.containers_by_name.insert(container.name.clone(), index);
            for port in container.ports.iter().map(|port| port.host_port).collect::<BTreeSet<_>>() {
                world.containers_by_port.entry(port).or_default().push(index);
            }
            if let Some(nonce) = container.labels.get(NONCE_LABEL) {
                world.containers_by_nonce.entry(nonce.clone()).or_default().push(index);
            }
        }
        for (index, network) in listing.networks.iter().enumerate() {
            world.networks_by_id.insert(network.id.clone(), index);
            world.networks_by_name.entry(network.name.clone()).or_default().push(index);
        }
        // The oldest of several of one name comes first; equally old ones are told apart by id.
        for indexes in world.networks_by_name.values_mut() {
            indexes.sort_by_key(|index| (&listing.networks[*index].created, &listing.networks[*index].id));
        }
        for (index, volume) in listing.volumes.iter().enumerate() {
            world.volumes_by_name.insert(volume.name.clone(), index);
        }
        world.listing = listing;
        world
    }

    /// The listing itself.
    pub fn listing(&self) -> &Listing {
        &self.listing
    }

    /// A container by its id.
    pub fn container(&self, id: &str) -> Option<&ListedContainer> {
        self.containers_by_id.get(id).map(|index| &self.listing.containers[*index])
    }

    /// A network by its id.
    pub fn network(&self, id: &str) -> Option<&ListedNetwork> {
        self.networks_by_id.get(id).map(|index| &self.listing.networks[*index])
    }

    /// Networks of that name, the oldest first.
    pub fn networks_named(&self, name: &str) -> impl Iterator<Item = &ListedNetwork> {
        self.networks_by_name.get(name).into_iter().flatten().map(|index| &self.listing.networks[*index])
    }

    /// A volume by its name.
    pub fn volume(&self, name: &str) -> Option<&ListedVolume> {
        self.volumes_by_name.get(name).map(|index| &self.listing.volumes[*index])
    }

    /// A container that has this name and this nonce: the proof while its id is not known.
    pub(super) fn container_with_nonce(&self, name: &str, nonce: &str) -> Option<&ListedContainer> {
        let candidates = self.containers_by_nonce.get(nonce)?;
        candidates
            .iter()
            .map(|index| &self.listing.containers[*index])
            .find(|container| container.name == name)
    }

    /// The container that has this name.
    pub(super) fn container_named(&self, name: &str) -> Option<&ListedContainer> {
        self.containers_by_name.get(name).map(|index| &self.listing.containers[*index])
    }

    /// Containers that publish this port of the host, on any address.
    pub(super) fn containers_with_port(&self, port: u16) -> impl Iterator<Item = &ListedContainer> {
        self.containers_by_port.get(&port).into_iter().flatten().map(|index| &self.listing.containers[*index])
    }
}
