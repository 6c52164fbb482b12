//! The digest of a descriptor, and the canonical bytes that it is taken over.
//!
//! The canonical form is RFC 8785 JSON of the parsed document with every field that equals its default left out, so
//! that a field added later changes no digest that exists.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::descriptor::AddonDescriptor;
use crate::violation::Invalid;

/// A SHA-256, written `sha256:<64 lower-case hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 lower-case hex digits, without `sha256:`.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fault = || Invalid::new("a digest is written sha256:<64 lower-case hex digits>");
        let hex = text.strip_prefix("sha256:").ok_or_else(fault)?;
        if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(fault());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).expect("hex digits are ASCII");
            *byte = u8::from_str_radix(pair, 16).expect("the digits were checked above");
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl AddonDescriptor {
    /// The canonical bytes: what [`digest`](Self::digest) is taken over, and what is stored and handed on.
    ///
    /// Reading them gives the same descriptor again.
    pub fn canonical(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self)
            .expect("a descriptor holds strings, booleans and integers within 53 bits only")
    }

    /// SHA-256 of the canonical bytes.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_as_it_is_read() {
        let digest = Digest::of(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(serde_json::to_value(digest).unwrap(), text);
        assert_eq!(serde_json::from_value::<Digest>(text.into()).unwrap(), digest);
    }

    #[test]
    fn anything_else_is_no_digest() {
        let upper = format!("sha256:{}", "A".repeat(64));
        let short = format!("sha256:{}", "a".repeat(63));
        for text in ["", "sha256:", "md5:00", &upper, &short] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_version_that_is_filled_in_is_as_one_that_was_written() {
        let document = |version: &str| {
            let text =
                format!(r#"{{"name":"a",{version}"services":[{{"service_name":"a","image":"b:1"}}]}}"#);
            crate::read(text.as_bytes()).unwrap().descriptor.unwrap()
        };
        let plain = document("");
        let written = document(r#""version":"1.2.3","#);
        assert_ne!(plain.digest(), written.digest());
        let filled = plain.with_version(semver::Version::new(1, 2, 3));
        assert_eq!(filled.digest(), written.digest());
    }

    #[test]
    fn the_canonical_form_is_sorted_and_has_no_blanks() {
        let text =
            br#"{ "services": [{ "service_name": "a", "image": "b:1", "init": false }], "name": "a" }"#;
        let canonical = crate::read(text).unwrap().descriptor.unwrap().canonical();
        let expected = r#"{"name":"a","services":[{"image":"b:1","service_name":"a"}]}"#;
        assert_eq!(String::from_utf8(canonical).unwrap(), expected);
    }
}
