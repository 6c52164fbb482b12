//! Installations: what somebody asked for, and every change of it. A row goes only when the reconciler has removed what was made for it.

use std::collections::BTreeSet;

use addon_client::{InstallationStatus, Timestamp};
use serde_json::{Value, json as object};
use service_kit::audit::Actor;
use sqlx::sqlite::SqliteConnection;

use super::{Storage, StorageError, audit, claims, json, kept, millis, parsed, revisions, rollouts, to_json};
use crate::domain::claim::{Claim, HeldClaim};
use crate::domain::installation::{Consent, Desired, Installation, InstallationId, KeptVolume, Revision};
use crate::domain::rollout::{Rollout, RolloutKind};

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    addon: String,
    version: String,
    release_id: String,
    release_digest: String,
    descriptor: String,
    pins: String,
    consent: String,
    desired: String,
    generation: i64,
    revision: i64,
    restart_generation: i64,
    epoch: i64,
    been_up: String,
    delete_volumes: bool,
    listed: bool,
    status: String,
    status_since_ms: i64,
    conditions: String,
    service_states: String,
    created_at_ms: i64,
    updated_at_ms: i64,
}

impl TryFrom<Row> for Installation {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        let corrupt = |detail: String| StorageError::corrupt("installations", &row.id, detail);
        Ok(Self {
            id: parsed("installations", &row.id, "id", &row.id)?,
            release_id: parsed("installations", &row.id, "release_id", &row.release_id)?,
            release_digest: parsed("installations", &row.id, "release_digest", &row.release_digest)?,
            pins: json("installations", &row.id, "pins", &row.pins)?,
            consent: json("installations", &row.id, "consent", &row.consent)?,
            desired: row.desired.parse().map_err(|()| corrupt(format!("desired state {}", row.desired)))?,
            been_up: json("installations", &row.id, "been_up", &row.been_up)?,
            status: InstallationStatus::from_wire(&row.status)
                .ok_or_else(|| corrupt(format!("status {}", row.status)))?,
            conditions: json("installations", &row.id, "conditions", &row.conditions)?,
            service_states: json("installations", &row.id, "service_states", &row.service_states)?,
            name: row.name,
            addon: row.addon,
            version: row.version,
            descriptor: row.descriptor,
            generation: row.generation,
            revision: row.revision,
            restart_generation: row.restart_generation,
            epoch: row.epoch,
            delete_volumes: row.delete_volumes,
            listed: row.listed,
            status_since: millis(row.status_since_ms),
            created_at: millis(row.created_at_ms),
            updated_at: millis(row.updated_at_ms),
        })
    }
}

/// Which installations to list; oldest first.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    /// Only with this status; an unknown one matches none.
    pub status: Option<String>,
    /// Only of this name.
    pub name: Option<String>,
    /// Only those after this one.
    pub after: Option<(Timestamp, InstallationId)>,
    /// At most so many; none: all.
    pub limit: Option<u32>,
}

/// What this host has already, read in the transaction that installs.
#[derive(Debug, Clone)]
pub struct Occupied {
    /// Every claim.
    pub claims: Vec<HeldClaim>,
    /// Every kept volume.
    pub kept: Vec<KeptVolume>,
    /// Every installation, unlisted ones too.
    pub installations: Vec<Present>,
}

/// As much of an installation as others need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Its id.
    pub id: InstallationId,
    /// Its name.
    pub name: String,
    /// The addon's name.
    pub addon: String,
    /// The installed version; empty where the marketplace knows none.
    pub version: String,
    /// What is wanted of it.
    pub desired: Desired,
}

/// Everything that installing writes.
#[derive(Debug, Clone)]
pub struct NewInstallation {
    /// The row.
    pub installation: Installation,
    /// Its first revision.
    pub revision: Revision,
    /// What it has for itself.
    pub claims: Vec<Claim>,
    /// Kept volumes that it gets back.
    pub taken_back: Vec<KeptVolume>,
    /// Kept volumes in whose place new ones are made, since they are gone from the engine.
    pub gone: Vec<String>,
}

/// An installation whose revision is to change, read in the transaction that changes it.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Its row.
    pub installation: Installation,
    /// Its revisions, newest first.
    pub revisions: Vec<Revision>,
    /// The highest number that a revision of it ever had, those among them that are not kept any more.
    pub last_revision: i64,
    /// A change that is under way.
    pub rollout: Option<Rollout>,
}

/// Everything that a change of revision writes.
#[derive(Debug, Clone)]
pub struct NewRevision {
    /// What for.
    pub kind: RolloutKind,
    /// The revision, new or one that is there.
    pub revision: Revision,
    /// What it has for itself.
    pub claims: Vec<Claim>,
    /// What was agreed to, where it is more than before.
    pub consent: Option<Consent>,
    /// Who asked for it.
    pub by: Actor,
}

impl Storage {
    /// An installation, also one that is not listed any more.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or the row makes no sense.
    pub async fn installation(&self, id: InstallationId) -> Result<Option<Installation>, StorageError> {
        let row: Option<Row> = sqlx::query_as("SELECT * FROM installations WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(self.reader())
            .await
            .map_err(StorageError::query("read installation"))?;
        row.map(Installation::try_from).transpose()
    }

    /// The installations that are listed, oldest first.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a row makes no sense.
    pub async fn installations(&self, filter: &ListFilter) -> Result<Vec<Installation>, StorageError> {
        let sql = "SELECT * FROM installations
                   WHERE listed = 1 AND ($1 IS NULL OR status = $1) AND ($2 IS NULL OR name = $2)
                     AND (created_at_ms > $3 OR (created_at_ms = $3 AND id > $4))
                   ORDER BY created_at_ms, id LIMIT $5";
        let (after_ms, after_id) =
            filter.after.map_or((-1, String::new()), |(at, id)| (at.millis(), id.to_string()));
        let rows: Vec<Row> = sqlx::query_as(sql)
            .bind(&filter.status)
            .bind(&filter.name)
            .bind(after_ms)
            .bind(after_id)
            .bind(filter.limit.map_or(i64::MAX, i64::from))
            .fetch_all(self.reader())
            .await
            .map_err(StorageError::query("list installations"))?;
        rows.into_iter().map(Installation::try_from).collect()
    }

    /// How many listed installations there are of each status, as on the wire.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn statuses(&self) -> Result<Vec<(String, u64)>, StorageError> {
        let sql =
            "SELECT status, COUNT(*) FROM installations WHERE listed = 1 GROUP BY status ORDER BY status";
        let counts: Vec<(String, i64)> = sqlx::query_as(sql)
            .fetch_all(self.reader())
            .await
            .map_err(StorageError::query("count installations"))?;
        Ok(counts.into_iter().map(|(status, count)| (status, count.unsigned_abs())).collect())
    }

    /// Every installation, unlisted ones too: what the reconciler has to look after.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a row makes no sense.
    pub async fn every_installation(&self) -> Result<Vec<Installation>, StorageError> {
        let rows: Vec<Row> = sqlx::query_as("SELECT * FROM installations ORDER BY created_at_ms, id")
            .fetch_all(self.reader())
            .await
            .map_err(StorageError::query("list installations"))?;
        rows.into_iter().map(Installation::try_from).collect()
    }

    /// Who is here, unlisted ones too.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a row makes no sense.
    pub async fn present(&self) -> Result<Vec<Present>, StorageError> {
        let mut connection = self.reader().acquire().await.map_err(StorageError::query("list names"))?;
        present(&mut connection).await
    }

    /// Reads what the host has, lets `decide` say what is installed, and writes that in the name of `by`: all or nothing, and nobody comes in between.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails; inside, what `decide` refused with: then nothing is written.
    pub async fn install<E, F>(&self, by: &Actor, decide: F) -> Result<Result<Installation, E>, StorageError>
    where
        F: FnOnce(&Occupied) -> Result<NewInstallation, E> + Send,
        E: Send,
    {
        let mut tx = self.begin().await?;
        let occupied = Occupied {
            claims: claims::held(&mut tx).await?,
            kept: kept::all(&mut tx).await?,
            installations: present(&mut tx).await?,
        };
        let new = match decide(&occupied) {
            Ok(new) => new,
            Err(refused) => return Ok(Err(refused)),
        };
        insert(&mut tx, &new.installation).await?;
        revisions::insert(&mut tx, &new.revision).await?;
        claims::insert(&mut tx, new.installation.id, &new.claims).await?;
        for name in &new.gone {
            kept::drop_row(&mut tx, name).await?;
        }
        let installation = &new.installation;
        let release = (&installation.release_id, &installation.release_digest);
        let detail =
            object!({"release": release.0, "digest": release.1, "rights": installation.consent.rights});
        note(
            &mut tx,
            installation.id,
            by,
            ("installation.install", "install"),
            detail,
            installation.created_at,
        )
        .await?;
        for volume in &new.taken_back {
            kept::take_back(&mut tx, volume, new.installation.id, new.installation.created_at.millis())
                .await?;
        }
        tx.commit().await.map_err(StorageError::query("commit install"))?;
        Ok(Ok(new.installation))
    }

    /// Reads what the host has and the installation as it is, lets `decide` say which revision it is to have, and writes that: a rollout begins
    /// where it is wanted to run, else the revision is taken at once. `None` when it is not listed.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails; inside, what `decide` refused with: then nothing is written.
    pub async fn change_revision<E, F>(
        &self,
        id: InstallationId,
        now: Timestamp,
        decide: F,
    ) -> Result<Option<Result<(), E>>, StorageError>
    where
        F: FnOnce(&Occupied, &Standing) -> Result<NewRevision, E> + Send,
        E: Send,
    {
        let mut tx = self.begin().await?;
        let row: Option<Row> = sqlx::query_as("SELECT * FROM installations WHERE id = $1 AND listed = 1")
            .bind(id.to_string())
            .fetch_optional(&mut *tx)
            .await
            .map_err(StorageError::query("read installation"))?;
        let Some(row) = row else { return Ok(None) };
        let occupied = Occupied {
            claims: claims::held(&mut tx).await?,
            kept: kept::all(&mut tx).await?,
            installations: present(&mut tx).await?,
        };
        let standing = Standing {
            installation: Installation::try_from(row)?,
            revisions: revisions::all(&mut tx, id).await?,
            last_revision: revisions::last_number(&mut tx, id).await?,
            rollout: rollouts::under_way(&mut tx, id).await?,
        };
        let new = match decide(&occupied, &standing) {
            Ok(new) => new,
            Err(refused) => return Ok(Some(Err(refused))),
        };
        let installation = &standing.installation;
        if !standing.revisions.iter().any(|known| known.revision == new.revision.revision) {
            revisions::insert(&mut tx, &new.revision).await?;
        }
        let held: BTreeSet<&Claim> =
            occupied.claims.iter().filter(|held| held.installation == id).map(|held| &held.claim).collect();
        let more: Vec<Claim> = new.claims.into_iter().filter(|claim| !held.contains(claim)).collect();
        claims::insert(&mut tx, id, &more).await?;
        if let Some(consent) = &new.consent {
            sqlx::query("UPDATE installations SET consent = $2 WHERE id = $1")
                .bind(id.to_string())
                .bind(to_json(consent))
                .execute(&mut *tx)
                .await
                .map_err(StorageError::query("write consent"))?;
        }
        let operation = format!("{} to revision {}", new.kind.as_str(), new.revision.revision);
        let action = match new.kind {
            RolloutKind::Rollback => "installation.rollback",
            RolloutKind::Upgrade => "installation.upgrade",
            RolloutKind::Parameters => "installation.configure",
        };
        let detail = object!({
            "from": installation.revision, "to": new.revision.revision, "version": new.revision.version,
            "digest": new.revision.release_digest, "rights": new.consent.as_ref().map(|consent| &consent.rights),
        });
        note(&mut tx, id, &new.by, (action, &operation), detail, now).await?;
        if installation.desired == Desired::Active {
            let rollout = rollouts::NewRollout {
                installation: id,
                kind: new.kind,
                from: installation.revision,
                to: new.revision.revision,
                asked_by: new.by.account(),
            };
            rollouts::open(&mut tx, &rollout, now).await?;
            let status = match new.kind {
                RolloutKind::Rollback => InstallationStatus::RollingBack,
                RolloutKind::Upgrade | RolloutKind::Parameters => InstallationStatus::Upgrading,
            };
            let sql = "UPDATE installations SET status = $2, status_since_ms = $3, generation = generation + 1, updated_at_ms = $3 WHERE id = $1";
            sqlx::query(sql)
                .bind(id.to_string())
                .bind(status.as_str())
                .bind(now.millis())
                .execute(&mut *tx)
                .await
                .map_err(StorageError::query("open rollout"))?;
        } else {
            rollouts::take_revision(&mut tx, id, new.revision.revision, now).await?;
            rollouts::claims_of_revision_alone(&mut tx, id).await?;
        }
        tx.commit().await.map_err(StorageError::query("commit change of revision"))?;
        Ok(Some(Ok(())))
    }

    /// Wants an installation to run, as `by` asked for; `false` when it is not listed. One that is wanted already is left as it is. Its volumes
    /// are no longer to go with it: it is in use again.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn enable(&self, id: InstallationId, by: &Actor, now: Timestamp) -> Result<bool, StorageError> {
        let sql = "UPDATE installations
                   SET desired = 'active', delete_volumes = 0, status = 'installing', status_since_ms = $2, generation = generation + 1,
                       epoch = epoch + 1, been_up = '[]', conditions = '[]', service_states = '[]', updated_at_ms = $2
                   WHERE id = $1 AND listed = 1 AND desired = 'disabled'";
        self.change_listed(id, sql, by, now, ("installation.enable", "enable")).await
    }

    /// Wants an installation to have no containers, as `by` asked for; `false` when it is not listed. One that is wanted so already is left as it is.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn disable(
        &self,
        id: InstallationId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        self.begin_removal(id, None, by, now).await
    }

    /// The first step of a removal: as [`disable`](Self::disable), and what is to become of the volumes at the second is remembered, where that
    /// was said; both or neither.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn begin_removal(
        &self,
        id: InstallationId,
        delete_volumes: Option<bool>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let mut tx = self.begin().await?;
        let mut changed = change(&mut tx, id, DISABLE, by, now, ("installation.disable", "disable")).await?;
        if changed {
            rollouts::end(&mut tx, id, "it was disabled", now).await?;
        }
        if let Some(delete) = delete_volumes {
            let (sql, operation) = if delete {
                (MARK_VOLUMES, ("installation.delete-volumes", "delete volumes with it"))
            } else {
                (KEEP_VOLUMES, ("installation.keep-volumes", "keep volumes"))
            };
            changed |= change(&mut tx, id, sql, by, now, operation).await?;
        }
        let listed = is_listed(&mut tx, id).await?;
        if changed {
            tx.commit().await.map_err(StorageError::query("begin removal"))?;
        }
        Ok(listed)
    }

    /// Wants every service of an active installation to be started afresh, completed jobs too, as `by` asked for; `false` when it is not
    /// listed.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn request_restart(
        &self,
        id: InstallationId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let sql = "UPDATE installations
                   SET restart_generation = restart_generation + 1, epoch = epoch + 1, generation = generation + 1, updated_at_ms = $2
                   WHERE id = $1 AND listed = 1 AND desired = 'active'";
        self.change_listed(id, sql, by, now, ("installation.restart", "restart")).await
    }

    async fn change_listed(
        &self,
        id: InstallationId,
        sql: &'static str,
        by: &Actor,
        now: Timestamp,
        done: (&'static str, &'static str),
    ) -> Result<bool, StorageError> {
        let mut tx = self.begin().await?;
        let changed = change(&mut tx, id, sql, by, now, done).await?;
        let listed = is_listed(&mut tx, id).await?;
        if changed {
            tx.commit().await.map_err(StorageError::query(done.1))?;
        }
        Ok(listed)
    }

    /// Wants nothing of an installation to be left and hides it; `false` when it is not listed, or (without `force`) not disabled. Where nothing
    /// is said of its volumes, what was said at the first step counts.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn uninstall(
        &self,
        id: InstallationId,
        force: bool,
        delete_volumes: Option<bool>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let sql = "UPDATE installations
                   SET desired = 'absent', listed = 0, delete_volumes = COALESCE($3, delete_volumes), status = 'disabling', status_since_ms = $2,
                       generation = generation + 1, updated_at_ms = $2
                   WHERE id = $1 AND listed = 1 AND ($4 OR (desired = 'disabled' AND status = 'disabled'))";
        let mut tx = self.begin().await?;
        let done = sqlx::query(sql)
            .bind(id.to_string())
            .bind(now.millis())
            .bind(delete_volumes)
            .bind(force)
            .execute(&mut *tx)
            .await
            .map_err(StorageError::query("uninstall"))?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        rollouts::end(&mut tx, id, "it was uninstalled", now).await?;
        let deletes: (bool,) = sqlx::query_as("SELECT delete_volumes FROM installations WHERE id = $1")
            .bind(id.to_string())
            .fetch_one(&mut *tx)
            .await
            .map_err(StorageError::query("uninstall"))?;
        let detail = object!({"force": force, "volumes": if deletes.0 { "delete" } else { "keep" }});
        audit::of_installation(&mut tx, id, by, "installation.uninstall", detail, now).await?;
        tx.commit().await.map_err(StorageError::query("uninstall"))?;
        Ok(true)
    }

    /// The end of an uninstalled installation: its row goes with everything that refers to it, its claims are free, and the volumes of it
    /// that are named are remembered. `false` when it is not wanted to be absent (any more).
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn remove_installation(
        &self,
        id: InstallationId,
        kept: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let failed = || StorageError::query("remove installation");
        let mut tx = self.begin().await?;
        for name in kept {
            let sql = "INSERT INTO kept_volumes (name, nonce, addon, installation_name, origin, service, specification, kept_at_ms)
                       SELECT v.name, v.nonce, i.addon, i.name, v.origin, v.service, v.specification, $3
                       FROM volumes v JOIN installations i ON i.id = v.installation_id
                       WHERE v.installation_id = $1 AND v.name = $2
                       ON CONFLICT (name) DO UPDATE SET nonce = excluded.nonce, addon = excluded.addon,
                           installation_name = excluded.installation_name, origin = excluded.origin, service = excluded.service,
                           specification = excluded.specification, kept_at_ms = excluded.kept_at_ms";
            sqlx::query(sql)
                .bind(id.to_string())
                .bind(name)
                .bind(now.millis())
                .execute(&mut *tx)
                .await
                .map_err(failed())?;
        }
        let done = sqlx::query("DELETE FROM installations WHERE id = $1 AND desired = 'absent'")
            .bind(id.to_string())
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        tx.commit().await.map_err(failed())?;
        Ok(true)
    }
}

const DISABLE: &str = "UPDATE installations
     SET desired = 'disabled', status = 'disabling', status_since_ms = $2, generation = generation + 1, updated_at_ms = $2
     WHERE id = $1 AND listed = 1 AND desired = 'active'";
const MARK_VOLUMES: &str =
    "UPDATE installations SET delete_volumes = 1, generation = generation + 1, updated_at_ms = $2
     WHERE id = $1 AND listed = 1 AND desired = 'disabled' AND delete_volumes = 0";
const KEEP_VOLUMES: &str =
    "UPDATE installations SET delete_volumes = 0, generation = generation + 1, updated_at_ms = $2
     WHERE id = $1 AND listed = 1 AND desired = 'disabled' AND delete_volumes = 1";

/// Changes an installation that is listed; whether it did is noted in its why-log.
async fn change(
    connection: &mut SqliteConnection,
    id: InstallationId,
    sql: &'static str,
    by: &Actor,
    now: Timestamp,
    what: (&'static str, &'static str),
) -> Result<bool, StorageError> {
    let done = sqlx::query(sql)
        .bind(id.to_string())
        .bind(now.millis())
        .execute(&mut *connection)
        .await
        .map_err(StorageError::query(what.1))?;
    let changed = done.rows_affected() == 1;
    if changed {
        note(connection, id, by, what, object!({}), now).await?;
    }
    Ok(changed)
}

async fn is_listed(connection: &mut SqliteConnection, id: InstallationId) -> Result<bool, StorageError> {
    let listed: Option<i64> = sqlx::query_scalar("SELECT 1 FROM installations WHERE id = $1 AND listed = 1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await
        .map_err(StorageError::query("read installation"))?;
    Ok(listed.is_some())
}

/// Tells the why-log and the audit log what somebody asked for: the action in the one, the operation in the other.
async fn note(
    connection: &mut SqliteConnection,
    id: InstallationId,
    by: &Actor,
    (action, operation): (&str, &str),
    detail: Value,
    now: Timestamp,
) -> Result<(), StorageError> {
    let sql = "INSERT INTO events (installation_id, at_ms, service, cause, operation, result) VALUES ($1, $2, '', $3, $4, 'done')";
    sqlx::query(sql)
        .bind(id.to_string())
        .bind(now.millis())
        .bind(format!("{} asked for it", by.account()))
        .bind(operation)
        .execute(&mut *connection)
        .await
        .map_err(StorageError::query("write event"))?;
    audit::of_installation(connection, id, by, action, detail, now).await
}

async fn present(connection: &mut SqliteConnection) -> Result<Vec<Present>, StorageError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        id: String,
        name: String,
        addon: String,
        version: String,
        desired: String,
    }
    let sql = "SELECT id, name, addon, version, desired FROM installations ORDER BY created_at_ms, id";
    let rows: Vec<Row> =
        sqlx::query_as(sql).fetch_all(connection).await.map_err(StorageError::query("list names"))?;
    let read = |row: Row| {
        Ok(Present {
            id: parsed("installations", &row.id, "id", &row.id)?,
            desired: row
                .desired
                .parse()
                .map_err(|()| StorageError::corrupt("installations", &row.id, "desired state"))?,
            name: row.name,
            addon: row.addon,
            version: row.version,
        })
    };
    rows.into_iter().map(read).collect()
}

async fn insert(connection: &mut SqliteConnection, installation: &Installation) -> Result<(), StorageError> {
    let sql = "INSERT INTO installations (id, name, addon, version, release_id, release_digest, descriptor, pins, consent, desired,
                   generation, revision, restart_generation, epoch, been_up, delete_volumes, listed, status, status_since_ms, conditions,
                   service_states, created_at_ms, updated_at_ms)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)";
    sqlx::query(sql)
        .bind(installation.id.to_string())
        .bind(&installation.name)
        .bind(&installation.addon)
        .bind(&installation.version)
        .bind(installation.release_id.to_string())
        .bind(installation.release_digest.to_string())
        .bind(&installation.descriptor)
        .bind(to_json(&installation.pins))
        .bind(to_json(&installation.consent))
        .bind(installation.desired.as_str())
        .bind(installation.generation)
        .bind(installation.revision)
        .bind(installation.restart_generation)
        .bind(installation.epoch)
        .bind(to_json(&installation.been_up))
        .bind(installation.delete_volumes)
        .bind(installation.listed)
        .bind(installation.status.as_str())
        .bind(installation.status_since.millis())
        .bind(to_json(&installation.conditions))
        .bind(to_json(&installation.service_states))
        .bind(installation.created_at.millis())
        .bind(installation.updated_at.millis())
        .execute(connection)
        .await
        .map_err(StorageError::query("insert installation"))?;
    Ok(())
}
