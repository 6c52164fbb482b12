//! Use case: what is wanted of an installation is changed; the reconciler is to be woken for it.

use addon_client::PatchStatus;
use service_kit::audit::Actor;
use service_kit::clock::Timestamp;

use crate::domain::installation::InstallationId;
use crate::storage::{Storage, StorageError};

/// Enables or disables; asking for what is wanted already changes nothing. `false` when there is no such installation.
///
/// # Errors
/// [`StorageError`] when the database does not answer.
pub async fn set_status(
    storage: &Storage,
    id: InstallationId,
    status: PatchStatus,
    by: &Actor,
    now: Timestamp,
) -> Result<bool, StorageError> {
    match status {
        PatchStatus::Active => storage.enable(id, by, now).await,
        PatchStatus::Disabled => storage.disable(id, by, now).await,
    }
}

/// Why nothing was restarted.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// There is no such installation.
    #[error("there is no such installation")]
    NotFound,
    /// It is disabled: there is nothing to restart.
    #[error("the installation is disabled; enable it with PATCH {{\"status\": \"active\"}}")]
    Disabled,
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Has every service started afresh, completed and failed jobs too.
///
/// # Errors
/// [`RestartError`]: then nothing was written.
pub async fn restart(
    storage: &Storage,
    id: InstallationId,
    by: &Actor,
    now: Timestamp,
) -> Result<(), RestartError> {
    let before = storage
        .installation(id)
        .await?
        .filter(|installation| installation.listed)
        .ok_or(RestartError::NotFound)?;
    if !storage.request_restart(id, by, now).await? {
        return Err(RestartError::NotFound);
    }
    let after = storage.installation(id).await?.ok_or(RestartError::NotFound)?;
    if after.restart_generation == before.restart_generation { Err(RestartError::Disabled) } else { Ok(()) }
}
