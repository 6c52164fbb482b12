//! The client of an addons manager.

use reqwest::{Method, StatusCode};

use super::transport::{Transport, found, read_json, with_query};
use super::{ClientError, ClientOptions, Page};
use crate::{
    AdoptRequest, AuditEntry, CreatedToken, HostView, InstallRequest, Installation, InstallationId,
    ListAudit, ListInstallations, PatchInstallation, RevisionView, RollbackRequest, TokenRequest, TokenView,
    UpgradeRequest, WhyEntry,
};

const ADDONS: [&str; 3] = ["api", "v1", "addons"];
const HOST: [&str; 3] = ["api", "v1", "host"];
const AUDIT: [&str; 3] = ["api", "v1", "audit"];

/// Calls an addons manager. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct ManagerClient {
    transport: Transport,
}

impl ManagerClient {
    /// A client with these options.
    ///
    /// # Errors
    /// [`ClientError::Setup`] where the machine has no certificates to trust.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        Ok(Self { transport: Transport::new(options)? })
    }

    /// The installations that a query finds.
    pub async fn list(&self, query: &ListInstallations) -> Result<Page<Installation>, ClientError> {
        self.transport.page(with_query(self.transport.url(&ADDONS), query)).await
    }

    /// An installation; `None` when there is none.
    pub async fn get(&self, id: InstallationId) -> Result<Option<Installation>, ClientError> {
        self.transport.find(self.addon(id, &[])).await
    }

    /// Installs a release.
    pub async fn install(&self, body: &InstallRequest) -> Result<Installation, ClientError> {
        self.transport.send(Method::POST, self.transport.url(&ADDONS), body).await
    }

    /// Enables, disables or configures an installation.
    pub async fn patch(
        &self,
        id: InstallationId,
        body: &PatchInstallation,
    ) -> Result<Installation, ClientError> {
        self.transport.send(Method::PATCH, self.addon(id, &[]), body).await
    }

    /// Disables an installation, or removes a disabled one. `Some` is the installation that is being disabled, `None`
    /// that it is gone (or was never there).
    pub async fn delete(&self, id: InstallationId) -> Result<Option<Installation>, ClientError> {
        self.remove(self.addon(id, &[])).await
    }

    /// Removes an installation at once, with its volumes where that is asked for.
    pub async fn uninstall(
        &self,
        id: InstallationId,
        delete_volumes: bool,
    ) -> Result<Option<Installation>, ClientError> {
        let mut url = self.addon(id, &[]);
        url.query_pairs_mut().append_pair("force", "true");
        if delete_volumes {
            url.query_pairs_mut().append_pair("volumes", "delete");
        }
        self.remove(url).await
    }

    /// Restarts every service, completed jobs too.
    pub async fn restart(&self, id: InstallationId) -> Result<(), ClientError> {
        let request = self.transport.request(Method::POST, self.addon(id, &["restart"]));
        self.transport.bytes(request).await.map(|_| ())
    }

    /// Has an installation changed to another release of its addon.
    pub async fn upgrade(
        &self,
        id: InstallationId,
        request: &UpgradeRequest,
    ) -> Result<Installation, ClientError> {
        let request = self.transport.request(Method::POST, self.addon(id, &["upgrade"])).json(request);
        self.transport.json(request).await
    }

    /// Has an installation changed to a revision that it had before.
    pub async fn rollback(&self, id: InstallationId, revision: i64) -> Result<Installation, ClientError> {
        let body = RollbackRequest { revision };
        let request = self.transport.request(Method::POST, self.addon(id, &["rollback"])).json(&body);
        self.transport.json(request).await
    }

    /// What the engine was asked for, newest first; `None` when there is no such installation.
    pub async fn revisions(&self, id: InstallationId) -> Result<Option<Vec<RevisionView>>, ClientError> {
        self.transport.find(self.addon(id, &["revisions"])).await
    }

    /// What was done for an installation and why, newest first; `None` when there is no such installation.
    pub async fn why(&self, id: InstallationId) -> Result<Option<Vec<WhyEntry>>, ClientError> {
        self.transport.find(self.addon(id, &["why"])).await
    }

    /// The last lines of a service's log, or of every service's; `None` when there is none.
    pub async fn logs(
        &self,
        id: InstallationId,
        service: Option<&str>,
        tail: u32,
    ) -> Result<Option<String>, ClientError> {
        let mut url = self.addon(id, &["logs"]);
        url.query_pairs_mut().append_pair("tail", &tail.to_string());
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        let answer = self.transport.bytes(self.transport.request(Method::GET, url)).await;
        Ok(found(answer)?.map(|(_, _, bytes)| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The host: engine, disk, foreign objects, kept volumes.
    pub async fn host(&self) -> Result<HostView, ClientError> {
        self.transport.read(self.transport.url(&HOST)).await
    }

    /// Rows of the audit log, the newest first.
    pub async fn audit(&self, query: &ListAudit) -> Result<Page<AuditEntry>, ClientError> {
        self.transport.page(with_query(self.transport.url(&AUDIT), query)).await
    }

    /// Takes a foreign object in.
    pub async fn adopt(&self, foreign_id: &str, body: &AdoptRequest) -> Result<(), ClientError> {
        let url = self.transport.url(&[&HOST[..], &["foreign", foreign_id, "adopt"]].concat());
        self.transport.bytes(self.transport.request(Method::POST, url).json(body)).await.map(|_| ())
    }

    /// Deletes a kept volume; `false` when there is none.
    pub async fn delete_volume(&self, name: &str) -> Result<bool, ClientError> {
        self.transport.remove(self.transport.url(&[&HOST[..], &["volumes", name]].concat())).await
    }

    /// The manager's tokens, without their secrets.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, ClientError> {
        self.transport.tokens().await
    }

    /// Makes a token.
    pub async fn create_token(&self, body: &TokenRequest) -> Result<CreatedToken, ClientError> {
        self.transport.create_token(body).await
    }

    /// Revokes a token; `false` when there is none.
    pub async fn revoke_token(&self, id: &str) -> Result<bool, ClientError> {
        self.transport.revoke_token(id).await
    }

    async fn remove(&self, url: url::Url) -> Result<Option<Installation>, ClientError> {
        let answer = found(self.transport.bytes(self.transport.request(Method::DELETE, url)).await)?;
        match answer {
            Some((url, answer, bytes)) if answer.status != StatusCode::NO_CONTENT => {
                read_json(&url, &bytes).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn addon(&self, id: InstallationId, rest: &[&str]) -> url::Url {
        self.transport.url_of(&ADDONS, id, rest)
    }
}
