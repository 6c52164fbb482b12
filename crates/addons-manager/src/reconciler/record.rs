//! What a look at the engine adds to the ledger: ids that a nonce proves, runs that began or ended, jobs that are done.
//!
//! Pure. A pass writes these down first and plans from what it reads back; a look that failed adds nothing.

use service_kit::clock::Timestamp;

use super::state::{Attempt, ContainerRow, DesiredState, EndedBy, ObservedState, OurContainer, StartedBy};
use crate::domain::installation::Desired;
use crate::runtime::{ContainerState, Health, InspectedContainer};

/// A fact to write down.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Record {
    /// A container has the name and nonce of a row without id: from now on its id is the proof.
    ContainerFound {
        row: i64,
        service: String,
        engine_id: String,
    },
    /// The same of a network; the others that carry that name and nonce are surplus.
    NetworkFound {
        row: i64,
        engine_id: String,
        surplus: Vec<String>,
    },
    /// A container runs, and no run of it is written down.
    RunSeen {
        service: String,
        row: i64,
        engine_id: String,
        spec_digest: String,
        started_by: StartedBy,
        started_at: Timestamp,
    },
    /// A run that we wrote down before the start that never came true: we were stopped between the two.
    RunNeverBegan {
        attempt: i64,
        row: i64,
    },
    /// The run of an attempt has ended, and no event has told.
    RunEnded {
        attempt: i64,
        ended_at: Timestamp,
        exit_code: Option<i64>,
        oom: bool,
        ended_by: EndedBy,
    },
    RunUnhealthy {
        attempt: i64,
        at: Timestamp,
    },
    RunRecovered {
        attempt: i64,
    },
    JobCompleted {
        service: String,
        spec_digest: String,
        finished_at: Timestamp,
        watched: bool,
    },
    /// The start of its process as the engine writes it.
    ProcessStarted {
        row: i64,
        started_at: String,
    },
}

/// A time between loss and return of the event stream while the manager ran. What exited meanwhile may have been stopped by the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Outage {
    pub from: Timestamp,
    pub until: Timestamp,
}

/// How much earlier than our losing the stream the engine may have begun to stop: it stops containers one after the other.
const OUTAGE_SLACK: std::time::Duration = std::time::Duration::from_secs(2);

/// What is seen now and not written down yet.
pub fn records(
    desired: &DesiredState,
    observed: &ObservedState,
    now: Timestamp,
    outages: &[Outage],
) -> Vec<Record> {
    let mut records = Vec::new();
    for row in &desired.networks {
        if let (None, Some(network)) = (&row.engine_id, observed.ours.networks.get(&row.row)) {
            records.push(Record::NetworkFound {
                row: row.row,
                engine_id: network.id.0.clone(),
                surplus: network.surplus.clone(),
            });
        }
    }
    for row in &desired.containers {
        let Some(container) = observed.ours.containers.get(&row.row) else { continue };
        if row.engine_id.is_none() {
            records.push(Record::ContainerFound {
                row: row.row,
                service: row.service.clone(),
                engine_id: container.id.0.clone(),
            });
        }
        runs(desired, row, container, now, outages, &mut records);
    }
    runs_of_what_is_gone(desired, observed, now, &mut records);
    if desired.installation.desired == Desired::Active {
        completions(desired, observed, &mut records);
    }
    records
}

/// Ids of containers that a pass has to inspect before it concludes anything: those whose run ended unseen.
pub fn unexplained(desired: &DesiredState, observed: &ObservedState) -> Vec<String> {
    let ended = |container: &OurContainer| {
        matches!(
            container.state(),
            ContainerState::Exited | ContainerState::Dead | ContainerState::Restarting
        )
    };
    desired
        .containers
        .iter()
        .filter_map(|row| Some((row, observed.ours.containers.get(&row.row)?)))
        .filter(|(row, container)| {
            container.inspected.is_none() && ended(container) && needs_explaining(desired, row, container)
        })
        .map(|(_, container)| container.id.0.clone())
        .collect()
}

fn needs_explaining(desired: &DesiredState, row: &ContainerRow, container: &OurContainer) -> bool {
    let history = desired.history(&row.service);
    match history.iter().find(|attempt| attempt.engine_id.as_deref() == Some(container.id.0.as_str())) {
        Some(run) => run.ended_at.is_none(),
        // It ran before anything was written down of it, as after adoption. Attempts of an older epoch are no part of the history:
        // those are over, and what they say is forgiven.
        None => {
            row.started_at.is_none()
                && row.restart_generation == desired.installation.restart_generation
                && row.verified
        }
    }
}

fn runs(
    desired: &DesiredState,
    row: &ContainerRow,
    container: &OurContainer,
    now: Timestamp,
    outages: &[Outage],
    records: &mut Vec<Record>,
) {
    let live = container.inspected.as_ref();
    let id = container.id.0.as_str();
    let open = desired
        .history(&row.service)
        .iter()
        .find(|run| run.ended_at.is_none() && run.engine_id.as_deref() == Some(id));
    let seen = |started_by, live: Option<&InspectedContainer>| Record::RunSeen {
        service: row.service.clone(),
        row: row.row,
        engine_id: id.to_owned(),
        spec_digest: row.spec_digest.clone(),
        started_by,
        started_at: live.and_then(|live| live.started_at.parse().ok()).unwrap_or(now),
    };
    match container.state() {
        ContainerState::Running | ContainerState::Paused => {
            let started = live.map(|live| live.started_at.as_str()).filter(|started| !started.is_empty());
            match (open, started, &row.started_at) {
                // Its process is another one, and no event has told: the engine has restarted it.
                (Some(run), Some(started), Some(before)) if started != before => {
                    // The old run ended before the new one began; when exactly, nobody knows.
                    let began = started.parse().unwrap_or(now);
                    records.push(end(run, began, None, outages));
                    records.push(seen(StartedBy::Engine, live));
                }
                (Some(run), _, _) => health(run, container, now, records),
                (None, _, _) => records.push(seen(StartedBy::Engine, live)),
            }
            if let Some(started) = started
                && row.started_at.as_deref() != Some(started)
            {
                records.push(Record::ProcessStarted { row: row.row, started_at: started.to_owned() });
            }
        }
        ContainerState::Exited | ContainerState::Dead | ContainerState::Restarting => match (open, live) {
            (Some(run), Some(live)) if never_began(run, row, live) => {
                records.push(Record::RunNeverBegan { attempt: run.row, row: row.row });
            }
            (Some(run), Some(live)) => records.push(end(run, now, Some(live), outages)),
            (None, Some(live)) if needs_explaining(desired, row, container) && ran(live) => {
                // A run that is over when it is first seen: written down by the next look, which finds it open and ended.
                records.push(seen(StartedBy::Engine, Some(live)));
                records.push(Record::ProcessStarted { row: row.row, started_at: live.started_at.clone() });
            }
            _ => {}
        },
        ContainerState::Created | ContainerState::Removing => {}
    }
}

/// Whether it was ever started: the engine writes the year 1 else.
fn ran(live: &InspectedContainer) -> bool {
    live.started_at.parse::<Timestamp>().is_ok()
}

/// Whether the process that ended is the one from before the start that we wrote down.
fn never_began(run: &Attempt, row: &ContainerRow, live: &InspectedContainer) -> bool {
    run.started_by == StartedBy::Manager
        && row.started_at.is_none()
        && row.started_at_before.as_deref() == Some(live.started_at.as_str())
}

fn health(run: &Attempt, container: &OurContainer, now: Timestamp, records: &mut Vec<Record>) {
    match (container.listed.health, run.unhealthy_at) {
        (Some(Health::Unhealthy), None) => records.push(Record::RunUnhealthy { attempt: run.row, at: now }),
        (Some(Health::Healthy), Some(_)) => records.push(Record::RunRecovered { attempt: run.row }),
        _ => {}
    }
}

fn end(run: &Attempt, now: Timestamp, live: Option<&InspectedContainer>, outages: &[Outage]) -> Record {
    let finished =
        live.and_then(|live| live.finished_at.parse::<Timestamp>().ok()).filter(|at| *at >= run.started_at);
    let ended_at = finished.unwrap_or(now);
    let in_outage = outages
        .iter()
        .any(|outage| ended_at + OUTAGE_SLACK >= outage.from && ended_at <= outage.until + OUTAGE_SLACK);
    let ended_by = run.ended_by.unwrap_or(if in_outage { EndedBy::Engine } else { EndedBy::Itself });
    Record::RunEnded {
        attempt: run.row,
        ended_at,
        exit_code: live.map(|live| live.exit_code),
        oom: live.is_some_and(|live| live.oom_killed),
        ended_by,
    }
}

/// A container that is gone ended with its removal; who removed it did not say so, and it was not us.
fn runs_of_what_is_gone(
    desired: &DesiredState,
    observed: &ObservedState,
    now: Timestamp,
    records: &mut Vec<Record>,
) {
    let there = |id: &str| observed.ours.containers.values().any(|container| container.id.0 == id);
    for run in desired.attempts.values().flatten().filter(|run| run.ended_at.is_none()) {
        if run.engine_id.as_deref().is_some_and(|id| !there(id)) {
            let ended_by = run.ended_by.unwrap_or(EndedBy::Person);
            records.push(Record::RunEnded {
                attempt: run.row,
                ended_at: now,
                exit_code: None,
                oom: false,
                ended_by,
            });
        }
    }
}

/// A job that exits with 0 by itself is done. One that a signal ended, or the engine by stopping, is not.
fn completions(desired: &DesiredState, observed: &ObservedState, records: &mut Vec<Record>) {
    for service in desired.specification.services.values().filter(|service| service.restart.is_job()) {
        let name = service.service_name.as_str();
        if desired.completions.contains_key(name) {
            continue;
        }
        let Some(run) = desired.history(name).iter().find(|attempt| attempt.engine_id.is_some()) else {
            continue;
        };
        let running = observed
            .current(desired, name)
            .is_some_and(|(_, container)| container.state() == ContainerState::Running);
        if let (Some(finished_at), Some(EndedBy::Itself), Some(0), false) =
            (run.ended_at, run.ended_by, run.exit_code, running)
            && let Some(spec_digest) = desired.digests.get(name)
        {
            let watched = run.watched;
            records.push(Record::JobCompleted {
                service: name.to_owned(),
                spec_digest: spec_digest.clone(),
                finished_at,
                watched,
            });
        }
    }
}
