//! Use case: what people decide about releases. One function a row of the table in `domain/transition.rs`; revoking, which
//! reaches those who have a release already, is beside the feed that tells them.

use addon_client::trust::Severity;
use addon_client::{ReleaseId, Verdict};
use addon_descriptor::{Digest, Version};
use service_kit::audit::Actor;
use service_kit::auth::{Scope, TokenStore, TokenStoreError};
use service_kit::clock::SharedClock;

use crate::domain::limits::{Kind, Limited};
use crate::domain::release::{Release, Status};
use crate::domain::transition::{Action, Deletion, IllegalMove, Undeletable, after, deletion};
use crate::domain::verification::may_decide;
use crate::storage::{Decision, Storage, StorageError};
use crate::verification::worker::Bell;

/// What a reviewer says.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a> {
    /// Who says it.
    pub by: &'a Actor,
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
    #[error(
        "{account} published the release or owns its name: another account that may review has to approve it"
    )]
    OwnRelease {
        /// Who asked.
        account: String,
    },
    /// Owners take back what owners did.
    #[error(
        "an administrator yanked {addon} {version}: that is not its owners' to take back or to delete; ask an administrator"
    )]
    Administered {
        /// The addon.
        addon: String,
        /// The version.
        version: Version,
    },
    /// A revocation is raised, never lowered.
    #[error(
        "the release is revoked with severity {0} already: it can be raised (warn, block-install, stop), not lowered or repeated"
    )]
    NotRaised(Severity),
    /// Too much at once.
    #[error(transparent)]
    Limited(Limited),
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
    /// Everybody is one account: then what is whose means nothing.
    pub open: bool,
}

impl Reviewer<'_> {
    /// Says yes: compare-and-swap on the digest, and only while every check is green.
    ///
    /// # Errors
    /// See [`ReviewError`].
    pub async fn approve(&self, id: ReleaseId, word: Word<'_>) -> Result<Release, ReviewError> {
        let release = self.find(id).await?;
        may(&release, Action::Approve, word)?;
        let is_own = !self.open && self.is_own(&release, word.by.account()).await?;
        if is_own && !may_decide(is_own, self.others_review(&release).await?) {
            return Err(ReviewError::OwnRelease { account: word.by.account().to_owned() });
        }
        let now = self.clock.now();
        let digest = word.digest.unwrap_or(release.digest);
        let done = self.storage.approve(&release, digest, word.by, word.reason, now).await?;
        if !done {
            // A name like its own may have been approved meanwhile: then its checks are made again.
            self.bell.ring();
        }
        self.finish(&release, Action::Approve, word, done).await
    }

    /// Says no to what its checks found: as for a yes, they have to be green.
    ///
    /// # Errors
    /// See [`ReviewError`].
    pub async fn reject(&self, id: ReleaseId, word: Word<'_>) -> Result<Release, ReviewError> {
        let release = self.find(id).await?;
        let to = may(&release, Action::Reject, word)?;
        let done = self.decide(&release, to, Action::Reject, word.by, word.reason).await?;
        self.finish(&release, Action::Reject, word, done).await
    }

    /// Takes an approved release out of the lists; those who have it keep it.
    ///
    /// # Errors
    /// See [`ReviewError`].
    pub async fn yank(&self, id: ReleaseId, word: Word<'_>) -> Result<Release, ReviewError> {
        self.withdraw(id, Action::Yank, word).await
    }

    /// Takes a yank back.
    ///
    /// # Errors
    /// See [`ReviewError`].
    pub async fn unyank(&self, id: ReleaseId, word: Word<'_>) -> Result<Release, ReviewError> {
        self.withdraw(id, Action::Unyank, word).await
    }

    async fn withdraw(&self, id: ReleaseId, action: Action, word: Word<'_>) -> Result<Release, ReviewError> {
        let release = self.find(id).await?;
        let to = may(&release, action, word)?;
        is_theirs(&release, word.by)?;
        self.take(word.by, Kind::Withdrawal).await?;
        let done = self.decide(&release, to, action, word.by, word.reason).await?;
        self.finish(&release, action, word, done).await
    }

    /// Has the checks made again. `at_once`, which is for those who may review, asks registries once also while they want to
    /// be left alone; so a release under review that waits for one can be checked again too.
    ///
    /// # Errors
    /// See [`ReviewError`].
    pub async fn reverify(
        &self,
        id: ReleaseId,
        word: Word<'_>,
        at_once: bool,
    ) -> Result<Release, ReviewError> {
        let release = self.find(id).await?;
        let waits = release.status == Status::UnderReview && release.verdict == Verdict::NoAnswer;
        let to = if at_once && waits {
            is_meant(&release, word)?;
            Status::UnderReview
        } else {
            may(&release, Action::Reverify, word)?
        };
        self.take(word.by, Kind::NewVersion).await?;
        let now = self.clock.now();
        let done = self.storage.reverify(&release, to, at_once, word.reason, word.by, now).await?;
        self.bell.ring();
        self.finish(&release, Action::Reverify, word, done).await
    }

    /// Deletes a release, or yanks it where others may rely on it; who has it then reads why.
    ///
    /// # Errors
    /// See [`ReviewError`].
    pub async fn delete(
        &self,
        release: &Release,
        by: &Actor,
        reason: Option<&str>,
    ) -> Result<Deletion, ReviewError> {
        let now = self.clock.now();
        let what = deletion(release.status, release.approved_at.map(|at| at.millis()), now.millis())?;
        if what != Deletion::Keep {
            is_theirs(release, by)?;
            self.take(by, Kind::Withdrawal).await?;
        }
        let done = match what {
            Deletion::Keep => true,
            Deletion::Remove => self.storage.delete(release, by, reason, now).await?,
            Deletion::Yank => {
                let unsaid = format!("withdrawn by {}", by.account());
                self.decide(release, Status::Yanked, Action::Yank, by, Some(reason.unwrap_or(&unsaid)))
                    .await?
            }
        };
        if !done {
            return Err(ReviewError::Changed(self.find(release.id).await?.status));
        }
        tracing::info!(
            release.id = %release.id, addon.name = release.addon, account.name = by.account(), ?what, "deleted"
        );
        Ok(what)
    }

    async fn decide(
        &self,
        release: &Release,
        to: Status,
        action: Action,
        by: &Actor,
        reason: Option<&str>,
    ) -> Result<bool, ReviewError> {
        let now = self.clock.now();
        let over_owners = to == Status::Yanked
            && by.is_administrator()
            && !self.storage.owns(&release.addon, by.account()).await?;
        let decision = Decision { from: release.status, to, action, reason, by, over_owners, now };
        Ok(self.storage.decide(release, decision).await?)
    }

    async fn take(&self, by: &Actor, kind: Kind) -> Result<(), ReviewError> {
        match self.storage.take(by, kind, self.clock.now()).await? {
            None => Ok(()),
            Some(limited) => Err(ReviewError::Limited(limited)),
        }
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
            release.id = %before.id, addon.name = before.addon, account.name = word.by.account(),
            action = action.as_str(), "reviewed"
        );
        self.find(before.id).await
    }

    /// Whether an account published the release, or owns its name.
    async fn is_own(&self, release: &Release, account: &str) -> Result<bool, ReviewError> {
        Ok(release.publisher == account || self.storage.owns(&release.addon, account).await?)
    }

    /// Whether somebody may review this release whose it is not.
    async fn others_review(&self, release: &Release) -> Result<bool, ReviewError> {
        let now = self.clock.now();
        let owners = self.storage.owners(&release.addon).await?;
        let is_own = |account: &str| {
            account == release.publisher || owners.iter().any(|owner| owner.account == account)
        };
        let tokens = self.tokens.list().await?;
        Ok(tokens.iter().any(|token| {
            token.expires_at.is_none_or(|end| end > now)
                && token.scopes.allows(Scope::Review)
                && token.names.as_ref().is_none_or(|names| names.matches(&release.addon))
                && !is_own(&token.account)
        }))
    }
}

/// Whether somebody may undo how the release stands: what an administrator yanked is not its owners' to put back, nor to
/// delete, after which it could be published again.
fn is_theirs(release: &Release, by: &Actor) -> Result<(), ReviewError> {
    if release.status == Status::Yanked && release.yanked_by_admin && !by.is_administrator() {
        let (addon, version) = (release.addon.clone(), release.version.clone());
        return Err(ReviewError::Administered { addon, version });
    }
    Ok(())
}

/// Where the release stands after an action, where the table has that move, the caller means this document, and its
/// checks are as they must be.
fn may(release: &Release, action: Action, word: Word<'_>) -> Result<Status, ReviewError> {
    let to = after(release.status, action)?;
    is_meant(release, word)?;
    green(release, action)?;
    Ok(to)
}

/// Refuses a word about another document.
fn is_meant(release: &Release, word: Word<'_>) -> Result<(), ReviewError> {
    if word.digest.is_some_and(|digest| digest != release.digest) {
        return Err(ReviewError::OtherDigest(release.digest));
    }
    Ok(())
}

/// Refuses what takes green checks while those of a release under review are not.
fn green(release: &Release, action: Action) -> Result<(), ReviewError> {
    let verdict = release.verdict;
    let open = release.status == Status::UnderReview && verdict != Verdict::Pass;
    if open && action.takes_green_checks() { Err(ReviewError::NotGreen { action, verdict }) } else { Ok(()) }
}
