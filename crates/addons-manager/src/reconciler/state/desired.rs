//! What is wanted of an installation, and the ledger: what was made for it, and what was last asked of the engine for that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use service_kit::clock::Timestamp;

use super::history::{Attempt, Completion, StartedBy};
use crate::domain::installation::{Desired, InstallationId};
use crate::domain::rollout::{Rollout, RolloutPhase};
use crate::domain::specification::{
    MountSource, RestartPolicy, RevisionSpecification, ServiceSpecification, VolumeSpecification,
};
use crate::domain::status::{Condition, InstallationStatus, ServiceReport};

/// One installation: what is wanted, and what the database knows of what was made for it.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredState {
    /// Its row.
    pub installation: InstallationRow,
    /// What is asked of the engine. While a rollout goes forward: of each service what its own revision asks, since those that have not been
    /// moved yet are looked after as before.
    pub specification: RevisionSpecification,
    /// Digest of each service's specification, computed once and stored with the revision.
    pub digests: BTreeMap<String, String>,
    /// The revision of each service, where it is not the installation's.
    pub moved: BTreeMap<String, i64>,
    /// The change of revision that is under way.
    pub rollout: Option<RolloutState>,
    /// What is known of the images of these services; none: it has to be pulled first.
    pub images: BTreeMap<String, ImageRow>,
    /// Local tags of all its revisions.
    pub tags: BTreeSet<String>,
    /// Revisions that are not kept any more, with the tags of their images.
    pub outdated: BTreeMap<i64, Vec<String>>,
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

/// A change of revision that is under way, as a pass sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutState {
    /// Its row.
    pub row: Rollout,
    /// What it leaves.
    pub from: RevisionSpecification,
    /// What it goes to.
    pub to: RevisionSpecification,
    /// Digests of the services of `from`.
    pub from_digests: BTreeMap<String, String>,
    /// Digests of the services of `to`.
    pub digests: BTreeMap<String, String>,
    /// What is known of the images of `to`.
    pub images: BTreeMap<String, ImageRow>,
    /// Runs and failed operations of the new revision's services since it began, newest first.
    pub attempts: BTreeMap<String, Vec<Attempt>>,
    /// What failed while containers that are out of their service's place were parked or removed, newest first.
    pub aside: BTreeMap<String, Vec<Attempt>>,
    /// Since when this process has looked at it without losing the engine: what was good before counts for no gate.
    pub watched_since: Timestamp,
    /// How long a service has to be well.
    pub settle: Duration,
    /// How long the whole may take.
    pub deadline: Duration,
}

/// A service as one of its containers is meant to be.
#[derive(Debug, Clone)]
pub struct Side<'a> {
    /// Which of its containers.
    pub role: Role,
    /// What is asked of the engine.
    pub service: &'a ServiceSpecification,
    /// The revision that says so.
    pub revision: i64,
    /// Digest of `service`.
    pub digest: &'a str,
    /// What is known of its image.
    pub image: Option<&'a ImageRow>,
    /// Name of the container.
    pub name: String,
}

/// Under this digest failed operations of a rollout are written down: they keep nobody from healing what runs.
pub fn rollout_digest(rollout: i64) -> String {
    format!("rollout {rollout}")
}

/// As [`rollout_digest`], for operations that put containers out of the way: what keeps them from it keeps nobody from starting another one.
pub fn aside_digest(rollout: i64) -> String {
    format!("rollout {rollout}, aside")
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

impl RolloutState {
    /// Whether the service is another one in the new revision: it, or its image, or that it is there at all.
    pub fn changes(&self, service: &str) -> bool {
        self.from_digests.get(service) != self.digests.get(service)
    }

    /// Whether it goes forward.
    pub fn is_forward(&self) -> bool {
        self.row.phase == RolloutPhase::Forward
    }
}

impl DesiredState {
    /// The row of the container that serves for `service`.
    pub fn current(&self, service: &str) -> Option<&ContainerRow> {
        self.with_role(service, Role::Current)
    }

    /// The row of the service's container of that role.
    pub fn with_role(&self, service: &str, role: Role) -> Option<&ContainerRow> {
        self.containers.iter().find(|row| row.service == service && row.role == role)
    }

    /// A service as its container of that role is meant to be; none where no revision that counts has it.
    pub fn side(&self, service: &str, role: Role) -> Option<Side<'_>> {
        let beside = |services: &'_ RevisionSpecification, revision: i64| {
            let name = &services.services.get(service)?.container_name;
            Some(format!("{name}.r{revision}"))
        };
        match (role, &self.rollout) {
            (Role::Current, _) => {
                let found = self.specification.services.get(service)?;
                Some(Side {
                    role,
                    service: found,
                    revision: self.revision_of(service),
                    digest: self.digests.get(service)?,
                    image: self.images.get(service),
                    name: found.container_name.clone(),
                })
            }
            (Role::Candidate, Some(rollout)) => Some(Side {
                role,
                service: rollout.to.services.get(service)?,
                revision: rollout.row.to,
                digest: rollout.digests.get(service)?,
                image: rollout.images.get(service),
                name: beside(&rollout.to, rollout.row.to)?,
            }),
            (Role::Previous, Some(rollout)) => Some(Side {
                role,
                service: rollout.from.services.get(service)?,
                revision: rollout.row.from,
                digest: rollout.from_digests.get(service)?,
                image: None,
                name: beside(&rollout.from, rollout.row.from)?,
            }),
            (Role::Candidate | Role::Previous, None) => None,
        }
    }

    /// The revision of a service.
    pub fn revision_of(&self, service: &str) -> i64 {
        self.moved.get(service).copied().unwrap_or(self.installation.revision)
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
        self.specification.start_order()
    }
}
