//! When to try again: pure arithmetic over what failed and when.

use std::time::Duration;

use service_kit::clock::Timestamp;

use super::state::{Attempt, EndedBy, ErrorKind, StartedBy};

/// Delay of the second failure; each further one doubles it.
pub const FIRST_DELAY: Duration = Duration::from_secs(10);

/// Longest delay.
pub const LONGEST_DELAY: Duration = Duration::from_secs(300);

/// A run of this length is a good one: failures before it are forgotten, and a container gets its restart policy back.
pub const GOOD_RUN: Duration = Duration::from_secs(600);

/// Restarts by the engine within [`LOOP_WINDOW`] after which a container is taken out of its hands.
pub const LOOP_RESTARTS: usize = 5;

/// See [`LOOP_RESTARTS`].
pub const LOOP_WINDOW: Duration = Duration::from_secs(300);

/// The delay after so many failures in a row: none after the first, then `min(10 s x 2^n, 300 s)`.
pub fn delay(failures: u32) -> Duration {
    match failures.checked_sub(2) {
        None => Duration::ZERO,
        Some(doublings) => LONGEST_DELAY.min(FIRST_DELAY.saturating_mul(1 << doublings.min(16))),
    }
}

/// Up to a tenth more, so that what failed together does not come back together. The same seed gives the same delay: a plan is repeatable.
pub fn with_jitter(delay: Duration, seed: u64) -> Duration {
    // The finalizer of SplitMix64 spreads neighbouring seeds over the whole range.
    let mut hash = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    let spread = u64::try_from(delay.as_millis() / 10).unwrap_or(u64::MAX);
    delay + Duration::from_millis(if spread == 0 { 0 } else { hash % (spread + 1) })
}

/// How slowly something is tried again that needs a change nobody tells us of.
pub fn slow_delay(kind: ErrorKind) -> Option<Duration> {
    Some(match kind {
        // A port or name that a process of the host or a container in removal holds comes free without an event.
        ErrorKind::PortTaken | ErrorKind::NameTaken | ErrorKind::InUse => Duration::from_secs(30),
        ErrorKind::DiskFull | ErrorKind::AddressPool => Duration::from_secs(60),
        ErrorKind::Authentication | ErrorKind::Configuration => LONGEST_DELAY,
        ErrorKind::Retry | ErrorKind::Never | ErrorKind::Unhealthy | ErrorKind::Forgiven => return None,
    })
}

/// What an attempt counts as.
pub fn is_failure(attempt: &Attempt, is_job: bool) -> bool {
    match &attempt.error {
        Some(error) => error.kind != ErrorKind::Forgiven,
        None if attempt.ended_at.is_none() => attempt.unhealthy_at.is_some(),
        None => attempt.ended_by == Some(EndedBy::Itself) && !(is_job && attempt.exit_code == Some(0)),
    }
}

/// When an attempt failed.
pub fn failed_at(attempt: &Attempt) -> Timestamp {
    attempt.ended_at.or(attempt.unhealthy_at).unwrap_or(attempt.started_at)
}

/// Failures in a row that are ours to answer, newest first: those that the engine answered by a restart are not, and a good run ends the row.
pub fn failures(attempts: &[Attempt], is_job: bool, now: Timestamp) -> Vec<&Attempt> {
    let mut counted = Vec::new();
    let mut restarted_by_engine = false;
    for attempt in attempts {
        if !restarted_by_engine && is_failure(attempt, is_job) {
            counted.push(attempt);
        }
        if attempt.engine_id.is_some() {
            restarted_by_engine = attempt.started_by == StartedBy::Engine;
            let end = attempt.ended_at.or(attempt.unhealthy_at).unwrap_or(now);
            if end.since(attempt.started_at) >= GOOD_RUN {
                break;
            }
        }
    }
    counted
}

/// Restarts by the engine that lie within [`LOOP_WINDOW`] of `now`.
pub fn engine_restarts(attempts: &[Attempt], now: Timestamp) -> usize {
    attempts
        .iter()
        .filter(|attempt| {
            attempt.started_by == StartedBy::Engine && now.since(attempt.started_at) < LOOP_WINDOW
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconciler::state::AttemptError;

    const SECOND: i64 = 1_000;

    fn run(row: i64, by: StartedBy, started: i64, ended: Option<i64>) -> Attempt {
        Attempt {
            row,
            engine_id: Some("c".into()),
            started_by: by,
            started_at: Timestamp::from_millis(started * SECOND),
            unhealthy_at: None,
            ended_at: ended.map(|at| Timestamp::from_millis(at * SECOND)),
            exit_code: ended.map(|_| 1),
            oom: false,
            ended_by: ended.map(|_| EndedBy::Itself),
            watched: true,
            error: None,
            not_before: None,
            logs: None,
        }
    }

    fn count(attempts: &[Attempt], now: i64) -> usize {
        failures(attempts, false, Timestamp::from_millis(now * SECOND)).len()
    }

    #[test]
    fn the_first_failure_costs_nothing_and_later_ones_double_up_to_five_minutes() {
        let seconds: Vec<u64> = (0..=9).map(|failures| delay(failures).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(delay(u32::MAX), LONGEST_DELAY);
    }

    #[test]
    fn jitter_adds_at_most_a_tenth_and_is_repeatable() {
        for seed in 0..1_000 {
            let jittered = with_jitter(FIRST_DELAY, seed);
            assert!(jittered >= FIRST_DELAY && jittered <= Duration::from_secs(11), "{jittered:?}");
            assert_eq!(jittered, with_jitter(FIRST_DELAY, seed));
        }
        let distinct: std::collections::BTreeSet<_> =
            (0..100).map(|seed| with_jitter(FIRST_DELAY, seed)).collect();
        assert!(distinct.len() > 50, "jitter spreads: {}", distinct.len());
        assert_eq!(with_jitter(Duration::ZERO, 7), Duration::ZERO);
    }

    #[test]
    fn a_good_run_forgets_what_failed_before_it() {
        let short = [run(2, StartedBy::Manager, 100, Some(110)), run(1, StartedBy::Manager, 0, Some(90))];
        assert_eq!(count(&short, 111), 2);
        let long = [run(2, StartedBy::Manager, 100, Some(700)), run(1, StartedBy::Manager, 0, Some(90))];
        assert_eq!(count(&long, 701), 1);
        let running_well = [run(2, StartedBy::Manager, 100, None), run(1, StartedBy::Manager, 0, Some(90))];
        assert_eq!(count(&running_well, 200), 1);
        assert_eq!(count(&running_well, 700), 0);
    }

    #[test]
    fn what_the_engine_answered_is_not_ours_to_answer() {
        let attempts = [
            run(3, StartedBy::Engine, 20, Some(30)),
            run(2, StartedBy::Engine, 10, Some(20)),
            run(1, StartedBy::Manager, 0, Some(10)),
        ];
        assert_eq!(count(&attempts, 31), 1);
        assert_eq!(engine_restarts(&attempts, Timestamp::from_millis(31 * SECOND)), 2);
        assert_eq!(engine_restarts(&attempts, Timestamp::from_millis(315 * SECOND)), 1);
    }

    #[test]
    fn what_a_person_the_engine_or_we_ended_is_no_failure() {
        for by in [EndedBy::Person, EndedBy::Engine, EndedBy::Manager] {
            let mut attempt = run(1, StartedBy::Manager, 0, Some(5));
            attempt.ended_by = Some(by);
            assert_eq!(count(&[attempt], 6), 0, "{by:?}");
        }
    }

    #[test]
    fn an_exit_with_0_is_a_failure_of_a_service_and_none_of_a_job() {
        let mut attempt = run(1, StartedBy::Manager, 0, Some(5));
        attempt.exit_code = Some(0);
        assert!(is_failure(&attempt, false));
        assert!(!is_failure(&attempt, true));
    }

    #[test]
    fn an_error_counts_until_it_is_forgiven() {
        let mut attempt = run(1, StartedBy::Manager, 0, Some(5));
        attempt.ended_by = Some(EndedBy::Manager);
        attempt.error = Some(AttemptError { kind: ErrorKind::PortTaken, message: "taken".into() });
        assert!(is_failure(&attempt, true));
        attempt.error = Some(AttemptError { kind: ErrorKind::Forgiven, message: "taken".into() });
        assert!(!is_failure(&attempt, true));
    }

    #[test]
    fn an_unhealthy_run_has_failed_though_it_runs() {
        let mut attempt = run(1, StartedBy::Manager, 0, None);
        assert!(!is_failure(&attempt, false));
        attempt.unhealthy_at = Some(Timestamp::from_millis(9));
        assert!(is_failure(&attempt, false));
        assert_eq!(failed_at(&attempt).millis(), 9);
    }
}
