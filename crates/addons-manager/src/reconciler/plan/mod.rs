//! The planner: from what is wanted and what is there to the steps that bring the one to the other.
//!
//! Pure: no I/O, no clock, no logging. One file a rule set; the graph that they fill stands in `graph.rs`.

mod drift;
pub mod graph;
pub(crate) mod images;
pub(crate) mod networks;
mod removal;
mod rollout;
pub(crate) mod services;
pub(crate) mod volumes;

use std::collections::BTreeMap;

use service_kit::clock::Timestamp;

use self::graph::{Notice, Plan, Step, StepId, Wait, WaitReason};
use self::services::{How, Intent};
use super::state::{DesiredState, ObservedState, Role};
use crate::domain::installation::Desired;
use crate::domain::specification::{DependencyCondition, ServiceSpecification};
use crate::runtime::{ContainerState, Health};

/// The whole input of a plan, handed to every rule.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) desired: &'a DesiredState,
    pub(crate) observed: &'a ObservedState,
    pub(crate) now: Timestamp,
}

/// The steps that bring `observed` to `desired`, and what the rest is waiting for. Empty when they agree.
/// The arguments are the whole input, and no plan outlives its pass.
pub fn plan(desired: &DesiredState, observed: &ObservedState, now: Timestamp) -> Plan {
    let view = View { desired, observed, now };
    let mut plan = Plan::default();
    networks::remove_surplus(&view, &mut plan);
    match desired.installation.desired {
        Desired::Active => {
            bring_up(&view, &mut plan);
            let mut alone = Plan::default();
            rollout::lead(&view, &mut alone);
            if alone.changes_roles() {
                // No other step may be under way while containers of a service change their places in the ledger.
                plan.steps.clear();
            }
            rollout::lead(&view, &mut plan);
        }
        Desired::Disabled => removal::disable(&view, &mut plan),
        Desired::Absent => removal::uninstall(&view, &mut plan),
    }
    plan
}

/// What a plan for a wanted installation has put in so far: rules for one service look up what others do.
struct Progress<'a> {
    intents: BTreeMap<&'a str, Intent>,
    /// Every image is present before anything running is stopped.
    pulls: Vec<StepId>,
    stops: BTreeMap<&'a str, StepId>,
    creates: BTreeMap<&'a str, StepId>,
    starts: BTreeMap<&'a str, StepId>,
}

fn bring_up(view: &View<'_>, plan: &mut Plan) {
    let order = view.desired.start_order();
    let removed = removal::remove_unwanted_services(view, plan);
    networks::remove_unwanted(view, &removed, plan);
    let held = rollout::held(view, plan);
    let mut intents = BTreeMap::new();
    for service in &order {
        let intent = match held.contains(service.service_name.as_str()) {
            true => Intent::Held,
            false => services::intent(view, service, &intents, plan),
        };
        intents.insert(service.service_name.as_str(), intent);
    }
    let mut progress = Progress {
        intents,
        pulls: Vec::new(),
        stops: BTreeMap::new(),
        creates: BTreeMap::new(),
        starts: BTreeMap::new(),
    };
    let mut networks = networks::Networks::new(view);
    let mut volumes = volumes::Volumes::new(view);

    // Images first, for all services: stops come after every pull.
    for service in &order {
        if let Some(bring) = progress.intents[service.service_name.as_str()].bring() {
            progress.pulls.extend(images::pull(view, service, bring, plan));
        }
    }
    stop_in_reverse(view, &order, &mut progress, plan);
    for service in &order {
        bring_service(view, service, &mut progress, &mut networks, &mut volumes, plan);
    }
    for service in &order {
        services::collect_logs(view, service, plan);
    }
    removal::drop_outdated_revisions(view, plan);
    notices(view, plan);
}

/// Stops and removes what is to be started or created anew: dependents before what they depend on.
fn stop_in_reverse<'a>(
    view: &View<'a>,
    order: &[&'a ServiceSpecification],
    progress: &mut Progress<'a>,
    plan: &mut Plan,
) {
    for service in order.iter().rev() {
        let name = service.service_name.as_str();
        let Some(bring) = progress.intents[name].bring() else { continue };
        let Some((row, container)) = view.observed.current(view.desired, name) else { continue };
        if !matches!(bring.how, How::Restart { .. } | How::Recreate) || !images::is_known(view, name) {
            continue;
        }
        // What cannot be started again yet, or not created anew, is not stopped either.
        let blocked = match bring.how {
            How::Recreate => services::conflict(view, service)
                .or_else(|| networks::blocked(view, service))
                .or_else(|| volumes::blocked(view, service, view.desired.images.get(name))),
            _ => None,
        };
        if let Some(wait) = blocked.or_else(|| dependencies(view, service, progress, false).err()) {
            plan.wait(name, wait);
            continue;
        }
        let mut parents = progress.pulls.clone();
        let dependents =
            order.iter().filter(|other| other.depends_on.iter().any(|dependency| dependency.service == name));
        parents.extend(dependents.filter_map(|other| progress.stops.get(other.service_name.as_str())));
        let cause = bring.cause.clone();
        let running = matches!(
            container.state(),
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
        );
        let last = match bring.how {
            How::Restart { unhealthy } => {
                let stop = Step::StopContainer {
                    row: row.row,
                    id: container.id.clone(),
                    grace_s: service.settings.stop_grace_period_s,
                    unhealthy,
                };
                plan.add(stop, Some(name), cause, &parents)
            }
            _ => removal::remove_container(
                row,
                container,
                running,
                service.settings.stop_grace_period_s,
                &cause,
                &parents,
                plan,
            ),
        };
        progress.stops.insert(name, last);
    }
}

fn bring_service<'a>(
    view: &View<'a>,
    service: &'a ServiceSpecification,
    progress: &mut Progress<'a>,
    networks: &mut networks::Networks<'a>,
    volumes: &mut volumes::Volumes<'a>,
    plan: &mut Plan,
) {
    let name = service.service_name.as_str();
    let current = view.observed.current(view.desired, name);
    let bring = match &progress.intents[name] {
        Intent::Held => return,
        Intent::Rest => {
            // A job that is done, and that a rollout has put in the place of another one.
            if let Some((row, container)) = current
                && container.listed.name != row.name
                && view.observed.is_free_name(&row.name)
            {
                let step = Step::Rename { id: container.id.clone(), name: row.name.clone() };
                plan.add(step, Some(name), "it has the place of the one before", &[]);
            }
            return;
        }
        Intent::Keep => {
            if let Some((row, container)) = current {
                drift::mend(view, service, row, container, networks, plan);
            }
            return;
        }
        Intent::Wait(wait) => {
            plan.wait(name, wait.clone());
            return;
        }
        Intent::Bring(bring) => bring.clone(),
    };
    if matches!(bring.how, How::Restart { .. } | How::Recreate)
        && current.is_some()
        && !progress.stops.contains_key(name)
    {
        // Its image is being pulled, or it waits for another service: `stop_in_reverse` has said so.
        return;
    }
    let (existing, mut parents) = match bring.how {
        How::Create | How::Recreate => {
            let prepared = services::conflict(view, service).map_or(Ok(()), Err).and_then(|()| {
                Ok((
                    networks.ensure(service, &bring.cause, plan)?,
                    volumes.ensure(service, view.desired.images.get(name), &bring.cause, plan)?,
                ))
            });
            let mut parents = match prepared {
                Ok((networks, volumes)) => [networks, volumes].concat(),
                Err(wait) => return plan.wait(name, wait),
            };
            if !images::is_known(view, name) {
                // The image's volumes are known when it has been pulled: the next pass goes on.
                return;
            }
            parents.extend(progress.stops.get(name));
            parents.extend(&progress.pulls);
            if !service.files.is_empty() {
                parents.push(plan.add(
                    Step::WriteFiles { service: name.to_owned(), role: Role::Current },
                    Some(name),
                    bring.cause.clone(),
                    &[],
                ));
            }
            for dependency in service.depends_on.iter().filter(|dependency| dependency.namespace) {
                let provider = dependency.service.as_str();
                match progress.creates.get(provider) {
                    Some(create) => parents.push(*create),
                    None if view.observed.current(view.desired, provider).is_some() => {}
                    None => {
                        return plan
                            .wait(name, wait_for(provider, "to be there, since it uses its namespace"));
                    }
                }
            }
            let (policy, why) = services::policy_at_create(view, service);
            let courtesy = networks.free_courtesy_aliases(service);
            let step = Step::CreateContainer {
                service: name.to_owned(),
                role: Role::Current,
                policy,
                why,
                courtesy,
            };
            let create = plan.add(step, Some(name), bring.cause.clone(), &parents);
            progress.creates.insert(name, create);
            (None, vec![create])
        }
        How::Start | How::Verify | How::Restart { .. } => {
            let (row, container) = current.expect("only a container that is there is started");
            let mut parents: Vec<StepId> = progress.stops.get(name).copied().into_iter().collect();
            if bring.how == How::Verify {
                let step = Step::VerifyContainer {
                    service: name.to_owned(),
                    role: Role::Current,
                    row: row.row,
                    id: container.id.clone(),
                };
                parents.push(plan.add(step, Some(name), bring.cause.clone(), &[]));
            } else if let Some(step) = drift::policy_before_start(view, service, row, container) {
                parents.push(plan.add(step, Some(name), bring.cause.clone(), &parents));
            }
            // Under its name others find it from its first moment on.
            if container.listed.name != row.name && view.observed.is_free_name(&row.name) {
                let step = Step::Rename { id: container.id.clone(), name: row.name.clone() };
                parents.push(plan.add(step, Some(name), bring.cause.clone(), &[]));
            }
            (Some((row.row, container.id.clone())), parents)
        }
    };
    match dependencies(view, service, progress, true) {
        Ok(starts) => parents.extend(starts),
        Err(wait) => return plan.wait(name, wait),
    }
    let providers = service
        .depends_on
        .iter()
        .filter(|dependency| dependency.namespace || dependency.restart)
        .map(|dependency| dependency.service.clone())
        .collect();
    let step = Step::StartContainer { service: name.to_owned(), role: Role::Current, existing, providers };
    let start = plan.add(step, Some(name), bring.cause, &parents);
    progress.starts.insert(name, start);
}

/// The request that takes an object of somebody else in, because a person says that it is ours.
fn adoption(id: &str, desired: &DesiredState) -> String {
    format!("POST /api/v1/host/foreign/{id}/adopt {{\"installation\": \"{}\"}}", desired.installation.id)
}

fn wait_for(service: &str, what: &str) -> Wait {
    Wait {
        reason: WaitReason::Dependency,
        message: format!("waits for {service} {what}"),
        next_attempt: None,
    }
}

/// The starts that a start comes after, or what it waits for. `planned` tells whether starts of this plan count already.
///
/// A dependency that has failed holds back only what was never up: what once worked is healed without it.
fn dependencies(
    view: &View<'_>,
    service: &ServiceSpecification,
    progress: &Progress<'_>,
    planned: bool,
) -> Result<Vec<StepId>, Wait> {
    let mut parents = Vec::new();
    let been_up = view.desired.installation.been_up.contains(&service.service_name);
    for dependency in &service.depends_on {
        let other = dependency.service.as_str();
        let container = view.observed.current(view.desired, other).map(|(_, container)| container);
        // What this plan stops does not run when the time for the start comes.
        let running = container.is_some_and(|container| container.state() == ContainerState::Running)
            && !(planned && progress.stops.contains_key(other));
        let health = container.and_then(|container| container.listed.health);
        let completed = view.desired.completions.contains_key(other);
        let start = progress.starts.get(other);
        let coming =
            start.is_some() || progress.intents.get(other).is_some_and(|intent| intent.bring().is_some());
        let (ready, what) = match dependency.condition {
            DependencyCondition::ServiceStarted => (running || completed, "to start"),
            DependencyCondition::ServiceHealthy => {
                (running && !coming && matches!(health, None | Some(Health::Healthy)), "to be healthy")
            }
            DependencyCondition::ServiceCompletedSuccessfully => (completed, "to complete"),
        };
        if let Some(start) = start {
            parents.push(*start);
        }
        let start_is_enough = dependency.condition == DependencyCondition::ServiceStarted && start.is_some();
        // What is stopped together is stopped now, and started when its turn comes.
        let follows = !planned && coming;
        if ready || start_is_enough || follows {
            continue;
        }
        let own_wait = match progress.intents.get(other) {
            Some(Intent::Wait(wait)) => Some(wait),
            _ => None,
        };
        let failed = own_wait.is_some_and(Wait::is_failure) || health == Some(Health::Unhealthy);
        let needs_it_running = dependency.namespace && !running && start.is_none();
        if been_up && failed && !needs_it_running {
            continue;
        }
        let mut wait = wait_for(other, what);
        if let Some(own) = own_wait {
            wait.message = format!("{}, which waits itself: {}", wait.message, own.message);
        }
        return Err(wait);
    }
    Ok(parents)
}

/// Whether everything that a service waits for before it is started is so.
fn dependencies_are_up(view: &View<'_>, service: &ServiceSpecification) -> bool {
    service.depends_on.iter().all(|dependency| {
        let container = view.observed.current(view.desired, &dependency.service);
        let health = container.and_then(|(_, container)| container.listed.health);
        let running = container.is_some_and(|(_, container)| container.state() == ContainerState::Running);
        let completed = view.desired.completions.contains_key(&dependency.service);
        match dependency.condition {
            DependencyCondition::ServiceStarted => running || completed,
            DependencyCondition::ServiceHealthy => running && matches!(health, None | Some(Health::Healthy)),
            DependencyCondition::ServiceCompletedSuccessfully => completed,
        }
    })
}

/// Things to know that are no failure.
fn notices(view: &View<'_>, plan: &mut Plan) {
    for (service, completion) in &view.desired.completions {
        if !completion.watched {
            plan.conditions.push(Notice {
                kind: "completion_unwatched",
                service: Some(service.clone()),
                message: format!("{service} was found ended with 0; nobody watched it end"),
            });
        }
    }
    for service in view.desired.specification.services.values() {
        let Some((row, _)) = view.observed.current(view.desired, &service.service_name) else { continue };
        for message in volumes::unproven(view, service) {
            let service = Some(service.service_name.clone());
            plan.conditions.push(Notice { kind: "volume_unproven", service, message });
        }
        for (network, alias) in networks::courtesy_aliases(service) {
            // Who goes without and whose alias is free again has it when its container is made the next time.
            if !row.asked.courtesy.contains_key(network) && networks::is_taken(view, network, alias) {
                plan.conditions.push(Notice {
                    kind: "alias_taken",
                    service: Some(service.service_name.clone()),
                    message: format!(
                        "somebody else answers to {alias} on network {network}: {} goes without",
                        service.service_name
                    ),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
