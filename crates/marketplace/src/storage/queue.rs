//! The queue of releases whose checks are to be made, and what the checks found.
//!
//! Jobs have turns: of one publisher one after the other, beginning where the queue stands. So everybody's next release is
//! looked at in between, however many somebody else has published. What the schedule asks for has the last turn of all.
//!
//! A job is taken with a lease. Whoever records must still hold it: holder and number of attempts are the fence, so that
//! a worker that was away for too long changes nothing. A job goes in the transaction that records its result.

use std::time::Duration;

use addon_client::{Check, Pin, ReleaseId, Timestamp, Verdict};
use service_kit::audit::{self, Actor, Entry};
use service_kit::{read, write_tx};
use sqlx::FromRow;

use super::releases::{
    APPROVED, LIST_NEWEST, Row, UNLIST, detail, json, name_is_taken, parse, select, verdict_word,
};
use super::{Storage, StorageError, dialect};
use crate::domain::release::{Release, Status};
use crate::domain::transition::Action;

/// Puts a job into the queue: `$1` release, `$2` purpose, `$3` due, `$4` publisher. Its turn comes after those of the same
/// publisher, and not before anybody's who waits.
macro_rules! enqueue {
    () => {
        concat!(
            "INSERT INTO verification_jobs (release_id, purpose, due_at_ms, attempts, publisher, turn)
             VALUES ($1, $2, $3, 0, $4, ",
            $crate::storage::queue::turn_of!(),
            "= $4",
            $crate::storage::queue::turn_end!(),
            ")"
        )
    };
}
pub(super) use enqueue;

/// The turn of what nobody waits for, behind everybody's. No account has the name of its publisher.
macro_rules! last_turn {
    () => {
        "4611686018427387904"
    };
}
pub(super) const NOBODY: &str = "*";

/// The turn of a job: what stands before and after `= publisher`.
macro_rules! turn_of {
    () => {
        "COALESCE((SELECT MAX(turn) FROM (SELECT MAX(turn) + 1 AS turn FROM verification_jobs WHERE publisher "
    };
}
macro_rules! turn_end {
    () => {
        concat!(
            " UNION ALL SELECT MIN(turn) FROM verification_jobs WHERE turn < ",
            $crate::storage::queue::last_turn!(),
            ") AS turns), 1)"
        )
    };
}
pub(super) use {last_turn, turn_end, turn_of};

/// What a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Decides about a release under review.
    Review,
    /// Finds out whether an approved release's images are still there.
    Recheck,
}

impl Purpose {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Review => "review",
            Self::Recheck => "recheck",
        }
    }
}

/// A job that is taken.
#[derive(Debug, Clone)]
pub struct Job {
    /// The release.
    pub release: Release,
    /// Its canonical document.
    pub canonical: String,
    /// What for.
    pub purpose: Purpose,
    /// How often it was taken, this time included.
    pub attempts: u32,
    /// Whose turn it was; that of what the schedule asks for is nobody's.
    pub publisher: String,
    /// Registries are asked also where they want to be left alone: somebody who may review wants it so.
    pub at_once: bool,
    /// Who took it.
    owner: String,
}

impl Job {
    /// Whether nobody asked for it: its time had come.
    pub fn is_scheduled(&self) -> bool {
        self.publisher == NOBODY
    }
}

/// What becomes of a release whose checks were made.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdicted {
    /// Where it stands then.
    pub status: Status,
    /// Over all checks.
    pub verdict: Verdict,
    /// Each check.
    pub checks: Vec<Check>,
    /// What its images are.
    pub pins: Vec<Pin>,
    /// What a reviewer has to decide about.
    pub held: Vec<String>,
    /// Why it stands there.
    pub reason: Option<String>,
}

/// What is known about the checks of a release.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Each check of the last run; empty before the first.
    pub checks: Vec<Check>,
    /// Runs so far.
    pub attempts: u32,
    /// When the last one was.
    pub checked_at: Option<Timestamp>,
    /// When the next one is due.
    pub next_attempt_at: Option<Timestamp>,
}

impl Storage {
    /// Takes the job whose turn it is, of those that are due and that nobody holds, passing over those of one publisher
    /// where that is asked for. It is this owner's until the lease ends.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn claim(
        &self,
        owner: &str,
        now: Timestamp,
        lease: Duration,
        except: Option<&str>,
    ) -> Result<Option<Job>, StorageError> {
        let sql = dialect::claim(&self.db);
        let taken: Option<(String, String, i64, String, i64)> = write_tx!(&self.db, |tx| {
            sqlx::query_as(sql)
                .bind(owner)
                .bind(now.millis())
                .bind((now + lease).millis())
                .bind(except.unwrap_or_default())
                .fetch_optional(&mut *tx)
                .await?
        });
        let Some((id, purpose, attempts, publisher, at_once)) = taken else { return Ok(None) };
        let corrupt = |what: &str| StorageError::Corrupt {
            table: "verification_jobs",
            id: id.clone(),
            what: what.to_owned(),
        };
        let release_id: ReleaseId = id.parse().map_err(|_| corrupt("release_id"))?;
        let (Some(release), Some(canonical)) =
            (self.release(release_id).await?, self.canonical(release_id).await?)
        else {
            return Ok(None);
        };
        let purpose = match purpose.as_str() {
            "review" => Purpose::Review,
            "recheck" => Purpose::Recheck,
            _ => return Err(corrupt("purpose")),
        };
        let attempts = u32::try_from(attempts).map_err(|_| corrupt("attempts"))?;
        let (at_once, owner) = (at_once != 0, owner.to_owned());
        Ok(Some(Job { release, canonical, purpose, attempts, publisher, at_once, owner }))
    }

    /// When the next job that nobody holds is due, or a lease ends, those of one publisher left out where that is asked
    /// for. `None`: the queue is empty.
    ///
    /// # Errors
    /// The database.
    pub async fn next_due(&self, except: Option<&str>) -> Result<Option<Timestamp>, StorageError> {
        let sql = "SELECT MIN(CASE WHEN lease_until_ms IS NULL OR lease_until_ms < due_at_ms
                       THEN due_at_ms ELSE lease_until_ms END) FROM verification_jobs WHERE publisher <> $1";
        let except = except.unwrap_or_default();
        let (due,): (Option<i64>,) =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(except).fetch_one(pool).await)?;
        Ok(due.map(Timestamp::from_millis))
    }

    /// Whether anybody has a job but this publisher.
    ///
    /// # Errors
    /// The database.
    pub async fn others_wait(&self, publisher: &str) -> Result<bool, StorageError> {
        // Two questions to an index, instead of one that looks at all of the publisher's.
        let sql = "SELECT CASE WHEN EXISTS (SELECT 1 FROM verification_jobs WHERE publisher < $1)
                       OR EXISTS (SELECT 1 FROM verification_jobs WHERE publisher > $1) THEN 1 ELSE 0 END";
        let (found,): (i32,) =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(publisher).fetch_one(pool).await)?;
        Ok(found == 1)
    }

    /// How many jobs there are.
    ///
    /// # Errors
    /// The database.
    pub async fn queue_depth(&self) -> Result<i64, StorageError> {
        let sql = "SELECT COUNT(*) FROM verification_jobs";
        let (count,): (i64,) = read!(&self.db, |pool| sqlx::query_as(sql).fetch_one(pool).await)?;
        Ok(count)
    }

    /// At the start: gives back the jobs of a process that is gone, where this one is the only one at the database.
    /// Elsewhere their leases run out. Answers how many.
    ///
    /// # Errors
    /// The database.
    pub async fn reclaim(&self) -> Result<u64, StorageError> {
        if !dialect::is_exclusive(&self.db) {
            return Ok(0);
        }
        let sql = "UPDATE verification_jobs SET lease_owner = NULL, lease_until_ms = NULL WHERE lease_owner IS NOT NULL";
        Ok(write_tx!(&self.db, |tx| sqlx::query(sql).execute(&mut *tx).await?.rows_affected()))
    }

    /// Gives back what this owner holds, at the end: the next start need not wait for the leases to run out.
    ///
    /// # Errors
    /// The database.
    pub async fn release_leases(&self, owner: &str) -> Result<(), StorageError> {
        let sql =
            "UPDATE verification_jobs SET lease_owner = NULL, lease_until_ms = NULL WHERE lease_owner = $1";
        write_tx!(&self.db, |tx| {
            sqlx::query(sql).bind(owner).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Puts a release that failed back under review, or has an approved one's images looked for again, because somebody
    /// says so; `at_once` also where a registry wants to be left alone, which one under review may wait for. `false` when it
    /// has another status or verdict by now.
    ///
    /// # Errors
    /// The database.
    pub async fn reverify(
        &self,
        release: &Release,
        to: Status,
        at_once: bool,
        reason: Option<&str>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let purpose = if to == Status::Approved { Purpose::Recheck } else { Purpose::Review };
        // A recheck leaves the verdict alone: that is what the release was approved by.
        let verdict = match purpose {
            Purpose::Review => Verdict::Pending,
            Purpose::Recheck => release.verdict,
        };
        // An approved one keeps the word by which it was approved; why it is looked at again stands in the log.
        let shown = match release.status {
            Status::Approved => release.reason.as_deref(),
            Status::UnderReview => reason.or(Some(ASKED_AT_ONCE)),
            _ => reason,
        };
        let sql = "UPDATE releases SET status = $3, verdict = $4, reason = $5, changed_at_ms = $6
                   WHERE id = $1 AND status = $2 AND verdict = $7";
        let done = write_tx!(&self.db, |tx| {
            if let Some(lock) = dialect::lock_addon(&self.db) {
                sqlx::query(lock).bind(&release.addon).execute(&mut *tx).await?;
            }
            let done = sqlx::query(sql)
                .bind(release.id.to_string())
                .bind(release.status.as_str())
                .bind(to.as_str())
                .bind(verdict_word(verdict))
                .bind(shown)
                .bind(now.millis())
                .bind(verdict_word(release.verdict))
                .execute(&mut *tx)
                .await?;
            if done.rows_affected() == 1 {
                let (id, mut detail) = (release.id.to_string(), detail(release, Some(to)));
                if at_once {
                    detail["at_once"] = true.into();
                }
                let entry = Entry::new(now, by, Action::Reverify.audited(), "release", &id);
                audit::record(&mut *tx, &entry.because(reason).with(detail)).await?;
                sqlx::query(concat!(
                    enqueue!(),
                    " ON CONFLICT (release_id) DO UPDATE SET due_at_ms = excluded.due_at_ms,
                          publisher = excluded.publisher, turn = excluded.turn"
                ))
                .bind(release.id.to_string())
                .bind(purpose.as_str())
                .bind(now.millis())
                .bind(&release.publisher)
                .execute(&mut *tx)
                .await?;
                if at_once {
                    let sql = "UPDATE verification_jobs SET at_once = 1 WHERE release_id = $1";
                    sqlx::query(sql).bind(&id).execute(&mut *tx).await?;
                }
            }
            done.rows_affected() == 1
        });
        self.changed(release.id, false);
        Ok(done)
    }

    /// Records what the checks of a release under review came to, with the warnings that the job's release has by now, and
    /// ends the job. `false`, and nothing is changed, when the lease was lost or the release is not under review any more; or
    /// when it is to be approved and a name like its own was since the rules looked: then the job is due again at once.
    ///
    /// # Errors
    /// The database.
    pub async fn record_verdict(
        &self,
        job: &Job,
        verdicted: &Verdicted,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let id = job.release.id.to_string();
        let approved = (verdicted.status == Status::Approved).then_some(now.millis());
        let done = write_tx!(&self.db, |tx| {
            if let Some(lock) = dialect::lock_addon(&self.db) {
                sqlx::query(lock).bind(&job.release.addon).execute(&mut *tx).await?;
            }
            let taken = if approved.is_some() {
                name_is_taken!(&self.db, tx, &job.release.addon, false)
            } else {
                false
            };
            let sql = if taken { GIVE_BACK } else { END_JOB };
            let held = sqlx::query(sql).bind(&id).bind(&job.owner).bind(i64::from(job.attempts));
            let held = held.execute(&mut *tx).await?.rows_affected() == 1;
            if held && !taken {
                let sql = "UPDATE releases SET status = $3, verdict = $4, held = $5, pins = $6, reason = $7,
                               approved_at_ms = $8, changed_at_ms = $9, warnings = $10
                           WHERE id = $1 AND digest = $2 AND status = 'under_review'";
                let done = sqlx::query(sql)
                    .bind(&id)
                    .bind(job.release.digest.to_string())
                    .bind(verdicted.status.as_str())
                    .bind(verdict_word(verdicted.verdict))
                    .bind(json(&verdicted.held))
                    .bind(json(&verdicted.pins))
                    .bind(&verdicted.reason)
                    .bind(approved)
                    .bind(now.millis())
                    .bind(json(&job.release.warnings))
                    .execute(&mut *tx)
                    .await?;
                if done.rows_affected() == 1 {
                    sqlx::query(REPORT)
                        .bind(&id)
                        .bind(json(&verdicted.checks))
                        .bind(i64::from(job.attempts))
                        .bind(now.millis())
                        .bind(None::<i64>)
                        .execute(&mut *tx)
                        .await?;
                    if approved.is_some() {
                        sqlx::query(APPROVED)
                            .bind(&job.release.addon)
                            .bind(now.millis())
                            .bind(json(&job.release.rights))
                            .execute(&mut *tx)
                            .await?;
                        sqlx::query(UNLIST).bind(&job.release.addon).execute(&mut *tx).await?;
                        sqlx::query(LIST_NEWEST).bind(&job.release.addon).execute(&mut *tx).await?;
                    }
                }
                done.rows_affected() == 1
            } else {
                false
            }
        });
        self.changed(job.release.id, approved.is_some());
        Ok(done)
    }

    /// Records that an approved release's images were looked for: since when one is missing, or that none is; and when they
    /// are looked for again. `false` when the lease was lost.
    ///
    /// # Errors
    /// The database.
    pub async fn record_recheck(
        &self,
        job: &Job,
        checks: &[Check],
        missing_since: Option<Timestamp>,
        again: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let id = job.release.id.to_string();
        let (done, differs) = write_tx!(&self.db, |tx| {
            if let Some(lock) = dialect::lock_addon(&self.db) {
                sqlx::query(lock).bind(&job.release.addon).execute(&mut *tx).await?;
            }
            let held = sqlx::query(END_JOB).bind(&id).bind(&job.owner).bind(i64::from(job.attempts));
            let held = held.execute(&mut *tx).await?.rows_affected() == 1;
            let mut differs = false;
            if held {
                let sql = "UPDATE releases SET image_missing_since_ms = $2, changed_at_ms = $3
                           WHERE id = $1 AND status = 'approved' AND image_missing_since_ms IS DISTINCT FROM $2";
                let changed = sqlx::query(sql)
                    .bind(&id)
                    .bind(missing_since.map(Timestamp::millis))
                    .bind(now.millis())
                    .execute(&mut *tx)
                    .await?;
                differs = changed.rows_affected() == 1;
                sqlx::query(REPORT)
                    .bind(&id)
                    .bind(json(&checks))
                    .bind(i64::from(job.attempts))
                    .bind(now.millis())
                    .bind(None::<i64>)
                    .execute(&mut *tx)
                    .await?;
                if let Some(again) = again {
                    let sql = "UPDATE verification_reports SET recheck_at_ms = $2 WHERE release_id = $1";
                    sqlx::query(sql).bind(&id).bind(again.millis()).execute(&mut *tx).await?;
                }
            }
            (held, differs)
        });
        self.changed(job.release.id, differs);
        Ok(done)
    }

    /// Gives a job back because there was no answer: it is due again at `next`. Until then the report shows what is
    /// known, and a release under review the reason. `false` when the lease was lost.
    ///
    /// # Errors
    /// The database.
    pub async fn postpone(
        &self,
        job: &Job,
        checks: &[Check],
        reason: &str,
        now: Timestamp,
        next: Timestamp,
    ) -> Result<bool, StorageError> {
        let id = job.release.id.to_string();
        // Its turn follows those who wait now: new jobs begin at the lowest turn there is, which must not stay behind. What is
        // wanted at once since it was taken is still to be done.
        let sql = concat!(
            "UPDATE verification_jobs SET due_at_ms = CASE WHEN at_once > $6 THEN due_at_ms ELSE $4 END,
                 at_once = CASE WHEN at_once > $6 THEN 1 ELSE 0 END, lease_owner = NULL, lease_until_ms = NULL,
                 turn = COALESCE((SELECT MIN(waiting.turn) FROM verification_jobs AS waiting WHERE waiting.due_at_ms <= $5
                     AND waiting.turn > verification_jobs.turn AND waiting.turn < ",
            last_turn!(),
            "), turn) WHERE release_id = $1 AND lease_owner = $2 AND attempts = $3"
        );
        let done = write_tx!(&self.db, |tx| {
            if let Some(lock) = dialect::lock_addon(&self.db) {
                sqlx::query(lock).bind(&job.release.addon).execute(&mut *tx).await?;
            }
            let done = sqlx::query(sql)
                .bind(&id)
                .bind(&job.owner)
                .bind(i64::from(job.attempts))
                .bind(next.millis())
                .bind(now.millis())
                .bind(i64::from(job.at_once))
                .execute(&mut *tx)
                .await?;
            if done.rows_affected() == 1 && job.purpose == Purpose::Review {
                let sql = "UPDATE releases SET verdict = 'no_answer', reason = $2
                           WHERE id = $1 AND status = 'under_review'";
                sqlx::query(sql).bind(&id).bind(reason).execute(&mut *tx).await?;
                sqlx::query(REPORT)
                    .bind(&id)
                    .bind(json(&checks))
                    .bind(i64::from(job.attempts))
                    .bind(now.millis())
                    .bind(Some(next.millis()))
                    .execute(&mut *tx)
                    .await?;
            }
            done.rows_affected() == 1
        });
        self.changed(job.release.id, false);
        Ok(done)
    }

    /// A release, and what is known about its checks: the last run, and when the next is due. One statement, so that all of
    /// it is of one moment.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn report(&self, id: ReleaseId) -> Result<Option<(Release, Report)>, StorageError> {
        let sql = concat!(
            "SELECT releases.*, checks, verification_reports.attempts AS runs, checked_at_ms, due_at_ms, ",
            "verification_jobs.attempts AS running FROM (",
            select!("WHERE id = $1"),
            ") AS releases LEFT JOIN verification_reports ON verification_reports.release_id = releases.id ",
            "LEFT JOIN verification_jobs ON verification_jobs.release_id = releases.id"
        );
        let found: Option<Reported> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(id.to_string()).fetch_optional(pool).await)?;
        let Some(Reported { release, checks, runs, checked_at_ms, due_at_ms, running }) = found else {
            return Ok(None);
        };
        let checks = checks.map(|checks| parse("checks", &id.to_string(), &checks)).transpose()?;
        let report = Report {
            checks: checks.unwrap_or_default(),
            attempts: u32::try_from(runs.max(running).unwrap_or(0)).unwrap_or(u32::MAX),
            checked_at: checked_at_ms.map(Timestamp::from_millis),
            next_attempt_at: due_at_ms.map(Timestamp::from_millis),
        };
        Ok(Some((release.release()?, report)))
    }
}

#[derive(FromRow)]
struct Reported {
    #[sqlx(flatten)]
    release: Row,
    checks: Option<String>,
    runs: Option<i64>,
    checked_at_ms: Option<i64>,
    due_at_ms: Option<i64>,
    running: Option<i64>,
}

/// What a release says that waited for a registry and waits no more, where nobody says why.
const ASKED_AT_ONCE: &str = "checked again at once, whatever its registries said of when to come back";

/// Ends the job of release `$1` if `$2` still holds it as attempt `$3`.
const END_JOB: &str =
    "DELETE FROM verification_jobs WHERE release_id = $1 AND lease_owner = $2 AND attempts = $3";

/// Gives it back as it was taken.
const GIVE_BACK: &str = "UPDATE verification_jobs SET lease_owner = NULL, lease_until_ms = NULL
     WHERE release_id = $1 AND lease_owner = $2 AND attempts = $3";

/// Stores a report: `$1` release, `$2` checks, `$3` attempts, `$4` now, `$5` next attempt.
const REPORT: &str = "INSERT INTO verification_reports
     (release_id, checks, attempts, checked_at_ms, next_attempt_at_ms) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (release_id) DO UPDATE SET checks = excluded.checks, attempts = excluded.attempts,
         checked_at_ms = excluded.checked_at_ms, next_attempt_at_ms = excluded.next_attempt_at_ms";
