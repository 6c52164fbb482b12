//! The schema of a service, field by field.

use serde_json::{Value, json};

use super::{list_of, object, reference};
use crate::descriptor::{Capability, Condition, LogDriver};
use crate::fields;
use crate::read::limits::ULIMITS;

/// Most entries of most lists.
const MOST: usize = 64;

fn text_list() -> Value {
    list_of(&json!({ "type": "string" }), MOST)
}

fn boolean() -> Value {
    json!({ "type": "boolean" })
}

fn one_or_list() -> Value {
    json!({ "anyOf": [{ "type": "string" }, text_list()] })
}

fn words() -> Value {
    json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
}

pub(super) fn field(name: &str) -> (Value, &'static str) {
    match name {
        "service_name" => {
            (reference("objectName"), "Unique in the addon, with case, `_`, `.` and `-` ignored.")
        }
        "image" => (json!({ "type": "string", "minLength": 1, "maxLength": 1024 }), "An OCI reference."),
        "command" => (words(), "A line that is split as a shell does, or words; default the image's own."),
        "entrypoint" => (words(), "A line that is split as a shell does, or words; default the image's own."),
        "environment" => (reference("mapOrList"), "Variables."),
        "labels" => (reference("labels"), "Labels of the container."),
        "sysctls" => (sysctls(), "Namespaced kernel settings."),
        "ports" => (ports(), "Container port to host port: container first."),
        "volumes" => (
            list_of(&json!({ "type": "string", "pattern": "^(/|[^:]+:/)" }), MOST),
            "`name:/path[:options]`, `/host/path:/path[:options]`, or `/path`.",
        ),
        "networks" => (networks(), "Names, or a map of name to aliases and addresses."),
        "aliases" => (text_list(), "Further names on the addon's own networks."),
        "files" => (list_of(&file_object(), MOST), "Small files that the service finds."),
        "healthcheck" => {
            (object(&fields::HEALTHCHECK, healthcheck), "How the engine asks whether it is well.")
        }
        "depends_on" => (depends_on(), "What is started before."),
        "restart" => (
            json!({ "type": "string", "pattern": "^(always|unless-stopped|no|on-failure(:[1-9][0-9]*)?)$" }),
            "Default `always`; `no` and `on-failure` make it a job.",
        ),
        "resources" => (object(&fields::RESOURCES, resource), "Limits."),
        "update" => (object(&fields::UPDATE, update), "How an upgrade replaces it."),
        "replaces" => (reference("objectName"), "The core component that this service takes over."),
        "user" => (json!({ "type": ["string", "integer"] }), "`user[:group]`; default the image's own."),
        "group_add" => (list_of(&json!({ "type": ["string", "integer"] }), MOST), "Further groups."),
        "working_dir" => (reference("path"), "Default the image's own."),
        "hostname" => (reference("text"), "Default the engine's choice."),
        "domainname" => (reference("text"), "Default none."),
        "dns" => (one_or_list(), "Name servers."),
        "dns_search" => (one_or_list(), "Search domains."),
        "extra_hosts" => (extra_hosts(), "Further lines of the hosts file: `host:ip`, or a map."),
        "init" => (boolean(), "An init process inside the container."),
        "tty" => (boolean(), "A terminal."),
        "stdin_open" => (boolean(), "Standard input stays open."),
        "read_only" => (boolean(), "The root file system cannot be written."),
        "tmpfs" => (one_or_list(), "File systems in memory: `/path[:options]`."),
        "ulimits" => (ulimits(), "Kernel limits."),
        "stop_signal" => (json!({ "type": ["string", "integer"] }), "Default the image's own, else SIGTERM."),
        "stop_grace_period" => (reference("duration"), "From the signal to the kill; default 10s."),
        "logging" => (object(&fields::LOGGING, logging), "Where logs go; default the host's choice."),
        "platform" => (reference("platform"), "Default that of the host."),
        "cap_add" => (capabilities(), "Capabilities beside Docker's default set."),
        "cap_drop" => (capabilities(), "Capabilities taken from Docker's default set."),
        "security_opt" => (
            list_of(
                &json!({ "enum": [
                    "no-new-privileges", "no-new-privileges:true", "no-new-privileges:false", "seccomp=unconfined",
                    "apparmor=unconfined", "label=disable"
                ] }),
                MOST,
            ),
            "Security options.",
        ),
        "network_mode" => {
            (mode("bridge|host|none"), "The network namespace, where it is not that of the networks.")
        }
        "pid" => (mode("host"), "The process namespace, where it is not its own."),
        "ipc" => (mode("private|shareable|host"), "The namespace of shared memory."),
        "devices" => (
            list_of(&json!({ "type": "string", "pattern": "^/dev/" }), MOST),
            "Devices of the host: `/dev/x[:/dev/y[:rwm]]`.",
        ),
        "gpus" => (
            json!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string", "pattern": "^(all|[1-9][0-9]*)$" }] }),
            "Graphics processors: `all`, or how many.",
        ),
        "privileged" => (boolean(), "Everything that the host can do."),
        other => unreachable!("{other} has no schema"),
    }
}

fn ports() -> Value {
    let host =
        json!({ "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 65_535 }, { "type": "string" }] });
    let port = "[1-9][0-9]{0,4}";
    json!({
        "type": "object",
        "maxProperties": MOST,
        "propertyNames": { "pattern": format!("^{port}(-{port})?(/(tcp|udp|sctp))?$") },
        "additionalProperties": { "anyOf": [host, list_of(&host, MOST)] }
    })
}

fn networks() -> Value {
    json!({ "anyOf": [
        list_of(&reference("networkName"), MOST),
        {
            "type": "object",
            "maxProperties": MOST,
            "propertyNames": reference("networkName"),
            "additionalProperties": { "anyOf": [object(&fields::ATTACHMENT, attachment), { "type": "null" }] }
        }
    ] })
}

fn attachment(name: &str) -> (Value, &'static str) {
    match name {
        "aliases" => (text_list(), "Further names on this network."),
        "ipv4_address" | "ipv6_address" => {
            (reference("text"), "A fixed address inside a subnet of the network.")
        }
        other => unreachable!("{other} has no schema"),
    }
}

fn sysctls() -> Value {
    let known = "^(net\\.[A-Za-z0-9._-]|fs\\.mqueue\\.|kernel\\.(sem|msgmax|msgmnb|msgmni|shm_rmid_forced|shmall|shmmax|shmmni)(=|$))";
    json!({ "anyOf": [
        { "$ref": "#/$defs/map", "propertyNames": { "pattern": known } },
        { "type": "array", "maxItems": 256, "items": { "type": "string", "pattern": known } }
    ] })
}

fn file_object() -> Value {
    let mut schema = object(&fields::FILE, file);
    schema["anyOf"] = json!([{ "required": ["content"] }, { "required": ["parameter"] }]);
    schema
}

fn file(name: &str) -> (Value, &'static str) {
    match name {
        "path" => (reference("path"), "Where the service finds it."),
        "content" => (json!({ "type": "string", "maxLength": 65_536 }), "What is in it."),
        "parameter" => (reference("parameterName"), "The parameter whose value is in it."),
        "mode" => {
            (json!({ "type": "string", "pattern": "^[0-7]{1,5}$" }), "Octal permission bits; default 0444.")
        }
        other => unreachable!("{other} has no schema"),
    }
}

fn healthcheck(name: &str) -> (Value, &'static str) {
    match name {
        "test" => (words(), "A line for the shell, or [\"CMD\", ...], [\"CMD-SHELL\", ...], [\"NONE\"]."),
        "interval" => (reference("duration"), "Between two checks."),
        "timeout" => (reference("duration"), "For one check."),
        "retries" => (json!({ "type": "integer", "minimum": 1 }), "Failures in a row until it is unhealthy."),
        "start_period" => (reference("duration"), "After a start, in which failures do not count."),
        "start_interval" => (reference("duration"), "Between two checks during the start period."),
        "disable" => (boolean(), "No check, not even the image's own."),
        "restart" => (boolean(), "An unhealthy container is restarted; default true."),
        other => unreachable!("{other} has no schema"),
    }
}

fn condition() -> Value {
    json!({ "enum": Condition::ALL.map(Condition::as_str) })
}

fn depends_on() -> Value {
    json!({ "anyOf": [
        list_of(&reference("objectName"), MOST),
        {
            "type": "object",
            "maxProperties": MOST,
            "propertyNames": reference("objectName"),
            "additionalProperties": {
                "anyOf": [object(&fields::DEPENDENCY, dependency), condition(), { "type": "null" }]
            }
        }
    ] })
}

fn dependency(name: &str) -> (Value, &'static str) {
    match name {
        "condition" => (condition(), "Default `service_started`."),
        "restart" => (boolean(), "Restarted together with what it depends on."),
        other => unreachable!("{other} has no schema"),
    }
}

fn resource(name: &str) -> (Value, &'static str) {
    match name {
        "memory" => (reference("size"), "Most memory; at least 6 MiB."),
        "memory_reservation" => (reference("size"), "What it keeps when memory is short."),
        "memory_swap" => (
            json!({ "anyOf": [reference("size"), { "enum": [-1, "-1"] }] }),
            "Memory and swap together; -1 is unlimited.",
        ),
        "shm_size" => (reference("size"), "Size of /dev/shm."),
        "cpus" => (json!({ "type": ["number", "string"] }), "Processors, in parts."),
        "cpuset" => {
            (json!({ "type": "string", "pattern": "^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$" }), "Which ones.")
        }
        "pids" => (json!({ "type": "integer", "minimum": 1 }), "Most processes and threads."),
        other => unreachable!("{other} has no schema"),
    }
}

fn update(name: &str) -> (Value, &'static str) {
    match name {
        "order" => (json!({ "enum": ["stop-first", "start-first"] }), "Default `stop-first`."),
        other => unreachable!("{other} has no schema"),
    }
}

fn extra_hosts() -> Value {
    json!({ "anyOf": [
        list_of(&json!({ "type": "string", "pattern": "^[^:]+:." }), 256),
        { "type": "object", "maxProperties": 256, "additionalProperties": { "anyOf": [
            { "type": "string" },
            { "type": "array", "minItems": 1, "maxItems": MOST, "items": { "type": "string" } }
        ] } }
    ] })
}

fn ulimits() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "enum": ULIMITS },
        "additionalProperties": {
            "anyOf": [{ "type": "integer", "minimum": -1 }, object(&fields::ULIMIT, ulimit)]
        }
    })
}

fn ulimit(name: &str) -> (Value, &'static str) {
    match name {
        "soft" => (json!({ "type": "integer", "minimum": -1 }), "What applies; -1 is unlimited."),
        "hard" => (json!({ "type": "integer", "minimum": -1 }), "What it may be raised to."),
        other => unreachable!("{other} has no schema"),
    }
}

fn logging(name: &str) -> (Value, &'static str) {
    match name {
        "driver" => (json!({ "enum": LogDriver::ALL }), "One that is built into Docker."),
        "options" => (reference("map"), "Handed to the driver."),
        other => unreachable!("{other} has no schema"),
    }
}

fn capabilities() -> Value {
    let any_case =
        json!({ "type": "string", "pattern": "^[A-Za-z_]+$", "examples": Capability::ALL.as_slice() });
    list_of(&any_case, MOST)
}

fn mode(words: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^({words}|service:[A-Za-z0-9][A-Za-z0-9._-]{{0,62}})$") })
}
