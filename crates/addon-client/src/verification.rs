//! The verification report of a release: which checks were made, what they found, what happens next.

use addon_descriptor::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ReleaseId, ReleaseStatus, Timestamp};

/// What was found about a release, check by check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VerificationReport {
    /// The release that was checked.
    pub release_id: ReleaseId,
    /// Where it stands.
    pub status: ReleaseStatus,
    /// The digest of the descriptor that was checked.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub digest: Digest,
    /// The verdict over all checks: the worst of theirs.
    pub verdict: Verdict,
    /// What a reviewer has to decide about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
    /// Each check.
    pub checks: Vec<Check>,
    /// How often the release was checked so far.
    pub attempts: u32,
    /// When it will be checked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// When the checks were made last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Check {
    /// Stable, kebab-case name, as `image-exists`.
    pub check: String,
    /// What was checked: a service, an image, a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What was found.
    pub verdict: Verdict,
    /// The same in a sentence.
    pub message: String,
    /// What the verdict rests on: digests, platforms, sizes, the registry's answer.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub evidence: Map<String, Value>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it will be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// When it was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
}

/// What a check found. A check that could not be made is never a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Verdict {
    /// It is as it must be.
    Pass,
    /// Not tried yet.
    Pending,
    /// The registry gave no answer that says anything; tried again.
    NoAnswer,
    /// It is not as it must be.
    Fail,
}
