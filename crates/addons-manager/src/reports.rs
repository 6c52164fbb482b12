//! Tells the marketplace once of each addon that was installed, so that it can be counted: only where the operator wants that
//! (`marketplace.report_installs`).
//!
//! A task of its own, which reads the database and stands in nobody's way: nothing waits for it, and what cannot be sent is
//! sent later or not at all. A report is the addon's name and a number drawn for it alone. It is sent some time after the
//! addon ran, so that its time tells little either.

use std::sync::Arc;
use std::time::Duration;

use addon_client::{ClientError, InstallReport, MarketplaceClient};
use service_kit::clock::SharedClock;
use service_kit::random;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::reconciler::backoff::with_jitter;
use crate::storage::reports::DueReport;
use crate::storage::{Storage, StorageError};

/// How often is looked for what is to be reported.
const LOOK: Duration = Duration::from_secs(60);

/// Reports that are made or sent at one look.
const AT_ONCE: u32 = 10;

/// Longest time between an addon's start and its report.
const LATEST: Duration = Duration::from_secs(600);

/// Wait after the first try in vain; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(600);

/// Longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(12 * 3600);

/// A report is given up after this: marketplaces remember for seven days what they have counted, and would count it again.
const GIVEN_UP: Duration = Duration::from_secs(6 * 24 * 3600);

/// Reports installations. Cheap to clone.
#[derive(Clone)]
pub struct Reporter {
    storage: Storage,
    client: MarketplaceClient,
    clock: SharedClock,
    wake: Arc<Notify>,
}

/// What became of a report that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It was counted, or never will be.
    Done,
    /// It may be counted later, not before this time has passed.
    Later(Duration),
}

impl Reporter {
    /// Reports to the marketplace of this client.
    pub fn new(storage: Storage, client: MarketplaceClient, clock: SharedClock) -> Self {
        Self { storage, client, clock, wake: Arc::default() }
    }

    /// Looks at once, instead of after its usual time.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Reports until `shutdown`. A report under way then is sent again at the next start, and counted once.
    pub async fn run(self, shutdown: CancellationToken) {
        let work = async {
            loop {
                _ = tokio::time::timeout(LOOK, self.wake.notified()).await;
                if let Err(error) = self.look().await {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "installations are not reported at the moment");
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => (),
            () = work => (),
        }
    }

    /// Makes reports of what runs and has none, and sends those that are due.
    ///
    /// # Errors
    /// The database. That the marketplace does not answer is no error: it is asked again later.
    pub async fn look(&self) -> Result<(), StorageError> {
        let now = self.clock.now();
        for installation in self.storage.unreported(AT_ONCE).await? {
            let report: String = random::bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
            let spread = u64::from_be_bytes(random::bytes()) % LATEST.as_secs();
            self.storage.add_report(installation, &report, now, now + Duration::from_secs(spread)).await?;
        }
        for due in self.storage.due_reports(now, AT_ONCE).await? {
            let outcome =
                if now.since(due.made_at) > GIVEN_UP { Outcome::Done } else { self.send(&due).await };
            let next = match outcome {
                Outcome::Done => None,
                Outcome::Later(wait) => Some(now + wait),
            };
            self.storage.report_sent(due.installation, next).await?;
        }
        Ok(())
    }

    async fn send(&self, due: &DueReport) -> Outcome {
        let report = InstallReport { addon: due.addon.clone(), report: due.report.clone() };
        let seed = u64::from_be_bytes(random::bytes());
        match self.client.report_install(&report).await {
            Ok(counted) => {
                tracing::debug!(addon.name = due.addon, counted, "an installation was reported");
                Outcome::Done
            }
            Err(error) => judge(&error, due.attempts, seed),
        }
    }
}

/// When to send a report again after this error.
fn judge(error: &ClientError, attempts: u32, seed: u64) -> Outcome {
    // A token that is not good is mended by somebody; any other refusal stays one.
    if !error.is_transient() && !matches!(error.status(), Some(401 | 403)) {
        tracing::debug!(%error, "the marketplace counts no installations");
        return Outcome::Done;
    }
    let asked = match error {
        ClientError::Problem { retry_after_s, .. } => retry_after_s.map(Duration::from_secs),
        _ => None,
    };
    let wait = FIRST_WAIT.saturating_mul(1 << attempts.min(16)).min(LONGEST_WAIT);
    Outcome::Later(with_jitter(wait.max(asked.unwrap_or_default()), seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, retry_after_s: Option<u64>) -> ClientError {
        let problem = serde_json::from_value(serde_json::json!({
            "type": "about:blank", "title": "x", "status": status, "detail": "x", "code": "x", "message": "x"}))
        .unwrap();
        ClientError::Problem { url: "x".to_owned(), status, problem: Box::new(problem), retry_after_s }
    }

    #[test]
    fn what_may_help_later_is_sent_later_and_less_and_less_often() {
        let wait = |status, attempts, after| match judge(&refused(status, after), attempts, 7) {
            Outcome::Later(wait) => wait.as_secs(),
            Outcome::Done => 0,
        };
        for status in [400, 404, 405, 415, 422] {
            assert_eq!(wait(status, 0, None), 0, "{status}");
        }
        for status in [401, 403, 429, 500, 503] {
            assert!((600..=660).contains(&wait(status, 0, None)), "{status}");
        }
        assert!((1200..=1320).contains(&wait(503, 1, None)));
        assert!((43_200..=47_520).contains(&wait(503, 40, None)));
        assert!((7200..=7920).contains(&wait(429, 0, Some(7200))));
    }
}
