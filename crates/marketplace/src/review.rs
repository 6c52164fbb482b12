//! Use case: what people decide about releases. One function a row of the table in `domain/release.rs`; yank, unyank and
//! revoke as calls of their own will stand here too.

use addon_client::{ReleaseId, Verdict};
use addon_descriptor::Digest;
use service_kit::auth::{Scope, TokenStore, TokenStoreError};
use service_kit::clock::SharedClock;

use crate::domain::release::{Action, Deletion, IllegalMove, Release, Status, Undeletable, after, deletion};
use crate::domain::verification::may_decide;
use crate::storage::{Decision, Storage, StorageError};
use crate::verification::worker::Bell;

/// What a reviewer says.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a> {
    /// Who says it.
    pub account: &'a str,
    /// Why.
    pub reason: Option<&'a str>,
    /// What was reviewed.
    pub digest: Option<Digest>,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// There is no such release.
    #[error("there is no release with this id")]
    NotFound,
    /// The table has no such move.
    #[error(transparent)]
    Illegal(#[from] IllegalMove),
    /// Its checks are not green.
    #[error(
        "a release that is {} cannot be {} while its checks are {}: GET \u{2026}/verification says what they wait for, and when they are \
         made again by themselves; deleting it needs no checks",
        Status::UnderReview, action.past(), words(*verdict)
    )]
    NotGreen {
        /// What was asked for.
        action: Action,
        /// What the checks found so far.
        verdict: Verdict,
    },
    /// Another document was reviewed.
    #[error("the release has the digest {0}, not the one that was reviewed")]
    OtherDigest(Digest),
    /// Nobody approves their own.
    #[error("the release was published by {0}: another account that may review has to approve it")]
    OwnRelease(String),
    /// Revoked ones stay.
    #[error(transparent)]
    Undeletable(#[from] Undeletable),
    /// Somebody else changed it at the same time.
    #[error("the release was changed by somebody else at the same time; it is {0} now")]
    Changed(Status),
    /// The database.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The tokens.
    #[error(transparent)]
    Tokens(#[from] TokenStoreError),
}

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "not finished",
        Verdict::Pending | Verdict::NoAnswer => "open",
        Verdict::Fail => "red",
    }
}

/// What reviewing needs.
pub struct Reviewer<'a> {
    /// Where releases are.
    pub storage: &'a Storage,
    /// Who else could review.
    pub tokens: &'a TokenStore,
    /// What time it is.
    pub clock: &'a SharedClock,
    /// Wakes the verification.
    pub bell: &'a Bell,
}

impl Reviewer<'_> {
    /// Says yes: compare-and-swap on the digest, and only while every check is green.
    ///
    /// # Errors
    /// See [`ReviewError`].
    pub async fn approve(&self, id: ReleaseId, word: Word<'_>) -> Result<Release, ReviewError> {
        let release = self.find(id).await?;
        may(&release, Action::Approve, word)?;
        if !may_decide(word.account, &release.publisher, self.others_review(word.account).await?) {
            return Err(ReviewError::OwnRelease(release.publisher));
        }
        let now = self.clock.now();
        let digest = word.digest.unwrap_or(release.digest);
        let done = self.storage.approve(&release, digest, word.account, word.reason, now).await?;
        self.finish(&release, Action::Approve, word, done).await
    }

    /// Says no to what its checks found: as for a yes, they have to be green.
    ///
    /// # Errors
    /// See [`ReviewError`].
    pub async fn reject(&self, id: ReleaseId, word: Word<'_>) -> Result<Release, ReviewError> {
        let release = self.find(id).await?;
        let to = may(&release, Action::Reject, word)?;
        let done = self.decide(&release, to, word.account, word.reason).await?;
        self.finish(&release, Action::Reject, word, done).await
    }

    /// Has the checks made again.
    ///
    /// # Errors
    /// See [`ReviewError`].
    pub async fn reverify(&self, id: ReleaseId, word: Word<'_>) -> Result<Release, ReviewError> {
        let release = self.find(id).await?;
        let to = may(&release, Action::Reverify, word)?;
        let done = self.storage.reverify(&release, to, word.reason, self.clock.now()).await?;
        self.bell.ring();
        self.finish(&release, Action::Reverify, word, done).await
    }

    /// Deletes a release, or yanks it where others may rely on it. `allowed` says whether the caller may, once it is known
    /// what the release is.
    ///
    /// # Errors
    /// See [`ReviewError`], and what `allowed` says.
    pub async fn delete<E: From<ReviewError>>(
        &self,
        id: ReleaseId,
        account: &str,
        allowed: impl FnOnce(&Release) -> Result<(), E>,
    ) -> Result<Deletion, E> {
        let release = self.find(id).await?;
        allowed(&release)?;
        let now = self.clock.now();
        let what = deletion(release.status, release.approved_at.map(|at| at.millis()), now.millis());
        let what = what.map_err(ReviewError::from)?;
        let done = match what {
            Deletion::Keep => true,
            Deletion::Remove => {
                self.storage.delete(&release, account, now).await.map_err(ReviewError::from)?
            }
            Deletion::Yank => {
                let reason = format!("withdrawn by {account}");
                self.decide(&release, Status::Yanked, account, Some(&reason)).await?
            }
        };
        if !done {
            return Err(ReviewError::Changed(self.find(id).await?.status).into());
        }
        tracing::info!(release.id = %id, addon.name = release.addon, account.name = account, ?what, "deleted");
        Ok(what)
    }

    async fn decide(
        &self,
        release: &Release,
        to: Status,
        by: &str,
        reason: Option<&str>,
    ) -> Result<bool, ReviewError> {
        let decision = Decision { from: release.status, to, reason, by, now: self.clock.now() };
        Ok(self.storage.decide(release, decision).await?)
    }

    async fn find(&self, id: ReleaseId) -> Result<Release, ReviewError> {
        self.storage.release(id).await?.ok_or(ReviewError::NotFound)
    }

    /// The release after a change; or, when the change did not hit, where somebody else put it meanwhile.
    async fn finish(
        &self,
        before: &Release,
        action: Action,
        word: Word<'_>,
        done: bool,
    ) -> Result<Release, ReviewError> {
        if !done {
            let now = self.find(before.id).await?;
            green(&now, action)?;
            return Err(ReviewError::Changed(now.status));
        }
        tracing::info!(
            release.id = %before.id, addon.name = before.addon, account.name = word.account,
            action = action.as_str(), "reviewed"
        );
        self.find(before.id).await
    }

    async fn others_review(&self, account: &str) -> Result<bool, ReviewError> {
        let now = self.clock.now();
        let tokens = self.tokens.list().await?;
        let good = tokens.iter().filter(|token| token.expires_at.is_none_or(|end| end > now));
        Ok(good.filter(|token| token.account != account).any(|token| token.scopes.allows(Scope::Review)))
    }
}

/// Where the release stands after an action, where the table has that move, the caller means this document, and its
/// checks are as they must be.
fn may(release: &Release, action: Action, word: Word<'_>) -> Result<Status, ReviewError> {
    let to = after(release.status, action)?;
    if word.digest.is_some_and(|digest| digest != release.digest) {
        return Err(ReviewError::OtherDigest(release.digest));
    }
    green(release, action)?;
    Ok(to)
}

/// Refuses what takes green checks while those of a release under review are not.
fn green(release: &Release, action: Action) -> Result<(), ReviewError> {
    let verdict = release.verdict;
    let open = release.status == Status::UnderReview && verdict != Verdict::Pass;
    if open && action.takes_green_checks() { Err(ReviewError::NotGreen { action, verdict }) } else { Ok(()) }
}
