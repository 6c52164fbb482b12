//! What a host knows of a marketplace's signed documents, and what it takes from newer ones.

use std::collections::{BTreeMap, BTreeSet};

use addon_descriptor::{AddonName, Digest, Version};
use serde::{Deserialize, Serialize};

use super::envelope::Sealed;
use super::{
    IndexRoot, InvalidKey, KeyId, KeySet, ListedRelease, PublicKey, Revocation, Revocations, ShardId,
    ShardSummary,
};
use crate::Timestamp;

/// Why bytes were not taken. The store is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// They are no such document.
    #[error("this is no signed document of a marketplace: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// It is another document.
    #[error("the document is {found:?}, not {expected:?}")]
    WrongType {
        /// What it must be.
        expected: &'static str,
        /// What it says it is.
        found: String,
    },
    /// No keys are known to check it with.
    #[error("no keys of the marketplace are known yet: accept its keys first")]
    NoKeys,
    /// It is signed by a key that is not in the key set. A newer key set may have it.
    #[error("it is signed by the key {keyid}, which is in no known key set")]
    UnknownKey {
        /// The key.
        keyid: KeyId,
    },
    /// It is signed by a key that counts no more.
    #[error("it is signed by the key {keyid}, which is retired")]
    RetiredKey {
        /// The key.
        keyid: KeyId,
    },
    /// A signature does not fit.
    #[error("the signature by the key {keyid} does not fit the document")]
    BadSignature {
        /// The key that it is said to be of.
        keyid: KeyId,
    },
    /// None of the keys that this host was told to trust stands behind it.
    #[error("the key set is not signed by a key that this host was told to trust")]
    NotPinned,
    /// The key set skips one: its predecessor is needed first.
    #[error("the key set has version {offered}, and version {next} is needed first")]
    KeysMissing {
        /// The version that follows the known one.
        next: u64,
        /// The one that was offered.
        offered: u64,
    },
    /// No key of the set before has signed the new one: whoever made it did not have the keys.
    #[error(
        "the key set {offered} is not signed by a key of the one before: the marketplace has lost its keys, or this is another one"
    )]
    ChainBroken {
        /// The version that was offered.
        offered: u64,
    },
    /// It is older than what is known.
    #[error("version {offered} is older than version {known}, which is known already")]
    Rollback {
        /// The version that is known.
        known: u64,
        /// The one that was offered.
        offered: u64,
    },
    /// A version that is known has another content.
    #[error("there are two different documents of version {version}")]
    Conflict {
        /// The version.
        version: u64,
    },
    /// A revocation that is known is gone or changed, or the sequence has a gap.
    #[error("the feed is not what it was: revocation {sequence} is missing or another one")]
    FeedBroken {
        /// The first place that is not as it must be.
        sequence: u64,
    },
    /// No root of the index is known to hold a part to.
    #[error("no index is known yet: accept its root first")]
    NoIndex,
    /// The part is not the one that the root means. A newer root may.
    #[error("the part {shard} of the index is not the one that the root of version {version} means")]
    OtherShard {
        /// The part.
        shard: ShardId,
        /// Version of the known root.
        version: u64,
    },
}

/// Whether a document that was accepted still says what may be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It does.
    Current,
    /// It expired: what is installed goes on, nothing new is installed by it.
    Expired {
        /// When.
        since: Timestamp,
    },
}

impl Freshness {
    pub(super) fn at(now: Timestamp, expires_at: Timestamp) -> Self {
        if now < expires_at { Self::Current } else { Self::Expired { since: expires_at } }
    }
}

/// What a host remembers of one marketplace: whose signatures count, the newest documents, and the index's lines about the
/// addons that it asked for. Serialise it to keep it; it is trusted as it is read back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrustStore {
    /// Keys of which one has to stand behind the first key set; none: the first one that comes is believed.
    pins: Vec<PublicKey>,
    keys: Option<Held<KeySet>>,
    pub(super) index: Option<Held<IndexRoot>>,
    pub(super) revocations: Option<Held<Revocations>>,
    /// By folded name.
    pub(super) addons: BTreeMap<String, HeldAddon>,
}

/// A document that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held<D> {
    pub(super) document: D,
    /// SHA-256 of its payload.
    payload: Digest,
    signed_by: Vec<KeyId>,
}

/// The index's lines about one addon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldAddon {
    /// Of the part that they were read from.
    shard: Digest,
    pub(super) releases: Vec<ListedRelease>,
}

impl TrustStore {
    /// Knows nothing, and believes the first key set that it is given: trust on first use.
    pub fn new() -> Self {
        Self::default()
    }

    /// Knows these public keys (base64), and believes a first key set only if one of them stands behind it.
    ///
    /// # Errors
    /// A text that is no key.
    pub fn pinned<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidKey> {
        let pins = keys.into_iter().map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { pins, ..Self::default() })
    }

    /// The newest key set that was accepted.
    pub fn keys(&self) -> Option<&KeySet> {
        self.keys.as_ref().map(|held| &held.document)
    }

    /// The newest root of the index that was accepted.
    pub fn index(&self) -> Option<&IndexRoot> {
        self.index.as_ref().map(|held| &held.document)
    }

    /// The newest feed of revocations that was accepted.
    pub fn revocations(&self) -> Option<&Revocations> {
        self.revocations.as_ref().map(|held| &held.document)
    }

    /// The version of the key set to ask for next, where an accepted document says that there are newer ones than the
    /// known.
    pub fn next_keys(&self) -> Option<u64> {
        let known = self.keys()?.version;
        let said = self.index().map(|index| index.keys).max(self.revocations().map(|feed| feed.keys))?;
        (said > known).then_some(known + 1)
    }

    /// Takes a key set: the first one, or the one that follows the known one. `false`: it is the known one.
    ///
    /// # Errors
    /// See [`TrustError`]; [`TrustError::KeysMissing`] names the version to accept first.
    pub fn accept_keys(&mut self, bytes: &[u8]) -> Result<bool, TrustError> {
        let sealed = Sealed::<KeySet>::read(bytes)?;
        let offered = &sealed.document;
        if let Some(what) = offered.fault() {
            return Err(TrustError::Malformed { what: what.to_owned() });
        }
        let known = self.keys.as_ref();
        if let Some(Held { document: known, .. }) = known {
            if offered.version < known.version {
                return Err(TrustError::Rollback { known: known.version, offered: offered.version });
            }
            if offered.version - known.version > 1 {
                return Err(TrustError::KeysMissing { next: known.version + 1, offered: offered.version });
            }
        }
        let signed_by = sealed.verify(|id| {
            let before = known.and_then(|held| held.document.living(id));
            before.or_else(|| offered.living(id)).copied().ok_or(match offered.entry(id) {
                Some(_) => TrustError::RetiredKey { keyid: *id },
                None => TrustError::UnknownKey { keyid: *id },
            })
        })?;
        // Whoever puts a key into a set has it.
        let by_own = signed_by.iter().any(|id| offered.living(id).is_some());
        let payload = Digest::of(&sealed.payload);
        match known {
            None => {
                let pinned = |id: &KeyId| {
                    self.pins.is_empty() || offered.living(id).is_some_and(|key| self.pins.contains(key))
                };
                if !by_own || !signed_by.iter().any(pinned) {
                    return Err(TrustError::NotPinned);
                }
            }
            Some(held) if held.document.version == offered.version => {
                let version = offered.version;
                return if held.payload == payload {
                    Ok(false)
                } else {
                    Err(TrustError::Conflict { version })
                };
            }
            Some(held) => {
                if !by_own || !signed_by.iter().any(|id| held.document.living(id).is_some()) {
                    return Err(TrustError::ChainBroken { offered: offered.version });
                }
            }
        }
        self.keys = Some(Held { document: sealed.document, payload, signed_by });
        Ok(true)
    }

    /// Takes the root of the index. What the index says about an addon holds as long as its part does not change; see
    /// [`Self::wanted_shards`].
    ///
    /// # Errors
    /// See [`TrustError`]. That it expired is none.
    pub fn accept_index(&mut self, bytes: &[u8], now: Timestamp) -> Result<Freshness, TrustError> {
        let sealed = Sealed::<IndexRoot>::read(bytes)?;
        let signed_by = sealed.verify(|id| self.signer(id))?;
        let offered = &sealed.document;
        if let Some(what) = offered.fault() {
            return Err(TrustError::Malformed { what: what.to_owned() });
        }
        let payload = Digest::of(&sealed.payload);
        if let Some(held) = self.index.as_ref().filter(|held| self.still_counts(held)) {
            in_order(held.document.version, &held.payload, offered.version, &payload)?;
        }
        let freshness = Freshness::at(now, offered.expires_at);
        let root = sealed.document;
        self.addons.retain(|addon, held| {
            root.shard(ShardId::of(addon)).is_none_or(|summary| summary.digest == held.shard)
        });
        self.index = Some(Held { document: root, payload, signed_by });
        Ok(freshness)
    }

    /// The parts of the index that are to be fetched and accepted before these addons can be judged. Names that no addon
    /// can have need none.
    pub fn wanted_shards<'a>(&self, addons: impl IntoIterator<Item = &'a str>) -> Vec<ShardSummary> {
        let Some(root) = self.index() else { return Vec::new() };
        let wanted = addons.into_iter().filter_map(fold).filter_map(|addon| {
            let summary = root.shard(ShardId::of(&addon))?;
            let held = self.addons.get(&addon).is_some_and(|held| held.shard == summary.digest);
            (!held).then_some(*summary)
        });
        let wanted: BTreeMap<ShardId, ShardSummary> =
            wanted.map(|summary| (summary.shard, summary)).collect();
        wanted.into_values().collect()
    }

    /// Takes a part of the index, and keeps what it says about these addons; for those of other parts nothing changes.
    ///
    /// # Errors
    /// See [`TrustError`]; after [`TrustError::OtherShard`] the root is to be fetched again.
    pub fn accept_shard<'a>(
        &mut self,
        shard: ShardId,
        bytes: &[u8],
        addons: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), TrustError> {
        let root = self.index().ok_or(TrustError::NoIndex)?;
        let other = TrustError::OtherShard { shard, version: root.version };
        let summary = *root.shard(shard).ok_or_else(|| other.clone())?;
        if summary.bytes != bytes.len() as u64 || summary.digest != Digest::of(bytes) {
            return Err(other);
        }
        let wanted = addons.into_iter().filter_map(fold).filter(|addon| ShardId::of(addon) == shard);
        let nothing = HeldAddon { shard: summary.digest, releases: Vec::new() };
        let mut found: BTreeMap<String, HeldAddon> = wanted.map(|addon| (addon, nothing.clone())).collect();
        let malformed = |what: String| TrustError::Malformed { what };
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let release: ListedRelease = serde_json::from_slice(line)
                .map_err(|error| malformed(format!("a line of the part {shard}: {error}")))?;
            if let Some(addon) = found.get_mut(&release.name.folded()) {
                addon.releases.push(release);
            }
        }
        self.addons.extend(found);
        Ok(())
    }

    /// Forgets what the index says about all addons but these: what is uninstalled need not be kept.
    pub fn keep_only<'a>(&mut self, addons: impl IntoIterator<Item = &'a str>) {
        let kept: BTreeSet<String> = addons.into_iter().filter_map(fold).collect();
        self.addons.retain(|addon, _| kept.contains(addon));
    }

    /// Takes the feed of revocations: what is known of it stays in it, unchanged.
    ///
    /// # Errors
    /// See [`TrustError`]. That it expired is none.
    pub fn accept_revocations(&mut self, bytes: &[u8], now: Timestamp) -> Result<Freshness, TrustError> {
        let sealed = Sealed::<Revocations>::read(bytes)?;
        let signed_by = sealed.verify(|id| self.signer(id))?;
        let offered = &sealed.document;
        if let Some(what) = offered.fault() {
            return Err(TrustError::Malformed { what: what.to_owned() });
        }
        let gap = (1..).zip(&offered.entries).find(|(place, entry)| entry.sequence != *place);
        if let Some((sequence, _)) = gap {
            return Err(TrustError::FeedBroken { sequence });
        }
        let payload = Digest::of(&sealed.payload);
        if let Some(held) = self.revocations.as_ref().filter(|held| self.still_counts(held)) {
            in_order(held.document.version, &held.payload, offered.version, &payload)?;
            let known = &held.document.entries;
            let changed = (1..)
                .zip(known)
                .zip(offered.entries.iter().map(Some).chain(std::iter::repeat(None)))
                .find(|((_, known), offered)| Some(*known) != *offered);
            if let Some(((sequence, _), _)) = changed {
                return Err(TrustError::FeedBroken { sequence });
            }
        }
        let freshness = Freshness::at(now, offered.expires_at);
        self.revocations = Some(Held { document: sealed.document, payload, signed_by });
        Ok(freshness)
    }

    /// The revocation of a release, by its name and version or by its digest; of several the most severe.
    pub fn revocation(&self, name: &str, version: &Version, digest: Digest) -> Option<&Revocation> {
        let addon = fold(name);
        let of_release = |entry: &&Revocation| {
            entry.digest == digest
                || (Some(entry.addon.folded()) == addon && same_version(&entry.version, version))
        };
        self.revocations()?.entries.iter().filter(of_release).max_by_key(|entry| entry.severity)
    }

    /// The key of a signature on an index or a feed.
    fn signer(&self, id: &KeyId) -> Result<PublicKey, TrustError> {
        let keys = self.keys().ok_or(TrustError::NoKeys)?;
        match keys.entry(id) {
            None => Err(TrustError::UnknownKey { keyid: *id }),
            Some(entry) if entry.retired_at.is_some() => Err(TrustError::RetiredKey { keyid: *id }),
            Some(entry) => Ok(entry.key),
        }
    }

    /// Whether a newer document has to follow this one. What only retired keys have signed may be a thief's.
    fn still_counts<D>(&self, held: &Held<D>) -> bool {
        held.signed_by.iter().any(|id| self.signer(id).is_ok())
    }
}

/// Versions only rise, and one version has one content.
fn in_order(known: u64, known_payload: &Digest, offered: u64, payload: &Digest) -> Result<(), TrustError> {
    if offered < known {
        return Err(TrustError::Rollback { known, offered });
    }
    if offered == known && payload != known_payload {
        return Err(TrustError::Conflict { version: offered });
    }
    Ok(())
}

/// The form in which names of addons are equal; `None` for what no addon can be called.
pub(super) fn fold(name: &str) -> Option<String> {
    name.parse::<AddonName>().ok().map(|name| name.folded())
}

/// Build metadata does not tell versions apart.
pub(super) fn same_version(a: &Version, b: &Version) -> bool {
    a.cmp_precedence(b).is_eq()
}
