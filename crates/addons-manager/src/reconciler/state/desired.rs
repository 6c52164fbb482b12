//! What is wanted of an installation, and the ledger: what was made for it, and what was last asked of the engine for that.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use service_kit::clock::Timestamp;

use super::history::{Attempt, Completion, StartedBy};
use crate::domain::installation::{Desired, InstallationId};
use crate::domain::specification::{
    MountSource, RestartPolicy, RevisionSpecification, ServiceSpecification, VolumeSpecification,
};
use crate::domain::status::{Condition, InstallationStatus, ServiceReport};

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
