//! What the engine's events tell: who ended a run is written down as it arrives, and the installation is woken. What to do about it is not
//! decided here; a lost event costs time and never correctness.
//!
//! The order of events was read from the engine: an exit by itself is `die` alone; `docker stop` is `kill`, then `stop` and `die` in either
//! order; a stop between two restarts is `stop` alone; `docker rm -f` ends with `destroy`, and on a stopped container is nothing else.

use service_kit::clock::Timestamp;

use super::record::Outage;
use super::state::ErrorKind;
use super::{PassError, Shared, lock};
use crate::runtime::{EventMessage, EventObject, RuntimeEvent};

/// Outages that are remembered: a container that exited in an older one was looked at long ago.
const OUTAGES: usize = 32;

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
                // Whether it is the stream alone or the engine, a look tells.
                self.wakes.resync();
                self.notify.notify_one();
            }
            EventMessage::Connected => {
                {
                    let mut outages = lock(&self.outages);
                    if let Some(from) = outages.0.take() {
                        outages.1.push(Outage { from, until: self.clock.now() });
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
                self.others_changed(&[]).await
            }
            EventObject::Volume | EventObject::Image => Ok(()),
        }
    }

    async fn container_event(&self, event: &RuntimeEvent) -> Result<(), PassError> {
        let id = event.id.as_str();
        let action = event.action.split(':').next().unwrap_or_default();
        let Some(installation) = lock(&self.owners).get(id).copied() else {
            return match action {
                "die" | "destroy" | "rename" | "stop" => {
                    self.others_changed(&[ErrorKind::PortTaken, ErrorKind::NameTaken, ErrorKind::InUse]).await
                }
                // It may be one of ours, asked for by a process that is no more.
                "create" => self.others_changed(&[]).await,
                _ => Ok(()),
            };
        };
        let at = Timestamp::from_millis(event.at_ns / 1_000_000);
        match action {
            // What follows it tells whether it ended anything.
            "kill" => {
                let signal = event.attributes.get("signal").map_or("15", String::as_str);
                if !HARMLESS_SIGNALS.contains(&signal) {
                    self.storage.run_ends_by_person(id, at, false).await?;
                }
                return Ok(());
            }
            "oom" => return Ok(self.storage.run_out_of_memory(id).await?),
            "stop" => self.storage.run_ends_by_person(id, at, true).await?,
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
                self.others_changed(&[ErrorKind::AddressPool, ErrorKind::InUse]).await?;
            }
            "create" => self.others_changed(&[]).await?,
            _ => {}
        }
        Ok(())
    }

    /// Something of somebody else changed: whoever waits for such a thing looks again at once.
    async fn others_changed(&self, kinds: &[ErrorKind]) -> Result<(), PassError> {
        let blocked = lock(&self.blocked).clone();
        if blocked.is_empty() {
            return Ok(());
        }
        self.storage.forgive(kinds).await?;
        for id in blocked {
            self.wake(id);
        }
        Ok(())
    }
}
