//! The calls of a marketplace about people: who owns a name, who is invited to, who did what.

use reqwest::{Method, header};

use super::transport::{found, with_query};
use super::{ClientError, MarketplaceClient, Page};
use crate::{AuditEntry, AuditReport, Because, InvitationView, InviteRequest, ListAudit, OwnersView};

const BY_NAME: [&str; 4] = ["api", "v1", "marketplace", "by-name"];
const INVITATIONS: [&str; 4] = ["api", "v1", "marketplace", "invitations"];
const AUDIT: [&str; 3] = ["api", "v1", "audit"];

impl MarketplaceClient {
    /// Who owns an addon's name; `None` when there is no such addon that may be seen.
    pub async fn owners(&self, name: &str) -> Result<Option<OwnersView>, ClientError> {
        self.transport.find(self.transport.url_of(&BY_NAME, name, &["owners"])).await
    }

    /// Invites an account to own a name.
    pub async fn invite_owner(&self, name: &str, account: &str) -> Result<OwnersView, ClientError> {
        let body = InviteRequest { account: account.to_owned() };
        self.transport.send(Method::POST, self.transport.url_of(&BY_NAME, name, &["owners"]), &body).await
    }

    /// Takes a name, or an invitation to it, away from an account; `false` when it had neither.
    pub async fn remove_owner(
        &self,
        name: &str,
        account: &str,
        reason: Option<&str>,
    ) -> Result<bool, ClientError> {
        let url = self.transport.url_of(&BY_NAME, name, &["owners", account]);
        self.transport.remove(with_query(url, &Because { reason: reason.map(str::to_owned) })).await
    }

    /// The names that the token's account is invited to own.
    pub async fn invitations(&self) -> Result<Vec<InvitationView>, ClientError> {
        self.transport.read(self.transport.url(&INVITATIONS)).await
    }

    /// Accepts an invitation; `None` when there is none that holds.
    pub async fn accept_invitation(&self, name: &str) -> Result<Option<OwnersView>, ClientError> {
        let url = self.transport.url_of(&INVITATIONS, name, &["accept"]);
        // Without a body: some proxies want its length said.
        let request = self.transport.request(Method::POST, url).header(header::CONTENT_LENGTH, 0);
        found(self.transport.json(request).await)
    }

    /// Declines an invitation; `false` when there is none that holds.
    pub async fn decline_invitation(&self, name: &str) -> Result<bool, ClientError> {
        self.transport.remove(self.transport.url_of(&INVITATIONS, name, &[])).await
    }

    /// Rows of the audit log, the newest first.
    pub async fn audit(&self, query: &ListAudit) -> Result<Page<AuditEntry>, ClientError> {
        self.transport.page(with_query(self.transport.url(&AUDIT), query)).await
    }

    /// Has the audit log held to its chain.
    pub async fn verify_audit(&self) -> Result<AuditReport, ClientError> {
        self.transport.read(self.transport.url_of(&AUDIT, "verify", &[])).await
    }
}
