//! Taking objects into the ledger that the engine has already: after a database was restored, and on request.
//!
//! By itself only what is exactly what would be made: our manager's label, a known installation, the expected name and digest, no row for it
//! whose object is there (an older backup has rows of what is gone), and an inspect answer equal to what is meant. Everything else that looks like ours is listed as foreign, with the
//! installation that it would fit, until somebody asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use service_kit::audit::Actor;

use super::meant;
use super::plan::View;
use super::plan::networks::{self, Found};
use super::state::{
    Asked, DesiredState, ImageRow, NONCE_LABEL, NetworkRow, PolicyReason, Provider, Role, World,
    network_difference, observe, volume_difference,
};
use super::{PassError, Reconciler, Shared};
use crate::domain::installation::{Desired, InstallationId, VolumeOrigin};
use crate::domain::specification::ServiceSpecification;
use crate::runtime::{ListedContainer, RuntimeError};
use crate::storage::StorageError;
use crate::storage::containers::NewContainer;
use crate::storage::objects::{FoundNetwork, FoundVolume};

/// Something on the engine that looks like ours and is not proven to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignObject {
    /// What it is.
    pub kind: ForeignKind,
    /// Its id; of a volume its name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The installation that it would fit, and as what: the name of a service, network or volume.
    pub fits: Option<(InstallationId, String)>,
}

/// See [`ForeignObject`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ForeignKind {
    Container,
    Network,
    Volume,
}

/// Why something was not adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// There is no such installation.
    #[error("there is no installation {0}")]
    NoInstallation(InstallationId),
    /// There is no such object.
    #[error("there is no container, network or volume {0} that is not ours already")]
    NoObject(String),
    /// It has no place in the installation.
    #[error("{0}")]
    DoesNotFit(String),
    /// Its place is taken.
    #[error("{0}")]
    Taken(String),
    /// The engine did not answer.
    #[error("the engine does not answer")]
    Engine(#[source] RuntimeError),
    /// The database did not answer.
    #[error("the database does not answer")]
    Storage(#[from] StorageError),
}

/// Services, networks and volumes that have no object in the ledger, and an object in the world that carries all of our labels for it.
struct Lost<'a> {
    containers: Vec<(&'a ServiceSpecification, &'a ListedContainer)>,
    networks: Vec<(&'a str, &'a crate::runtime::ListedNetwork)>,
    volumes: Vec<(&'a str, &'a crate::runtime::ListedVolume)>,
}

impl Lost<'_> {
    fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.networks.is_empty() && self.volumes.is_empty()
    }
}

fn carries_our_labels(labels: &BTreeMap<String, String>, desired: &DesiredState, manager_id: &str) -> bool {
    labels.get("oak.manager.id").is_some_and(|id| id == manager_id)
        && labels.get("oak.installation.id").is_some_and(|id| *id == desired.installation.id.to_string())
        && labels.contains_key(NONCE_LABEL)
}

fn lost<'a>(desired: &'a DesiredState, world: &'a World, manager_id: &str) -> Lost<'a> {
    let mut lost = Lost { containers: Vec::new(), networks: Vec::new(), volumes: Vec::new() };
    if desired.installation.desired != Desired::Active {
        return lost;
    }
    let listing = world.listing();
    for service in desired.specification.services.values() {
        // A row whose container is not there stands in nobody's way: it may be older than what was made since, as in a backup.
        let row = desired.current(&service.service_name);
        let row_id = row.and_then(|row| row.engine_id.as_deref());
        if row_id.is_some_and(|id| world.container(id).is_some()) {
            continue;
        }
        let digest = desired.digests.get(&service.service_name);
        let found = listing.containers.iter().find(|container| {
            container.name == service.container_name
                && carries_our_labels(&container.labels, desired, manager_id)
                && container.labels.get("oak.spec.digest") == digest
                // A row without id has its own container, the one with its nonce: that needs no adoption.
                && row.is_none_or(|row| {
                    row.engine_id.is_some() || container.labels.get(NONCE_LABEL) != Some(&row.nonce)
                })
        });
        lost.containers.extend(found.map(|container| (service, container)));
    }
    for (name, specification) in &desired.specification.networks {
        let is_there =
            |row: &NetworkRow| row.engine_id.as_deref().is_none_or(|id| world.network(id).is_some());
        if desired.networks.iter().any(|row| row.name == *name && is_there(row)) {
            continue;
        }
        let found = world.networks_named(name).find(|network| {
            carries_our_labels(&network.labels, desired, manager_id)
                && network_difference(specification, network).is_none()
        });
        lost.networks.extend(found.map(|network| (name.as_str(), network)));
    }
    for (name, specification) in &desired.specification.volumes {
        if desired.volumes.iter().any(|row| row.name == *name) {
            continue;
        }
        let found = world.volume(name).filter(|volume| {
            carries_our_labels(&volume.labels, desired, manager_id)
                && volume_difference(specification, volume).is_none()
        });
        lost.volumes.extend(found.map(|volume| (name.as_str(), volume)));
    }
    lost
}

impl Shared {
    /// Whether a pass would find something to adopt; asked by the resync, which wakes for it.
    pub(crate) fn may_adopt(&self, desired: &DesiredState, world: &World) -> bool {
        let lost = lost(desired, world, &self.identity.manager_id);
        let refused = self.refused.lock().expect("nothing panics while it holds the lock");
        !lost.networks.is_empty()
            || !lost.volumes.is_empty()
            || lost.containers.iter().any(|(_, container)| !refused.contains(&container.id))
    }

    /// Takes into the ledger what a restored database has lost. Answers whether it took anything.
    pub(crate) async fn adopt_what_is_lost(
        &self,
        desired: &DesiredState,
        world: &Arc<World>,
    ) -> Result<bool, PassError> {
        let lost = lost(desired, world, &self.identity.manager_id);
        if lost.is_empty() {
            return Ok(false);
        }
        let (id, now) = (desired.installation.id, self.clock.now());
        let mut adopted = false;
        for (name, network) in &lost.networks {
            let specification = &desired.specification.networks[*name];
            let nonce = &network.labels[NONCE_LABEL];
            let gone = network_row_id(desired, name);
            if let Some(gone) = gone {
                // This listing may be older than the row.
                let world = self.world(self.next()).await.map_err(PassError::Engine)?;
                if world.network(gone).is_some() || world.network(&network.id).is_none() {
                    continue;
                }
            }
            let found = FoundNetwork { name, nonce, engine_id: &network.id, gone, specification };
            adopted |= self.storage.adopt_network(id, &found, None, now).await?;
        }
        for (name, volume) in &lost.volumes {
            let specification = &desired.specification.volumes[*name];
            let origin =
                if specification.key.is_some() { VolumeOrigin::Declared } else { VolumeOrigin::Anonymous };
            adopted |= self
                .storage
                .adopt_volume(
                    id,
                    &FoundVolume { name, nonce: &volume.labels[NONCE_LABEL], origin, specification },
                    None,
                    now,
                )
                .await?;
        }
        if adopted {
            // Containers are compared with the networks that are ours now.
            return Ok(true);
        }
        for (service, container) in &lost.containers {
            let refused =
                self.refused.lock().expect("nothing panics while it holds the lock").contains(&container.id);
            if !refused && self.adopt_if_equal(desired, world, service, container).await? {
                tracing::info!(installation.id = %id, service.name = service.service_name, container.id = container.id, "adopted a container that the database had lost");
                adopted = true;
            }
        }
        Ok(adopted)
    }

    /// Adopts a container whose inspect answer is what is meant. Labels can be copied with an image; the pinned image and all the rest cannot
    /// be had without being what was reviewed.
    async fn adopt_if_equal(
        &self,
        desired: &DesiredState,
        world: &Arc<World>,
        service: &ServiceSpecification,
        container: &ListedContainer,
    ) -> Result<bool, PassError> {
        let refuse = || {
            self.refused.lock().expect("nothing panics while it holds the lock").insert(container.id.clone());
            Ok(false)
        };
        let name = service.service_name.as_str();
        let gone = desired.current(name).and_then(|row| row.engine_id.as_deref());
        // The listing may be older than the row.
        if let Some(gone) = gone
            && self.runtime.inspect(gone).await.map_err(PassError::Engine)?.is_some()
        {
            return Ok(false);
        }
        let Some(image) = self.image_with_pin(desired, service, &container.image_id).await? else {
            return refuse();
        };
        let observed = observe(desired, world, &BTreeMap::new());
        let view = View { desired, observed: &observed, now: self.clock.now() };
        let mut neighbours = meant::Neighbours::default();
        for attachment in networks::attachments(service) {
            let Found::There(id) = networks::find(&view, &attachment.network) else { return Ok(false) };
            neighbours.network_ids.insert(attachment.network.clone(), id);
        }
        let mut providers = BTreeMap::new();
        for dependency in
            service.depends_on.iter().filter(|dependency| dependency.namespace || dependency.restart)
        {
            let Some((row, provider)) = observed.current(desired, &dependency.service) else {
                return Ok(false);
            };
            let seen = Provider {
                row: row.row,
                engine_id: provider.id.0.clone(),
                started_at: row.started_at.clone(),
                run: desired.last_own_run(&dependency.service, &provider.id.0),
            };
            providers.insert(dependency.service.clone(), seen);
            if dependency.namespace {
                neighbours.namespace_containers.insert(dependency.service.clone(), provider.id.0.clone());
            }
        }
        let Some(nonce) = container.labels.get(NONCE_LABEL) else { return refuse() };
        let asked = meant::asked(
            desired,
            &self.identity,
            service,
            &image,
            service.restart,
            PolicyReason::Specified,
            &BTreeMap::new(),
        );
        let Some(side) = desired.side(name, Role::Current) else { return Ok(false) };
        let meant = meant::meant(desired, &self.identity, &side, &image, &asked, nonce, neighbours);
        let inspected =
            self.runtime.inspect_against(&container.id, service, &meant).await.map_err(PassError::Engine)?;
        let Some(inspected) = inspected else { return Ok(false) };
        if !inspected.differences.is_empty() || inspected.listed.image_id != image.image_id {
            tracing::warn!(
                installation.id = %desired.installation.id, service.name = name, container.id = container.id,
                differences = inspected.differences.join("; "), "a container looks like ours and is not what is meant; it is left alone"
            );
            return refuse();
        }
        self.runtime.tag(&image.image_id, &image.tag).await.map_err(PassError::Engine)?;
        self.storage.record_image(desired.installation.id, desired.revision_of(name), name, &image).await?;
        let new = new_container(
            desired,
            service,
            &asked,
            nonce,
            desired.digests.get(name).map_or("", String::as_str),
            &providers,
        );
        let adopted =
            self.storage.adopt_container(&new, &container.id, gone, true, None, self.clock.now()).await?;
        self.own(&container.id, desired.installation.id);
        Ok(adopted)
    }

    async fn image_with_pin(
        &self,
        desired: &DesiredState,
        service: &ServiceSpecification,
        image_id: &str,
    ) -> Result<Option<ImageRow>, PassError> {
        let Some(image) = self.runtime.inspect_image(image_id).await.map_err(PassError::Engine)? else {
            return Ok(None);
        };
        let pin = format!("@{}", service.image.digest);
        if !image.repo_digests.iter().any(|digest| digest.ends_with(&pin)) {
            return Ok(None);
        }
        let name = &service.service_name;
        let tag = meant::image_tag(desired.installation.id, desired.revision_of(name), name);
        Ok(Some(ImageRow {
            image_id: image.id,
            tag,
            volumes: image.volumes,
            has_healthcheck: image.has_healthcheck,
        }))
    }
}

/// Id that the ledger has for a network of the installation.
fn network_row_id<'a>(desired: &'a DesiredState, name: &str) -> Option<&'a str> {
    let row = desired.networks.iter().find(|row| row.name == name && !row.surplus)?;
    row.engine_id.as_deref()
}

fn new_container<'a>(
    desired: &DesiredState,
    service: &'a ServiceSpecification,
    asked: &'a Asked,
    nonce: &'a str,
    spec_digest: &'a str,
    providers: &'a BTreeMap<String, Provider>,
) -> NewContainer<'a> {
    NewContainer {
        installation: desired.installation.id,
        service: &service.service_name,
        revision: desired.revision_of(&service.service_name),
        role: Role::Current,
        name: &service.container_name,
        nonce,
        spec_digest,
        asked,
        providers,
        restart_generation: desired.installation.restart_generation,
    }
}

impl Reconciler {
    /// What on the engine looks like ours and is not proven to be: it carries this manager's label, or a name that an installation wants.
    ///
    /// # Errors
    /// [`AdoptError`] when the engine or the database does not answer.
    pub async fn foreign(&self) -> Result<Vec<ForeignObject>, AdoptError> {
        let shared = &self.shared;
        let world = shared.world(shared.next()).await.map_err(AdoptError::Engine)?;
        let proven = shared.storage.proven().await?;
        let states = shared.storage.desired_states().await?;
        let listing = world.listing();
        let ours_by_label = |labels: &BTreeMap<String, String>| {
            labels.get("oak.manager.id") == Some(&shared.identity.manager_id)
        };
        let wanted_by = |wants: &dyn Fn(&DesiredState) -> Option<String>| {
            states.iter().find_map(|state| Some((state.installation.id, wants(state)?)))
        };
        let mut found = Vec::new();
        for container in listing.containers.iter().filter(|container| !proven.ids.contains(&container.id)) {
            let fits = wanted_by(&|state| {
                fitting_service(state, container).map(|service| service.service_name.clone())
            });
            if fits.is_some() || ours_by_label(&container.labels) {
                let (id, name) = (container.id.clone(), container.name.clone());
                found.push(ForeignObject { kind: ForeignKind::Container, id, name, fits });
            }
        }
        for network in listing.networks.iter().filter(|network| !proven.ids.contains(&network.id)) {
            let fits = wanted_by(&|state| {
                state.specification.networks.contains_key(&network.name).then(|| network.name.clone())
            });
            if fits.is_some() || ours_by_label(&network.labels) {
                let (id, name) = (network.id.clone(), network.name.clone());
                found.push(ForeignObject { kind: ForeignKind::Network, id, name, fits });
            }
        }
        for volume in &listing.volumes {
            let nonce = volume.labels.get(NONCE_LABEL).cloned().unwrap_or_default();
            if proven.volumes.contains(&(volume.name.clone(), nonce)) {
                continue;
            }
            let fits = wanted_by(&|state| {
                state.specification.volumes.contains_key(&volume.name).then(|| volume.name.clone())
            });
            if fits.is_some() || ours_by_label(&volume.labels) {
                found.push(ForeignObject {
                    kind: ForeignKind::Volume,
                    id: volume.name.clone(),
                    name: volume.name.clone(),
                    fits,
                });
            }
        }
        Ok(found)
    }

    /// Takes a container or network (by id) or a volume (by name) into the ledger because `by` asked for it. From then on it is ours:
    /// what of it is not as it should be is mended, or made anew.
    ///
    /// # Errors
    /// [`AdoptError`] says why not.
    pub async fn adopt(&self, id: &str, installation: InstallationId, by: &Actor) -> Result<(), AdoptError> {
        let shared = &self.shared;
        let desired = shared
            .storage
            .desired_state(installation)
            .await?
            .ok_or(AdoptError::NoInstallation(installation))?;
        let world = shared.world(shared.next()).await.map_err(AdoptError::Engine)?;
        let proven = shared.storage.proven().await?;
        let now = shared.clock.now();
        let no_object = || AdoptError::NoObject(id.to_owned());
        if let Some(container) = world.container(id) {
            if proven.ids.contains(id) {
                return Err(no_object());
            }
            let service = fitting_service(&desired, container).ok_or_else(|| {
                AdoptError::DoesNotFit(format!(
                    "container {} is named like no service of {}",
                    container.name, desired.installation.name
                ))
            })?;
            let image =
                shared.image_with_pin(&desired, service, &container.image_id).await.map_err(pass_error)?;
            // One of another image is adopted too, and made anew with the image that was reviewed.
            let image = image.unwrap_or(ImageRow {
                image_id: String::new(),
                tag: String::new(),
                volumes: Vec::new(),
                has_healthcheck: false,
            });
            let asked = meant::asked(
                &desired,
                &shared.identity,
                service,
                &image,
                service.restart,
                PolicyReason::Specified,
                &BTreeMap::new(),
            );
            let nonce = format!("adopted {id}");
            let nobody = BTreeMap::new();
            let digest = container.labels.get("oak.spec.digest").map_or("", String::as_str);
            let new = new_container(&desired, service, &asked, &nonce, digest, &nobody);
            let gone = desired
                .current(&service.service_name)
                .and_then(|row| row.engine_id.as_deref())
                .filter(|id| world.container(id).is_none());
            if !shared.storage.adopt_container(&new, id, gone, true, Some(by), now).await? {
                return Err(AdoptError::Taken(format!("{} has a container already", service.service_name)));
            }
            shared.own(id, installation);
        } else if let Some(network) = world.network(id) {
            if proven.ids.contains(id) {
                return Err(no_object());
            }
            let specification = desired.specification.networks.get(&network.name).ok_or_else(|| {
                AdoptError::DoesNotFit(format!(
                    "network {} is named like no network of {}",
                    network.name, desired.installation.name
                ))
            })?;
            if let Some(difference) = network_difference(specification, network) {
                return Err(AdoptError::DoesNotFit(format!(
                    "network {} is not what is meant: {difference}",
                    network.name
                )));
            }
            let nonce = format!("adopted {id}");
            let gone = network_row_id(&desired, &network.name).filter(|id| world.network(id).is_none());
            let found =
                FoundNetwork { name: &network.name, nonce: &nonce, engine_id: id, gone, specification };
            if !shared.storage.adopt_network(installation, &found, Some(by), now).await? {
                return Err(AdoptError::Taken(format!(
                    "{} has a network {} already",
                    desired.installation.name, network.name
                )));
            }
        } else if let Some(volume) = world.volume(id) {
            let specification = desired.specification.volumes.get(id).ok_or_else(|| {
                AdoptError::DoesNotFit(format!(
                    "volume {id} is named like no volume of {}",
                    desired.installation.name
                ))
            })?;
            let nonce = volume.labels.get(NONCE_LABEL).ok_or_else(|| {
                AdoptError::DoesNotFit(format!("volume {id} has no label {NONCE_LABEL}, which a volume cannot be given later: it stays foreign"))
            })?;
            if let Some(difference) = volume_difference(specification, volume) {
                return Err(AdoptError::DoesNotFit(format!(
                    "volume {id} is not what is meant: {difference}"
                )));
            }
            let origin =
                if specification.key.is_some() { VolumeOrigin::Declared } else { VolumeOrigin::Anonymous };
            let found = FoundVolume { name: id, nonce, origin, specification };
            if !shared.storage.adopt_volume(installation, &found, Some(by), now).await? {
                return Err(AdoptError::Taken(format!("volume {id} is in the ledger already")));
            }
        } else {
            return Err(no_object());
        }
        shared.wake(installation);
        Ok(())
    }
}

fn pass_error(error: PassError) -> AdoptError {
    match error {
        PassError::Engine(error) => AdoptError::Engine(error),
        PassError::Unreachable(message) => AdoptError::Engine(RuntimeError::Retry {
            operation: "adopt".to_owned(),
            message,
            after: None,
            engine_unreachable: true,
        }),
        PassError::Storage(error) => AdoptError::Storage(error),
    }
}

/// The service that a container would be: by its name, or by its labels.
fn fitting_service<'a>(
    desired: &'a DesiredState,
    container: &ListedContainer,
) -> Option<&'a ServiceSpecification> {
    let mut services = desired.specification.services.values();
    services.find(|service| service.container_name == container.name).or_else(|| {
        let ours = container.labels.get("oak.installation.id") == Some(&desired.installation.id.to_string());
        let name = container.labels.get("oak.service.name").filter(|_| ours)?;
        desired.specification.services.get(name)
    })
}

/// Containers that were compared and are not what is meant: not compared again by this process.
pub(crate) type Refused = std::sync::Mutex<BTreeSet<String>>;
