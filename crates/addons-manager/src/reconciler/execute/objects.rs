//! Steps for what containers need: networks, volumes, images, files.

use std::collections::BTreeMap;

use super::super::files::FileToWrite;
use super::super::plan::volumes;
use super::super::state::{ErrorKind, ImageRow, NONCE_LABEL, Role, Side, volume_difference};
use super::super::{files, meant};
use super::steps::nonce;
use super::{Did, Execution, StepError};
use crate::domain::specification::{NetworkSpecification, ServiceSpecification};
use crate::runtime::{ChangeNeeded, ListedNetwork, PullProgress, RuntimeError};
use crate::storage::objects::NewVolume;

impl Execution<'_> {
    pub(super) async fn create_network(&self, name: &str, platform: bool) -> Result<(), StepError> {
        let now = self.shared.clock.now();
        let installation = self.desired.installation.id;
        if platform {
            // Several installations may miss it at once, and the engine would make one for each: one at a time, and each looks first.
            let _one_at_a_time = self.shared.platform_network.lock().await;
            let listing = self.runtime().list().await?;
            let mut there: Vec<_> =
                listing.networks.into_iter().filter(|network| network.name == name).collect();
            there.sort_by(|one, other| (&one.created, &one.id).cmp(&(&other.created, &other.id)));
            if let Some(network) = there.into_iter().next() {
                self.made().networks.insert(name.to_owned(), network.id);
                return Ok(());
            }
            let specification = plain_bridge();
            let (row, nonce) = self.storage().open_network(None, name, &nonce(), &specification, now).await?;
            let labels = self.shared.identity.shared_labels(&nonce);
            let id = self.runtime().create_network(name, &specification, &labels).await?;
            self.storage().network_created(row, &id).await?;
            self.made().networks.insert(name.to_owned(), id);
            return Ok(());
        }
        let specification = self.desired.specification.networks.get(name);
        let specification = specification
            .ok_or_else(|| StepError::Stale(format!("network {name} is not of this revision")))?;
        let (row, nonce) =
            self.storage().open_network(Some(installation), name, &nonce(), specification, now).await?;
        let labels = self.shared.identity.labels(self.desired, &nonce);
        let id = match self.runtime().create_network(name, specification, &labels).await {
            Ok(id) => id,
            Err(error) => self.made_by_an_earlier_create(name, &nonce, error).await?,
        };
        self.storage().network_created(row, &id).await?;
        self.shared.own(&id, installation);
        self.made().networks.insert(name.to_owned(), id);
        Ok(())
    }

    /// Addresses that are taken may be taken by the network itself: a create that a manager asked for before it was killed comes true late.
    pub(super) async fn made_by_an_earlier_create(
        &self,
        name: &str,
        nonce: &str,
        error: RuntimeError,
    ) -> Result<String, StepError> {
        if !matches!(error, RuntimeError::WaitForChange { reason: ChangeNeeded::AddressPool, .. }) {
            return Err(error.into());
        }
        let listing = self.runtime().list().await?;
        let is_it = |network: &ListedNetwork| {
            network.name == name && network.labels.get(NONCE_LABEL).is_some_and(|label| label == nonce)
        };
        listing.networks.into_iter().find(is_it).map(|network| network.id).ok_or_else(|| error.into())
    }

    pub(super) async fn create_volume(
        &self,
        name: &str,
        origin: crate::domain::installation::VolumeOrigin,
        service: &str,
    ) -> Result<(), StepError> {
        let specification = volumes::specification(self.desired, name);
        let service =
            if origin == crate::domain::installation::VolumeOrigin::Declared { "" } else { service };
        let installation = self.desired.installation.id;
        let new =
            NewVolume { installation, name, nonce: &nonce(), origin, service, specification: &specification };
        let nonce = self.storage().open_volume(&new, self.shared.clock.now()).await?;
        let labels = self.shared.identity.labels(self.desired, &nonce);
        let found = self.runtime().create_volume(name, &specification, &labels).await?;
        let difference = if found.labels.get(NONCE_LABEL) == Some(&nonce) {
            volume_difference(&specification, &found)
        } else {
            Some("somebody else made it".to_owned())
        };
        match difference {
            None => {
                self.made().volumes.insert(name.to_owned(), nonce);
                Ok(())
            }
            Some(difference) => Err(StepError::Refused {
                kind: ErrorKind::NameTaken,
                message: format!(
                    "a volume named {name} is there and cannot be used: {difference}; it is left alone: remove it, or keep its data elsewhere"
                ),
            }),
        }
    }

    pub(super) async fn pull_image(&self, name: &str, revision: i64) -> Result<Did, StepError> {
        let new = self.desired.rollout.as_ref().filter(|rollout| rollout.row.to == revision);
        let service = match new {
            Some(rollout) => rollout.to.services.get(name),
            None => self.desired.specification.services.get(name),
        };
        let image = &service.expect("a plan names services of its revisions").image;
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<PullProgress>(16);
        let board = &self.shared.progress;
        let installation = self.desired.installation.id;
        board.begin(installation, name, image);
        let mut asked = false;
        let pulled = {
            // One pull of a digest at a time: whoever waits finds it there.
            let lock = self.shared.pull_lock(&image.digest);
            let _one_at_a_time = lock.lock().await;
            let _slot = self.shared.pulls.acquire().await.expect("the semaphore is never closed");
            let pull = self.runtime().pull(image, sender);
            tokio::pin!(pull);
            loop {
                tokio::select! {
                    biased;
                    result = &mut pull => break result,
                    Some(progress) = receiver.recv() => {
                        asked = true;
                        board.update(installation, name, progress);
                    }
                }
            }
        };
        // Progress is told of what the registry was asked for, and of nothing else.
        asked |= receiver.try_recv().is_ok();
        board.end(installation, name, pulled.is_ok());
        let pulled = pulled?;
        let pin = format!("@{}", image.digest);
        if !pulled.repo_digests.iter().any(|digest| digest.ends_with(&pin)) {
            let message = format!(
                "the image {} that the engine has is not the one that was reviewed ({})",
                image.reference, image.digest
            );
            return Err(StepError::Refused { kind: ErrorKind::Never, message });
        }
        let tag = meant::image_tag(installation, revision, name);
        self.runtime().tag(&pulled.id, &tag).await?;
        let row = ImageRow {
            image_id: pulled.id,
            tag,
            volumes: pulled.volumes,
            has_healthcheck: pulled.has_healthcheck,
        };
        self.storage().record_image(installation, revision, name, &row).await?;
        Ok(if asked { Did::All } else { Did::Tagged })
    }

    pub(super) async fn write_files(&self, service: &ServiceSpecification) -> Result<(), StepError> {
        let sources = self.shared.identity.file_sources(self.desired, service);
        let to_write = |file: &crate::domain::specification::FileSpecification| FileToWrite {
            path: sources[&file.path].clone(),
            content: file.content.clone(),
            mode: file.mode,
        };
        let files: Vec<FileToWrite> = service.files.iter().map(to_write).collect();
        on_disk(move || files::write(&files)).await
    }

    /// A service as its container of that role is meant to be.
    pub(super) fn side(&self, service: &str, role: Role) -> Result<Side<'_>, StepError> {
        let gone = || StepError::Stale(format!("{service} is no service of the revision any more"));
        self.desired.side(service, role).ok_or_else(gone)
    }

    pub(super) fn image<'s>(&self, side: &Side<'s>) -> Result<&'s ImageRow, StepError> {
        let unknown =
            || StepError::Stale(format!("the image of {} is not known yet", side.service.service_name));
        side.image.ok_or_else(unknown)
    }
}

/// The platform's network, where it is ours to make.
fn plain_bridge() -> NetworkSpecification {
    NetworkSpecification {
        key: String::new(),
        driver: "bridge".to_owned(),
        driver_opts: BTreeMap::new(),
        labels: BTreeMap::new(),
        internal: false,
        enable_ipv6: false,
        subnets: Vec::new(),
    }
}

pub(super) async fn on_disk(
    work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> Result<(), StepError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    done.map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
            _ => ErrorKind::Configuration,
        };
        StepError::Refused {
            kind,
            message: format!("the files cannot be written below the state folder: {error}"),
        }
    })
}
