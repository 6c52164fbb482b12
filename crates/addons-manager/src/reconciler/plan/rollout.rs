//! A rollout: from one revision to the next, service by service, with the way back kept open until every service has passed its gate.
//!
//! First every image of the new revision is pulled and the new container of every service that changes is created beside the old one: what is
//! wrong with an image or a configuration costs nothing. Then one service after the other is moved: a row says so, the old container is
//! parked (restart policy `no`, stopped, renamed), the new one takes its name and is started, and has to be well for a while. What fails on
//! the way turns the rollout back: a row says so, the new containers go, the parked ones take their names again and are started. The rest of
//! the planner looks after each service as its own revision has it, so that everything else is healed meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use service_kit::clock::Timestamp;

use super::graph::{Notice, Plan, Step, StepId, Wait};
use super::networks::Networks;
use super::removal;
use super::services::{backoff_after, ended};
use super::volumes::Volumes;
use super::{View, dependencies_are_up};
use crate::domain::specification::{RestartPolicy, ServiceSpecification};
use crate::domain::status::ServicePhase;
use crate::reconciler::state::{
    Attempt, ContainerRow, EndedBy, ErrorKind, OurContainer, PolicyReason, Role, RolloutState,
};
use crate::runtime::{ContainerState, Health};

/// What a gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Gate {
    /// It has been well for long enough.
    Passed,
    /// It will not do.
    Failed(String),
    /// Not yet; where time alone decides, when.
    Open(Option<Timestamp>),
}

/// Services whose container must wait: another one of theirs still runs or has its name. What puts that out of the way is planned here.
pub(super) fn held<'a>(view: &View<'a>, plan: &mut Plan) -> BTreeSet<&'a str> {
    let Some(rollout) = &view.desired.rollout else { return BTreeSet::new() };
    let mut held = BTreeSet::new();
    for row in &view.desired.containers {
        if is_left(rollout, row) {
            if let Some(wait) = aside_wait(view, rollout, &row.service) {
                tell_wait(&row.service, &wait, plan);
            } else {
                let cause = "an earlier change has left it";
                match view.observed.ours.containers.get(&row.row) {
                    Some(container) => {
                        removal::remove_container(row, container, runs(container), None, cause, &[], plan)
                    }
                    None => plan.add(Step::ForgetContainer { row: row.row }, Some(&row.service), cause, &[]),
                };
            }
            continue;
        }
        let Some(container) = view.observed.ours.containers.get(&row.row) else { continue };
        if row.role == Role::Current || (row.role == Role::Candidate && rollout.is_forward()) {
            continue;
        }
        if let Some(wait) = aside_wait(view, rollout, &row.service) {
            plan.wait(&row.service, wait);
            held.insert(row.service.as_str());
            continue;
        }
        let is_held = match row.role {
            Role::Current => false,
            Role::Previous => !park(view, rollout, row, container, plan).is_empty(),
            Role::Candidate => {
                let grace = view.desired.side(&row.service, row.role);
                let grace = grace.and_then(|side| side.service.settings.stop_grace_period_s);
                let cause = cause_of_return(rollout);
                removal::remove_container(row, container, runs(container), grace, &cause, &[], plan);
                true
            }
        };
        if is_held {
            held.insert(row.service.as_str());
        }
    }
    held
}

/// Whether a container was parked by an earlier rollout, which was over before it was removed.
fn is_left(rollout: &RolloutState, row: &ContainerRow) -> bool {
    row.role == Role::Previous && !(rollout.is_forward() && rollout.row.moved.contains(&row.service))
}

/// What holds back because a container could not be put out of the way.
fn aside_wait(view: &View<'_>, rollout: &RolloutState, service: &str) -> Option<Wait> {
    backoff_after(view, service, rollout.aside.get(service).map_or(&[], Vec::as_slice), false, false)
}

/// The steps that are left until a container is parked: not started by anybody, stopped, out of the way of the one that takes its name.
fn park(
    view: &View<'_>,
    rollout: &RolloutState,
    row: &ContainerRow,
    container: &OurContainer,
    plan: &mut Plan,
) -> Vec<StepId> {
    let cause = format!("{} goes on with revision {}", row.service, rollout.row.to);
    let side = view.desired.side(&row.service, Role::Previous);
    let grace_s = side.and_then(|side| side.service.settings.stop_grace_period_s);
    let mut steps = removal::stop_for_good(row, container, runs(container), grace_s, &cause, &[], plan);
    if container.listed.name != row.name {
        let step = Step::Rename { id: container.id.clone(), name: row.name.clone() };
        steps = vec![plan.add(step, Some(&row.service), cause, &steps)];
    }
    steps
}

/// Leads the rollout that is under way one step on.
pub(super) fn lead(view: &View<'_>, plan: &mut Plan) {
    let Some(rollout) = &view.desired.rollout else { return };
    if rollout.is_forward() {
        match failure(view, rollout) {
            Some(failure) => turn_back(view, rollout, failure, plan),
            None => forward(view, rollout, plan),
        }
    } else {
        back(view, rollout, plan);
    }
    plan.conditions.push(Notice { kind: "rollout", service: None, message: progress(rollout) });
}

fn forward(view: &View<'_>, rollout: &RolloutState, plan: &mut Plan) {
    let id = rollout.row.id;
    if !pulled(view, rollout, plan) || !candidates(view, rollout, plan) {
        deadline(rollout, view, plan);
        return;
    }
    for service in order(rollout) {
        if rollout.row.passed.contains(service) {
            continue;
        }
        deadline(rollout, view, plan);
        let moved = rollout.row.moved.contains(service);
        let new = rollout.to.services.get(service);
        // Nobody wants two runs of a job at once, nor two servers in one network namespace.
        let starts_first = new.is_some_and(|new| {
            new.start_first && !new.restart.is_job() && !new.depends_on.iter().any(|on| on.namespace)
        }) && rollout.from.services.contains_key(service);
        if !moved && starts_first && !goes_first(view, rollout, new.expect("it is in the new revision"), plan)
        {
            return;
        }
        if !moved && view.desired.with_role(service, Role::Previous).is_some() {
            // What an earlier rollout has left of it goes first.
            return;
        }
        if !moved {
            let parked_name = view.desired.side(service, Role::Previous).map(|side| side.name);
            let name = new.map(|new| new.container_name.clone());
            let cause = match (new.is_some(), rollout.from.services.contains_key(service)) {
                (true, true) => format!("it is another one in revision {}", rollout.row.to),
                (true, false) => format!("revision {} brings it", rollout.row.to),
                _ => format!("revision {} does not have it", rollout.row.to),
            };
            let passed = starts_first;
            let step = Step::Move { rollout: id, service: service.to_owned(), parked_name, name, passed };
            plan.add(step, Some(service), cause, &[]);
            return;
        }
        let pass = |plan: &mut Plan, cause: String| {
            let step = Step::PassGate { rollout: id, service: service.to_owned() };
            plan.add(step, Some(service), cause, &[]);
        };
        match new {
            // Parked by now, or on its way there.
            None if parked(view, service) => pass(plan, "it is parked".to_owned()),
            None => {}
            Some(new) => {
                let found = view.observed.current(view.desired, service);
                match gate(view, rollout, new, found.map(|(_, container)| container)) {
                    Gate::Passed => pass(plan, well(new, rollout)),
                    // Said by `failure` at the next look.
                    Gate::Failed(_) | Gate::Open(None) => {}
                    Gate::Open(Some(at)) => plan.look_at(at),
                }
            }
        }
        return;
    }
    if !rollout.row.moved.iter().all(|service| parked(view, service)) {
        return;
    }
    let cause = "every service of it has passed".to_owned();
    plan.add(Step::CompleteRollout { rollout: id }, None, cause, &[]);
}

/// Has every image of the new revision on this host, tagged. Whether it is so already.
fn pulled(view: &View<'_>, rollout: &RolloutState, plan: &mut Plan) -> bool {
    let mut all = true;
    for name in rollout.to.services.keys().filter(|name| !rollout.images.contains_key(*name)) {
        all = false;
        match backoff_after(view, name, attempts(rollout, name), false, false) {
            Some(wait) => {
                if let Some(at) = wait.next_attempt {
                    plan.look_at(at);
                }
                let message = format!("the image of {name} is not there yet: {}", wait.message);
                plan.conditions.push(Notice {
                    kind: "rollout_waiting",
                    service: Some(name.clone()),
                    message,
                });
            }
            None => {
                let step = Step::PullImage { service: name.clone(), revision: rollout.row.to };
                let cause = format!("revision {} is to be brought up", rollout.row.to);
                plan.add(step, Some(name), cause, &[]);
            }
        }
    }
    all
}

/// Has a container of every service that changes, created and not started. Whether it is so already.
fn candidates(view: &View<'_>, rollout: &RolloutState, plan: &mut Plan) -> bool {
    let mut all = true;
    let mut networks = Networks::new(view);
    let mut volumes = Volumes::new(view);
    let mut created: BTreeMap<&str, StepId> = BTreeMap::new();
    for service in rollout.to.start_order() {
        let name = service.service_name.as_str();
        if !rollout.changes(name) || rollout.row.moved.contains(name) {
            continue;
        }
        let cause = format!("revision {} is to be brought up", rollout.row.to);
        let found = view.observed.with_role(view.desired, name, Role::Candidate);
        let fits = |row: &ContainerRow| {
            rollout.digests.get(name) == Some(&row.spec_digest)
                && is_in_todays_namespaces(view, rollout, service, row)
        };
        if let Some((row, container)) = found.filter(|(row, _)| fits(row)) {
            if !row.verified {
                all = false;
                let (row, id) = (row.row, container.id.clone());
                let step = Step::VerifyContainer { service: name.to_owned(), role: Role::Candidate, row, id };
                plan.add(step, Some(name), cause, &[]);
            }
            continue;
        }
        all = false;
        let failed = backoff_after(view, name, attempts(rollout, name), false, false);
        if let Some(wait) = failed.or_else(|| aside_wait(view, rollout, name)) {
            tell_wait(name, &wait, plan);
            continue;
        }
        if view.desired.with_role(name, Role::Previous).is_some() {
            // What an earlier rollout has left of it may have the name that the new one is to have.
            continue;
        }
        if let Some((row, container)) = found {
            // Left by an earlier rollout, or made in a namespace that has gone meanwhile.
            removal::remove_container(row, container, runs(container), None, &cause, &[], plan);
            continue;
        }
        let prepared = networks.ensure(service, &cause, plan).and_then(|steps| {
            let image = rollout.images.get(name);
            Ok([steps, volumes.ensure(service, image, &cause, plan)?].concat())
        });
        let mut parents = match prepared {
            Ok(parents) => parents,
            Err(wait) => {
                tell_wait(name, &wait, plan);
                continue;
            }
        };
        let mut lenders = service.depends_on.iter().filter(|dependency| dependency.namespace);
        let is_there = |lender: &str| {
            created.contains_key(lender)
                || view.observed.with_role(view.desired, lender, Role::Candidate).is_some()
                || view.observed.current(view.desired, lender).is_some()
        };
        if lenders.clone().any(|lender| !is_there(&lender.service)) {
            // Why the lender is not there is told of itself.
            continue;
        }
        parents.extend(lenders.by_ref().filter_map(|lender| created.get(lender.service.as_str())));
        if !service.files.is_empty() {
            let step = Step::WriteFiles { service: name.to_owned(), role: Role::Candidate };
            parents.push(plan.add(step, Some(name), cause.clone(), &[]));
        }
        // An engine starts what was only created when it starts itself, if its policy says so.
        let (policy, why) = (RestartPolicy::No, PolicyReason::Stopping);
        let courtesy = networks.free_courtesy_aliases(service);
        let step =
            Step::CreateContainer { service: name.to_owned(), role: Role::Candidate, policy, why, courtesy };
        created.insert(name, plan.add(step, Some(name), cause, &parents));
    }
    all
}

fn tell_wait(service: &str, wait: &Wait, plan: &mut Plan) {
    if let Some(at) = wait.next_attempt {
        plan.look_at(at);
    }
    let service_name = Some(service.to_owned());
    plan.conditions.push(Notice {
        kind: "rollout_waiting",
        service: service_name,
        message: wait.message.clone(),
    });
}

/// Whether the containers whose namespaces a candidate was created in are still those that it is to live with.
fn is_in_todays_namespaces(
    view: &View<'_>,
    rollout: &RolloutState,
    service: &ServiceSpecification,
    row: &ContainerRow,
) -> bool {
    service.depends_on.iter().filter(|on| on.namespace).all(|on| {
        let provider = on.service.as_str();
        let candidate = view.desired.with_role(provider, Role::Candidate);
        let today = candidate.filter(|_| rollout.is_forward()).or_else(|| view.desired.current(provider));
        let today = today.and_then(|row| row.engine_id.as_deref());
        let seen = row.providers.get(provider).map(|provider| provider.engine_id.as_str());
        // A lender that is not there just now is made anew first.
        today.is_none() || seen.is_none() || today == seen
    })
}

/// Starts the new container beside the old one. Whether it has passed its gate.
fn goes_first(
    view: &View<'_>,
    rollout: &RolloutState,
    service: &ServiceSpecification,
    plan: &mut Plan,
) -> bool {
    let name = service.service_name.as_str();
    let Some((row, container)) = view.observed.with_role(view.desired, name, Role::Candidate) else {
        return false;
    };
    if runs(container) {
        return match gate(view, rollout, service, Some(container)) {
            Gate::Passed => true,
            Gate::Failed(_) | Gate::Open(None) => false,
            Gate::Open(Some(at)) => {
                plan.look_at(at);
                false
            }
        };
    }
    if let Some(wait) = backoff_after(view, name, attempts(rollout, name), false, false) {
        if let Some(at) = wait.next_attempt {
            plan.look_at(at);
        }
        return false;
    }
    if dependencies_are_up(view, service) {
        let providers = service.depends_on.iter().filter(|on| on.namespace || on.restart);
        let step = Step::StartContainer {
            service: name.to_owned(),
            role: Role::Candidate,
            existing: Some((row.row, container.id.clone())),
            providers: providers.map(|on| on.service.clone()).collect(),
        };
        let cause = format!("revision {} starts it before the old one is stopped", rollout.row.to);
        plan.add(step, Some(name), cause, &[]);
    }
    false
}

fn back(view: &View<'_>, rollout: &RolloutState, plan: &mut Plan) {
    let mut all_gone = true;
    for row in view.desired.containers.iter().filter(|row| row.role != Role::Current) {
        all_gone = false;
        if !is_left(rollout, row) && !view.observed.ours.containers.contains_key(&row.row) {
            let step = Step::ForgetContainer { row: row.row };
            plan.add(step, Some(&row.service), cause_of_return(rollout), &[]);
        }
    }
    // What is parked and not started again, as a job that is done, has its name back all the same.
    for row in view.desired.containers.iter().filter(|row| row.role == Role::Current) {
        let Some(container) = view.observed.ours.containers.get(&row.row) else { continue };
        let planned = plan.has(&row.service, |step| matches!(step, Step::Rename { .. }));
        let stands = !runs(container) && container.listed.name != row.name;
        if stands && !planned && view.observed.is_free_name(&row.name) {
            let step = Step::Rename { id: container.id.clone(), name: row.name.clone() };
            plan.add(step, Some(&row.service), cause_of_return(rollout), &[]);
        }
    }
    if all_gone && plan.steps.is_empty() {
        let step = Step::EndUndoneRollout { rollout: rollout.row.id };
        plan.add(step, None, cause_of_return(rollout), &[]);
    }
}

/// Why a rollout cannot succeed.
struct Failure<'a> {
    why: String,
    /// The service that it is about.
    service: Option<&'a str>,
}

impl<'a> Failure<'a> {
    fn of(service: &'a str, why: &str) -> Self {
        Self { why: format!("{service}: {why}"), service: Some(service) }
    }
}

/// The last words of what failed are kept before its container goes.
fn turn_back(view: &View<'_>, rollout: &RolloutState, failure: Failure<'_>, plan: &mut Plan) {
    let Failure { why, service } = failure;
    let run =
        service.and_then(|service| attempts(rollout, service).iter().find(|run| run.engine_id.is_some()));
    let container = run.and_then(|run| {
        let mut containers = view.observed.ours.containers.values();
        containers.find(|container| run.engine_id.as_deref() == Some(container.id.0.as_str()))
    });
    let mut parents = Vec::new();
    if let (Some(run), Some(container)) = (run.filter(|run| run.logs.is_none()), container) {
        let step = Step::CollectLogs { attempt: run.row, id: container.id.clone() };
        parents.push(plan.add(step, service, why.clone(), &[]));
    }
    let names = rollout.from.services.iter();
    let names = names.map(|(name, service)| (name.clone(), service.container_name.clone())).collect();
    let attempt = run.map(|run| run.row);
    let step = Step::TurnBack { rollout: rollout.row.id, why: why.clone(), attempt, names };
    plan.add(step, None, why, &parents);
}

/// Why the rollout cannot succeed, where that is so.
fn failure<'a>(view: &View<'_>, rollout: &'a RolloutState) -> Option<Failure<'a>> {
    for (name, service) in &rollout.to.services {
        let is_known = rollout.images.contains_key(name);
        let failed = attempts(rollout, name).iter().find_map(|attempt| {
            let error = attempt.error.as_ref()?;
            let waits = match error.kind {
                ErrorKind::Retry | ErrorKind::Forgiven => true,
                // Nothing has been touched yet: who frees the disk or logs in need not ask again.
                ErrorKind::DiskFull | ErrorKind::Authentication => !is_known,
                _ => false,
            };
            (!waits).then(|| error.message.clone())
        });
        if let Some(message) = failed {
            return Some(Failure::of(name, &message));
        }
        let found = if rollout.row.moved.contains(name) {
            view.observed.current(view.desired, name)
        } else {
            view.observed.with_role(view.desired, name, Role::Candidate)
        };
        let judged = rollout.changes(name) && !rollout.row.passed.contains(name);
        if judged
            && let Gate::Failed(why) = gate(view, rollout, service, found.map(|(_, container)| container))
        {
            return Some(Failure::of(name, &why));
        }
    }
    let taken = order(rollout).into_iter().find_map(|name| {
        let side = view.desired.side(name, Role::Previous).filter(|_| !rollout.row.moved.contains(name))?;
        let is_left = view.desired.with_role(name, Role::Previous).is_some();
        (!is_left && !view.observed.is_free_name(&side.name)).then_some((name, side.name))
    });
    if let Some((service, name)) = taken {
        let why = format!(
            "a container is named {name}, which the old one is to be kept under: rename or remove it"
        );
        return Some(Failure::of(service, &why));
    }
    // Where all have passed there is nothing to wait for but that the old ones end.
    let waits_for = order(rollout).into_iter().find(|name| !rollout.row.passed.contains(*name))?;
    (rollout.row.used_ms > millis(rollout.deadline)).then(|| {
        let minutes = rollout.deadline.as_secs().div_ceil(60);
        let why = format!("it was not through within {minutes} min: {waits_for} is not well yet");
        Failure { why, service: Some(waits_for) }
    })
}

/// Whether the container of a service of the new revision has been well for long enough.
fn gate(
    view: &View<'_>,
    rollout: &RolloutState,
    service: &ServiceSpecification,
    container: Option<&OurContainer>,
) -> Gate {
    let name = service.service_name.as_str();
    let history = attempts(rollout, name);
    let is_job = service.restart.is_job();
    let moved = rollout.row.moved.contains(name);
    if is_job && moved && view.desired.completions.contains_key(name) {
        return Gate::Passed;
    }
    let ended_badly = |run: &&Attempt| {
        let by_itself = matches!(run.ended_by, Some(EndedBy::Itself) | None);
        run.engine_id.is_some()
            && run.ended_at.is_some()
            && by_itself
            && !(is_job && run.exit_code == Some(0))
    };
    let bad: Vec<&Attempt> = history.iter().filter(ended_badly).collect();
    let tries = match service.restart {
        RestartPolicy::OnFailure(None | Some(0)) => usize::MAX,
        RestartPolicy::OnFailure(Some(tries)) => usize::try_from(tries).unwrap_or(usize::MAX),
        RestartPolicy::Always | RestartPolicy::No => 0,
    };
    if bad.len() > tries
        && let Some(last) = bad.first()
    {
        return Gate::Failed(ended(last));
    }
    let (Some(container), Some(run)) = (container, history.iter().find(|run| run.ended_at.is_none())) else {
        return Gate::Open(None);
    };
    if run.unhealthy_at.is_some() || container.listed.health == Some(Health::Unhealthy) {
        return Gate::Failed("its check says that it is unhealthy".to_owned());
    }
    let is_well = container.state() == ContainerState::Running
        && matches!(container.listed.health, None | Some(Health::Healthy));
    if !is_well || is_job {
        return Gate::Open(None);
    }
    // A run is written down before the engine is asked to begin it, which may take longer than the whole time that it is to be well.
    let mut reports = view.desired.installation.service_states.iter();
    let before = reports.find(|before| before.service_name == name);
    let seen = before.filter(|before| before.phase == ServicePhase::Running).map_or(view.now, |it| it.since);
    let since = [run.started_at, rollout.watched_since].into_iter().chain(moved.then_some(seen)).max();
    let at = since.unwrap_or(view.now) + rollout.settle;
    if view.now >= at { Gate::Passed } else { Gate::Open(Some(at)) }
}

/// The services that a rollout moves, in the order in which it does: first those that the new revision does not have and that are in the way
/// of one that it has; then each that changes, after those that it depends on; at last the others that the new revision does not have, which
/// the old containers of the others use until then. Of services that go, dependents before what they depend on.
fn order(rollout: &RolloutState) -> Vec<&str> {
    let gone = rollout.from.start_order().into_iter().rev();
    let gone = gone.filter(|service| !rollout.to.services.contains_key(&service.service_name));
    let (first, last): (Vec<_>, Vec<_>) =
        gone.partition(|old| rollout.to.services.values().any(|new| old.is_in_the_way_of(new)));
    let changed = rollout.to.start_order().into_iter();
    let changed = changed.filter(|service| rollout.changes(&service.service_name));
    let all = first.into_iter().chain(changed).chain(last);
    all.map(|service| service.service_name.as_str()).collect()
}

fn attempts<'a>(rollout: &'a RolloutState, service: &str) -> &'a [Attempt] {
    rollout.attempts.get(service).map_or(&[], Vec::as_slice)
}

fn runs(container: &OurContainer) -> bool {
    matches!(container.state(), ContainerState::Running | ContainerState::Paused | ContainerState::Restarting)
}

fn parked(view: &View<'_>, service: &str) -> bool {
    match view.observed.with_role(view.desired, service, Role::Previous) {
        Some((row, container)) => !runs(container) && container.listed.name == row.name,
        None => true,
    }
}

fn deadline(rollout: &RolloutState, view: &View<'_>, plan: &mut Plan) {
    let left = (millis(rollout.deadline) - rollout.row.used_ms).max(0).unsigned_abs();
    plan.look_at(view.now + std::time::Duration::from_millis(left + 1));
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn well(service: &ServiceSpecification, rollout: &RolloutState) -> String {
    if service.restart.is_job() {
        return "it is completed".to_owned();
    }
    format!("it has been well for {:?}", rollout.settle)
}

fn cause_of_return(rollout: &RolloutState) -> String {
    let why = rollout.row.why.as_deref().unwrap_or("it failed");
    format!("{} is undone: {why}", rollout.row.kind.describe())
}

/// Where it is, in a sentence.
fn progress(rollout: &RolloutState) -> String {
    let row = &rollout.row;
    let what = row.kind.describe();
    if !rollout.is_forward() {
        let why = row.why.as_deref().unwrap_or("it failed");
        return format!("{what} from revision {} to {} is being undone: {why}", row.from, row.to);
    }
    let all = order(rollout).len();
    let passed = row.passed.len();
    format!(
        "{what} from revision {} to {} is under way: {passed} of {all} services have passed",
        row.from, row.to
    )
}
