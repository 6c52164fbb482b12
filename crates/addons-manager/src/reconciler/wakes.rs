//! Which installations are to be looked at: wakes are merged, and one that is being looked at waits for its turn.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use service_kit::clock::Timestamp;

use super::lock;
use crate::domain::installation::InstallationId;

/// All wakes.
#[derive(Debug, Default)]
pub(crate) struct Wakes(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    resync: bool,
    slots: HashMap<InstallationId, Slot>,
    /// The number that the last look at each was begun under.
    looked: HashMap<InstallationId, u64>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Something asked for a look.
    woken: bool,
    running: bool,
    /// Time asks for a look.
    due: Option<Timestamp>,
    scope: Scope,
}

/// What a pass has to read anew beside the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// A listing that was begun after this number.
    pub(crate) need: u64,
    /// Whether that was asked for since the last look. Without it the last listing serves, and every container of the installation is
    /// inspected, which costs less than a listing and tells what is so now.
    pub(crate) full: bool,
    /// Containers that events spoke of: inspected in any case, since listings lag behind events.
    pub(crate) touched: BTreeSet<String>,
}

impl Wakes {
    /// Everything is to be looked at.
    pub(crate) fn resync(&self) {
        lock(&self.0).resync = true;
    }

    pub(crate) fn take_resync(&self) -> bool {
        std::mem::take(&mut lock(&self.0).resync)
    }

    /// Looks at the installation with a listing that was begun after `need`.
    pub(crate) fn full(&self, id: InstallationId, need: u64) {
        let mut inner = lock(&self.0);
        let slot = inner.slots.entry(id).or_default();
        slot.woken = true;
        slot.scope.full = true;
        slot.scope.need = slot.scope.need.max(need);
    }

    /// The same, and not before that time.
    pub(crate) fn full_at(&self, id: InstallationId, need: u64, at: Timestamp) {
        let mut inner = lock(&self.0);
        let slot = inner.slots.entry(id).or_default();
        slot.due = Some(slot.due.map_or(at, |due| due.min(at)));
        slot.scope.full = true;
        slot.scope.need = slot.scope.need.max(need);
    }

    /// Looks at the installation because of one of its containers.
    pub(crate) fn container(&self, id: InstallationId, engine_id: &str) {
        let mut inner = lock(&self.0);
        let slot = inner.slots.entry(id).or_default();
        slot.woken = true;
        slot.scope.touched.insert(engine_id.to_owned());
    }

    /// Looks at the installation when it is time.
    pub(crate) fn due(&self, id: InstallationId, at: Timestamp) {
        let mut inner = lock(&self.0);
        let slot = inner.slots.entry(id).or_default();
        slot.due = Some(slot.due.map_or(at, |due| due.min(at)));
    }

    /// Takes an installation whose turn it is; it is running until it is released.
    pub(crate) fn take_ready(&self, now: Timestamp) -> Option<InstallationId> {
        let mut inner = lock(&self.0);
        let ready = inner
            .slots
            .iter_mut()
            .find(|(_, slot)| !slot.running && (slot.woken || slot.due.is_some_and(|due| due <= now)));
        let (id, slot) = ready?;
        slot.running = true;
        Some(*id)
    }

    /// What the pass that is running has to look at now; `number` is that of this look. A look goes by what is so now, so a listing that was
    /// begun before the last look may be older than what that one saw: it serves only where every container is inspected.
    pub(crate) fn take_scope(&self, id: InstallationId, number: u64) -> Scope {
        let mut inner = lock(&self.0);
        let looked = inner.looked.insert(id, number);
        let slot = inner.slots.entry(id).or_default();
        slot.woken = false;
        slot.due = None;
        let full = std::mem::take(&mut slot.scope.full);
        let need = slot.scope.need;
        Scope {
            need: if full { need.max(looked.unwrap_or(0)) } else { need },
            full,
            touched: std::mem::take(&mut slot.scope.touched),
        }
    }

    /// Whether a look at the installation was begun after that number.
    pub(crate) fn looked_since(&self, id: InstallationId, number: u64) -> bool {
        lock(&self.0).looked.get(&id).is_some_and(|looked| *looked > number)
    }

    /// The pass has changed something: its next look needs a listing that was begun after that.
    pub(crate) fn acted(&self, id: InstallationId, need: u64) {
        let mut inner = lock(&self.0);
        let slot = inner.slots.entry(id).or_default();
        slot.scope.full = true;
        slot.scope.need = slot.scope.need.max(need);
    }

    /// The pass could not be made: what it was to look at is still to be looked at.
    pub(crate) fn give_back(&self, id: InstallationId, scope: Scope) {
        let mut inner = lock(&self.0);
        let slot = inner.slots.entry(id).or_default();
        slot.scope.full |= scope.full;
        slot.scope.touched.extend(scope.touched);
    }

    /// The pass is over.
    pub(crate) fn release(&self, id: InstallationId, again: Option<Timestamp>) {
        let mut inner = lock(&self.0);
        let slot = inner.slots.entry(id).or_default();
        slot.running = false;
        if let Some(at) = again {
            slot.due = Some(slot.due.map_or(at, |due| due.min(at)));
        }
        // What it has seen is at least as new as what it needs, and later looks do not go back behind that: nothing is lost with an idle slot.
        if !slot.woken && slot.due.is_none() && slot.scope.touched.is_empty() && !slot.scope.full {
            inner.slots.remove(&id);
        }
    }

    /// After a panic nobody says whose pass it was: all that run are over, and looked at again.
    pub(crate) fn release_all(&self, again: Timestamp) {
        for slot in lock(&self.0).slots.values_mut().filter(|slot| slot.running) {
            slot.running = false;
            slot.due = Some(again);
        }
    }

    /// The installation is no more.
    pub(crate) fn forget(&self, id: InstallationId) {
        let mut inner = lock(&self.0);
        inner.looked.remove(&id);
        if let Some(slot) = inner.slots.get_mut(&id) {
            slot.woken = false;
            slot.due = None;
            slot.scope.touched.clear();
        }
    }

    /// When time asks for the next look.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        lock(&self.0).slots.values().filter(|slot| !slot.running).filter_map(|slot| slot.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> InstallationId {
        InstallationId::new(0, [n; 8])
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn wakes_of_one_installation_are_merged_and_one_pass_runs_at_a_time() {
        let wakes = Wakes::default();
        wakes.full(id(1), 3);
        wakes.container(id(1), "a");
        wakes.full(id(1), 2);
        assert_eq!(wakes.take_ready(at(0)), Some(id(1)));
        assert_eq!(wakes.take_ready(at(0)), None);
        assert_eq!(
            wakes.take_scope(id(1), 11),
            Scope { need: 3, full: true, touched: BTreeSet::from(["a".to_owned()]) }
        );
        // Woken while it runs: again after it.
        wakes.container(id(1), "b");
        assert_eq!(wakes.take_ready(at(0)), None);
        wakes.release(id(1), None);
        assert_eq!(wakes.take_ready(at(0)), Some(id(1)));
        assert_eq!(
            wakes.take_scope(id(1), 12),
            Scope { need: 3, full: false, touched: BTreeSet::from(["b".to_owned()]) }
        );
        wakes.release(id(1), None);
        assert_eq!(wakes.take_ready(at(0)), None);
    }

    #[test]
    fn a_due_look_comes_when_it_is_time() {
        let wakes = Wakes::default();
        wakes.due(id(1), at(50));
        wakes.due(id(1), at(70));
        assert_eq!(wakes.take_ready(at(49)), None);
        assert_eq!(wakes.next_due(), Some(at(50)));
        assert_eq!(wakes.take_ready(at(50)), Some(id(1)));
        wakes.take_scope(id(1), 13);
        wakes.release(id(1), Some(at(90)));
        assert_eq!(wakes.next_due(), Some(at(90)));
        wakes.release_all(at(95));
        assert_eq!(wakes.next_due(), Some(at(90)), "nothing was running");
        wakes.forget(id(1));
        assert_eq!(wakes.next_due(), None);
    }

    #[test]
    fn what_was_to_be_looked_at_is_not_lost_with_a_pass_that_failed() {
        let wakes = Wakes::default();
        wakes.container(id(1), "a");
        wakes.take_ready(at(0));
        let scope = wakes.take_scope(id(1), 14);
        wakes.give_back(id(1), scope);
        wakes.release(id(1), Some(at(5)));
        wakes.take_ready(at(5));
        assert_eq!(wakes.take_scope(id(1), 15).touched, BTreeSet::from(["a".to_owned()]));
    }

    #[test]
    fn a_look_does_not_go_back_behind_the_last_one() {
        let wakes = Wakes::default();
        // A resync has listed as number 3; before it says so, an event leads to a look.
        wakes.container(id(1), "a");
        wakes.take_ready(at(0));
        wakes.take_scope(id(1), 4);
        wakes.release(id(1), None);
        assert!(
            wakes.looked_since(id(1), 3) && !wakes.looked_since(id(1), 4) && !wakes.looked_since(id(2), 3)
        );
        wakes.full(id(1), 3);
        wakes.take_ready(at(0));
        assert_eq!(wakes.take_scope(id(1), 5).need, 4, "the listing of the resync is older than that look");
        wakes.forget(id(1));
        assert!(!wakes.looked_since(id(1), 3));
    }
}
