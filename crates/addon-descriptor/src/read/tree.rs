//! JSON text to a tree with positions, repeated keys kept.
//!
//! Knows JSON and its limits, and nothing of what a descriptor is.

use std::borrow::Cow;

use jsonc_parser::ast::{ObjectPropName, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::slips;
use crate::violation::Malformed;

/// Largest document, in bytes.
pub(crate) const MAX_DOCUMENT: usize = 256 * 1024;
/// Deepest nesting: brackets that are open at once.
pub(crate) const MAX_DEPTH: usize = 32;

/// One value of the document.
pub(crate) struct Node<'t> {
    /// Where it starts, in bytes.
    pub(crate) offset: usize,
    pub(crate) kind: Kind<'t>,
}

/// What a value is.
pub(crate) enum Kind<'t> {
    Null,
    Boolean(bool),
    /// As it is written.
    Number(&'t str),
    /// CR LF is read as LF already.
    Text(Cow<'t, str>),
    List(Vec<Node<'t>>),
    Object(Vec<Member<'t>>),
}

/// One member of an object.
pub(crate) struct Member<'t> {
    /// Where the key starts, in bytes.
    pub(crate) offset: usize,
    pub(crate) key: Cow<'t, str>,
    pub(crate) value: Node<'t>,
}

impl Kind<'_> {
    /// What to call it in a message.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

impl Node<'_> {
    /// The value as JSON; `None` when a number in it does not fit.
    pub(crate) fn to_json(&self) -> Option<serde_json::Value> {
        Some(match &self.kind {
            Kind::Null => serde_json::Value::Null,
            Kind::Boolean(value) => (*value).into(),
            Kind::Number(literal) => serde_json::from_str(literal).ok()?,
            Kind::Text(text) => text.as_ref().into(),
            Kind::List(nodes) => nodes.iter().map(Node::to_json).collect::<Option<_>>()?,
            Kind::Object(members) => serde_json::Value::Object(
                members
                    .iter()
                    .map(|member| Some((member.key.clone().into_owned(), member.value.to_json()?)))
                    .collect::<Option<_>>()?,
            ),
        })
    }
}

/// Parses the text.
///
/// # Errors
/// Text that is no JSON, or not within the limits above.
pub(crate) fn parse(bytes: &[u8]) -> Result<(&str, Node<'_>), Malformed> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(fault) => {
            let (valid, _) = bytes.split_at(fault.valid_up_to());
            let valid = std::str::from_utf8(valid).expect("valid up to here");
            return Err(malformed(valid, valid.len(), "the text is not UTF-8"));
        }
    };
    if text.len() > MAX_DOCUMENT {
        return Err(malformed(text, 0, "the document is larger than 256 KiB"));
    }
    if text.starts_with('\u{feff}') {
        return Err(malformed(text, 0, "the text starts with a byte order mark"));
    }
    // jsonc-parser takes a raw line break inside a string; serde_json decides whether this is JSON.
    let unreadable = first_unreadable(text).map(|(offset, message)| (offset, message.to_owned()));
    let fault = serde_json::from_str::<serde::de::IgnoredAny>(text)
        .err()
        // Of a control character in a string the place is known better here.
        .filter(|fault| unreadable.is_none() || !fault.to_string().starts_with("control character"))
        .map(|fault| slips::explain_syntax(text, &fault));
    // Up to the first of both the text is JSON, and what is said there is true.
    if let Some((offset, message)) = unreadable.into_iter().chain(fault).min_by_key(|(offset, _)| *offset) {
        return Err(malformed(text, offset, &message));
    }
    let strict = ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &strict)
        .map_err(|fault| malformed(text, fault.range().start, &fault.kind().to_string()))?;
    let value = parsed.value.ok_or_else(|| malformed(text, 0, "the text is empty"))?;
    Ok((text, node(value)))
}

fn node(value: Value<'_>) -> Node<'_> {
    let offset = value.start();
    let kind = match value {
        Value::NullKeyword(_) => Kind::Null,
        Value::BooleanLit(literal) => Kind::Boolean(literal.value),
        Value::NumberLit(literal) => Kind::Number(literal.value),
        Value::StringLit(literal) => Kind::Text(line_feeds(literal.value)),
        Value::Array(list) => Kind::List(list.elements.into_iter().map(node).collect()),
        Value::Object(object) => Kind::Object(
            object
                .properties
                .into_iter()
                .map(|property| Member {
                    offset: property.range.start,
                    key: match property.name {
                        ObjectPropName::String(literal) => line_feeds(literal.value),
                        ObjectPropName::Word(literal) => Cow::Borrowed(literal.value),
                    },
                    value: node(property.value),
                })
                .collect(),
        ),
    };
    Node { offset, kind }
}

/// CR LF is read as LF.
pub(crate) fn line_feeds(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains("\r\n") { Cow::Owned(text.replace("\r\n", "\n")) } else { text }
}

const TOO_DEEP: &str = "nested deeper than 32";

/// The first place that cannot be read though the brackets and quotes before it are well-formed: too deep, half of a
/// surrogate pair, or a raw control character in a string.
fn first_unreadable(text: &str) -> Option<(usize, &'static str)> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => in_string = !in_string,
            b'\n' | b'\r' if in_string => {
                return Some((at, "a string goes over a line break: write `\\n` for it, or close its quote"));
            }
            b'\t' if in_string => return Some((at, "a string holds a raw tab: write `\\t`")),
            0..=0x1f if in_string => {
                return Some((at, "a string holds a raw control character, which no text may hold"));
            }
            b'\\' if in_string => match unicode_escape(bytes, at) {
                Some(0xd800..=0xdbff) => {
                    if !matches!(unicode_escape(bytes, at + 6), Some(0xdc00..=0xdfff)) {
                        return Some((at, "half of a surrogate pair"));
                    }
                    at += 11;
                }
                Some(0xdc00..=0xdfff) => return Some((at, "half of a surrogate pair")),
                _ => at += 1,
            },
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some((at, TOO_DEEP));
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => (),
        }
        at += 1;
    }
    None
}

/// The code unit of a `\uXXXX` that starts at `at`.
fn unicode_escape(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

fn malformed(text: &str, offset: usize, message: &str) -> Malformed {
    let (line, column) = Positions::new(text).resolve(offset);
    Malformed { line, column, message: message.to_owned() }
}

/// Turns byte offsets, asked for in rising order, into lines and columns: the text is walked once.
pub(crate) struct Positions<'t> {
    text: &'t str,
    offset: usize,
    line: u32,
    column: u32,
}

impl<'t> Positions<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, offset: 0, line: 1, column: 1 }
    }

    /// Line and column from 1, the column in characters.
    pub(crate) fn resolve(&mut self, offset: usize) -> (u32, u32) {
        debug_assert!(offset >= self.offset, "offsets come in rising order");
        for c in self.text[self.offset..offset].chars() {
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.offset = offset;
        (self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &[u8], line: u32, column: u32, part: &str) {
        let fault = parse(text).err().expect("malformed");
        assert!(fault.message.contains(part), "{fault}");
        assert_eq!((fault.line, fault.column), (line, column), "{fault}");
    }

    #[test]
    fn what_is_no_json_is_malformed_with_its_place() {
        refused(b"", 1, 1, "empty");
        refused(b"{\n  \"a\": 1,\n}", 3, 1, "comma");
        refused("\u{feff}{}".as_bytes(), 1, 1, "byte order mark");
        refused(b"{\"a\": \"\xff\"}", 1, 8, "UTF-8");
        refused(b"{\"a\": \"x\ny\"}", 1, 9, "line break");
        refused(b"{\"a\": \"\tx\"}", 1, 8, "tab");
        refused(b"{\"a\":\n \"abc\x01\"}", 2, 6, "control character");
        refused(b"{\"a\x1f\": 1}", 1, 4, "control character");
        refused(b"{} {}", 1, 4, "trailing characters");
        refused(b"// no\n{}", 1, 1, "comment");
        refused("{\"é\": nul}".as_bytes(), 1, 7, "`null`");
    }

    #[test]
    fn the_first_fault_of_several_is_said() {
        let deep = "[".repeat(40);
        refused(format!("{{\"a\": nope, \"b\": {deep}").as_bytes(), 1, 7, "nope");
        refused(format!("{{\"a\": {deep} nope").as_bytes(), 1, 38, "nested");
        refused(format!("[\"\\udc00\", {deep}").as_bytes(), 1, 3, "surrogate");
        refused(b"{\"a\" \"b\tc\"}", 1, 6, "expected `:`");
    }

    #[test]
    fn half_a_surrogate_pair_is_malformed() {
        refused(br#"{"a": "\ud83d"}"#, 1, 8, "surrogate");
        refused(br#"{"a": "\ud83d\u0041"}"#, 1, 8, "surrogate");
        refused(br#"{"a": "x\udc00"}"#, 1, 9, "surrogate");
        assert!(parse(br#"{"a": "\ud83d\ude00 \\ud83d"}"#).is_ok());
    }

    #[test]
    fn thirty_two_levels_are_read_and_no_more() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(32).as_bytes()).is_ok());
        refused(nested(33).as_bytes(), 1, 33, "nested");
        refused("[".repeat(100_000).as_bytes(), 1, 33, "nested");
        assert!(
            parse(br#"["[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["]"#).is_ok(),
            "brackets in a string are text"
        );
    }

    #[test]
    fn a_document_over_the_limit_is_malformed() {
        let text = format!("\"{}\"", "x".repeat(MAX_DOCUMENT - 2));
        assert!(parse(text.as_bytes()).is_ok());
        refused(format!("{text} ").as_bytes(), 1, 1, "256 KiB");
    }

    #[test]
    fn columns_count_characters() {
        let mut positions = Positions::new("äö\n€x");
        assert_eq!(positions.resolve(0), (1, 1));
        assert_eq!(positions.resolve(2), (1, 2));
        assert_eq!(positions.resolve(5), (2, 1));
        assert_eq!(positions.resolve(8), (2, 2));
    }
}
