//! The values of a pass: what is wanted and was done so far, what is there, and the split of it into ours and others'.
//!
//! Read by `storage/` and `runtime/`, decided over in `record.rs` and `plan/`. No I/O and no clock here. Where to read next: `plan/mod.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use service_kit::clock::Timestamp;

use crate::domain::claim::addresses_overlap;
use crate::domain::installation::{Desired, InstallationId};
use crate::domain::specification::{
    MountSource, NetworkSpecification, PublishedPort, RestartPolicy, RevisionSpecification,
    ServiceSpecification, VolumeSpecification,
};
use crate::domain::status::{Condition, InstallationStatus, ServiceReport};
use crate::runtime::{
    ContainerState, InspectedContainer, ListedContainer, ListedNetwork, ListedVolume, Listing,
    OwnContainerId, OwnNetworkId, OwnVolumeName,
};

/// Label that carries the nonce of the row that an object was created for.
pub const NONCE_LABEL: &str = "oak.create";

/// One installation: what is wanted, and what the database knows of what was made for it.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredState {
    /// Its row.
    pub installation: InstallationRow,
    /// What its current revision asks of the engine.
    pub specification: RevisionSpecification,
    /// Digest of each service's specification, computed once and stored with the revision.
    pub digests: BTreeMap<String, String>,
    /// What is known of the images of the current revision, by service; none: it has to be pulled first.
    pub images: BTreeMap<String, ImageRow>,
    /// Local tags of all its revisions.
    pub tags: BTreeSet<String>,
    /// Its containers.
    pub containers: Vec<ContainerRow>,
    /// Its networks, and those of the platform that were made here.
    pub networks: Vec<NetworkRow>,
    /// Its volumes.
    pub volumes: Vec<VolumeRow>,
    /// Jobs that are done, for current specifications and the current count of restarts.
    pub completions: BTreeMap<String, Completion>,
    /// Runs and failed operations of the current epoch and specification by service (empty name: of the installation), newest first.
    pub attempts: BTreeMap<String, Vec<Attempt>>,
    /// Courtesy aliases that other installations have: network and alias.
    pub courtesy_taken: BTreeSet<(String, String)>,
    /// Names on shared networks that other installations asked for: network and name. A courtesy alias gives way to them.
    pub aliases_claimed: BTreeSet<(String, String)>,
}

/// The part of an installation's row that a pass needs.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct InstallationRow {
    pub id: InstallationId,
    pub name: String,
    pub addon: String,
    pub release_id: String,
    pub desired: Desired,
    pub generation: i64,
    pub revision: i64,
    pub restart_generation: i64,
    pub epoch: i64,
    pub been_up: BTreeSet<String>,
    pub delete_volumes: bool,
    pub status: InstallationStatus,
    pub status_since: Timestamp,
    pub conditions: Vec<Condition>,
    pub service_states: Vec<ServiceReport>,
}

/// Which of the containers of a service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The one that serves.
    Current,
    /// The one that an upgrade tries.
    Candidate,
    /// The one that an upgrade came from.
    Previous,
}

/// A row of the ledger of containers.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerRow {
    /// Key of the row.
    pub row: i64,
    /// Service in the descriptor.
    pub service: String,
    /// Which of the service's containers.
    pub role: Role,
    /// Name that it was created under.
    pub name: String,
    /// Proves it ours while there is no id.
    pub nonce: String,
    /// Proves it ours.
    pub engine_id: Option<String>,
    /// Digest of the specification that it was created for.
    pub spec_digest: String,
    /// What was last asked of the engine for it.
    pub asked: Asked,
    /// The containers that it was started against, by service.
    pub providers: BTreeMap<String, Provider>,
    /// It was compared with what was meant.
    pub verified: bool,
    /// Start of its process, as the engine writes it.
    pub started_at: Option<String>,
    /// Start of the process that it had before we last started it.
    pub started_at_before: Option<String>,
    /// The count of restarts that it was started for.
    pub restart_generation: i64,
}

/// What was last asked of the engine for a container, beyond its specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Restart policy as it should stand in the engine.
    pub restart: RestartPolicy,
    /// Why it is that one.
    pub why: PolicyReason,
    /// Image that it was created from.
    pub image_id: String,
    /// Mounts: target to source, those of the image's `VOLUME`s included.
    pub mounts: BTreeMap<String, MountSource>,
    /// Courtesy aliases that were given: network to alias.
    #[serde(default)]
    pub courtesy: BTreeMap<String, String>,
}

impl Role {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Candidate => "candidate",
            Self::Previous => "previous",
        }
    }

    /// As it was stored.
    pub fn from_stored(text: &str) -> Option<Self> {
        [Self::Current, Self::Candidate, Self::Previous].into_iter().find(|role| role.as_str() == text)
    }
}

/// Why a container has its restart policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyReason {
    /// The specification says so.
    Specified,
    /// The engine restarted it too often: it is in our hands until it has run well for a while.
    CrashLoop,
    /// It is being stopped for good.
    Stopping,
}

/// A container that another one was started against.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// Key of its row: another one after it was created anew.
    pub row: i64,
    /// Its id.
    pub engine_id: String,
    /// Start of its process, where its namespace is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// The last of its runs that was begun from here: another one after a restart that we made. What the engine restarts has the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<i64>,
}

/// A network in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkRow {
    /// Key of the row.
    pub row: i64,
    /// It is the platform's: never removed.
    pub platform: bool,
    /// Name on the engine.
    pub name: String,
    /// Proves it ours while there is no id.
    pub nonce: String,
    /// Proves it ours.
    pub engine_id: Option<String>,
    /// One too many of its name.
    pub surplus: bool,
}

/// A volume in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct VolumeRow {
    /// Key of the row.
    pub row: i64,
    /// Name on the engine: with the nonce the proof that it is ours.
    pub name: String,
    /// See `name`.
    pub nonce: String,
    /// What it was asked to be.
    pub specification: VolumeSpecification,
}

/// What was learned of an image when it was pulled and tagged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// `sha256:…`
    pub image_id: String,
    /// The local tag that keeps it.
    pub tag: String,
    /// Paths of `VOLUME`.
    pub volumes: Vec<String>,
    /// It has a health check of its own.
    pub has_healthcheck: bool,
}

/// A job that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// When.
    pub finished_at: Timestamp,
    /// Somebody saw it end; otherwise it was found ended by a listing.
    pub watched: bool,
}

/// Who began a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum StartedBy {
    Manager,
    Engine,
    Person,
}

/// Who ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum EndedBy {
    Itself,
    Person,
    Engine,
    Manager,
}

impl StartedBy {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Engine => "engine",
            Self::Person => "person",
        }
    }

    /// As it was stored.
    pub fn from_stored(text: &str) -> Option<Self> {
        [Self::Manager, Self::Engine, Self::Person].into_iter().find(|by| by.as_str() == text)
    }
}

impl EndedBy {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Itself => "itself",
            Self::Person => "person",
            Self::Engine => "engine",
            Self::Manager => "manager",
        }
    }

    /// As it was stored.
    pub fn from_stored(text: &str) -> Option<Self> {
        [Self::Itself, Self::Person, Self::Engine, Self::Manager].into_iter().find(|by| by.as_str() == text)
    }
}

/// One run of a container, or an operation that failed before there was one.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Key of the row; later ones are greater.
    pub row: i64,
    /// The container; none for a failed operation.
    pub engine_id: Option<String>,
    /// Who began it.
    pub started_by: StartedBy,
    /// When it began.
    pub started_at: Timestamp,
    /// Since when it is unhealthy.
    pub unhealthy_at: Option<Timestamp>,
    /// When it ended; none: it runs.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub exit_code: Option<i64>,
    /// The kernel ended it for want of memory.
    pub oom: bool,
    /// Who ended it, or, while it runs, is about to.
    pub ended_by: Option<EndedBy>,
    /// Its end was seen in the event stream.
    pub watched: bool,
    /// What went wrong, where it was no exit.
    pub error: Option<AttemptError>,
    /// Not to be tried again earlier, as the other side asked.
    pub not_before: Option<Timestamp>,
    /// The last lines of its log.
    pub logs: Option<String>,
}

/// A failed operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptError {
    /// What may be done about it.
    pub kind: ErrorKind,
    /// In words.
    pub message: String,
}

/// What may be done about a failed operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ErrorKind {
    /// Waiting may help.
    Retry,
    /// Will never work.
    Never,
    /// Its check failed: it was stopped for that.
    Unhealthy,
    PortTaken,
    NameTaken,
    DiskFull,
    Authentication,
    Configuration,
    AddressPool,
    InUse,
    /// What it waited for has changed since: it counts no more.
    Forgiven,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Retry,
        Self::Never,
        Self::Unhealthy,
        Self::PortTaken,
        Self::NameTaken,
        Self::DiskFull,
        Self::Authentication,
        Self::Configuration,
        Self::AddressPool,
        Self::InUse,
        Self::Forgiven,
    ];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Never => "never",
            Self::Unhealthy => "unhealthy",
            Self::PortTaken => "port-taken",
            Self::NameTaken => "name-taken",
            Self::DiskFull => "disk-full",
            Self::Authentication => "authentication",
            Self::Configuration => "configuration",
            Self::AddressPool => "address-pool",
            Self::InUse => "in-use",
            Self::Forgiven => "forgiven",
        }
    }
}

impl DesiredState {
    /// The row of the container that serves for `service`.
    pub fn current(&self, service: &str) -> Option<&ContainerRow> {
        self.containers.iter().find(|row| row.service == service && row.role == Role::Current)
    }

    /// Runs and failures of a service, newest first.
    pub fn history(&self, service: &str) -> &[Attempt] {
        self.attempts.get(service).map_or(&[], Vec::as_slice)
    }

    /// The last run of a service's container that was begun from here.
    pub fn last_own_run(&self, service: &str, engine_id: &str) -> Option<i64> {
        let runs = self.history(service).iter().filter(|run| {
            run.engine_id.as_deref() == Some(engine_id) && run.started_by == StartedBy::Manager
        });
        runs.map(|run| run.row).max()
    }

    /// Services in an order in which each comes after those that it depends on.
    pub fn start_order(&self) -> Vec<&ServiceSpecification> {
        let mut order: Vec<&ServiceSpecification> = Vec::new();
        let mut placed = BTreeSet::new();
        while order.len() < self.specification.services.len() {
            let before = order.len();
            for service in self.specification.services.values() {
                let name = service.service_name.as_str();
                let ready = service.depends_on.iter().all(|dependency| {
                    placed.contains(dependency.service.as_str())
                        || !self.specification.services.contains_key(&dependency.service)
                });
                if !placed.contains(name) && ready {
                    placed.insert(name);
                    order.push(service);
                }
            }
            if order.len() == before {
                // A cycle, which validation refuses: the rest in order of names rather than never.
                order.extend(
                    self.specification
                        .services
                        .values()
                        .filter(|service| !placed.contains(service.service_name.as_str())),
                );
            }
        }
        order
    }
}

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

    fn container_with_nonce(&self, name: &str, nonce: &str) -> Option<&ListedContainer> {
        let candidates = self.containers_by_nonce.get(nonce)?;
        candidates
            .iter()
            .map(|index| &self.listing.containers[*index])
            .find(|container| container.name == name)
    }
}

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

/// The first 12 digits of an id, as tools show it.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

impl Others {
    /// A container of others that has this name.
    pub fn container_named(&self, name: &str) -> Option<OtherContainer<'_>> {
        let index = *self.world.containers_by_name.get(name)?;
        let container = &self.world.listing.containers[index];
        (!self.own.contains(&container.id)).then_some(OtherContainer(container))
    }

    /// A container of others that has the host's port.
    pub fn port_holder(&self, port: &PublishedPort) -> Option<OtherContainer<'_>> {
        let holders = self.world.containers_by_port.get(&port.host_port)?;
        holders.iter().map(|index| &self.world.listing.containers[*index]).find_map(|container| {
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

    /// Whether a container of others on that network answers, as far as a listing tells, to this name.
    pub fn answers_to(&self, network_id: &str, name: &str) -> bool {
        self.world.listing.containers.iter().any(|container| {
            !self.own.contains(&container.id)
                && container.networks.contains_key(network_id)
                && (container.name == name
                    || container
                        .labels
                        .get("com.docker.compose.service")
                        .is_some_and(|service| service == name))
        })
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
    ObservedState { ours, others: Others { world: Arc::clone(world), own } }
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

/// How a network that exists differs from what is asked for, in words; none: it is equal.
pub fn network_difference(asked: &NetworkSpecification, listed: &ListedNetwork) -> Option<String> {
    if asked.driver != listed.driver {
        return Some(format!("its driver is {}, not {}", listed.driver, asked.driver));
    }
    if asked.internal != listed.internal {
        return Some(format!("it is {}internal", if listed.internal { "" } else { "not " }));
    }
    if asked.enable_ipv6 && !listed.enable_ipv6 {
        return Some("it has no IPv6".to_owned());
    }
    let missing = asked.subnets.iter().find(|subnet| !listed.subnets.contains(subnet));
    if let Some(subnet) = missing {
        return Some(format!("it has no subnet {subnet}"));
    }
    let other = asked.driver_opts.iter().find(|(key, value)| listed.options.get(*key) != Some(value));
    other.map(|(key, value)| format!("its option {key} is not {value}"))
}

/// How a volume that exists differs from what is asked for, in words; none: it is equal.
pub fn volume_difference(asked: &VolumeSpecification, listed: &ListedVolume) -> Option<String> {
    if asked.driver != listed.driver {
        return Some(format!("its driver is {}, not {}", listed.driver, asked.driver));
    }
    let keys: BTreeSet<&String> = asked.driver_opts.keys().chain(listed.options.keys()).collect();
    let other = keys.into_iter().find(|key| asked.driver_opts.get(*key) != listed.options.get(*key));
    other.map(|key| format!("its option {key} is not what was asked for"))
}
