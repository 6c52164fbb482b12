//! Facts about a marketplace and its addons, and the report of an installation that they count.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How much there is in a marketplace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MarketStats {
    /// Names that were ever published under.
    pub addons: u64,
    /// Addons in lists: those with an approved release.
    pub listed: u64,
    /// Releases by status.
    pub releases: BTreeMap<String, u64>,
    /// Accounts that own a name.
    pub publishers: u64,
    /// Installations that managers have reported; see [`InstallReport`].
    pub installs: u64,
    /// Revocations so far.
    pub revocations: u64,
    /// Releases whose checks are to be made.
    pub queue: u64,
    /// When these were counted: at most some seconds ago, in a large marketplace at most some minutes.
    pub counted_at: Timestamp,
}

/// Facts about one addon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AddonStats {
    /// The name, as it was published first.
    pub name: String,
    /// Approved releases.
    pub releases: u64,
    /// When the first of them was approved.
    pub first_approved_at: Timestamp,
    /// When the last of them was approved.
    pub last_approved_at: Timestamp,
    /// Installations that managers have reported; see [`InstallReport`].
    pub installs: u64,
}

/// Body of the call by which a manager reports an installation, once; where its operator wants that. It says nothing of the
/// host. What is counted is less than what there is: most hosts report nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstallReport {
    /// The addon's name.
    pub addon: String,
    /// 32 lower-case hex digits, drawn for this report alone: sent again, it is counted once.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-f]{32}$"))]
    pub report: String,
}

impl InstallReport {
    /// Whether `report` has its form.
    pub fn is_well_formed(&self) -> bool {
        self.report.len() == 32 && self.report.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_32_hex_digits() {
        let of = |report: &str| InstallReport { addon: "a".to_owned(), report: report.to_owned() };
        assert!(of(&"0af9".repeat(8)).is_well_formed());
        for report in ["", "0af9", &"0AF9".repeat(8), &"g".repeat(32), &"0".repeat(33)] {
            assert!(!of(report).is_well_formed(), "{report}");
        }
    }
}
