//! Maps of texts: environment, labels, kernel settings, options of drivers.

use std::collections::BTreeMap;

use super::report::{At, shown};
use super::tree::Kind;
use crate::rules;
use crate::violation::Invalid;

/// Most entries of an environment, and of every other map.
const MAX_ENTRIES: usize = 256;

/// A map, or a list of `K=V`.
pub(super) fn map_or_list<'t>(at: At<'t>) -> BTreeMap<String, (String, At<'t>)> {
    const WANTED: &str = "a map of names to values, or a list of `K=V`,";
    match &at.node.kind {
        Kind::List(_) if at.all_items().any(|item| matches!(item.node.kind, Kind::Object(_))) => {
            let message = "an entry of the list is `K=V`, not an object; a map says the same".to_owned();
            at.record(rules::WRONG_TYPE, Invalid { message, suggestion: of_objects(at) });
            return BTreeMap::new();
        }
        Kind::List(_) => (),
        Kind::Text(text) if text.contains('=') => {
            at.wrong_type_suggesting(WANTED, serde_json::json!([text]).to_string());
            return BTreeMap::new();
        }
        _ => return map(at, WANTED),
    }
    let mut found = BTreeMap::new();
    for item in at.items(MAX_ENTRIES, WANTED) {
        let Some(text) = item.text() else { continue };
        match text.split_once('=') {
            None => from_shell(item, text),
            Some(("", _)) => item.fault(rules::INVALID_KEY, "nothing stands before the `=`"),
            Some((key, _)) if found.contains_key(key) => {
                item.fault(rules::REPEATED_KEY, format!("`{}` stands here twice", shown(key)));
            }
            Some((key, value)) => {
                found.insert(key.to_owned(), (value.to_owned(), item));
            }
        }
    }
    found
}

/// The map that is meant by a list of `{"name", "value"}`, which Kubernetes has, and of `K=V`.
fn of_objects(at: At<'_>) -> Option<String> {
    let mut map = serde_json::Map::new();
    for item in at.all_items().take(MAX_ENTRIES) {
        let (key, value) = match &item.node.kind {
            Kind::Text(text) => {
                let (key, value) = text.split_once('=')?;
                (key.to_owned(), value.into())
            }
            Kind::Object(members) if members.iter().any(|member| member.key == "name") => {
                let value = members.iter().find(|member| member.key == "value")?;
                let Kind::Text(name) = &item.entry("name").node.kind else { return None };
                (name.clone().into_owned(), value.value.to_json()?)
            }
            // Or of maps of one entry each.
            Kind::Object(members) => match members.as_slice() {
                [only] => (only.key.clone().into_owned(), only.value.to_json()?),
                _ => return None,
            },
            _ => return None,
        };
        if value.is_object() || value.is_array() || value.is_null() || map.insert(key, value).is_some() {
            return None;
        }
    }
    Some(serde_json::Value::Object(map).to_string())
}

/// A map only; `wanted` names what the field takes.
pub(super) fn map<'t>(at: At<'t>, wanted: &str) -> BTreeMap<String, (String, At<'t>)> {
    let mut found = BTreeMap::new();
    for (member, value) in at.members(MAX_ENTRIES, wanted) {
        if member.key.is_empty() {
            at.fault_key(member, rules::INVALID_KEY, Invalid::new("the key is empty"));
        } else if matches!(value.node.kind, Kind::Null) {
            from_shell(value, &member.key);
        } else if let Some(text) = value.scalar() {
            found.insert(member.key.clone().into_owned(), (text, value));
        }
    }
    found
}

fn from_shell(at: At<'_>, key: &str) {
    let suggestion = match (&at.node.kind, key.split_once(": ")) {
        (Kind::Null, _) => "\"\"".to_owned(),
        // As YAML writes a map.
        (_, Some((name, value))) => format!("{name}={}", value.trim_matches(' ')),
        _ => format!("{key}="),
    };
    let message = format!("`{}` has no value, and there is no shell to take one from", shown(key));
    at.fault_suggesting(rules::VALUE_FROM_SHELL, message, suggestion);
}

/// The entries without their places.
pub(super) fn plain(map: BTreeMap<String, (String, At<'_>)>) -> BTreeMap<String, String> {
    map.into_iter().map(|(key, (value, _))| (key, value)).collect()
}

/// Variables: a key holds no `=`.
pub(super) fn environment(at: At<'_>) -> BTreeMap<String, (String, At<'_>)> {
    let found = map_or_list(at);
    for key in found.keys() {
        if key.contains(['=', '\n']) {
            let fault = Invalid::new(format!("the name of a variable has no `=`: `{}`", shown(key)));
            at.record_entry(key, rules::INVALID_KEY, fault);
        }
    }
    found
}

/// Labels: not those of the platform and of Compose.
pub(super) fn labels(at: At<'_>) -> BTreeMap<String, String> {
    let found = map_or_list(at);
    for key in found.keys() {
        if let Some(prefix) =
            ["oak.", "com.docker.compose."].into_iter().find(|prefix| key.starts_with(prefix))
        {
            let message = format!("labels under `{prefix}` are set by the platform, not by `{}`", shown(key));
            at.record_entry(key, rules::RESERVED_LABEL, Invalid::new(message));
        }
    }
    plain(found)
}

/// Kernel settings that are namespaced beside `net.` and `fs.mqueue.` (runc, `libcontainer/configs/validate`).
const SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];

/// Namespaced kernel settings.
pub(super) fn sysctls(at: At<'_>) -> BTreeMap<String, String> {
    let found = map_or_list(at);
    for (key, (_, place)) in &found {
        let tail = key.strip_prefix("net.").or_else(|| key.strip_prefix("fs.mqueue."));
        let is_known = SYSCTLS.contains(&key.as_str())
            || tail.is_some_and(|tail| {
                !tail.is_empty()
                    && tail.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
            });
        if !is_known {
            let dotted = key.replace('/', ".");
            let suggestion = if dotted.starts_with("net.") && dotted != *key {
                Some(dotted)
            } else {
                place.nearest(key, SYSCTLS)
            };
            let message = format!(
                "`{}` is no setting that a container has for itself (`net.*`, `fs.mqueue.*` and a few of `kernel.*`): \
                 the host's own are set there",
                shown(key)
            );
            at.record_entry(key, rules::UNKNOWN_SYSCTL, Invalid { message, suggestion });
        }
    }
    plain(found)
}
