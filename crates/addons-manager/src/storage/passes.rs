//! What a pass of the reconciler reads and writes as a whole: the desired state of one or of all installations, what a look at the engine
//! added to it, and the status that was derived.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use addon_client::{Condition, InstallationStatus, Timestamp};
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use super::{Storage, StorageError, attempts, containers, json, millis, parsed, to_json};
use crate::domain::installation::InstallationId;
use crate::domain::rollout::Rollout;
use crate::domain::specification::RevisionSpecification;
use crate::domain::status::ServiceReport;
use crate::reconciler::record::Record;
use crate::reconciler::state::{
    Attempt, AttemptError, Completion, ContainerRow, DesiredState, EndedBy, ErrorKind, ImageRow,
    InstallationRow, NetworkRow, Role, RolloutState, StartedBy, VolumeRow, aside_digest, rollout_digest,
};

/// Runs and failures of a service that a pass looks at; older ones are deleted.
pub(super) const HISTORY: i64 = 100;

/// Revisions that are kept to go back to, the installation's own among them.
const KEPT_REVISIONS: i64 = 10;

/// `rollouts.settle_ms` and `rollouts.deadline_ms` where nobody says otherwise.
const DEFAULT_SETTLE: Duration = Duration::from_secs(10);
const DEFAULT_DEADLINE: Duration = Duration::from_secs(600);

/// What is stored of an installation after a pass.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredReport {
    /// How it is.
    pub status: InstallationStatus,
    /// Since when.
    pub status_since: Timestamp,
    /// Services that have been up.
    pub been_up: BTreeSet<String>,
    /// What else there is to know.
    pub conditions: Vec<Condition>,
    /// How each service is.
    pub service_states: Vec<ServiceReport>,
}

impl Storage {
    /// What is wanted of one installation, and what was made for it.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a row makes no sense.
    pub async fn desired_state(&self, id: InstallationId) -> Result<Option<DesiredState>, StorageError> {
        Ok(self.load(Some(&[id])).await?.pop())
    }

    /// The same of these installations, in as many statements.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a row makes no sense.
    pub async fn desired_states_of(&self, ids: &[InstallationId]) -> Result<Vec<DesiredState>, StorageError> {
        self.load(Some(ids)).await
    }

    /// The same of every installation, in as many statements.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a row makes no sense.
    pub async fn desired_states(&self) -> Result<Vec<DesiredState>, StorageError> {
        self.load(None).await
    }

    async fn load(&self, ids: Option<&[InstallationId]>) -> Result<Vec<DesiredState>, StorageError> {
        let scope = ids.map(|ids| to_json(&ids.iter().map(ToString::to_string).collect::<Vec<_>>()));
        let scope = scope.as_deref();
        // One read transaction: all tables as of the same moment.
        let mut tx = self.reader().begin().await.map_err(StorageError::query("read desired state"))?;
        let mut states = read_installations(&mut tx, scope).await?;
        if states.is_empty() {
            return Ok(Vec::new());
        }
        let mut by_id: HashMap<String, &mut DesiredState> =
            states.iter_mut().map(|state| (state.installation.id.to_string(), state)).collect();
        read_rollouts(&mut tx, scope, &mut by_id).await?;
        read_outdated(&mut tx, scope, &mut by_id).await?;
        read_images(&mut tx, scope, &mut by_id).await?;
        read_containers(&mut tx, scope, &mut by_id).await?;
        read_networks(&mut tx, scope, &mut by_id).await?;
        read_volumes(&mut tx, scope, &mut by_id).await?;
        read_completions(&mut tx, scope, &mut by_id).await?;
        read_attempts(&mut tx, scope, &mut by_id).await?;
        read_courtesy_aliases(&mut tx, &mut by_id).await?;
        Ok(states)
    }

    /// Ids of all installations.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn installation_ids(&self) -> Result<Vec<InstallationId>, StorageError> {
        let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM installations ORDER BY created_at_ms, id")
            .fetch_all(self.reader())
            .await
            .map_err(StorageError::query("list installations"))?;
        ids.iter().map(|id| parsed("installations", id, "id", id)).collect()
    }

    /// How many installations have each status, as stored.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn count_by_status(&self) -> Result<BTreeMap<String, u32>, StorageError> {
        let rows: Vec<(String, u32)> =
            sqlx::query_as("SELECT status, COUNT(*) FROM installations GROUP BY status")
                .fetch_all(self.reader())
                .await
                .map_err(StorageError::query("count installations"))?;
        Ok(rows.into_iter().collect())
    }

    /// Writes down what a look at the engine added, in one transaction.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn apply_records(
        &self,
        desired: &DesiredState,
        records: &[Record],
    ) -> Result<(), StorageError> {
        let mut tx = self.begin().await?;
        let installation = &desired.installation;
        for record in records {
            match record {
                Record::ContainerFound { row, service, engine_id } => {
                    containers::set_engine_id(&mut tx, *row, engine_id).await?;
                    attempts::forgive_creates(&mut tx, installation.id, Some(service)).await?;
                }
                Record::NetworkFound { row, engine_id, surplus } => {
                    super::objects::network_found(&mut tx, *row, engine_id, surplus).await?;
                    attempts::forgive_creates(&mut tx, installation.id, None).await?;
                }
                Record::RunSeen { service, row, engine_id, spec_digest, started_by, started_at } => {
                    let run = attempts::NewRun {
                        installation: installation.id,
                        service,
                        container_row: *row,
                        engine_id,
                        spec_digest,
                        epoch: installation.epoch,
                        started_by: *started_by,
                        started_at: *started_at,
                    };
                    attempts::insert_seen_run(&mut tx, &run).await?;
                }
                Record::RunNeverBegan { attempt, row } => {
                    containers::take_back_run(&mut tx, *attempt, *row).await?;
                }
                Record::RunEnded { attempt, ended_at, exit_code, oom, ended_by } => {
                    attempts::end_run(&mut tx, *attempt, *ended_at, *exit_code, *oom, *ended_by).await?;
                }
                Record::RunUnhealthy { attempt, at } => {
                    attempts::set_unhealthy(&mut tx, *attempt, Some(*at)).await?;
                }
                Record::RunRecovered { attempt } => attempts::set_unhealthy(&mut tx, *attempt, None).await?,
                Record::JobCompleted { service, spec_digest, finished_at, watched } => {
                    let generation = installation.restart_generation;
                    super::completions::insert(
                        &mut tx,
                        installation.id,
                        service,
                        spec_digest,
                        generation,
                        *finished_at,
                        *watched,
                    )
                    .await?;
                }
                Record::ProcessStarted { row, started_at } => {
                    containers::set_started_at(&mut tx, *row, started_at).await?;
                }
            }
        }
        tx.commit().await.map_err(StorageError::query("write down what was seen"))
    }

    /// Stores how an installation was found, unless something else was asked of it meanwhile.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub(crate) async fn store_report(
        &self,
        id: InstallationId,
        generation: i64,
        report: &StoredReport,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let sql = "UPDATE installations
                   SET status = $3, status_since_ms = $4, been_up = $5, conditions = $6, service_states = $7, updated_at_ms = $8
                   WHERE id = $1 AND generation = $2";
        let done = sqlx::query(sql)
            .bind(id.to_string())
            .bind(generation)
            .bind(report.status.as_str())
            .bind(report.status_since.millis())
            .bind(to_json(&report.been_up))
            .bind(to_json(&report.conditions))
            .bind(to_json(&report.service_states))
            .bind(now.millis())
            .execute(self.writer())
            .await
            .map_err(StorageError::query("store status"))?;
        Ok(done.rows_affected() == 1)
    }
}

/// `head`, then the condition that the installation is one of these (ids as a JSON array) where there is one, then `tail`.
fn scoped(
    head: &'static str,
    column: &'static str,
    scope: Option<&str>,
    tail: &'static str,
) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(head);
    if let Some(ids) = scope {
        query.push(column).push(" IN (SELECT value FROM json_each(").push_bind(ids.to_owned()).push("))");
    }
    query.push(tail);
    query
}

async fn read_installations(
    tx: &mut SqliteConnection,
    scope: Option<&str>,
) -> Result<Vec<DesiredState>, StorageError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        id: String,
        name: String,
        addon: String,
        release_id: String,
        desired: String,
        generation: i64,
        revision: i64,
        restart_generation: i64,
        epoch: i64,
        been_up: String,
        delete_volumes: bool,
        status: String,
        status_since_ms: i64,
        conditions: String,
        service_states: String,
        specification: String,
        digests: String,
    }
    let head = "SELECT i.id, i.name, i.addon, i.release_id, i.desired, i.generation, i.revision, i.restart_generation, i.epoch, i.been_up,
                       i.delete_volumes, i.status, i.status_since_ms, i.conditions, i.service_states, r.specification, r.digests
                FROM installations i JOIN revisions r ON r.installation_id = i.id AND r.revision = i.revision";
    let rows: Vec<Row> = scoped(head, " WHERE i.id", scope, " ORDER BY i.created_at_ms, i.id")
        .build_query_as()
        .fetch_all(tx)
        .await
        .map_err(StorageError::query("read installations"))?;
    rows.into_iter()
        .map(|row| {
            let corrupt = |what: &str, value: &str| {
                StorageError::corrupt("installations", &row.id, format_args!("{what} {value}"))
            };
            let specification: RevisionSpecification =
                json("revisions", &row.id, "specification", &row.specification)?;
            Ok(DesiredState {
                installation: InstallationRow {
                    id: parsed("installations", &row.id, "id", &row.id)?,
                    desired: row.desired.parse().map_err(|()| corrupt("desired state", &row.desired))?,
                    been_up: json("installations", &row.id, "been_up", &row.been_up)?,
                    status: InstallationStatus::from_wire(&row.status)
                        .ok_or_else(|| corrupt("status", &row.status))?,
                    conditions: json("installations", &row.id, "conditions", &row.conditions)?,
                    service_states: json("installations", &row.id, "service_states", &row.service_states)?,
                    name: row.name,
                    addon: row.addon,
                    release_id: row.release_id,
                    generation: row.generation,
                    revision: row.revision,
                    restart_generation: row.restart_generation,
                    epoch: row.epoch,
                    delete_volumes: row.delete_volumes,
                    status_since: millis(row.status_since_ms),
                },
                digests: json("revisions", &row.id, "digests", &row.digests)?,
                specification,
                moved: BTreeMap::new(),
                rollout: None,
                images: BTreeMap::new(),
                tags: BTreeSet::new(),
                outdated: BTreeMap::new(),
                containers: Vec::new(),
                networks: Vec::new(),
                volumes: Vec::new(),
                completions: BTreeMap::new(),
                attempts: BTreeMap::new(),
                courtesy_taken: BTreeSet::new(),
                aliases_claimed: BTreeSet::new(),
            })
        })
        .collect()
}

type ById<'a> = HashMap<String, &'a mut DesiredState>;

/// Rollouts that are under way. Of a service that has been moved the new revision counts, of each other one the old.
async fn read_rollouts(
    tx: &mut SqliteConnection,
    scope: Option<&str>,
    by_id: &mut ById<'_>,
) -> Result<(), StorageError> {
    let rows: Vec<super::rollouts::Row> =
        scoped("SELECT * FROM rollouts WHERE ended_at_ms IS NULL", " AND installation_id", scope, "")
            .build_query_as()
            .fetch_all(&mut *tx)
            .await
            .map_err(StorageError::query("read rollouts"))?;
    for row in rows {
        let Some(state) = by_id.get_mut(&row.installation_id) else { continue };
        let row = Rollout::try_from(row)?;
        let key = format!("{}/{}", row.installation, row.to);
        let sql = "SELECT specification, digests FROM revisions WHERE installation_id = $1 AND revision = $2";
        let (specification, digests): (String, String) = sqlx::query_as(sql)
            .bind(row.installation.to_string())
            .bind(row.to)
            .fetch_one(&mut *tx)
            .await
            .map_err(StorageError::query("read revision"))?;
        let to: RevisionSpecification = json("revisions", &key, "specification", &specification)?;
        let rollout = RolloutState {
            from: state.specification.clone(),
            from_digests: state.digests.clone(),
            to,
            digests: json("revisions", &key, "digests", &digests)?,
            images: BTreeMap::new(),
            attempts: BTreeMap::new(),
            aside: BTreeMap::new(),
            watched_since: row.opened_at,
            settle: DEFAULT_SETTLE,
            deadline: DEFAULT_DEADLINE,
            row,
        };
        if rollout.is_forward() {
            blend(state, &rollout);
        }
        state.rollout = Some(rollout);
    }
    Ok(())
}

/// Revisions beyond [`KEPT_REVISIONS`], where no rollout is under way: first those that never ran through, then the oldest.
async fn read_outdated(
    tx: &mut SqliteConnection,
    scope: Option<&str>,
    by_id: &mut ById<'_>,
) -> Result<(), StorageError> {
    let sql = "SELECT installation_id, revision FROM
                   (SELECT r.installation_id, r.revision, ROW_NUMBER() OVER (PARTITION BY r.installation_id ORDER BY
                           EXISTS (SELECT 1 FROM rollouts o WHERE o.installation_id = r.installation_id AND o.to_revision = r.revision)
                               AND NOT EXISTS (SELECT 1 FROM rollouts o WHERE o.installation_id = r.installation_id
                                               AND o.to_revision = r.revision AND o.phase = 'done'),
                           r.revision DESC) AS place
                    FROM revisions r JOIN installations i ON i.id = r.installation_id AND i.revision <> r.revision
                    WHERE $1 IS NULL OR r.installation_id IN (SELECT value FROM json_each($1)))
               WHERE place >= $2";
    let rows: Vec<(String, i64)> = sqlx::query_as(sql)
        .bind(scope)
        .bind(KEPT_REVISIONS)
        .fetch_all(tx)
        .await
        .map_err(StorageError::query("read revisions"))?;
    for (installation, revision) in rows {
        if let Some(state) = by_id.get_mut(&installation).filter(|state| state.rollout.is_none()) {
            state.outdated.insert(revision, Vec::new());
        }
    }
    Ok(())
}

/// Puts what the new revision says of moved services in place of what the old one says. Networks and volumes are those of both.
fn blend(state: &mut DesiredState, rollout: &RolloutState) {
    for service in &rollout.row.moved {
        state.specification.services.remove(service);
        state.digests.remove(service);
        if let (Some(specification), Some(digest)) =
            (rollout.to.services.get(service), rollout.digests.get(service))
        {
            state.specification.services.insert(service.clone(), specification.clone());
            state.digests.insert(service.clone(), digest.clone());
            state.moved.insert(service.clone(), rollout.row.to);
        }
    }
    let RevisionSpecification { services: _, networks, volumes, shared_networks, external_volumes } =
        &rollout.to;
    let both = &mut state.specification;
    both.networks.extend(networks.clone());
    both.volumes.extend(volumes.clone());
    both.shared_networks.extend(shared_networks.clone());
    both.external_volumes.extend(external_volumes.iter().cloned());
    both.external_volumes.sort();
    both.external_volumes.dedup();
}

async fn read_images(
    tx: &mut SqliteConnection,
    scope: Option<&str>,
    by_id: &mut ById<'_>,
) -> Result<(), StorageError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        installation_id: String,
        revision: i64,
        service: String,
        image_id: String,
        tag: String,
        volumes: String,
        has_healthcheck: bool,
    }
    let rows: Vec<Row> = scoped("SELECT * FROM images", " WHERE installation_id", scope, "")
        .build_query_as()
        .fetch_all(tx)
        .await
        .map_err(StorageError::query("read images"))?;
    for row in rows {
        let Some(state) = by_id.get_mut(&row.installation_id) else { continue };
        state.tags.insert(row.tag.clone());
        if let Some(tags) = state.outdated.get_mut(&row.revision) {
            tags.push(row.tag.clone());
        }
        let is_current = row.revision == state.revision_of(&row.service);
        let is_new = state.rollout.as_ref().is_some_and(|rollout| rollout.row.to == row.revision);
        if !is_current && !is_new {
            continue;
        }
        let volumes = json("images", &row.installation_id, "volumes", &row.volumes)?;
        let image =
            ImageRow { image_id: row.image_id, tag: row.tag, volumes, has_healthcheck: row.has_healthcheck };
        if is_current {
            state.images.insert(row.service.clone(), image.clone());
        }
        if let Some(rollout) = state.rollout.as_mut().filter(|_| is_new) {
            rollout.images.insert(row.service, image);
        }
    }
    Ok(())
}

async fn read_containers(
    tx: &mut SqliteConnection,
    scope: Option<&str>,
    by_id: &mut ById<'_>,
) -> Result<(), StorageError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        id: i64,
        installation_id: String,
        service: String,
        role: String,
        name: String,
        nonce: String,
        engine_id: Option<String>,
        spec_digest: String,
        asked: String,
        providers: String,
        verified: bool,
        started_at: Option<String>,
        started_at_before: Option<String>,
        restart_generation: i64,
    }
    let rows: Vec<Row> = scoped("SELECT * FROM containers", " WHERE installation_id", scope, " ORDER BY id")
        .build_query_as()
        .fetch_all(tx)
        .await
        .map_err(StorageError::query("read containers"))?;
    for row in rows {
        let Some(state) = by_id.get_mut(&row.installation_id) else { continue };
        let id = row.id.to_string();
        let role = Role::from_stored(&row.role)
            .ok_or_else(|| StorageError::corrupt("containers", &id, format_args!("role {}", row.role)))?;
        state.containers.push(ContainerRow {
            row: row.id,
            role,
            asked: json("containers", &id, "asked", &row.asked)?,
            providers: json("containers", &id, "providers", &row.providers)?,
            service: row.service,
            name: row.name,
            nonce: row.nonce,
            engine_id: row.engine_id,
            spec_digest: row.spec_digest,
            verified: row.verified,
            started_at: row.started_at,
            started_at_before: row.started_at_before,
            restart_generation: row.restart_generation,
        });
    }
    Ok(())
}

async fn read_networks(
    tx: &mut SqliteConnection,
    scope: Option<&str>,
    by_id: &mut ById<'_>,
) -> Result<(), StorageError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        id: i64,
        installation_id: Option<String>,
        name: String,
        nonce: String,
        engine_id: Option<String>,
        surplus: bool,
    }
    let rows: Vec<Row> = scoped(
        "SELECT * FROM networks",
        " WHERE installation_id IS NULL OR installation_id",
        scope,
        " ORDER BY id",
    )
    .build_query_as()
    .fetch_all(tx)
    .await
    .map_err(StorageError::query("read networks"))?;
    for row in rows {
        let network = NetworkRow {
            row: row.id,
            platform: row.installation_id.is_none(),
            name: row.name,
            nonce: row.nonce,
            engine_id: row.engine_id,
            surplus: row.surplus,
        };
        match row.installation_id {
            Some(id) => {
                if let Some(state) = by_id.get_mut(&id) {
                    state.networks.push(network);
                }
            }
            // The platform's: of all that are on it.
            None => {
                for state in by_id
                    .values_mut()
                    .filter(|state| state.specification.shared_networks.contains_key(&network.name))
                {
                    state.networks.push(network.clone());
                }
            }
        }
    }
    Ok(())
}

async fn read_volumes(
    tx: &mut SqliteConnection,
    scope: Option<&str>,
    by_id: &mut ById<'_>,
) -> Result<(), StorageError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        id: i64,
        installation_id: String,
        name: String,
        nonce: String,
        specification: String,
    }
    let rows: Vec<Row> = scoped("SELECT * FROM volumes", " WHERE installation_id", scope, " ORDER BY id")
        .build_query_as()
        .fetch_all(tx)
        .await
        .map_err(StorageError::query("read volumes"))?;
    for row in rows {
        let Some(state) = by_id.get_mut(&row.installation_id) else { continue };
        let specification = json("volumes", &row.name, "specification", &row.specification)?;
        state.volumes.push(VolumeRow { row: row.id, name: row.name, nonce: row.nonce, specification });
    }
    Ok(())
}

async fn read_completions(
    tx: &mut SqliteConnection,
    scope: Option<&str>,
    by_id: &mut ById<'_>,
) -> Result<(), StorageError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        installation_id: String,
        service: String,
        spec_digest: String,
        restart_generation: i64,
        finished_at_ms: i64,
        watched: bool,
    }
    let rows: Vec<Row> = scoped("SELECT * FROM completions", " WHERE installation_id", scope, "")
        .build_query_as()
        .fetch_all(tx)
        .await
        .map_err(StorageError::query("read completions"))?;
    for row in rows {
        let Some(state) = by_id.get_mut(&row.installation_id) else { continue };
        let current = state.digests.get(&row.service) == Some(&row.spec_digest)
            && row.restart_generation == state.installation.restart_generation;
        if current {
            state.completions.insert(
                row.service,
                Completion { finished_at: millis(row.finished_at_ms), watched: row.watched },
            );
        }
    }
    Ok(())
}

#[derive(sqlx::FromRow)]
struct AttemptRow {
    id: i64,
    installation_id: String,
    service: String,
    engine_id: Option<String>,
    spec_digest: String,
    epoch: i64,
    started_by: String,
    started_at_ms: i64,
    unhealthy_at_ms: Option<i64>,
    ended_at_ms: Option<i64>,
    exit_code: Option<i64>,
    oom: bool,
    ended_by: Option<String>,
    watched: bool,
    error_kind: Option<String>,
    error: Option<String>,
    not_before_ms: Option<i64>,
    logs: Option<String>,
}

async fn read_attempts(
    tx: &mut SqliteConnection,
    scope: Option<&str>,
    by_id: &mut ById<'_>,
) -> Result<(), StorageError> {
    let rows: Vec<AttemptRow> =
        scoped("SELECT * FROM attempts", " WHERE installation_id", scope, " ORDER BY id DESC")
            .build_query_as()
            .fetch_all(tx)
            .await
            .map_err(StorageError::query("read attempts"))?;
    for row in rows {
        let Some(state) = by_id.get_mut(&row.installation_id) else { continue };
        // An older epoch is forgiven, another specification says nothing of this one; a run that goes on is there whatever it ran for.
        let of_now = row.epoch == state.installation.epoch
            && (row.service.is_empty() || state.digests.get(&row.service) == Some(&row.spec_digest));
        let of_rollout = state.rollout.as_ref().is_some_and(|rollout| {
            let is_new =
                rollout.digests.get(&row.service) == Some(&row.spec_digest) && rollout.changes(&row.service);
            row.id > rollout.row.after_attempt
                && (is_new || row.spec_digest == rollout_digest(rollout.row.id))
        });
        // What a service that has been moved did in an earlier rollout keeps nobody from trying it again.
        let of_earlier = state.moved.contains_key(&row.service)
            && state.rollout.as_ref().is_some_and(|rollout| row.id <= rollout.row.after_attempt);
        let aside =
            state.rollout.as_ref().is_some_and(|rollout| row.spec_digest == aside_digest(rollout.row.id));
        let of_now = (of_now && !of_earlier) || row.ended_at_ms.is_none();
        if !of_now && !of_rollout && !aside {
            continue;
        }
        let service = row.service.clone();
        let attempt = attempt(row)?;
        if let Some(rollout) = state.rollout.as_mut().filter(|_| aside) {
            rollout.aside.entry(service.clone()).or_default().push(attempt.clone());
        }
        if let Some(rollout) = state.rollout.as_mut().filter(|_| of_rollout) {
            rollout.attempts.entry(service.clone()).or_default().push(attempt.clone());
        }
        if of_now {
            state.attempts.entry(service).or_default().push(attempt);
        }
    }
    Ok(())
}

fn attempt(row: AttemptRow) -> Result<Attempt, StorageError> {
    let corrupt = |what: &str| StorageError::corrupt("attempts", row.id, what);
    let error = match &row.error_kind {
        None => None,
        Some(kind) => {
            let kind = ErrorKind::ALL
                .into_iter()
                .find(|known| known.as_str() == kind)
                .ok_or_else(|| corrupt("error_kind"))?;
            Some(AttemptError { kind, message: row.error.clone().unwrap_or_default() })
        }
    };
    let ended_by = match &row.ended_by {
        None => None,
        Some(by) => Some(EndedBy::from_stored(by).ok_or_else(|| corrupt("ended_by"))?),
    };
    Ok(Attempt {
        row: row.id,
        started_by: StartedBy::from_stored(&row.started_by).ok_or_else(|| corrupt("started_by"))?,
        engine_id: row.engine_id,
        started_at: millis(row.started_at_ms),
        unhealthy_at: row.unhealthy_at_ms.map(millis),
        ended_at: row.ended_at_ms.map(millis),
        exit_code: row.exit_code,
        oom: row.oom,
        ended_by,
        watched: row.watched,
        error,
        not_before: row.not_before_ms.map(millis),
        logs: row.logs,
    })
}

/// Courtesy aliases that others were given, and names that others asked for. Read only where the specification would have one: no prefix, no alias.
async fn read_courtesy_aliases(tx: &mut SqliteConnection, by_id: &mut ById<'_>) -> Result<(), StorageError> {
    let wants = |state: &DesiredState| {
        state
            .specification
            .services
            .values()
            .any(|service| crate::reconciler::plan::networks::courtesy_aliases(service).next().is_some())
    };
    if !by_id.values().any(|state| wants(state)) {
        return Ok(());
    }
    let rows: Vec<(i64, String, String)> =
        sqlx::query_as("SELECT id, installation_id, asked FROM containers")
            .fetch_all(&mut *tx)
            .await
            .map_err(StorageError::query("read courtesy aliases"))?;
    let mut taken: Vec<(String, String, String)> = Vec::new();
    for (id, installation, asked) in rows {
        let asked: crate::reconciler::state::Asked = json("containers", &id.to_string(), "asked", &asked)?;
        taken.extend(
            asked.courtesy.into_iter().map(|(network, alias)| (installation.clone(), network, alias)),
        );
    }
    let claimed = super::claims::aliases(tx).await?;
    for (id, state) in by_id.iter_mut().filter(|(_, state)| wants(state)) {
        let others = claimed.iter().filter(|(installation, _)| installation != id);
        state.aliases_claimed = others.map(|(_, name)| name.clone()).collect();
        let others = taken.iter().filter(|(installation, _, _)| installation != id);
        state.courtesy_taken = others.map(|(_, network, alias)| (network.clone(), alias.clone())).collect();
    }
    Ok(())
}
