//! Publishing: a document becomes a release, with its place in the verification queue, in one transaction.
//!
//! A commit costs a write to the disk, and each statement a way to the server and back: documents that arrive while one
//! commit is under way share the next one, and its statements. Each has its own answer, and nobody is told before the commit
//! that holds their document.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use addon_client::{Finding, ReleaseId, Timestamp, Verdict};
use addon_descriptor::{AddonDescriptor, Digest, Version};
use service_kit::db::{Db, unique_violation};
use service_kit::write_tx;
use sqlx::{AssertSqlSafe, QueryBuilder};
use tokio::sync::{Mutex, mpsc, oneshot};

use service_kit::audit::{self, Actor, Entry};

use super::limits::take_in;
use super::queue::{Purpose, enqueue, turn_end, turn_of};
use super::releases::{Row, detail, digest_of, json, select, version_of};
use super::{Storage, StorageError, dialect};
use crate::domain::addon::next_version;
use crate::domain::limits::{Kind, Limited, Limits};
use crate::domain::release::{Document, Release, Status};

/// What is inserted when a document is published.
#[derive(Debug, Clone)]
pub struct NewRelease {
    id: ReleaseId,
    addon: String,
    name: String,
    skeleton: String,
    descriptor: AddonDescriptor,
    versioned: bool,
    /// With the document's own version, or the one that it gets if it is the first of its addon.
    first: Document,
    warnings: Vec<Finding>,
    actor: Actor,
    now: Timestamp,
    limits: Option<Limits>,
}

impl NewRelease {
    /// What an account publishes now; `skeleton` is the form in which names that look alike are equal. The id is its own if
    /// it becomes a release.
    pub fn new(
        id: ReleaseId,
        descriptor: AddonDescriptor,
        skeleton: String,
        warnings: Vec<Finding>,
        actor: Actor,
        now: Timestamp,
    ) -> Self {
        let version =
            descriptor.version.clone().or_else(|| next_version(None)).expect("there is a first version");
        Self {
            id,
            addon: descriptor.name.folded(),
            name: descriptor.name.to_string(),
            skeleton,
            versioned: descriptor.version.is_some(),
            first: Document::of(&descriptor, version),
            descriptor,
            warnings,
            actor,
            now,
            limits: None,
        }
    }

    fn entry<'a>(&'a self, action: &'a str, id: &'a str, release: &Release) -> Entry<'a> {
        Entry::new(self.now, &self.actor, action, "release", id).with(detail(release, None))
    }

    fn document(&self, version: Version) -> Document {
        if version == self.first.version {
            self.first.clone()
        } else {
            Document::of(&self.descriptor, version)
        }
    }

    /// The release as it stands in the database once it is inserted at this place.
    fn release(&self, document: Document, seq: i64) -> Release {
        Release {
            id: self.id,
            seq,
            addon: self.addon.clone(),
            version: document.version,
            digest: document.digest,
            wire: document.wire,
            rights: document.rights,
            risk: document.risk,
            warnings: self.warnings.clone(),
            publisher: self.actor.account().to_owned(),
            created_at: self.now,
            status: Status::UnderReview,
            verdict: Verdict::Pending,
            held: Vec::new(),
            pins: Vec::new(),
            reason: None,
            approved_at: None,
            yanked_by_admin: false,
            waiting_since: None,
            image_missing_since: None,
        }
    }
}

/// What publishing came to.
#[derive(Debug)]
pub enum Published {
    /// A release that was not there before.
    New(Release),
    /// The same document was there already.
    Existing(Release),
    /// It was there, had failed, and is under review again.
    Again(Release),
}

/// Why a document did not become a release.
#[derive(Debug, thiserror::Error)]
pub enum InsertError {
    /// The database.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The addon exists under another spelling.
    #[error("the name is taken by {existing}")]
    NameTaken {
        /// The spelling that is there.
        existing: String,
    },
    /// The version has, or had, another document.
    #[error("the version has another document")]
    VersionTaken {
        /// The digest that it has.
        digest: Digest,
        /// It was deleted.
        deleted: bool,
    },
    /// The name belongs to others.
    #[error("the name belongs to others")]
    NotOwner,
    /// Too much at once.
    #[error(transparent)]
    Limited(Limited),
    /// There is no number left for a next version.
    #[error("there is no version after the highest one")]
    NoVersionLeft,
}

impl From<sqlx::Error> for InsertError {
    fn from(error: sqlx::Error) -> Self {
        Self::Storage(error.into())
    }
}

/// Times that a version is chosen anew because somebody was faster.
const MAX_RACES: u32 = 8;

/// Most documents of one commit: what comes after them waits no longer than these take.
const MAX_BATCH: usize = 64;

/// Commits at once on PostgreSQL, which writes to the disk once for those that come together.
const LANES: usize = 3;

/// Documents that may wait for a commit; more wait outside.
const QUEUE: usize = 1024;

/// What becomes of a document.
enum Next {
    /// A release, with what it is inserted with.
    Insert(Box<Document>),
    /// It is done.
    Done(Box<Published>),
}

/// Works out what becomes of a document of an addon that was there before, in a transaction of either database; gives a
/// `Result<Next, InsertError>`. Nothing is written for one that is refused.
macro_rules! decide_in {
    ($tx:ident, $new:expr) => {
        async {
            let new: &NewRelease = $new;
            let now = new.now.millis();
            let (document, there): (Document, Option<Row>) = if new.versioned {
                let document = new.first.clone();
                let there: Option<Row> = sqlx::query_as(select!("WHERE addon = $1 AND version_id = $2"))
                    .bind(&new.addon)
                    .bind(&document.version_id)
                    .fetch_optional(&mut *$tx)
                    .await?;
                (document, there)
            } else {
                let newest: Option<Row> =
                    sqlx::query_as(select!("WHERE addon = $1 ORDER BY version_order DESC LIMIT 1"))
                        .bind(&new.addon)
                        .fetch_optional(&mut *$tx)
                        .await?;
                let deleted: Option<(String,)> = sqlx::query_as(
                    "SELECT version FROM tombstones WHERE addon = $1 ORDER BY version_order DESC LIMIT 1",
                )
                .bind(&new.addon)
                .fetch_optional(&mut *$tx)
                .await?;
                let deleted = deleted.map(|(version,)| version_of(&new.addon, &version)).transpose()?;
                let highest = newest.as_ref().map(|row| version_of(&row.id, &row.version)).transpose()?;
                let same = highest.clone().map(|version| new.document(version));
                match (same, newest) {
                    (Some(same), Some(newest)) if same.digest.to_string() == newest.digest => {
                        (same, Some(newest))
                    }
                    _ => {
                        let next =
                            next_version(highest.max(deleted).as_ref()).ok_or(InsertError::NoVersionLeft)?;
                        (new.document(next), None)
                    }
                }
            };

            let digest = document.digest.to_string();
            Ok::<Next, InsertError>(match there {
                Some(row) if row.digest != digest => {
                    let digest = row.release()?.digest;
                    Err(InsertError::VersionTaken { digest, deleted: false })?
                }
                Some(row) if row.status == Status::VerificationFailed.as_str() => {
                    if let Some(limited) = take_in!($tx, &new.actor, new.limits, Kind::NewVersion, now) {
                        Err(InsertError::Limited(limited))?;
                    }
                    let sql =
                        "UPDATE releases SET status = 'under_review', verdict = 'pending', reason = NULL,
                                   changed_at_ms = $2 WHERE id = $1";
                    sqlx::query(sql).bind(&row.id).bind(now).execute(&mut *$tx).await?;
                    sqlx::query(concat!(enqueue!(), " ON CONFLICT (release_id) DO NOTHING"))
                        .bind(&row.id)
                        .bind(Purpose::Review.as_str())
                        .bind(now)
                        // A failed one can be posted again by another account: whose queue it is in follows the release.
                        .bind(&row.publisher)
                        .execute(&mut *$tx)
                        .await?;
                    let release = row.release()?;
                    let id = release.id.to_string();
                    audit::record(&mut *$tx, &new.entry("release.repost", &id, &release)).await?;
                    let (status, verdict) = (Status::UnderReview, Verdict::Pending);
                    Next::Done(Box::new(Published::Again(Release {
                        status,
                        verdict,
                        reason: None,
                        ..release
                    })))
                }
                Some(row) => Next::Done(Box::new(Published::Existing(row.release()?))),
                None => {
                    let deleted: Option<(String,)> =
                        sqlx::query_as("SELECT digest FROM tombstones WHERE addon = $1 AND version_id = $2")
                            .bind(&new.addon)
                            .bind(&document.version_id)
                            .fetch_optional(&mut *$tx)
                            .await?;
                    if let Some((other,)) = deleted.filter(|(other,)| *other != digest) {
                        let digest = digest_of(&new.addon, &other)?;
                        Err(InsertError::VersionTaken { digest, deleted: true })?;
                    }
                    if let Some(limited) = take_in!($tx, &new.actor, new.limits, Kind::NewVersion, now) {
                        Err(InsertError::Limited(limited))?;
                    }
                    Next::Insert(Box::new(document))
                }
            })
        }
        .await
    };
}

/// Publishes documents of different addons in a transaction of either database; gives a
/// `Result<Vec<Result<Published, InsertError>>, StorageError>`, in their order. What each needs written is written for all of
/// them by one statement. What a refused document has written by then is only that its addon was looked at, so it need not
/// be rolled back.
///
/// Rows that others may hold are taken in one order by everybody: buckets of new names by account, addons by name, buckets of
/// new versions by account. So two commits at once never wait for each other in a ring.
macro_rules! publish_in {
    ($tx:ident, $db:expr, $news:expr) => {
        async {
            let (db, news): (&Db, &[&NewRelease]) = ($db, $news);
            let mut done: Vec<Option<Result<Published, InsertError>>> = news.iter().map(|_| None).collect();
            let mut by_account: Vec<usize> = (0..news.len()).collect();
            by_account.sort_by_key(|at| news[*at].actor.account());

            let addons: Vec<&str> = news.iter().map(|new| new.addon.as_str()).collect();
            let sql = format!("SELECT addon FROM addons WHERE addon IN ({})", dialect::TEXTS.of(db));
            let known: Vec<(String,)> =
                sqlx::query_as(AssertSqlSafe(sql)).bind(json(&addons)).fetch_all(&mut *$tx).await?;
            let known: HashSet<String> = known.into_iter().map(|(addon,)| addon).collect();
            // Before anything is written: what is refused here leaves nothing in a commit that others share.
            for at in &by_account {
                let new = news[*at];
                if !known.contains(&new.addon)
                    && let Some(limited) =
                        take_in!($tx, &new.actor, new.limits, Kind::NewName, new.now.millis())
                {
                    done[*at] = Some(Err(InsertError::Limited(limited)));
                }
            }

            // The rows of the addons are locked by this: on PostgreSQL too, publishing is serial for one name.
            let mut by_addon: Vec<usize> =
                by_account.iter().copied().filter(|at| done[*at].is_none()).collect();
            by_addon.sort_by_key(|at| &news[*at].addon);
            let mut names: HashMap<String, (String, String)> = HashMap::new();
            if !by_addon.is_empty() {
                let mut sql = QueryBuilder::new(
                    "INSERT INTO addons (addon, name, skeleton, owner, created_at_ms, changed_at_ms) ",
                );
                sql.push_values(&by_addon, |mut row, at| {
                    let new = news[*at];
                    row.push_bind(&new.addon).push_bind(&new.name).push_bind(&new.skeleton);
                    row.push_bind(new.actor.account()).push_bind(new.now.millis()).push_bind(new.now.millis());
                });
                sql.push(
                    " ON CONFLICT (addon) DO UPDATE SET changed_at_ms = excluded.changed_at_ms RETURNING addon, name, owner",
                );
                let rows: Vec<(String, String, String)> =
                    sql.build_query_as().persistent(false).fetch_all(&mut *$tx).await?;
                names.extend(rows.into_iter().map(|(addon, name, owner)| (addon, (name, owner))));
            }
            // Of two who were first at once on PostgreSQL, the row of the addon names one.
            let is_first = |new: &NewRelease| {
                !known.contains(&new.addon)
                    && names.get(&new.addon).is_some_and(|(_, owner)| owner == new.actor.account())
            };
            let mut inserts: Vec<(usize, Box<Document>)> = Vec::new();
            for at in by_account {
                let new = news[at];
                if done[at].is_some() {
                    continue;
                }
                if let Some((name, _)) = names.get(&new.addon).filter(|(name, _)| *name != new.name) {
                    done[at] = Some(Err(InsertError::NameTaken { existing: name.clone() }));
                    continue;
                }
                if is_first(new) {
                    inserts.push((at, Box::new(new.first.clone())));
                    continue;
                }
                if !new.actor.is_administrator() {
                    let owner: Option<(i64,)> = sqlx::query_as(
                        "SELECT CAST(1 AS BIGINT) FROM owners WHERE addon = $1 AND account = $2",
                    )
                    .bind(&new.addon)
                    .bind(new.actor.account())
                    .fetch_optional(&mut *$tx)
                    .await?;
                    if owner.is_none() {
                        done[at] = Some(Err(InsertError::NotOwner));
                        continue;
                    }
                }
                match decide_in!($tx, new) {
                    Ok(Next::Insert(document)) => inserts.push((at, document)),
                    Ok(Next::Done(published)) => done[at] = Some(Ok(*published)),
                    Err(InsertError::Storage(error)) => return Err(error),
                    Err(refused) => done[at] = Some(Err(refused)),
                }
            }

            if !inserts.is_empty() {
                // In the order in which they came: lists and turns go by it.
                inserts.sort_by_key(|(at, _)| *at);
                let first: Vec<&NewRelease> =
                    inserts.iter().map(|(at, _)| news[*at]).filter(|new| is_first(new)).collect();
                if !first.is_empty() {
                    let mut sql =
                        QueryBuilder::new("INSERT INTO owners (addon, account, added_by, added_at_ms) ");
                    sql.push_values(first, |mut row, new| {
                        row.push_bind(&new.addon).push_bind(new.actor.account());
                        row.push_bind(new.actor.account()).push_bind(new.now.millis());
                    });
                    sql.push(" ON CONFLICT (addon, account) DO NOTHING");
                    sql.build().persistent(false).execute(&mut *$tx).await?;
                }
                let mut sql = QueryBuilder::new(
                    "INSERT INTO releases (id, addon, name, version, version_id, version_order, version_rank, digest,
                         canonical, wire, rights, risk, warnings, publisher, created_at_ms, changed_at_ms, status, verdict,
                         held, pins) ",
                );
                sql.push_values(&inserts, |mut row, (at, document)| {
                    let new = news[*at];
                    row.push_bind(new.id.to_string()).push_bind(&new.addon).push_bind(&new.name);
                    row.push_bind(document.version.to_string()).push_bind(&document.version_id);
                    row.push_bind(&document.version_order).push_bind(&document.version_rank);
                    row.push_bind(document.digest.to_string()).push_bind(&document.canonical);
                    row.push_bind(document.wire.text()).push_bind(json(&document.rights));
                    row.push_bind(i64::from(document.risk)).push_bind(json(&new.warnings));
                    row.push_bind(new.actor.account());
                    row.push_bind(new.now.millis()).push_bind(new.now.millis());
                    row.push("'under_review', 'pending', '[]', '[]'");
                });
                sql.push(" RETURNING id, seq");
                let rows: Vec<(String, i64)> =
                    sql.build_query_as().persistent(false).fetch_all(&mut *$tx).await?;
                let seqs: HashMap<String, i64> = rows.into_iter().collect();
                // One after the other of the same publisher: `enqueue` says how a turn is chosen.
                let mut ahead: HashMap<&str, i64> = HashMap::new();
                let mut sql = QueryBuilder::new(
                    "INSERT INTO verification_jobs (release_id, purpose, due_at_ms, attempts, publisher, turn) ",
                );
                sql.push_values(&inserts, |mut row, (at, _)| {
                    let new = news[*at];
                    let ahead = ahead.entry(new.actor.account()).or_default();
                    row.push_bind(new.id.to_string()).push_bind(Purpose::Review.as_str());
                    row.push_bind(new.now.millis()).push("0").push_bind(new.actor.account());
                    row.push(concat!(turn_of!(), "=")).push_bind_unseparated(new.actor.account());
                    row.push_unseparated(turn_end!()).push_unseparated(" + ").push_bind_unseparated(*ahead);
                    *ahead += 1;
                });
                sql.build().persistent(false).execute(&mut *$tx).await?;
                let mut published: Vec<(usize, String, Release)> = Vec::with_capacity(inserts.len());
                for (at, document) in inserts {
                    let id = news[at].id.to_string();
                    let seq = *seqs.get(&id).expect("each row that is inserted comes back");
                    published.push((at, id, news[at].release(*document, seq)));
                }
                let entries: Vec<Entry<'_>> = published
                    .iter()
                    .map(|(at, id, release)| news[*at].entry("release.publish", id, release))
                    .collect();
                audit::record_all(&mut *$tx, &entries).await?;
                for (at, _, release) in published {
                    done[at] = Some(Ok(Published::New(release)));
                }
            }
            let done = done.into_iter().map(|done| done.expect("each document has an answer by now"));
            Ok::<Vec<Result<Published, InsertError>>, StorageError>(done.collect())
        }
        .await
    };
}

impl Storage {
    /// Publishes a document.
    ///
    /// # Errors
    /// See [`InsertError`].
    pub async fn publish(&self, new: NewRelease) -> Result<Published, InsertError> {
        let new = Arc::new(NewRelease { limits: self.limits, ..new });
        let mut races = 0;
        loop {
            match self.publications.publish(Arc::clone(&new)).await {
                Err(InsertError::Storage(StorageError::Database(error)))
                    if races < MAX_RACES
                        && unique_violation(&error).as_deref() == Some("releases_addon_version_id_key") =>
                {
                    races += 1;
                }
                done => {
                    match &done {
                        Ok(Published::Again(release)) => self.changed(release.id, false),
                        // No answer was made of it yet; but whoever verifies is to look.
                        Ok(Published::New(_)) => self.caller.call(),
                        _ => (),
                    }
                    return done;
                }
            }
        }
    }
}

/// The way to the tasks that publish. Cheap to clone; the tasks end with the last of them.
#[derive(Clone)]
pub(super) struct Publications(mpsc::Sender<Waiting>);

struct Waiting {
    new: Arc<NewRelease>,
    answer: oneshot::Sender<Result<Published, InsertError>>,
}

impl Publications {
    pub(super) fn start(db: &Db) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let receiver = Arc::new(Mutex::new(receiver));
        let lanes = match db {
            Db::Sqlite { .. } => 1,
            Db::Postgres(_) => LANES,
        };
        for _ in 0..lanes {
            tokio::spawn(lane(db.clone(), Arc::clone(&receiver)));
        }
        Self(sender)
    }

    async fn publish(&self, new: Arc<NewRelease>) -> Result<Published, InsertError> {
        let (answer, answered) = oneshot::channel();
        // A task ends only when the pool is closed and nobody is left to ask.
        let ended = |_| InsertError::from(sqlx::Error::PoolClosed);
        self.0.send(Waiting { new, answer }).await.map_err(|_| sqlx::Error::PoolClosed)?;
        answered.await.map_err(ended)?
    }
}

impl fmt::Debug for Publications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Publications")
    }
}

/// Publishes what waits, one commit after the other.
async fn lane(db: Db, receiver: Arc<Mutex<mpsc::Receiver<Waiting>>>) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while receiver.lock().await.recv_many(&mut batch, MAX_BATCH).await > 0 {
        while !batch.is_empty() {
            // A second document of an addon is to find the first one.
            let mut addons = HashSet::new();
            let (first, later) = std::mem::take(&mut batch)
                .into_iter()
                .partition(|waiting: &Waiting| addons.insert(waiting.new.addon.clone()));
            publish_all(&db, first).await;
            batch = later;
        }
    }
}

/// Publishes documents of different addons in one commit; or, when the database fails at any of it, each alone, so that each
/// has its own error.
async fn publish_all(db: &Db, batch: Vec<Waiting>) {
    let news: Vec<&NewRelease> = batch.iter().map(|waiting| waiting.new.as_ref()).collect();
    match commit(db, &news).await {
        Ok(done) => {
            for (waiting, published) in batch.into_iter().zip(done) {
                // Whoever asked may have gone; the document is published all the same, and a retry finds it.
                _ = waiting.answer.send(published);
            }
        }
        Err(error) => {
            // One that was alone has its error; what was together with others is tried without them.
            let mut away = false;
            let mut error = Some(error).filter(|_| batch.len() == 1);
            if error.is_none() {
                tracing::warn!("a commit failed; its parts are tried alone");
            }
            for waiting in batch {
                let done = match error.take() {
                    Some(error) => Err(error.into()),
                    // Where the database is away, one of them has waited for it for all.
                    None if away => Err(sqlx::Error::PoolTimedOut.into()),
                    None => alone(db, &waiting.new).await,
                };
                away = matches!(&done, Err(InsertError::Storage(error)) if error.is_unavailable() && !error.is_full());
                _ = waiting.answer.send(done);
            }
        }
    }
}

async fn alone(db: &Db, new: &NewRelease) -> Result<Published, InsertError> {
    let mut done = commit(db, &[new]).await?;
    done.pop().expect("one document has one answer")
}

async fn commit(db: &Db, news: &[&NewRelease]) -> Result<Vec<Result<Published, InsertError>>, StorageError> {
    Ok(write_tx!(db, |tx| publish_in!(tx, db, news)?))
}
