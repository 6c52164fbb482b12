//! Use case: a volume that an uninstalled addon left is deleted with its data.

use service_kit::audit::Actor;
use service_kit::clock::Timestamp;

use crate::domain::installation::{InstallationId, KeptVolume};
use crate::reconciler::state::NONCE_LABEL;
use crate::runtime::{ContainerRuntime, Listing, OwnVolumeName, RuntimeError};
use crate::storage::{Storage, StorageError};

/// Why a kept volume stays.
#[derive(Debug, thiserror::Error)]
pub enum KeptVolumeError {
    /// None is kept under this name.
    #[error("no volume `{0}` is kept")]
    NotFound(String),
    /// A volume of the name is there, and it is not the one that was kept.
    #[error("the volume `{0}` on the engine is not the one that was kept: this manager did not make it")]
    NotOurs(String),
    /// It belongs to an addon that is installed.
    #[error(
        "the volume `{volume}` belongs to installation `{name}` ({id}): it goes with DELETE \
         /api/v1/addons/{id}?force=true&volumes=delete"
    )]
    Owned {
        /// The volume.
        volume: String,
        /// Whose it is.
        id: InstallationId,
        /// The name of that one.
        name: String,
    },
    /// Its installation is being removed, and leaves it.
    #[error(
        "the volume `{volume}` still belongs to installation `{name}`, which is being removed: try again in a moment"
    )]
    Leaving {
        /// The volume.
        volume: String,
        /// The name of its installation.
        name: String,
    },
    /// Somebody uses it.
    #[error("the volume `{volume}` is in use by container `{container}`")]
    InUse {
        /// The volume.
        volume: String,
        /// A container that mounts it.
        container: String,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] RuntimeError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The volumes that outlived their installation, by name; those of an installation whose removal is under way too, which will.
///
/// # Errors
/// [`StorageError`]. Without a listing, while the engine does not answer, what is in the ledger counts as there.
pub async fn kept_volumes(
    storage: &Storage,
    listing: impl Future<Output = Option<Listing>>,
) -> Result<Vec<KeptVolume>, StorageError> {
    // In this order: what is kept between the two reads is in both, and in no case in none.
    let mut staying = storage.volumes_that_stay().await?;
    let mut kept = storage.kept_volumes().await?;
    staying.retain(|volume| kept.iter().all(|kept| kept.name != volume.name));
    if staying.is_empty() {
        return Ok(kept);
    }
    if let Some(listing) = listing.await {
        let is_there = |volume: &KeptVolume| {
            let listed = listing.volumes.iter().find(|listed| listed.name == volume.name);
            listed.is_some_and(|listed| listed.labels.get(NONCE_LABEL) == Some(&volume.nonce))
        };
        staying.retain(is_there);
    }
    kept.append(&mut staying);
    kept.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(kept)
}

/// Deletes it in the name of `by`. The row goes first, so that no installation can be given a volume that is about to be deleted; it comes back when the engine
/// refuses.
///
/// # Errors
/// [`KeptVolumeError`]: then the volume is still kept.
pub async fn delete_kept_volume(
    storage: &Storage,
    runtime: &dyn ContainerRuntime,
    name: &str,
    by: &Actor,
    now: Timestamp,
) -> Result<(), KeptVolumeError> {
    let not_found = || KeptVolumeError::NotFound(name.to_owned());
    let Some(kept) = storage.kept_volume(name).await? else {
        return Err(match storage.volume_owner(name).await? {
            Some((_, owner, true)) => KeptVolumeError::Leaving { volume: name.to_owned(), name: owner },
            Some((id, owner, false)) => KeptVolumeError::Owned { volume: name.to_owned(), id, name: owner },
            None => not_found(),
        });
    };
    let listing = runtime.list().await?;
    if let Some(container) = listing
        .containers
        .iter()
        .find(|container| container.mounts.iter().any(|mount| mount.volume.as_deref() == Some(name)))
    {
        return Err(KeptVolumeError::InUse { volume: name.to_owned(), container: container.name.clone() });
    }
    let listed = listing.volumes.iter().find(|volume| volume.name == name);
    // Name and nonce together are the proof that it is ours; somebody may have made another one of the name.
    let is_ours = listed.is_none_or(|volume| volume.labels.get(NONCE_LABEL) == Some(&kept.nonce));
    if !is_ours {
        return Err(KeptVolumeError::NotOurs(name.to_owned()));
    }
    if !storage.forget_kept_volume(name, &kept.nonce, by, now).await? {
        return Err(not_found());
    }
    if listed.is_some() {
        remove(storage, runtime, &kept, by, now).await?;
    }
    tracing::info!(volume.name = name, addon.name = kept.addon, "a kept volume was deleted");
    Ok(())
}

async fn remove(
    storage: &Storage,
    runtime: &dyn ContainerRuntime,
    kept: &KeptVolume,
    by: &Actor,
    now: Timestamp,
) -> Result<(), KeptVolumeError> {
    match runtime.remove_volume(&OwnVolumeName(kept.name.clone())).await {
        Ok(()) | Err(RuntimeError::Gone { .. }) => Ok(()),
        Err(error) => {
            storage.keep_volume_again(kept, by, &error.to_string(), now).await?;
            Err(error.into())
        }
    }
}
