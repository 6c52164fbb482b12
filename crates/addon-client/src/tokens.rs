//! Bodies of the calls that list, make and revoke tokens; the same in both services.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Body of the call that makes a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenRequest {
    /// The account that it belongs to; made when it is not there. 1 to 63 of `a-z A-Z 0-9 . _ -`.
    pub account: String,
    /// What it may do, as `read`, `publish`.
    pub scopes: Vec<String>,
    /// Only for addons of these names: `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_pattern: Option<String>,
    /// When it ends; never without this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenView {
    /// Its id, which stands in the token's text too.
    #[serde(rename = "_id")]
    pub id: String,
    /// The account that it belongs to.
    pub account: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Only for addons of these names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_pattern: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A token that was just made: the only time that its text is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedToken {
    /// The text to send as `Authorization: Bearer …`.
    pub token: String,
    /// What is known about it.
    #[serde(flatten)]
    pub view: TokenView,
}

impl std::fmt::Debug for CreatedToken {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedToken").field("token", &"[REDACTED]").field("view", &self.view).finish()
    }
}
