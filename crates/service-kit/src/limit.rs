//! How often an address may do something: so many at once, then one each interval. Kept in memory, of each replica alone.
//!
//! Wrong tokens are bounded so; one that is good passes at any time, so that nobody can lock its holder out.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Most buckets that are remembered at once.
const REMEMBERED: usize = 4_096;

/// So many at once, then one each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many at once; 0: as many as one likes.
    pub burst: u32,
    /// The time in which one comes back, in milliseconds.
    pub interval_ms: u64,
}

/// What was done of late, by whoever did it: one bucket each.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    /// When one's bucket is full again, in milliseconds.
    full_at_ms: Mutex<HashMap<K, i64>>,
}

impl<K: Eq + Hash> Buckets<K> {
    /// Full buckets for all.
    pub fn new(rate: Rate) -> Self {
        Self { rate, full_at_ms: Mutex::default() }
    }

    /// Takes one from somebody's bucket; how long to wait where it is empty.
    pub fn take(&self, whose: K, now_ms: i64) -> Option<Duration> {
        let interval = i64::try_from(self.rate.interval_ms).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
        let depth = interval.saturating_mul(i64::from(self.rate.burst));
        if depth == 0 {
            return None;
        }
        let mut known = self.full_at_ms.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.retain(|_, full_at| *full_at > now_ms);
            // Many at once are not bounded by what is remembered of each.
            if known.len() >= REMEMBERED {
                known.clear();
            }
        }
        // A clock that was set back is no reason to wait for what it showed.
        let full_at = known.entry(whose).or_insert(now_ms);
        let next = (*full_at).clamp(now_ms, now_ms.saturating_add(depth)).saturating_add(interval);
        if next.saturating_sub(now_ms) <= depth {
            *full_at = next;
            return None;
        }
        let wait = next.saturating_sub(now_ms).saturating_sub(depth);
        Some(Duration::from_millis(wait.unsigned_abs().max(1)))
    }
}

/// The wrong tokens of late, by address.
#[derive(Debug)]
pub(crate) struct WrongTokens(Buckets<IpAddr>);

impl WrongTokens {
    pub(crate) fn new(rate: Rate) -> Self {
        Self(Buckets::new(rate))
    }

    /// Notes a wrong token; how long to wait where that was one too many.
    pub(crate) fn note(&self, from: IpAddr, now_ms: i64) -> Option<Duration> {
        self.0.take(network(from), now_ms)
    }
}

/// Whose an address is, for bounds: whoever has one IPv6 address has the 2^64 of its network, and these are one.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn so_many_at_once_then_one_each_interval() {
        let wrong = WrongTokens::new(Rate { burst: 3, interval_ms: 1_000 });
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..3 {
            assert_eq!(wrong.note(one, 0), None);
        }
        assert_eq!(wrong.note(one, 0), Some(Duration::from_secs(1)));
        assert_eq!(wrong.note(one, 999), Some(Duration::from_millis(1)));
        assert_eq!(wrong.note(other, 0), None, "each address has its own");
        assert_eq!(wrong.note(one, 1_000), None);
        assert_eq!(wrong.note(one, 1_000), Some(Duration::from_secs(1)));
        assert_eq!(wrong.note(one, -1_000_000), Some(Duration::from_secs(1)), "a clock that was set back");
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_mapped_addresses_are_what_they_map() {
        let wrong = WrongTokens::new(Rate { burst: 1, interval_ms: 1_000 });
        assert_eq!(wrong.note(address("2001:db8::1"), 0), None);
        assert!(wrong.note(address("2001:db8::ffff:1"), 0).is_some());
        assert_eq!(wrong.note(address("2001:db8:0:1::1"), 0), None);
        assert_eq!(wrong.note(address("::ffff:192.0.2.1"), 0), None);
        assert!(wrong.note(address("192.0.2.1"), 0).is_some());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_nothing_is_no_bound() {
        let wrong = WrongTokens::new(Rate { burst: 1, interval_ms: 1_000 });
        for n in 0..20_000_u32 {
            wrong.note(IpAddr::V4(n.into()), 0);
        }
        assert!(wrong.0.full_at_ms.lock().unwrap().len() <= REMEMBERED);
        let free = WrongTokens::new(Rate { burst: 0, interval_ms: 1_000 });
        assert!((0..1_000).all(|_| free.note(address("192.0.2.1"), 0).is_none()));
    }
}
