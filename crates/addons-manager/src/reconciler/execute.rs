//! The executor: runs a plan's graph. A step starts when its parents are done, independent ones side by side up to a bound.
//!
//! It holds no decision: what fails is written down with its kind, and the next plan says what follows. Deadlines of calls are the
//! runtime's; shutdown is heard before each step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use service_kit::clock::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::files::{self, FileToWrite};
use super::meant;
use super::plan::View;
use super::plan::graph::{Plan, PlannedStep, Step, StepId};
use super::plan::networks::{self, Found};
use super::plan::volumes;
use super::state::{
    Asked, ContainerRow, DesiredState, ErrorKind, ImageRow, NONCE_LABEL, ObservedState, PolicyReason,
    Provider, Role, StartedBy, volume_difference,
};
use crate::domain::installation::Desired;
use crate::domain::specification::{NetworkSpecification, RestartPolicy, ServiceSpecification};
use crate::runtime::{
    ChangeNeeded, ContainerRuntime, ContainerState, InspectedContainer, ListedNetwork, ListedVolume,
    OwnContainerId, OwnVolumeName, PullProgress, RuntimeError,
};
use crate::storage::attempts::{NewFailure, NewRun};
use crate::storage::containers::NewContainer;
use crate::storage::events::NewEvent;
use crate::storage::objects::NewVolume;
use crate::storage::{Storage, StorageError};

/// Lines of the log that are kept of what failed.
const LOG_LINES: usize = 100;

/// What came of a plan.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Steps that succeeded.
    pub(crate) done: usize,
    /// Steps that failed, and that is written down.
    pub(crate) failed: usize,
    /// Steps whose object was gone: the next look tells.
    pub(crate) stale: usize,
    /// The engine did not answer: nothing is concluded from that.
    pub(crate) unreachable: Option<String>,
    /// The database did not answer.
    pub(crate) storage: Option<StorageError>,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What the plan was made from is no longer so.
    #[error("{0}")]
    Stale(String),
    #[error("{message}")]
    Refused { kind: ErrorKind, message: String },
}

impl StepError {
    /// The engine itself did not answer.
    fn is_away(&self) -> bool {
        matches!(self, Self::Runtime(RuntimeError::Retry { engine_unreachable: true, .. }))
    }
}

/// What steps of one plan have made, for those that come after them.
#[derive(Default)]
struct Made {
    containers: BTreeMap<String, (i64, OwnContainerId)>,
    networks: BTreeMap<String, String>,
    /// Nonces of volumes, by name.
    volumes: BTreeMap<String, String>,
}

/// One plan being executed.
pub(crate) struct Execution<'a> {
    shared: &'a Shared,
    desired: &'a DesiredState,
    observed: &'a ObservedState,
    made: Mutex<Made>,
}

/// Runs the plan until nothing of it can go on.
pub(crate) async fn execute(
    shared: &Shared,
    desired: &DesiredState,
    observed: &ObservedState,
    plan: &Plan,
) -> Outcome {
    let execution = Execution { shared, desired, observed, made: Mutex::default() };
    execution.run(plan).await
}

/// What a pass does side by side.
enum Work {
    Step(StepId),
    Write(Failure),
}

/// What has come of it.
enum Done {
    Step(StepId, Result<Did, StepError>),
    Written(Result<(), StorageError>),
}

/// What a step that succeeded came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Did {
    /// What it says.
    All,
    /// The image was there: it got its tag.
    Tagged,
}

/// A step as the why-log tells it.
struct Told {
    step: StepId,
    operation: String,
    result: String,
}

/// A step that failed, as it is written down.
struct Failure {
    /// Whom it keeps from being brought up.
    services: BTreeSet<String>,
    kind: ErrorKind,
    message: String,
    not_before: Option<Timestamp>,
    at: Timestamp,
}

impl Execution<'_> {
    async fn run(&self, plan: &Plan) -> Outcome {
        let mut outcome = Outcome::default();
        let mut open_parents: Vec<usize> = plan.steps.iter().map(|planned| planned.parents.len()).collect();
        let mut ready: Vec<StepId> =
            (0..plan.steps.len()).filter(|step| open_parents[*step] == 0).map(StepId).rev().collect();
        // Everything that awaits is in here, writing down failures too: a step that is not polled may hold the database's one writer, and
        // whoever waits for that outside would wait in vain.
        let mut running = FuturesUnordered::new();
        let work = |work: Work| async move {
            match work {
                Work::Step(step) => {
                    let planned = &plan.steps[step.0];
                    let started = Instant::now();
                    let result = self.step(planned).await;
                    let result_name = if result.is_ok() { "ok" } else { "error" };
                    metrics::counter!("addons_manager_steps_total", "step" => planned.step.kind(), "result" => result_name).increment(1);
                    metrics::histogram!("addons_manager_step_duration_seconds", "step" => planned.step.kind()).record(started.elapsed());
                    Done::Step(step, result)
                }
                Work::Write(failure) => Done::Written(self.write(&failure).await),
            }
        };
        let mut told: Vec<Told> = Vec::new();
        loop {
            while running.len() < self.shared.settings.parallel_steps
                && !self.shutdown().is_cancelled()
                && outcome.unreachable.is_none()
                && outcome.storage.is_none()
                && let Some(step) = ready.pop()
            {
                running.push(work(Work::Step(step)));
            }
            let (step, result) = match running.next().await {
                Some(Done::Step(step, result)) => (step, result),
                Some(Done::Written(Ok(()))) => continue,
                Some(Done::Written(Err(error))) => {
                    outcome.storage = Some(error);
                    continue;
                }
                None => break,
            };
            let planned = &plan.steps[step.0];
            match result {
                Ok(did) => {
                    outcome.done += 1;
                    let operation = match (&planned.step, did) {
                        (Step::PullImage { service }, Did::Tagged) => {
                            format!("tag the image of {service}, which was there already")
                        }
                        (step, _) => step.describe(),
                    };
                    told.push(Told { step, operation, result: "done".to_owned() });
                    for (child, planned) in plan.steps.iter().enumerate() {
                        if planned.parents.contains(&step) {
                            open_parents[child] -= 1;
                            if open_parents[child] == 0 {
                                ready.push(StepId(child));
                            }
                        }
                    }
                }
                Err(error) => {
                    // An engine that is away says nothing of the step: that it is, is shown.
                    if !error.is_away() {
                        let result = self.told_error(planned, &error.to_string());
                        told.push(Told { step, operation: planned.step.describe(), result });
                    }
                    if let Some(failure) = self.failed(plan, step, planned, error, &mut outcome) {
                        running.push(work(Work::Write(failure)));
                    }
                }
            }
        }
        drop(running);
        if let Err(error) = self.tell(plan, &told).await {
            outcome.storage.get_or_insert(error);
        }
        outcome
    }

    /// What a failed step means for the pass, and what of it is to be written down.
    fn failed(
        &self,
        plan: &Plan,
        step: StepId,
        planned: &PlannedStep,
        error: StepError,
        outcome: &mut Outcome,
    ) -> Option<Failure> {
        let message = error.to_string();
        let now = self.shared.clock.now();
        let (kind, after) = match error {
            StepError::Storage(error) => {
                outcome.storage = Some(error);
                return None;
            }
            StepError::Runtime(RuntimeError::Retry { engine_unreachable: true, .. }) => {
                outcome.unreachable = Some(message);
                return None;
            }
            StepError::Stale(_) | StepError::Runtime(RuntimeError::Gone { .. }) => {
                outcome.stale += 1;
                return None;
            }
            StepError::Refused { kind, .. } => (kind, None),
            StepError::Runtime(RuntimeError::Retry { after, .. }) => (ErrorKind::Retry, after),
            StepError::Runtime(RuntimeError::Never { .. }) => (ErrorKind::Never, None),
            StepError::Runtime(RuntimeError::WaitForChange { reason, .. }) => (change_kind(reason), None),
        };
        outcome.failed += 1;
        tracing::warn!(
            installation.id = %self.desired.installation.id, service.name = planned.service.as_deref().unwrap_or_default(),
            step = planned.step.kind(), error = %message, "a step failed"
        );
        let services = self.kept_from(plan, step, planned);
        Some(Failure { services, kind, message, not_before: after.map(|after| now + after), at: now })
    }

    /// Writes down a failure for every service that it keeps from being brought up.
    async fn write(&self, failure: &Failure) -> Result<(), StorageError> {
        for service in &failure.services {
            let new = NewFailure {
                installation: self.desired.installation.id,
                service,
                spec_digest: self.desired.digests.get(service).map_or("", String::as_str),
                epoch: self.desired.installation.epoch,
                kind: failure.kind,
                message: &failure.message,
                not_before: failure.not_before,
                at: failure.at,
            };
            self.storage().operation_failed(&new).await?;
        }
        Ok(())
    }

    /// The services that a failing step is a failure of: its own, and those of the steps that come after it.
    fn kept_from(&self, plan: &Plan, step: StepId, planned: &PlannedStep) -> BTreeSet<String> {
        if self.desired.installation.desired != Desired::Active {
            return BTreeSet::from([String::new()]);
        }
        let mut reached = BTreeSet::from([step]);
        let mut services: BTreeSet<String> = planned.service.iter().cloned().collect();
        // Steps stand after their parents, so one walk reaches all descendants. A start that comes after another service's start only waits
        // for it: its own container is as good as before.
        for (number, later) in plan.steps.iter().enumerate() {
            if later.parents.iter().any(|parent| reached.contains(parent)) {
                reached.insert(StepId(number));
                let shares_object =
                    matches!(planned.step, Step::CreateNetwork { .. } | Step::CreateVolume { .. });
                if shares_object && matches!(later.step, Step::CreateContainer { .. } | Step::Connect { .. })
                {
                    services.extend(later.service.clone());
                }
            }
        }
        if services.is_empty() {
            services.insert(String::new());
        }
        services
    }

    /// An error for the why-log: in full the first time, and how often when it is the same again and again.
    fn told_error(&self, planned: &PlannedStep, error: &str) -> String {
        let history = self.desired.history(planned.service.as_deref().unwrap_or_default());
        let failures = history.iter().filter(|attempt| attempt.engine_id.is_none());
        let same = failures
            .take_while(|attempt| attempt.error.as_ref().is_some_and(|before| before.message == error))
            .count();
        match same {
            0 => error.to_owned(),
            same => format!("failed as before, {} times in a row now", same + 1),
        }
    }

    async fn tell(&self, plan: &Plan, told: &[Told]) -> Result<(), StorageError> {
        let now = self.shared.clock.now();
        let events: Vec<NewEvent<'_>> = told
            .iter()
            .map(|told| (told, &plan.steps[told.step.0]))
            .filter(|(told, planned)| planned.step.is_told() || told.result != "done")
            .map(|(told, planned)| NewEvent {
                installation: self.desired.installation.id,
                at: now,
                service: planned.service.as_deref().unwrap_or_default(),
                cause: &planned.cause,
                operation: &told.operation,
                result: &told.result,
                next_attempt: None,
            })
            .collect();
        for event in &events {
            tracing::info!(
                installation.id = %event.installation, service.name = event.service, cause = event.cause, result = event.result,
                "{}", event.operation
            );
        }
        self.storage().add_events(&events).await
    }

    fn storage(&self) -> &Storage {
        &self.shared.storage
    }

    fn runtime(&self) -> &dyn ContainerRuntime {
        &*self.shared.runtime
    }

    fn shutdown(&self) -> &CancellationToken {
        &self.shared.shutdown
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Made> {
        self.made.lock().expect("nothing panics while it holds the lock")
    }

    fn service(&self, name: &str) -> &ServiceSpecification {
        self.desired.specification.services.get(name).expect("a plan names services of its revision")
    }

    async fn step(&self, planned: &PlannedStep) -> Result<Did, StepError> {
        match &planned.step {
            Step::CreateNetwork { name, platform } => self.create_network(name, *platform).await?,
            Step::RemoveNetwork { row, id, .. } => {
                self.runtime().remove_network(id).await?;
                self.storage().forget_network(*row).await?;
            }
            Step::ForgetNetwork { row, .. } => self.storage().forget_network(*row).await?,
            Step::CreateVolume { name, origin } => {
                let service = planned.service.as_deref().unwrap_or_default();
                self.create_volume(name, *origin, service).await?;
            }
            Step::RemoveVolume { row, name } => {
                self.runtime().remove_volume(name).await?;
                self.storage().forget_volume(*row).await?;
            }
            Step::PullImage { service } => return self.pull_image(self.service(service)).await,
            Step::WriteFiles { service } => self.write_files(self.service(service)).await?,
            Step::CreateContainer { service, policy, why, courtesy } => {
                self.create_container(self.service(service), *policy, *why, courtesy).await?;
            }
            Step::VerifyContainer { service, row, id } => {
                self.verify_container(self.service(service), *row, id).await?;
            }
            Step::StartContainer { service, existing, providers } => {
                self.start_container(self.service(service), existing.as_ref(), providers).await?;
            }
            Step::StopContainer { id, grace_s, unhealthy, .. } => {
                self.storage().run_ends_by_us(&id.0, *unhealthy, self.shared.clock.now()).await?;
                self.runtime().stop(id, *grace_s).await?;
                self.storage().run_ended_by_us(&id.0, self.shared.clock.now()).await?;
            }
            Step::SetPolicy { row, id, service, policy, why, .. } => {
                let resources =
                    self.desired.specification.services.get(service).map(|service| service.resources.clone());
                self.runtime().update(id, *policy, &resources.unwrap_or_default()).await?;
                let before = self.row(*row)?;
                self.storage()
                    .set_asked(*row, &Asked { restart: *policy, why: *why, ..before.asked.clone() })
                    .await?;
                self.shared.inspect_again(&id.0);
            }
            Step::RemoveContainer { row, id } => {
                self.storage().run_ends_by_us(&id.0, false, self.shared.clock.now()).await?;
                self.runtime().remove_container(id).await?;
                self.storage().run_ended_by_us(&id.0, self.shared.clock.now()).await?;
                self.storage().forget_container(*row).await?;
                self.shared.disown(&id.0);
            }
            Step::ForgetContainer { row } => self.storage().forget_container(*row).await?,
            Step::Rename { id, name } => self.runtime().rename(id, name).await?,
            Step::Unpause { id } => self.runtime().unpause(id).await?,
            Step::Connect { id, service, network, network_id, again, courtesy } => {
                let network_id = match network_id {
                    Some(id) => id.clone(),
                    None => self.network_id(network)?,
                };
                let service = self.service(service);
                let attachment =
                    networks::attachments(service).iter().find(|attachment| attachment.network == *network);
                let attachment = attachment.expect("a plan connects to networks of the service only");
                if *again {
                    self.runtime().disconnect(id, &network_id).await?;
                }
                self.runtime().connect(id, &network_id, attachment, courtesy.as_deref()).await?;
                self.courtesy_given(id, network, courtesy.as_ref()).await?;
                self.shared.inspect_again(&id.0);
            }
            Step::Disconnect { id, network_id } => self.runtime().disconnect(id, network_id).await?,
            Step::CollectLogs { attempt, id } => {
                // No log is better than none kept for ever: what cannot be read is not asked for again.
                let logs = self.runtime().logs(&id.0, LOG_LINES).await.unwrap_or_default();
                self.storage().set_logs(*attempt, &logs).await?;
            }
            Step::Untag { tag } => self.runtime().untag(tag).await?,
            Step::RemoveFiles => {
                let folder = self.shared.identity.files_of(self.desired);
                on_disk(move || files::remove(&folder)).await?;
            }
            Step::Forget { kept_volumes } => {
                self.storage()
                    .remove_installation(self.desired.installation.id, kept_volumes, self.shared.clock.now())
                    .await?;
            }
        }
        Ok(Did::All)
    }

    /// Writes down the alias that a container was given, or has lost, on a network.
    async fn courtesy_given(
        &self,
        id: &OwnContainerId,
        network: &str,
        courtesy: Option<&String>,
    ) -> Result<(), StepError> {
        let rows = &self.desired.containers;
        let Some(row) = rows.iter().find(|row| row.engine_id.as_deref() == Some(id.0.as_str())) else {
            return Ok(());
        };
        if row.asked.courtesy.get(network) == courtesy {
            return Ok(());
        }
        let mut asked = row.asked.clone();
        match courtesy {
            Some(alias) => asked.courtesy.insert(network.to_owned(), alias.clone()),
            None => asked.courtesy.remove(network),
        };
        Ok(self.storage().set_asked(row.row, &asked).await?)
    }

    fn row(&self, row: i64) -> Result<&ContainerRow, StepError> {
        let found = self.desired.containers.iter().find(|container| container.row == row);
        found.ok_or_else(|| StepError::Stale(format!("the row {row} of a container is gone")))
    }

    fn network_id(&self, name: &str) -> Result<String, StepError> {
        if let Some(id) = self.made().networks.get(name) {
            return Ok(id.clone());
        }
        let view = View { desired: self.desired, observed: self.observed, now: self.shared.clock.now() };
        match networks::find(&view, name) {
            Found::There(id) => Ok(id),
            _ => Err(StepError::Stale(format!("network {name} is not there"))),
        }
    }

    async fn create_network(&self, name: &str, platform: bool) -> Result<(), StepError> {
        let now = self.shared.clock.now();
        let installation = self.desired.installation.id;
        if platform {
            // Several installations may miss it at once, and the engine would make one for each: one at a time, and each looks first.
            let _one_at_a_time = self.shared.platform_network.lock().await;
            let listing = self.runtime().list().await?;
            let mut there: Vec<_> =
                listing.networks.into_iter().filter(|network| network.name == name).collect();
            there.sort_by(|one, other| (&one.created, &one.id).cmp(&(&other.created, &other.id)));
            if let Some(network) = there.into_iter().next() {
                self.made().networks.insert(name.to_owned(), network.id);
                return Ok(());
            }
            let specification = plain_bridge();
            let (row, nonce) = self.storage().open_network(None, name, &nonce(), &specification, now).await?;
            let labels = self.shared.identity.shared_labels(&nonce);
            let id = self.runtime().create_network(name, &specification, &labels).await?;
            self.storage().network_created(row, &id).await?;
            self.made().networks.insert(name.to_owned(), id);
            return Ok(());
        }
        let specification = self.desired.specification.networks.get(name);
        let specification = specification
            .ok_or_else(|| StepError::Stale(format!("network {name} is not of this revision")))?;
        let (row, nonce) =
            self.storage().open_network(Some(installation), name, &nonce(), specification, now).await?;
        let labels = self.shared.identity.labels(self.desired, &nonce);
        let id = match self.runtime().create_network(name, specification, &labels).await {
            Ok(id) => id,
            Err(error) => self.made_by_an_earlier_create(name, &nonce, error).await?,
        };
        self.storage().network_created(row, &id).await?;
        self.shared.own(&id, installation);
        self.made().networks.insert(name.to_owned(), id);
        Ok(())
    }

    /// Addresses that are taken may be taken by the network itself: a create that a manager asked for before it was killed comes true late.
    async fn made_by_an_earlier_create(
        &self,
        name: &str,
        nonce: &str,
        error: RuntimeError,
    ) -> Result<String, StepError> {
        if !matches!(error, RuntimeError::WaitForChange { reason: ChangeNeeded::AddressPool, .. }) {
            return Err(error.into());
        }
        let listing = self.runtime().list().await?;
        let is_it = |network: &ListedNetwork| {
            network.name == name && network.labels.get(NONCE_LABEL).is_some_and(|label| label == nonce)
        };
        listing.networks.into_iter().find(is_it).map(|network| network.id).ok_or_else(|| error.into())
    }

    async fn create_volume(
        &self,
        name: &str,
        origin: crate::domain::installation::VolumeOrigin,
        service: &str,
    ) -> Result<(), StepError> {
        let specification = volumes::specification(self.desired, name);
        let service =
            if origin == crate::domain::installation::VolumeOrigin::Declared { "" } else { service };
        let installation = self.desired.installation.id;
        let new =
            NewVolume { installation, name, nonce: &nonce(), origin, service, specification: &specification };
        let nonce = self.storage().open_volume(&new, self.shared.clock.now()).await?;
        let labels = self.shared.identity.labels(self.desired, &nonce);
        let found = self.runtime().create_volume(name, &specification, &labels).await?;
        let difference = if found.labels.get(NONCE_LABEL) == Some(&nonce) {
            volume_difference(&specification, &found)
        } else {
            Some("somebody else made it".to_owned())
        };
        match difference {
            None => {
                self.made().volumes.insert(name.to_owned(), nonce);
                Ok(())
            }
            Some(difference) => Err(StepError::Refused {
                kind: ErrorKind::NameTaken,
                message: format!(
                    "a volume named {name} is there and cannot be used: {difference}; it is left alone: remove it, or keep its data elsewhere"
                ),
            }),
        }
    }

    async fn pull_image(&self, service: &ServiceSpecification) -> Result<Did, StepError> {
        let name = service.service_name.as_str();
        let image = &service.image;
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<PullProgress>(16);
        let board = &self.shared.progress;
        let installation = self.desired.installation.id;
        board.begin(installation, name, image);
        let mut asked = false;
        let pulled = {
            // One pull of a digest at a time: whoever waits finds it there.
            let lock = self.shared.pull_lock(&image.digest);
            let _one_at_a_time = lock.lock().await;
            let _slot = self.shared.pulls.acquire().await.expect("the semaphore is never closed");
            let pull = self.runtime().pull(image, sender);
            tokio::pin!(pull);
            loop {
                tokio::select! {
                    biased;
                    result = &mut pull => break result,
                    Some(progress) = receiver.recv() => {
                        asked = true;
                        board.update(installation, name, progress);
                    }
                }
            }
        };
        // Progress is told of what the registry was asked for, and of nothing else.
        asked |= receiver.try_recv().is_ok();
        board.end(installation, name, pulled.is_ok());
        let pulled = pulled?;
        let pin = format!("@{}", image.digest);
        if !pulled.repo_digests.iter().any(|digest| digest.ends_with(&pin)) {
            let message = format!(
                "the image {} that the engine has is not the one that was reviewed ({})",
                image.reference, image.digest
            );
            return Err(StepError::Refused { kind: ErrorKind::Never, message });
        }
        let tag = meant::image_tag(self.desired, name);
        self.runtime().tag(&pulled.id, &tag).await?;
        let row = ImageRow {
            image_id: pulled.id,
            tag,
            volumes: pulled.volumes,
            has_healthcheck: pulled.has_healthcheck,
        };
        self.storage().record_image(installation, self.desired.installation.revision, name, &row).await?;
        Ok(if asked { Did::All } else { Did::Tagged })
    }

    async fn write_files(&self, service: &ServiceSpecification) -> Result<(), StepError> {
        let sources = self.shared.identity.file_sources(self.desired, service);
        let to_write = |file: &crate::domain::specification::FileSpecification| FileToWrite {
            path: sources[&file.path].clone(),
            content: file.content.clone(),
            mode: file.mode,
        };
        let files: Vec<FileToWrite> = service.files.iter().map(to_write).collect();
        on_disk(move || files::write(&files)).await
    }

    fn image(&self, service: &str) -> Result<&ImageRow, StepError> {
        self.desired
            .images
            .get(service)
            .ok_or_else(|| StepError::Stale(format!("the image of {service} is not known yet")))
    }

    async fn create_container(
        &self,
        service: &ServiceSpecification,
        policy: RestartPolicy,
        why: PolicyReason,
        courtesy: &BTreeMap<String, String>,
    ) -> Result<(), StepError> {
        let name = service.service_name.as_str();
        let image = self.image(name)?;
        let asked = meant::asked(self.desired, &self.shared.identity, service, image, policy, why, courtesy);
        let new = NewContainer {
            installation: self.desired.installation.id,
            service: name,
            revision: self.desired.installation.revision,
            role: Role::Current,
            name: &service.container_name,
            nonce: &nonce(),
            spec_digest: self.desired.digests.get(name).map_or("", String::as_str),
            asked: &asked,
            restart_generation: self.desired.installation.restart_generation,
        };
        // The engine makes a volume that is not there by itself, without our labels: nobody's. So they are looked for, while the row is
        // written, and once more while what was made is compared.
        let (opened, missing) = tokio::join!(
            self.storage().open_container(&new, self.shared.clock.now()),
            self.unproven_volumes(service)
        );
        let (row, nonce, asked) = opened?;
        let meant = self.meant(service, image, &asked, &nonce)?;
        if let Some((lost, _)) = missing?.first() {
            return Err(StepError::Stale(format!("volume {lost} is not there any more")));
        }
        let id = match self.runtime().create_container(service, &meant).await {
            Ok(id) => id,
            Err(error) => return Err(self.explain_create(service, image, error).await),
        };
        self.shared.own(&id, self.desired.installation.id);
        let id = OwnContainerId(id);
        // The id is written while the engine is asked what it made.
        let (written, inspected, unproven) = tokio::join!(
            self.storage().container_created(row, &id.0),
            self.runtime().inspect_against(&id.0, service, &meant),
            self.unproven_volumes(service)
        );
        written?;
        self.judge(service, row, &id, image, inspected?).await?;
        let unproven = unproven?;
        if let Some((lost, _)) = unproven.first() {
            // It was there right before: the engine has made the one that is there now for this container, which never ran.
            self.runtime().remove_container(&id).await?;
            self.storage().forget_container(row).await?;
            self.shared.disown(&id.0);
            for volume in unproven.iter().filter_map(|(_, volume)| volume.as_ref()) {
                if volume.labels.is_empty() {
                    self.runtime().remove_volume(&OwnVolumeName(volume.name.clone())).await?;
                }
            }
            return Err(StepError::Stale(format!("volume {lost} was removed while its container was made")));
        }
        self.made().containers.insert(name.to_owned(), (row, id));
        Ok(())
    }

    /// The addon's volumes for this service that the ledger does not prove right now, with what is there under their names.
    async fn unproven_volumes(
        &self,
        service: &ServiceSpecification,
    ) -> Result<Vec<(String, Option<ListedVolume>)>, StepError> {
        let looks = volumes::wanted(self.desired, service).into_keys().map(|name| async move {
            let found = self.runtime().inspect_volume(&name).await?;
            Ok::<_, StepError>((name, found))
        });
        let found = futures_util::future::try_join_all(looks).await?;
        let made = &self.made().volumes;
        let is_proven = |name: &str, volume: &ListedVolume| {
            let nonce = volume.labels.get(NONCE_LABEL);
            let row = self.desired.volumes.iter().find(|row| row.name == *name).map(|row| &row.nonce);
            nonce.is_some() && (nonce == made.get(name) || nonce == row)
        };
        let unproven = |(name, volume): &(String, Option<ListedVolume>)| {
            !volume.as_ref().is_some_and(|volume| is_proven(name, volume))
        };
        Ok(found.into_iter().filter(unproven).collect())
    }

    /// A create that failed because the image is gone is no failure: it is pulled again.
    async fn explain_create(
        &self,
        service: &ServiceSpecification,
        image: &ImageRow,
        error: RuntimeError,
    ) -> StepError {
        if matches!(
            error,
            RuntimeError::Retry { engine_unreachable: true, .. }
                | RuntimeError::WaitForChange { reason: ChangeNeeded::NameTaken, .. }
        ) {
            return error.into();
        }
        match self.runtime().inspect_image(&image.tag).await {
            Ok(Some(found)) if found.id == image.image_id => error.into(),
            Ok(_) => {
                let installation = &self.desired.installation;
                match self
                    .storage()
                    .forget_image(installation.id, installation.revision, &service.service_name)
                    .await
                {
                    Ok(()) => StepError::Stale(format!("the image of {} is gone", service.service_name)),
                    Err(error) => error.into(),
                }
            }
            Err(_) => error.into(),
        }
    }

    fn meant(
        &self,
        service: &ServiceSpecification,
        image: &ImageRow,
        asked: &Asked,
        nonce: &str,
    ) -> Result<crate::runtime::ContainerMeant, StepError> {
        let mut neighbours = meant::Neighbours::default();
        for attachment in networks::attachments(service) {
            neighbours.network_ids.insert(attachment.network.clone(), self.network_id(&attachment.network)?);
        }
        for dependency in service.depends_on.iter().filter(|dependency| dependency.namespace) {
            let (_, id) = self.container_of(&dependency.service)?;
            neighbours.namespace_containers.insert(dependency.service.clone(), id.0);
        }
        Ok(meant::meant(self.desired, &self.shared.identity, service, image, asked, nonce, neighbours))
    }

    fn container_of(&self, service: &str) -> Result<(i64, OwnContainerId), StepError> {
        if let Some(made) = self.made().containers.get(service) {
            return Ok(made.clone());
        }
        let current = self.observed.current(self.desired, service);
        let (row, container) =
            current.ok_or_else(|| StepError::Stale(format!("the container of {service} is not there")))?;
        Ok((row.row, container.id.clone()))
    }

    async fn verify_container(
        &self,
        service: &ServiceSpecification,
        row: i64,
        id: &OwnContainerId,
    ) -> Result<(), StepError> {
        let image = self.image(&service.service_name)?;
        let found = self.row(row)?;
        let meant = self.meant(service, image, &found.asked, &found.nonce)?;
        let inspected = self.runtime().inspect_against(&id.0, service, &meant).await?;
        self.shared.own(&id.0, self.desired.installation.id);
        self.judge(service, row, id, image, inspected).await
    }

    /// What was created must be what was meant; else it goes, and what differs is said.
    async fn judge(
        &self,
        service: &ServiceSpecification,
        row: i64,
        id: &OwnContainerId,
        image: &ImageRow,
        inspected: Option<InspectedContainer>,
    ) -> Result<(), StepError> {
        let name = service.service_name.as_str();
        let Some(inspected) = inspected else {
            return Err(StepError::Stale(format!("the container of {name} is gone again")));
        };
        let mut differences = inspected.differences;
        let other_image = inspected.listed.image_id != image.image_id;
        if other_image {
            // Somebody moved the tag: it is set again before the next try.
            let installation = &self.desired.installation;
            self.storage().forget_image(installation.id, installation.revision, name).await?;
            differences.push(format!("its image is {}, not {}", inspected.listed.image_id, image.image_id));
        }
        if differences.is_empty() {
            self.storage().container_verified(row).await?;
            return Ok(());
        }
        self.runtime().remove_container(id).await?;
        self.storage().forget_container(row).await?;
        self.shared.disown(&id.0);
        let kind = if other_image { ErrorKind::Retry } else { ErrorKind::Configuration };
        let message = format!(
            "the engine did not make the container of {name} as it was asked to, so it was removed: {}",
            differences.join("; ")
        );
        Err(StepError::Refused { kind, message })
    }

    async fn start_container(
        &self,
        service: &ServiceSpecification,
        existing: Option<&(i64, OwnContainerId)>,
        providers: &BTreeSet<String>,
    ) -> Result<(), StepError> {
        let name = service.service_name.as_str();
        let (row, id) = match existing {
            Some(existing) => existing.clone(),
            None => self.container_of(name)?,
        };
        let mut seen = BTreeMap::new();
        for provider in providers {
            let (row, id) = self.container_of(provider)?;
            let shares = service
                .depends_on
                .iter()
                .any(|dependency| dependency.service == *provider && dependency.namespace);
            let started_at = match shares {
                true => self.runtime().inspect(&id.0).await?.map(|live| live.started_at),
                false => None,
            };
            // The run is filled in where the start is written down.
            seen.insert(provider.clone(), Provider { row, engine_id: id.0, started_at, run: None });
        }
        let before = match existing {
            Some((row, id)) => self.process_before(*row, id).await?,
            None => None,
        };
        let installation = &self.desired.installation;
        let run = NewRun {
            installation: installation.id,
            service: name,
            container_row: row,
            engine_id: &id.0,
            spec_digest: self.desired.digests.get(name).map_or("", String::as_str),
            epoch: installation.epoch,
            started_by: StartedBy::Manager,
            started_at: self.shared.clock.now(),
        };
        let generation = installation.restart_generation;
        let attempt = self.storage().begin_run(&run, &seen, generation, before.as_deref()).await?;
        if let Err(error) = self.runtime().start(&id).await {
            // The failure itself is written down by `failed`. Where no answer came, the next look tells whether the run began.
            if !matches!(error, RuntimeError::Retry { engine_unreachable: true, .. }) {
                self.storage().cancel_run(attempt, row).await?;
            }
            return Err(error.into());
        }
        self.shared.inspect_again(&id.0);
        Ok(())
    }

    /// Start of the process that a container had before it is started again: what still has it then was not started.
    async fn process_before(&self, row: i64, id: &OwnContainerId) -> Result<Option<String>, StepError> {
        let container = self.observed.ours.containers.get(&row);
        if container.is_some_and(|container| container.state() == ContainerState::Created) {
            return Ok(None);
        }
        if let Some(live) = container.and_then(|container| container.inspected.as_ref())
            && matches!(live.listed.state, ContainerState::Exited | ContainerState::Dead)
        {
            return Ok(Some(live.started_at.clone()));
        }
        Ok(self.runtime().inspect(&id.0).await?.map(|live| live.started_at))
    }
}

/// The platform's network, where it is ours to make.
fn plain_bridge() -> NetworkSpecification {
    NetworkSpecification {
        key: String::new(),
        driver: "bridge".to_owned(),
        driver_opts: BTreeMap::new(),
        labels: BTreeMap::new(),
        internal: false,
        enable_ipv6: false,
        subnets: Vec::new(),
    }
}

fn change_kind(reason: ChangeNeeded) -> ErrorKind {
    match reason {
        ChangeNeeded::PortTaken => ErrorKind::PortTaken,
        ChangeNeeded::NameTaken => ErrorKind::NameTaken,
        ChangeNeeded::DiskFull => ErrorKind::DiskFull,
        ChangeNeeded::Authentication => ErrorKind::Authentication,
        ChangeNeeded::Configuration => ErrorKind::Configuration,
        ChangeNeeded::AddressPool => ErrorKind::AddressPool,
        ChangeNeeded::InUse => ErrorKind::InUse,
    }
}

/// 128 random bits: nobody can guess the nonce of a create that is still to come.
fn nonce() -> String {
    service_kit::random::bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn on_disk(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> Result<(), StepError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    done.map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
            _ => ErrorKind::Configuration,
        };
        StepError::Refused {
            kind,
            message: format!("the files cannot be written below the state folder: {error}"),
        }
    })
}
