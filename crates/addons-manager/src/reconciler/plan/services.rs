//! Services: whether a container is left alone, started, started anew or made anew, and when. What of it differs stands in `drift.rs`.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};

use super::drift::{provider_changed, recreate_cause};
use super::graph::{Plan, Step, Wait, WaitReason};
use super::{View, adoption, wait_for};
use crate::domain::specification::{RestartPolicy, ServiceSpecification};
use crate::reconciler::backoff;
use crate::reconciler::state::{
    Attempt, ContainerRow, EndedBy, ErrorKind, OurContainer, PolicyReason, StartedBy,
};
use crate::runtime::{ContainerState, Health};

/// What is to become of a service in this pass.
#[derive(Debug, Clone)]
pub(super) enum Intent {
    /// A job that is done.
    Rest,
    /// Its turn comes when a rollout has put another container of it out of the way.
    Held,
    /// Its container stays; what can be mended in place is.
    Keep,
    /// Nothing can be done now.
    Wait(Wait),
    /// It is to be up.
    Bring(Bring),
}

/// How a service is brought up.
#[derive(Debug, Clone)]
pub(super) struct Bring {
    pub(super) how: How,
    pub(super) cause: String,
}

/// See [`Bring`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// There is no container.
    Create,
    /// There is one that cannot be used.
    Recreate,
    /// There is one that does not run.
    Start,
    /// There is one that was created and not compared yet.
    Verify,
    /// There is one that runs and is to be stopped first.
    Restart {
        /// Because its check fails: that counts as a failure.
        unhealthy: bool,
    },
}

impl Intent {
    pub(super) fn bring(&self) -> Option<&Bring> {
        match self {
            Self::Bring(bring) => Some(bring),
            _ => None,
        }
    }
}

fn bring(how: How, cause: impl Into<String>) -> Intent {
    Intent::Bring(Bring { how, cause: cause.into() })
}

/// What is to become of a service; `others`: of those that it depends on.
pub(super) fn intent(
    view: &View<'_>,
    service: &ServiceSpecification,
    others: &BTreeMap<&str, Intent>,
    plan: &mut Plan,
) -> Intent {
    let name = service.service_name.as_str();
    if service.restart.is_job() && view.desired.completions.contains_key(name) {
        return Intent::Rest;
    }
    let Some((row, container)) = view.observed.current(view.desired, name) else {
        if let Some(wait) = job_failed(view, service) {
            return Intent::Wait(wait);
        }
        let cause = match view.desired.history(name).first() {
            _ if view.desired.current(name).is_some_and(|row| row.engine_id.is_some()) => {
                "its container was removed".to_owned()
            }
            Some(attempt) => cause(attempt),
            None if view.desired.installation.been_up.contains(name) => {
                "its container is not there".to_owned()
            }
            None => "it is wanted and has no container yet".to_owned(),
        };
        return gated(view, service, None, How::Create, cause);
    };
    match container.state() {
        ContainerState::Removing => {
            return Intent::Wait(Wait {
                reason: WaitReason::Engine,
                message: "the engine is removing its container".to_owned(),
                next_attempt: None,
            });
        }
        ContainerState::Dead => {
            return gated(view, service, Some(row), How::Recreate, "its container is dead".to_owned());
        }
        _ => {}
    }
    if let Some(cause) = recreate_cause(view, service, row, container) {
        let gate_first = container.state() != ContainerState::Running;
        return if gate_first {
            gated(view, service, Some(row), How::Recreate, cause)
        } else {
            gated_by_errors(view, service, How::Recreate, cause)
        };
    }
    match container.state() {
        ContainerState::Restarting => restarting(view, service),
        ContainerState::Paused => Intent::Keep,
        // It is made anew by the next plan, when it is known for which container.
        ContainerState::Running if loses_namespace(service, others) => Intent::Keep,
        ContainerState::Running => running(view, service, row, container, plan),
        state => {
            if let Some(wait) = job_failed(view, service).or_else(|| provider_missing(view, service)) {
                return Intent::Wait(wait);
            }
            let how = if row.verified { How::Start } else { How::Verify };
            let cause = match view.desired.history(name).first() {
                Some(attempt) => cause(attempt),
                None if row.restart_generation < view.desired.installation.restart_generation => {
                    "a restart was asked for".to_owned()
                }
                None if state == ContainerState::Created => "it was created and is to be started".to_owned(),
                None => "it does not run".to_owned(),
            };
            gated(view, service, Some(row), how, cause)
        }
    }
}

/// Whether the container whose namespace it uses is made anew by this plan.
fn loses_namespace(service: &ServiceSpecification, others: &BTreeMap<&str, Intent>) -> bool {
    service.depends_on.iter().filter(|dependency| dependency.namespace).any(|dependency| {
        let bring = others.get(dependency.service.as_str()).and_then(Intent::bring);
        bring.is_some_and(|bring| matches!(bring.how, How::Create | How::Recreate))
    })
}

fn running(
    view: &View<'_>,
    service: &ServiceSpecification,
    row: &ContainerRow,
    container: &OurContainer,
    plan: &mut Plan,
) -> Intent {
    if row.restart_generation < view.desired.installation.restart_generation {
        return gated_by_errors(
            view,
            service,
            How::Restart { unhealthy: false },
            "a restart was asked for".to_owned(),
        );
    }
    if let Some(cause) = provider_changed(view, service, row) {
        return gated_by_errors(view, service, How::Restart { unhealthy: false }, cause);
    }
    if container.listed.health == Some(Health::Unhealthy) && service.restart_unhealthy {
        return gated(
            view,
            service,
            Some(row),
            How::Restart { unhealthy: true },
            "its check says that it is unhealthy".to_owned(),
        );
    }
    // A container in our hands gets its policy back after a good run, a loop is noticed while it lasts: time changes both.
    if row.asked.why == PolicyReason::CrashLoop
        && let Some(run) =
            view.desired.history(&service.service_name).iter().find(|attempt| attempt.ended_at.is_none())
        && view.now < run.started_at + backoff::GOOD_RUN
    {
        plan.look_at(run.started_at + backoff::GOOD_RUN);
    }
    Intent::Keep
}

fn restarting(view: &View<'_>, service: &ServiceSpecification) -> Intent {
    if takes_over(view, service) {
        return Intent::Keep;
    }
    let count = backoff::engine_restarts(view.desired.history(&service.service_name), view.now);
    let message = match count {
        0 => "the engine restarts it".to_owned(),
        1 => "the engine restarts it (once within 5 minutes so far)".to_owned(),
        count => format!("the engine restarts it ({count} times within 5 minutes so far)"),
    };
    Intent::Wait(Wait { reason: WaitReason::Engine, message, next_attempt: None })
}

/// Whether the engine has restarted it too often: then it is taken out of its hands.
pub(super) fn takes_over(view: &View<'_>, service: &ServiceSpecification) -> bool {
    let Some((row, container)) = view.observed.current(view.desired, &service.service_name) else {
        return false;
    };
    let history = view.desired.history(&service.service_name);
    let counted = backoff::engine_restarts(history, view.now);
    // The engine's own count, where its events were lost: it begins anew with each start by somebody.
    let ours =
        history.iter().find(|attempt| attempt.engine_id.is_some() && attempt.started_by != StartedBy::Engine);
    let recent = ours.is_some_and(|run| view.now.since(run.started_at) < backoff::LOOP_WINDOW);
    let told =
        container.inspected.as_ref().map_or(0, |live| usize::try_from(live.restart_count).unwrap_or(0));
    row.asked.why == PolicyReason::Specified
        && service.restart != RestartPolicy::No
        && (counted >= backoff::LOOP_RESTARTS || (recent && told >= backoff::LOOP_RESTARTS))
}

/// Brings it up, unless it failed so often that it has to wait.
fn gated(
    view: &View<'_>,
    service: &ServiceSpecification,
    row: Option<&ContainerRow>,
    how: How,
    cause: String,
) -> Intent {
    let row = row.or_else(|| view.desired.current(&service.service_name));
    let in_our_hands = row.is_some_and(|row| row.asked.why == PolicyReason::CrashLoop);
    match backoff_wait(view, &service.service_name, service.restart.is_job(), in_our_hands) {
        Some(mut wait) => {
            let exits_with_0 = view
                .desired
                .history(&service.service_name)
                .first()
                .is_some_and(|last| last.exit_code == Some(0));
            if exits_with_0 && wait.reason == WaitReason::Backoff {
                wait.message.push_str("; it keeps exiting with 0: `restart: no` would make it a job");
            }
            Intent::Wait(wait)
        }
        None => bring(how, cause),
    }
}

/// As [`gated`], for what runs well: only operations that failed hold it back, not how its runs ended.
fn gated_by_errors(view: &View<'_>, service: &ServiceSpecification, how: How, cause: String) -> Intent {
    let last = view.desired.history(&service.service_name).iter().find(|attempt| attempt.ended_at.is_some());
    if last.is_some_and(|attempt| attempt.error.is_some()) {
        gated(view, service, None, how, cause)
    } else {
        bring(how, cause)
    }
}

/// What holds a service (or, under an empty name, the installation) back because of what failed.
pub(super) fn backoff_wait(view: &View<'_>, service: &str, is_job: bool, in_our_hands: bool) -> Option<Wait> {
    backoff_after(view, service, view.desired.history(service), is_job, in_our_hands)
}

/// As [`backoff_wait`], because of these attempts.
pub(super) fn backoff_after(
    view: &View<'_>,
    service: &str,
    history: &[Attempt],
    is_job: bool,
    in_our_hands: bool,
) -> Option<Wait> {
    let failures = backoff::failures(history, is_job, view.now);
    let last = *failures.first()?;
    let failed_at = backoff::failed_at(last);
    let kind = last.error.as_ref().map(|error| error.kind);
    if kind == Some(ErrorKind::Never) {
        return Some(Wait { reason: WaitReason::Never, message: ended(last), next_attempt: None });
    }
    if failed_at > view.now {
        // The clock was set back: nobody knows how long ago that was.
        return None;
    }
    let (due, reason) = match kind.and_then(backoff::slow_delay) {
        Some(slow) => (failed_at + slow, WaitReason::Change),
        None => {
            let count =
                u32::try_from(failures.len()).unwrap_or(u32::MAX).saturating_add(u32::from(in_our_hands));
            let mut hasher = std::hash::DefaultHasher::new();
            (view.desired.installation.id, service, last.row).hash(&mut hasher);
            (failed_at + backoff::with_jitter(backoff::delay(count), hasher.finish()), WaitReason::Backoff)
        }
    };
    let due = last.not_before.map_or(due, |asked| asked.max(due));
    (view.now < due).then(|| {
        let message = match failures.len() {
            1 => ended(last),
            count => format!("{} ({count} failures in a row)", ended(last)),
        };
        Wait { reason, message, next_attempt: Some(due) }
    })
}

/// Why it is brought up after this attempt, for the why-log. An operation's error stands there already, as its result.
fn cause(attempt: &Attempt) -> String {
    match (&attempt.error, &attempt.engine_id) {
        (Some(_), None) => "the last attempt failed, and it is time for the next".to_owned(),
        _ => ended(attempt),
    }
}

/// How an attempt ended, in words.
pub(super) fn ended(attempt: &Attempt) -> String {
    if let Some(error) = &attempt.error {
        return error.message.clone();
    }
    match (attempt.ended_at, attempt.ended_by, attempt.exit_code) {
        (None, _, _) if attempt.unhealthy_at.is_some() => "its check says that it is unhealthy".to_owned(),
        (None, _, _) => "it was started".to_owned(),
        (_, _, _) if attempt.oom => "it was ended for want of memory".to_owned(),
        (_, Some(EndedBy::Person), Some(code)) => format!("somebody stopped it (it exited with {code})"),
        (_, Some(EndedBy::Person), None) => "somebody stopped or removed it".to_owned(),
        (_, Some(EndedBy::Engine), _) => "the engine stopped it".to_owned(),
        (_, Some(EndedBy::Manager), _) => "it was stopped to be started anew".to_owned(),
        (_, Some(EndedBy::Itself) | None, Some(code)) => format!("it exited with {code}"),
        (_, Some(EndedBy::Itself) | None, None) => "it ended".to_owned(),
    }
}

/// A job that has failed is not run again until a restart, enabling or a changed specification begins a new history.
fn job_failed(view: &View<'_>, service: &ServiceSpecification) -> Option<Wait> {
    let history = view.desired.history(&service.service_name);
    let failed_runs = || {
        history.iter().filter(|run| {
            run.error.is_none() && run.ended_by == Some(EndedBy::Itself) && run.exit_code != Some(0)
        })
    };
    let last = history.iter().find(|attempt| attempt.error.is_none())?;
    let failed_last =
        last.ended_at.is_some() && last.ended_by == Some(EndedBy::Itself) && last.exit_code != Some(0);
    let tries = match service.restart {
        RestartPolicy::Always | RestartPolicy::OnFailure(None | Some(0)) => return None,
        RestartPolicy::No => 0,
        RestartPolicy::OnFailure(Some(tries)) => tries,
    };
    let used = failed_runs().count();
    (failed_last && used > usize::try_from(tries).unwrap_or(usize::MAX)).then(|| {
        let again = "it is a job: it is run again after a restart is asked for, after enabling, or with a changed specification";
        Wait { reason: WaitReason::JobFailed, message: format!("{}; {again}", ended(last)), next_attempt: None }
    })
}

fn provider_missing(view: &View<'_>, service: &ServiceSpecification) -> Option<Wait> {
    let missing = service.depends_on.iter().find(|dependency| {
        dependency.namespace && view.observed.current(view.desired, &dependency.service).is_none()
    })?;
    Some(wait_for(&missing.service, "to be there, since it uses its namespace"))
}

/// What of others is in the way of creating its container; named before anything is touched.
pub(crate) fn conflict(view: &View<'_>, service: &ServiceSpecification) -> Option<Wait> {
    let others = &view.observed.others;
    let conflict = |message| Some(Wait { reason: WaitReason::Conflict, message, next_attempt: None });
    if let Some(holder) = others.container_named(&service.container_name) {
        return conflict(format!(
            "the name {} is taken by {}; it is left alone: remove or rename it, or take it in with {}",
            service.container_name,
            holder.describe(),
            adoption(&holder.id().0, view.desired)
        ));
    }
    let (port, holder) = service.ports.iter().find_map(|port| Some((port, others.port_holder(port)?)))?;
    let protocol = crate::domain::claim::protocol_name(port.protocol);
    conflict(format!("host port {}/{protocol} is taken by {}", port.host_port, holder.describe()))
}

/// The restart policy of a new container, and why: one that is in our hands stays there though it is created anew.
pub(super) fn policy_at_create(
    view: &View<'_>,
    service: &ServiceSpecification,
) -> (RestartPolicy, PolicyReason) {
    let in_our_hands = view
        .desired
        .current(&service.service_name)
        .is_some_and(|row| row.asked.why == PolicyReason::CrashLoop);
    if in_our_hands
        && !backoff::failures(view.desired.history(&service.service_name), service.restart.is_job(), view.now)
            .is_empty()
    {
        (RestartPolicy::No, PolicyReason::CrashLoop)
    } else {
        (service.restart, PolicyReason::Specified)
    }
}

/// Keeps the log of what failed, once, while its container is there.
pub(super) fn collect_logs(view: &View<'_>, service: &ServiceSpecification, plan: &mut Plan) {
    let name = service.service_name.as_str();
    let Some((_, container)) = view.observed.current(view.desired, name) else { return };
    let unhealthy = container.listed.health == Some(Health::Unhealthy);
    let failed = unhealthy || plan.waiting.get(name).is_some_and(Wait::is_failure);
    let run = view
        .desired
        .history(name)
        .iter()
        .find(|attempt| attempt.engine_id.as_deref() == Some(container.id.0.as_str()));
    let being_removed =
        plan.has(name, |step| matches!(step, Step::RemoveContainer { .. } | Step::StopContainer { .. }));
    if let Some(run) = run
        && failed
        && !being_removed
        && run.logs.is_none()
        && backoff::is_failure(run, service.restart.is_job())
    {
        plan.add(
            Step::CollectLogs { attempt: run.row, id: container.id.clone() },
            Some(name),
            "it failed",
            &[],
        );
    }
}
