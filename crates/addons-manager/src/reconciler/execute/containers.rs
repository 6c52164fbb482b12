//! Steps for containers: create and compare, start.

use std::collections::{BTreeMap, BTreeSet};

use super::super::meant;
use super::super::plan::{networks, volumes};
use super::super::state::{
    Asked, ErrorKind, ImageRow, NONCE_LABEL, PolicyReason, Provider, Role, Side, StartedBy,
};
use super::steps::nonce;
use super::{Execution, StepError};
use crate::domain::specification::{RestartPolicy, ServiceSpecification};
use crate::runtime::{
    ChangeNeeded, ContainerState, InspectedContainer, ListedVolume, OwnContainerId, OwnVolumeName,
    RuntimeError,
};
use crate::storage::attempts::NewRun;
use crate::storage::containers::NewContainer;

impl Execution<'_> {
    pub(super) async fn create_container(
        &self,
        side: &Side<'_>,
        policy: RestartPolicy,
        why: PolicyReason,
        courtesy: &BTreeMap<String, String>,
    ) -> Result<(), StepError> {
        let service = side.service;
        let name = service.service_name.as_str();
        let image = self.image(side)?;
        let asked = meant::asked(self.desired, &self.shared.identity, service, image, policy, why, courtesy);
        let mut providers = BTreeMap::new();
        for dependency in service.depends_on.iter().filter(|dependency| dependency.namespace) {
            let (row, id) = self.provider_of(&dependency.service, side.role)?;
            let run = self.desired.last_own_run(&dependency.service, &id.0);
            let provider = Provider { row, engine_id: id.0, started_at: None, run };
            providers.insert(dependency.service.clone(), provider);
        }
        let new = NewContainer {
            installation: self.desired.installation.id,
            service: name,
            revision: side.revision,
            role: side.role,
            name: &side.name,
            nonce: &nonce(),
            spec_digest: side.digest,
            asked: &asked,
            providers: &providers,
            restart_generation: self.desired.installation.restart_generation,
        };
        // The engine makes a volume that is not there by itself, without our labels: nobody's. So they are looked for, while the row is
        // written, and once more while what was made is compared.
        let (opened, missing) = tokio::join!(
            self.storage().open_container(&new, self.shared.clock.now()),
            self.unproven_volumes(service, image)
        );
        let (row, nonce, asked) = opened?;
        let meant = self.meant(side, image, &asked, &nonce)?;
        if let Some((lost, _)) = missing?.first() {
            return Err(StepError::Stale(format!("volume {lost} is not there any more")));
        }
        let id = match self.runtime().create_container(service, &meant).await {
            Ok(id) => id,
            Err(error) => return Err(self.explain_create(side, image, error).await),
        };
        self.shared.own(&id, self.desired.installation.id);
        let id = OwnContainerId(id);
        // The id is written while the engine is asked what it made.
        let (written, inspected, unproven) = tokio::join!(
            self.storage().container_created(row, &id.0),
            self.runtime().inspect_against(&id.0, service, &meant),
            self.unproven_volumes(service, image)
        );
        written?;
        self.judge(side, row, &id, image, inspected?).await?;
        let unproven = unproven?;
        if let Some((lost, _)) = unproven.first() {
            // It was there right before: the engine has made the one that is there now for this container, which never ran.
            self.runtime().remove_container(&id).await?;
            self.storage().forget_container(row).await?;
            self.shared.disown(&id.0);
            for volume in unproven.iter().filter_map(|(_, volume)| volume.as_ref()) {
                if volume.labels.is_empty() {
                    self.runtime().remove_volume(&OwnVolumeName(volume.name.clone())).await?;
                }
            }
            return Err(StepError::Stale(format!("volume {lost} was removed while its container was made")));
        }
        self.made().containers.insert((name.to_owned(), side.role), (row, id));
        Ok(())
    }

    /// The addon's volumes for this service that the ledger does not prove right now, with what is there under their names.
    pub(super) async fn unproven_volumes(
        &self,
        service: &ServiceSpecification,
        image: &ImageRow,
    ) -> Result<Vec<(String, Option<ListedVolume>)>, StepError> {
        let looks = volumes::wanted(self.desired, service, Some(image)).into_keys().map(|name| async move {
            let found = self.runtime().inspect_volume(&name).await?;
            Ok::<_, StepError>((name, found))
        });
        let found = futures_util::future::try_join_all(looks).await?;
        let made = &self.made().volumes;
        let is_proven = |name: &str, volume: &ListedVolume| {
            let nonce = volume.labels.get(NONCE_LABEL);
            let row = self.desired.volumes.iter().find(|row| row.name == *name).map(|row| &row.nonce);
            nonce.is_some() && (nonce == made.get(name) || nonce == row)
        };
        let unproven = |(name, volume): &(String, Option<ListedVolume>)| {
            !volume.as_ref().is_some_and(|volume| is_proven(name, volume))
        };
        Ok(found.into_iter().filter(unproven).collect())
    }

    /// A create that failed because the image is gone is no failure: it is pulled again.
    pub(super) async fn explain_create(
        &self,
        side: &Side<'_>,
        image: &ImageRow,
        error: RuntimeError,
    ) -> StepError {
        if matches!(
            error,
            RuntimeError::Retry { engine_unreachable: true, .. }
                | RuntimeError::WaitForChange { reason: ChangeNeeded::NameTaken, .. }
        ) {
            return error.into();
        }
        match self.runtime().inspect_image(&image.tag).await {
            Ok(Some(found)) if found.id == image.image_id => error.into(),
            Ok(_) => {
                let (installation, name) = (&self.desired.installation, &side.service.service_name);
                match self.storage().forget_image(installation.id, side.revision, name).await {
                    Ok(()) => StepError::Stale(format!("the image of {name} is gone")),
                    Err(error) => error.into(),
                }
            }
            Err(_) => error.into(),
        }
    }

    pub(super) fn meant(
        &self,
        side: &Side<'_>,
        image: &ImageRow,
        asked: &Asked,
        nonce: &str,
    ) -> Result<crate::runtime::ContainerMeant, StepError> {
        let service = side.service;
        let mut neighbours = meant::Neighbours::default();
        for attachment in networks::attachments(service) {
            neighbours.network_ids.insert(attachment.network.clone(), self.network_id(&attachment.network)?);
        }
        for dependency in service.depends_on.iter().filter(|dependency| dependency.namespace) {
            let (_, id) = self.provider_of(&dependency.service, side.role)?;
            neighbours.namespace_containers.insert(dependency.service.clone(), id.0);
        }
        Ok(meant::meant(self.desired, &self.shared.identity, side, image, asked, nonce, neighbours))
    }

    /// The container whose namespace one of that role uses: a candidate that of a candidate, where there is one.
    fn provider_of(&self, service: &str, role: Role) -> Result<(i64, OwnContainerId), StepError> {
        if role == Role::Candidate {
            if let Some(made) = self.made().containers.get(&(service.to_owned(), role)) {
                return Ok(made.clone());
            }
            if let Some((row, container)) = self.observed.with_role(self.desired, service, role) {
                return Ok((row.row, container.id.clone()));
            }
        }
        self.container_of(service)
    }

    pub(super) fn container_of(&self, service: &str) -> Result<(i64, OwnContainerId), StepError> {
        if let Some(made) = self.made().containers.get(&(service.to_owned(), Role::Current)) {
            return Ok(made.clone());
        }
        let current = self.observed.current(self.desired, service);
        let (row, container) =
            current.ok_or_else(|| StepError::Stale(format!("the container of {service} is not there")))?;
        Ok((row.row, container.id.clone()))
    }

    pub(super) async fn verify_container(
        &self,
        side: &Side<'_>,
        row: i64,
        id: &OwnContainerId,
    ) -> Result<(), StepError> {
        let image = self.image(side)?;
        let found = self.row(row)?;
        let meant = self.meant(side, image, &found.asked, &found.nonce)?;
        let inspected = self.runtime().inspect_against(&id.0, side.service, &meant).await?;
        self.shared.own(&id.0, self.desired.installation.id);
        self.judge(side, row, id, image, inspected).await
    }

    /// What was created must be what was meant; else it goes, and what differs is said.
    pub(super) async fn judge(
        &self,
        side: &Side<'_>,
        row: i64,
        id: &OwnContainerId,
        image: &ImageRow,
        inspected: Option<InspectedContainer>,
    ) -> Result<(), StepError> {
        let name = side.service.service_name.as_str();
        let Some(inspected) = inspected else {
            return Err(StepError::Stale(format!("the container of {name} is gone again")));
        };
        let mut differences = inspected.differences;
        let other_image = inspected.listed.image_id != image.image_id;
        if other_image {
            // Somebody moved the tag: it is set again before the next try.
            self.storage().forget_image(self.desired.installation.id, side.revision, name).await?;
            differences.push(format!("its image is {}, not {}", inspected.listed.image_id, image.image_id));
        }
        if differences.is_empty() {
            self.storage().container_verified(row).await?;
            return Ok(());
        }
        self.runtime().remove_container(id).await?;
        self.storage().forget_container(row).await?;
        self.shared.disown(&id.0);
        let kind = if other_image { ErrorKind::Retry } else { ErrorKind::Configuration };
        let message = format!(
            "the engine did not make the container of {name} as it was asked to, so it was removed: {}",
            differences.join("; ")
        );
        Err(StepError::Refused { kind, message })
    }

    pub(super) async fn start_container(
        &self,
        side: &Side<'_>,
        existing: Option<&(i64, OwnContainerId)>,
        providers: &BTreeSet<String>,
    ) -> Result<(), StepError> {
        let service = side.service;
        let name = service.service_name.as_str();
        let (row, id) = match existing {
            Some(existing) => existing.clone(),
            None => self.container_of(name)?,
        };
        let mut seen = BTreeMap::new();
        for provider in providers {
            let (row, id) = self.container_of(provider)?;
            let shares = service
                .depends_on
                .iter()
                .any(|dependency| dependency.service == *provider && dependency.namespace);
            let started_at = match shares {
                true => self.runtime().inspect(&id.0).await?.map(|live| live.started_at),
                false => None,
            };
            // The run is filled in where the start is written down.
            seen.insert(provider.clone(), Provider { row, engine_id: id.0, started_at, run: None });
        }
        let before = match existing {
            Some((row, id)) => self.process_before(*row, id).await?,
            None => None,
        };
        let installation = &self.desired.installation;
        let run = NewRun {
            installation: installation.id,
            service: name,
            container_row: row,
            engine_id: &id.0,
            spec_digest: side.digest,
            epoch: installation.epoch,
            started_by: StartedBy::Manager,
            started_at: self.shared.clock.now(),
        };
        let generation = installation.restart_generation;
        let attempt = self.storage().begin_run(&run, &seen, generation, before.as_deref()).await?;
        if let Err(error) = self.runtime().start(&id).await {
            // The failure itself is written down by `failed`. Where no answer came, the next look tells whether the run began.
            if !matches!(error, RuntimeError::Retry { engine_unreachable: true, .. }) {
                self.storage().cancel_run(attempt, row).await?;
            }
            return Err(error.into());
        }
        self.shared.inspect_again(&id.0);
        Ok(())
    }

    /// Start of the process that a container had before it is started again: what still has it then was not started.
    pub(super) async fn process_before(
        &self,
        row: i64,
        id: &OwnContainerId,
    ) -> Result<Option<String>, StepError> {
        let container = self.observed.ours.containers.get(&row);
        if container.is_some_and(|container| container.state() == ContainerState::Created) {
            return Ok(None);
        }
        if let Some(live) = container.and_then(|container| container.inspected.as_ref())
            && matches!(live.listed.state, ContainerState::Exited | ContainerState::Dead)
        {
            return Ok(Some(live.started_at.clone()));
        }
        Ok(self.runtime().inspect(&id.0).await?.map(|live| live.started_at))
    }
}
