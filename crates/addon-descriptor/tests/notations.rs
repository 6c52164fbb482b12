//! Every notation of every field: those of one thing have one digest, those of different things different ones; what is
//! spelled out though it is the default changes nothing; and all of it holds for any combination of fields.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use addon_descriptor::{AddonDescriptor, Digest, read, schema};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A field of a service, and rows of notations: those in one row mean the same, rows mean different things.
fn service_notations() -> Vec<(&'static str, Vec<Vec<Value>>)> {
    vec![
        (
            "command",
            vec![
                vec![
                    json!("sh -c 'echo  hi'"),
                    json!(["sh", "-c", "echo  hi"]),
                    json!("sh '-c' \"echo  hi\""),
                ],
                vec![json!("sh -c echo hi")],
                vec![json!([""])],
            ],
        ),
        ("entrypoint", vec![vec![json!("/bin/tini --"), json!(["/bin/tini", "--"])]]),
        (
            "environment",
            vec![
                vec![
                    json!({ "A": "1.5", "B": "true", "C": "100" }),
                    json!({ "C": 1e2, "B": true, "A": 1.50 }),
                    json!(["B=true", "A=1.5", "C=100"]),
                ],
                vec![json!({ "A": "" }), json!(["A="])],
                vec![json!(["A=b=c"]), json!({ "A": "b=c" })],
            ],
        ),
        ("labels", vec![vec![json!({ "a": 1 }), json!({ "a": "1" }), json!(["a=1"]), json!({ "a": 1.0 })]]),
        ("sysctls", vec![vec![json!({ "net.core.somaxconn": 512 }), json!(["net.core.somaxconn=512"])]]),
        (
            "ports",
            vec![
                vec![
                    json!({ "80": "8080" }),
                    json!({ "80/tcp": 8080 }),
                    json!({ "80": ["0.0.0.0:8080"] }),
                    json!({ "80-80": "8080-8080" }),
                ],
                vec![json!({ "80/udp": "8080" })],
                vec![
                    json!({ "80": "" }),
                    json!({ "80": 0 }),
                    json!({ "80": "0" }),
                    json!({ "80": "0.0.0.0:" }),
                    json!({ "80": -0.0 }),
                ],
                vec![json!({ "80": "[::1]:8080" }), json!({ "80": "[0:0::1]:8080" })],
                vec![json!({ "80": "127.0.0.1:" }), json!({ "80": "127.0.0.1:0" })],
                vec![json!({ "80": ["1", "2"], "90": "" }), json!({ "90": 0, "80/tcp": [2, 1] })],
                vec![json!({ "8000-8002": "9000-9002" })],
            ],
        ),
        (
            "volumes",
            vec![
                vec![
                    json!(["v:/data"]),
                    json!(["v:/data/"]),
                    json!(["v:/data:rw"]),
                    json!(["v:/data:cached"]),
                ],
                vec![json!(["v:/data:ro,z"]), json!(["v:/data:z,ro"])],
                vec![json!(["/srv/x:/data"]), json!(["/srv/x/:/data"])],
                vec![json!(["/srv/x:/data:ro,rslave"]), json!(["/srv/x:/data:rslave,ro"])],
                vec![json!(["/data"])],
                vec![json!(["v:/data:nocopy"])],
            ],
        ),
        (
            "networks",
            vec![
                vec![
                    json!(["a", "b"]),
                    json!(["b", "a"]),
                    json!({ "b": null, "a": {} }),
                    json!({ "a": { "aliases": [] }, "b": null }),
                ],
                vec![json!({ "a": { "aliases": ["x", "y"] } }), json!({ "a": { "aliases": ["y", "x"] } })],
                vec![
                    json!({ "net": { "ipv4_address": "10.9.0.5", "ipv6_address": "fd00::5" } }),
                    json!({ "net": { "ipv4_address": "10.9.0.5", "ipv6_address": "[fd00:0::5]" } }),
                ],
            ],
        ),
        ("aliases", vec![vec![json!(["x", "y"]), json!(["y", "x"])]]),
        (
            "files",
            vec![
                vec![
                    json!([{ "path": "/etc/a", "content": "x\n" }]),
                    json!([{ "path": "/etc/a/", "content": "x\r\n", "mode": "0444" }]),
                    json!([{ "path": "/etc/a", "content": "x\n", "mode": "444" }]),
                ],
                vec![json!([{ "path": "/etc/a", "content": "" }])],
                vec![json!([{ "path": "/etc/a", "content": "x\n", "mode": "0400" }])],
            ],
        ),
        (
            "healthcheck",
            vec![
                vec![
                    json!({ "test": "curl -f x" }),
                    json!({ "test": ["CMD-SHELL", "curl -f x"], "restart": true }),
                ],
                vec![
                    json!({ "test": ["CMD", "curl", "-f", "x"], "interval": "1m30s" }),
                    json!({ "test": ["CMD", "curl", "-f", "x"], "interval": "90s", "start_period": "0s" }),
                ],
                vec![
                    json!({ "disable": true }),
                    json!({ "test": ["NONE"] }),
                    json!({ "disable": true, "interval": "5s" }),
                ],
                vec![
                    json!({ "interval": "1.5s", "retries": 3.0 }),
                    json!({ "interval": "1500ms", "retries": 3, "test": [], "disable": false }),
                ],
                vec![json!({ "restart": false })],
            ],
        ),
        (
            "depends_on",
            vec![
                vec![
                    json!(["other"]),
                    json!({ "other": {} }),
                    json!({ "other": null }),
                    json!({ "other": "service_started" }),
                    json!({ "other": { "condition": "service_started", "restart": false } }),
                ],
                vec![
                    json!({ "other": "service_healthy" }),
                    json!({ "other": { "condition": "service_healthy" } }),
                ],
                vec![json!({ "other": "service_completed_successfully" })],
                vec![json!({ "other": { "restart": true } })],
            ],
        ),
        (
            "restart",
            vec![
                vec![json!("no")],
                vec![json!("on-failure")],
                vec![json!("on-failure:3")],
                vec![json!("unless-stopped")],
            ],
        ),
        (
            "resources",
            vec![
                vec![
                    json!({ "memory": "64m", "cpus": 1.5 }),
                    json!({ "memory": 67108864, "cpus": "1.50" }),
                    json!({ "memory": "65536KiB", "cpus": "15e-1" }),
                    json!({ "memory": "0.0625gb", "cpus": "1.5", "cpuset": "" }),
                ],
                vec![
                    json!({ "memory": "1g", "memory_swap": -1 }),
                    json!({ "memory": "1024MB", "memory_swap": "-1" }),
                ],
                vec![json!({ "memory_reservation": "6m", "shm_size": "1m", "cpuset": "0-1", "pids": 5 })],
                vec![
                    json!({ "cpuset": "0-1" }),
                    json!({ "cpuset": "0,1" }),
                    json!({ "cpuset": "1,0-1" }),
                    json!({ "cpuset": "00-01" }),
                ],
                vec![json!({ "cpuset": "0-2,4" }), json!({ "cpuset": "4,1-2,0" })],
            ],
        ),
        ("update", vec![vec![json!({ "order": "start-first" })]]),
        ("replaces", vec![vec![json!("root_scheduler")]]),
        ("user", vec![vec![json!("1000"), json!(1000), json!(1e3)], vec![json!("app:app")]]),
        ("group_add", vec![vec![json!(["1", "x"]), json!(["x", 1])]]),
        ("working_dir", vec![vec![json!("/app"), json!("/app/")], vec![json!("/")]]),
        ("hostname", vec![vec![json!("my_host")]]),
        ("domainname", vec![vec![json!("example.org")]]),
        ("dns", vec![vec![json!("1.1.1.1"), json!(["1.1.1.1"])], vec![json!(["::1"]), json!(["[::1]"])]]),
        ("dns_search", vec![vec![json!("."), json!(["."])]]),
        (
            "extra_hosts",
            vec![
                vec![
                    json!(["a:10.0.0.1", "b:::1"]),
                    json!({ "b": "[::1]", "a": "10.0.0.1" }),
                    json!(["b:[::1]", "a:10.0.0.1"]),
                    json!({ "a": ["10.0.0.1"], "b": "::1" }),
                ],
                vec![json!({ "a": ["10.0.0.1", "host-gateway"] }), json!(["a:10.0.0.1", "a:host-gateway"])],
            ],
        ),
        ("init", vec![vec![json!(true)]]),
        ("tty", vec![vec![json!(true)]]),
        ("stdin_open", vec![vec![json!(true)]]),
        ("read_only", vec![vec![json!(true)]]),
        (
            "tmpfs",
            vec![
                vec![json!("/run"), json!(["/run"]), json!(["/run/:rw"])],
                vec![
                    json!("/run:size=1m,noexec"),
                    json!(["/run:noexec,size=1048576"]),
                    json!("/run:size=1024k,noexec"),
                ],
                vec![json!("/run:mode=1777"), json!("/run:mode=01777")],
            ],
        ),
        (
            "ulimits",
            vec![
                vec![json!({ "nofile": 1024 }), json!({ "nofile": { "soft": 1024, "hard": 1024.0 } })],
                vec![json!({ "nofile": { "soft": 1, "hard": -1 } })],
            ],
        ),
        (
            "stop_signal",
            vec![
                vec![json!("TERM"), json!("SIGTERM"), json!("sigterm"), json!(15), json!("15")],
                vec![json!("RTMIN+3"), json!("SIGRTMIN+3"), json!(37)],
            ],
        ),
        ("stop_grace_period", vec![vec![json!("1m30s"), json!("90s"), json!("1.5m")], vec![json!("0s")]]),
        (
            "logging",
            vec![vec![
                json!({ "driver": "local", "options": { "max-file": 3 } }),
                json!({ "options": { "max-file": "3" }, "driver": "local" }),
            ]],
        ),
        (
            "platform",
            vec![
                vec![json!("linux/arm64"), json!("linux/arm64/v8")],
                vec![json!("linux/arm"), json!("linux/arm/v7")],
            ],
        ),
        ("cap_add", vec![vec![json!(["NET_ADMIN", "SYS_TIME"]), json!(["cap_sys_time", "net_admin"])]]),
        ("cap_drop", vec![vec![json!(["ALL"]), json!(["all"])]]),
        (
            "security_opt",
            vec![
                vec![
                    json!(["seccomp=unconfined"]),
                    json!(["no-new-privileges", "seccomp=unconfined"]),
                    json!(["seccomp=unconfined", "no-new-privileges:true"]),
                ],
                vec![json!(["no-new-privileges:false"])],
            ],
        ),
        (
            "network_mode",
            vec![
                vec![json!("host")],
                vec![json!("none")],
                vec![json!("bridge")],
                vec![json!("service:other")],
            ],
        ),
        ("pid", vec![vec![json!("host")], vec![json!("service:other")]]),
        (
            "ipc",
            vec![
                vec![json!("host")],
                vec![json!("private")],
                vec![json!("shareable")],
                vec![json!("service:other")],
            ],
        ),
        (
            "devices",
            vec![
                vec![
                    json!(["/dev/a"]),
                    json!(["/dev/a:/dev/a"]),
                    json!(["/dev/a:rwm"]),
                    json!(["/dev/a:/dev/a:mwr"]),
                ],
                vec![json!(["/dev/a:/dev/b:r"])],
            ],
        ),
        ("gpus", vec![vec![json!("all")], vec![json!(2), json!("2"), json!(2.0)]]),
        ("privileged", vec![vec![json!(true)]]),
    ]
}

/// Fields of the document itself, in the same form.
fn addon_notations() -> Vec<(&'static str, Vec<Vec<Value>>)> {
    vec![
        ("title", vec![vec![json!("A sample")]]),
        ("version", vec![vec![json!("1.0.0")], vec![json!("1.0.0+build")]]),
        ("description", vec![vec![json!("one\ntwo"), json!("one\r\ntwo")]]),
        ("readme", vec![vec![json!("# x")]]),
        ("license", vec![vec![json!("MIT")], vec![json!("LicenseRef-own")]]),
        ("homepage", vec![vec![json!("https://example.org/")]]),
        ("source", vec![vec![json!("http://example.org/")]]),
        ("keywords", vec![vec![json!(["a", "b"])]]),
        ("categories", vec![vec![json!(["a"])]]),
        ("changes", vec![vec![json!([{ "kind": "fixed", "text": "x" }])]]),
        (
            "requires",
            vec![
                vec![
                    json!({ "platforms": ["linux/arm/v7", "linux/amd64"] }),
                    json!({ "platforms": ["linux/amd64", "linux/arm"], "addons": [] }),
                ],
                vec![
                    json!({ "addons": [{ "name": "x" }] }),
                    json!({ "addons": [{ "name": "x", "version": "*" }] }),
                ],
                vec![
                    json!({ "addons": [{ "name": "x", "version": "1.2" }] }),
                    json!({ "addons": [{ "name": "x", "version": "^1.2" }] }),
                ],
            ],
        ),
        (
            "parameters",
            vec![
                vec![
                    json!([{ "name": "p", "type": "number", "default": 1.50, "min": 0 }]),
                    json!([{ "name": "p", "type": "number", "default": "1.5", "min": "0.0", "required": false }]),
                ],
                vec![
                    json!([{ "name": "p", "type": "integer", "default": 3.0 }]),
                    json!([{ "name": "p", "type": "integer", "default": 3 }]),
                ],
                vec![
                    json!([{ "name": "p", "type": "secret", "generate": {} }]),
                    json!([{ "name": "p", "type": "secret", "generate": { "length": 32 } }]),
                ],
                vec![json!([{ "name": "p", "type": "enum", "values": ["a", "b"], "default": "a" }])],
                vec![
                    json!([{ "name": "p", "type": "path", "default": "/srv/" }]),
                    json!([{ "name": "p", "type": "path", "default": "/srv" }]),
                ],
                vec![json!([{ "name": "p", "type": "boolean", "default": true }])],
                vec![json!([{ "name": "p", "type": "port", "min": 1024 }])],
                vec![
                    json!([{ "name": "p", "type": "port", "min": 1, "max": 65535 }]),
                    json!([{ "name": "p", "type": "port" }]),
                ],
                vec![
                    json!([{ "name": "p", "type": "string", "min": 0 }]),
                    json!([{ "name": "p", "type": "string" }]),
                ],
                vec![json!([{ "name": "p", "type": "string", "pattern": "[a-z]+", "description": "x" }])],
            ],
        ),
    ]
}

fn document(service: &[(&str, Value)], addon: &[(&str, Value)]) -> Value {
    let mut document = json!({
        "name": "sample",
        "services": [
            { "service_name": "web", "image": "nginx:1.27" },
            { "service_name": "other", "image": "nginx:1.27", "restart": "no", "ipc": "shareable" }
        ],
        "networks": [{ "name": "net", "subnets": ["10.9.0.0/24", "fd00::/64"], "enable_ipv6": true }]
    });
    for (field, value) in service {
        document["services"][0][*field] = value.clone();
    }
    for (field, value) in addon {
        document[*field] = value.clone();
    }
    document
}

fn accepted(document: &Value) -> Option<AddonDescriptor> {
    read(document.to_string().as_bytes()).expect("JSON").descriptor
}

#[track_caller]
fn digest(document: &Value) -> Digest {
    let reading = read(document.to_string().as_bytes()).expect("JSON");
    let descriptor = reading.descriptor.unwrap_or_else(|| panic!("{document}: {:#?}", reading.violations));
    descriptor.digest()
}

/// Everything that must hold of a document that is accepted.
fn check_laws(descriptor: &AddonDescriptor) {
    let canonical = descriptor.canonical();
    let again = read(&canonical).expect("canonical bytes are JSON");
    assert_eq!(
        again.descriptor.as_ref(),
        Some(descriptor),
        "{}: {:#?}",
        String::from_utf8_lossy(&canonical),
        again.violations
    );
    assert_eq!(again.descriptor.expect("just compared").canonical(), canonical);
    let wire = descriptor.wire_value();
    assert_eq!(digest(&wire), descriptor.digest(), "{wire}");
}

#[test]
fn notations_of_one_thing_have_one_digest_and_others_another() {
    let check = |field: &str, rows: &[Vec<Value>], make: &dyn Fn(&Value) -> Value| {
        let plain = digest(&make(&Value::Null));
        let mut seen = vec![plain];
        for row in rows {
            let first = digest(&make(&row[0]));
            for notation in row {
                assert_eq!(digest(&make(notation)), first, "{field}: {notation} means {}", row[0]);
                check_laws(&accepted(&make(notation)).unwrap());
            }
            assert!(!seen.contains(&first), "{field}: {} is something of its own", row[0]);
            seen.push(first);
        }
    };
    for (field, rows) in service_notations() {
        check(field, &rows, &|value| document(&[(field, value.clone())], &[]));
    }
    for (field, rows) in addon_notations() {
        check(field, &rows, &|value| document(&[], &[(field, value.clone())]));
    }
}

#[test]
fn every_field_of_a_service_is_in_the_table() {
    let schema = schema();
    let known = schema["$defs"]["service"]["properties"].as_object().unwrap();
    let tabled: Vec<&str> = service_notations().iter().map(|(field, _)| *field).collect();
    for field in known.keys().filter(|field| !matches!(field.as_str(), "service_name" | "image")) {
        assert!(tabled.contains(&field.as_str()), "{field} has no notations here");
    }
}

/// Defaults, spelled out: of a service, of the document, of a volume, of a network.
fn defaults() -> [Vec<(&'static str, Value)>; 4] {
    let nothing = |fields: &[&'static str], value: Value| -> Vec<(&'static str, Value)> {
        fields.iter().map(|field| (*field, value.clone())).collect()
    };
    let mut service = vec![
        ("restart", json!("always")),
        ("stop_grace_period", json!("10s")),
        ("update", json!({ "order": "stop-first" })),
        ("healthcheck", json!({ "restart": true })),
        ("security_opt", json!(["no-new-privileges:true"])),
        ("logging", json!({ "options": {} })),
    ];
    service.extend(nothing(&["init", "tty", "stdin_open", "read_only", "privileged"], json!(false)));
    service.extend(nothing(
        &["environment", "labels", "sysctls", "ports", "resources", "ulimits", "update"],
        json!({}),
    ));
    service.extend(nothing(
        &["command", "volumes", "networks", "aliases", "files", "depends_on", "dns", "tmpfs", "cap_add"],
        json!([]),
    ));
    service.extend(nothing(
        &["command", "entrypoint", "user", "hostname", "replaces", "platform", "gpus"],
        json!(""),
    ));
    service.extend(nothing(&["network_mode", "pid", "ipc", "healthcheck", "stop_signal"], json!(null)));
    let mut addon = vec![("title", json!("sample")), ("requires", json!({ "platforms": [], "addons": [] }))];
    addon.extend(nothing(&["description", "readme", "version", "license"], json!("")));
    addon.extend(nothing(&["keywords", "changes", "parameters"], json!([])));
    let volume = vec![
        ("driver", json!("local")),
        ("driver", json!("bridge")),
        ("driver_opts", json!({})),
        ("labels", json!({})),
        ("labels", json!([])),
        ("external", json!(false)),
    ];
    let network = vec![
        ("driver", json!("bridge")),
        ("driver_opts", json!({})),
        ("enable_ipv6", json!(false)),
        ("enable_ipv6", json!("off")),
        ("internal", json!(false)),
        ("subnets", json!([])),
        ("external", json!(null)),
    ];
    [service, addon, volume, network]
}

#[test]
fn spelled_out_defaults_change_no_digest() {
    let plain = json!({
        "name": "sample",
        "services": [{ "service_name": "web", "image": "nginx:1.27", "volumes": ["v:/v"] }],
        "volumes": [{ "name": "v" }],
        "networks": [{ "name": "n" }]
    });
    let expected = digest(&plain);
    let [service, addon, volume, network] = defaults();
    for (place, fields) in
        [("/services/0", service), ("", addon), ("/volumes/0", volume), ("/networks/0", network)]
    {
        for (field, value) in fields {
            let mut document = plain.clone();
            let object = document.pointer_mut(place).unwrap().as_object_mut().unwrap();
            if object.contains_key(field) {
                continue;
            }
            object.insert(field.to_owned(), value.clone());
            assert_eq!(digest(&document), expected, "{place}/{field}: {value}");
        }
    }
}

#[test]
fn the_wire_form_can_be_posted_again_with_what_services_add() {
    let plain = document(&[("ports", json!({ "80": "8080" }))], &[("version", json!("1.2.3"))]);
    let descriptor = accepted(&plain).unwrap();
    let mut wire = descriptor.wire_value();
    let added = json!({
        "_id": "6b00fc9223516c5e37bee27c", "status": "approved", "digest": descriptor.digest(), "pins": [{ "bytes": 1 }],
        "rights": ["platform-network"], "risk": 1, "held": [], "reason": null, "publisher": "anonymous",
        "created_at": "2026-01-01T00:00:00Z", "approved_at": null, "warnings": [{ "path": "/x\u{7}" }],
        "image_missing_since": null, "marketplace_id": "6b00fc9223516c5e37bee27c", "status_details": {}, "logs": "\u{1b}[0m",
        "addon": "sample", "desired": "active", "service_states": [], "conditions": [], "progress": null,
        "update_available": null, "updated_at": "2026-01-01T00:00:00Z"
    });
    let count = added.as_object().unwrap().len();
    wire.as_object_mut().unwrap().extend(added.as_object().unwrap().clone());
    let reading = read(wire.to_string().as_bytes()).unwrap();
    assert_eq!(reading.violations, vec![]);
    assert_eq!(reading.descriptor.unwrap().digest(), descriptor.digest());
    assert_eq!(reading.warnings.iter().filter(|found| found.rule == "ignored-field").count(), count);
}

/// A choice of notations for some fields: for each, the row, and two notations of that row.
type Choice = Vec<(&'static str, Value, Value)>;

fn choices(table: Vec<(&'static str, Vec<Vec<Value>>)>) -> impl Strategy<Value = Choice> {
    let each: Vec<_> = table
        .into_iter()
        .map(|(field, rows)| {
            let picked =
                (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>());
            (prop::bool::weighted(0.25), picked).prop_map(move |(is_there, (row, a, b))| {
                let row = row.get(&rows);
                is_there.then(|| (field, a.get(row).clone(), b.get(row).clone()))
            })
        })
        .collect();
    each.prop_map(|each| each.into_iter().flatten().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_combination_keeps_the_laws(service in choices(service_notations()), addon in choices(addon_notations())) {
        let pick = |choice: &Choice, second: bool| -> Vec<(&'static str, Value)> {
            choice.iter().map(|(field, a, b)| (*field, if second { b.clone() } else { a.clone() })).collect()
        };
        let first = document(&pick(&service, false), &pick(&addon, false));
        let second = document(&pick(&service, true), &pick(&addon, true));
        // Some combinations contradict each other; then every notation of them does.
        match (accepted(&first), accepted(&second)) {
            (Some(first), Some(second)) => {
                prop_assert_eq!(first.digest(), second.digest());
                check_laws(&first);
            }
            (None, None) => (),
            _ => prop_assert!(false, "{} and {} mean the same", first, second),
        }
    }
}
