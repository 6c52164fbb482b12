//! The calls for what a marketplace signs; and [`MarketplaceClient::sync_trust`], which brings a store up to date.

use reqwest::{Method, header};
use serde::{Deserialize, Serialize};
use url::Url;

use super::transport::found;
use super::{ClientError, MarketplaceClient};
use crate::trust::{RevokeRequest, ShardSummary, TrustError, TrustStore};
use crate::{Release, ReleaseId, Timestamp};

const MARKETPLACE: [&str; 3] = ["api", "v1", "marketplace"];

/// Most key sets that are followed at once: one a week for twenty years.
const MOST_KEY_SETS: u64 = 1_000;

/// How often the index may change while its parts are fetched.
const MOST_ROUNDS: u32 = 4;

/// The bytes of an answer, and the tag to ask with whether they are still the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The body.
    pub bytes: Vec<u8>,
    /// Its `ETag`.
    pub etag: Option<String>,
}

/// The tags of the documents that were accepted last. Kept beside the [`TrustStore`] they save fetching what is known;
/// losing them costs no more than that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrustTags {
    index: Option<String>,
    revocations: Option<String>,
}

/// Why a store is not up to date. What was accepted before the fault stays accepted.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The marketplace could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What it answered is refused.
    #[error("the marketplace's signed documents are refused")]
    Trust(#[from] TrustError),
    /// It serves no key sets.
    #[error("the marketplace signs nothing")]
    Unsigned,
    /// The index changed faster than its parts could be fetched.
    #[error("the index changes faster than it can be fetched")]
    Unsettled,
}

impl MarketplaceClient {
    /// Revokes a release for good.
    pub async fn revoke(&self, id: ReleaseId, body: &RevokeRequest) -> Result<Release, ClientError> {
        let url = self.signed_url(&["addons", &id.to_string(), "revoke"]);
        self.transport.send(Method::POST, url, body).await
    }

    /// A signed key set: of this version, or the newest. `None` when there is none.
    pub async fn keys(&self, version: Option<u64>) -> Result<Option<Vec<u8>>, ClientError> {
        let version = version.map(|version| version.to_string());
        let path: Vec<&str> = ["keys"].into_iter().chain(version.as_deref()).collect();
        found(self.fetch(self.signed_url(&path), None).await)
            .map(|fetched| fetched.flatten().map(|fetched| fetched.bytes))
    }

    /// The signed root of the index; `None` when it still has this tag.
    pub async fn index(&self, known: Option<&str>) -> Result<Option<Fetched>, ClientError> {
        self.fetch(self.signed_url(&["index"]), known).await
    }

    /// A part of the index as a root means it; `None` when it is another one by now.
    pub async fn index_shard(&self, summary: &ShardSummary) -> Result<Option<Vec<u8>>, ClientError> {
        let mut url = self.signed_url(&["index", &summary.shard.to_string()]);
        url.query_pairs_mut().append_pair("digest", &summary.digest.to_string());
        found(self.fetch(url, None).await).map(|fetched| fetched.flatten().map(|fetched| fetched.bytes))
    }

    /// The signed feed of revocations; `None` when it still has this tag.
    pub async fn revocations(&self, known: Option<&str>) -> Result<Option<Fetched>, ClientError> {
        self.fetch(self.signed_url(&["revocations"]), known).await
    }

    /// Brings a store up to date for these addons: keys along their chain, the root of the index, the parts that changed,
    /// the revocations. What it knows of other addons it forgets. Usually two small calls with nothing new.
    ///
    /// # Errors
    /// See [`SyncError`]. What the store knew it still knows.
    pub async fn sync_trust(
        &self,
        store: &mut TrustStore,
        tags: &mut TrustTags,
        addons: &[&str],
        now: Timestamp,
    ) -> Result<(), SyncError> {
        if store.keys().is_none() {
            self.first_keys(store).await?;
        }
        let known = tags.index.take().filter(|_| store.index().is_some());
        let fetched = self.index(known.as_deref()).await?;
        tags.index = self
            .accept(store, fetched, known, |store, bytes| store.accept_index(bytes, now).map(|_| ()))
            .await?;
        let mut rounds = 0;
        while let Some(summary) = store.wanted_shards(addons.iter().copied()).first().copied() {
            let accepted = match self.index_shard(&summary).await? {
                None => false,
                Some(bytes) => match store.accept_shard(summary.shard, &bytes, addons.iter().copied()) {
                    Ok(()) => true,
                    Err(TrustError::OtherShard { .. }) => false,
                    Err(error) => return Err(error.into()),
                },
            };
            if !accepted {
                rounds += 1;
                if rounds == MOST_ROUNDS {
                    return Err(SyncError::Unsettled);
                }
                let fetched = self.index(None).await?;
                let accept =
                    |store: &mut TrustStore, bytes: &[u8]| store.accept_index(bytes, now).map(|_| ());
                tags.index = self.accept(store, fetched, None, accept).await?;
            }
        }
        store.keep_only(addons.iter().copied());
        // After the index, which says how many there are.
        let known = tags.revocations.take().filter(|_| store.revocations().is_some());
        let fetched = self.revocations(known.as_deref()).await?;
        let accept = |store: &mut TrustStore, bytes: &[u8]| store.accept_revocations(bytes, now).map(|_| ());
        tags.revocations = self.accept(store, fetched, known, accept).await?;
        Ok(())
    }

    /// Has a document accepted; where a newer key set may have its key, after following the chain. Answers the tag of what
    /// the store has then.
    async fn accept(
        &self,
        store: &mut TrustStore,
        fetched: Option<Fetched>,
        known: Option<String>,
        accept: impl Fn(&mut TrustStore, &[u8]) -> Result<(), TrustError>,
    ) -> Result<Option<String>, SyncError> {
        let Some(Fetched { bytes, etag }) = fetched else { return Ok(known) };
        match accept(store, &bytes) {
            Err(fault @ TrustError::UnknownKey { .. }) => {
                if !self.follow(store).await? {
                    return Err(fault.into());
                }
                accept(store, &bytes)?;
            }
            done => done?,
        }
        if store.next_keys().is_some() {
            self.follow(store).await?;
        }
        Ok(etag)
    }

    /// Accepts the key sets that follow the known one; whether there were any.
    async fn follow(&self, store: &mut TrustStore) -> Result<bool, SyncError> {
        let mut followed = false;
        for _ in 0..MOST_KEY_SETS {
            let next = store.keys().map_or(1, |keys| keys.version + 1);
            let Some(bytes) = self.keys(Some(next)).await? else { break };
            followed |= store.accept_keys(&bytes)?;
        }
        Ok(followed)
    }

    /// The first keys: the newest that is believed. A pinned key that is retired by now stands behind an older set only.
    async fn first_keys(&self, store: &mut TrustStore) -> Result<(), SyncError> {
        let newest = self.keys(None).await?.ok_or(SyncError::Unsigned)?;
        let Err(refused) = store.accept_keys(&newest) else { return Ok(()) };
        if refused != TrustError::NotPinned {
            return Err(refused.into());
        }
        for version in 1..=MOST_KEY_SETS {
            let Some(bytes) = self.keys(Some(version)).await? else { break };
            match store.accept_keys(&bytes) {
                Ok(_) => {
                    self.follow(store).await?;
                    return Ok(());
                }
                Err(TrustError::NotPinned) => (),
                Err(error) => return Err(error.into()),
            }
        }
        Err(refused.into())
    }

    /// `None`: 304.
    async fn fetch(&self, url: Url, known: Option<&str>) -> Result<Option<Fetched>, ClientError> {
        let mut request = self.transport.request(Method::GET, url);
        if let Some(known) = known {
            request = request.header(header::IF_NONE_MATCH, known);
        }
        match self.transport.bytes(request).await {
            Ok((_, answer, bytes)) => Ok(Some(Fetched { bytes, etag: answer.etag })),
            Err(fault) if known.is_some() && fault.status() == Some(304) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn signed_url(&self, path: &[&str]) -> Url {
        self.transport.url(&[&MARKETPLACE, path].concat())
    }
}
