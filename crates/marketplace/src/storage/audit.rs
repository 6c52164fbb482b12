//! The audit log: written with each change ([`record`]), read, chained and checked. Never changed: triggers refuse it.
//!
//! A row's hash is `SHA-256(hash of the row before || "\n" || the row as a JSON array)`, in the order of their numbers. The hashes stand
//! in a table of their own, `audit_chain`, with a place each (1, 2, 3, …); `audit_head` says how far it goes. So an altered
//! row is told by its hash, a removed one by its place, one that was put in between by having none, a cut end by the head; and where
//! that was made to fit, by the signed index, which says how far the log went.

use std::collections::BTreeSet;

use addon_client::trust::AuditHead;
use addon_client::{AuditEntry, AuditReport, AuditSubject, Timestamp};
use addon_descriptor::Digest;
use serde_json::json;
use service_kit::{read, write_tx};
use sqlx::{FromRow, QueryBuilder};

use super::{Storage, StorageError, dialect};

pub use service_kit::audit::{Actor, Entry, record};

/// Rows that are read at once when the log is checked.
const PART: i64 = 1_000;

/// Most rows that a report names of each sort.
const MOST_NAMED: usize = 100;

/// Which rows are read.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditFilter<'a> {
    /// Only of this account.
    pub account: Option<&'a str>,
    /// Only of this action.
    pub action: Option<&'a str>,
    /// Only of this release, addon, token or account, by its id.
    pub subject: Option<&'a str>,
    /// Only from this time on.
    pub since: Option<Timestamp>,
    /// Only rows with a lower number: where the last part ended.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

#[derive(FromRow)]
struct Row {
    seq: i64,
    at_ms: i64,
    account: String,
    token_id: Option<String>,
    action: String,
    subject_kind: String,
    subject_id: String,
    reason: Option<String>,
    detail: String,
    request_id: Option<String>,
    hash: Option<String>,
}

impl Row {
    /// The hash over this row and the one before it.
    fn chained(&self, previous: &str) -> String {
        let row = json!([
            self.seq,
            self.at_ms,
            self.account,
            self.token_id,
            self.action,
            self.subject_kind,
            self.subject_id,
            self.reason,
            self.detail,
            self.request_id
        ]);
        Digest::of(format!("{previous}\n{row}").as_bytes()).to_string()
    }

    fn entry(self) -> Result<AuditEntry, StorageError> {
        let corrupt =
            |_| StorageError::Corrupt { table: "audit", id: self.seq.to_string(), what: "detail".to_owned() };
        Ok(AuditEntry {
            seq: self.seq,
            at: Timestamp::from_millis(self.at_ms),
            detail: serde_json::from_str(&self.detail).map_err(corrupt)?,
            account: self.account,
            token_id: self.token_id,
            action: self.action,
            subject: AuditSubject { kind: self.subject_kind, id: self.subject_id },
            reason: self.reason,
            request_id: self.request_id,
            hash: self.hash,
        })
    }
}

macro_rules! rows {
    ($rest:literal) => {
        concat!(
            "SELECT audit.seq AS seq, at_ms, account, token_id, action, subject_kind, subject_id, reason, detail, request_id, ",
            "hash FROM audit LEFT JOIN audit_chain ON audit_chain.seq = audit.seq ",
            $rest
        )
    };
}

impl Storage {
    /// Rows of the log, the newest first.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn audit(&self, filter: AuditFilter<'_>) -> Result<Vec<AuditEntry>, StorageError> {
        let AuditFilter { account, action, subject, since, before, limit } = filter;
        // Numbers go with time but for moments: so a time is a number to begin from, the lowest of the first ones.
        let from = match since {
            None => 0,
            Some(since) => {
                let sql = "SELECT MIN(seq) FROM (SELECT seq FROM audit WHERE at_ms >= $1 ORDER BY at_ms LIMIT 1000) AS first";
                let (seq,): (Option<i64>,) =
                    read!(&self.db, |pool| sqlx::query_as(sql).bind(since.millis()).fetch_one(pool).await)?;
                let Some(seq) = seq else { return Ok(Vec::new()) };
                seq
            }
        };
        let sql = match (subject, account) {
            (Some(_), _) => rows!(
                "WHERE subject_id = $1 AND ($2 = '' OR account = $2) AND ($3 = '' OR action = $3)
                   AND audit.seq >= $4 AND audit.seq < $5 AND at_ms >= $6 ORDER BY audit.seq DESC LIMIT $7"
            ),
            (None, Some(_)) => rows!(
                "WHERE $1 = '' AND account = $2 AND ($3 = '' OR action = $3)
                   AND audit.seq >= $4 AND audit.seq < $5 AND at_ms >= $6 ORDER BY audit.seq DESC LIMIT $7"
            ),
            (None, None) if action.is_some() => rows!(
                "WHERE $1 = '' AND $2 = '' AND action = $3
                   AND audit.seq >= $4 AND audit.seq < $5 AND at_ms >= $6 ORDER BY audit.seq DESC LIMIT $7"
            ),
            (None, None) => rows!(
                "WHERE $1 = '' AND $2 = '' AND $3 = ''
                   AND audit.seq >= $4 AND audit.seq < $5 AND at_ms >= $6 ORDER BY audit.seq DESC LIMIT $7"
            ),
        };
        let rows: Vec<Row> = read!(&self.db, |pool| {
            sqlx::query_as(sql)
                .bind(subject.unwrap_or_default())
                .bind(account.unwrap_or_default())
                .bind(action.unwrap_or_default())
                .bind(from)
                .bind(before.unwrap_or(i64::MAX))
                .bind(since.map_or(0, Timestamp::millis))
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await
        })?;
        rows.into_iter().map(Row::entry).collect()
    }

    /// Whether there are rows that are not chained yet.
    ///
    /// # Errors
    /// The database.
    pub async fn audit_is_behind(&self) -> Result<bool, StorageError> {
        let sql =
            "SELECT COALESCE((SELECT MAX(seq) FROM audit), 0), (SELECT seq FROM audit_head WHERE id = 1)";
        let (last, chained): (i64, i64) = read!(&self.db, |pool| sqlx::query_as(sql).fetch_one(pool).await)?;
        Ok(last > chained)
    }

    /// Chains the rows that are not, at most so many; answers how many there were. Safe to run twice at once: the second
    /// one waits and finds nothing to do.
    ///
    /// # Errors
    /// The database.
    pub async fn chain_audit(&self, most: u32) -> Result<usize, StorageError> {
        // Above this a row may still come with a lower number: somebody took that and has not committed.
        let upto: i64 = write_tx!(&self.db, |tx| {
            for gate in dialect::audit_gate(&self.db).into_iter().flatten() {
                sqlx::query(gate).execute(&mut *tx).await?;
            }
            let sql = "SELECT COALESCE(MAX(seq), 0) FROM audit";
            let (last,): (i64,) = sqlx::query_as(sql).fetch_one(&mut *tx).await?;
            last
        });
        Ok(write_tx!(&self.db, |tx| {
            // Written, not read, so that it is this transaction's until its end.
            let sql = "UPDATE audit_head SET id = 1 WHERE id = 1 RETURNING position, seq, hash";
            let (mut position, mut seq, mut hash): (i64, i64, String) =
                sqlx::query_as(sql).fetch_one(&mut *tx).await?;
            let sql = rows!("WHERE audit.seq > $1 AND audit.seq <= $2 ORDER BY audit.seq LIMIT $3");
            let rows: Vec<Row> =
                sqlx::query_as(sql).bind(seq).bind(upto).bind(i64::from(most)).fetch_all(&mut *tx).await?;
            let mut links: Vec<(i64, i64, String)> = Vec::with_capacity(rows.len());
            for row in &rows {
                hash = row.chained(&hash);
                (position, seq) = (position + 1, row.seq);
                links.push((position, seq, hash.clone()));
            }
            if !rows.is_empty() {
                let mut sql = QueryBuilder::new("INSERT INTO audit_chain (position, seq, hash) ");
                sql.push_values(links, |mut row, (position, seq, hash)| {
                    row.push_bind(position).push_bind(seq).push_bind(hash);
                });
                sql.build().persistent(false).execute(&mut *tx).await?;
                let sql = "UPDATE audit_head SET position = $1, seq = $2, hash = $3 WHERE id = 1";
                sqlx::query(sql).bind(position).bind(seq).bind(&hash).execute(&mut *tx).await?;
            }
            rows.len()
        }))
    }

    /// Checks the whole log against its chain.
    ///
    /// # Errors
    /// The database.
    pub async fn verify_audit(&self) -> Result<AuditReport, StorageError> {
        let sql = "SELECT position, seq, hash FROM audit_head WHERE id = 1";
        let head: Option<(i64, i64, String)> =
            read!(&self.db, |pool| sqlx::query_as(sql).fetch_optional(pool).await)?;
        let (position, last, hash) = head.clone().unwrap_or_default();
        let mut found = Found::default();
        let mut checked = 0;
        // What the row before hashed to; `None` after a gap, where it is not known.
        let (mut previous, mut at) = (Some(String::new()), 0);
        loop {
            let part = self.links(at, position).await?;
            let Some(end) = part.last() else { break };
            let next = end.position;
            for link in part {
                found.gap(at + 1, link.position);
                if link.position != at + 1 {
                    previous = None;
                }
                match link.row() {
                    None => _ = found.missing.insert(link.seq),
                    Some(row) => {
                        checked += 1;
                        let fits =
                            previous.as_ref().is_none_or(|previous| row.chained(previous) == link.link);
                        if !fits {
                            found.altered.insert(row.seq);
                        }
                    }
                }
                (previous, at) = (Some(link.link), link.position);
            }
            at = next;
        }
        found.gap(at + 1, position + 1);
        if head.is_none() || (at == position && previous.is_some_and(|previous| previous != hash)) {
            // The head itself is gone or was changed: nothing says where the chain ends.
            found.missing_links.insert(position + 1);
        }
        let sql = "SELECT seq FROM audit WHERE seq <= $1
                     AND NOT EXISTS (SELECT 1 FROM audit_chain WHERE audit_chain.seq = audit.seq)
                   ORDER BY seq LIMIT $2";
        let most = i64::try_from(MOST_NAMED).expect("it is small");
        let inserted: Vec<(i64,)> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(last).bind(most).fetch_all(pool).await)?;
        // What was chained since the head was read was not checked: it is for the next time.
        let sql = "SELECT seq FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";
        let open: Vec<(i64,)> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(last).bind(most).fetch_all(pool).await)?;
        let named = |found: BTreeSet<i64>| found.into_iter().take(MOST_NAMED).collect::<Vec<_>>();
        let numbers = |rows: Vec<(i64,)>| rows.into_iter().map(|(seq,)| seq).collect::<Vec<_>>();
        let (altered, missing, missing_links, inserted) =
            (named(found.altered), named(found.missing), named(found.missing_links), numbers(inserted));
        Ok(AuditReport {
            intact: [&altered, &missing, &missing_links, &inserted].iter().all(|faults| faults.is_empty()),
            checked,
            position,
            hash,
            altered,
            missing,
            missing_links,
            inserted,
            not_chained: numbers(open),
        })
    }

    /// How far the log is chained; `None` before its first row is.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn audit_head(&self) -> Result<Option<AuditHead>, StorageError> {
        let sql = "SELECT position, hash FROM audit_head WHERE id = 1 AND position > 0";
        let found: Option<(i64, String)> =
            read!(&self.db, |pool| sqlx::query_as(sql).fetch_optional(pool).await)?;
        let head = |(position, hash): (i64, String)| {
            let corrupt = |_| StorageError::Corrupt {
                table: "audit_head",
                id: "1".to_owned(),
                what: "hash".to_owned(),
            };
            Ok(AuditHead { position: position.unsigned_abs(), hash: hash.parse().map_err(corrupt)? })
        };
        found.map(head).transpose()
    }

    /// The hash at a place of the chain: what was noted of it earlier can be compared with that.
    ///
    /// # Errors
    /// The database.
    pub async fn audit_hash_at(&self, position: i64) -> Result<Option<String>, StorageError> {
        let sql = "SELECT hash FROM audit_chain WHERE position = $1";
        let found: Option<(String,)> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(position).fetch_optional(pool).await)?;
        Ok(found.map(|(hash,)| hash))
    }

    async fn links(&self, after: i64, upto: i64) -> Result<Vec<Link>, StorageError> {
        let sql = "SELECT position, audit_chain.seq AS seq, hash AS link, at_ms, account, token_id, action, subject_kind,
                       subject_id, reason, detail, request_id
                   FROM audit_chain LEFT JOIN audit ON audit.seq = audit_chain.seq
                   WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3";
        Ok(read!(&self.db, |pool| {
            sqlx::query_as(sql).bind(after).bind(upto).bind(PART).fetch_all(pool).await
        })?)
    }
}

/// A place in the chain, and the row that it is of where that is there.
#[derive(FromRow)]
struct Link {
    position: i64,
    seq: i64,
    link: String,
    at_ms: Option<i64>,
    account: Option<String>,
    token_id: Option<String>,
    action: Option<String>,
    subject_kind: Option<String>,
    subject_id: Option<String>,
    reason: Option<String>,
    detail: Option<String>,
    request_id: Option<String>,
}

impl Link {
    fn row(&self) -> Option<Row> {
        Some(Row {
            seq: self.seq,
            at_ms: self.at_ms?,
            account: self.account.clone()?,
            token_id: self.token_id.clone(),
            action: self.action.clone()?,
            subject_kind: self.subject_kind.clone()?,
            subject_id: self.subject_id.clone()?,
            reason: self.reason.clone(),
            detail: self.detail.clone()?,
            request_id: self.request_id.clone(),
            hash: None,
        })
    }
}

/// What checking found so far.
#[derive(Default)]
struct Found {
    altered: BTreeSet<i64>,
    missing: BTreeSet<i64>,
    missing_links: BTreeSet<i64>,
}

impl Found {
    /// The places from `expected` up to, and not with, `found` are gone.
    fn gap(&mut self, expected: i64, found: i64) {
        let room = MOST_NAMED.saturating_sub(self.missing_links.len());
        self.missing_links.extend((expected..found).take(room));
    }
}
