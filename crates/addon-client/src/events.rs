//! What a marketplace tells those who follow it: what happened to releases that everybody may see.

use addon_descriptor::Digest;
use serde::{Deserialize, Serialize};

use crate::{ReleaseId, Timestamp};

/// Something that happened to a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReleaseEvent {
    /// What happened.
    pub kind: ReleaseEventKind,
    /// The release.
    pub release_id: ReleaseId,
    /// The addon's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// SHA-256 of the canonical descriptor.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub digest: Digest,
    /// Why, where somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of a revocation: what becomes of installed copies, `warn`, `block-install` or `stop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// When, within about a second.
    pub at: Timestamp,
}

/// What can happen to a release that everybody may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ReleaseEventKind {
    /// It was approved: a new release.
    Approved,
    /// It was withdrawn.
    Yanked,
    /// Its withdrawal was taken back.
    Unyanked,
    /// It was withdrawn for good.
    Revoked,
    /// It was deleted.
    Deleted,
    /// An image of it is gone from its registry: it cannot be installed anew.
    ImageMissing,
    /// Its images are all there again.
    ImageFound,
}

impl ReleaseEventKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Approved,
        Self::Yanked,
        Self::Unyanked,
        Self::Revoked,
        Self::Deleted,
        Self::ImageMissing,
        Self::ImageFound,
    ];

    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Yanked => "yanked",
            Self::Unyanked => "unyanked",
            Self::Revoked => "revoked",
            Self::Deleted => "deleted",
            Self::ImageMissing => "image_missing",
            Self::ImageFound => "image_found",
        }
    }

    /// The kind of that name on the wire.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Data of the event `reset`: what is followed begins here, and what was before it is not told. Whoever shows lists lists
/// anew, and then goes on with the events that follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventReset {
    /// Why.
    pub because: ResetCause,
}

/// One event of the stream as it is written: the lines `id: …`, `event: …` and `data: …`, then an empty line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StreamedEvent {
    /// What happened to a release.
    Release {
        /// What to send as `Last-Event-ID` to be told what came after it.
        id: String,
        /// What happened.
        event: ReleaseEventKind,
        /// JSON on one line.
        data: ReleaseEvent,
    },
    /// What is followed begins here.
    Reset {
        /// What to send as `Last-Event-ID` to be told what came after it.
        id: String,
        /// Always `reset`.
        event: ResetWord,
        /// JSON on one line.
        data: EventReset,
    },
}

/// What the event that begins anew is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ResetWord {
    /// `reset`.
    Reset,
}

/// Why events begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ResetCause {
    /// No `Last-Event-ID` was sent.
    Start,
    /// What came after the one that was sent is not kept any more.
    TooOld,
    /// The one that was sent is none of this marketplace's.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_called_alike_everywhere() {
        for kind in ReleaseEventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(ReleaseEventKind::from_wire(kind.as_str()), Some(kind));
        }
        assert_eq!(ReleaseEventKind::from_wire("published"), None);
    }
}
