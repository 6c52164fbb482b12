//! Which answers that were made from the database still hold.
//!
//! Whoever keeps an answer notes the epoch *before* it reads, and uses the answer only while the epoch is the same. A
//! write moves the epoch after its commit and before its caller is told, so nobody is shown what was before their own
//! write. What other replicas write moves the epochs here as soon as it is heard of (`notify.rs`).

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use addon_client::ReleaseId;

/// Releases that share an epoch: a write to one drops a few kept answers about others.
const SLOTS: usize = 1024;

/// How long what others changed need not be looked for again: kept answers are at most so old.
const HOLDS: Duration = Duration::from_secs(1);

/// What [`Epochs::read_at`] is where there are no others.
const ALONE: u64 = u64::MAX;

/// The epochs of everything that answers are made of.
#[derive(Debug)]
pub struct Epochs {
    /// Counts up when nothing that is kept holds any longer.
    everything: AtomicU64,
    lists: AtomicU64,
    releases: Box<[AtomicU64]>,
    begun: Instant,
    /// When it was last read what others have changed, in milliseconds since `begun`.
    read_at: AtomicU64,
}

/// What an answer was made of.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// One release, whatever its status.
    Release(ReleaseId),
    /// Approved releases.
    Approved,
}

impl Source {
    /// A source as other replicas name it.
    pub(super) fn parse(topic: &str, subject: &str) -> Option<Self> {
        match topic {
            "release" => Some(Self::Release(subject.parse().ok()?)),
            "approved" => Some(Self::Approved),
            _ => None,
        }
    }
}

impl Default for Epochs {
    fn default() -> Self {
        Self {
            everything: AtomicU64::new(0),
            lists: AtomicU64::new(0),
            releases: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            begun: Instant::now(),
            read_at: AtomicU64::new(ALONE),
        }
    }
}

impl Epochs {
    /// The epoch of a source now.
    pub fn of(&self, source: Source) -> u64 {
        // Both only ever grow, so their sum tells when either did.
        self.slot(source).load(Ordering::Acquire) + self.everything.load(Ordering::Acquire)
    }

    /// Whether the epochs can be believed: not where others change what is kept here, and nobody has looked for a second, as
    /// after this process stood still.
    pub fn are_current(&self) -> bool {
        let read_at = self.read_at.load(Ordering::Acquire);
        read_at == ALONE || self.begun.elapsed() <= Duration::from_millis(read_at) + HOLDS
    }

    /// What others had changed until then is known.
    pub(super) fn read(&self, at: Instant) {
        let at = at.saturating_duration_since(self.begun).as_millis();
        self.read_at.store(u64::try_from(at).unwrap_or(ALONE - 1), Ordering::Release);
    }

    /// Answers made of this source hold no longer.
    pub(super) fn end(&self, source: Source) {
        self.slot(source).fetch_add(1, Ordering::AcqRel);
    }

    /// No answer holds any longer.
    pub(super) fn end_all(&self) {
        self.everything.fetch_add(1, Ordering::AcqRel);
    }

    fn slot(&self, source: Source) -> &AtomicU64 {
        match source {
            Source::Approved => &self.lists,
            Source::Release(id) => {
                let mut hasher = DefaultHasher::new();
                id.hash(&mut hasher);
                let slot = hasher.finish() % SLOTS as u64;
                &self.releases[usize::try_from(slot).expect("the number of slots is small")]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_ends_the_epoch_of_its_own_source() {
        let epochs = Epochs::default();
        let id = ReleaseId::new(1, [2; 8]);
        let (release, lists) = (epochs.of(Source::Release(id)), epochs.of(Source::Approved));
        epochs.end(Source::Release(id));
        assert_ne!(epochs.of(Source::Release(id)), release);
        assert_eq!(epochs.of(Source::Approved), lists);
        epochs.end(Source::Approved);
        assert_ne!(epochs.of(Source::Approved), lists);
    }

    #[test]
    fn everything_can_end_at_once() {
        let epochs = Epochs::default();
        let sources = [Source::Release(ReleaseId::new(1, [2; 8])), Source::Approved];
        let before = sources.map(|source| epochs.of(source));
        epochs.end_all();
        for (source, before) in sources.into_iter().zip(before) {
            assert_ne!(epochs.of(source), before, "{source:?}");
        }
    }

    #[test]
    fn what_nobody_looked_for_is_not_believed() {
        let epochs = Epochs::default();
        assert!(epochs.are_current(), "there are no others");
        epochs.read(Instant::now());
        assert!(epochs.are_current());
        let late = Epochs { begun: Instant::now().checked_sub(HOLDS * 2).unwrap(), ..Epochs::default() };
        late.read(late.begun);
        assert!(!late.are_current());
        late.read(Instant::now());
        assert!(late.are_current());
    }

    #[test]
    fn a_source_of_a_later_version_is_none_here() {
        let id = ReleaseId::new(1, [2; 8]);
        assert!(matches!(Source::parse("release", &id.to_string()), Some(Source::Release(of)) if of == id));
        assert!(matches!(Source::parse("approved", ""), Some(Source::Approved)));
        assert!(Source::parse("release", "none").is_none() && Source::parse("weather", "").is_none());
    }
}
