//! What a container is meant to be beyond its specification: labels, sources of files, ids of networks. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::plan::volumes::image_volumes;
use super::state::{Asked, DesiredState, ImageRow, NONCE_LABEL, Side};
use crate::domain::installation::InstallationId;
use crate::domain::naming::project_name;
use crate::domain::specification::{FileSpecification, MountSource, RestartPolicy, ServiceSpecification};
use crate::runtime::ContainerMeant;

/// What every object of ours carries, for people and tools; nothing is proven by it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Id of this manager, from the file beside the database.
    pub manager_id: String,
    /// `platform.project`.
    pub project: Option<String>,
    /// Folder of the state.
    pub state_folder: PathBuf,
}

impl Identity {
    /// Labels of any object of the installation.
    pub fn labels(&self, desired: &DesiredState, nonce: &str) -> BTreeMap<String, String> {
        let installation = &desired.installation;
        let project = project_name(self.project.as_deref(), &installation.name);
        [
            ("oak.installation.id", installation.id.to_string()),
            ("oak.release.id", installation.release_id.clone()),
            ("oak.addon", installation.addon.clone()),
            ("oak.manager.id", self.manager_id.clone()),
            ("oak.revision", installation.revision.to_string()),
            (NONCE_LABEL, nonce.to_owned()),
            ("com.docker.compose.project", project),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    /// Labels of what belongs to no installation: the platform's network, which outlives whoever needed it first.
    pub fn shared_labels(&self, nonce: &str) -> BTreeMap<String, String> {
        [("oak.manager.id", self.manager_id.as_str()), (NONCE_LABEL, nonce)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    /// Labels of a container of the installation.
    pub fn container_labels(
        &self,
        desired: &DesiredState,
        side: &Side<'_>,
        nonce: &str,
    ) -> BTreeMap<String, String> {
        let mut labels = self.labels(desired, nonce);
        let service = &side.service.service_name;
        labels.insert("oak.service.name".to_owned(), service.clone());
        labels.insert("oak.spec.digest".to_owned(), side.digest.to_owned());
        labels.insert("oak.revision".to_owned(), side.revision.to_string());
        labels.insert("com.docker.compose.service".to_owned(), service.clone());
        labels
    }

    /// Folder of everything that is written for an installation.
    pub fn files_of(&self, desired: &DesiredState) -> PathBuf {
        self.state_folder.join("files").join(desired.installation.id.to_string())
    }

    /// Folder of the files of a service, as this specification has them; another one for anything of them that differs.
    pub fn files_folder(&self, desired: &DesiredState, service: &ServiceSpecification) -> PathBuf {
        self.files_of(desired).join(&service.service_name).join(files_digest(&service.files))
    }

    /// Where each file of a service lies, by its path in the container.
    pub fn file_sources(
        &self,
        desired: &DesiredState,
        service: &ServiceSpecification,
    ) -> BTreeMap<String, PathBuf> {
        let folder = self.files_folder(desired, service);
        service
            .files
            .iter()
            .enumerate()
            .map(|(number, file)| (file.path.clone(), folder.join(number.to_string())))
            .collect()
    }
}

/// Digest over paths, contents and modes: another one for anything that differs, so that what a container has bound never changes.
fn files_digest(files: &[FileSpecification]) -> String {
    let bytes = serde_json::to_vec(files).expect("files have string keys only");
    Sha256::digest(&bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The local tag that keeps the image of a service of a revision.
pub fn image_tag(installation: InstallationId, revision: i64, service: &str) -> String {
    // Repository names on the engine are lower case; a service's name need not be.
    format!("oak.local/{installation}:r{revision}-{service}")
}

/// What is asked of the engine for a new container.
pub fn asked(
    desired: &DesiredState,
    identity: &Identity,
    service: &ServiceSpecification,
    image: &ImageRow,
    restart: RestartPolicy,
    why: super::state::PolicyReason,
    courtesy: &BTreeMap<String, String>,
) -> Asked {
    let mut mounts: BTreeMap<String, MountSource> =
        service.mounts.iter().map(|mount| (mount.target.clone(), mount.source.clone())).collect();
    mounts.extend(
        image_volumes(desired, service, image)
            .into_iter()
            .map(|(target, name)| (target, MountSource::Volume(name))),
    );
    mounts.extend(
        identity
            .file_sources(desired, service)
            .into_iter()
            .map(|(target, path)| (target, MountSource::HostPath(text(&path)))),
    );
    Asked { restart, why, image_id: image.image_id.clone(), mounts, courtesy: courtesy.clone() }
}

/// What of the engine's objects a container is to be put on and into, known when they are there.
#[derive(Debug, Clone, Default)]
pub struct Neighbours {
    /// Networks by name.
    pub network_ids: BTreeMap<String, String>,
    /// Containers whose namespaces it uses, by service.
    pub namespace_containers: BTreeMap<String, String>,
}

/// What goes on beside the specification when the container is created.
pub fn meant(
    desired: &DesiredState,
    identity: &Identity,
    side: &Side<'_>,
    image: &ImageRow,
    asked: &Asked,
    nonce: &str,
    neighbours: Neighbours,
) -> ContainerMeant {
    let service = side.service;
    ContainerMeant {
        name: side.name.clone(),
        image_tag: image.tag.clone(),
        image_id: image.image_id.clone(),
        labels: identity.container_labels(desired, side, nonce),
        image_volumes: image_volumes(desired, service, image),
        file_sources: identity
            .file_sources(desired, service)
            .into_iter()
            .map(|(target, path)| (target, text(&path)))
            .collect(),
        network_ids: neighbours.network_ids,
        courtesy_aliases: asked.courtesy.clone(),
        restart: asked.restart,
        namespace_containers: neighbours.namespace_containers,
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
