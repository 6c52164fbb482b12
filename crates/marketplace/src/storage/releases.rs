//! Releases: read, listed, decided about, deleted. Publishing is `publish.rs`.

use std::collections::BTreeSet;

use addon_client::{ReleaseId, Timestamp, Verdict};
use addon_descriptor::{Digest, Right, Version};
use futures_util::{Stream, TryStreamExt as _};
use serde_json::{Value, json};
use service_kit::audit::{self, Actor, Entry};
use service_kit::{read, write_tx};
use sqlx::{AssertSqlSafe, FromRow};

use super::queue::{Purpose, enqueue};
use super::{Storage, StorageError, dialect};
use crate::domain::addon::rank_key;
use crate::domain::release::{Fields, Release, Status};
use crate::domain::transition::Action;
use crate::domain::verification::holds_name;

/// Which releases a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter<'a> {
    /// Only this addon, folded.
    pub addon: Option<&'a str>,
    /// Only releases of this status; `None`: the newest approved one of each addon.
    pub status: Option<Status>,
    /// Only releases of addons that this account owns; looked at only beside a `status`.
    pub publisher: Option<&'a str>,
    /// Only releases after this place in the order of publishing.
    pub after: i64,
    /// At most so many.
    pub limit: u32,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Fewer than were asked for where their documents are long.
    pub releases: Vec<Release>,
    /// Whether there are more after them.
    pub more: bool,
}

impl Part {
    pub(super) fn of(rows: Vec<Row>, more: bool) -> Result<Self, StorageError> {
        let releases = rows.into_iter().map(Row::release).collect::<Result<_, _>>()?;
        Ok(Self { releases, more })
    }
}

macro_rules! select_columns {
    () => {
        concat!(
            "SELECT id, seq, addon, version, digest, wire, rights, risk, warnings, publisher, created_at_ms, status, ",
            "verdict, held, pins, reason, yanked_by_admin, approved_at_ms, changed_at_ms, image_missing_since_ms FROM releases "
        )
    };
}
pub(super) use select_columns;

macro_rules! select {
    ($rest:literal) => {
        concat!($crate::storage::releases::select_columns!(), $rest)
    };
}
pub(super) use select;

/// These two mark the newest approved release of addon `$1` as the one in lists; run in the transaction that changed a
/// status.
pub(super) const UNLIST: &str = "UPDATE releases SET listed = 0 WHERE addon = $1 AND listed = 1";
pub(super) const LIST_NEWEST: &str = "UPDATE releases SET listed = 1 WHERE id = (
     SELECT id FROM releases WHERE addon = $1 AND status = 'approved' ORDER BY version_rank DESC LIMIT 1)";

// `status || ''` stands where an addon is named: an index over all releases of a status is not to be walked for one addon's.

/// Above every `version_rank`: they begin with 0 or 1.
const ABOVE_EVERY_RANK: &str = "2";

/// What reviewers and their like change in a release.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// Where it must stand.
    pub from: Status,
    /// Where it stands then.
    pub to: Status,
    /// By what.
    pub action: Action,
    /// Why.
    pub reason: Option<&'a str>,
    /// Who decides.
    pub by: &'a Actor,
    /// A yank that owners cannot take back.
    pub over_owners: bool,
    /// When.
    pub now: Timestamp,
}

/// Notes that a release of addon `$1` is approved, at `$2`, with the rights `$3`. Of the first one the time stays: from then on
/// the name is what others could be taken for. The rights are those of the last one, and stay when it is withdrawn: else a
/// publisher could yank what was approved without a right, and have the next one that asks for it pass.
pub(super) const APPROVED: &str =
    "UPDATE addons SET approved_at_ms = COALESCE(approved_at_ms, $2), approved_rights = $3 WHERE addon = $1";

/// Notes that release `$2` of addon `$1` should not have been approved: if it was the last one, its rights are no precedent for
/// the next.
pub(super) const NO_PRECEDENT: &str =
    "UPDATE addons SET approved_rights = '[]' WHERE addon = $1 AND NOT EXISTS (
    SELECT 1 FROM releases AS later JOIN releases AS wrong ON wrong.id = $2
    WHERE later.addon = $1 AND later.approved_at_ms > wrong.approved_at_ms)";

/// What stands for the deletion of a release that was approved, by somebody (`$3`) who is no owner of its addon.
const DELETED_BY_OTHERS: &str = " AND NOT EXISTS (SELECT 1 FROM owners WHERE addon = $1 AND account = $3)
    AND EXISTS (SELECT 1 FROM releases AS wrong WHERE wrong.id = $2 AND wrong.approved_at_ms IS NOT NULL
        AND wrong.status = $4 AND wrong.yanked_by_admin = $5)";

/// The name of an older addon that has the skeleton `$2` and no owner in common with addon `$1`.
pub(super) const LOOK_ALIKE: &str =
    "SELECT other.name FROM addons AS own JOIN addons AS other ON other.skeleton = $2
     WHERE own.addon = $1 AND other.addon <> own.addon AND other.approved_at_ms IS NOT NULL
       AND (own.approved_at_ms IS NULL OR other.approved_at_ms < own.approved_at_ms)
       AND NOT EXISTS (SELECT mine.account FROM owners AS mine JOIN owners AS theirs
           ON mine.account = theirs.account WHERE mine.addon = own.addon AND theirs.addon = other.addon)
     ORDER BY other.approved_at_ms, other.addon LIMIT 1";

/// In the transaction that is to approve a release of an addon: whether a name that this one could be taken for was approved
/// since its checks were made, which is the case where there is one that they do not tell of. `knows_near` where they tell
/// of one that is a slip away. Nobody's name is approved for the first time meanwhile.
macro_rules! name_is_taken {
    ($db:expr, $tx:ident, $addon:expr, $knows_near:expr) => {{
        let sql = "SELECT COUNT(*) FROM addons WHERE addon = $1 AND approved_at_ms IS NULL";
        let (first,): (i64,) = sqlx::query_as(sql).bind($addon).fetch_one(&mut *$tx).await?;
        if first > 0 {
            if let Some(lock) = $crate::storage::dialect::lock_names($db) {
                sqlx::query(lock).execute(&mut *$tx).await?;
            }
            let skeleton = $crate::domain::name::skeleton($addon);
            let alike: Option<(String,)> = sqlx::query_as($crate::storage::releases::LOOK_ALIKE)
                .bind($addon)
                .bind(&skeleton)
                .fetch_optional(&mut *$tx)
                .await?;
            let near: Vec<$crate::storage::releases::Named> = if alike.is_some() || $knows_near {
                Vec::new()
            } else {
                let slips = $crate::domain::name::slips(&$crate::domain::name::bare(&skeleton));
                sqlx::query_as($crate::storage::dialect::NEAR.of($db))
                    .bind($addon)
                    .bind($crate::storage::releases::json(&slips))
                    .fetch_all(&mut *$tx)
                    .await?
            };
            let is_near = |other: &$crate::storage::releases::Named| {
                !$crate::domain::name::are_numbered($addon, &other.addon)
            };
            alike.is_some() || near.iter().any(is_near)
        } else {
            false
        }
    }};
}
pub(super) use name_is_taken;

/// An addon, by both of its names.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Named {
    /// Folded.
    pub addon: String,
    /// As it was published first.
    pub name: String,
}

impl Storage {
    /// The release of this id, whatever its status.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn release(&self, id: ReleaseId) -> Result<Option<Release>, StorageError> {
        self.lookups.release(id).await
    }

    /// How many releases there are of each status, as on the wire.
    ///
    /// # Errors
    /// The database.
    pub async fn statuses(&self) -> Result<Vec<(String, u64)>, StorageError> {
        let sql = "SELECT status, COUNT(*) FROM releases GROUP BY status ORDER BY status";
        let counts: Vec<(String, i64)> = read!(&self.db, |pool| sqlx::query_as(sql).fetch_all(pool).await)?;
        Ok(counts.into_iter().map(|(status, count)| (status, count.unsigned_abs())).collect())
    }

    /// The canonical bytes of a release.
    ///
    /// # Errors
    /// The database.
    pub async fn canonical(&self, id: ReleaseId) -> Result<Option<String>, StorageError> {
        let sql = "SELECT canonical FROM releases WHERE id = $1";
        let found: Option<(String,)> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(id.to_string()).fetch_optional(pool).await)?;
        Ok(found.map(|(canonical,)| canonical))
    }

    /// The release of an addon that has exactly this version, build metadata aside.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn release_of_version(
        &self,
        addon: &str,
        version: &str,
    ) -> Result<Option<Release>, StorageError> {
        let sql = select!("WHERE addon = $1 AND version_id = $2");
        let row: Option<Row> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(addon).bind(version).fetch_optional(pool).await)?;
        row.map(Row::release).transpose()
    }

    /// The approved releases of an addon, newest first, a pre-release after every release; those that come after a
    /// version in this order, where one is given.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn approved_of(
        &self,
        addon: &str,
        after: Option<&Version>,
        limit: u32,
    ) -> Result<Part, StorageError> {
        let sql = select!(
            "WHERE addon = $1 AND status = 'approved' AND version_rank < $2 ORDER BY version_rank DESC LIMIT $3"
        );
        let below = after.map_or_else(|| ABOVE_EVERY_RANK.to_owned(), rank_key);
        let (rows, more) = read!(&self.db, |pool| {
            let query = sqlx::query_as(sql).bind(addon).bind(&below).bind(i64::from(limit) + 1);
            first_of(query.fetch(pool), limit).await
        })?;
        Part::of(rows, more)
    }

    /// Ids and versions of the approved releases of an addon, newest first, a pre-release after every release.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn approved_versions(&self, addon: &str) -> Result<Vec<(ReleaseId, Version)>, StorageError> {
        let sql = "SELECT id, version FROM releases WHERE addon = $1 AND status = 'approved' ORDER BY version_rank DESC";
        let rows: Vec<(String, String)> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(addon).fetch_all(pool).await)?;
        rows.into_iter().map(|(id, version)| id_and_version(&id, &version)).collect()
    }

    /// Ids and versions of the releases of an addon that are not approved, newest first, at most a thousand.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn other_versions(&self, addon: &str) -> Result<Vec<(ReleaseId, Version)>, StorageError> {
        let sql = "SELECT id, version FROM releases WHERE addon = $1 AND status || '' <> 'approved' ORDER BY version_rank DESC LIMIT 1000";
        let rows: Vec<(String, String)> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(addon).fetch_all(pool).await)?;
        rows.into_iter().map(|(id, version)| id_and_version(&id, &version)).collect()
    }

    /// Releases in the order of publishing, as many as were asked for or as a part may have.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn list(&self, filter: Filter<'_>) -> Result<Part, StorageError> {
        let Filter { addon, status, publisher, after, limit } = filter;
        let (only_own, publisher) = (i64::from(publisher.is_some()), publisher.unwrap_or_default());
        let asked = i64::from(limit) + 1;
        let (rows, more) = match (addon, status) {
            (None, None) => {
                let sql = select!("WHERE listed = 1 AND seq > $1 ORDER BY seq LIMIT $2");
                read!(&self.db, |pool| {
                    first_of(sqlx::query_as(sql).bind(after).bind(asked).fetch(pool), limit).await
                })?
            }
            (Some(addon), None) => {
                let sql = select!("WHERE addon = $3 AND listed = 1 AND seq > $1 ORDER BY seq LIMIT $2");
                read!(&self.db, |pool| {
                    let query = sqlx::query_as(sql).bind(after).bind(asked).bind(addon);
                    first_of(query.fetch(pool), limit).await
                })?
            }
            (None, Some(status)) => {
                let sql = select!(
                    "WHERE status = $3 AND seq > $1 AND ($4 = 0 OR addon IN (SELECT addon FROM owners WHERE account = $5)) ORDER BY seq LIMIT $2"
                );
                read!(&self.db, |pool| {
                    let query = sqlx::query_as(sql).bind(after).bind(asked).bind(status.as_str());
                    first_of(query.bind(only_own).bind(publisher).fetch(pool), limit).await
                })?
            }
            (Some(addon), Some(status)) => {
                let sql = select!(
                    "WHERE addon = $6 AND status || '' = $3 AND seq > $1 AND ($4 = 0 OR addon IN (SELECT addon FROM owners WHERE account = $5)) ORDER BY seq LIMIT $2"
                );
                read!(&self.db, |pool| {
                    let query = sqlx::query_as(sql).bind(after).bind(asked).bind(status.as_str());
                    first_of(query.bind(only_own).bind(publisher).bind(addon).fetch(pool), limit).await
                })?
            }
        };
        Part::of(rows, more)
    }

    /// Rights of the release of this addon that was approved last, whatever became of it but for a revocation; empty where
    /// there is none.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn approved_rights(&self, addon: &str) -> Result<BTreeSet<Right>, StorageError> {
        let sql = "SELECT approved_rights FROM addons WHERE addon = $1";
        let found: Option<(String,)> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(addon).fetch_optional(pool).await)?;
        found.map_or_else(|| Ok(BTreeSet::new()), |(rights,)| parse("approved_rights", addon, &rights))
    }

    /// The release of the same addon that was approved last before this one was, or last of all where this one is not; and
    /// still is, or was yanked: what its rights are compared with ([`Self::approved_rights`]) as long as it is there.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn approved_before(&self, release: &Release) -> Result<Option<Release>, StorageError> {
        let sql = select!(
            "WHERE addon = $1 AND status || '' IN ('approved', 'yanked') AND id <> $2 AND approved_at_ms <= $3
             ORDER BY approved_at_ms DESC, seq DESC LIMIT 1"
        );
        let before = release.approved_at.map_or(i64::MAX, Timestamp::millis);
        let row: Option<Row> = read!(&self.db, |pool| sqlx::query_as(sql)
            .bind(&release.addon)
            .bind(release.id.to_string())
            .bind(before)
            .fetch_optional(pool)
            .await)?;
        row.map(Row::release).transpose()
    }

    /// The name of an older addon that has this skeleton and no owner in common with this one.
    ///
    /// # Errors
    /// The database.
    pub async fn look_alike(&self, addon: &str, skeleton: &str) -> Result<Option<String>, StorageError> {
        let found: Option<(String,)> = read!(&self.db, |pool| sqlx::query_as(LOOK_ALIKE)
            .bind(addon)
            .bind(skeleton)
            .fetch_optional(pool)
            .await)?;
        Ok(found.map(|(name,)| name))
    }

    /// Addons of others that were approved once and whose bare skeleton is one of these, the oldest first and at most some;
    /// none where the addon itself was approved once.
    ///
    /// # Errors
    /// The database.
    pub async fn near(&self, addon: &str, bare: &[String]) -> Result<Vec<Named>, StorageError> {
        read!(&self.db, |pool| {
            sqlx::query_as(dialect::NEAR.of(&self.db)).bind(addon).bind(json(&bare)).fetch_all(pool).await
        })
        .map_err(StorageError::from)
    }

    /// What [`Self::look_alike`] and [`Self::near`] would say of an addon that nobody has yet, were it this account's; `None`
    /// where somebody has it.
    ///
    /// # Errors
    /// The database.
    pub async fn like_a_new_name(
        &self,
        addon: &str,
        skeleton: &str,
        bare: &[String],
        account: &str,
    ) -> Result<Option<(Option<String>, Vec<Named>)>, StorageError> {
        let there = "SELECT addon FROM addons WHERE addon = $1";
        let alike = "SELECT name FROM addons AS other WHERE skeleton = $1 AND approved_at_ms IS NOT NULL
                       AND NOT EXISTS (SELECT 1 FROM owners WHERE owners.addon = other.addon AND account = $2)
                     ORDER BY approved_at_ms, addon LIMIT 1";
        let found: Option<(String,)> =
            read!(&self.db, |pool| sqlx::query_as(there).bind(addon).fetch_optional(pool).await)?;
        if found.is_some() {
            return Ok(None);
        }
        let alike: Option<(String,)> = read!(&self.db, |pool| sqlx::query_as(alike)
            .bind(skeleton)
            .bind(account)
            .fetch_optional(pool)
            .await)?;
        let near = read!(&self.db, |pool| {
            sqlx::query_as(dialect::NEAR_NEW.of(&self.db))
                .bind(json(&bare))
                .bind(account)
                .fetch_all(pool)
                .await
        })?;
        Ok(Some((alike.map(|(name,)| name), near)))
    }

    /// Approves a release that is under review, whose digest is this one, and whose checks are green: compare and swap.
    /// `false` when any of these does not hold; and when a name like its own was approved since they were made: then they
    /// are made again.
    ///
    /// # Errors
    /// The database.
    pub async fn approve(
        &self,
        release: &Release,
        digest: Digest,
        by: &Actor,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let sql = "UPDATE releases SET status = 'approved', held = '[]', reason = $3, decided_by = $4,
                       approved_at_ms = $5, changed_at_ms = $5
                   WHERE id = $1 AND digest = $2 AND status = 'under_review' AND verdict = 'pass'
                     AND NOT EXISTS (SELECT 1 FROM verification_jobs WHERE release_id = $1)";
        let again = "UPDATE releases SET verdict = 'pending', held = '[]', reason = NULL, changed_at_ms = $3
                     WHERE id = $1 AND digest = $2 AND status = 'under_review' AND verdict = 'pass'
                       AND NOT EXISTS (SELECT 1 FROM verification_jobs WHERE release_id = $1)";
        let id = release.id.to_string();
        let done = write_tx!(&self.db, |tx| {
            if let Some(lock) = dialect::lock_addon(&self.db) {
                sqlx::query(lock).bind(&release.addon).execute(&mut *tx).await?;
            }
            let taken = name_is_taken!(&self.db, tx, &release.addon, holds_name(&release.held));
            let done = if taken {
                let query = sqlx::query(again).bind(&id).bind(digest.to_string()).bind(now.millis());
                if query.execute(&mut *tx).await?.rows_affected() == 1 {
                    sqlx::query(enqueue!())
                        .bind(&id)
                        .bind(Purpose::Review.as_str())
                        .bind(now.millis())
                        .bind(&release.publisher)
                        .execute(&mut *tx)
                        .await?;
                }
                false
            } else {
                let query = sqlx::query(sql).bind(&id).bind(digest.to_string()).bind(reason);
                let query = query.bind(by.account()).bind(now.millis());
                query.execute(&mut *tx).await?.rows_affected() == 1
            };
            if done {
                let detail = detail(release, Some(Status::Approved));
                let entry = Entry::new(now, by, Action::Approve.audited(), "release", &id);
                audit::record(&mut *tx, &entry.because(reason).with(detail)).await?;
                sqlx::query(APPROVED)
                    .bind(&release.addon)
                    .bind(now.millis())
                    .bind(json(&release.rights))
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(UNLIST).bind(&release.addon).execute(&mut *tx).await?;
                sqlx::query(LIST_NEWEST).bind(&release.addon).execute(&mut *tx).await?;
            }
            done
        });
        self.changed(release.id, done);
        Ok(done)
    }

    /// Moves a release from one status to another; what was to be checked is not checked any more. `false` when it did
    /// not stand where it must, or was yanked by others by now: one under review also not before its checks are green.
    ///
    /// # Errors
    /// The database.
    pub async fn decide(&self, release: &Release, decision: Decision<'_>) -> Result<bool, StorageError> {
        let sql =
            "UPDATE releases SET status = $3, held = '[]', reason = $4, decided_by = $5, changed_at_ms = $6,
                       yanked_by_admin = $7
                   WHERE id = $1 AND status = $2 AND yanked_by_admin = $8 AND (status <> 'under_review' OR (verdict = 'pass'
                     AND NOT EXISTS (SELECT 1 FROM verification_jobs WHERE release_id = $1)))";
        let done = write_tx!(&self.db, |tx| {
            if let Some(lock) = dialect::lock_addon(&self.db) {
                sqlx::query(lock).bind(&release.addon).execute(&mut *tx).await?;
            }
            let done = sqlx::query(sql)
                .bind(release.id.to_string())
                .bind(decision.from.as_str())
                .bind(decision.to.as_str())
                .bind(decision.reason)
                .bind(decision.by.account())
                .bind(decision.now.millis())
                .bind(i64::from(decision.over_owners))
                .bind(i64::from(release.yanked_by_admin))
                .execute(&mut *tx)
                .await?;
            if done.rows_affected() == 1 {
                if decision.over_owners {
                    let forget = sqlx::query(NO_PRECEDENT).bind(&release.addon).bind(release.id.to_string());
                    forget.execute(&mut *tx).await?;
                }
                let (id, detail) = (release.id.to_string(), detail(release, Some(decision.to)));
                let entry = Entry::new(decision.now, decision.by, decision.action.audited(), "release", &id);
                audit::record(&mut *tx, &entry.because(decision.reason).with(detail)).await?;
                let sql = "DELETE FROM verification_jobs WHERE release_id = $1";
                sqlx::query(sql).bind(release.id.to_string()).execute(&mut *tx).await?;
                sqlx::query(UNLIST).bind(&release.addon).execute(&mut *tx).await?;
                sqlx::query(LIST_NEWEST).bind(&release.addon).execute(&mut *tx).await?;
            }
            done.rows_affected() == 1
        });
        self.changed(release.id, done);
        Ok(done)
    }

    /// Deletes a release that still has this status, and remembers that its version was given. `false` when it has
    /// another by now, or is gone.
    ///
    /// # Errors
    /// The database.
    pub async fn delete(
        &self,
        release: &Release,
        by: &Actor,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let done = write_tx!(&self.db, |tx| {
            if let Some(lock) = dialect::lock_addon(&self.db) {
                sqlx::query(lock).bind(&release.addon).execute(&mut *tx).await?;
            }
            // Version and digest are copied from the row itself, which nothing but this statement's condition chose.
            let sql = "INSERT INTO tombstones (addon, version_id, version, version_order, digest, deleted_by, deleted_at_ms)
                       SELECT addon, version_id, version, version_order, digest, $3, $4 FROM releases
                       WHERE id = $1 AND status = $2 AND yanked_by_admin = $5
                       ON CONFLICT (addon, version_id) DO UPDATE
                       SET deleted_by = excluded.deleted_by, deleted_at_ms = excluded.deleted_at_ms";
            sqlx::query(sql)
                .bind(release.id.to_string())
                .bind(release.status.as_str())
                .bind(by.account())
                .bind(now.millis())
                .bind(i64::from(release.yanked_by_admin))
                .execute(&mut *tx)
                .await?;
            // An administrator says by it that it should not have been approved.
            sqlx::query(AssertSqlSafe(format!("{NO_PRECEDENT}{DELETED_BY_OTHERS}")))
                .bind(&release.addon)
                .bind(release.id.to_string())
                .bind(by.account())
                .bind(release.status.as_str())
                .bind(i64::from(release.yanked_by_admin))
                .execute(&mut *tx)
                .await?;
            let sql = "DELETE FROM releases WHERE id = $1 AND status = $2 AND yanked_by_admin = $3";
            let done = sqlx::query(sql)
                .bind(release.id.to_string())
                .bind(release.status.as_str())
                .bind(i64::from(release.yanked_by_admin))
                .execute(&mut *tx)
                .await?;
            if done.rows_affected() == 1 {
                let (id, detail) = (release.id.to_string(), detail(release, None));
                let entry = Entry::new(now, by, "release.delete", "release", &id);
                audit::record(&mut *tx, &entry.because(reason).with(detail)).await?;
                if reason.is_some() {
                    // The trigger that told of it knows the row, and not why it went.
                    let sql = "UPDATE event_inbox SET reason = $2 WHERE release_id = $1 AND kind = 'deleted'";
                    sqlx::query(sql).bind(&id).bind(reason).execute(&mut *tx).await?;
                }
                sqlx::query(UNLIST).bind(&release.addon).execute(&mut *tx).await?;
                sqlx::query(LIST_NEWEST).bind(&release.addon).execute(&mut *tx).await?;
            }
            done.rows_affected() == 1
        });
        self.changed(release.id, done);
        Ok(done)
    }
}

fn id_and_version(id: &str, version: &str) -> Result<(ReleaseId, Version), StorageError> {
    let corrupt = |_| StorageError::Corrupt { table: "releases", id: id.to_owned(), what: "id".to_owned() };
    Ok((id.parse().map_err(corrupt)?, version_of(id, version)?))
}

/// A part of a list holds releases until they are so many bytes a release that was asked for; never fewer than one release.
const BYTES_EACH: usize = 4 * 1024;

/// A part of a list may be so many bytes however few releases were asked for.
const LEAST_BYTES: usize = 256 * 1024;

/// Bytes that a part of so many releases may have.
pub(super) fn most_bytes(limit: u32) -> usize {
    (limit as usize * BYTES_EACH).max(LEAST_BYTES)
}

/// The first rows of those that the database has, as many as a part of a list may have, and whether there are more. What comes after is not
/// read: long documents would fill the memory.
pub(super) async fn first_of(
    rows: impl Stream<Item = sqlx::Result<Row>>,
    limit: u32,
) -> sqlx::Result<(Vec<Row>, bool)> {
    let mut rows = std::pin::pin!(rows);
    let (mut first, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        bytes += row.bytes();
        let is_full = first.len() >= limit as usize || bytes > most_bytes(limit);
        if is_full && !first.is_empty() {
            return Ok((first, true));
        }
        first.push(row);
    }
    Ok((first, false))
}

#[derive(Clone, FromRow)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) seq: i64,
    pub(super) addon: String,
    pub(super) version: String,
    pub(super) digest: String,
    pub(super) wire: String,
    pub(super) rights: String,
    pub(super) risk: i64,
    pub(super) warnings: String,
    pub(super) publisher: String,
    pub(super) created_at_ms: i64,
    pub(super) status: String,
    pub(super) verdict: String,
    pub(super) held: String,
    pub(super) pins: String,
    pub(super) reason: Option<String>,
    pub(super) yanked_by_admin: i64,
    pub(super) approved_at_ms: Option<i64>,
    pub(super) changed_at_ms: i64,
    pub(super) image_missing_since_ms: Option<i64>,
}

impl Row {
    /// Bytes of its texts, about.
    pub(super) fn bytes(&self) -> usize {
        self.wire.len() + self.rights.len() + self.warnings.len() + self.held.len() + self.pins.len()
    }

    pub(super) fn release(self) -> Result<Release, StorageError> {
        let id = &self.id;
        let corrupt =
            |what: &str| StorageError::Corrupt { table: "releases", id: id.clone(), what: what.to_owned() };
        Ok(Release {
            id: id.parse().map_err(|_| corrupt("id"))?,
            seq: self.seq,
            version: version_of(id, &self.version)?,
            digest: digest_of(id, &self.digest)?,
            wire: Fields::read(self.wire).map_err(|error| corrupt(&format!("wire: {error}")))?,
            rights: parse("rights", id, &self.rights)?,
            risk: u8::try_from(self.risk).map_err(|_| corrupt("risk"))?,
            warnings: parse("warnings", id, &self.warnings)?,
            created_at: Timestamp::from_millis(self.created_at_ms),
            status: Status::from_wire(&self.status).ok_or_else(|| corrupt("status"))?,
            verdict: verdict_of(&self.verdict).ok_or_else(|| corrupt("verdict"))?,
            held: parse("held", id, &self.held)?,
            pins: parse("pins", id, &self.pins)?,
            yanked_by_admin: self.yanked_by_admin != 0,
            approved_at: self.approved_at_ms.map(Timestamp::from_millis),
            // Nothing of a release changes between its last check and a reviewer's word.
            waiting_since: (self.status == Status::UnderReview.as_str()
                && self.verdict == verdict_word(Verdict::Pass))
            .then(|| Timestamp::from_millis(self.changed_at_ms)),
            image_missing_since: self.image_missing_since_ms.map(Timestamp::from_millis),
            addon: self.addon,
            publisher: self.publisher,
            reason: self.reason,
        })
    }
}

pub(super) fn version_of(id: &str, text: &str) -> Result<Version, StorageError> {
    let corrupt =
        |_| StorageError::Corrupt { table: "releases", id: id.to_owned(), what: "version".to_owned() };
    text.parse().map_err(corrupt)
}

pub(super) fn digest_of(id: &str, text: &str) -> Result<Digest, StorageError> {
    let corrupt =
        |_| StorageError::Corrupt { table: "releases", id: id.to_owned(), what: "digest".to_owned() };
    text.parse().map_err(corrupt)
}

/// Reads a column that holds JSON.
pub(super) fn parse<T: serde::de::DeserializeOwned>(
    what: &str,
    id: &str,
    text: &str,
) -> Result<T, StorageError> {
    let corrupt = |error| StorageError::Corrupt {
        table: "releases",
        id: id.to_owned(),
        what: format!("{what}: {error}"),
    };
    serde_json::from_str(text).map_err(corrupt)
}

/// What the audit log says of a release beside its id.
pub(super) fn detail(release: &Release, to: Option<Status>) -> Value {
    let mut detail = json!({
        "addon": release.addon, "version": release.version.to_string(), "digest": release.digest.to_string(),
    });
    if let Some(to) = to {
        detail["from"] = release.status.as_str().into();
        detail["to"] = to.as_str().into();
    }
    detail
}

/// A column's JSON.
pub(super) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("what is stored has text keys only")
}

/// The word that a verdict is stored as.
pub(super) fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Pending => "pending",
        Verdict::NoAnswer => "no_answer",
        Verdict::Fail => "fail",
    }
}

fn verdict_of(word: &str) -> Option<Verdict> {
    [Verdict::Pass, Verdict::Pending, Verdict::NoAnswer, Verdict::Fail]
        .into_iter()
        .find(|verdict| verdict_word(*verdict) == word)
}
