//! What is signed: key sets, the parts of the index and its root, revocations. Private keys are in no table.
//!
//! Triggers write down, in the transaction of each change, which addon's part of the index changed. One replica turns that
//! into parts (`build_shard`) and a root (`store_signed`); whatever it does is right also when another does it at once.

use std::collections::{BTreeMap, BTreeSet};

use addon_client::Timestamp;
use addon_client::trust::{KeyId, ListedRelease, ListedStatus, Revocation, Severity, ShardId, ShardSummary};
use addon_descriptor::{Digest, Version};
use serde::Deserialize;
use service_kit::db::unique_violation;
use service_kit::{read, write_tx};
use sqlx::{FromRow, QueryBuilder};

use super::audit::{self, Actor, Entry};
use super::releases::{LIST_NEWEST, NO_PRECEDENT, UNLIST, parse};
use super::{Storage, StorageError, dialect};
use crate::domain::release::{Release, Status};
use crate::domain::transition::Action;

/// Releases that are read at once while a part is built.
const PART: i64 = 500;

/// How long what a part was is still served, in milliseconds: whoever has just read the root before can fetch what it means.
const SUPERSEDED_MS: i64 = 120_000;

/// The signed documents that there is one newest of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// The root of the index.
    Index,
    /// The feed of revocations.
    Revocations,
}

impl Signed {
    fn as_str(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Revocations => "revocations",
        }
    }
}

/// What is known of a signed document beside its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedDocument {
    /// Its version.
    pub version: u64,
    /// The key that signed it.
    pub keyid: KeyId,
    /// The key set that it speaks of.
    pub keys: u64,
    /// How much is in it: see [`IndexState`].
    pub covers: i64,
    /// When it was signed.
    pub created_at: Timestamp,
    /// Until when it holds.
    pub expires_at: Timestamp,
}

/// What is to be built and signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexState {
    /// There are changes that no part knows of.
    pub changes: bool,
    /// There are parts to be built.
    pub unbuilt: bool,
    /// Grows with each part that is built: what a root covers.
    pub built: i64,
    /// Number of revocations: what a feed covers.
    pub revocations: i64,
    /// Version of the newest key set; 0 where there is none.
    pub keys: u64,
}

/// What revokes a release.
#[derive(Debug, Clone, Copy)]
pub struct Revoking<'a> {
    /// Where it must stand.
    pub from: Status,
    /// What becomes of installed copies.
    pub severity: Severity,
    /// Why.
    pub reason: &'a str,
    /// The first version without the fault.
    pub fixed_in: Option<&'a Version>,
    /// Who does it.
    pub by: &'a Actor,
    /// When.
    pub now: Timestamp,
}

/// What became of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// It is in the feed.
    Done,
    /// The release does not stand where it must.
    Elsewhere,
    /// The release is revoked already, as severely or more.
    AsSevere(Severity),
}

/// Why a key set comes: a row of the audit log.
#[derive(Debug, Clone, Copy)]
pub struct KeyChange<'a> {
    /// Who.
    pub by: &'a Actor,
    /// As `key.rotate`.
    pub action: &'a str,
    /// The key that it is about.
    pub key: KeyId,
}

impl Storage {
    /// The signed key set of this version, or the newest; `None` when there is none.
    ///
    /// # Errors
    /// The database.
    pub async fn key_set(&self, version: Option<u64>) -> Result<Option<String>, StorageError> {
        let found: Option<(String,)> = match version.map(i64::try_from) {
            None => {
                let sql = "SELECT envelope FROM key_sets ORDER BY version DESC LIMIT 1";
                read!(&self.db, |pool| sqlx::query_as(sql).fetch_optional(pool).await)?
            }
            Some(Ok(version)) => {
                let sql = "SELECT envelope FROM key_sets WHERE version = $1";
                read!(&self.db, |pool| sqlx::query_as(sql).bind(version).fetch_optional(pool).await)?
            }
            Some(Err(_)) => None,
        };
        Ok(found.map(|(envelope,)| envelope))
    }

    /// Adds the next key set. `false` when somebody else added one of this version.
    ///
    /// # Errors
    /// The database.
    pub async fn add_key_set(
        &self,
        version: u64,
        envelope: &str,
        change: KeyChange<'_>,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        match self.insert_key_set(number(version), envelope, change, now).await {
            Ok(()) => Ok(true),
            Err(StorageError::Database(error))
                if unique_violation(&error).as_deref() == Some("key_sets_pkey") =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn insert_key_set(
        &self,
        version: i64,
        envelope: &str,
        change: KeyChange<'_>,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let id = change.key.to_string();
        write_tx!(&self.db, |tx| {
            let sql = "INSERT INTO key_sets (version, envelope, created_at_ms) VALUES ($1, $2, $3)";
            sqlx::query(sql).bind(version).bind(envelope).bind(now.millis()).execute(&mut *tx).await?;
            let detail = serde_json::json!({"key_set": version});
            audit::record(&mut *tx, &Entry::new(now, change.by, change.action, "key", &id).with(detail))
                .await?;
        });
        Ok(())
    }

    /// What is known of the newest signed document of a kind.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn signed(&self, kind: Signed) -> Result<Option<SignedDocument>, StorageError> {
        let sql =
            "SELECT kind, version, keyid, keys, covers, created_at_ms, expires_at_ms FROM signed_documents
                   WHERE kind = $1";
        let row: Option<SignedRow> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(kind.as_str()).fetch_optional(pool).await)?;
        row.map(SignedRow::document).transpose()
    }

    /// The envelope of the newest signed document of a kind, and its digest.
    ///
    /// # Errors
    /// The database.
    pub async fn envelope(&self, kind: Signed) -> Result<Option<(String, String)>, StorageError> {
        let sql = "SELECT digest, envelope FROM signed_documents WHERE kind = $1";
        Ok(read!(&self.db, |pool| sqlx::query_as(sql).bind(kind.as_str()).fetch_optional(pool).await)?)
    }

    /// The digest of that envelope alone.
    ///
    /// # Errors
    /// The database.
    pub async fn envelope_digest(&self, kind: Signed) -> Result<Option<String>, StorageError> {
        let sql = "SELECT digest FROM signed_documents WHERE kind = $1";
        let found: Option<(String,)> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(kind.as_str()).fetch_optional(pool).await)?;
        Ok(found.map(|(digest,)| digest))
    }

    /// Stores a document that was signed after the one of version `previous` (0: the first). `false`, and nothing is
    /// stored, when another came between.
    ///
    /// # Errors
    /// The database.
    pub async fn store_signed(
        &self,
        kind: Signed,
        previous: u64,
        document: &SignedDocument,
        envelope: &str,
    ) -> Result<bool, StorageError> {
        let sql = "INSERT INTO signed_documents (kind, version, envelope, digest, keyid, keys, covers, created_at_ms, expires_at_ms)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                   ON CONFLICT (kind) DO UPDATE SET version = excluded.version, envelope = excluded.envelope,
                       digest = excluded.digest, keyid = excluded.keyid, keys = excluded.keys, covers = excluded.covers,
                       created_at_ms = excluded.created_at_ms, expires_at_ms = excluded.expires_at_ms
                   WHERE signed_documents.version = $10";
        Ok(write_tx!(&self.db, |tx| {
            let done = sqlx::query(sql)
                .bind(kind.as_str())
                .bind(number(document.version))
                .bind(envelope)
                .bind(Digest::of(envelope.as_bytes()).to_string())
                .bind(document.keyid.to_string())
                .bind(number(document.keys))
                .bind(document.covers)
                .bind(document.created_at.millis())
                .bind(document.expires_at.millis())
                .bind(number(previous))
                .execute(&mut *tx)
                .await?;
            if done.rows_affected() == 1 && kind == Signed::Index {
                let now = document.created_at.millis();
                let sql = "UPDATE index_contents SET superseded_at_ms = $1 WHERE superseded_at_ms IS NULL
                           AND NOT EXISTS (SELECT 1 FROM index_shards WHERE index_shards.digest = index_contents.digest)";
                sqlx::query(sql).bind(now).execute(&mut *tx).await?;
                // A time ahead of now is of a clock that was put back.
                let sql = "DELETE FROM index_contents WHERE superseded_at_ms < $1 OR superseded_at_ms > $2";
                let (from, to) = (now - SUPERSEDED_MS, now + SUPERSEDED_MS);
                sqlx::query(sql).bind(from).bind(to).execute(&mut *tx).await?;
            }
            done.rows_affected() == 1
        }))
    }

    /// What is to be built and signed.
    ///
    /// # Errors
    /// The database.
    pub async fn index_state(&self) -> Result<IndexState, StorageError> {
        let sql = "SELECT (SELECT COUNT(*) FROM (SELECT seq FROM index_changes LIMIT 1) AS first),
                          (SELECT COUNT(*) FROM index_shards WHERE changed <> built),
                          (SELECT CAST(COALESCE(SUM(built), 0) AS BIGINT) FROM index_shards),
                          (SELECT last FROM revocation_count),
                          (SELECT COALESCE(MAX(version), 0) FROM key_sets)";
        let (changes, unbuilt, built, revocations, keys): (i64, i64, i64, i64, i64) =
            read!(&self.db, |pool| sqlx::query_as(sql).fetch_one(pool).await)?;
        Ok(IndexState {
            changes: changes > 0,
            unbuilt: unbuilt > 0,
            built,
            revocations,
            keys: keys.unsigned_abs(),
        })
    }

    /// Takes up at most so many changes: the parts that they belong to are to be built. Answers how many there were.
    ///
    /// # Errors
    /// The database.
    pub async fn take_index_changes(&self, most: u32) -> Result<usize, StorageError> {
        Ok(write_tx!(&self.db, |tx| {
            let sql = "DELETE FROM index_changes
                       WHERE seq IN (SELECT seq FROM index_changes ORDER BY seq LIMIT $1) RETURNING addon";
            let changed: Vec<(String,)> =
                sqlx::query_as(sql).bind(i64::from(most)).fetch_all(&mut *tx).await?;
            let addons: BTreeMap<&str, i64> = changed
                .iter()
                .map(|(addon,)| (addon.as_str(), i64::from(ShardId::of(addon).number())))
                .collect();
            if !addons.is_empty() {
                let mut sql = QueryBuilder::new("INSERT INTO index_addons (addon, shard) ");
                sql.push_values(&addons, |mut row, (addon, shard)| {
                    row.push_bind(*addon).push_bind(*shard);
                });
                sql.push(" ON CONFLICT (addon) DO NOTHING");
                sql.build().persistent(false).execute(&mut *tx).await?;
                let shards: BTreeSet<i64> = addons.values().copied().collect();
                let mut sql = QueryBuilder::new("INSERT INTO index_shards (shard, changed, built) ");
                sql.push_values(shards, |mut row, shard| {
                    row.push_bind(shard).push("1, 0");
                });
                sql.push(" ON CONFLICT (shard) DO UPDATE SET changed = index_shards.changed + 1");
                sql.build().persistent(false).execute(&mut *tx).await?;
            }
            changed.len()
        }))
    }

    /// The parts that are to be built, each with the count of its changes.
    ///
    /// # Errors
    /// The database.
    pub async fn unbuilt_shards(&self) -> Result<Vec<(ShardId, i64)>, StorageError> {
        let sql = "SELECT shard, changed FROM index_shards WHERE changed <> built ORDER BY shard";
        let rows: Vec<(i64, i64)> = read!(&self.db, |pool| sqlx::query_as(sql).fetch_all(pool).await)?;
        rows.into_iter().map(|(shard, changed)| Ok((shard_id(shard)?, changed))).collect()
    }

    /// Builds a part as it is after this many changes of it. `false`, and nothing is stored, when there are more by now.
    ///
    /// Takes memory for one part. Its releases are read in pieces, so one that changes meanwhile may be there as it was or
    /// as it is: its change is written down, and the part is built again.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn build_shard(&self, shard: ShardId, changed: i64) -> Result<bool, StorageError> {
        let sql = "SELECT releases.addon AS addon, name, version, version_order, id, digest, status, pins
                   FROM index_addons JOIN releases ON releases.addon = index_addons.addon
                   WHERE index_addons.shard = $1 AND index_addons.addon >= $2
                     AND (index_addons.addon > $2 OR version_order > $3)
                     AND status IN ('approved', 'yanked', 'revoked')
                   ORDER BY index_addons.addon, version_order LIMIT $4";
        let (mut content, mut entries) = (String::new(), 0_i64);
        let mut place = (String::new(), String::new());
        loop {
            let rows: Vec<ListedRow> = read!(&self.db, |pool| {
                let query = sqlx::query_as(sql).bind(i64::from(shard.number()));
                query.bind(&place.0).bind(&place.1).bind(PART).fetch_all(pool).await
            })?;
            let Some(last) = rows.last() else { break };
            place = (last.addon.clone(), last.version_order.clone());
            for row in rows {
                let line = serde_json::to_string(&row.listed()?).expect("a line has text keys only");
                content.push_str(&line);
                content.push('\n');
                entries += 1;
            }
        }
        let digest = (entries > 0).then(|| Digest::of(content.as_bytes()).to_string());
        let bytes = i64::try_from(content.len()).expect("a text fits the memory");
        Ok(write_tx!(&self.db, |tx| {
            let sql = "UPDATE index_shards SET built = changed, digest = $3, bytes = $4, entries = $5
                       WHERE shard = $1 AND changed = $2";
            let done = sqlx::query(sql)
                .bind(i64::from(shard.number()))
                .bind(changed)
                .bind(&digest)
                .bind(bytes)
                .bind(entries)
                .execute(&mut *tx)
                .await?;
            if done.rows_affected() == 1 && digest.is_some() {
                let sql = "INSERT INTO index_contents (digest, content) VALUES ($1, $2)
                           ON CONFLICT (digest) DO UPDATE SET superseded_at_ms = NULL";
                sqlx::query(sql).bind(&digest).bind(&content).execute(&mut *tx).await?;
            }
            done.rows_affected() == 1
        }))
    }

    /// The parts as they are, in order, those without releases left out; and what a root over them covers.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn shards(&self) -> Result<(Vec<ShardSummary>, i64), StorageError> {
        let sql = "SELECT shard, built, digest, bytes, entries FROM index_shards ORDER BY shard";
        let rows: Vec<(i64, i64, Option<String>, i64, i64)> =
            read!(&self.db, |pool| sqlx::query_as(sql).fetch_all(pool).await)?;
        let covers = rows.iter().map(|(_, built, ..)| built).sum();
        let summaries = rows.into_iter().filter_map(|(shard, _, digest, bytes, entries)| {
            let digest = digest?;
            let summary = || {
                Ok(ShardSummary {
                    shard: shard_id(shard)?,
                    digest: digest.parse().map_err(|_| corrupt("index_shards", &shard, "digest"))?,
                    bytes: bytes.unsigned_abs(),
                    entries: entries.unsigned_abs(),
                })
            };
            Some(summary())
        });
        Ok((summaries.collect::<Result<_, StorageError>>()?, covers))
    }

    /// The content of a part as it is; or of this digest, where some part has it or had it a moment ago.
    ///
    /// # Errors
    /// The database.
    pub async fn shard_content(
        &self,
        shard: ShardId,
        digest: Option<Digest>,
    ) -> Result<Option<(String, String)>, StorageError> {
        let shard = i64::from(shard.number());
        Ok(match digest {
            Some(digest) => {
                let sql = "SELECT digest, content FROM index_contents WHERE digest = $1";
                let digest = digest.to_string();
                read!(&self.db, |pool| sqlx::query_as(sql).bind(&digest).fetch_optional(pool).await)?
            }
            None => {
                let sql = "SELECT index_contents.digest, content FROM index_shards
                           JOIN index_contents ON index_contents.digest = index_shards.digest WHERE shard = $1";
                read!(&self.db, |pool| sqlx::query_as(sql).bind(shard).fetch_optional(pool).await)?
            }
        })
    }

    /// Revokes a release, for good, with the next place in the feed; one that is revoked already, only with a higher severity.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn revoke(&self, release: &Release, revoking: Revoking<'_>) -> Result<Revoked, StorageError> {
        let Revoking { from, severity, reason, fixed_in, by, now } = revoking;
        let id = release.id.to_string();
        let done = write_tx!(&self.db, |tx| {
            if let Some(lock) = dialect::lock_addon(&self.db) {
                sqlx::query(lock).bind(&release.addon).execute(&mut *tx).await?;
            }
            let sql = "SELECT severity FROM revocations WHERE release_id = $1";
            let severities: Vec<(String,)> = sqlx::query_as(sql).bind(&id).fetch_all(&mut *tx).await?;
            let known = severities.iter().map(|(severity,)| {
                Severity::from_wire(severity).ok_or_else(|| corrupt("revocations", &id, "severity"))
            });
            let known: Vec<Severity> = known.collect::<Result<_, _>>()?;
            let as_severe = known.into_iter().max().filter(|known| *known >= severity);
            let sql = "UPDATE releases SET status = 'revoked', held = '[]', reason = $4, decided_by = $5, changed_at_ms = $6
                       WHERE id = $1 AND status = $2 AND digest = $3 AND $7 = 0";
            let done = sqlx::query(sql)
                .bind(&id)
                .bind(from.as_str())
                .bind(release.digest.to_string())
                .bind(reason)
                .bind(by.account())
                .bind(now.millis())
                .bind(i64::from(as_severe.is_some()))
                .execute(&mut *tx)
                .await?;
            if done.rows_affected() == 1 {
                // One after the other, and a place whose transaction does not commit is the next one's.
                let sql = "UPDATE revocation_count SET last = last + 1 WHERE id = 1 RETURNING last";
                let (sequence,): (i64,) = sqlx::query_as(sql).fetch_one(&mut *tx).await?;
                let sql = "INSERT INTO revocations (sequence, release_id, name, version, digest, severity, reason, fixed_in,
                               revoked_by, revoked_at_ms)
                           SELECT $2, id, name, version, digest, $3, $4, $5, $6, $7 FROM releases WHERE id = $1";
                sqlx::query(sql)
                    .bind(&id)
                    .bind(sequence)
                    .bind(severity.as_str())
                    .bind(reason)
                    .bind(fixed_in.map(Version::to_string))
                    .bind(by.account())
                    .bind(now.millis())
                    .execute(&mut *tx)
                    .await?;
                if from == Status::Revoked {
                    // Triggers tell of changed statuses, and this one has stayed.
                    let sql = "INSERT INTO event_inbox (kind, release_id, name, version, digest, reason)
                               SELECT 'revoked', id, name, version, digest, reason FROM releases WHERE id = $1";
                    sqlx::query(sql).bind(&id).execute(&mut *tx).await?;
                }
                let detail = serde_json::json!({
                    "addon": release.addon, "version": release.version, "digest": release.digest,
                    "from": from, "to": Status::Revoked, "severity": severity, "fixed_in": fixed_in, "sequence": sequence,
                });
                let entry = Entry::new(now, by, Action::Revoke.audited(), "release", &id);
                audit::record(&mut *tx, &entry.because(Some(reason)).with(detail)).await?;
                let sql = "DELETE FROM verification_jobs WHERE release_id = $1";
                sqlx::query(sql).bind(&id).execute(&mut *tx).await?;
                sqlx::query(NO_PRECEDENT).bind(&release.addon).bind(&id).execute(&mut *tx).await?;
                sqlx::query(UNLIST).bind(&release.addon).execute(&mut *tx).await?;
                sqlx::query(LIST_NEWEST).bind(&release.addon).execute(&mut *tx).await?;
            }
            match as_severe {
                Some(known) => Revoked::AsSevere(known),
                None if done.rows_affected() == 1 => Revoked::Done,
                None => Revoked::Elsewhere,
            }
        });
        self.changed(release.id, done == Revoked::Done);
        Ok(done)
    }

    /// Every revocation, in order.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn revocations(&self) -> Result<Vec<Revocation>, StorageError> {
        let sql =
            "SELECT sequence, release_id, name, version, digest, severity, reason, fixed_in, revoked_at_ms
                   FROM revocations ORDER BY sequence";
        let rows: Vec<RevocationRow> = read!(&self.db, |pool| sqlx::query_as(sql).fetch_all(pool).await)?;
        rows.into_iter().map(RevocationRow::revocation).collect()
    }
}

#[derive(FromRow)]
struct SignedRow {
    kind: String,
    version: i64,
    keyid: String,
    keys: i64,
    covers: i64,
    created_at_ms: i64,
    expires_at_ms: i64,
}

impl SignedRow {
    fn document(self) -> Result<SignedDocument, StorageError> {
        Ok(SignedDocument {
            version: self.version.unsigned_abs(),
            keyid: self.keyid.parse().map_err(|_| corrupt("signed_documents", &self.kind, "keyid"))?,
            keys: self.keys.unsigned_abs(),
            covers: self.covers,
            created_at: Timestamp::from_millis(self.created_at_ms),
            expires_at: Timestamp::from_millis(self.expires_at_ms),
        })
    }
}

#[derive(FromRow)]
struct ListedRow {
    addon: String,
    name: String,
    version: String,
    version_order: String,
    id: String,
    digest: String,
    status: String,
    pins: String,
}

/// Of a pin, what stands in the index.
#[derive(Deserialize)]
struct PinnedImage {
    digest: Digest,
}

impl ListedRow {
    fn listed(self) -> Result<ListedRelease, StorageError> {
        let fault = |what: &str| corrupt("releases", &self.id, what);
        let pins: Vec<PinnedImage> = parse("pins", &self.id, &self.pins)?;
        Ok(ListedRelease {
            digest: self.digest.parse().map_err(|_| fault("digest"))?,
            id: self.id.parse().map_err(|_| fault("id"))?,
            images: pins.into_iter().map(|pin| pin.digest).collect(),
            name: self.name.parse().map_err(|_| fault("name"))?,
            status: match self.status.as_str() {
                "approved" => ListedStatus::Approved,
                "yanked" => ListedStatus::Yanked,
                "revoked" => ListedStatus::Revoked,
                _ => return Err(fault("status")),
            },
            version: self.version.parse().map_err(|_| fault("version"))?,
        })
    }
}

#[derive(FromRow)]
struct RevocationRow {
    sequence: i64,
    release_id: String,
    name: String,
    version: String,
    digest: String,
    severity: String,
    reason: String,
    fixed_in: Option<String>,
    revoked_at_ms: i64,
}

impl RevocationRow {
    fn revocation(self) -> Result<Revocation, StorageError> {
        let fault = |what: &str| corrupt("revocations", &self.sequence, what);
        let fixed_in = self.fixed_in.as_deref().map(str::parse).transpose();
        Ok(Revocation {
            sequence: self.sequence.unsigned_abs(),
            addon: self.name.parse().map_err(|_| fault("name"))?,
            version: self.version.parse().map_err(|_| fault("version"))?,
            release_id: self.release_id.parse().map_err(|_| fault("release_id"))?,
            digest: self.digest.parse().map_err(|_| fault("digest"))?,
            severity: Severity::from_wire(&self.severity).ok_or_else(|| fault("severity"))?,
            fixed_in: fixed_in.map_err(|_| fault("fixed_in"))?,
            revoked_at: Timestamp::from_millis(self.revoked_at_ms),
            reason: self.reason,
        })
    }
}

fn shard_id(number: i64) -> Result<ShardId, StorageError> {
    u8::try_from(number).map(ShardId::from).map_err(|_| corrupt("index_shards", &number, "shard"))
}

fn corrupt(table: &'static str, id: &impl ToString, what: &str) -> StorageError {
    StorageError::Corrupt { table, id: id.to_string(), what: what.to_owned() }
}

/// A number as the databases have them.
fn number(version: u64) -> i64 {
    i64::try_from(version).expect("versions are counted up from 1")
}
