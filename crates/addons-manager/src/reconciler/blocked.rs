//! Who waits for something of somebody else to change, and when each may try again because something did. Pure.
//!
//! An event says that something happened, not whom it concerns: an installation looks again only when what it waits for could have changed, and
//! at most once in [`PAUSE`], however fast somebody else's containers come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use service_kit::clock::Timestamp;

use super::plan::View;
use super::plan::graph::{Plan, WaitReason};
use super::plan::services::conflict;
use super::state::ErrorKind;
use crate::domain::installation::InstallationId;
use crate::runtime::Surroundings;

/// Shortest time between two tries of an installation because of what others do.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// Free bytes that are worth another try.
const WORTH_A_TRY: u64 = 16 * 1024 * 1024;

/// What an installation waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// Names of containers.
    pub(crate) names: BTreeSet<String>,
    /// Ports of the host that a container is listed with.
    pub(crate) ports: BTreeSet<u16>,
    /// A container that is not known to end or go: one that has a port without being listed with it, or is on a network of ours.
    pub(crate) any_container: bool,
    /// Networks or volumes, to come or to go.
    pub(crate) objects: bool,
    /// Room on the disk, or a login of a registry.
    pub(crate) surroundings: bool,
}

/// What happened to something that is not the installation's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// A container ended, was made, renamed or removed. Its ports, where they are known.
    Container {
        /// The names that it has and had.
        names: Vec<String>,
        /// Where they are known.
        ports: Option<BTreeSet<u16>>,
    },
    /// A network or volume was made or removed.
    Object,
}

#[derive(Debug)]
struct Entry {
    wants: Wants,
    /// When it last looked because of a change.
    last: Option<Timestamp>,
    /// When it looks again because of a change that was heard since.
    pending: Option<Timestamp>,
}

/// Everybody who waits.
#[derive(Debug, Default)]
pub(crate) struct Blocked(BTreeMap<InstallationId, Entry>);

/// A look that a change asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) installation: InstallationId,
    /// When.
    pub(crate) at: Timestamp,
    /// No other change has asked for it before.
    pub(crate) first: bool,
}

impl Wants {
    /// What a plan leaves waiting.
    pub(crate) fn of(view: &View<'_>, plan: &Plan) -> Self {
        let mut wants = Self::default();
        let desired = view.desired;
        for (service, wait) in &plan.waiting {
            let kind = match wait.reason {
                WaitReason::Conflict => None,
                WaitReason::Change => desired
                    .history(service)
                    .iter()
                    .find_map(|attempt| Some(attempt.error.as_ref()?.kind))
                    .filter(|_| wait.next_attempt.is_some()),
                _ => continue,
            };
            let specification = desired.specification.services.get(service);
            let ports = specification.iter().flat_map(|service| &service.ports).map(|port| port.host_port);
            let name = specification.map(|service| service.container_name.clone());
            match kind {
                Some(ErrorKind::PortTaken | ErrorKind::InUse) => wants.any_container = true,
                Some(ErrorKind::NameTaken) => {
                    wants.names.extend(name);
                    wants.objects = true;
                }
                Some(ErrorKind::Authentication | ErrorKind::DiskFull) => wants.surroundings = true,
                Some(ErrorKind::Configuration) => {}
                Some(_) => wants.objects = true,
                // In the way, or missing, by the listing.
                None if specification.is_some_and(|service| conflict(view, service).is_some()) => {
                    wants.ports.extend(ports);
                    wants.names.extend(name);
                }
                None => wants.objects = true,
            }
        }
        wants
    }

    fn could_be(&self, change: &Change) -> bool {
        match change {
            Change::Object => self.objects,
            Change::Container { names, ports } => {
                self.any_container
                    || names.iter().any(|name| self.names.contains(name))
                    || ports.as_ref().map_or(!self.ports.is_empty(), |ports| !ports.is_disjoint(&self.ports))
            }
        }
    }
}

impl Blocked {
    /// The installation has looked at that time, and waits for this.
    pub(crate) fn note(&mut self, id: InstallationId, wants: Wants, now: Timestamp) {
        let entry =
            self.0.entry(id).or_insert_with(|| Entry { wants: Wants::default(), last: None, pending: None });
        entry.wants = wants;
        if let Some(was_due) = entry.pending.filter(|due| *due <= now) {
            entry.last = Some(was_due);
            entry.pending = None;
        }
        // While it tries it waits for nothing, and the try counts all the same.
        let counts = entry.last.is_some_and(|last| last + PAUSE > now);
        if entry.wants == Wants::default() && !counts {
            self.0.remove(&id);
        }
    }

    /// The installation is no more.
    pub(crate) fn forget(&mut self, id: InstallationId) {
        self.0.remove(&id);
    }

    /// The looks that a change asks for.
    pub(crate) fn retries(&mut self, change: &Change, now: Timestamp) -> Vec<Retry> {
        let waiting = self.0.iter_mut().filter(|(_, entry)| entry.wants.could_be(change));
        waiting
            .map(|(id, entry)| {
                let first = entry.pending.is_none();
                // A clock that was set back holds nobody up.
                let earliest = entry.last.map_or(now, |last| (last.min(now) + PAUSE).max(now));
                let at = entry.pending.unwrap_or(earliest);
                entry.pending = Some(at);
                Retry { installation: *id, at, first }
            })
            .collect()
    }

    /// Who waits for room or a login.
    pub(crate) fn wait_for_surroundings(&self) -> Vec<InstallationId> {
        self.0.iter().filter(|(_, entry)| entry.wants.surroundings).map(|(id, _)| *id).collect()
    }
}

/// What may work again since the last look around, and what the next one is compared with. The first look tells nothing, so anything may.
pub(crate) fn changed(before: Option<Surroundings>, now: Surroundings) -> (Vec<ErrorKind>, Surroundings) {
    let Some(before) = before else { return (vec![ErrorKind::Authentication, ErrorKind::DiskFull], now) };
    let mut kinds = Vec::new();
    if before.logins != now.logins {
        kinds.push(ErrorKind::Authentication);
    }
    let free_bytes = match (before.free_bytes, now.free_bytes) {
        (Some(least), Some(free)) if free < least.saturating_add(WORTH_A_TRY) => Some(least.min(free)),
        (Some(_), Some(free)) => {
            kinds.push(ErrorKind::DiskFull);
            Some(free)
        }
        (before, now) => now.or(before),
    };
    (kinds, Surroundings { free_bytes, ..now })
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

    fn container(name: &str, ports: Option<&[u16]>) -> Change {
        let ports = ports.map(|ports| ports.iter().copied().collect());
        Change::Container { names: vec![name.to_owned()], ports }
    }

    fn port(port: u16) -> Wants {
        Wants { ports: [port].into(), ..Wants::default() }
    }

    #[test]
    fn only_what_could_have_changed_asks_for_a_look() {
        let name = Wants { names: ["shop-web".to_owned()].into(), ..Wants::default() };
        let objects = Wants { objects: true, ..Wants::default() };
        let any = Wants { any_container: true, ..Wants::default() };
        let surroundings = Wants { surroundings: true, ..Wants::default() };
        for (wants, change, expected) in [
            (&port(80), container("x", Some(&[80, 81])), true),
            (&port(80), container("x", Some(&[81])), false),
            (&port(80), container("x", Some(&[])), false),
            (&port(80), container("x", None), true),
            (&name, container("x", None), false),
            (&name, container("shop-web", None), true),
            (&port(80), Change::Object, false),
            (&objects, Change::Object, true),
            (&objects, container("x", None), false),
            (&any, container("x", Some(&[])), true),
            (&any, Change::Object, false),
            (&surroundings, container("x", None), false),
            (&surroundings, Change::Object, false),
        ] {
            assert_eq!(wants.could_be(&change), expected, "{wants:?} {change:?}");
        }
    }

    #[test]
    fn a_storm_of_changes_asks_for_one_look_a_second() {
        let mut blocked = Blocked::default();
        blocked.note(id(1), port(80), at(0));
        blocked.note(id(2), port(81), at(0));
        let change = container("loop", Some(&[80]));
        let mut looks = 0;
        for now in (5_000..15_000).step_by(10) {
            for retry in blocked.retries(&change, at(now)) {
                assert_eq!(retry.installation, id(1));
                if retry.at <= at(now) {
                    looks += 1;
                    blocked.note(id(1), port(80), at(now));
                }
            }
        }
        assert_eq!(looks, 10);
        // It tries, and waits for nothing meanwhile; then it waits again.
        blocked.note(id(1), Wants::default(), at(14_100));
        assert_eq!(blocked.retries(&change, at(14_200)), []);
        blocked.note(id(1), port(80), at(14_300));
        assert_eq!(blocked.retries(&change, at(14_400))[0].at, at(15_000));
        blocked.forget(id(1));
        assert_eq!(blocked.retries(&change, at(16_000)), []);
    }

    #[test]
    fn a_change_after_a_quiet_time_asks_at_once_and_later_ones_wait_for_their_turn() {
        let mut blocked = Blocked::default();
        blocked.note(id(1), port(80), at(0));
        let change = container("x", None);
        let retry = |blocked: &mut Blocked, now| blocked.retries(&change, at(now))[0];
        assert_eq!(retry(&mut blocked, 9_000), Retry { installation: id(1), at: at(9_000), first: true });
        blocked.note(id(1), port(80), at(9_000));
        assert_eq!(retry(&mut blocked, 9_100), Retry { installation: id(1), at: at(10_000), first: true });
        assert_eq!(retry(&mut blocked, 9_200), Retry { installation: id(1), at: at(10_000), first: false });
        // The clock was set back.
        blocked.note(id(1), port(80), at(90_000));
        assert_eq!(retry(&mut blocked, 5_000).at, at(6_000));
    }

    #[test]
    fn room_and_logins_that_changed_are_worth_a_try() {
        let around = |free: Option<u64>, logins| Surroundings { free_bytes: free, logins };
        let mib = |n: u64| Some(n << 20);
        assert_eq!(changed(None, around(None, 1)).0, [ErrorKind::Authentication, ErrorKind::DiskFull]);
        assert_eq!(changed(Some(around(None, 1)), around(None, 2)).0, [ErrorKind::Authentication]);
        assert_eq!(changed(Some(around(mib(100), 1)), around(mib(110), 1)).0, []);
        assert_eq!(changed(Some(around(mib(100), 1)), around(mib(116), 1)).0, [ErrorKind::DiskFull]);
        // Small steps add up, and what shrank meanwhile counts from its least.
        let (kinds, least) = changed(Some(around(mib(100), 1)), around(mib(50), 1));
        assert_eq!((kinds, least.free_bytes), (vec![], mib(50)));
        let (kinds, least) = changed(Some(least), around(mib(60), 1));
        assert_eq!((kinds, least.free_bytes), (vec![], mib(50)));
        assert_eq!(changed(Some(least), around(mib(66), 1)).0, [ErrorKind::DiskFull]);
    }
}
