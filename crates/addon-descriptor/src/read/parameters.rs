//! `parameters`: their declarations, and whether each allows its own default.

use std::collections::{BTreeMap, HashMap, HashSet};

use regex::Regex;

use super::document::list_of_named;
use super::mounts::host_folder;
use super::report::{At, Fields, about, shown};
use super::tree::Kind;
use crate::fields;
use crate::names::ParameterName;
use crate::parameters::{
    Bounds, Generate, LARGE_PATTERN, Parameter, ParameterKind, SecretRules, TextRules, whole_value,
};
use crate::quantity::{Decimal, MAX_INTEGER};
use crate::rules;
use crate::violation::Invalid;

/// Most parameters of a document.
const MAX_PARAMETERS: usize = 64;
/// Most values of an enum.
const MAX_VALUES: usize = 256;
/// Longest pattern, in characters.
const MAX_PATTERN: usize = 256;
/// Longest text of all patterns of a document together, in characters. A class such as `\pL` is three of them and costs
/// thousands of ranges before a limit of the compiled form can stop it.
const MAX_PATTERNS: usize = 1024;
/// A compiled pattern of at most so many bytes is small; so many as there are parameters may be.
const SMALL_PATTERN: usize = 32 * 1024;
/// Most patterns of a document that are not small.
const MAX_LARGE_PATTERNS: usize = 4;

/// What the patterns of a document have cost so far.
#[derive(Default)]
struct Patterns {
    characters: usize,
    large: usize,
}

/// What was declared: the parameters that could be read, and the names of all.
pub(super) struct Declared<'t> {
    pub(super) parameters: Vec<(Parameter, At<'t>)>,
    pub(super) kinds: BTreeMap<String, Option<ParameterKind>>,
    /// Whether the names of all could be read.
    pub(super) is_complete: bool,
}

/// Reads the declarations.
pub(super) fn read<'t>(at: Option<At<'t>>) -> Declared<'t> {
    let is_complete =
        at.is_none_or(|at| matches!(&at.node.kind, Kind::List(nodes) if nodes.len() <= MAX_PARAMETERS));
    let mut declared = Declared { parameters: Vec::new(), kinds: BTreeMap::new(), is_complete };
    let mut seen: HashMap<String, &str> = HashMap::new();
    let mut patterns = Patterns::default();
    for item in at.map(|at| list_of_named(at, "name", "a list of parameters")).unwrap_or_default() {
        let Some(fields) = item.fields(&fields::PARAMETER, &[]) else {
            declared.is_complete = false;
            continue;
        };
        let name_at = fields.get("name");
        let name = name_at.and_then(|at| {
            let name: ParameterName = at.parse(rules::INVALID_NAME)?;
            if let Some(other) = seen.insert(name.as_str().to_ascii_lowercase(), at.text()?) {
                at.fault(rules::REPEATED_NAME, format!("`{name}` and `{other}` are read alike"));
            }
            Some(name)
        });
        declared.is_complete &= name.is_some();
        let kind = fields.get("type").and_then(|at| kind(at, &fields, &mut patterns));
        if let Some(name) = &name {
            declared.kinds.insert(name.to_string(), kind.clone());
        }
        let required = fields.boolean("required");
        if required && let Some(default) = fields.get("default") {
            default.warn(rules::REQUIRED_WITH_DEFAULT, "a required parameter's default is never used", None);
        }
        let description = fields.get("description").and_then(At::text).unwrap_or_default().to_owned();
        if let (Some(name), Some(kind)) = (name, kind) {
            declared.parameters.push((Parameter { name, kind, required, description }, item));
        }
    }
    declared
}

/// Types by the names that other languages and forms have for them, and that are near to none of ours.
const OTHER_NAMES: [(&str, &str); 22] = [
    ("int", "integer"),
    ("int64", "integer"),
    ("long", "integer"),
    ("uint", "integer"),
    ("float", "number"),
    ("double", "number"),
    ("decimal", "number"),
    ("bool", "boolean"),
    ("flag", "boolean"),
    ("checkbox", "boolean"),
    ("str", "string"),
    ("text", "string"),
    ("url", "string"),
    ("password", "secret"),
    ("token", "secret"),
    ("choice", "enum"),
    ("select", "enum"),
    ("list", "enum"),
    ("options", "enum"),
    ("dir", "path"),
    ("directory", "path"),
    ("folder", "path"),
];

fn kind(at: At<'_>, fields: &Fields<'_>, patterns: &mut Patterns) -> Option<ParameterKind> {
    let names = ParameterKind::NAMES.map(|name| (name, name));
    if let Kind::Text(text) = &at.node.kind
        && let Some((_, meant)) = OTHER_NAMES.iter().find(|(other, _)| text.eq_ignore_ascii_case(other))
    {
        let known = ParameterKind::NAMES.map(|name| format!("`{name}`")).join(", ");
        let message = format!("`{text}` is none of {known}");
        at.fault_suggesting(rules::UNKNOWN_VALUE, message, *meant);
        return None;
    }
    let name = at.one_of(rules::UNKNOWN_VALUE, &names)?;
    let own: &[&str] = match name {
        "string" => &["min", "max", "pattern"],
        "secret" => &["min", "max", "pattern", "generate", "default"],
        "integer" | "number" | "port" => &["min", "max"],
        "enum" => &["values"],
        _ => &[],
    };
    for field in ["min", "max", "pattern", "values", "generate"] {
        if !own.contains(&field)
            && let Some(at) = fields.get(field)
        {
            at.fault(rules::NOT_FOR_THIS_TYPE, format!("a parameter of type {name} has no `{field}`"));
        }
    }
    Some(match name {
        "string" => ParameterKind::String(text_rules(fields, patterns)),
        "secret" => ParameterKind::Secret(secret(fields, patterns)),
        "integer" => {
            let most = i64::try_from(MAX_INTEGER).expect("53 bits fit");
            ParameterKind::Integer(bounds(fields, |at| at.integer(-most, most)))
        }
        "number" => ParameterKind::Number(bounds(fields, decimal)),
        "port" => {
            let Bounds { default, min, max } = bounds(fields, |at| {
                at.integer(1, 65_535).map(|port| u16::try_from(port).expect("bounded above"))
            });
            // What holds for every port says nothing.
            let (min, max) = (min.filter(|min| *min > 1), max.filter(|max| *max < u16::MAX));
            ParameterKind::Port(Bounds { default, min, max })
        }
        "boolean" => ParameterKind::Boolean { default: fields.get("default").and_then(At::boolean) },
        "enum" => choice(fields),
        _ => ParameterKind::Path {
            default: fields.get("default").and_then(|at| {
                let text = at.text()?;
                host_folder(text).map_err(|fault| at.record(rules::INVALID_PATH, about(text, fault))).ok()
            }),
        },
    })
}

fn decimal(at: At<'_>) -> Option<Decimal> {
    match &at.node.kind {
        Kind::Number(literal) => at.decimal(literal),
        Kind::Text(_) => at.parse(rules::INVALID_NUMBER),
        _ => {
            at.wrong_type("a number");
            None
        }
    }
}

fn bounds<T: PartialOrd + serde::Serialize>(
    fields: &Fields<'_>,
    read: impl Fn(At<'_>) -> Option<T>,
) -> Bounds<T> {
    let bounds = Bounds {
        default: fields.get("default").and_then(&read),
        min: fields.get("min").and_then(&read),
        max: fields.get("max").and_then(&read),
    };
    check_order(fields, bounds.min.as_ref(), bounds.max.as_ref());
    let is_below = |value: &T| bounds.min.as_ref().is_some_and(|min| value < min);
    let is_above = |value: &T| bounds.max.as_ref().is_some_and(|max| value > max);
    if bounds.default.as_ref().is_some_and(|value| is_below(value) || is_above(value)) {
        fields
            .place("default")
            .fault(rules::DEFAULT_OUT_OF_BOUNDS, "the default lies outside `min` and `max`");
    }
    bounds
}

fn check_order<T: PartialOrd>(fields: &Fields<'_>, min: Option<&T>, max: Option<&T>) {
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        fields.place("min").fault(rules::BOUNDS_REVERSED, "`min` is above `max`");
    }
}

fn lengths(fields: &Fields<'_>) -> (Option<u32>, Option<u32>) {
    let length = |name: &str| {
        fields
            .get(name)
            .and_then(|at| at.integer(0, 65_536))
            .map(|length| u32::try_from(length).expect("bounded above"))
    };
    let (min, max) = (length("min"), length("max"));
    check_order(fields, min.as_ref(), max.as_ref());
    // Every text has no characters or more.
    (min.filter(|min| *min > 0), max)
}

fn text_rules(fields: &Fields<'_>, patterns: &mut Patterns) -> TextRules {
    let (min, max) = lengths(fields);
    let pattern = fields.get("pattern").and_then(|at| patterns.read(at));
    let default = fields.get("default").and_then(|at| {
        let text = at.text()?;
        let length = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        if min.is_some_and(|min| length < min) || max.is_some_and(|max| length > max) {
            at.fault(
                rules::DEFAULT_OUT_OF_BOUNDS,
                format!("the default has {length} characters, outside `min` and `max`"),
            );
        }
        if let Some((source, pattern)) = &pattern
            && !pattern.is_match(text)
        {
            let message = format!("the default does not match `{}`", shown(source));
            at.fault(rules::DEFAULT_OUT_OF_BOUNDS, message);
        }
        Some(text.to_owned())
    });
    TextRules { default, min, max, pattern: pattern.map(|(source, _)| source) }
}

impl Patterns {
    /// The pattern as it was written, and compiled against the whole value.
    fn read(&mut self, at: At<'_>) -> Option<(String, Regex)> {
        let text = at.text()?;
        let length = text.chars().count();
        let most = MAX_PATTERN.min(MAX_PATTERNS - self.characters);
        if length > most {
            let message = format!(
                "a pattern has at most {MAX_PATTERN} characters, and all patterns of a document {MAX_PATTERNS}: \
                 this one has {length}, and {most} are left"
            );
            at.fault(rules::INVALID_PATTERN, message);
            return None;
        }
        self.characters += length;
        match self.compile(text) {
            Ok(pattern) => Some((text.to_owned(), pattern)),
            Err(fault) => {
                let reason = match fault {
                    regex::Error::CompiledTooBig(_) => "it needs too much memory".to_owned(),
                    fault => {
                        let text = fault.to_string();
                        let last = text.lines().last().unwrap_or_default();
                        last.trim().trim_start_matches("error: ").to_owned()
                    }
                };
                let message = format!("`{}` is no regular expression: {reason}", shown(text));
                at.fault(rules::INVALID_PATTERN, message);
                None
            }
        }
    }

    fn compile(&mut self, text: &str) -> Result<Regex, regex::Error> {
        match whole_value(text, SMALL_PATTERN) {
            Err(regex::Error::CompiledTooBig(_)) if self.large < MAX_LARGE_PATTERNS => {
                self.large += 1;
                whole_value(text, LARGE_PATTERN)
            }
            built => built,
        }
    }
}

fn secret(fields: &Fields<'_>, patterns: &mut Patterns) -> SecretRules {
    if let Some(at) = fields.get("default") {
        at.fault(
            rules::SECRET_WITH_DEFAULT,
            "a secret has no default: everyone could read it; `generate` makes one",
        );
    }
    let (min, max) = lengths(fields);
    let pattern = fields.get("pattern").and_then(|at| patterns.read(at));
    let generate = fields.get("generate").and_then(generate);
    if let (Some((source, pattern)), Some(generate), Some(at)) = (&pattern, &generate, fields.get("generate"))
        && !may_match(pattern, generate)
    {
        let message = format!(
            "secrets that are made so do not match `{}`: `length` and `alphabet` say how they are made",
            shown(source)
        );
        at.fault(rules::DEFAULT_OUT_OF_BOUNDS, message);
    }
    if let (Some(generate), Some(at)) = (&generate, fields.get("generate"))
        && (min.is_some_and(|min| generate.length < min) || max.is_some_and(|max| generate.length > max))
    {
        let message =
            format!("a generated secret has {} characters, outside `min` and `max`", generate.length);
        at.fault(rules::DEFAULT_OUT_OF_BOUNDS, message);
    }
    SecretRules { min, max, pattern: pattern.map(|(source, _)| source), generate }
}

/// Whether any of some secrets, made as they will be made but the same each time, matches.
fn may_match(pattern: &Regex, generate: &Generate) -> bool {
    /// A pattern that none of so many match would refuse nearly every secret.
    const SAMPLES: u32 = 32;
    let alphabet: Vec<char> = generate.alphabet.chars().collect();
    let count = u64::try_from(alphabet.len()).expect("an alphabet fits into memory");
    if count == 0 {
        return true;
    }
    // Knuth's linear congruential generator (MMIX); its upper bits are good enough to vary letters.
    let mut state: u64 = 1;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let index = usize::try_from((state >> 33) % count).expect("below the length of the alphabet");
        alphabet[index]
    };
    (0..SAMPLES).any(|_| {
        let secret: String = (0..generate.length).map(|_| letter()).collect();
        pattern.is_match(&secret)
    })
}

fn generate(at: At<'_>) -> Option<Generate> {
    if let Kind::Boolean(true) = at.node.kind {
        at.wrong_type_suggesting(&fields::GENERATE.wanted(), "{}");
        return None;
    }
    let fields = at.fields(&fields::GENERATE, &[])?;
    let length = match fields.get("length") {
        None => Some(Generate::DEFAULT_LENGTH),
        Some(at) => at.integer(8, 256).map(|length| u32::try_from(length).expect("bounded above")),
    };
    let alphabet = match fields.get("alphabet") {
        None => Generate::DEFAULT_ALPHABET.to_owned(),
        Some(at) => {
            let text = at.text()?;
            let mut letters: Vec<char> = text.chars().collect();
            letters.sort_unstable();
            let count = letters.len();
            letters.dedup();
            if letters.len() < count {
                at.fault(rules::REPEATED_ENTRY, "a character stands in the alphabet twice");
            } else if count < 2 {
                at.fault(rules::INVALID_NUMBER, "an alphabet has at least two characters");
            }
            text.to_owned()
        }
    };
    Some(Generate { length: length?, alphabet })
}

fn choice(fields: &Fields<'_>) -> ParameterKind {
    let mut values: Vec<String> = Vec::new();
    match fields.get("values") {
        None => {
            fields.at.fault_missing(
                "values",
                rules::MISSING_FIELD,
                "a parameter of type enum needs `values`",
            );
        }
        Some(at) => {
            let items = at.items(MAX_VALUES, "a list of strings");
            if items.is_empty() && matches!(at.node.kind, Kind::List(_)) {
                at.fault(rules::TEXT_EMPTY, "at least one value");
            }
            let mut seen = HashSet::new();
            for item in items {
                let Some(text) = item.text() else { continue };
                if !seen.insert(text) {
                    item.fault(rules::REPEATED_ENTRY, format!("`{}` stands here twice", shown(text)));
                }
                values.push(text.to_owned());
            }
        }
    }
    let default = fields.get("default").and_then(|at| {
        let text = at.text()?;
        if !values.iter().any(|value| value == text) {
            let message = format!("`{}` is none of the `values`", shown(text));
            let suggestion = at.nearest(text, values.iter().map(String::as_str));
            at.record(rules::DEFAULT_OUT_OF_BOUNDS, Invalid { message, suggestion });
        }
        Some(text.to_owned())
    });
    ParameterKind::Enum { values, default }
}
