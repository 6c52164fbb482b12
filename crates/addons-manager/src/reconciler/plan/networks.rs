//! Networks: made when missing, addressed by id, never taken for ours because of their name.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Plan, Step, StepId, Wait, WaitReason};
use super::services::backoff_wait;
use super::{View, adoption};
use crate::domain::specification::{NetworkAttachment, NetworkMode, ServiceSpecification, SharedNetwork};
use crate::reconciler::state::{DesiredState, ObservedState, short};

/// Where the engine has a network that a service is to be on.
pub(crate) enum Found {
    /// It is there.
    There(String),
    /// It is ours to make.
    Missing {
        /// The platform's, which is never removed.
        platform: bool,
    },
    /// It cannot be used.
    Blocked(Wait),
}

/// Networks of the installation as one plan uses them: each is made at most once.
pub(crate) struct Networks<'a> {
    view: View<'a>,
    planned: BTreeMap<String, StepId>,
}

/// The attachments of a service; none where it has another way to be connected.
pub(crate) fn attachments(service: &ServiceSpecification) -> &[NetworkAttachment] {
    match &service.network {
        NetworkMode::Networks(attachments) => attachments,
        _ => &[],
    }
}

/// The courtesy aliases that a service would have: network and alias.
pub(crate) fn courtesy_aliases(service: &ServiceSpecification) -> impl Iterator<Item = (&str, &str)> {
    attachments(service)
        .iter()
        .filter_map(|attachment| Some((attachment.network.as_str(), attachment.courtesy_alias.as_deref()?)))
}

/// Whether somebody else has the alias, or asks for it by name.
pub(super) fn is_taken(view: &View<'_>, network: &str, alias: &str) -> bool {
    let name = (network.to_owned(), alias.to_owned());
    if view.desired.courtesy_taken.contains(&name) || view.desired.aliases_claimed.contains(&name) {
        return true;
    }
    match find(view, network) {
        Found::There(id) => view.observed.others.answers_to(&id, alias),
        Found::Missing { .. } | Found::Blocked(_) => false,
    }
}

/// Networks on which a service is to be given a courtesy alias and does not have it: there it matters what others answer to.
pub(crate) fn without_courtesy<'a>(desired: &'a DesiredState, observed: &ObservedState) -> BTreeSet<&'a str> {
    let mut networks = BTreeSet::new();
    for service in desired.specification.services.values() {
        let current = observed.current(desired, &service.service_name);
        let lacking = courtesy_aliases(service)
            .map(|(network, _)| network)
            .filter(|network| current.is_none_or(|(row, _)| !row.asked.courtesy.contains_key(*network)));
        networks.extend(lacking);
    }
    networks
}

/// Finds a network by its name. The addon's own is the one that its row proves; another of that name is in the way and never touched.
pub(crate) fn find(view: &View<'_>, name: &str) -> Found {
    if let Some(own) = view.observed.own_network(view.desired, name) {
        return Found::There(own.id.0.clone());
    }
    let other = view.observed.others.network_named(name);
    match (view.desired.specification.shared_networks.get(name), other) {
        (Some(_), Some(id)) => Found::There(id.to_owned()),
        (Some(SharedNetwork::Platform), None) => Found::Missing { platform: true },
        (Some(SharedNetwork::External), None) => Found::Blocked(Wait {
            reason: WaitReason::Change,
            message: format!("network {name}, which belongs to somebody else, is not there"),
            next_attempt: None,
        }),
        (None, Some(id)) => Found::Blocked(Wait {
            reason: WaitReason::Conflict,
            message: format!(
                "a network named {name} ({}) is there that is not this addon's; it is left alone: remove it, or take it in with {}",
                short(id),
                adoption(id, view.desired)
            ),
            next_attempt: None,
        }),
        (None, None) => Found::Missing { platform: false },
    }
}

/// What keeps the service from its networks.
pub(super) fn blocked(view: &View<'_>, service: &ServiceSpecification) -> Option<Wait> {
    attachments(service).iter().find_map(|attachment| match find(view, &attachment.network) {
        Found::Blocked(wait) => Some(wait),
        _ => None,
    })
}

impl<'a> Networks<'a> {
    pub(super) fn new(view: &View<'a>) -> Self {
        Self { view: *view, planned: BTreeMap::new() }
    }

    /// The steps after which every network of the service is there.
    pub(super) fn ensure(
        &mut self,
        service: &ServiceSpecification,
        cause: &str,
        plan: &mut Plan,
    ) -> Result<Vec<StepId>, Wait> {
        // All are looked at before any is made: a service that cannot be created asks for none.
        if let Some(wait) = blocked(&self.view, service) {
            return Err(wait);
        }
        Ok(attachments(service)
            .iter()
            .filter_map(|attachment| self.ensure_one(&attachment.network, service, cause, plan))
            .collect())
    }

    fn ensure_one(
        &mut self,
        name: &str,
        service: &ServiceSpecification,
        cause: &str,
        plan: &mut Plan,
    ) -> Option<StepId> {
        if let Some(step) = self.planned.get(name) {
            return Some(*step);
        }
        let Found::Missing { platform } = find(&self.view, name) else { return None };
        let step = Step::CreateNetwork { name: name.to_owned(), platform };
        let step =
            plan.add(step, Some(&service.service_name), format!("network {name} is not there; {cause}"), &[]);
        self.planned.insert(name.to_owned(), step);
        Some(step)
    }

    /// The step that makes a network which a running container has lost, and its id where it is there.
    pub(super) fn for_connect(
        &mut self,
        name: &str,
        service: &ServiceSpecification,
        plan: &mut Plan,
    ) -> Result<(Option<String>, Option<StepId>), Wait> {
        match find(&self.view, name) {
            Found::There(id) => Ok((Some(id), None)),
            Found::Blocked(wait) => Err(wait),
            Found::Missing { .. } => {
                Ok((None, self.ensure_one(name, service, "its container is to be connected", plan)))
            }
        }
    }

    /// Courtesy aliases that nobody else has: network to alias.
    pub(super) fn free_courtesy_aliases(&self, service: &ServiceSpecification) -> BTreeMap<String, String> {
        courtesy_aliases(service)
            .filter(|(network, alias)| !is_taken(&self.view, network, alias))
            .map(|(network, alias)| (network.to_owned(), alias.to_owned()))
            .collect()
    }
}

/// Networks of the addon's own that no revision which counts has; `after` are the steps that take containers off them.
pub(super) fn remove_unwanted(view: &View<'_>, after: &[StepId], plan: &mut Plan) {
    // On the way back the new revision's containers are still on its networks. On the way forward those of both are wanted.
    if view.desired.rollout.as_ref().is_some_and(|rollout| !rollout.is_forward()) {
        return;
    }
    let wanted = &view.desired.specification.networks;
    let unwanted: Vec<_> = view
        .desired
        .networks
        .iter()
        .filter(|row| !row.platform && !row.surplus && !wanted.contains_key(&row.name))
        .collect();
    if unwanted.is_empty() {
        return;
    }
    if let Some(wait) = backoff_wait(view, "", false, false) {
        return plan.wait("", wait);
    }
    for row in unwanted {
        let cause = format!("{} is no network of this revision", row.name);
        let step = match view.observed.ours.networks.get(&row.row) {
            Some(network) => {
                Step::RemoveNetwork { row: row.row, id: network.id.clone(), name: row.name.clone() }
            }
            None => Step::ForgetNetwork { row: row.row, name: row.name.clone() },
        };
        plan.add(step, None, cause, after);
    }
}

/// Of several networks that were made under one name and nonce (names of networks are not unique, and an answer can get lost) the oldest
/// stays; the row of each other one says that it is surplus.
pub(super) fn remove_surplus(view: &View<'_>, plan: &mut Plan) {
    for row in view.desired.networks.iter().filter(|row| row.surplus) {
        let cause = "a second network was made under this name";
        match view.observed.ours.networks.get(&row.row) {
            Some(network) => {
                let step =
                    Step::RemoveNetwork { row: row.row, id: network.id.clone(), name: row.name.clone() };
                plan.add(step, None, cause, &[]);
            }
            None => {
                plan.add(Step::ForgetNetwork { row: row.row, name: row.name.clone() }, None, cause, &[]);
            }
        }
    }
}
