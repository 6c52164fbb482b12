//! The loop that takes releases from the queue: facts, checks, recorded verdict.
//!
//! It holds no state that matters: what is to be done stands in the database, what is being done under a lease that runs
//! out. A crash anywhere costs the time until then. Several workers, in one process or in many, do not disturb each other.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use addon_client::{Check, Finding, ReleaseId, Timestamp, Verdict};
use addon_descriptor::{AddonDescriptor, Level, Right};
use service_kit::clock::SharedClock;
use service_kit::random;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::checks::{Context, judge, missing_images, warnings};
use super::facts::{Facts, gather, gather_pinned};
use super::names;
use super::registry::{Asker, RegistryClient, RegistryError};
use crate::domain::release::Status;
use crate::domain::verification::{Backoff, Decision, Mode, decide, held, why_open, why_waiting};
use crate::storage::{Job, Purpose, Storage, StorageError, Verdicted, spread};

/// Longest sleep: work of other replicas and releases whose lease ran out are found by then, and readiness knows that
/// the loop lives.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// How often the queue is counted, for its metric.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// Longest time until it is looked again what is due to be looked at again; where much is due, [`pace`] says how long.
const SCHEDULE_INTERVAL: Duration = Duration::from_secs(60);
/// How long one replica does that for all of them.
const SCHEDULE_LEASE: Duration = Duration::from_secs(180);
/// Most releases that wait to be looked at again.
const MOST_RECHECKS: u16 = 256;
/// How old an answer about an image may be that serves for one more release, in parts of the interval. It is less than the
/// shortest time between two looks at one release, so each look of a release that has its images alone asks for them.
const HEARD_LATELY: f64 = 0.8;
/// How soon a release is looked at again whose registry gives no answer, in parts of the interval.
const SOON: f64 = 0.125;
/// Attempts of a look that somebody asked for.
const RECHECK_ATTEMPTS: u32 = 8;
/// Attempts to record what was found out, before a release fails because the database does not take it.
const RECORD_ATTEMPTS: u32 = 5;
/// Wait after the database gave no answer.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Wakes the worker. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// There may be something to do. A ring while the worker is busy is heard when it is done.
    pub fn ring(&self) {
        self.0.notify_one();
    }
}

/// When the loop went round last: readiness asks.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<AtomicI64>);

impl Pulse {
    /// Whether the loop has gone round lately.
    pub fn beats(&self, now: Timestamp) -> bool {
        let last = Timestamp::from_millis(self.0.load(Ordering::Relaxed));
        now.since(last) < LONGEST_SLEEP * 3
    }
}

/// What the operator decided about verification.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Who approves what passes.
    pub mode: Mode,
    /// Levels of rights that a reviewer decides about.
    pub hold: BTreeSet<Level>,
    /// Names, folded, that no addon may have.
    pub reserved: BTreeSet<String>,
    /// When to ask again.
    pub backoff: Backoff,
    /// How long a release is one worker's.
    pub lease: Duration,
    /// Releases that are checked at once.
    pub parallel: usize,
    /// How often the images of approved releases are looked for again; `None`: only when somebody asks for it.
    pub recheck: Option<Duration>,
    /// Manifests and configurations that are remembered at most.
    pub kept_parts: u32,
}

/// The worker.
#[derive(Clone)]
pub struct Worker {
    /// The queue.
    pub storage: Storage,
    /// How registries are asked.
    pub client: Arc<RegistryClient>,
    /// What was configured.
    pub rules: Arc<Rules>,
    /// What time it is.
    pub clock: SharedClock,
    /// What wakes it.
    pub bell: Bell,
    /// Where it shows that it lives.
    pub pulse: Pulse,
}

impl Worker {
    /// Works until told to stop. What is in progress then is dropped and taken up by the next start.
    pub async fn run(self, stop: CancellationToken) {
        let owner: String = random::bytes::<8>().iter().map(|byte| format!("{byte:02x}")).collect();
        match self.storage.reclaim().await {
            Ok(0) => (),
            Ok(count) => tracing::info!(count, "took up verifications that the last process left"),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the queue cannot be read");
            }
        }
        let mut running = Running::default();
        let (mut counted, mut schedule_at) = (Timestamp::from_millis(0), Timestamp::from_millis(0));
        while !stop.is_cancelled() {
            let now = self.clock.now();
            self.pulse.0.store(now.millis(), Ordering::Relaxed);
            if now.since(counted) >= COUNT_INTERVAL {
                counted = now;
                self.count().await;
            }
            if now >= schedule_at {
                let wait = self.schedule(now).await.unwrap_or_else(|error| {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "what is due to be looked at again cannot be read");
                    SCHEDULE_INTERVAL
                });
                schedule_at = now + wait;
            }
            let sleep = match self.fill(&owner, &mut running).await {
                Ok(sleep) => sleep,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the queue cannot be read");
                    AFTER_FAILURE
                }
            };
            tokio::select! {
                () = stop.cancelled() => (),
                () = self.bell.0.notified() => (),
                () = tokio::time::sleep(sleep.min(schedule_at.since(now))) => (),
                Some(ended) = running.tasks.join_next_with_id() => running.reap(ended),
            }
        }
        running.tasks.shutdown().await;
        if let Err(error) = self.storage.release_leases(&owner).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "leases were not given back; they run out"
            );
        }
    }

    /// Shows how long the queue is.
    async fn count(&self) {
        if let Ok(depth) = self.storage.queue_depth().await {
            let depth = u32::try_from(depth).unwrap_or(u32::MAX);
            metrics::gauge!("marketplace_queue_depth").set(f64::from(depth));
        }
    }

    /// Puts what is due to be looked at again into the queue, and keeps what is remembered of registries in its bounds.
    /// Answers how long to wait until the next time.
    async fn schedule(&self, now: Timestamp) -> Result<Duration, StorageError> {
        if !self.storage.lease("registries", self.storage.replica(), now, SCHEDULE_LEASE).await? {
            return Ok(SCHEDULE_INTERVAL);
        }
        self.storage.prune_registries(self.rules.kept_parts, now).await?;
        let Some(interval) = self.rules.recheck else { return Ok(SCHEDULE_INTERVAL) };
        let most = i64::from(MOST_RECHECKS);
        let (count, more) = self.storage.schedule_rechecks(interval, most, now, jitter).await?;
        if count > 0 {
            tracing::debug!(count, "images of approved releases are looked for again");
        }
        Ok(if more { pace(interval, self.storage.rechecked().await?) } else { SCHEDULE_INTERVAL })
    }

    /// Takes jobs while there are any and room; then says how long there is nothing to do.
    async fn fill(&self, owner: &str, running: &mut Running) -> Result<Duration, StorageError> {
        let Rules { parallel, lease, .. } = *self.rules;
        let mut is_alone = false;
        while running.tasks.len() < parallel {
            let except = running.at_bound(parallel);
            if let Some(alone) = &except
                && !self.storage.others_wait(alone).await?
            {
                is_alone = true;
                break;
            }
            let Some(job) = self.storage.claim(owner, self.clock.now(), lease, except.as_deref()).await?
            else {
                break;
            };
            let worker = self.clone();
            let of = (job.release.id, job.publisher.clone());
            let handle = running.tasks.spawn(async move { worker.work(job).await });
            running.of.insert(handle.id(), of);
        }
        metrics::gauge!("marketplace_verifications_running").set(precise(running.tasks.len()));
        if running.tasks.len() >= parallel || is_alone {
            // It goes on when something is done.
            return Ok(LONGEST_SLEEP);
        }
        let due = self.storage.next_due(running.at_bound(parallel).as_deref()).await?;
        let wait = due.map_or(LONGEST_SLEEP, |due| due.since(self.clock.now()));
        // A job whose lease has run out under a clock of whole milliseconds may still be refused: never spin.
        Ok(wait.clamp(Duration::from_millis(5), LONGEST_SLEEP))
    }

    async fn work(&self, job: Job) {
        let begun = Instant::now();
        let recorded = match job.purpose {
            Purpose::Review => self.review(&job).await,
            Purpose::Recheck => self.recheck(&job).await,
        };
        metrics::histogram!("marketplace_verification_duration_seconds").record(begun.elapsed());
        match recorded {
            Ok(true) => (),
            Ok(false) => tracing::info!(release.id = %job.release.id, "somebody else decided meanwhile"),
            Err(error) => self.not_recorded(&job, &error).await,
        }
    }

    /// Shows that what was found out could not be recorded. A database that is away is no reason: the lease runs out, and
    /// all is done again. One that does not take it would not take it the next time either.
    async fn not_recorded(&self, job: &Job, error: &StorageError) {
        tracing::error!(
            release.id = %job.release.id, attempts = job.attempts, error = error as &dyn std::error::Error,
            "the verdict cannot be recorded"
        );
        if error.is_unavailable() {
            return;
        }
        let now = self.clock.now();
        let again = job.purpose == Purpose::Review && job.attempts < RECORD_ATTEMPTS;
        let next = again.then(|| now + self.rules.backoff.wait(job.attempts, jitter(), None));
        let (verdict, reason) = match next {
            Some(next) => (
                Verdict::NoAnswer,
                format!("no verdict yet: what was found out cannot be recorded; tried again at {next}"),
            ),
            None => (
                Verdict::Fail,
                "what was found out cannot be recorded, and the marketplace's log says why; when that is mended, have it \
                 verified again"
                    .to_owned(),
            ),
        };
        let checks = vec![Check {
            check: "verdict-recorded".to_owned(),
            subject: None,
            verdict,
            message: reason.clone(),
            evidence: serde_json::Map::new(),
            attempts: job.attempts,
            next_attempt_at: next,
            checked_at: Some(now),
        }];
        let shown = match (job.purpose, next) {
            (Purpose::Recheck, _) => {
                let again = self.rules.recheck.map(|interval| now + spread(interval, jitter()));
                self.storage.record_recheck(job, &checks, job.release.image_missing_since, again, now).await
            }
            (Purpose::Review, Some(next)) => self.storage.postpone(job, &checks, &reason, now, next).await,
            (Purpose::Review, None) => {
                let (status, reason) = (Status::VerificationFailed, Some(reason));
                let verdicted =
                    Verdicted { status, verdict, checks, pins: Vec::new(), held: Vec::new(), reason };
                self.storage.record_verdict(job, &verdicted, now).await
            }
        };
        if let Err(error) = shown {
            let error = &error as &dyn std::error::Error;
            tracing::error!(release.id = %job.release.id, error, "nor can that be; it is made again when the lease is over");
        }
    }

    async fn review(&self, job: &Job) -> Result<bool, StorageError> {
        let mut job = job.clone();
        let (descriptor, written) = read(&job)?;
        let facts = self.in_time(gather(&self.client, &descriptor, asker(&job))).await;
        job.release.warnings = warnings(&descriptor, &facts, &job.release.warnings, &written);
        let (job, release) = (&job, &job.release);
        let context = self.context(job).await?;
        let findings = judge(&descriptor, &facts, &context);
        let rights: BTreeSet<Right> = addon_descriptor::rights(&descriptor);
        let held = held(&rights, &context.approved_rights, &self.rules.hold, context.near.as_deref());
        let (status, verdict, held, reason) = match decide(&findings.checks, &held, self.rules.mode) {
            Decision::AskAgain => return self.postpone(job, findings.checks, &facts).await,
            Decision::Approve => (Status::Approved, Verdict::Pass, Vec::new(), None),
            Decision::Fail(reason) => (Status::VerificationFailed, Verdict::Fail, Vec::new(), Some(reason)),
            Decision::AwaitReviewer => {
                let reason = why_waiting(&held);
                (Status::UnderReview, Verdict::Pass, held, Some(reason))
            }
        };
        let verdicted =
            Verdicted { status, verdict, checks: findings.checks, pins: findings.pins, held, reason };
        let recorded = self.storage.record_verdict(job, &verdicted, self.clock.now()).await?;
        if recorded {
            let waits = verdicted.status == Status::UnderReview;
            let outcome = if waits { "held" } else { verdicted.status.as_str() };
            metrics::counter!("marketplace_verdicts_total", "verdict" => outcome).increment(1);
            tracing::info!(
                release.id = %release.id, addon.name = release.addon, attempts = job.attempts,
                verdict = outcome, reason = verdicted.reason, "verified"
            );
        }
        Ok(recorded)
    }

    async fn recheck(&self, job: &Job) -> Result<bool, StorageError> {
        let release = &job.release;
        let (descriptor, _) = read(job)?;
        // Who asks for it is told what is so now; else one answer serves all releases that have the image.
        let lately = self.rules.recheck.filter(|_| job.is_scheduled()).unwrap_or_default();
        let since = self.clock.now() - lately.mul_f64(HEARD_LATELY);
        let facts = self.in_time(gather_pinned(&self.client, &release.pins, since, asker(job))).await;
        let findings = judge(&descriptor, &facts, &self.context(job).await?);
        // No facts at all are those of a run that took too long.
        let known =
            if facts.images.is_empty() && !release.pins.is_empty() { None } else { missing_images(&facts) };
        let now = self.clock.now();
        let after = |from: Timestamp, part: f64| {
            self.rules.recheck.map(|interval| from + spread(interval.mul_f64(part), jitter()))
        };
        let Some(missing) = known else {
            if !job.is_scheduled() && job.attempts < RECHECK_ATTEMPTS {
                return self.postpone(job, findings.checks, &facts).await;
            }
            // Until the next time, what was known is what is known.
            let (since, again) = (release.image_missing_since, after(now, SOON));
            return self.storage.record_recheck(job, &findings.checks, since, again, now).await;
        };
        let since = (!missing.is_empty()).then(|| release.image_missing_since.unwrap_or(now));
        if let Some(reason) = missing.values().next() {
            tracing::warn!(release.id = %release.id, addon.name = release.addon, reason, "an image is gone");
        }
        // An interval after the oldest answer: so releases that share an image come to be looked at together.
        let again = after(facts.since.unwrap_or(now), 1.0);
        self.storage.record_recheck(job, &findings.checks, since, again, now).await
    }

    /// What the rules look at beside document and registries.
    async fn context(&self, job: &Job) -> Result<Context, StorageError> {
        let addon = &job.release.addon;
        Ok(Context {
            approved_rights: self.storage.approved_rights(addon).await?,
            approved: job.purpose == Purpose::Recheck,
            attempts: job.attempts,
            now: self.clock.now(),
            ..names::known(&self.storage, &self.rules.reserved, addon, None).await?
        })
    }

    /// The facts, or none when they are not there well before the lease ends.
    async fn in_time(&self, facts: impl Future<Output = Facts>) -> Facts {
        tokio::time::timeout(self.rules.lease.mul_f64(0.8), facts).await.unwrap_or_default()
    }

    /// Nothing is known: the release waits for the next attempt, and the report says so.
    async fn postpone(&self, job: &Job, mut checks: Vec<Check>, facts: &Facts) -> Result<bool, StorageError> {
        let now = self.clock.now();
        let asked_for = facts.images.values().filter_map(|answer| wish(answer.as_ref().err()?, now)).max();
        let wait = self.rules.backoff.wait(job.attempts, jitter(), asked_for);
        let next = now + wait;
        for check in checks.iter_mut().filter(|check| check.verdict == Verdict::NoAnswer) {
            check.next_attempt_at = Some(next);
        }
        metrics::counter!("marketplace_verdicts_total", "verdict" => "no_answer").increment(1);
        tracing::info!(
            release.id = %job.release.id, addon.name = job.release.addon, attempts = job.attempts,
            next_attempt_at = %next, "no verdict yet: a registry gives no answer"
        );
        self.storage.postpone(job, &checks, &why_open(&checks, next), now, next).await
    }
}

/// What is being verified.
#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    /// The release of each task, and its publisher.
    of: HashMap<Id, (ReleaseId, String)>,
}

impl Running {
    /// The publisher who has as many verifications as one may have at once, if there is one: a quarter of the room is kept
    /// for others, since those of one publisher may all wait for the same thing. More than one publisher cannot have so many
    /// while there is room.
    fn at_bound(&self, parallel: usize) -> Option<String> {
        let bound = parallel - (parallel / 4).max(1).min(parallel - 1);
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for (_, publisher) in self.of.values() {
            *counts.entry(publisher).or_default() += 1;
        }
        counts.into_iter().find(|(_, count)| *count >= bound).map(|(publisher, _)| publisher.to_owned())
    }

    fn reap(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        match ended {
            Ok((id, ())) => _ = self.of.remove(&id),
            Err(error) => {
                let release = self.of.remove(&error.id()).map(|(id, _)| id.to_string());
                tracing::error!(release.id = release, %error, "a verification broke off; its lease runs out");
            }
        }
    }
}

/// A release's document, and what is unwise in it.
fn read(job: &Job) -> Result<(AddonDescriptor, Vec<Finding>), StorageError> {
    let corrupt =
        |what: String| StorageError::Corrupt { table: "releases", id: job.release.id.to_string(), what };
    let reading =
        addon_descriptor::read(job.canonical.as_bytes()).map_err(|error| corrupt(error.to_string()))?;
    let written = reading.warnings.iter().map(Finding::from).collect();
    let violations = reading.violations;
    let descriptor = reading.descriptor;
    let descriptor =
        descriptor.ok_or_else(|| corrupt(format!("its document is not read any more: {violations:?}")))?;
    Ok((descriptor, written))
}

/// How long until the next [`MOST_RECHECKS`] of so many releases: what has piled up is gone after half an interval, evenly.
fn pace(interval: Duration, releases: u32) -> Duration {
    (interval / 2).mul_f64(f64::from(MOST_RECHECKS) / f64::from(releases.max(1))).min(SCHEDULE_INTERVAL)
}

/// For whom registries are asked.
fn asker(job: &Job) -> Asker<'_> {
    Asker { publisher: &job.release.publisher, addon: &job.release.addon, at_once: job.at_once }
}

/// When a registry wants to be asked again, from now.
fn wish(error: &RegistryError, now: Timestamp) -> Option<Duration> {
    match error {
        RegistryError::NoAnswer { retry_after: Some(wait), .. } => wait.from(now),
        _ => None,
    }
}

/// From 0 to 1.
fn jitter() -> f64 {
    f64::from(u32::from_be_bytes(random::bytes())) / f64::from(u32::MAX)
}

fn precise(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_piled_up_is_gone_after_half_an_interval() {
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(pace(day, 1_000), SCHEDULE_INTERVAL, "few are no work");
        for releases in [400_000, 1_000_000, 10_000_000] {
            let passes = f64::from(releases) / f64::from(MOST_RECHECKS);
            let took = pace(day, releases).mul_f64(passes);
            assert!(took.abs_diff(day / 2) < Duration::from_secs(1), "{releases}: {took:?}");
        }
    }

    #[tokio::test]
    async fn one_publisher_never_takes_all_the_room() {
        for (parallel, of_paul, of_mary, expected) in [
            (8, 5, 0, None),
            (8, 6, 0, Some("paul")),
            (8, 6, 1, Some("paul")),
            (8, 3, 4, None),
            (4, 3, 0, Some("paul")),
            (2, 1, 0, Some("paul")),
            (1, 0, 0, None),
        ] {
            let mut running = Running::default();
            for (n, publisher) in [("paul", of_paul), ("mary", of_mary)]
                .into_iter()
                .flat_map(|(publisher, count)| (0..count).map(move |_| publisher))
                .enumerate()
            {
                let id = running.tasks.spawn(std::future::pending()).id();
                let release = ReleaseId::new(u32::try_from(n).unwrap(), [0; 8]);
                running.of.insert(id, (release, publisher.to_owned()));
            }
            assert_eq!(running.at_bound(parallel).as_deref(), expected, "{parallel} {of_paul} {of_mary}");
        }
    }
}
