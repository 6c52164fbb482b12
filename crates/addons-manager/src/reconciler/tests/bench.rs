//! A reconciler on a workbench: nothing runs by itself, so that a test decides what happens when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use addon_client::{InstallationStatus, ServicePhase};
use service_kit::audit::Actor;
use service_kit::clock::{Clock as _, TestClock, Timestamp};
use tokio::sync::mpsc;

use crate::domain::installation::{InstallationId, Revision};
use crate::domain::rollout::{Rollout, RolloutKind};
use crate::domain::specification::{
    Dependency, DependencyCondition, MountSource, MountSpecification, NetworkAttachment, NetworkMode,
    NetworkSpecification, PinnedImage, Resources, RestartPolicy, RevisionSpecification, ServiceSpecification,
    Settings as ServiceSettings, SharedNetwork, VolumeSpecification,
};
use crate::domain::status::ServiceReport;
use crate::reconciler::quiet::Breadth;
use crate::reconciler::state::DesiredState;
use crate::reconciler::{Parts, Reconciler, Settings};
use crate::runtime::memory::MemoryRuntime;
use crate::runtime::{ContainerState, EventMessage, InspectedContainer};
use crate::storage::Storage;
use crate::storage::installations::{NewRevision, Occupied, Standing};

pub(crate) const MANAGER: &str = "manager-1";

/// See the module.
pub(crate) struct Bench {
    pub(crate) storage: Storage,
    pub(crate) runtime: MemoryRuntime,
    pub(crate) clock: TestClock,
    pub(crate) reconciler: Reconciler,
    pub(crate) folder: tempfile::TempDir,
    events: mpsc::Receiver<EventMessage>,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = TestClock::at("2026-11-21T10:00:00Z".parse().unwrap());
        let runtime = MemoryRuntime::new(Arc::new(clock.clone()));
        let storage = Storage::open(&folder.path().join("state.sqlite")).await.unwrap();
        // No test pulls the plug: what a process has written is there for the next one without waiting for the disk.
        sqlx::query("PRAGMA synchronous = OFF").execute(storage.writer()).await.unwrap();
        let (reconciler, events) = start(&storage, &runtime, &clock, &folder).await;
        Self { storage, runtime, clock, reconciler, folder, events }
    }

    /// The process ends, however far it was, and another one begins on the same state and engine.
    pub(crate) async fn restart_manager(&mut self) {
        let (reconciler, events) = start(&self.storage, &self.runtime, &self.clock, &self.folder).await;
        self.reconciler = reconciler;
        self.events = events;
    }

    /// Publishes the images and writes the rows of an installation that is wanted; nobody is woken.
    pub(crate) async fn want(&self, name: &str, specification: RevisionSpecification) -> InstallationId {
        for service in specification.services.values() {
            if self.runtime.inspect_published(&service.image.digest).is_none() {
                self.runtime.publish(&service.image.digest, &[], service.healthcheck.is_some());
            }
        }
        self.want_unpublished(name, specification).await
    }

    pub(crate) async fn want_unpublished(
        &self,
        name: &str,
        specification: RevisionSpecification,
    ) -> InstallationId {
        let mut seed = [0; 8];
        for (place, byte) in name.bytes().take(8).enumerate() {
            seed[place] = byte;
        }
        let id = InstallationId::new(1, seed);
        let digests: BTreeMap<&String, String> =
            specification.services.iter().map(|(name, service)| (name, service.digest())).collect();
        let sql = "INSERT INTO installations (id, name, addon, version, release_id, release_digest, descriptor, pins, desired, revision, status,
                                              status_since_ms, created_at_ms, updated_at_ms)
                   VALUES ($1, $2, $2, '1.0.0', '000000000000000000000001', $4, '{}', '[]', 'active', 1, 'installing', $3, $3, $3)";
        sqlx::query(sql)
            .bind(id.to_string())
            .bind(name)
            .bind(self.clock.now().millis())
            .bind(format!("sha256:{:064}", 1))
            .execute(self.storage.writer())
            .await
            .unwrap();
        let sql = "INSERT INTO revisions (installation_id, revision, release_id, release_digest, version, descriptor, pins, specification, digests,
                                          created_at_ms)
                   VALUES ($1, 1, '000000000000000000000001', $4, '1.0.0', '{}', '[]', $2, $3, 0)";
        sqlx::query(sql)
            .bind(id.to_string())
            .bind(serde_json::to_string(&specification).unwrap())
            .bind(serde_json::to_string(&digests).unwrap())
            .bind(format!("sha256:{:064}", 1))
            .execute(self.storage.writer())
            .await
            .unwrap();
        id
    }

    /// Wanted, and brought up.
    pub(crate) async fn install(
        &mut self,
        name: &str,
        specification: RevisionSpecification,
    ) -> InstallationId {
        let id = self.want(name, specification).await;
        self.reconciler.wake(id);
        self.settle().await;
        id
    }

    /// Has an installation changed to these services, as revision `number`.
    pub(crate) async fn upgrade(
        &mut self,
        id: InstallationId,
        number: i64,
        specification: RevisionSpecification,
    ) {
        for service in specification.services.values() {
            if self.runtime.inspect_published(&service.image.digest).is_none() {
                self.runtime.publish(&service.image.digest, &[], service.healthcheck.is_some());
            }
        }
        self.upgrade_unpublished(id, number, specification).await;
    }

    pub(crate) async fn upgrade_unpublished(
        &mut self,
        id: InstallationId,
        number: i64,
        specification: RevisionSpecification,
    ) {
        let now = self.clock.now();
        let digests = specification.services.iter().map(|(name, service)| (name.clone(), service.digest()));
        let revision = Revision {
            installation: id,
            revision: number,
            release_id: "000000000000000000000002".parse().unwrap(),
            release_digest: format!("sha256:{number:064}").parse().unwrap(),
            version: format!("{number}.0.0"),
            descriptor: "{}".to_owned(),
            pins: Vec::new(),
            digests: digests.collect(),
            specification,
            created_at: now,
        };
        self.change(id, RolloutKind::Upgrade, revision).await;
    }

    pub(crate) async fn roll_back(&mut self, id: InstallationId, number: i64) {
        let revision = self.storage.revision(id, number).await.unwrap().unwrap();
        self.change(id, RolloutKind::Rollback, revision).await;
    }

    async fn change(&mut self, id: InstallationId, kind: RolloutKind, revision: Revision) {
        let new =
            NewRevision { kind, revision, claims: Vec::new(), consent: None, by: Actor::named("somebody") };
        let decide = |_: &Occupied, standing: &Standing| {
            assert_eq!(standing.rollout, None);
            Ok::<_, std::convert::Infallible>(new)
        };
        self.storage.change_revision(id, self.clock.now(), decide).await.unwrap().unwrap().unwrap();
        self.reconciler.wake(id);
    }

    pub(crate) async fn newest_rollout(&self, id: InstallationId) -> Rollout {
        self.storage.newest_rollouts(Some(id)).await.unwrap().remove(&id).unwrap()
    }

    pub(crate) async fn disable(&mut self, id: InstallationId) {
        assert!(self.storage.disable(id, &Actor::named("somebody"), self.clock.now()).await.unwrap());
        self.reconciler.wake(id);
    }

    pub(crate) async fn enable(&mut self, id: InstallationId) {
        assert!(self.storage.enable(id, &Actor::named("somebody"), self.clock.now()).await.unwrap());
        self.reconciler.wake(id);
    }

    pub(crate) async fn uninstall(&mut self, id: InstallationId, delete_volumes: bool) {
        assert!(
            self.storage
                .uninstall(id, true, Some(delete_volumes), &Actor::named("somebody"), self.clock.now())
                .await
                .unwrap()
        );
        self.reconciler.wake(id);
    }

    pub(crate) async fn request_restart(&mut self, id: InstallationId) {
        assert!(self.storage.request_restart(id, &Actor::named("somebody"), self.clock.now()).await.unwrap());
        self.reconciler.wake(id);
    }

    /// Hears events and makes passes until nobody asks for one. Answers whether every pass could be made.
    pub(crate) async fn settle(&mut self) -> bool {
        let mut all_made = true;
        for _ in 0..200 {
            while let Ok(message) = self.events.try_recv() {
                self.reconciler.shared.hear(message).await;
            }
            let shared = &self.reconciler.shared;
            let mut idle = true;
            if shared.wakes.take_resync() {
                idle = false;
                let result = shared.resync(Breadth::All).await;
                all_made &= result.is_ok();
                shared.resynced(result);
            }
            while let Some(id) = shared.wakes.take_ready(self.clock.now()) {
                idle = false;
                let result = shared.pass(id).await;
                all_made &= result.is_ok();
                shared.passed(id, result);
            }
            if idle {
                return all_made;
            }
        }
        panic!("the reconciler does not come to rest");
    }

    /// Time passes, and what is due is done.
    pub(crate) async fn wait(&mut self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.settle().await;
    }

    /// Looks at everything, as when something may have been missed.
    pub(crate) async fn resync(&mut self) -> bool {
        self.reconciler.wake_all();
        self.settle().await
    }

    /// Looks at what may have changed, as the periodic timer does, and does what is to be done then.
    pub(crate) async fn periodic_resync(&mut self) -> bool {
        let result = self.reconciler.shared.resync(Breadth::Changed).await;
        let is_made = result.is_ok();
        self.reconciler.shared.resynced(result);
        self.settle().await && is_made
    }

    /// Passes until the engine and the database answer and nothing is left to do.
    pub(crate) async fn converge(&mut self) {
        for _ in 0..120 {
            self.clock.advance(Duration::from_secs(150));
            self.reconciler.wake_all();
            let all_made = self.settle().await;
            let next = self.reconciler.shared.wakes.next_due();
            if all_made && next.is_none_or(|due| due > self.clock.now() + Duration::from_secs(500)) {
                return;
            }
        }
        panic!("it does not converge");
    }

    pub(crate) async fn desired(&self, id: InstallationId) -> DesiredState {
        self.storage.desired_state(id).await.unwrap().unwrap()
    }

    pub(crate) async fn status(&self, id: InstallationId) -> InstallationStatus {
        self.desired(id).await.installation.status
    }

    pub(crate) async fn report(&self, id: InstallationId, service: &str) -> ServiceReport {
        let states = self.desired(id).await.installation.service_states;
        states.into_iter().find(|report| report.service_name == service).unwrap()
    }

    pub(crate) async fn phase(&self, id: InstallationId, service: &str) -> ServicePhase {
        self.report(id, service).await.phase
    }

    pub(crate) fn container(&self, name: &str) -> InspectedContainer {
        self.runtime.by_name(name).unwrap_or_else(|| panic!("no container {name}"))
    }

    pub(crate) fn is_running(&self, name: &str) -> bool {
        self.runtime.by_name(name).is_some_and(|container| container.listed.state == ContainerState::Running)
    }

    /// Calls of one kind since a number of calls.
    pub(crate) fn calls_since(&self, start: usize) -> Vec<String> {
        self.runtime.calls().split_off(start).into_iter().map(|call| call.operation.to_owned()).collect()
    }

    /// The why-log as text, for messages of failed tests.
    pub(crate) async fn why(&self, id: InstallationId) -> String {
        let events = self.storage.events(id, 100).await.unwrap();
        events
            .iter()
            .rev()
            .map(|event| {
                format!("{}: {} because {}: {}\n", event.service, event.operation, event.cause, event.result)
            })
            .collect()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

async fn start(
    storage: &Storage,
    runtime: &MemoryRuntime,
    clock: &TestClock,
    folder: &tempfile::TempDir,
) -> (Reconciler, mpsc::Receiver<EventMessage>) {
    let settings = Settings {
        state_folder: folder.path().to_owned(),
        manager_id: MANAGER.to_owned(),
        project: None,
        resync_interval: Duration::from_secs(60),
        parallel_installations: 4,
        parallel_steps: 8,
        parallel_pulls: 2,
        settle: Duration::from_secs(10),
        rollout_deadline: Duration::from_secs(3_600),
    };
    let parts = Parts {
        storage: storage.clone(),
        runtime: Arc::new(runtime.clone()),
        clock: Arc::new(clock.clone()),
        settings,
    };
    let reconciler = Reconciler::idle(parts);
    let owners = storage.owners().await.unwrap();
    super::super::lock(&reconciler.shared.owners).extend(owners);
    let events = crate::runtime::ContainerRuntime::events(runtime);
    (reconciler, events)
}

/// A service that runs on the addon's own network.
pub(crate) fn service(addon: &str, name: &str) -> ServiceSpecification {
    ServiceSpecification {
        service_name: name.to_owned(),
        container_name: format!("{addon}-{name}"),
        image: PinnedImage {
            reference: format!("registry/{name}:1"),
            repository: format!("registry/{name}"),
            digest: format!("sha256:{addon}-{name}"),
            platform: None,
            bytes: Some(1_000),
        },
        command: None,
        entrypoint: None,
        environment: BTreeMap::new(),
        labels: BTreeMap::new(),
        sysctls: BTreeMap::new(),
        ports: Vec::new(),
        mounts: Vec::new(),
        files: Vec::new(),
        network: NetworkMode::Networks(vec![NetworkAttachment {
            network: format!("{addon}_default"),
            aliases: vec![name.to_owned()],
            courtesy_alias: None,
            ipv4_address: None,
            ipv6_address: None,
        }]),
        pid: None,
        ipc: None,
        healthcheck: None,
        restart_unhealthy: true,
        depends_on: Vec::new(),
        restart: RestartPolicy::Always,
        start_first: false,
        resources: Resources::default(),
        settings: ServiceSettings::default(),
    }
}

pub(crate) fn job(addon: &str, name: &str, restart: RestartPolicy) -> ServiceSpecification {
    ServiceSpecification { restart, ..service(addon, name) }
}

pub(crate) fn after(
    mut service: ServiceSpecification,
    other: &str,
    condition: DependencyCondition,
) -> ServiceSpecification {
    service.depends_on.push(Dependency {
        service: other.to_owned(),
        condition,
        restart: false,
        namespace: false,
    });
    service
}

pub(crate) fn with_volume(
    mut service: ServiceSpecification,
    volume: &str,
    target: &str,
) -> ServiceSpecification {
    service.mounts.push(MountSpecification {
        target: target.to_owned(),
        source: MountSource::Volume(volume.to_owned()),
        read_only: false,
        propagation: None,
        selinux: None,
        no_copy: false,
    });
    service
}

pub(crate) fn with_check(mut service: ServiceSpecification) -> ServiceSpecification {
    service.healthcheck = Some(crate::domain::specification::HealthcheckSpecification {
        test: vec!["CMD".into(), "true".into()],
        interval_ns: None,
        timeout_ns: None,
        start_period_ns: None,
        start_interval_ns: None,
        retries: None,
    });
    service
}

/// Lives in the network of another service.
pub(crate) fn inside(mut service: ServiceSpecification, other: &str) -> ServiceSpecification {
    service.network = NetworkMode::Service(other.to_owned());
    service.depends_on.push(Dependency {
        service: other.to_owned(),
        condition: DependencyCondition::ServiceStarted,
        restart: true,
        namespace: true,
    });
    service
}

/// A revision of these services, with the networks and volumes that they name.
pub(crate) fn revision(services: Vec<ServiceSpecification>) -> RevisionSpecification {
    let mut revision = RevisionSpecification {
        services: BTreeMap::new(),
        networks: BTreeMap::new(),
        volumes: BTreeMap::new(),
        shared_networks: BTreeMap::new(),
        external_volumes: Vec::new(),
    };
    for service in services {
        if let NetworkMode::Networks(attachments) = &service.network {
            for attachment in attachments {
                let name = attachment.network.clone();
                if name == "platform" {
                    revision.shared_networks.insert(name, SharedNetwork::Platform);
                } else if name.starts_with("external") {
                    revision.shared_networks.insert(name, SharedNetwork::External);
                } else {
                    let specification = NetworkSpecification {
                        key: "default".to_owned(),
                        driver: "bridge".to_owned(),
                        driver_opts: BTreeMap::new(),
                        labels: BTreeMap::new(),
                        internal: false,
                        enable_ipv6: false,
                        subnets: vec!["10.209.0.0/26".to_owned()],
                    };
                    revision.networks.insert(name, specification);
                }
            }
        }
        for mount in &service.mounts {
            if let MountSource::Volume(name) = &mount.source {
                let key = (!name.contains("anonymous")).then(|| name.clone());
                let specification = VolumeSpecification {
                    key,
                    driver: "local".to_owned(),
                    driver_opts: BTreeMap::new(),
                    labels: BTreeMap::new(),
                };
                revision.volumes.insert(name.clone(), specification);
            }
        }
        revision.services.insert(service.service_name.clone(), service);
    }
    revision
}
