//! The periodic look at everything: one reading of the database, one listing, and a few inspects for all installations together. Those for
//! which there is something to do are woken; the others cost nothing more.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::plan::plan;
use super::record::{records, unexplained};
use super::report::report;
use super::state::observe;
use super::{PassError, Shared, lock};
use crate::domain::installation::InstallationId;
use crate::runtime::ContainerState;

/// Each running container is inspected once in this time: what no listing tells can change unseen.
const INSPECT_EVERY: std::time::Duration = std::time::Duration::from_secs(600);

impl Shared {
    /// Looks at everything.
    pub(crate) async fn resync(&self) -> Result<(), PassError> {
        metrics::counter!("addons_manager_resyncs_total").increment(1);
        let need = self.next();
        let mut states = self.storage.desired_states().await?;
        let world = self.world(need).await.map_err(PassError::Engine)?;
        let now = self.clock.now();
        let mut owners: HashMap<String, InstallationId> = HashMap::new();
        let mut seen: Vec<(Option<service_kit::clock::Timestamp>, String)> = Vec::new();
        {
            let inspected = lock(&self.inspected);
            for state in &states {
                let observed = observe(state, &world, &BTreeMap::new());
                for container in observed.ours.containers.values() {
                    owners.insert(container.id.0.clone(), state.installation.id);
                    if container.state() == ContainerState::Running {
                        seen.push((inspected.get(&container.id.0).copied(), container.id.0.clone()));
                    }
                }
                for network in observed.ours.networks.values() {
                    owners.insert(network.id.0.clone(), state.installation.id);
                }
            }
        }
        // Those that were not inspected for longest, so many that each has its turn in time.
        seen.sort();
        let share = seen.len() as f64
            * (self.settings.resync_interval.as_secs_f64() / INSPECT_EVERY.as_secs_f64()).min(1.0);
        let ids: BTreeSet<String> = seen.into_iter().take(share.ceil() as usize).map(|(_, id)| id).collect();
        let answers = self.inspect(ids).await?;
        lock(&self.inspected).retain(|id, _| owners.contains_key(id));
        *lock(&self.owners) = owners;

        let outages = self.outages();
        let mut by_status: BTreeMap<&'static str, u32> = BTreeMap::new();
        for state in &mut states {
            let id = state.installation.id;
            *by_status.entry(state.installation.status.as_str()).or_default() += 1;
            let observed = observe(state, &world, &answers);
            let plan = plan(state, &observed, now);
            let report = report(state, &observed, &plan, now);
            let shown = &state.installation;
            let same = report.status == shown.status
                && report.been_up == shown.been_up
                && report.conditions == shown.conditions
                && report.service_states == shown.service_states;
            let unwritten = !records(state, &observed, now, &outages).is_empty()
                || !unexplained(state, &observed).is_empty();
            if !plan.steps.is_empty() || !same || unwritten || self.may_adopt(state, &world) {
                // This listing serves it, if it is looked at before anything else happens.
                self.wakes.full(id, need);
                for container in observed
                    .ours
                    .containers
                    .values()
                    .filter(|container| answers.contains_key(&container.id.0))
                {
                    self.wakes.container(id, &container.id.0);
                }
            } else if let Some(at) = plan.look_again {
                self.wakes.due(id, at);
            }
        }
        for status in addon_client::InstallationStatus::ALL {
            let count = by_status.get(status.as_str()).copied().unwrap_or(0);
            metrics::gauge!("addons_manager_installations", "status" => status.as_str())
                .set(f64::from(count));
        }
        Ok(())
    }
}
