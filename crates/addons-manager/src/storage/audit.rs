//! The audit log: who changed what on this host, and when. Rows are written in the transaction of what they record.

use addon_client::{AuditEntry, AuditSubject, Timestamp};
use serde_json::Value;
use service_kit::audit::{Actor, Entry};
use sqlx::sqlite::SqliteConnection;

use super::{Storage, StorageError, json};
use crate::domain::installation::InstallationId;

/// Which rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditFilter<'a> {
    /// Only of this account.
    pub account: Option<&'a str>,
    /// Only of this action.
    pub action: Option<&'a str>,
    /// Only of this installation, volume or token, by its id.
    pub subject: Option<&'a str>,
    /// Only from this time on.
    pub since: Option<Timestamp>,
    /// Only rows with a lower number: where the last part ended.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

#[derive(sqlx::FromRow)]
struct Row {
    seq: i64,
    at_ms: i64,
    account: String,
    token_id: Option<String>,
    action: String,
    subject_kind: String,
    subject_id: String,
    reason: Option<String>,
    detail: String,
    request_id: Option<String>,
}

/// Writes a row about an installation, whose names go with it: its id says nothing to anybody once it is gone.
pub(super) async fn of_installation(
    connection: &mut SqliteConnection,
    id: InstallationId,
    by: &Actor,
    action: &str,
    mut detail: Value,
    now: Timestamp,
) -> Result<(), StorageError> {
    let id = id.to_string();
    let names: Option<(String, String, String)> =
        sqlx::query_as("SELECT name, addon, version FROM installations WHERE id = $1")
            .bind(&id)
            .fetch_optional(&mut *connection)
            .await
            .map_err(StorageError::query("read installation"))?;
    if let Some((name, addon, version)) = names {
        for (key, value) in [("name", name), ("addon", addon), ("version", version)] {
            if detail[key].is_null() {
                detail[key] = value.into();
            }
        }
    }
    record(connection, &Entry::new(now, by, action, "installation", &id).with(detail)).await
}

pub(super) async fn record(connection: &mut SqliteConnection, entry: &Entry<'_>) -> Result<(), StorageError> {
    service_kit::audit::record(connection, entry).await.map_err(StorageError::query("write audit log"))
}

impl Storage {
    /// Rows of the log, the newest first.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn audit(&self, filter: AuditFilter<'_>) -> Result<Vec<AuditEntry>, StorageError> {
        let AuditFilter { account, action, subject, since, before, limit } = filter;
        let sql = "SELECT seq, at_ms, account, token_id, action, subject_kind, subject_id, reason, detail, request_id FROM audit
                   WHERE ($1 IS NULL OR account = $1) AND ($2 IS NULL OR action = $2) AND ($3 IS NULL OR subject_id = $3)
                     AND ($4 IS NULL OR at_ms >= $4) AND ($5 IS NULL OR seq < $5) ORDER BY seq DESC LIMIT $6";
        let rows: Vec<Row> = sqlx::query_as(sql)
            .bind(account)
            .bind(action)
            .bind(subject)
            .bind(since.map(Timestamp::millis))
            .bind(before)
            .bind(limit)
            .fetch_all(self.reader())
            .await
            .map_err(StorageError::query("read audit log"))?;
        rows.into_iter().map(Row::entry).collect()
    }
}

impl Row {
    fn entry(self) -> Result<AuditEntry, StorageError> {
        Ok(AuditEntry {
            seq: self.seq,
            at: Timestamp::from_millis(self.at_ms),
            detail: json("audit", &self.seq.to_string(), "detail", &self.detail)?,
            account: self.account,
            token_id: self.token_id,
            action: self.action,
            subject: AuditSubject { kind: self.subject_kind, id: self.subject_id },
            reason: self.reason,
            request_id: self.request_id,
            hash: None,
        })
    }
}
