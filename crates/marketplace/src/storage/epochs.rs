//! Which answers that were made from the database still hold.
//!
//! Whoever keeps an answer notes the epoch *before* it reads, and uses the answer only while the epoch is the same. A
//! write moves the epoch after its commit and before its caller is told, so nobody is shown what was before their own
//! write. (With several replicas at one PostgreSQL, a notification will move the epochs of the others.)

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};

use addon_client::ReleaseId;

/// Releases that share an epoch: a write to one drops a few kept answers about others.
const SLOTS: usize = 1024;

/// The epochs of everything that answers are made of.
#[derive(Debug)]
pub struct Epochs {
    lists: AtomicU64,
    releases: Box<[AtomicU64]>,
}

/// What an answer was made of.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// One release, whatever its status.
    Release(ReleaseId),
    /// Approved releases.
    Approved,
}

impl Default for Epochs {
    fn default() -> Self {
        Self { lists: AtomicU64::new(0), releases: (0..SLOTS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Epochs {
    /// The epoch of a source now.
    pub fn of(&self, source: Source) -> u64 {
        self.slot(source).load(Ordering::Acquire)
    }

    /// Answers made of this source hold no longer.
    pub(super) fn end(&self, source: Source) {
        self.slot(source).fetch_add(1, Ordering::AcqRel);
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
}
