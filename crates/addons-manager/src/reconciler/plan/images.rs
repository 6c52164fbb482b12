//! Images: present and known before a container is created from them, and before a running one is stopped for it.

use super::View;
use super::graph::{Plan, Step, StepId};
use super::services::{Bring, How};
use crate::domain::specification::ServiceSpecification;
use crate::runtime::ContainerState;

/// Whether what the image says of itself is known: its volumes have to be, before its container is created.
pub(crate) fn is_known(view: &View<'_>, service: &str) -> bool {
    view.desired.images.contains_key(service)
}

/// The step that makes sure of the image, where there is a need: nothing is known of it, or something that runs would be stopped for it.
/// One that is known and only missing is told by the failing create, which forgets what was known.
pub(super) fn pull(
    view: &View<'_>,
    service: &ServiceSpecification,
    bring: &Bring,
    plan: &mut Plan,
) -> Option<StepId> {
    let name = service.service_name.as_str();
    let creates = matches!(bring.how, How::Create | How::Recreate);
    let replaces_running = bring.how == How::Recreate
        && view.observed.current(view.desired, name).is_some_and(|(_, container)| {
            matches!(
                container.state(),
                ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
            )
        });
    let needed = creates && (replaces_running || !is_known(view, name));
    needed.then(|| {
        let step = Step::PullImage { service: name.to_owned(), revision: view.desired.revision_of(name) };
        plan.add(step, Some(name), bring.cause.clone(), &[])
    })
}
