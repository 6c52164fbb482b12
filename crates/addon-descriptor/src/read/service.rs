//! One service, field by field. What lies across fields and services is `validate`'s.

use std::collections::BTreeMap;

use super::report::{At, Fields, about, shown};
use super::scope::Scope;
use super::tree::Kind;
use super::{health, limits, maps, modes, mounts, networks, ports};
use crate::descriptor::{
    Dependency, Device, FileSpec, Mount, NetworkAttachment, PortMapping, RestartPolicy, ServiceSpec, Tmpfs,
};
use crate::fields;
use crate::image::ImageRef;
use crate::names::{NetworkName, ServiceName};
use crate::rules;
use crate::violation::Invalid;

/// A service as it was read, with the places that rules across fields speak of.
pub(crate) struct ServiceRead<'t> {
    /// What was read; after a violation some of it is missing.
    pub(crate) spec: ServiceSpec,
    /// The name that was given, valid or not; empty when there was none.
    pub(crate) name: &'t str,
    /// Whether that name is a valid one.
    pub(crate) is_name_readable: bool,
    /// Whether the image is the one of the document.
    pub(crate) is_image_readable: bool,
    pub(crate) fields: Fields<'t>,
    pub(crate) ports: Vec<(PortMapping, At<'t>)>,
    pub(crate) volumes: Vec<(Mount, At<'t>)>,
    pub(crate) tmpfs: Vec<(Tmpfs, At<'t>)>,
    pub(crate) files: Vec<(FileSpec, At<'t>)>,
    pub(crate) devices: Vec<(Device, At<'t>)>,
    pub(crate) networks: BTreeMap<NetworkName, (NetworkAttachment, At<'t>)>,
    pub(crate) depends_on: BTreeMap<ServiceName, (Dependency, At<'t>)>,
}

/// Reads one service; `None` when it is no object.
pub(crate) fn read<'t>(at: At<'t>, scope: &Scope) -> Option<ServiceRead<'t>> {
    let fields = at.fields(&fields::SERVICE, &[])?;
    let name_at = fields.get("service_name");
    let name = match name_at.map(|at| &at.node.kind) {
        Some(Kind::Text(text)) => text.as_ref(),
        _ => "",
    };
    // A document with a violation is never handed out, so that these stand in for what could not be read.
    let service_name = name_at.and_then(|at| at.parse::<ServiceName>(rules::INVALID_NAME));
    let is_name_readable = service_name.is_some();
    let service_name = service_name.unwrap_or_else(|| "unreadable".parse().expect("a valid name"));
    let image = fields.get("image").and_then(|at| image(at, scope));
    let is_image_readable = image.is_some();
    let image = image.unwrap_or_else(|| "unreadable".parse().expect("a valid reference"));

    let ports = fields.get("ports").map(|at| ports::read(at, scope)).unwrap_or_default();
    let volumes = fields.get("volumes").map(|at| mounts::volumes(at, scope)).unwrap_or_default();
    let tmpfs = fields.get("tmpfs").map(mounts::tmpfs).unwrap_or_default();
    let files = fields.get("files").map(|at| mounts::files(at, scope)).unwrap_or_default();
    let devices = fields.get("devices").map(modes::devices).unwrap_or_default();
    let networks = fields.get("networks").map(networks::networks).unwrap_or_default();
    let depends_on = fields.get("depends_on").map(modes::depends_on).unwrap_or_default();

    let spec = ServiceSpec {
        service_name,
        image,
        command: fields.get("command").map(|at| words(at, scope)).unwrap_or_default(),
        entrypoint: fields.get("entrypoint").map(|at| words(at, scope)).unwrap_or_default(),
        environment: fields.get("environment").map(|at| environment(at, scope)).unwrap_or_default(),
        labels: fields.get("labels").map(maps::labels).unwrap_or_default(),
        sysctls: fields.get("sysctls").map(maps::sysctls).unwrap_or_default(),
        ports: values(&ports),
        volumes: values(&volumes),
        networks: networks.iter().map(|(name, (attachment, _))| (name.clone(), attachment.clone())).collect(),
        aliases: fields.get("aliases").map(networks::aliases).unwrap_or_default(),
        files: values(&files),
        healthcheck: fields.get("healthcheck").and_then(health::read),
        depends_on: depends_on
            .iter()
            .map(|(name, (dependency, _))| (name.clone(), dependency.clone()))
            .collect(),
        restart: fields.get("restart").and_then(modes::restart).unwrap_or_else(RestartPolicy::default),
        resources: fields.get("resources").map(limits::resources).unwrap_or_default(),
        update: fields.get("update").map(modes::update).unwrap_or_default(),
        replaces: fields.get("replaces").and_then(|at| at.parse(rules::INVALID_NAME)),
        user: fields.get("user").and_then(modes::user),
        group_add: fields.get("group_add").map(modes::groups).unwrap_or_default(),
        working_dir: fields.get("working_dir").and_then(working_dir),
        hostname: fields.get("hostname").and_then(|at| networks::hostname(at, scope)),
        domainname: fields.get("domainname").and_then(networks::domain),
        dns: fields.get("dns").map(networks::dns).unwrap_or_default(),
        dns_search: fields.get("dns_search").map(networks::dns_search).unwrap_or_default(),
        extra_hosts: fields.get("extra_hosts").map(networks::extra_hosts).unwrap_or_default(),
        init: fields.boolean("init"),
        tty: fields.boolean("tty"),
        stdin_open: fields.boolean("stdin_open"),
        read_only: fields.boolean("read_only"),
        tmpfs: values(&tmpfs),
        ulimits: fields.get("ulimits").map(limits::ulimits).unwrap_or_default(),
        stop_signal: fields.get("stop_signal").and_then(modes::signal),
        stop_grace_period: fields
            .get("stop_grace_period")
            .and_then(health::duration)
            .unwrap_or(ServiceSpec::DEFAULT_STOP_GRACE_PERIOD),
        logging: fields.get("logging").and_then(modes::logging),
        platform: fields.get("platform").and_then(modes::platform),
        cap_add: fields.get("cap_add").map(modes::capabilities).unwrap_or_default(),
        cap_drop: fields.get("cap_drop").map(modes::capabilities).unwrap_or_default(),
        security_opt: fields.get("security_opt").map(modes::security_opt).unwrap_or_default(),
        network_mode: fields.get("network_mode").and_then(modes::network_mode),
        pid: fields.get("pid").and_then(modes::pid),
        ipc: fields.get("ipc").and_then(modes::ipc),
        devices: values(&devices),
        gpus: fields.get("gpus").and_then(modes::gpus),
        privileged: fields.boolean("privileged"),
    };
    Some(ServiceRead {
        spec,
        name,
        is_name_readable,
        is_image_readable,
        fields,
        ports,
        volumes,
        tmpfs,
        files,
        devices,
        networks,
        depends_on,
    })
}

fn values<T: Clone>(entries: &[(T, At<'_>)]) -> Vec<T> {
    entries.iter().map(|(value, _)| value.clone()).collect()
}

fn image(at: At<'_>, scope: &Scope) -> Option<ImageRef> {
    let text = at.text()?;
    match text.parse() {
        Ok(image) => Some(image),
        Err(_) if scope.declares_parameters() && text.contains("${") => {
            at.fault(rules::INVALID_IMAGE, "an image holds no parameter: its digest is what was reviewed");
            None
        }
        Err(fault) => {
            at.record(rules::INVALID_IMAGE, fault);
            None
        }
    }
}

/// Words: a text that is split as a POSIX shell does, or a list. A blank text is none.
fn words(at: At<'_>, scope: &Scope) -> Vec<String> {
    if let Kind::Text(text) = &at.node.kind {
        if text.trim_matches(' ').is_empty() {
            at.warn(rules::EMPTY_FIELD, "a blank command is read as absent", None);
            return Vec::new();
        }
        return match shell_words::split(text) {
            Ok(words) if words.is_empty() => {
                at.fault(
                    rules::INVALID_COMMAND,
                    "the line holds no word: for a shell `#` begins a comment, unless it stands in quotes",
                );
                Vec::new()
            }
            Ok(words) => {
                for word in &words {
                    scope.note(at, word);
                }
                if let Some(comment) = comment(text) {
                    let message = format!(
                        "`{}` is a comment, as in a shell, and no word of the command; in quotes it is one",
                        shown(comment)
                    );
                    at.warn(rules::NO_EFFECT, message, None);
                }
                words
            }
            Err(_) => {
                at.record(
                    rules::INVALID_COMMAND,
                    Invalid::new(
                        "the line cannot be split into words: a quote is not closed; in a list such as \
                         `[\"sh\", \"-c\", \"...\"]` each word is its own",
                    ),
                );
                Vec::new()
            }
        };
    }
    let mut words = Vec::new();
    for item in at.items(usize::MAX, "a string or a list of strings") {
        if let Some(word) = item.text() {
            scope.note(item, word);
            words.push(word.to_owned());
        }
    }
    words
}

/// The first comment in a line that a shell would split. Where a `#` begins one, nothing behind it is a word.
fn comment(text: &str) -> Option<&str> {
    /// So many are looked at: each costs a look at all the text before it.
    const MOST: usize = 16;
    let may_begin = |at: usize| text[..at].chars().next_back().is_none_or(|c| matches!(c, ' ' | '\t' | '\n'));
    text.match_indices('#').map(|(at, _)| at).filter(|at| may_begin(*at)).take(MOST).find_map(|at| {
        let count = |end: &str| Some(shell_words::split(&format!("{}{end}", &text[..at])).ok()?.len());
        // In a quote that is open the line cannot be split here.
        let is_comment = count("#")? == count("")? && count("x")? > count("")?;
        is_comment.then(|| text[at..].lines().next().unwrap_or_default())
    })
}

fn environment(at: At<'_>, scope: &Scope) -> BTreeMap<String, String> {
    let found = maps::environment(at);
    for (value, place) in found.values() {
        scope.note(*place, value);
    }
    maps::plain(found)
}

fn working_dir(at: At<'_>) -> Option<String> {
    let text = at.text()?;
    mounts::normal_path(text).map_err(|fault| at.record(rules::INVALID_PATH, about(text, fault))).ok()
}
