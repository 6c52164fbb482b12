//! Volumes: each name once, each target of a container once, and those that only services name are declared.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

use super::repeated_name;
use crate::descriptor::{FileSource, MountSource, VolumeSpec};
use crate::names::VolumeName;
use crate::read::document::{DocumentRead, MAX_THINGS};
use crate::read::report::{At, shown};
use crate::read::texts::MAX_FILES;
use crate::rules;

/// Most mounts of a service, file systems in memory included.
const MAX_MOUNTS: usize = 64;

pub(super) fn check(document: &mut DocumentRead<'_>) {
    let mut seen = HashMap::new();
    for (volume, at) in &document.volumes {
        repeated_name(at.entry("name"), &mut seen, volume.name.to_string(), volume.name.as_str());
    }
    declare(document);
    for service in &document.services {
        targets(service);
    }
    files(document);
}

/// Adds the volumes that services name and nobody declares, in the order of their first use.
fn declare<'t>(document: &mut DocumentRead<'t>) {
    let declared: Vec<VolumeName> = document.volumes.iter().map(|(volume, _)| volume.name.clone()).collect();
    let mut known: HashSet<VolumeName> = declared.iter().cloned().collect();
    let mut added: Vec<(VolumeSpec, At<'t>)> = Vec::new();
    for service in &document.services {
        for (mount, at) in &service.volumes {
            let MountSource::Volume(name) = &mount.source else { continue };
            if known.insert(name.clone()) {
                let message = format!("nobody declares the volume `{name}`: it is declared by being named");
                let near = at.nearest(name.as_str(), declared.iter().map(VolumeName::as_str));
                at.warn(rules::UNDECLARED_VOLUME, message, near);
                added.push((VolumeSpec::new(name.clone()), *at));
            }
        }
    }
    let count = document.volumes.len() + added.len();
    if count > MAX_THINGS && !added.is_empty() {
        let message =
            format!("at most {MAX_THINGS} volumes, and services name more than are declared: {count}");
        document.root.fault_missing("volumes", rules::TOO_MANY_ENTRIES, message);
    }
    document.volumes.append(&mut added);
}

/// Two things on one target, among volumes, file systems in memory, files and devices.
fn targets(service: &crate::read::service::ServiceRead<'_>) {
    let mounts = service.volumes.iter().map(|(mount, at)| (mount.target.as_str(), *at));
    let tmpfs = service.tmpfs.iter().map(|(tmpfs, at)| (tmpfs.target.as_str(), *at));
    let files = service.files.iter().map(|(file, at)| (file.path.as_str(), *at));
    let devices = service.devices.iter().map(|(device, at)| (device.container.as_str(), *at));
    let mut seen = BTreeMap::new();
    for (target, at) in mounts.chain(tmpfs).chain(files).chain(devices) {
        if seen.insert(target, at).is_some() {
            let message = format!("something else is put on `{}` already", shown(target));
            at.fault(rules::REPEATED_TARGET, message);
        }
    }
    let mut told = HashSet::new();
    for (file, _) in &service.files {
        let below = format!("{}/", file.path);
        let from_there = seen.range::<str, _>((Bound::Included(below.as_str()), Bound::Unbounded));
        for (target, at) in from_there.take_while(|(target, _)| target.starts_with(below.as_str())) {
            if told.insert(*target) {
                let message = format!("`{}` is a file, and nothing can be put below it", shown(&file.path));
                at.fault(rules::REPEATED_TARGET, message);
            }
        }
    }
    let count = service.volumes.len() + service.tmpfs.len();
    if count > MAX_MOUNTS {
        let message = format!("at most {MAX_MOUNTS} mounts, not {count}");
        service.fields.place("volumes").fault(rules::TOO_MANY_ENTRIES, message);
    }
}

/// All contents together.
fn files(document: &DocumentRead<'_>) {
    let mut total = 0;
    for service in &document.services {
        for (file, at) in &service.files {
            let before = total;
            if let FileSource::Content(content) = &file.source {
                total += content.len();
            }
            if before <= MAX_FILES && total > MAX_FILES {
                at.fault(rules::FILES_TOO_LARGE, "the contents of all files together exceed 64 KiB");
            }
        }
    }
}
