//! The why-log: what was done, because of what, and how it went.

use addon_client::Timestamp;

use super::{Storage, StorageError, millis};
use crate::domain::installation::InstallationId;

/// Entries that are kept of an installation.
const KEPT: i64 = 500;

/// An entry of the why-log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Later ones are greater.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// The service that it was done for; empty: the installation.
    pub service: String,
    /// Because of what.
    pub cause: String,
    /// What was done.
    pub operation: String,
    /// How it went: `done`, or why not.
    pub result: String,
    /// When it is tried again, where that was known.
    pub next_attempt: Option<Timestamp>,
}

/// An entry to write.
#[derive(Debug, Clone)]
pub struct NewEvent<'a> {
    /// Whose.
    pub installation: InstallationId,
    /// When.
    pub at: Timestamp,
    /// Empty: the installation.
    pub service: &'a str,
    /// Because of what.
    pub cause: &'a str,
    /// What was done.
    pub operation: &'a str,
    /// How it went.
    pub result: &'a str,
    /// When it is tried again.
    pub next_attempt: Option<Timestamp>,
}

impl Storage {
    /// Writes entries, in one transaction, and deletes the oldest beyond a bound.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn add_events(&self, events: &[NewEvent<'_>]) -> Result<(), StorageError> {
        let failed = || StorageError::query("write event");
        let Some(installation) = events.first().map(|event| event.installation) else { return Ok(()) };
        let mut tx = self.begin().await?;
        for event in events {
            // An installation that is forgotten has no log any more.
            let sql = "INSERT INTO events (installation_id, at_ms, service, cause, operation, result, next_attempt_ms)
                       SELECT id, $2, $3, $4, $5, $6, $7 FROM installations WHERE id = $1";
            sqlx::query(sql)
                .bind(event.installation.to_string())
                .bind(event.at.millis())
                .bind(event.service)
                .bind(event.cause)
                .bind(event.operation)
                .bind(event.result)
                .bind(event.next_attempt.map(Timestamp::millis))
                .execute(&mut *tx)
                .await
                .map_err(failed())?;
        }
        let sql = "DELETE FROM events WHERE installation_id = $1 AND id <=
                       (SELECT id FROM events WHERE installation_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)";
        sqlx::query(sql)
            .bind(installation.to_string())
            .bind(KEPT)
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        tx.commit().await.map_err(failed())
    }

    /// The newest entries of an installation, newest first.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn events(&self, installation: InstallationId, limit: u32) -> Result<Vec<Event>, StorageError> {
        type Row = (i64, i64, String, String, String, String, Option<i64>);
        let sql = "SELECT id, at_ms, service, cause, operation, result, next_attempt_ms FROM events
                   WHERE installation_id = $1 ORDER BY id DESC LIMIT $2";
        let rows: Vec<Row> = sqlx::query_as(sql)
            .bind(installation.to_string())
            .bind(i64::from(limit))
            .fetch_all(self.reader())
            .await
            .map_err(StorageError::query("read events"))?;
        Ok(rows
            .into_iter()
            .map(|(id, at, service, cause, operation, result, next)| Event {
                id,
                at: millis(at),
                service,
                cause,
                operation,
                result,
                next_attempt: next.map(millis),
            })
            .collect())
    }
}
