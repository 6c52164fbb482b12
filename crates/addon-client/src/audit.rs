//! The audit log as it is shown, and what checking it found; the same in both services.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Timestamp;

/// One row of the audit log: who did what to what, when and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Its number; later rows have higher ones.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub account: String,
    /// By which token; absent for the command line, the service itself, and in open mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// What was done, as `release.approve`.
    pub action: String,
    /// What it was done to.
    pub subject: AuditSubject,
    /// Why, where somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What else is known: the addon, from where to where, the digest.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub detail: Map<String, Value>,
    /// The request that did it, as in its `X-Request-Id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The hash over this row and the one before it; absent for the second or so until the row is chained, and in a manager's log, which is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// What something was done to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditSubject {
    /// `release`, `addon`, `installation`, `volume`, `token`, `account`, …
    pub kind: String,
    /// Which of them.
    pub id: String,
}

/// What checking the audit log found. Lists have at most the first 100.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditReport {
    /// Nothing was altered, removed or put in between. Rows that are not chained yet are no fault.
    pub intact: bool,
    /// Rows that were checked.
    pub checked: u64,
    /// How many rows the chain has. With `hash`, worth noting elsewhere: whoever can rewrite the whole database can
    /// rewrite the whole chain, and is found by what was noted.
    pub position: i64,
    /// The hash at the chain's end; empty before the first row.
    pub hash: String,
    /// Numbers of rows whose content is not what was chained.
    pub altered: Vec<i64>,
    /// Numbers of rows that were chained and are gone.
    pub missing: Vec<i64>,
    /// Places in the chain that are gone, cut off at its end too.
    pub missing_links: Vec<i64>,
    /// Numbers of rows that came to stand between chained ones.
    pub inserted: Vec<i64>,
    /// Numbers of rows that are not chained yet: those of the last second.
    pub not_chained: Vec<i64>,
}

/// Query of the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct ListAudit {
    /// Only what this account did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Only this action, as `release.approve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Only what was done to this release, addon, installation, volume, token or account: its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Only from this time on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>, example = "2026-11-21T10:00:00Z"))]
    pub since: Option<Timestamp>,
    /// Longest answer, 1 to 1,000; 100 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 1000))]
    pub limit: Option<u32>,
    /// Where the last answer ended: from its `Link` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<i64>,
}
