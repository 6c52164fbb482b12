//! Parameters: what an operator may give, where it is put, and what comes out.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use addon_descriptor::parameters::{Checked, Filled, Origin, Piece, Value, Values, check, put_in};
use addon_descriptor::{AddonDescriptor, Violation, read, rights, risk};
use proptest::prelude::*;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value as Json, json};

fn descriptor(document: &Json) -> AddonDescriptor {
    let reading = read(document.to_string().as_bytes()).unwrap();
    reading.descriptor.unwrap_or_else(|| panic!("{document}: {:#?}", reading.violations))
}

/// A document with these parameters and one service.
fn document(parameters: &Json, service: &Json) -> AddonDescriptor {
    let mut service = service.clone();
    service["service_name"] = json!("web");
    service["image"] = json!("nginx:1.27");
    descriptor(&json!({ "name": "sample", "parameters": parameters, "services": [service] }))
}

fn given(values: &Json) -> BTreeMap<String, Json> {
    values.as_object().unwrap().clone().into_iter().collect()
}

/// Random bytes that are the same each time.
fn counter() -> impl FnMut(&mut [u8]) {
    let mut next = 0_u8;
    move |bytes: &mut [u8]| {
        bytes.fill_with(|| {
            next = next.wrapping_mul(29).wrapping_add(17);
            next
        });
    }
}

fn checked(addon: &AddonDescriptor, values: &Json) -> Result<Checked, Vec<Violation>> {
    check(&addon.parameters, &given(values), &Values::default())
}

fn values(addon: &AddonDescriptor, values: &Json) -> Values {
    let checked = checked(addon, values).unwrap_or_else(|faults| panic!("{values}: {faults:#?}"));
    checked.generate(counter()).unwrap()
}

fn filled(addon: &AddonDescriptor, given: &Json) -> Filled {
    put_in(addon, &values(addon, given)).unwrap_or_else(|faults| panic!("{given}: {faults:#?}"))
}

fn refused(addon: &AddonDescriptor, given: &Json) -> Vec<Violation> {
    put_in(addon, &values(addon, given)).expect_err("a value that cannot be put in")
}

/// A value of the only parameter, `p`: the text that is put in, or the rule, a part of the message, and the suggestion.
#[track_caller]
fn of(declared: &Json, value: &Json) -> Result<String, (&'static str, String, Option<String>)> {
    let mut parameter = declared.clone();
    parameter["name"] = json!("p");
    let addon = document(&json!([parameter]), &json!({}));
    match checked(&addon, &json!({ "p": value })) {
        Ok(checked) => match checked.values().get("p") {
            Some(Value::Secret(secret)) => Ok(secret.expose_secret().to_owned()),
            Some(value) => Ok(value.text().unwrap().into_owned()),
            None => Ok("nothing".to_owned()),
        },
        Err(faults) => {
            let [fault] = faults.as_slice() else { panic!("{faults:#?}") };
            assert_eq!((fault.path.as_str(), fault.line, fault.column), ("/parameters/p", 0, 0));
            Err((fault.rule, fault.message.clone(), fault.suggestion.clone()))
        }
    }
}

#[track_caller]
fn accepts(declared: &Json, cases: &[(Json, &str)]) {
    for (value, expected) in cases {
        assert_eq!(of(declared, value).as_deref(), Ok(*expected), "{declared} {value}");
    }
}

#[track_caller]
fn refuses(declared: &Json, cases: &[(Json, &str, &str, Option<&str>)]) {
    for (value, rule, part, suggestion) in cases {
        let (found, message, suggested) = of(declared, value).expect_err(&format!("{declared} {value}"));
        assert_eq!(found, *rule, "{declared} {value}: {message}");
        assert!(message.contains(part), "{declared} {value}: {message}");
        assert_eq!(suggested.as_deref(), *suggestion, "{declared} {value}: {message}");
    }
}

#[test]
fn strings_have_a_length_and_a_form() {
    let plain = json!({ "type": "string" });
    accepts(&plain, &[(json!(""), ""), (json!("a\r\nb\n"), "a\nb\n"), (json!("${p} $$"), "${p} $$")]);
    let long = "x".repeat(64 * 1024 + 1);
    refuses(
        &plain,
        &[
            (json!(5), "wrong-type", "a string is needed, not a number", Some("\"5\"")),
            (json!(true), "wrong-type", "not a boolean", Some("\"true\"")),
            (json!(["a"]), "wrong-type", "not a list", None),
            (json!({}), "wrong-type", "not an object", None),
            (json!("a\u{0}b"), "forbidden-character", "U+0000", None),
            (json!("a\rb"), "forbidden-character", "U+000D", None),
            (json!("a\u{202e}b"), "forbidden-character", "U+202E", None),
            (json!(long), "text-too-long", "65536", None),
        ],
    );
    let bound = json!({ "type": "string", "min": 2, "max": 3, "pattern": "[a-zé]*" });
    accepts(&bound, &[(json!("éé"), "éé"), (json!("éaz"), "éaz")]);
    refuses(
        &bound,
        &[
            (
                json!("é"),
                "value-out-of-bounds",
                "a string of 2 to 3 characters that matches `[a-zé]*` is needed, not `é` of 1",
                None,
            ),
            (json!("abcd"), "value-out-of-bounds", "of 4 characters", None),
            (json!("ab1"), "value-out-of-bounds", "[a-zé]*", None),
            (json!("ab\n"), "value-out-of-bounds", "[a-zé]*", None),
        ],
    );
}

#[test]
fn numbers_are_exact() {
    let whole = json!({ "type": "integer", "min": -3, "max": 9007199254740991_u64 });
    accepts(
        &whole,
        &[
            (json!(0), "0"),
            (json!(-3), "-3"),
            (json!("12"), "12"),
            (json!(3.0), "3"),
            (json!(9007199254740991_u64), "9007199254740991"),
            (json!("9007199254740991"), "9007199254740991"),
        ],
    );
    refuses(
        &whole,
        &[
            (
                json!(-4),
                "value-out-of-bounds",
                "a whole number from -3 to 9007199254740991 is needed, not -4",
                None,
            ),
            (json!(1.5), "invalid-number", "not 1.5", None),
            (json!("1.5"), "invalid-number", "not 1.5", None),
            (json!("five"), "invalid-number", "not `five`", None),
            (json!(""), "invalid-number", "a whole number", None),
            (json!(" 1"), "invalid-number", "not ` 1`", None),
            (json!(true), "wrong-type", "not a boolean", None),
            (json!("9007199254740992"), "invalid-number", "within 9007199254740991", None),
            (json!(1e300), "invalid-number", "a whole number", None),
        ],
    );
    let decimal = json!({ "type": "number", "min": 0.5, "max": "1e3" });
    accepts(
        &decimal,
        &[
            (json!(0.5), "0.5"),
            (json!("1.50"), "1.5"),
            (json!(1000), "1000"),
            (json!("100.123456789012345"), "100.123456789012345"),
        ],
    );
    refuses(
        &decimal,
        &[
            (json!(0.4), "value-out-of-bounds", "a number from 0.5 to 1000 is needed, not 0.4", None),
            (json!("1000.01"), "value-out-of-bounds", "not 1000.01", None),
            (json!(100.12345678901235), "invalid-number", "a string is exact", None),
            (json!("1,5"), "invalid-number", "not `1,5`", None),
            (json!([]), "wrong-type", "a number", None),
        ],
    );
}

#[test]
fn booleans_ports_and_choices_are_of_their_sets() {
    let boolean = json!({ "type": "boolean" });
    accepts(&boolean, &[(json!(true), "true"), (json!(false), "false")]);
    refuses(
        &boolean,
        &[
            (json!("yes"), "wrong-type", "`true` or `false`", Some("true")),
            (json!(0), "wrong-type", "`true` or `false`", Some("false")),
            (json!("maybe"), "wrong-type", "`true` or `false`", None),
        ],
    );
    let port = json!({ "type": "port", "min": 1024 });
    accepts(&port, &[(json!(1024), "1024"), (json!("65535"), "65535")]);
    refuses(
        &port,
        &[
            (json!(0), "value-out-of-bounds", "a port from 1024 to 65535 is needed, not 0", None),
            (json!(80), "value-out-of-bounds", "not 80", None),
            (json!(65536), "value-out-of-bounds", "not 65536", None),
            (json!("8080-8081"), "invalid-number", "not `8080-8081`", None),
            (json!(8080.5), "invalid-number", "not 8080.5", None),
        ],
    );
    refuses(
        &json!({ "type": "port" }),
        &[(json!(0), "value-out-of-bounds", "a port from 1 to 65535 is needed, not 0", None)],
    );
    let choice = json!({ "type": "enum", "values": ["enabled", "warning", "80"] });
    accepts(&choice, &[(json!("warning"), "warning"), (json!("80"), "80")]);
    refuses(
        &choice,
        &[
            (json!("warnign"), "unknown-value", "one of `enabled`, `warning`, `80`", Some("warning")),
            (json!("disabled"), "unknown-value", "`disabled` is none of them", None),
            (json!(80), "wrong-type", "not a number", Some("\"80\"")),
        ],
    );
}

#[test]
fn paths_are_folders_that_can_be_mounted() {
    let path = json!({ "type": "path" });
    accepts(&path, &[(json!("/srv/films"), "/srv/films"), (json!("/srv/films/"), "/srv/films")]);
    refuses(
        &path,
        &[
            (json!("srv"), "invalid-path", "absolute", None),
            (json!(""), "invalid-path", "the text is empty", None),
            (json!("/"), "invalid-path", "not the whole file system", None),
            (json!("/srv/../.."), "invalid-path", "normal", None),
            (json!("/srv/../data"), "invalid-path", "`/srv/../data`", Some("/data")),
            (json!("/srv//data"), "invalid-path", "normal", Some("/srv/data")),
            (json!("/srv:/etc"), "invalid-path", "no `:`", None),
            (json!("/srv\tx"), "invalid-path", "control", None),
            (json!("/srv\u{7f}"), "invalid-path", "control", None),
            (json!("/srv\nx"), "line-feed", "one line", None),
            (json!(1), "wrong-type", "a string", Some("\"1\"")),
        ],
    );
}

#[test]
fn of_a_secret_nothing_is_said() {
    let secret = json!({ "type": "secret", "min": 8, "max": 40, "pattern": "[ -~\\n]*" });
    accepts(&secret, &[(json!("hunter22"), "hunter22"), (json!("-----BEGIN\r\nx"), "-----BEGIN\nx")]);
    let long = "hunter22".repeat(10_000);
    for (value, rule) in [
        (json!("hunter2"), "value-out-of-bounds"),
        (json!("hunter22".repeat(6)), "value-out-of-bounds"),
        (json!("hunter22é"), "value-out-of-bounds"),
        (json!("hunter22\u{7}"), "forbidden-character"),
        (json!(long), "text-too-long"),
        (json!(77777777), "wrong-type"),
        (json!(["hunter22"]), "wrong-type"),
    ] {
        let (found, message, suggestion) = of(&secret, &value).unwrap_err();
        assert_eq!((found, suggestion), (rule, None), "{message}");
        for part in ["hunter2", "7777", "U+0007", "é"] {
            assert!(!message.contains(part), "{message}");
        }
    }
}

#[test]
fn every_fault_comes_back_at_once_with_what_was_meant() {
    let addon = document(
        &json!([
            { "name": "port", "type": "port" },
            { "name": "database", "type": "string", "required": true, "max": 8 },
            { "name": "level", "type": "enum", "values": ["a"], "required": true, "default": "a" },
            { "name": "films", "type": "path" }
        ]),
        &json!({}),
    );
    let faults =
        checked(&addon, &json!({ "prot": 1, "films": "films", "zzzzzz": null, "database": null, "a/b~": 1 }))
            .unwrap_err();
    let found: Vec<_> =
        faults.iter().map(|fault| (fault.path.as_str(), fault.rule, fault.suggestion.as_deref())).collect();
    assert_eq!(
        found,
        [
            ("/parameters/database", "missing-value", None),
            ("/parameters/level", "missing-value", None),
            ("/parameters/films", "invalid-path", None),
            ("/parameters/a~1b~0", "unknown-parameter", None),
            ("/parameters/prot", "unknown-parameter", Some("port")),
            ("/parameters/zzzzzz", "unknown-parameter", None),
        ]
    );
    assert_eq!(faults[0].message, "`database` needs a value: a string of at most 8 characters");
    let none = document(&json!([]), &json!({}));
    let fault = &checked(&none, &json!({ "x": 1 })).unwrap_err()[0];
    assert_eq!(fault.message, "`x`: this addon has no parameters");
}

#[test]
fn so_many_faults_are_listed_and_no_more() {
    let addon = document(&json!([{ "name": "port", "type": "port" }]), &json!({}));
    let many: serde_json::Map<String, Json> = (0..5_000).map(|i| (format!("port{i}"), json!(i))).collect();
    let faults = checked(&addon, &Json::Object(many)).unwrap_err();
    assert_eq!(faults.len(), 1_001);
    assert_eq!(faults[1_000].rule, "too-many-violations");
}

#[test]
fn defaults_fill_in_and_what_has_no_value_has_none() {
    let addon = document(
        &json!([
            { "name": "s", "type": "string", "default": "text" },
            { "name": "i", "type": "integer", "default": 3 },
            { "name": "n", "type": "number", "default": "1.50" },
            { "name": "b", "type": "boolean", "default": false },
            { "name": "p", "type": "port", "default": 8080 },
            { "name": "e", "type": "enum", "values": ["x"], "default": "x" },
            { "name": "f", "type": "path", "default": "/srv/" },
            { "name": "none", "type": "string" },
            { "name": "token", "type": "secret" }
        ]),
        &json!({}),
    );
    let values = values(&addon, &json!({ "e": null }));
    let found: Vec<_> = values
        .iter()
        .map(|(name, value, origin)| (name.as_str(), value.to_json().unwrap(), origin))
        .collect();
    let of_default = |name, value| (name, value, Origin::Default);
    assert_eq!(
        found,
        [
            of_default("b", json!(false)),
            of_default("e", json!("x")),
            of_default("f", json!("/srv")),
            of_default("i", json!(3)),
            of_default("n", json!("1.5")),
            of_default("p", json!(8080)),
            of_default("s", json!("text")),
        ]
    );
}

#[test]
fn a_default_of_a_path_is_one_that_may_be_given() {
    for default in ["/", "/a:b", "/a\u{7f}"] {
        let document = json!({
            "name": "sample",
            "parameters": [{ "name": "p", "type": "path", "default": default }],
            "services": [{ "service_name": "web", "image": "nginx:1.27" }]
        });
        let reading = read(document.to_string().as_bytes()).unwrap();
        let found: Vec<_> =
            reading.violations.iter().map(|found| (found.path.as_str(), found.rule)).collect();
        assert_eq!(found, [("/parameters/0/default", "invalid-path")], "{default}");
    }
}

#[test]
fn secrets_are_made_where_none_is_given() {
    let addon = document(
        &json!([
            { "name": "a", "type": "secret", "generate": { "length": 8, "alphabet": "xyz" }, "required": true },
            { "name": "b", "type": "secret", "generate": { "length": 9, "alphabet": "abcdef0123456789" }, "pattern": "[a-f].*" },
            { "name": "c", "type": "secret", "generate": {} }
        ]),
        &json!({}),
    );
    let checked = checked(&addon, &json!({ "c": "given" })).unwrap();
    let to_generate: Vec<_> =
        checked.to_generate().map(|(name, how)| (name.as_str(), how.length, how.alphabet.as_str())).collect();
    assert_eq!(to_generate, [("a", 8, "xyz"), ("b", 9, "abcdef0123456789")]);
    let values = checked.clone().generate(counter()).unwrap();
    let secret = |name: &str| values.secret(name).unwrap().expose_secret();
    assert!(secret("a").len() == 8 && secret("a").bytes().all(|b| b"xyz".contains(&b)), "{}", secret("a"));
    assert!(secret("b").len() == 9 && secret("b").starts_with(|c: char| ('a'..='f').contains(&c)));
    assert_eq!(secret("c"), "given");
    let origins = ["a", "b", "c"].map(|name| values.origin(name).unwrap());
    assert_eq!(origins, [Origin::Generated, Origin::Generated, Origin::Given]);

    let faults = checked.generate(|bytes| bytes.fill(6)).unwrap_err();
    assert_eq!(faults.len(), 1, "always the same character, which is no letter: {faults:#?}");
    assert_eq!((faults[0].path.as_str(), faults[0].rule), ("/parameters/b", "not-generated"));
}

#[test]
fn what_was_given_or_made_before_is_kept() {
    let before = document(
        &json!([
            { "name": "gone", "type": "string" },
            { "name": "kept", "type": "port" },
            { "name": "default", "type": "string", "default": "old" },
            { "name": "dropped", "type": "string", "default": "" },
            { "name": "password", "type": "secret", "generate": {} },
            { "name": "new_secret", "type": "string" }
        ]),
        &json!({}),
    );
    let old =
        values(&before, &json!({ "gone": "x", "kept": 8080, "dropped": "mine", "new_secret": "hunter2" }));
    let after = document(
        &json!([
            { "name": "kept", "type": "string" },
            { "name": "default", "type": "string", "default": "new" },
            { "name": "dropped", "type": "string", "default": "theirs" },
            { "name": "password", "type": "secret", "generate": { "length": 8 } },
            { "name": "new_secret", "type": "secret" }
        ]),
        &json!({}),
    );
    // A port is no string: what no longer fits is said, and what was kept is named as that.
    let faults = check(&after.parameters, &given(&json!({ "dropped": null })), &old).unwrap_err();
    let [fault] = faults.as_slice() else { panic!("{faults:#?}") };
    assert_eq!((fault.path.as_str(), fault.rule), ("/parameters/kept", "wrong-type"));
    assert_eq!(fault.message, "the value kept from before: a string is needed, not a number");

    let next = check(&after.parameters, &given(&json!({ "dropped": null, "kept": "8080" })), &old).unwrap();
    assert_eq!(next.to_generate().count(), 0);
    let next = next.generate(|_| panic!("nothing is to be made")).unwrap();
    let text = |name: &str| next.get(name).unwrap().text().unwrap().into_owned();
    assert_eq!(
        (text("default"), text("dropped"), text("kept")),
        ("new".into(), "theirs".into(), "8080".into())
    );
    let same = |name: &str| next.secret(name).unwrap().expose_secret().to_owned();
    assert_eq!(same("password"), old.secret("password").unwrap().expose_secret());
    assert_eq!(next.origin("password"), Some(Origin::Generated));
    assert_eq!(same("new_secret"), "hunter2");
    assert!(next.get("gone").is_none());

    let open = document(&json!([{ "name": "password", "type": "string" }]), &json!({}));
    let faults = check(&open.parameters, &BTreeMap::new(), &next).unwrap_err();
    assert_eq!((faults[0].path.as_str(), faults[0].rule), ("/parameters/password", "wrong-type"));
    let reset = check(&open.parameters, &given(&json!({ "password": null })), &next).unwrap();
    assert!(reset.values().get("password").is_none());
}

#[test]
fn a_plain_value_can_be_written_and_read_again() {
    for value in [Value::Text("1.5".to_owned()), Value::Integer(-3), Value::Boolean(true)] {
        let json = value.to_json().unwrap();
        let again = Value::from_json(json.clone()).unwrap();
        assert_eq!(again.to_json().unwrap(), json);
        assert_eq!(again.text(), value.text());
    }
    assert!(Value::from_json(json!([])).is_none() && Value::from_json(json!(1.5)).is_none());
    assert!(Value::Secret(SecretString::from("x")).to_json().is_none());
}

/// A document in which a parameter stands in every place that takes one.
fn everywhere() -> AddonDescriptor {
    document(
        &json!([
            { "name": "a", "type": "string", "default": "A a" },
            { "name": "host", "type": "string", "default": "box" },
            { "name": "port", "type": "port", "default": 8080 },
            { "name": "choice", "type": "enum", "values": ["81", "82"], "default": "82" },
            { "name": "films", "type": "path", "default": "/srv/films" }
        ]),
        &json!({
            "environment": { "A": "${a}", "${a}": "x${a}y$$z$", "U": "${unknown} ${host}${port}" },
            "command": "run --name ${a} '${films}' $${a}",
            "entrypoint": ["${a}", "plain"],
            "hostname": "${host}-1.lan",
            "ports": { "80": "127.0.0.1:${port}", "81": "${choice}", "90": "70" },
            "volumes": ["${films}:/films:ro", "data:/${a}"],
            "files": [{ "path": "/a", "content": "${a}\n${${a}}" }, { "path": "/b", "parameter": "port", "mode": "0400" }],
            "healthcheck": { "test": ["CMD", "${a}", "$$"] },
            "labels": { "a": "${a}$$" },
            "working_dir": "/${a}"
        }),
    )
}

#[test]
fn values_stand_where_they_may_and_nowhere_else() {
    let addon = everywhere();
    let found = filled(&addon, &json!({}));
    assert!(found.secrets().is_empty());
    let service = found.descriptor().wire_value()["services"][0].clone();
    assert_eq!(
        service["environment"],
        json!({ "A": "A a", "${a}": "xA ay$z$", "U": "${unknown} box8080" }),
        "a key is no value, and what nobody declares stays"
    );
    assert_eq!(service["command"], json!(["run", "--name", "A a", "/srv/films", "${a}"]), "one word each");
    assert_eq!(service["entrypoint"], json!(["A a", "plain"]));
    assert_eq!(service["hostname"], json!("box-1.lan"));
    assert_eq!(service["ports"], json!({ "80": "127.0.0.1:8080", "81": "82", "90": "70" }));
    assert_eq!(service["volumes"], json!(["/srv/films:/films:ro", "data:/${a}"]));
    assert_eq!(
        service["files"],
        json!([{ "path": "/a", "content": "A a\n${A a}" }, { "path": "/b", "content": "8080", "mode": "0400" }])
    );
    assert_eq!(service["healthcheck"]["test"], json!(["CMD", "${a}", "$$"]));
    assert_eq!(service["labels"], json!({ "a": "${a}$$" }));
    assert_eq!(service["working_dir"], json!("/${a}"));
    assert!(found.descriptor().parameters.is_empty());
    // The texts say the same.
    let (spec, texts) = found.services().next().unwrap();
    assert_eq!(texts.environment["A"].plain(), Some("A a"));
    assert_eq!(texts.command.len(), spec.command.len());
    assert_eq!(texts.files[1].plain(), Some("8080"));
}

#[test]
fn nothing_is_put_into_what_was_put_in() {
    let found = filled(&everywhere(), &json!({ "a": "${a}${port}$$${host}" }));
    assert_eq!(found.descriptor().services[0].environment["A"], "${a}${port}$$${host}");
    assert_eq!(found.descriptor().services[0].environment["${a}"], "x${a}${port}$$${host}y$z$");
}

#[test]
fn what_has_no_value_leaves_nothing() {
    let parameters = json!([
        { "name": "text", "type": "string" }, { "name": "other", "type": "port" }, { "name": "port", "type": "port" }, { "name": "token", "type": "secret" }
    ]);
    let addon = document(
        &parameters,
        &json!({ "environment": { "A": "<${text}${token}>" }, "ports": { "80": "${port}", "81": "127.0.0.1:${other}" } }),
    );
    let found = filled(&addon, &json!({}));
    let service = found.descriptor().wire_value()["services"][0].clone();
    assert_eq!(service["environment"], json!({ "A": "<>" }));
    assert_eq!(service["ports"], json!({ "80": "", "81": "127.0.0.1:0" }));

    let addon = document(&parameters, &json!({ "ports": { "80": ["${port}", "", "9090"] } }));
    let found = filled(&addon, &json!({}));
    assert_eq!(found.descriptor().wire_value()["services"][0]["ports"], json!({ "80": ["", "9090"] }));
    assert!(read(&found.descriptor().canonical()).unwrap().violations.is_empty());
}

#[test]
fn a_document_without_parameters_stays_as_it_is() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/valid");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let addon = read(&fs::read(&path).unwrap()).unwrap().descriptor.unwrap();
        if addon.parameters.is_empty() {
            let found = put_in(&addon, &Values::default()).unwrap();
            assert_eq!(found.descriptor(), &addon, "{}", path.display());
            assert_eq!(found.descriptor().digest(), addon.digest());
            count += 1;
        }
    }
    assert!(count > 5);
    let dollars = json!({ "environment": { "A": "$$ ${a} $" }, "command": ["$${a}"], "files": [{ "path": "/a", "content": "$$" }] });
    let addon = document(&json!([]), &dollars);
    let found = put_in(&addon, &Values::default()).unwrap();
    assert_eq!(found.descriptor().canonical(), addon.canonical());
    assert_eq!(found.services().next().unwrap().1.environment["A"].plain(), Some("$$ ${a} $"));
}

#[test]
fn a_secret_keeps_its_place_and_not_its_value() {
    let addon = document(
        &json!([
            { "name": "user", "type": "string", "default": "me" },
            { "name": "password", "type": "secret" }
        ]),
        &json!({
            "environment": { "URL": "db://${user}:${password}@db/$$", "USER": "${user}" },
            "command": ["--token=${password}"],
            "hostname": "h-${password}",
            "files": [{ "path": "/key", "parameter": "password" }, { "path": "/b", "content": "${password}${password}" }]
        }),
    );
    let values = values(&addon, &json!({ "password": "hunter2" }));
    let found = put_in(&addon, &values).unwrap();
    let (_, texts) = found.services().next().unwrap();
    let secret = || Piece::Secret("password".parse().unwrap());
    let literal = |text: &str| Piece::Literal(text.to_owned());
    assert_eq!(texts.environment["URL"].pieces(), [literal("db://me:"), secret(), literal("@db/$")]);
    assert_eq!(texts.environment["USER"].plain(), Some("me"));
    assert_eq!(texts.command[0].pieces(), [literal("--token="), secret()]);
    assert_eq!(texts.files[0].pieces(), [secret()]);
    assert_eq!(texts.files[1].pieces(), [secret(), secret()]);
    assert_eq!(texts.hostname.as_ref().unwrap().to_string(), "h-${password}");
    assert_eq!(found.secrets().into_iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["password"]);
    let whole = texts.environment["URL"].with_secrets(|name| values.secret(name.as_str())).unwrap();
    assert_eq!(whole.expose_secret(), "db://me:hunter2@db/$");
    let shown =
        format!("{found:?} {values:?} {} {}", texts.environment["URL"], found.descriptor().wire_value());
    assert!(!shown.contains("hunter2"), "{shown}");
}

/// The path, rule and message of each fault.
fn said(faults: &[Violation]) -> Vec<(&str, &str, &str)> {
    faults.iter().map(|fault| (fault.path.as_str(), fault.rule, fault.message.as_str())).collect()
}

#[test]
fn ports_that_collide_are_said_of_their_parameters() {
    let ports = json!([
        { "name": "a", "type": "port", "default": 8080 },
        { "name": "b", "type": "port", "default": 8081 },
        { "name": "c", "type": "integer", "min": 1, "max": 65535, "default": 8082 }
    ]);
    let addon = document(
        &ports,
        &json!({ "ports": { "80": "${a}", "81": "${b}", "82": "127.0.0.1:${c}", "53/udp": "${a}", "9000-9002": "9000-9002" } }),
    );
    filled(&addon, &json!({}));
    let taken = |name: &str, message: &str| {
        vec![(format!("/parameters/{name}"), "port-overlap", format!("{message}: another port is needed"))]
    };
    for (given, expected) in [
        (json!({ "b": 8080 }), taken("b", "port 8080 of the host is that of `web` already (80)")),
        (json!({ "c": 8081 }), taken("c", "port 8081 of the host is that of `web` already (81)")),
        (json!({ "a": 9001 }), taken("a", "port 9000-9002 of the host is that of `web` already (9000-9002)")),
        (json!({ "c": 9002 }), taken("c", "port 9000-9002 of the host is that of `web` already (9000-9002)")),
    ] {
        let faults = refused(&addon, &given);
        let found: Vec<_> =
            faults.iter().map(|fault| (fault.path.clone(), fault.rule, fault.message.clone())).collect();
        assert_eq!(found, expected, "{given}");
    }
    // UDP is apart.
    let udp = document(&ports, &json!({ "ports": { "80": "${a}", "81/udp": "${b}" } }));
    filled(&udp, &json!({ "b": 8080 }));
}

#[test]
fn host_names_are_whole_ones() {
    let addon = |hostname: &str| {
        let parameters = json!([
            { "name": "a", "type": "string", "default": "x" },
            { "name": "b", "type": "string", "default": "y" },
            { "name": "s", "type": "secret", "generate": {} }
        ]);
        document(&parameters, &json!({ "hostname": hostname }))
    };
    filled(&addon("${a}.${b}"), &json!({ "a": "x-1", "b": "lan.home" }));
    let paths = |hostname: &str, given: &Json| -> Vec<String> {
        let faults = refused(&addon(hostname), given);
        assert!(faults.iter().all(|fault| fault.rule == "invalid-host"), "{faults:#?}");
        faults.iter().map(|fault| fault.path.clone()).collect()
    };
    assert_eq!(paths("${a}.${b}", &json!({ "a": "x y" })), ["/parameters/a"]);
    assert_eq!(paths("${a}.${b}", &json!({ "b": "l\nan" })), ["/parameters/b"]);
    assert_eq!(paths("${a}", &json!({ "a": "" })), ["/parameters/a"]);
    assert_eq!(paths("${a}", &json!({ "a": "a".repeat(64) })), ["/parameters/a"]);
    let both = json!({ "a": "a".repeat(40), "b": "b".repeat(40) });
    assert_eq!(paths("${a}.${b}", &both), ["/parameters/a", "/parameters/b"]);
    let faults = refused(&addon("web-${s}"), &json!({ "s": "hunter2!" }));
    assert_eq!(faults[0].path, "/parameters/s");
    assert!(
        faults[0].message.contains("`web-${s}`") && !faults[0].message.contains("hunter2"),
        "{faults:#?}"
    );
}

#[test]
fn a_folder_that_is_mounted_is_given() {
    let addon =
        document(&json!([{ "name": "films", "type": "path" }]), &json!({ "volumes": ["${films}:/films"] }));
    let faults = refused(&addon, &json!({}));
    assert_eq!(
        said(&faults),
        [(
            "/parameters/films",
            "missing-value",
            "`films` is mounted on `/films`: it needs the absolute path of a folder of the host, such as `/srv/data`"
        )]
    );
    // Values that nobody held to the declarations are refused too.
    let mut values = Values::default();
    values.insert("films".parse().unwrap(), Value::Text("/srv:/etc\0".to_owned()), Origin::Given);
    let rules: Vec<_> = put_in(&addon, &values).unwrap_err().iter().map(|fault| fault.rule).collect();
    assert_eq!(rules, ["forbidden-character", "invalid-path"]);
}

#[test]
fn what_grows_too_long_is_said_of_its_parameter() {
    let parameters = json!([{ "name": "a", "type": "string" }, { "name": "b", "type": "string" }, { "name": "s", "type": "secret" }]);
    let refused_rules = |service: Json, given: &Json| -> Vec<(String, &'static str)> {
        let faults = refused(&document(&parameters, &service), given);
        faults.iter().map(|fault| (fault.path.clone(), fault.rule)).collect()
    };
    let long = "x".repeat(8 * 1024);
    let of = |name: &str, rule: &'static str| vec![(format!("/parameters/{name}"), rule)];
    let variable = || json!({ "environment": { "A": "${a}${b}" } });
    filled(&document(&parameters, &variable()), &json!({ "a": long }));
    assert_eq!(refused_rules(variable(), &json!({ "a": long, "b": "x" })), of("b", "text-too-long"));
    let secret = json!({ "command": ["${s}."] });
    assert_eq!(refused_rules(secret, &json!({ "s": long })), of("s", "text-too-long"));

    let files = json!({ "files": [{ "path": "/a", "content": "${a}" }, { "path": "/b", "content": "x" }, { "path": "/c", "content": "" }] });
    let most = "x".repeat(64 * 1024 - 1);
    filled(&document(&parameters, &files), &json!({ "a": most }));
    assert_eq!(refused_rules(files, &json!({ "a": format!("{most}x") })), of("a", "files-too-large"));

    // Each word is short enough, and all of them together are not.
    let words = json!({ "command": vec!["${a}${b}"; 60] });
    assert_eq!(refused_rules(words, &json!({ "a": "x".repeat(5_000), "b": "x" })), of("a", "text-too-long"));
    // So are all of them in the form in which a document is read.
    let quotes = json!({ "command": vec!["${a}"; 40] });
    filled(&document(&parameters, &quotes), &json!({ "a": "x".repeat(4_000) }));
    assert_eq!(refused_rules(quotes, &json!({ "a": "\"".repeat(4_000) })), of("a", "text-too-long"));
}

#[test]
fn rights_are_those_of_what_was_given() {
    let addon = document(
        &json!([{ "name": "films", "type": "path", "default": "/srv/films" }, { "name": "port", "type": "port", "default": 80 }]),
        &json!({ "volumes": ["${films}:/films:ro"], "ports": { "80": "${port}" }, "network_mode": "bridge" }),
    );
    let before: Vec<String> = rights(&addon).iter().map(ToString::to_string).collect();
    assert_eq!(before, ["host-path:${films}:ro", "host-port:${port}/tcp"]);
    assert_eq!(risk(&rights(&addon)), 4);
    for (given, expected, grade) in [
        (json!({}), vec!["host-path:/srv/films:ro", "host-port:80/tcp"], 4),
        (json!({ "port": 8080 }), vec!["host-path:/srv/films:ro", "host-port:8080/tcp"], 4),
        (json!({ "films": "/etc" }), vec!["host-path:/etc:ro", "host-port:80/tcp"], 6),
        (
            json!({ "films": "/var/run" }),
            vec!["docker-socket", "host-path:/var/run:ro", "host-port:80/tcp"],
            6,
        ),
    ] {
        let found = filled(&addon, &given);
        assert_eq!(found.rights().iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{given}");
        assert_eq!(found.risk(), grade, "{given}");
    }
}

/// One line a fault; of what is accepted its rights, the texts that hold secrets and the document itself.
fn outcome(addon: &AddonDescriptor, given: &BTreeMap<String, Json>) -> String {
    let result = check(&addon.parameters, given, &Values::default())
        .and_then(|checked| checked.generate(counter()))
        .and_then(|values| put_in(addon, &values));
    let filled = match result {
        Ok(filled) => filled,
        Err(faults) => {
            let line = |fault: &Violation| {
                let suggestion =
                    fault.suggestion.as_deref().map(|text| format!(" -> {text}")).unwrap_or_default();
                format!("{} {}: {}{suggestion}\n", fault.rule, fault.path, fault.message)
            };
            return faults.iter().map(line).collect();
        }
    };
    let rights: String = filled.rights().iter().map(|right| format!("right {right}\n")).collect();
    let secrets: String = filled.secrets().iter().map(|name| format!("secret {name}\n")).collect();
    let document = serde_json::to_string_pretty(filled.descriptor()).unwrap();
    format!("grade {}\n{rights}{secrets}{document}\n", filled.risk())
}

#[test]
fn fixtures_come_out_as_they_are_committed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut count = 0;
    for entry in fs::read_dir(folder.join("values")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        count += 1;
        let fixture: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let document = folder.join("valid").join(format!("{}.json", fixture["document"].as_str().unwrap()));
        let addon = read(&fs::read(document).unwrap()).unwrap().descriptor.unwrap();
        let found = outcome(&addon, &given(&fixture["parameters"]));
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTATIONS").is_some() {
            fs::write(&expected, &found).unwrap();
        }
        assert_eq!(found, fs::read_to_string(&expected).unwrap_or_default(), "{}", expected.display());
    }
    assert!(count >= 5);
}

/// A value of any kind, and often of one that fits.
fn any_value() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        (0..70_000_u32).prop_map(Json::from),
        "[a-z0-9./:-]{0,12}".prop_map(Json::from),
        "/[a-z/.]{0,12}".prop_map(Json::from),
        "(\\$|\\{|\\}|a|host|\\$\\{a\\}){0,6}".prop_map(Json::from),
        "\\PC{0,16}".prop_map(Json::from),
        any::<String>().prop_map(Json::from),
        Just(json!([1])),
        Just(json!({ "a": 1 })),
    ]
}

/// Texts with references in them.
fn template() -> impl Strategy<Value = String> {
    "(\\$|\\$\\$|\\{|\\}|[a-z ]|\\$\\{(a|s|port|films|nobody)\\}){0,12}"
}

const CANARY: &str = "CaNaRy-9f31";

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_given_comes_out_valid_or_is_refused(
        chosen in prop::collection::btree_map("a|host|port|choice|films|x", any_value(), 0..4),
    ) {
        let addon = everywhere();
        let Ok(checked) = check(&addon.parameters, &chosen, &Values::default()) else { return Ok(()) };
        let values = checked.generate(counter()).unwrap();
        let Ok(found) = put_in(&addon, &values) else { return Ok(()) };
        let canonical = found.descriptor().canonical();
        let again = read(&canonical).unwrap();
        prop_assert_eq!(again.descriptor.as_ref(), Some(found.descriptor()), "{:#?}", again.violations);
        prop_assert_eq!(again.descriptor.unwrap().canonical(), canonical);
        // Put in twice is put in once.
        let twice = put_in(found.descriptor(), &values).unwrap();
        prop_assert_eq!(&twice, &found);
        // What was accepted once is accepted again, and means the same.
        let kept = check(&addon.parameters, &BTreeMap::new(), &values).unwrap().generate(counter()).unwrap();
        prop_assert_eq!(put_in(&addon, &kept).unwrap(), found);
    }

    #[test]
    fn any_text_is_filled_as_a_plain_search_would(texts in prop::collection::vec(template(), 1..6), value in "[a-z${}]{0,8}") {
        let addon = document(
            &json!([{ "name": "a", "type": "string" }, { "name": "s", "type": "secret" }]),
            &json!({ "environment": { "A": texts[0] }, "command": texts }),
        );
        let values = values(&addon, &json!({ "a": value, "s": CANARY }));
        let found = put_in(&addon, &values).unwrap();
        let (_, filled) = found.services().next().unwrap();
        // Dollars first set apart, so that neither they nor what is put in can be taken for a reference.
        let plain = |text: &str| {
            text.replace("$$", "\u{1}").replace("${a}", "\u{2}").replace("${s}", CANARY).replace('\u{2}', &value).replace('\u{1}', "$")
        };
        for (template, text) in texts.iter().zip(&filled.command) {
            let whole = text.with_secrets(|name| values.secret(name.as_str())).unwrap();
            prop_assert_eq!(whole.expose_secret(), plain(template), "{}", template);
        }
    }

    #[test]
    fn no_secret_is_ever_said(before in "\\PC{0,4}", service in 0..4_usize, pattern in any::<bool>()) {
        let places = [
            json!({ "environment": { "A": "x${s}" } }),
            json!({ "command": ["${s}"] }),
            json!({ "hostname": "h${s}" }),
            json!({ "files": [{ "path": "/a", "parameter": "s" }] }),
        ];
        let mut parameter = json!({ "name": "s", "type": "secret" });
        if pattern {
            parameter["pattern"] = json!("[0-9]*");
        }
        let addon = document(&json!([parameter]), &places[service]);
        let given = given(&json!({ "s": format!("{before}{CANARY}") }));
        let said = match check(&addon.parameters, &given, &Values::default()) {
            Err(faults) => format!("{faults:?}"),
            Ok(checked) => {
                let values = checked.clone().generate(counter()).unwrap();
                format!("{checked:?} {values:?} {:?}", put_in(&addon, &values))
            }
        };
        prop_assert!(!said.contains(CANARY), "{}", said);
    }
}

/// The best of some runs: what other work on the machine adds is left out.
fn best_time(run: impl Fn()) -> Duration {
    let once = || {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    (0..5).map(|_| once()).min().expect("some runs")
}

#[test]
fn time_grows_at_most_linearly() {
    let costly = |size: usize| -> Vec<(&str, AddonDescriptor, Json)> {
        let text = json!([{ "name": "a", "type": "string", "pattern": "(x|xx)*y?|.{1,255}" }, { "name": "f", "type": "path" }]);
        let plain = json!([{ "name": "a", "type": "string" }]);
        let words = |word: &str| json!({ "command": vec![word; size / (word.len() + 3)] });
        vec![
            ("many references", document(&plain, &words("${a}")), json!({ "a": "xxxxx" })),
            ("long values", document(&plain, &words("${a}")), json!({ "a": "x".repeat(size / 2) })),
            ("broken references", document(&plain, &words("${a${a${a${")), json!({ "a": "x" })),
            (
                "one long text",
                document(
                    &plain,
                    &json!({ "files": [{ "path": "/a", "content": "$${a}${b".repeat(size / 32) }] }),
                ),
                json!({}),
            ),
            ("a pattern", document(&text, &json!({})), json!({ "a": "x".repeat(size / 4) })),
            ("a path", document(&text, &json!({})), json!({ "f": "/..".repeat(size / 3) })),
        ]
    };
    const SMALL: usize = 25_000;
    for ((name, small, of_small), (_, large, of_large)) in costly(SMALL).into_iter().zip(costly(8 * SMALL)) {
        let run = |addon: &AddonDescriptor, values: &Json| {
            let values = given(values);
            best_time(|| {
                if let Ok(checked) = check(&addon.parameters, &values, &Values::default()) {
                    let _ = put_in(addon, checked.values());
                }
            })
        };
        // Eight times the size may cost eight times the time; a quadratic step would cost 64 times. A busy machine
        // gets further attempts.
        let is_linear = (0..10).any(|_| {
            let (small, large) = (run(&small, &of_small), run(&large, &of_large));
            large < Duration::from_millis(20) || large < small * 30
        });
        assert!(is_linear, "{name}: {:?}, then {:?}", run(&small, &of_small), run(&large, &of_large));
    }
}
