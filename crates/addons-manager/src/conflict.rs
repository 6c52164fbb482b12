//! Pure: what an installation asks for and somebody else has, found before anything is made, with the name of who has it.

use std::collections::{BTreeMap, BTreeSet};

use addon_client::VolumesChoice;
use ipnet::IpNet;

use crate::domain::claim::{Claim, addresses_overlap, subnets_overlap};
use crate::domain::installation::{Desired, InstallationId, KeptVolume};
use crate::domain::specification::{RevisionSpecification, VolumeSpecification};
use crate::resolve::choose::TakenPort;
use crate::runtime::{ListedVolume, Listing};
use crate::storage::installations::Occupied;

/// Label that carries the nonce of an object of ours.
const NONCE_LABEL: &str = "oak.create";

/// Something that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What was asked for.
    pub wanted: Claim,
    /// Who has it.
    pub holder: Holder,
}

/// Who has what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Another installation.
    Installation {
        /// Its id.
        id: InstallationId,
        /// Its name.
        name: String,
        /// Its addon.
        addon: String,
        /// It is uninstalled, and what is left of it is being removed.
        going: bool,
    },
    /// A container that is not of this manager.
    Container(String),
    /// A network that is not of this manager.
    Network(String),
    /// A volume that is not of this manager.
    Volume(String),
    /// A volume that another addon left, or one that the request declines.
    Kept {
        /// The addon that left it.
        addon: String,
        /// The name under which it was installed.
        installation: String,
    },
    /// A kept volume that was made in another way than it is asked for now.
    KeptDiffers,
    /// A process of the host.
    Process,
}

impl Conflict {
    /// The conflict and what to do about it, in a sentence.
    pub fn message(&self) -> String {
        let what = self.wanted.describe();
        match &self.holder {
            Holder::Installation { id, name, going: true, .. } => {
                format!("{what} is still held by installation `{name}` ({id}), which is being removed: try again in a moment")
            }
            Holder::Installation { id, name, .. } => format!("{what} is held by installation `{name}` ({id})"),
            Holder::Container(name) => format!("{what} is held by container `{name}`, which this manager did not make"),
            Holder::Network(name) => format!("{what} is held by network `{name}`, which this manager did not make"),
            Holder::Volume(name) => format!("{what} is held by a volume `{name}` that this manager did not make"),
            Holder::Kept { addon, installation } => format!(
                "{what} holds data that addon `{addon}`, installed as `{installation}`, left: install under another name, or delete it with \
                 DELETE /api/v1/host/volumes/{}",
                self.wanted.value()
            ),
            Holder::KeptDiffers => format!(
                "{what} was left by an earlier installation, made with another driver or other options: delete it with \
                 DELETE /api/v1/host/volumes/{} or install under another name",
                self.wanted.value()
            ),
            Holder::Process => format!("{what} is in use by a process of the host"),
        }
    }
}

/// What else is there.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// What installations of this host have.
    pub occupied: &'a Occupied,
    /// What the engine has.
    pub listing: &'a Listing,
    /// Further names that containers answer to, by network and name; and which container it is.
    pub aliases: &'a BTreeMap<(String, String), String>,
    /// What processes of the host listen on.
    pub listeners: &'a [TakenPort],
}

/// What becomes of kept volumes at an install.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptPlan {
    /// Given back to the installation.
    pub taken_back: Vec<KeptVolume>,
    /// Gone from the engine: new ones are made in their place.
    pub gone: Vec<String>,
    /// In the way.
    pub conflicts: Vec<Conflict>,
}

/// The kept volumes of this addon under this name come back, those of its images too; the request may decline, then they are in the way.
pub fn kept_volumes(addon: &str, name: &str, choice: Option<VolumesChoice>, revision: &RevisionSpecification, world: World<'_>) -> KeptPlan {
    let mut plan = KeptPlan::default();
    let conflict = |volume: &KeptVolume, holder| Conflict { wanted: Claim::Volume(volume.name.clone()), holder };
    let left_by = |volume: &KeptVolume| Holder::Kept { addon: volume.addon.clone(), installation: volume.installation_name.clone() };
    for volume in &world.occupied.kept {
        let is_own = volume.addon == addon && volume.installation_name == name;
        let wanted = revision.volumes.get(&volume.name);
        if !is_own && wanted.is_none() {
            continue;
        }
        let listed = world.listing.volumes.iter().find(|listed| listed.name == volume.name);
        let is_there = listed.is_some_and(|listed| listed.labels.get(NONCE_LABEL) == Some(&volume.nonce));
        match (listed, is_there) {
            // Somebody removed it: there is no data to give back. A volume of the name is somebody else's, and found as such.
            (None, _) | (Some(_), false) => plan.gone.push(volume.name.clone()),
            (Some(_), true) if !is_own || choice == Some(VolumesChoice::New) => plan.conflicts.push(conflict(volume, left_by(volume))),
            (Some(listed), true) if wanted.is_some_and(|wanted| !is_made_so(listed, wanted)) => {
                plan.conflicts.push(conflict(volume, Holder::KeptDiffers));
            }
            (Some(_), true) => plan.taken_back.push(volume.clone()),
        }
    }
    plan
}

fn is_made_so(listed: &ListedVolume, wanted: &VolumeSpecification) -> bool {
    listed.driver == wanted.driver && listed.options == wanted.driver_opts
}

/// Every claim that somebody else has, with one holder each. Volumes in `own` are given back, so the engine's are no conflict.
pub fn conflicts(wanted: &[Claim], own: &BTreeSet<&str>, world: World<'_>) -> Vec<Conflict> {
    wanted
        .iter()
        .filter_map(|claim| {
            let holder = of_installation(claim, world.occupied).or_else(|| of_engine(claim, own, world))?;
            Some(Conflict { wanted: claim.clone(), holder })
        })
        .collect()
}

fn of_installation(claim: &Claim, occupied: &Occupied) -> Option<Holder> {
    let held = occupied.claims.iter().find(|held| held.claim.overlaps(claim))?;
    let present = occupied.installations.iter().find(|present| present.id == held.installation);
    Some(Holder::Installation {
        id: held.installation,
        name: held.installation_name.clone(),
        addon: present.map(|present| present.addon.clone()).unwrap_or_default(),
        going: present.is_some_and(|present| present.desired == Desired::Absent),
    })
}

fn of_engine(claim: &Claim, own: &BTreeSet<&str>, world: World<'_>) -> Option<Holder> {
    let listing = world.listing;
    match claim {
        Claim::ContainerName(name) => {
            listing.containers.iter().find(|container| container.name == *name).map(|container| Holder::Container(container.name.clone()))
        }
        Claim::HostPort { ip, port, protocol } => {
            let publishes = |listed: &&crate::runtime::ListedPort| {
                listed.host_port == *port && listed.protocol == *protocol && addresses_overlap(listed.host_ip, *ip)
            };
            let container = listing.containers.iter().find(|container| container.ports.iter().any(|port| publishes(&port)));
            let listens = |taken: &TakenPort| taken.port == *port && taken.protocol == *protocol && addresses_overlap(taken.ip, *ip);
            container
                .map(|container| Holder::Container(container.name.clone()))
                .or_else(|| world.listeners.iter().any(listens).then_some(Holder::Process))
        }
        Claim::Alias { network, alias } => {
            let on_it = |container: &&crate::runtime::ListedContainer| {
                container.networks.values().any(|attachment| attachment.network_name == *network)
            };
            let named = listing.containers.iter().filter(on_it).find(|container| container.name == *alias);
            named.map(|container| Holder::Container(container.name.clone())).or_else(|| {
                world.aliases.get(&(network.clone(), alias.clone())).cloned().map(Holder::Container)
            })
        }
        Claim::Subnet(subnet) => {
            let overlaps = |text: &String| text.parse::<IpNet>().is_ok_and(|listed| subnets_overlap(&listed, subnet));
            let network = listing.networks.iter().find(|network| network.subnets.iter().any(overlaps))?;
            Some(Holder::Network(network.name.clone()))
        }
        Claim::Network(name) => {
            listing.networks.iter().find(|network| network.name == *name).map(|network| Holder::Network(network.name.clone()))
        }
        Claim::Volume(name) if own.contains(name.as_str()) => None,
        Claim::Volume(name) => {
            listing.volumes.iter().find(|volume| volume.name == *name).map(|volume| Holder::Volume(volume.name.clone()))
        }
        // Known to this manager alone.
        Claim::InstallationName(_) | Claim::Component(_) => None,
    }
}
