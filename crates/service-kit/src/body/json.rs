//! A JSON text, read into any type that derives `Deserialize`, with every fault and its place.
//!
//! Serde stops at the first fault, so a text with faults is read again without what was faulty, until nothing new is found: only the error
//! path pays for that.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;

use addon_descriptor::explain_syntax;
use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::{Range, Ranged};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, IgnoredAny, IntoDeserializer, Unexpected, Visitor};

use super::MOST_FAULTS;
use crate::problem::{Finding, Problem};

/// Reads a JSON text into a type.
///
/// # Errors
/// 400 with line and column when it is no JSON; 422 with everything that is wrong with it otherwise.
pub fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(fault) => {
            let readable =
                std::str::from_utf8(&bytes[..fault.valid_up_to()]).expect("it is valid up to there");
            let (line, column) = position(readable, readable.len());
            return Err(malformed("the body is not UTF-8", line, column));
        }
    };
    if text.trim().is_empty() {
        return Err(empty());
    }
    if text.starts_with('\u{feff}') {
        return Err(malformed("the text starts with a byte order mark", 1, 1));
    }
    // The parser below takes a few things that are no JSON, as raw line breaks in strings.
    if let Err(fault) = serde_json::from_str::<IgnoredAny>(text) {
        let (at, what) = explain_syntax(text, &fault);
        let (line, column) = position(text, at);
        return Err(malformed(&what, line, column));
    }
    let options = ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        ..ParseOptions::default()
    };
    let tree = match parse_to_ast(text, &CollectOptions::default(), &options) {
        Ok(tree) => tree.value,
        Err(fault) => {
            let (line, column) = position(text, fault.range().start);
            return Err(malformed(&fault.kind().to_string(), line, column));
        }
    };
    let tree = tree.expect("a text that is JSON has a value");
    let reading =
        Reading { text, faults: RefCell::default(), known: RefCell::default(), has_more: Cell::new(false) };
    reading.repeated_keys(&tree, &mut String::new());
    loop {
        let before = reading.known.borrow().len();
        match T::deserialize(Node { reading: &reading, value: Some(&tree), path: String::new() }) {
            Ok(value) if reading.faults.borrow().is_empty() => return Ok(value),
            Ok(_) => break,
            Err(fault) => reading.note(fault),
        }
        // A fault that was known before cannot be read around.
        if reading.known.borrow().len() == before || before > MOST_FAULTS {
            break;
        }
    }
    let more = if reading.has_more.get() { "more than " } else { "" };
    let mut faults = reading.faults.into_inner();
    faults.sort_by_key(|fault| (fault.line, fault.column));
    let detail = match faults.as_slice() {
        [fault] if fault.path.is_empty() => format!("the body {}", fault.message),
        [fault] => format!("{}: {}", fault.path, fault.message),
        faults => format!("the body has {more}{} faults: see errors", faults.len()),
    };
    Err(Problem::unprocessable("invalid-body", detail).with_errors(faults))
}

/// 400 for a body without anything in it.
fn empty() -> Problem {
    let message = "the body is empty: send JSON, such as {}".to_owned();
    let finding = Finding {
        path: String::new(),
        rule: "malformed".to_owned(),
        message: message.clone(),
        suggestion: None,
        line: Some(1),
        column: Some(1),
    };
    Problem::bad_request("malformed-json", message).with_errors([finding])
}

fn malformed(what: &str, line: u32, column: u32) -> Problem {
    let detail = format!("the body is no JSON: {what} at line {line}, column {column}");
    let finding = Finding {
        path: String::new(),
        rule: "malformed".to_owned(),
        message: what.to_owned(),
        suggestion: None,
        line: Some(line),
        column: Some(column),
    };
    Problem::bad_request("malformed-json", detail).with_errors([finding])
}

/// Line and column of a byte, both from 1, the column in characters.
fn position(text: &str, at: usize) -> (u32, u32) {
    let before = &text[..at];
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before[start..].chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// A text as a part of a JSON Pointer (RFC 6901, 3).
fn pointer_part(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// One body that is being read.
struct Reading<'t> {
    text: &'t str,
    faults: RefCell<Vec<Finding>>,
    /// Paths of what was found faulty: skipped, or (what is missing) made up, when it is read again.
    known: RefCell<BTreeSet<String>>,
    /// There are more faults than are listed.
    has_more: Cell<bool>,
}

impl Reading<'_> {
    fn add(&self, path: &str, rule: &str, message: String, suggestion: Option<String>, at: usize) {
        let mut faults = self.faults.borrow_mut();
        // Each place is a walk through the text: a body of nothing but faults is not worth them all.
        if faults.len() == MOST_FAULTS {
            self.has_more.set(true);
            return;
        }
        let (line, column) = position(self.text, at);
        faults.push(Finding {
            path: path.to_owned(),
            rule: rule.to_owned(),
            message,
            suggestion,
            line: Some(line),
            column: Some(column),
        });
    }

    fn note(&self, fault: Fault) {
        let (path, at) = fault.place.unwrap_or_default();
        let mut known = self.known.borrow_mut();
        // What is inside of a value that was made up is no fault of the body.
        let made_up = path.match_indices('/').any(|(end, _)| end > 0 && known.contains(&path[..end]));
        if known.insert(path.clone()) && !made_up {
            self.add(&path, fault.rule, fault.message, fault.suggestion, at);
        }
    }

    fn repeated_keys(&self, value: &Value<'_>, path: &mut String) {
        let length = path.len();
        match value {
            Value::Object(object) => {
                let mut seen = BTreeSet::new();
                for member in &object.properties {
                    let name = member.name.as_str();
                    path.push('/');
                    path.push_str(&pointer_part(name));
                    if !seen.insert(name) {
                        self.add(
                            path,
                            "repeated-key",
                            format!("{name:?} stands here twice"),
                            None,
                            member.start(),
                        );
                    }
                    self.repeated_keys(&member.value, path);
                    path.truncate(length);
                }
            }
            Value::Array(array) => {
                for (index, element) in array.elements.iter().enumerate() {
                    path.push_str(&format!("/{index}"));
                    self.repeated_keys(element, path);
                    path.truncate(length);
                }
            }
            _ => (),
        }
    }
}

/// What serde finds wrong, and where.
#[derive(Debug)]
struct Fault {
    rule: &'static str,
    message: String,
    suggestion: Option<String>,
    /// JSON Pointer and byte; set where the value is known.
    place: Option<(String, usize)>,
    missing: Option<&'static str>,
}

impl Fault {
    fn new(rule: &'static str, message: String) -> Self {
        Self { rule, message, suggestion: None, place: None, missing: None }
    }

    /// The same with its place, unless it has one.
    fn at(mut self, path: &str, at: usize) -> Self {
        if self.place.is_none() {
            let path = match self.missing {
                Some(name) => format!("{path}/{}", pointer_part(name)),
                None => path.to_owned(),
            };
            self.place = Some((path, at));
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new("invalid-value", message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            Unexpected::Bool(value) => value.to_string(),
            Unexpected::Unsigned(value) => format!("the number {value}"),
            Unexpected::Signed(value) => format!("the number {value}"),
            Unexpected::Float(value) => format!("the number {value}"),
            Unexpected::Str(_) => "a string".to_owned(),
            Unexpected::Unit | Unexpected::Option => "null".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "an object".to_owned(),
            other => other.to_string(),
        };
        let expected = match expected.to_string() {
            text if text.starts_with("struct ") || text == "a map" => "an object".to_owned(),
            text if text == "a sequence" => "a list".to_owned(),
            text if text.starts_with("enum ") || text == "a borrowed string" => "a string".to_owned(),
            text if text.starts_with('u') && text[1..].parse::<u8>().is_ok() => "a whole number".to_owned(),
            text => text,
        };
        Self::new("wrong-type", format!("must be {expected}, not {found}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let mut fault =
            Self::new("unknown-value", format!("must be one of {}, not {variant:?}", expected.join(", ")));
        fault.suggestion = crate::nearest::nearest(variant, expected.iter().copied()).map(str::to_owned);
        fault
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::new("required", format!("{field:?} is required")) }
    }

    fn duplicate_field(field: &'static str) -> Self {
        // Repeated keys were reported before; of two values the first is read.
        Self::new("repeated-key", format!("{field:?} stands here twice"))
    }
}

/// What is read where an object is missing.
static EMPTY: Object<'static> = Object { range: Range { start: 0, end: 0 }, properties: Vec::new() };

/// Reads what is missing as zero, so that reading goes on.
macro_rules! zero_where_missing {
    ($($read:ident => $visit:ident($zero:expr)),+ $(,)?) => {$(
        fn $read<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Fault> {
            match self.value {
                None => visitor.$visit($zero),
                Some(_) => self.deserialize_any(visitor),
            }
        }
    )+};
}

/// A value, or (what is missing) the place where one should be.
struct Node<'r, 't> {
    reading: &'r Reading<'t>,
    value: Option<&'r Value<'t>>,
    path: String,
}

impl<'r, 't> Node<'r, 't> {
    fn start(&self) -> usize {
        self.value.map_or(0, Ranged::start)
    }

    fn child(&self, part: &str, value: Option<&'r Value<'t>>) -> Self {
        Self { reading: self.reading, value, path: format!("{}/{}", self.path, pointer_part(part)) }
    }

    fn object<V: Visitor<'r>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let object = match self.value {
            Some(Value::Object(object)) => object,
            // Serde would read a list as the fields in their order.
            Some(Value::Array(_)) if fields.is_some() => {
                let fault: Fault = de::Error::invalid_type(Unexpected::Seq, &"an object");
                return Err(fault.at(&self.path, self.start()));
            }
            None => &EMPTY,
            Some(_) => return self.deserialize_any(visitor),
        };
        let mut seen = BTreeSet::new();
        let mut members = Vec::new();
        for member in &object.properties {
            let name = member.name.as_str();
            let child = self.child(name, Some(&member.value));
            if !seen.insert(name) || self.reading.known.borrow().contains(&child.path) {
                continue;
            }
            if let Some(fields) = fields
                && !fields.contains(&name)
            {
                let mut fault = Fault::new("unknown-field", format!("there is no field {name:?} here"));
                fault.suggestion = crate::nearest::nearest(name, fields.iter().copied()).map(str::to_owned);
                self.reading.note(fault.at(&child.path, member.start()));
                continue;
            }
            members.push((name, child));
        }
        for &name in fields.unwrap_or_default() {
            let hole = self.child(name, None);
            let is_read = members.iter().any(|(read, _)| *read == name);
            if !is_read && self.reading.known.borrow().contains(&hole.path) {
                members.push((name, hole));
            }
        }
        let (path, at) = (self.path.clone(), self.start());
        visitor
            .visit_map(Members { rest: members.into_iter(), value: None })
            .map_err(|fault| fault.at(&path, at))
    }
}

impl<'r> Deserializer<'r> for Node<'r, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Fault> {
        let (path, at) = (self.path.clone(), self.start());
        let read = match self.value {
            None => visitor.visit_unit(),
            Some(Value::NullKeyword(_)) => visitor.visit_unit(),
            Some(Value::BooleanLit(literal)) => visitor.visit_bool(literal.value),
            Some(Value::StringLit(literal)) => visitor.visit_borrowed_str(&literal.value),
            Some(Value::NumberLit(literal)) => match (literal.value.parse(), literal.value.parse()) {
                (Ok(number), _) => visitor.visit_u64(number),
                (_, Ok(number)) => visitor.visit_i64(number),
                _ => visitor.visit_f64(literal.value.parse().unwrap_or(f64::NAN)),
            },
            Some(Value::Array(array)) => {
                let elements = array.elements.iter().enumerate();
                let elements: Vec<Self> =
                    elements.map(|(index, element)| self.child(&index.to_string(), Some(element))).collect();
                visitor.visit_seq(Elements { rest: elements.into_iter() })
            }
            Some(Value::Object(_)) => return self.object(None, visitor),
        };
        read.map_err(|fault: Fault| fault.at(&path, at))
    }

    fn deserialize_option<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            None | Some(Value::NullKeyword(_)) => visitor.visit_none(),
            Some(_) => visitor.visit_some(self),
        }
    }

    zero_where_missing! {
        deserialize_bool => visit_bool(false),
        deserialize_i8 => visit_u64(0),
        deserialize_i16 => visit_u64(0),
        deserialize_i32 => visit_u64(0),
        deserialize_i64 => visit_u64(0),
        deserialize_u8 => visit_u64(0),
        deserialize_u16 => visit_u64(0),
        deserialize_u32 => visit_u64(0),
        deserialize_u64 => visit_u64(0),
        deserialize_f32 => visit_u64(0),
        deserialize_f64 => visit_u64(0),
        deserialize_str => visit_borrowed_str(""),
        deserialize_string => visit_borrowed_str(""),
        deserialize_seq => visit_seq(Elements { rest: Vec::new().into_iter() }),
    }

    fn deserialize_map<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.object(None, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'r>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let (path, at) = (self.path.clone(), self.start());
        visitor.visit_newtype_struct(self).map_err(|fault| fault.at(&path, at))
    }

    fn deserialize_struct<V: Visitor<'r>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.object(Some(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'r>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let (path, at) = (self.path.clone(), self.start());
        let read = match self.value {
            None => visitor
                .visit_enum(BorrowedStrDeserializer::<Fault>::new(variants.first().copied().unwrap_or(""))),
            Some(Value::StringLit(literal)) => {
                visitor.visit_enum(BorrowedStrDeserializer::<Fault>::new(&literal.value))
            }
            _ => self.deserialize_any(visitor),
        };
        read.map_err(|fault| fault.at(&path, at))
    }

    fn deserialize_ignored_any<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'r>>
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

/// The members of an object that are read.
struct Members<'r, 't> {
    rest: std::vec::IntoIter<(&'r str, Node<'r, 't>)>,
    value: Option<Node<'r, 't>>,
}

impl<'r> de::MapAccess<'r> for Members<'r, '_> {
    type Error = Fault;

    fn next_key_seed<K: de::DeserializeSeed<'r>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((name, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        let name: StrDeserializer<'r, Fault> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'r>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let node = self.value.take().expect("serde asks for a value after its key");
        let (path, at) = (node.path.clone(), node.start());
        seed.deserialize(node).map_err(|fault| fault.at(&path, at))
    }
}

/// The elements of a list that are read.
struct Elements<'r, 't> {
    rest: std::vec::IntoIter<Node<'r, 't>>,
}

impl<'r> de::SeqAccess<'r> for Elements<'r, '_> {
    type Error = Fault;

    fn next_element_seed<T: de::DeserializeSeed<'r>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        for node in self.rest.by_ref() {
            if node.reading.known.borrow().contains(&node.path) {
                continue;
            }
            let (path, at) = (node.path.clone(), node.start());
            return seed.deserialize(node).map(Some).map_err(|fault| fault.at(&path, at));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use actix_web::http::StatusCode;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Order {
        name: String,
        size: Size,
        count: u32,
        #[serde(default)]
        tags: Vec<String>,
        note: Option<String>,
        id: Option<addon_client::ReleaseId>,
        #[serde(default)]
        parts: BTreeMap<String, Part>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Size {
        Small,
        Large,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Part {
        weight: f64,
    }

    fn faults(text: &str) -> Vec<(String, String, u32, u32)> {
        let problem = read_json::<Order>(text.as_bytes()).unwrap_err();
        assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY, "{text}: {problem}");
        let place = |fault: &Finding| {
            (fault.path.clone(), fault.rule.clone(), fault.line.unwrap(), fault.column.unwrap())
        };
        problem.errors().iter().map(place).collect()
    }

    #[test]
    fn a_body_of_nothing_but_faults_is_answered_with_the_first_ones() {
        let members: Vec<String> = (0..20_000).map(|n| format!("\"k{n}\":{{\"a\":1,\"a\":2}}")).collect();
        let problem = read_json::<IgnoredAny>(format!("{{{}}}", members.join(",")).as_bytes()).unwrap_err();
        assert_eq!(problem.errors().len(), MOST_FAULTS);
        assert!(problem.detail().contains("more than 50 faults"), "{}", problem.detail());
    }

    #[test]
    fn a_good_body_is_read() {
        let text = r#"{"name": "a\nb", "size": "large", "count": 3, "tags": ["x"], "note": null,
            "id": "6B00fc9223516c5e37bee27c", "parts": {"p": {"weight": 1.5}}}"#;
        let order = read_json::<Order>(text.as_bytes()).unwrap();
        assert_eq!((order.name.as_str(), order.size, order.count), ("a\nb", Size::Large, 3));
        assert_eq!((order.tags, order.note), (vec!["x".to_owned()], None));
        assert_eq!(order.parts["p"].weight, 1.5);
        assert_eq!(read_json::<Vec<i64>>(b"[1, -2]").unwrap(), [1, -2]);
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let text = "{\n  \"nmae\": \"a\",\n  \"size\": \"larg\", \"count\": -1,\n  \"tags\": [\"x\", 5, \"y\", null],\n  \
                    \"note\": true, \"id\": \"zz\", \"parts\": {\"a/b\": {\"weight\": \"w\", \"wieght\": 1}, \"c\": 3}\n}";
        let expected = [
            ("/name", "required", 1, 1),
            ("/nmae", "unknown-field", 2, 3),
            ("/size", "unknown-value", 3, 11),
            ("/count", "invalid-value", 3, 28),
            ("/tags/1", "wrong-type", 4, 17),
            ("/tags/3", "wrong-type", 4, 25),
            ("/note", "wrong-type", 5, 11),
            ("/id", "invalid-value", 5, 23),
            ("/parts/a~1b/weight", "wrong-type", 5, 57),
            ("/parts/a~1b/wieght", "unknown-field", 5, 62),
            ("/parts/c", "wrong-type", 5, 81),
        ];
        let expected: Vec<_> = expected
            .map(|(path, rule, line, column)| (path.to_owned(), rule.to_owned(), line, column))
            .into();
        assert_eq!(faults(text), expected);
    }

    #[test]
    fn the_nearest_name_is_suggested() {
        let problem = read_json::<Order>(br#"{"nmae": "a", "size": "larg", "count": 1}"#).unwrap_err();
        let suggestions: Vec<_> = problem.errors().iter().map(|fault| fault.suggestion.as_deref()).collect();
        assert_eq!(suggestions, [None, Some("name"), Some("large")]);
    }

    #[test]
    fn repeated_keys_are_faults_everywhere() {
        let text = r#"{"name": "a", "size": "small", "count": 1, "name": "b", "parts": {"x": {"weight": 1, "weight": 2}}}"#;
        let paths: Vec<String> =
            faults(text).into_iter().map(|(path, rule, ..)| format!("{path} {rule}")).collect();
        assert_eq!(paths, ["/name repeated-key", "/parts/x/weight repeated-key"]);
    }

    #[test]
    fn a_body_of_another_kind_is_one_fault() {
        for text in ["[]", "3", "null", "\"x\""] {
            let problem = read_json::<Order>(text.as_bytes()).unwrap_err();
            assert!(problem.detail().starts_with("the body must be an object, not "), "{text}: {problem}");
        }
        let paths: Vec<String> = faults("{}").into_iter().map(|(path, ..)| path).collect();
        assert_eq!(paths, ["/name", "/size", "/count"]);
    }

    #[test]
    fn what_is_no_json_is_malformed_with_its_place() {
        for (text, line, column) in [
            (&b"{\"name\": }"[..], 1, 10),
            (b"", 1, 1),
            ("{\"ñ\": }".as_bytes(), 1, 7),
            (b"{\n\"a\": 1,\n}", 3, 1),
            (b"{\"a\": \"\xff\"}", 1, 8),
            (b"\xef\xbb\xbf{}", 1, 1),
            (b"{} x", 1, 4),
            (b"{'a': 1}", 1, 2),
            (b"{\"a\": \"raw\nbreak\"}", 1, 10),
        ] {
            let problem = read_json::<Order>(text).unwrap_err();
            assert_eq!((problem.status(), problem.code()), (StatusCode::BAD_REQUEST, "malformed-json"));
            let fault = &problem.errors()[0];
            assert_eq!((fault.line, fault.column), (Some(line), Some(column)), "{problem}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(read_json::<Order>(deep.as_bytes()).unwrap_err().code(), "malformed-json");
    }

    #[test]
    fn many_faults_take_no_long_time() {
        let tags = vec!["1"; 20_000].join(",");
        let text = format!(r#"{{"name": "a", "size": "small", "count": 1, "tags": [{tags}]}}"#);
        assert!(read_json::<Order>(text.as_bytes()).unwrap_err().errors().len() > 10);
    }

    #[test]
    fn what_is_no_json_is_told_in_words() {
        for (text, part) in [
            ("", "the body is empty"),
            (" \n", "the body is empty"),
            (r#"{"name":"x",}"#, "the comma before it is one too many at line 1, column 13"),
            ("{'name': 1}", "double quotes, `\"` at line 1, column 2"),
            ("{name: 1}", "keys stand in double quotes: `\"name\"` at line 1, column 2"),
            ("{\n  // why\n}", "JSON has no comments at line 2, column 3"),
            (r#"{"name": {"a": 1}"#, "a `}` is missing: the `{` of line 1, column 1 is not closed"),
            ("\u{feff}{}", "byte order mark"),
        ] {
            let problem = read_json::<Order>(text.as_bytes()).unwrap_err();
            assert_eq!((problem.status(), problem.code()), (StatusCode::BAD_REQUEST, "malformed-json"));
            assert!(problem.detail().contains(part), "{text}: {problem}");
        }
    }
}
