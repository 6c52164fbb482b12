//! Rollouts: each step of one is written here, or into the roles of containers, before it is done on the engine.

use std::collections::{BTreeMap, HashMap};

use addon_client::Timestamp;
use sqlx::sqlite::SqliteConnection;

use super::{Storage, StorageError, claims, json, millis, parsed};
use crate::domain::claim::{Claim, claims as claims_of};
use crate::domain::installation::InstallationId;
use crate::domain::rollout::{Rollout, RolloutKind};
use crate::domain::specification::RevisionSpecification;

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    id: i64,
    pub(super) installation_id: String,
    kind: String,
    from_revision: i64,
    to_revision: i64,
    phase: String,
    moved: String,
    passed: String,
    used_ms: i64,
    why: Option<String>,
    logs: Option<String>,
    asked_by: String,
    after_attempt: i64,
    opened_at_ms: i64,
    ended_at_ms: Option<i64>,
}

impl TryFrom<Row> for Rollout {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        let key = row.id.to_string();
        let corrupt =
            |what: &str, value: &str| StorageError::corrupt("rollouts", &key, format_args!("{what} {value}"));
        Ok(Self {
            id: row.id,
            installation: parsed("rollouts", &key, "installation_id", &row.installation_id)?,
            kind: row.kind.parse().map_err(|()| corrupt("kind", &row.kind))?,
            from: row.from_revision,
            to: row.to_revision,
            phase: row.phase.parse().map_err(|()| corrupt("phase", &row.phase))?,
            moved: json("rollouts", &key, "moved", &row.moved)?,
            passed: json("rollouts", &key, "passed", &row.passed)?,
            used_ms: row.used_ms,
            why: row.why,
            logs: row.logs,
            asked_by: row.asked_by,
            after_attempt: row.after_attempt,
            opened_at: millis(row.opened_at_ms),
            ended_at: row.ended_at_ms.map(millis),
        })
    }
}

/// A rollout that begins.
#[derive(Debug, Clone)]
pub(crate) struct NewRollout<'a> {
    pub(crate) installation: InstallationId,
    pub(crate) kind: RolloutKind,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) asked_by: &'a str,
}

/// A service that is to be as the new revision has it from now on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move<'a> {
    pub(crate) rollout: i64,
    pub(crate) service: &'a str,
    /// Name that the container before is kept under.
    pub(crate) parked_name: Option<&'a str>,
    /// Name of the new one; none: the new revision does not have the service.
    pub(crate) name: Option<&'a str>,
    /// It has passed its gate already.
    pub(crate) passed: bool,
}

impl Storage {
    /// The newest rollout of each installation, or of this one.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a row makes no sense.
    pub async fn newest_rollouts(
        &self,
        installation: Option<InstallationId>,
    ) -> Result<HashMap<InstallationId, Rollout>, StorageError> {
        let sql = "SELECT * FROM rollouts
                   WHERE id IN (SELECT MAX(id) FROM rollouts WHERE $1 IS NULL OR installation_id = $1 GROUP BY installation_id)";
        let rows: Vec<Row> = sqlx::query_as(sql)
            .bind(installation.map(|id| id.to_string()))
            .fetch_all(self.reader())
            .await
            .map_err(StorageError::query("list rollouts"))?;
        let rollouts = rows.into_iter().map(Rollout::try_from);
        rollouts.map(|rollout| rollout.map(|rollout| (rollout.installation, rollout))).collect()
    }

    /// From now on the service is as the new revision has it: its candidate is the current container, and the one before is kept, parked.
    /// Nothing where the rollout does not go forward any more.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn move_service(&self, to: Move<'_>) -> Result<(), StorageError> {
        let failed = || StorageError::query("move service");
        let mut tx = self.begin().await?;
        let sql = "UPDATE rollouts SET moved = json_insert(moved, '$[#]', $2), passed = CASE WHEN $3 THEN json_insert(passed, '$[#]', $2) ELSE passed END
                   WHERE id = $1 AND phase = 'forward' AND NOT EXISTS (SELECT 1 FROM json_each(moved) WHERE value = $2)
                   RETURNING installation_id";
        let installation: Option<String> = sqlx::query_scalar(sql)
            .bind(to.rollout)
            .bind(to.service)
            .bind(to.passed)
            .fetch_optional(&mut *tx)
            .await
            .map_err(failed())?;
        let Some(installation) = installation else { return Ok(()) };
        if let Some(name) = to.parked_name {
            let sql = "UPDATE containers SET role = 'previous', name = $3 WHERE installation_id = $1 AND service = $2 AND role = 'current'";
            sqlx::query(sql)
                .bind(&installation)
                .bind(to.service)
                .bind(name)
                .execute(&mut *tx)
                .await
                .map_err(failed())?;
        }
        if let Some(name) = to.name {
            let sql = "UPDATE containers SET role = 'current', name = $3 WHERE installation_id = $1 AND service = $2 AND role = 'candidate'";
            sqlx::query(sql)
                .bind(&installation)
                .bind(to.service)
                .bind(name)
                .execute(&mut *tx)
                .await
                .map_err(failed())?;
        }
        tx.commit().await.map_err(failed())
    }

    /// A service of the new revision has passed its gate.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn gate_passed(&self, rollout: i64, service: &str) -> Result<(), StorageError> {
        let sql = "UPDATE rollouts SET passed = json_insert(passed, '$[#]', $2)
                   WHERE id = $1 AND phase = 'forward' AND NOT EXISTS (SELECT 1 FROM json_each(passed) WHERE value = $2)";
        sqlx::query(sql)
            .bind(rollout)
            .bind(service)
            .execute(self.writer())
            .await
            .map_err(StorageError::query("write passed gate"))?;
        Ok(())
    }

    /// Time that counts against the deadline of a rollout.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn add_rollout_time(&self, rollout: i64, used_ms: i64) -> Result<(), StorageError> {
        sqlx::query("UPDATE rollouts SET used_ms = used_ms + $2 WHERE id = $1 AND ended_at_ms IS NULL")
            .bind(rollout)
            .bind(used_ms)
            .execute(self.writer())
            .await
            .map_err(StorageError::query("write time of rollout"))?;
        Ok(())
    }

    /// The rollout has failed: from now on every service is as the old revision has it. What is parked is current again, under these names of
    /// its services; what came in its place is to go.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn turn_back(
        &self,
        rollout: i64,
        why: &str,
        attempt: Option<i64>,
        names: &BTreeMap<String, String>,
    ) -> Result<(), StorageError> {
        let failed = || StorageError::query("turn back");
        let mut tx = self.begin().await?;
        let sql =
            "UPDATE rollouts SET phase = 'back', why = $2, logs = (SELECT logs FROM attempts WHERE id = $3)
                   WHERE id = $1 AND phase = 'forward' RETURNING installation_id, moved";
        let turned: Option<(String, String)> = sqlx::query_as(sql)
            .bind(rollout)
            .bind(why)
            .bind(attempt)
            .fetch_optional(&mut *tx)
            .await
            .map_err(failed())?;
        let Some((installation, moved)) = turned else { return Ok(()) };
        let moved: Vec<String> = json("rollouts", &rollout.to_string(), "moved", &moved)?;
        for service in moved {
            let sql = "UPDATE containers SET role = 'candidate' WHERE installation_id = $1 AND service = $2 AND role = 'current'";
            sqlx::query(sql).bind(&installation).bind(&service).execute(&mut *tx).await.map_err(failed())?;
            let sql = "UPDATE containers SET role = 'current', name = COALESCE($3, name) WHERE installation_id = $1 AND service = $2 AND role = 'previous'";
            sqlx::query(sql)
                .bind(&installation)
                .bind(&service)
                .bind(names.get(&service))
                .execute(&mut *tx)
                .await
                .map_err(failed())?;
        }
        sqlx::query("UPDATE installations SET generation = generation + 1 WHERE id = $1")
            .bind(&installation)
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        tx.commit().await.map_err(failed())
    }

    /// Every service has passed: the new revision is the installation's, and what only the old one had is free.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn complete_rollout(&self, rollout: i64, now: Timestamp) -> Result<(), StorageError> {
        let mut tx = self.begin().await?;
        let sql = "UPDATE rollouts SET phase = 'done', ended_at_ms = $2 WHERE id = $1 AND phase = 'forward'
                   RETURNING installation_id, to_revision";
        let done: Option<(String, i64)> = sqlx::query_as(sql)
            .bind(rollout)
            .bind(now.millis())
            .fetch_optional(&mut *tx)
            .await
            .map_err(StorageError::query("complete rollout"))?;
        let Some((installation, revision)) = done else { return Ok(()) };
        let id = parsed("rollouts", &rollout.to_string(), "installation_id", &installation)?;
        take_revision(&mut tx, id, revision, now).await?;
        claims_of_revision_alone(&mut tx, id).await?;
        tx.commit().await.map_err(StorageError::query("complete rollout"))
    }

    /// The old revision runs again: what only the new one had is free.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn end_undone_rollout(&self, rollout: i64, now: Timestamp) -> Result<(), StorageError> {
        let mut tx = self.begin().await?;
        let sql = "UPDATE rollouts SET phase = 'undone', ended_at_ms = $2 WHERE id = $1 AND phase = 'back' RETURNING installation_id";
        let undone: Option<String> = sqlx::query_scalar(sql)
            .bind(rollout)
            .bind(now.millis())
            .fetch_optional(&mut *tx)
            .await
            .map_err(StorageError::query("end rollout"))?;
        let Some(installation) = undone else { return Ok(()) };
        let id = parsed("rollouts", &rollout.to_string(), "installation_id", &installation)?;
        claims_of_revision_alone(&mut tx, id).await?;
        tx.commit().await.map_err(StorageError::query("end rollout"))
    }
}

/// Begins one. The unique index refuses a second that is under way.
pub(super) async fn open(
    connection: &mut SqliteConnection,
    new: &NewRollout<'_>,
    now: Timestamp,
) -> Result<(), StorageError> {
    let sql = "INSERT INTO rollouts (installation_id, kind, from_revision, to_revision, phase, asked_by, opened_at_ms, after_attempt)
               VALUES ($1, $2, $3, $4, 'forward', $5, $6, (SELECT COALESCE(MAX(id), 0) FROM attempts))";
    sqlx::query(sql)
        .bind(new.installation.to_string())
        .bind(new.kind.as_str())
        .bind(new.from)
        .bind(new.to)
        .bind(new.asked_by)
        .bind(now.millis())
        .execute(connection)
        .await
        .map_err(StorageError::query("open rollout"))?;
    Ok(())
}

/// The rollout of an installation that is under way.
pub(super) async fn under_way(
    connection: &mut SqliteConnection,
    installation: InstallationId,
) -> Result<Option<Rollout>, StorageError> {
    let row: Option<Row> =
        sqlx::query_as("SELECT * FROM rollouts WHERE installation_id = $1 AND ended_at_ms IS NULL")
            .bind(installation.to_string())
            .fetch_optional(connection)
            .await
            .map_err(StorageError::query("read rollout"))?;
    row.map(Rollout::try_from).transpose()
}

/// Disabling and uninstalling end what is under way: the old revision is the installation's, which is what enabling brings back.
pub(super) async fn end(
    connection: &mut SqliteConnection,
    installation: InstallationId,
    why: &str,
    now: Timestamp,
) -> Result<(), StorageError> {
    let sql = "UPDATE rollouts SET phase = 'ended', why = COALESCE(why, $2), ended_at_ms = $3
               WHERE installation_id = $1 AND ended_at_ms IS NULL";
    let done = sqlx::query(sql)
        .bind(installation.to_string())
        .bind(why)
        .bind(now.millis())
        .execute(&mut *connection)
        .await
        .map_err(StorageError::query("end rollout"))?;
    if done.rows_affected() == 1 {
        claims_of_revision_alone(connection, installation).await?;
    }
    Ok(())
}

/// The revision is the installation's from now on, with the release that it was resolved from.
pub(super) async fn take_revision(
    connection: &mut SqliteConnection,
    installation: InstallationId,
    revision: i64,
    now: Timestamp,
) -> Result<(), StorageError> {
    let sql = "UPDATE installations
               SET revision = r.revision, release_id = r.release_id, release_digest = r.release_digest, version = r.version,
                   descriptor = r.descriptor, pins = r.pins, generation = generation + 1, updated_at_ms = $3
               FROM revisions r
               WHERE installations.id = $1 AND r.installation_id = $1 AND r.revision = $2";
    sqlx::query(sql)
        .bind(installation.to_string())
        .bind(revision)
        .bind(now.millis())
        .execute(connection)
        .await
        .map_err(StorageError::query("take revision"))?;
    Ok(())
}

/// Frees the claims that the installation's revision does not have. Volumes stay claimed: they are kept until the installation goes; and so do
/// ports that were chosen for a revision that it can go back to.
pub(super) async fn claims_of_revision_alone(
    connection: &mut SqliteConnection,
    installation: InstallationId,
) -> Result<(), StorageError> {
    let sql = "SELECT i.name, r.specification FROM installations i
               JOIN revisions r ON r.installation_id = i.id AND r.revision = i.revision WHERE i.id = $1";
    let (name, specification): (String, String) = sqlx::query_as(sql)
        .bind(installation.to_string())
        .fetch_one(&mut *connection)
        .await
        .map_err(StorageError::query("read revision"))?;
    let specification: RevisionSpecification =
        json("revisions", &installation.to_string(), "specification", &specification)?;
    let mut wanted = claims_of(&name, &specification);
    let kept: Vec<String> =
        sqlx::query_scalar("SELECT specification FROM revisions WHERE installation_id = $1")
            .bind(installation.to_string())
            .fetch_all(&mut *connection)
            .await
            .map_err(StorageError::query("read revisions"))?;
    for specification in kept {
        let kept: RevisionSpecification =
            json("revisions", &installation.to_string(), "specification", &specification)?;
        let ports = kept.services.values().flat_map(|service| &service.ports).filter(|port| port.chosen);
        wanted.extend(ports.map(|port| Claim::HostPort {
            ip: port.host_ip,
            port: port.host_port,
            protocol: port.protocol,
        }));
    }
    for held in claims::held(connection).await? {
        let keeps = held.installation != installation
            || matches!(held.claim, Claim::Volume(_))
            || wanted.contains(&held.claim);
        if !keeps {
            claims::free(connection, &held.claim).await?;
        }
    }
    Ok(())
}
