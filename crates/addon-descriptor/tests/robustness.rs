//! Whatever comes in: no panic, no more than linear time, formatting changes nothing, and the JSON Schema refuses
//! nothing that the reader accepts.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use addon_descriptor::{Digest, read, schema};
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

static SCHEMA: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::draft202012::new(&schema()).expect("a schema"));

fn fixtures(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut found: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap()))
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

static VALID: LazyLock<Vec<Value>> =
    LazyLock::new(|| fixtures("valid").iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect());

#[test]
fn the_schema_is_valid_itself() {
    assert!(jsonschema::meta::is_valid(&schema()));
}

#[test]
fn the_schema_accepts_every_valid_fixture() {
    for (name, text) in fixtures("valid") {
        let document: Value = serde_json::from_str(&text).unwrap();
        let faults: Vec<String> = SCHEMA
            .iter_errors(&document)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{name}: {faults:#?}");
        let canonical = read(text.as_bytes()).unwrap().descriptor.unwrap().canonical();
        assert!(SCHEMA.is_valid(&serde_json::from_slice(&canonical).unwrap()), "{name}, canonical");
    }
}

#[test]
fn the_schema_refuses_what_a_single_field_tells() {
    // What lies across fields, and what needs more than a pattern, is the reader's alone.
    let rules = [
        "wrong-type",
        "missing-field",
        "unknown-field",
        "too-many-entries",
        "no-service",
        "reserved-label",
        "ports-as-list",
        "long-form",
        "invalid-port",
        "reserved-network",
        "unknown-ulimit",
        "unknown-platform",
        "unknown-value",
        "unknown-sysctl",
        "invalid-duration",
        "invalid-size",
        "invalid-mode",
        "invalid-name",
        "invalid-version",
        "invalid-url",
        "invalid-icon",
        "invalid-path",
        "invalid-device",
        "invalid-key",
        "invalid-mount",
        "text-too-long",
        "text-empty",
        "value-from-shell",
        "file-source",
    ];
    let all = fixtures("invalid");
    for rule in rules {
        let (_, text) = all.iter().find(|(name, _)| name.ends_with(&format!("/{rule}.json"))).unwrap();
        assert!(!SCHEMA.is_valid(&serde_json::from_str(text).unwrap()), "{rule}");
    }
}

/// The laws for any text: no panic; what is accepted is a fixpoint, has its digest in any form, and fits the schema.
fn check(text: &[u8]) {
    let Ok(reading) = read(text) else { return };
    assert_eq!(reading.descriptor.is_some(), reading.violations.is_empty());
    for found in reading.violations.iter().chain(&reading.warnings) {
        assert!(found.line > 0 && found.column > 0 && found.path.len() < 64 * 1024);
    }
    let Some(descriptor) = reading.descriptor else { return };
    let canonical = descriptor.canonical();
    let again = read(&canonical).expect("canonical bytes are JSON");
    assert_eq!(again.descriptor.as_ref(), Some(&descriptor), "{:#?}", again.violations);
    assert_eq!(Digest::of(&canonical), descriptor.digest());
    let wire = read(descriptor.wire_value().to_string().as_bytes()).expect("the wire form is JSON");
    assert_eq!(wire.descriptor.map(|descriptor| descriptor.digest()), Some(descriptor.digest()));
    let document: Value = serde_json::from_slice(text).expect("JSON");
    let faults: Vec<String> =
        SCHEMA.iter_errors(&document).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    assert!(faults.is_empty(), "the schema refuses what the reader accepts: {faults:#?} in {document}");
    for right in addon_descriptor::rights(&descriptor) {
        assert_eq!(right.as_str().parse(), Ok(right.clone()));
        let _ = (right.level(), right.root_on_host());
    }
}

/// Values that fields do not expect, or barely do.
fn odd_value() -> impl Strategy<Value = Value> {
    let texts = prop::sample::select(vec![
        "",
        " ",
        "0",
        "-1",
        "1",
        "80",
        "a",
        "a b",
        "/",
        "/a",
        "/a:/b",
        "a:/b:ro",
        "${p}",
        "$",
        "host",
        "none",
        "service:web",
        "service:",
        "always",
        "on-failure:0",
        "1m",
        "512Mi",
        "1.5g",
        "yes",
        "linux/arm64",
        "ALL",
        "CAP_KILL",
        "A=B",
        "=",
        "[::1]:80",
        "0.0.0.0:",
        "\u{202e}",
        "\n",
        "é",
        "nginx",
        "10.0.0.0/8",
        "1e400",
        "~",
        "CMD",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec![
            json!(0),
            json!(-1),
            json!(1),
            json!(1.5),
            json!(1e2),
            json!(80),
            json!(70000),
            json!(u64::MAX),
            json!(1e300)
        ]),
        texts.prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Keys: those that the schema knows anywhere, and others.
fn key() -> impl Strategy<Value = String> {
    static KNOWN: LazyLock<Vec<String>> = LazyLock::new(|| {
        let mut known = Vec::new();
        collect_properties(&schema(), &mut known);
        known
    });
    prop_oneof![4 => prop::sample::select(KNOWN.clone()), 1 => ".{0,6}"]
}

fn collect_properties(schema: &Value, known: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(properties) = members.get("properties").and_then(Value::as_object) {
                known.extend(properties.keys().cloned());
            }
            members.values().for_each(|value| collect_properties(value, known));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_properties(value, known)),
        _ => (),
    }
}

/// The pointers of all values below.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                pointers(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                pointers(value, &format!("{at}/{index}"), found);
            }
        }
        _ => (),
    }
}

/// What is done to one value of a document.
#[derive(Debug, Clone)]
enum Change {
    Replace(Value),
    Remove,
    Insert(String, Value),
}

fn change() -> impl Strategy<Value = (prop::sample::Index, Change)> {
    let change = prop_oneof![
        3 => odd_value().prop_map(Change::Replace),
        1 => Just(Change::Remove),
        2 => (key(), odd_value()).prop_map(|(key, value)| Change::Insert(key, value)),
    ];
    (any::<prop::sample::Index>(), change)
}

fn apply(document: &mut Value, index: prop::sample::Index, change: Change) {
    let mut all = Vec::new();
    pointers(document, "", &mut all);
    let pointer = index.get(&all).clone();
    match change {
        Change::Replace(value) => *document.pointer_mut(&pointer).unwrap() = value,
        Change::Remove => {
            let Some((parent, last)) = pointer.rsplit_once('/') else { return };
            match document.pointer_mut(parent).unwrap() {
                Value::Object(members) => {
                    members.remove(&last.replace("~1", "/").replace("~0", "~"));
                }
                Value::Array(items) => {
                    items.remove(last.parse().unwrap());
                }
                _ => (),
            }
        }
        Change::Insert(key, value) => match document.pointer_mut(&pointer).unwrap() {
            Value::Object(members) => {
                members.insert(key, value);
            }
            Value::Array(items) => items.push(value),
            _ => (),
        },
    }
}

/// The same document, its members in another order and with other blanks.
fn reformatted(value: &Value, seed: u64) -> String {
    let blank = ["", " ", "\n  ", "\t", "\r\n"][usize::try_from(seed % 5).unwrap()];
    match value {
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            let turn = usize::try_from(seed % 7).unwrap() % members.len().max(1);
            members.rotate_left(turn);
            if seed.is_multiple_of(2) {
                members.reverse();
            }
            let inner: Vec<String> = members
                .into_iter()
                .map(|(key, value)| {
                    format!("{blank}{}{blank}:{}", escaped(key, seed), reformatted(value, seed / 3 + 1))
                })
                .collect();
            format!("{{{}{blank}}}", inner.join(","))
        }
        Value::Array(items) => {
            let inner: Vec<String> = items.iter().map(|item| reformatted(item, seed / 2 + 5)).collect();
            format!("[{blank}{}{blank}]", inner.join(&format!("{blank},")))
        }
        Value::String(text) => escaped(text, seed),
        other => format!("{blank}{other}"),
    }
}

/// A JSON string, some of it in escapes that need not be.
fn escaped(text: &str, seed: u64) -> String {
    if !seed.is_multiple_of(3) {
        return json!(text).to_string();
    }
    let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    format!("\"{units}\"")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        check(&bytes);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[\\[\\]{}\",:0-9a-z\\\\ \n-]{0,64}") {
        check(text.as_bytes());
    }

    #[test]
    fn arbitrary_documents_never_panic(members in prop::collection::vec((key(), odd_value()), 0..12)) {
        let document: Map<String, Value> = members.into_iter().collect();
        check(Value::Object(document).to_string().as_bytes());
    }

    #[test]
    fn changed_fixtures_never_panic(
        fixture in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let mut document = fixture.get(&VALID).clone();
        for (index, change) in changes {
            apply(&mut document, index, change);
        }
        check(document.to_string().as_bytes());
    }

    #[test]
    fn fixtures_with_changed_bytes_never_panic(
        fixture in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let mut text = fixture.get(&VALID).to_string().into_bytes();
        for (index, byte, kind) in changes {
            if text.is_empty() {
                break;
            }
            let at = index.index(text.len());
            match kind {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => {
                    text.remove(at);
                }
            }
        }
        check(&text);
    }

    #[test]
    fn formatting_and_order_of_keys_change_no_digest(fixture in any::<prop::sample::Index>(), seed in any::<u64>()) {
        let document = fixture.get(&VALID);
        let plain = read(document.to_string().as_bytes()).unwrap().descriptor.unwrap();
        let text = reformatted(document, seed);
        let again = read(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        prop_assert_eq!(again.descriptor.map(|descriptor| descriptor.digest()), Some(plain.digest()), "{}", text);
    }
}

/// Documents of about `size` bytes of which each is a way to cost time.
fn costly(size: usize) -> Vec<(&'static str, String)> {
    let many = |item: &dyn Fn(usize) -> String, separator: &str| {
        let mut text = String::new();
        for index in 0.. {
            let next = item(index);
            if text.len() + next.len() > size {
                break;
            }
            if index > 0 {
                text.push_str(separator);
            }
            text.push_str(&next);
        }
        text
    };
    let service = |members: String| {
        format!(r#"{{"name":"x","services":[{{"service_name":"a","image":"b:1",{members}}}]}}"#)
    };
    vec![
        ("unknown fields", format!("{{{}}}", many(&|i| format!("\"naem{i}\":0"), ","))),
        ("one repeated key", format!("{{{}}}", many(&|_| "\"name\":0".to_owned(), ","))),
        ("many lines", format!("{{{}}}", many(&|i| format!("\"k{i}\":\n0"), ",\n"))),
        ("a long text", service(format!("\"hostname\":\"{}\"", "a.".repeat(size / 2)))),
        ("bad words", service(format!("\"command\":[{}]", many(&|_| "0".to_owned(), ",")))),
        ("many words", service(format!("\"command\":\"{}\"", many(&|_| "a".to_owned(), " ")))),
        (
            "variables",
            service(format!("\"environment\":{{{}}}", many(&|i| format!("\"A{i}\":\"${{p}}\""), ","))),
        ),
        ("capabilities", service(format!("\"cap_add\":[{}]", many(&|i| format!("\"NET_ADMI{i}\""), ",")))),
        (
            "control characters",
            service(format!("\"labels\":{{{}}}", many(&|i| format!("\"\\u0007{i}\":\"\\u0007\""), ","))),
        ),
        (
            "services",
            format!(
                r#"{{"name":"x","services":[{}]}}"#,
                many(
                    &|i| format!(r#"{{"service_name":"s{i}","image":"b","depends_on":["s{}"]}}"#, i + 1),
                    ","
                )
            ),
        ),
        ("brackets", many(&|_| "[".to_owned(), "")),
        (
            "a long key",
            format!("{{\"services\":{{\"{}\":[{}]}}}}", "k".repeat(size / 2), "0,".repeat(size / 4) + "0"),
        ),
    ]
}

#[test]
fn patterns_cost_no_more_than_a_document_may() {
    let document = |patterns: Vec<String>| {
        let parameters: Vec<Value> = patterns
            .iter()
            .enumerate()
            .map(|(index, pattern)| json!({ "name": format!("p{index}"), "type": "string", "pattern": pattern }))
            .collect();
        let service = json!({ "service_name": "a", "image": "b:1" });
        json!({ "name": "x", "services": [service], "parameters": parameters }).to_string()
    };
    let faults = |patterns: Vec<String>| {
        read(document(patterns).as_bytes())
            .unwrap()
            .violations
            .iter()
            .filter(|v| v.rule == "invalid-pattern")
            .count()
    };
    assert_eq!(faults(vec!["a".repeat(256)]), 0);
    assert_eq!(faults(vec!["a".repeat(257)]), 1, "one pattern");
    assert_eq!(faults(vec!["a".repeat(256); 4]), 0);
    assert_eq!(faults([vec!["a".repeat(256); 4], vec!["b".to_owned()]].concat()), 1, "all of them together");
    assert_eq!(faults(vec![format!("(?i){}", r"\PL".repeat(2_700))]), 1);
    // Each compiles to more than a quarter of what one may: the first few are taken.
    assert_eq!(faults(vec![r"\pL{5}".to_owned(); 64]), 60);
    assert_eq!(faults(vec!["[a-z0-9-]{1,63}".to_owned(); 64]), 0, "small ones are not counted");
    assert_eq!(faults(vec![".{1,255}".to_owned(); 4]), 0);
}

#[test]
fn patterns_are_held_to_the_whole_value() {
    let accepts = |pattern: &str, default: &str| {
        let service = json!({ "service_name": "a", "image": "b:1" });
        let parameter = json!({ "name": "p", "type": "string", "pattern": pattern, "default": default });
        let document = json!({ "name": "x", "services": [service], "parameters": [parameter] });
        read(document.to_string().as_bytes()).unwrap().violations.is_empty()
    };
    assert!(accepts("a|ab", "ab"));
    assert!(!accepts("a|ab", "abc"));
    assert!(!accepts("a)(b", "ab"), "is no pattern by itself");
    assert!(accepts("(?x) a # c", "a"), "a comment ends with the pattern");
    assert!(!accepts("(?x) a # c", "ac"));
    assert!(!accepts("(?x: a # c", "a"));
}

/// The best of some runs: what other work on the machine adds is left out.
fn best_time(text: &str) -> Duration {
    (0..5)
        .map(|_| {
            let start = Instant::now();
            let _ = read(text.as_bytes());
            start.elapsed()
        })
        .min()
        .expect("some runs")
}

#[test]
fn time_grows_at_most_linearly() {
    const SMALL: usize = 30_000;
    for ((name, small), (_, large)) in costly(SMALL).into_iter().zip(costly(8 * SMALL)) {
        // Eight times the size may cost eight times the time; a quadratic step would cost 64 times. A busy machine
        // gets further attempts.
        let is_linear = (0..10).any(|_| {
            let (small, large) = (best_time(&small), best_time(&large));
            large < Duration::from_millis(20) || large < small * 30
        });
        assert!(is_linear, "{name}: {:?}, then {:?}", best_time(&small), best_time(&large));
    }
}
