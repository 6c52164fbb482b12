//! The ledger of containers: a row before each create, the engine's id after it. What stands here proves a container ours.

use std::collections::{BTreeMap, HashMap, HashSet};

use addon_client::Timestamp;
use service_kit::audit::Actor;
use sqlx::sqlite::SqliteConnection;

use super::{Storage, StorageError, attempts, audit, json, parsed, to_json};
use crate::domain::installation::InstallationId;
use crate::reconciler::state::{Asked, Provider, Role, StartedBy};

/// A container that is about to be created.
#[derive(Debug, Clone)]
pub(crate) struct NewContainer<'a> {
    pub(crate) installation: InstallationId,
    pub(crate) service: &'a str,
    pub(crate) revision: i64,
    pub(crate) role: Role,
    pub(crate) name: &'a str,
    /// Random; used unless a create with an earlier one may still come true.
    pub(crate) nonce: &'a str,
    pub(crate) spec_digest: &'a str,
    pub(crate) asked: &'a Asked,
    /// The containers that it was made against: those whose namespaces it uses, and of one that is adopted those that it runs with.
    pub(crate) providers: &'a BTreeMap<String, Provider>,
    pub(crate) restart_generation: i64,
}

impl Storage {
    /// Writes the row of a container that is about to be created, in place of the row of the one before. Answers the key of the row and
    /// the nonce to create with: an earlier one stays while its container has no id, since a create whose answer was lost may have made it;
    /// and what to ask for: courtesy aliases that another installation has got meanwhile are left out.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn open_container(
        &self,
        new: &NewContainer<'_>,
        now: Timestamp,
    ) -> Result<(i64, String, Asked), StorageError> {
        let failed = || StorageError::query("write container");
        let mut tx = self.begin().await?;
        let mut asked = new.asked.clone();
        if !asked.courtesy.is_empty() {
            let taken = courtesy_aliases_of_others(&mut tx, new.installation).await?;
            asked.courtesy.retain(|network, alias| !taken.contains(&(network.clone(), alias.clone())));
        }
        let pending: Option<String> =
            sqlx::query_scalar("SELECT nonce FROM containers WHERE installation_id = $1 AND service = $2 AND role = $3 AND engine_id IS NULL")
                .bind(new.installation.to_string())
                .bind(new.service)
                .bind(new.role.as_str())
                .fetch_optional(&mut *tx)
                .await
                .map_err(failed())?;
        sqlx::query("DELETE FROM containers WHERE installation_id = $1 AND service = $2 AND role = $3")
            .bind(new.installation.to_string())
            .bind(new.service)
            .bind(new.role.as_str())
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        let nonce = pending.unwrap_or_else(|| new.nonce.to_owned());
        let sql = "INSERT INTO containers (installation_id, service, revision, role, name, nonce, spec_digest, asked, restart_generation,
                                           created_at_ms, providers)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id";
        let row: i64 = sqlx::query_scalar(sql)
            .bind(new.installation.to_string())
            .bind(new.service)
            .bind(new.revision)
            .bind(new.role.as_str())
            .bind(new.name)
            .bind(&nonce)
            .bind(new.spec_digest)
            .bind(to_json(&asked))
            .bind(new.restart_generation)
            .bind(now.millis())
            .bind(to_json(new.providers))
            .fetch_one(&mut *tx)
            .await
            .map_err(failed())?;
        tx.commit().await.map_err(failed())?;
        Ok((row, nonce, asked))
    }

    /// The engine has created it: from now on its id is the proof.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn container_created(&self, row: i64, engine_id: &str) -> Result<(), StorageError> {
        let sql = "UPDATE containers SET engine_id = $2 WHERE id = $1";
        sqlx::query(sql)
            .bind(row)
            .bind(engine_id)
            .execute(self.writer())
            .await
            .map_err(StorageError::query("write container's id"))?;
        Ok(())
    }

    /// It is what was meant.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn container_verified(&self, row: i64) -> Result<(), StorageError> {
        let sql = "UPDATE containers SET verified = 1 WHERE id = $1";
        sqlx::query(sql)
            .bind(row)
            .execute(self.writer())
            .await
            .map_err(StorageError::query("write container"))?;
        Ok(())
    }

    /// Writes down what was last asked of the engine for a container.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn set_asked(&self, row: i64, asked: &Asked) -> Result<(), StorageError> {
        let sql = "UPDATE containers SET asked = $2 WHERE id = $1";
        sqlx::query(sql)
            .bind(row)
            .bind(to_json(asked))
            .execute(self.writer())
            .await
            .map_err(StorageError::query("write what was asked"))?;
        Ok(())
    }

    /// It is gone.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn forget_container(&self, row: i64) -> Result<(), StorageError> {
        let sql = "DELETE FROM containers WHERE id = $1";
        sqlx::query(sql)
            .bind(row)
            .execute(self.writer())
            .await
            .map_err(StorageError::query("forget container"))?;
        Ok(())
    }

    /// Writes down a run that we are about to begin, against which containers, and which process the container had before. Answers the key
    /// of the attempt.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn begin_run(
        &self,
        run: &attempts::NewRun<'_>,
        providers: &BTreeMap<String, Provider>,
        restart_generation: i64,
        started_at_before: Option<&str>,
    ) -> Result<i64, StorageError> {
        let mut tx = self.begin().await?;
        // A run that was written down and never began: we were stopped between the two.
        let never_began: Vec<i64> =
            sqlx::query_scalar("SELECT id FROM attempts WHERE engine_id = $1 AND ended_at_ms IS NULL")
                .bind(run.engine_id)
                .fetch_all(&mut *tx)
                .await
                .map_err(StorageError::query("begin run"))?;
        for attempt in never_began {
            take_back_run(&mut tx, attempt, run.container_row).await?;
        }
        let mut providers = providers.clone();
        for provider in providers.values_mut() {
            provider.run = sqlx::query_scalar(
                "SELECT MAX(id) FROM attempts WHERE engine_id = $1 AND started_by = 'manager'",
            )
            .bind(&provider.engine_id)
            .fetch_one(&mut *tx)
            .await
            .map_err(StorageError::query("begin run"))?;
        }
        let attempt = attempts::insert_run(&mut tx, run).await?;
        let sql = "UPDATE containers
                   SET providers_before = providers, providers = $2, restart_generation_before = restart_generation, restart_generation = $3,
                       started_at_before = $4, started_at = NULL
                   WHERE id = $1";
        sqlx::query(sql)
            .bind(run.container_row)
            .bind(to_json(&providers))
            .bind(restart_generation)
            .bind(started_at_before)
            .execute(&mut *tx)
            .await
            .map_err(StorageError::query("write container"))?;
        tx.commit().await.map_err(StorageError::query("begin run"))?;
        Ok(attempt)
    }

    /// A run that was written down did not begin, and nothing is to be concluded from that.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn cancel_run(&self, attempt: i64, container_row: i64) -> Result<(), StorageError> {
        let mut tx = self.begin().await?;
        take_back_run(&mut tx, attempt, container_row).await?;
        tx.commit().await.map_err(StorageError::query("cancel run"))
    }

    /// Whose the containers and networks are: engine id to installation.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn owners(&self) -> Result<HashMap<String, InstallationId>, StorageError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT engine_id, installation_id FROM containers WHERE engine_id IS NOT NULL
             UNION ALL SELECT engine_id, installation_id FROM networks WHERE engine_id IS NOT NULL AND installation_id IS NOT NULL",
        )
        .fetch_all(self.reader())
            .await
            .map_err(StorageError::query("list containers"))?;
        rows.into_iter()
            .map(|(engine_id, id)| Ok((engine_id, parsed("containers", &id, "installation_id", &id)?)))
            .collect()
    }

    /// Prefixed aliases that containers were given: engine id, network, alias.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a row makes no sense.
    pub(crate) async fn given_courtesy_aliases(
        &self,
    ) -> Result<HashSet<(String, String, String)>, StorageError> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT engine_id, asked FROM containers WHERE engine_id IS NOT NULL")
                .fetch_all(self.reader())
                .await
                .map_err(StorageError::query("read courtesy aliases"))?;
        let mut given = HashSet::new();
        for (engine_id, asked) in rows {
            let asked: Asked = json("containers", &engine_id, "asked", &asked)?;
            given.extend(
                asked.courtesy.into_iter().map(|(network, alias)| (engine_id.clone(), network, alias)),
            );
        }
        Ok(given)
    }

    /// Takes a container into the ledger that the engine has already, in place of one that is gone from there. `false` when the service has another
    /// one with an id.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn adopt_container(
        &self,
        new: &NewContainer<'_>,
        engine_id: &str,
        gone: Option<&str>,
        verified: bool,
        by: Option<&Actor>,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let failed = || StorageError::query("adopt container");
        let mut tx = self.begin().await?;
        let taken: Option<i64> = sqlx::query_scalar(
            "SELECT 1 FROM containers
             WHERE engine_id = $4 OR (installation_id = $1 AND service = $2 AND role = $3 AND engine_id IS NOT NULL
                                    AND ($5 IS NULL OR engine_id <> $5))",
        )
        .bind(new.installation.to_string())
        .bind(new.service)
        .bind(new.role.as_str())
        .bind(engine_id)
        .bind(gone)
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed())?;
        if taken.is_some() {
            return Ok(false);
        }
        sqlx::query("DELETE FROM containers WHERE installation_id = $1 AND service = $2 AND role = $3")
            .bind(new.installation.to_string())
            .bind(new.service)
            .bind(new.role.as_str())
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        let sql = "INSERT INTO containers (installation_id, service, revision, role, name, nonce, engine_id, spec_digest, asked, providers,
                                           verified, restart_generation, created_at_ms)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        sqlx::query(sql)
            .bind(new.installation.to_string())
            .bind(new.service)
            .bind(new.revision)
            .bind(new.role.as_str())
            .bind(new.name)
            .bind(new.nonce)
            .bind(engine_id)
            .bind(new.spec_digest)
            .bind(to_json(new.asked))
            .bind(to_json(new.providers))
            .bind(verified)
            .bind(new.restart_generation)
            .bind(now.millis())
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        if let Some(by) = by {
            let detail = serde_json::json!({"container": engine_id, "service": new.service});
            audit::of_installation(&mut tx, new.installation, by, "installation.adopt", detail, now).await?;
        }
        tx.commit().await.map_err(failed())?;
        Ok(true)
    }
}

/// Prefixed aliases that containers of other installations were given, and names that other installations asked for, by network and alias.
async fn courtesy_aliases_of_others(
    tx: &mut SqliteConnection,
    installation: InstallationId,
) -> Result<HashSet<(String, String)>, StorageError> {
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT id, asked FROM containers WHERE installation_id <> $1")
            .bind(installation.to_string())
            .fetch_all(&mut *tx)
            .await
            .map_err(StorageError::query("read courtesy aliases"))?;
    let mut taken = HashSet::new();
    for (id, asked) in rows {
        let asked: Asked = json("containers", &id.to_string(), "asked", &asked)?;
        taken.extend(asked.courtesy);
    }
    let claimed = super::claims::aliases(tx).await?;
    taken.extend(
        claimed.into_iter().filter(|(holder, _)| *holder != installation.to_string()).map(|(_, name)| name),
    );
    Ok(taken)
}

pub(super) async fn set_engine_id(
    tx: &mut SqliteConnection,
    row: i64,
    engine_id: &str,
) -> Result<(), StorageError> {
    let sql = "UPDATE containers SET engine_id = $2 WHERE id = $1 AND engine_id IS NULL";
    sqlx::query(sql)
        .bind(row)
        .bind(engine_id)
        .execute(tx)
        .await
        .map_err(StorageError::query("write container's id"))?;
    Ok(())
}

/// Takes back a run that was written down and did not begin: its container is as it was before.
pub(super) async fn take_back_run(
    tx: &mut SqliteConnection,
    attempt: i64,
    container_row: i64,
) -> Result<(), StorageError> {
    let failed = || StorageError::query("cancel run");
    let deleted = sqlx::query("DELETE FROM attempts WHERE id = $1 AND ended_at_ms IS NULL")
        .bind(attempt)
        .execute(&mut *tx)
        .await
        .map_err(failed())?;
    if deleted.rows_affected() == 0 {
        return Ok(());
    }
    let sql = "UPDATE containers SET providers = providers_before, started_at = started_at_before,
                   restart_generation = restart_generation_before WHERE id = $1";
    sqlx::query(sql).bind(container_row).execute(tx).await.map_err(failed())?;
    Ok(())
}

pub(super) async fn set_started_at(
    tx: &mut SqliteConnection,
    row: i64,
    started_at: &str,
) -> Result<(), StorageError> {
    let sql = "UPDATE containers SET started_at = $2 WHERE id = $1";
    sqlx::query(sql)
        .bind(row)
        .bind(started_at)
        .execute(tx)
        .await
        .map_err(StorageError::query("write start of process"))?;
    Ok(())
}

/// A container that somebody else started, or the engine, begins a run of its own: its process is another one.
pub(super) async fn forget_started_at(
    tx: &mut SqliteConnection,
    engine_id: &str,
    by: StartedBy,
) -> Result<(), StorageError> {
    debug_assert_ne!(by, StartedBy::Manager, "ours are begun by `begin_run`");
    let sql = "UPDATE containers SET started_at = NULL WHERE engine_id = $1";
    sqlx::query(sql)
        .bind(engine_id)
        .execute(tx)
        .await
        .map_err(StorageError::query("write start of process"))?;
    Ok(())
}
