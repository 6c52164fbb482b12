//! From a pass's snapshot to what is shown: the state of each service, the conditions, the status. Pure.

use service_kit::clock::Timestamp;

use super::backoff;
use super::plan::graph::{Plan, Step};
use super::state::{DesiredState, ObservedState, StartedBy};
use crate::domain::installation::Desired;
use crate::domain::specification::ServiceSpecification;
use crate::domain::status::{Condition, Facts, Health, ServicePhase, ServiceReport, Waiting, derive};
use crate::runtime::{self, ContainerState};
use crate::storage::passes::StoredReport;

/// How the installation is, as of this snapshot and with this plan.
pub fn report(desired: &DesiredState, observed: &ObservedState, plan: &Plan, now: Timestamp) -> StoredReport {
    let installation = &desired.installation;
    let service_states: Vec<ServiceReport> = desired
        .specification
        .services
        .values()
        .map(|service| service_report(desired, observed, plan, service, now))
        .collect();
    let mut been_up = installation.been_up.clone();
    if installation.desired == Desired::Active {
        been_up.extend(
            service_states
                .iter()
                .filter(|service| service.is_up())
                .map(|service| service.service_name.clone()),
        );
    }
    let own_networks = desired.networks.iter().any(|row| !row.platform);
    let leftovers = !desired.containers.is_empty() || own_networks;
    let facts = Facts {
        desired: installation.desired,
        leftovers,
        rollout: None,
        been_up: &been_up,
        services: &service_states,
    };
    let status = derive(&facts);
    let status_since = if status == installation.status { installation.status_since } else { now };
    StoredReport { status, status_since, been_up, conditions: conditions(desired, plan, now), service_states }
}

/// A wait as the why-log tells it, where that is news. The error of an operation that failed stands there already as its result, and that the
/// same wait is over and begins again is told by the attempts between.
pub fn wait_to_tell(desired: &DesiredState, service: &str, waiting: &Waiting) -> Option<String> {
    let mut reports = desired.installation.service_states.iter();
    let before = reports.find(|before| before.service_name == service)?.waiting.as_ref();
    if before == Some(waiting) {
        return None;
    }
    let last = desired.history(service).iter().find(|attempt| attempt.ended_at.is_some());
    let error = last.filter(|attempt| attempt.engine_id.is_none()).and_then(|attempt| attempt.error.as_ref());
    let Some(error) = error.filter(|error| waiting.message.starts_with(&error.message)) else {
        return Some(waiting.message.clone());
    };
    let same = before
        .is_some_and(|before| before.reason == waiting.reason && before.message.starts_with(&error.message));
    (!same).then(|| "the last attempt failed".to_owned())
}

fn conditions(desired: &DesiredState, plan: &Plan, now: Timestamp) -> Vec<Condition> {
    let mut conditions: Vec<Condition> = plan
        .conditions
        .iter()
        .map(|notice| Condition {
            kind: notice.kind.to_owned(),
            service_name: notice.service.clone(),
            message: notice.message.clone(),
            since: now,
        })
        .collect();
    // What holds back the installation as a whole, as a network that cannot be removed.
    if let Some(wait) = plan.waiting.get("") {
        conditions.push(Condition {
            kind: "waiting".to_owned(),
            service_name: None,
            message: wait.message.clone(),
            since: now,
        });
    }
    for condition in &mut conditions {
        let before = desired.installation.conditions.iter();
        let same = before
            .filter(|before| before.kind == condition.kind && before.service_name == condition.service_name);
        if let Some(before) = same.into_iter().next() {
            condition.since = before.since;
        }
    }
    conditions
}

fn service_report(
    desired: &DesiredState,
    observed: &ObservedState,
    plan: &Plan,
    service: &ServiceSpecification,
    now: Timestamp,
) -> ServiceReport {
    let name = service.service_name.as_str();
    let container = observed.current(desired, name).map(|(_, container)| container);
    let history = desired.history(name);
    let phase = phase(desired, observed, plan, service);
    let runs = container.is_some_and(|container| {
        matches!(container.state(), ContainerState::Running | ContainerState::Paused)
    });
    let health =
        container.filter(|_| runs).and_then(|container| container.listed.health).map(|health| match health {
            runtime::Health::Starting => Health::Starting,
            runtime::Health::Healthy => Health::Healthy,
            runtime::Health::Unhealthy => Health::Unhealthy,
        });
    let before = desired.installation.service_states.iter().find(|before| before.service_name == name);
    let since = before
        .filter(|before| before.phase == phase && before.health == health)
        .map_or(now, |before| before.since);
    let ended = history.iter().find(|attempt| attempt.ended_at.is_some() && attempt.exit_code.is_some());
    let exit_code = if runs { None } else { ended.and_then(|attempt| attempt.exit_code) };
    let logs = (phase == ServicePhase::Failed)
        .then(|| {
            history.iter().find(|attempt| attempt.logs.is_some()).and_then(|attempt| attempt.logs.clone())
        })
        .flatten();
    ServiceReport {
        service_name: name.to_owned(),
        phase,
        health,
        container: container.map(|container| container.listed.name.clone()),
        restarts: restarts(desired, service),
        since,
        exit_code,
        waiting: plan.waiting.get(name).filter(|_| phase != ServicePhase::Completed).map(|wait| wait.shown()),
        logs,
    }
}

fn phase(
    desired: &DesiredState,
    observed: &ObservedState,
    plan: &Plan,
    service: &ServiceSpecification,
) -> ServicePhase {
    let name = service.service_name.as_str();
    if service.restart.is_job() && desired.completions.contains_key(name) {
        return ServicePhase::Completed;
    }
    let held_back = plan.waiting.get(name).is_some_and(|wait| wait.is_failure());
    let known = desired.current(name).is_some_and(|row| row.engine_id.is_some())
        || desired.installation.been_up.contains(name);
    let Some((_, container)) = observed.current(desired, name) else {
        return match plan.phase_of(name) {
            _ if held_back => ServicePhase::Failed,
            Some(phase) => phase,
            None if known => ServicePhase::Absent,
            None => ServicePhase::Pending,
        };
    };
    match container.state() {
        ContainerState::Running => match container.listed.health {
            Some(runtime::Health::Unhealthy) => ServicePhase::Failed,
            Some(runtime::Health::Starting) => ServicePhase::Starting,
            Some(runtime::Health::Healthy) | None => ServicePhase::Running,
        },
        ContainerState::Paused => ServicePhase::Paused,
        ContainerState::Restarting => ServicePhase::Restarting,
        ContainerState::Removing => ServicePhase::Absent,
        ContainerState::Created if held_back => ServicePhase::Failed,
        ContainerState::Created => ServicePhase::Created,
        ContainerState::Exited | ContainerState::Dead if held_back => ServicePhase::Failed,
        ContainerState::Exited | ContainerState::Dead => {
            let starts = plan.has(name, |step| matches!(step, Step::StartContainer { .. }));
            if starts { ServicePhase::Restarting } else { ServicePhase::Stopped }
        }
    }
}

/// Runs that followed a failed one.
fn restarts(desired: &DesiredState, service: &ServiceSpecification) -> u32 {
    let runs: Vec<_> =
        desired.history(&service.service_name).iter().filter(|attempt| attempt.engine_id.is_some()).collect();
    let after_failure = runs.windows(2).filter(|pair| {
        pair[0].started_by == StartedBy::Engine || backoff::is_failure(pair[1], service.restart.is_job())
    });
    u32::try_from(after_failure.count()).unwrap_or(u32::MAX)
}
