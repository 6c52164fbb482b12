//! Publishing: a document becomes a release, with its place in the verification queue, in one transaction.
//!
//! SQLite has one writer and pays for each commit with a write to the disk, so documents that arrive while one commit is
//! under way share the next one. Nobody is told before the commit that holds their document.

use std::fmt;
use std::sync::Arc;

use addon_client::{Finding, ReleaseId, Timestamp, Verdict};
use addon_descriptor::{AddonDescriptor, Digest, Version};
use service_kit::db::{Db, unique_violation};
use sqlx::SqlitePool;
use tokio::sync::{mpsc, oneshot};

use service_kit::audit::{self, Actor, Entry};

use super::limits::take_in;
use super::queue::{Purpose, enqueue};
use super::releases::{Row, detail, digest_of, json, select, version_of};
use super::{Storage, StorageError};
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

    async fn audit<L: audit::Ledger + Send>(
        &self,
        tx: &mut L,
        action: &str,
        release: &Release,
    ) -> Result<(), sqlx::Error> {
        let id = release.id.to_string();
        let entry = Entry::new(self.now, &self.actor, action, "release", &id).with(detail(release, None));
        audit::record(tx, &entry).await
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

/// Documents that may wait for the writer; more wait outside.
const QUEUE: usize = 1024;

/// Publishes a [`NewRelease`] in a transaction of either database; gives a `Result<Published, InsertError>`. What a refused
/// document has written by then is only that its addon was looked at, so it need not be rolled back.
macro_rules! publish_in {
    ($tx:ident, $new:expr) => {
        async {
            let new: &NewRelease = $new;
            let now = new.now.millis();
            let known: Option<(i64,)> = sqlx::query_as("SELECT CAST(1 AS BIGINT) FROM addons WHERE addon = $1")
                .bind(&new.addon)
                .fetch_optional(&mut *$tx)
                .await?;
            // Before anything is written: what is refused here leaves nothing in a commit that others share.
            if known.is_none()
                && let Some(limited) = take_in!($tx, &new.actor, new.limits, Kind::NewName, now)
            {
                Err(InsertError::Limited(limited))?;
            }
            // The row of the addon is locked by this: on PostgreSQL too, publishing is serial for one name.
            let (name,): (String,) = sqlx::query_as(
                "INSERT INTO addons (addon, name, skeleton, owner, created_at_ms, changed_at_ms)
                 VALUES ($1, $2, $3, $4, $5, $5)
                 ON CONFLICT (addon) DO UPDATE SET changed_at_ms = excluded.changed_at_ms RETURNING name",
            )
            .bind(&new.addon)
            .bind(&new.name)
            .bind(&new.skeleton)
            .bind(new.actor.account())
            .bind(now)
            .fetch_one(&mut *$tx)
            .await?;
            if name != new.name {
                Err(InsertError::NameTaken { existing: name })?;
            }
            if known.is_none() {
                // Of two who were first at once on PostgreSQL, the row of the addon names one.
                sqlx::query(
                    "INSERT INTO owners (addon, account, added_by, added_at_ms)
                     SELECT addon, owner, owner, created_at_ms FROM addons WHERE addon = $1 AND owner = $2
                     ON CONFLICT (addon, account) DO NOTHING",
                )
                .bind(&new.addon)
                .bind(new.actor.account())
                .execute(&mut *$tx)
                .await?;
            }
            if !new.actor.is_administrator() {
                let owner: Option<(i64,)> =
                    sqlx::query_as("SELECT CAST(1 AS BIGINT) FROM owners WHERE addon = $1 AND account = $2")
                        .bind(&new.addon)
                        .bind(new.actor.account())
                        .fetch_optional(&mut *$tx)
                        .await?;
                if owner.is_none() {
                    Err(InsertError::NotOwner)?;
                }
            }

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
            Ok::<Published, InsertError>(match there {
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
                    new.audit(&mut *$tx, "release.repost", &release).await?;
                    let (status, verdict) = (Status::UnderReview, Verdict::Pending);
                    Published::Again(Release { status, verdict, reason: None, ..release })
                }
                Some(row) => Published::Existing(row.release()?),
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
                    if known.is_some()
                        && let Some(limited) = take_in!($tx, &new.actor, new.limits, Kind::NewVersion, now)
                    {
                        Err(InsertError::Limited(limited))?;
                    }
                    let sql = "INSERT INTO releases (id, addon, name, version, version_id, version_order, version_rank,
                                   digest, canonical, wire, rights, risk, warnings, publisher, created_at_ms, status,
                                   verdict, held, pins, changed_at_ms)
                               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
                                   'under_review', 'pending', '[]', '[]', $15)
                               RETURNING seq";
                    let (seq,): (i64,) = sqlx::query_as(sql)
                        .bind(new.id.to_string())
                        .bind(&new.addon)
                        .bind(&new.name)
                        .bind(document.version.to_string())
                        .bind(&document.version_id)
                        .bind(&document.version_order)
                        .bind(&document.version_rank)
                        .bind(&digest)
                        .bind(&document.canonical)
                        .bind(json(&document.wire))
                        .bind(json(&document.rights))
                        .bind(i64::from(document.risk))
                        .bind(json(&new.warnings))
                        .bind(new.actor.account())
                        .bind(now)
                        .fetch_one(&mut *$tx)
                        .await?;
                    sqlx::query(enqueue!())
                        .bind(new.id.to_string())
                        .bind(Purpose::Review.as_str())
                        .bind(now)
                        .bind(new.actor.account())
                        .execute(&mut *$tx)
                        .await?;
                    let release = new.release(document, seq);
                    new.audit(&mut *$tx, "release.publish", &release).await?;
                    Published::New(release)
                }
            })
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
            match self.try_publish(&new).await {
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

    async fn try_publish(&self, new: &Arc<NewRelease>) -> Result<Published, InsertError> {
        match (&self.db, &self.publications) {
            (Db::Postgres(server), _) => service_kit::on_postgres!(server, |pool| {
                let mut tx = pool.begin().await?;
                let published = publish_in!(tx, new)?;
                tx.commit().await?;
                Ok(published)
            }),
            (Db::Sqlite { writer, .. }, None) => alone(writer, new).await,
            (Db::Sqlite { .. }, Some(publications)) => publications.publish(Arc::clone(new)).await,
        }
    }
}

/// The way to the task that publishes on SQLite. Cheap to clone; the task ends with the last of them.
#[derive(Clone)]
pub(super) struct Publications(mpsc::Sender<Waiting>);

struct Waiting {
    new: Arc<NewRelease>,
    answer: oneshot::Sender<Result<Published, InsertError>>,
}

impl Publications {
    pub(super) fn start(writer: SqlitePool) -> Self {
        let (sender, mut receiver) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(MAX_BATCH);
            while receiver.recv_many(&mut batch, MAX_BATCH).await > 0 {
                publish_all(&writer, std::mem::take(&mut batch)).await;
            }
        });
        Self(sender)
    }

    async fn publish(&self, new: Arc<NewRelease>) -> Result<Published, InsertError> {
        let (answer, answered) = oneshot::channel();
        // The task ends only when the pool is closed and nobody is left to ask.
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

/// Publishes a batch in one commit; or, when the database fails at any of it, each alone, so that each has its own error.
async fn publish_all(writer: &SqlitePool, batch: Vec<Waiting>) {
    let news: Vec<&NewRelease> = batch.iter().map(|waiting| waiting.new.as_ref()).collect();
    match together(writer, &news).await {
        Ok(done) => {
            for (waiting, published) in batch.into_iter().zip(done) {
                // Whoever asked may have gone; the document is published all the same, and a retry finds it.
                _ = waiting.answer.send(published);
            }
        }
        Err(error) => {
            if batch.len() > 1 {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a commit failed; its parts are tried alone"
                );
            }
            for waiting in batch {
                _ = waiting.answer.send(alone(writer, &waiting.new).await);
            }
        }
    }
}

async fn together(
    writer: &SqlitePool,
    news: &[&NewRelease],
) -> Result<Vec<Result<Published, InsertError>>, StorageError> {
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await?;
    let mut done = Vec::with_capacity(news.len());
    for new in news {
        match publish_in!(tx, new) {
            Err(InsertError::Storage(error)) => return Err(error),
            published => done.push(published),
        }
    }
    tx.commit().await?;
    Ok(done)
}

async fn alone(writer: &SqlitePool, new: &NewRelease) -> Result<Published, InsertError> {
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await?;
    let published = publish_in!(tx, new)?;
    tx.commit().await?;
    Ok(published)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str) -> NewRelease {
        let text = format!(
            r#"{{"name": "{name}", "version": "1.0.0", "services": [{{"service_name": "a", "image": "r.example/a:1"}}]}}"#
        );
        let descriptor = addon_descriptor::read(text.as_bytes()).unwrap().descriptor.unwrap();
        let id = ReleaseId::new(1, service_kit::random::bytes());
        NewRelease::new(
            id,
            descriptor,
            name.to_owned(),
            Vec::new(),
            Actor::named("paul"),
            Timestamp::from_millis(1),
        )
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_of_a_batch_has_its_own_answer() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open_sqlite(&folder.path().join("x.db")).await.unwrap();
        let Db::Sqlite { writer, .. } = storage.db() else { panic!("it is SQLite") };
        let trigger = "CREATE TRIGGER refuse BEFORE INSERT ON releases WHEN NEW.addon = 'bad'
                       BEGIN SELECT RAISE(ABORT, 'no'); END";
        sqlx::query(trigger).execute(writer).await.unwrap();
        storage.publish(new("taken")).await.unwrap();

        // While the writer is busy, all of these come to wait for one commit.
        let busy = writer.begin().await.unwrap();
        let names = ["a", "TAKEN", "bad", "b", "a"];
        let posts = names.map(|name| {
            tokio::spawn({
                let storage = storage.clone();
                async move { storage.publish(new(name)).await }
            })
        });
        busy.rollback().await.unwrap();
        let mut done = Vec::new();
        for post in posts {
            done.push(post.await.unwrap());
        }
        assert!(
            matches!(&done[1], Err(InsertError::NameTaken { existing }) if existing == "taken"),
            "{done:?}"
        );
        assert!(matches!(&done[2], Err(InsertError::Storage(_))), "{done:?}");
        assert!(matches!(&done[3], Ok(Published::New(_))), "{done:?}");
        let of_a = [&done[0], &done[4]];
        assert_eq!(of_a.iter().filter(|done| matches!(done, Ok(Published::New(_)))).count(), 1, "{done:?}");
        assert_eq!(
            of_a.iter().filter(|done| matches!(done, Ok(Published::Existing(_)))).count(),
            1,
            "{done:?}"
        );
        assert_eq!(storage.queue_depth().await.unwrap(), 3);

        storage.db().close().await;
        let closed = storage.publish(new("late")).await;
        assert!(matches!(&closed, Err(InsertError::Storage(error)) if error.is_unavailable()), "{closed:?}");
    }
}
