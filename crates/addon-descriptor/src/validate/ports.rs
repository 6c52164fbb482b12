//! Ports of the host: no two entries of a document on one.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::descriptor::{HostPort, PortMapping, Protocol};
use crate::read::document::DocumentRead;
use crate::read::report::{At, shown};
use crate::rules;

struct Entry<'d, 't> {
    order: usize,
    first: u16,
    last: u16,
    mapping: &'d PortMapping,
    at: At<'t>,
    service: &'d str,
}

pub(super) fn check(document: &DocumentRead<'_>) {
    let mut by_protocol: HashMap<(Protocol, Option<&str>), Vec<Entry<'_, '_>>> = HashMap::new();
    let all = document
        .services
        .iter()
        .flat_map(|service| service.ports.iter().map(move |(mapping, at)| (service.name, mapping, *at)));
    for (order, (service, mapping, at)) in all.enumerate() {
        let (first, last, parameter) = match &mapping.host {
            HostPort::Any => continue,
            HostPort::Fixed(range) => (range.first, range.last, None),
            // One parameter is one port, whichever it is.
            HostPort::Parameter(name) => (0, 0, Some(name.as_str())),
        };
        let entry = Entry { order, first, last, mapping, at, service };
        by_protocol.entry((mapping.protocol, parameter)).or_default().push(entry);
    }
    for entries in by_protocol.values_mut() {
        // In rising order of their first ports, an entry overlaps one before it exactly when that one reaches it.
        entries.sort_by_key(|entry| (entry.first, entry.order));
        let mut reach = Reach::default();
        for (index, entry) in entries.iter().enumerate() {
            if let Some(other) = reach.overlapping(entry.mapping.address, entry.first, entries) {
                let (later, earlier) =
                    if other.order < entry.order { (entry, other) } else { (other, entry) };
                let message = format!(
                    "port {} of the host is that of `{}` already ({})",
                    earlier.mapping.host_text(),
                    shown(earlier.service),
                    earlier.mapping.container_text()
                );
                later.at.fault(rules::PORT_OVERLAP, message);
            }
            reach.add(entry.mapping.address, index, entries);
        }
    }
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
    fn add(&mut self, address: Option<IpAddr>, index: usize, entries: &[Entry<'_, '_>]) {
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

    fn overlapping<'e, 'd, 't>(
        &self,
        address: Option<IpAddr>,
        first: u16,
        entries: &'e [Entry<'d, 't>],
    ) -> Option<&'e Entry<'d, 't>> {
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
