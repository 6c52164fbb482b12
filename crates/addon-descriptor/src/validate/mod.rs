//! Rules across fields of what was read: what cannot work is a violation, what is only unwise a warning.
//!
//! Fields by themselves were checked when they were read. One file a family of rules.

mod advice;
mod networks;
mod ports;
mod services;
mod volumes;

use std::collections::HashMap;

pub(crate) use networks::DEFAULT_PLATFORM_NETWORK;
pub(crate) use ports::{overlaps, taken};

use crate::names::fold;
use crate::read::document::DocumentRead;
use crate::read::report::{At, shown};
use crate::rules;

/// Checks the document, and declares the volumes that only services name.
pub(crate) fn document(document: &mut DocumentRead<'_>) {
    volumes::check(document);
    services::check(document);
    networks::check(document);
    ports::check(document);
    requirements(document);
    for (parameter, at) in &document.parameters {
        if !document.scope.is_used(parameter.name.as_str()) {
            let message = format!("nothing in the document uses `{}`", parameter.name);
            at.warn(rules::PARAMETER_UNUSED, message, None);
        }
    }
    advice::check(document);
}

fn requirements(document: &DocumentRead<'_>) {
    let mut seen: HashMap<String, String> = HashMap::new();
    for (required, at) in &document.required {
        let folded = required.name.folded();
        if document.name.as_ref().is_some_and(|(name, _)| name.folded() == folded) {
            at.entry("name").fault(rules::REQUIRES_ITSELF, "an addon does not require itself");
        }
        repeated_name(at.entry("name"), &mut seen, folded, required.name.as_str());
    }
}

/// Reports a name that is read like one that stands before it.
fn repeated_name(at: At<'_>, seen: &mut HashMap<String, String>, key: String, name: &str) {
    let name = &*shown(name);
    if let Some(other) = seen.insert(key, name.to_owned()) {
        let message = if other == name {
            format!("`{name}` stands here twice")
        } else {
            format!("`{name}` and `{other}` are read alike")
        };
        at.fault(rules::REPEATED_NAME, message);
    }
}

/// A service's name as DNS reads it.
fn folded(name: &str) -> String {
    fold(name)
}
