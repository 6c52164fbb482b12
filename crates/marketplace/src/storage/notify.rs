//! What replicas tell each other: which kept answers hold no longer, and that there is something to do.
//!
//! On PostgreSQL every change of a release leaves rows in the table `changes`, by a trigger and so in the transaction that
//! makes it: no change is forgotten, whoever dies when. Each replica reads on from where it stood, twice a second, and at
//! once when another says `NOTIFY`, which is sent after the commit and together for many, since PostgreSQL lets only one
//! commit at a time send. A replica that cannot read keeps no answer: what it shows is never older than about a second.
//!
//! Rows become visible in another order than their transactions began, so the place is not a number of rows: it is the
//! oldest transaction that was open then, and those after it that were seen are remembered.
//!
//! SQLite has one process, which hears nobody.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use service_kit::db::Db;
use sqlx::postgres::PgListener;
use sqlx::{FromRow, PgPool};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Source, Storage, StorageError};

/// The channel that replicas call each other on.
const CHANNEL: &str = "marketplace";

/// How often changes are looked for without a call.
const POLL: Duration = Duration::from_millis(400);

/// Longest time that looking may take before nothing that is kept is believed.
const READ_LIMIT: Duration = Duration::from_millis(500);

/// Shortest time between two calls, or two answers to calls: those between go together.
const TOGETHER: Duration = Duration::from_millis(20);

/// Wait before listening is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Most rows that are read at once. More, and everything that is kept is dropped instead.
const MOST: usize = 5_000;

/// How long rows are kept: far longer than a replica believes in its place without having read.
const KEPT: Duration = Duration::from_secs(600);

/// After so long without reading a replica begins anew.
const PLACE_HOLDS: Duration = Duration::from_secs(300);

/// How often old rows are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// Wakes whoever waits for changes, here and in other replicas. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller {
    others: Arc<Notify>,
    news: watch::Sender<u64>,
}

impl Caller {
    /// Something was changed here: others are to know, soon.
    pub(super) fn call(&self) {
        self.others.notify_one();
        self.heard();
    }

    /// Something was changed, here or elsewhere.
    fn heard(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Where a replica stands in the changes.
#[derive(Debug)]
struct Place {
    /// The oldest transaction that was open at the last reading.
    oldest: String,
    /// Transactions from there on whose rows were read.
    seen: HashSet<String>,
    read_at: Instant,
}

/// A change, or only the place where there is none.
#[derive(FromRow)]
struct Change {
    oldest: String,
    transaction: Option<String>,
    topic: Option<String>,
    subject: Option<String>,
}

impl Storage {
    /// Moves after each change of a release, made here or by another replica: whoever shows what is new looks then.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.caller.news.subscribe()
    }

    /// Follows what other replicas change, and tells them what this one does, until told to stop. On SQLite there are none.
    /// `heard` is called after each change of another.
    pub async fn follow(self, heard: impl Fn() + Send, stop: CancellationToken) {
        let Db::Postgres(pool) = self.db().clone() else { return };
        let called = Arc::new(Notify::new());
        let work = async {
            tokio::join!(self.tell(&pool), listen(&pool, &called), self.read_on(&pool, &called, &heard));
        };
        tokio::select! {
            () = stop.cancelled() => (),
            () = work => (),
        }
    }

    /// Calls the others after changes of this replica.
    async fn tell(&self, pool: &PgPool) {
        loop {
            self.caller.others.notified().await;
            // Waiting for the disk here would hold up every other commit that calls.
            let sql = "SELECT pg_notify($1, $2) FROM set_config('synchronous_commit', 'off', true)";
            let call = sqlx::query(sql).bind(CHANNEL).bind(self.replica()).execute(pool);
            if let Err(error) = call.await {
                // They look by themselves.
                tracing::debug!(%error, "other replicas were not called");
            }
            tokio::time::sleep(TOGETHER).await;
        }
    }

    /// Reads changes, when called and now and then.
    async fn read_on(&self, pool: &PgPool, called: &Notify, heard: &(impl Fn() + Send)) {
        let mut place = None;
        let mut pruned = Instant::now();
        let mut reads = true;
        self.epochs.read(Instant::now().into_std());
        loop {
            let began = Instant::now();
            let read = timeout(READ_LIMIT, self.read_changes(pool, &mut place)).await;
            match read {
                Ok(Ok(changed)) => {
                    if !reads {
                        tracing::info!("changes of other replicas can be read again");
                        reads = true;
                    }
                    self.epochs.read(began.into_std());
                    if changed {
                        self.caller.heard();
                        heard();
                    }
                }
                failed => {
                    // Nobody knows what others have changed: nothing that is kept is believed. Nor where they stood: behind
                    // the address may be a server that gives numbers again.
                    self.epochs.end_all();
                    place = None;
                    if reads {
                        let error =
                            failed.map_or_else(|_| "no answer".to_owned(), |read| said(read.err().as_ref()));
                        tracing::warn!(
                            error,
                            "changes of other replicas cannot be read: no answers are kept meanwhile"
                        );
                        reads = false;
                    }
                }
            }
            if reads && pruned.elapsed() >= PRUNE_EVERY {
                pruned = Instant::now();
                if let Err(error) = prune(pool, KEPT).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "old changes were not removed");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => (),
                () = called.notified() => tokio::time::sleep(TOGETHER).await,
            }
        }
    }

    /// Ends the epochs of what others have changed since the last time. Answers whether there was anything.
    async fn read_changes(&self, pool: &PgPool, place: &mut Option<Place>) -> Result<bool, StorageError> {
        let known =
            place.take_if(|place| place.read_at.elapsed() >= PLACE_HOLDS).map_or(place.as_ref(), |_| None);
        // One statement, so that the place and the rows are of one moment.
        let sql = "WITH moment AS MATERIALIZED (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS oldest)
                   SELECT moment.oldest::TEXT AS oldest, changes.transaction::TEXT AS transaction, changes.topic, changes.subject
                   FROM moment LEFT JOIN changes
                       ON changes.transaction >= CAST($1::TEXT AS xid8) AND changes.replica <> $2
                   LIMIT $3";
        // Without a place only the place is asked for: no transaction has this number.
        const NEVER: &str = "18446744073709551615";
        let from = known.map_or(NEVER, |place| place.oldest.as_str());
        let rows: Vec<Change> = sqlx::query_as(sql)
            .bind(from)
            .bind(self.replica())
            .bind(i64::try_from(MOST).expect("it is a small number"))
            .fetch_all(pool)
            .await?;
        let Some(oldest) = rows.first().map(|row| row.oldest.clone()) else { return Ok(false) };
        let (Some(known), true) = (known, rows.len() < MOST) else {
            self.epochs.end_all();
            *place = Some(Place { oldest, seen: HashSet::new(), read_at: Instant::now() });
            return Ok(true);
        };
        let mut seen = HashSet::new();
        let mut changed = false;
        for row in rows {
            let Change { transaction: Some(transaction), topic: Some(topic), subject: Some(subject), .. } =
                row
            else {
                continue;
            };
            if !known.seen.contains(&transaction) {
                changed = true;
                match Source::parse(&topic, &subject) {
                    Some(source) => self.epochs.end(source),
                    // Of a later version of this program.
                    None => self.epochs.end_all(),
                }
            }
            seen.insert(transaction);
        }
        *place = Some(Place { oldest, seen, read_at: Instant::now() });
        Ok(changed)
    }
}

/// Listens for calls for as long as it is let.
async fn listen(pool: &PgPool, called: &Notify) {
    loop {
        if let Err(error) = hear(pool, called).await {
            tracing::debug!(%error, "calls of other replicas are not heard");
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

/// Listens until the connection is lost and does not come back.
async fn hear(pool: &PgPool, called: &Notify) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        // What was said before listening is read like a call; so is what was said while a connection was lost, which is
        // what `None` says.
        called.notify_one();
        let _call_or_lost = listener.try_recv().await?;
    }
}

/// Removes rows that every replica has read. By the database's clock, which wrote their times.
async fn prune(pool: &PgPool, kept: Duration) -> Result<u64, StorageError> {
    let sql = "DELETE FROM changes WHERE at_ms < (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT - $1";
    let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    Ok(sqlx::query(sql).bind(kept).execute(pool).await?.rows_affected())
}

fn said(error: Option<&StorageError>) -> String {
    let mut said = Vec::new();
    let mut next = error.map(|error| error as &dyn std::error::Error);
    while let Some(error) = next {
        said.push(error.to_string());
        next = error.source();
    }
    said.join(": ")
}
