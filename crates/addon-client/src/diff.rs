//! What a release changes against the addon's last approved one: for the reviewer.

use addon_descriptor::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ReleaseId, RightView};

/// What a release changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReleaseDiff {
    /// The release.
    pub release_id: ReleaseId,
    /// Its digest: what `approve` is given.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub digest: Digest,
    /// The last approved release, which it is compared with; absent for the first one of an addon: then everything is
    /// added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<DiffBase>,
    /// The descriptor's fields that differ, by JSON Pointer into the new document (into the old one for what was removed).
    pub fields: Vec<FieldChange>,
    /// Rights that the base did not have.
    pub rights_added: Vec<RightView>,
    /// Rights that it does not ask for any more.
    pub rights_removed: Vec<RightView>,
    /// Images that differ, by service.
    pub images: Vec<ImageChange>,
    /// What the publisher says has changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub changes: Vec<Value>,
}

/// What a release is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiffBase {
    /// Its id.
    pub release_id: ReleaseId,
    /// Its version.
    pub version: String,
    /// Its digest.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub digest: Digest,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldChange {
    /// JSON Pointer of the field.
    pub path: String,
    /// What it was; absent where it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Value))]
    pub before: Option<Value>,
    /// What it is; absent where it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Value))]
    pub after: Option<Value>,
}

/// A service's image that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageChange {
    /// The service.
    pub service_name: String,
    /// What it was; absent for a new service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<ImageState>,
    /// What it is; absent for one that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ImageState>,
}

/// An image as it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageState {
    /// As published.
    pub image: String,
    /// What it was when it was verified; absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub digest: Option<Digest>,
    /// Compressed size in bytes of the largest platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The platforms that it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
}
