//! How the engine in memory behaves by itself: what begins, ends and is told of it.

use std::collections::{BTreeMap, BTreeSet};

use service_kit::clock::SharedClock;

use super::{Attachment, Container, Engine, Image, NEVER, change_needed, gone};
use crate::domain::claim::addresses_overlap;
use crate::domain::specification::{MountSource, NetworkMode, RestartPolicy, ServiceSpecification};
use crate::runtime::{
    ChangeNeeded, ContainerMeant, ContainerState, EventMessage, EventObject, Health, InspectedContainer,
    ListedAttachment, ListedContainer, ListedMount, ListedPort, ListedVolume, Listing, RuntimeError,
    RuntimeEvent,
};

impl Engine {
    pub(super) fn new_id(&mut self) -> String {
        self.counter += 1;
        format!("{:064x}", self.counter)
    }

    /// Like the engine's times: no two are equal.
    pub(super) fn time(&mut self, clock: &SharedClock) -> String {
        self.counter += 1;
        let text = clock.now().to_string();
        format!("{}{:06}Z", text.trim_end_matches('Z'), self.counter % 1_000_000)
    }

    pub(super) fn event(
        &mut self,
        clock: &SharedClock,
        object: EventObject,
        id: &str,
        action: &str,
        attributes: &[(&str, &str)],
    ) {
        if self.loses_events {
            return;
        }
        let attributes =
            attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let event = RuntimeEvent {
            at_ns: clock.now().millis() * 1_000_000,
            object,
            id: id.to_owned(),
            action: action.to_owned(),
            attributes,
        };
        self.listeners.retain(|listener| {
            let _ = listener.try_send(EventMessage::Event(event.clone()));
            !listener.is_closed()
        });
    }

    pub(super) fn change(&mut self, id: &str, change: impl FnOnce(&mut Container)) {
        if let Some(container) = self.containers.get_mut(id) {
            change(container);
        }
    }

    pub(super) fn is_running(&self, id: &str) -> bool {
        self.containers.get(id).is_some_and(|container| {
            matches!(container.state, ContainerState::Running | ContainerState::Paused)
        })
    }

    pub(super) fn end(&mut self, clock: &SharedClock, id: &str, code: i64, by_itself: bool) {
        let finished = self.time(clock);
        let Some(container) = self.containers.get_mut(id) else { return };
        let tries = match container.restart {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure(None | Some(0)) => code != 0,
            RestartPolicy::OnFailure(Some(most)) => code != 0 && container.restart_count < i64::from(most),
            RestartPolicy::No => false,
        };
        let ran = matches!(container.state, ContainerState::Running | ContainerState::Paused);
        container.state =
            if by_itself && tries { ContainerState::Restarting } else { ContainerState::Exited };
        container.health = None;
        if ran {
            container.exit_code = code;
            container.finished_at = finished;
            let code = code.to_string();
            self.event(clock, EventObject::Container, id, "die", &[("exitCode", &code)]);
        }
    }

    pub(super) fn begin(&mut self, clock: &SharedClock, id: &str) {
        let started = self.time(clock);
        let health = self.health_at_start;
        self.change(id, |container| {
            container.state = ContainerState::Running;
            container.started_at = started;
            container.health = health.filter(|_| container.has_healthcheck);
        });
        self.event(clock, EventObject::Container, id, "start", &[]);
    }

    pub(super) fn listed(&self, id: &str) -> Option<ListedContainer> {
        let container = self.containers.get(id)?;
        let shows_networks = container.state != ContainerState::Created;
        let attachments = container.networks.iter().filter(|_| shows_networks);
        let running = matches!(container.state, ContainerState::Running | ContainerState::Paused);
        Some(ListedContainer {
            id: id.to_owned(),
            name: container.name.clone(),
            image_id: container.image_id.clone(),
            state: container.state,
            health: container.health.filter(|_| running),
            labels: container.labels.clone(),
            networks: attachments
                .map(|(id, attachment)| {
                    (
                        id.clone(),
                        ListedAttachment {
                            network_name: attachment.network_name.clone(),
                            addresses: Vec::new(),
                        },
                    )
                })
                .collect(),
            mounts: container.mounts.clone(),
            ports: if running { container.ports.clone() } else { Vec::new() },
            exit_code: (container.state == ContainerState::Exited).then_some(container.exit_code),
        })
    }

    pub(super) fn inspected(&self, id: &str) -> Option<InspectedContainer> {
        let container = self.containers.get(id)?;
        Some(InspectedContainer {
            listed: self.listed(id)?,
            running: self.is_running(id) || container.state == ContainerState::Restarting,
            restarting: container.state == ContainerState::Restarting,
            pid: i64::from(self.is_running(id)),
            started_at: container.started_at.clone(),
            finished_at: container.finished_at.clone(),
            exit_code: container.exit_code,
            oom_killed: container.oom,
            error: String::new(),
            restart_count: container.restart_count,
            restart: Some(container.restart),
            aliases: container
                .networks
                .values()
                .map(|attachment| (attachment.network_name.clone(), attachment.aliases.clone()))
                .collect(),
            host_name: container
                .made_of
                .as_ref()
                .and_then(|(specification, _)| specification.settings.hostname.clone())
                .or_else(|| self.host_names.get(id).cloned()),
            asked_ports: container.ports.clone(),
            limits: container.limits.clone(),
            differences: Vec::new(),
        })
    }

    pub(super) fn listing(&self) -> Listing {
        Listing {
            containers: self
                .containers
                .keys()
                .filter_map(|id| self.listed(id))
                .map(|mut listed| {
                    if self.listed_unhealthy.contains(&listed.id) {
                        listed.health = Some(Health::Unhealthy);
                    }
                    listed
                })
                .collect(),
            networks: self.networks.values().cloned().collect(),
            volumes: self.volumes.values().cloned().collect(),
        }
    }

    pub(super) fn image(&self, reference: &str) -> Option<&Image> {
        self.images.values().find(|image| {
            let there = !image.tags.is_empty() || !image.inspected.repo_digests.is_empty();
            there
                && (image.inspected.id == reference
                    || image.tags.contains(reference)
                    || image.inspected.repo_digests.iter().any(|digest| digest == reference))
        })
    }

    pub(super) fn create(
        &mut self,
        specification: &ServiceSpecification,
        meant: &ContainerMeant,
    ) -> Result<String, RuntimeError> {
        let operation = format!("create container {}", meant.name);
        if self.containers.values().any(|container| container.name == meant.name) {
            let message = format!("the container name \"/{}\" is already in use", meant.name);
            return Err(change_needed(operation, message, ChangeNeeded::NameTaken));
        }
        let Some(image) = self.image(&meant.image_tag).cloned() else {
            return Err(RuntimeError::Gone {
                operation,
                message: format!("No such image: {}", meant.image_tag),
            });
        };
        // Another's namespace is looked for when it is joined at create.
        let unknown = matches!(&specification.network, NetworkMode::Service(service) if !meant.namespace_containers.contains_key(service));
        if unknown || meant.namespace_containers.values().any(|needed| !self.containers.contains_key(needed))
        {
            return Err(RuntimeError::Gone { operation, message: "No such container".to_owned() });
        }
        let mut networks = BTreeMap::new();
        if let NetworkMode::Networks(attachments) = &specification.network {
            for attachment in attachments {
                let id = meant.network_ids.get(&attachment.network).cloned().unwrap_or_default();
                if !self.networks.contains_key(&id) {
                    return Err(RuntimeError::Gone { operation, message: format!("network {id} not found") });
                }
                let mut aliases: BTreeSet<String> = attachment.aliases.iter().cloned().collect();
                aliases.extend(meant.courtesy_aliases.get(&attachment.network).cloned());
                networks.insert(id, Attachment { network_name: attachment.network.clone(), aliases });
            }
        }
        let mut mounts = Vec::new();
        let mut volume = |target: &str, name: &str, read_only: bool| {
            mounts.push(ListedMount {
                target: target.to_owned(),
                volume: Some(name.to_owned()),
                host_path: None,
                read_only,
            });
        };
        for mount in &specification.mounts {
            if let MountSource::Volume(name) = &mount.source {
                volume(&mount.target, name, mount.read_only);
            }
        }
        for (target, name) in &meant.image_volumes {
            volume(target, name, false);
        }
        let plain = |path: &str| path.trim_end_matches('/').to_owned();
        let covered: BTreeSet<String> = specification
            .mounts
            .iter()
            .map(|mount| plain(&mount.target))
            .chain(meant.image_volumes.keys().map(|path| plain(path)))
            .collect();
        for path in image.inspected.volumes.iter().filter(|path| !covered.contains(&plain(path))) {
            self.counter += 1;
            mounts.push(ListedMount {
                target: path.clone(),
                volume: Some(format!("{:064x}", self.counter)),
                host_path: None,
                read_only: false,
            });
        }
        // A volume that is not there is made, without labels.
        for name in mounts.iter().filter_map(|mount| mount.volume.clone()) {
            let unlabelled = || ListedVolume {
                name: name.clone(),
                driver: "local".to_owned(),
                options: BTreeMap::new(),
                labels: BTreeMap::new(),
            };
            self.volumes.entry(name.clone()).or_insert_with(unlabelled);
        }
        let paths = specification.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::HostPath(path) => Some((mount.target.clone(), path.clone(), mount.read_only)),
            MountSource::Volume(_) => None,
        });
        let files = meant.file_sources.iter().map(|(target, path)| (target.clone(), path.clone(), true));
        mounts.extend(paths.chain(files).map(|(target, path, read_only)| ListedMount {
            target,
            volume: None,
            host_path: Some(path),
            read_only,
        }));
        let mut labels = image.labels.clone();
        // Those of ours that an image brings are emptied.
        for (_, value) in labels
            .iter_mut()
            .filter(|(label, _)| label.starts_with("oak.") || label.starts_with("com.docker.compose."))
        {
            value.clear();
        }
        labels.extend(specification.labels.clone());
        labels.extend(meant.labels.clone());
        let ports = specification
            .ports
            .iter()
            .map(|port| ListedPort {
                host_ip: port.host_ip,
                host_port: port.host_port,
                container_port: port.container_port,
                protocol: port.protocol,
            })
            .collect();
        let id = self.new_id();
        let own_check = specification
            .healthcheck
            .as_ref()
            .map(|check| check.test.first().is_none_or(|word| word != "NONE"));
        let container = Container {
            name: meant.name.clone(),
            image_id: image.inspected.id.clone(),
            labels,
            state: ContainerState::Created,
            networks,
            mounts,
            ports,
            limits: specification.resources.clone(),
            restart: meant.restart,
            health: None,
            has_healthcheck: own_check.unwrap_or(image.inspected.has_healthcheck),
            started_at: NEVER.to_owned(),
            finished_at: NEVER.to_owned(),
            exit_code: 0,
            oom: false,
            restart_count: 0,
            differences: self.spoils_creates.iter().cloned().collect(),
            made_of: Some((specification.clone(), meant.clone())),
            needs: meant.namespace_containers.values().cloned().collect(),
        };
        self.containers.insert(id.clone(), container);
        Ok(id)
    }

    pub(super) fn start(&mut self, clock: &SharedClock, id: &str) -> Result<(), RuntimeError> {
        let operation = format!("start container {id}");
        let retry = |operation, message: &str| RuntimeError::Retry {
            operation,
            message: message.to_owned(),
            after: None,
            engine_unreachable: false,
        };
        let container = self.containers.get(id).ok_or_else(|| gone("start container", id))?.clone();
        match container.state {
            ContainerState::Running | ContainerState::Restarting => return Ok(()),
            ContainerState::Paused => {
                return Err(retry(operation, "cannot start a paused container, try unpause instead"));
            }
            _ => {}
        }
        let mut failure = None;
        if let Some(needed) = container.needs.iter().find(|needed| !self.is_running(needed)) {
            failure = Some(match self.containers.contains_key(needed) {
                true => retry(operation, "cannot join network of a non running container"),
                false => gone("start container", id),
            });
        } else if container.networks.keys().any(|network| !self.networks.contains_key(network)) {
            failure = Some(gone("start container", id));
        } else if let Some(port) = self.taken_port(id, &container) {
            let message = format!("Bind for 0.0.0.0:{port} failed: port is already allocated");
            failure = Some(change_needed(operation, message, ChangeNeeded::PortTaken));
        }
        if let Some(failure) = failure {
            // The engine writes down that it failed, also over how the last run ended.
            self.change(id, |container| container.exit_code = 128);
            return Err(failure);
        }
        self.change(id, |container| container.restart_count = 0);
        self.begin(clock, id);
        Ok(())
    }

    pub(super) fn taken_port(&self, id: &str, container: &Container) -> Option<u16> {
        let others = self.containers.iter().filter(|(other, _)| *other != id && self.is_running(other));
        let hidden = self
            .hidden_ports
            .iter()
            .filter(|(id, _)| self.containers.contains_key(*id))
            .map(|(_, port)| port);
        let taken = others.flat_map(|(_, other)| &other.ports).chain(hidden).find(|theirs| {
            container.ports.iter().any(|ours| {
                ours.host_port == theirs.host_port
                    && ours.protocol == theirs.protocol
                    && addresses_overlap(ours.host_ip, theirs.host_ip)
            })
        });
        taken.map(|port| port.host_port)
    }
}
