//! Reports of installations to the marketplace: which are to be made, which are due. A row goes with its installation.

use addon_client::Timestamp;

use super::{Storage, StorageError, millis, parsed};
use crate::domain::installation::InstallationId;

/// A report that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueReport {
    /// Whose it is.
    pub installation: InstallationId,
    /// The addon's name.
    pub addon: String,
    /// Drawn for this report alone.
    pub report: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// How often it was sent in vain.
    pub attempts: u32,
}

#[derive(sqlx::FromRow)]
struct Row {
    installation_id: String,
    addon: String,
    report: String,
    made_at_ms: i64,
    attempts: i64,
}

impl Storage {
    /// Installations that run and have no report, at most so many.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a row makes no sense.
    pub async fn unreported(&self, most: u32) -> Result<Vec<InstallationId>, StorageError> {
        let sql = "SELECT id FROM installations WHERE listed = 1 AND status = 'active'
                     AND NOT EXISTS (SELECT 1 FROM install_reports WHERE installation_id = installations.id)
                   ORDER BY created_at_ms, id LIMIT $1";
        let ids: Vec<(String,)> = sqlx::query_as(sql)
            .bind(i64::from(most))
            .fetch_all(self.reader())
            .await
            .map_err(StorageError::query("read installations without a report"))?;
        ids.into_iter().map(|(id,)| parsed("installations", &id, "id", &id)).collect()
    }

    /// Makes the report of an installation, to be sent at `due`. Nothing, where there is one, or the installation has gone.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn add_report(
        &self,
        installation: InstallationId,
        report: &str,
        now: Timestamp,
        due: Timestamp,
    ) -> Result<(), StorageError> {
        let sql = "INSERT INTO install_reports (installation_id, report, made_at_ms, due_at_ms)
                   SELECT id, $2, $3, $4 FROM installations WHERE id = $1
                   ON CONFLICT (installation_id) DO NOTHING";
        sqlx::query(sql)
            .bind(installation.to_string())
            .bind(report)
            .bind(now.millis())
            .bind(due.millis())
            .execute(self.writer())
            .await
            .map_err(StorageError::query("make a report"))?;
        Ok(())
    }

    /// The reports that are due, the longest waiting first, at most so many.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a row makes no sense.
    pub async fn due_reports(&self, now: Timestamp, most: u32) -> Result<Vec<DueReport>, StorageError> {
        let sql = "SELECT installation_id, addon, report, made_at_ms, attempts
                   FROM install_reports JOIN installations ON installations.id = installation_id
                   WHERE due_at_ms <= $1 ORDER BY due_at_ms, installation_id LIMIT $2";
        let rows: Vec<Row> = sqlx::query_as(sql)
            .bind(now.millis())
            .bind(i64::from(most))
            .fetch_all(self.reader())
            .await
            .map_err(StorageError::query("read due reports"))?;
        let report = |row: Row| {
            Ok(DueReport {
                installation: parsed("install_reports", &row.installation_id, "id", &row.installation_id)?,
                addon: row.addon,
                report: row.report,
                made_at: millis(row.made_at_ms),
                attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            })
        };
        rows.into_iter().map(report).collect()
    }

    /// Notes that a report was sent in vain and is due again at `due`; `None`: it is not sent any more.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn report_sent(
        &self,
        installation: InstallationId,
        due: Option<Timestamp>,
    ) -> Result<(), StorageError> {
        let sql =
            "UPDATE install_reports SET attempts = attempts + 1, due_at_ms = $2 WHERE installation_id = $1";
        sqlx::query(sql)
            .bind(installation.to_string())
            .bind(due.map(Timestamp::millis))
            .execute(self.writer())
            .await
            .map_err(StorageError::query("note a report"))?;
        Ok(())
    }
}
