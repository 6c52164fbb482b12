//! A release of an addon as the marketplace gives it, and the bodies of the calls around it.

use addon_descriptor::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Finding, ReleaseId, Timestamp};

/// One immutable (addon, version) in the marketplace.
///
/// On the wire the descriptor's fields stand at top level, beside these. Answers of Oakestra's own marketplace are
/// read too: they have only `_id`, `status` and the descriptor's fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Release {
    /// The release's id.
    #[serde(rename = "_id")]
    pub id: ReleaseId,
    /// The descriptor's fields: `name`, `version`, `services`, …
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object, additional_properties))]
    pub descriptor: Map<String, Value>,
    /// Where the release stands.
    pub status: ReleaseStatus,
    /// SHA-256 of the canonical descriptor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub digest: Option<Digest>,
    /// What each service's image was when it was verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
    /// What the addon may do to its host beyond its own containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rights: Vec<String>,
    /// Grade of the rights, from 1 (none to speak of) to 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<u8>,
    /// What a reviewer has to decide about; empty unless the release waits for one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
    /// Why the release stands where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The account that published it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// When it was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When it was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<Timestamp>,
    /// What is unwise in the descriptor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
    /// Since when its checks are green and it waits for a reviewer: the review queue is the list of those under review, the
    /// longest waiting first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Timestamp>,
    /// Since when an image of an approved release is missing in its registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_missing_since: Option<Timestamp>,
}

impl Release {
    /// The addon's name.
    pub fn name(&self) -> Option<&str> {
        self.descriptor.get("name").and_then(Value::as_str)
    }

    /// The version; Oakestra's own marketplace knows none.
    pub fn version(&self) -> Option<&str> {
        self.descriptor.get("version").and_then(Value::as_str)
    }
}

/// Where a release stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ReleaseStatus {
    /// Its images are being checked, or it waits for a reviewer.
    UnderReview,
    /// It can be installed.
    Approved,
    /// An image or a rule failed.
    VerificationFailed,
    /// A reviewer said no.
    Rejected,
    /// Withdrawn: in no list, still served by id.
    Yanked,
    /// Withdrawn for good.
    Revoked,
}

impl ReleaseStatus {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::UnderReview,
        Self::Approved,
        Self::VerificationFailed,
        Self::Rejected,
        Self::Yanked,
        Self::Revoked,
    ];

    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnderReview => "under_review",
            Self::Approved => "approved",
            Self::VerificationFailed => "verification_failed",
            Self::Rejected => "rejected",
            Self::Yanked => "yanked",
            Self::Revoked => "revoked",
        }
    }

    /// The status of that name on the wire.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl std::fmt::Display for ReleaseStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an image was when it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pin {
    /// The service that uses it.
    pub service_name: String,
    /// The image as published.
    pub image: String,
    /// Digest of the index where there is one, else of the manifest.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub digest: Digest,
    /// The platforms that it has, as `linux/arm64`.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// Compressed size in bytes of the largest platform.
    #[serde(default)]
    pub bytes: u64,
    /// What each platform's image is, so that a host knows it by its id too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<PlatformManifest>,
}

/// One platform of a pinned image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlatformManifest {
    /// As `linux/arm64`.
    pub platform: String,
    /// Digest of the platform's manifest.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub digest: Digest,
    /// Digest of its configuration, which is the image's id on an engine.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub config: Digest,
    /// Compressed size in bytes.
    pub bytes: u64,
}

/// How far a right reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RightLevel {
    /// Granted by installing.
    Normal,
    /// Takes the place of a component of the platform.
    Takeover,
    /// Must be named in the request that installs.
    Dangerous,
}

impl From<addon_descriptor::Level> for RightLevel {
    fn from(level: addon_descriptor::Level) -> Self {
        match level {
            addon_descriptor::Level::Normal => Self::Normal,
            addon_descriptor::Level::Takeover => Self::Takeover,
            addon_descriptor::Level::Dangerous => Self::Dangerous,
        }
    }
}

/// A right and its level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RightView {
    /// As `host-port:8080/tcp`.
    pub right: String,
    /// How far it reaches.
    pub level: RightLevel,
}

/// What the marketplace finds about a document, without storing it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ValidationAnswer {
    /// Whether it would be accepted.
    pub valid: bool,
    /// Everything that is wrong with it.
    pub violations: Vec<Finding>,
    /// What is only unwise.
    pub warnings: Vec<Finding>,
    /// What the addon could do to its host; empty for an invalid document.
    pub rights: Vec<RightView>,
    /// Grade of the rights from 1 to 6; absent for an invalid document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<u8>,
    /// SHA-256 of the canonical form; absent for an invalid document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub digest: Option<Digest>,
    /// The canonical form; absent for an invalid document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical: Option<Value>,
}

/// Body of the review calls: approve, reject, yank, unyank, revoke, reverify.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReviewRequest {
    /// Why; shown to everyone who sees the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The digest that was reviewed: the call is refused when the release has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub digest: Option<Digest>,
}

/// Query of the calls that take something away and have no body: deleting a release, removing an owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct Because {
    /// Why: for the audit log, and where a release is yanked or deleted for those who see that. At most 1,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Query of the list of releases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct ListReleases {
    /// Only this addon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only addons whose name, title, description, keywords, categories or publisher hold all of these words; of the last one
    /// the beginning will do. At most 10 words, 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Only addons of this category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Only addons with this keyword.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyword: Option<String>,
    /// Only addons of which every image is there for this platform, as `linux/arm64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Only addons whose rights have this grade, 1 to 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<u8>,
    /// `relevance`, `newest`, `oldest`, `updated`, `name` or `installs`; without it `relevance` beside `q`, else `oldest`. Beside
    /// `all_versions` only `newest` and `oldest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
    /// Only this status instead of `approved`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Every version instead of the newest of each addon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_versions: Option<bool>,
    /// Longest answer, 1 to 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where the last answer ended: from its `Link` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// How many of the addons that were found have a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FacetCount {
    /// A category, keyword, platform, or grade of rights.
    pub value: String,
    /// How many have it.
    pub count: u64,
}

/// What the addons that answer a search have in common. At most 100 values of each, the most frequent first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FacetsAnswer {
    /// How many addons were counted: up to 10,000 of the best by rank.
    pub counted: u64,
    /// Whether these are all that were found.
    pub complete: bool,
    /// Categories.
    pub category: Vec<FacetCount>,
    /// Keywords.
    pub keyword: Vec<FacetCount>,
    /// Platforms that every image of an addon is there for.
    pub platform: Vec<FacetCount>,
    /// Grades of the rights, `1` to `6`.
    pub risk: Vec<FacetCount>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_written_as_oakestra_writes_them() {
        for status in ReleaseStatus::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
            assert_eq!(ReleaseStatus::from_wire(status.as_str()), Some(status));
        }
        assert_eq!(ReleaseStatus::from_wire("Approved"), None);
    }
}
