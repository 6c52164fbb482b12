//! Settings of a service that are a choice: restart, namespaces, capabilities, devices, user, signals, logging.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use super::maps;
use super::report::{At, about, shown};
use super::tree::Kind;
use crate::descriptor::{
    Capability, Condition, Dependency, Device, Gpus, IpcMode, LogDriver, Logging, NetworkMode, PidMode,
    Platform, RestartPolicy, SecurityOptions, Update, UpdateOrder,
};
use crate::fields;
use crate::names::ServiceName;
use crate::rules;
use crate::signals;
use crate::violation::Invalid;

use super::mounts::{normal_path, with_part};

/// Most entries of the lists here.
const MAX_ENTRIES: usize = 64;

/// What `restart` takes.
const RESTARTS: &str = "`always`, `unless-stopped`, `on-failure[:n]` or `no`, as a string,";

/// `restart`.
pub(super) fn restart(at: At<'_>) -> Option<RestartPolicy> {
    if let Kind::Boolean(value) = at.node.kind {
        at.wrong_type_suggesting(RESTARTS, if value { "\"always\"" } else { "\"no\"" });
        return None;
    }
    if let Some(condition) = at.member("condition") {
        // As `deploy` of Compose has it.
        let meant = match &condition.node.kind {
            Kind::Text(text) if text == "any" => Some("\"always\""),
            Kind::Text(text) if text == "on-failure" => Some("\"on-failure\""),
            Kind::Text(text) if text == "none" => Some("\"no\""),
            _ => None,
        };
        match meant.filter(|_| at.member("max_attempts").is_none()) {
            Some(meant) => at.wrong_type_suggesting(RESTARTS, meant),
            None => at.wrong_type(RESTARTS),
        }
        return None;
    }
    let text = at.text_or(RESTARTS)?;
    match text {
        "always" => return Some(RestartPolicy::Always),
        "unless-stopped" => return Some(RestartPolicy::UnlessStopped),
        "on-failure" => return Some(RestartPolicy::OnFailure { max_retries: None }),
        "no" => return Some(RestartPolicy::No),
        _ => (),
    }
    if let Some(count) = text.strip_prefix("on-failure:") {
        let is_plain = count.bytes().all(|b| b.is_ascii_digit()) && !count.starts_with('0');
        match count.parse::<i32>() {
            Ok(count) if is_plain => {
                let max_retries = Some(u32::try_from(count).expect("digits are not negative"));
                return Some(RestartPolicy::OnFailure { max_retries });
            }
            _ => {
                let message = format!("`{}` is no number of restarts, 1 or more", shown(count));
                at.fault(rules::UNKNOWN_VALUE, message);
                return None;
            }
        }
    }
    let suggestion = match text.to_ascii_lowercase().as_str() {
        "never" | "none" | "false" => Some("no".to_owned()),
        "onfailure" | "on_failure" => Some("on-failure".to_owned()),
        "true" | "yes" | "any" => Some("always".to_owned()),
        _ => at.nearest(text, ["always", "unless-stopped", "on-failure", "no"]),
    };
    let message = format!("`{}` is none of `always`, `unless-stopped`, `on-failure[:n]`, `no`", shown(text));
    at.record(rules::UNKNOWN_VALUE, Invalid { message, suggestion });
    None
}

/// `update`.
pub(super) fn update(at: At<'_>) -> Update {
    if let Kind::Text(text) = &at.node.kind
        && let "stop-first" | "start-first" = text.as_ref()
    {
        at.wrong_type_suggesting(&fields::UPDATE.wanted(), format!("{{\"order\": \"{text}\"}}"));
        return Update::default();
    }
    let order = at.fields(&fields::UPDATE, &[]).and_then(|fields| fields.get("order")).and_then(|at| {
        at.one_of(
            rules::UNKNOWN_VALUE,
            &[("stop-first", UpdateOrder::StopFirst), ("start-first", UpdateOrder::StartFirst)],
        )
    });
    Update { order: order.unwrap_or_default() }
}

/// What `depends_on` takes.
const DEPENDENCIES: &str =
    "a list of services, or a map of services to `{\"condition\": \"service_healthy\"}`,";

/// The same where a list holds maps, as one does by a `-` too many in YAML.
const DEPENDENCIES_IN_LIST: &str =
    "a list of names alone, or a map of services to `{\"condition\": \"service_healthy\"}`,";

/// The map that is meant by a list of names and maps.
pub(super) fn map_of(at: At<'_>) -> Option<String> {
    let mut map = serde_json::Map::new();
    for item in at.all_items().take(MAX_ENTRIES) {
        match item.node.to_json()? {
            serde_json::Value::String(name) => _ = map.insert(name, serde_json::json!({})),
            // `{"name": "n", "aliases": []}`, or `{"n": {"aliases": []}}`.
            serde_json::Value::Object(mut members) => match members.remove("name") {
                Some(serde_json::Value::String(name)) => _ = map.insert(name, members.into()),
                Some(_) => return None,
                None if members.values().all(serde_json::Value::is_object) => map.append(&mut members),
                None => return None,
            },
            _ => return None,
        }
    }
    Some(serde_json::Value::Object(map).to_string())
}

/// `depends_on`: a list of names, or a map. The names are not looked up here.
pub(super) fn depends_on<'t>(at: At<'t>) -> BTreeMap<ServiceName, (Dependency, At<'t>)> {
    let mut found = BTreeMap::new();
    if let Kind::Object(_) = at.node.kind {
        for (member, value) in at.members(MAX_ENTRIES, DEPENDENCIES) {
            let dependency = dependency(value);
            match member.key.parse() {
                Ok(name) => {
                    found.insert(name, (dependency, at.at_key(member)));
                }
                Err(fault) => at.fault_key(member, rules::INVALID_NAME, about(&member.key, fault)),
            }
        }
        return found;
    }
    if at.all_items().any(|item| matches!(item.node.kind, Kind::Object(_))) {
        match map_of(at) {
            Some(map) => at.wrong_type_suggesting(DEPENDENCIES_IN_LIST, map),
            None => at.wrong_type(DEPENDENCIES_IN_LIST),
        }
        return found;
    }
    for item in at.items(MAX_ENTRIES, DEPENDENCIES) {
        let Some(name) = item.parse::<ServiceName>(rules::INVALID_NAME) else { continue };
        match found.entry(name) {
            Entry::Vacant(slot) => {
                slot.insert((Dependency::default(), item));
            }
            Entry::Occupied(slot) => {
                item.fault(rules::REPEATED_ENTRY, format!("`{}` stands here twice", slot.key()));
            }
        }
    }
    found
}

fn dependency(at: At<'_>) -> Dependency {
    match at.node.kind {
        Kind::Null => Dependency::default(),
        Kind::Text(_) => Dependency { condition: condition(at).unwrap_or_default(), restart: false },
        Kind::Object(_) => match at.fields(&fields::DEPENDENCY, &[]) {
            None => Dependency::default(),
            Some(fields) => Dependency {
                condition: fields.get("condition").and_then(condition).unwrap_or_default(),
                restart: fields.boolean("restart"),
            },
        },
        _ => {
            at.wrong_type(
                "a condition such as `service_healthy`, or `{\"condition\": \"service_healthy\"}`,",
            );
            Dependency::default()
        }
    }
}

fn condition(at: At<'_>) -> Option<Condition> {
    at.one_of(rules::UNKNOWN_VALUE, &Condition::ALL.map(|condition| (condition.as_str(), condition)))
}

/// A choice between words and `service:<name>`.
fn mode<T>(
    at: At<'_>,
    words: &[&str],
    of_word: impl Fn(&str) -> Option<T>,
    of_service: impl Fn(ServiceName) -> T,
) -> Option<T> {
    let known: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    let known = known.join(", ");
    let text = at.text_or(&format!("one of {known}, `service:<name>`,"))?;
    if let Some(mode) = of_word(text) {
        return Some(mode);
    }
    if let Some(name) = text.strip_prefix("service:") {
        return match name.parse() {
            Ok(name) => Some(of_service(name)),
            Err(fault) => {
                at.record(rules::INVALID_NAME, about(name, fault));
                None
            }
        };
    }
    let suggestion = match text.strip_prefix("container:") {
        Some(name) => Some(format!("service:{}", shown(name))),
        None => at.nearest(text, words.iter().copied()),
    };
    let mut message = format!("`{}` is none of {known}, `service:<name>`", shown(text));
    if suggestion.is_none() && words.contains(&"bridge") {
        message.push_str("; a network is named in `networks`");
    }
    at.record(rules::UNKNOWN_VALUE, Invalid { message, suggestion });
    None
}

/// `network_mode`.
pub(super) fn network_mode(at: At<'_>) -> Option<NetworkMode> {
    let of_word = |word: &str| match word {
        "bridge" => Some(NetworkMode::Bridge),
        "host" => Some(NetworkMode::Host),
        "none" => Some(NetworkMode::None),
        _ => None,
    };
    mode(at, &["bridge", "host", "none"], of_word, NetworkMode::Service)
}

/// `pid`.
pub(super) fn pid(at: At<'_>) -> Option<PidMode> {
    mode(at, &["host"], |word| (word == "host").then_some(PidMode::Host), PidMode::Service)
}

/// `ipc`.
pub(super) fn ipc(at: At<'_>) -> Option<IpcMode> {
    let of_word = |word: &str| match word {
        "private" => Some(IpcMode::Private),
        "shareable" => Some(IpcMode::Shareable),
        "host" => Some(IpcMode::Host),
        _ => None,
    };
    mode(at, &["private", "shareable", "host"], of_word, IpcMode::Service)
}

/// A value out of a closed list of names, which the nearest of is suggested.
fn known<T: FromStr<Err = Invalid>>(at: At<'_>, rule: &'static str, text: &str, names: &[&str]) -> Option<T> {
    match text.parse() {
        Ok(value) => Some(value),
        Err(fault) => {
            let upper = text.to_ascii_uppercase();
            let bare = upper.strip_prefix("CAP_").unwrap_or(text);
            let suggestion = at.nearest(bare, names.iter().copied());
            at.record(rule, Invalid { suggestion, ..about(text, fault) });
            None
        }
    }
}

/// `cap_add` and `cap_drop`.
pub(super) fn capabilities(at: At<'_>) -> BTreeSet<Capability> {
    let mut found = BTreeSet::new();
    for item in at.items(MAX_ENTRIES, "a list of capabilities such as `NET_ADMIN`") {
        let Some(text) = item.text() else { continue };
        let Some(capability) = known::<Capability>(item, rules::UNKNOWN_CAPABILITY, text, &Capability::ALL)
        else {
            continue;
        };
        if !found.insert(capability) {
            item.fault(rules::REPEATED_ENTRY, format!("`{capability}` stands here twice"));
        }
    }
    found
}

/// A platform.
pub(super) fn platform(at: At<'_>) -> Option<Platform> {
    let text = at.text()?;
    match text.parse() {
        Ok(platform) => Some(platform),
        Err(fault) => {
            let suggestion = near_platform(text).map(str::to_owned);
            at.record(rules::UNKNOWN_PLATFORM, Invalid { suggestion, ..about(text, fault) });
            None
        }
    }
}

/// The platform that is certainly meant: by another name of its processor, or by a single slip that makes it no other.
fn near_platform(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    let processor = text.strip_prefix("linux/").unwrap_or(&text);
    let meant = match processor {
        "x86_64" | "x86-64" | "x64" | "amd64/v1" => "linux/amd64",
        "aarch64" | "armv8" | "arm/v8" => "linux/arm64",
        "armv7l" | "armv7" | "armhf" => "linux/arm/v7",
        "armv6l" | "armv6" => "linux/arm/v6",
        "i386" | "i686" | "x86" => "linux/386",
        _ => {
            let bare = format!("linux/{processor}");
            if let Some(exact) = Platform::ALL.into_iter().find(|name| *name == bare) {
                return Some(exact);
            }
            let mut near = Platform::ALL.into_iter().filter(|name| strsim::osa_distance(&bare, name) <= 1);
            return match (near.next(), near.next()) {
                (Some(only), None) => Some(only),
                _ => None,
            };
        }
    };
    Some(meant)
}

/// `security_opt`.
pub(super) fn security_opt(at: At<'_>) -> SecurityOptions {
    const WORDS: [&str; 6] = [
        "no-new-privileges",
        "no-new-privileges:true",
        "no-new-privileges:false",
        "seccomp=unconfined",
        "apparmor=unconfined",
        "label=disable",
    ];
    let mut options = SecurityOptions::default();
    let mut seen = BTreeSet::new();
    for item in at.items(MAX_ENTRIES, "a list of strings such as `no-new-privileges`") {
        let Some(text) = item.text() else { continue };
        match text {
            "no-new-privileges" | "no-new-privileges:true" => options.no_new_privileges = true,
            "no-new-privileges:false" => options.no_new_privileges = false,
            "seccomp=unconfined" => options.seccomp_unconfined = true,
            "apparmor=unconfined" => options.apparmor_unconfined = true,
            "label=disable" => options.label_disable = true,
            _ => {
                let message = format!(
                    "`{}` is none of {}",
                    shown(text),
                    WORDS.map(|word| format!("`{word}`")).join(", ")
                );
                let suggestion = item.nearest(text, WORDS);
                item.record(rules::UNKNOWN_VALUE, Invalid { message, suggestion });
                continue;
            }
        }
        let subject = text.split([':', '=']).next().unwrap_or(text);
        if !seen.insert(subject) {
            item.fault(rules::REPEATED_ENTRY, format!("`{subject}` is set twice"));
        }
    }
    options
}

/// `devices`, each with its place.
pub(super) fn devices<'t>(at: At<'t>) -> Vec<(Device, At<'t>)> {
    at.items(MAX_ENTRIES, "a list of strings such as `/dev/ttyUSB0:/dev/ttyUSB0:rw`")
        .into_iter()
        .filter_map(|item| Some((device(item)?, item)))
        .collect()
}

fn device(at: At<'_>) -> Option<Device> {
    let text = at.text_or("a string such as `/dev/ttyUSB0:/dev/ttyUSB0:rw`")?;
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, permissions) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, permissions] if !permissions.starts_with('/') => (*host, *host, *permissions),
        [host, container] => (*host, *container, "rwm"),
        [host, container, permissions] => (*host, *container, *permissions),
        _ => {
            at.fault(rules::INVALID_DEVICE, "a device is `/dev/x[:/dev/y[:rwm]]`");
            return None;
        }
    };
    let path = |index: usize, path: &str| match normal_path(path) {
        Ok(path) => Some(path),
        Err(fault) => {
            let below_dev = format!("/dev/{path}");
            let is_bare = !path.is_empty() && !path.contains(['.', '~']) && normal_path(&below_dev).is_ok();
            let meant = if is_bare { Some(below_dev.as_str()) } else { fault.suggestion.as_deref() };
            let suggestion = meant.map(|path| with_part(text, index, path));
            at.record(rules::INVALID_PATH, Invalid { suggestion, ..about(path, fault) });
            None
        }
    };
    let (host, container) = (path(0, host)?, path(1, container)?);
    if !host.starts_with("/dev/") || container == "/" {
        at.fault(
            rules::INVALID_DEVICE,
            format!("`{}` is no device: those of the host lie below /dev", shown(text)),
        );
        return None;
    }
    let count = |letter: char| permissions.matches(letter).count();
    let (read, write, mknod) = (count('r'), count('w'), count('m'));
    if permissions.is_empty()
        || read > 1
        || write > 1
        || mknod > 1
        || read + write + mknod != permissions.len()
    {
        let message = format!("`{}` is no part of `rwm`", shown(permissions));
        at.fault_suggesting(rules::INVALID_DEVICE, message, with_part(text, parts.len() - 1, "rwm"));
        return None;
    }
    Some(Device { host, container, read: read == 1, write: write == 1, mknod: mknod == 1 })
}

/// `gpus`: `all`, or a count.
pub(super) fn gpus(at: At<'_>) -> Option<Gpus> {
    let fault = Invalid::new("`all`, or how many: 1 or more");
    match &at.node.kind {
        Kind::Text(text) if text.as_ref() == "all" => return Some(Gpus::All),
        Kind::Text(text) if !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()) => {
            if let Ok(count) = text.parse::<u16>() {
                return Some(Gpus::Count(u32::from(count)));
            }
            at.record(rules::INVALID_NUMBER, fault);
        }
        Kind::Text(text) if text.as_ref() == "-1" => at.record(rules::UNKNOWN_VALUE, fault.suggest("all")),
        Kind::Text(_) => at.record(rules::UNKNOWN_VALUE, fault.suggest("all")),
        Kind::Number(_) => {
            return at
                .integer(1, i64::from(u16::MAX))
                .map(|count| Gpus::Count(u32::try_from(count).expect("bounded above")));
        }
        Kind::Boolean(true) => at.wrong_type_suggesting("`all`, or how many,", "\"all\""),
        _ => at.wrong_type("`all`, or how many,"),
    }
    None
}

/// A user or group as one word, or as a number.
fn user_or_group(at: At<'_>, allow_group: bool) -> Option<String> {
    if let Kind::Number(_) = at.node.kind {
        return at.integer(0, i64::from(u32::MAX)).map(|id| id.to_string());
    }
    let wanted =
        if allow_group { "`user`, `user:group` or a number" } else { "a group, its name or number," };
    let text = at.text_or(wanted)?;
    let is_part = |part: &str| {
        !part.is_empty()
            && part.len() <= 64
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'$'))
            && !part.starts_with('-')
            && (!part.bytes().all(|b| b.is_ascii_digit()) || part.parse::<u32>().is_ok())
    };
    let is_valid = match text.split_once(':') {
        Some((user, group)) => allow_group && is_part(user) && is_part(group),
        None => is_part(text),
    };
    if !is_valid {
        let form = if allow_group { "user[:group]" } else { "a group" };
        at.fault(rules::INVALID_USER, format!("`{}` is not {form}, names or numbers", shown(text)));
        return None;
    }
    Some(text.to_owned())
}

/// `user`.
pub(super) fn user(at: At<'_>) -> Option<String> {
    user_or_group(at, true)
}

/// `group_add`.
pub(super) fn groups(at: At<'_>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for item in at.items(MAX_ENTRIES, "a list of groups, names or numbers,") {
        let Some(group) = user_or_group(item, false) else { continue };
        if found.contains(&group) {
            item.fault(rules::REPEATED_ENTRY, format!("`{group}` stands here twice"));
        }
        found.insert(group);
    }
    found
}

/// `stop_signal`.
pub(super) fn signal(at: At<'_>) -> Option<String> {
    let number;
    let text = match at.node.kind {
        Kind::Number(_) => {
            number = at.integer(1, 64)?.to_string();
            &number
        }
        _ => at.text_or("a signal, its name or number,")?,
    };
    let signal = signals::parse(text);
    if signal.is_none() {
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        let suggestion = at.nearest(bare, signals::names()).map(|name| format!("SIG{name}"));
        let message = format!("`{}` is no signal that the engine knows", shown(text));
        at.record(rules::UNKNOWN_SIGNAL, Invalid { message, suggestion });
    }
    signal
}

/// `logging`; `None` when it says nothing.
pub(super) fn logging(at: At<'_>) -> Option<Logging> {
    if let Kind::Text(text) = &at.node.kind
        && LogDriver::ALL.contains(&text.as_ref())
    {
        at.wrong_type_suggesting(&fields::LOGGING.wanted(), format!("{{\"driver\": \"{text}\"}}"));
        return None;
    }
    let fields = at.fields(&fields::LOGGING, &[])?;
    let logging = Logging {
        driver: fields
            .get("driver")
            .and_then(|at| at.text().and_then(|text| known(at, rules::UNKNOWN_VALUE, text, &LogDriver::ALL))),
        options: fields
            .get("options")
            .map(|at| maps::plain(maps::map(at, "a map of names to values")))
            .unwrap_or_else(BTreeMap::new),
    };
    (logging != Logging::default()).then_some(logging)
}
