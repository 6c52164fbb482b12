//! What happened to releases that everybody may see. Triggers write it down in the transaction of each change; here it gets
//! numbers, and is read by them.
//!
//! Transactions commit in another order than they began, so what a trigger writes has no number that a client could resume
//! by. Numbers are given afterwards, to what has committed, by one replica at a time: whoever has read up to a number has
//! read everything up to it.

use addon_client::{ReleaseEvent, ReleaseEventKind, Timestamp};
use service_kit::{read, write_tx};
use sqlx::FromRow;

use super::releases::digest_of;
use super::{Source, Storage, StorageError};

/// So many events are kept, the newest: of a busy marketplace those of some days, and about 10 MiB.
pub const KEPT: i64 = 50_000;

/// Which marketplace a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// 32 hex digits, drawn when the tables were made.
    pub uid: String,
    /// When that was.
    pub made_at: Timestamp,
}

/// An event and its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// 1, 2, 3, …
    pub position: i64,
    /// What happened.
    pub event: ReleaseEvent,
}

impl Storage {
    /// Which marketplace this is.
    ///
    /// # Errors
    /// The database.
    pub async fn identity(&self) -> Result<Identity, StorageError> {
        let sql = "SELECT uid, made_at_ms FROM marketplace WHERE id = 1";
        let (uid, made_at): (String, i64) =
            read!(&self.db, |pool| sqlx::query_as(sql).fetch_one(pool).await)?;
        Ok(Identity { uid, made_at: Timestamp::from_millis(made_at) })
    }

    /// Whether something has no number yet.
    ///
    /// # Errors
    /// The database.
    pub async fn events_wait(&self) -> Result<bool, StorageError> {
        let sql = "SELECT seq FROM event_inbox LIMIT 1";
        let found: Option<(i64,)> = read!(&self.db, |pool| sqlx::query_as(sql).fetch_optional(pool).await)?;
        Ok(found.is_some())
    }

    /// Gives numbers to at most so many events, in the order in which they happened to each release. Answers to how many: 0
    /// when another replica was faster.
    ///
    /// # Errors
    /// The database.
    pub async fn number_events(&self, most: u32, now: Timestamp) -> Result<usize, StorageError> {
        Ok(write_tx!(&self.db, |tx| {
            // One after the other: this row is changed first and held until the commit.
            let sql = "UPDATE event_count SET last = last WHERE id = 1 RETURNING last";
            let (mut last,): (i64,) = sqlx::query_as(sql).fetch_one(&mut *tx).await?;
            let sql = "DELETE FROM event_inbox
                       WHERE seq IN (SELECT seq FROM event_inbox ORDER BY seq LIMIT $1)
                       RETURNING seq, kind, release_id, name, version, digest, reason";
            let mut rows: Vec<InboxRow> =
                sqlx::query_as(sql).bind(i64::from(most)).fetch_all(&mut *tx).await?;
            rows.sort_by_key(|row| row.seq);
            let numbered = rows.len();
            for row in rows {
                last += 1;
                let sql =
                    "INSERT INTO events (position, kind, release_id, name, version, digest, reason, at_ms)
                           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
                sqlx::query(sql)
                    .bind(last)
                    .bind(&row.kind)
                    .bind(&row.release_id)
                    .bind(&row.name)
                    .bind(&row.version)
                    .bind(&row.digest)
                    .bind(&row.reason)
                    .bind(now.millis())
                    .execute(&mut *tx)
                    .await?;
            }
            if numbered > 0 {
                let sql = "UPDATE event_count SET last = $1 WHERE id = 1";
                sqlx::query(sql).bind(last).execute(&mut *tx).await?;
                let sql = "DELETE FROM events WHERE position <= $1";
                sqlx::query(sql).bind(last - KEPT).execute(&mut *tx).await?;
            }
            numbered
        }))
    }

    /// The events after a position, in order, at most so many.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn events_after(&self, position: i64, most: u32) -> Result<Vec<Numbered>, StorageError> {
        // A revocation may have been raised: what holds is the last one's.
        let sql = "SELECT position, kind, release_id, name, version, digest, reason, at_ms,
                       CASE WHEN kind = 'revoked' THEN (
                           SELECT severity FROM revocations WHERE revocations.release_id = events.release_id
                           ORDER BY sequence DESC LIMIT 1) END AS severity
                   FROM events WHERE position > $1 ORDER BY position LIMIT $2";
        let rows: Vec<EventRow> = read!(&self.db, |pool| {
            sqlx::query_as(sql).bind(position).bind(i64::from(most)).fetch_all(pool).await
        })?;
        rows.into_iter().map(EventRow::numbered).collect()
    }

    /// The position before the first event that is kept, and that of the last one: whoever has read up to somewhere between
    /// them can be told all that came since.
    ///
    /// # Errors
    /// The database.
    pub async fn event_bounds(&self) -> Result<(i64, i64), StorageError> {
        let sql = "SELECT COALESCE((SELECT MIN(position) - 1 FROM events), last), last FROM event_count WHERE id = 1";
        Ok(read!(&self.db, |pool| sqlx::query_as(sql).fetch_one(pool).await)?)
    }

    /// Before somebody is told of an event here: what was kept of before it holds no longer, also where another replica
    /// made the change and this one has not heard of it on the other way.
    pub fn told_of(&self, event: &ReleaseEvent) {
        self.epochs.end(Source::Release(event.release_id));
        self.epochs.end(Source::Approved);
    }
}

#[derive(FromRow)]
struct InboxRow {
    seq: i64,
    kind: String,
    release_id: String,
    name: String,
    version: String,
    digest: String,
    reason: Option<String>,
}

#[derive(FromRow)]
struct EventRow {
    position: i64,
    kind: String,
    release_id: String,
    name: String,
    version: String,
    digest: String,
    reason: Option<String>,
    at_ms: i64,
    severity: Option<String>,
}

impl EventRow {
    fn numbered(self) -> Result<Numbered, StorageError> {
        let corrupt = |what: &str| StorageError::Corrupt {
            table: "events",
            id: self.position.to_string(),
            what: what.to_owned(),
        };
        Ok(Numbered {
            position: self.position,
            event: ReleaseEvent {
                kind: ReleaseEventKind::from_wire(&self.kind).ok_or_else(|| corrupt("kind"))?,
                release_id: self.release_id.parse().map_err(|_| corrupt("release_id"))?,
                digest: digest_of(&self.release_id, &self.digest)?,
                name: self.name,
                version: self.version,
                reason: self.reason,
                severity: self.severity,
                at: Timestamp::from_millis(self.at_ms),
            },
        })
    }
}
