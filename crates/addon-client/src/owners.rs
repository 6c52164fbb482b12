//! Who owns an addon's name, and invitations to that.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Who owns a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OwnersView {
    /// The name as it was published first.
    pub name: String,
    /// Its owners, the oldest first; empty where an administrator took the last one away.
    pub owners: Vec<OwnerView>,
    /// Who is invited: shown to owners and administrators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invitations: Vec<InvitationView>,
}

/// An owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OwnerView {
    /// The account.
    pub account: String,
    /// Since when.
    pub since: Timestamp,
}

/// An invitation to own a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InvitationView {
    /// The name, as it was published first.
    pub name: String,
    /// Who is invited.
    pub account: String,
    /// By whom.
    pub invited_by: String,
    /// When.
    pub invited_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// Body of the call that invites an owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InviteRequest {
    /// The account to invite: 1 to 63 of `a-z A-Z 0-9 . _ -`.
    pub account: String,
}
