//! What the signed documents say about one release: one verdict.

use std::collections::BTreeSet;
use std::fmt;

use addon_descriptor::{Digest, Version};

use super::store::{Freshness, fold, same_version};
use super::{ListedRelease, ListedStatus, Revocation, Severity, ShardId, TrustStore};
use crate::Timestamp;

/// What is known about a release. Only [`Judgement::Approved`] is a reason to install it; none but a revocation and a
/// difference is a reason to touch what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement<'a> {
    /// It is what was reviewed, and may be installed now.
    Approved,
    /// It was withdrawn.
    Yanked,
    /// It was withdrawn for good. The entry of the feed says what becomes of installed copies; without one the index says
    /// so alone, and the feed is late.
    Revoked(Option<&'a Revocation>),
    /// It is not what was reviewed under this name and version.
    Altered(Difference),
    /// The marketplace has approved no such release.
    Unlisted,
    /// What is known is too old to say: as long as this lasts nothing is installed, and what is installed goes on.
    Expired {
        /// When it expired.
        since: Timestamp,
    },
    /// Too little is known to say; treated as [`Judgement::Expired`].
    Unknown(Missing),
}

/// In what a release differs from the one that was reviewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Its descriptor has another digest, this one was reviewed.
    Descriptor {
        /// The digest in the index.
        reviewed: Digest,
    },
    /// Its images are not those that were verified.
    Images,
}

/// What has to be fetched before a release can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The keys.
    Keys,
    /// The root of the index.
    Index,
    /// This part of the index.
    Shard(ShardId),
    /// The feed of revocations, or a newer one: the index knows more revocations.
    Revocations,
}

impl Judgement<'_> {
    /// Whether it may be installed.
    pub fn allows_install(&self) -> bool {
        matches!(self, Self::Approved)
    }

    /// Whether installed copies of it are to be stopped.
    pub fn asks_to_stop(&self) -> bool {
        self.severity() == Some(Severity::Stop)
    }

    /// Whether a copy that is installed but not up (disabled, an earlier revision) may be brought up: not while a
    /// revocation forbids it, and never if it is not what was reviewed.
    pub fn allows_start(&self) -> bool {
        match self {
            Self::Altered(_) => false,
            Self::Revoked(_) => self.severity() == Some(Severity::Warn),
            Self::Approved | Self::Yanked | Self::Unlisted | Self::Expired { .. } | Self::Unknown(_) => true,
        }
    }

    /// That of its revocation.
    pub fn severity(&self) -> Option<Severity> {
        match self {
            Self::Revoked(entry) => entry.map(|entry| entry.severity),
            _ => None,
        }
    }
}

impl fmt::Display for Judgement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approved => f.write_str("the marketplace has approved the release"),
            Self::Yanked => f.write_str("the release was withdrawn (yanked)"),
            Self::Revoked(None) => {
                f.write_str("the release is revoked; the feed that says why is not here yet")
            }
            Self::Revoked(Some(Revocation { severity, reason, fixed_in, .. })) => {
                write!(f, "the release is revoked ({severity}): {reason}")?;
                match fixed_in {
                    Some(version) => write!(f, "; {version} is the first version without the fault"),
                    None => Ok(()),
                }
            }
            Self::Altered(Difference::Descriptor { reviewed }) => {
                write!(f, "the descriptor is not the one that was reviewed, which has the digest {reviewed}")
            }
            Self::Altered(Difference::Images) => f.write_str("the images are not those that were verified"),
            Self::Unlisted => f.write_str("the marketplace has approved no such release"),
            Self::Expired { since } => {
                write!(
                    f,
                    "what the marketplace signed expired at {since}: nothing new is installed until it answers again"
                )
            }
            Self::Unknown(missing) => {
                let what = match missing {
                    Missing::Keys => "its keys",
                    Missing::Index => "its index",
                    Missing::Shard(_) => "the part of its index with this addon",
                    Missing::Revocations => "its newest revocations",
                };
                write!(f, "the marketplace has not been asked for {what} yet")
            }
        }
    }
}

impl TrustStore {
    /// What the signed documents say about a release that has this name, version and digest of its canonical descriptor,
    /// and whose images are pinned to these digests (in any order; none where the images are not in question).
    pub fn check_release(
        &self,
        name: &str,
        version: &Version,
        digest: Digest,
        images: &[Digest],
        now: Timestamp,
    ) -> Judgement<'_> {
        if let Some(revocation) = self.revocation(name, version, digest) {
            return Judgement::Revoked(Some(revocation));
        }
        if self.keys().is_none() {
            return Judgement::Unknown(Missing::Keys);
        }
        let Some(root) = self.index() else { return Judgement::Unknown(Missing::Index) };
        let Some(addon) = fold(name) else { return Judgement::Unlisted };
        let shard = ShardId::of(&addon);
        let releases: &[ListedRelease] = match (root.shard(shard), self.addons.get(&addon)) {
            (None, _) => &[],
            (Some(_), Some(held)) => &held.releases,
            (Some(_), None) => return Judgement::Unknown(Missing::Shard(shard)),
        };
        let listed = releases.iter().find(|listed| same_version(&listed.version, version));
        if let Some(listed) = listed {
            // These do not grow old: a version has one document and its verified images, and a revocation is for good.
            if listed.status == ListedStatus::Revoked {
                return Judgement::Revoked(None);
            }
            if listed.digest != digest {
                return Judgement::Altered(Difference::Descriptor { reviewed: listed.digest });
            }
            if !images.is_empty() && images.iter().copied().collect::<BTreeSet<_>>() != listed.images {
                return Judgement::Altered(Difference::Images);
            }
            if listed.status == ListedStatus::Yanked {
                return Judgement::Yanked;
            }
        }
        let feed = self.revocations();
        let Some(feed) = feed.filter(|feed| feed.entries.len() as u64 >= root.revocations) else {
            return Judgement::Unknown(Missing::Revocations);
        };
        match Freshness::at(now, root.expires_at.min(feed.expires_at)) {
            Freshness::Expired { since } => Judgement::Expired { since },
            Freshness::Current if listed.is_some() => Judgement::Approved,
            Freshness::Current => Judgement::Unlisted,
        }
    }
}
