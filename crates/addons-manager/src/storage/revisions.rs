//! Revisions: what is asked of the engine for an installation, resolved once and stored.

use sqlx::sqlite::SqliteConnection;

use super::{Storage, StorageError, json, millis, parsed};
use crate::domain::installation::{InstallationId, Revision};

#[derive(sqlx::FromRow)]
struct Row {
    installation_id: String,
    revision: i64,
    release_id: String,
    release_digest: String,
    version: String,
    descriptor: String,
    pins: String,
    specification: String,
    digests: String,
    created_at_ms: i64,
}

impl TryFrom<Row> for Revision {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        let key = format!("{}/{}", row.installation_id, row.revision);
        Ok(Self {
            installation: parsed("revisions", &key, "installation_id", &row.installation_id)?,
            revision: row.revision,
            release_id: parsed("revisions", &key, "release_id", &row.release_id)?,
            release_digest: parsed("revisions", &key, "release_digest", &row.release_digest)?,
            version: row.version,
            descriptor: row.descriptor,
            pins: json("revisions", &key, "pins", &row.pins)?,
            specification: json("revisions", &key, "specification", &row.specification)?,
            digests: json("revisions", &key, "digests", &row.digests)?,
            created_at: millis(row.created_at_ms),
        })
    }
}

impl Storage {
    /// One revision of an installation.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or the row makes no sense.
    pub async fn revision(
        &self,
        installation: InstallationId,
        revision: i64,
    ) -> Result<Option<Revision>, StorageError> {
        let sql = "SELECT * FROM revisions WHERE installation_id = $1 AND revision = $2";
        let row: Option<Row> = sqlx::query_as(sql)
            .bind(installation.to_string())
            .bind(revision)
            .fetch_optional(self.reader())
            .await
            .map_err(StorageError::query("read revision"))?;
        row.map(Revision::try_from).transpose()
    }

    /// Every revision of an installation, newest first.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a row makes no sense.
    pub async fn revisions(&self, installation: InstallationId) -> Result<Vec<Revision>, StorageError> {
        let mut connection = self.reader().acquire().await.map_err(StorageError::query("list revisions"))?;
        all(&mut connection, installation).await
    }
}

impl Storage {
    /// Forgets a revision and what was known of its images, unless it is the installation's or a rollout's that is under way.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn drop_revision(
        &self,
        installation: InstallationId,
        revision: i64,
    ) -> Result<(), StorageError> {
        let failed = || StorageError::query("drop revision");
        let mut tx = self.begin().await?;
        let sql = "DELETE FROM revisions
                   WHERE installation_id = $1 AND revision = $2
                     AND revision NOT IN (SELECT revision FROM installations WHERE id = $1)
                     AND NOT EXISTS (SELECT 1 FROM rollouts WHERE installation_id = $1 AND ended_at_ms IS NULL)";
        let done = sqlx::query(sql)
            .bind(installation.to_string())
            .bind(revision)
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        if done.rows_affected() == 0 {
            return Ok(());
        }
        sqlx::query("DELETE FROM images WHERE installation_id = $1 AND revision = $2")
            .bind(installation.to_string())
            .bind(revision)
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        super::rollouts::claims_of_revision_alone(&mut tx, installation).await?;
        tx.commit().await.map_err(failed())
    }
}

/// The highest number that a revision of an installation ever had: it is known to clients and in names, and never means another one.
pub(super) async fn last_number(
    connection: &mut SqliteConnection,
    installation: InstallationId,
) -> Result<i64, StorageError> {
    let sql = "SELECT MAX(COALESCE((SELECT MAX(revision) FROM revisions WHERE installation_id = $1), 0),
                      COALESCE((SELECT MAX(to_revision) FROM rollouts WHERE installation_id = $1), 0))";
    sqlx::query_scalar(sql)
        .bind(installation.to_string())
        .fetch_one(connection)
        .await
        .map_err(StorageError::query("read number of revision"))
}

/// Every revision of an installation, newest first.
pub(super) async fn all(
    connection: &mut SqliteConnection,
    installation: InstallationId,
) -> Result<Vec<Revision>, StorageError> {
    let sql = "SELECT * FROM revisions WHERE installation_id = $1 ORDER BY revision DESC";
    let rows: Vec<Row> = sqlx::query_as(sql)
        .bind(installation.to_string())
        .fetch_all(connection)
        .await
        .map_err(StorageError::query("list revisions"))?;
    rows.into_iter().map(Revision::try_from).collect()
}

/// Writes a revision.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    revision: &Revision,
) -> Result<(), StorageError> {
    let sql = "INSERT INTO revisions (installation_id, revision, release_id, release_digest, version, descriptor, pins, specification,
                   digests, created_at_ms)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    sqlx::query(sql)
        .bind(revision.installation.to_string())
        .bind(revision.revision)
        .bind(revision.release_id.to_string())
        .bind(revision.release_digest.to_string())
        .bind(&revision.version)
        .bind(&revision.descriptor)
        .bind(super::to_json(&revision.pins))
        .bind(super::to_json(&revision.specification))
        .bind(super::to_json(&revision.digests))
        .bind(revision.created_at.millis())
        .execute(connection)
        .await
        .map_err(StorageError::query("insert revision"))?;
    Ok(())
}
