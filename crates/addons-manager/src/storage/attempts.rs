//! Runs of containers and operations that failed: who began and who ended each, as it is learned.

use addon_client::Timestamp;
use sqlx::sqlite::SqliteConnection;

use super::passes::HISTORY;
use super::{Storage, StorageError, containers};
use crate::domain::installation::InstallationId;
use crate::reconciler::state::{EndedBy, ErrorKind, StartedBy};

/// A run that begins.
#[derive(Debug, Clone)]
pub(crate) struct NewRun<'a> {
    pub(crate) installation: InstallationId,
    pub(crate) service: &'a str,
    pub(crate) container_row: i64,
    pub(crate) engine_id: &'a str,
    pub(crate) spec_digest: &'a str,
    pub(crate) epoch: i64,
    pub(crate) started_by: StartedBy,
    pub(crate) started_at: Timestamp,
}

/// An operation that failed.
#[derive(Debug, Clone)]
pub(crate) struct NewFailure<'a> {
    pub(crate) installation: InstallationId,
    /// Empty: the installation as a whole.
    pub(crate) service: &'a str,
    pub(crate) spec_digest: &'a str,
    pub(crate) epoch: i64,
    pub(crate) kind: ErrorKind,
    pub(crate) message: &'a str,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) at: Timestamp,
}

impl Storage {
    /// Writes down that an operation failed.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn operation_failed(&self, failure: &NewFailure<'_>) -> Result<(), StorageError> {
        let failed = || StorageError::query("write failure");
        let mut tx = self.begin().await?;
        let sql = "INSERT INTO attempts (installation_id, service, spec_digest, epoch, started_by, started_at_ms, ended_at_ms, ended_by, error_kind,
                                         error, not_before_ms)
                   VALUES ($1, $2, $3, $4, 'manager', $5, $5, 'manager', $6, $7, $8)";
        sqlx::query(sql)
            .bind(failure.installation.to_string())
            .bind(failure.service)
            .bind(failure.spec_digest)
            .bind(failure.epoch)
            .bind(failure.at.millis())
            .bind(failure.kind.as_str())
            .bind(failure.message)
            .bind(failure.not_before.map(Timestamp::millis))
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        prune(&mut tx, failure.installation, failure.service).await?;
        tx.commit().await.map_err(failed())
    }

    /// Says, before it is done, that a run is ended by us; `unhealthy`: because its check fails, which counts as a failure.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn run_ends_by_us(
        &self,
        engine_id: &str,
        unhealthy: bool,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let sql = "UPDATE attempts SET ended_by = 'manager',
                       error_kind = CASE WHEN $2 THEN 'unhealthy' ELSE error_kind END,
                       error = CASE WHEN $2 THEN 'its check said that it was unhealthy' ELSE error END,
                       unhealthy_at_ms = CASE WHEN $2 THEN COALESCE(unhealthy_at_ms, $3) ELSE unhealthy_at_ms END
                   WHERE engine_id = $1 AND ended_at_ms IS NULL";
        sqlx::query(sql)
            .bind(engine_id)
            .bind(unhealthy)
            .bind(now.millis())
            .execute(self.writer())
            .await
            .map_err(StorageError::query("write end of run"))?;
        Ok(())
    }

    /// The run is over, as we ended it; an event may have told so before.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn run_ended_by_us(&self, engine_id: &str, now: Timestamp) -> Result<(), StorageError> {
        let sql = "UPDATE attempts SET ended_at_ms = $2, ended_by = 'manager' WHERE engine_id = $1 AND ended_at_ms IS NULL";
        sqlx::query(sql)
            .bind(engine_id)
            .bind(now.millis())
            .execute(self.writer())
            .await
            .map_err(StorageError::query("write end of run"))?;
        Ok(())
    }

    /// An event: a person, or the engine for itself, asked for the end of the container. Whoever is known to do so already stays the one.
    /// `after` is true for what also tells of a run that is over: a stop between two restarts.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn run_ends_by(
        &self,
        engine_id: &str,
        by: EndedBy,
        at: Timestamp,
        after: bool,
    ) -> Result<(), StorageError> {
        let sql = "UPDATE attempts SET ended_by = $4
                   WHERE id = (SELECT MAX(id) FROM attempts WHERE engine_id = $1) AND started_at_ms <= $3
                     AND ((ended_at_ms IS NULL AND ended_by IS NULL) OR ($2 AND ended_by = 'itself'))";
        sqlx::query(sql)
            .bind(engine_id)
            .bind(after)
            .bind(at.millis())
            .bind(by.as_str())
            .execute(self.writer())
            .await
            .map_err(StorageError::query("write end of run"))?;
        Ok(())
    }

    /// An event: the container's process ended. One of a run before this one, that a look has found out about meanwhile, says nothing new.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn run_died(
        &self,
        engine_id: &str,
        at: Timestamp,
        exit_code: Option<i64>,
    ) -> Result<(), StorageError> {
        let sql = "UPDATE attempts SET ended_at_ms = $2, exit_code = $3, ended_by = COALESCE(ended_by, 'itself'), watched = 1
                   WHERE engine_id = $1 AND ended_at_ms IS NULL AND started_at_ms <= $2";
        sqlx::query(sql)
            .bind(engine_id)
            .bind(at.millis())
            .bind(exit_code)
            .execute(self.writer())
            .await
            .map_err(StorageError::query("write end of run"))?;
        Ok(())
    }

    /// An event: the kernel ended a process of the container for want of memory.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn run_out_of_memory(&self, engine_id: &str) -> Result<(), StorageError> {
        let sql =
            "UPDATE attempts SET oom = 1 WHERE id = (SELECT MAX(id) FROM attempts WHERE engine_id = $1)";
        sqlx::query(sql)
            .bind(engine_id)
            .execute(self.writer())
            .await
            .map_err(StorageError::query("write end of run"))?;
        Ok(())
    }

    /// An event: the container was removed. A run of it that nobody has seen end ends with that.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn run_destroyed(&self, engine_id: &str, at: Timestamp) -> Result<(), StorageError> {
        let sql = "UPDATE attempts SET ended_at_ms = MAX($2, started_at_ms), ended_by = COALESCE(ended_by, 'person'), watched = 1
                   WHERE engine_id = $1 AND ended_at_ms IS NULL";
        sqlx::query(sql)
            .bind(engine_id)
            .bind(at.millis())
            .execute(self.writer())
            .await
            .map_err(StorageError::query("write end of run"))?;
        Ok(())
    }

    /// An event: the container was started. One that we begin is written down before; else it was the engine, where its last run ended by
    /// itself, or a person. A run that a look has found out about, and its end perhaps, is known already.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn run_started(&self, engine_id: &str, at: Timestamp) -> Result<(), StorageError> {
        let failed = || StorageError::query("write begin of run");
        let mut tx = self.begin().await?;
        let known: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM attempts WHERE engine_id = $1 AND (ended_at_ms IS NULL OR ended_at_ms > $2) LIMIT 1")
                .bind(engine_id)
                .bind(at.millis())
                .fetch_optional(&mut *tx)
                .await
                .map_err(failed())?;
        if known.is_some() {
            return Ok(());
        }
        let last: Option<String> =
            sqlx::query_scalar("SELECT ended_by FROM attempts WHERE engine_id = $1 ORDER BY id DESC LIMIT 1")
                .bind(engine_id)
                .fetch_optional(&mut *tx)
                .await
                .map_err(failed())?
                .flatten();
        let by = match last.as_deref() {
            Some("itself" | "engine") => StartedBy::Engine,
            _ => StartedBy::Person,
        };
        let sql = "INSERT INTO attempts (installation_id, service, container_row, engine_id, spec_digest, epoch, started_by, started_at_ms)
                   SELECT c.installation_id, c.service, c.id, c.engine_id, c.spec_digest, i.epoch, $2, $3
                   FROM containers c JOIN installations i ON i.id = c.installation_id WHERE c.engine_id = $1";
        sqlx::query(sql)
            .bind(engine_id)
            .bind(by.as_str())
            .bind(at.millis())
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        containers::forget_started_at(&mut tx, engine_id, by).await?;
        tx.commit().await.map_err(failed())
    }

    /// Keeps the log of an attempt, in place of those of earlier ones of its service.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn set_logs(&self, attempt: i64, logs: &str) -> Result<(), StorageError> {
        let failed = || StorageError::query("keep log");
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE attempts SET logs = $2 WHERE id = $1")
            .bind(attempt)
            .bind(logs)
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        let sql = "UPDATE attempts SET logs = NULL
                   WHERE logs IS NOT NULL AND id < $1
                     AND (installation_id, service) = (SELECT installation_id, service FROM attempts WHERE id = $1)";
        sqlx::query(sql).bind(attempt).execute(&mut *tx).await.map_err(failed())?;
        tx.commit().await.map_err(failed())
    }

    /// The engine was stopping from that time on: what it ended itself looks, by its events, like what somebody asked it to end.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn stopped_with_the_engine(&self, since: Timestamp) -> Result<(), StorageError> {
        let sql = "UPDATE attempts SET ended_by = CASE WHEN ended_at_ms IS NULL THEN NULL ELSE 'engine' END
                   WHERE ended_by = 'person' AND (ended_at_ms IS NULL OR ended_at_ms >= $1)";
        sqlx::query(sql)
            .bind(since.millis())
            .execute(self.writer())
            .await
            .map_err(StorageError::query("write end of run"))?;
        Ok(())
    }

    /// Whether a run goes on, as far as is known.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn anything_runs(&self) -> Result<bool, StorageError> {
        let sql =
            "SELECT EXISTS (SELECT 1 FROM attempts WHERE engine_id IS NOT NULL AND ended_at_ms IS NULL)";
        sqlx::query_scalar(sql).fetch_one(self.reader()).await.map_err(StorageError::query("read runs"))
    }

    /// What these failures of an installation waited for has changed: they count no more.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn forgive(
        &self,
        installation: InstallationId,
        kinds: &[ErrorKind],
    ) -> Result<(), StorageError> {
        for kind in kinds {
            let sql =
                "UPDATE attempts SET error_kind = 'forgiven' WHERE installation_id = $1 AND error_kind = $2";
            sqlx::query(sql)
                .bind(installation.to_string())
                .bind(kind.as_str())
                .execute(self.writer())
                .await
                .map_err(StorageError::query("forgive"))?;
        }
        Ok(())
    }
}

/// Writes down a run; answers its key.
pub(super) async fn insert_run(tx: &mut SqliteConnection, run: &NewRun<'_>) -> Result<i64, StorageError> {
    let sql = "INSERT INTO attempts (installation_id, service, container_row, engine_id, spec_digest, epoch, started_by, started_at_ms)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id";
    let row = sqlx::query_scalar(sql)
        .bind(run.installation.to_string())
        .bind(run.service)
        .bind(run.container_row)
        .bind(run.engine_id)
        .bind(run.spec_digest)
        .bind(run.epoch)
        .bind(run.started_by.as_str())
        .bind(run.started_at.millis())
        .fetch_one(&mut *tx)
        .await
        .map_err(StorageError::query("write run"))?;
    prune(tx, run.installation, run.service).await?;
    Ok(row)
}

/// Writes down a run that a look has found, unless events have told of it while it was looked.
pub(super) async fn insert_seen_run(tx: &mut SqliteConnection, run: &NewRun<'_>) -> Result<(), StorageError> {
    let known: Option<i64> = sqlx::query_scalar(
        "SELECT 1 FROM attempts WHERE engine_id = $1 AND (ended_at_ms IS NULL OR ended_at_ms > $2) LIMIT 1",
    )
    .bind(run.engine_id)
    .bind(run.started_at.millis())
    .fetch_optional(&mut *tx)
    .await
    .map_err(StorageError::query("write run"))?;
    if known.is_none() {
        insert_run(tx, run).await?;
    }
    Ok(())
}

/// Something of ours that was asked for is there, though the create failed: an earlier one came true meanwhile. Failures that told of it in
/// the way of itself count no more. No service: those of all.
pub(super) async fn forgive_creates(
    tx: &mut SqliteConnection,
    installation: InstallationId,
    service: Option<&str>,
) -> Result<(), StorageError> {
    let sql = "UPDATE attempts SET error_kind = 'forgiven'
               WHERE installation_id = $1 AND ($2 IS NULL OR service = $2)
                 AND error_kind IN ('address-pool', 'name-taken', 'configuration', 'retry')";
    sqlx::query(sql)
        .bind(installation.to_string())
        .bind(service)
        .execute(tx)
        .await
        .map_err(StorageError::query("forgive"))?;
    Ok(())
}

pub(super) async fn end_run(
    tx: &mut SqliteConnection,
    attempt: i64,
    ended_at: Timestamp,
    exit_code: Option<i64>,
    oom: bool,
    ended_by: EndedBy,
) -> Result<(), StorageError> {
    let sql = "UPDATE attempts SET ended_at_ms = MAX($2, started_at_ms), exit_code = $3, oom = MAX(oom, $4), ended_by = $5
               WHERE id = $1 AND ended_at_ms IS NULL";
    sqlx::query(sql)
        .bind(attempt)
        .bind(ended_at.millis())
        .bind(exit_code)
        .bind(oom)
        .bind(ended_by.as_str())
        .execute(tx)
        .await
        .map_err(StorageError::query("write end of run"))?;
    Ok(())
}

pub(super) async fn set_unhealthy(
    tx: &mut SqliteConnection,
    attempt: i64,
    at: Option<Timestamp>,
) -> Result<(), StorageError> {
    let sql = "UPDATE attempts SET unhealthy_at_ms = $2 WHERE id = $1 AND ended_at_ms IS NULL";
    sqlx::query(sql)
        .bind(attempt)
        .bind(at.map(Timestamp::millis))
        .execute(tx)
        .await
        .map_err(StorageError::query("write health"))?;
    Ok(())
}

/// Keeps the newest of a service.
async fn prune(
    tx: &mut SqliteConnection,
    installation: InstallationId,
    service: &str,
) -> Result<(), StorageError> {
    let sql = "DELETE FROM attempts WHERE installation_id = $1 AND service = $2 AND ended_at_ms IS NOT NULL AND id <=
                   (SELECT id FROM attempts WHERE installation_id = $1 AND service = $2 ORDER BY id DESC LIMIT 1 OFFSET $3)";
    sqlx::query(sql)
        .bind(installation.to_string())
        .bind(service)
        .bind(HISTORY)
        .execute(tx)
        .await
        .map_err(StorageError::query("prune attempts"))?;
    Ok(())
}
