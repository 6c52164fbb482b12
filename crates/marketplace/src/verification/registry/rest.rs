//! Registries that let questions time out are left alone for a while, so that one that hangs does not hold up the images
//! of all others: meanwhile its images have no answer at once, and then one question finds out whether it is back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A registry's first rest, in times of what counts as slow; each further one is twice as long.
const FIRST: u32 = 2;
/// Its longest.
const LONGEST: u32 = 12;
/// Registries that are remembered at most: references name hosts, and anybody can write references.
const MOST: usize = 1024;

/// Which registries rest.
#[derive(Debug)]
pub(super) struct Rests {
    /// An answerless question of this length was one that timed out.
    slow: Duration,
    /// Longest time that a question may take.
    patience: Duration,
    hosts: Mutex<HashMap<String, Rest>>,
}

#[derive(Debug, Clone, Copy)]
struct Rest {
    since: Instant,
    until: Instant,
    length: Duration,
}

/// A question that is being asked. One that is given up in the middle counts as one that timed out.
#[derive(Debug)]
pub(super) struct Question<'a> {
    rests: &'a Rests,
    host: &'a str,
    begun: Instant,
    answered: bool,
}

impl Rests {
    pub(super) fn new(slow: Duration, patience: Duration) -> Self {
        Self { slow, patience, hosts: Mutex::default() }
    }

    /// Lets a question to this host begin; or says how long the host is left alone yet, unless it is to be asked at once.
    pub(super) fn begin<'a>(
        &'a self,
        host: &'a str,
        at_once: bool,
        now: Instant,
    ) -> Result<Question<'a>, Duration> {
        if let Some(rest) = self.hosts().get_mut(host) {
            if now < rest.until && !at_once {
                return Err(rest.until - now);
            }
            // This question finds out for all others.
            rest.until = now + self.patience;
        }
        Ok(Question { rests: self, host, begun: now, answered: false })
    }

    fn end(&self, host: &str, begun: Instant, slow: bool, now: Instant) {
        let mut hosts = self.hosts();
        if !slow {
            hosts.remove(host);
            return;
        }
        if hosts.len() >= MOST {
            hosts.retain(|_, rest| rest.until > now);
        }
        if hosts.len() >= MOST && !hosts.contains_key(host) {
            return;
        }
        let (first, longest) = (self.slow * FIRST, self.slow * LONGEST);
        let rest =
            hosts.entry(host.to_owned()).or_insert(Rest { since: begun, until: now, length: Duration::ZERO });
        // Questions that were under way together are one experience.
        if begun >= rest.since {
            *rest = Rest { since: now, until: now, length: (rest.length * 2).clamp(first, longest) };
        }
        rest.until = now + rest.length;
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<String, Rest>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Question<'_> {
    /// There was an answer, or there was none (`no_answer`): at once, or only after a time that is too long.
    pub(super) fn end(mut self, no_answer: bool, now: Instant) {
        self.answered = true;
        let slow = no_answer && now - self.begun >= self.rests.slow;
        self.rests.end(self.host, self.begun, slow, now);
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let now = Instant::now();
            self.rests.end(self.host, self.begun, now - self.begun >= self.rests.slow, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rests() -> Rests {
        Rests::new(SECOND, SECOND * 30)
    }

    #[test]
    fn one_that_is_to_be_asked_at_once_is_so_while_it_rests() {
        let (rests, now) = (rests(), Instant::now());
        rests.begin("r", false, now).unwrap().end(true, now + SECOND);
        let now = now + SECOND;
        assert_eq!(rests.begin("r", false, now).unwrap_err(), SECOND * 2);
        let question = rests.begin("r", true, now).unwrap();
        assert_eq!(
            rests.begin("r", false, now).unwrap_err(),
            SECOND * 30,
            "others wait for what it finds out"
        );
        question.end(false, now);
        assert!(rests.begin("r", false, now).is_ok(), "it is back");
    }

    #[test]
    fn a_host_that_times_out_rests_and_then_is_asked_once() {
        let (rests, now) = (rests(), Instant::now());
        let first = rests.begin("r", false, now).unwrap();
        let second = rests.begin("r", false, now).unwrap();
        first.end(true, now + SECOND);
        second.end(true, now + SECOND);
        let now = now + SECOND;
        assert_eq!(rests.begin("r", false, now).unwrap_err(), SECOND * 2);
        assert!(rests.begin("other", false, now).is_ok());
        let now = now + SECOND * 2;
        let probe = rests.begin("r", false, now).unwrap();
        assert_eq!(rests.begin("r", false, now).unwrap_err(), SECOND * 30, "one question at a time");
        probe.end(false, now);
        assert!(rests.begin("r", false, now).is_ok());
    }

    #[test]
    fn rests_grow_to_a_bound_and_an_answer_ends_them() {
        let (rests, mut now) = (rests(), Instant::now());
        for expected in [2, 4, 8, 12, 12] {
            let question = rests.begin("r", false, now).unwrap();
            now += SECOND;
            question.end(true, now);
            assert_eq!(rests.begin("r", false, now).unwrap_err(), SECOND * expected);
            now += SECOND * expected;
        }
        rests.begin("r", false, now).unwrap().end(false, now);
        rests.begin("r", false, now).unwrap().end(true, now + SECOND);
        assert_eq!(rests.begin("r", false, now + SECOND).unwrap_err(), SECOND * 2);
    }

    #[test]
    fn no_answer_at_once_is_no_reason_to_rest() {
        let (rests, now) = (rests(), Instant::now());
        rests.begin("r", false, now).unwrap().end(true, now + SECOND / 2);
        assert!(rests.begin("r", false, now + SECOND / 2).is_ok());
    }

    #[test]
    fn a_question_that_is_given_up_counts() {
        let rests = rests();
        drop(rests.begin("r", false, Instant::now().checked_sub(SECOND * 2).unwrap()).unwrap());
        assert!(rests.begin("r", false, Instant::now()).is_err());
        drop(rests.begin("quick", false, Instant::now()).unwrap());
        assert!(rests.begin("quick", false, Instant::now()).is_ok(), "as at the end of the process");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (rests, now) = (rests(), Instant::now());
        for n in 0..MOST + 10 {
            let host = n.to_string();
            rests.begin(&host, false, now).unwrap().end(true, now + SECOND);
        }
        assert_eq!(rests.hosts().len(), MOST);
        let later = now + SECOND * 100;
        rests.begin("new", false, later).unwrap().end(true, later + SECOND);
        assert_eq!(rests.hosts().len(), 1);
    }
}
