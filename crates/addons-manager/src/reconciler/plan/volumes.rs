//! Volumes: made when missing, compared before use, never taken for ours because of their name.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Plan, Step, StepId, Wait, WaitReason};
use super::{View, adoption};
use crate::domain::installation::VolumeOrigin;
use crate::domain::naming::path_volume_name;
use crate::domain::specification::{MountSource, ServiceSpecification, VolumeSpecification};
use crate::reconciler::state::{DesiredState, ImageRow, NONCE_LABEL, volume_difference};

/// Volumes of the installation as one plan uses them: each is made at most once.
pub(crate) struct Volumes<'a> {
    view: View<'a>,
    planned: BTreeMap<String, StepId>,
}

/// Volumes for the paths that the image declares and nothing is mounted on: path to the volume's name.
pub(crate) fn image_volumes(
    desired: &DesiredState,
    service: &ServiceSpecification,
    image: &ImageRow,
) -> BTreeMap<String, String> {
    let plain = |path: &str| path.trim_end_matches('/').to_owned();
    let taken: BTreeSet<String> = service
        .mounts
        .iter()
        .map(|mount| plain(&mount.target))
        .chain(service.files.iter().map(|file| plain(&file.path)))
        .chain(service.settings.tmpfs.keys().map(|path| plain(path)))
        .collect();
    image
        .volumes
        .iter()
        .filter(|path| !taken.contains(&plain(path)))
        .map(|path| (path.clone(), path_volume_name(&desired.installation.name, &service.service_name, path)))
        .collect()
}

/// What a volume of this name is asked to be: the revision's, or a plain one where it stands for a `VOLUME` of an image.
pub(crate) fn specification(desired: &DesiredState, name: &str) -> VolumeSpecification {
    desired.specification.volumes.get(name).cloned().unwrap_or_else(|| VolumeSpecification {
        key: None,
        driver: "local".to_owned(),
        driver_opts: BTreeMap::new(),
        labels: BTreeMap::new(),
    })
}

/// The volumes of the addon that a service mounts, as far as they are known: those of its image are when it was pulled.
pub(crate) fn wanted(
    desired: &DesiredState,
    service: &ServiceSpecification,
    image: Option<&ImageRow>,
) -> BTreeMap<String, VolumeOrigin> {
    let mut wanted = BTreeMap::new();
    for name in mounted(service) {
        if let Some(specification) = desired.specification.volumes.get(name) {
            let origin =
                if specification.key.is_some() { VolumeOrigin::Declared } else { VolumeOrigin::Anonymous };
            wanted.insert(name.to_owned(), origin);
        }
    }
    if let Some(image) = image {
        wanted.extend(
            image_volumes(desired, service, image).into_values().map(|name| (name, VolumeOrigin::Image)),
        );
    }
    wanted
}

fn mounted(service: &ServiceSpecification) -> impl Iterator<Item = &str> {
    service.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume(name) => Some(name.as_str()),
        MountSource::HostPath(_) => None,
    })
}

/// What keeps the service from its volumes.
pub(super) fn blocked(
    view: &View<'_>,
    service: &ServiceSpecification,
    image: Option<&ImageRow>,
) -> Option<Wait> {
    let (desired, others) = (view.desired, &view.observed.others);
    let missing = mounted(service)
        .find(|name| !desired.specification.volumes.contains_key(*name) && !others.has_volume(name));
    if let Some(name) = missing {
        let message = format!("volume {name}, which belongs to somebody else, is not there");
        return Some(Wait { reason: WaitReason::Change, message, next_attempt: None });
    }
    wanted(desired, service, image).into_keys().find_map(|name| {
        let message = match view.observed.own_volume(desired, &name) {
            Some(own) => {
                let difference = volume_difference(&specification(desired, &name), &own.listed)?;
                format!("volume {name} cannot be used: {difference}")
            }
            None if others.has_volume(&name) => {
                let labelled =
                    others.volume_labels(&name).is_some_and(|labels| labels.contains_key(NONCE_LABEL));
                let way_on = if labelled {
                    format!("take it in with {}, or remove it", adoption(&name, desired))
                } else {
                    "remove it, or keep its data elsewhere".to_owned()
                };
                format!("a volume named {name} is there that is not this addon's; it is left alone: {way_on}")
            }
            None => return None,
        };
        Some(Wait { reason: WaitReason::Conflict, message, next_attempt: None })
    })
}

/// What is known of a volume of the addon's that a container of ours has mounted, and that name and nonce do not prove.
pub(super) fn unproven(view: &View<'_>, service: &ServiceSpecification) -> Vec<String> {
    let Some((_, container)) = view.observed.current(view.desired, &service.service_name) else {
        return Vec::new();
    };
    let mounted =
        |name: &str| container.listed.mounts.iter().any(|mount| mount.volume.as_deref() == Some(name));
    wanted(view.desired, service, view.desired.images.get(&service.service_name))
        .into_keys()
        .filter(|name| mounted(name) && view.observed.own_volume(view.desired, name).is_none())
        .map(|name| {
            let container = &container.listed.name;
            let way_on = match view.observed.others.volume_labels(&name) {
                Some(labels) if labels.contains_key(NONCE_LABEL) => {
                    format!("take it in with {}", adoption(&name, view.desired))
                }
                Some(_) => format!(
                    "it has no label {NONCE_LABEL}, which a volume cannot be given later: copy its data, remove container {container} and the \
                     volume, and both are made anew"
                ),
                None => format!("it is in no listing any more: remove container {container}, and both are made anew"),
            };
            format!(
                "{} runs on volume {name}, which no row of this manager proves to be the addon's: its data is neither kept nor deleted with the \
                 addon; {way_on}",
                service.service_name
            )
        })
        .collect()
}

impl<'a> Volumes<'a> {
    pub(super) fn new(view: &View<'a>) -> Self {
        Self { view: *view, planned: BTreeMap::new() }
    }

    /// The steps after which every volume of the service is there, as far as they are known: those of its image are when it was pulled.
    pub(super) fn ensure(
        &mut self,
        service: &ServiceSpecification,
        image: Option<&ImageRow>,
        cause: &str,
        plan: &mut Plan,
    ) -> Result<Vec<StepId>, Wait> {
        let desired = self.view.desired;
        if let Some(wait) = blocked(&self.view, service, image) {
            return Err(wait);
        }
        let mut steps = Vec::new();
        for (name, origin) in wanted(desired, service, image) {
            if self.view.observed.own_volume(desired, &name).is_some() {
                continue;
            }
            let step = *self.planned.entry(name.clone()).or_insert_with(|| {
                let step = Step::CreateVolume { name: name.clone(), origin };
                plan.add(
                    step,
                    Some(&service.service_name),
                    format!("volume {name} is not there; {cause}"),
                    &[],
                )
            });
            steps.push(step);
        }
        Ok(steps)
    }
}
