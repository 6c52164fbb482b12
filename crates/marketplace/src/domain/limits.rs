//! How much of what an account may do at once. Buckets as a package registry has them: so many at once, then one each
//! interval. Pure values; the buckets themselves are `storage/limits.rs`.

use std::time::Duration;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first release of a name.
    NewName,
    /// A further release of a name, or having a failed one checked again.
    NewVersion,
    /// Yanking, unyanking, deleting.
    Withdrawal,
    /// Inviting owners.
    Invitation,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::NewName, Self::NewVersion, Self::Withdrawal, Self::Invitation];

    /// The word it is stored as.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewName => "new-name",
            Self::NewVersion => "new-version",
            Self::Withdrawal => "withdrawal",
            Self::Invitation => "invitation",
        }
    }

    /// What was asked too often, in messages.
    pub fn what(self) -> &'static str {
        match self {
            Self::NewName => "publishes new names",
            Self::NewVersion => "publishes releases",
            Self::Withdrawal => "yanks, unyanks and deletes releases",
            Self::Invitation => "invites owners",
        }
    }
}

/// A bucket: so many at once, then one each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// How many at once, at least 1.
    pub burst: u32,
    /// The time in which one comes back, at least a millisecond.
    pub interval: Duration,
}

impl Bucket {
    /// The interval in milliseconds.
    pub fn interval_ms(self) -> i64 {
        i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX / 4).clamp(1, i64::MAX / 4)
    }

    /// How far ahead of the time a bucket may be emptied, in milliseconds.
    pub fn depth_ms(self) -> i64 {
        self.interval_ms().saturating_mul(i64::from(self.burst.max(1)))
    }

    /// How long to wait until one can be taken from a bucket that is full again at `full_at_ms`.
    pub fn wait(self, full_at_ms: i64, now_ms: i64) -> Duration {
        let next = full_at_ms.saturating_add(self.interval_ms()).saturating_sub(self.depth_ms());
        Duration::from_millis(u64::try_from(next.saturating_sub(now_ms)).unwrap_or(0))
    }
}

/// A bucket of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// See [`Kind::NewName`].
    pub new_names: Bucket,
    /// See [`Kind::NewVersion`].
    pub new_versions: Bucket,
    /// See [`Kind::Withdrawal`].
    pub withdrawals: Bucket,
    /// See [`Kind::Invitation`].
    pub invitations: Bucket,
}

impl Limits {
    /// The bucket of a kind.
    pub fn of(&self, kind: Kind) -> Bucket {
        match kind {
            Kind::NewName => self.new_names,
            Kind::NewVersion => self.new_versions,
            Kind::Withdrawal => self.withdrawals,
            Kind::Invitation => self.invitations,
        }
    }
}

/// Too much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this account {} faster than it may: {} at once, then one every {} s; try again in {} s",
    kind.what(), bucket.burst, bucket.interval.as_secs_f64(), seconds(*wait)
)]
pub struct Limited {
    /// What was asked too often.
    pub kind: Kind,
    /// How often it may be.
    pub bucket: Bucket,
    /// How long to wait.
    pub wait: Duration,
}

/// Whole seconds, the next ones up: who waits so long is not refused again.
pub fn seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_ends_when_one_has_come_back() {
        let bucket = Bucket { burst: 5, interval: Duration::from_secs(600) };
        assert_eq!((bucket.interval_ms(), bucket.depth_ms()), (600_000, 3_000_000));
        // Emptied at 0: full again after five intervals, and one is back after one.
        for (now, expected) in [(0, 600), (1_000, 599), (600_000, 0), (9_000_000, 0)] {
            assert_eq!(bucket.wait(3_000_000, now), Duration::from_secs(expected), "{now}");
        }
    }

    #[test]
    fn a_refusal_says_how_long_to_wait() {
        let bucket = Bucket { burst: 5, interval: Duration::from_secs(600) };
        let limited = Limited { kind: Kind::NewName, bucket, wait: Duration::from_millis(1_001) };
        let said = limited.to_string();
        assert!(said.contains("publishes new names") && said.contains("5 at once"), "{said}");
        assert!(said.contains("every 600 s") && said.contains("in 2 s"), "{said}");
    }
}
