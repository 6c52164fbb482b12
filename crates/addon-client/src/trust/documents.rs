//! What is signed beside the keys: the root of the index, and the feed of revocations; and the lines of a shard, which the
//! root's digests stand for.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use addon_descriptor::{AddonName, Digest, Version};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{ReleaseId, Timestamp};

/// The part of the index that an addon's releases stand in: the first byte of the SHA-256 of its folded name. Written `00`
/// to `ff`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u8);

/// The text names no shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a shard is 00 to ff, in lower case")]
pub struct UnknownShard;

impl ShardId {
    /// Every shard.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    /// The shard of an addon, by its name as [`AddonName::folded`] gives it.
    pub fn of(folded: &str) -> Self {
        Self(Digest::of(folded.as_bytes()).as_bytes()[0])
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl From<u8> for ShardId {
    fn from(number: u8) -> Self {
        Self(number)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ShardId {
    type Err = UnknownShard;

    fn from_str(text: &str) -> Result<Self, UnknownShard> {
        let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 2 || !text.bytes().all(lower) {
            return Err(UnknownShard);
        }
        u8::from_str_radix(text, 16).map(Self).map_err(|_| UnknownShard)
    }
}

impl Serialize for ShardId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ShardId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The signed root of the index: what each of its parts is at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IndexRoot {
    /// Higher than that of every root before.
    pub version: u64,
    /// When it was signed.
    pub created_at: Timestamp,
    /// Until when it says what may be installed.
    pub expires_at: Timestamp,
    /// Version of the newest key set then.
    pub keys: u64,
    /// Number of revocations then: whoever has fewer has an old feed.
    pub revocations: u64,
    /// The parts in order; those without releases are left out.
    pub shards: Vec<ShardSummary>,
    /// How far the audit log went then; absent before its first row, and in what was signed before there was this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditHead>,
}

/// How far a marketplace's audit log goes. Whoever has kept it from a signed index can tell a log that was cut off or written
/// anew since: `marketplace audit verify --index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditHead {
    /// The place of its last row in the chain: 1, 2, 3, …
    pub position: u64,
    /// The hash there, over that row and all before it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub hash: Digest,
}

/// One part of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShardSummary {
    /// `00` to `ff`: the first byte of the SHA-256 of the names in it, folded.
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-f]{2}$"))]
    pub shard: ShardId,
    /// SHA-256 of its bytes.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub digest: Digest,
    /// How many bytes those are.
    pub bytes: u64,
    /// How many releases stand in it, one a line.
    pub entries: u64,
}

impl IndexRoot {
    /// The part that this shard is; `None` when no release stands in it.
    pub fn shard(&self, shard: ShardId) -> Option<&ShardSummary> {
        self.shards.iter().find(|summary| summary.shard == shard)
    }

    pub(super) fn fault(&self) -> Option<&'static str> {
        if self.version == 0 {
            return Some("versions begin with 1");
        }
        if self.expires_at <= self.created_at {
            return Some("it expires before it is made");
        }
        if !self.shards.windows(2).all(|pair| pair[0].shard < pair[1].shard) {
            return Some("its shards are not in order");
        }
        None
    }
}

/// A release in the index: one line of a shard. Its JSON has the keys in order and no blanks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListedRelease {
    // In the order of their names: this is how the line is written.
    /// SHA-256 of the canonical descriptor.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub digest: Digest,
    /// The release's id.
    pub id: ReleaseId,
    /// Digests of its images as they were verified, each once, in order.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub images: BTreeSet<Digest>,
    /// The addon, as it was published.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: AddonName,
    /// Where the release stands.
    pub status: ListedStatus,
    /// Its version.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub version: Version,
}

/// Where a release in the index stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ListedStatus {
    /// It can be installed.
    Approved,
    /// Withdrawn.
    Yanked,
    /// Withdrawn for good; the feed of revocations says why.
    Revoked,
}

/// The signed feed of revocations: all there ever were, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Revocations {
    /// Higher than that of every feed before.
    pub version: u64,
    /// When it was signed.
    pub created_at: Timestamp,
    /// Until when it is known that these are all.
    pub expires_at: Timestamp,
    /// Version of the newest key set then.
    pub keys: u64,
    /// The revocations: sequence 1, 2, 3, …
    pub entries: Vec<Revocation>,
}

impl Revocations {
    pub(super) fn fault(&self) -> Option<&'static str> {
        if self.version == 0 {
            return Some("versions begin with 1");
        }
        if self.expires_at <= self.created_at {
            return Some("it expires before it is made");
        }
        None
    }
}

/// A release that nobody should use any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Revocation {
    /// Its place in the feed, from 1, without gaps.
    pub sequence: u64,
    /// The addon, as it was published.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub addon: AddonName,
    /// The version.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub version: Version,
    /// The release.
    pub release_id: ReleaseId,
    /// SHA-256 of its canonical descriptor.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub digest: Digest,
    /// What becomes of installed copies.
    pub severity: Severity,
    /// Why.
    pub reason: String,
    /// The first version without the fault, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub fixed_in: Option<Version>,
    /// When it was revoked.
    pub revoked_at: Timestamp,
}

/// Body of the call that revokes a release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevokeRequest {
    /// Why; required, and shown to everyone who has the release. At most 1,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What becomes of installed copies; required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// The first version without the fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub fixed_in: Option<Version>,
    /// The digest that is meant: the call is refused when the release has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub digest: Option<Digest>,
}

/// What a revocation asks of hosts that have the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Severity {
    /// Operators are told; installed copies go on.
    Warn,
    /// Installed copies go on, and nothing brings the release up anew: no install, rollback or enabling.
    BlockInstall,
    /// Installed copies are stopped.
    Stop,
}

impl Severity {
    /// All of them, the mildest first.
    pub const ALL: [Self; 3] = [Self::Warn, Self::BlockInstall, Self::Stop];

    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::BlockInstall => "block-install",
            Self::Stop => "stop",
        }
    }

    /// The severity of that name on the wire.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == text)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
