//! What the addons manager says about its host: engine, disk, what is not its own, volumes that were kept.

use serde::{Deserialize, Serialize};

use crate::{InstallationId, Timestamp};

/// A host as its addons manager sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostView {
    /// The manager's id, which every object of it carries as `oak.manager.id`.
    pub manager_id: String,
    /// The engine.
    pub engine: EngineView,
    /// The space that images and volumes have.
    pub disk: DiskView,
    /// Objects that carry labels like ours and that the database does not prove to be ours.
    pub foreign: Vec<ForeignObject>,
    /// Volumes that uninstalled addons left.
    pub kept_volumes: Vec<KeptVolume>,
}

/// The Docker Engine of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EngineView {
    /// Whether it answers.
    pub reachable: bool,
    /// Since when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable_since: Option<Timestamp>,
    /// Its version, as `20.10.24`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The version of its API, as `1.41`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Its platform, as `linux/amd64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The folder where it keeps its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
}

/// The space that the engine has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiskView {
    /// Free bytes on the engine's root; absent when the manager cannot see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Bytes that pulls must leave free.
    pub reserve_bytes: u64,
}

/// An object with labels like ours that is not ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForeignObject {
    /// What it is.
    pub kind: ForeignKind,
    /// Its id on the engine; a volume has only its name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The installation that it would fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<InstallationId>,
    /// Why it is not counted as ours.
    pub reason: String,
}

/// What an object on an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ForeignKind {
    /// A container.
    Container,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

/// A volume that an uninstalled addon left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeptVolume {
    /// Its name on the engine.
    pub name: String,
    /// The addon that left it.
    pub addon: String,
    /// The name of the installation that left it; the next one of that addon and name gets it back.
    pub installation: String,
    /// Since when it is kept.
    pub since: Timestamp,
}

/// Body of the call that takes a foreign object in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AdoptRequest {
    /// The installation that it becomes part of.
    pub installation: InstallationId,
}
