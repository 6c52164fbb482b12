//! An installation on a host as the addons manager gives it, and the bodies of the calls around it.

use addon_descriptor::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{InstallationId, ReleaseId, Timestamp};

/// An addon on a host: what was asked for and what is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Installation {
    /// The installation's id.
    #[serde(rename = "_id")]
    pub id: InstallationId,
    /// The release that is installed.
    pub marketplace_id: ReleaseId,
    /// The installation's name: the addon's own unless the request gave another.
    pub name: String,
    /// The release's description, empty when it has none.
    #[serde(default)]
    pub description: String,
    /// The release's services.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub services: Vec<Value>,
    /// The release's volumes.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub volumes: Vec<Value>,
    /// The release's networks.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub networks: Vec<Value>,
    /// How the installation is.
    pub status: InstallationStatus,
    /// What the status comes from.
    #[serde(default)]
    pub status_details: StatusDetails,
    /// The last 100 log lines of each failed service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<String>,
    /// The addon's name.
    pub addon: String,
    /// The installed version.
    pub version: String,
    /// SHA-256 of the canonical descriptor that is installed.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub digest: Digest,
    /// What was asked for.
    pub desired: DesiredState,
    /// How each service is.
    #[serde(default)]
    pub service_states: Vec<ServiceState>,
    /// What else there is to know.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// How far the pulls are, while there are some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The revision that runs, or ran last.
    #[serde(default)]
    pub revision: i64,
    /// The change to another revision that is under way, or the newest one that there was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutView>,
    /// The version that it could be upgraded to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_available: Option<String>,
    /// When it was installed.
    pub created_at: Timestamp,
    /// When anything of it changed last.
    pub updated_at: Timestamp,
}

/// How an installation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum InstallationStatus {
    /// Since install or enable not all services have been up once, and none has failed.
    Installing,
    /// Every service runs, healthy where there is a check, or is completed.
    Active,
    /// Some services are up, others are not.
    PartiallyActive,
    /// None is up and one has failed.
    Failed,
    /// Containers are being removed.
    Disabling,
    /// No containers; volumes are kept.
    Disabled,
    /// An upgrade is under way.
    Upgrading,
    /// A failed or unwanted upgrade is being undone.
    RollingBack,
}

impl InstallationStatus {
    /// Every status.
    pub const ALL: [Self; 8] = [
        Self::Installing,
        Self::Active,
        Self::PartiallyActive,
        Self::Failed,
        Self::Disabling,
        Self::Disabled,
        Self::Upgrading,
        Self::RollingBack,
    ];

    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Installing => "installing",
            Self::Active => "active",
            Self::PartiallyActive => "partially_active",
            Self::Failed => "failed",
            Self::Disabling => "disabling",
            Self::Disabled => "disabled",
            Self::Upgrading => "upgrading",
            Self::RollingBack => "rolling_back",
        }
    }

    /// The status of that name on the wire.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl std::fmt::Display for InstallationStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a status comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusDetails {
    /// Names of the services that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_services: Vec<String>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DesiredState {
    /// Its services run.
    Active,
    /// Its containers are gone, its volumes kept.
    Disabled,
    /// Nothing of it is left.
    Absent,
}

/// How one service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceState {
    /// The service's name in the descriptor.
    pub service_name: String,
    /// What it does.
    pub state: ServicePhase,
    /// What its check says; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Name of its container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Digest of the image that it runs, as pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub image_digest: Option<Digest>,
    /// Its published ports.
    #[serde(default)]
    pub ports: Vec<PortBinding>,
    /// Starts after the first one since install or enable, whoever began them: the engine, the manager, a person.
    #[serde(default)]
    pub restarts: u32,
    /// Since when it is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// How its last run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// What a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ServicePhase {
    /// Nothing of it is there yet.
    Pending,
    /// Its image is being pulled.
    Pulling,
    /// Its container is there and was not started yet.
    Created,
    /// It runs, and its check has not said yet that it is healthy.
    Starting,
    /// It runs.
    Running,
    /// Its container is paused.
    Paused,
    /// It ended and is about to be started again.
    Restarting,
    /// A job that did its work.
    Completed,
    /// It waits in backoff, is unhealthy, cannot be created, or is a job that failed.
    Failed,
    /// Its container is there and does not run.
    Stopped,
    /// Its container is gone.
    Absent,
}

/// What a service's check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Health {
    /// Not said yet.
    Starting,
    /// It answers.
    Healthy,
    /// It does not.
    Unhealthy,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PortBinding {
    /// The container's port, as `80/tcp`.
    pub container: String,
    /// The host's address; absent for all addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<String>,
    /// The host's port.
    pub host_port: u16,
}

/// What is being waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Waiting {
    /// Stable, kebab-case name of the reason, as `backoff`.
    pub reason: String,
    /// The same in a sentence.
    pub message: String,
    /// When it will be tried again; absent when something else must happen first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
}

/// Something to know about an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Condition {
    /// Stable name, as `engine_unreachable`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The service that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// The same in a sentence.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// How far the pulls of an installation are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Progress {
    /// Compressed bytes that are there.
    pub bytes_done: u64,
    /// Compressed bytes altogether, as far as known.
    pub bytes_total: u64,
    /// Each image.
    #[serde(default)]
    pub images: Vec<ImageProgress>,
}

/// How far the pull of one image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageProgress {
    /// The image as published.
    pub image: String,
    /// Compressed bytes that are there.
    pub bytes_done: u64,
    /// Compressed bytes altogether, as far as known.
    pub bytes_total: u64,
    /// Whether it is all there.
    pub done: bool,
}

/// Body of the call that installs: a release by its id, or by the addon's name and a version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstallRequest {
    /// The release's id. A text of another form is an id that no release has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marketplace_id: Option<String>,
    /// The addon's name, instead of the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addon: Option<String>,
    /// With `addon`: an exact version or a range; the newest without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Values of the addon's parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub parameters: Option<Map<String, Value>>,
    /// The dangerous rights that are granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rights: Option<Vec<String>>,
    /// The installation's name, when it is not to be the addon's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether volumes that an earlier installation left are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<VolumesChoice>,
}

/// Body of the call that upgrades: a release by its id, or a version of the addon that is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpgradeRequest {
    /// The release's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marketplace_id: Option<String>,
    /// Instead of the id: an exact version or a range; the newest without both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The dangerous rights that are granted beside those that were granted before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rights: Option<Vec<String>>,
}

/// Body of the call that goes back to a revision that was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RollbackRequest {
    /// Which, as `…/revisions` lists them.
    pub revision: i64,
}

/// A change of an installation from one revision to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutView {
    /// `upgrade`, `rollback` or `parameters`.
    pub kind: String,
    /// `forward` and `back` (it failed and is being undone) are under way; `done`, `undone` and `ended` (the installation was disabled or
    /// uninstalled meanwhile) are over.
    pub phase: String,
    /// The revision that it leaves.
    pub from: i64,
    /// The revision that it goes to.
    pub to: i64,
    /// Services that are as the new revision has them.
    pub moved: Vec<String>,
    /// Of these the ones that have been well for long enough.
    pub passed: Vec<String>,
    /// Why it goes, or went, back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The last log lines of what failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<String>,
    /// Account that asked for it.
    pub asked_by: String,
    /// Since when.
    pub opened_at: Timestamp,
    /// Until when; absent while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// What happens with the volumes that an earlier installation of that name left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum VolumesChoice {
    /// They are used again; this is what happens unless something else is said. Said in so many words, it also takes back volumes that carry the
    /// labels of this addon and that the manager's database does not know, as after it was lost.
    Kept,
    /// New ones are made.
    New,
}

/// Body of the call that changes an installation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PatchInstallation {
    /// Enable or disable it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PatchStatus>,
    /// New values of its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub parameters: Option<Map<String, Value>>,
}

/// The statuses that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PatchStatus {
    /// Its services run.
    Active,
    /// Its containers are removed, its volumes kept.
    Disabled,
}

/// Query of the list of installations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct ListInstallations {
    /// Only this status; an unknown one matches nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Only this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Longest answer; no limit without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where the last answer ended: from its `Link` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_written_as_oakestra_writes_them() {
        for status in InstallationStatus::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
            assert_eq!(InstallationStatus::from_wire(status.as_str()), Some(status));
        }
        assert_eq!(serde_json::to_value(StatusDetails::default()).unwrap(), serde_json::json!({}));
    }
}
