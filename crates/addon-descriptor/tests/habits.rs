//! What people write who come from Compose, Kubernetes, YAML, Docker's command line or JSON5: each is told where it stands
//! and what to write instead.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use addon_descriptor::{Violation, read};

/// A document with a service that has these members, and with further members of its own.
fn document(service: &str, rest: &str) -> String {
    format!(
        r#"{{ "name": "sample", "services": [{{ "service_name": "web", "image": "nginx:1.27", {service} }}]{rest} }}"#
    )
}

fn violations(text: &str) -> Vec<Violation> {
    read(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault}")).violations
}

/// The one violation of a document: its path, a part of its message, its suggestion.
#[track_caller]
fn check(text: &str, path: &str, part: &str, suggestion: Option<&str>) {
    let found = violations(text);
    assert_eq!(found.len(), 1, "{text}: {found:#?}");
    assert_eq!(found[0].path, path, "{text}: {found:#?}");
    assert!(found[0].message.contains(part), "{text}: {}", found[0].message);
    assert_eq!(found[0].suggestion.as_deref(), suggestion, "{text}: {}", found[0].message);
}

#[track_caller]
fn service(members: &str, path: &str, part: &str, suggestion: Option<&str>) {
    check(&document(members, ""), &format!("/services/0/{path}"), part, suggestion);
}

#[track_caller]
fn addon(members: &str, path: &str, part: &str, suggestion: Option<&str>) {
    check(&document(r#""tty": true"#, &format!(", {members}")), path, part, suggestion);
}

#[test]
fn maps_of_compose_become_lists() {
    check(
        r#"{ "name": "x", "services": { "web": { "image": "nginx:1" }, "db": { "image": "mongo:7" } } }"#,
        "/services",
        "a list of services, each with its `service_name`, is needed",
        Some(r#"[{"image":"nginx:1","service_name":"web"},{"image":"mongo:7","service_name":"db"}]"#),
    );
    check(
        r#"{ "name": "x", "services": { "service_name": "web", "image": "nginx:1" } }"#,
        "/services",
        "a list of services",
        Some(r#"[{"image":"nginx:1","service_name":"web"}]"#),
    );
    check(r#"{ "name": "x", "services": { "web": 5 } }"#, "/services", "a list of services", None);
    addon(
        r#""volumes": { "data": {}, "v": null }"#,
        "/volumes",
        "a list",
        Some(r#"[{"name":"data"},{"name":"v"}]"#),
    );
    addon(
        r#""networks": { "n": { "internal": true } }"#,
        "/networks",
        "a list",
        Some(r#"[{"internal":true,"name":"n"}]"#),
    );
    addon(r#""networks": { "n": { "name": "other" } }"#, "/networks", "a list", None);
}

#[test]
fn fields_of_compose_say_what_to_do_instead() {
    for (members, path, part, suggestion) in [
        (r#""container_name": "x""#, "container_name", "`aliases`", None),
        (r#""build": ".""#, "build", "push it to a registry", None),
        (r#""expose": ["80"]"#, "expose", "reach all ports of each other", None),
        (r#""env_file": ".env""#, "env_file", "no file beside the descriptor", Some("environment")),
        (r#""deploy": {}"#, "deploy", "`resources`", Some("resources")),
        (r#""extends": {}"#, "extends", "write the service out", None),
        (r#""profiles": []"#, "profiles", "an addon of its own", None),
        (r#""links": []"#, "links", "find each other by name", None),
        (r#""pull_policy": "always""#, "pull_policy", "take it out", None),
        (r#""secrets": []"#, "secrets", "parameter of type `secret`", Some("files")),
        (r#""scale": 2"#, "scale", "a service runs once", None),
    ] {
        service(members, path, part, suggestion);
    }
    addon(
        r#""networks": [{ "name": "n", "ipam": {} }]"#,
        "/networks/0/ipam",
        "10.20.0.0/24",
        Some("subnets"),
    );
}

#[test]
fn fields_of_kubernetes_say_what_to_do_instead() {
    let found = violations(r#"{ "apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {} }"#);
    let of = |path: &str| found.iter().find(|found| found.path == path).unwrap();
    assert!(of("/apiVersion").message.contains("Kubernetes"));
    assert!(of("/spec").message.contains("`services`"));
    for (members, path, part, suggestion) in [
        (r#""volumeMounts": []"#, "volumeMounts", "`name:/path`", Some("volumes")),
        (r#""livenessProbe": {}"#, "livenessProbe", "`test` of `healthcheck`", Some("healthcheck")),
        (r#""args": []"#, "args", "`entrypoint` here", Some("command")),
        (r#""imagePullPolicy": "x""#, "imagePullPolicy", "take it out", None),
        (r#""resources": { "limits": {} }"#, "resources/limits", "in `resources` itself", None),
        (r#""resources": { "cpus": "500m" }"#, "resources/cpus", "`0.5`", Some("0.5")),
        (r#""resources": { "memory": "512Mi" }"#, "resources/memory", "`Mi`", Some("512m")),
        (
            r#""environment": [{ "name": "A", "value": 1 }, "B=2"]"#,
            "environment",
            "`K=V`, not an object",
            Some(r#"{"A":1,"B":"2"}"#),
        ),
        (r#""environment": [{ "name": "A", "valueFrom": {} }]"#, "environment", "`K=V`, not an object", None),
        (
            r#""ports": [{ "containerPort": 80, "hostPort": 8080 }, { "containerPort": 53, "protocol": "UDP" }]"#,
            "ports",
            "container first",
            Some(r#"{"53/udp":"","80":"8080"}"#),
        ),
        (r#""healthcheck": { "periodSeconds": 5 }"#, "healthcheck/periodSeconds", "unit", Some("interval")),
    ] {
        service(members, path, part, suggestion);
    }
}

#[test]
fn a_wrong_type_names_every_form() {
    for (members, path, part, suggestion) in [
        (r#""command": 3"#, "command", "a string or a list of strings", None),
        (r#""entrypoint": {}"#, "entrypoint", "a string or a list of strings", None),
        (r#""environment": 3"#, "environment", "a map of names to values, or a list of `K=V`,", None),
        (r#""environment": "A=b""#, "environment", "a list of `K=V`", Some(r#"["A=b"]"#)),
        (r#""ports": true"#, "ports", "a map from the container's port", None),
        (
            r#""ports": "8080:80/udp""#,
            "ports",
            "a map from the container's port",
            Some(r#"{"80/udp":"8080"}"#),
        ),
        (r#""ports": 80"#, "ports", "a map from the container's port", Some(r#"{"80":""}"#)),
        (r#""ports": { "80": null }"#, "ports/80", "any free one", Some(r#""""#)),
        (r#""networks": 3"#, "networks", "a list of names, or a map of names", None),
        (r#""networks": [{ "name": "n" }]"#, "networks", "a list of names alone", Some(r#"{"n":{}}"#)),
        (
            r#""networks": { "n": "10.0.0.5" }"#,
            "networks/n",
            "ipv4_address",
            Some(r#"{"ipv4_address": "10.0.0.5"}"#),
        ),
        (r#""depends_on": 3"#, "depends_on", "a list of services, or a map of services", None),
        (
            r#""depends_on": ["b", { "c": { "condition": "service_healthy" } }]"#,
            "depends_on",
            "a list of names alone, or a map",
            Some(r#"{"b":{},"c":{"condition":"service_healthy"}}"#),
        ),
        (
            r#""healthcheck": { "test": 3 }"#,
            "healthcheck/test",
            "a string, which a shell runs, or a list",
            None,
        ),
        (r#""healthcheck": "true""#, "healthcheck", "an object such as", Some(r#"{"test":"true"}"#)),
        (r#""volumes": 3"#, "volumes", "`/host/path:/path:ro`", None),
        (r#""volumes": { "data": "/data" }"#, "volumes", "a list", Some(r#"["data:/data"]"#)),
        (r#""volumes": [3]"#, "volumes/0", "`name:/path`", None),
        (r#""tmpfs": 3"#, "tmpfs", "a string such as `/run:size=64m`, or a list", None),
        (r#""ulimits": ["nofile=1"]"#, "ulimits", "a map of names to numbers", None),
        (r#""ulimits": { "nofile": true }"#, "ulimits/nofile", r#"{"soft": 1024, "hard": 4096}"#, None),
        (r#""ulimits": { "nofile": "64" }"#, "ulimits/nofile", "a whole number, or", Some("64")),
        (r#""ulimits": { "core": "unlimited" }"#, "ulimits/core", "a whole number, or", Some("-1")),
        (r#""extra_hosts": 3"#, "extra_hosts", "a list of `host:ip`, or a map", None),
        (r#""extra_hosts": { "h": 3 }"#, "extra_hosts/h", "an IP address, or a list", None),
        (r#""dns": 3"#, "dns", "an IP address, or a list of them", None),
        (r#""user": []"#, "user", "`user`, `user:group` or a number", None),
        (r#""restart": false"#, "restart", "`on-failure[:n]`", Some(r#""no""#)),
        (r#""restart": { "condition": "any" }"#, "restart", "`always`", Some(r#""always""#)),
        (r#""resources": { "memory": true }"#, "resources/memory", "or a number of bytes", None),
        (r#""resources": "1g""#, "resources", r#"{"memory": "512m", "cpus": 0.5}"#, None),
        (r#""logging": "json-file""#, "logging", "an object", Some(r#"{"driver": "json-file"}"#)),
        (r#""update": "start-first""#, "update", "an object", Some(r#"{"order": "start-first"}"#)),
        (r#""files": { "/a": "b" }"#, "files", "a list of objects", Some(r#"[{"content":"b","path":"/a"}]"#)),
        (r#""gpus": true"#, "gpus", "`all`, or how many", Some(r#""all""#)),
        (
            r#""network_mode": true"#,
            "network_mode",
            "one of `bridge`, `host`, `none`, `service:<name>`",
            None,
        ),
        (r#""stop_signal": true"#, "stop_signal", "its name or number", None),
        (r#""stop_grace_period": 10"#, "stop_grace_period", "with a unit", Some(r#""10s""#)),
        (r#""tty": 1"#, "tty", "`true` or `false`", Some("true")),
    ] {
        service(members, path, part, suggestion);
    }
    addon(r#""keywords": "a, b""#, "/keywords", "a list of strings", None);
}

#[test]
fn long_forms_become_short_ones() {
    for (members, path, part, suggestion) in [
        (
            r#""volumes": [{ "type": "tmpfs", "target": "/run", "tmpfs": { "size": "64m" } }]"#,
            "volumes/0",
            "`tmpfs` of the service, beside `volumes`: `\"/run:size=64m\"`",
            None,
        ),
        (
            r#""volumes": [{ "type": "bind", "source": "/a", "target": "/b", "bind": { "propagation": "rslave" } }]"#,
            "volumes/0",
            "one text",
            Some(r#""/a:/b:rslave""#),
        ),
        (
            r#""volumes": [{ "source": "v", "target": "/b", "read_only": true, "volume": { "nocopy": true } }]"#,
            "volumes/0",
            "one text",
            Some(r#""v:/b:ro,nocopy""#),
        ),
        (
            r#""volumes": [{ "source": "./a", "target": "/b" }]"#,
            "volumes/0",
            "`./a` is neither the name of a volume nor an absolute path",
            None,
        ),
        (r#""tmpfs": { "target": "/run", "size": 1024 }"#, "tmpfs", "one text", Some(r#""/run:size=1024""#)),
        (r#""tmpfs": [{ "target": "/run" }]"#, "tmpfs/0", "one text", Some(r#""/run""#)),
        (
            r#""tmpfs": { "/run": "size=64m", "/tmp": "" }"#,
            "tmpfs",
            "a list of them",
            Some(r#"["/run:size=64m","/tmp"]"#),
        ),
        (
            r#""ports": { "80": { "target": 80, "published": 8080, "host_ip": "127.0.0.1" } }"#,
            "ports/80",
            "long form",
            Some(r#""127.0.0.1:8080""#),
        ),
    ] {
        service(members, path, part, suggestion);
    }
}

#[test]
fn values_of_yaml_and_of_shells_are_recognised() {
    for (members, path, part, suggestion) in [
        (r#""privileged": "yes""#, "privileged", "`true` or `false`", Some("true")),
        (r#""restart": "Always""#, "restart", "`always`", Some("always")),
        (r#""restart": "never""#, "restart", "`no`", Some("no")),
        (r#""environment": ["A: b"]"#, "environment/0", "has no value", Some("A=b")),
        (r#""environment": ["A"]"#, "environment/0", "has no value", Some("A=")),
        (r#""volumes": ["./data:/data"]"#, "volumes/0", "no folder of its own", None),
        (r#""volumes": ["~/x:/x"]"#, "volumes/0", "no folder of its own", None),
        (r#""volumes": ["${PWD}/x:/x"]"#, "volumes/0", "no folder of its own", None),
        (r#""ports": { "80": "8080:80" }"#, "ports/80", "the container's port is the key", Some("8080")),
        (r#""ports": { "8080:80": "" }"#, "ports/8080:80", "the host's is the value", None),
        (r#""healthcheck": { "test": "CMD curl x" }"#, "healthcheck/test", "called CMD", Some("curl x")),
        (
            r#""healthcheck": { "test": "CMD [\"a\", \"b\"]" }"#,
            "healthcheck/test",
            "called CMD",
            Some(r#"["CMD","a","b"]"#),
        ),
        (r#""healthcheck": { "test": ["cmd", "x"] }"#, "healthcheck/test", "`CMD`", Some(r#"["CMD","x"]"#)),
        (
            r#""healthcheck": { "test": ["cmd-shell", "x"] }"#,
            "healthcheck/test",
            "`CMD-SHELL`",
            Some(r#"["CMD-SHELL","x"]"#),
        ),
        (r#""healthcheck": { "test": ["none"] }"#, "healthcheck/test", "`NONE`", Some(r#"["NONE"]"#)),
        (
            r#""healthcheck": { "test": ["CMD-SHELL", "a", "||", "b"] }"#,
            "healthcheck/test",
            "one line",
            Some(r#"["CMD-SHELL","a || b"]"#),
        ),
        (r#""stop_grace_period": "1sec""#, "stop_grace_period", "units", Some("1s")),
        (r#""stop_grace_period": "2 min""#, "stop_grace_period", "units", Some("2m")),
        (r#""stop_grace_period": 30000000000"#, "stop_grace_period", "unit", Some(r#""30s""#)),
        (r#""stop_grace_period": -1"#, "stop_grace_period", "unit", None),
        (r#""resources": { "memory": "512 MB" }"#, "resources/memory", "such as `64m`", Some("512m")),
        (r#""resources": { "memory": "50%" }"#, "resources/memory", "such as `64m`", None),
        (r#""resources": { "cpus": "half" }"#, "resources/cpus", "such as `0.5`", None),
        (r##""command": "# c""##, "command", "`#` begins a comment", None),
        (r#""command": "echo \"a""#, "command", "a quote is not closed", None),
        (r#""platform": "linux""#, "platform", "linux/arm64", None),
    ] {
        service(members, path, part, suggestion);
    }
    check(
        r#"{ "name": "x", "services": [{ "service_name": "a", "image": "nginx@1.27" }] }"#,
        "/services/0/image",
        "sha256",
        Some("nginx:1.27"),
    );
    addon(r#""license": "LicenseRef-""#, "/license", "a name follows", None);
    addon(r#""license": "MIT OR DocumentRef-:LicenseRef-x""#, "/license", "", None);
}

#[test]
fn types_of_parameters_have_other_names_elsewhere() {
    for (other, meant) in [
        ("int", "integer"),
        ("Bool", "boolean"),
        ("float", "number"),
        ("password", "secret"),
        ("str", "string"),
        ("choice", "enum"),
        ("folder", "path"),
        ("integr", "integer"),
        ("prot", "port"),
    ] {
        addon(
            &format!(r#""parameters": [{{ "name": "p", "type": "{other}" }}]"#),
            "/parameters/0/type",
            "`string`, `integer`",
            Some(meant),
        );
    }
    addon(
        r#""parameters": [{ "name": "p", "type": ["string"] }]"#,
        "/parameters/0/type",
        "one of `string`, `integer`",
        None,
    );
}

#[test]
fn a_secret_that_cannot_be_made_is_no_declaration() {
    let declared = |rest: &str| format!(r#""parameters": [{{ "name": "p", "type": "secret", {rest} }}]"#);
    let path = "/parameters/0/generate";
    addon(&declared(r#""pattern": "[a-z]{32}", "generate": {}"#), path, "`[a-z]{32}`", None);
    addon(&declared(r#""pattern": "\\d+", "generate": { "length": 8 }"#), path, "`\\d+`", None);
    for fine in [
        r#""pattern": "[a-z]{32}", "generate": { "alphabet": "abcxyz" }"#,
        r#""pattern": "[A-Za-z0-9]{16,}", "generate": {}"#,
        r#""pattern": ".*[0-9].*", "generate": {}"#,
        r#""pattern": "\\d+""#,
    ] {
        assert_eq!(violations(&document(r#""tty": true"#, &format!(", {}", declared(fine)))), [], "{fine}");
    }
}

#[test]
fn faults_of_keys_stand_at_the_keys() {
    for (members, path, key) in [
        (r#""networks": { "a/b": { "aliases": [] } }"#, "networks/a~1b", "\"a/b\""),
        (r#""networks": { "host": {} }"#, "networks/host", "\"host\""),
        (r#""depends_on": { "a b": {} }"#, "depends_on/a b", "\"a b\""),
        (r#""depends_on": { "nobody": {} }"#, "depends_on/nobody", "\"nobody\""),
        (r#""depends_on": { "web": {} }"#, "depends_on/web", "\"web\": {"),
        (r#""extra_hosts": { "a b": "10.0.0.1" }"#, "extra_hosts/a b", "\"a b\""),
        (r#""extra_hosts": { "a b": ["10.0.0.1", "10.0.0.2"] }"#, "extra_hosts/a b", "\"a b\""),
    ] {
        let text = document(members, "");
        let found = violations(&text);
        assert_eq!(found.len(), 1, "{members}: {found:#?}");
        let column = u32::try_from(text.find(key).unwrap() + 1).unwrap();
        let place = (found[0].path.as_str(), found[0].line, found[0].column);
        assert_eq!(place, (format!("/services/0/{path}").as_str(), 1, column), "{members}");
    }
}

#[test]
fn who_never_completes_is_where_it_is_said() {
    let text = |restart: &str| {
        format!(
            r#"{{ "name": "x", "services": [{{ "service_name": "job", "image": "a:1"{restart} }},
            {{ "service_name": "b", "image": "a:1", "depends_on": {{ "job": {{ "condition": "service_completed_successfully" }} }} }},
            {{ "service_name": "c", "image": "a:1", "depends_on": {{ "job": "service_completed_successfully" }} }}] }}"#
        )
    };
    check(&text(r#", "restart": "always""#), "/services/0/restart", "`b` waits for that", Some("no"));
    check(
        &text(r#", "restart": "unless-stopped""#),
        "/services/0/restart",
        "`job` never completes",
        Some("no"),
    );
    check(&text(""), "/services/0/restart", "`always`", Some("\"no\""));
    assert_eq!(violations(&text(r#", "restart": "on-failure""#)), []);
    let found = violations(&text(r#", "restart": "soon""#));
    assert_eq!(found.iter().map(|found| found.rule).collect::<Vec<_>>(), ["unknown-value"]);
}

#[test]
fn paths_point_at_something_however_long_a_key_is() {
    for length in [81, 5000] {
        let key = "k/~".repeat(length / 3);
        let text = document(&format!(r#""environment": {{ "{key}": {{}} }}"#), "");
        let found = violations(&text);
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(found.len(), 1);
        assert!(document.pointer(&found[0].path).is_some_and(serde_json::Value::is_object), "{length}");
        assert!(found[0].path.ends_with("k~1~0"));
    }
    // Many findings below long keys cost no more than they say.
    let key = "x".repeat(100_000);
    let unknown: Vec<String> = (0..900).map(|index| format!(r#""unknown_{index}": 1"#)).collect();
    let text = document(&format!(r#""networks": {{ "{key}": {{ {} }} }}"#, unknown.join(", ")), "");
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let found = violations(&text);
    assert!(found.len() > 900);
    assert!(found.iter().all(|found| document.pointer(&found.path).is_some()));
    assert!(found.iter().map(|found| found.path.len()).sum::<usize>() < 2 * 1024 * 1024);
}

#[test]
fn numbers_of_an_environment_keep_their_digits() {
    let text = document(
        r#""environment": { "ID": 1234567890123456789012, "P": 0.12345678901234567890, "E": 1e20 }"#,
        "",
    );
    let addon = read(text.as_bytes()).unwrap().descriptor.unwrap();
    let values: Vec<&str> = addon.services[0].environment.values().map(String::as_str).collect();
    assert_eq!(values, ["100000000000000000000", "1234567890123456789012", "0.1234567890123456789"]);
    let digits = "9".repeat(100);
    service(
        &format!(r#""environment": {{ "ID": {digits} }}"#),
        "environment/ID",
        "a string takes any",
        Some(&format!("\"{digits}\"")),
    );
}

#[test]
fn what_cannot_be_read_draws_no_further_faults() {
    let rules = |text: &str| violations(text).into_iter().map(|found| found.rule).collect::<Vec<_>>();
    // A service without a name, or with one that is none, may be the one that is meant.
    for name in [r#""service_name": "my db","#, "", r#""service_name": 5,"#, r#""service_name": null,"#] {
        let text = format!(
            r#"{{ "name": "x", "services": [{{ {name} "image": "a:1", "depends_on": ["web"] }},
            {{ "service_name": "web", "image": "a:1", "depends_on": ["my-db"], "pid": "service:db" }}] }}"#
        );
        assert_eq!(rules(&text).len(), 1, "{name}: {:?}", violations(&text));
    }
    let members =
        r#""ports": { "80": "${port}" }, "environment": { "A": "${port}" }, "volumes": ["${port}:/x"]"#;
    for parameters in [r#"{ "port": { "type": "port" } }"#, r#"[{ "name": "po-rt", "type": "port" }]"#, "[5]"]
    {
        let found = violations(&document(members, &format!(r#", "parameters": {parameters}"#)));
        assert_eq!(found.len(), 1, "{parameters}: {found:#?}");
    }
    let members = r#""networks": { "n": { "ipv4_address": "10.0.0.5" } }"#;
    for networks in [
        r#"[{ "name": "n", "subnets": ["10.0.0.0"] }]"#,
        r#"[{ "name": "n", "subnets": "10.0.0.0/24" }]"#,
        r#"{ "n": {} }"#,
    ] {
        let found = violations(&document(members, &format!(r#", "networks": {networks}"#)));
        assert_eq!(found.len(), 1, "{networks}: {found:#?}");
    }
    assert_eq!(rules(&document(members, r#", "networks": null"#)), ["address-without-subnet"]);
    assert_eq!(
        rules(&document(members, r#", "networks": [{ "name": "n", "subnets": null }]"#)),
        ["address-without-subnet"]
    );
}

/// Path and rule of each warning.
fn warnings(text: &str) -> Vec<(String, &'static str)> {
    read(text.as_bytes()).unwrap().warnings.into_iter().map(|found| (found.path, found.rule)).collect()
}

#[test]
fn a_healthcheck_without_a_test_is_none_here() {
    let of = |check: &str| {
        let found = warnings(&document(
            &format!(r#""resources": {{ "memory": "64m" }}, "healthcheck": {check}"#),
            "",
        ));
        found.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
    };
    assert_eq!(of(r#"{ "interval": "30s" }"#), ["/services/0/healthcheck/test"]);
    assert_eq!(of(r#"{ "test": [], "interval": "30s" }"#), ["/services/0/healthcheck/test"]);
    assert_eq!(of("{}"), ["/services/0/healthcheck"]);
    assert_eq!(of(r#"{ "disable": true }"#), ["/services/0/healthcheck"]);
    assert_eq!(of(r#"{ "test": "true" }"#), Vec::<String>::new());
    // What could not be read is said as that alone.
    assert_eq!(of(r#"{ "test": ["curl"] }"#), Vec::<String>::new());
    assert_eq!(of(r#""curl""#), Vec::<String>::new());
    let unread = document(r#""healthcheck": { "test": "true" }, "resources": { "memory": "much" }"#, "");
    assert_eq!(warnings(&unread), []);
}

#[test]
fn secrets_in_commands_are_warned_of() {
    let of = |members: &str, rest: &str| {
        let found = warnings(&document(members, rest));
        found
            .into_iter()
            .filter(|(_, rule)| *rule == "looks-like-secret")
            .map(|(path, _)| path.trim_start_matches("/services/0/").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(r#""command": ["redis-server", "--requirepass", "hunter2"]"#, ""), ["command/2"]);
    assert_eq!(of(r#""command": ["app", "--db-password=hunter2", "-v"]"#, ""), ["command/1"]);
    assert_eq!(of(r#""entrypoint": "env TOKEN=hunter2 app""#, ""), ["entrypoint"]);
    assert_eq!(of(r#""command": "app postgres://u:hunter2@db/x""#, ""), ["command"]);
    assert_eq!(of(r#""command": ["app", "ghp_0123456789abcdefghij"]"#, ""), ["command/1"]);
    for fine in [
        r#""command": ["app", "--password-file", "/run/secrets/x", "--token", "--verbose"]"#,
        r#""command": ["app", "--token=$TOKEN", "--auth", "true"]"#,
        r#""command": ["sh", "-c", "echo password"]"#,
    ] {
        assert_eq!(of(fine, ""), Vec::<String>::new(), "{fine}");
    }
    let parameters = r#", "parameters": [{ "name": "p", "type": "secret" }]"#;
    assert_eq!(of(r#""command": ["app", "--password", "${p}"]"#, parameters), Vec::<String>::new());
    assert_eq!(of(r#""command": ["app", "--password", "${p}"]"#, ""), Vec::<String>::new());
}

#[test]
fn a_comment_in_a_command_is_said() {
    let of = |line: &str| {
        let found = warnings(&document(&format!(r#""command": "{line}""#), ""));
        found.iter().filter(|(_, rule)| *rule == "no-effect").count()
    };
    for line in ["app # why", "app\\t#why", "app\\n# why\\n-v"] {
        assert_eq!(of(line), 1, "{line}");
    }
    for line in ["app a#b", "app '# no'", "app \\\\#no", "app --color '#fff'"] {
        assert_eq!(of(line), 0, "{line}");
    }
}

#[test]
fn what_stands_below_a_wrong_key_is_read_too() {
    for members in [
        r#""networks": { "a/b": { "alias": [] } }"#,
        r#""depends_on": { "a b": { "condition": "healthy" } }"#,
        r#""extra_hosts": { "a b": "nowhere" }"#,
    ] {
        assert_eq!(violations(&document(members, "")).len(), 2, "{members}");
    }
}

#[test]
fn a_suggestion_is_what_was_meant_and_no_example() {
    for (members, path, part, suggestion) in [
        (r#""ports": { "80": "localhost:8080" }"#, "ports/80", "an IP address", Some("127.0.0.1:8080")),
        (r#""ports": { "80": "::1:8080" }"#, "ports/80", "in brackets", Some("[::1]:8080")),
        (r#""ports": { "80": "08080" }"#, "ports/80", "a port from 1", Some("8080")),
        (r#""ports": { "80": " 8080" }"#, "ports/80", "a port from 1", Some("8080")),
        (r#""ports": { "80 ": "8080" }"#, "ports/80 ", "blanks", Some("80")),
        (r#""ports": { "80": "auto" }"#, "ports/80", "any free one", None),
        (r#""volumes": ["data:"]"#, "volumes/0", "is missing behind the colon", None),
        (r#""volumes": [":/data"]"#, "volumes/0", "nothing stands before", Some("/data")),
        (r#""volumes": ["v:/x:readonly"]"#, "volumes/0", "ro, rw", Some("v:/x:ro")),
        (r#""volumes": ["/v:/x:z,RW"]"#, "volumes/0", "ro, rw", Some("/v:/x:z,rw")),
        (r#""devices": ["ttyUSB0"]"#, "devices/0", "absolute", Some("/dev/ttyUSB0")),
        (r#""devices": ["/dev/a:b/c"]"#, "devices/0", "part of `rwm`", Some("/dev/a:rwm")),
        (r#""devices": [{ "source": "/dev/x" }]"#, "devices/0", "/dev/ttyUSB0", None),
        (r#""resources": { "memory": 512 }"#, "resources/memory", "512 bytes", Some(r#""512m""#)),
        (r#""resources": { "memory": "256" }"#, "resources/memory", "256 bytes", Some("256m")),
        (r#""resources": { "memory": "4m" }"#, "resources/memory", "less than 6 MiB", None),
        (r#""resources": { "cpuset": "0-" }"#, "resources/cpuset", "`0-2,4`", None),
        (r#""restart": "on-failure:0""#, "restart", "1 or more", None),
        (r#""sysctls": { "vm.max_map_count": 1 }"#, "sysctls/vm.max_map_count", "the host's own", None),
        (r#""network_mode": "oakestra""#, "network_mode", "named in `networks`", None),
        (r#""update": { "parallelism": 1 }"#, "update/parallelism", "take it out", None),
        (r#""depends_on": ["b"]"#, "depends_on/0", "no service `b`", None),
        (r#""logging": { "driver": "loki" }"#, "logging/driver", "json-file", None),
        (
            r#""files": [{ "path": "/x", "content": "", "mode": "rw-r-----" }]"#,
            "files/0/mode",
            "`0444`",
            Some("0640"),
        ),
        (r#""files": [{ "path": "/x", "content": "", "mode": "all" }]"#, "files/0/mode", "`0444`", None),
    ] {
        service(members, path, part, suggestion);
    }
    for (members, path, part, suggestion) in [
        (r#""version": "latest""#, "/version", "`1.2.0`", None),
        (r#""license": "proprietary""#, "/license", "`LicenseRef-` and a name", None),
        (
            r#""source": "git@example.org:a/b.git""#,
            "/source",
            "no http or https URL",
            Some("https://example.org/a/b.git"),
        ),
        (r#""changes": "fixed a bug""#, "/changes", "a list of objects", None),
        (
            r#""networks": [{ "name": "n", "subnets": ["10.0.0.0"] }]"#,
            "/networks/0/subnets/0",
            "10.20.0.0/24",
            None,
        ),
    ] {
        addon(members, path, part, suggestion);
    }
    let range =
        |text: &str| format!(r#""requires": {{ "addons": [{{ "name": "y", "version": "{text}" }}] }}"#);
    addon(&range(">=1 <2"), "/requires/addons/0/version", "`^1.2`", Some(">=1, <2"));
    addon(&range("1.x.y"), "/requires/addons/0/version", "`^1.2`", None);
    check(r#"{ "name": "x", "services": "web" }"#, "/services", "a list of services", None);
}

#[test]
fn an_empty_list_of_ports_is_said() {
    let found = warnings(&document(r#""ports": { "80": [] }"#, ""));
    assert!(found.contains(&("/services/0/ports/80".to_owned(), "no-effect")), "{found:?}");
}

#[test]
fn versions_that_are_numbers_are_written_out() {
    addon(r#""version": 1"#, "/version", "a string", Some("\"1.0.0\""));
    addon(r#""version": 1.5"#, "/version", "a string", Some("\"1.5.0\""));
}
