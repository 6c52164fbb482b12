//! What an operator gives, held to the declarations: every fault at once.
//!
//! The values stand in a tree as a document does, so that the reader's own rules, messages and suggestions hold for them.
//! Of a secret nothing is ever said but what is wrong with it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value as Json;

use super::{
    Bounds, Generate, LARGE_PATTERN, Origin, Parameter, ParameterKind, SecretRules, Value, Values, generate,
    whole_value,
};
use crate::names::ParameterName;
use crate::quantity::{Decimal, MAX_INTEGER};
use crate::read::mounts::host_folder;
use crate::read::report::{At, Report, about, shown};
use crate::read::texts::{MAX_FILES, MAX_TEXT, fault_of};
use crate::read::tree::{Kind, Member, Node, line_feeds};
use crate::rules;
use crate::violation::{Invalid, Violation};

/// Longest text, in bytes: what fits into a file. Where it is put in, less may be allowed.
const MAX_VALUE: usize = MAX_FILES;
/// Most values of an enum that a message lists.
const MAX_LISTED: usize = 16;

/// Values that their declarations accept, and the secrets that are still to be made.
#[derive(Debug, Clone)]
pub struct Checked {
    values: Values,
    to_generate: BTreeMap<ParameterName, SecretRules>,
}

impl Checked {
    /// What is known already: given, kept, or the default.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The secrets that are to be made at random, and how.
    pub fn to_generate(&self) -> impl Iterator<Item = (&ParameterName, &Generate)> {
        self.to_generate.iter().filter_map(|(name, rules)| Some((name, rules.generate.as_ref()?)))
    }

    /// All values, with the secrets that were to be made. `fill` fills with random bytes, which must be fit for secrets; each
    /// character of the alphabet is drawn with the same probability.
    ///
    /// # Errors
    /// Each secret of which no draw matched the pattern: an operator must give it.
    pub fn generate(self, mut fill: impl FnMut(&mut [u8])) -> Result<Values, Vec<Violation>> {
        let Self { mut values, to_generate } = self;
        let mut violations = Vec::new();
        for (name, rules) in to_generate {
            match generate::secret(&rules, &mut fill) {
                Ok(secret) => values.insert(name, Value::Secret(secret), Origin::Generated),
                Err(fault) => violations.push(violation(&name, rules::NOT_GENERATED, fault)),
            }
        }
        if violations.is_empty() { Ok(values) } else { Err(violations) }
    }
}

/// A violation of the value of a parameter.
pub(super) fn violation(name: &ParameterName, rule: &'static str, fault: Invalid) -> Violation {
    let Invalid { message, suggestion } = fault;
    Violation { path: format!("/parameters/{name}"), rule, message, suggestion, line: 0, column: 0 }
}

/// Holds what an operator gives to the declarations of a document.
///
/// What is not `given` is taken from `kept` (an installation's values until now), else it is the default, else a secret may be
/// made. A `null` drops what was kept. Kept defaults are not looked at: who changed nothing follows a new default. What was
/// kept of a parameter that is no longer declared is dropped. Integers and numbers are JSON numbers, or strings with them,
/// which stay exact.
///
/// # Errors
/// Every fault, each at `/parameters/<name>`.
pub fn check(
    declared: &[Parameter],
    given: &BTreeMap<String, Json>,
    kept: &Values,
) -> Result<Checked, Vec<Violation>> {
    let names: BTreeMap<&str, &Parameter> =
        declared.iter().map(|parameter| (parameter.name.as_str(), parameter)).collect();
    let kept: BTreeMap<&str, (&Value, Origin)> = kept
        .iter()
        .filter(|(_, _, origin)| *origin != Origin::Default)
        .map(|(name, value, origin)| (name.as_str(), (value, origin)))
        .filter(|(name, _)| names.contains_key(name) && !given.contains_key(*name))
        .collect();

    let numbers = numbers(given, &kept);
    let number = |name: &str| numbers.get(name).map_or("", String::as_str);
    let of_given = given.iter().map(|(name, value)| (name.as_str(), given_kind(value, number(name))));
    let of_kept = kept.iter().map(|(name, (value, _))| (*name, kept_kind(value, number(name))));
    let members = of_given.chain(of_kept).map(|(name, kind)| member(name, kind)).collect();
    let root = Node { offset: 0, kind: Kind::Object(vec![member("parameters", Kind::Object(members))]) };
    let report = Report::default();
    let all = report.root(&root).entry("parameters");

    let mut checked = Checked { values: Values::default(), to_generate: BTreeMap::new() };
    for Parameter { name, kind, required, description: _ } in declared {
        let at = all.member(name.as_str());
        let before = kept.get(name.as_str());
        match (at, before) {
            (Some(at), Some((Value::Secret(_), _))) if !matches!(kind, ParameterKind::Secret(_)) => {
                at.fault(
                    rules::WRONG_TYPE,
                    "it is secret, and this parameter no longer is: another one is needed, or null",
                );
            }
            (Some(at), _) if !matches!(at.node.kind, Kind::Null) => {
                if let Some(value) = read(at, kind) {
                    let origin = before.map_or(Origin::Given, |(_, origin)| *origin);
                    checked.values.insert(name.clone(), value, origin);
                }
            }
            _ => match (default(kind).filter(|_| !required), kind) {
                (Some(value), _) => checked.values.insert(name.clone(), value, Origin::Default),
                (None, ParameterKind::Secret(rules)) if rules.generate.is_some() => {
                    checked.to_generate.insert(name.clone(), rules.clone());
                }
                (None, _) if *required => {
                    let message = format!("`{name}` needs a value: {}", wanted(kind));
                    all.fault_missing(name.as_str(), rules::MISSING_VALUE, message);
                }
                (None, _) => (),
            },
        }
    }
    unknown(all, &names);

    let mut violations = report.finish_without_text();
    if violations.is_empty() {
        return Ok(checked);
    }
    for violation in &mut violations {
        let name = violation.path.strip_prefix("/parameters/").unwrap_or_default();
        if kept.contains_key(name) {
            violation.message = format!("the value kept from before: {}", violation.message);
        }
    }
    Err(violations)
}

/// Numbers as they are written, by name.
fn numbers<'a>(
    given: &'a BTreeMap<String, Json>,
    kept: &BTreeMap<&'a str, (&Value, Origin)>,
) -> BTreeMap<&'a str, String> {
    let of_given = given.iter().filter_map(|(name, value)| match value {
        Json::Number(number) => Some((name.as_str(), number.to_string())),
        _ => None,
    });
    let of_kept = kept.iter().filter_map(|(name, (value, _))| match value {
        Value::Integer(number) => Some((*name, number.to_string())),
        _ => None,
    });
    of_given.chain(of_kept).collect()
}

fn member<'t>(name: &'t str, kind: Kind<'t>) -> Member<'t> {
    Member { offset: 0, key: Cow::Borrowed(name), value: Node { offset: 0, kind } }
}

fn given_kind<'t>(value: &'t Json, number: &'t str) -> Kind<'t> {
    match value {
        Json::Null => Kind::Null,
        Json::Bool(value) => Kind::Boolean(*value),
        Json::Number(_) => Kind::Number(number),
        Json::String(text) => Kind::Text(line_feeds(Cow::Borrowed(text))),
        // No parameter takes what is in them.
        Json::Array(_) => Kind::List(Vec::new()),
        Json::Object(_) => Kind::Object(Vec::new()),
    }
}

fn kept_kind<'t>(value: &'t Value, number: &'t str) -> Kind<'t> {
    match value {
        Value::Text(text) => Kind::Text(Cow::Borrowed(text)),
        Value::Integer(_) => Kind::Number(number),
        Value::Boolean(value) => Kind::Boolean(*value),
        Value::Secret(secret) => Kind::Text(Cow::Borrowed(secret.expose_secret())),
    }
}

fn unknown(all: At<'_>, names: &BTreeMap<&str, &Parameter>) {
    let Kind::Object(members) = &all.node.kind else { return };
    for member in members.iter().filter(|member| !names.contains_key(member.key.as_ref())) {
        let message = if names.is_empty() {
            format!("`{}`: this addon has no parameters", shown(&member.key))
        } else {
            format!("this addon has no parameter `{}`", shown(&member.key))
        };
        let at = all.at_key(member);
        let suggestion = at.nearest(&member.key, names.keys().copied());
        at.record(rules::UNKNOWN_PARAMETER, Invalid { message, suggestion });
    }
}

fn default(kind: &ParameterKind) -> Option<Value> {
    match kind {
        ParameterKind::Integer(bounds) => bounds.default.map(Value::Integer),
        ParameterKind::Port(bounds) => bounds.default.map(|port| Value::Integer(port.into())),
        ParameterKind::Boolean { default } => default.map(Value::Boolean),
        kind => kind.default_text().map(Value::Text),
    }
}

/// What to give, for messages.
pub(super) fn wanted(kind: &ParameterKind) -> String {
    let text = |what: &str, min: Option<u32>, max: Option<u32>, pattern: Option<&String>| {
        let length = match (min, max) {
            (None, None) => String::new(),
            (Some(min), None) => format!(" of at least {min} characters"),
            (None, Some(max)) => format!(" of at most {max} characters"),
            (Some(min), Some(max)) if min == max => format!(" of {min} characters"),
            (Some(min), Some(max)) => format!(" of {min} to {max} characters"),
        };
        let form = pattern.map(|pattern| format!(" that matches `{}`", shown(pattern))).unwrap_or_default();
        format!("{what}{length}{form}")
    };
    match kind {
        ParameterKind::String(rules) => text("a string", rules.min, rules.max, rules.pattern.as_ref()),
        ParameterKind::Secret(rules) => text("a string", rules.min, rules.max, rules.pattern.as_ref()),
        ParameterKind::Integer(bounds) => format!("a whole number{}", range(bounds)),
        ParameterKind::Number(bounds) => format!("a number{}", range(bounds)),
        ParameterKind::Port(Bounds { min, max, .. }) => {
            format!("a port from {} to {}", min.unwrap_or(1), max.unwrap_or(u16::MAX))
        }
        ParameterKind::Boolean { .. } => "`true` or `false`".to_owned(),
        ParameterKind::Enum { values, .. } => {
            let names: Vec<String> =
                values.iter().take(MAX_LISTED).map(|value| format!("`{}`", shown(value))).collect();
            let rest = if values.len() > MAX_LISTED { ", …" } else { "" };
            format!("one of {}{rest}", names.join(", "))
        }
        ParameterKind::Path { .. } => {
            "the absolute path of a folder of the host, such as `/srv/data`".to_owned()
        }
    }
}

fn range<T: std::fmt::Display + serde::Serialize>(bounds: &Bounds<T>) -> String {
    match (&bounds.min, &bounds.max) {
        (None, None) => String::new(),
        (Some(min), None) => format!(" of at least {min}"),
        (None, Some(max)) => format!(" of at most {max}"),
        (Some(min), Some(max)) => format!(" from {min} to {max}"),
    }
}

fn read(at: At<'_>, kind: &ParameterKind) -> Option<Value> {
    match kind {
        ParameterKind::String(text) => {
            let value = plain_text(at, MAX_VALUE, true)?;
            let length = value.chars().count();
            let rules = Lengths { min: text.min, max: text.max, pattern: text.pattern.as_deref() };
            let shown = shown(value);
            rules
                .hold(at, value, || {
                    format!("{} is needed, not `{shown}` of {length} characters", wanted(kind))
                })
                .then(|| Value::Text(value.to_owned()))
        }
        ParameterKind::Secret(rules) => secret(at, rules, &wanted(kind)).map(Value::Secret),
        ParameterKind::Integer(bounds) => whole_number(at, bounds.min, bounds.max, kind).map(Value::Integer),
        ParameterKind::Port(Bounds { min, max, .. }) => {
            let (min, max) = (min.unwrap_or(1), max.unwrap_or(u16::MAX));
            whole_number(at, Some(min.into()), Some(max.into()), kind).map(Value::Integer)
        }
        ParameterKind::Number(bounds) => {
            number(at, bounds, kind).map(|number| Value::Text(number.to_string()))
        }
        ParameterKind::Boolean { .. } => at.boolean().map(Value::Boolean),
        ParameterKind::Enum { values, .. } => choice(at, values, kind).map(Value::Text),
        ParameterKind::Path { .. } => {
            let text = plain_text(at, MAX_TEXT, false)?;
            host_folder(text)
                .map_err(|fault| at.record(rules::INVALID_PATH, about(text, fault)))
                .ok()
                .map(Value::Text)
        }
    }
}

/// A string that no rule for texts refuses.
fn plain_text(at: At<'_>, longest: usize, lines: bool) -> Option<&str> {
    let text = at.text()?;
    match fault_of(text, longest, lines) {
        None => Some(text),
        Some((rule, fault)) => {
            at.record(rule, fault);
            None
        }
    }
}

/// What holds for the length and form of a text.
struct Lengths<'r> {
    min: Option<u32>,
    max: Option<u32>,
    pattern: Option<&'r str>,
}

impl Lengths<'_> {
    /// Whether the text is as it must be; records it when it is not.
    fn hold(&self, at: At<'_>, text: &str, message: impl Fn() -> String) -> bool {
        let length = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        let has_length = self.min.is_none_or(|min| length >= min) && self.max.is_none_or(|max| length <= max);
        let matches = match self.pattern.map(|pattern| whole_value(pattern, LARGE_PATTERN)) {
            None => true,
            Some(Ok(pattern)) => pattern.is_match(text),
            // Refused by the reader; a declaration that did not come from there may have one.
            Some(Err(_)) => {
                at.fault(rules::INVALID_PATTERN, "the pattern of the parameter is no regular expression");
                return false;
            }
        };
        if !(has_length && matches) {
            at.fault(rules::VALUE_OUT_OF_BOUNDS, message());
        }
        has_length && matches
    }
}

/// Nothing of the text stands in any message.
fn secret(at: At<'_>, rules: &SecretRules, wanted: &str) -> Option<SecretString> {
    let Kind::Text(text) = &at.node.kind else {
        at.wrong_type("a string");
        return None;
    };
    let text = line_feeds(Cow::Borrowed(text));
    if let Some((rule, fault)) = secret_fault(&text) {
        at.record(rule, fault);
        return None;
    }
    let lengths = Lengths { min: rules.min, max: rules.max, pattern: rules.pattern.as_deref() };
    lengths.hold(at, &text, || format!("{wanted} is needed")).then(|| SecretString::from(text.into_owned()))
}

/// What is wrong with the characters of a secret, without showing any.
fn secret_fault(text: &str) -> Option<(&'static str, Invalid)> {
    let (rule, _) = fault_of(text, MAX_VALUE, true)?;
    let message = match rule {
        rules::TEXT_TOO_LONG => format!("a secret has at most {MAX_VALUE} bytes"),
        _ => "the secret holds a control character, or one that changes the direction of text".to_owned(),
    };
    Some((rule, Invalid::new(message)))
}

/// What is wrong with the characters of a value.
pub(super) fn text_fault(value: &Value) -> Option<(&'static str, Invalid)> {
    match value {
        Value::Secret(secret) => secret_fault(secret.expose_secret()),
        value => fault_of(&value.text()?, MAX_VALUE, true),
    }
}

/// A number as it is written: a JSON number, or a string with one.
fn literal<'t>(at: At<'t>, kind: &ParameterKind) -> Option<&'t str> {
    match &at.node.kind {
        Kind::Number(literal) if is_exact(literal) => Some(literal),
        Kind::Number(literal) => {
            let message = format!("`{literal}` has more digits than a JSON number keeps: a string is exact");
            at.fault(rules::INVALID_NUMBER, message);
            None
        }
        Kind::Text(text) => Some(text),
        _ => {
            at.wrong_type(&wanted(kind));
            None
        }
    }
}

/// Whether the number is certainly the one that was written: of more than 15 digits floating-point numbers are rounded.
fn is_exact(literal: &str) -> bool {
    let mantissa = literal.split(['e', 'E']).next().unwrap_or_default();
    let is_floating = literal.contains(['.', 'e', 'E']);
    !is_floating || mantissa.bytes().filter(u8::is_ascii_digit).count() <= 15
}

fn parsed(at: At<'_>, kind: &ParameterKind) -> Option<Decimal> {
    let literal = literal(at, kind)?;
    match literal.parse() {
        Ok(number) => Some(number),
        Err(_) => {
            at.fault(rules::INVALID_NUMBER, format!("{} is needed, not `{}`", wanted(kind), shown(literal)));
            None
        }
    }
}

fn whole_number(at: At<'_>, min: Option<i64>, max: Option<i64>, kind: &ParameterKind) -> Option<i64> {
    let number = parsed(at, kind)?;
    let Some(value) = number.to_integer() else {
        let message = format!("{} is needed, within {MAX_INTEGER} either way, not {number}", wanted(kind));
        at.fault(rules::INVALID_NUMBER, message);
        return None;
    };
    hold(at, value, min.as_ref(), max.as_ref(), kind)
}

fn number(at: At<'_>, bounds: &Bounds<Decimal>, kind: &ParameterKind) -> Option<Decimal> {
    hold(at, parsed(at, kind)?, bounds.min.as_ref(), bounds.max.as_ref(), kind)
}

fn hold<T: PartialOrd + std::fmt::Display>(
    at: At<'_>,
    value: T,
    min: Option<&T>,
    max: Option<&T>,
    kind: &ParameterKind,
) -> Option<T> {
    if min.is_none_or(|min| value >= *min) && max.is_none_or(|max| value <= *max) {
        return Some(value);
    }
    at.fault(rules::VALUE_OUT_OF_BOUNDS, format!("{} is needed, not {value}", wanted(kind)));
    None
}

fn choice(at: At<'_>, values: &[String], kind: &ParameterKind) -> Option<String> {
    let text = at.text()?;
    let found = values.iter().find(|value| *value == text).cloned();
    if found.is_none() {
        let message = format!("`{}` is none of them: {} is needed", shown(text), wanted(kind));
        let suggestion = at.nearest(text, values.iter().map(String::as_str));
        at.record(rules::UNKNOWN_VALUE, Invalid { message, suggestion });
    }
    found
}
