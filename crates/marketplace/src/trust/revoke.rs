//! Use case: a release is revoked, for good. It leaves the lists, and the feed tells those who have it.

use addon_client::ReleaseId;
use addon_client::trust::Severity;
use addon_descriptor::Version;
use service_kit::clock::SharedClock;

use crate::domain::release::Release;
use crate::domain::transition::{Action, after};
use crate::review::{ReviewError, Word};
use crate::storage::{Revoked, Revoking, Storage};

/// What is said of a release that is revoked, beside why.
#[derive(Debug, Clone, Copy)]
pub struct Revocation<'a> {
    /// Why; shown to everyone who has the release.
    pub reason: &'a str,
    /// What becomes of installed copies.
    pub severity: Severity,
    /// The first version without the fault.
    pub fixed_in: Option<&'a Version>,
}

/// Revokes a release that is approved or yanked; one that is revoked already, with a higher severity.
///
/// # Errors
/// See [`ReviewError`].
pub async fn revoke(
    storage: &Storage,
    clock: &SharedClock,
    id: ReleaseId,
    word: Word<'_>,
    revocation: Revocation<'_>,
) -> Result<Release, ReviewError> {
    let find = async || storage.release(id).await?.ok_or(ReviewError::NotFound);
    let release = find().await?;
    after(release.status, Action::Revoke)?;
    if word.digest.is_some_and(|digest| digest != release.digest) {
        return Err(ReviewError::OtherDigest(release.digest));
    }
    let Revocation { reason, severity, fixed_in } = revocation;
    let revoking =
        Revoking { from: release.status, severity, reason, fixed_in, by: word.by, now: clock.now() };
    let done = storage.revoke(&release, revoking).await?;
    let revoked = find().await?;
    match done {
        Revoked::Done => (),
        Revoked::Elsewhere => return Err(ReviewError::Changed(revoked.status)),
        Revoked::AsSevere(severity) => return Err(ReviewError::NotRaised(severity)),
    }
    tracing::warn!(
        release.id = %id, addon.name = release.addon, account.name = word.by.account(), %severity, "revoked"
    );
    Ok(revoked)
}
