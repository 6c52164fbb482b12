//! From a pass's snapshot to what is shown: the state of each service, the conditions, the status. Pure.

use service_kit::clock::Timestamp;

use super::plan::graph::{Plan, Step};
use super::state::{Attempt, DesiredState, ObservedState, StartedBy};
use crate::domain::installation::Desired;
use crate::domain::rollout::{Rollout, RolloutKind, RolloutPhase};
use crate::domain::specification::ServiceSpecification;
use crate::domain::status::{
    Condition, Direction, Facts, Health, ServicePhase, ServiceReport, Waiting, derive,
};
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
        rollout: desired.rollout.as_ref().map(|rollout| direction(&rollout.row)),
        been_up: &been_up,
        services: &service_states,
    };
    let status = derive(&facts);
    let status_since = if status == installation.status { installation.status_since } else { now };
    StoredReport { status, status_since, been_up, conditions: conditions(desired, plan, now), service_states }
}

/// Where a rollout that is under way leads.
pub fn direction(rollout: &Rollout) -> Direction {
    match (rollout.phase, rollout.kind) {
        (RolloutPhase::Forward, RolloutKind::Upgrade | RolloutKind::Parameters) => Direction::Forward,
        _ => Direction::Back,
    }
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
    if let Some(condition) =
        volumes_go(desired.installation.delete_volumes, desired.installation.desired, now)
    {
        conditions.push(condition);
    }
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

/// The kind of the condition [`volumes_go`].
pub const VOLUMES_GO: &str = "volumes_go";

/// What whoever removes it next has to know: its volumes go then.
pub fn volumes_go(delete_volumes: bool, desired: Desired, now: Timestamp) -> Option<Condition> {
    (delete_volumes && desired == Desired::Disabled).then(|| Condition {
        kind: VOLUMES_GO.to_owned(),
        service_name: None,
        message: "its volumes are deleted when it is removed, as ?volumes=delete asked for: ?volumes=keep takes that back, and so does enabling \
                  it"
            .to_owned(),
        since: now,
    })
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
    let (restarts, last_run) = restarts(before, history);
    ServiceReport {
        service_name: name.to_owned(),
        phase,
        health,
        container: container.map(|container| container.listed.name.clone()),
        restarts,
        last_run,
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

/// Starts after the first one since install or enable, whoever began them, and the newest run that is counted. What was counted stays counted
/// when its rows are gone.
fn restarts(before: Option<&ServiceReport>, history: &[Attempt]) -> (u32, i64) {
    let (counted, last_run) = before.map_or((0, 0), |before| (before.restarts, before.last_run));
    // Where a stop and a start of ours fall into one millisecond, the late event of the stop ends the new run, and that of the start has a row
    // of its own, as somebody's.
    let is_told_before = |run: &Attempt| {
        run.started_by == StartedBy::Person
            && history.iter().any(|other| {
                let same_start = other.engine_id == run.engine_id && other.started_at == run.started_at;
                other.row < run.row && same_start && other.ended_at == Some(other.started_at)
            })
    };
    let runs = history.iter().filter(|attempt| attempt.engine_id.is_some() && attempt.row > last_run);
    let new = runs.filter(|run| !is_told_before(run));
    let (mut starts, mut newest) = (0_u32, last_run);
    for run in new {
        starts = starts.saturating_add(1);
        newest = newest.max(run.row);
    }
    // The first of all is no restart.
    let first = u32::from(last_run == 0);
    (counted.saturating_add(starts.saturating_sub(first)), newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(row: i64, by: StartedBy) -> Attempt {
        Attempt {
            row,
            engine_id: Some("c".into()),
            started_by: by,
            started_at: Timestamp::from_millis(row),
            unhealthy_at: None,
            ended_at: None,
            exit_code: None,
            oom: false,
            ended_by: None,
            watched: true,
            error: None,
            not_before: None,
            logs: None,
        }
    }

    /// Another row of the start that this one tells of.
    fn twice(run: Attempt, of: i64) -> Attempt {
        Attempt { started_at: Timestamp::from_millis(of), ..run }
    }

    fn ended_at_once(row: i64) -> Attempt {
        Attempt { ended_at: Some(Timestamp::from_millis(row)), ..run(row, StartedBy::Manager) }
    }

    fn failed_operation(row: i64) -> Attempt {
        Attempt { engine_id: None, ..run(row, StartedBy::Manager) }
    }

    fn counted(restarts: u32, last_run: i64) -> ServiceReport {
        ServiceReport {
            service_name: "web".to_owned(),
            phase: ServicePhase::Running,
            health: None,
            container: None,
            restarts,
            last_run,
            since: Timestamp::from_millis(0),
            exit_code: None,
            waiting: None,
            logs: None,
        }
    }

    #[test]
    fn every_start_after_the_first_is_counted_once_whoever_began_it() {
        use StartedBy::{Engine, Manager, Person};
        for (before, history, expected) in [
            (None, vec![], (0, 0)),
            (None, vec![failed_operation(1)], (0, 0)),
            (None, vec![run(2, Manager), failed_operation(1)], (0, 2)),
            (None, vec![run(4, Person), run(3, Engine), run(2, Manager)], (2, 4)),
            (None, vec![twice(run(4, Person), 3), ended_at_once(3), run(2, Manager)], (1, 3)),
            (Some(counted(1, 3)), vec![twice(run(4, Person), 3), ended_at_once(3)], (1, 3)),
            (Some(counted(0, 0)), vec![run(7, Manager)], (0, 7)),
            (Some(counted(2, 4)), vec![run(4, Person), run(3, Engine)], (2, 4)),
            (
                Some(counted(2, 4)),
                vec![run(9, Engine), failed_operation(8), run(5, Manager), run(4, Person)],
                (4, 9),
            ),
            // Rows that were counted are deleted some time.
            (Some(counted(250, 400)), vec![], (250, 400)),
            (Some(counted(u32::MAX, 4)), vec![run(5, Engine)], (u32::MAX, 5)),
        ] {
            assert_eq!(restarts(before.as_ref(), &history), expected, "{before:?}");
        }
    }

    #[test]
    fn that_volumes_go_is_said_while_it_can_be_taken_back() {
        let now = Timestamp::from_millis(0);
        assert!(volumes_go(true, Desired::Disabled, now).unwrap().message.contains("volumes=keep"));
        for (delete, desired) in
            [(false, Desired::Disabled), (true, Desired::Active), (true, Desired::Absent)]
        {
            assert_eq!(volumes_go(delete, desired, now), None);
        }
    }
}
