//! What was done for an installation, and why: its revisions and the entries of its why-log.

use addon_descriptor::Digest;
use serde::{Deserialize, Serialize};

use crate::{ReleaseId, Timestamp};

/// One revision of an installation: what the engine is asked for, resolved once from a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevisionView {
    /// 1 and up.
    pub revision: i64,
    /// Whether it is the one that is wanted.
    pub current: bool,
    /// The release that it was resolved from.
    pub marketplace_id: ReleaseId,
    /// The release's version; empty where the marketplace knows none.
    pub version: String,
    /// SHA-256 of the canonical descriptor.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub digest: Digest,
    /// When it was resolved.
    pub created_at: Timestamp,
}

/// One entry of the why-log: an operation, what it was done for, and how it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhyEntry {
    /// When.
    pub at: Timestamp,
    /// The service that it was about; absent for the installation as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// Why it was done.
    pub cause: String,
    /// What was done.
    pub operation: String,
    /// How it went.
    pub result: String,
    /// When it is tried again, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
}
