//! Pure: what an installation asks for and somebody else has, found before anything is made, with the name of who has it.

mod lost;

use std::collections::{BTreeMap, BTreeSet};

use addon_client::VolumesChoice;
use addon_descriptor::AddonDescriptor;
use addon_descriptor::descriptor::{HostPort, PortMapping};
use ipnet::IpNet;

use crate::domain::claim::{Claim, addresses_overlap, protocol_name, subnets_overlap};
use crate::domain::installation::{Desired, InstallationId, KeptVolume};
use crate::domain::specification::{RevisionSpecification, SharedNetwork, VolumeSpecification};
use crate::reconciler::state::NONCE_LABEL;
use crate::resolve::choose::TakenPort;
use crate::runtime::{ListedContainer, ListedNetwork, ListedVolume, Listing};
use crate::storage::installations::Occupied;

/// Something that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What was asked for.
    pub wanted: Claim,
    /// Who has it.
    pub holder: Holder,
}

/// Who has what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Another installation.
    Installation {
        /// Its id.
        id: InstallationId,
        /// Its name.
        name: String,
        /// Its addon.
        addon: String,
        /// It is uninstalled, and what is left of it is being removed.
        going: bool,
    },
    /// A container that is not of this manager.
    Container(String),
    /// A network that is not of this manager.
    Network(String),
    /// A volume that is not of this manager.
    Volume(String),
    /// A volume that another addon left, or one that the request declines.
    Kept {
        /// The addon that left it.
        addon: String,
        /// The name under which it was installed.
        installation: String,
    },
    /// Something that carries the labels of an installation, and that the database does not prove: it was lost, or restored.
    Left {
        /// `container`, `network`, `volume`.
        kind: &'static str,
        /// Its id on the engine; of a volume its name.
        id: String,
        /// Its name.
        name: String,
        /// The addon that it was made for, by its label.
        addon: String,
        /// The installation that it was made for, by its label.
        installation: String,
        /// The name of that one, where the database knows it.
        known_as: Option<String>,
    },
    /// A volume of an installation that the database does not know: whoever asks for what was kept gets it back.
    LeftForKept {
        /// The installation that it was made for, by its label.
        installation: String,
    },
    /// The same, made in another way than it is asked for now.
    LeftDiffers {
        /// The installation that it was made for, by its label.
        installation: String,
    },
    /// A volume of an installation that the database does not know, and that was called otherwise.
    LeftByAnother {
        /// The installation that it was made for, by its label.
        installation: String,
        /// The name that is asked for.
        asked: String,
        /// What that one was called, where names and labels tell.
        known_as: Option<String>,
    },
    /// A volume of an installation that the database does not know; whether it is the one that is asked for cannot be told.
    LeftUnclear {
        /// The installation that it was made for, by its label.
        installation: String,
        /// The name that is asked for.
        asked: String,
        /// Others that can be it as well.
        others: Vec<String>,
    },
    /// A volume that would be given back, and that something else uses.
    LeftInUse {
        /// Name of the container that mounts it.
        container: String,
    },
    /// Nobody: what belongs to somebody else and is only used is not there.
    Missing,
    /// A kept volume that was made in another way than it is asked for now.
    KeptDiffers,
    /// A process of the host.
    Process,
}

impl Conflict {
    /// The conflict and what to do about it, in a sentence.
    pub fn message(&self) -> String {
        match (&self.wanted, &self.holder) {
            (_, Holder::Installation { going: true, .. }) => self.finding(),
            (Claim::HostPort { .. }, _) => format!(
                "{}: free it, or publish a release of this addon with another host port, or with none (then a free one is chosen)",
                self.finding()
            ),
            _ => self.finding(),
        }
    }

    /// Where the descriptor asks for it, as a JSON Pointer; empty where no single value of it does.
    pub fn place(&self, descriptor: &AddonDescriptor) -> String {
        let Claim::HostPort { port: wanted, protocol: over, .. } = &self.wanted else { return String::new() };
        for (index, service) in descriptor.services.iter().enumerate() {
            for port in &service.ports {
                let PortMapping { host, protocol, .. } = port;
                if let HostPort::Fixed(range) = host
                    && (range.first..=range.last).contains(wanted)
                    && protocol.as_str() == protocol_name(*over)
                {
                    return format!("/services/{index}/ports/{}", port.container_text().replace('/', "~1"));
                }
            }
        }
        String::new()
    }

    fn finding(&self) -> String {
        let what = self.wanted.describe();
        match &self.holder {
            Holder::Installation { id, name, going: true, .. } => {
                format!(
                    "{what} is still held by installation `{name}` ({id}), which is being removed: try again in a moment"
                )
            }
            Holder::Installation { id, name, .. } => {
                format!("{what} is held by installation `{name}` ({id})")
            }
            Holder::Container(name) => {
                format!("{what} is held by container `{name}`, which this manager did not make")
            }
            Holder::Network(name) => {
                format!("{what} is held by network `{name}`, which this manager did not make")
            }
            Holder::Volume(name) => {
                format!("{what} is held by a volume `{name}` that this manager did not make")
            }
            Holder::Kept { addon, installation } => format!(
                "{what} holds data that addon `{addon}`, installed as `{installation}`, left: install under another name, or delete it with \
                 DELETE /api/v1/host/volumes/{}",
                self.wanted.value()
            ),
            Holder::KeptDiffers => format!(
                "{what} was left by an earlier installation, made with another driver or other options: delete it with \
                 DELETE /api/v1/host/volumes/{} or install under another name",
                self.wanted.value()
            ),
            Holder::Process => format!("{what} is in use by a process of the host"),
            Holder::Missing => {
                let (kind, name) = (self.wanted.kind(), self.wanted.value());
                // A volume that nobody declares is the addon's own; a network is not.
                let own = if matches!(self.wanted, Claim::Network(_)) {
                    format!(
                        ", or, if it is to be the addon's own, publish a release that declares it (\"networks\": [{{\"name\": \"{name}\"}}])"
                    )
                } else {
                    String::new()
                };
                format!(
                    "{what}, which the addon uses and does not make, is not there: make it first (docker {kind} create {name}){own}"
                )
            }
            Holder::Left { kind, id, name, installation, known_as: Some(known_as), .. } => format!(
                "{what} is held by {kind} `{name}`, which carries the labels of installation `{known_as}` ({installation}) and stands in no row \
                 of this manager's database: give it back to that one with POST /api/v1/host/foreign/{id}/adopt \
                 {{\"installation\": \"{installation}\"}}, or remove it ({})",
                removal(kind, name)
            ),
            Holder::LeftByAnother { installation, asked, known_as } => {
                let called = match known_as {
                    Some(name) => format!("which was installed as `{name}`"),
                    None => format!("which was not installed as `{asked}`"),
                };
                format!(
                    "{what} holds data of another installation of this addon ({installation}), {called}: install under another name, or delete \
                     it ({})",
                    removal("volume", self.wanted.value().as_str())
                )
            }
            Holder::LeftUnclear { installation, asked, others } => {
                let or = match others.as_slice() {
                    [] => "or under another name".to_owned(),
                    others => format!("or that was {}", others.join(", ")),
                };
                format!(
                    "{what} holds data of an installation of this addon ({installation}) that this manager's database does not know, and whether \
                     that one was installed as `{asked}`, {or}, cannot be told: bring that database back from a backup; or copy the data, delete \
                     the volumes that are not those of `{asked}` ({}) and install again; or install under another name",
                    removal("volume", self.wanted.value().as_str())
                )
            }
            Holder::LeftInUse { container } => format!(
                "{what} would be given back, and container `{container}` uses it, which is no part of this installation: remove that container \
                 first (docker rm -f {container}), or install under another name"
            ),
            Holder::LeftForKept { installation } => format!(
                "{what} holds data of an installation of this addon ({installation}) that this manager's database does not know: send \
                 \"volumes\": \"kept\" to install with that data, or delete it ({})",
                removal("volume", self.wanted.value().as_str())
            ),
            Holder::LeftDiffers { installation } => format!(
                "{what} holds data of an installation of this addon ({installation}) that this manager's database does not know, and was made \
                 with another driver or other options: delete it ({}) or install under another name",
                removal("volume", self.wanted.value().as_str())
            ),
            Holder::Left { kind, name, addon, installation, .. } => format!(
                "{what} is held by {kind} `{name}`, which was made for an installation of addon `{addon}` ({installation}) that this manager's \
                 database does not know: bring that database back from a backup, and it is taken in as it is; or remove it ({}) and install again",
                removal(kind, name)
            ),
        }
    }
}

/// How a person removes it.
fn removal(kind: &str, name: &str) -> String {
    match kind {
        "container" => format!("docker rm -f {name}"),
        kind => format!("docker {kind} rm {name}"),
    }
}

/// What else is there.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// What installations of this host have.
    pub occupied: &'a Occupied,
    /// What the engine has.
    pub listing: &'a Listing,
    /// Further names that containers answer to, by network and name; and which container it is.
    pub aliases: &'a BTreeMap<(String, String), String>,
    /// What processes of the host listen on.
    pub listeners: &'a [TakenPort],
}

/// What becomes of kept volumes at an install.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptPlan {
    /// Given back to the installation.
    pub taken_back: Vec<KeptVolume>,
    /// Gone from the engine: new ones are made in their place.
    pub gone: Vec<String>,
    /// In the way.
    pub conflicts: Vec<Conflict>,
}

/// The kept volumes of this addon under this name come back, those of its images too; the request may decline, then they are in the way.
pub fn kept_volumes(
    addon: &str,
    name: &str,
    choice: Option<VolumesChoice>,
    revision: &RevisionSpecification,
    world: World<'_>,
) -> KeptPlan {
    let mut plan = KeptPlan::default();
    let conflict =
        |volume: &KeptVolume, holder| Conflict { wanted: Claim::Volume(volume.name.clone()), holder };
    let left_by = |volume: &KeptVolume| Holder::Kept {
        addon: volume.addon.clone(),
        installation: volume.installation_name.clone(),
    };
    for volume in &world.occupied.kept {
        let is_own = volume.addon == addon && volume.installation_name == name;
        let wanted = revision.volumes.get(&volume.name);
        if !is_own && wanted.is_none() {
            continue;
        }
        let listed = world.listing.volumes.iter().find(|listed| listed.name == volume.name);
        let is_there = listed.is_some_and(|listed| listed.labels.get(NONCE_LABEL) == Some(&volume.nonce));
        match (listed, is_there) {
            // Somebody removed it: there is no data to give back. A volume of the name is somebody else's, and found as such.
            (None, _) | (Some(_), false) => plan.gone.push(volume.name.clone()),
            (Some(_), true) if !is_own || choice == Some(VolumesChoice::New) => {
                plan.conflicts.push(conflict(volume, left_by(volume)));
            }
            (Some(listed), true) if wanted.is_some_and(|wanted| !is_made_so(listed, wanted)) => {
                plan.conflicts.push(conflict(volume, Holder::KeptDiffers));
            }
            (Some(_), true) => plan.taken_back.push(volume.clone()),
        }
    }
    let lost::Found { installation, mut taken_back, mut conflicts } =
        lost::volumes(addon, name, revision, world);
    if choice == Some(VolumesChoice::Kept) {
        plan.taken_back.append(&mut taken_back);
    } else {
        // Who does not ask for them is told of those in the way, and whether asking would do.
        let is_wanted = |name: &str| revision.volumes.contains_key(name);
        conflicts.retain(|conflict| is_wanted(&conflict.wanted.value()));
        for volume in taken_back.iter().filter(|volume| is_wanted(&volume.name)) {
            conflicts.push(conflict(volume, Holder::LeftForKept { installation: installation.clone() }));
        }
    }
    plan.conflicts.append(&mut conflicts);
    plan
}

/// Who has it, by the labels of an installation that it carries.
fn left(
    kind: &'static str,
    id: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
    occupied: &Occupied,
) -> Option<Holder> {
    let installation = labels.get("oak.installation.id")?;
    labels.get(NONCE_LABEL)?;
    let known = occupied.installations.iter().find(|present| present.id.to_string() == *installation);
    Some(Holder::Left {
        kind,
        id: id.to_owned(),
        name: name.to_owned(),
        addon: labels.get("oak.addon").cloned().unwrap_or_default(),
        installation: installation.clone(),
        known_as: known.map(|present| present.name.clone()),
    })
}

/// What the addon only uses, and what nobody has: networks and volumes of others that are not there.
pub fn missing(revision: &RevisionSpecification, listing: &Listing) -> Vec<Conflict> {
    let networks = revision
        .shared_networks
        .iter()
        .filter(|(name, shared)| {
            **shared == SharedNetwork::External && listing.networks.iter().all(|listed| listed.name != **name)
        })
        .map(|(name, _)| Claim::Network(name.clone()));
    let volumes = revision
        .external_volumes
        .iter()
        .filter(|name| listing.volumes.iter().all(|listed| listed.name != **name))
        .map(|name| Claim::Volume(name.clone()));
    networks.chain(volumes).map(|wanted| Conflict { wanted, holder: Holder::Missing }).collect()
}

fn is_made_so(listed: &ListedVolume, wanted: &VolumeSpecification) -> bool {
    listed.driver == wanted.driver && listed.options == wanted.driver_opts
}

/// Every claim that somebody else has, with one holder each. Volumes in `own` are given back, so the engine's are no conflict.
pub fn conflicts(wanted: &[Claim], own: &BTreeSet<&str>, world: World<'_>) -> Vec<Conflict> {
    let found = wanted.iter().filter_map(|claim| {
        let holder = of_installation(claim, world.occupied).or_else(|| of_engine(claim, own, world))?;
        Some(Conflict { wanted: claim.clone(), holder })
    });
    let mut found: Vec<Conflict> = found.collect();
    // A container answers to its name on each of its networks: who has the name has those too, and it is said once.
    let names: Vec<(String, Holder)> = found
        .iter()
        .filter_map(|conflict| match &conflict.wanted {
            Claim::ContainerName(name) => Some((name.clone(), conflict.holder.clone())),
            _ => None,
        })
        .collect();
    found.retain(|conflict| match &conflict.wanted {
        Claim::Alias { alias, .. } => {
            !names.iter().any(|(name, holder)| name == alias && *holder == conflict.holder)
        }
        _ => true,
    });
    found
}

fn of_installation(claim: &Claim, occupied: &Occupied) -> Option<Holder> {
    let held = occupied.claims.iter().find(|held| held.claim.overlaps(claim))?;
    let present = occupied.installations.iter().find(|present| present.id == held.installation);
    Some(Holder::Installation {
        id: held.installation,
        name: held.installation_name.clone(),
        addon: present.map(|present| present.addon.clone()).unwrap_or_default(),
        going: present.is_some_and(|present| present.desired == Desired::Absent),
    })
}

fn of_engine(claim: &Claim, own: &BTreeSet<&str>, world: World<'_>) -> Option<Holder> {
    let listing = world.listing;
    let container_holder = |container: &ListedContainer| {
        left("container", &container.id, &container.name, &container.labels, world.occupied)
            .unwrap_or_else(|| Holder::Container(container.name.clone()))
    };
    let network_holder = |network: &ListedNetwork| {
        left("network", &network.id, &network.name, &network.labels, world.occupied)
            .unwrap_or_else(|| Holder::Network(network.name.clone()))
    };
    match claim {
        Claim::ContainerName(name) => {
            listing.containers.iter().find(|container| container.name == *name).map(container_holder)
        }
        Claim::HostPort { ip, port, protocol } => {
            let publishes = |listed: &&crate::runtime::ListedPort| {
                listed.host_port == *port
                    && listed.protocol == *protocol
                    && addresses_overlap(listed.host_ip, *ip)
            };
            let container = listing
                .containers
                .iter()
                .find(|container| container.ports.iter().any(|port| publishes(&port)));
            let listens = |taken: &TakenPort| {
                taken.port == *port && taken.protocol == *protocol && addresses_overlap(taken.ip, *ip)
            };
            container
                .map(container_holder)
                .or_else(|| world.listeners.iter().any(listens).then_some(Holder::Process))
        }
        Claim::Alias { network, alias } => {
            let on_it = |container: &&ListedContainer| {
                container.networks.values().any(|attachment| attachment.network_name == *network)
            };
            let named = listing.containers.iter().filter(on_it).find(|container| container.name == *alias);
            named.map(container_holder).or_else(|| {
                world.aliases.get(&(network.clone(), alias.clone())).cloned().map(Holder::Container)
            })
        }
        Claim::Subnet(subnet) => {
            let overlaps =
                |text: &String| text.parse::<IpNet>().is_ok_and(|listed| subnets_overlap(&listed, subnet));
            let network = listing.networks.iter().find(|network| network.subnets.iter().any(overlaps))?;
            Some(network_holder(network))
        }
        Claim::Network(name) => {
            listing.networks.iter().find(|network| network.name == *name).map(network_holder)
        }
        Claim::Volume(name) if own.contains(name.as_str()) => None,
        Claim::Volume(name) => listing.volumes.iter().find(|volume| volume.name == *name).map(|volume| {
            left("volume", &volume.name, &volume.name, &volume.labels, world.occupied)
                .unwrap_or_else(|| Holder::Volume(volume.name.clone()))
        }),
        // Known to this manager alone.
        Claim::InstallationName(_) | Claim::Component(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use addon_client::Timestamp;

    use super::*;
    use crate::domain::claim::HeldClaim;
    use crate::domain::installation::VolumeOrigin;
    use crate::domain::specification::Protocol;
    use crate::runtime::{ListedAttachment, ListedPort};
    use crate::storage::installations::Present;

    fn id(seconds: u32) -> InstallationId {
        InstallationId::new(seconds, [0; 8])
    }

    fn port(ip: Option<&str>, port: u16) -> Claim {
        Claim::HostPort { ip: ip.map(|ip| ip.parse().unwrap()), port, protocol: Protocol::Tcp }
    }

    fn occupied(claims: Vec<Claim>, desired: Desired) -> Occupied {
        Occupied {
            claims: claims
                .into_iter()
                .map(|claim| HeldClaim { claim, installation: id(1), installation_name: "other".to_owned() })
                .collect(),
            kept: Vec::new(),
            installations: vec![Present {
                id: id(1),
                name: "other".to_owned(),
                addon: "store".to_owned(),
                version: "1.0.0".to_owned(),
                desired,
            }],
        }
    }

    fn engine() -> Listing {
        Listing {
            containers: vec![ListedContainer {
                id: "c1".to_owned(),
                name: "root_web".to_owned(),
                ports: vec![ListedPort {
                    host_ip: Some("127.0.0.1".parse().unwrap()),
                    host_port: 80,
                    container_port: 8080,
                    protocol: Protocol::Tcp,
                }],
                networks: [(
                    "n1".to_owned(),
                    ListedAttachment { network_name: "oakestra".to_owned(), addresses: Vec::new() },
                )]
                .into(),
                ..ListedContainer::default()
            }],
            networks: vec![ListedNetwork {
                name: "oakestra".to_owned(),
                subnets: vec!["10.20.0.0/16".to_owned()],
                ..ListedNetwork::default()
            }],
            volumes: vec![ListedVolume {
                name: "shop_data".to_owned(),
                driver: "local".to_owned(),
                ..ListedVolume::default()
            }],
        }
    }

    /// Holders of `wanted`, given these claims of others and the engine above.
    fn check(wanted: &Claim, held: Vec<Claim>, expected: Option<&Holder>) {
        let (occupied, listing) = (occupied(held, Desired::Active), engine());
        let aliases = [(("oakestra".to_owned(), "db".to_owned()), "root_web".to_owned())].into();
        let listeners = [TakenPort { ip: None, port: 22, protocol: Protocol::Tcp }];
        let world =
            World { occupied: &occupied, listing: &listing, aliases: &aliases, listeners: &listeners };
        let found = conflicts(std::slice::from_ref(wanted), &BTreeSet::new(), world);
        assert_eq!(found.first().map(|conflict| &conflict.holder), expected, "{wanted:?}");
    }

    #[test]
    fn what_an_installation_has_names_it() {
        let other = Holder::Installation {
            id: id(1),
            name: "other".to_owned(),
            addon: "store".to_owned(),
            going: false,
        };
        let subnet = |text: &str| Claim::Subnet(text.parse().unwrap());
        let volume = || Claim::Volume("x".into());
        check(&port(None, 443), vec![port(Some("10.0.0.1"), 443)], Some(&other));
        check(&port(Some("10.0.0.2"), 443), vec![port(Some("10.0.0.1"), 443)], None);
        check(&subnet("10.9.0.0/26"), vec![subnet("10.9.0.0/24")], Some(&other));
        check(&volume(), vec![volume()], Some(&other));
        check(&volume(), vec![Claim::Network("x".into())], None);
    }

    #[test]
    fn what_the_engine_has_names_the_object() {
        let web = Holder::Container("root_web".to_owned());
        let alias = |alias: &str| Claim::Alias { network: "oakestra".into(), alias: alias.into() };
        let network = Holder::Network("oakestra".to_owned());
        for (wanted, expected) in [
            (Claim::ContainerName("root_web".into()), Some(&web)),
            (Claim::ContainerName("root_we".into()), None),
            (port(None, 80), Some(&web)),
            (port(Some("127.0.0.2"), 80), None),
            (alias("root_web"), Some(&web)),
            (alias("db"), Some(&web)),
            (alias("free"), None),
            (Claim::Subnet("10.20.1.0/26".parse().unwrap()), Some(&network)),
            (Claim::Network("oakestra".into()), Some(&network)),
            (Claim::Volume("shop_data".into()), Some(&Holder::Volume("shop_data".to_owned()))),
            (port(None, 22), Some(&Holder::Process)),
        ] {
            check(&wanted, vec![], expected);
        }
    }

    #[test]
    fn a_container_in_the_way_is_named_once() {
        let (occupied, listing) = (occupied(vec![], Desired::Active), engine());
        let world =
            World { occupied: &occupied, listing: &listing, aliases: &BTreeMap::new(), listeners: &[] };
        let alias = |alias: &str| Claim::Alias { network: "oakestra".into(), alias: alias.into() };
        let name = Claim::ContainerName("root_web".into());
        let found = conflicts(&[alias("root_web"), name.clone()], &BTreeSet::new(), world);
        assert_eq!(found.iter().map(|conflict| &conflict.wanted).collect::<Vec<_>>(), [&name]);
        assert_eq!(
            conflicts(&[alias("root_web")], &BTreeSet::new(), world).len(),
            1,
            "it alone is asked for"
        );
    }

    #[test]
    fn who_is_being_removed_is_said() {
        let (occupied, listing) = (occupied(vec![port(None, 443)], Desired::Absent), Listing::default());
        let world =
            World { occupied: &occupied, listing: &listing, aliases: &BTreeMap::new(), listeners: &[] };
        let found = conflicts(&[port(None, 443)], &BTreeSet::new(), world);
        assert!(found[0].message().contains("being removed"), "{}", found[0].message());
    }

    fn specification() -> VolumeSpecification {
        VolumeSpecification {
            key: Some("data".to_owned()),
            driver: "local".to_owned(),
            driver_opts: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }

    fn kept(addon: &str, name: &str) -> KeptVolume {
        KeptVolume {
            name: "shop_data".to_owned(),
            nonce: "n1".to_owned(),
            addon: addon.to_owned(),
            installation_name: name.to_owned(),
            origin: VolumeOrigin::Declared,
            service: String::new(),
            specification: specification(),
            kept_at: Timestamp::from_millis(1),
        }
    }

    /// What becomes of one kept volume `shop_data` when `store` is installed as `shop`: taken back, gone, in the way.
    fn check_kept(
        volume: &KeptVolume,
        choice: Option<VolumesChoice>,
        nonce_on_engine: Option<&str>,
        wanted: VolumeSpecification,
        expected: (usize, usize, usize),
    ) {
        let occupied = Occupied { claims: Vec::new(), kept: vec![volume.clone()], installations: Vec::new() };
        let listed = |nonce: &str| ListedVolume {
            name: "shop_data".to_owned(),
            driver: "local".to_owned(),
            labels: [(NONCE_LABEL.to_owned(), nonce.to_owned())].into(),
            ..ListedVolume::default()
        };
        let listing =
            Listing { volumes: nonce_on_engine.map(listed).into_iter().collect(), ..Listing::default() };
        let world =
            World { occupied: &occupied, listing: &listing, aliases: &BTreeMap::new(), listeners: &[] };
        let revision = RevisionSpecification {
            services: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: [("shop_data".to_owned(), wanted)].into(),
            shared_networks: BTreeMap::new(),
            external_volumes: Vec::new(),
        };
        let plan = kept_volumes("store", "shop", choice, &revision, world);
        assert_eq!(
            (plan.taken_back.len(), plan.gone.len(), plan.conflicts.len()),
            expected,
            "{volume:?} {choice:?}"
        );
    }

    #[test]
    fn a_kept_volume_comes_back_to_the_same_addon_under_the_same_name_only() {
        let own = || kept("store", "shop");
        check_kept(&own(), None, Some("n1"), specification(), (1, 0, 0));
        check_kept(&own(), Some(VolumesChoice::Kept), Some("n1"), specification(), (1, 0, 0));
        check_kept(&own(), Some(VolumesChoice::New), Some("n1"), specification(), (0, 0, 1));
        check_kept(&kept("store", "other"), None, Some("n1"), specification(), (0, 0, 1));
        check_kept(&kept("other", "shop"), None, Some("n1"), specification(), (0, 0, 1));
        let otherwise = VolumeSpecification { driver: "nfs".to_owned(), ..specification() };
        check_kept(&own(), None, Some("n1"), otherwise, (0, 0, 1));
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_a_lost_database_has_left_is_named_with_a_way_on() {
        let ours = |installation: &str| {
            labels(&[("oak.create", "n"), ("oak.installation.id", installation), ("oak.addon", "store")])
        };
        let unknown = "6b00fc9223516c5e37bee27c";
        let known = id(1).to_string();
        let listing = Listing {
            containers: vec![
                ListedContainer {
                    id: "c1".into(),
                    name: "shop-web".into(),
                    labels: ours(unknown),
                    ..ListedContainer::default()
                },
                ListedContainer {
                    id: "c2".into(),
                    name: "shop-db".into(),
                    labels: ours(&known),
                    ..ListedContainer::default()
                },
            ],
            networks: vec![ListedNetwork {
                name: "shop_default".into(),
                labels: ours(unknown),
                ..ListedNetwork::default()
            }],
            volumes: vec![ListedVolume {
                name: "shop_data".into(),
                labels: ours(unknown),
                ..ListedVolume::default()
            }],
        };
        let occupied = occupied(Vec::new(), Desired::Active);
        let world =
            World { occupied: &occupied, listing: &listing, aliases: &BTreeMap::new(), listeners: &[] };
        for (wanted, parts) in [
            (
                Claim::ContainerName("shop-web".into()),
                &["container `shop-web`", "backup", "docker rm -f shop-web", unknown][..],
            ),
            (
                Claim::ContainerName("shop-db".into()),
                &["installation `other`", "POST /api/v1/host/foreign/c2/adopt", &known],
            ),
            (Claim::Network("shop_default".into()), &["docker network rm shop_default"]),
            (Claim::Volume("shop_data".into()), &["`store`", "backup", "docker volume rm shop_data"]),
        ] {
            let found = conflicts(&[wanted], &BTreeSet::new(), world);
            let message = found[0].message();
            for part in parts {
                assert!(message.contains(part), "{part} in {message}");
            }
        }
    }

    #[test]
    fn volumes_of_a_lost_database_come_back_to_who_asks_for_what_was_kept() {
        let volume = |addon: &str, name: &str, driver: &str| ListedVolume {
            name: name.to_owned(),
            driver: driver.to_owned(),
            labels: labels(&[
                ("oak.create", "n1"),
                ("oak.addon", addon),
                ("oak.installation.id", "6b00fc9223516c5e37bee27c"),
                ("com.docker.compose.project", "addon-shop"),
            ]),
            ..ListedVolume::default()
        };
        let revision = RevisionSpecification {
            services: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: [("shop_data".to_owned(), specification())].into(),
            shared_networks: BTreeMap::new(),
            external_volumes: Vec::new(),
        };
        let occupied = Occupied { claims: Vec::new(), kept: Vec::new(), installations: Vec::new() };
        let check = |choice, listed: ListedVolume, expected: (usize, usize)| {
            let listing = Listing { volumes: vec![listed.clone()], ..Listing::default() };
            let world =
                World { occupied: &occupied, listing: &listing, aliases: &BTreeMap::new(), listeners: &[] };
            let plan = kept_volumes("store", "shop", choice, &revision, world);
            assert_eq!((plan.taken_back.len(), plan.conflicts.len()), expected, "{choice:?} {listed:?}");
            plan
        };
        let kept = Some(VolumesChoice::Kept);
        let plan = check(kept, volume("store", "shop_data", "local"), (1, 0));
        assert_eq!(
            (plan.taken_back[0].nonce.as_str(), plan.taken_back[0].origin),
            ("n1", VolumeOrigin::Declared)
        );
        // One of the image's `VOLUME`s is known when the image is there.
        let plan = check(kept, volume("store", "shop_web-cache-01234567", "local"), (1, 0));
        assert_eq!(plan.taken_back[0].origin, VolumeOrigin::Image);
        // Who does not ask is told that asking would do, and only where it would.
        for choice in [None, Some(VolumesChoice::New)] {
            let said = check(choice, volume("store", "shop_data", "local"), (0, 1)).conflicts[0].message();
            assert!(said.contains("send \"volumes\": \"kept\"") && said.contains("37bee27c"), "{said}");
            let said = check(choice, volume("store", "shop_data", "nfs"), (0, 1)).conflicts[0].message();
            assert!(!said.contains("kept") && said.contains("docker volume rm shop_data"), "{said}");
            check(choice, volume("store", "shop_web-cache-01234567", "local"), (0, 0));
            check(choice, volume("other", "shop_data", "local"), (0, 0));
        }
        check(kept, volume("other", "shop_data", "local"), (0, 0));
        check(kept, volume("store", "blog_data", "local"), (0, 0));
        check(kept, volume("store", "shop_data", "nfs"), (0, 1));
        let unlabelled = ListedVolume { labels: BTreeMap::new(), ..volume("store", "shop_data", "local") };
        check(kept, unlabelled, (0, 0));
    }

    #[test]
    fn what_the_addon_only_uses_has_to_be_there() {
        let revision = RevisionSpecification {
            services: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            shared_networks: [
                ("oakestra".to_owned(), SharedNetwork::External),
                ("lan".to_owned(), SharedNetwork::External),
                ("platform".to_owned(), SharedNetwork::Platform),
            ]
            .into(),
            external_volumes: vec!["shop_data".to_owned(), "films".to_owned()],
        };
        let found = missing(&revision, &engine());
        let messages: Vec<String> = found.iter().map(Conflict::message).collect();
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert!(
            messages[0].contains("`lan`") && messages[0].contains("docker network create lan"),
            "{messages:?}"
        );
        assert!(messages[0].ends_with("declares it (\"networks\": [{\"name\": \"lan\"}])"), "{messages:?}");
        assert!(messages[1].ends_with("docker volume create films)"), "{messages:?}");
    }

    #[test]
    fn a_kept_volume_that_is_gone_is_made_anew() {
        check_kept(&kept("store", "shop"), None, None, specification(), (0, 1, 0));
        check_kept(&kept("store", "shop"), None, Some("somebody's"), specification(), (0, 1, 0));
    }
}
