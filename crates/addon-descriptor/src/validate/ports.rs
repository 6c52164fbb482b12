//! Ports of the host: no two entries of a document on one.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::descriptor::{HostPort, PortMapping, Protocol};
use crate::read::document::DocumentRead;
use crate::read::report::shown;
use crate::rules;

pub(super) fn check(document: &DocumentRead<'_>) {
    let all: Vec<_> = document
        .services
        .iter()
        .flat_map(|service| service.ports.iter().map(move |(mapping, at)| (service.name, mapping, *at)))
        .collect();
    for (later, earlier) in overlaps(all.iter().map(|(_, mapping, _)| *mapping)) {
        let (service, mapping, _) = all[earlier];
        let (_, _, at) = all[later];
        at.fault(rules::PORT_OVERLAP, taken(mapping, service));
    }
}

/// What is said of a port that another service, or another entry, has.
pub(crate) fn taken(mapping: &PortMapping, service: &str) -> String {
    format!(
        "port {} of the host is that of `{}` already ({})",
        mapping.host_text(),
        shown(service),
        mapping.container_text()
    )
}

struct Entry<'d> {
    order: usize,
    first: u16,
    last: u16,
    mapping: &'d PortMapping,
}

/// Which of the entries, by their order, is on a port of an earlier one: of each at most one such pair, the later first.
pub(crate) fn overlaps<'d>(all: impl Iterator<Item = &'d PortMapping>) -> Vec<(usize, usize)> {
    let mut by_protocol: HashMap<(Protocol, Option<&str>), Vec<Entry<'_>>> = HashMap::new();
    for (order, mapping) in all.enumerate() {
        let (first, last, parameter) = match &mapping.host {
            HostPort::Any => continue,
            HostPort::Fixed(range) => (range.first, range.last, None),
            // One parameter is one port, whichever it is.
            HostPort::Parameter(name) => (0, 0, Some(name.as_str())),
        };
        let entry = Entry { order, first, last, mapping };
        by_protocol.entry((mapping.protocol, parameter)).or_default().push(entry);
    }
    let mut found = Vec::new();
    for entries in by_protocol.values_mut() {
        // In rising order of their first ports, an entry overlaps one before it exactly when that one reaches it.
        entries.sort_by_key(|entry| (entry.first, entry.order));
        let mut reach = Reach::default();
        for (index, entry) in entries.iter().enumerate() {
            if let Some(other) = reach.overlapping(entry.mapping.address, entry.first, entries) {
                found.push((entry.order.max(other.order), entry.order.min(other.order)));
            }
            reach.add(entry.mapping.address, index, entries);
        }
    }
    // The map has no order of its own.
    found.sort_unstable();
    found
}

/// The entries seen so far that reach highest: on each address, on all, and of each family.
#[derive(Default)]
struct Reach {
    all: Option<usize>,
    everywhere: Option<usize>,
    ipv6: Option<usize>,
    all_ipv6: Option<usize>,
    by_address: HashMap<IpAddr, usize>,
}

impl Reach {
    fn add(&mut self, address: Option<IpAddr>, index: usize, entries: &[Entry<'_>]) {
        let raise = |slot: &mut Option<usize>| {
            if slot.is_none_or(|other| entries[other].last < entries[index].last) {
                *slot = Some(index);
            }
        };
        raise(&mut self.all);
        match address {
            None => raise(&mut self.everywhere),
            Some(address) => {
                if address.is_ipv6() {
                    raise(&mut self.ipv6);
                    if address.is_unspecified() {
                        raise(&mut self.all_ipv6);
                    }
                }
                let mut slot = self.by_address.get(&address).copied();
                raise(&mut slot);
                self.by_address.extend(slot.map(|index| (address, index)));
            }
        }
    }

    fn overlapping<'e, 'd>(
        &self,
        address: Option<IpAddr>,
        first: u16,
        entries: &'e [Entry<'d>],
    ) -> Option<&'e Entry<'d>> {
        let candidates = match address {
            None => [self.all, None, None],
            Some(IpAddr::V6(ip)) if ip.is_unspecified() => [self.everywhere, self.ipv6, None],
            Some(address @ IpAddr::V6(_)) => {
                [self.everywhere, self.all_ipv6, self.by_address.get(&address).copied()]
            }
            Some(address) => [self.everywhere, self.by_address.get(&address).copied(), None],
        };
        candidates.into_iter().flatten().map(|index| &entries[index]).find(|entry| entry.last >= first)
    }
}
