//! Releases by their ids, which is what a marketplace is asked most: those that are asked for while a question is under way are the
//! next question together. A question costs a wake of SQLite's thread, or a round trip to the server, however many it is about.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use addon_client::ReleaseId;
use service_kit::db::Db;
use service_kit::read;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::StorageError;
use super::dialect;
use super::releases::{Row, json, select};
use crate::domain::release::Release;

/// Most releases of one question.
const MAX_BATCH: usize = 64;

/// Questions under way at one time: fewer than the connections that there are for reading.
const LANES: usize = 2;

/// The same where they are answered by another machine, whose answers take their time.
const LANES_TO_SERVER: usize = 4;

/// Those that wait beyond the ones that are asked for; who comes later waits to be among them.
const QUEUE: usize = 256;

type Found = Result<Option<Release>, StorageError>;

/// The way to the tasks that ask. Cheap to clone; the tasks end with the last of them.
#[derive(Clone)]
pub(super) struct Lookups(mpsc::Sender<Waiting>);

/// Who asked for what.
type Asked = HashMap<String, Vec<oneshot::Sender<Found>>>;

struct Waiting {
    id: ReleaseId,
    answer: oneshot::Sender<Found>,
}

impl Lookups {
    pub(super) fn start(db: &Db) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let receiver = Arc::new(Mutex::new(receiver));
        let lanes = match db {
            Db::Sqlite { .. } => LANES,
            Db::Postgres(_) => LANES_TO_SERVER,
        };
        for _ in 0..lanes {
            tokio::spawn(lane(db.clone(), Arc::clone(&receiver)));
        }
        Self(sender)
    }

    /// The release of this id, as it stands after this was called.
    pub(super) async fn release(&self, id: ReleaseId) -> Found {
        let (answer, answered) = oneshot::channel();
        self.0.send(Waiting { id, answer }).await.map_err(|_| sqlx::Error::PoolClosed)?;
        // A task ends only when nobody is left to ask.
        answered.await.map_err(|_| sqlx::Error::PoolClosed)?
    }
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookups")
    }
}

async fn lane(db: Db, receiver: Arc<Mutex<mpsc::Receiver<Waiting>>>) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while receiver.lock().await.recv_many(&mut batch, MAX_BATCH).await > 0 {
        // Whoever asked may have gone; two may ask for the same.
        let mut asked: Asked = HashMap::new();
        for Waiting { id, answer } in batch.drain(..).filter(|waiting| !waiting.answer.is_closed()) {
            asked.entry(id.to_string()).or_default().push(answer);
        }
        match together(&db, &asked).await {
            Ok(rows) => tell(asked, rows),
            Err(error) => each_alone(&db, asked, error).await,
        }
    }
}

async fn together(db: &Db, asked: &Asked) -> Result<Vec<Row>, sqlx::Error> {
    let ids: Vec<&String> = asked.keys().collect();
    match ids.as_slice() {
        [] => Ok(Vec::new()),
        [id] => alone(db, id).await.map(Vec::from_iter),
        ids => {
            let ids = json(&ids);
            read!(db, |pool| sqlx::query_as(dialect::BY_IDS.of(db)).bind(&ids).fetch_all(pool).await)
        }
    }
}

async fn alone(db: &Db, id: &str) -> Result<Option<Row>, sqlx::Error> {
    let sql = select!("WHERE id = $1");
    read!(db, |pool| sqlx::query_as(sql).bind(id).fetch_optional(pool).await)
}

fn tell(mut asked: Asked, rows: Vec<Row>) {
    for row in rows {
        for answer in asked.remove(&row.id).into_iter().flatten() {
            _ = answer.send(row.clone().release().map(Some));
        }
    }
    for answer in asked.into_values().flatten() {
        _ = answer.send(Ok(None));
    }
}

/// Each has its own error; where the database is away, one has waited for it for all.
async fn each_alone(db: &Db, asked: Asked, error: sqlx::Error) {
    let mut error =
        Some(StorageError::from(error)).filter(|error| asked.len() == 1 || error.is_unavailable());
    let away = error.as_ref().is_some_and(StorageError::is_unavailable);
    for (id, answers) in asked {
        for answer in answers {
            let found = match error.take() {
                Some(error) => Err(error),
                None if away => Err(sqlx::Error::PoolTimedOut.into()),
                None => alone(db, &id)
                    .await
                    .map_err(StorageError::from)
                    .and_then(|row| row.map(Row::release).transpose()),
            };
            _ = answer.send(found);
        }
    }
}
