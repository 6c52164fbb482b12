//! A plan as a value: a graph of steps, each with its cause, each safe to repeat, and what is being waited for.

use std::collections::{BTreeMap, BTreeSet};

use service_kit::clock::Timestamp;

use crate::domain::installation::VolumeOrigin;
use crate::domain::specification::RestartPolicy;
use crate::domain::status::{ServicePhase, Waiting};
use crate::reconciler::state::{PolicyReason, Role};
use crate::runtime::{OwnContainerId, OwnNetworkId, OwnVolumeName};

/// The steps that bring what is to what should be, and what the rest is waiting for. Empty when both agree.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Each step after its parents.
    pub steps: Vec<PlannedStep>,
    /// Services that nothing can be done for at the moment.
    pub waiting: BTreeMap<String, Wait>,
    /// Things to know that are no failure.
    pub conditions: Vec<Notice>,
    /// When time alone changes the plan.
    pub look_again: Option<Timestamp>,
}

/// Number of a step in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub usize);

/// A step in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStep {
    /// What is done.
    pub step: Step,
    /// The service that it is done for; none: the installation as a whole.
    pub service: Option<String>,
    /// Because of what, in words.
    pub cause: String,
    /// Steps that have to succeed before.
    pub parents: Vec<StepId>,
}

/// One operation. Everything that changes or removes an object names it by an id that only a row of the ledger makes.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Step {
    /// Makes a network of the addon, or the platform's.
    CreateNetwork {
        name: String,
        platform: bool,
    },
    RemoveNetwork {
        row: i64,
        id: OwnNetworkId,
        name: String,
    },
    /// Forgets rows of networks that are gone.
    ForgetNetwork {
        row: i64,
        name: String,
    },
    CreateVolume {
        name: String,
        origin: VolumeOrigin,
    },
    RemoveVolume {
        row: i64,
        name: OwnVolumeName,
    },
    /// Makes sure that the image is there, tags it, and writes down what it says of itself.
    PullImage {
        service: String,
        revision: i64,
    },
    /// Writes the service's `files`.
    WriteFiles {
        service: String,
        role: Role,
    },
    /// Writes the row, creates, and compares what was created with what was meant.
    CreateContainer {
        service: String,
        role: Role,
        policy: RestartPolicy,
        why: PolicyReason,
        courtesy: BTreeMap<String, String>,
    },
    /// Compares a container that was created, but not compared yet, with what was meant.
    VerifyContainer {
        service: String,
        role: Role,
        row: i64,
        id: OwnContainerId,
    },
    /// Starts the service's container: this one, or the one that this plan creates. `providers` are the services whose containers are written
    /// down with it: it is restarted, or created anew, when those change.
    StartContainer {
        service: String,
        role: Role,
        existing: Option<(i64, OwnContainerId)>,
        providers: BTreeSet<String>,
    },
    /// Stops it; `unhealthy` counts as a failure of the service.
    StopContainer {
        row: i64,
        id: OwnContainerId,
        grace_s: Option<i64>,
        unhealthy: bool,
    },
    /// Sets restart policy and limits in place.
    SetPolicy {
        row: i64,
        id: OwnContainerId,
        service: String,
        policy: RestartPolicy,
        why: PolicyReason,
        sets: Sets,
    },
    RemoveContainer {
        row: i64,
        id: OwnContainerId,
    },
    /// Forgets the row of a container that is gone.
    ForgetContainer {
        row: i64,
    },
    Rename {
        id: OwnContainerId,
        name: String,
    },
    Unpause {
        id: OwnContainerId,
    },
    /// Connects to the network of that name (made in this plan where `network_id` is none), after leaving it where `again`.
    Connect {
        id: OwnContainerId,
        service: String,
        network: String,
        network_id: Option<String>,
        again: bool,
        courtesy: Option<String>,
    },
    Disconnect {
        id: OwnContainerId,
        network_id: String,
    },
    /// Keeps the last lines of the log with the attempt that failed.
    CollectLogs {
        attempt: i64,
        id: OwnContainerId,
    },
    /// From now on the service is as the new revision of the rollout has it: its candidate is the current container, the one before is parked.
    Move {
        rollout: i64,
        service: String,
        /// Name that the one before is kept under.
        parked_name: Option<String>,
        /// Name of the new one.
        name: Option<String>,
        /// It has passed its gate already.
        passed: bool,
    },
    /// The service has passed its gate.
    PassGate {
        rollout: i64,
        service: String,
    },
    /// The rollout has failed: every service is to be as the old revision has it, its parked container under its name again.
    TurnBack {
        rollout: i64,
        why: String,
        /// The run whose log tells more.
        attempt: Option<i64>,
        names: BTreeMap<String, String>,
    },
    /// The new revision is the installation's.
    CompleteRollout {
        rollout: i64,
    },
    /// The old revision runs again.
    EndUndoneRollout {
        rollout: i64,
    },
    /// Removes a local tag of an image.
    Untag {
        tag: String,
    },
    /// Forgets a revision that is not kept any more, when its tags are gone.
    DropRevision {
        revision: i64,
    },
    /// Removes the `files` of the installation.
    RemoveFiles,
    /// Removes the installation's row and claims. These volumes are still there: kept for the next one of that name.
    Forget {
        kept_volumes: BTreeSet<String>,
    },
}

/// What of policy and limits is not as it should be. The engine is given both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Sets {
    Policy,
    Limits,
    Both,
}

impl Step {
    /// For people and the why-log.
    pub fn describe(&self) -> String {
        match self {
            Self::CreateNetwork { name, .. } => format!("create network {name}"),
            Self::RemoveNetwork { name, .. } => format!("remove network {name}"),
            Self::ForgetNetwork { name, .. } => format!("forget network {name}"),
            Self::CreateVolume { name, .. } => format!("create volume {name}"),
            Self::RemoveVolume { name, .. } => format!("remove volume {}", name.0),
            Self::PullImage { service, .. } => format!("pull the image of {service}"),
            Self::WriteFiles { service, .. } => format!("write the files of {service}"),
            Self::CreateContainer { service, role: Role::Candidate, .. } => {
                format!("create the new container of {service}")
            }
            Self::CreateContainer { service, .. } => format!("create the container of {service}"),
            Self::VerifyContainer { service, .. } => {
                format!("compare the container of {service} with what was meant")
            }
            Self::StartContainer { service, .. } => format!("start {service}"),
            Self::StopContainer { .. } => "stop the container".to_owned(),
            Self::SetPolicy { policy, sets, .. } => match sets {
                Sets::Policy => format!("set restart policy {}", policy_name(*policy)),
                Sets::Limits => "set the limits".to_owned(),
                Sets::Both => format!("set the limits and restart policy {}", policy_name(*policy)),
            },
            Self::RemoveContainer { .. } => "remove the container".to_owned(),
            Self::ForgetContainer { .. } => "forget the container".to_owned(),
            Self::Rename { name, .. } => format!("rename the container to {name}"),
            Self::Unpause { .. } => "unpause the container".to_owned(),
            Self::Connect { network, .. } => format!("connect to network {network}"),
            Self::Disconnect { .. } => "disconnect from a network that was not asked for".to_owned(),
            Self::CollectLogs { .. } => "keep the log".to_owned(),
            Self::Move { service, name: Some(_), .. } => format!("change {service} to the new revision"),
            Self::Move { service, name: None, .. } => {
                format!("park {service}, which the new revision does not have")
            }
            Self::PassGate { service, .. } => format!("take {service} of the new revision for good"),
            Self::TurnBack { .. } => "go back to the old revision".to_owned(),
            Self::CompleteRollout { .. } => "take the new revision".to_owned(),
            Self::EndUndoneRollout { .. } => "keep the old revision".to_owned(),
            Self::Untag { tag } => format!("remove tag {tag}"),
            Self::DropRevision { revision } => format!("forget revision {revision}"),
            Self::RemoveFiles => "remove the files".to_owned(),
            Self::Forget { .. } => "forget the installation".to_owned(),
        }
    }

    /// A stable name, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CreateNetwork { .. } => "create_network",
            Self::RemoveNetwork { .. } => "remove_network",
            Self::ForgetNetwork { .. } => "forget_network",
            Self::CreateVolume { .. } => "create_volume",
            Self::RemoveVolume { .. } => "remove_volume",
            Self::PullImage { .. } => "pull_image",
            Self::WriteFiles { .. } => "write_files",
            Self::CreateContainer { .. } => "create_container",
            Self::VerifyContainer { .. } => "verify_container",
            Self::StartContainer { .. } => "start_container",
            Self::StopContainer { .. } => "stop_container",
            Self::SetPolicy { .. } => "set_policy",
            Self::RemoveContainer { .. } => "remove_container",
            Self::ForgetContainer { .. } => "forget_container",
            Self::Rename { .. } => "rename",
            Self::Unpause { .. } => "unpause",
            Self::Connect { .. } => "connect",
            Self::Disconnect { .. } => "disconnect",
            Self::CollectLogs { .. } => "collect_logs",
            Self::Move { .. } => "move",
            Self::PassGate { .. } => "pass_gate",
            Self::TurnBack { .. } => "turn_back",
            Self::CompleteRollout { .. } => "complete_rollout",
            Self::EndUndoneRollout { .. } => "end_undone_rollout",
            Self::Untag { .. } => "untag",
            Self::DropRevision { .. } => "drop_revision",
            Self::RemoveFiles => "remove_files",
            Self::Forget { .. } => "forget",
        }
    }

    /// Whether the why-log speaks of it. Bookkeeping and log collection would only hide what matters.
    pub fn is_told(&self) -> bool {
        !matches!(
            self,
            Self::ForgetNetwork { .. }
                | Self::ForgetContainer { .. }
                | Self::CollectLogs { .. }
                | Self::VerifyContainer { .. }
                | Self::Forget { .. }
        )
    }
}

/// As tools write it.
pub fn policy_name(policy: RestartPolicy) -> String {
    match policy {
        RestartPolicy::Always => "always".to_owned(),
        RestartPolicy::OnFailure(None | Some(0)) => "on-failure".to_owned(),
        RestartPolicy::OnFailure(Some(tries)) => format!("on-failure:{tries}"),
        RestartPolicy::No => "no".to_owned(),
    }
}

/// Why nothing is being done for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Which kind.
    pub reason: WaitReason,
    /// In a sentence.
    pub message: String,
    /// When it is tried again; none: something else must happen first.
    pub next_attempt: Option<Timestamp>,
}

/// Kinds of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WaitReason {
    /// It failed more than once lately.
    Backoff,
    /// It failed in a way that waiting does not change.
    Never,
    /// A job that failed.
    JobFailed,
    /// Something has to change outside of us.
    Change,
    /// Something of somebody else is in the way.
    Conflict,
    /// Another service has to be up, healthy or completed.
    Dependency,
    /// The engine restarts it, or is removing it.
    Engine,
}

impl Wait {
    /// As shown.
    pub fn shown(&self) -> Waiting {
        let reason = match self.reason {
            WaitReason::Backoff => "backoff",
            WaitReason::Never => "never",
            WaitReason::JobFailed => "job-failed",
            WaitReason::Change => "change-needed",
            WaitReason::Conflict => "conflict",
            WaitReason::Dependency => "dependency",
            WaitReason::Engine => "engine",
        };
        Waiting {
            reason: reason.to_owned(),
            message: self.message.clone(),
            next_attempt_at: self.next_attempt,
        }
    }

    /// Whether a service that waits for this, and is not up, has failed.
    pub fn is_failure(&self) -> bool {
        !matches!(self.reason, WaitReason::Dependency | WaitReason::Engine)
    }
}

/// Something to know about an installation that is no failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Stable name.
    pub kind: &'static str,
    /// The service that it is about.
    pub service: Option<String>,
    /// In a sentence.
    pub message: String,
}

impl Plan {
    /// Adds a step that comes after `parents`.
    pub fn add(
        &mut self,
        step: Step,
        service: Option<&str>,
        cause: impl Into<String>,
        parents: &[StepId],
    ) -> StepId {
        let mut parents = parents.to_vec();
        parents.sort_unstable();
        parents.dedup();
        self.steps.push(PlannedStep {
            step,
            service: service.map(str::to_owned),
            cause: cause.into(),
            parents,
        });
        StepId(self.steps.len() - 1)
    }

    /// Whether it gives containers another place in the ledger.
    pub fn changes_roles(&self) -> bool {
        self.steps.iter().any(|planned| matches!(planned.step, Step::Move { .. } | Step::TurnBack { .. }))
    }

    /// Looks again at the earliest of the times given.
    pub fn look_at(&mut self, at: Timestamp) {
        self.look_again = Some(self.look_again.map_or(at, |earlier| earlier.min(at)));
    }

    /// Writes down what a service waits for.
    pub fn wait(&mut self, service: &str, wait: Wait) {
        if let Some(at) = wait.next_attempt {
            self.look_at(at);
        }
        self.waiting.insert(service.to_owned(), wait);
    }

    /// Whether a step for this service is in the plan, of the kind that `is` tells.
    pub fn has(&self, service: &str, is: impl Fn(&Step) -> bool) -> bool {
        self.steps.iter().any(|planned| planned.service.as_deref() == Some(service) && is(&planned.step))
    }

    /// The phase that the steps of this plan bring about for a service that is not up.
    pub fn phase_of(&self, service: &str) -> Option<ServicePhase> {
        self.has(service, |step| matches!(step, Step::PullImage { .. })).then_some(ServicePhase::Pulling)
    }
}
