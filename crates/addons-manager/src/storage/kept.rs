//! Volumes that outlived their installation: the next one of that addon under that name gets them back.

use addon_client::Timestamp;
use serde_json::json as object;
use service_kit::audit::{Actor, Entry};
use sqlx::sqlite::SqliteConnection;

use super::{Storage, StorageError, audit, json, millis, parsed, to_json};
use crate::domain::installation::{InstallationId, KeptVolume};

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    nonce: String,
    addon: String,
    installation_name: String,
    origin: String,
    service: String,
    specification: String,
    kept_at_ms: i64,
}

impl TryFrom<Row> for KeptVolume {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        let origin = row
            .origin
            .parse()
            .map_err(|()| StorageError::corrupt("kept_volumes", &row.name, "unknown origin"))?;
        Ok(Self {
            origin,
            specification: json("kept_volumes", &row.name, "specification", &row.specification)?,
            name: row.name,
            nonce: row.nonce,
            addon: row.addon,
            installation_name: row.installation_name,
            service: row.service,
            kept_at: millis(row.kept_at_ms),
        })
    }
}

impl Storage {
    /// Every kept volume, by name.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a row makes no sense.
    pub async fn kept_volumes(&self) -> Result<Vec<KeptVolume>, StorageError> {
        let mut connection =
            self.reader().acquire().await.map_err(StorageError::query("list kept volumes"))?;
        all(&mut connection).await
    }

    /// One kept volume.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or the row makes no sense.
    pub async fn kept_volume(&self, name: &str) -> Result<Option<KeptVolume>, StorageError> {
        let row: Option<Row> = sqlx::query_as("SELECT * FROM kept_volumes WHERE name = $1")
            .bind(name)
            .fetch_optional(self.reader())
            .await
            .map_err(StorageError::query("read kept volume"))?;
        row.map(KeptVolume::try_from).transpose()
    }

    /// Volumes of installations that are being removed and leave them, by name: kept as soon as that is done.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a row makes no sense.
    pub async fn volumes_that_stay(&self) -> Result<Vec<KeptVolume>, StorageError> {
        let sql = "SELECT v.name, v.nonce, i.addon, i.name AS installation_name, v.origin, v.service, v.specification,
                       i.status_since_ms AS kept_at_ms
                   FROM volumes v JOIN installations i ON i.id = v.installation_id
                   WHERE i.desired = 'absent' AND i.delete_volumes = 0 ORDER BY v.name";
        let rows: Vec<Row> = sqlx::query_as(sql)
            .fetch_all(self.reader())
            .await
            .map_err(StorageError::query("list volumes that stay"))?;
        rows.into_iter().map(KeptVolume::try_from).collect()
    }

    /// The installation that a volume was made for, or given back to: id, name, and whether it is being removed.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or the row makes no sense.
    pub async fn volume_owner(
        &self,
        name: &str,
    ) -> Result<Option<(InstallationId, String, bool)>, StorageError> {
        let sql = "SELECT i.id, i.name, i.desired = 'absent' FROM installations i WHERE i.id IN
                       (SELECT installation_id FROM volumes WHERE name = $1
                        UNION SELECT installation_id FROM claims WHERE kind = 'volume' AND value = $1)";
        let row: Option<(String, String, bool)> = sqlx::query_as(sql)
            .bind(name)
            .fetch_optional(self.reader())
            .await
            .map_err(StorageError::query("read owner of a volume"))?;
        row.map(|(id, owner, going)| Ok((parsed("installations", &id, "id", &id)?, owner, going))).transpose()
    }

    /// Forgets a kept volume that is gone from the engine; `false` when an installation has taken it back, or somebody else was faster.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn forget_kept_volume(
        &self,
        name: &str,
        nonce: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let failed = || StorageError::query("forget kept volume");
        let mut tx = self.begin().await?;
        let gone: Option<(String, String)> = sqlx::query_as(
            "DELETE FROM kept_volumes WHERE name = $1 AND nonce = $2 RETURNING addon, installation_name",
        )
        .bind(name)
        .bind(nonce)
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed())?;
        let Some((addon, installation)) = gone else { return Ok(false) };
        let detail = object!({"addon": addon, "installation": installation});
        audit::record(&mut tx, &Entry::new(now, by, "volume.delete", "volume", name).with(detail)).await?;
        tx.commit().await.map_err(failed())?;
        Ok(true)
    }

    /// Remembers a volume again that was forgotten for `by` and could not be deleted, and why.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn keep_volume_again(
        &self,
        volume: &KeptVolume,
        by: &Actor,
        why: &str,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let failed = || StorageError::query("keep volume again");
        let mut tx = self.begin().await?;
        let sql = "INSERT INTO kept_volumes (name, nonce, addon, installation_name, origin, service, specification, kept_at_ms)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING";
        sqlx::query(sql)
            .bind(&volume.name)
            .bind(&volume.nonce)
            .bind(&volume.addon)
            .bind(&volume.installation_name)
            .bind(volume.origin.as_str())
            .bind(&volume.service)
            .bind(to_json(&volume.specification))
            .bind(volume.kept_at.millis())
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        let entry = Entry::new(now, by, "volume.keep", "volume", &volume.name).because(Some(why));
        audit::record(&mut tx, &entry).await?;
        tx.commit().await.map_err(failed())
    }
}

/// Every kept volume, by name.
pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<KeptVolume>, StorageError> {
    let rows: Vec<Row> = sqlx::query_as("SELECT * FROM kept_volumes ORDER BY name")
        .fetch_all(connection)
        .await
        .map_err(StorageError::query("list kept volumes"))?;
    rows.into_iter().map(KeptVolume::try_from).collect()
}

/// Gives a kept volume to an installation: it is in the ledger again, under the nonce that it carries.
pub(super) async fn take_back(
    connection: &mut SqliteConnection,
    volume: &KeptVolume,
    installation: InstallationId,
    now_ms: i64,
) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM kept_volumes WHERE name = $1")
        .bind(&volume.name)
        .execute(&mut *connection)
        .await
        .map_err(StorageError::query("take kept volume back"))?;
    let sql =
        "INSERT INTO volumes (installation_id, name, nonce, origin, service, specification, created_at_ms)
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    sqlx::query(sql)
        .bind(installation.to_string())
        .bind(&volume.name)
        .bind(&volume.nonce)
        .bind(volume.origin.as_str())
        .bind(&volume.service)
        .bind(to_json(&volume.specification))
        .bind(now_ms)
        .execute(connection)
        .await
        .map_err(StorageError::query("take kept volume back"))?;
    Ok(())
}

/// Drops the row of a kept volume that is no longer on the engine.
pub(super) async fn drop_row(connection: &mut SqliteConnection, name: &str) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM kept_volumes WHERE name = $1")
        .bind(name)
        .execute(connection)
        .await
        .map_err(StorageError::query("drop kept volume"))?;
    Ok(())
}
