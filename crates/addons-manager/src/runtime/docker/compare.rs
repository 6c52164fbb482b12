//! What the engine made, held to what was meant: the body of the create call against the inspect answer. Pure.
//!
//! `HostConfig` is compared as a whole, field by field of the serialised form, so that a field that nobody thought of is a difference and
//! not a gap. What the engine normalises, fills in by itself, or takes from the image is allowed for below, each with its reason. Values
//! that may be secret (environment, words of commands, labels, log options) are named and never shown.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::{
    ContainerConfig, ContainerCreateBody, ContainerInspectResponse, EndpointSettings, HealthConfig,
    HostConfig, ImageConfig, ImageInspect, MountPoint, MountType,
};
use serde_json::{Map, Value};

use super::{create, inspect};
use crate::domain::specification::{NetworkMode, ServiceSpecification};
use crate::runtime::ContainerMeant;

/// A field that is not as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// In the engine's names: `HostConfig.Privileged`.
    pub(super) field: String,
    /// The whole in words.
    pub(super) words: String,
}

/// What the host's kernel can limit: the engine drops a limit that it cannot keep, with a warning, and shows none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abilities {
    pub(super) memory: bool,
    pub(super) swap: bool,
    pub(super) cpuset: bool,
    pub(super) pids: bool,
}

/// All that is compared.
pub(super) struct Comparison<'a> {
    pub(super) specification: &'a ServiceSpecification,
    pub(super) meant: &'a ContainerMeant,
    pub(super) body: &'a ContainerCreateBody,
    pub(super) made: &'a ContainerInspectResponse,
    /// The image that the container was made from; unknown when it has been removed by force, and then what comes from it is not compared.
    pub(super) image: Option<&'a ImageInspect>,
    pub(super) abilities: Abilities,
}

impl Comparison<'_> {
    /// Every difference; none for a container that is as it was meant.
    pub(super) fn differences(&self) -> Vec<Difference> {
        let mut found = Differences::default();
        self.name_and_image(&mut found);
        self.config(&mut found);
        self.host_config(&mut found);
        self.mount_points(&mut found);
        self.networks(&mut found);
        found.0
    }

    fn name_and_image(&self, found: &mut Differences) {
        let name = self.made.name.as_deref().unwrap_or_default().trim_start_matches('/');
        if name != self.meant.name {
            found.add("Name", format!("is {name}, meant {}", self.meant.name));
        }
        let digest = &self.specification.image.digest;
        if let Some(image) = self.image
            && !holds_pin(image, digest)
        {
            let id = image.id.as_deref().unwrap_or_default();
            found.add(
                "Image",
                format!("{id} does not hold the digest {digest} of {}", self.specification.image.reference),
            );
        }
    }

    fn config(&self, found: &mut Differences) {
        let made = self.made.config.clone().unwrap_or_default();
        let image = self.image.map(|image| image.config.clone().unwrap_or_default());
        let body = self.body;
        let id = self.made.id.as_deref().unwrap_or_default();

        // In another's network the engine writes that one's names; by default the host name is the short id.
        let own_names = !matches!(self.specification.network, NetworkMode::Host | NetworkMode::Service(_));
        let short_id = id.get(..inspect::SHORT_ID).unwrap_or(id);
        if own_names || body.hostname.is_some() {
            found.text(
                "Config.Hostname",
                body.hostname.as_deref().unwrap_or(short_id),
                made.hostname.as_deref(),
            );
        }
        if own_names || body.domainname.is_some() {
            found.text(
                "Config.Domainname",
                body.domainname.as_deref().unwrap_or_default(),
                made.domainname.as_deref(),
            );
        }
        found.flag("Config.Tty", body.tty, made.tty);
        found.flag("Config.OpenStdin", body.open_stdin, made.open_stdin);
        found.flag("Config.NetworkDisabled", body.network_disabled, made.network_disabled);
        if body.stop_timeout != made.stop_timeout {
            found.add(
                "Config.StopTimeout",
                format!("is {:?}, meant {:?}", made.stop_timeout, body.stop_timeout),
            );
        }

        let from_image = |own: &Option<String>, of: fn(&ImageConfig) -> &Option<String>| match (own, &image) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(image)) => Some(of(image).clone().unwrap_or_default()),
            (None, None) => None,
        };
        if let Some(user) = from_image(&body.user, |image| &image.user) {
            found.text("Config.User", &user, made.user.as_deref());
        }
        if let Some(folder) = from_image(&body.working_dir, |image| &image.working_dir) {
            found.text(
                "Config.WorkingDir",
                folder_of(&folder),
                Some(folder_of(made.working_dir.as_deref().unwrap_or_default())),
            );
        }
        if let Some(signal) = from_image(&body.stop_signal, |image| &image.stop_signal) {
            found.text(
                "Config.StopSignal",
                &signal_of(&signal),
                Some(&signal_of(made.stop_signal.as_deref().unwrap_or_default())),
            );
        }
        self.words(found, &made, image.as_ref());
        self.environment(found, &made, image.as_ref());
        self.labels(found, &made, image.as_ref());
        self.healthcheck(found, &made, image.as_ref());
        self.exposed_ports(found, &made, image.as_ref());
    }

    /// An entrypoint of ours takes the image's command away; an empty one only the image's entrypoint.
    fn words(&self, found: &mut Differences, made: &ContainerConfig, image: Option<&ImageConfig>) {
        let given = |words: &Option<Vec<String>>| words.clone().filter(|words| !words.is_empty());
        let own_entrypoint = given(&self.body.entrypoint);
        let own_command = given(&self.body.cmd);
        let made_entrypoint = made.entrypoint.clone().unwrap_or_default();
        let made_command = made.cmd.clone().unwrap_or_default();
        let entrypoint = match (&self.body.entrypoint, image) {
            (Some(_), _) => Some(own_entrypoint.clone().unwrap_or_default()),
            (None, Some(image)) => Some(image.entrypoint.clone().unwrap_or_default()),
            (None, None) => None,
        };
        let command = match (&own_entrypoint, own_command, image) {
            (_, Some(command), _) => Some(command),
            (Some(_), None, _) => Some(Vec::new()),
            (None, None, Some(image)) => Some(image.cmd.clone().unwrap_or_default()),
            (None, None, None) => None,
        };
        if entrypoint.is_some_and(|entrypoint| entrypoint != made_entrypoint) {
            found.add("Config.Entrypoint", "is not the one that was meant");
        }
        if command.is_some_and(|command| command != made_command) {
            found.add("Config.Cmd", "is not the one that was meant");
        }
    }

    fn environment(&self, found: &mut Differences, made: &ContainerConfig, image: Option<&ImageConfig>) {
        let made = pairs(made.env.as_ref());
        let mut expected = pairs(image.and_then(|image| image.env.as_ref()));
        expected.extend(pairs(self.body.env.as_ref()));
        for (name, value) in &expected {
            match made.get(name) {
                None => found.add("Config.Env", format!("{name} is missing")),
                Some(other) if other != value => {
                    found.add("Config.Env", format!("{name} has another value than was meant"));
                }
                Some(_) => (),
            }
        }
        if image.is_some() {
            for name in made.keys().filter(|name| !expected.contains_key(*name)) {
                found.add("Config.Env", format!("{name} comes neither from us nor from the image"));
            }
        }
    }

    /// Our own labels tell when the container was made: a later revision that leaves it alone has another `oak.revision`. Only those that
    /// say what and whose it is are held to. One of our kind that the image brought is empty.
    fn labels(&self, found: &mut Differences, made: &ContainerConfig, image: Option<&ImageConfig>) {
        let made = made.labels.clone().unwrap_or_default();
        let ours: BTreeMap<&String, &String> = self.body.labels.iter().flatten().collect();
        for (name, value) in &ours {
            if create::is_reserved(name) && !HELD_LABELS.contains(&name.as_str()) {
                continue;
            }
            if made.get(*name) != Some(*value) {
                found.add("Config.Labels", format!("{name} is not as it was meant"));
            }
        }
        if let Some(image) = image {
            let of_image = image.labels.clone().unwrap_or_default();
            let unknown = made.iter().filter(|(name, value)| {
                !create::is_reserved(name) && !ours.contains_key(name) && of_image.get(*name) != Some(*value)
            });
            let names: BTreeSet<&String> = unknown.map(|(name, _)| name).collect();
            for name in names {
                found.add("Config.Labels", format!("{name} comes neither from us nor from the image"));
            }
            let claimed = made.iter().filter(|(name, value)| {
                create::is_reserved(name)
                    && !ours.contains_key(name)
                    && !value.is_empty()
                    && of_image.contains_key(*name)
            });
            let names: BTreeSet<&String> = claimed.map(|(name, _)| name).collect();
            for name in names {
                found.add(
                    "Config.Labels",
                    format!("{name} comes from the image, and says what only we can say"),
                );
            }
        }
    }

    /// What ours leaves open is the image's.
    fn healthcheck(&self, found: &mut Differences, made: &ContainerConfig, image: Option<&ImageConfig>) {
        let of_image = match image {
            Some(image) => image.healthcheck.clone().unwrap_or_default(),
            None if self.body.healthcheck.is_none() => return,
            None => HealthConfig::default(),
        };
        let own = self.body.healthcheck.clone().unwrap_or_default();
        let made = made.healthcheck.clone().unwrap_or_default();
        let set = |value: Option<i64>| value.filter(|value| *value != 0);
        let words = |test: &Option<Vec<String>>| test.clone().filter(|test| !test.is_empty());
        let same = words(&made.test) == words(&own.test).or(words(&of_image.test))
            && set(made.interval) == set(own.interval).or(set(of_image.interval))
            && set(made.timeout) == set(own.timeout).or(set(of_image.timeout))
            && set(made.retries) == set(own.retries).or(set(of_image.retries))
            && set(made.start_period) == set(own.start_period).or(set(of_image.start_period))
            // Engines before API 1.44 drop it.
            && (made.start_interval.is_none() || set(made.start_interval) == set(own.start_interval).or(set(of_image.start_interval)));
        if !same {
            found.add("Config.Healthcheck", "is not the one that was meant");
        }
    }

    fn exposed_ports(&self, found: &mut Differences, made: &ContainerConfig, image: Option<&ImageConfig>) {
        let made: BTreeSet<&String> = made.exposed_ports.iter().flatten().collect();
        let mut expected: BTreeSet<&String> = self.body.exposed_ports.iter().flatten().collect();
        expected.extend(image.and_then(|image| image.exposed_ports.as_ref()).into_iter().flatten());
        let differ = if image.is_some() { made != expected } else { !expected.is_subset(&made) };
        if differ {
            found.add("Config.ExposedPorts", format!("are {made:?}, meant {expected:?}"));
        }
    }

    fn host_config(&self, found: &mut Differences) {
        let Some(meant) = &self.body.host_config else { return };
        let made = self.made.host_config.clone().unwrap_or_default();
        let privileged = meant.privileged == Some(true);
        if !privileged && (is_emptied(made.masked_paths.as_ref()) || is_emptied(made.readonly_paths.as_ref()))
        {
            found.add("HostConfig.MaskedPaths", "the system's paths are laid open");
        }
        let meant_fields = fields(meant);
        let made_fields = fields(&made);
        let names: BTreeSet<&String> = meant_fields.keys().chain(made_fields.keys()).collect();
        for name in names {
            let wanted = settled(name, meant_fields.get(name));
            let shown = settled(name, made_fields.get(name));
            if !self.same(name, &wanted, &shown, &made) {
                let words = if name == "LogConfig" {
                    "is not the one that was meant".to_owned()
                } else {
                    format!("is {shown}, meant {wanted}")
                };
                found.add(&format!("HostConfig.{name}"), words);
            }
        }
    }

    /// Whether two settled values of a field of `HostConfig` mean the same.
    fn same(&self, field: &str, wanted: &Value, shown: &Value, made: &HostConfig) -> bool {
        let dropped = |able: bool| !able && shown.is_null();
        if wanted == shown {
            return true;
        }
        match field {
            // The engine's own business; what of these could weaken a container is looked at above.
            "CgroupnsMode" | "Runtime" | "Isolation" | "ConsoleSize" | "MaskedPaths" | "ReadonlyPaths" => {
                true
            }
            // The engine's or its configuration's default.
            "ShmSize" => wanted.is_null(),
            "IpcMode" => wanted.is_null() && (shown == "private" || shown == "shareable"),
            "MemorySwappiness" => wanted.is_null() && shown.as_i64() == Some(-1),
            "Memory" | "MemoryReservation" => dropped(self.abilities.memory),
            // Twice the memory unless asked otherwise; -1 where the kernel cannot limit it.
            "MemorySwap" => {
                let twice = made.memory.map(|bytes| bytes.saturating_mul(2));
                let unasked = wanted.is_null()
                    && (shown.as_i64() == Some(-1) || (twice.is_some() && shown.as_i64() == twice));
                unasked || (!self.abilities.swap && (shown.is_null() || shown.as_i64() == Some(-1)))
            }
            "CpusetCpus" => dropped(self.abilities.cpuset),
            "PidsLimit" => dropped(self.abilities.pids) || (wanted.is_null() && shown.as_i64() == Some(-1)),
            // Given by id, which some engines write as the name; the default bridge has two names.
            "NetworkMode" => match &self.specification.network {
                NetworkMode::Networks(attachments) => {
                    attachments.first().is_some_and(|first| shown == first.network.as_str())
                }
                NetworkMode::Bridge => shown == "default",
                _ => false,
            },
            // The engine's configuration adds limits and log options of its own.
            "Ulimits" => contains_all(shown, wanted),
            "LogConfig" => wanted.is_null() || same_log(wanted, shown),
            // For a container that shares the host's or another's namespace, the engine writes the SELinux labels itself.
            "SecurityOpt" => {
                let shares = made.privileged == Some(true)
                    || [&made.pid_mode, &made.ipc_mode]
                        .into_iter()
                        .flatten()
                        .any(|mode| mode == "host" || mode.starts_with("container:"));
                shares && without_labels(wanted) == without_labels(shown)
            }
            _ => false,
        }
    }

    /// What is really mounted: volumes that the engine made by itself show here only.
    fn mount_points(&self, found: &mut Differences) {
        let expected = expected_mounts(self.body);
        let tmpfs = self.body.host_config.as_ref().and_then(|host| host.tmpfs.clone()).unwrap_or_default();
        let mut seen = BTreeSet::new();
        for point in self.made.mounts.iter().flatten() {
            let target = point.destination.as_deref().unwrap_or_default().trim_end_matches('/').to_owned();
            match expected.get(&target) {
                Some(mount) if mount.is(point) => (),
                Some(_) => found.add(
                    "Mounts",
                    format!("{target} is mounted from elsewhere, or otherwise, than was meant"),
                ),
                None if point.typ.as_deref() == Some("tmpfs") && tmpfs.contains_key(&target) => (),
                None => found.add("Mounts", format!("{target} is mounted and was not meant to be")),
            }
            seen.insert(target);
        }
        for target in expected.keys().filter(|target| !seen.contains(*target)) {
            found.add("Mounts", format!("{target} is not mounted"));
        }
    }

    fn networks(&self, found: &mut Differences) {
        let NetworkMode::Networks(attachments) = &self.specification.network else { return };
        let attached = self
            .made
            .network_settings
            .as_ref()
            .and_then(|settings| settings.networks.clone())
            .unwrap_or_default();
        let mut seen = BTreeSet::new();
        for attachment in attachments {
            let wanted_id = self.meant.network_ids.get(&attachment.network);
            let is_it = |key: &String, endpoint: &EndpointSettings| match endpoint
                .network_id
                .as_deref()
                .filter(|id| !id.is_empty())
            {
                Some(id) => Some(id) == wanted_id.map(String::as_str),
                // Never started: the engine has the name or the id that was given.
                None => *key == attachment.network || Some(key) == wanted_id,
            };
            let Some((key, endpoint)) = attached.iter().find(|(key, endpoint)| is_it(key, endpoint)) else {
                found.add("Networks", format!("is not on {}", attachment.network));
                continue;
            };
            seen.insert(key);
            let mut wanted: BTreeSet<String> = attachment.aliases.iter().cloned().collect();
            wanted.extend(self.meant.courtesy_aliases.get(&attachment.network).cloned());
            let shown = inspect::aliases(endpoint, self.made, &wanted);
            if wanted != shown {
                found.add(
                    "Networks",
                    format!("answers to {shown:?} on {}, meant {wanted:?}", attachment.network),
                );
            }
            let fixed = endpoint.ipam_config.clone().unwrap_or_default();
            let same_v4 = fixed.ipv4_address.filter(|text| !text.is_empty())
                == attachment.ipv4_address.map(|address| address.to_string());
            let shown_v6 = fixed.ipv6_address.as_deref().and_then(|text| text.parse().ok());
            if !same_v4 || shown_v6 != attachment.ipv6_address {
                found.add(
                    "Networks",
                    format!("has another fixed address on {} than was meant", attachment.network),
                );
            }
        }
        for key in attached.keys().filter(|key| !seen.contains(key)) {
            // The placeholder of a container that was made without a network.
            if !(attachments.is_empty() && key == "none") {
                found.add("Networks", format!("is on {key}, which was not meant"));
            }
        }
    }
}

/// Whether the image is the one that was reviewed: any repository's name will do, the digest is its content.
pub(super) fn holds_pin(image: &ImageInspect, digest: &str) -> bool {
    let held = image.repo_digests.iter().flatten();
    held.filter_map(|reference| reference.rsplit_once('@')).any(|(_, held)| held == digest)
}

/// Labels of ours that say what the container is and whose.
const HELD_LABELS: &[&str] = &["oak.create", "oak.installation.id", "oak.service.name", "oak.spec.digest"];

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn add(&mut self, field: &str, words: impl std::fmt::Display) {
        self.0.push(Difference { field: field.to_owned(), words: format!("{field}: {words}") });
    }

    fn text(&mut self, field: &str, meant: &str, made: Option<&str>) {
        let made = made.unwrap_or_default();
        if made != meant {
            self.add(field, format!("is {made:?}, meant {meant:?}"));
        }
    }

    fn flag(&mut self, field: &str, meant: Option<bool>, made: Option<bool>) {
        let (meant, made) = (meant.unwrap_or_default(), made.unwrap_or_default());
        if made != meant {
            self.add(field, format!("is {made}, meant {meant}"));
        }
    }
}

/// An empty working folder is the root.
fn folder_of(path: &str) -> &str {
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    if path.is_empty() { "/" } else { path }
}

/// `SIGTERM`, `TERM`, `15` and nothing are one.
fn signal_of(signal: &str) -> String {
    let upper = signal.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    match name {
        "" | "15" => "TERM".to_owned(),
        name => name.to_owned(),
    }
}

fn pairs(words: Option<&Vec<String>>) -> BTreeMap<String, String> {
    let words = words.into_iter().flatten();
    words
        .map(|word| {
            word.split_once('=')
                .map_or((word.clone(), String::new()), |(name, value)| (name.to_owned(), value.to_owned()))
        })
        .collect()
}

fn is_emptied(paths: Option<&Vec<String>>) -> bool {
    paths.is_some_and(Vec::is_empty)
}

fn fields(host: &HostConfig) -> Map<String, Value> {
    match serde_json::to_value(host) {
        Ok(Value::Object(map)) => map,
        _ => unreachable!("a struct with named fields becomes an object"),
    }
}

/// A value without what is empty (absent, `null`, `false`, 0, `""`, `[]` and `{}` are one to the engine), in one notation and order.
fn settled(field: &str, value: Option<&Value>) -> Value {
    let value = value.map_or(Value::Null, stripped);
    match (field, value) {
        ("RestartPolicy", Value::Object(mut policy)) => {
            if policy.get("Name").is_some_and(|name| name == "no") {
                policy.remove("Name");
            }
            if policy.is_empty() { Value::Null } else { Value::Object(policy) }
        }
        // Resolvers are asked in the order given.
        ("Dns" | "DnsSearch", value) => value,
        ("CapAdd" | "CapDrop", Value::Array(names)) => {
            sorted(names.into_iter().map(|name| capability(&name)).collect())
        }
        ("SecurityOpt", Value::Array(options)) => {
            sorted(options.into_iter().filter_map(|option| security_option(&option)).collect())
        }
        (_, Value::Array(values)) => sorted(values),
        (_, Value::Object(map)) => {
            let map = map.into_iter().map(|(key, value)| match value {
                Value::Array(values) => (key, sorted(values)),
                value => (key, value),
            });
            Value::Object(map.collect())
        }
        (_, value) => value,
    }
}

fn stripped(value: &Value) -> Value {
    match value {
        Value::Bool(false) => Value::Null,
        Value::Number(number) if number.as_i64() == Some(0) => Value::Null,
        Value::String(text) if text.is_empty() => Value::Null,
        Value::Array(values) => {
            let values: Vec<Value> = values.iter().map(stripped).filter(|value| !value.is_null()).collect();
            if values.is_empty() { Value::Null } else { Value::Array(values) }
        }
        Value::Object(map) => {
            let map: Map<String, Value> = map
                .iter()
                .map(|(key, value)| (key.clone(), stripped(value)))
                .filter(|(_, value)| !value.is_null())
                .collect();
            if map.is_empty() { Value::Null } else { Value::Object(map) }
        }
        value => value.clone(),
    }
}

fn sorted(mut values: Vec<Value>) -> Value {
    values.sort_by_key(Value::to_string);
    if values.is_empty() { Value::Null } else { Value::Array(values) }
}

fn capability(name: &Value) -> Value {
    let upper = name.as_str().unwrap_or_default().to_uppercase();
    Value::String(upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned())
}

/// `no-new-privileges` has four notations, and switched off it is nothing; others take `:` for `=`.
fn security_option(option: &Value) -> Option<Value> {
    let option = option.as_str().unwrap_or_default();
    let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
    match (name, value) {
        ("no-new-privileges", "false") => None,
        ("no-new-privileges", _) => Some(Value::String("no-new-privileges".to_owned())),
        (name, value) => Some(Value::String(format!("{name}={value}"))),
    }
}

fn without_labels(options: &Value) -> Vec<&Value> {
    let options = options.as_array().into_iter().flatten();
    options.filter(|option| !option.as_str().is_some_and(|option| option.starts_with("label="))).collect()
}

fn contains_all(shown: &Value, wanted: &Value) -> bool {
    let shown = shown.as_array().map(Vec::as_slice).unwrap_or_default();
    wanted.as_array().into_iter().flatten().all(|one| shown.contains(one))
}

fn same_log(wanted: &Value, shown: &Value) -> bool {
    let options = wanted.get("Config").and_then(Value::as_object);
    wanted.get("Type") == shown.get("Type")
        && options
            .into_iter()
            .flatten()
            .all(|(name, value)| shown.get("Config").and_then(|config| config.get(name)) == Some(value))
}

#[derive(Debug, PartialEq, Eq)]
struct ExpectedMount {
    volume: bool,
    source: String,
    read_only: bool,
}

impl ExpectedMount {
    fn is(&self, point: &MountPoint) -> bool {
        let kind = if self.volume { "volume" } else { "bind" };
        let source = if self.volume { point.name.as_deref() } else { point.source.as_deref() };
        let source_is_it = source.is_some_and(|source| {
            self.volume && source == self.source || folder_of(source) == folder_of(&self.source)
        });
        point.typ.as_deref() == Some(kind) && source_is_it && point.rw == Some(!self.read_only)
    }
}

/// By target, from mounts and from binds.
fn expected_mounts(body: &ContainerCreateBody) -> BTreeMap<String, ExpectedMount> {
    let Some(host) = &body.host_config else { return BTreeMap::new() };
    let mounts = host.mounts.iter().flatten().map(|mount| {
        let expected = ExpectedMount {
            volume: mount.typ == Some(MountType::VOLUME),
            source: mount.source.clone().unwrap_or_default(),
            read_only: mount.read_only == Some(true),
        };
        (mount.target.clone().unwrap_or_default(), expected)
    });
    let binds = host.binds.iter().flatten().filter_map(|bind| {
        let mut parts = bind.splitn(3, ':');
        let (source, target, options) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
        let expected = ExpectedMount {
            volume: !source.starts_with('/'),
            source: source.to_owned(),
            read_only: options.split(',').any(|option| option == "ro"),
        };
        Some((target.to_owned(), expected))
    });
    mounts.chain(binds).collect()
}
