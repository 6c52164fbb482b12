//! Keeps the signed index and the signed feed up to date: one replica does it for all of them, by a lease.
//!
//! A change of a release is in the index within about a second. Everything is signed anew once a day, so that it never
//! expires while a marketplace runs. Versions rise in the database; the clock can only make them rise more.

use std::path::{Path, PathBuf};
use std::time::Duration;

use addon_client::Timestamp;
use addon_client::trust::{
    Envelope, IndexRoot, KeyEntry, KeyId, KeySet, Payload, PublicKey, Revocations, SigningKey, TrustError,
    sign,
};
use service_kit::audit::Actor;
use service_kit::clock::SharedClock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::key_file::{self, KeyFileError};
use crate::app::DATABASE;
use crate::storage::{IndexState, KeyChange, Signed, SignedDocument, Storage, StorageError};

/// How often is looked for changes.
const INTERVAL: Duration = Duration::from_millis(500);

/// Of the time, a fifth at most is spent building and signing: after a piece of work, four times as long is waited, but never
/// longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long the lease lasts: a replica that died is replaced after this.
const LEASE: Duration = Duration::from_secs(10);

/// Name of the lease.
const NAME: &str = "index";

/// Changes that are taken up in one transaction: what is written meanwhile waits no longer than these take.
const PART: u32 = 2_000;

/// How long a signature holds: whoever gets nothing newer in this time installs nothing new.
const LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// After this all is signed anew, whether it changed or not.
const RENEWED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A document that is so far ahead of the clock was signed by one that was wrong.
const AHEAD: Duration = Duration::from_secs(5 * 60);

/// Why nothing can be signed here.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The key file.
    #[error("the signing key cannot be used (signing.key_file)")]
    KeyFile(#[from] KeyFileError),
    /// The database.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What the database has as a key set is none.
    #[error("the key set in the database makes no sense")]
    KeySet(#[from] TrustError),
    /// The database is empty, and a marketplace has signed from here.
    #[error(
        "{} says that a marketplace has signed from this state folder, and the database has no signing key: it is a new one, and \
         that marketplace's is lost or elsewhere. Hosts that know the key {} would be told of a marketplace without releases. Bring \
         the database back (of SQLite: move {DATABASE} away, with {DATABASE}-wal and {DATABASE}-shm beside it where they are there, \
         and run: marketplace restore FILE), or correct state_dir or database.url. If a new marketplace is meant, {}",
        witness.display(), path.display(), anew(witness, path)
    )]
    Forgotten {
        /// What says so: the key, or the mark that stands for one which is elsewhere.
        witness: PathBuf,
        /// The key.
        path: PathBuf,
    },
    /// The key is not one that clients know.
    #[error(
        "the key {key} in {} is not in the marketplace's key set {version}, whose keys are {}: give this replica one of those \
         (signing.key_file), or put a new one in with: marketplace keys rotate. Until then another replica has to sign",
        path.display(), list(living)
    )]
    Stranger {
        /// The file.
        path: PathBuf,
        /// Its key.
        key: KeyId,
        /// The newest key set.
        version: u64,
        /// The keys that sign.
        living: Vec<KeyId>,
    },
    /// The key is lost, or elsewhere.
    #[error(
        "the marketplace signs with the keys {}, and none is here ({} is not there): bring back the file, or name it in \
         signing.key_file; replicas at one database share one key, so copy it from the one that has it. Until then another \
         replica has to sign. If it is lost for good: marketplace keys rotate --without-old-key",
        list(living), path.display()
    )]
    Absent {
        /// The file.
        path: PathBuf,
        /// The keys that sign.
        living: Vec<KeyId>,
    },
}

/// The file that says that a configured key has signed from a state folder.
fn mark_of(in_state: &Path) -> PathBuf {
    in_state.with_extension("id")
}

/// How a new marketplace begins where another one was.
fn anew(witness: &Path, path: &Path) -> String {
    if witness == path {
        format!("move {} away: another key is made", path.display())
    } else {
        format!("move {} away and name another key in signing.key_file", witness.display())
    }
}

fn list(keys: &[KeyId]) -> String {
    keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ")
}

/// What one look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There was nothing to do.
    Idle,
    /// Another replica does it.
    Elsewhere,
    /// Index or feed were signed anew.
    Signed,
}

/// Builds and signs. Cheap to clone.
#[derive(Clone)]
pub struct Signer {
    storage: Storage,
    clock: SharedClock,
    path: PathBuf,
    /// Versions of index and feed that were there when this process began. They are signed anew once: if an older database
    /// was restored, hosts have seen later ones.
    found: Found,
}

/// Versions of what was signed; `None` where nothing was.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    index: Option<u64>,
    feed: Option<u64>,
}

impl Signer {
    /// Finds the key: in the configured file, else in the one of the state folder, which is made with the first key of a
    /// marketplace that has none. A key that clients do not know is no reason not to start: it is said, and nothing is signed.
    ///
    /// A database without keys is a new one, and what has signed must not sign for it: so the state folder says that a
    /// marketplace has signed from it. A key that is made here gets its name only when the database has it; a configured
    /// one, which may be new, has a mark in the folder from then on.
    ///
    /// # Errors
    /// A key file that is configured and not there, that others can read, or that is none; a new database where a
    /// marketplace has signed; the database.
    pub async fn prepare(
        storage: Storage,
        clock: SharedClock,
        configured: Option<PathBuf>,
        in_state: PathBuf,
    ) -> Result<Self, SigningError> {
        let is_configured = configured.is_some();
        let version = |document: Option<SignedDocument>| document.map(|document| document.version);
        let found = Found {
            index: version(storage.signed(Signed::Index).await?),
            feed: version(storage.signed(Signed::Revocations).await?),
        };
        let (made, mark) = (in_state.with_extension("pem.new"), mark_of(&in_state));
        let signer = Self { storage, clock, path: configured.unwrap_or(in_state), found };
        let path = &signer.path;
        if signer.newest().await?.is_none() {
            Self::may_begin(is_configured, path, &mark)?;
            if is_configured {
                signer.first(&key_file::load(path)?).await?;
            } else {
                // One that a start left which was cut off before anybody could know it.
                _ = std::fs::remove_file(&made);
                let key = key_file::generate();
                key_file::create(&made, &key, None)?;
                signer.first(&key).await?;
            }
        }
        if !is_configured && !path.exists() && made.exists() {
            let key = PublicKey::of(&key_file::load(&made)?).id();
            if signer.newest().await?.is_some_and(|set| set.living(&key).is_some()) {
                key_file::place(path, &made)?;
            } else {
                // Another replica's is the first one.
                _ = std::fs::remove_file(&made);
            }
        }
        match signer.usable().await {
            Ok((key, _)) if is_configured && !mark.exists() => {
                if let Err(error) = std::fs::write(&mark, format!("{}\n", PublicKey::of(&key).id())) {
                    let mark = mark.display();
                    tracing::warn!(%error, "{mark} cannot be written: a lost database would not be noticed");
                }
            }
            Err(SigningError::Absent { path, .. }) if is_configured => {
                return Err(KeyFileError::Missing { path }.into());
            }
            Err(error @ (SigningError::Stranger { .. } | SigningError::Absent { .. })) => {
                tracing::error!("{error}");
            }
            usable => _ = usable?,
        }
        Ok(signer)
    }

    /// Whether a database may be made where there is none, so that a start which is refused for its key leaves none behind.
    ///
    /// # Errors
    /// As [`Self::prepare`] would refuse the new database.
    pub fn without_database(configured: Option<&Path>, in_state: &Path) -> Result<(), SigningError> {
        let path = configured.unwrap_or(in_state);
        Self::may_begin(configured.is_some(), path, &mark_of(in_state))?;
        if let Some(path) = configured {
            key_file::load(path)?;
        }
        Ok(())
    }

    fn may_begin(is_configured: bool, path: &Path, mark: &Path) -> Result<(), SigningError> {
        let witness = if is_configured { mark } else { path };
        if witness.exists() {
            return Err(SigningError::Forgotten { witness: witness.to_owned(), path: path.to_owned() });
        }
        Ok(())
    }

    /// Whether this replica could sign; what everyone may know of why not.
    ///
    /// # Errors
    /// A sentence.
    pub async fn can_sign(&self) -> Result<(), String> {
        let why = match self.usable().await {
            Ok(_) => return Ok(()),
            Err(SigningError::Stranger { .. } | SigningError::Absent { .. }) => {
                "this replica has none of the marketplace's signing keys, so another has to sign: replicas share one key \
                 (signing.key_file)"
            }
            Err(SigningError::Storage(_)) => "the database gives no answer",
            Err(_) => "the signing key cannot be used: the log says why",
        };
        Err(why.to_owned())
    }

    /// Works until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let (mut said, mut wait) = (String::new(), Duration::ZERO);
        loop {
            _ = tokio::time::timeout(wait, shutdown.cancelled()).await;
            if shutdown.is_cancelled() {
                return;
            }
            let begun = Instant::now();
            let done = tokio::select! {
                done = self.step() => done,
                // A part that is being built is built again after the next start.
                () = shutdown.cancelled() => return,
            };
            wait = INTERVAL;
            match done {
                Ok(Step::Signed) => {
                    wait = (begun.elapsed() * 4).clamp(INTERVAL, LONGEST_WAIT);
                    said.clear();
                }
                Ok(Step::Idle | Step::Elsewhere) => said.clear(),
                Err(error) => {
                    // Each fault is said once, not twice a second.
                    let message = error.to_string();
                    if message != said {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "the index cannot be signed at the moment");
                    }
                    said = message;
                    wait = LONGEST_WAIT.min(wait * 4);
                }
            }
        }
    }

    /// Looks once, and does what there is to do.
    ///
    /// # Errors
    /// See [`SigningError`].
    pub async fn step(&self) -> Result<Step, SigningError> {
        let now = self.clock.now();
        let state = self.storage.index_state().await?;
        let feed = self.storage.signed(Signed::Revocations).await?;
        let index = self.storage.signed(Signed::Index).await?;
        if let Some(index) = &index {
            metrics::gauge!("marketplace_index_age_seconds").set(now.since(index.created_at).as_secs_f64());
        }
        let due = |document: Option<&SignedDocument>, found, covers| {
            let is_from_before = found == document.map(|document| document.version);
            is_from_before || is_due(document, covers, state, now)
        };
        let idle = !state.changes
            && !state.unbuilt
            && !due(feed.as_ref(), self.found.feed, state.revocations)
            && !due(index.as_ref(), self.found.index, state.built);
        if idle {
            return Ok(Step::Idle);
        }
        let (key, keys) = match self.usable().await {
            Err(error @ (SigningError::Stranger { .. } | SigningError::Absent { .. })) => {
                // Another replica may have the key, and need not wait until the lease runs out.
                self.storage.give_up(NAME, self.storage.replica()).await?;
                return Err(error);
            }
            usable => usable?,
        };
        let mut leased = None;
        if !self.hold(&mut leased).await? {
            return Ok(Step::Elsewhere);
        }
        while self.storage.take_index_changes(PART).await? > 0 {
            if !self.hold(&mut leased).await? {
                return Ok(Step::Elsewhere);
            }
        }
        for (shard, changed) in self.storage.unbuilt_shards().await? {
            if !self.hold(&mut leased).await? {
                return Ok(Step::Elsewhere);
            }
            self.storage.build_shard(shard, changed).await?;
        }
        let mut signed = false;
        // First the feed: the index says how many revocations there are to be known.
        if due(feed.as_ref(), self.found.feed, state.revocations) {
            let entries = self.storage.revocations().await?;
            let (version, covers) = (next(feed.as_ref(), now), entries.len());
            let document = Revocations { version, created_at: now, expires_at: now + LIFE, keys, entries };
            signed |= self.put(Signed::Revocations, feed, &document, &key, covers).await?;
        }
        let (shards, built) = self.storage.shards().await?;
        if due(index.as_ref(), self.found.index, built) {
            let revocations = self.storage.signed(Signed::Revocations).await?;
            let revocations = revocations.map_or(0, |feed| feed.covers.unsigned_abs());
            let (version, expires_at) = (next(index.as_ref(), now), now + LIFE);
            let audit = self.storage.audit_head().await?;
            let root = IndexRoot { version, created_at: now, expires_at, keys, revocations, shards, audit };
            signed |= self.put(Signed::Index, index, &root, &key, built).await?;
        }
        Ok(if signed { Step::Signed } else { Step::Elsewhere })
    }

    /// Signs and stores; `false` when another replica was faster.
    async fn put<P: Dated>(
        &self,
        kind: Signed,
        before: Option<SignedDocument>,
        document: &P,
        key: &SigningKey,
        covers: impl TryInto<i64>,
    ) -> Result<bool, SigningError> {
        let (version, created_at, expires_at, keys) = document.dated();
        let envelope = text(&sign(document, &[key]));
        let keyid = PublicKey::of(key).id();
        let covers = covers.try_into().unwrap_or(i64::MAX);
        let about = SignedDocument { version, keyid, keys, covers, created_at, expires_at };
        let previous = before.map_or(0, |document| document.version);
        let stored = self.storage.store_signed(kind, previous, &about, &envelope).await?;
        if stored {
            tracing::debug!(document = ?kind, version, bytes = envelope.len(), "signed");
        }
        Ok(stored)
    }

    /// Whether the lease is this replica's; takes or renews it in time. `leased` is when that was last.
    async fn hold(&self, leased: &mut Option<Timestamp>) -> Result<bool, StorageError> {
        let now = self.clock.now();
        if leased.is_some_and(|at| now >= at && now.since(at) < LEASE / 3) {
            return Ok(true);
        }
        let held = self.storage.lease(NAME, self.storage.replica(), now, LEASE).await?;
        *leased = held.then_some(now);
        Ok(held)
    }

    /// The key in the file, which is read each time so that a new one signs as soon as it is there; and the version of the
    /// newest key set, where that has it.
    async fn usable(&self) -> Result<(SigningKey, u64), SigningError> {
        let set = self.newest().await?.unwrap_or(KeySet {
            version: 0,
            created_at: self.clock.now(),
            keys: Vec::new(),
        });
        let living = || {
            let living = set.keys.iter().filter(|entry| entry.retired_at.is_none());
            living.map(|entry| entry.keyid).collect()
        };
        let path = self.path.clone();
        let key = tokio::task::spawn_blocking({
            let path = path.clone();
            move || key_file::load(&path)
        });
        let key = match key.await.expect("reading a key does not panic") {
            Err(KeyFileError::Missing { .. }) => return Err(SigningError::Absent { path, living: living() }),
            key => key?,
        };
        let id = PublicKey::of(&key).id();
        if set.living(&id).is_none() {
            return Err(SigningError::Stranger { path, key: id, version: set.version, living: living() });
        }
        Ok((key, set.version))
    }

    async fn newest(&self) -> Result<Option<KeySet>, SigningError> {
        newest(&self.storage).await
    }

    /// The first key set. Of replicas that begin at once, one makes it.
    async fn first(&self, key: &SigningKey) -> Result<(), SigningError> {
        let now = self.clock.now();
        let entry = KeyEntry::new(PublicKey::of(key), now);
        let id = entry.keyid;
        let set = KeySet { version: 1, created_at: now, keys: vec![entry] };
        let change = KeyChange { by: &Actor::service(), action: "key.create", key: id };
        if self.storage.add_key_set(1, &text(&sign(&set, &[key])), change, now).await? {
            tracing::info!(key.id = %id, path = %self.path.display(), "signs with its first key");
        }
        Ok(())
    }
}

/// The newest key set of a marketplace.
pub(crate) async fn newest(storage: &Storage) -> Result<Option<KeySet>, SigningError> {
    let Some(envelope) = storage.key_set(None).await? else { return Ok(None) };
    Ok(Some(Envelope::unverified(envelope.as_bytes())?))
}

/// An envelope as it is served.
pub(super) fn text(envelope: &Envelope) -> String {
    serde_json::to_string(envelope).expect("an envelope has text keys only")
}

/// A document with a time.
trait Dated: Payload {
    /// Version, made at, expires at, key set.
    fn dated(&self) -> (u64, Timestamp, Timestamp, u64);
}

impl Dated for IndexRoot {
    fn dated(&self) -> (u64, Timestamp, Timestamp, u64) {
        (self.version, self.created_at, self.expires_at, self.keys)
    }
}

impl Dated for Revocations {
    fn dated(&self) -> (u64, Timestamp, Timestamp, u64) {
        (self.version, self.created_at, self.expires_at, self.keys)
    }
}

/// The version that follows. At least the milliseconds of the clock, which nobody signs as fast as: so it is higher than
/// every one before also when an older database was restored, and hosts that have seen those go on. The clock may be wrong:
/// then it is one higher.
fn next(before: Option<&SignedDocument>, now: Timestamp) -> u64 {
    let before = before.map_or(0, |document| document.version);
    (before + 1).max(now.millis().unsigned_abs())
}

/// Whether a document has to be signed anew: there is none, it does not cover everything, speaks of an older key set, is a day
/// old, or was made by a clock that was wrong.
fn is_due(document: Option<&SignedDocument>, covers: i64, state: IndexState, now: Timestamp) -> bool {
    document.is_none_or(|document| {
        document.covers != covers
            || document.keys != state.keys
            || now.since(document.created_at) >= RENEWED_AFTER
            || document.created_at.since(now) > AHEAD
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_signed_anew_when_it_is_old_incomplete_or_from_the_future() {
        let at = Timestamp::from_millis(1_795_255_200_000);
        let state = IndexState { changes: false, unbuilt: false, built: 7, revocations: 0, keys: 2 };
        let keyid = PublicKey::of(&key_file::generate()).id();
        let document =
            SignedDocument { version: 1, keyid, keys: 2, covers: 7, created_at: at, expires_at: at + LIFE };
        let due = |document, now| is_due(Some(&document), 7, state, now);
        assert!(is_due(None, 7, state, at));
        for (now, expected) in [
            (at, false),
            (at + RENEWED_AFTER - Duration::from_millis(1), false),
            (at + RENEWED_AFTER, true),
            (at + 3650 * RENEWED_AFTER, true),
            (at - AHEAD, false),
            (at - 2 * AHEAD, true),
        ] {
            assert_eq!(due(document, now), expected, "{now}");
        }
        let clock = 1_795_255_200_000;
        assert_eq!(next(None, at), clock);
        assert_eq!(next(Some(&document), at), clock, "an older database was restored");
        let ahead = SignedDocument { version: clock + 5, ..document };
        assert_eq!(next(Some(&ahead), at), clock + 6);
        assert!(due(SignedDocument { covers: 6, ..document }, at));
        assert!(due(SignedDocument { keys: 1, ..document }, at));
    }

    #[tokio::test]
    async fn a_first_start_that_is_cut_off_anywhere_locks_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open_sqlite(&folder.path().join("a.db")).await.unwrap();
        let clock = service_kit::clock::SystemClock::shared();
        let [key, made] = ["key.pem", "key.pem.new"].map(|name| folder.path().join(name));
        let prepare = async || Signer::prepare(storage.clone(), clock.clone(), None, key.clone()).await;
        let run = async |sql: &'static str| -> Result<(), sqlx::Error> {
            service_kit::write_tx!(storage.db(), |tx| _ = sqlx::query(sql).execute(&mut *tx).await?);
            Ok(())
        };
        // Before the key was written as a whole, and before the database had it.
        std::fs::write(&made, "-----BEGIN").unwrap();
        run("CREATE TRIGGER cut BEFORE INSERT ON key_sets BEGIN SELECT RAISE(ABORT, 'cut'); END")
            .await
            .unwrap();
        assert!(matches!(prepare().await, Err(SigningError::Storage(_))));
        assert!(made.exists() && !key.exists(), "what the database does not know has not its name yet");
        run("DROP TRIGGER cut").await.unwrap();
        prepare().await.unwrap().step().await.unwrap();
        assert!(key.exists() && !made.exists());
        // Before the key that the database has got its name.
        let bytes = std::fs::read(&key).unwrap();
        std::fs::rename(&key, &made).unwrap();
        assert_eq!(prepare().await.unwrap().step().await.unwrap(), Step::Signed);
        assert_eq!(std::fs::read(&key).unwrap(), bytes);
        // Another replica's key was the first one.
        std::fs::remove_file(&key).unwrap();
        key_file::create(&made, &key_file::generate(), None).unwrap();
        assert!(matches!(prepare().await.unwrap().step().await, Err(SigningError::Absent { .. })));
        assert!(!made.exists() && !key.exists());
    }

    #[tokio::test]
    async fn each_start_signs_once_and_a_key_that_was_lost_gives_the_lease_back() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open_sqlite(&folder.path().join("a.db")).await.unwrap();
        let clock = service_kit::clock::SystemClock::shared();
        let key = folder.path().join("key.pem");
        let signer =
            async || Signer::prepare(storage.clone(), clock.clone(), None, key.clone()).await.unwrap();
        let version = async || storage.signed(Signed::Index).await.unwrap().unwrap().version;
        let first = signer().await;
        assert_eq!(first.step().await.unwrap(), Step::Signed);
        assert_eq!(first.step().await.unwrap(), Step::Idle);
        let before = version().await;
        let second = signer().await;
        assert_eq!(second.step().await.unwrap(), Step::Signed);
        assert!(version().await > before);
        assert_eq!((second.step().await.unwrap(), first.step().await.unwrap()), (Step::Idle, Step::Idle));
        let takes = async || storage.lease(NAME, "another replica", clock.now(), LEASE).await.unwrap();
        assert!(!takes().await);
        std::fs::remove_file(&key).unwrap();
        let third = signer().await;
        assert!(matches!(third.step().await, Err(SigningError::Absent { .. })));
        assert!(takes().await, "whoever has the key signs at once");
    }
}
