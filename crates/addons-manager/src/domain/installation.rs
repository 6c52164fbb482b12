//! An installation: what somebody asked this host to run, and what was last seen of it.
//!
//! It knows neither the database nor the engine; how its status is derived stands in `status.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use addon_client::{Condition, InstallationStatus, ReleaseId, Timestamp};
pub use addon_client::{InstallationId, Pin};
use addon_descriptor::Digest;
use serde::{Deserialize, Serialize};

use super::specification::RevisionSpecification;
use super::status::ServiceReport;

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

/// What a person agreed to when they installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Rights, as `rights()` of the descriptor names them.
    #[serde(default)]
    pub rights: BTreeSet<String>,
    /// Digest of the release that it was given for.
    #[serde(default)]
    pub digest: String,
    /// Account that gave it.
    #[serde(default)]
    pub by: String,
    /// When, in milliseconds since the epoch.
    #[serde(default)]
    pub at_ms: i64,
}

/// An addon on this host.
#[derive(Debug, Clone, PartialEq)]
pub struct Installation {
    /// Its id.
    pub id: InstallationId,
    /// Its name: the addon's own unless the request gave another.
    pub name: String,
    /// The addon's name.
    pub addon: String,
    /// The installed version; empty where the marketplace knows none.
    pub version: String,
    /// The release in the marketplace.
    pub release_id: ReleaseId,
    /// SHA-256 of `descriptor`.
    pub release_digest: Digest,
    /// This host's own copy of the descriptor, canonical: a marketplace that is away stops nothing.
    pub descriptor: String,
    /// The images as they were reviewed; empty where the marketplace pins none.
    pub pins: Vec<Pin>,
    /// What was agreed to.
    pub consent: Consent,
    /// What is wanted.
    pub desired: Desired,
    /// Counts every change of what is wanted.
    pub generation: i64,
    /// The revision that is wanted.
    pub revision: i64,
    /// Restarts that were asked for: a container or a completion of an older count is due.
    pub restart_generation: i64,
    /// Fresh starts: failures of an older epoch are forgiven.
    pub epoch: i64,
    /// Services that have been up since install or enable.
    pub been_up: BTreeSet<String>,
    /// Volumes go with the installation.
    pub delete_volumes: bool,
    /// Shown; an uninstalled one is not, until its row goes.
    pub listed: bool,
    /// How it is, as the last pass derived it.
    pub status: InstallationStatus,
    /// Since when.
    pub status_since: Timestamp,
    /// What else there is to know, as of the last pass.
    pub conditions: Vec<Condition>,
    /// How each service is, as of the last pass.
    pub service_states: Vec<ServiceReport>,
    /// When it was installed.
    pub created_at: Timestamp,
    /// When anything of it changed last.
    pub updated_at: Timestamp,
}

/// What is asked of the engine for an installation, resolved once and stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// Whose.
    pub installation: InstallationId,
    /// 1 and up.
    pub revision: i64,
    /// The release that it was resolved from.
    pub release_id: ReleaseId,
    /// SHA-256 of `descriptor`.
    pub release_digest: Digest,
    /// Its version; empty where the marketplace knows none.
    pub version: String,
    /// Canonical.
    pub descriptor: String,
    /// The images as they were reviewed.
    pub pins: Vec<Pin>,
    /// What the engine is asked for.
    pub specification: RevisionSpecification,
    /// Service to the digest of its specification, taken once when it was resolved.
    pub digests: BTreeMap<String, String>,
    /// When it was resolved.
    pub created_at: Timestamp,
}

/// Where a volume of ours comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VolumeOrigin {
    /// The descriptor declares it.
    Declared,
    /// A mount that is only a path.
    Anonymous,
    /// A `VOLUME` of the image.
    Image,
}

impl VolumeOrigin {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Anonymous => "anonymous",
            Self::Image => "image",
        }
    }
}

impl FromStr for VolumeOrigin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Declared, Self::Anonymous, Self::Image]
            .into_iter()
            .find(|origin| origin.as_str() == text)
            .ok_or(())
    }
}

/// A volume that outlived its installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptVolume {
    /// Name on the engine.
    pub name: String,
    /// With the name, the proof that it is ours.
    pub nonce: String,
    /// The addon that left it.
    pub addon: String,
    /// The name of the installation that left it; the next one of that addon and name gets it back.
    pub installation_name: String,
    /// Where it comes from.
    pub origin: VolumeOrigin,
    /// The service that it belongs to; empty for a declared one.
    pub service: String,
    /// What it was made as.
    pub specification: super::specification::VolumeSpecification,
    /// Since when it is kept.
    pub kept_at: Timestamp,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_dns_reads_alike_fold_to_one() {
        assert_eq!(folded_name("My_Addon.X"), "my-addon-x");
    }

    #[test]
    fn what_is_stored_is_read_again() {
        for desired in [Desired::Active, Desired::Disabled, Desired::Absent] {
            assert_eq!(desired.as_str().parse(), Ok(desired));
        }
        for origin in [VolumeOrigin::Declared, VolumeOrigin::Anonymous, VolumeOrigin::Image] {
            assert_eq!(origin.as_str().parse(), Ok(origin));
        }
        assert_eq!("present".parse::<Desired>(), Err(()));
    }
}
