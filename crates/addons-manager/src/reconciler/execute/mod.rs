//! The executor: runs a plan's graph. A step starts when its parents are done, independent ones side by side up to a bound.
//!
//! It holds no decision: what fails is written down with its kind, and the next plan says what follows. Deadlines of calls are the
//! runtime's; shutdown is heard before each step.

mod containers;
mod objects;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use service_kit::clock::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::plan::graph::{Plan, PlannedStep, Step, StepId};
use super::state::{DesiredState, ErrorKind, ObservedState, Role, aside_digest, rollout_digest};
use crate::domain::installation::Desired;
use crate::domain::specification::ServiceSpecification;
use crate::runtime::{ChangeNeeded, ContainerRuntime, OwnContainerId, RuntimeError};
use crate::storage::attempts::NewFailure;
use crate::storage::events::NewEvent;
use crate::storage::{Storage, StorageError};

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
    containers: BTreeMap<(String, Role), (i64, OwnContainerId)>,
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
    Tell(Vec<Told>),
}

/// What has come of it.
enum Done {
    Step(StepId, Result<Did, StepError>),
    Written(Result<(), StorageError>),
    Told(Result<(), StorageError>),
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
    at: Timestamp,
    step: StepId,
    operation: String,
    result: String,
}

/// A step that failed, as it is written down.
struct Failure {
    /// Whom it keeps from being brought up.
    services: BTreeSet<String>,
    /// The digest that it is written down under, where it is a rollout's own.
    of_rollout: Option<String>,
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
                Work::Tell(told) => Done::Told(self.tell(plan, &told).await),
            }
        };
        // What is done is told while the next steps are under way: one write at a time, of all that has come together meanwhile.
        let mut told: Vec<Told> = Vec::new();
        let mut telling = false;
        loop {
            if !telling && !told.is_empty() {
                telling = true;
                running.push(work(Work::Tell(std::mem::take(&mut told))));
            }
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
                Some(Done::Written(written)) => {
                    outcome.storage = outcome.storage.or(written.err());
                    continue;
                }
                Some(Done::Told(written)) => {
                    telling = false;
                    outcome.storage = outcome.storage.or(written.err());
                    continue;
                }
                None => break,
            };
            let at = self.shared.clock.now();
            let planned = &plan.steps[step.0];
            match result {
                Ok(did) => {
                    outcome.done += 1;
                    let operation = match (&planned.step, did) {
                        (Step::PullImage { service, .. }, Did::Tagged) => {
                            format!("tag the image of {service}, which was there already")
                        }
                        (step, _) => step.describe(),
                    };
                    told.push(Told { at, step, operation, result: "done".to_owned() });
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
                        told.push(Told { at, step, operation: planned.step.describe(), result });
                    }
                    if let Some(failure) = self.failed(plan, step, planned, error, &mut outcome) {
                        running.push(work(Work::Write(failure)));
                    }
                }
            }
        }
        drop(running);
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
        let not_before = after.map(|after| now + after);
        Some(Failure {
            services,
            of_rollout: self.digest_of_rollout(planned),
            kind,
            message,
            not_before,
            at: now,
        })
    }

    /// The digest that a failure of the step is written down under, where it is a rollout's own: it says nothing of what runs.
    fn digest_of_rollout(&self, planned: &PlannedStep) -> Option<String> {
        let rollout = self.desired.rollout.as_ref()?.row.id;
        let is_aside = |row: &i64| {
            let mut rows = self.desired.containers.iter();
            rows.any(|container| container.row == *row && container.role != Role::Current)
        };
        let from = &self.desired.rollout.as_ref()?.from;
        let is_moved = planned.service.as_ref().is_some_and(|name| self.desired.moved.contains_key(name));
        match &planned.step {
            Step::CreateNetwork { name, .. } => {
                let is_known = from.networks.contains_key(name) || from.shared_networks.contains_key(name);
                (!is_moved && !is_known).then(|| rollout_digest(rollout))
            }
            Step::CreateVolume { name, .. } => {
                (!is_moved && !from.volumes.contains_key(name)).then(|| rollout_digest(rollout))
            }
            Step::PullImage { service, revision } => {
                (*revision != self.desired.revision_of(service)).then(|| rollout_digest(rollout))
            }
            Step::WriteFiles { role, .. }
            | Step::CreateContainer { role, .. }
            | Step::VerifyContainer { role, .. }
            | Step::StartContainer { role, .. } => {
                (*role == Role::Candidate).then(|| rollout_digest(rollout))
            }
            Step::Move { .. }
            | Step::PassGate { .. }
            | Step::TurnBack { .. }
            | Step::CompleteRollout { .. }
            | Step::EndUndoneRollout { .. } => Some(rollout_digest(rollout)),
            Step::StopContainer { row, .. }
            | Step::SetPolicy { row, .. }
            | Step::RemoveContainer { row, .. } => is_aside(row).then(|| aside_digest(rollout)),
            Step::Rename { id, .. } => {
                let mut rows = self.desired.containers.iter();
                let row = rows.find(|row| row.engine_id.as_deref() == Some(id.0.as_str()));
                row.is_some_and(|row| row.role != Role::Current).then(|| aside_digest(rollout))
            }
            _ => None,
        }
    }

    /// Writes down a failure for every service that it keeps from being brought up.
    async fn write(&self, failure: &Failure) -> Result<(), StorageError> {
        for service in &failure.services {
            let digest = failure.of_rollout.as_ref().or_else(|| self.desired.digests.get(service));
            let new = NewFailure {
                installation: self.desired.installation.id,
                service,
                spec_digest: digest.map_or("", String::as_str),
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

    /// Whether the step takes away what no revision has a place for: it fails for the installation, and keeps no service from running.
    fn is_of_leftover(&self, step: &Step) -> bool {
        let (Step::StopContainer { row, .. }
        | Step::SetPolicy { row, .. }
        | Step::RemoveContainer { row, .. }
        | Step::ForgetContainer { row }) = step
        else {
            return false;
        };
        let found = self.desired.containers.iter().find(|container| container.row == *row);
        self.desired.rollout.is_none()
            && found.is_some_and(|row| {
                row.role != Role::Current || !self.desired.specification.services.contains_key(&row.service)
            })
    }

    /// The services that a failing step is a failure of: its own, and those of the steps that come after it.
    fn kept_from(&self, plan: &Plan, step: StepId, planned: &PlannedStep) -> BTreeSet<String> {
        if self.desired.installation.desired != Desired::Active || self.is_of_leftover(&planned.step) {
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
        let events: Vec<NewEvent<'_>> = told
            .iter()
            .map(|told| (told, &plan.steps[told.step.0]))
            .filter(|(told, planned)| planned.step.is_told() || told.result != "done")
            .map(|(told, planned)| NewEvent {
                installation: self.desired.installation.id,
                at: told.at,
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
