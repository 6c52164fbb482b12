//! Pure: which networks an installation has and uses, and under which names its services answer there.

use std::collections::{BTreeMap, BTreeSet};

use addon_descriptor::{NetworkName, NetworkSpec, ServiceSpec, descriptor};
use ipnet::IpNet;

use super::choose::Choices;
use super::{HostDefaults, ResolveError, Subject};
use crate::domain::claim::subnets_overlap;
use crate::domain::naming;
use crate::domain::specification::{NetworkAttachment, NetworkMode, NetworkSpecification, SharedNetwork};

/// Key of the network that an addon gets unasked.
const DEFAULT: &str = "default";

/// Where the networks that a descriptor names are found on the engine.
pub(super) struct Layout<'a> {
    subject: Subject<'a>,
    host: &'a HostDefaults,
    /// Service names, with which no prefixed alias may collide.
    services: BTreeSet<&'a str>,
    /// Names on the engine of the addon's own networks, by key.
    names: BTreeMap<String, String>,
}

/// A network as a service sees it.
enum Place {
    Own(String),
    Shared(String, SharedNetwork),
}

impl<'a> Layout<'a> {
    pub(super) fn new(subject: Subject<'a>, host: &'a HostDefaults) -> Self {
        let services =
            subject.descriptor.services.iter().map(|service| service.service_name.as_str()).collect();
        Self { subject, host, services, names: BTreeMap::new() }
    }

    fn is_platform(&self, name: &str) -> bool {
        self.host.platform_network.as_deref() == Some(name)
    }

    /// A declared network is the addon's own, unless it is external or has the name of the platform's; any other is somebody else's.
    fn place(&self, name: &str) -> Place {
        if self.is_platform(name) {
            return Place::Shared(name.to_owned(), SharedNetwork::Platform);
        }
        match self.subject.descriptor.network(name) {
            Some(network) if !network.external => Place::Own(self.name_of(name)),
            _ => Place::Shared(name.to_owned(), SharedNetwork::External),
        }
    }

    /// Name on the engine of a network of the addon's own.
    fn name_of(&self, key: &str) -> String {
        self.names.get(key).cloned().unwrap_or_else(|| naming::object_name(self.subject.name, key))
    }

    /// Whether services that name no network are on a network of the addon's own.
    fn has_default(&self) -> bool {
        self.services.len() > 1 || self.host.platform_network.is_none()
    }

    /// The networks to make: those that are declared, and the one for services that name none.
    pub(super) fn own_networks(
        &mut self,
        declared: &[NetworkSpec],
        services: usize,
        choices: &mut Choices,
    ) -> Result<BTreeMap<String, NetworkSpecification>, ResolveError> {
        let own: Vec<&NetworkSpec> = declared
            .iter()
            .filter(|network| !network.external && !self.is_platform(network.name.as_str()))
            .collect();
        // The subnets that the descriptor asks for first, so that none of them is chosen for another network.
        own.iter().flat_map(|network| &network.subnets).for_each(|subnet| choices.take_subnet(*subnet));
        let mut networks = BTreeMap::new();
        for network in own {
            let (name, specification) = self.network(network, services, choices)?;
            self.names.insert(network.name.to_string(), name.clone());
            networks.insert(name, specification);
        }
        let asked_for = self.subject.descriptor.services.iter().any(Self::names_none);
        if asked_for && self.has_default() && !self.names.contains_key(DEFAULT) {
            let network = NetworkSpec::new(DEFAULT.parse().expect("`default` is a name"));
            let (name, specification) = self.network(&network, services, choices)?;
            self.names.insert(DEFAULT.to_owned(), name.clone());
            networks.insert(name, specification);
        }
        Ok(networks)
    }

    /// A network and its name on the engine. One that an upgrade leaves as it was stays; one that it changes is made beside it, under a name of
    /// its own, since both are there for a while.
    fn network(
        &self,
        network: &NetworkSpec,
        services: usize,
        choices: &mut Choices,
    ) -> Result<(String, NetworkSpecification), ResolveError> {
        let NetworkSpec { name, driver, driver_opts, enable_ipv6, internal, subnets, labels, external: _ } =
            network;
        let specification = |mut subnets: Vec<IpNet>| {
            subnets.sort();
            NetworkSpecification {
                key: name.to_string(),
                driver: driver.clone(),
                driver_opts: driver_opts.clone(),
                labels: labels.clone(),
                internal: *internal,
                enable_ipv6: *enable_ipv6 || subnets.iter().any(|subnet| matches!(subnet, IpNet::V6(_))),
                subnets: subnets.iter().map(ToString::to_string).collect(),
            }
        };
        let engine_name = naming::object_name(self.subject.name, name.as_str());
        if let Some((kept_name, kept)) = choices.kept_network(name.as_str()) {
            let had: Vec<IpNet> = kept.subnets.iter().filter_map(|subnet| subnet.parse().ok()).collect();
            let as_before = subnets.iter().all(|subnet| had.contains(subnet))
                && specification(had.clone()) == *kept
                && has_what_is_chosen(network, &had);
            if as_before {
                return Ok((kept_name.to_owned(), kept.clone()));
            }
            if let Some(fixed) =
                subnets.iter().find(|fixed| had.iter().any(|had| subnets_overlap(had, fixed)))
            {
                return Err(ResolveError::NetworkChanges { network: name.to_string(), subnet: *fixed });
            }
        }
        let engine_name = choices.network_name(engine_name);
        let mut subnets = subnets.clone();
        // Other drivers bring their own addresses, or share those of a network outside of the engine.
        if driver == NetworkSpec::DEFAULT_DRIVER {
            let none_left = || ResolveError::NoFreeSubnet { network: engine_name.clone() };
            if !subnets.iter().any(|subnet| matches!(subnet, IpNet::V4(_))) {
                subnets.push(IpNet::V4(choices.subnet(services).ok_or_else(none_left)?));
            }
            if *enable_ipv6 && !subnets.iter().any(|subnet| matches!(subnet, IpNet::V6(_))) {
                subnets.push(IpNet::V6(choices.subnet_v6().ok_or_else(none_left)?));
            }
        }
        let specification = specification(subnets);
        Ok((engine_name, specification))
    }

    /// Networks of others that services are on.
    pub(super) fn shared_networks(&self, services: &[ServiceSpec]) -> BTreeMap<String, SharedNetwork> {
        let named = services.iter().flat_map(|service| service.networks.keys()).filter_map(|name| match self
            .place(name.as_str())
        {
            Place::Shared(name, kind) => Some((name, kind)),
            Place::Own(_) => None,
        });
        let platform = self
            .host
            .platform_network
            .iter()
            .filter(|_| services.iter().any(Self::names_none))
            .map(|name| (name.clone(), SharedNetwork::Platform));
        named.chain(platform).collect()
    }

    /// Whether the service says nothing of how it is connected.
    fn names_none(service: &ServiceSpec) -> bool {
        service.networks.is_empty() && service.network_mode.is_none()
    }

    /// How a service is connected. The platform's network comes first where the service names none.
    pub(super) fn mode(&self, service: &ServiceSpec) -> NetworkMode {
        match &service.network_mode {
            Some(descriptor::NetworkMode::Bridge) => return NetworkMode::Bridge,
            Some(descriptor::NetworkMode::Host) => return NetworkMode::Host,
            Some(descriptor::NetworkMode::None) => return NetworkMode::None,
            Some(descriptor::NetworkMode::Service(other)) => return NetworkMode::Service(other.to_string()),
            None => (),
        }
        if !service.networks.is_empty() {
            let attach = |(name, attachment): (&NetworkName, &descriptor::NetworkAttachment)| {
                self.attachment(service, self.place(name.as_str()), attachment)
            };
            return NetworkMode::Networks(service.networks.iter().map(attach).collect());
        }
        let nothing = descriptor::NetworkAttachment::default();
        let platform = self
            .host
            .platform_network
            .iter()
            .map(|name| Place::Shared(name.clone(), SharedNetwork::Platform));
        let default = self.has_default().then(|| Place::Own(self.name_of(DEFAULT)));
        NetworkMode::Networks(
            platform.chain(default).map(|place| self.attachment(service, place, &nothing)).collect(),
        )
    }

    fn attachment(
        &self,
        service: &ServiceSpec,
        place: Place,
        asked: &descriptor::NetworkAttachment,
    ) -> NetworkAttachment {
        let descriptor::NetworkAttachment { aliases, ipv4_address, ipv6_address } = asked;
        let service_name = service.service_name.as_str();
        let prefixed = naming::prefixed(&self.host.prefix, service_name);
        let is_others_name = prefixed != service_name && self.services.contains(prefixed.as_str());
        let mut names = aliases.clone();
        let (network, courtesy_alias) = match place {
            Place::Own(network) => {
                names.extend(service.aliases.iter().cloned());
                names.insert(service_name.to_owned());
                if !is_others_name {
                    names.insert(prefixed);
                }
                (network, None)
            }
            Place::Shared(network, _) => {
                let wanted = !self.host.prefix.is_empty() && !names.contains(&prefixed) && !is_others_name;
                (network, wanted.then_some(prefixed))
            }
        };
        NetworkAttachment {
            network,
            aliases: names.into_iter().collect(),
            courtesy_alias,
            ipv4_address: *ipv4_address,
            ipv6_address: *ipv6_address,
        }
    }
}

/// Whether the subnets that a network had are as many as would be chosen for it now: those that it does not name.
fn has_what_is_chosen(network: &NetworkSpec, had: &[IpNet]) -> bool {
    let is_v6 = |subnet: &&IpNet| matches!(subnet, IpNet::V6(_));
    let wants_v6 = network.enable_ipv6 || network.subnets.iter().any(|subnet| is_v6(&subnet));
    let (v6, v4): (Vec<&IpNet>, Vec<&IpNet>) = had.iter().partition(is_v6);
    let (fixed_v6, fixed_v4): (Vec<&IpNet>, Vec<&IpNet>) = network.subnets.iter().partition(is_v6);
    let chosen = |fixed: usize| usize::from(fixed == 0).max(fixed);
    if network.driver != NetworkSpec::DEFAULT_DRIVER {
        return had.len() == network.subnets.len();
    }
    v4.len() == chosen(fixed_v4.len()) && v6.len() == if wants_v6 { chosen(fixed_v6.len()) } else { 0 }
}
