//! An installation: what somebody asked this host to run, and what it was told about it.
//!
//! It knows neither the database nor the wire; how its status is derived stands in `status.rs`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Id of an installation: 12 bytes in the form of an ObjectId (4 bytes of seconds since the epoch, 8 random), written as 24 lower-case
/// hex digits, so that the ids of an existing Oakestra stay valid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstallationId([u8; 12]);

impl InstallationId {
    /// Of these seconds since the epoch and these random bytes.
    pub fn new(seconds: u32, random: [u8; 8]) -> Self {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&seconds.to_be_bytes());
        bytes[4..].copy_from_slice(&random);
        Self(bytes)
    }
}

impl fmt::Display for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no id: not 24 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 24 hex digits")]
pub struct NoId;

impl FromStr for InstallationId {
    type Err = NoId;

    /// Upper-case digits are read too: ids are looked up case-insensitively.
    fn from_str(text: &str) -> Result<Self, NoId> {
        let text = text.as_bytes();
        if text.len() != 24 {
            return Err(NoId);
        }
        let digit = |byte: u8| (byte as char).to_digit(16).ok_or(NoId);
        let mut bytes = [0; 12];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).expect("two hex digits are a byte");
        }
        Ok(Self(bytes))
    }
}

impl Serialize for InstallationId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for InstallationId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What is wanted of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Desired {
    /// Every service runs, every job completes.
    Active,
    /// No container and no network of it; volumes stay.
    Disabled,
    /// Nothing of it is left, but volumes that are kept; its row goes then.
    Absent,
}

impl Desired {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Absent => "absent",
        }
    }
}

impl FromStr for Desired {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "active" => Ok(Self::Active),
            "disabled" => Ok(Self::Disabled),
            "absent" => Ok(Self::Absent),
            _ => Err(()),
        }
    }
}

/// An image of a release as it was reviewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Service that runs it.
    pub service_name: String,
    /// As published: `nginx:1.27`.
    pub image: String,
    /// `sha256:…` of the index, else of the manifest.
    pub digest: String,
    /// Platforms that the image is there for: `linux/arm64`.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// Compressed bytes by platform, where the marketplace says so.
    #[serde(default)]
    pub bytes: std::collections::BTreeMap<String, u64>,
}

/// What a person agreed to when they installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Rights, as `rights()` of the descriptor names them.
    pub rights: BTreeSet<String>,
    /// Digest of the release that it was given for.
    pub digest: String,
    /// Account that gave it.
    pub by: String,
    /// When, in milliseconds since the epoch.
    pub at_ms: i64,
}

/// The name under which names are told apart: lower case, with `_` and `.` read as `-`, as DNS reads them.
pub fn folded_name(name: &str) -> String {
    name.chars()
        .map(|character| match character {
            '_' | '.' => '-',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

/// The longest and the allowed characters of an installation's name are those of an addon's: it becomes part of names on the engine.
pub fn is_installation_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'))
        && bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_24_hex_digits_of_either_case() {
        let id: InstallationId = "6B00FC9223516C5E37BEE27C".parse().unwrap();
        assert_eq!(id.to_string(), "6b00fc9223516c5e37bee27c");
        for text in ["", "6b00fc92", "6b00fc9223516c5e37bee27g", "6b00fc9223516c5e37bee27c0", "ééééééééé é"] {
            assert_eq!(text.parse::<InstallationId>(), Err(NoId), "{text}");
        }
    }

    #[test]
    fn the_seconds_come_first_so_that_ids_sort_by_time() {
        let earlier = InstallationId::new(1_000, [0xff; 8]);
        let later = InstallationId::new(1_001, [0; 8]);
        assert!(earlier < later && earlier.to_string() < later.to_string());
        assert_eq!(earlier.to_string(), "000003e8ffffffffffffffff");
    }

    #[test]
    fn names_that_dns_reads_alike_fold_to_one() {
        assert_eq!(folded_name("My_Addon.X"), "my-addon-x");
    }

    #[test]
    fn a_name_starts_and_ends_alphanumeric() {
        for good in ["a", "A-b_c.9", &"x".repeat(63)] {
            assert!(is_installation_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "ä", "a/b", &"x".repeat(64)] {
            assert!(!is_installation_name(bad), "{bad}");
        }
    }
}
