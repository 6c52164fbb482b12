//! `ports`: a map, container first.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::report::{At, shown};
use super::scope::Scope;
use super::tree::Kind;
use crate::descriptor::{HostPort, PortMapping, PortRange, Protocol};
use crate::names::ParameterName;
use crate::parameters::ParameterKind;
use crate::rules;
use crate::violation::Invalid;

/// Most published ports or ranges of a service.
const MAX_PORTS: usize = 64;

/// What `ports` takes.
const PORTS: &str = "a map from the container's port to the host's, such as `{\"80\": \"8080\"}`,";
/// What stands for a port of the container.
const HOST_SIDE: &str =
    "a port of the host such as `8080` or `\"127.0.0.1:8080\"`, a list of them, or `\"\"` for any free one,";

/// Reads the ports of a service, sorted, each with its place.
pub(super) fn read<'t>(at: At<'t>, scope: &Scope) -> Vec<(PortMapping, At<'t>)> {
    match &at.node.kind {
        Kind::List(_) => {
            let mut message =
                "ports are a map from the container's port to the host's: container first".to_owned();
            let suggestion = match as_map(at.all_items(), scope) {
                Ok(map) => Some(map),
                Err(entry) => {
                    message.push_str(&format!("; `{}` cannot be written so", shown(&entry)));
                    None
                }
            };
            at.record(rules::PORTS_AS_LIST, Invalid { message, suggestion });
            return Vec::new();
        }
        Kind::Text(_) | Kind::Number(_) => {
            match as_map(std::iter::once(at), scope) {
                Ok(map) => at.wrong_type_suggesting(PORTS, map),
                Err(_) => at.wrong_type(PORTS),
            }
            return Vec::new();
        }
        _ => (),
    }
    let mut found: Vec<(PortMapping, At<'t>)> = Vec::new();
    let mut containers: HashMap<(PortRange, Protocol), &str> = HashMap::new();
    for (member, value) in at.members(MAX_PORTS, PORTS) {
        let (container, protocol) = match container_port(&member.key) {
            Ok(port) => port,
            Err(fault) => {
                at.fault_key(member, rules::INVALID_PORT, fault);
                continue;
            }
        };
        if let Some(other) = containers.insert((container, protocol), &member.key) {
            let message =
                format!("`{}` and `{other}` are the same port; a list publishes it twice", member.key);
            at.fault_key(member, rules::REPEATED_PORT, Invalid::new(message));
            continue;
        }
        let hosts = match value.node.kind {
            Kind::List(_) => {
                let hosts = value.items(MAX_PORTS, HOST_SIDE);
                if hosts.is_empty() {
                    value.warn(rules::NO_EFFECT, "an empty list publishes nothing", Some("\"\"".to_owned()));
                }
                hosts
            }
            _ => vec![value],
        };
        let mut seen = Vec::new();
        for place in hosts {
            let Some((address, host)) = host_side(place, container, protocol, scope) else { continue };
            if seen.contains(&(address, host.clone())) {
                place.fault(rules::REPEATED_PORT, "the same port of the host stands here twice");
                continue;
            }
            seen.push((address, host.clone()));
            found.push((PortMapping { container, protocol, address, host }, place));
        }
    }
    if found.len() > MAX_PORTS {
        at.fault(
            rules::TOO_MANY_ENTRIES,
            format!("at most {MAX_PORTS} published ports, not {}", found.len()),
        );
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

/// `80`, `53/udp`, `8000-8002`.
fn container_port(key: &str) -> Result<(PortRange, Protocol), Invalid> {
    let (ports, protocol) = match key.split_once('/') {
        None => (key, Protocol::Tcp),
        Some((ports, "tcp")) => (ports, Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some((ports, "sctp")) => (ports, Protocol::Sctp),
        Some((ports, other)) => {
            let fault = Invalid::new(format!("`{}` is no protocol: tcp, udp or sctp", shown(other)));
            let lower = other.to_ascii_lowercase();
            let is_case_only = matches!(lower.as_str(), "tcp" | "udp" | "sctp");
            return Err(if is_case_only { fault.suggest(format!("{ports}/{lower}")) } else { fault });
        }
    };
    match port_range(ports) {
        Some(range) => Ok((range, protocol)),
        None if port_range(key.trim_matches(' ')).is_some() => {
            let fault = format!("`{}` has blanks around the port", shown(key));
            Err(Invalid::new(fault).suggest(key.trim_matches(' ')))
        }
        None if key.contains(':') => Err(Invalid::new(format!(
            "`{}` is no port of the container: the key is the container's port alone, the host's is the value",
            shown(key)
        ))),
        None => {
            Err(Invalid::new(format!("`{}` is no port from 1 to 65535, nor a range of them", shown(key))))
        }
    }
}

/// `80` or `8000-8002`, without signs, blanks or leading zeros.
pub(crate) fn port_range(text: &str) -> Option<PortRange> {
    let port = |text: &str| -> Option<u16> {
        let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        if is_plain { text.parse().ok() } else { None }
    };
    let range = match text.split_once('-') {
        None => PortRange { first: port(text)?, last: port(text)? },
        Some((first, last)) => PortRange { first: port(first)?, last: port(last)? },
    };
    (range.first <= range.last).then_some(range)
}

fn host_side(
    at: At<'_>,
    container: PortRange,
    protocol: Protocol,
    scope: &Scope,
) -> Option<(Option<IpAddr>, HostPort)> {
    let number;
    let text = match &at.node.kind {
        Kind::Text(text) => text.as_ref(),
        Kind::Number(_) => {
            number = at.integer(0, 65_535)?.to_string();
            &number
        }
        Kind::Object(_) => {
            let published = long_form(at).map_or_else(|| container.to_string(), |(_, host)| host);
            let message = format!("the long form of a port is not read here: {HOST_SIDE} is needed");
            at.fault_suggesting(rules::LONG_FORM, message, serde_json::json!(published).to_string());
            return None;
        }
        Kind::Null => {
            at.wrong_type_suggesting(HOST_SIDE, "\"\"");
            return None;
        }
        _ => {
            at.wrong_type(HOST_SIDE);
            return None;
        }
    };
    let fault = |message: String| {
        let message = format!("`{}` is no port of the host: {message}", shown(text));
        Invalid { message, suggestion: None }
    };
    let (address, port) = match split_address(text) {
        Ok(parts) => parts,
        Err(message) => {
            // `8080:80` says again what the key says.
            let key = container.to_string();
            let host = text.strip_suffix(key.as_str()).and_then(|rest| rest.strip_suffix(':'));
            let port = text.rsplit_once(':').map_or("", |(_, port)| port);
            let suggestion = match host.filter(|host| port_range(host).is_some()) {
                Some(host) => Some(host.to_owned()),
                None if text == format!("localhost:{port}") => Some(format!("127.0.0.1:{port}")),
                None => text
                    .strip_suffix(&format!(":{port}"))
                    .filter(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
                    .map(|address| format!("[{address}]:{port}")),
            };
            at.record(rules::INVALID_PORT, Invalid { suggestion, ..fault(message.to_owned()) });
            return None;
        }
    };
    if port.is_empty() || port == "0" {
        return Some((address, HostPort::Any));
    }
    if scope.declares_parameters()
        && let Some(name) = whole_reference(port)
    {
        let host = parameter(at, name, scope)?;
        if container.count() > 1 {
            let message =
                format!("a parameter is one port, and the container's range has {}", container.count());
            at.fault(rules::UNEQUAL_RANGES, message);
            return None;
        }
        return Some((address, host));
    }
    let Some(range) = port_range(port) else {
        let plain = port.split_once('/').filter(|(ports, _)| port_range(ports).is_some());
        let fault = match plain {
            Some((ports, _)) => {
                fault(format!("the protocol stands with the container's port ({container}/{protocol})"))
                    .suggest(ports)
            }
            None => {
                let bare = text.trim_matches(' ').trim_start_matches('0');
                let suggestion = port_range(bare).map(|_| bare.to_owned());
                let form = "a port from 1 to 65535, a range, `ip:port`, or `\"\"` for any free one";
                Invalid { suggestion, ..fault(form.to_owned()) }
            }
        };
        at.record(rules::INVALID_PORT, fault);
        return None;
    };
    if range.count() != container.count() {
        let message = format!(
            "as many ports of the host are needed as of the container: {} ({container}), not {} ({range})",
            container.count(),
            range.count()
        );
        at.fault(rules::UNEQUAL_RANGES, message);
        return None;
    }
    Some((address, HostPort::Fixed(range)))
}

/// The address before the last colon, if there is one; all IPv4 addresses are no address.
fn split_address(text: &str) -> Result<(Option<IpAddr>, &str), &'static str> {
    // A reference holds no colon, so the last one ends the address.
    let Some((address, port)) = text.rsplit_once(':') else { return Ok((None, text)) };
    let address: IpAddr = match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => {
            inner.parse::<std::net::Ipv6Addr>().map(IpAddr::from).map_err(|_| "no IPv6 address")?
        }
        None if address.contains(':') => return Err("an IPv6 address stands in brackets"),
        None => address
            .parse::<std::net::Ipv4Addr>()
            .map(IpAddr::from)
            .map_err(|_| "an IP address stands before the colon, and the container's port is the key")?,
    };
    let address = address.to_canonical();
    let is_everywhere = matches!(address, IpAddr::V4(ip) if ip.is_unspecified());
    Ok(((!is_everywhere).then_some(address), port))
}

/// The name in a text that is `${name}` and nothing else.
pub(super) fn whole_reference(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}').filter(|name| name.parse::<ParameterName>().is_ok())
}

fn parameter(at: At<'_>, name: &str, scope: &Scope) -> Option<HostPort> {
    let parsed: ParameterName = name.parse().expect("whole_reference gives names only");
    let kind = scope.resolve(at, name)?;
    let gives_ports = match kind {
        None | Some(ParameterKind::Port(_)) => true,
        Some(ParameterKind::Integer(bounds)) => {
            bounds.min.is_some_and(|min| min >= 1) && bounds.max.is_some_and(|max| max <= 65_535)
        }
        Some(ParameterKind::Enum { values, .. }) => {
            values.iter().all(|value| port_range(value).is_some_and(|range| range.count() == 1))
        }
        Some(_) => false,
    };
    if !gives_ports {
        let message = format!("the parameter `{name}` may be something else than a port");
        at.fault_suggesting(rules::PARAMETER_TYPE, message, format!("declare `{name}` with the type `port`"));
        return None;
    }
    Some(HostPort::Parameter(parsed))
}

/// The container's and the host's side that the long form of Compose or of Kubernetes means.
fn long_form(at: At<'_>) -> Option<(String, String)> {
    let either = |name: &str| match &at.member(name)?.node.kind {
        Kind::Text(text) => Some(shown(text).into_owned()),
        Kind::Number(number) => Some((*number).to_owned()),
        _ => None,
    };
    let value = |name: &str| match name {
        "target" => either("target").or_else(|| either("containerPort")),
        "published" => either("published").or_else(|| either("hostPort")),
        "host_ip" => either("host_ip").or_else(|| either("hostIP")),
        // Kubernetes writes `UDP`.
        name => either(name).map(|text| text.to_ascii_lowercase()),
    };
    let host = match (value("host_ip"), value("published").unwrap_or_default()) {
        (Some(ip), port) if ip.contains(':') => format!("[{ip}]:{port}"),
        (Some(ip), port) => format!("{ip}:{port}"),
        (None, port) => port,
    };
    let container = value("target").unwrap_or_default();
    match value("protocol") {
        Some(protocol) if protocol != "tcp" => Some((format!("{container}/{protocol}"), host)),
        _ => Some((container, host)),
    }
}

/// The map that is meant by a list of `[ip:]host:container`; or the entry that cannot be written so.
fn as_map<'t>(entries: impl Iterator<Item = At<'t>>, scope: &Scope) -> Result<String, String> {
    let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for item in entries {
        let (text, meant) = match &item.node.kind {
            Kind::Text(text) => (text.to_string(), of_entry(text)),
            Kind::Number(number) => ((*number).to_owned(), of_entry(number)),
            Kind::Object(_) => match long_form(item) {
                Some((container, host)) => (format!("{host}:{container}"), (container, host)),
                None => return Err("an object".to_owned()),
            },
            kind => return Err(kind.describe().to_owned()),
        };
        let (container, host) = meant;
        let Some((container, host)) = publishable(&container, &host, scope) else { return Err(text) };
        let hosts = map.entry(container).or_default();
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    let one_or_more = |hosts: Vec<String>| match <[String; 1]>::try_from(hosts) {
        Ok([host]) => serde_json::Value::from(host),
        Err(hosts) => hosts.into(),
    };
    let map: serde_json::Map<_, _> =
        map.into_iter().map(|(container, hosts)| (container, one_or_more(hosts))).collect();
    Ok(serde_json::Value::Object(map).to_string())
}

/// The container's side of an entry with its protocol, and the host's.
fn of_entry(text: &str) -> (String, String) {
    let (ports, protocol) = text.find('/').map_or((text, ""), |slash| text.split_at(slash));
    let (host, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    (format!("{container}{protocol}"), host.to_owned())
}

/// Both sides as this reader accepts them, the container's in its one form.
fn publishable(container: &str, host: &str, scope: &Scope) -> Option<(String, String)> {
    let (range, protocol) = container_port(container).ok()?;
    let (_, port) = split_address(host).ok()?;
    let is_any = port.is_empty() || port == "0";
    let is_parameter = scope.declares_parameters() && whole_reference(port).is_some() && range.count() == 1;
    // A range of the host's for one port means any of them there, which cannot be said here.
    let is_fixed = port_range(port).is_some_and(|port| port.count() == range.count());
    let key = if protocol == Protocol::Tcp { range.to_string() } else { format!("{range}/{protocol}") };
    (is_any || is_parameter || is_fixed).then(|| (key, host.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_plain_numbers_in_order() {
        assert_eq!(port_range("80"), Some(PortRange { first: 80, last: 80 }));
        assert_eq!(port_range("8000-8002"), Some(PortRange { first: 8000, last: 8002 }));
        for text in ["", "0", "-1", "+80", "080", "65536", "80-", "-80", "81-80", "1-2-3", " 80", "8e1"] {
            assert_eq!(port_range(text), None, "{text}");
        }
    }

    #[test]
    fn all_addresses_are_no_address() {
        assert_eq!(split_address("0.0.0.0:80"), Ok((None, "80")));
        assert_eq!(split_address("[::1]:80").unwrap().0, "::1".parse().ok());
        assert_eq!(split_address("[::ffff:10.0.0.1]:80").unwrap().0, "10.0.0.1".parse().ok());
        assert!(split_address("::1:80").is_err());
        assert!(split_address("host:80").is_err());
    }
}
