//! One pass: read, look, write down, plan, execute, and look again until there is nothing left to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use service_kit::clock::Timestamp;

use super::blocked::Wants;
use super::execute::execute;
use super::plan::{View, networks, plan};
use super::record::{records, unexplained};
use super::report::{report, wait_to_tell};
use super::state::{DesiredState, ObservedState, World, observe};
use super::wakes::Scope;
use super::{PassError, Shared, lock};
use crate::domain::installation::InstallationId;
use crate::runtime::{ContainerState, Health, InspectedContainer};
use crate::storage::events::NewEvent;
use crate::storage::passes::StoredReport;

/// Plans in a row that changed something. More than any real work takes: past it something undoes what we do, and it gets a pause.
const LONGEST_STREAK: usize = 40;

/// The pause after such a streak.
const STREAK_PAUSE: Duration = Duration::from_secs(10);

/// Plans in a row that found their objects gone and did nothing else, before there is a pause.
const STALE_STREAK: usize = 3;

/// Live answers by engine id; none where the container is gone.
pub(crate) type Answers = BTreeMap<String, Option<InspectedContainer>>;

impl Shared {
    /// Brings one installation to what is wanted of it, as far as that is possible now. Answers when time alone asks for another look.
    pub(crate) async fn pass(&self, id: InstallationId) -> Result<Option<Timestamp>, PassError> {
        let started = Instant::now();
        self.quiet.forget(id);
        let mut stale = 0;
        for _ in 0..LONGEST_STREAK {
            if self.shutdown.is_cancelled() {
                return Ok(None);
            }
            let scope = self.wakes.take_scope(id, self.next());
            let again = match self.look_and_act(id, &scope).await {
                Ok(again) => again,
                Err(error) => {
                    self.wakes.give_back(id, scope);
                    return Err(error);
                }
            };
            metrics::counter!("addons_manager_passes_total").increment(1);
            match again {
                Again::Never => break,
                Again::At(at) => {
                    metrics::histogram!("addons_manager_pass_duration_seconds").record(started.elapsed());
                    return Ok(at);
                }
                Again::Now { only_stale: false } => stale = 0,
                Again::Now { only_stale: true } => {
                    stale += 1;
                    if stale >= STALE_STREAK {
                        return Ok(Some(self.clock.now() + STREAK_PAUSE));
                    }
                }
            }
        }
        let gone = self.storage.desired_state(id).await?.is_none();
        if gone {
            self.wakes.forget(id);
            lock(&self.blocked).forget(id);
            return Ok(None);
        }
        tracing::warn!(installation.id = %id, "something undoes what is done for this installation; it gets a pause");
        Ok(Some(self.clock.now() + STREAK_PAUSE))
    }

    async fn look_and_act(&self, id: InstallationId, scope: &Scope) -> Result<Again, PassError> {
        let Some(mut desired) = self.storage.desired_state(id).await? else {
            return Ok(Again::Never);
        };
        let world = self.world(scope.need).await.map_err(PassError::Engine)?;
        self.watch_rollout(&mut desired).await?;
        if self.adopt_what_is_lost(&desired, &world).await? {
            return Ok(Again::Now { only_stale: false });
        }
        let (mut observed, answers) = self.look(&desired, &world, scope).await?;
        let now = self.clock.now();
        let learned = records(&desired, &observed, now, &self.outages());
        if !learned.is_empty() {
            self.storage.apply_records(&desired, &learned).await?;
            for container in observed.ours.containers.values() {
                self.own(&container.id.0, id);
            }
            for network in observed.ours.networks.values() {
                self.own(&network.id.0, id);
            }
            let Some(read_again) = self.storage.desired_state(id).await? else { return Ok(Again::Never) };
            desired = read_again;
            self.watch_rollout(&mut desired).await?;
            observed = observe(&desired, &world, &answers);
            // Runs that were over when they were first seen are explained by the next look.
            if !unexplained(&desired, &observed).is_empty()
                || !records(&desired, &observed, now, &self.outages()).is_empty()
            {
                return Ok(Again::Now { only_stale: false });
            }
        }
        let plan = plan(&desired, &observed, now);
        let report = report(&desired, &observed, &plan, now);
        let view = View { desired: &desired, observed: &observed, now };
        lock(&self.blocked).note(id, Wants::of(&view, &plan), now);
        if plan.steps.is_empty() {
            self.store(&desired, &report, now).await?;
            return Ok(Again::At(plan.look_again));
        }
        self.rollout_acts(&desired, &plan);
        // What is shown is written while the first steps are under way.
        let (stored, outcome) =
            tokio::join!(self.store(&desired, &report, now), execute(self, &desired, &observed, &plan));
        self.wakes.acted(id, self.next());
        self.rollout_acted(&desired);
        stored?;
        if let Some(error) = outcome.storage {
            return Err(error.into());
        }
        if let Some(why) = outcome.unreachable {
            return Err(PassError::Unreachable(why));
        }
        Ok(Again::Now { only_stale: outcome.done == 0 && outcome.failed == 0 && outcome.stale > 0 })
    }

    /// Splits the listing, and inspects what events spoke of, what was started by us and not inspected since, and what ended unseen.
    pub(crate) async fn look(
        &self,
        desired: &DesiredState,
        world: &Arc<World>,
        scope: &Scope,
    ) -> Result<(ObservedState, Answers), PassError> {
        let observed = observe(desired, world, &BTreeMap::new());
        let mut ids: BTreeSet<String> = unexplained(desired, &observed).into_iter().collect();
        {
            let inspected = lock(&self.inspected);
            let own = observed.ours.containers.values();
            let unseen = own.filter(|container| {
                container.state() == ContainerState::Running && !inspected.contains_key(&container.id.0)
            });
            ids.extend(unseen.map(|container| container.id.0.clone()));
        }
        // Some engines list a container as unhealthy when its check was merely interrupted, by a pause for one: inspect knows better.
        let own = observed.ours.containers.values();
        let unhealthy = own.filter(|container| container.listed.health == Some(Health::Unhealthy));
        ids.extend(unhealthy.map(|container| container.id.0.clone()));
        let rows = desired.containers.iter().filter_map(|row| row.engine_id.as_ref());
        ids.extend(rows.filter(|id| !scope.full || scope.touched.contains(*id)).cloned());
        // Which aliases others have, no listing tells. Those of other installations are in the database.
        {
            let owners = lock(&self.owners);
            for network in networks::without_courtesy(desired, &observed) {
                let others = observed.others.containers_on(network).filter(|id| !owners.contains_key(*id));
                ids.extend(others.map(str::to_owned));
            }
        }
        let mut answers = self.inspect(ids).await?;
        let mut observed = observe(desired, world, &answers);
        // What the live answers tell may leave more to explain.
        let more: BTreeSet<String> =
            unexplained(desired, &observed).into_iter().filter(|id| !answers.contains_key(id)).collect();
        if !more.is_empty() {
            answers.extend(self.inspect(more).await?);
            observed = observe(desired, world, &answers);
        }
        Ok((observed, answers))
    }

    /// Inspects containers side by side.
    pub(crate) async fn inspect(&self, ids: BTreeSet<String>) -> Result<Answers, PassError> {
        if ids.is_empty() {
            return Ok(Answers::new());
        }
        metrics::counter!("addons_manager_inspects_total").increment(ids.len() as u64);
        let now = self.clock.now();
        let asked = ids.into_iter().map(|id| async move {
            let found = self.runtime.inspect(&id).await.map_err(PassError::Engine)?;
            if found.is_some() {
                lock(&self.inspected).insert(id.clone(), now);
            }
            Ok::<_, PassError>((id, found))
        });
        Ok(try_join_all(asked).await?.into_iter().collect())
    }

    /// Stores what is shown, where it differs, and tells why nothing is done, where that is new.
    async fn store(
        &self,
        desired: &DesiredState,
        report: &StoredReport,
        now: Timestamp,
    ) -> Result<(), PassError> {
        let installation = &desired.installation;
        let same = report.status == installation.status
            && report.been_up == installation.been_up
            && report.conditions == installation.conditions
            && report.service_states == installation.service_states;
        if same {
            return Ok(());
        }
        if !self.storage.store_report(installation.id, installation.generation, report, now).await? {
            return Ok(());
        }
        self.changed(installation.id);
        if report.status != installation.status {
            tracing::info!(installation.id = %installation.id, installation.name = installation.name, status = %report.status, "status changed");
        }
        let told: Vec<_> = report
            .service_states
            .iter()
            .filter_map(|service| {
                let name = service.service_name.as_str();
                Some((
                    name,
                    service.waiting.as_ref()?,
                    wait_to_tell(desired, name, service.waiting.as_ref()?)?,
                ))
            })
            .collect();
        let waits: Vec<NewEvent<'_>> = told
            .iter()
            .map(|(service, waiting, cause)| NewEvent {
                installation: installation.id,
                at: now,
                service,
                cause,
                operation: "wait",
                result: &waiting.reason,
                next_attempt: waiting.next_attempt_at,
            })
            .collect();
        self.storage.add_events(&waits).await?;
        Ok(())
    }
}

/// What follows a look.
enum Again {
    /// Something was done.
    Now {
        /// Nothing but finding that objects are gone.
        only_stale: bool,
    },
    /// There is nothing to do before that time, or before something happens.
    At(Option<Timestamp>),
    /// The installation is no more.
    Never,
}
