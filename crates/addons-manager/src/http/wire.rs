//! From what is stored to what is answered: the form that Oakestra's dashboard and monitor know, and what is new beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use addon_client::{
    DesiredState, Installation as Wire, PortBinding, Progress, RolloutView, ServiceState, StatusDetails,
};
use addon_descriptor::Digest;
use moka::sync::Cache;
use serde_json::Value;

use crate::domain::claim::protocol_name;
use crate::domain::installation::{Desired, Installation, InstallationId, Revision};
use crate::domain::rollout::{Rollout, RolloutPhase};
use crate::domain::specification::ServiceSpecification;
use crate::domain::status::{Condition, ServiceReport};
use crate::reconciler::report::{VOLUMES_GO, volumes_go};
use crate::storage::{Storage, StorageError};

/// Revisions whose parts are remembered: a revision never changes, and reading a descriptor anew for each answer would cost most of it.
const REMEMBERED: u64 = 2_000;

/// Between the logs of two containers, as Oakestra's monitor writes them.
const LOG_SEPARATOR: &str = "\n----------------\n";

/// What an answer takes from a revision.
#[derive(Debug)]
struct Parts {
    description: String,
    services: Vec<Value>,
    volumes: Vec<Value>,
    networks: Vec<Value>,
    by_service: BTreeMap<String, (Option<Digest>, Vec<PortBinding>)>,
}

/// Makes answers.
#[derive(Debug, Clone)]
pub struct Answers {
    storage: Storage,
    parts: Cache<(InstallationId, i64), Arc<Parts>>,
}

impl Answers {
    /// Reads revisions from this database.
    pub fn new(storage: Storage) -> Self {
        Self { storage, parts: Cache::new(REMEMBERED) }
    }

    /// The installation as its clients see it.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer, or its revision is missing or makes no sense.
    pub async fn installation(
        &self,
        installation: Installation,
        progress: Option<Progress>,
        rollout: Option<Rollout>,
    ) -> Result<Wire, StorageError> {
        let parts = self.parts(installation.id, installation.revision).await?;
        // While a rollout goes forward, what it has moved is as the new revision has it.
        let forward = rollout.as_ref().filter(|rollout| rollout.phase == RolloutPhase::Forward);
        let moved = match forward.filter(|rollout| !rollout.moved.is_empty()) {
            Some(rollout) => Some((&rollout.moved, self.parts(installation.id, rollout.to).await?)),
            None => None,
        };
        let parts_of = |service: &str| match &moved {
            Some((moved, new)) if moved.contains(service) => new,
            _ => &parts,
        };
        let failed: Vec<&ServiceReport> =
            installation.service_states.iter().filter(|report| report.has_failed()).collect();
        Ok(Wire {
            id: installation.id,
            marketplace_id: installation.release_id,
            name: installation.name.clone(),
            description: parts.description.clone(),
            services: parts.services.clone(),
            volumes: parts.volumes.clone(),
            networks: parts.networks.clone(),
            status: installation.status,
            status_details: StatusDetails {
                failed_services: failed.iter().map(|report| report.service_name.clone()).collect(),
            },
            logs: logs(&failed),
            addon: installation.addon.clone(),
            version: installation.version.clone(),
            digest: installation.release_digest,
            desired: match installation.desired {
                Desired::Active => DesiredState::Active,
                Desired::Disabled => DesiredState::Disabled,
                Desired::Absent => DesiredState::Absent,
            },
            service_states: installation
                .service_states
                .iter()
                .map(|report| service_state(report, parts_of(&report.service_name)))
                .collect(),
            conditions: conditions(&installation),
            progress,
            revision: installation.revision,
            rollout: rollout.map(rollout_view),
            update_available: None,
            created_at: installation.created_at,
            updated_at: installation.updated_at,
        })
    }

    async fn parts(&self, installation: InstallationId, revision: i64) -> Result<Arc<Parts>, StorageError> {
        let key = (installation, revision);
        if let Some(parts) = self.parts.get(&key) {
            return Ok(parts);
        }
        let missing = || {
            StorageError::corrupt(
                "installations",
                installation,
                format_args!("revision {revision} is missing"),
            )
        };
        let revision = self.storage.revision(installation, revision).await?.ok_or_else(missing)?;
        let parts = Arc::new(Parts::of(&revision)?);
        self.parts.insert(key, Arc::clone(&parts));
        Ok(parts)
    }
}

impl Parts {
    fn of(revision: &Revision) -> Result<Self, StorageError> {
        let corrupt = |detail: &str| {
            let key = format!("{}/{}", revision.installation, revision.revision);
            StorageError::corrupt("revisions", key, detail)
        };
        let reading = addon_descriptor::read(revision.descriptor.as_bytes())
            .map_err(|_| corrupt("the descriptor is no JSON"))?;
        let descriptor = reading.descriptor.ok_or_else(|| corrupt("the descriptor is not understood"))?;
        let mut document = match descriptor.wire_value() {
            Value::Object(document) => document,
            _ => return Err(corrupt("the descriptor is no object")),
        };
        let mut list = |key: &str| match document.remove(key) {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        Ok(Self {
            services: list("services"),
            volumes: list("volumes"),
            networks: list("networks"),
            description: descriptor.description,
            by_service: revision
                .specification
                .services
                .iter()
                .map(|(name, service)| (name.clone(), (service.image.digest.parse().ok(), ports(service))))
                .collect(),
        })
    }
}

/// As the last pass left them, and what has been asked for since.
fn conditions(installation: &Installation) -> Vec<Condition> {
    let mut conditions = installation.conditions.clone();
    let Installation { delete_volumes, desired, updated_at, .. } = *installation;
    let said = volumes_go(delete_volumes, desired, updated_at);
    // One that was taken back may still be stored.
    conditions.retain(|stored| stored.kind != VOLUMES_GO || said.is_some());
    if let Some(said) = said
        && conditions.iter().all(|stored| stored.kind != said.kind)
    {
        conditions.push(said);
    }
    conditions
}

fn rollout_view(rollout: Rollout) -> RolloutView {
    RolloutView {
        kind: rollout.kind.as_str().to_owned(),
        phase: rollout.phase.as_str().to_owned(),
        from: rollout.from,
        to: rollout.to,
        moved: rollout.moved.into_iter().collect(),
        passed: rollout.passed.into_iter().collect(),
        why: rollout.why,
        logs: rollout.logs,
        asked_by: rollout.asked_by,
        opened_at: rollout.opened_at,
        ended_at: rollout.ended_at,
    }
}

fn ports(service: &ServiceSpecification) -> Vec<PortBinding> {
    let binding = |port: &crate::domain::specification::PublishedPort| PortBinding {
        container: format!("{}/{}", port.container_port, protocol_name(port.protocol)),
        host_ip: port.host_ip.map(|ip| ip.to_string()),
        host_port: port.host_port,
    };
    service.ports.iter().map(binding).collect()
}

fn service_state(report: &ServiceReport, parts: &Parts) -> ServiceState {
    let (image_digest, ports) = parts.by_service.get(&report.service_name).cloned().unwrap_or_default();
    ServiceState {
        service_name: report.service_name.clone(),
        state: report.phase,
        health: report.health,
        container: report.container.clone(),
        image_digest,
        ports,
        restarts: report.restarts,
        since: Some(report.since),
        exit_code: report.exit_code,
        waiting: report.waiting.clone(),
    }
}

/// The last lines of each failed service, under a heading with its container's name; none where none failed.
fn logs(failed: &[&ServiceReport]) -> Option<String> {
    let texts: Vec<String> = failed
        .iter()
        .filter_map(|report| {
            let logs = report.logs.as_ref()?;
            let name = report.container.as_ref().unwrap_or(&report.service_name);
            Some(format!("Logs for container '{name}':\n{}", logs.trim_end_matches('\n')))
        })
        .collect();
    (!texts.is_empty()).then(|| texts.join(LOG_SEPARATOR))
}

#[cfg(test)]
mod tests {
    use addon_client::{ServicePhase, Timestamp};

    use super::*;

    #[test]
    fn logs_of_failed_services_stand_under_their_containers_names() {
        let report = |name: &str, container: Option<&str>, logs: Option<&str>| ServiceReport {
            service_name: name.to_owned(),
            phase: ServicePhase::Failed,
            health: None,
            container: container.map(str::to_owned),
            restarts: 0,
            last_run: 0,
            since: Timestamp::from_millis(0),
            exit_code: Some(1),
            waiting: None,
            logs: logs.map(str::to_owned),
        };
        let reports = [
            report("a", Some("root_x-a"), Some("one\ntwo\n")),
            report("b", None, Some("three")),
            report("c", None, None),
        ];
        let all: Vec<&ServiceReport> = reports.iter().collect();
        let expected =
            "Logs for container 'root_x-a':\none\ntwo\n----------------\nLogs for container 'b':\nthree";
        assert_eq!(logs(&all).as_deref(), Some(expected));
        assert_eq!(logs(&all[2..]), None);
    }
}
