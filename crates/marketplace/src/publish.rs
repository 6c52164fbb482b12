//! Use case: a valid descriptor becomes a release under review.

use addon_client::Finding;
use addon_descriptor::{AddonDescriptor, Digest, Violation};
use service_kit::audit::Actor;
use service_kit::clock::SharedClock;
use service_kit::random;

use crate::domain::limits::Limited;
use crate::domain::name::skeleton;
use crate::storage::{InsertError, NewRelease, Published, Storage, StorageError};
use crate::verification::worker::Bell;

/// Why a document was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The addon exists under another spelling.
    #[error("the name {name} is taken by {existing}: names that differ in case or in -, _ and . are one")]
    NameTaken {
        /// As it was posted.
        name: String,
        /// As it is there.
        existing: String,
    },
    /// The version has another document.
    #[error(
        "{name} {version} has another document ({digest}); a release never changes: publish the next version"
    )]
    VersionTaken {
        /// The addon.
        name: String,
        /// The version.
        version: String,
        /// What it has.
        digest: Digest,
    },
    /// The version had another document, and was deleted.
    #[error(
        "{name} {version} was deleted and had another document; a version is never given again: publish the next one"
    )]
    VersionDeleted {
        /// The addon.
        name: String,
        /// The version.
        version: String,
    },
    /// The name belongs to others.
    #[error(
        "{name} belongs to other accounts (GET /api/v1/marketplace/by-name/{name}/owners): have one of them invite yours, or \
         publish under another name"
    )]
    NotOwner {
        /// The addon.
        name: String,
    },
    /// Too much at once.
    #[error(transparent)]
    Limited(Limited),
    /// The highest version is the highest there can be.
    #[error("{name} has no version left after its highest; say one in the document")]
    NoVersionLeft {
        /// The addon.
        name: String,
    },
    /// The database.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What publishing needs.
pub struct Publisher<'a> {
    /// Where releases are.
    pub storage: &'a Storage,
    /// What time it is.
    pub clock: &'a SharedClock,
    /// Wakes the verification.
    pub bell: &'a Bell,
}

impl Publisher<'_> {
    /// Publishes a document for an account; safe to repeat.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(
        &self,
        descriptor: &AddonDescriptor,
        warnings: &[Violation],
        by: &Actor,
    ) -> Result<Published, PublishError> {
        let now = self.clock.now();
        let findings: Vec<Finding> = warnings.iter().map(Finding::from).collect();
        let id = addon_client::ReleaseId::new(now.seconds(), random::bytes());
        let skeleton = skeleton(&descriptor.name.folded());
        let new = NewRelease::new(id, descriptor.clone(), skeleton, findings, by.clone(), now);
        let published = self.storage.publish(new).await.map_err(|error| refusal(descriptor, error))?;
        let (outcome, release) = match &published {
            Published::New(release) => ("new", release),
            Published::Again(release) => ("again", release),
            Published::Existing(release) => ("existing", release),
        };
        metrics::counter!("marketplace_publishes_total", "outcome" => outcome).increment(1);
        if outcome != "existing" {
            tracing::info!(
                addon.name = descriptor.name.as_str(), addon.version = %release.version, release.id = %release.id,
                account.name = by.account(), outcome, "published"
            );
            self.bell.ring();
        }
        Ok(published)
    }
}

fn refusal(descriptor: &AddonDescriptor, error: InsertError) -> PublishError {
    let name = descriptor.name.to_string();
    let version = descriptor.version.as_ref().map(ToString::to_string).unwrap_or_default();
    match error {
        InsertError::NameTaken { existing } => PublishError::NameTaken { name, existing },
        InsertError::VersionTaken { deleted: true, .. } => PublishError::VersionDeleted { name, version },
        InsertError::VersionTaken { digest, .. } => PublishError::VersionTaken { name, version, digest },
        InsertError::NotOwner => PublishError::NotOwner { name },
        InsertError::Limited(limited) => PublishError::Limited(limited),
        InsertError::NoVersionLeft => PublishError::NoVersionLeft { name },
        InsertError::Storage(error) => PublishError::Storage(error),
    }
}
