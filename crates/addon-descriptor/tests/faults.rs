//! What cannot work is refused at its own place, and what is suggested instead is a value for that place which means the
//! same.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use addon_descriptor::{Digest, Violation, read};
use serde_json::{Value, json};

/// A document with one member of its service set.
fn with(field: &str, value: &Value) -> Value {
    json!({
        "name": "sample",
        "services": [{ "service_name": "web", "image": "nginx:1.27", field: value }],
        "volumes": [{ "name": "v" }, { "name": "a-b" }]
    })
}

fn violations(document: &Value) -> Vec<Violation> {
    read(document.to_string().as_bytes()).unwrap().violations
}

fn digest(document: &Value) -> Digest {
    read(document.to_string().as_bytes()).unwrap().descriptor.unwrap().digest()
}

/// The one violation's rule and suggestion.
fn fault(field: &str, value: &Value) -> (&'static str, Option<String>) {
    let found = violations(&with(field, value));
    assert_eq!(found.len(), 1, "{field}: {value}: {found:#?}");
    (found[0].rule, found[0].suggestion.clone())
}

/// What the only violation suggests, put where the violation stands, is accepted and is `meant`.
fn check_suggestion(field: &str, value: &Value, meant: Option<&Value>) {
    let mut document = with(field, value);
    let found = violations(&document);
    assert_eq!(found.len(), 1, "{field}: {value}: {found:#?}");
    let Some(meant) = meant else {
        assert_eq!(found[0].suggestion, None, "{field}: {value}");
        return;
    };
    let suggestion = found[0].suggestion.as_deref().unwrap_or_else(|| panic!("{field}: {value}: none"));
    let suggested = match document.pointer(&found[0].path) {
        Some(Value::String(_)) => json!(suggestion),
        _ => serde_json::from_str(suggestion).unwrap(),
    };
    *document.pointer_mut(&found[0].path).unwrap() = suggested;
    assert_eq!(violations(&document), [], "{field}: {value} -> {suggestion}");
    assert_eq!(digest(&document), digest(&with(field, meant)), "{field}: {value} -> {suggestion}");
}

#[test]
fn a_list_of_ports_becomes_the_whole_map() {
    let ports: Vec<String> = (0..64).map(|index| format!("{}:{}", 9000 + index, 80 + index)).collect();
    let map: Value = (0..64)
        .map(|index| ((80 + index).to_string(), json!(9000 + index)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let rows = [
        (json!(["8080:80", "9090:80"]), Some(json!({ "80": ["8080", "9090"] }))),
        (json!(["8080:80/tcp", "9090:80", "8080:80"]), Some(json!({ "80": ["8080", "9090"] }))),
        (json!(["5353:53/udp", 443]), Some(json!({ "53/udp": 5353, "443": "" }))),
        (json!(["127.0.0.1:8000-8001:9000-9001"]), Some(json!({ "9000-9001": "127.0.0.1:8000-8001" }))),
        (json!(["127.0.0.1::80"]), Some(json!({ "80": "127.0.0.1:" }))),
        (json!([{ "target": 80, "published": "8080" }, "81:80"]), Some(json!({ "80": ["8080", "81"] }))),
        (json!([]), Some(json!({}))),
        (json!(ports), Some(map)),
        (json!(["9000-9002:80"]), None),
        (json!(["80:80", "x"]), None),
        (json!([true]), None),
    ];
    for (list, map) in rows {
        check_suggestion("ports", &list, map.as_ref());
    }
    let found = violations(&with("ports", &json!(["80:80", "x:y"])));
    assert!(found[0].message.contains("`x:y`"), "{}", found[0].message);
}

#[test]
fn suggestions_stand_for_the_whole_value() {
    let rows = [
        ("volumes", json!(["v:/a/../b:ro"]), Some(json!(["v:/b:ro"]))),
        ("volumes", json!(["/h//i:/x"]), Some(json!(["/h/i:/x"]))),
        ("volumes", json!(["//a"]), Some(json!(["/a"]))),
        ("volumes", json!(["a b:/x:ro"]), Some(json!(["a-b:/x:ro"]))),
        ("volumes", json!(["v:/x:"]), Some(json!(["v:/x"]))),
        ("volumes", json!(["/h:/x:ro,rslav"]), Some(json!(["/h:/x:ro,rslave"]))),
        ("volumes", json!(["v:/x:x"]), None),
        ("volumes", json!([""]), None),
        ("tmpfs", json!("/a//b:size=1m"), Some(json!("/a/b:size=1m"))),
        ("tmpfs", json!("/x:noexec,sizee=1m"), Some(json!("/x:size=1m"))),
        ("tmpfs", json!("/x:size=512Mi"), Some(json!("/x:size=512m"))),
        ("devices", json!(["/dev/a//b:/dev/c:r"]), Some(json!(["/dev/a/b:/dev/c:r"]))),
        ("devices", json!(["/dev/a:/dev//c:r"]), Some(json!(["/dev/a:/dev/c:r"]))),
        ("devices", json!(["/dev/a:b"]), Some(json!(["/dev/a:rwm"]))),
        ("platform", json!("linux/x86_64"), Some(json!("linux/amd64"))),
        ("platform", json!("aarch64"), Some(json!("linux/arm64"))),
        ("platform", json!("linux/amd46"), Some(json!("linux/amd64"))),
        ("platform", json!("arm64"), Some(json!("linux/arm64"))),
        ("platform", json!("linux/arm64/v9"), None),
        ("platform", json!("linux/arm/v4"), None),
        ("platform", json!("linux"), None),
    ];
    for (field, value, meant) in rows {
        check_suggestion(field, &value, meant.as_ref());
    }
}

#[test]
fn a_bound_is_no_suggestion() {
    let rows = [
        ("ports", json!({ "80": 65536 })),
        ("ports", json!({ "80": -1 })),
        ("resources", json!({ "pids": -1 })),
        ("resources", json!({ "memory": -1 })),
        ("stop_signal", json!(0)),
        ("healthcheck", json!({ "test": "true", "retries": 0 })),
    ];
    for (field, value) in rows {
        assert_eq!(fault(field, &value).1, None, "{field}: {value}");
    }
}

#[test]
fn notations_of_mounts_and_addresses_have_one_digest() {
    let rows = [
        ("volumes", json!(["/h:/x"]), json!(["/h:/x:rprivate"]), json!(["/h:/x:rshared"])),
        ("dns", json!("1.1.1.1"), json!("::ffff:1.1.1.1"), json!("::1.1.1.1")),
        ("tmpfs", json!("/x"), json!("/x:noexec,nosuid,nodev"), json!("/x:exec")),
    ];
    for (field, one, same, other) in rows {
        assert_eq!(digest(&with(field, &one)), digest(&with(field, &same)), "{field}: {same}");
        assert_ne!(digest(&with(field, &one)), digest(&with(field, &other)), "{field}: {other}");
    }
    let network = |subnets: Value| {
        let mut document = with("networks", &json!(["n"]));
        document["networks"] = json!([{ "name": "n", "enable_ipv6": true, "subnets": subnets }]);
        digest(&document)
    };
    assert_eq!(
        network(json!(["10.9.0.0/24", "fd00:9::/64"])),
        network(json!(["fd00:9::/64", "10.9.0.0/24"]))
    );
}

#[test]
fn a_gateway_is_no_address_of_a_container() {
    let found = |field: &str, address: &str| {
        let mut document = with("networks", &json!({ "n": { field: address } }));
        document["networks"] =
            json!([{ "name": "n", "enable_ipv6": true, "subnets": ["10.9.0.0/24", "fd00:9::/64"] }]);
        violations(&document).iter().map(|violation| violation.rule).collect::<Vec<_>>()
    };
    for (field, address) in [
        ("ipv6_address", "fd00:9::"),
        ("ipv6_address", "fd00:9::1"),
        ("ipv4_address", "10.9.0.0"),
        ("ipv4_address", "10.9.0.1"),
        ("ipv4_address", "10.9.0.255"),
    ] {
        assert_eq!(found(field, address), ["address-without-subnet"], "{address}");
    }
    for (field, address) in [("ipv6_address", "fd00:9::5"), ("ipv4_address", "10.9.0.5")] {
        assert!(found(field, address).is_empty(), "{address}");
    }
}

#[test]
fn a_volume_binds_only_what_it_says() {
    let of = |options: &Value| {
        let mut document = with("volumes", &json!(["w:/x"]));
        document["volumes"] = json!([{ "name": "w", "driver_opts": options }]);
        violations(&document)
            .into_iter()
            .map(|found| (found.rule, found.path, found.suggestion))
            .collect::<Vec<_>>()
    };
    let device = "/volumes/0/driver_opts/device".to_owned();
    let rows = [
        (json!({ "type": "none", "o": "bind", "device": "/var/run/../etc" }), None),
        (json!({ "o": "bind", "device": "/srv//x" }), Some("/srv/x")),
        (json!({ "o": "bind", "device": "etc" }), None),
        (json!({ "o": "ro,rbind", "device": "./etc" }), None),
        (json!({ "type": "bind", "device": "var/run/docker.sock" }), None),
        (json!({ "o": "bind" }), None),
    ];
    for (options, suggestion) in rows {
        let expected = ("invalid-path", device.clone(), suggestion.map(str::to_owned));
        assert_eq!(of(&options), [expected], "{options}");
    }
    assert_eq!(of(&json!({ "o": "bind", "device": "/srv/films/" })), []);
    assert_eq!(of(&json!({ "type": "nfs", "o": "addr=10.0.0.1", "device": ":/x" })), []);
}

#[test]
fn versions_of_other_forms_are_recognised() {
    for (text, meant) in [
        ("v1.0.0-rc1", Some("1.0.0-rc1")),
        ("1.2-rc1", Some("1.2.0-rc1")),
        ("v1", Some("1.0.0")),
        ("one", None),
    ] {
        let mut document = with("tty", &json!(false));
        document["version"] = json!(text);
        let found = violations(&document);
        assert_eq!((found.len(), found[0].suggestion.as_deref()), (1, meant), "{text}");
    }
}

#[test]
fn a_number_of_too_many_digits_is_suggested_as_no_text_where_none_is_taken() {
    assert_eq!(fault("healthcheck", &json!({ "test": "true", "retries": 1e30 })), ("invalid-number", None));
}

#[test]
fn nothing_is_put_below_a_file() {
    let mut document =
        with("files", &json!([{ "path": "/a", "content": "x" }, { "path": "/a/b", "content": "x" }]));
    document["services"][0]["volumes"] = json!(["v:/a/b/c", "v:/ab"]);
    let found: Vec<_> = violations(&document).into_iter().map(|found| (found.rule, found.path)).collect();
    let place = |path: &str| ("repeated-target", format!("/services/0/{path}"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.contains(&place("files/1")) && found.contains(&place("volumes/0")), "{found:?}");
}

#[test]
fn faults_of_keys_and_names_stand_at_them() {
    let text = r#"{"name":"x","services":[{"service_name":"a","image":"b:1","environment":{"A=B":"1"}}],
"volumes":[{"name":"v"},{"driver":"local","name":"v"}]}"#;
    let found = read(text.as_bytes()).unwrap().violations;
    let places: Vec<_> = found.iter().map(|found| (found.path.as_str(), found.line, found.column)).collect();
    let column = u32::try_from(text.find("\"A=B").unwrap() + 1).unwrap();
    assert_eq!(places[0], ("/services/0/environment/A=B", 1, column));
    assert_eq!(places[1].0, "/volumes/1/name");
}

#[test]
fn later_versions_of_a_license_are_on_the_list() {
    let mut document = with("tty", &json!(false));
    document["license"] = json!("GPL-2.0+");
    assert_eq!(violations(&document), []);
}

#[test]
fn root_is_root_however_it_is_written() {
    for user in ["0", "00", "root", "0:1000"] {
        let warnings = read(with("user", &json!(user)).to_string().as_bytes()).unwrap().warnings;
        assert!(warnings.iter().any(|found| found.rule == "root-user"), "{user}");
    }
}
