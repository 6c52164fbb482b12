//! Jobs that are done: for which specification, and for which count of restarts.

use addon_client::Timestamp;
use sqlx::sqlite::SqliteConnection;

use super::StorageError;
use crate::domain::installation::InstallationId;

pub(super) async fn insert(
    tx: &mut SqliteConnection,
    installation: InstallationId,
    service: &str,
    spec_digest: &str,
    restart_generation: i64,
    finished_at: Timestamp,
    watched: bool,
) -> Result<(), StorageError> {
    let sql = "INSERT INTO completions (installation_id, service, spec_digest, restart_generation, finished_at_ms, watched)
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    sqlx::query(sql)
        .bind(installation.to_string())
        .bind(service)
        .bind(spec_digest)
        .bind(restart_generation)
        .bind(finished_at.millis())
        .bind(watched)
        .execute(tx)
        .await
        .map_err(StorageError::query("write completion"))?;
    Ok(())
}
