//! Installations for which the last look found nothing to do, and that look now as they did then: the periodic resync passes over them, and
//! reads nothing of them. What no listing tells is looked at all the same when the turn of one of their containers to be inspected comes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Mutex;

use super::lock;
use super::plan::graph::Plan;
use super::plan::networks::courtesy_aliases;
use super::state::{DesiredState, World};
use crate::domain::installation::InstallationId;
use crate::runtime::ContainerState;

/// How much a resync looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breadth {
    /// At everything: something may have been missed.
    All,
    /// At what is not quiet, and at what is inspected in this turn.
    Changed,
}

/// By installation how its objects looked when there was nothing to do for it.
#[derive(Debug, Default)]
pub(crate) struct Quiet(Mutex<HashMap<InstallationId, u64>>);

impl Quiet {
    /// Whether there was nothing to do when it looked like that.
    pub(crate) fn is(&self, id: InstallationId, look: u64) -> bool {
        lock(&self.0).get(&id) == Some(&look)
    }

    /// There is nothing to do while it looks like that.
    pub(crate) fn note(&self, id: InstallationId, look: u64) {
        lock(&self.0).insert(id, look);
    }

    /// It is looked at in any case.
    pub(crate) fn forget(&self, id: InstallationId) {
        lock(&self.0).remove(&id);
    }

    /// Those that are gone take no memory.
    pub(crate) fn keep(&self, wanted: impl Fn(InstallationId) -> bool) {
        lock(&self.0).retain(|id, _| wanted(*id));
    }
}

/// Whether nothing but a change of what is listed gives something to do: not time, not what other installations have.
pub(crate) fn depends_on_listing_alone(state: &DesiredState, plan: &Plan) -> bool {
    let nothing_waits = plan.waiting.is_empty() && plan.conditions.is_empty() && plan.look_again.is_none();
    let mut services = state.specification.services.values();
    nothing_waits
        && state.rollout.is_none()
        && state.outdated.is_empty()
        && !services.any(|service| courtesy_aliases(service).next().is_some())
}

/// How the containers and networks of an installation look in a listing, with the networks and volumes that they use; `None` where none of them
/// runs: then no turn to be inspected would ever come.
pub(crate) fn look(world: &World, objects: &[&str]) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    let mut runs = false;
    for id in objects {
        let container = world.container(id);
        (id, container, world.network(id)).hash(&mut hasher);
        let Some(container) = container else { continue };
        runs |= container.state == ContainerState::Running;
        for network in container.networks.keys() {
            world.network(network).hash(&mut hasher);
        }
        for volume in container.mounts.iter().filter_map(|mount| mount.volume.as_deref()) {
            world.volume(volume).hash(&mut hasher);
        }
    }
    runs.then(|| hasher.finish())
}
