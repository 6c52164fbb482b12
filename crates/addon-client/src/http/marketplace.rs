//! The client of a marketplace: ours, or (lists, `GET` by id, publish, delete) Oakestra's own.

use addon_descriptor::Digest;
use reqwest::{Method, header};

use super::transport::{Transport, next_cursor, read_json, with_query};
use super::{ClientError, ClientOptions, Page};
use crate::{
    CreatedToken, ListReleases, Release, ReleaseId, ReviewRequest, TokenRequest, TokenView, ValidationAnswer,
    VerificationReport,
};

const ADDONS: [&str; 4] = ["api", "v1", "marketplace", "addons"];

/// Calls a marketplace. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct MarketplaceClient {
    transport: Transport,
    base: url::Url,
}

impl MarketplaceClient {
    /// A client with these options.
    ///
    /// # Errors
    /// [`ClientError::Setup`] where the machine has no certificates to trust.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let base = options.base_url.clone();
        Ok(Self { transport: Transport::new(options)?, base })
    }

    /// The releases that a query finds.
    pub async fn list(&self, query: &ListReleases) -> Result<Page<Release>, ClientError> {
        let url = with_query(self.transport.url(&ADDONS), query);
        let (url, answer, bytes) = self.transport.bytes(self.transport.request(Method::GET, url)).await?;
        let items = read_json(&url, &bytes)?;
        Ok(Page { items, next: next_cursor(answer.link.as_deref(), &self.base) })
    }

    /// A release by its id, in any status; `None` when there is none.
    pub async fn get(&self, id: ReleaseId) -> Result<Option<Release>, ClientError> {
        found(self.transport.json(self.transport.request(Method::GET, self.addon(id, &[]))).await)
    }

    /// Publishes a document, sent as it is.
    pub async fn publish(&self, document: impl Into<Vec<u8>>) -> Result<Release, ClientError> {
        let request = self.transport.request(Method::POST, self.transport.url(&ADDONS));
        let request = request.header(header::CONTENT_TYPE, "application/json").body(document.into());
        self.transport.json(request).await
    }

    /// What the marketplace finds about a document; stores nothing.
    pub async fn validate(&self, document: impl Into<Vec<u8>>) -> Result<ValidationAnswer, ClientError> {
        let url = self.transport.url(&["api", "v1", "marketplace", "validate"]);
        let request = self.transport.request(Method::POST, url);
        let request = request.header(header::CONTENT_TYPE, "application/json").body(document.into());
        self.transport.json(request).await
    }

    /// The canonical bytes of a release's descriptor, unchecked: their digest is the caller's to compare. `None` when
    /// there is no such release, or when the marketplace serves no canonical bytes.
    pub async fn descriptor(&self, id: ReleaseId) -> Result<Option<Vec<u8>>, ClientError> {
        let request = self.transport.request(Method::GET, self.addon(id, &["descriptor"]));
        found(self.transport.bytes(request).await.map(|(_, _, bytes)| bytes))
    }

    /// The canonical bytes of a release's descriptor, held to the digest that is expected.
    ///
    /// # Errors
    /// [`ClientError::Unreadable`] when the bytes have another digest.
    pub async fn checked_descriptor(
        &self,
        id: ReleaseId,
        digest: Digest,
    ) -> Result<Option<Vec<u8>>, ClientError> {
        let Some(bytes) = self.descriptor(id).await? else { return Ok(None) };
        let actual = Digest::of(&bytes);
        if actual == digest {
            return Ok(Some(bytes));
        }
        let what = format!("its bytes have the digest {actual} instead of {digest}");
        Err(ClientError::Unreadable { url: self.addon(id, &["descriptor"]).to_string(), what })
    }

    /// The verification report of a release.
    pub async fn verification(&self, id: ReleaseId) -> Result<Option<VerificationReport>, ClientError> {
        found(
            self.transport.json(self.transport.request(Method::GET, self.addon(id, &["verification"]))).await,
        )
    }

    /// Deletes or yanks a release; `false` when there is none.
    pub async fn delete(&self, id: ReleaseId) -> Result<bool, ClientError> {
        let answer = self.transport.bytes(self.transport.request(Method::DELETE, self.addon(id, &[]))).await;
        Ok(found(answer.map(|_| ()))?.is_some())
    }

    /// Every visible release of an addon, newest first.
    pub async fn versions(&self, name: &str) -> Result<Option<Vec<Release>>, ClientError> {
        let url = self.transport.url(&["api", "v1", "marketplace", "by-name", name]);
        found(self.transport.json(self.transport.request(Method::GET, url)).await)
    }

    /// The release that an addon's version or range resolves to; the newest without one.
    pub async fn resolve(&self, name: &str, version: Option<&str>) -> Result<Option<Release>, ClientError> {
        let mut url = self.transport.url(&["api", "v1", "marketplace", "by-name", name]);
        url.query_pairs_mut().append_pair("version", version.unwrap_or("*"));
        found(self.transport.json(self.transport.request(Method::GET, url)).await)
    }

    /// Approves a release that waits for a reviewer.
    pub async fn approve(&self, id: ReleaseId, body: &ReviewRequest) -> Result<Release, ClientError> {
        self.review(id, "approve", body).await
    }

    /// Rejects a release that waits for a reviewer.
    pub async fn reject(&self, id: ReleaseId, body: &ReviewRequest) -> Result<Release, ClientError> {
        self.review(id, "reject", body).await
    }

    /// Withdraws an approved release.
    pub async fn yank(&self, id: ReleaseId, body: &ReviewRequest) -> Result<Release, ClientError> {
        self.review(id, "yank", body).await
    }

    /// Takes a withdrawal back.
    pub async fn unyank(&self, id: ReleaseId, body: &ReviewRequest) -> Result<Release, ClientError> {
        self.review(id, "unyank", body).await
    }

    /// Has a release checked once more.
    pub async fn reverify(&self, id: ReleaseId, body: &ReviewRequest) -> Result<Release, ClientError> {
        self.review(id, "reverify", body).await
    }

    /// The marketplace's tokens, without their secrets.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, ClientError> {
        self.transport
            .json(self.transport.request(Method::GET, self.transport.url(&["api", "v1", "tokens"])))
            .await
    }

    /// Makes a token.
    pub async fn create_token(&self, body: &TokenRequest) -> Result<CreatedToken, ClientError> {
        let request = self.transport.request(Method::POST, self.transport.url(&["api", "v1", "tokens"]));
        self.transport.json(request.json(body)).await
    }

    /// Revokes a token; `false` when there is none.
    pub async fn revoke_token(&self, id: &str) -> Result<bool, ClientError> {
        let url = self.transport.url(&["api", "v1", "tokens", id]);
        let answer = self.transport.bytes(self.transport.request(Method::DELETE, url)).await;
        Ok(found(answer.map(|_| ()))?.is_some())
    }

    async fn review(
        &self,
        id: ReleaseId,
        action: &str,
        body: &ReviewRequest,
    ) -> Result<Release, ClientError> {
        self.transport.json(self.transport.request(Method::POST, self.addon(id, &[action])).json(body)).await
    }

    fn addon(&self, id: ReleaseId, rest: &[&str]) -> url::Url {
        let id = id.to_string();
        let segments: Vec<&str> =
            ADDONS.into_iter().chain([id.as_str()]).chain(rest.iter().copied()).collect();
        self.transport.url(&segments)
    }
}

/// 404 as `None`.
pub(super) fn found<T>(answer: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(fault) if fault.is_not_found() => Ok(None),
        Err(fault) => Err(fault),
    }
}
