//! Counts: installations that managers report, and how much there is of everything.
//!
//! A report's id is drawn by its manager for one installation and used for nothing else, so that a report that is sent
//! again is counted once, and no two addons belong to one host by it. Ids are forgotten after some days; by then a manager
//! sends none again.

use addon_client::{AddonStats, InstallReport, MarketStats, Timestamp};
use service_kit::{read, write_tx};

use super::{Source, Storage, StorageError, dialect};
use crate::domain::release::Status;

/// How long the id of a report is remembered, in days, beside the day it came on: longer than managers try to send one.
const REMEMBERED_DAYS: i64 = 7;

/// A day, in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// Highest grade: see the table `installs`.
const HIGHEST_GRADE: i64 = 31;

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It was counted; so many are there now.
    New(u64),
    /// It was counted before.
    Known,
    /// No such addon is listed.
    NoAddon,
}

impl Storage {
    /// Whether this report was counted, as far as is remembered.
    ///
    /// # Errors
    /// The database.
    pub async fn knows_report(
        &self,
        addon: &str,
        report: &str,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let found: Option<(i64,)> = read!(&self.db, |pool| sqlx::query_as(KNOWN)
            .bind(addon)
            .bind(report)
            .bind(day(now))
            .fetch_optional(pool)
            .await)?;
        Ok(found.is_some())
    }

    /// Counts an installation of an addon, folded. A report that was counted lately is not counted again.
    ///
    /// # Errors
    /// The database.
    pub async fn count_install(
        &self,
        addon: &str,
        report: &InstallReport,
        now: Timestamp,
    ) -> Result<Counted, StorageError> {
        let today = day(now);
        let (counted, regraded) = write_tx!(&self.db, |tx| {
            // What is listed of the addon is not to change meanwhile.
            if let Some(lock) = dialect::lock_addon(&self.db) {
                sqlx::query(lock).bind(addon).execute(&mut *tx).await?;
            }
            let sql = "SELECT seq FROM listings WHERE addon = $1";
            let listed: Option<(i64,)> = sqlx::query_as(sql).bind(addon).fetch_optional(&mut *tx).await?;
            let known: Option<(i64,)> = sqlx::query_as(KNOWN)
                .bind(addon)
                .bind(&report.report)
                .bind(today)
                .fetch_optional(&mut *tx)
                .await?;
            match (listed, known) {
                (None, _) => (Counted::NoAddon, false),
                (_, Some(_)) => (Counted::Known, false),
                (Some((seq,)), None) => {
                    let sql = "DELETE FROM installers WHERE day < $1";
                    sqlx::query(sql).bind(today - REMEMBERED_DAYS).execute(&mut *tx).await?;
                    let sql = "INSERT INTO installers (day, addon, id) VALUES ($1, $2, $3)";
                    sqlx::query(sql).bind(today).bind(addon).bind(&report.report).execute(&mut *tx).await?;
                    let sql = "INSERT INTO installs (addon, total, grade) VALUES ($1, 1, 0)
                               ON CONFLICT (addon) DO UPDATE SET total = installs.total + 1 RETURNING total, grade";
                    let (total, grade): (i64, i64) =
                        sqlx::query_as(sql).bind(addon).fetch_one(&mut *tx).await?;
                    let due = grade_of(total);
                    if due == grade {
                        let sql = "UPDATE listings SET installs = $2 WHERE seq = $1";
                        sqlx::query(sql).bind(seq).bind(total).execute(&mut *tx).await?;
                    } else {
                        // The stored rank is made of it: triggers carry the words and facets along.
                        let sql = "UPDATE installs SET grade = $2 WHERE addon = $1";
                        sqlx::query(sql).bind(addon).bind(due).execute(&mut *tx).await?;
                        let sql = "DELETE FROM listings WHERE seq = $1";
                        sqlx::query(sql).bind(seq).execute(&mut *tx).await?;
                        let sql = "INSERT INTO listings (place, seq, addon, keywords, updated_at_ms, installs)
                                   SELECT place, seq, addon, keywords, updated_at_ms, installs FROM listing_rows
                                   WHERE seq = $1";
                        sqlx::query(sql).bind(seq).execute(&mut *tx).await?;
                    }
                    let regraded = due != grade;
                    if let Some(tell) = dialect::approved_changed(&self.db).filter(|_| regraded) {
                        sqlx::query(tell).execute(&mut *tx).await?;
                    }
                    (Counted::New(total.unsigned_abs()), regraded)
                }
            }
        });
        if regraded {
            self.epochs.end(Source::Approved);
            self.caller.call();
        }
        Ok(counted)
    }

    /// Facts about a listed addon; `None` when no such addon is listed.
    ///
    /// # Errors
    /// The database.
    pub async fn addon_stats(&self, addon: &str) -> Result<Option<AddonStats>, StorageError> {
        // Of releases only what stands in an index: there may be thousands, and their rows are long.
        let sql = "SELECT addons.name, installs,
                       (SELECT COUNT(*) FROM releases WHERE addon = listings.addon AND status = 'approved'),
                       (SELECT MIN(approved_at_ms) FROM releases WHERE addon = listings.addon AND status = 'approved'),
                       (SELECT MAX(approved_at_ms) FROM releases WHERE addon = listings.addon AND status = 'approved')
                   FROM listings JOIN addons ON addons.addon = listings.addon WHERE listings.addon = $1";
        type Found = (String, i64, i64, Option<i64>, Option<i64>);
        let found: Option<Found> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(addon).fetch_optional(pool).await)?;
        let Some((name, installs, releases, first, last)) = found else { return Ok(None) };
        let (Some(first), Some(last)) = (first, last) else {
            let what = "it is listed, and none of its releases says when it was approved".to_owned();
            return Err(StorageError::Corrupt { table: "listings", id: addon.to_owned(), what });
        };
        Ok(Some(AddonStats {
            name,
            releases: releases.unsigned_abs(),
            first_approved_at: Timestamp::from_millis(first),
            last_approved_at: Timestamp::from_millis(last),
            installs: installs.unsigned_abs(),
        }))
    }

    /// How much there is of everything. Walks indexes as long as the tables are: not for every request.
    ///
    /// # Errors
    /// The database.
    pub async fn market_stats(&self, now: Timestamp) -> Result<MarketStats, StorageError> {
        let sql = "SELECT (SELECT COUNT(*) FROM addons), (SELECT COUNT(*) FROM listings),
                          (SELECT COUNT(*) FROM (SELECT DISTINCT account FROM owners) AS accounts),
                          (SELECT CAST(COALESCE(SUM(total), 0) AS BIGINT) FROM installs),
                          (SELECT last FROM revocation_count WHERE id = 1)";
        let (addons, listed, publishers, installs, revocations): (i64, i64, i64, i64, i64) =
            read!(&self.db, |pool| sqlx::query_as(sql).fetch_one(pool).await)?;
        let counts = self.statuses().await?;
        // Those of which there is none, too.
        let of = |status: Status| {
            counts.iter().find(|(word, _)| word == status.as_str()).map_or(0, |(_, count)| *count)
        };
        let releases =
            Status::ALL.into_iter().map(|status| (status.as_str().to_owned(), of(status))).collect();
        Ok(MarketStats {
            addons: addons.unsigned_abs(),
            listed: listed.unsigned_abs(),
            releases,
            publishers: publishers.unsigned_abs(),
            installs: installs.unsigned_abs(),
            revocations: revocations.unsigned_abs(),
            queue: self.queue_depth().await?.unsigned_abs(),
            counted_at: now,
        })
    }
}

/// Whether report `$2` of addon `$1` was counted on day `$3` or one of the days that are remembered before it: one look
/// into the key for each.
const KNOWN: &str = "SELECT day FROM installers
     WHERE day IN (CAST($3 AS BIGINT), $3 - 1, $3 - 2, $3 - 3, $3 - 4, $3 - 5, $3 - 6, $3 - 7) AND addon = $1 AND id = $2 LIMIT 1";

/// Days since the epoch.
fn day(now: Timestamp) -> i64 {
    now.millis() / DAY_MS
}

/// How many binary digits a number of installations has.
fn grade_of(total: i64) -> i64 {
    i64::from(i64::BITS - total.max(0).leading_zeros()).min(HIGHEST_GRADE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grade_is_the_number_of_binary_digits() {
        for (total, grade) in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (1_000_000, 20), (i64::MAX, 31)] {
            assert_eq!(grade_of(total), grade, "{total}");
        }
    }

    #[test]
    fn the_key_is_looked_into_for_as_many_days_as_are_remembered() {
        assert!(KNOWN.contains(&format!("$3 - {REMEMBERED_DAYS})")));
    }
}
