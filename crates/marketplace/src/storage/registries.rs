//! What is remembered of registries: what they serve under a digest, and when they want to be asked again. And when the
//! images of approved releases are looked for once more.

use std::time::Duration;

use addon_client::Timestamp;
use addon_descriptor::Digest;
use service_kit::{read, write_tx};

use super::queue::{NOBODY, Purpose, last_turn};
use super::{Storage, StorageError};

impl Storage {
    /// What this repository (`registry/path`) serves under a digest, if it is remembered from `since` or later.
    ///
    /// # Errors
    /// The database.
    pub async fn registry_part(
        &self,
        repository: &str,
        digest: &Digest,
        since: Timestamp,
    ) -> Result<Option<String>, StorageError> {
        let sql =
            "SELECT part FROM registry_parts WHERE repository = $1 AND digest = $2 AND kept_at_ms >= $3";
        let found: Option<(String,)> = read!(&self.db, |pool| {
            sqlx::query_as(sql)
                .bind(repository)
                .bind(digest.to_string())
                .bind(since.millis())
                .fetch_optional(pool)
                .await
        })?;
        Ok(found.map(|(part,)| part))
    }

    /// Remembers what this repository serves under digests.
    ///
    /// # Errors
    /// The database.
    pub async fn keep_registry_parts(
        &self,
        repository: &str,
        parts: &[(Digest, String)],
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let sql = "INSERT INTO registry_parts (repository, digest, part, kept_at_ms) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (repository, digest) DO UPDATE SET part = excluded.part, kept_at_ms = excluded.kept_at_ms";
        // In one order, so that two who keep the same do not wait for each other.
        let mut sorted: Vec<(String, &str)> =
            parts.iter().map(|(digest, part)| (digest.to_string(), part.as_str())).collect();
        sorted.sort_unstable();
        write_tx!(&self.db, |tx| {
            for (digest, part) in &sorted {
                sqlx::query(sql)
                    .bind(repository)
                    .bind(digest)
                    .bind(*part)
                    .bind(now.millis())
                    .execute(&mut *tx)
                    .await?;
            }
        });
        Ok(())
    }

    /// Forgets the oldest of what is remembered beyond `most`, and the pauses that are over. Answers how many parts went.
    ///
    /// # Errors
    /// The database.
    pub async fn prune_registries(&self, most: u32, now: Timestamp) -> Result<u64, StorageError> {
        let sql = "DELETE FROM registry_parts WHERE kept_at_ms <=
                   (SELECT kept_at_ms FROM registry_parts ORDER BY kept_at_ms DESC LIMIT 1 OFFSET $1)";
        Ok(write_tx!(&self.db, |tx| {
            let pauses = "DELETE FROM registry_pauses WHERE until_ms <= $1";
            sqlx::query(pauses).bind(now.millis()).execute(&mut *tx).await?;
            sqlx::query(sql).bind(i64::from(most)).execute(&mut *tx).await?.rows_affected()
        }))
    }

    /// Until when a registry wants to be left alone, as far as anybody was told.
    ///
    /// # Errors
    /// The database.
    pub async fn registry_pause(&self, registry: &str) -> Result<Option<Timestamp>, StorageError> {
        let sql = "SELECT until_ms FROM registry_pauses WHERE registry = $1";
        let found: Option<(i64,)> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(registry).fetch_optional(pool).await)?;
        Ok(found.map(|(until,)| Timestamp::from_millis(until)))
    }

    /// Remembers that a registry wants to be left alone until then; what was said of a later time stays.
    ///
    /// # Errors
    /// The database.
    pub async fn keep_registry_pause(&self, registry: &str, until: Timestamp) -> Result<(), StorageError> {
        let sql = "INSERT INTO registry_pauses (registry, until_ms) VALUES ($1, $2)
                   ON CONFLICT (registry) DO UPDATE SET until_ms = excluded.until_ms
                   WHERE registry_pauses.until_ms < excluded.until_ms";
        write_tx!(&self.db, |tx| {
            sqlx::query(sql).bind(registry).bind(until.millis()).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Puts approved releases into the queue whose images were last looked for about an interval ago, while fewer than
    /// `most` of that sort wait there. `jitter` gives numbers from 0 to 1 and spreads them over a fifth of the interval.
    /// Their turn is after everybody's. Answers how many, and whether more may be due.
    ///
    /// # Errors
    /// The database.
    pub async fn schedule_rechecks(
        &self,
        interval: Duration,
        most: i64,
        now: Timestamp,
        jitter: impl Fn() -> f64,
    ) -> Result<(usize, bool), StorageError> {
        let waiting = "SELECT COUNT(*) FROM verification_jobs WHERE publisher = $1";
        let (waiting,): (i64,) =
            read!(&self.db, |pool| sqlx::query_as(waiting).bind(NOBODY).fetch_one(pool).await)?;
        let room = (most - waiting).max(0);
        let sql = "SELECT report.release_id, release.status, report.checked_at_ms, report.recheck_at_ms
                   FROM verification_reports AS report JOIN releases AS release ON release.id = report.release_id
                   WHERE report.recheck_at_ms <= $1 ORDER BY report.recheck_at_ms LIMIT $2";
        let found: Vec<(String, String, i64, i64)> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(now.millis()).bind(room).fetch_all(pool).await)?;
        let more = i64::try_from(found.len()).is_ok_and(|found| found == room);
        if found.is_empty() {
            return Ok((0, more));
        }
        let spread = |from: Timestamp| from + spread(interval, jitter());
        Ok(write_tx!(&self.db, |tx| {
            let mut count = 0;
            for (id, status, checked_at, planned) in &found {
                let (checked_at, planned) =
                    (Timestamp::from_millis(*checked_at), Timestamp::from_millis(*planned));
                // The first time is still to be decided.
                let planned = if planned.millis() == 0 { spread(checked_at) } else { planned };
                let due = planned <= now;
                let next = if due { spread(now) } else { planned };
                let sql = "UPDATE verification_reports SET recheck_at_ms = $2 WHERE release_id = $1";
                let still =
                    sqlx::query(sql).bind(id).bind(next.millis()).execute(&mut *tx).await?.rows_affected()
                        == 1;
                // What is not approved now may be later, and is looked at again then.
                if still && due && status == "approved" {
                    let sql = concat!(
                        "INSERT INTO verification_jobs (release_id, purpose, due_at_ms, attempts, publisher, turn)
                         VALUES ($1, $2, $3, 0, $4, ",
                        last_turn!(),
                        ") ON CONFLICT (release_id) DO NOTHING"
                    );
                    let queued = sqlx::query(sql)
                        .bind(id)
                        .bind(Purpose::Recheck.as_str())
                        .bind(now.millis())
                        .bind(NOBODY)
                        .execute(&mut *tx)
                        .await?;
                    count += usize::from(queued.rows_affected() == 1);
                }
            }
            (count, more)
        }))
    }

    /// How many releases are looked at again some time: one walk over an index, and not for every pass.
    ///
    /// # Errors
    /// The database.
    pub async fn rechecked(&self) -> Result<u32, StorageError> {
        let sql = "SELECT COUNT(*) FROM verification_reports WHERE recheck_at_ms >= 0";
        let (count,): (i64,) = read!(&self.db, |pool| sqlx::query_as(sql).fetch_one(pool).await)?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }
}

/// The interval, give or take a tenth of it; `jitter` is from 0 to 1.
pub fn spread(interval: Duration, jitter: f64) -> Duration {
    interval.mul_f64(0.9 + jitter.clamp(0.0, 1.0) / 5.0)
}
