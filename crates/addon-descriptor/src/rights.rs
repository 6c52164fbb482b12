//! What an addon may do to its host: derived from the document, never declared by its author.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::descriptor::AddonDescriptor;
use crate::violation::Invalid;

/// One right, known by its text on the wire: `host-port:8080/tcp`, `docker-socket`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Right(String);

/// How far a right reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What most addons need; granted by installing.
    Normal,
    /// Taking over a component of the platform.
    Takeover,
    /// Beyond the container; must be consented to by name.
    Dangerous,
}

/// Every right that the document asks for.
pub fn rights(_descriptor: &AddonDescriptor) -> BTreeSet<Right> {
    BTreeSet::new()
}

/// A grade from 1 to 6 for people to look at.
pub fn risk(_rights: &BTreeSet<Right>) -> u8 {
    1
}

impl Right {
    /// The text on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How far it reaches.
    pub fn level(&self) -> Level {
        Level::Dangerous
    }

    /// Whether who has it can become root on the host.
    pub fn root_on_host(&self) -> bool {
        true
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Right {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Ok(Self(text.to_owned()))
    }
}

impl Serialize for Right {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Right {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
