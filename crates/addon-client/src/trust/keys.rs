//! Public keys, their ids, and the set of those that a marketplace signs with.

use std::fmt;
use std::str::FromStr;

use addon_descriptor::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Timestamp;

/// An ed25519 public key. Written as base64 of its 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

/// The text is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a public key is base64 of the 32 bytes of an ed25519 key")]
pub struct InvalidKey;

impl PublicKey {
    /// The key that signatures of this private one are checked with.
    pub fn of(key: &SigningKey) -> Self {
        Self(key.verifying_key().to_bytes())
    }

    /// The name that signatures call it by.
    pub fn id(&self) -> KeyId {
        KeyId(Digest::of(&self.0))
    }

    /// `None`: its bytes are no point of the curve, or one of those with which a signature proves nothing.
    pub(super) fn verifying(&self) -> Option<VerifyingKey> {
        VerifyingKey::from_bytes(&self.0).ok().filter(|key| !key.is_weak())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let bytes = STANDARD.decode(text).map_err(|_| InvalidKey)?;
        let key = Self(bytes.try_into().map_err(|_| InvalidKey)?);
        key.verifying().map(|_| key).ok_or(InvalidKey)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Names a key: the SHA-256 of its 32 bytes, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Digest);

/// The text is no id of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a key is 64 lower-case hex digits")]
pub struct InvalidKeyId;

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.hex())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        format!("sha256:{text}").parse().map(Self).map_err(|_| InvalidKeyId)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One key of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyEntry {
    /// SHA-256 of the key.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub keyid: KeyId,
    /// The 32 bytes of the ed25519 key, in base64.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub key: PublicKey,
    /// When it came into the set.
    pub since: Timestamp,
    /// Since when nothing that it signs counts any more; absent while it signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<Timestamp>,
}

impl KeyEntry {
    /// An entry for a key that signs from now on.
    pub fn new(key: PublicKey, since: Timestamp) -> Self {
        Self { keyid: key.id(), key, since, retired_at: None }
    }
}

/// The keys that a marketplace signs with, and those that it signed with once. Version *n*+1 is signed by a key that was not
/// retired in *n*, and by one that is not retired in itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeySet {
    /// 1 and up, without gaps.
    pub version: u64,
    /// When it was signed.
    pub created_at: Timestamp,
    /// The keys, oldest first.
    pub keys: Vec<KeyEntry>,
}

impl KeySet {
    /// Most keys of a set, retired ones included: one a month for twenty years.
    pub const MAX_KEYS: usize = 256;

    /// The key of this id, retired or not.
    pub fn entry(&self, id: &KeyId) -> Option<&KeyEntry> {
        self.keys.iter().find(|entry| entry.keyid == *id)
    }

    /// The key of this id, where it is not retired.
    pub fn living(&self, id: &KeyId) -> Option<&PublicKey> {
        self.entry(id).filter(|entry| entry.retired_at.is_none()).map(|entry| &entry.key)
    }

    /// What is wrong with the set itself, in words.
    pub(super) fn fault(&self) -> Option<&'static str> {
        if self.version == 0 {
            return Some("versions begin with 1");
        }
        if self.keys.len() > Self::MAX_KEYS {
            return Some("it has more than 256 keys");
        }
        if self.keys.iter().any(|entry| entry.keyid != entry.key.id()) {
            return Some("a key has the id of another");
        }
        let mut ids: Vec<&KeyId> = self.keys.iter().map(|entry| &entry.keyid).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Some("a key stands in it twice");
        }
        if self.keys.iter().all(|entry| entry.retired_at.is_some()) {
            return Some("every key of it is retired");
        }
        None
    }
}
