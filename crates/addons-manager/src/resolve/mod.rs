//! Pure: a descriptor, its pins and the host's defaults of this day become the specification of each service, as it is stored with the
//! revision and asked of the engine.
//!
//! Every field of the descriptor is named here: the structs are taken apart without `..`, so that a new field breaks the build until it is
//! said what becomes of it. A container is called `<prefix><addon>-<service>`, a volume
//! or network `<addon>_<name>`, and `<addon>` is the installation's name. Read on in `service.rs` for one service, in
//! `network.rs` for how it is connected, in `choose.rs` for ports and subnets.

pub mod choose;
mod network;
mod service;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use addon_descriptor::{AddonDescriptor, VolumeSpec};

use crate::domain::installation::Pin;
use crate::domain::naming;
use crate::domain::specification::{Logging, RevisionSpecification, VolumeSpecification};
use choose::Choices;

/// What the operator's configuration says about every container of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDefaults {
    /// `platform.prefix`, in front of names of containers; may be empty.
    pub prefix: String,
    /// `platform.network`; none: services that name no network are on their addon's own.
    pub platform_network: Option<String>,
    /// Where logs go when the descriptor says nothing.
    pub logging: Logging,
    /// Most processes and threads of a container when the descriptor says nothing.
    pub pids: i64,
    /// Whether programs are kept from gaining rights by set-user-id bits, unless the descriptor declines.
    pub no_new_privileges: bool,
    /// The engine's own, `linux/amd64`: whose bytes of an image are pulled.
    pub platform: String,
}

/// What is installed, and under which name.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The installation's name, which the names of its containers, networks and volumes begin with.
    pub name: &'a str,
    /// What was reviewed.
    pub descriptor: &'a AddonDescriptor,
    /// The images as they were reviewed, one a service.
    pub pins: &'a [Pin],
}

/// Why there is no specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Something that this version does not do; `path` is a JSON pointer into the descriptor.
    #[error("`{field}` is not supported yet")]
    NotSupported {
        /// Name of the field.
        field: &'static str,
        /// Where it stands.
        path: String,
    },
    /// The marketplace's pins do not belong to this descriptor.
    #[error("service `{service}` has no pinned image `{image}`")]
    NoPin {
        /// Service.
        service: String,
        /// Image as published.
        image: String,
    },
    /// `ports.range` is used up.
    #[error(
        "no free {protocol} port is left in the host's range for port {container_port} of service `{service}`"
    )]
    NoFreePort {
        /// Service.
        service: String,
        /// Port in the container.
        container_port: u16,
        /// Transport.
        protocol: &'static str,
    },
    /// A network is to be another one with the addresses that it has.
    #[error(
        "network `{network}` changes and keeps its subnet {subnet}: the old one and the new one cannot be there at once"
    )]
    NetworkChanges {
        /// Its name in the descriptor.
        network: String,
        /// The subnet that both have.
        subnet: ipnet::IpNet,
    },
    /// `networks.pool` is used up.
    #[error("no free subnet is left in the host's pool for network `{network}`")]
    NoFreeSubnet {
        /// Name on the engine.
        network: String,
    },
}

/// The specification of every service, network and volume of this installation; ports and subnets are taken from `choices`.
///
/// # Errors
/// [`ResolveError`]: nothing that waiting would help against.
pub fn resolve(
    subject: Subject<'_>,
    host: &HostDefaults,
    choices: &mut Choices,
) -> Result<RevisionSpecification, ResolveError> {
    not_supported(subject.descriptor)?;
    // Texts for people, and what was checked before this: they reach no container.
    let AddonDescriptor {
        name: _,
        title: _,
        version: _,
        description: _,
        readme: _,
        license: _,
        homepage: _,
        source: _,
        icon: _,
        keywords: _,
        categories: _,
        changes: _,
        services,
        volumes,
        networks,
        parameters: _,
        requires: _,
    } = subject.descriptor;

    let mut layout = network::Layout::new(subject, host);
    let mut revision = RevisionSpecification {
        services: BTreeMap::new(),
        networks: layout.own_networks(networks, services.len(), choices)?,
        volumes: BTreeMap::new(),
        shared_networks: layout.shared_networks(services),
        external_volumes: Vec::new(),
    };
    for volume in volumes.iter().filter(|volume| !volume.external) {
        revision
            .volumes
            .insert(naming::object_name(subject.name, volume.name.as_str()), volume_specification(volume));
    }
    // Fixed ports of every service first, so that none of them is chosen for another one.
    services.iter().for_each(|service| service::take_fixed_ports(service, choices));
    for spec in services {
        let service = service::resolve(spec, subject, host, &layout, choices, &mut revision)?;
        revision.services.insert(service.service_name.clone(), service);
    }
    revision.external_volumes.sort();
    revision.external_volumes.dedup();
    Ok(revision)
}

/// Refuses what later versions will do.
///
/// # Errors
/// [`ResolveError::NotSupported`] with the first such field.
pub fn not_supported(descriptor: &AddonDescriptor) -> Result<(), ResolveError> {
    if !descriptor.parameters.is_empty() {
        return Err(ResolveError::NotSupported { field: "parameters", path: "/parameters".to_owned() });
    }
    match descriptor.services.iter().position(|service| service.replaces.is_some()) {
        Some(index) => {
            Err(ResolveError::NotSupported { field: "replaces", path: format!("/services/{index}/replaces") })
        }
        None => Ok(()),
    }
}

fn volume_specification(volume: &VolumeSpec) -> VolumeSpecification {
    let VolumeSpec { name, driver, driver_opts, labels, external: _ } = volume;
    VolumeSpecification {
        key: Some(name.to_string()),
        driver: driver.clone(),
        driver_opts: driver_opts.clone(),
        labels: labels.clone(),
    }
}
