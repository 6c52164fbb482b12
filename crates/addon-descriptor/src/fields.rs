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
    /// Fields that other formats have, with what is meant by them here.
    pub(crate) elsewhere: &'static [(&'static str, &'static str)],
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
    elsewhere: &[
        ("url", "homepage"),
        ("repository", "source"),
        ("tags", "keywords"),
        ("changelog", "changes"),
        ("containers", "services"),
        ("platforms", "requires.platforms"),
        ("dependencies", "requires.addons"),
        ("variables", "parameters"),
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
    elsewhere: &[("type", "kind")],
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
        ("links", "networks"),
        ("net", "network_mode"),
        ("health", "healthcheck"),
        ("restart_policy", "restart"),
        ("runtime", "gpus"),
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
    elsewhere: &[("options", "driver_opts"), ("opts", "driver_opts")],
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
    elsewhere: &[
        ("ipam", "subnets"),
        ("subnet", "subnets"),
        ("ipv6", "enable_ipv6"),
        ("options", "driver_opts"),
    ],
};

pub(crate) static REQUIRES: Table = Table {
    what: "`requires`",
    fields: &[("platforms", Optional), ("addons", Optional)],
    elsewhere: &[("architectures", "platforms")],
};

pub(crate) static REQUIRED_ADDON: Table =
    Table { what: "a required addon", fields: &[("name", Required), ("version", Optional)], elsewhere: &[] };

pub(crate) static ATTACHMENT: Table = Table {
    what: "the place of a service on a network",
    fields: &[("aliases", Optional), ("ipv4_address", Optional), ("ipv6_address", Optional)],
    elsewhere: &[("ip", "ipv4_address")],
};

pub(crate) static FILE: Table = Table {
    what: "a file",
    fields: &[("path", Required), ("content", Text), ("parameter", Optional), ("mode", Optional)],
    elsewhere: &[("target", "path"), ("permissions", "mode"), ("text", "content"), ("source", "content")],
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
    elsewhere: &[("command", "test"), ("cmd", "test")],
};

pub(crate) static DEPENDENCY: Table =
    Table { what: "a dependency", fields: &[("condition", Optional), ("restart", Optional)], elsewhere: &[] };

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
    elsewhere: &[
        ("limits", "memory"),
        ("reservations", "memory_reservation"),
        ("mem", "memory"),
        ("cpu", "cpus"),
        ("pids_limit", "pids"),
    ],
};

pub(crate) static ULIMIT: Table =
    Table { what: "a ulimit", fields: &[("soft", Required), ("hard", Required)], elsewhere: &[] };

pub(crate) static UPDATE: Table = Table { what: "`update`", fields: &[("order", Optional)], elsewhere: &[] };

pub(crate) static LOGGING: Table = Table {
    what: "`logging`",
    fields: &[("driver", Optional), ("options", Optional)],
    elsewhere: &[("opts", "options"), ("driver_opts", "options")],
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
    elsewhere: &[
        ("kind", "type"),
        ("value", "default"),
        ("enum", "values"),
        ("minimum", "min"),
        ("maximum", "max"),
    ],
};

pub(crate) static GENERATE: Table = Table {
    what: "`generate`",
    fields: &[("length", Optional), ("alphabet", Optional)],
    elsewhere: &[("characters", "alphabet")],
};
