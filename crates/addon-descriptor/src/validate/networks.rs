//! Networks: each name once, subnets that do not overlap, fixed addresses inside them; a word on those that are not declared.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;

use super::repeated_name;
use crate::descriptor::NetworkSpec;
use crate::read::document::DocumentRead;
use crate::read::networks::Addresses;
use crate::read::report::{At, shown};
use crate::read::tree::Kind;
use crate::rules;

/// The platform's network where nothing else is configured.
pub(crate) const DEFAULT_PLATFORM_NETWORK: &str = "oakestra";

pub(super) fn check(document: &DocumentRead<'_>) {
    let mut seen = HashMap::new();
    for (network, at) in &document.networks {
        repeated_name(at.entry("name"), &mut seen, network.name.to_string(), network.name.as_str());
        if network.name.as_str() == DEFAULT_PLATFORM_NETWORK && !network.external {
            let message = format!(
                "on a host whose platform network is called `{DEFAULT_PLATFORM_NETWORK}` this is that network, not one of the addon's own"
            );
            at.warn(rules::PLATFORM_NETWORK, message, None);
        }
    }
    subnets(document);
    // Where a declaration could not be read, that has been reported.
    if count(document.root.member("networks")) == document.networks.len() {
        undeclared(document);
        addresses(document);
    }
}

/// Networks that services name and nobody declares are somebody else's: often meant, and as often a forgotten declaration.
fn undeclared(document: &DocumentRead<'_>) {
    let declared = || document.networks.iter().map(|(network, _)| network.name.as_str());
    let mut known: HashSet<&str> = declared().chain([DEFAULT_PLATFORM_NETWORK]).collect();
    for service in &document.services {
        for (name, (_, at)) in &service.networks {
            if known.insert(name.as_str()) {
                let message = format!(
                    "nobody declares the network `{name}`: it is somebody else's and has to be there before the addon is installed; to have \
                     one of the addon's own, declare it at the top: \"networks\": [{{\"name\": \"{name}\"}}]"
                );
                at.warn(rules::UNDECLARED_NETWORK, message, at.nearest(name.as_str(), declared()));
            }
        }
    }
}

/// Subnets nest or are apart; in order, one that overlaps an earlier one lies in the widest before it.
fn subnets(document: &DocumentRead<'_>) {
    let mut all: Vec<(IpNet, usize)> = document
        .networks
        .iter()
        .enumerate()
        .flat_map(|(index, (network, _))| network.subnets.iter().map(move |subnet| (*subnet, index)))
        .collect();
    all.sort_by_key(|(subnet, index)| (subnet.network(), subnet.prefix_len(), *index));
    let mut widest: Option<(IpNet, usize)> = None;
    for (subnet, index) in all {
        match widest {
            Some((outer, other)) if outer.contains(&subnet) => {
                let (network, at) = &document.networks[index.max(other)];
                let (first, second) = if index > other { (subnet, outer) } else { (outer, subnet) };
                let message = format!("the subnet {first} of `{}` overlaps {second}", network.name);
                at.fault(rules::SUBNET_FAULT, message);
            }
            _ => widest = Some((subnet, index)),
        }
    }
}

/// How many entries were written; of what is no list, more than can be read.
fn count(at: Option<At<'_>>) -> usize {
    match at.map(|at| &at.node.kind) {
        Some(Kind::List(nodes)) => nodes.len(),
        Some(Kind::Object(_) | Kind::Number(_) | Kind::Boolean(_)) => usize::MAX,
        Some(Kind::Text(text)) if !text.is_empty() => usize::MAX,
        None | Some(Kind::Null | Kind::Text(_)) => 0,
    }
}

fn addresses(document: &DocumentRead<'_>) {
    // Where a subnet could not be read, that has been reported.
    let is_read = |network: &NetworkSpec, at: At<'_>| count(at.member("subnets")) == network.subnets.len();
    let subnets: HashMap<&str, Option<&[IpNet]>> = document
        .networks
        .iter()
        .map(|(network, at)| {
            (network.name.as_str(), is_read(network, *at).then_some(network.subnets.as_slice()))
        })
        .collect();
    let mut addresses = Addresses::default();
    for service in &document.services {
        for (name, (attachment, at)) in &service.networks {
            if subnets.get(name.as_str()) == Some(&None) {
                continue;
            }
            for (field, address) in attachment.fixed_addresses() {
                addresses.claim(
                    at.entry(field),
                    name,
                    subnets.get(name.as_str()).copied().flatten(),
                    address,
                    &shown(service.name),
                );
            }
        }
    }
}
