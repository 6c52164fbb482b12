//! The ledger of networks, volumes and images: what was made here, and what was learned of the images.

use std::collections::HashSet;

use addon_client::Timestamp;
use serde_json::json;
use service_kit::audit::Actor;
use sqlx::sqlite::SqliteConnection;

use super::{Storage, StorageError, audit, to_json};
use crate::domain::installation::{InstallationId, VolumeOrigin};
use crate::domain::specification::{NetworkSpecification, VolumeSpecification};
use crate::reconciler::state::ImageRow;

/// A volume that is about to be created.
#[derive(Debug, Clone)]
pub(crate) struct NewVolume<'a> {
    pub(crate) installation: InstallationId,
    pub(crate) name: &'a str,
    /// Random; used unless the volume was created before.
    pub(crate) nonce: &'a str,
    pub(crate) origin: VolumeOrigin,
    /// Empty for a declared one.
    pub(crate) service: &'a str,
    pub(crate) specification: &'a VolumeSpecification,
}

/// A volume on the engine that is to be an installation's from now on.
pub(crate) struct FoundVolume<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// The nonce that its label carries.
    pub(crate) nonce: &'a str,
    /// Where it comes from.
    pub(crate) origin: VolumeOrigin,
    /// What is meant.
    pub(crate) specification: &'a VolumeSpecification,
}

/// A network that the engine has already and that is taken into the ledger.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoundNetwork<'a> {
    pub(crate) name: &'a str,
    pub(crate) nonce: &'a str,
    pub(crate) engine_id: &'a str,
    /// The id in whose place it comes: the engine has that one no more.
    pub(crate) gone: Option<&'a str>,
    pub(crate) specification: &'a NetworkSpecification,
}

/// Everything that the ledger proves to be ours, of whichever installation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proven {
    /// Engine ids of containers and networks.
    pub(crate) ids: HashSet<String>,
    /// Volumes by name and nonce, kept ones too.
    pub(crate) volumes: HashSet<(String, String)>,
}

impl Storage {
    /// Writes the row of a network that is about to be created; answers its key and the nonce to create with. An earlier nonce stays while
    /// its network has no id, since a create whose answer was lost may have made it.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn open_network(
        &self,
        installation: Option<InstallationId>,
        name: &str,
        nonce: &str,
        specification: &NetworkSpecification,
        now: Timestamp,
    ) -> Result<(i64, String), StorageError> {
        let failed = || StorageError::query("write network");
        let mut tx = self.begin().await?;
        let pending: Option<String> = sqlx::query_scalar(
            "SELECT nonce FROM networks WHERE name = $1 AND surplus = 0 AND engine_id IS NULL",
        )
        .bind(name)
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed())?;
        sqlx::query("DELETE FROM networks WHERE name = $1 AND surplus = 0")
            .bind(name)
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        let nonce = pending.unwrap_or_else(|| nonce.to_owned());
        let sql = "INSERT INTO networks (installation_id, name, nonce, specification, created_at_ms) VALUES ($1, $2, $3, $4, $5) RETURNING id";
        let row: i64 = sqlx::query_scalar(sql)
            .bind(installation.map(|id| id.to_string()))
            .bind(name)
            .bind(&nonce)
            .bind(to_json(specification))
            .bind(now.millis())
            .fetch_one(&mut *tx)
            .await
            .map_err(failed())?;
        tx.commit().await.map_err(failed())?;
        Ok((row, nonce))
    }

    /// The engine has created it: from now on its id is the proof.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn network_created(&self, row: i64, engine_id: &str) -> Result<(), StorageError> {
        let sql = "UPDATE networks SET engine_id = $2 WHERE id = $1";
        sqlx::query(sql)
            .bind(row)
            .bind(engine_id)
            .execute(self.writer())
            .await
            .map_err(StorageError::query("write network's id"))?;
        Ok(())
    }

    /// It is gone.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn forget_network(&self, row: i64) -> Result<(), StorageError> {
        sqlx::query("DELETE FROM networks WHERE id = $1")
            .bind(row)
            .execute(self.writer())
            .await
            .map_err(StorageError::query("forget network"))?;
        Ok(())
    }

    /// Takes a network into the ledger that the engine has already. `false` when one of that name is in it.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn adopt_network(
        &self,
        installation: InstallationId,
        network: &FoundNetwork<'_>,
        by: Option<&Actor>,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let failed = || StorageError::query("adopt network");
        let FoundNetwork { name, nonce, engine_id, gone, specification } = *network;
        let mut tx = self.begin().await?;
        let sql = "DELETE FROM networks
                   WHERE name = $1 AND installation_id = $2 AND surplus = 0 AND (engine_id IS NULL OR engine_id = $3)";
        sqlx::query(sql)
            .bind(name)
            .bind(installation.to_string())
            .bind(gone)
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        let sql =
            "INSERT INTO networks (installation_id, name, nonce, engine_id, specification, created_at_ms)
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
        let done = sqlx::query(sql)
            .bind(installation.to_string())
            .bind(name)
            .bind(nonce)
            .bind(engine_id)
            .bind(to_json(specification))
            .bind(now.millis())
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        let adopted = done.rows_affected() == 1;
        if let Some(by) = by.filter(|_| adopted) {
            let detail = json!({"network": engine_id});
            audit::of_installation(&mut tx, installation, by, "installation.adopt", detail, now).await?;
        }
        tx.commit().await.map_err(failed())?;
        Ok(adopted)
    }

    /// Writes the row of a volume that is about to be created; answers the nonce to create with: that of its first creation, since name and
    /// nonce stay its proof.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn open_volume(
        &self,
        new: &NewVolume<'_>,
        now: Timestamp,
    ) -> Result<String, StorageError> {
        let sql = "INSERT INTO volumes (installation_id, name, nonce, origin, service, specification, created_at_ms)
                   VALUES ($1, $2, $3, $4, $5, $6, $7)
                   ON CONFLICT (name) DO UPDATE SET specification = excluded.specification WHERE installation_id = excluded.installation_id
                   RETURNING nonce";
        let nonce: Option<String> = sqlx::query_scalar(sql)
            .bind(new.installation.to_string())
            .bind(new.name)
            .bind(new.nonce)
            .bind(new.origin.as_str())
            .bind(new.service)
            .bind(to_json(new.specification))
            .bind(now.millis())
            .fetch_optional(self.writer())
            .await
            .map_err(StorageError::query("write volume"))?;
        nonce.ok_or_else(|| StorageError::corrupt("volumes", new.name, "it is another installation's"))
    }

    /// Takes a volume into the ledger that the engine has already. `false` when one of that name is in it.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn adopt_volume(
        &self,
        installation: InstallationId,
        volume: &FoundVolume<'_>,
        by: Option<&Actor>,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let FoundVolume { name, nonce, origin, specification } = *volume;
        let failed = || StorageError::query("adopt volume");
        let mut tx = self.begin().await?;
        let sql = "INSERT INTO volumes (installation_id, name, nonce, origin, specification, created_at_ms)
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
        let done = sqlx::query(sql)
            .bind(installation.to_string())
            .bind(name)
            .bind(nonce)
            .bind(origin.as_str())
            .bind(to_json(specification))
            .bind(now.millis())
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        let adopted = done.rows_affected() == 1;
        if let Some(by) = by.filter(|_| adopted) {
            let detail = json!({"volume": name});
            audit::of_installation(&mut tx, installation, by, "installation.adopt", detail, now).await?;
        }
        tx.commit().await.map_err(failed())?;
        Ok(adopted)
    }

    /// It is gone.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn forget_volume(&self, row: i64) -> Result<(), StorageError> {
        sqlx::query("DELETE FROM volumes WHERE id = $1")
            .bind(row)
            .execute(self.writer())
            .await
            .map_err(StorageError::query("forget volume"))?;
        Ok(())
    }

    /// Writes down what an image says of itself, and under which tag it is kept.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn record_image(
        &self,
        installation: InstallationId,
        revision: i64,
        service: &str,
        image: &ImageRow,
    ) -> Result<(), StorageError> {
        let sql = "INSERT INTO images (installation_id, revision, service, image_id, tag, volumes, has_healthcheck)
                   VALUES ($1, $2, $3, $4, $5, $6, $7)
                   ON CONFLICT (installation_id, revision, service) DO UPDATE SET image_id = excluded.image_id, tag = excluded.tag,
                       volumes = excluded.volumes, has_healthcheck = excluded.has_healthcheck";
        sqlx::query(sql)
            .bind(installation.to_string())
            .bind(revision)
            .bind(service)
            .bind(&image.image_id)
            .bind(&image.tag)
            .bind(to_json(&image.volumes))
            .bind(image.has_healthcheck)
            .execute(self.writer())
            .await
            .map_err(StorageError::query("write image"))?;
        Ok(())
    }

    /// It is not there any more: it has to be pulled again.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn forget_image(
        &self,
        installation: InstallationId,
        revision: i64,
        service: &str,
    ) -> Result<(), StorageError> {
        let sql = "DELETE FROM images WHERE installation_id = $1 AND revision = $2 AND service = $3";
        sqlx::query(sql)
            .bind(installation.to_string())
            .bind(revision)
            .bind(service)
            .execute(self.writer())
            .await
            .map_err(StorageError::query("forget image"))?;
        Ok(())
    }

    /// Everything that the ledger proves to be ours.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn proven(&self) -> Result<Proven, StorageError> {
        let failed = || StorageError::query("list what is ours");
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT engine_id FROM containers WHERE engine_id IS NOT NULL UNION SELECT engine_id FROM networks WHERE engine_id IS NOT NULL",
        )
        .fetch_all(self.reader())
        .await
        .map_err(failed())?;
        let volumes: Vec<(String, String)> =
            sqlx::query_as("SELECT name, nonce FROM volumes UNION SELECT name, nonce FROM kept_volumes")
                .fetch_all(self.reader())
                .await
                .map_err(failed())?;
        Ok(Proven { ids: ids.into_iter().collect(), volumes: volumes.into_iter().collect() })
    }
}

/// A network was found by its nonce; others with the same one get rows that say that they are surplus.
pub(super) async fn network_found(
    tx: &mut SqliteConnection,
    row: i64,
    engine_id: &str,
    surplus: &[String],
) -> Result<(), StorageError> {
    let failed = || StorageError::query("write network's id");
    sqlx::query("UPDATE networks SET engine_id = $2 WHERE id = $1 AND engine_id IS NULL")
        .bind(row)
        .bind(engine_id)
        .execute(&mut *tx)
        .await
        .map_err(failed())?;
    for engine_id in surplus {
        let sql = "INSERT INTO networks (installation_id, name, nonce, engine_id, surplus, specification, created_at_ms)
                   SELECT installation_id, name, nonce, $2, 1, specification, created_at_ms FROM networks WHERE id = $1
                   ON CONFLICT DO NOTHING";
        sqlx::query(sql).bind(row).bind(engine_id).execute(&mut *tx).await.map_err(failed())?;
    }
    Ok(())
}
