//! Which fields each object has: read by the reader, and built into the JSON Schema.

/// What an empty or missing value of a field means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It must be there.
    Required,
    /// `""` and `null` are read as absent.
    Optional,
    /// `null` is read as absent, `""` is a value.
    Text,
}

use Presence::{Optional, Required, Text};

/// The fields of one kind of object.
#[derive(Debug)]
pub(crate) struct Table {
    /// What to call the object in messages.
    pub(crate) what: &'static str,
    /// Its fields.
    pub(crate) fields: &'static [(&'static str, Presence)],
    /// What such an object looks like, for messages.
    pub(crate) example: &'static str,
    /// Fields that other formats have, with what is meant by them here.
    pub(crate) elsewhere: &'static [(&'static str, &'static str)],
    /// Fields that other formats have, with what to do here instead.
    pub(crate) advice: &'static [(&'static str, &'static str)],
}

impl Table {
    /// What is needed where something else stands.
    pub(crate) fn wanted(&self) -> String {
        format!("an object such as `{}`", self.example)
    }
}

pub(crate) static ADDON: Table = Table {
    what: "an addon",
    fields: &[
        ("name", Required),
        ("title", Optional),
        ("version", Optional),
        ("description", Optional),
        ("readme", Optional),
        ("license", Optional),
        ("homepage", Optional),
        ("source", Optional),
        ("icon", Optional),
        ("keywords", Optional),
        ("categories", Optional),
        ("changes", Optional),
        ("services", Required),
        ("volumes", Optional),
        ("networks", Optional),
        ("parameters", Optional),
        ("requires", Optional),
    ],
    example: r#"{"name": "...", "services": [...]}"#,
    elsewhere: &[
        ("url", "homepage"),
        ("repository", "source"),
        ("tags", "keywords"),
        ("changelog", "changes"),
        ("containers", "services"),
        ("service", "services"),
        ("platforms", "requires.platforms"),
        ("dependencies", "requires.addons"),
        ("variables", "parameters"),
    ],
    advice: &[
        ("apiVersion", "that is Kubernetes; an addon is a `name` and its `services`"),
        ("kind", "that is Kubernetes; an addon is a `name` and its `services`"),
        ("metadata", "`name` and `description` stand here at the top"),
        ("spec", "`services` stand here at the top"),
        (
            "secrets",
            "a secret is one of `parameters` with the type `secret`, which `files` of a service can hold",
        ),
        ("configs", "`files` of a service hold small files"),
        ("include", "an addon is one document"),
        ("service", "`services` is a list, also of one"),
        ("image", "it belongs to one of `services`"),
        ("ports", "they belong to one of `services`"),
        ("environment", "it belongs to one of `services`"),
        ("$schema", "a descriptor names no schema"),
    ],
};

/// Fields that services add to their answers: ignored, so that what was fetched can be posted again.
pub(crate) static ADDED_BY_SERVICES: &[&str] = &[
    "_id",
    "status",
    "digest",
    "pins",
    "rights",
    "risk",
    "held",
    "reason",
    "publisher",
    "created_at",
    "approved_at",
    "warnings",
    "image_missing_since",
    "waiting_since",
    "marketplace_id",
    "status_details",
    "logs",
    "addon",
    "desired",
    "service_states",
    "conditions",
    "progress",
    "update_available",
    "updated_at",
];

pub(crate) static CHANGE: Table = Table {
    what: "a change",
    fields: &[("kind", Required), ("text", Required)],
    example: r#"{"kind": "fixed", "text": "..."}"#,
    elsewhere: &[("type", "kind")],
    advice: &[],
};

pub(crate) static SERVICE: Table = Table {
    what: "a service",
    fields: &[
        ("service_name", Required),
        ("image", Required),
        ("command", Optional),
        ("entrypoint", Optional),
        ("environment", Optional),
        ("labels", Optional),
        ("sysctls", Optional),
        ("ports", Optional),
        ("volumes", Optional),
        ("networks", Optional),
        ("aliases", Optional),
        ("files", Optional),
        ("healthcheck", Optional),
        ("depends_on", Optional),
        ("restart", Optional),
        ("resources", Optional),
        ("update", Optional),
        ("replaces", Optional),
        ("user", Optional),
        ("group_add", Optional),
        ("working_dir", Optional),
        ("hostname", Optional),
        ("domainname", Optional),
        ("dns", Optional),
        ("dns_search", Optional),
        ("extra_hosts", Optional),
        ("init", Optional),
        ("tty", Optional),
        ("stdin_open", Optional),
        ("read_only", Optional),
        ("tmpfs", Optional),
        ("ulimits", Optional),
        ("stop_signal", Optional),
        ("stop_grace_period", Optional),
        ("logging", Optional),
        ("platform", Optional),
        ("cap_add", Optional),
        ("cap_drop", Optional),
        ("security_opt", Optional),
        ("network_mode", Optional),
        ("pid", Optional),
        ("ipc", Optional),
        ("devices", Optional),
        ("gpus", Optional),
        ("privileged", Optional),
    ],
    example: r#"{"service_name": "...", "image": "..."}"#,
    elsewhere: &[
        ("name", "service_name"),
        ("env", "environment"),
        ("env_file", "environment"),
        ("args", "command"),
        ("cmd", "command"),
        ("mounts", "volumes"),
        ("mem_limit", "resources.memory"),
        ("memory", "resources.memory"),
        ("mem_reservation", "resources.memory_reservation"),
        ("memswap_limit", "resources.memory_swap"),
        ("shm_size", "resources.shm_size"),
        ("cpus", "resources.cpus"),
        ("cpuset", "resources.cpuset"),
        ("pids_limit", "resources.pids"),
        ("deploy", "resources"),
        ("configs", "files"),
        ("secrets", "files"),
        ("net", "network_mode"),
        ("health", "healthcheck"),
        ("restart_policy", "restart"),
        ("runtime", "gpus"),
        ("volumeMounts", "volumes"),
        ("livenessProbe", "healthcheck"),
        ("readinessProbe", "healthcheck"),
        ("startupProbe", "healthcheck"),
        ("restartPolicy", "restart"),
        ("workingDir", "working_dir"),
        ("workdir", "working_dir"),
        ("pid_mode", "pid"),
        ("ipc_mode", "ipc"),
    ],
    advice: &[
        (
            "build",
            "an addon runs images that are built and pushed already: push it to a registry and name it as `image`",
        ),
        (
            "dockerfile",
            "an addon runs images that are built and pushed already: push it to a registry and name it as `image`",
        ),
        (
            "container_name",
            "a container is called after its addon and `service_name`; `aliases` give it further host names",
        ),
        ("expose", "services of an addon reach all ports of each other; `ports` publishes on the host"),
        ("env_file", "there is no file beside the descriptor: write its lines as `environment`"),
        (
            "deploy",
            "limits stand in `resources`, as `\"memory\"`, `\"cpus\"` and `\"pids\"`; `restart` and `update` stand in the service",
        ),
        ("extends", "there is nothing to extend: write the service out"),
        ("profiles", "all services of an addon run: what is optional is an addon of its own"),
        ("scale", "a service runs once: repeat it under another name"),
        ("replicas", "a service runs once: repeat it under another name"),
        ("links", "services that share a network find each other by name"),
        ("external_links", "containers that share a network find each other by name: name it in `networks`"),
        ("volumes_from", "name the same volume in both services"),
        ("volume_driver", "a volume's `driver` stands where it is declared, in `volumes` of the addon"),
        ("volumeMounts", "write them as `volumes`: `name:/path`"),
        ("pull_policy", "images are pulled by the digest that was reviewed: take it out"),
        ("imagePullPolicy", "images are pulled by the digest that was reviewed: take it out"),
        ("secrets", "a secret is a parameter of type `secret`; `files` put it at a path"),
        ("configs", "small files stand in `files`, with their content"),
        ("develop", "that is for building; take it out"),
        ("args", "Kubernetes calls `args` what is `command` here, and `command` what is `entrypoint` here"),
        ("livenessProbe", "write it as a command that runs in the container, as `test` of `healthcheck`"),
        ("readinessProbe", "write it as a command that runs in the container, as `test` of `healthcheck`"),
        ("startupProbe", "`start_period` of `healthcheck` is the time to start"),
        (
            "securityContext",
            "`user`, `privileged`, `read_only`, `cap_add` and `cap_drop` stand in the service",
        ),
        ("mac_address", "the engine chooses it: take it out"),
        ("cpu_shares", "`resources` takes limits: `cpus`"),
        ("cpu_quota", "`resources` takes limits: `cpus`"),
        ("oom_kill_disable", "nothing may outlive the memory of its host: take it out"),
        ("container", "a service is described in one object: take its fields out of `container`"),
        ("userns_mode", "`privileged`, `cap_add` and `devices` say what a service may do to its host"),
        ("logs", "`logging` takes a driver and its options"),
    ],
};

pub(crate) static VOLUME: Table = Table {
    what: "a volume",
    fields: &[
        ("name", Required),
        ("driver", Optional),
        ("driver_opts", Optional),
        ("labels", Optional),
        ("external", Optional),
    ],
    example: r#"{"name": "..."}"#,
    elsewhere: &[("options", "driver_opts"), ("opts", "driver_opts")],
    advice: &[
        ("mountpoint", "a service says where: `volumes`: `name:/path`"),
        ("path", "a service says where: `volumes`: `name:/path`"),
        ("mountPath", "a service says where: `volumes`: `name:/path`"),
        ("source", "a path of the host stands in `volumes` of the service: `/host/path:/path`"),
        ("hostPath", "a path of the host stands in `volumes` of the service: `/host/path:/path`"),
        ("emptyDir", "a volume is empty at first anyway; in memory it is `tmpfs` of the service"),
        ("size", "a volume has no size of its own"),
    ],
};

pub(crate) static NETWORK: Table = Table {
    what: "a network",
    fields: &[
        ("name", Required),
        ("driver", Optional),
        ("driver_opts", Optional),
        ("enable_ipv6", Optional),
        ("internal", Optional),
        ("subnets", Optional),
        ("labels", Optional),
        ("external", Optional),
    ],
    example: r#"{"name": "..."}"#,
    elsewhere: &[
        ("ipam", "subnets"),
        ("subnet", "subnets"),
        ("ipv6", "enable_ipv6"),
        ("options", "driver_opts"),
    ],
    advice: &[
        ("ipam", "write its subnets as `subnets`: [\"10.20.0.0/24\"]"),
        ("attachable", "what is not of the addon may join by naming the network: take it out"),
        ("gateway", "it is the first address of the subnet"),
    ],
};

pub(crate) static REQUIRES: Table = Table {
    what: "`requires`",
    fields: &[("platforms", Optional), ("addons", Optional)],
    example: r#"{"platforms": ["linux/arm64"]}"#,
    elsewhere: &[("architectures", "platforms")],
    advice: &[],
};

pub(crate) static REQUIRED_ADDON: Table = Table {
    what: "a required addon",
    fields: &[("name", Required), ("version", Optional)],
    example: r#"{"name": "...", "version": "^1.2"}"#,
    elsewhere: &[],
    advice: &[],
};

pub(crate) static ATTACHMENT: Table = Table {
    what: "the place of a service on a network",
    fields: &[("aliases", Optional), ("ipv4_address", Optional), ("ipv6_address", Optional)],
    example: r#"{"aliases": ["..."], "ipv4_address": "10.20.0.5"}"#,
    elsewhere: &[("ip", "ipv4_address")],
    advice: &[
        ("priority", "the order of networks is the engine's: take it out"),
        ("link_local_ips", "take them out: the engine gives the addresses"),
    ],
};

pub(crate) static FILE: Table = Table {
    what: "a file",
    fields: &[("path", Required), ("content", Text), ("parameter", Optional), ("mode", Optional)],
    example: r#"{"path": "/...", "content": "..."}"#,
    elsewhere: &[("target", "path"), ("permissions", "mode"), ("text", "content"), ("source", "content")],
    advice: &[],
};

pub(crate) static HEALTHCHECK: Table = Table {
    what: "a healthcheck",
    fields: &[
        ("test", Optional),
        ("interval", Optional),
        ("timeout", Optional),
        ("retries", Optional),
        ("start_period", Optional),
        ("start_interval", Optional),
        ("disable", Optional),
        ("restart", Optional),
    ],
    example: r#"{"test": "...", "interval": "30s"}"#,
    elsewhere: &[
        ("command", "test"),
        ("cmd", "test"),
        ("periodSeconds", "interval"),
        ("timeoutSeconds", "timeout"),
        ("initialDelaySeconds", "start_period"),
        ("failureThreshold", "retries"),
        ("exec", "test"),
        ("httpGet", "test"),
        ("tcpSocket", "test"),
    ],
    advice: &[
        ("httpGet", "write it as a command that runs in the container, as `test`"),
        ("tcpSocket", "write it as a command that runs in the container, as `test`"),
        ("exec", "its `command` is `test`: [\"CMD\", ...]"),
        ("periodSeconds", "a duration with its unit: \"10s\""),
        ("timeoutSeconds", "a duration with its unit: \"10s\""),
        ("initialDelaySeconds", "a duration with its unit: \"10s\""),
    ],
};

pub(crate) static DEPENDENCY: Table = Table {
    what: "a dependency",
    fields: &[("condition", Optional), ("restart", Optional)],
    example: r#"{"condition": "service_healthy"}"#,
    elsewhere: &[],
    advice: &[("required", "what a service depends on is in the same addon, always: take it out")],
};

pub(crate) static RESOURCES: Table = Table {
    what: "`resources`",
    fields: &[
        ("memory", Optional),
        ("memory_reservation", Optional),
        ("memory_swap", Optional),
        ("shm_size", Optional),
        ("cpus", Optional),
        ("cpuset", Optional),
        ("pids", Optional),
    ],
    example: r#"{"memory": "512m", "cpus": 0.5}"#,
    elsewhere: &[
        ("reservations", "memory_reservation"),
        ("mem", "memory"),
        ("cpu", "cpus"),
        ("pids_limit", "pids"),
        ("requests", "memory_reservation"),
        ("ram", "memory"),
    ],
    advice: &[
        ("limits", "limits stand in `resources` itself: \"memory\", \"cpus\", \"pids\""),
        ("reservations", "it stands in `resources` itself, as \"memory_reservation\""),
        ("requests", "it stands in `resources` itself, as \"memory_reservation\""),
    ],
};

pub(crate) static ULIMIT: Table = Table {
    what: "a ulimit",
    fields: &[("soft", Required), ("hard", Required)],
    example: r#"{"soft": 1024, "hard": 4096}"#,
    elsewhere: &[],
    advice: &[],
};

pub(crate) static UPDATE: Table = Table {
    what: "`update`",
    fields: &[("order", Optional)],
    example: r#"{"order": "stop-first"}"#,
    elsewhere: &[],
    advice: &[
        ("parallelism", "a service runs once: take it out"),
        ("delay", "a service runs once: take it out"),
        ("failure_action", "an update that fails is told and tried again: take it out"),
        ("monitor", "a healthcheck says when the new container is ready: take it out"),
        ("max_failure_ratio", "a service runs once: take it out"),
    ],
};

pub(crate) static LOGGING: Table = Table {
    what: "`logging`",
    fields: &[("driver", Optional), ("options", Optional)],
    example: r#"{"driver": "json-file", "options": {"max-size": "10m"}}"#,
    elsewhere: &[("opts", "options"), ("driver_opts", "options")],
    advice: &[],
};

pub(crate) static PARAMETER: Table = Table {
    what: "a parameter",
    fields: &[
        ("name", Required),
        ("type", Required),
        ("default", Optional),
        ("required", Optional),
        ("min", Optional),
        ("max", Optional),
        ("pattern", Optional),
        ("values", Optional),
        ("generate", Optional),
        ("description", Optional),
    ],
    example: r#"{"name": "...", "type": "string"}"#,
    elsewhere: &[
        ("kind", "type"),
        ("value", "default"),
        ("enum", "values"),
        ("minimum", "min"),
        ("maximum", "max"),
    ],
    advice: &[],
};

pub(crate) static GENERATE: Table = Table {
    what: "`generate`",
    fields: &[("length", Optional), ("alphabet", Optional)],
    example: r#"{"length": 32}"#,
    elsewhere: &[("characters", "alphabet")],
    advice: &[],
};
