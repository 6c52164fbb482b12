//! The document as a whole: its own fields, volumes, networks, what it requires.

use std::collections::BTreeSet;
use std::str::FromStr;

use ipnet::IpNet;
use semver::{Version, VersionReq};

use super::report::{At, about, shown};
use super::scope::Scope;
use super::tree::Kind;
use super::{maps, metadata, modes, networks, parameters, service};
use crate::descriptor::{AddonDescriptor, AddonRequirement, NetworkSpec, Requires, VolumeSpec};
use crate::fields;
use crate::names::{AddonName, NetworkName, VolumeName};
use crate::parameters::Parameter;
use crate::rules;
use crate::validate;
use crate::violation::Invalid;

/// Most services, volumes, networks, parameters: of each.
pub(crate) const MAX_THINGS: usize = 64;

/// A document as it was read, with the places that rules across fields speak of.
pub(crate) struct DocumentRead<'t> {
    pub(crate) root: At<'t>,
    pub(crate) name: Option<(AddonName, At<'t>)>,
    pub(crate) services: Vec<service::ServiceRead<'t>>,
    /// Whether every service could be read at least as far as its name.
    pub(crate) all_named: bool,
    pub(crate) volumes: Vec<(VolumeSpec, At<'t>)>,
    pub(crate) networks: Vec<(NetworkSpec, At<'t>)>,
    pub(crate) parameters: Vec<(Parameter, At<'t>)>,
    pub(crate) required: Vec<(AddonRequirement, At<'t>)>,
    pub(crate) scope: Scope,
}

/// Reads the document and checks it; `None` when something essential could not be read.
pub(super) fn read(root: At<'_>) -> Option<AddonDescriptor> {
    let fields = root.fields(&fields::ADDON, fields::ADDED_BY_SERVICES)?;
    let (name, title_of_name) = match fields.get("name") {
        None => (None, None),
        Some(at) => match addon_name(at) {
            Some((name, title)) => (Some((name, at)), title),
            None => (None, None),
        },
    };
    let declared = parameters::read(fields.get("parameters"));
    let scope = Scope::new(declared.kinds);
    let mut all_named = true;
    let mut services = Vec::new();
    if let Some(at) = fields.get("services") {
        let items = at.items(MAX_THINGS);
        if items.is_empty() && matches!(&at.node.kind, Kind::List(_)) {
            at.fault(rules::NO_SERVICE, "an addon has at least one service");
        }
        for item in items {
            match service::read(item, &scope) {
                Some(service) if !service.name.is_empty() => services.push(service),
                Some(service) => {
                    all_named = false;
                    services.push(service);
                }
                None => all_named = false,
            }
        }
    }
    let volumes = fields.get("volumes").map(|at| things(at, volume)).unwrap_or_default();
    let networks = fields.get("networks").map(|at| things(at, network)).unwrap_or_default();
    let (platforms, required) = fields.get("requires").map(requires).unwrap_or_default();
    let mut document = DocumentRead {
        root,
        name,
        services,
        all_named,
        volumes,
        networks,
        parameters: declared.parameters,
        required,
        scope,
    };
    let metadata = (
        fields.get("title").and_then(At::text).map(str::to_owned),
        fields.get("version").and_then(version),
        fields.get("description").and_then(metadata::description).unwrap_or_default(),
        fields.get("readme").and_then(At::text).unwrap_or_default().to_owned(),
        fields.get("license").and_then(metadata::license),
        fields.get("homepage").and_then(metadata::web_address),
        fields.get("source").and_then(metadata::web_address),
        fields.get("icon").and_then(metadata::icon),
        fields.get("keywords").map(|at| metadata::keywords(at, 20)).unwrap_or_default(),
        fields.get("categories").map(|at| metadata::keywords(at, 5)).unwrap_or_default(),
        fields.get("changes").map(metadata::changes).unwrap_or_default(),
    );
    validate::document(&mut document);

    let (title, version, description, readme, license, homepage, source, icon, keywords, categories, changes) =
        metadata;
    let (name, _) = document.name?;
    // The name is what a title defaults to.
    let title = title.or(title_of_name).filter(|title| title != name.as_str());
    Some(AddonDescriptor {
        name,
        title,
        version,
        description,
        readme,
        license,
        homepage,
        source,
        icon,
        keywords,
        categories,
        changes,
        services: document.services.into_iter().map(|service| service.spec).collect(),
        volumes: document.volumes.into_iter().map(|(volume, _)| volume).collect(),
        networks: document.networks.into_iter().map(|(network, _)| network).collect(),
        parameters: document.parameters.into_iter().map(|(parameter, _)| parameter).collect(),
        requires: Requires {
            platforms,
            addons: document.required.into_iter().map(|(required, _)| required).collect(),
        },
    })
}

/// The name, and the title that a name with blanks stands for.
fn addon_name(at: At<'_>) -> Option<(AddonName, Option<String>)> {
    let text = at.text()?;
    if !text.contains(' ') {
        return at.parse(rules::INVALID_NAME).map(|name| (name, None));
    }
    match text.replace(' ', "-").parse::<AddonName>() {
        Ok(name) => {
            let message = format!("the name is read as `{name}`, and `{}` as the title", shown(text));
            at.warn(rules::NAME_WITH_BLANKS, message, Some(name.to_string()));
            Some((name, Some(text.to_owned())))
        }
        Err(fault) => {
            at.record(rules::INVALID_NAME, about(text, fault));
            None
        }
    }
}

fn version(at: At<'_>) -> Option<Version> {
    let text = at.text()?;
    let fault = match Version::parse(text) {
        Ok(version) if text.len() <= 128 => return Some(version),
        Ok(_) => Invalid::new("a version has at most 128 characters"),
        Err(fault) => {
            let message = format!("`{}` is no SemVer version: {fault}", shown(text));
            Invalid { message, suggestion: nearby_version(text) }
        }
    };
    at.record(rules::INVALID_VERSION, fault);
    None
}

/// `v1.2` is meant as `1.2.0`.
fn nearby_version(text: &str) -> Option<String> {
    let bare = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let numbers: Vec<&str> = bare.split('.').collect();
    let plain: Option<Vec<u32>> = numbers.iter().map(|number| number.parse().ok()).collect();
    match plain?.as_slice() {
        [major] => Some(format!("{major}.0.0")),
        [major, minor] => Some(format!("{major}.{minor}.0")),
        [major, minor, patch] => Some(format!("{major}.{minor}.{patch}")),
        _ => None,
    }
}

fn things<'t, T>(at: At<'t>, read: impl Fn(At<'t>) -> Option<T>) -> Vec<(T, At<'t>)> {
    at.items(MAX_THINGS).into_iter().filter_map(|item| Some((read(item)?, item))).collect()
}

fn volume(at: At<'_>) -> Option<VolumeSpec> {
    if let Kind::Text(text) = &at.node.kind
        && text.parse::<VolumeName>().is_ok()
    {
        at.wrong_type_suggesting("an object", format!("{{\"name\": \"{text}\"}}"));
        return None;
    }
    let fields = at.fields(&fields::VOLUME, &[])?;
    let driver = match fields.get("driver").and_then(|at| Some((at, driver(at)?))) {
        Some((at, driver)) if driver == "bridge" => {
            at.warn(
                rules::VOLUME_DRIVER_BRIDGE,
                "no volume driver is called `bridge`: `local` is meant",
                Some("local".to_owned()),
            );
            VolumeSpec::DEFAULT_DRIVER.to_owned()
        }
        Some((_, driver)) => driver,
        None => VolumeSpec::DEFAULT_DRIVER.to_owned(),
    };
    let volume = VolumeSpec {
        driver,
        driver_opts: fields.get("driver_opts").map(|at| maps::plain(maps::map(at))).unwrap_or_default(),
        labels: fields.get("labels").map(maps::labels).unwrap_or_default(),
        external: fields.boolean("external"),
        ..VolumeSpec::new(fields.get("name").and_then(|at| at.parse(rules::INVALID_NAME))?)
    };
    let plain = VolumeSpec { external: true, ..VolumeSpec::new(volume.name.clone()) };
    if volume.external && volume != plain {
        let message = "an external volume exists already: it has no driver, options or labels here";
        fields.place("external").fault(rules::EXTERNAL_WITH_SETTINGS, message);
    }
    Some(volume)
}

/// The name of a driver, built in or of a plugin.
fn driver(at: At<'_>) -> Option<String> {
    let text = at.text()?;
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'/' | b':' | b'@');
    if text.len() > 255
        || !text.bytes().all(is_plain)
        || !text.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        at.fault(rules::INVALID_NAME, format!("`{}` is no name of a driver", shown(text)));
        return None;
    }
    Some(text.to_owned())
}

fn network(at: At<'_>) -> Option<NetworkSpec> {
    if let Kind::Text(text) = &at.node.kind
        && text.parse::<NetworkName>().is_ok()
    {
        at.wrong_type_suggesting("an object", format!("{{\"name\": \"{text}\"}}"));
        return None;
    }
    let fields = at.fields(&fields::NETWORK, &[])?;
    let driver =
        fields.get("driver").and_then(|at| driver(at).filter(|driver| !networks::reserved(at, driver)));
    let subnets: Vec<(IpNet, At<'_>)> = fields
        .get("subnets")
        .map(|at| at.items(16).into_iter().filter_map(|item| Some((subnet(item)?, item))).collect())
        .unwrap_or_default();
    let network = NetworkSpec {
        driver: driver.unwrap_or_else(|| NetworkSpec::DEFAULT_DRIVER.to_owned()),
        driver_opts: fields.get("driver_opts").map(|at| maps::plain(maps::map(at))).unwrap_or_default(),
        enable_ipv6: fields.get("enable_ipv6").and_then(boolean_word).unwrap_or_default(),
        internal: fields.boolean("internal"),
        subnets: subnets.iter().map(|(subnet, _)| *subnet).collect(),
        labels: fields.get("labels").map(maps::labels).unwrap_or_default(),
        external: fields.boolean("external"),
        ..NetworkSpec::new(fields.get("name").and_then(|at| networks::network_name(at, at.text()?))?)
    };
    let plain = NetworkSpec { external: true, ..NetworkSpec::new(network.name.clone()) };
    if network.external && network != plain {
        let message = "an external network exists already: it has no driver, options, subnets or labels here";
        fields.place("external").fault(rules::EXTERNAL_WITH_SETTINGS, message);
    }
    if let Some((_, at)) = subnets.iter().find(|(subnet, _)| matches!(subnet, IpNet::V6(_)))
        && !network.enable_ipv6
    {
        at.fault_suggesting(
            rules::SUBNET_FAULT,
            "a subnet of IPv6 needs `enable_ipv6`",
            "\"enable_ipv6\": true",
        );
    }
    if network.driver == NetworkSpec::DEFAULT_DRIVER {
        let mut families = BTreeSet::new();
        for (subnet, at) in &subnets {
            if !families.insert(matches!(subnet, IpNet::V6(_))) {
                at.fault(rules::SUBNET_FAULT, "a bridge has one subnet of each family");
            }
        }
    }
    Some(network)
}

fn subnet(at: At<'_>) -> Option<IpNet> {
    let text = at.text()?;
    let Ok(subnet) = IpNet::from_str(text) else {
        let message = format!("`{}` is no subnet", shown(text));
        at.fault_suggesting(rules::INVALID_ADDRESS, message, "10.20.0.0/24");
        return None;
    };
    if subnet.trunc() != subnet {
        let message = format!("`{subnet}` has bits set outside its mask");
        at.fault_suggesting(rules::INVALID_ADDRESS, message, subnet.trunc().to_string());
        return None;
    }
    // A network needs its own address, a gateway, a container, and in IPv4 a broadcast address.
    if subnet.prefix_len() == 0 || subnet.max_prefix_len() - subnet.prefix_len() < 2 {
        at.fault(rules::INVALID_ADDRESS, format!("`{subnet}` is too large or too small for a network"));
        return None;
    }
    Some(subnet)
}

/// The words that Oakestra's reader (marshmallow) takes for true and false.
fn boolean_word(at: At<'_>) -> Option<bool> {
    const TRUE: [&str; 11] = ["t", "T", "true", "True", "TRUE", "on", "On", "ON", "y", "Y", "1"];
    const FALSE: [&str; 11] = ["f", "F", "false", "False", "FALSE", "off", "Off", "OFF", "n", "N", "0"];
    let word = match &at.node.kind {
        Kind::Text(text) => text.as_ref(),
        Kind::Number(literal) => *literal,
        _ => return at.boolean(),
    };
    let value = if TRUE.contains(&word) || word.eq_ignore_ascii_case("yes") {
        true
    } else if FALSE.contains(&word) || word.eq_ignore_ascii_case("no") {
        false
    } else {
        return at.boolean();
    };
    at.warn(rules::BOOLEAN_WORD, format!("`{word}` is read as {value}"), Some(value.to_string()));
    Some(value)
}

type Required<'t> = (BTreeSet<crate::descriptor::Platform>, Vec<(AddonRequirement, At<'t>)>);

fn requires(at: At<'_>) -> Required<'_> {
    let Some(fields) = at.fields(&fields::REQUIRES, &[]) else { return Required::default() };
    let mut platforms = BTreeSet::new();
    for item in fields.get("platforms").map(|at| at.items(MAX_THINGS)).unwrap_or_default() {
        if let Some(platform) = modes::platform(item)
            && !platforms.insert(platform)
        {
            item.fault(rules::REPEATED_ENTRY, format!("`{platform}` stands here twice"));
        }
    }
    let addons = fields.get("addons").map(|at| things(at, requirement)).unwrap_or_default();
    (platforms, addons)
}

fn requirement(at: At<'_>) -> Option<AddonRequirement> {
    if let Kind::Text(text) = &at.node.kind
        && text.parse::<AddonName>().is_ok()
    {
        at.wrong_type_suggesting("an object", format!("{{\"name\": \"{text}\"}}"));
        return None;
    }
    let fields = at.fields(&fields::REQUIRED_ADDON, &[])?;
    let version = match fields.get("version") {
        None => Some(VersionReq::STAR),
        Some(at) => at.text().and_then(|text| match VersionReq::parse(text) {
            Ok(range) => Some(range),
            Err(fault) => {
                let message = format!("`{}` is no range of versions: {fault}", shown(text));
                at.fault_suggesting(rules::INVALID_VERSION, message, "^1.2");
                None
            }
        }),
    };
    Some(AddonRequirement {
        name: fields.get("name").and_then(|at| at.parse(rules::INVALID_NAME))?,
        version: version?,
    })
}
