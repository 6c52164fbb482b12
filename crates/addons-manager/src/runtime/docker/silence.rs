//! Whether the engine still answers: every call is watched, and one that says nothing for a while has a cheap question asked beside it.
//!
//! An engine that hangs takes connections and never answers, while some calls may rightly take minutes. So a call's own deadline says how
//! long it may take, and the question beside it, which takes an engine no time, whether there is anybody. It knows no call by name.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::errors::Error as ClientError;
use tokio::time::Instant;

use super::Inner;
use super::errors::Failure;

/// Since when nothing has been answered.
#[derive(Debug, Default)]
pub(super) struct Silence(Mutex<Option<Instant>>);

impl Silence {
    fn first(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long ago the first call was made that has no answer; `None` when a later one had.
    pub(super) fn since_first(&self) -> Option<Duration> {
        self.first().map(|first| first.elapsed())
    }

    /// Writes down how a call that was made at that time has ended.
    fn note<T>(&self, begun: Instant, outcome: &Result<T, Failure>) {
        match outcome {
            Err(Failure::Unreachable(_) | Failure::Deadline(_)) => {
                self.first().get_or_insert(begun);
            }
            Ok(_) | Err(_) => *self.first() = None,
        }
    }
}

impl Inner {
    /// Waits for a call at most so long, and no longer than the engine gives a sign of life.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        let outcome = tokio::select! {
            biased;
            outcome = tokio::time::timeout(limit, call) => match outcome {
                Ok(answer) => answer.map_err(Failure::from),
                Err(_) => Err(Failure::Deadline(limit)),
            },
            failure = self.falls_silent() => Err(failure),
        };
        self.silence.note(begun, &outcome);
        outcome
    }

    /// Ends when the engine gives no sign of life any more: it is asked for one again and again.
    pub(super) async fn falls_silent(&self) -> Failure {
        let timeouts = &self.settings.timeouts;
        loop {
            tokio::time::sleep(timeouts.heartbeat).await;
            let client = match self.client() {
                Ok(client) => client,
                Err(failure) => return failure,
            };
            let begun = Instant::now();
            let pong = match tokio::time::timeout(timeouts.ping, client.ping()).await {
                Ok(answer) => answer.map_err(Failure::from),
                Err(_) => Err(Failure::Unreachable(format!("no sign of life within {:?}", timeouts.ping))),
            };
            self.silence.note(begun, &pong);
            // An answer that is an error is an answer.
            if let Err(failure @ Failure::Unreachable(_)) = pong {
                return failure;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_from_the_first_call_without_an_answer_until_one_is_answered() {
        let silence = Silence::default();
        let unreachable = || Err::<(), _>(Failure::Unreachable("gone".to_owned()));
        assert_eq!(silence.since_first(), None);
        let now = Instant::now();
        let first = now.checked_sub(Duration::from_secs(10)).expect("the machine runs for longer");
        silence.note(first, &unreachable());
        silence.note(now, &unreachable());
        assert!(silence.since_first().is_some_and(|since| since >= Duration::from_secs(10)));
        let refused = Failure::Answer { status: 500, message: "no".to_owned() };
        silence.note(first, &Err::<(), _>(refused));
        assert_eq!(silence.since_first(), None, "an error is an answer");
        silence.note(first, &Err::<(), _>(Failure::Deadline(Duration::from_secs(1))));
        assert!(silence.since_first().is_some());
        silence.note(now, &Ok(()));
        assert_eq!(silence.since_first(), None);
    }
}
