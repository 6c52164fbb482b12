//! Where a service stands in the network: networks, aliases, name resolution.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::modes::map_of;
use super::report::{At, about, shown};
use super::scope::Scope;
use super::tree::Kind;
use crate::descriptor::{HostAddress, NetworkAttachment};
use crate::fields;
use crate::names::NetworkName;
use crate::rules;
use crate::violation::Invalid;

/// Most networks, aliases, name servers and hosts of a service.
const MAX_ENTRIES: usize = 64;
/// Most lines of `extra_hosts`.
const MAX_HOSTS: usize = 256;

/// A network's name, which is no mode of the engine.
pub(crate) fn network_name(at: At<'_>, text: &str) -> Option<NetworkName> {
    if reserved(at, text) {
        return None;
    }
    match text.parse() {
        Ok(name) => Some(name),
        Err(fault) => {
            at.record(rules::INVALID_NAME, about(text, fault));
            None
        }
    }
}

/// Whether the text is a mode of the engine and no network or driver; records it.
pub(crate) fn reserved(at: At<'_>, text: &str) -> bool {
    let is_reserved = matches!(text, "host" | "none");
    if is_reserved {
        let message = format!("`{text}` is a mode of the engine, not a network");
        at.fault_suggesting(rules::RESERVED_NETWORK, message, format!("\"network_mode\": \"{text}\""));
    }
    is_reserved
}

/// What `networks` of a service takes.
const NETWORKS: &str = "a list of names, or a map of names to `{\"aliases\": [\"...\"]}`,";

/// The networks of a service, by name: a list, or a map.
pub(crate) fn networks<'t>(at: At<'t>) -> BTreeMap<NetworkName, (NetworkAttachment, At<'t>)> {
    let mut found = BTreeMap::new();
    if let Kind::Object(_) = at.node.kind {
        for (member, value) in at.members(MAX_ENTRIES, NETWORKS) {
            let attachment = attachment(value);
            if let Some(name) = network_name(at.at_key(member), &member.key) {
                found.insert(name, (attachment, value));
            }
        }
        return found;
    }
    if at.all_items().any(|item| matches!(item.node.kind, Kind::Object(_))) {
        let wanted = "a list of names alone, or a map of names to `{\"aliases\": [\"...\"]}`,";
        match map_of(at) {
            Some(map) => at.wrong_type_suggesting(wanted, map),
            None => at.wrong_type(wanted),
        }
        return found;
    }
    for item in at.items(MAX_ENTRIES, NETWORKS) {
        let Some(name) = item.text().and_then(|text| network_name(item, text)) else { continue };
        match found.entry(name) {
            Entry::Vacant(slot) => {
                slot.insert((NetworkAttachment::default(), item));
            }
            Entry::Occupied(slot) => {
                item.fault(rules::REPEATED_ENTRY, format!("`{}` stands here twice", slot.key()));
            }
        }
    }
    found
}

fn attachment(at: At<'_>) -> NetworkAttachment {
    if let Kind::Null = at.node.kind {
        return NetworkAttachment::default();
    }
    if let Kind::Text(text) = &at.node.kind
        && let Ok(address) = text.parse::<IpAddr>()
    {
        let family = if address.is_ipv4() { "ipv4_address" } else { "ipv6_address" };
        at.wrong_type_suggesting(&fields::ATTACHMENT.wanted(), format!("{{\"{family}\": \"{text}\"}}"));
        return NetworkAttachment::default();
    }
    let Some(fields) = at.fields(&fields::ATTACHMENT, &[]) else { return NetworkAttachment::default() };
    NetworkAttachment {
        aliases: fields.get("aliases").map(aliases).unwrap_or_default(),
        ipv4_address: fields.get("ipv4_address").and_then(|at| match address(at)? {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => {
                at.fault(rules::INVALID_ADDRESS, "an IPv4 address is needed");
                None
            }
        }),
        ipv6_address: fields.get("ipv6_address").and_then(|at| match address(at)? {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => {
                at.fault(rules::INVALID_ADDRESS, "an IPv6 address is needed");
                None
            }
        }),
    }
}

/// An IP address, of IPv6 with or without brackets.
fn address(at: At<'_>) -> Option<IpAddr> {
    let text = at.text()?;
    let parsed = match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => text.parse().ok(),
    };
    if parsed.is_none() {
        at.fault(rules::INVALID_ADDRESS, format!("`{}` is no IP address", shown(text)));
    }
    parsed
}

/// Further names: a list, no two alike.
pub(crate) fn aliases(at: At<'_>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for item in at.items(MAX_ENTRIES, "a list of host names") {
        let Some(text) = item.text() else { continue };
        if !host_name(item, text) {
            continue;
        }
        if !found.insert(text.to_owned()) {
            item.fault(rules::REPEATED_ENTRY, format!("`{text}` stands here twice"));
        }
    }
    found
}

/// Longest name of a container's host (Linux, `HOST_NAME_MAX` is 64 with the zero at its end).
const MAX_HOSTNAME: usize = 63;

/// Whether the text is a name that a container can have; records it when it is none.
fn host_name(at: At<'_>, text: &str) -> bool {
    let is_name = is_host_name(text);
    if !is_name {
        at.fault(rules::INVALID_HOST, format!("`{}` is no host name: {HOST_NAME}", shown(text)));
    }
    is_name
}

/// What a host name is made of, for messages.
pub(crate) const HOST_NAME: &str = "letters, digits, `-` and `_`, joined by dots";

/// Whether the text is a name that a container can have: labels of letters, digits, `-` and `_`, joined by dots.
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Whether the text can be the `hostname` of a container.
pub(crate) fn is_hostname(text: &str) -> bool {
    is_host_name(text) && text.len() <= MAX_HOSTNAME
}

/// `hostname`: at most 63 characters, unless a parameter stands in it.
pub(crate) fn hostname(at: At<'_>, scope: &Scope) -> Option<String> {
    let text = at.text()?;
    scope.note(at, text);
    // What a parameter puts in is checked when it is there; what stands around it is checked now.
    let is_template = scope.declares_parameters() && text.contains("${");
    let shape = if is_template { scope.shape(text) } else { text.to_owned() };
    if !host_name(at, &shape) {
        return None;
    }
    if !is_template && text.len() > MAX_HOSTNAME {
        at.fault(rules::INVALID_HOST, format!("the name of a host has at most {MAX_HOSTNAME} characters"));
        return None;
    }
    Some(text.to_owned())
}

/// `domainname`.
pub(crate) fn domain(at: At<'_>) -> Option<String> {
    at.text().filter(|text| host_name(at, text)).map(str::to_owned)
}

/// A text, or a list of them.
fn one_or_more<'t>(at: At<'t>, wanted: &str) -> Vec<At<'t>> {
    match at.node.kind {
        Kind::Text(_) => vec![at],
        _ => at.items(MAX_ENTRIES, wanted),
    }
}

/// `dns`: name servers in order.
pub(crate) fn dns(at: At<'_>) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for item in one_or_more(at, "an IP address, or a list of them,") {
        let Some(address) = address(item).map(|address| address.to_canonical()) else { continue };
        if found.contains(&address) {
            item.fault(rules::REPEATED_ENTRY, format!("`{address}` stands here twice"));
        }
        found.push(address);
    }
    found
}

/// `dns_search`: domains in order; `.` is the root.
pub(crate) fn dns_search(at: At<'_>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for item in one_or_more(at, "a domain, or a list of them,") {
        let Some(text) = item.text() else { continue };
        if text != "." && !host_name(item, text) {
            continue;
        }
        if found.iter().any(|other| other == text) {
            item.fault(rules::REPEATED_ENTRY, format!("`{text}` stands here twice"));
        }
        found.push(text.to_owned());
    }
    found
}

/// What `extra_hosts` takes.
const HOSTS: &str = "a list of `host:ip`, or a map of hosts to addresses,";

/// `extra_hosts`: a list of `host:ip`, or a map to an address or a list of them.
pub(crate) fn extra_hosts(at: At<'_>) -> BTreeMap<String, Vec<HostAddress>> {
    let mut entries: Vec<(String, HostAddress, At<'_>)> = Vec::new();
    if let Kind::Object(_) = at.node.kind {
        for (member, value) in at.members(MAX_HOSTS, HOSTS) {
            let is_host = host_name(at.at_key(member), &member.key);
            let addresses = match value.node.kind {
                Kind::List(_) => value.items(MAX_ENTRIES, HOSTS),
                _ => vec![value],
            };
            if addresses.is_empty() && matches!(value.node.kind, Kind::List(_)) {
                value.fault(rules::TEXT_EMPTY, "a host has at least one address");
            }
            for place in addresses {
                let Some(text) = place.text_or("an IP address, or a list of them,") else { continue };
                if let Some(address) = host_address(place, text)
                    && is_host
                {
                    entries.push((member.key.clone().into_owned(), address, place));
                }
            }
        }
    } else {
        for item in at.items(MAX_HOSTS, HOSTS) {
            let Some(text) = item.text() else { continue };
            let Some((host, address)) = text.split_once(':') else {
                let message = format!("`{}` is not written host:ip", shown(text));
                let suggestion =
                    text.split_once('=').map(|(host, ip)| format!("{}:{}", shown(host), shown(ip)));
                item.record(rules::INVALID_HOST, Invalid { message, suggestion });
                continue;
            };
            if let Some(address) = host_address(item, address)
                && host_name(item, host)
            {
                entries.push((host.to_owned(), address, item));
            }
        }
    }
    let mut found: BTreeMap<String, Vec<HostAddress>> = BTreeMap::new();
    let mut seen: HashSet<(String, HostAddress)> = HashSet::new();
    for (host, address, place) in entries {
        if seen.insert((host.clone(), address)) {
            found.entry(host).or_default().push(address);
        } else {
            place.fault(rules::REPEATED_ENTRY, format!("`{}` has that address already", shown(&host)));
        }
    }
    found
}

fn host_address(at: At<'_>, text: &str) -> Option<HostAddress> {
    text.parse().map_err(|fault| at.record(rules::INVALID_ADDRESS, about(text, fault))).ok()
}

/// Fixed addresses of a document, to find equal ones: by network and address, who has it.
#[derive(Default)]
pub(crate) struct Addresses {
    taken: HashMap<(NetworkName, IpAddr), String>,
}

impl Addresses {
    /// Checks one fixed address against the subnets of its network and those taken before.
    pub(crate) fn claim(
        &mut self,
        at: At<'_>,
        network: &NetworkName,
        subnets: Option<&[ipnet::IpNet]>,
        address: IpAddr,
        service: &str,
    ) {
        let Some(subnets) = subnets.filter(|subnets| !subnets.is_empty()) else {
            let message =
                format!("a fixed address needs a declared network with `subnets`, and `{network}` is none");
            at.fault(rules::ADDRESS_WITHOUT_SUBNET, message);
            return;
        };
        let Some(subnet) = subnets.iter().find(|subnet| subnet.contains(&address)) else {
            let subnets: Vec<String> = subnets.iter().take(8).map(ToString::to_string).collect();
            let message =
                format!("`{address}` lies outside the subnets of `{network}`: {}", subnets.join(", "));
            at.fault(rules::ADDRESS_WITHOUT_SUBNET, message);
            return;
        };
        // The engine takes the first address behind that of the network itself.
        let gateway = match subnet.network() {
            IpAddr::V4(network) => IpAddr::from(Ipv4Addr::from(u32::from(network).saturating_add(1))),
            IpAddr::V6(network) => IpAddr::from(Ipv6Addr::from(u128::from(network).saturating_add(1))),
        };
        let is_broadcast =
            matches!(subnet, ipnet::IpNet::V4(net) if IpAddr::from(net.broadcast()) == address);
        if address == subnet.network() || is_broadcast || address == gateway {
            let message = format!(
                "`{address}` belongs to the subnet {subnet} itself: its first and last address, or its gateway"
            );
            at.fault(rules::ADDRESS_WITHOUT_SUBNET, message);
            return;
        }
        if let Some(other) = self.taken.insert((network.clone(), address), service.to_owned()) {
            at.fault(
                rules::REPEATED_ADDRESS,
                format!("`{address}` on `{network}` is that of `{other}` already"),
            );
        }
    }
}

impl NetworkAttachment {
    /// The fixed addresses, of both families.
    pub(crate) fn fixed_addresses(&self) -> impl Iterator<Item = (&'static str, IpAddr)> + use<> {
        let v4 = self.ipv4_address.map(|ip: Ipv4Addr| ("ipv4_address", ip.into()));
        let v6 = self.ipv6_address.map(|ip: Ipv6Addr| ("ipv6_address", ip.into()));
        v4.into_iter().chain(v6)
    }
}
