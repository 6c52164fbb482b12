//! What the engine's events tell: who ended a run is written down as it arrives, and the installation is woken. What to do about it is not
//! decided here; a lost event costs time and never correctness.
//!
//! The order of events was read from the engine: an exit by itself is `die` alone; `docker stop` is `kill`, then `stop` and `die` in either
//! order; a stop between two restarts is `stop` alone; `docker rm -f` ends with `destroy`, and on a stopped container is nothing else.

use std::sync::Arc;
use std::time::Duration;

use service_kit::clock::Timestamp;

use super::blocked::{Change, changed};
use super::record::Outage;
use super::state::{EndedBy, ErrorKind};
use super::{PassError, Shared, lock};
use crate::runtime::{ContainerState, EventMessage, EventObject, RuntimeEvent};

/// Outages that are remembered: a container that exited in an older one was looked at long ago.
const OUTAGES: usize = 32;

/// How long before it goes an engine that is stopping may have ended the first container.
const ENGINE_STOP: Duration = Duration::from_secs(20);

/// Signals after which a process goes on unless it wants to end: what reloads, rotates logs, resizes or resumes.
const HARMLESS_SIGNALS: [&str; 16] = [
    "1", "HUP", "SIGHUP", "10", "USR1", "SIGUSR1", "12", "USR2", "SIGUSR2", "28", "WINCH", "SIGWINCH", "18",
    "CONT", "SIGCONT", "17",
];

impl Shared {
    /// Hears a message of the stream.
    pub(crate) async fn hear(&self, message: EventMessage) {
        match message {
            EventMessage::Lost => {
                tracing::warn!("the engine's stream of events is cut");
                lock(&self.outages).0.get_or_insert(self.clock.now());
                if self.runtime.unanswered_for().is_some() {
                    self.unreached("it gives no sign of life");
                }
                if let Err(error) = self.was_the_engine_stopping().await {
                    self.put_off_event(&error);
                }
                // Whether it is the stream alone or the engine, a look tells.
                self.wakes.resync();
                self.notify.notify_one();
            }
            EventMessage::Connected => {
                {
                    let mut outages = lock(&self.outages);
                    if let Some(from) = outages.0.take() {
                        let outage = Outage { from, until: self.clock.now() };
                        if let Some(away) = &mut *lock(&self.last_away)
                            && away.from == from
                        {
                            *away = outage;
                        }
                        outages.1.push(outage);
                        let surplus = outages.1.len().saturating_sub(OUTAGES);
                        outages.1.drain(..surplus);
                    }
                }
                // Everything since may have been missed, what inspect told too.
                lock(&self.inspected).clear();
                self.next();
                self.wakes.resync();
                self.notify.notify_one();
            }
            EventMessage::Event(event) => {
                metrics::counter!("addons_manager_events_total").increment(1);
                if let Err(error) = self.event(&event).await {
                    // The next look finds out by itself.
                    self.put_off_event(&error);
                }
            }
        }
    }

    fn put_off_event(&self, error: &PassError) {
        tracing::error!(error = %error, "an event could not be written down");
    }

    async fn event(&self, event: &RuntimeEvent) -> Result<(), PassError> {
        match event.object {
            EventObject::Container => self.container_event(event).await,
            EventObject::Network => self.network_event(event).await,
            // Mounting and unmounting changes nothing for anybody.
            EventObject::Volume if matches!(event.action.as_str(), "create" | "destroy") => {
                self.others_changed(&Change::Object, &[]).await
            }
            EventObject::Volume | EventObject::Image => Ok(()),
        }
    }

    async fn container_event(&self, event: &RuntimeEvent) -> Result<(), PassError> {
        let id = event.id.as_str();
        let action = event.action.split(':').next().unwrap_or_default();
        let Some(installation) = lock(&self.owners).get(id).copied() else {
            let kinds: &[ErrorKind] = match action {
                "die" | "destroy" | "rename" | "stop" => {
                    &[ErrorKind::PortTaken, ErrorKind::NameTaken, ErrorKind::InUse]
                }
                // It may be one of ours, asked for by a process that is no more.
                "create" => &[],
                _ => return Ok(()),
            };
            return self.others_changed(&self.change_of(event), kinds).await;
        };
        let at = Timestamp::from_millis(event.at_ns / 1_000_000);
        match action {
            // What follows it tells whether it ended anything.
            "kill" => {
                let signal = event.attributes.get("signal").map_or("15", String::as_str);
                if !HARMLESS_SIGNALS.contains(&signal) {
                    self.storage.run_ends_by(id, self.who_ends_at(at), at, false).await?;
                }
                return Ok(());
            }
            "oom" => return Ok(self.storage.run_out_of_memory(id).await?),
            "stop" => self.storage.run_ends_by(id, self.who_ends_at(at), at, true).await?,
            "die" => {
                let exit_code = event.attributes.get("exitCode").and_then(|code| code.parse().ok());
                self.storage.run_died(id, at, exit_code).await?;
            }
            "destroy" => self.storage.run_destroyed(id, at).await?,
            "start" => self.storage.run_started(id, at).await?,
            "restart" | "pause" | "unpause" | "rename" | "update" | "health_status" => {}
            _ => return Ok(()),
        }
        self.wakes.container(installation, id);
        self.notify.notify_one();
        Ok(())
    }

    async fn network_event(&self, event: &RuntimeEvent) -> Result<(), PassError> {
        match event.action.as_str() {
            "connect" | "disconnect" => {
                let container = event.attributes.get("container").map(String::as_str).unwrap_or_default();
                let owner = lock(&self.owners).get(container).copied();
                if let Some(installation) = owner {
                    self.wakes.container(installation, container);
                    self.notify.notify_one();
                }
            }
            "destroy" => {
                let owner = lock(&self.owners).get(&event.id).copied();
                if let Some(installation) = owner {
                    self.wake(installation);
                }
                let kinds = [ErrorKind::AddressPool, ErrorKind::InUse];
                self.others_changed(&Change::Object, &kinds).await?;
            }
            "create" => self.others_changed(&Change::Object, &[]).await?,
            _ => {}
        }
        Ok(())
    }

    /// Who asked for the end of a container at that time. An engine that comes back after it was killed ends what it finds running, with the
    /// events of a `docker kill`, before it answers anybody.
    fn who_ends_at(&self, at: Timestamp) -> EndedBy {
        let away = *lock(&self.last_away);
        let in_it = away.is_some_and(|away| at + ENGINE_STOP >= away.from && at <= away.until);
        if in_it { EndedBy::Engine } else { EndedBy::Person }
    }

    /// What an event of somebody else's container may have changed, as far as the last listing tells.
    fn change_of(&self, event: &RuntimeEvent) -> Change {
        let attributes = ["name", "oldName"].into_iter().filter_map(|key| event.attributes.get(key));
        let mut names: Vec<String> = attributes.map(|name| name.trim_start_matches('/').to_owned()).collect();
        // Whoever lists right now knows better: then its ports are not known.
        let last =
            self.world.try_lock().ok().and_then(|last| last.as_ref().map(|(_, world)| Arc::clone(world)));
        let listed = last.as_ref().and_then(|world| world.container(&event.id));
        names.extend(listed.map(|container| container.name.clone()));
        let ports = listed
            .filter(|container| container.state == ContainerState::Running)
            .map(|container| container.ports.iter().map(|port| port.host_port).collect());
        Change::Container { names, ports }
    }

    /// Something of somebody else changed: whoever may wait for that looks again, at once or when it is its turn.
    async fn others_changed(&self, change: &Change, kinds: &[ErrorKind]) -> Result<(), PassError> {
        let now = self.clock.now();
        let retries = lock(&self.blocked).retries(change, now);
        for retry in retries {
            if retry.first {
                self.storage.forgive(retry.installation, kinds).await?;
            }
            if retry.at <= now {
                self.wake(retry.installation);
            } else {
                self.wakes.full_at(retry.installation, self.next(), retry.at);
                self.notify.notify_one();
            }
        }
        Ok(())
    }

    /// Looks whether there is room now, or another login, for those who wait for it. No event tells of either.
    pub(crate) async fn look_around(&self) -> Result<(), PassError> {
        let waiting = lock(&self.blocked).wait_for_surroundings();
        let kinds = {
            let mut last = lock(&self.surroundings);
            let (kinds, next) = changed(*last, self.runtime.surroundings());
            *last = Some(next);
            kinds
        };
        for installation in waiting.into_iter().filter(|_| !kinds.is_empty()) {
            self.storage.forgive(installation, &kinds).await?;
            self.wake(installation);
        }
        Ok(())
    }

    /// An engine that is stopping ends its containers with the events of a `docker stop`, and goes then. Where the stream of events ended
    /// with the last container, or the engine is away, what was ended right before was ended by it.
    pub(crate) async fn was_the_engine_stopping(&self) -> Result<(), PassError> {
        let Some(lost) = lock(&self.outages).0 else { return Ok(()) };
        let away = lock(&self.unreachable_since).is_some();
        if away || !self.storage.anything_runs().await? {
            self.storage.stopped_with_the_engine(lost - ENGINE_STOP).await?;
        }
        Ok(())
    }
}
