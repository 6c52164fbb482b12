//! What holds for every text of a document, whatever field it stands in: characters, length, line feeds.

use super::report::{At, shown};
use super::tree::Kind;
use crate::fields::ADDED_BY_SERVICES;
use crate::rules;
use crate::violation::Invalid;

/// Longest text of most fields, in bytes.
pub(crate) const MAX_TEXT: usize = 8 * 1024;
/// Longest readme, in bytes.
const MAX_README: usize = 128 * 1024;
/// Longest icon, in bytes of its data URL.
pub(super) const MAX_ICON: usize = 32 * 1024;
/// All contents of files together, and so also of one, in bytes.
pub(crate) const MAX_FILES: usize = 64 * 1024;

/// Where a text stands, as far as it matters here.
#[derive(Clone, Copy)]
enum Place {
    Addon,
    Changes,
    Change,
    Parameters,
    Parameter,
    Services,
    Service,
    Files,
    File,
    Healthcheck,
    /// Here and below: one line, or several.
    Text {
        longest: usize,
        lines: bool,
    },
}

const ONE_LINE: Place = Place::Text { longest: MAX_TEXT, lines: false };
const LINES: Place = Place::Text { longest: MAX_TEXT, lines: true };

impl Place {
    fn member(self, key: &str) -> Self {
        match (self, key) {
            (Self::Addon, "readme") => Self::Text { longest: MAX_README, lines: true },
            (Self::Addon, "icon") => Self::Text { longest: MAX_ICON, lines: false },
            (Self::Addon, "description") | (Self::Change, "text") | (Self::Parameter, "description") => LINES,
            (Self::Addon, "changes") => Self::Changes,
            (Self::Addon, "parameters") => Self::Parameters,
            (Self::Addon, "services") => Self::Services,
            (Self::Service, "environment" | "command" | "entrypoint") => LINES,
            (Self::Service, "healthcheck") => Self::Healthcheck,
            (Self::Healthcheck, "test") => LINES,
            (Self::Service, "files") => Self::Files,
            (Self::File, "content") => Self::Text { longest: MAX_FILES, lines: true },
            (Self::Text { .. }, _) => self,
            _ => ONE_LINE,
        }
    }

    fn item(self) -> Self {
        match self {
            Self::Changes => Self::Change,
            Self::Parameters => Self::Parameter,
            Self::Services => Self::Service,
            Self::Files => Self::File,
            Self::Text { .. } => self,
            _ => ONE_LINE,
        }
    }
}

/// Checks every key and text of the document, but for what is ignored.
pub(super) fn check(root: At<'_>) {
    if let Kind::Object(members) = &root.node.kind {
        for member in members {
            if !ADDED_BY_SERVICES.contains(&member.key.as_ref()) {
                check_member(root, member, Place::Addon);
            }
        }
    }
}

fn check_member<'t>(object: At<'t>, member: &'t super::tree::Member<'t>, place: Place) {
    if let Some((rule, fault)) = fault_of(&member.key, MAX_TEXT, false) {
        object.fault_key(member, rule, fault);
    }
    // The path is needed only where something is wrong, but a value below may be.
    let needs_visit = !matches!(member.value.kind, Kind::Null | Kind::Boolean(_) | Kind::Number(_));
    if needs_visit {
        check_value(object.at_member(member), place.member(&member.key));
    }
}

fn check_value(at: At<'_>, place: Place) {
    match &at.node.kind {
        Kind::Text(text) => {
            let (longest, lines) = match place {
                Place::Text { longest, lines } => (longest, lines),
                _ => (MAX_TEXT, false),
            };
            if let Some((rule, fault)) = fault_of(text, longest, lines) {
                at.record(rule, fault);
            }
        }
        Kind::List(_) => {
            for item in at.all_items() {
                check_value(item, place.item());
            }
        }
        Kind::Object(members) => {
            for member in members {
                check_member(at, member, place);
            }
        }
        Kind::Null | Kind::Boolean(_) | Kind::Number(_) => (),
    }
}

/// What is wrong with a text of at most so many bytes, of one line or several.
pub(crate) fn fault_of(text: &str, longest: usize, lines: bool) -> Option<(&'static str, Invalid)> {
    if text.len() > longest {
        let message = format!("at most {longest} bytes, not {}", text.len());
        return Some((rules::TEXT_TOO_LONG, Invalid::new(message)));
    }
    if let Some(c) = text.chars().find(|c| is_forbidden(*c)) {
        let message = format!("the character U+{:04X} is not allowed in any text", u32::from(c));
        return Some((rules::FORBIDDEN_CHARACTER, Invalid::new(message)));
    }
    if !lines && text.contains('\n') {
        let line = text.split('\n').next().unwrap_or_default();
        let message = format!("a line feed after `{}`: this is a setting of one line", shown(line));
        return Some((rules::LINE_FEED, Invalid::new(message)));
    }
    None
}

/// C0 controls other than tab and line feed, and bidirectional controls, which make text look like what it is not.
fn is_forbidden(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_forbidden_and_blanks_are_not() {
        for c in ['\0', '\u{7}', '\r', '\u{1b}', '\u{202e}', '\u{2066}'] {
            assert!(is_forbidden(c), "{c:?}");
        }
        for c in ['\t', '\n', ' ', 'ä', '\u{200d}', '\u{202f}'] {
            assert!(!is_forbidden(c), "{c:?}");
        }
    }
}
