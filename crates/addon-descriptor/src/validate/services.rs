//! Services among each other: names, what they wait for, namespaces that they share, updates that cannot overlap.

use std::collections::{HashMap, HashSet};

use super::{folded, repeated_name};
use crate::descriptor::{Condition, HealthTest, IpcMode, NetworkMode, PidMode, ServiceSpec, UpdateOrder};
use crate::read::document::DocumentRead;
use crate::read::report::{At, shown};
use crate::read::service::ServiceRead;
use crate::read::tree::Kind;
use crate::rules;
use crate::violation::Invalid;

pub(super) fn check(document: &DocumentRead<'_>) {
    let mut seen = HashMap::new();
    for service in &document.services {
        if !service.name.is_empty() {
            let at = service.fields.place("service_name");
            repeated_name(at, &mut seen, folded(service.name), service.name);
        }
    }
    let by_name: HashMap<&str, usize> =
        document.services.iter().enumerate().map(|(index, service)| (service.name, index)).collect();
    let mut edges: Vec<Vec<(usize, At<'_>)>> = vec![Vec::new(); document.services.len()];
    let mut told: HashSet<usize> = HashSet::new();
    for (index, service) in document.services.iter().enumerate() {
        let look_up = |at: At<'_>, name: &str| -> Option<usize> {
            let target = by_name.get(name).copied();
            if target.is_none() && document.all_named {
                let message = format!("no service `{}` is in the document", shown(name));
                let suggestion =
                    at.nearest(name, by_name.keys().copied().filter(|other| *other != service.name));
                at.record(rules::UNKNOWN_SERVICE, Invalid { message, suggestion });
            }
            target
        };
        for (name, (dependency, at)) in &service.depends_on {
            let Some(target) = look_up(*at, name.as_str()) else { continue };
            edges[index].push((target, *at));
            match dependency.condition {
                Condition::Started => (),
                // Once for each that is waited for: there stands what is to be changed.
                Condition::Completed => {
                    if told.insert(target) {
                        completes(service, &document.services[target]);
                    }
                }
                Condition::Healthy => becomes_healthy(*at, &document.services[target]),
            }
        }
        for (at, name) in shared_namespaces(service) {
            if let Some(target) = look_up(at, name) {
                edges[index].push((target, at));
            }
        }
        network_mode(service);
        namespaces(service, |name| by_name.get(name).map(|index| &document.services[*index].spec));
        start_first(service);
    }
    cycles(document, &edges);
}

/// The services whose namespaces this one joins.
fn shared_namespaces<'d, 't>(service: &'d ServiceRead<'t>) -> Vec<(At<'t>, &'d str)> {
    let mut shared = Vec::new();
    if let Some(NetworkMode::Service(name)) = &service.spec.network_mode {
        shared.push((service.fields.place("network_mode"), name.as_str()));
    }
    if let Some(PidMode::Service(name)) = &service.spec.pid {
        shared.push((service.fields.place("pid"), name.as_str()));
    }
    if let Some(IpcMode::Service(name)) = &service.spec.ipc {
        shared.push((service.fields.place("ipc"), name.as_str()));
    }
    shared
}

/// Whether the service that `waiting` waits for ever completes; said at its `restart`, or where that would stand.
fn completes(waiting: &ServiceRead<'_>, target: &ServiceRead<'_>) {
    let restart = target.fields.get("restart");
    // A policy that could not be read has been reported.
    let is_read = restart.is_none_or(|at| {
        matches!(&at.node.kind, Kind::Text(text) if matches!(text.as_ref(), "always" | "unless-stopped"))
    });
    if !is_read || target.spec.restart.is_job() {
        return;
    }
    let message = format!(
        "`{}` never completes with the restart policy `{}`, and `{}` waits for that: `no` or `on-failure` is needed",
        shown(target.name),
        target.spec.restart,
        shown(waiting.name)
    );
    match restart {
        Some(at) => at.fault_suggesting(rules::NEVER_COMPLETES, message, "no"),
        None => target.fields.at.record_missing(
            "restart",
            rules::NEVER_COMPLETES,
            Invalid::new(message).suggest("\"no\""),
        ),
    }
}

fn becomes_healthy(at: At<'_>, target: &ServiceRead<'_>) {
    let has_check = matches!(
        target.spec.healthcheck.as_ref().map(|check| &check.test),
        Some(HealthTest::Command(_) | HealthTest::Shell(_))
    );
    if !has_check {
        let message = format!(
            "`{}` has no healthcheck here: healthy means running for 10 s, unless its image has one",
            shown(target.name)
        );
        at.warn(rules::HEALTHY_WITHOUT_CHECK, message, None);
    }
}

/// What has no place beside a network mode.
fn network_mode(service: &ServiceRead<'_>) {
    let spec = &service.spec;
    let Some(mode) = &spec.network_mode else { return };
    let is_service = matches!(mode, NetworkMode::Service(_));
    let conflicts = [
        ("networks", !spec.networks.is_empty()),
        ("aliases", !spec.aliases.is_empty()),
        ("ports", !spec.ports.is_empty() && *mode != NetworkMode::Bridge),
        ("hostname", is_service && spec.hostname.is_some()),
        ("domainname", is_service && spec.domainname.is_some()),
        ("dns", is_service && !spec.dns.is_empty()),
        ("extra_hosts", is_service && !spec.extra_hosts.is_empty()),
    ];
    for (field, _) in conflicts.into_iter().filter(|(_, is_there)| *is_there) {
        let message = format!("`{field}` has no meaning with the network mode `{mode}`");
        service.fields.place(field).fault(rules::NETWORK_MODE_CONFLICT, message);
    }
}

/// Settings that need a namespace of the service's own, or one that another shares.
fn namespaces<'d>(service: &ServiceRead<'_>, find: impl Fn(&str) -> Option<&'d ServiceSpec>) {
    let spec = &service.spec;
    if let Some(IpcMode::Service(name)) = &spec.ipc
        && let Some(target) = find(name.as_str())
        && !matches!(target.ipc, Some(IpcMode::Shareable))
    {
        let message = format!("`{name}` does not share its memory: it needs `\"ipc\": \"shareable\"`");
        service.fields.place("ipc").fault(rules::NAMESPACE_CONFLICT, message);
    }
    // The engine refuses to change what is the host's (runc, `libcontainer/configs/validate`).
    let of_host = [
        ("net.", matches!(spec.network_mode, Some(NetworkMode::Host)), "network"),
        ("kernel.", matches!(spec.ipc, Some(IpcMode::Host)), "shared memory"),
        ("fs.mqueue.", matches!(spec.ipc, Some(IpcMode::Host)), "shared memory"),
    ];
    for (prefix, is_host, what) in of_host {
        if let Some(key) = spec.sysctls.keys().find(|key| is_host && key.starts_with(prefix)) {
            let message = format!("`{}` is the host's own: the service has no {what} for itself", shown(key));
            service.fields.place("sysctls").fault(rules::NAMESPACE_CONFLICT, message);
        }
    }
}

fn start_first(service: &ServiceRead<'_>) {
    let spec = &service.spec;
    if spec.update.order != UpdateOrder::StartFirst {
        return;
    }
    let has_address = spec
        .networks
        .values()
        .any(|attachment| attachment.ipv4_address.is_some() || attachment.ipv6_address.is_some());
    let conflicts = [
        (!spec.ports.is_empty(), "a published port"),
        (has_address, "a fixed address"),
        (spec.replaces.is_some(), "`replaces`"),
    ];
    if let Some((_, what)) = conflicts.into_iter().find(|(is_there, _)| *is_there) {
        let message = format!("two containers at once cannot both have {what}");
        service.fields.place("update").fault_suggesting(
            rules::START_FIRST_CONFLICT,
            message,
            "\"order\": \"stop-first\"",
        );
    }
}

/// Reports each cycle once, where it closes. Depth-first, without recursion.
fn cycles(document: &DocumentRead<'_>, edges: &[Vec<(usize, At<'_>)>]) {
    let mut done: HashSet<usize> = HashSet::new();
    for start in 0..edges.len() {
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        let mut on_path: HashSet<usize> = HashSet::from([start]);
        if done.contains(&start) {
            continue;
        }
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            let Some((target, at)) = edges[node].get(*next) else {
                done.insert(node);
                on_path.remove(&node);
                path.pop();
                continue;
            };
            *next += 1;
            if on_path.contains(target) {
                let from = path.iter().position(|(node, _)| node == target).unwrap_or_default();
                let mut names: Vec<&str> =
                    path[from..].iter().map(|(node, _)| document.services[*node].name).collect();
                names.push(document.services[*target].name);
                let message = format!("services wait for each other: {}", names.join(" -> "));
                at.fault(rules::DEPENDENCY_CYCLE, message);
            } else if !done.contains(target) {
                on_path.insert(*target);
                path.push((*target, 0));
            }
        }
    }
}
