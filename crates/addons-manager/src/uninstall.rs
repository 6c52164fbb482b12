//! Use case: an installation is disabled first, then removed. Its row stays, unlisted, until the reconciler has removed what is left.

use addon_client::InstallationStatus;
use service_kit::audit::Actor;
use service_kit::clock::Timestamp;

use crate::domain::installation::{Desired, Installation, InstallationId};
use crate::requirement;
use crate::storage::installations::ListFilter;
use crate::storage::{Storage, StorageError};

/// How it is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removal {
    /// At once, whether or not it is disabled, and though others require it.
    pub force: bool,
    /// Whether its volumes go with it, or are kept for the next installation of that addon under that name. Said at either step, it counts until
    /// the other is said or the installation is enabled again; never said, they are kept.
    pub delete_volumes: Option<bool>,
}

/// What came of it.
#[derive(Debug)]
pub enum Removed {
    /// It is being disabled; to be removed by another call when it is `disabled`.
    Disabling(Box<Installation>),
    /// It is gone for its clients.
    Gone,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is no such installation.
    #[error("there is no such installation")]
    NotFound,
    /// Others need it.
    #[error("it is required by {}", .0.join(", "))]
    Required(Vec<String>),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Disables what is not disabled, removes what is.
///
/// # Errors
/// [`RemoveError`]: then nothing was written.
pub async fn remove(
    storage: &Storage,
    id: InstallationId,
    how: Removal,
    by: &Actor,
    now: Timestamp,
) -> Result<Removed, RemoveError> {
    let listed = storage.installations(&ListFilter::default()).await?;
    let installation =
        listed.iter().find(|installation| installation.id == id).ok_or(RemoveError::NotFound)?;
    if !how.force {
        let dependents = requirement::dependents(installation, &listed);
        if !dependents.is_empty() {
            let names = dependents.iter().map(|dependent| format!("`{}` ({})", dependent.name, dependent.id));
            return Err(RemoveError::Required(names.collect()));
        }
    }
    let is_disabled =
        installation.desired == Desired::Disabled && installation.status == InstallationStatus::Disabled;
    if (how.force || is_disabled) && storage.uninstall(id, how.force, how.delete_volumes, by, now).await? {
        tracing::info!(installation.id = %id, addon.name = %installation.addon, volumes.delete = how.delete_volumes.unwrap_or(installation.delete_volumes), account = by.account(), "uninstalling");
        return Ok(Removed::Gone);
    }
    // Not disabled, or enabled by somebody in between: the first step.
    if !storage.begin_removal(id, how.delete_volumes, by, now).await? {
        return Err(RemoveError::NotFound);
    }
    match storage.installation(id).await? {
        Some(installation) if installation.listed => Ok(Removed::Disabling(Box::new(installation))),
        _ => Err(RemoveError::NotFound),
    }
}
