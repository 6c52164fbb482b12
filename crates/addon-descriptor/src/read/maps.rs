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
    if !matches!(at.node.kind, Kind::List(_)) {
        return map(at);
    }
    let mut found = BTreeMap::new();
    for item in at.items(MAX_ENTRIES) {
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

/// A map only.
pub(super) fn map<'t>(at: At<'t>) -> BTreeMap<String, (String, At<'t>)> {
    let mut found = BTreeMap::new();
    for (member, value) in at.members(MAX_ENTRIES) {
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
    let message = format!("`{}` has no value, and there is no shell to take one from", shown(key));
    let suggestion = match at.node.kind {
        Kind::Null => "\"\"".to_owned(),
        _ => format!("{}=", shown(key)),
    };
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
            let message = format!("`{}` is no setting that a container has for itself", shown(key));
            at.record_entry(key, rules::UNKNOWN_SYSCTL, Invalid { message, suggestion });
        }
    }
    plain(found)
}
