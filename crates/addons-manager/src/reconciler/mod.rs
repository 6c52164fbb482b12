//! The reconciler: keeps what the engine runs as the database says it should be.
//!
//! Level-triggered. A wake (an API change, an event of the engine, a due retry, the periodic resync) says which installation to look at and
//! nothing else; a pass reads what is wanted, looks at the engine, writes down what it learned (`record.rs`), plans (`plan/`), executes
//! (`execute/`) and looks again, until its plan is empty. One pass at a time for each installation, several installations side by side.
//! If the engine or the database does not answer, nothing is concluded from that. Stopping the reconciler stops no addon.

pub mod adopt;
pub mod backoff;
mod blocked;
mod events;
mod execute;
mod files;
pub mod meant;
mod pass;
pub mod plan;
mod progress;
mod quiet;
pub mod record;
pub mod report;
mod resync;
mod rollouts;
pub mod state;
mod wakes;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use addon_client::Progress;
use service_kit::clock::{SharedClock, Timestamp};
use tokio::sync::{Notify, Semaphore, broadcast};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::blocked::Blocked;
use self::meant::Identity;
use self::progress::ProgressBoard;
use self::quiet::{Breadth, Quiet};
use self::record::Outage;
use self::state::World;
use self::wakes::Wakes;
use crate::domain::installation::InstallationId;
use crate::runtime::{ContainerRuntime, RuntimeError, Surroundings};
use crate::storage::{Storage, StorageError};

/// How the reconciler works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the state; `files` are written below it.
    pub state_folder: PathBuf,
    /// Id of this manager.
    pub manager_id: String,
    /// `platform.project`.
    pub project: Option<String>,
    /// Time between two looks at everything.
    pub resync_interval: Duration,
    /// Installations that are worked on side by side.
    pub parallel_installations: usize,
    /// Steps of one plan that are done side by side.
    pub parallel_steps: usize,
    /// Pulls side by side, of all installations.
    pub parallel_pulls: usize,
    /// How long a service of a new revision has to be well before the next one is moved.
    pub settle: Duration,
    /// How long a change of revision may take for each service that it moves.
    pub rollout_deadline: Duration,
}

/// What the reconciler is made of.
pub struct Parts {
    /// The state.
    pub storage: Storage,
    /// The engine.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// The time.
    pub clock: SharedClock,
    /// How it works.
    pub settings: Settings,
}

/// A running reconciler; clones speak of the same one.
#[derive(Clone)]
pub struct Reconciler {
    shared: Arc<Shared>,
    task: Arc<Mutex<Option<tokio::task::JoinHandle<()>>>>,
}

/// What passes share.
pub(crate) struct Shared {
    pub(crate) storage: Storage,
    pub(crate) runtime: Arc<dyn ContainerRuntime>,
    pub(crate) clock: SharedClock,
    pub(crate) settings: Settings,
    pub(crate) identity: Identity,
    pub(crate) shutdown: CancellationToken,
    pub(crate) progress: ProgressBoard,
    pub(crate) wakes: Wakes,
    /// Only one installation makes the platform's network at a time.
    pub(crate) platform_network: tokio::sync::Mutex<()>,
    pub(crate) pulls: Semaphore,
    pull_locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// The last listing and the number that it was begun under.
    world: tokio::sync::Mutex<Option<(u64, Arc<World>)>>,
    /// Numbers wakes and listings: a listing serves what was asked for before it was begun.
    sequence: AtomicU64,
    unreachable_since: Mutex<Option<Timestamp>>,
    /// Times without the event stream; an open one has no end yet.
    outages: Mutex<(Option<Timestamp>, Vec<Outage>)>,
    /// The last of them in which the engine itself was away.
    last_away: Mutex<Option<Outage>>,
    /// Containers and networks of ours, for events: a wake for whom.
    owners: Mutex<HashMap<String, InstallationId>>,
    /// When each container was last inspected.
    inspected: Mutex<HashMap<String, Timestamp>>,
    /// Installations that need no look while they look as they did.
    quiet: Quiet,
    /// Installations that wait for something of somebody else to change.
    blocked: Mutex<Blocked>,
    /// What was around the engine at the last look.
    surroundings: Mutex<Option<Surroundings>>,
    /// Since when rollouts are looked at, and until when their time is counted.
    rollouts: Mutex<HashMap<InstallationId, rollouts::Watch>>,
    /// Containers that look like ours and are not what is meant.
    refused: adopt::Refused,
    changes: broadcast::Sender<InstallationId>,
    notify: Notify,
}

/// Why a pass could not be made: nothing is concluded, and it is made again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassError {
    /// The engine did not answer.
    #[error("the engine does not answer")]
    Engine(#[source] RuntimeError),
    /// It did not answer in the middle of a plan.
    #[error("the engine does not answer: {0}")]
    Unreachable(String),
    /// The database did not answer.
    #[error("the database does not answer")]
    Storage(#[from] StorageError),
}

/// How long a pass that could not be made is put off.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(2);

/// Time between two looks at what is around the engine, while somebody waits for it.
const LOOK_AROUND: Duration = Duration::from_secs(5);

/// How long a shutdown waits for passes to come to the end of a step. A step that is cut off is found half done at the next start, which is
/// what passes are made for.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(3);

impl Reconciler {
    /// Starts it: it looks at everything, and goes on until [`Self::shutdown`].
    pub fn start(parts: Parts) -> Self {
        let reconciler = Self::idle(parts);
        let task = tokio::spawn(run(Arc::clone(&reconciler.shared)));
        *reconciler.task.lock().expect("nothing panics while it holds the lock") = Some(task);
        reconciler
    }

    /// Makes one that does nothing by itself.
    pub(crate) fn idle(parts: Parts) -> Self {
        let Parts { storage, runtime, clock, settings } = parts;
        let identity = Identity {
            manager_id: settings.manager_id.clone(),
            project: settings.project.clone(),
            state_folder: settings.state_folder.clone(),
        };
        let shared = Shared {
            storage,
            runtime,
            clock,
            identity,
            shutdown: CancellationToken::new(),
            progress: ProgressBoard::default(),
            wakes: Wakes::default(),
            platform_network: tokio::sync::Mutex::new(()),
            pulls: Semaphore::new(settings.parallel_pulls.max(1)),
            pull_locks: Mutex::default(),
            world: tokio::sync::Mutex::new(None),
            sequence: AtomicU64::new(1),
            unreachable_since: Mutex::new(None),
            outages: Mutex::default(),
            last_away: Mutex::default(),
            owners: Mutex::default(),
            inspected: Mutex::default(),
            quiet: Quiet::default(),
            blocked: Mutex::default(),
            surroundings: Mutex::default(),
            rollouts: Mutex::default(),
            refused: Mutex::default(),
            changes: broadcast::channel(256).0,
            notify: Notify::new(),
            settings,
        };
        Self { shared: Arc::new(shared), task: Arc::default() }
    }

    /// Looks at an installation soon. What to do about it is read from the database.
    pub fn wake(&self, id: InstallationId) {
        self.shared.wake(id);
    }

    /// Looks at every installation soon.
    pub fn wake_all(&self) {
        self.shared.wakes.resync();
        self.shared.notify.notify_one();
    }

    /// How far the pulls of an installation are; none while there are none.
    pub fn progress(&self, id: InstallationId) -> Option<Progress> {
        self.shared.progress.of(id)
    }

    /// Since when the engine has not answered.
    pub fn engine_unreachable(&self) -> Option<Timestamp> {
        *lock(&self.shared.unreachable_since)
    }

    /// Tells which installations have changed, as it happens. A reader that is too slow loses entries, and is told so.
    pub fn changes(&self) -> broadcast::Receiver<InstallationId> {
        self.shared.changes.subscribe()
    }

    /// Hears between two steps that it is over, and waits for steps that are being done, though not for long. Addons go on running.
    pub async fn shutdown(&self) {
        self.shared.shutdown.cancel();
        let task = lock(&self.task).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(error = %error, "the reconciler ended with an error");
        }
    }
}

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds the lock")
}

impl Shared {
    pub(crate) fn wake(&self, id: InstallationId) {
        self.wakes.full(id, self.next());
        self.notify.notify_one();
    }

    /// The next number: what begins from now on has a greater one.
    fn next(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A listing that was begun after `need`. Everybody who asks meanwhile is served by the same one.
    async fn world(&self, need: u64) -> Result<Arc<World>, RuntimeError> {
        let mut last = self.world.lock().await;
        if let Some((begun, world)) = &*last
            && *begun >= need
        {
            return Ok(Arc::clone(world));
        }
        let begun = self.next();
        metrics::counter!("addons_manager_listings_total").increment(1);
        let listing = match self.runtime.list().await {
            Ok(listing) => listing,
            Err(error) => {
                if matches!(error, RuntimeError::Retry { engine_unreachable: true, .. }) {
                    self.unreached(&error.to_string());
                    if let Err(error) = self.was_the_engine_stopping().await {
                        tracing::error!(error = %error, "what the engine's end has done could not be written down");
                    }
                }
                return Err(error);
            }
        };
        let world = Arc::new(World::new(listing));
        *last = Some((begun, Arc::clone(&world)));
        self.reached();
        Ok(world)
    }

    fn reached(&self) {
        if lock(&self.unreachable_since).take().is_some() {
            tracing::info!("the engine answers again");
            self.wakes.resync();
            self.notify.notify_one();
        }
    }

    fn unreached(&self, why: &str) {
        if let Some(from) = lock(&self.outages).0 {
            *lock(&self.last_away) = Some(Outage { from, until: self.clock.now() });
        }
        // Without the engine no time of a rollout counts, and what was well has to be well anew.
        lock(&self.rollouts).clear();
        let mut since = lock(&self.unreachable_since);
        if since.is_none() {
            tracing::warn!(error = why, "the engine does not answer; nothing is concluded from that");
            *since = Some(self.clock.now() - self.runtime.unanswered_for().unwrap_or_default());
        }
    }

    fn pull_lock(&self, digest: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = lock(&self.pull_locks);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(digest.to_owned()).or_default())
    }

    /// From now on events of this object wake its installation.
    pub(crate) fn own(&self, engine_id: &str, installation: InstallationId) {
        lock(&self.owners).insert(engine_id.to_owned(), installation);
    }

    pub(crate) fn disown(&self, engine_id: &str) {
        lock(&self.owners).remove(engine_id);
        lock(&self.inspected).remove(engine_id);
    }

    /// What inspect tells of this container is no longer known.
    pub(crate) fn inspect_again(&self, engine_id: &str) {
        lock(&self.inspected).remove(engine_id);
    }

    fn outages(&self) -> Vec<Outage> {
        let outages = lock(&self.outages);
        let open = outages.0.map(|from| Outage { from, until: self.clock.now() });
        outages.1.iter().copied().chain(open).collect()
    }

    fn changed(&self, id: InstallationId) {
        // Nobody may be listening.
        let _ = self.changes.send(id);
    }
}

/// The loop: what wakes it, which passes it starts, when it looks again.
async fn run(shared: Arc<Shared>) {
    let mut events = shared.runtime.events();
    let mut events_open = true;
    let mut work: JoinSet<Done> = JoinSet::new();
    let mut next_resync = shared.clock.now();
    let mut next_look_around = shared.clock.now();
    let mut resyncing = false;
    match shared.storage.owners().await {
        Ok(owners) => lock(&shared.owners).extend(owners),
        // The first resync reads everything anyway.
        Err(error) => tracing::error!(error = %error, "the ledger cannot be read"),
    }
    loop {
        let now = shared.clock.now();
        // Neither an engine that is away nor a clock that was set back makes it wait longer than that.
        let at_most = if lock(&shared.unreachable_since).is_some() {
            PAUSE_AFTER_ERROR
        } else {
            shared.settings.resync_interval
        };
        next_resync = next_resync.min(now + at_most);
        let breadth = match resyncing {
            true => None,
            false if shared.wakes.take_resync() => Some(Breadth::All),
            false => (now >= next_resync).then_some(Breadth::Changed),
        };
        if let Some(breadth) = breadth {
            resyncing = true;
            let shared = Arc::clone(&shared);
            work.spawn(async move { Done::Resync(shared.resync(breadth).await) });
        }
        let watches = !lock(&shared.blocked).wait_for_surroundings().is_empty();
        next_look_around = next_look_around.min(now + LOOK_AROUND);
        if watches && now >= next_look_around {
            next_look_around = now + LOOK_AROUND;
            if let Err(error) = shared.look_around().await {
                tracing::error!(error = %error, "what changed around the engine could not be written down");
            }
        }
        // While the engine does not answer, only the resync asks for it.
        let reachable = lock(&shared.unreachable_since).is_none();
        while reachable
            && work.len() < shared.settings.parallel_installations.max(1) + usize::from(resyncing)
            && let Some(id) = shared.wakes.take_ready(now)
        {
            let shared = Arc::clone(&shared);
            work.spawn(async move { Done::Pass(id, shared.pass(id).await) });
        }
        let next = [
            (!resyncing).then_some(next_resync),
            reachable.then(|| shared.wakes.next_due()).flatten(),
            watches.then_some(next_look_around),
        ]
        .into_iter()
        .flatten()
        .min();
        let pause = next.map_or(shared.settings.resync_interval, |at| at.since(shared.clock.now()));
        tokio::select! {
            () = shared.shutdown.cancelled() => break,
            () = shared.notify.notified() => {}
            message = events.recv(), if events_open => match message {
                Some(message) => shared.hear(message).await,
                None => {
                    tracing::error!("the stream of events has ended; the periodic resync goes on");
                    events_open = false;
                }
            },
            Some(done) = work.join_next(), if !work.is_empty() => {
                match done {
                    Ok(Done::Pass(id, result)) => shared.passed(id, result),
                    Ok(Done::Resync(result)) => {
                        resyncing = false;
                        next_resync = shared.clock.now() + shared.resynced(result);
                    }
                    Err(error) => {
                        tracing::error!(error = %error, "a pass ended with a panic");
                        resyncing = false;
                        next_resync = shared.clock.now() + PAUSE_AFTER_ERROR;
                        shared.wakes.release_all(shared.clock.now() + PAUSE_AFTER_ERROR);
                    }
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
    drop(events);
    let end = async { while work.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_PATIENCE, end).await.is_err() {
        tracing::info!("some steps were cut off; the next start goes on with them");
        work.shutdown().await;
    }
}

enum Done {
    Pass(InstallationId, Result<Option<Timestamp>, PassError>),
    Resync(Result<(), PassError>),
}

impl Shared {
    /// A pass is over: notes when to look again.
    fn passed(&self, id: InstallationId, result: Result<Option<Timestamp>, PassError>) {
        let again = match result {
            Ok(again) => again,
            Err(error) => {
                lock(&self.rollouts).remove(&id);
                Some(self.put_off(&error))
            }
        };
        self.wakes.release(id, again);
    }

    /// A resync is over: how long until the next.
    fn resynced(&self, result: Result<(), PassError>) -> Duration {
        match result {
            Ok(()) => self.settings.resync_interval,
            Err(error) => self.put_off(&error).since(self.clock.now()),
        }
    }

    fn put_off(&self, error: &PassError) -> Timestamp {
        match error {
            PassError::Engine(cause) => self.unreached(&cause.to_string()),
            PassError::Unreachable(cause) => self.unreached(cause),
            PassError::Storage(cause) => {
                let source = std::error::Error::source(cause).map(ToString::to_string);
                tracing::error!(error = %cause, source, "a pass was not made; nothing is concluded from that");
            }
        }
        self.clock.now() + PAUSE_AFTER_ERROR
    }
}

#[cfg(test)]
pub(crate) mod tests;
