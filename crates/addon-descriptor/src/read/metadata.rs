//! What an addon says about itself: licence, addresses, icon, keywords, changes. Nothing here changes what runs.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::report::{At, Fields, shown};
use super::texts::MAX_ICON;
use crate::descriptor::{Change, ChangeKind};
use crate::fields;
use crate::rules;
use crate::violation::Invalid;

/// Longest description, in characters.
const MAX_DESCRIPTION: usize = 1000;
/// Longest keyword or category, in characters.
const MAX_KEYWORD: usize = 30;
/// Most keywords.
const MAX_KEYWORDS: usize = 20;
/// Most categories.
const MAX_CATEGORIES: usize = 5;
/// Most lines of changes.
const MAX_CHANGES: usize = 256;

/// What was read; what is absent or unreadable is empty.
pub(super) struct Metadata {
    pub(super) title: Option<String>,
    pub(super) description: String,
    pub(super) readme: String,
    pub(super) license: Option<String>,
    pub(super) homepage: Option<String>,
    pub(super) source: Option<String>,
    pub(super) icon: Option<String>,
    pub(super) keywords: Vec<String>,
    pub(super) categories: Vec<String>,
    pub(super) changes: Vec<Change>,
}

/// Reads all of it.
pub(super) fn read(fields: &Fields<'_>) -> Metadata {
    Metadata {
        title: fields.get("title").and_then(At::text).map(str::to_owned),
        description: fields.get("description").and_then(description).unwrap_or_default(),
        readme: fields.get("readme").and_then(At::text).unwrap_or_default().to_owned(),
        license: fields.get("license").and_then(license),
        homepage: fields.get("homepage").and_then(web_address),
        source: fields.get("source").and_then(web_address),
        icon: fields.get("icon").and_then(icon),
        keywords: fields.get("keywords").map(|at| keywords(at, MAX_KEYWORDS)).unwrap_or_default(),
        categories: fields.get("categories").map(|at| keywords(at, MAX_CATEGORIES)).unwrap_or_default(),
        changes: fields.get("changes").map(changes).unwrap_or_default(),
    }
}

/// `description`.
fn description(at: At<'_>) -> Option<String> {
    let text = at.text()?;
    let length = text.chars().count();
    if length > MAX_DESCRIPTION {
        let message =
            format!("at most {MAX_DESCRIPTION} characters, not {length}; `readme` takes long texts");
        at.fault(rules::TEXT_TOO_LONG, message);
    }
    Some(text.to_owned())
}

/// An SPDX expression.
fn license(at: At<'_>) -> Option<String> {
    let text = at.text()?;
    if text.len() > 1024 {
        at.fault(rules::INVALID_LICENSE, "a license expression has at most 1024 bytes");
        return None;
    }
    // Deprecated identifiers (`GPL-3.0`) are on the list still, and stand on much software.
    let mode = spdx::ParseMode {
        allow_deprecated: true,
        allow_postfix_plus_on_gpl: true,
        ..spdx::ParseMode::STRICT
    };
    let parsed = spdx::Expression::parse_mode(text, mode);
    if let Ok(expression) = &parsed
        && expression.requirements().any(|part| is_nameless(&part.req.license))
    {
        let message =
            format!("`{}`: a name follows `LicenseRef-`, such as `LicenseRef-Example`", shown(text));
        at.fault(rules::INVALID_LICENSE, message);
        return None;
    }
    if let Err(fault) = parsed {
        let is_valid = |text: &String| spdx::Expression::parse(text).is_ok();
        let suggestion = spdx::Expression::canonicalize(text)
            .ok()
            .flatten()
            .filter(is_valid)
            .or_else(|| spdx::imprecise_license_id(text).map(|(id, _)| id.name.to_owned()));
        let message = format!(
            "`{}` is no SPDX expression: {}; what is not on the SPDX list is written `LicenseRef-` and a name",
            shown(text),
            fault.reason
        );
        at.record(rules::INVALID_LICENSE, Invalid { message, suggestion });
        return None;
    }
    Some(text.to_owned())
}

/// `LicenseRef-` with nothing behind it (SPDX 2.3, annex D: an idstring has at least one character).
fn is_nameless(license: &spdx::LicenseItem) -> bool {
    let spdx::LicenseItem::Other(reference) = license else { return false };
    reference.lic_ref.is_empty() || reference.doc_ref.as_ref().is_some_and(String::is_empty)
}

/// An `http` or `https` URL.
fn web_address(at: At<'_>) -> Option<String> {
    let text = at.text()?;
    let has_blank = text.chars().any(|c| c.is_whitespace() || c.is_control());
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && text.contains("://") && !has_blank => {
            Some(text.to_owned())
        }
        result => {
            let suggestion = match result {
                Err(url::ParseError::RelativeUrlWithoutBase) if !has_blank && text.contains('.') => {
                    // `git@host:path` is how git writes it for SSH.
                    let bare = text.trim_start_matches('/');
                    Some(match bare.strip_prefix("git@").and_then(|rest| rest.split_once(':')) {
                        Some((host, path)) => format!("https://{host}/{path}"),
                        None => format!("https://{bare}"),
                    })
                }
                _ => None,
            };
            let suggestion = suggestion.filter(|text| url::Url::parse(text).is_ok());
            let message = format!("`{}` is no http or https URL", shown(text));
            at.record(rules::INVALID_URL, Invalid { message, suggestion });
            None
        }
    }
}

/// A PNG or WebP image as a data URL.
fn icon(at: At<'_>) -> Option<String> {
    let text = at.text()?;
    if text.len() > MAX_ICON {
        // The check of all texts has said so.
        return None;
    }
    let fault = match text.split_once(";base64,") {
        Some((kind @ ("data:image/png" | "data:image/webp"), data)) => match STANDARD.decode(data) {
            Err(_) => "what follows `;base64,` is not base64",
            Ok(bytes) => {
                let is_png = bytes.starts_with(b"\x89PNG\r\n\x1a\n");
                let is_webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
                if (kind == "data:image/png" && is_png) || (kind == "data:image/webp" && is_webp) {
                    return Some(text.to_owned());
                }
                "the data are not an image of that type"
            }
        },
        _ => {
            "an icon is `data:image/png;base64,...` or `data:image/webp;base64,...`: pages load nothing from elsewhere"
        }
    };
    at.fault(rules::INVALID_ICON, fault);
    None
}

/// `keywords` and `categories`: so many texts of 1 to 30 characters, no two alike.
fn keywords(at: At<'_>, most: usize) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for item in at.items(most, "a list of strings") {
        let Some(text) = item.text() else { continue };
        let length = text.chars().count();
        if length == 0 {
            item.fault(rules::TEXT_EMPTY, "1 to 30 characters, not none");
        } else if length > MAX_KEYWORD {
            item.fault(rules::TEXT_TOO_LONG, format!("1 to 30 characters, not {length}"));
        } else if !seen.insert(text) {
            item.fault(rules::REPEATED_ENTRY, format!("`{text}` stands here twice"));
        }
        found.push(text.to_owned());
    }
    found
}

/// `changes`.
fn changes(at: At<'_>) -> Vec<Change> {
    const KINDS: [(&str, ChangeKind); 5] = [
        ("added", ChangeKind::Added),
        ("changed", ChangeKind::Changed),
        ("fixed", ChangeKind::Fixed),
        ("removed", ChangeKind::Removed),
        ("security", ChangeKind::Security),
    ];
    let change = |item: At<'_>| {
        let fields = item.fields(&fields::CHANGE, &[])?;
        let kind = fields.get("kind").and_then(|at| at.one_of(rules::UNKNOWN_VALUE, &KINDS));
        let text = fields.get("text").and_then(|at| {
            let text = at.text()?;
            if text.is_empty() {
                at.fault(rules::TEXT_EMPTY, "a change says what changed");
            }
            Some(text.to_owned())
        });
        Some(Change { kind: kind?, text: text? })
    };
    at.objects(MAX_CHANGES, "a list of objects such as `{\"kind\": \"fixed\", \"text\": \"...\"}`")
        .into_iter()
        .filter_map(change)
        .collect()
}
