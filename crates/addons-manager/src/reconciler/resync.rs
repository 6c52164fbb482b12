//! The periodic look at everything: one listing and a few inspects for all installations together, and what the database has of those that are
//! not quiet (`quiet.rs`). Those for which there is something to do are woken; the others cost nothing more.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use service_kit::clock::Timestamp;

use super::pass::Answers;
use super::plan::plan;
use super::quiet::{Breadth, depends_on_listing_alone, look};
use super::record::{records, unexplained};
use super::report::report;
use super::state::{DesiredState, World, observe};
use super::{PassError, Shared, lock};
use crate::domain::installation::InstallationId;
use crate::runtime::ContainerState;

/// Each running container is inspected once in this time: what no listing tells can change unseen.
const INSPECT_EVERY: std::time::Duration = std::time::Duration::from_secs(600);

/// Installations that are looked over together.
const AT_ONCE: usize = 100;

impl Shared {
    /// Looks at everything, or at what may have changed.
    pub(crate) async fn resync(&self, breadth: Breadth) -> Result<(), PassError> {
        metrics::counter!("addons_manager_resyncs_total").increment(1);
        let need = self.next();
        let world = self.world(need).await.map_err(PassError::Engine)?;
        let now = self.clock.now();
        let known: HashSet<String> = lock(&self.owners).keys().cloned().collect();
        let owners = self.storage.owners().await?;
        let mut seen: Vec<(Option<Timestamp>, String)> = {
            let inspected = lock(&self.inspected);
            let is_up = |id: &&String| {
                world.container(id).is_some_and(|container| container.state == ContainerState::Running)
            };
            // After a clock that was set back nobody knows when those were inspected.
            let at = |id: &String| inspected.get(id).copied().filter(|at| *at <= now);
            owners.keys().filter(is_up).map(|id| (at(id), id.clone())).collect()
        };
        // Those that were not inspected for longest, so many that each has its turn in time.
        seen.sort();
        let share = seen.len() as f64
            * (self.settings.resync_interval.as_secs_f64() / INSPECT_EVERY.as_secs_f64()).min(1.0);
        let ids: BTreeSet<String> = seen.into_iter().take(share.ceil() as usize).map(|(_, id)| id).collect();
        let answers = self.inspect(ids).await?;
        lock(&self.inspected).retain(|id, _| owners.contains_key(id));

        let ids = self.storage.installation_ids().await?;
        let looks = looks(&world, &owners);
        let inspected: BTreeSet<InstallationId> =
            answers.keys().filter_map(|id| owners.get(id)).copied().collect();
        let is_passed_over = |id: &InstallationId| {
            let look = looks.get(id).copied().flatten();
            breadth == Breadth::Changed
                && !inspected.contains(id)
                && look.is_some_and(|look| self.quiet.is(*id, look))
        };
        let looked_at: Vec<InstallationId> = ids.iter().filter(|id| !is_passed_over(id)).copied().collect();
        let ids: BTreeSet<InstallationId> = ids.into_iter().collect();
        self.quiet.keep(|id| ids.contains(&id));
        {
            // What passes have made meanwhile stays.
            let mut all = lock(&self.owners);
            all.retain(|id, _| owners.contains_key(id) || !known.contains(id));
            all.extend(owners);
        }

        // Some at a time: what is known of an installation is many times what is shown of it.
        for ids in looked_at.chunks(AT_ONCE) {
            for mut state in self.storage.desired_states_of(ids).await? {
                self.watch_rollout(&mut state).await?;
                let id = state.installation.id;
                let is_quiet = self.look_over(&state, &world, &answers, need, now);
                // A pass that was begun meanwhile knows better.
                let is_quiet = is_quiet && !self.wakes.looked_since(id, need);
                match looks.get(&id).copied().flatten().filter(|_| is_quiet) {
                    Some(look) => self.quiet.note(id, look),
                    None => self.quiet.forget(id),
                }
            }
        }
        let by_status = self.storage.count_by_status().await?;
        for status in addon_client::InstallationStatus::ALL {
            let count = by_status.get(status.as_str()).copied().unwrap_or(0);
            metrics::gauge!("addons_manager_installations", "status" => status.as_str())
                .set(f64::from(count));
        }
        Ok(())
    }

    /// Wakes an installation for which there is something to do; `need` is the number that the listing was begun under. Answers whether nothing
    /// will be to do until something of it looks otherwise.
    fn look_over(
        &self,
        state: &DesiredState,
        world: &Arc<World>,
        answers: &Answers,
        need: u64,
        now: Timestamp,
    ) -> bool {
        let id = state.installation.id;
        // Its own alone: an observed state keeps what it is given.
        let own = state.containers.iter().filter_map(|row| answers.get_key_value(row.engine_id.as_ref()?));
        let answers: Answers = own.map(|(id, found)| (id.clone(), found.clone())).collect();
        let observed = observe(state, world, &answers);
        let plan = plan(state, &observed, now);
        let report = report(state, &observed, &plan, now);
        let shown = &state.installation;
        let same = report.status == shown.status
            && report.been_up == shown.been_up
            && report.conditions == shown.conditions
            && report.service_states == shown.service_states;
        let unwritten = !records(state, &observed, now, &self.outages()).is_empty()
            || !unexplained(state, &observed).is_empty();
        if !plan.steps.is_empty() || !same || unwritten || self.may_adopt(state, world) {
            // This listing serves it, if it is looked at before anything else happens.
            self.wakes.full(id, need);
            let ours = observed.ours.containers.values();
            for container in ours.filter(|container| answers.contains_key(&container.id.0)) {
                self.wakes.container(id, &container.id.0);
            }
            return false;
        }
        if let Some(at) = plan.look_again {
            self.wakes.due(id, at);
        }
        depends_on_listing_alone(state, &plan)
    }
}

/// How each installation looks that has anything on the engine.
fn looks(world: &World, owners: &HashMap<String, InstallationId>) -> BTreeMap<InstallationId, Option<u64>> {
    let mut objects: BTreeMap<InstallationId, Vec<&str>> = BTreeMap::new();
    for (object, id) in owners {
        objects.entry(*id).or_default().push(object);
    }
    let look_of = |(id, mut objects): (InstallationId, Vec<&str>)| {
        objects.sort_unstable();
        (id, look(world, &objects))
    };
    objects.into_iter().map(look_of).collect()
}
