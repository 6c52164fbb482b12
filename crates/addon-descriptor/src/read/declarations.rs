//! Volumes and networks that the document declares.

use std::collections::BTreeSet;
use std::str::FromStr;

use ipnet::IpNet;

use super::mounts::normal_path;
use super::report::{At, about, shown};
use super::tree::Kind;
use super::{maps, networks};
use crate::descriptor::{NetworkSpec, VolumeSpec};
use crate::fields;
use crate::names::{NetworkName, VolumeName};
use crate::rules;
use crate::violation::Invalid;

/// One of `volumes`; `None` when not even its name could be read.
pub(super) fn volume(at: At<'_>) -> Option<VolumeSpec> {
    if let Kind::Text(text) = &at.node.kind
        && text.parse::<VolumeName>().is_ok()
    {
        at.wrong_type_suggesting(&fields::VOLUME.wanted(), format!("{{\"name\": \"{text}\"}}"));
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
        driver_opts: fields
            .get("driver_opts")
            .map(|at| maps::plain(maps::map(at, "a map of names to values")))
            .unwrap_or_default(),
        labels: fields.get("labels").map(maps::labels).unwrap_or_default(),
        external: fields.boolean("external"),
        ..VolumeSpec::new(fields.get("name").and_then(|at| at.parse(rules::INVALID_NAME))?)
    };
    if let (Some(at), VolumeSpec::DEFAULT_DRIVER) = (fields.get("driver_opts"), volume.driver.as_str()) {
        bound_path(at, &volume);
    }
    let plain = VolumeSpec { external: true, ..VolumeSpec::new(volume.name.clone()) };
    if volume.external && volume != plain {
        let message = "an external volume exists already: it has no driver, options or labels here";
        fields.place("external").fault(rules::EXTERNAL_WITH_SETTINGS, message);
    }
    Some(volume)
}

/// A path of the host that a `local` volume binds is written as it is: absolute and normal. The engine would read any
/// other from its own folder, or follow it to somewhere else than it says.
fn bound_path(at: At<'_>, volume: &VolumeSpec) {
    if !volume.is_bound() {
        return;
    }
    let Some(device) = volume.driver_opts.get("device") else {
        at.fault_missing(
            "device",
            rules::INVALID_PATH,
            "options that bind a path of the host need its `device`",
        );
        return;
    };
    if let Err(fault) = normal_path(device) {
        // Where `..` leads behind a symbolic link only the host knows.
        let suggestion = fault.suggestion.clone().filter(|_| !device.contains(".."));
        at.entry("device").record(rules::INVALID_PATH, Invalid { suggestion, ..about(device, fault) });
    }
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

/// One of `networks`; `None` when not even its name could be read.
pub(super) fn network(at: At<'_>) -> Option<NetworkSpec> {
    if let Kind::Text(text) = &at.node.kind
        && text.parse::<NetworkName>().is_ok()
    {
        at.wrong_type_suggesting(&fields::NETWORK.wanted(), format!("{{\"name\": \"{text}\"}}"));
        return None;
    }
    let fields = at.fields(&fields::NETWORK, &[])?;
    let driver =
        fields.get("driver").and_then(|at| driver(at).filter(|driver| !networks::reserved(at, driver)));
    let subnets: Vec<(IpNet, At<'_>)> = fields
        .get("subnets")
        .map(|at| {
            at.items(16, "a list of subnets such as `10.20.0.0/24`")
                .into_iter()
                .filter_map(|item| Some((subnet(item)?, item)))
                .collect()
        })
        .unwrap_or_default();
    let mut network = NetworkSpec {
        driver: driver.unwrap_or_else(|| NetworkSpec::DEFAULT_DRIVER.to_owned()),
        driver_opts: fields
            .get("driver_opts")
            .map(|at| maps::plain(maps::map(at, "a map of names to values")))
            .unwrap_or_default(),
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
        // Their order says nothing then.
        network.subnets.sort();
    }
    Some(network)
}

fn subnet(at: At<'_>) -> Option<IpNet> {
    let text = at.text()?;
    let Ok(subnet) = IpNet::from_str(text) else {
        let message = format!("`{}` is no subnet such as `10.20.0.0/24`", shown(text));
        at.fault(rules::INVALID_ADDRESS, message);
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
