//! What a test sees on the engine, and whether something that is not ours was touched.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptionsBuilder, ListNetworksOptions, ListVolumesOptions,
};
use serde_json::Value;

use crate::world::World;

/// Containers, networks and volumes as the engine describes them, by name.
#[derive(Debug)]
pub struct Snapshot(BTreeMap<String, Value>);

impl World {
    /// A container by its exact name; an error when there is none.
    pub async fn container(&self, name: &str) -> anyhow::Result<ContainerInspectResponse> {
        let found = self.docker.inspect_container(name, None::<InspectContainerOptions>).await?;
        // The engine finds by prefix of an id as well.
        anyhow::ensure!(found.name.as_deref() == Some(&format!("/{name}")), "no container named {name}");
        Ok(found)
    }

    /// The id of a running container of that name.
    pub async fn running(&self, name: &str) -> anyhow::Result<String> {
        let found = self.container(name).await?;
        let state = found.state.context("an inspected container has a state")?;
        anyhow::ensure!(state.running == Some(true), "{name} is {:?}", state.status);
        anyhow::ensure!(
            state.paused != Some(true) && state.restarting != Some(true),
            "{name} is {:?}",
            state.status
        );
        found.id.context("an inspected container has an id")
    }

    /// Every container, running or not.
    pub async fn containers(&self) -> anyhow::Result<Vec<ContainerSummary>> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        Ok(self.docker.list_containers(Some(options)).await?)
    }

    /// The names of all containers, sorted.
    pub async fn container_names(&self) -> anyhow::Result<Vec<String>> {
        let mut names: Vec<String> = self.containers().await?.iter().flat_map(names_of).collect();
        names.sort();
        Ok(names)
    }

    /// The names of all networks but the engine's own three, sorted; a name that two have stands there twice.
    pub async fn network_names(&self) -> anyhow::Result<Vec<String>> {
        let networks = self.docker.list_networks(None::<ListNetworksOptions>).await?;
        let mut names: Vec<String> = networks.into_iter().filter_map(|network| network.name).collect();
        names.retain(|name| !["bridge", "host", "none"].contains(&name.as_str()));
        names.sort();
        Ok(names)
    }

    /// The names of all volumes, sorted.
    pub async fn volume_names(&self) -> anyhow::Result<Vec<String>> {
        let volumes = self.docker.list_volumes(None::<ListVolumesOptions>).await?;
        let mut names: Vec<String> =
            volumes.volumes.unwrap_or_default().into_iter().map(|volume| volume.name).collect();
        names.sort();
        Ok(names)
    }

    /// What an addon serves at a port of the host.
    pub async fn fetch(&self, port: u16, path: &str) -> anyhow::Result<String> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let answer = http.get(format!("http://127.0.0.1:{port}{path}")).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        anyhow::ensure!(status.is_success(), "{path} answered {status}: {text}");
        Ok(text)
    }

    /// Where a volume's files lie, for a test that writes to it behind everybody's back.
    pub async fn volume_folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        Ok(PathBuf::from(self.docker.inspect_volume(name).await?.mountpoint))
    }

    /// Everything about the named objects that would show that somebody touched them: for containers their whole
    /// inspect answer, with start times, without the runs of its healthcheck.
    pub async fn snapshot(
        &self,
        containers: &[&str],
        networks: &[&str],
        volumes: &[&str],
    ) -> anyhow::Result<Snapshot> {
        let mut objects = BTreeMap::new();
        for name in containers {
            let mut value = serde_json::to_value(self.container(name).await?)?;
            // The runs of its healthcheck come and go by themselves.
            for changing in ["/State/Health", "/ExecIDs"] {
                if let Some(place) = value.pointer_mut(changing) {
                    *place = Value::Null;
                }
            }
            objects.insert(format!("container {name}"), value);
        }
        for name in networks {
            let network =
                self.docker.inspect_network(name, None::<bollard::query_parameters::InspectNetworkOptions>);
            objects.insert(format!("network {name}"), serde_json::to_value(network.await?)?);
        }
        for name in volumes {
            objects.insert(
                format!("volume {name}"),
                serde_json::to_value(self.docker.inspect_volume(name).await?)?,
            );
        }
        Ok(Snapshot(objects))
    }
}

impl Snapshot {
    /// Panics with every difference when anything changed since `before`.
    ///
    /// # Panics
    /// As it says.
    #[track_caller]
    pub fn assert_is(&self, before: &Self, why: &str) {
        let mut differences = Vec::new();
        for (name, value) in &self.0 {
            compare(name, before.0.get(name).unwrap_or(&Value::Null), value, &mut differences);
        }
        assert!(
            differences.is_empty() && self.0.len() == before.0.len(),
            "{why}:\n{}",
            differences.join("\n")
        );
    }
}

fn compare(path: &str, before: &Value, now: &Value, differences: &mut Vec<String>) {
    match (before, now) {
        (Value::Object(old), Value::Object(new)) => {
            for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
                let value =
                    |members: &serde_json::Map<String, Value>| members.get(key).cloned().unwrap_or_default();
                compare(&format!("{path} {key}"), &value(old), &value(new), differences);
            }
        }
        // The engine lists mounts and ports as its maps happen to be walked.
        (Value::Array(old), Value::Array(new)) if sorted(old) == sorted(new) => {}
        (before, now) if before != now => differences.push(format!("{path}: it was {before}, it is {now}")),
        _ => {}
    }
}

fn sorted(values: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = values.iter().map(Value::to_string).collect();
    texts.sort();
    texts
}

fn names_of(container: &ContainerSummary) -> impl Iterator<Item = String> {
    container.names.iter().flatten().map(|name| name.trim_start_matches('/').to_owned())
}

/// Containers in one line each, for a person.
pub(crate) async fn describe(docker: &Docker) -> String {
    let options = ListContainersOptionsBuilder::default().all(true).build();
    let containers = match docker.list_containers(Some(options)).await {
        Ok(containers) => containers,
        Err(error) => return format!("the engine cannot be asked: {error}"),
    };
    let lines = containers.iter().map(|container| {
        let names: Vec<String> = names_of(container).collect();
        format!(
            "{} {} {} {}",
            container.id.as_deref().map_or("", |id| &id[..12.min(id.len())]),
            names.join(","),
            container.image.as_deref().unwrap_or_default(),
            container.status.as_deref().unwrap_or_default()
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}
