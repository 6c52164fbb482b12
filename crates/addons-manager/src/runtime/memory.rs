//! An engine in memory, for tests: it behaves as a Docker Engine was measured to, at once, and fails or half-does a given call.
//!
//! Names of containers are unique and those of networks are not; creating a volume of a name that is there answers with that one; labels of
//! an image become labels of its containers; a restart policy applies to what ended by itself, and not to what somebody stopped. What people
//! and processes do are methods of [`MemoryRuntime`], here; `calls.rs` has those of the trait, `engine.rs` what follows from either. A
//! differential test holds it to a real engine.

mod calls;
mod engine;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use service_kit::clock::SharedClock;
use tokio::sync::mpsc;

use super::{
    ChangeNeeded, ContainerMeant, ContainerState, EngineFacts, EventMessage, EventObject, Health,
    InspectedContainer, InspectedImage, ListedMount, ListedNetwork, ListedPort, ListedVolume, Listing,
    RuntimeError, Surroundings,
};
use crate::domain::specification::{Resources, RestartPolicy, ServiceSpecification};

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
