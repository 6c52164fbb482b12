//! The time of rollouts: only that counts in which this process and the engine were up, and no image was on its way.

use std::time::Duration;

use service_kit::clock::Timestamp;

use super::plan::graph::{Plan, Step};
use super::state::DesiredState;
use super::{Shared, lock};
use crate::storage::StorageError;

/// Time is written down in pieces of this length, so that a pass costs no write of its own.
const PIECE_MS: i64 = 1_000;

/// How a rollout has been looked at by this process, since the engine was last lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    rollout: i64,
    since: Timestamp,
    /// Until when its time is counted.
    until: Timestamp,
    /// What of it is not written down yet.
    unsaved_ms: i64,
    /// An image of it is on its way.
    pulls: bool,
}

impl Shared {
    /// Counts the time since the last look, and says what this host expects of rollouts.
    pub(super) async fn watch_rollout(&self, desired: &mut DesiredState) -> Result<(), StorageError> {
        let id = desired.installation.id;
        let Some(rollout) = &mut desired.rollout else {
            lock(&self.rollouts).remove(&id);
            return Ok(());
        };
        let now = self.clock.now();
        let row = rollout.row.id;
        let save_ms = {
            let mut watches = lock(&self.rollouts);
            let new = Watch { rollout: row, since: now, until: now, unsaved_ms: 0, pulls: false };
            let watch = watches.entry(id).or_insert(new);
            // Resyncs look more often than that: the process stood still, or the clock was set.
            let was_away = now.since(watch.until) > self.settings.resync_interval * 2 + SLACK;
            if watch.rollout != row || was_away {
                *watch = new;
            }
            let passed = match watch.pulls {
                true => 0,
                false => i64::try_from(now.since(watch.until).as_millis()).unwrap_or(i64::MAX),
            };
            watch.until = now;
            watch.unsaved_ms = watch.unsaved_ms.saturating_add(passed);
            rollout.row.used_ms = rollout.row.used_ms.saturating_add(watch.unsaved_ms);
            rollout.watched_since = watch.since;
            if watch.unsaved_ms >= PIECE_MS { std::mem::take(&mut watch.unsaved_ms) } else { 0 }
        };
        rollout.settle = self.settings.settle;
        let services = rollout.from_digests.keys().chain(rollout.digests.keys());
        let changing: std::collections::BTreeSet<&String> =
            services.filter(|service| rollout.changes(service)).collect();
        let each = u32::try_from(changing.len().max(1)).unwrap_or(u32::MAX);
        rollout.deadline = self.settings.rollout_deadline.saturating_mul(each).min(LONGEST);
        if save_ms > 0 {
            self.storage.add_rollout_time(row, save_ms).await?;
        }
        Ok(())
    }

    /// A plan begins: the time in which it pulls images does not count.
    pub(super) fn rollout_acts(&self, desired: &DesiredState, plan: &Plan) {
        if let Some(watch) = lock(&self.rollouts).get_mut(&desired.installation.id) {
            watch.pulls = plan.steps.iter().any(|planned| matches!(planned.step, Step::PullImage { .. }));
        }
    }

    /// It is done.
    pub(super) fn rollout_acted(&self, desired: &DesiredState) {
        if let Some(watch) = lock(&self.rollouts).get_mut(&desired.installation.id)
            && std::mem::take(&mut watch.pulls)
        {
            watch.until = self.clock.now();
        }
    }
}

/// What a resync may be late, on a host that has much to do.
const SLACK: Duration = Duration::from_secs(60);

const LONGEST: Duration = Duration::from_secs(24 * 3600);
