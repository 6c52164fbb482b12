//! The client of a marketplace: ours, or (lists, `GET` by id, publish, delete) Oakestra's own.

use addon_descriptor::Digest;
use reqwest::{Method, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::transport::{Transport, found, with_query};
use super::{ClientError, ClientOptions, Page};
use crate::{
    AddonStats, Because, CreatedToken, FacetsAnswer, InstallReport, ListReleases, MarketStats, Release,
    ReleaseDiff, ReleaseId, ReviewRequest, TokenRequest, TokenView, ValidationAnswer, VerificationReport,
};

const ADDONS: [&str; 4] = ["api", "v1", "marketplace", "addons"];
const BY_NAME: [&str; 4] = ["api", "v1", "marketplace", "by-name"];

/// The rule of the finding by which a 404 tells of a release that is not approved.
const NOT_APPROVED: &str = "release-not-approved";

/// Most parts that are asked for of one addon's releases: of a usual size, that is 100,000 releases.
const MOST_PARTS: u32 = 100;

/// Calls a marketplace. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct MarketplaceClient {
    pub(super) transport: Transport,
}

impl MarketplaceClient {
    /// A client with these options.
    ///
    /// # Errors
    /// [`ClientError::Setup`] where the machine has no certificates to trust.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        Ok(Self { transport: Transport::new(options)? })
    }

    /// The releases that a query finds.
    pub async fn list(&self, query: &ListReleases) -> Result<Page<Release>, ClientError> {
        self.transport.page(with_query(self.transport.url(&ADDONS), query)).await
    }

    /// A release by its id, in any status; `None` when there is none.
    pub async fn get(&self, id: ReleaseId) -> Result<Option<Release>, ClientError> {
        self.transport.find(self.addon(id, &[])).await
    }

    /// Publishes a document, sent as it is.
    pub async fn publish(&self, document: impl Into<Vec<u8>>) -> Result<Release, ClientError> {
        self.document(self.transport.url(&ADDONS), document.into()).await
    }

    /// What the marketplace finds about a document; stores nothing.
    pub async fn validate(&self, document: impl Into<Vec<u8>>) -> Result<ValidationAnswer, ClientError> {
        self.document(self.marketplace("validate"), document.into()).await
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
        self.transport.find(self.addon(id, &["verification"])).await
    }

    /// What a release changes against the addon's last approved one; `None` when there is no such release.
    pub async fn diff(&self, id: ReleaseId) -> Result<Option<ReleaseDiff>, ClientError> {
        self.transport.find(self.addon(id, &["diff"])).await
    }

    /// How many of the addons that a query finds have which category, keyword, platform and grade of rights. Of the query
    /// only the filters count: what orders, cuts or goes on is left out.
    pub async fn facets(&self, query: &ListReleases) -> Result<FacetsAnswer, ClientError> {
        let ListReleases { name, q, category, keyword, platform, risk, .. } = query.clone();
        let filters = ListReleases { name, q, category, keyword, platform, risk, ..ListReleases::default() };
        self.transport.read(with_query(self.marketplace("facets"), &filters)).await
    }

    /// How much there is of everything.
    pub async fn stats(&self) -> Result<MarketStats, ClientError> {
        self.transport.read(self.marketplace("stats")).await
    }

    /// Facts about an addon; `None` when no such addon is listed.
    pub async fn addon_stats(&self, name: &str) -> Result<Option<AddonStats>, ClientError> {
        self.transport.find(self.transport.url_of(&BY_NAME, name, &["stats"])).await
    }

    /// Reports an installation, to be counted; `false` when no such addon is listed.
    pub async fn report_install(&self, report: &InstallReport) -> Result<bool, ClientError> {
        let request = self.transport.request(Method::POST, self.marketplace("installs")).json(report);
        Ok(found(self.transport.bytes(request).await)?.is_some())
    }

    /// The JSON Schema of the descriptor.
    pub async fn schema(&self) -> Result<Value, ClientError> {
        self.transport.read(self.marketplace("schema")).await
    }

    /// Deletes or yanks a release; `false` when there is none.
    pub async fn delete(&self, id: ReleaseId, reason: Option<&str>) -> Result<bool, ClientError> {
        self.transport
            .remove(with_query(self.addon(id, &[]), &Because { reason: reason.map(str::to_owned) }))
            .await
    }

    /// Every visible release of an addon, newest first, however many parts the marketplace answers them in. `None` when
    /// there is none.
    ///
    /// # Errors
    /// [`ClientError::Unreadable`] when the parts do not end.
    pub async fn versions(&self, name: &str) -> Result<Option<Vec<Release>>, ClientError> {
        let first = self.transport.url_of(&BY_NAME, name, &[]);
        let Some(Page { mut items, mut next }) = found(self.transport.page(first.clone()).await)? else {
            return Ok(None);
        };
        for _ in 0..MOST_PARTS {
            let Some(cursor) = next else { return Ok(Some(items)) };
            let mut url = first.clone();
            url.query_pairs_mut().append_pair("cursor", &cursor);
            let part: Page<Release> = self.transport.page(url).await?;
            items.extend(part.items);
            next = part.next;
        }
        let what = format!("after {MOST_PARTS} parts there are more");
        Err(ClientError::Unreadable { url: first.to_string(), what })
    }

    /// The release that an addon's version or range resolves to; the newest without one.
    pub async fn resolve(&self, name: &str, version: Option<&str>) -> Result<Option<Release>, ClientError> {
        Ok(self.resolve_or_why(name, version).await?.ok())
    }

    /// As [`resolve`](Self::resolve), and where there is none what the marketplace says of one that is not approved.
    pub async fn resolve_or_why(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Result<Release, Option<String>>, ClientError> {
        let mut url = self.transport.url_of(&BY_NAME, name, &[]);
        url.query_pairs_mut().append_pair("version", version.unwrap_or("*"));
        match self.transport.json(self.transport.request(Method::GET, url)).await {
            Ok(release) => Ok(Ok(release)),
            Err(ClientError::Problem { status: 404, problem, .. }) => {
                let of_others = problem.errors.into_iter().find(|finding| finding.rule == NOT_APPROVED);
                Ok(Err(of_others.map(|finding| finding.message)))
            }
            Err(fault) => Err(fault),
        }
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

    async fn review(
        &self,
        id: ReleaseId,
        action: &str,
        body: &ReviewRequest,
    ) -> Result<Release, ClientError> {
        self.transport.send(Method::POST, self.addon(id, &[action]), body).await
    }

    /// Sends a document as it is.
    async fn document<T: DeserializeOwned>(&self, url: Url, document: Vec<u8>) -> Result<T, ClientError> {
        let request = self.transport.request(Method::POST, url);
        let request = request.header(header::CONTENT_TYPE, "application/json").body(document);
        self.transport.json(request).await
    }

    fn marketplace(&self, what: &str) -> Url {
        self.transport.url(&["api", "v1", "marketplace", what])
    }

    fn addon(&self, id: ReleaseId, rest: &[&str]) -> Url {
        self.transport.url_of(&ADDONS, id, rest)
    }
}
