//! An engine in memory, for tests: it behaves as a Docker Engine was measured to, at once, and fails or half-does a given call.
//!
//! Names of containers are unique and those of networks are not; creating a volume of a name that is there answers with that one; labels of
//! an image become labels of its containers; a restart policy applies to what ended by itself, and not to what somebody stopped. What people
//! and processes do are methods of [`MemoryRuntime`] beside the trait. A differential test holds it to a real engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use service_kit::clock::SharedClock;
use tokio::sync::mpsc;

use super::{
    ChangeNeeded, ContainerMeant, ContainerRuntime, ContainerState, EngineFacts, EventMessage, EventObject,
    Health, InspectedContainer, InspectedImage, ListedAttachment, ListedContainer, ListedMount,
    ListedNetwork, ListedPort, ListedVolume, Listing, OwnContainerId, OwnNetworkId, OwnVolumeName,
    PullProgress, RuntimeError, RuntimeEvent, Surroundings,
};
use crate::domain::claim::addresses_overlap;
use crate::domain::specification::{
    MountSource, NetworkAttachment, NetworkMode, NetworkSpecification, PinnedImage, Resources, RestartPolicy,
    ServiceSpecification, VolumeSpecification,
};

/// An engine in memory. Clones are the same engine.
#[derive(Clone)]
pub struct MemoryRuntime {
    engine: Arc<Mutex<Engine>>,
    clock: SharedClock,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and an error comes back.
    Fails,
    /// It is done, and an error comes back: the answer got lost.
    HalfDone,
    /// The engine does not answer.
    Unreachable,
}

/// One call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Name of the method.
    pub operation: &'static str,
    /// Id or name of what it was about; empty where it is about everything.
    pub object: String,
    /// Whether it changes or removes what is there already.
    pub touches: bool,
}

#[derive(Default)]
struct Engine {
    containers: BTreeMap<String, Container>,
    networks: BTreeMap<String, ListedNetwork>,
    volumes: BTreeMap<String, ListedVolume>,
    images: BTreeMap<String, Image>,
    /// Images by digest that a pull finds; an error where it does not.
    /// Names that a registry knows, and the digests that they stand for.
    registry_names: BTreeMap<String, String>,
    registry: BTreeMap<String, Result<String, RuntimeError>>,
    facts: EngineFacts,
    calls: Vec<Call>,
    faults: BTreeMap<usize, Fault>,
    listeners: Vec<mpsc::Sender<EventMessage>>,
    loses_events: bool,
    away: bool,
    counter: u64,
    health_at_start: Option<Health>,
    exit_on_stop: i64,
    spoils_creates: Option<String>,
    hidden_ports: BTreeMap<String, ListedPort>,
    host_names: BTreeMap<String, String>,
    surroundings: Surroundings,
    listed_unhealthy: BTreeSet<String>,
    late_networks: BTreeSet<String>,
    vanishing_volume: Option<String>,
}

#[derive(Clone)]
struct Image {
    inspected: InspectedImage,
    labels: BTreeMap<String, String>,
    tags: BTreeSet<String>,
}

#[derive(Clone)]
struct Container {
    name: String,
    image_id: String,
    labels: BTreeMap<String, String>,
    state: ContainerState,
    networks: BTreeMap<String, Attachment>,
    mounts: Vec<ListedMount>,
    ports: Vec<ListedPort>,
    limits: Resources,
    restart: RestartPolicy,
    health: Option<Health>,
    has_healthcheck: bool,
    started_at: String,
    finished_at: String,
    exit_code: i64,
    oom: bool,
    restart_count: i64,
    differences: Vec<String>,
    made_of: Option<(ServiceSpecification, ContainerMeant)>,
    needs: Vec<String>,
}

#[derive(Clone, Default)]
struct Attachment {
    network_name: String,
    aliases: BTreeSet<String>,
}

/// What the engine writes for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl MemoryRuntime {
    /// An engine with nothing on it.
    pub fn new(clock: SharedClock) -> Self {
        let engine = Engine {
            health_at_start: Some(Health::Healthy),
            exit_on_stop: 143,
            facts: EngineFacts {
                version: "20.10.24".into(),
                platform: "linux/amd64".into(),
                ..EngineFacts::default()
            },
            ..Engine::default()
        };
        Self { engine: Arc::new(Mutex::new(engine)), clock }
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().expect("nothing panics while it holds the lock")
    }

    /// Begins a call: counts it, and answers whether it is done and what comes back instead of its result.
    fn call(
        &self,
        operation: &'static str,
        object: &str,
        touches: bool,
    ) -> Result<(MutexGuard<'_, Engine>, Option<RuntimeError>), RuntimeError> {
        let mut engine = self.engine();
        let number = engine.calls.len();
        engine.calls.push(Call { operation, object: object.to_owned(), touches });
        let error = |engine_unreachable| RuntimeError::Retry {
            operation: format!("{operation} {object}"),
            message: "the answer was lost".to_owned(),
            after: None,
            engine_unreachable,
        };
        match engine.faults.get(&number) {
            _ if engine.away => Err(error(true)),
            Some(Fault::Unreachable) => Err(error(true)),
            Some(Fault::Fails) => Err(error(false)),
            Some(Fault::HalfDone) => Ok((engine, Some(error(false)))),
            None => Ok((engine, None)),
        }
    }

    /// Calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.engine().calls.clone()
    }

    /// Lets the call of that number (the first is 0) go wrong.
    pub fn fault(&self, call: usize, fault: Fault) {
        self.engine().faults.insert(call, fault);
    }

    /// Nothing goes wrong any more.
    pub fn no_faults(&self) {
        self.engine().faults.clear();
    }

    /// The engine does not answer, or does again. Its containers go on.
    pub fn set_away(&self, away: bool) {
        self.engine().away = away;
    }

    /// Events get lost, or do not.
    pub fn lose_events(&self, lose: bool) {
        self.engine().loses_events = lose;
    }

    /// What the stream says of itself.
    pub fn tell(&self, message: &EventMessage) {
        let mut engine = self.engine();
        engine
            .listeners
            .retain(|listener| listener.try_send(message.clone()).is_ok() || !listener.is_closed());
    }

    /// What a health check says right after a start, where there is one.
    pub fn set_health_at_start(&self, health: Health) {
        self.engine().health_at_start = Some(health);
    }

    /// The exit code of what is stopped.
    pub fn set_exit_on_stop(&self, code: i64) {
        self.engine().exit_on_stop = code;
    }

    /// Containers that are created from now on differ in this from what was meant.
    pub fn spoil_creates(&self, difference: Option<&str>) {
        self.engine().spoils_creates = difference.map(str::to_owned);
    }

    /// Puts an image into the registry: a pull of the digest finds it.
    pub fn publish(&self, digest: &str, volumes: &[&str], has_healthcheck: bool) {
        self.publish_with_labels(digest, volumes, has_healthcheck, &[]);
    }

    /// The same with labels of the image's own.
    pub fn publish_with_labels(
        &self,
        digest: &str,
        volumes: &[&str],
        has_healthcheck: bool,
        labels: &[(&str, &str)],
    ) {
        let id = image_id(digest);
        let inspected = InspectedImage {
            id: id.clone(),
            repo_digests: Vec::new(),
            repo_tags: Vec::new(),
            volumes: volumes.iter().map(|path| (*path).to_owned()).collect(),
            has_healthcheck,
            platform: "linux/amd64".to_owned(),
        };
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut engine = self.engine();
        engine.registry.insert(digest.to_owned(), Ok(id.clone()));
        engine.images.insert(id, Image { inspected, labels, tags: BTreeSet::new() });
    }

    /// Gives a digest a name in the registry: `docker.io/library/nginx:1.27`.
    pub fn publish_name(&self, name: &str, digest: &str) {
        self.engine().registry_names.insert(name.to_owned(), digest.to_owned());
    }

    /// What a pull of the digest would find; not counted as a call.
    pub fn inspect_published(&self, digest: &str) -> Option<InspectedImage> {
        let engine = self.engine();
        let id = engine.registry.get(digest)?.as_ref().ok()?;
        Some(engine.images.get(id)?.inspected.clone())
    }

    /// A pull of the digest fails.
    pub fn unpublish(&self, digest: &str, error: RuntimeError) {
        self.engine().registry.insert(digest.to_owned(), Err(error));
    }

    /// `docker image rm` of everything under a digest: tags and all.
    pub fn remove_image(&self, digest: &str) {
        let id = image_id(digest);
        if let Some(image) = self.engine().images.get_mut(&id) {
            image.tags.clear();
            image.inspected.repo_digests.clear();
        }
    }

    /// Tags that images have.
    pub fn tags(&self) -> BTreeSet<String> {
        self.engine().images.values().flat_map(|image| image.tags.iter().cloned()).collect()
    }

    /// Moves a tag to the image of another digest, as `docker tag` does.
    pub fn move_tag(&self, tag: &str, digest: &str) {
        let id = image_id(digest);
        let mut engine = self.engine();
        engine.images.values_mut().for_each(|image| {
            image.tags.remove(tag);
        });
        if let Some(image) = engine.images.get_mut(&id) {
            image.tags.insert(tag.to_owned());
        }
    }

    /// Everything as a listing shows it; not counted as a call.
    pub fn snapshot(&self) -> Listing {
        self.engine().listing()
    }

    /// A container by its name, as inspect shows it; not counted as a call.
    pub fn by_name(&self, name: &str) -> Option<InspectedContainer> {
        let engine = self.engine();
        let (id, _) = engine.containers.iter().find(|(_, container)| container.name == name)?;
        engine.inspected(id)
    }

    /// Id of the container of that name.
    ///
    /// # Panics
    /// When there is none.
    pub fn id_of(&self, name: &str) -> String {
        self.by_name(name).unwrap_or_else(|| panic!("no container {name}")).listed.id
    }

    /// Somebody else makes a container that runs.
    pub fn foreign_container(&self, name: &str, labels: &[(&str, &str)], ports: &[ListedPort]) -> String {
        let mut engine = self.engine();
        let id = engine.new_id();
        let now = engine.time(&self.clock);
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let container = Container {
            name: name.to_owned(),
            image_id: "sha256:foreign".to_owned(),
            labels,
            state: ContainerState::Running,
            networks: BTreeMap::new(),
            mounts: Vec::new(),
            ports: ports.to_vec(),
            limits: Resources::default(),
            restart: RestartPolicy::No,
            health: None,
            has_healthcheck: false,
            started_at: now,
            finished_at: NEVER.to_owned(),
            exit_code: 0,
            oom: false,
            restart_count: 0,
            differences: vec!["it is somebody else's".to_owned()],
            made_of: None,
            needs: Vec::new(),
        };
        engine.containers.insert(id.clone(), container);
        id
    }

    /// A port that no listing shows, as a process of the host has it.
    pub fn hidden_port(&self, id: &str, port: ListedPort) {
        let mut engine = self.engine();
        engine.hidden_ports.insert(id.to_owned(), port);
    }

    /// The host name that somebody else's container was given.
    pub fn set_host_name(&self, id: &str, name: &str) {
        self.engine().host_names.insert(id.to_owned(), name.to_owned());
    }

    /// What is around the engine.
    pub fn set_surroundings(&self, surroundings: Surroundings) {
        self.engine().surroundings = surroundings;
    }

    /// Somebody else makes a network.
    pub fn foreign_network(&self, name: &str, labels: &[(&str, &str)]) -> String {
        let mut engine = self.engine();
        let id = engine.new_id();
        let created = engine.time(&self.clock);
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let network = ListedNetwork {
            id: id.clone(),
            name: name.to_owned(),
            driver: "bridge".to_owned(),
            labels,
            created,
            ..ListedNetwork::default()
        };
        engine.networks.insert(id.clone(), network);
        id
    }

    /// The next create of that network is refused for its addresses: an earlier one with the same name and labels has come true meanwhile.
    pub fn comes_true_late(&self, name: &str) {
        self.engine().late_networks.insert(name.to_owned());
    }

    /// Somebody else makes a volume.
    pub fn foreign_volume(&self, name: &str, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let volume = ListedVolume {
            name: name.to_owned(),
            driver: "local".to_owned(),
            options: BTreeMap::new(),
            labels,
        };
        self.engine().volumes.insert(name.to_owned(), volume);
    }

    /// Somebody removes a network, whoever is on it.
    pub fn remove_network_by_hand(&self, id: &str) {
        let mut engine = self.engine();
        engine.networks.remove(id);
        for container in
            engine.containers.values_mut().filter(|container| container.state == ContainerState::Running)
        {
            container.networks.remove(id);
        }
        engine.event(&self.clock, EventObject::Network, id, "destroy", &[]);
    }

    /// Somebody removes a volume right before the next container is created.
    pub fn vanishes_at_create(&self, name: &str) {
        self.engine().vanishing_volume = Some(name.to_owned());
    }

    /// Somebody removes a volume.
    pub fn remove_volume_by_hand(&self, name: &str) {
        self.engine().volumes.remove(name);
    }

    /// `docker kill`.
    pub fn kill(&self, id: &str) {
        let mut engine = self.engine();
        engine.event(&self.clock, EventObject::Container, id, "kill", &[("signal", "9")]);
        engine.end(&self.clock, id, 137, false);
    }

    /// The engine is in the middle of something with it.
    pub fn set_state(&self, id: &str, state: ContainerState) {
        self.engine().change(id, |container| container.state = state);
    }

    /// A listing says `unhealthy` for a check that was merely interrupted, and inspect does not.
    pub fn list_as_unhealthy(&self, id: &str) {
        self.engine().listed_unhealthy.insert(id.to_owned());
    }

    /// `docker kill -s HUP`, after which the process goes on.
    pub fn hang_up(&self, id: &str) {
        self.engine().event(&self.clock, EventObject::Container, id, "kill", &[("signal", "1")]);
    }

    /// `docker stop`.
    pub fn stop_by_hand(&self, id: &str) {
        let mut engine = self.engine();
        let code = engine.exit_on_stop;
        engine.event(&self.clock, EventObject::Container, id, "kill", &[("signal", "15")]);
        engine.end(&self.clock, id, code, false);
        engine.event(&self.clock, EventObject::Container, id, "stop", &[]);
    }

    /// `docker start`.
    pub fn start_by_hand(&self, id: &str) {
        let mut engine = self.engine();
        engine.begin(&self.clock, id);
        if let Some(container) = engine.containers.get_mut(id) {
            container.restart_count = 0;
        }
    }

    /// `docker rm -f`.
    pub fn remove_by_hand(&self, id: &str) {
        let mut engine = self.engine();
        if engine.is_running(id) {
            engine.event(&self.clock, EventObject::Container, id, "kill", &[("signal", "9")]);
            engine.end(&self.clock, id, 137, false);
        }
        engine.containers.remove(id);
        engine.event(&self.clock, EventObject::Container, id, "destroy", &[]);
    }

    /// `docker pause`.
    pub fn pause(&self, id: &str) {
        let mut engine = self.engine();
        engine.change(id, |container| container.state = ContainerState::Paused);
        engine.event(&self.clock, EventObject::Container, id, "pause", &[]);
    }

    /// `docker rename`.
    pub fn rename_by_hand(&self, id: &str, name: &str) {
        let mut engine = self.engine();
        engine.change(id, |container| name.clone_into(&mut container.name));
        engine.event(&self.clock, EventObject::Container, id, "rename", &[]);
    }

    /// `docker update --restart`.
    pub fn update_by_hand(&self, id: &str, change: impl FnOnce(&mut RestartPolicy, &mut Resources)) {
        let mut engine = self.engine();
        engine.change(id, |container| change(&mut container.restart, &mut container.limits));
        engine.event(&self.clock, EventObject::Container, id, "update", &[]);
    }

    /// `docker network disconnect`.
    pub fn disconnect_by_hand(&self, id: &str, network_id: &str) {
        let mut engine = self.engine();
        engine.change(id, |container| {
            container.networks.remove(network_id);
        });
        engine.event(&self.clock, EventObject::Network, network_id, "disconnect", &[("container", id)]);
    }

    /// `docker network connect`.
    pub fn connect_by_hand(&self, id: &str, network_id: &str, aliases: &[&str]) {
        let mut engine = self.engine();
        let network_name =
            engine.networks.get(network_id).map(|network| network.name.clone()).unwrap_or_default();
        let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        engine.change(id, |container| {
            container.networks.insert(network_id.to_owned(), Attachment { network_name, aliases });
        });
        engine.event(&self.clock, EventObject::Network, network_id, "connect", &[("container", id)]);
    }

    /// The process ends by itself; the engine restarts it where its policy says so, after a while: [`Self::engine_restarts`].
    pub fn exit(&self, id: &str, code: i64) {
        self.engine().end(&self.clock, id, code, true);
    }

    /// The while is over.
    pub fn engine_restarts(&self, id: &str) {
        let mut engine = self.engine();
        if engine.containers.get(id).is_some_and(|container| container.state == ContainerState::Restarting) {
            engine.begin(&self.clock, id);
            engine.change(id, |container| container.restart_count += 1);
        }
    }

    /// The check of a container says something.
    pub fn set_health(&self, id: &str, health: Health) {
        let mut engine = self.engine();
        engine.change(id, |container| container.health = Some(health));
        let action = match health {
            Health::Starting => "health_status: starting",
            Health::Healthy => "health_status: healthy",
            Health::Unhealthy => "health_status: unhealthy",
        };
        engine.event(&self.clock, EventObject::Container, id, action, &[]);
    }

    /// The engine stops gracefully and starts again: everything that ran is stopped, and what is `always` runs again, also what somebody had
    /// stopped by hand.
    pub fn restart_engine(&self) {
        let mut engine = self.engine();
        let code = engine.exit_on_stop;
        let ids: Vec<String> = engine.containers.keys().cloned().collect();
        let loses = std::mem::replace(&mut engine.loses_events, true);
        for id in &ids {
            if engine.is_running(id) || engine.containers[id].state == ContainerState::Restarting {
                engine.end(&self.clock, id, code, false);
            }
        }
        for id in &ids {
            if engine.containers[id].restart == RestartPolicy::Always
                && engine.containers[id].state == ContainerState::Exited
            {
                engine.begin(&self.clock, id);
            }
        }
        engine.loses_events = loses;
    }
}

fn image_id(digest: &str) -> String {
    format!("sha256:id-of-{}", digest.trim_start_matches("sha256:"))
}

fn gone(operation: &str, object: &str) -> RuntimeError {
    RuntimeError::Gone { operation: format!("{operation} {object}"), message: "it is not there".to_owned() }
}

fn change_needed(operation: String, message: String, reason: ChangeNeeded) -> RuntimeError {
    RuntimeError::WaitForChange { operation, message, reason }
}

impl Engine {
    fn new_id(&mut self) -> String {
        self.counter += 1;
        format!("{:064x}", self.counter)
    }

    /// Like the engine's times: no two are equal.
    fn time(&mut self, clock: &SharedClock) -> String {
        self.counter += 1;
        let text = clock.now().to_string();
        format!("{}{:06}Z", text.trim_end_matches('Z'), self.counter % 1_000_000)
    }

    fn event(
        &mut self,
        clock: &SharedClock,
        object: EventObject,
        id: &str,
        action: &str,
        attributes: &[(&str, &str)],
    ) {
        if self.loses_events {
            return;
        }
        let attributes =
            attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let event = RuntimeEvent {
            at_ns: clock.now().millis() * 1_000_000,
            object,
            id: id.to_owned(),
            action: action.to_owned(),
            attributes,
        };
        self.listeners.retain(|listener| {
            let _ = listener.try_send(EventMessage::Event(event.clone()));
            !listener.is_closed()
        });
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Container)) {
        if let Some(container) = self.containers.get_mut(id) {
            change(container);
        }
    }

    fn is_running(&self, id: &str) -> bool {
        self.containers.get(id).is_some_and(|container| {
            matches!(container.state, ContainerState::Running | ContainerState::Paused)
        })
    }

    fn end(&mut self, clock: &SharedClock, id: &str, code: i64, by_itself: bool) {
        let finished = self.time(clock);
        let Some(container) = self.containers.get_mut(id) else { return };
        let tries = match container.restart {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure(None | Some(0)) => code != 0,
            RestartPolicy::OnFailure(Some(most)) => code != 0 && container.restart_count < i64::from(most),
            RestartPolicy::No => false,
        };
        let ran = matches!(container.state, ContainerState::Running | ContainerState::Paused);
        container.state =
            if by_itself && tries { ContainerState::Restarting } else { ContainerState::Exited };
        container.health = None;
        if ran {
            container.exit_code = code;
            container.finished_at = finished;
            let code = code.to_string();
            self.event(clock, EventObject::Container, id, "die", &[("exitCode", &code)]);
        }
    }

    fn begin(&mut self, clock: &SharedClock, id: &str) {
        let started = self.time(clock);
        let health = self.health_at_start;
        self.change(id, |container| {
            container.state = ContainerState::Running;
            container.started_at = started;
            container.health = health.filter(|_| container.has_healthcheck);
        });
        self.event(clock, EventObject::Container, id, "start", &[]);
    }

    fn listed(&self, id: &str) -> Option<ListedContainer> {
        let container = self.containers.get(id)?;
        let shows_networks = container.state != ContainerState::Created;
        let attachments = container.networks.iter().filter(|_| shows_networks);
        let running = matches!(container.state, ContainerState::Running | ContainerState::Paused);
        Some(ListedContainer {
            id: id.to_owned(),
            name: container.name.clone(),
            image_id: container.image_id.clone(),
            state: container.state,
            health: container.health.filter(|_| running),
            labels: container.labels.clone(),
            networks: attachments
                .map(|(id, attachment)| {
                    (
                        id.clone(),
                        ListedAttachment {
                            network_name: attachment.network_name.clone(),
                            addresses: Vec::new(),
                        },
                    )
                })
                .collect(),
            mounts: container.mounts.clone(),
            ports: if running { container.ports.clone() } else { Vec::new() },
            exit_code: (container.state == ContainerState::Exited).then_some(container.exit_code),
        })
    }

    fn inspected(&self, id: &str) -> Option<InspectedContainer> {
        let container = self.containers.get(id)?;
        Some(InspectedContainer {
            listed: self.listed(id)?,
            running: self.is_running(id) || container.state == ContainerState::Restarting,
            restarting: container.state == ContainerState::Restarting,
            pid: i64::from(self.is_running(id)),
            started_at: container.started_at.clone(),
            finished_at: container.finished_at.clone(),
            exit_code: container.exit_code,
            oom_killed: container.oom,
            error: String::new(),
            restart_count: container.restart_count,
            restart: Some(container.restart),
            aliases: container
                .networks
                .values()
                .map(|attachment| (attachment.network_name.clone(), attachment.aliases.clone()))
                .collect(),
            host_name: container
                .made_of
                .as_ref()
                .and_then(|(specification, _)| specification.settings.hostname.clone())
                .or_else(|| self.host_names.get(id).cloned()),
            asked_ports: container.ports.clone(),
            limits: container.limits.clone(),
            differences: Vec::new(),
        })
    }

    fn listing(&self) -> Listing {
        Listing {
            containers: self
                .containers
                .keys()
                .filter_map(|id| self.listed(id))
                .map(|mut listed| {
                    if self.listed_unhealthy.contains(&listed.id) {
                        listed.health = Some(Health::Unhealthy);
                    }
                    listed
                })
                .collect(),
            networks: self.networks.values().cloned().collect(),
            volumes: self.volumes.values().cloned().collect(),
        }
    }

    fn image(&self, reference: &str) -> Option<&Image> {
        self.images.values().find(|image| {
            let there = !image.tags.is_empty() || !image.inspected.repo_digests.is_empty();
            there
                && (image.inspected.id == reference
                    || image.tags.contains(reference)
                    || image.inspected.repo_digests.iter().any(|digest| digest == reference))
        })
    }

    fn create(
        &mut self,
        specification: &ServiceSpecification,
        meant: &ContainerMeant,
    ) -> Result<String, RuntimeError> {
        let operation = format!("create container {}", meant.name);
        if self.containers.values().any(|container| container.name == meant.name) {
            let message = format!("the container name \"/{}\" is already in use", meant.name);
            return Err(change_needed(operation, message, ChangeNeeded::NameTaken));
        }
        let Some(image) = self.image(&meant.image_tag).cloned() else {
            return Err(RuntimeError::Gone {
                operation,
                message: format!("No such image: {}", meant.image_tag),
            });
        };
        // Another's namespace is looked for when it is joined at create.
        let unknown = matches!(&specification.network, NetworkMode::Service(service) if !meant.namespace_containers.contains_key(service));
        if unknown || meant.namespace_containers.values().any(|needed| !self.containers.contains_key(needed))
        {
            return Err(RuntimeError::Gone { operation, message: "No such container".to_owned() });
        }
        let mut networks = BTreeMap::new();
        if let NetworkMode::Networks(attachments) = &specification.network {
            for attachment in attachments {
                let id = meant.network_ids.get(&attachment.network).cloned().unwrap_or_default();
                if !self.networks.contains_key(&id) {
                    return Err(RuntimeError::Gone { operation, message: format!("network {id} not found") });
                }
                let mut aliases: BTreeSet<String> = attachment.aliases.iter().cloned().collect();
                aliases.extend(meant.courtesy_aliases.get(&attachment.network).cloned());
                networks.insert(id, Attachment { network_name: attachment.network.clone(), aliases });
            }
        }
        let mut mounts = Vec::new();
        let mut volume = |target: &str, name: &str, read_only: bool| {
            mounts.push(ListedMount {
                target: target.to_owned(),
                volume: Some(name.to_owned()),
                host_path: None,
                read_only,
            });
        };
        for mount in &specification.mounts {
            if let MountSource::Volume(name) = &mount.source {
                volume(&mount.target, name, mount.read_only);
            }
        }
        for (target, name) in &meant.image_volumes {
            volume(target, name, false);
        }
        let plain = |path: &str| path.trim_end_matches('/').to_owned();
        let covered: BTreeSet<String> = specification
            .mounts
            .iter()
            .map(|mount| plain(&mount.target))
            .chain(meant.image_volumes.keys().map(|path| plain(path)))
            .collect();
        for path in image.inspected.volumes.iter().filter(|path| !covered.contains(&plain(path))) {
            self.counter += 1;
            mounts.push(ListedMount {
                target: path.clone(),
                volume: Some(format!("{:064x}", self.counter)),
                host_path: None,
                read_only: false,
            });
        }
        // A volume that is not there is made, without labels.
        for name in mounts.iter().filter_map(|mount| mount.volume.clone()) {
            let unlabelled = || ListedVolume {
                name: name.clone(),
                driver: "local".to_owned(),
                options: BTreeMap::new(),
                labels: BTreeMap::new(),
            };
            self.volumes.entry(name.clone()).or_insert_with(unlabelled);
        }
        let paths = specification.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::HostPath(path) => Some((mount.target.clone(), path.clone(), mount.read_only)),
            MountSource::Volume(_) => None,
        });
        let files = meant.file_sources.iter().map(|(target, path)| (target.clone(), path.clone(), true));
        mounts.extend(paths.chain(files).map(|(target, path, read_only)| ListedMount {
            target,
            volume: None,
            host_path: Some(path),
            read_only,
        }));
        let mut labels = image.labels.clone();
        // Those of ours that an image brings are emptied.
        for (_, value) in labels
            .iter_mut()
            .filter(|(label, _)| label.starts_with("oak.") || label.starts_with("com.docker.compose."))
        {
            value.clear();
        }
        labels.extend(specification.labels.clone());
        labels.extend(meant.labels.clone());
        let ports = specification
            .ports
            .iter()
            .map(|port| ListedPort {
                host_ip: port.host_ip,
                host_port: port.host_port,
                container_port: port.container_port,
                protocol: port.protocol,
            })
            .collect();
        let id = self.new_id();
        let own_check = specification
            .healthcheck
            .as_ref()
            .map(|check| check.test.first().is_none_or(|word| word != "NONE"));
        let container = Container {
            name: meant.name.clone(),
            image_id: image.inspected.id.clone(),
            labels,
            state: ContainerState::Created,
            networks,
            mounts,
            ports,
            limits: specification.resources.clone(),
            restart: meant.restart,
            health: None,
            has_healthcheck: own_check.unwrap_or(image.inspected.has_healthcheck),
            started_at: NEVER.to_owned(),
            finished_at: NEVER.to_owned(),
            exit_code: 0,
            oom: false,
            restart_count: 0,
            differences: self.spoils_creates.iter().cloned().collect(),
            made_of: Some((specification.clone(), meant.clone())),
            needs: meant.namespace_containers.values().cloned().collect(),
        };
        self.containers.insert(id.clone(), container);
        Ok(id)
    }

    fn start(&mut self, clock: &SharedClock, id: &str) -> Result<(), RuntimeError> {
        let operation = format!("start container {id}");
        let retry = |operation, message: &str| RuntimeError::Retry {
            operation,
            message: message.to_owned(),
            after: None,
            engine_unreachable: false,
        };
        let container = self.containers.get(id).ok_or_else(|| gone("start container", id))?.clone();
        match container.state {
            ContainerState::Running | ContainerState::Restarting => return Ok(()),
            ContainerState::Paused => {
                return Err(retry(operation, "cannot start a paused container, try unpause instead"));
            }
            _ => {}
        }
        let mut failure = None;
        if let Some(needed) = container.needs.iter().find(|needed| !self.is_running(needed)) {
            failure = Some(match self.containers.contains_key(needed) {
                true => retry(operation, "cannot join network of a non running container"),
                false => gone("start container", id),
            });
        } else if container.networks.keys().any(|network| !self.networks.contains_key(network)) {
            failure = Some(gone("start container", id));
        } else if let Some(port) = self.taken_port(id, &container) {
            let message = format!("Bind for 0.0.0.0:{port} failed: port is already allocated");
            failure = Some(change_needed(operation, message, ChangeNeeded::PortTaken));
        }
        if let Some(failure) = failure {
            // The engine writes down that it failed, also over how the last run ended.
            self.change(id, |container| container.exit_code = 128);
            return Err(failure);
        }
        self.change(id, |container| container.restart_count = 0);
        self.begin(clock, id);
        Ok(())
    }

    fn taken_port(&self, id: &str, container: &Container) -> Option<u16> {
        let others = self.containers.iter().filter(|(other, _)| *other != id && self.is_running(other));
        let hidden = self
            .hidden_ports
            .iter()
            .filter(|(id, _)| self.containers.contains_key(*id))
            .map(|(_, port)| port);
        let taken = others.flat_map(|(_, other)| &other.ports).chain(hidden).find(|theirs| {
            container.ports.iter().any(|ours| {
                ours.host_port == theirs.host_port
                    && ours.protocol == theirs.protocol
                    && addresses_overlap(ours.host_ip, theirs.host_ip)
            })
        });
        taken.map(|port| port.host_port)
    }
}

/// The result, or the error that comes back though it was done.
fn unless_lost<T>(lost: Option<RuntimeError>, result: T) -> Result<T, RuntimeError> {
    lost.map_or(Ok(result), Err)
}

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
