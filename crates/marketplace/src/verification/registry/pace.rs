//! How fast a registry is asked: so many requests at once, whoever asks, and none while it wants to be left alone (429, and
//! whatever else comes with `Retry-After`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use addon_client::Timestamp;
use tokio::sync::Semaphore;

/// Requests to one registry at once.
pub(super) const AT_ONCE: usize = 16;
/// Longest that a registry's own wish is followed: one that asks for more is asked anyway.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// First pause where it does not say how long, in times of what counts as slow; each further one is twice as long.
const FIRST_UNSAID: u32 = 2;
/// The longest of those.
const LONGEST_UNSAID: u32 = 24;
/// Registries that are remembered at most: references name hosts, and anybody can write references.
const MOST: usize = 1024;

/// What each registry can take.
#[derive(Debug)]
pub(super) struct Pace {
    slow: Duration,
    registries: Mutex<HashMap<String, Kept>>,
}

#[derive(Debug)]
struct Kept {
    gate: Arc<Semaphore>,
    until: Timestamp,
    unsaid: Duration,
}

impl Pace {
    pub(super) fn new(slow: Duration) -> Self {
        Self { slow, registries: Mutex::default() }
    }

    /// How long this registry is still to be left alone.
    pub(super) fn left(&self, registry: &str, now: Timestamp) -> Option<Duration> {
        let left = self.registries().get(registry)?.until.since(now);
        (!left.is_zero()).then_some(left)
    }

    /// What holds requests back while too many are under way.
    pub(super) fn gate(&self, registry: &str, now: Timestamp) -> Arc<Semaphore> {
        Arc::clone(&kept(&mut self.registries(), registry, now).gate)
    }

    /// It wants to be left alone: for so long, or it does not say how long. Answers until when it is.
    pub(super) fn pause(&self, registry: &str, wish: Option<Duration>, now: Timestamp) -> Timestamp {
        let mut registries = self.registries();
        let kept = kept(&mut registries, registry, now);
        let wait = wish.map_or_else(
            || {
                // Answers to requests that were under way together are one.
                if kept.until <= now {
                    let (first, longest) = (self.slow * FIRST_UNSAID, self.slow * LONGEST_UNSAID);
                    kept.unsaid = (kept.unsaid * 2).clamp(first, longest);
                }
                kept.unsaid
            },
            |wish| wish.min(LONGEST),
        );
        kept.until = kept.until.max(now + wait);
        kept.until
    }

    /// Others were told that it wants to be left alone until then.
    pub(super) fn heard(&self, registry: &str, until: Timestamp, now: Timestamp) {
        if until > now {
            let mut registries = self.registries();
            let kept = kept(&mut registries, registry, now);
            kept.until = kept.until.max(until.min(now + LONGEST));
        }
    }

    /// It answers again.
    pub(super) fn answered(&self, registry: &str) {
        if let Some(kept) = self.registries().get_mut(registry) {
            kept.unsaid = Duration::ZERO;
        }
    }

    fn registries(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.registries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kept<'a>(registries: &'a mut HashMap<String, Kept>, registry: &str, now: Timestamp) -> &'a mut Kept {
    if registries.len() >= MOST && !registries.contains_key(registry) {
        registries.retain(|_, kept| kept.until > now || Arc::strong_count(&kept.gate) > 1);
    }
    if registries.len() >= MOST && !registries.contains_key(registry) {
        // All of them pause: the one whose pause ends first is forgotten.
        let first = registries.iter().min_by_key(|(_, kept)| kept.until).map(|(name, _)| name.clone());
        first.and_then(|name| registries.remove(&name));
    }
    registries.entry(registry.to_owned()).or_insert_with(|| Kept {
        gate: Arc::new(Semaphore::new(AT_ONCE)),
        until: Timestamp::from_millis(0),
        unsaid: Duration::ZERO,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000_000 + second * 1000)
    }

    #[test]
    fn what_a_registry_asks_for_is_kept_to_and_bounded() {
        let pace = Pace::new(SECOND);
        assert_eq!(pace.left("r", at(0)), None);
        assert_eq!(pace.pause("r", Some(SECOND * 120), at(0)), at(120));
        assert_eq!(pace.left("r", at(119)), Some(SECOND));
        assert_eq!(pace.left("r", at(120)), None);
        assert_eq!(pace.left("other", at(0)), None);
        pace.pause("r", Some(SECOND), at(0));
        assert_eq!(pace.left("r", at(119)), Some(SECOND), "the longest counts");
        assert_eq!(pace.pause("forever", Some(Duration::MAX), at(0)), at(3600));
    }

    #[test]
    fn who_does_not_say_how_long_is_left_alone_for_longer_each_time() {
        let pace = Pace::new(SECOND);
        let mut now = 0;
        for expected in [2, 4, 8, 16, 24, 24] {
            assert_eq!(pace.pause("r", None, at(now)), at(now + expected));
            assert_eq!(pace.pause("r", None, at(now)), at(now + expected), "they were under way together");
            now += expected;
        }
        pace.answered("r");
        assert_eq!(pace.pause("r", None, at(now)), at(now + 2));
    }

    #[test]
    fn what_others_were_told_counts_too() {
        let pace = Pace::new(SECOND);
        pace.heard("r", at(10), at(0));
        assert_eq!(pace.left("r", at(0)), Some(SECOND * 10));
        pace.heard("r", at(5), at(0));
        assert_eq!(pace.left("r", at(0)), Some(SECOND * 10));
        pace.heard("r", at(1_000_000), at(0));
        assert_eq!(
            pace.left("r", at(0)),
            Some(LONGEST),
            "a clock that is wrong elsewhere stops nothing for long"
        );
    }

    #[test]
    fn so_many_requests_are_under_way_at_once() {
        let pace = Pace::new(SECOND);
        let gate = pace.gate("r", at(0));
        let held: Vec<_> = (0..AT_ONCE).map(|_| gate.try_acquire().unwrap()).collect();
        assert!(pace.gate("r", at(0)).try_acquire().is_err(), "whoever asks");
        assert!(pace.gate("other", at(0)).try_acquire().is_ok());
        drop(held);
        assert!(gate.try_acquire().is_ok());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let pace = Pace::new(SECOND);
        for n in 0..MOST + 10 {
            pace.pause(&n.to_string(), Some(SECOND * 10), at(0));
        }
        assert_eq!(pace.registries().len(), MOST);
        pace.gate("new", at(100));
        assert_eq!(pace.registries().len(), 1);
    }
}
