//! Removal: what is no longer wanted goes in reverse order of the starts, and takes with it only what the ledger proves.

use std::collections::{BTreeMap, BTreeSet};

use super::View;
use super::graph::{Plan, Sets, Step, StepId};
use super::services;
use crate::domain::specification::RestartPolicy;
use crate::reconciler::state::{ContainerRow, OurContainer, PolicyReason, Role};
use crate::runtime::ContainerState;

/// Removes containers and the addon's own networks; volumes and images stay.
pub(super) fn disable(view: &View<'_>, plan: &mut Plan) {
    if let Some(wait) = services::backoff_wait(view, "", false, false) {
        return plan.wait("", wait);
    }
    let containers = remove_containers(view, "it is disabled", plan);
    remove_networks(view, "it is disabled", &containers, plan);
}

/// Removes everything, at last the installation itself. Volumes stay for the next one of that name, unless their removal was asked for.
pub(super) fn uninstall(view: &View<'_>, plan: &mut Plan) {
    if let Some(wait) = services::backoff_wait(view, "", false, false) {
        return plan.wait("", wait);
    }
    let cause = "it is uninstalled";
    let containers = remove_containers(view, cause, plan);
    let mut all = remove_networks(view, cause, &containers, plan);
    all.extend(&containers);
    let mut kept_volumes = BTreeSet::new();
    for (row, volume) in &view.observed.ours.volumes {
        if view.desired.installation.delete_volumes {
            all.push(plan.add(
                Step::RemoveVolume { row: *row, name: volume.name.clone() },
                None,
                cause,
                &containers,
            ));
        } else {
            kept_volumes.insert(volume.name.0.clone());
        }
    }
    for tag in &view.desired.tags {
        all.push(plan.add(Step::Untag { tag: tag.clone() }, None, cause, &containers));
    }
    all.push(plan.add(Step::RemoveFiles, None, cause, &containers));
    plan.add(Step::Forget { kept_volumes }, None, cause, &all);
}

/// Containers of services that the revision does not have, and what a rollout that is over has left.
pub(super) fn remove_unwanted_services(view: &View<'_>, plan: &mut Plan) -> Vec<StepId> {
    let mut removed = Vec::new();
    // What a rollout has parked or tries is its own to remove.
    let unwanted = |row: &&ContainerRow| match row.role {
        Role::Current => !view.desired.specification.services.contains_key(&row.service),
        Role::Candidate | Role::Previous => view.desired.rollout.is_none(),
    };
    let mut rows = view.desired.containers.iter().filter(unwanted).peekable();
    if rows.peek().is_some()
        && let Some(wait) = services::backoff_wait(view, "", false, false)
    {
        plan.wait("", wait);
        return removed;
    }
    for row in rows {
        let cause = match row.role {
            Role::Current => format!("{} is no service of this revision", row.service),
            Role::Candidate => "the revision that it was made for is not wanted any more".to_owned(),
            Role::Previous => "the revision after it has passed".to_owned(),
        };
        match view.observed.ours.containers.get(&row.row) {
            Some(container) => {
                let running = !matches!(
                    container.state(),
                    ContainerState::Created | ContainerState::Exited | ContainerState::Dead
                );
                removed.push(remove_container(row, container, running, None, &cause, &[], plan));
            }
            None => {
                removed.push(plan.add(Step::ForgetContainer { row: row.row }, None, cause, &[]));
            }
        }
    }
    removed
}

/// Revisions that are not kept any more go with the tags of their images, and the images with their last tag.
pub(super) fn drop_outdated_revisions(view: &View<'_>, plan: &mut Plan) {
    if services::backoff_wait(view, "", false, false).is_some() {
        return;
    }
    for (revision, tags) in &view.desired.outdated {
        let cause = "newer revisions are kept";
        let untagged: Vec<StepId> =
            tags.iter().map(|tag| plan.add(Step::Untag { tag: tag.clone() }, None, cause, &[])).collect();
        plan.add(Step::DropRevision { revision: *revision }, None, cause, &untagged);
    }
}

/// Takes a container away.
pub(super) fn remove_container(
    row: &ContainerRow,
    container: &OurContainer,
    running: bool,
    grace_s: Option<i64>,
    cause: &str,
    parents: &[StepId],
    plan: &mut Plan,
) -> StepId {
    let stopped = running.then(|| stop_for_good(row, container, running, grace_s, cause, parents, plan));
    let parents = stopped.as_deref().unwrap_or(parents);
    let step = Step::RemoveContainer { row: row.row, id: container.id.clone() };
    plan.add(step, Some(&row.service), cause, parents)
}

/// Stops a container, its policy first: one that is stopped under `always` runs again after the engine's next start. What is to wait for
/// it, waits for the steps returned.
pub(super) fn stop_for_good(
    row: &ContainerRow,
    container: &OurContainer,
    running: bool,
    grace_s: Option<i64>,
    cause: &str,
    parents: &[StepId],
    plan: &mut Plan,
) -> Vec<StepId> {
    let service = Some(row.service.as_str());
    let mut parents = parents.to_vec();
    if row.asked.restart != RestartPolicy::No {
        let step = Step::SetPolicy {
            row: row.row,
            id: container.id.clone(),
            service: row.service.clone(),
            policy: RestartPolicy::No,
            why: PolicyReason::Stopping,
            sets: Sets::Policy,
        };
        parents = vec![plan.add(step, service, cause, &parents)];
    }
    if running {
        let stop = Step::StopContainer { row: row.row, id: container.id.clone(), grace_s, unhealthy: false };
        parents = vec![plan.add(stop, service, cause, &parents)];
    }
    parents
}

/// All containers, dependents before what they depend on.
fn remove_containers(view: &View<'_>, cause: &str, plan: &mut Plan) -> Vec<StepId> {
    let order: Vec<&str> =
        view.desired.start_order().into_iter().map(|service| service.service_name.as_str()).collect();
    let place = |service: &str| order.iter().position(|name| *name == service);
    let mut rows: Vec<&ContainerRow> = view.desired.containers.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(place(&row.service)));
    let mut removed: BTreeMap<&str, Vec<StepId>> = BTreeMap::new();
    let mut all = Vec::new();
    for row in rows {
        let service = view.desired.specification.services.get(&row.service);
        let dependents = view.desired.specification.services.values();
        let dependents = dependents
            .filter(|other| other.depends_on.iter().any(|dependency| dependency.service == row.service));
        let parents: Vec<StepId> = dependents
            .filter_map(|other| removed.get(other.service_name.as_str()))
            .flatten()
            .copied()
            .collect();
        let step = match view.observed.ours.containers.get(&row.row) {
            Some(container) => {
                let running = matches!(
                    container.state(),
                    ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
                );
                let grace = service.and_then(|service| service.settings.stop_grace_period_s);
                remove_container(row, container, running, grace, cause, &parents, plan)
            }
            None => plan.add(Step::ForgetContainer { row: row.row }, Some(&row.service), cause, &[]),
        };
        removed.entry(row.service.as_str()).or_default().push(step);
        all.push(step);
    }
    all
}

fn remove_networks(view: &View<'_>, cause: &str, containers: &[StepId], plan: &mut Plan) -> Vec<StepId> {
    let own = view.desired.networks.iter().filter(|row| !row.platform && !row.surplus);
    own.map(|row| {
        let step = match view.observed.ours.networks.get(&row.row) {
            Some(network) => {
                Step::RemoveNetwork { row: row.row, id: network.id.clone(), name: row.name.clone() }
            }
            None => Step::ForgetNetwork { row: row.row, name: row.name.clone() },
        };
        plan.add(step, None, cause, containers)
    })
    .collect()
}
