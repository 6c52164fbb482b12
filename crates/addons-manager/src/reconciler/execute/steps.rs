//! What each step of a plan does: the calls and the rows, in their order.

use super::super::files;
use super::super::plan::graph::{PlannedStep, Step};
use super::super::plan::networks::Found;
use super::super::plan::{View, networks};
use super::super::state::{Asked, ContainerRow};
use super::objects::on_disk;
use super::{Did, Execution, StepError};
use crate::runtime::OwnContainerId;
use crate::storage::rollouts::Move;

/// Lines of the log that are kept of what failed.
const LOG_LINES: usize = 100;

impl Execution<'_> {
    pub(super) async fn step(&self, planned: &PlannedStep) -> Result<Did, StepError> {
        match &planned.step {
            Step::CreateNetwork { name, platform } => self.create_network(name, *platform).await?,
            Step::RemoveNetwork { row, id, .. } => {
                self.runtime().remove_network(id).await?;
                self.storage().forget_network(*row).await?;
            }
            Step::ForgetNetwork { row, .. } => self.storage().forget_network(*row).await?,
            Step::CreateVolume { name, origin } => {
                let service = planned.service.as_deref().unwrap_or_default();
                self.create_volume(name, *origin, service).await?;
            }
            Step::RemoveVolume { row, name } => {
                self.runtime().remove_volume(name).await?;
                self.storage().forget_volume(*row).await?;
            }
            Step::PullImage { service, revision } => return self.pull_image(service, *revision).await,
            Step::WriteFiles { service, role } => {
                self.write_files(self.side(service, *role)?.service).await?;
            }
            Step::CreateContainer { service, role, policy, why, courtesy } => {
                self.create_container(&self.side(service, *role)?, *policy, *why, courtesy).await?;
            }
            Step::VerifyContainer { service, role, row, id } => {
                self.verify_container(&self.side(service, *role)?, *row, id).await?;
            }
            Step::StartContainer { service, role, existing, providers } => {
                self.start_container(&self.side(service, *role)?, existing.as_ref(), providers).await?;
            }
            Step::StopContainer { id, grace_s, unhealthy, .. } => {
                self.storage().run_ends_by_us(&id.0, *unhealthy, self.shared.clock.now()).await?;
                self.runtime().stop(id, *grace_s).await?;
                self.storage().run_ended_by_us(&id.0, self.shared.clock.now()).await?;
            }
            Step::SetPolicy { row, id, service, policy, why, .. } => {
                let before = self.row(*row)?;
                let resources =
                    self.desired.side(service, before.role).map(|side| side.service.resources.clone());
                self.runtime().update(id, *policy, &resources.unwrap_or_default()).await?;
                self.storage()
                    .set_asked(*row, &Asked { restart: *policy, why: *why, ..before.asked.clone() })
                    .await?;
                self.shared.inspect_again(&id.0);
            }
            Step::RemoveContainer { row, id } => {
                self.storage().run_ends_by_us(&id.0, false, self.shared.clock.now()).await?;
                self.runtime().remove_container(id).await?;
                self.storage().run_ended_by_us(&id.0, self.shared.clock.now()).await?;
                self.storage().forget_container(*row).await?;
                self.shared.disown(&id.0);
            }
            Step::ForgetContainer { row } => self.storage().forget_container(*row).await?,
            Step::Rename { id, name } => self.runtime().rename(id, name).await?,
            Step::Unpause { id } => self.runtime().unpause(id).await?,
            Step::Connect { id, service, network, network_id, again, courtesy } => {
                let network_id = match network_id {
                    Some(id) => id.clone(),
                    None => self.network_id(network)?,
                };
                let service = self.service(service);
                let attachment =
                    networks::attachments(service).iter().find(|attachment| attachment.network == *network);
                let attachment = attachment.expect("a plan connects to networks of the service only");
                if *again {
                    self.runtime().disconnect(id, &network_id).await?;
                }
                self.runtime().connect(id, &network_id, attachment, courtesy.as_deref()).await?;
                self.courtesy_given(id, network, courtesy.as_ref()).await?;
                self.shared.inspect_again(&id.0);
            }
            Step::Disconnect { id, network_id } => self.runtime().disconnect(id, network_id).await?,
            Step::CollectLogs { attempt, id } => {
                // No log is better than none kept for ever: what cannot be read is not asked for again.
                let logs = self.runtime().logs(&id.0, LOG_LINES).await.unwrap_or_default();
                self.storage().set_logs(*attempt, &logs).await?;
            }
            Step::Move { rollout, service, parked_name, name, passed } => {
                let to = Move {
                    rollout: *rollout,
                    service,
                    parked_name: parked_name.as_deref(),
                    name: name.as_deref(),
                    passed: *passed,
                };
                self.storage().move_service(to).await?;
            }
            Step::PassGate { rollout, service } => self.storage().gate_passed(*rollout, service).await?,
            Step::TurnBack { rollout, why, attempt, names } => {
                self.storage().turn_back(*rollout, why, *attempt, names).await?;
            }
            Step::CompleteRollout { rollout } => {
                self.storage().complete_rollout(*rollout, self.shared.clock.now()).await?;
            }
            Step::EndUndoneRollout { rollout } => {
                self.storage().end_undone_rollout(*rollout, self.shared.clock.now()).await?;
            }
            Step::Untag { tag } => self.runtime().untag(tag).await?,
            Step::DropRevision { revision } => {
                self.storage().drop_revision(self.desired.installation.id, *revision).await?;
                self.drop_files().await?;
            }
            Step::RemoveFiles => {
                let folder = self.shared.identity.files_of(self.desired);
                on_disk(move || files::remove(&folder)).await?;
            }
            Step::Forget { kept_volumes } => {
                self.storage()
                    .remove_installation(self.desired.installation.id, kept_volumes, self.shared.clock.now())
                    .await?;
            }
        }
        Ok(Did::All)
    }

    /// Removes the files that no revision has any more.
    async fn drop_files(&self) -> Result<(), StepError> {
        let identity = &self.shared.identity;
        let revisions = self.storage().revisions(self.desired.installation.id).await?;
        let services = revisions.iter().flat_map(|revision| revision.specification.services.values());
        let kept = services.map(|service| identity.files_folder(self.desired, service)).collect();
        let folder = identity.files_of(self.desired);
        on_disk(move || files::keep_only(&folder, &kept)).await
    }

    /// Writes down the alias that a container was given, or has lost, on a network.
    pub(super) async fn courtesy_given(
        &self,
        id: &OwnContainerId,
        network: &str,
        courtesy: Option<&String>,
    ) -> Result<(), StepError> {
        let rows = &self.desired.containers;
        let Some(row) = rows.iter().find(|row| row.engine_id.as_deref() == Some(id.0.as_str())) else {
            return Ok(());
        };
        if row.asked.courtesy.get(network) == courtesy {
            return Ok(());
        }
        let mut asked = row.asked.clone();
        match courtesy {
            Some(alias) => asked.courtesy.insert(network.to_owned(), alias.clone()),
            None => asked.courtesy.remove(network),
        };
        Ok(self.storage().set_asked(row.row, &asked).await?)
    }

    pub(super) fn row(&self, row: i64) -> Result<&ContainerRow, StepError> {
        let found = self.desired.containers.iter().find(|container| container.row == row);
        found.ok_or_else(|| StepError::Stale(format!("the row {row} of a container is gone")))
    }

    pub(super) fn network_id(&self, name: &str) -> Result<String, StepError> {
        if let Some(id) = self.made().networks.get(name) {
            return Ok(id.clone());
        }
        let view = View { desired: self.desired, observed: self.observed, now: self.shared.clock.now() };
        match networks::find(&view, name) {
            Found::There(id) => Ok(id),
            _ => Err(StepError::Stale(format!("network {name} is not there"))),
        }
    }
}

/// 128 random bits: nobody can guess the nonce of a create that is still to come.
pub(super) fn nonce() -> String {
    service_kit::random::bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect()
}
