//! A release, and what of it follows from its document. Where it can go from where it stands is `transition.rs`.

use addon_client::{Finding, Pin, ReleaseId, Timestamp, Verdict};
use addon_descriptor::{AddonDescriptor, Digest, Right, Version, rights, risk};
use serde_json::{Map, Value};

use super::addon::{identity, order_key, rank_key};
use super::verification::why_waiting;

pub use addon_client::ReleaseStatus as Status;

/// One immutable (addon, version) and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// Its id.
    pub id: ReleaseId,
    /// Place in the order of publishing.
    pub seq: i64,
    /// The addon's name, folded.
    pub addon: String,
    /// The version as published.
    pub version: Version,
    /// SHA-256 of the canonical descriptor.
    pub digest: Digest,
    /// The descriptor's fields as clients get them.
    pub wire: Map<String, Value>,
    /// What the addon may do to its host.
    pub rights: Vec<String>,
    /// Grade of the rights, 1 to 6.
    pub risk: u8,
    /// What is unwise in the descriptor.
    pub warnings: Vec<Finding>,
    /// The account that published it.
    pub publisher: String,
    /// When that was.
    pub created_at: Timestamp,
    /// Where it stands.
    pub status: Status,
    /// Of the last run of its checks.
    pub verdict: Verdict,
    /// What a reviewer has to decide about.
    pub held: Vec<String>,
    /// What its images were when they were checked.
    pub pins: Vec<Pin>,
    /// Why it stands where it does.
    pub reason: Option<String>,
    /// An administrator who does not own the addon yanked it: that is not its owners' to take back.
    pub yanked_by_admin: bool,
    /// When it was approved last.
    pub approved_at: Option<Timestamp>,
    /// Since when it waits for a reviewer.
    pub waiting_since: Option<Timestamp>,
    /// Since when an image of the approved release is gone from its registry.
    pub image_missing_since: Option<Timestamp>,
}

impl Release {
    /// The release as clients get it.
    pub fn into_wire(self) -> addon_client::Release {
        addon_client::Release {
            id: self.id,
            descriptor: self.wire,
            status: self.status,
            digest: Some(self.digest),
            pins: self.pins,
            rights: self.rights,
            risk: Some(self.risk),
            held: self.held,
            reason: self.reason,
            publisher: Some(self.publisher),
            created_at: Some(self.created_at),
            approved_at: self.approved_at,
            warnings: self.warnings,
            waiting_since: self.waiting_since,
            image_missing_since: self.image_missing_since,
        }
    }
}

impl Release {
    /// Where a release that is not approved stands and what it waits for, for somebody who asks for its addon by name and may not know more: no
    /// id, and nothing that registries or reviewers said.
    pub fn standing(&self) -> String {
        let waits = match (self.status, self.verdict) {
            (Status::Approved, _) => return format!("{} {} is approved", self.addon, self.version),
            (Status::UnderReview, Verdict::Pass) if self.held.is_empty() => "a reviewer decides",
            (Status::UnderReview, Verdict::Pass) => {
                let why = why_waiting(&self.held);
                return format!("{} {} is {}: {why}", self.addon, self.version, self.status);
            }
            (Status::UnderReview, Verdict::NoAnswer) => "a registry gives no answer yet, and is asked again",
            (Status::UnderReview, _) => "its images are being checked",
            (Status::VerificationFailed, _) => "its publisher has to mend what its checks found",
            (Status::Rejected, _) => "its publisher has to publish another version",
            (Status::Yanked, _) => "it was withdrawn",
            (Status::Revoked, _) => "it was withdrawn for good",
        };
        format!("{} {} is {}: {waits}", self.addon, self.version, self.status)
    }
}

/// The part of a release that follows from its document and never changes.
#[derive(Debug, Clone)]
pub struct Document {
    /// The version that it has.
    pub version: Version,
    /// Without build metadata.
    pub version_id: String,
    /// See [`order_key`].
    pub version_order: String,
    /// See [`rank_key`].
    pub version_rank: String,
    /// SHA-256 of `canonical`.
    pub digest: Digest,
    /// The canonical form.
    pub canonical: String,
    /// The descriptor's fields as clients get them.
    pub wire: Map<String, Value>,
    /// What the addon may do to its host.
    pub rights: Vec<String>,
    /// Grade of the rights.
    pub risk: u8,
}

impl Document {
    /// Everything that follows from a descriptor once it has this version.
    pub fn of(descriptor: &AddonDescriptor, version: Version) -> Self {
        let descriptor = descriptor.clone().with_version(version.clone());
        let canonical = String::from_utf8(descriptor.canonical()).expect("JSON is UTF-8");
        let rights = rights(&descriptor);
        let Value::Object(wire) = descriptor.wire_value() else { unreachable!("a descriptor is an object") };
        Self {
            version_id: identity(&version).to_string(),
            version_order: order_key(&version),
            version_rank: rank_key(&version),
            version,
            digest: Digest::of(canonical.as_bytes()),
            canonical,
            wire,
            risk: risk(&rights),
            rights: rights.iter().map(Right::to_string).collect(),
        }
    }
}
