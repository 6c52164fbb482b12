//! Drift: what of a container differs from what was last asked, what of it can be mended in place, and what costs the container.

use std::collections::{BTreeMap, BTreeSet};

use super::View;
use super::graph::{Plan, Sets, Step, Wait, WaitReason};
use super::networks::{self, Networks};
use super::services::{backoff_wait, takes_over};
use crate::domain::specification::{
    MountSource, NetworkAttachment, Resources, RestartPolicy, ServiceSpecification,
};
use crate::reconciler::backoff;
use crate::reconciler::state::{ContainerRow, DesiredState, OurContainer, PolicyReason, short};
use crate::runtime::{ContainerState, InspectedContainer, ListedPort};

/// Why a container cannot go on as it is; none: it can.
pub(super) fn recreate_cause(
    view: &View<'_>,
    service: &ServiceSpecification,
    row: &ContainerRow,
    container: &OurContainer,
) -> Option<String> {
    let digest = view.desired.digests.get(&service.service_name)?;
    if row.spec_digest != *digest {
        return Some("its specification changed".to_owned());
    }
    if container.listed.image_id != row.asked.image_id {
        return Some(format!(
            "its image is {}, not {}",
            short(&container.listed.image_id),
            short(&row.asked.image_id)
        ));
    }
    let mounts: BTreeSet<(&str, Option<&str>, Option<&str>)> = container
        .listed
        .mounts
        .iter()
        .map(|mount| (mount.target.as_str(), mount.volume.as_deref(), mount.host_path.as_deref()))
        .collect();
    let lost = row.asked.mounts.iter().find(|(target, source)| match source {
        MountSource::Volume(name) => !mounts.contains(&(target.as_str(), Some(name.as_str()), None)),
        MountSource::HostPath(_) => {
            !mounts.iter().any(|(theirs, _, path)| theirs == target && path.is_some())
        }
    });
    if let Some((target, _)) = lost {
        return Some(format!("nothing of what was asked for is mounted at {target}"));
    }
    let stands = !matches!(
        container.state(),
        ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
    );
    let gone = container
        .listed
        .networks
        .iter()
        .find(|(id, _)| !id.is_empty() && !view.observed.others.has_network_id(id));
    if let Some((_, attachment)) = gone.filter(|_| stands) {
        return Some(format!("network {} that it was on is gone", attachment.network_name));
    }
    for dependency in service.depends_on.iter().filter(|dependency| dependency.namespace) {
        let provider = view.desired.current(&dependency.service).and_then(|row| row.engine_id.as_deref());
        let seen = row.providers.get(&dependency.service).map(|provider| provider.engine_id.as_str());
        if let (Some(provider), Some(seen)) = (provider, seen)
            && provider != seen
        {
            return Some(format!(
                "the container of {}, whose namespace it uses, is another one",
                dependency.service
            ));
        }
    }
    let live = container.inspected.as_ref()?;
    if let Some(difference) = ports_difference(service, live) {
        return Some(difference);
    }
    limits_that_cannot_be_lifted(&service.resources, &live.limits)
        .map(|limit| format!("it has a limit of {limit} that nobody asked for"))
}

fn ports_difference(service: &ServiceSpecification, live: &InspectedContainer) -> Option<String> {
    let plain =
        |port: ListedPort| ListedPort { host_ip: port.host_ip.filter(|ip| !ip.is_unspecified()), ..port };
    let asked: BTreeSet<ListedPort> = service
        .ports
        .iter()
        .map(|port| {
            plain(ListedPort {
                host_ip: port.host_ip,
                host_port: port.host_port,
                container_port: port.container_port,
                protocol: port.protocol,
            })
        })
        .collect();
    let found: BTreeSet<ListedPort> = live.asked_ports.iter().cloned().map(plain).collect();
    (asked != found).then(|| "its published ports are not those asked for".to_owned())
}

/// The engine takes a limit of 0 for "leave it as it is": one that nobody asked for goes only with the container.
fn limits_that_cannot_be_lifted(asked: &Resources, found: &Resources) -> Option<&'static str> {
    let set = |value: Option<i64>| value.filter(|value| *value > 0);
    [
        ("memory", asked.memory_bytes, found.memory_bytes),
        ("reserved memory", asked.memory_reservation_bytes, found.memory_reservation_bytes),
        ("CPUs", asked.nano_cpus, found.nano_cpus),
    ]
    .into_iter()
    .find_map(|(name, asked, found)| (set(asked).is_none() && set(found).is_some()).then_some(name))
    .or_else(|| {
        let set = |value: &Option<String>| value.as_deref().is_some_and(|value| !value.is_empty());
        (!set(&asked.cpuset) && set(&found.cpuset)).then_some("CPU numbers")
    })
}

fn limits_differ(asked: &Resources, found: &Resources) -> bool {
    let differs =
        |asked: Option<i64>, found: Option<i64>| asked.is_some_and(|asked| asked > 0 && found != Some(asked));
    differs(asked.memory_bytes, found.memory_bytes)
        || differs(asked.memory_reservation_bytes, found.memory_reservation_bytes)
        || differs(asked.nano_cpus, found.nano_cpus)
        || differs(asked.pids, found.pids)
        || asked.memory_swap_bytes.is_some_and(|asked| found.memory_swap_bytes != Some(asked))
        || asked
            .cpuset
            .as_ref()
            .is_some_and(|asked| !asked.is_empty() && found.cpuset.as_ref() != Some(asked))
}

/// The containers that it was started against, and that are others now.
pub(super) fn provider_changed(
    view: &View<'_>,
    service: &ServiceSpecification,
    row: &ContainerRow,
) -> Option<String> {
    for dependency in
        service.depends_on.iter().filter(|dependency| dependency.namespace || dependency.restart)
    {
        let Some((provider, container)) = view.observed.current(view.desired, &dependency.service) else {
            continue;
        };
        let Some(seen) = row.providers.get(&dependency.service) else { continue };
        if container.state() != ContainerState::Running {
            continue;
        }
        if dependency.restart && seen.row != provider.row {
            return Some(format!("{} was created anew", dependency.service));
        }
        // As Compose has it: a restart that was made from here counts, one by the engine, after a crash, does not.
        if dependency.restart && view.desired.last_own_run(&dependency.service, &container.id.0) > seen.run {
            return Some(format!("{} was restarted", dependency.service));
        }
        if dependency.namespace
            && let (Some(seen), Some(started)) = (&seen.started_at, &provider.started_at)
            && seen != started
        {
            return Some(format!("{}, whose namespace it uses, was started anew", dependency.service));
        }
    }
    None
}

/// Sets the policy right before a start: disabling that was called off has left `no` behind.
pub(super) fn policy_before_start(
    view: &View<'_>,
    service: &ServiceSpecification,
    row: &ContainerRow,
    container: &OurContainer,
) -> Option<Step> {
    let (policy, why) = wanted_policy(view, service, row);
    let differs = !same_policy(row.asked.restart, policy) || row.asked.why != why;
    differs.then(|| Step::SetPolicy {
        row: row.row,
        id: container.id.clone(),
        service: service.service_name.clone(),
        policy,
        why,
        sets: Sets::Policy,
    })
}

fn wanted_policy(
    view: &View<'_>,
    service: &ServiceSpecification,
    row: &ContainerRow,
) -> (RestartPolicy, PolicyReason) {
    match row.asked.why {
        PolicyReason::CrashLoop => {
            let history = view.desired.history(&service.service_name);
            let run = history.iter().find(|attempt| attempt.ended_at.is_none());
            let good = run.is_some_and(|run| {
                run.unhealthy_at.is_none() && view.now.since(run.started_at) >= backoff::GOOD_RUN
            });
            if good || history.is_empty() {
                (service.restart, PolicyReason::Specified)
            } else {
                (RestartPolicy::No, PolicyReason::CrashLoop)
            }
        }
        _ if takes_over(view, service) => (RestartPolicy::No, PolicyReason::CrashLoop),
        PolicyReason::Specified | PolicyReason::Stopping => (service.restart, PolicyReason::Specified),
    }
}

fn same_policy(one: RestartPolicy, other: RestartPolicy) -> bool {
    let plain = |policy| match policy {
        RestartPolicy::OnFailure(Some(0)) => RestartPolicy::OnFailure(None),
        policy => policy,
    };
    plain(one) == plain(other)
}

/// Mends in place what differs from what was last asked.
pub(super) fn mend<'a>(
    view: &View<'a>,
    service: &'a ServiceSpecification,
    row: &ContainerRow,
    container: &OurContainer,
    networks: &mut Networks<'a>,
    plan: &mut Plan,
) {
    let name = service.service_name.as_str();
    let last = view.desired.history(name).iter().find(|attempt| attempt.ended_at.is_some());
    if last.is_some_and(|attempt| attempt.error.is_some())
        && let Some(wait) = backoff_wait(view, name, service.restart.is_job(), false)
    {
        plan.wait(name, wait);
        return;
    }
    let id = &container.id;
    if container.state() == ContainerState::Paused {
        plan.add(Step::Unpause { id: id.clone() }, Some(name), "its container is paused", &[]);
    }
    if container.listed.name != row.name {
        match view.observed.others.container_named(&row.name) {
            None => {
                let cause = format!("its container is named {}", container.listed.name);
                plan.add(Step::Rename { id: id.clone(), name: row.name.clone() }, Some(name), cause, &[]);
            }
            Some(holder) => {
                let message = format!(
                    "its name {} is taken by {}; it is left alone: remove or rename it",
                    row.name,
                    holder.describe()
                );
                plan.wait(name, Wait { reason: WaitReason::Conflict, message, next_attempt: None });
            }
        }
    }
    let (policy, why) = wanted_policy(view, service, row);
    let live = container.inspected.as_ref();
    let drifted =
        live.is_some_and(|live| live.restart.is_none_or(|found| !same_policy(found, row.asked.restart)));
    let limits = live.is_some_and(|live| limits_differ(&service.resources, &live.limits));
    if drifted || limits || why != row.asked.why || !same_policy(policy, row.asked.restart) {
        let cause = match (why, row.asked.why) {
            (PolicyReason::CrashLoop, PolicyReason::Specified) => {
                "the engine restarted it 5 times within 5 minutes: it is restarted from here now, with growing delays".to_owned()
            }
            (PolicyReason::Specified, PolicyReason::CrashLoop) => "it has run well for 10 minutes".to_owned(),
            (PolicyReason::Specified, PolicyReason::Stopping) => "it is to run again".to_owned(),
            _ if limits && drifted => "its limits and its restart policy were changed".to_owned(),
            _ if limits => "its limits were changed".to_owned(),
            _ => "its restart policy was changed".to_owned(),
        };
        let policy_differs = drifted || why != row.asked.why || !same_policy(policy, row.asked.restart);
        let sets = match (policy_differs, limits) {
            (true, true) => Sets::Both,
            (true, false) => Sets::Policy,
            (false, _) => Sets::Limits,
        };
        plan.add(
            Step::SetPolicy { row: row.row, id: id.clone(), service: name.to_owned(), policy, why, sets },
            Some(name),
            cause,
            &[],
        );
    }
    mend_networks(view.desired, service, row, container, networks, plan);
}

fn mend_networks<'a>(
    desired: &DesiredState,
    service: &'a ServiceSpecification,
    row: &ContainerRow,
    container: &OurContainer,
    networks: &mut Networks<'a>,
    plan: &mut Plan,
) {
    // Only what runs tells the ids of its networks.
    if !matches!(container.state(), ContainerState::Running | ContainerState::Paused) {
        return;
    }
    let name = service.service_name.as_str();
    let attachments = networks::attachments(service);
    let mut wanted = BTreeMap::new();
    for attachment in attachments {
        let network = attachment.network.as_str();
        // What nobody asked for gives way to what somebody asks for.
        let given = row.asked.courtesy.get(network);
        let kept =
            given.filter(|alias| !desired.aliases_claimed.contains(&(network.to_owned(), (*alias).clone())));
        let connect = |network_id: Option<String>, again| Step::Connect {
            id: container.id.clone(),
            service: name.to_owned(),
            network: network.to_owned(),
            network_id,
            again,
            courtesy: kept.cloned(),
        };
        match networks.for_connect(network, service, plan) {
            Ok((Some(id), _)) => {
                if !container.listed.networks.contains_key(&id) {
                    plan.add(
                        connect(Some(id.clone()), false),
                        Some(name),
                        format!("its container is not on network {network}"),
                        &[],
                    );
                } else if let Some(alias) = given.filter(|_| kept.is_none()) {
                    let cause = format!("another addon asks for the name {alias} on network {network}");
                    plan.add(connect(Some(id.clone()), true), Some(name), cause, &[]);
                } else if let Some(live) = &container.inspected
                    && !aliases_are_right(attachment, row, live)
                {
                    let cause = format!("its names on network {network} are not those asked for");
                    plan.add(connect(Some(id.clone()), true), Some(name), cause, &[]);
                }
                wanted.insert(id, network);
            }
            Ok((None, created)) => {
                let parents: Vec<_> = created.into_iter().collect();
                plan.add(
                    connect(None, false),
                    Some(name),
                    format!("its container is not on network {network}"),
                    &parents,
                );
            }
            Err(wait) => plan.wait(name, wait),
        }
    }
    if attachments.is_empty() || wanted.len() < attachments.len() {
        return;
    }
    for (network_id, attachment) in
        container.listed.networks.iter().filter(|(id, _)| !wanted.contains_key(*id) && !id.is_empty())
    {
        let cause =
            format!("its container is on network {}, which nobody asked for", attachment.network_name);
        plan.add(
            Step::Disconnect { id: container.id.clone(), network_id: network_id.clone() },
            Some(name),
            cause,
            &[],
        );
    }
}

fn aliases_are_right(attachment: &NetworkAttachment, row: &ContainerRow, live: &InspectedContainer) -> bool {
    let id = short(&live.listed.id);
    let plain = |alias: &&String| alias.as_str() != id && **alias != row.name && **alias != live.listed.name;
    let courtesy = row.asked.courtesy.get(&attachment.network);
    let asked: BTreeSet<&String> = attachment.aliases.iter().chain(courtesy).filter(plain).collect();
    let found: BTreeSet<&String> =
        live.aliases.get(&attachment.network).into_iter().flatten().filter(plain).collect();
    asked == found
}
