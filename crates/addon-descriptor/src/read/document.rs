//! The document as a whole: its name and version, its parts, what it requires.

use std::collections::BTreeSet;

use semver::{Version, VersionReq};

use super::report::{At, about, shown};
use super::scope::Scope;
use super::tree::Kind;
use super::{declarations, metadata, modes, parameters, service};
use crate::descriptor::{AddonDescriptor, AddonRequirement, NetworkSpec, Requires, VolumeSpec};
use crate::fields;
use crate::names::AddonName;
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
    /// Whether every service of the document was read at least as far as a valid name.
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
    let scope = Scope::new(declared.kinds, declared.is_complete);
    let mut all_named = true;
    let mut services = Vec::new();
    if let Some(at) = fields.get("services") {
        let items = list_of_named(at, "service_name", "a list of services");
        all_named = matches!(&at.node.kind, Kind::List(nodes) if nodes.len() <= MAX_THINGS);
        if items.is_empty() && matches!(&at.node.kind, Kind::List(_)) {
            at.fault(rules::NO_SERVICE, "an addon has at least one service");
        }
        for item in items {
            match service::read(item, &scope) {
                Some(service) => {
                    all_named &= service.is_name_readable;
                    services.push(service);
                }
                None => all_named = false,
            }
        }
    }
    let volumes = fields
        .get("volumes")
        .map(|at| things(at, "a list of volumes", declarations::volume))
        .unwrap_or_default();
    let networks = fields
        .get("networks")
        .map(|at| things(at, "a list of networks", declarations::network))
        .unwrap_or_default();
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
    let version = fields.get("version").and_then(version);
    let about = metadata::read(&fields);
    validate::document(&mut document);

    let (name, _) = document.name?;
    // The name is what a title defaults to.
    let title = about.title.or(title_of_name).filter(|title| title != name.as_str());
    Some(AddonDescriptor {
        name,
        title,
        version,
        description: about.description,
        readme: about.readme,
        license: about.license,
        homepage: about.homepage,
        source: about.source,
        icon: about.icon,
        keywords: about.keywords,
        categories: about.categories,
        changes: about.changes,
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
    if let Kind::Number(number) = &at.node.kind
        && let Some(version) = nearby_version(number)
    {
        at.wrong_type_suggesting("a string", format!("\"{version}\""));
        return None;
    }
    let text = at.text()?;
    let fault = match Version::parse(text) {
        Ok(version) if text.len() <= 128 => return Some(version),
        Ok(_) => Invalid::new("a version has at most 128 characters"),
        Err(fault) => {
            let message = format!("`{}` is no SemVer version such as `1.2.0`: {fault}", shown(text));
            Invalid { message, suggestion: nearby_version(text) }
        }
    };
    at.record(rules::INVALID_VERSION, fault);
    None
}

/// `v1.2` is meant as `1.2.0`.
fn nearby_version(text: &str) -> Option<String> {
    let bare = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let (bare, label) = bare.find(['-', '+']).map_or((bare, ""), |end| bare.split_at(end));
    let numbers: Vec<&str> = bare.split('.').collect();
    let plain: Option<Vec<u32>> = numbers.iter().map(|number| number.parse().ok()).collect();
    let version = match plain?.as_slice() {
        [major] => format!("{major}.0.0{label}"),
        [major, minor] => format!("{major}.{minor}.0{label}"),
        [major, minor, patch] => format!("{major}.{minor}.{patch}{label}"),
        _ => return None,
    };
    Version::parse(&version).is_ok().then_some(version)
}

fn things<'t, T>(at: At<'t>, wanted: &str, read: impl Fn(At<'t>) -> Option<T>) -> Vec<(T, At<'t>)> {
    let items = list_of_named(at, "name", wanted);
    items.into_iter().filter_map(|item| Some((read(item)?, item))).collect()
}

/// The entries of a list of objects, in each of which stands its name: Compose has a map from the name there.
pub(super) fn list_of_named<'t>(at: At<'t>, name: &str, wanted: &str) -> Vec<At<'t>> {
    let Kind::Object(members) = &at.node.kind else { return at.objects(MAX_THINGS, wanted) };
    let wanted = format!("{wanted}, each with its `{name}`,");
    if at.member(name).or(at.member("image")).is_some_and(|at| matches!(at.node.kind, Kind::Text(_))) {
        // One of them, without the list around it.
        match at.node.to_json().map(|only| serde_json::json!([only]).to_string()) {
            Some(list) => at.wrong_type_suggesting(&wanted, list),
            None => at.wrong_type(&wanted),
        }
        return Vec::new();
    }
    let objects = members.iter().map(|member| {
        let mut object = serde_json::Map::from_iter([(name.to_owned(), member.key.as_ref().into())]);
        match member.value.to_json()? {
            serde_json::Value::Null => (),
            // Compose's own `name` is another one than the key.
            serde_json::Value::Object(value) if !value.contains_key(name) => object.extend(value),
            _ => return None,
        }
        Some(serde_json::Value::Object(object))
    });
    let list = objects.collect::<Option<Vec<_>>>().map(|list| serde_json::Value::from(list).to_string());
    match list {
        Some(list) => at.wrong_type_suggesting(&wanted, list),
        None => at.wrong_type(&wanted),
    }
    Vec::new()
}

type Required<'t> = (BTreeSet<crate::descriptor::Platform>, Vec<(AddonRequirement, At<'t>)>);

fn requires(at: At<'_>) -> Required<'_> {
    let Some(fields) = at.fields(&fields::REQUIRES, &[]) else { return Required::default() };
    let mut platforms = BTreeSet::new();
    for item in fields
        .get("platforms")
        .map(|at| at.items(MAX_THINGS, "a list of platforms such as `linux/arm64`"))
        .unwrap_or_default()
    {
        if let Some(platform) = modes::platform(item)
            && !platforms.insert(platform)
        {
            item.fault(rules::REPEATED_ENTRY, format!("`{platform}` stands here twice"));
        }
    }
    let addons =
        fields.get("addons").map(|at| things(at, "a list of addons", requirement)).unwrap_or_default();
    (platforms, addons)
}

fn requirement(at: At<'_>) -> Option<AddonRequirement> {
    if let Kind::Text(text) = &at.node.kind
        && text.parse::<AddonName>().is_ok()
    {
        at.wrong_type_suggesting(&fields::REQUIRED_ADDON.wanted(), format!("{{\"name\": \"{text}\"}}"));
        return None;
    }
    let fields = at.fields(&fields::REQUIRED_ADDON, &[])?;
    let version = match fields.get("version") {
        None => Some(VersionReq::STAR),
        Some(at) => at.text().and_then(|text| match VersionReq::parse(text) {
            Ok(range) => Some(range),
            Err(fault) => {
                let message = format!(
                    "`{}` is no range of versions such as `^1.2` or `>=1.2, <2`: {fault}",
                    shown(text)
                );
                // npm has blanks where Cargo has commas.
                let meant = text.split_whitespace().collect::<Vec<_>>().join(", ");
                let suggestion = VersionReq::parse(&meant).is_ok().then_some(meant);
                at.record(rules::INVALID_VERSION, Invalid { message, suggestion });
                None
            }
        }),
    };
    Some(AddonRequirement {
        name: fields.get("name").and_then(|at| at.parse(rules::INVALID_NAME))?,
        version: version?,
    })
}
