//! `volumes`, `tmpfs` and `files` of a service: what is put into the file system of its container.

use super::ports::whole_reference;
use super::report::{At, about, shown};
use super::scope::Scope;
use super::tree::{Kind, Member};
use crate::descriptor::{
    FileSource, FileSpec, Mount, MountOptions, MountSource, Propagation, SelinuxLabel, Tmpfs,
};
use crate::fields;
use crate::names::{ParameterName, VolumeName};
use crate::parameters::ParameterKind;
use crate::quantity::parse_size;
use crate::rules;
use crate::violation::Invalid;

/// Most mounts of a service, and most files.
const MAX_MOUNTS: usize = 64;

/// An absolute, normal path: no `..`, `.`, `//`; a trailing slash is dropped.
pub(crate) fn normal_path(text: &str) -> Result<String, Invalid> {
    if !text.starts_with('/') {
        return Err(Invalid::new("a path is absolute: it starts with `/`"));
    }
    if text.contains('\0') {
        return Err(Invalid::new("a path holds no NUL"));
    }
    let path = match text.strip_suffix('/') {
        Some("") => return Ok("/".to_owned()),
        Some(path) => path,
        None => text,
    };
    if path.len() > 4095 {
        return Err(Invalid::new("a path has at most 4095 bytes"));
    }
    let mut normal: Vec<&str> = Vec::new();
    let mut is_normal = true;
    for part in path[1..].split('/') {
        match part {
            "" | "." => is_normal = false,
            ".." => {
                is_normal = false;
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    if is_normal {
        return Ok(path.to_owned());
    }
    Err(Invalid::new("a path is normal: it has no `..`, `.` or `//`")
        .suggest(format!("/{}", normal.join("/"))))
}

/// A folder of the host that the value of a parameter names: a normal path that can stand on the left side of a mount, and
/// not the whole file system, which an author must ask for by name.
pub(crate) fn host_folder(text: &str) -> Result<String, Invalid> {
    if text.contains(':') {
        return Err(Invalid::new("a folder that is mounted has no `:` in its path"));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::new("a path has no control characters"));
    }
    let path = normal_path(text).map_err(|fault| Invalid {
        suggestion: fault.suggestion.filter(|path| path != "/"),
        message: fault.message,
    })?;
    if path == "/" {
        return Err(Invalid::new("a folder below `/` is needed, not the whole file system of the host"));
    }
    Ok(path)
}

/// The entry with one of its parts between colons replaced: what is suggested stands for the whole entry.
pub(crate) fn with_part(entry: &str, index: usize, part: &str) -> String {
    let mut parts: Vec<&str> = entry.split(':').collect();
    if let Some(old) = parts.get_mut(index) {
        *old = part;
    }
    parts.join(":")
}

/// A path of the container on which something can be put; `whole` writes the value in which it stands with another.
fn target_path(at: At<'_>, text: &str, whole: impl FnOnce(&str) -> String) -> Option<String> {
    let path = match normal_path(text) {
        Ok(path) => path,
        Err(fault) => {
            let suggestion = fault.suggestion.as_deref().filter(|path| *path != "/").map(whole);
            at.record(rules::INVALID_PATH, Invalid { suggestion, ..about(text, fault) });
            return None;
        }
    };
    if path == "/" || path == "/proc" || path.starts_with("/proc/") {
        at.fault(
            rules::MOUNT_TARGET,
            format!("nothing can be mounted on `{}` of the container", shown(&path)),
        );
        return None;
    }
    Some(path)
}

/// The entries of `volumes`.
pub(super) fn volumes<'t>(at: At<'t>, scope: &Scope) -> Vec<(Mount, At<'t>)> {
    const WANTED: &str = "a list of strings such as `name:/path` or `/host/path:/path:ro`";
    if let Kind::Object(members) = &at.node.kind {
        // `{"data": "/path"}`.
        let entry = |member: &Member<'_>| match &member.value.kind {
            Kind::Text(target) => short_form(&member.key, target, &[]),
            _ => None,
        };
        match members.iter().take(MAX_MOUNTS).map(entry).collect::<Option<Vec<String>>>() {
            Some(entries) => at.wrong_type_suggesting(WANTED, serde_json::json!(entries).to_string()),
            None => at.wrong_type(WANTED),
        }
        return Vec::new();
    }
    at.items(MAX_MOUNTS, WANTED).into_iter().filter_map(|item| Some((volume(item, scope)?, item))).collect()
}

fn volume(at: At<'_>, scope: &Scope) -> Option<Mount> {
    if let Kind::Object(_) = at.node.kind {
        at.record(rules::LONG_FORM, long_form(at));
        return None;
    }
    let text = at.text_or("a string such as `name:/path` or `/host/path:/path:ro`")?;
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] if target.starts_with('/') => (None, *target, None),
        [name] => {
            let fault = Invalid::new(format!("`{}` says no path in the container", shown(name)));
            let name: Option<VolumeName> = name.parse().ok();
            let suggestion = name.map(|name| format!("{name}:/path"));
            at.record(rules::INVALID_MOUNT, Invalid { suggestion, ..fault });
            return None;
        }
        [source, target] => (Some(*source), *target, None),
        [source, target, options] => (Some(*source), *target, Some(*options)),
        _ => {
            at.fault(
                rules::INVALID_MOUNT,
                "a mount is `name:/path`, `/host:/path` or `/path`, then `:options`",
            );
            return None;
        }
    };
    if source.is_some() && !target.starts_with('/') {
        let message = if target.is_empty() {
            "the path in the container is missing behind the colon".to_owned()
        } else {
            format!("`{}` is no absolute path in the container", shown(target))
        };
        // `/data:ro` is a target with options that lacks what is mounted there.
        let suggestion = source.filter(|source| source.starts_with('/') && !target.is_empty());
        let suggestion = suggestion.map(|source| format!("name:{}:{}", shown(source), shown(target)));
        at.record(rules::INVALID_MOUNT, Invalid { message, suggestion });
        return None;
    }
    let source = match source {
        None => Some(MountSource::Anonymous),
        Some(source) => mount_source(at, source, text, scope),
    };
    let target = target_path(at, target, |path| with_part(text, parts.len().min(2) - 1, path));
    let options = match (&source, options) {
        (_, None) => Some(MountOptions::default()),
        (Some(source), Some(words)) => mount_options(at, words, source, text),
        (None, Some(_)) => None,
    };
    Some(Mount { source: source?, target: target?, options: options? })
}

/// What a mount in the long form of Compose, or of Kubernetes, is in the short one.
fn long_form(at: At<'_>) -> Invalid {
    let text = |names: &[&str]| names.iter().find_map(|name| text_of(at, name));
    let target = text(&["target", "destination", "dst", "mountPath"]);
    if text_of(at, "type").as_deref() == Some("tmpfs") {
        let entry = target.map(|target| long_tmpfs(at.entry("tmpfs"), &target));
        let entry = entry.unwrap_or_else(|| "/path:size=64m".to_owned());
        return Invalid::new(format!(
            "a file system in memory stands in `tmpfs` of the service, beside `volumes`: `\"{entry}\"`"
        ));
    }
    let source = text(&["source", "src", "name"]);
    let is_set = |of: At<'_>, name: &str| {
        of.member(name).is_some_and(|at| matches!(at.node.kind, Kind::Boolean(true)))
    };
    let mut options = Vec::new();
    if ["read_only", "readonly", "readOnly"].into_iter().any(|name| is_set(at, name)) {
        options.push("ro".to_owned());
    }
    if is_set(at.entry("volume"), "nocopy") {
        options.push("nocopy".to_owned());
    }
    let bind = at.entry("bind");
    options.extend(["selinux", "propagation"].into_iter().filter_map(|name| text_of(bind, name)));
    let is_elsewhere = source.as_ref().filter(|source| !is_source(source)).cloned();
    let suggestion = match (source, &target) {
        (Some(source), Some(target)) => short_form(&source, target, &options),
        (None, Some(target)) => normal_path(target).ok(),
        _ => None,
    };
    let mut message = "a mount is written as one text here: `name:/path`, `/host/path:/path` or `/path`, \
                       then `:ro` and the like"
        .to_owned();
    if let Some(source) = is_elsewhere {
        message.push_str(&format!("; `{}` is {NO_SOURCE}", shown(&source)));
    }
    let suggestion = suggestion.map(|entry| serde_json::json!(entry).to_string());
    Invalid { message, suggestion }
}

/// Why a path that is not absolute is no source of a mount.
const NO_SOURCE: &str = "neither the name of a volume nor an absolute path of the host: an addon has no folder of its own \
                         to start from; a small file stands in `files`";

fn is_source(text: &str) -> bool {
    text.parse::<VolumeName>().is_ok() || normal_path(text).is_ok()
}

/// A text or number of an object.
fn text_of(object: At<'_>, name: &str) -> Option<String> {
    match &object.member(name)?.node.kind {
        Kind::Text(text) if text.len() <= 4096 => Some(text.clone().into_owned()),
        Kind::Number(number) => Some((*number).to_owned()),
        _ => None,
    }
}

/// `source:target:options`, where both sides can stand there.
fn short_form(source: &str, target: &str, options: &[String]) -> Option<String> {
    if !is_source(source) || normal_path(target).is_err() || format!("{source}{target}").contains(':') {
        return None;
    }
    let options = if options.is_empty() { String::new() } else { format!(":{}", options.join(",")) };
    Some(format!("{source}:{target}{options}"))
}

/// A file system in memory of the long form in the short one.
fn long_tmpfs(options: At<'_>, target: &str) -> String {
    let size = text_of(options, "size").filter(|size| parse_size(size).is_ok());
    match size {
        Some(size) => format!("{target}:size={size}"),
        None => target.to_owned(),
    }
}

fn mount_source(at: At<'_>, text: &str, entry: &str, scope: &Scope) -> Option<MountSource> {
    if text.starts_with('/') {
        return match normal_path(text) {
            Ok(path) => Some(MountSource::HostPath(path)),
            Err(fault) => {
                let suggestion = fault.suggestion.as_deref().map(|path| with_part(entry, 0, path));
                at.record(rules::INVALID_PATH, Invalid { suggestion, ..about(text, fault) });
                None
            }
        };
    }
    if scope.declares_parameters()
        && let Some(name) = whole_reference(text)
    {
        return match scope.resolve(at, name)? {
            None | Some(ParameterKind::Path { .. }) => {
                let name: ParameterName = name.parse().expect("whole_reference gives names only");
                Some(MountSource::HostParameter(name))
            }
            Some(kind) => {
                let message = format!(
                    "the parameter `{name}` is a {}, and a folder of the host is needed",
                    kind.name()
                );
                at.fault_suggesting(
                    rules::PARAMETER_TYPE,
                    message,
                    format!("declare `{name}` with the type `path`"),
                );
                None
            }
        };
    }
    if text.starts_with(['.', '~', '$']) || text.contains(['/', '\\']) {
        let message = format!("`{}` is {NO_SOURCE}", shown(text));
        at.fault(rules::INVALID_PATH, message);
        return None;
    }
    if text.is_empty() {
        let fault =
            Invalid::new("nothing stands before the colon: the name of a volume, or a path of the host");
        // A path alone is a volume of its own.
        at.record(rules::INVALID_MOUNT, Invalid { suggestion: normal_path(&entry[1..]).ok(), ..fault });
        return None;
    }
    match text.parse::<VolumeName>() {
        Ok(name) => Some(MountSource::Volume(name)),
        Err(fault) => {
            let suggestion = fault.suggestion.as_ref().map(|name| with_part(entry, 0, name));
            at.record(rules::INVALID_MOUNT, Invalid { suggestion, ..about(text, fault) });
            None
        }
    }
}

fn mount_options(at: At<'_>, text: &str, source: &MountSource, entry: &str) -> Option<MountOptions> {
    const WORDS: [&str; 14] = [
        "ro",
        "rw",
        "z",
        "Z",
        "nocopy",
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "cached",
        "delegated",
        "consistent",
    ];
    let is_volume = matches!(source, MountSource::Volume(_));
    let mut options = MountOptions::default();
    let mut access = None;
    let mut cache = None;
    for word in text.split(',') {
        let is_first = match word {
            "ro" | "rw" => access.replace(word).is_none(),
            "z" => options.selinux.replace(SelinuxLabel::Shared).is_none(),
            "Z" => options.selinux.replace(SelinuxLabel::Private).is_none(),
            "nocopy" => !std::mem::replace(&mut options.nocopy, true),
            // Docker Desktop's, without a meaning on Linux.
            "cached" | "delegated" | "consistent" => cache.replace(word).is_none(),
            _ => match Propagation::ALL.into_iter().find(|kind| kind.as_str() == word) {
                Some(kind) => options.propagation.replace(kind).is_none(),
                None => {
                    let message = format!("`{}` is no option of a mount: {}", shown(word), WORDS.join(", "));
                    // Of one or two letters anything is near, and `z` changes the host's files.
                    let near = match word.to_ascii_lowercase().as_str() {
                        "ro" | "readonly" | "read-only" | "read_only" => Some("ro".to_owned()),
                        "rw" | "readwrite" | "read-write" => Some("rw".to_owned()),
                        _ if word.len() > 2 => at.nearest(word, WORDS),
                        _ => None,
                    };
                    let words = near.map(|near| with_word(text, word, &near));
                    let suggestion = match words {
                        Some(words) => Some(with_part(entry, 2, &words)),
                        None if text.is_empty() => entry.strip_suffix(':').map(str::to_owned),
                        None => None,
                    };
                    at.record(rules::MOUNT_OPTIONS, Invalid { message, suggestion });
                    return None;
                }
            },
        };
        if !is_first {
            at.fault(
                rules::MOUNT_OPTIONS,
                format!("`{}` stands beside an option that it contradicts or repeats", shown(word)),
            );
            return None;
        }
    }
    options.read_only = access == Some("ro");
    if options.nocopy && !is_volume {
        at.fault(rules::MOUNT_OPTIONS, "`nocopy` is for volumes only");
        return None;
    }
    if options.propagation.is_some() && is_volume {
        at.fault(rules::MOUNT_OPTIONS, "propagation is for paths of the host only");
        return None;
    }
    // What the engine does anyway.
    options.propagation = options.propagation.filter(|kind| *kind != Propagation::DEFAULT);
    Some(options)
}

/// The words with one of them replaced.
fn with_word(words: &str, old: &str, new: &str) -> String {
    let words: Vec<&str> = words.split(',').map(|word| if word == old { new } else { word }).collect();
    words.join(",")
}

/// What `tmpfs` takes.
const TMPFS: &str = "a string such as `/run:size=64m`, or a list of them,";

/// `tmpfs`: one text or a list.
pub(super) fn tmpfs<'t>(at: At<'t>) -> Vec<(Tmpfs, At<'t>)> {
    let items = match &at.node.kind {
        Kind::Text(_) => vec![at],
        Kind::Object(members) if members.iter().all(|member| member.key.starts_with('/')) => {
            // `{"/run": "size=64m"}`, as the engine's own interface has it.
            let entry = |member: &Member<'_>| match &member.value.kind {
                Kind::Text(options) if !options.is_empty() => format!("{}:{options}", member.key),
                _ => member.key.clone().into_owned(),
            };
            let entries: Vec<String> = members.iter().take(MAX_MOUNTS).map(entry).collect();
            at.wrong_type_suggesting(TMPFS, serde_json::json!(entries).to_string());
            return Vec::new();
        }
        Kind::Object(_) => vec![at],
        _ => at.items(MAX_MOUNTS, TMPFS),
    };
    items.into_iter().filter_map(|item| Some((one_tmpfs(item)?, item))).collect()
}

/// Flags of mount(8) that the engine lets through to a file system in memory.
const TMPFS_FLAGS: [&str; 20] = [
    "ro",
    "noexec",
    "exec",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "sync",
    "async",
    "dirsync",
    "mand",
    "nomand",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
];
/// Options of tmpfs(5) with a value.
const TMPFS_VALUES: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];

fn one_tmpfs(at: At<'_>) -> Option<Tmpfs> {
    if let Kind::Object(_) = at.node.kind {
        let target = ["target", "path", "destination"].into_iter().find_map(|name| text_of(at, name));
        let options = if text_of(at, "size").is_some() { at } else { at.entry("tmpfs") };
        let suggestion = target.map(|target| serde_json::json!(long_tmpfs(options, &target)).to_string());
        let message =
            "a file system in memory is written as one text here, such as `/run:size=64m`".to_owned();
        at.record(rules::LONG_FORM, Invalid { message, suggestion });
        return None;
    }
    let text = at.text_or(TMPFS)?;
    let (path, words) = text.split_once(':').map_or((text, None), |(path, words)| (path, Some(words)));
    let target = target_path(at, path, |path| match words {
        Some(words) => format!("{path}:{words}"),
        None => path.to_owned(),
    })?;
    let with = |old: &str, new: &str| format!("{path}:{}", with_word(words.unwrap_or_default(), old, new));
    let mut options = Vec::new();
    let mut keys = Vec::new();
    for word in words.into_iter().flat_map(|words| words.split(',')) {
        let (key, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
        let option = match value {
            None if key == "rw" || TMPFS_FLAGS.contains(&key) => Some(key.to_owned()),
            Some(value) if TMPFS_VALUES.contains(&key) => match tmpfs_value(key, value) {
                Ok(option) => option,
                Err(fault) => {
                    let suggestion =
                        fault.suggestion.as_ref().map(|size| with(word, &format!("size={size}")));
                    at.record(rules::INVALID_SIZE, Invalid { suggestion, ..about(value, fault) });
                    return None;
                }
            },
            _ => None,
        };
        let Some(option) = option else {
            let message = format!("`{}` is no option of a file system in memory", shown(word));
            let suggestion = match value {
                _ if key.len() < 3 => None,
                None => at.nearest(key, TMPFS_FLAGS).map(|flag| with(word, &flag)),
                Some(_) if TMPFS_VALUES.contains(&key) => None,
                Some(value) => at.nearest(key, TMPFS_VALUES).map(|key| with(word, &format!("{key}={value}"))),
            };
            at.record(rules::MOUNT_OPTIONS, Invalid { message, suggestion });
            return None;
        };
        // `ro` and `rw`, `exec` and `noexec` are one switch each.
        let switch = match key {
            "rw" | "ro" => "ro",
            "async" | "sync" => "sync",
            key => key.strip_prefix("no").unwrap_or(key),
        };
        if keys.contains(&switch) {
            at.fault(
                rules::MOUNT_OPTIONS,
                format!("`{}` contradicts or repeats another option", shown(word)),
            );
            return None;
        }
        keys.push(switch);
        // The engine sets these anyway.
        if !matches!(key, "rw" | "noexec" | "nosuid" | "nodev") {
            options.push(option);
        }
    }
    options.sort();
    Some(Tmpfs { target, options })
}

/// The option in its one form; `None` when the value is none for that key.
fn tmpfs_value(key: &str, value: &str) -> Result<Option<String>, Invalid> {
    let digits =
        |text: &str| !text.is_empty() && text.len() <= 10 && text.bytes().all(|b| b.is_ascii_digit());
    Ok(match key {
        "size" => match value.strip_suffix('%') {
            Some(percent) => (digits(percent) && percent.len() <= 3).then(|| format!("size={percent}%")),
            None => Some(format!("size={}", parse_size(value)?)),
        },
        "mode" => octal(value, 0o7777).map(|mode| format!("mode={mode:04o}")),
        "mpol" => {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'=');
            (!value.is_empty() && value.bytes().all(is_plain)).then(|| format!("mpol={value}"))
        }
        _ => digits(value).then(|| format!("{key}={value}")),
    })
}

fn octal(text: &str, most: u32) -> Option<u32> {
    if text.is_empty() || text.len() > 5 || !text.bytes().all(|b| matches!(b, b'0'..=b'7')) {
        return None;
    }
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= most)
}

/// `files`.
pub(super) fn files<'t>(at: At<'t>, scope: &Scope) -> Vec<(FileSpec, At<'t>)> {
    let wanted = "a list of objects such as `{\"path\": \"/etc/app.conf\", \"content\": \"...\"}`";
    if let Some(list) = files_of_map(at) {
        at.wrong_type_suggesting(wanted, list);
        return Vec::new();
    }
    at.objects(MAX_MOUNTS, wanted).into_iter().filter_map(|item| Some((file(item, scope)?, item))).collect()
}

/// The list that is meant by a map of paths to contents.
fn files_of_map(at: At<'_>) -> Option<String> {
    let Kind::Object(members) = &at.node.kind else { return None };
    let file = |member: &Member<'_>| match &member.value.kind {
        Kind::Text(content) => Some(serde_json::json!({ "path": member.key, "content": content })),
        _ => None,
    };
    let files: Option<Vec<_>> = members.iter().map(file).collect();
    let is_short = members.iter().all(|member| member.key.starts_with('/')) && members.len() <= MAX_MOUNTS;
    files.filter(|_| is_short).map(|files| serde_json::Value::from(files).to_string())
}

fn file(at: At<'_>, scope: &Scope) -> Option<FileSpec> {
    let fields = at.fields(&fields::FILE, &[])?;
    let path = fields.get("path").and_then(|at| target_path(at, at.text()?, str::to_owned));
    let mode = match fields.get("mode") {
        None => Some(FileSpec::DEFAULT_MODE),
        Some(at) => file_mode(at),
    };
    let source = match (fields.get("content"), fields.get("parameter")) {
        (Some(content), None) => content.text().map(|text| {
            scope.note(content, text);
            FileSource::Content(text.to_owned())
        }),
        (None, Some(parameter)) => {
            let name: Option<ParameterName> = parameter.parse(rules::INVALID_NAME);
            name.filter(|name| scope.resolve(parameter, name.as_str()).is_some()).map(FileSource::Parameter)
        }
        (Some(_), Some(parameter)) => {
            parameter.fault(rules::FILE_SOURCE, "a file has `content` or `parameter`, not both");
            None
        }
        (None, None) => {
            at.fault_missing("content", rules::FILE_SOURCE, "a file has `content` or `parameter`");
            None
        }
    };
    Some(FileSpec { path: path?, source: source?, mode: mode? })
}

fn file_mode(at: At<'_>) -> Option<u32> {
    if let Kind::Number(number) = &at.node.kind {
        let digits: String = number.chars().filter(char::is_ascii_digit).take(4).collect();
        let message = "permission bits are written as octal text: a JSON number has no octal";
        at.fault_suggesting(rules::INVALID_MODE, message, format!("\"{digits:0>4}\""));
        return None;
    }
    let text = at.text()?;
    let mode = octal(text, 0o777);
    if mode.is_none() {
        let message = format!("`{}` is no permission bits from 0000 to 0777, such as `0444`", shown(text));
        at.record(rules::INVALID_MODE, Invalid { message, suggestion: meant_mode(text) });
    }
    mode
}

/// The bits of `rw-r--r--`, as `ls` shows them, or of `0o644`.
fn meant_mode(text: &str) -> Option<String> {
    if let Some(mode) = text.strip_prefix("0o").and_then(|digits| octal(digits, 0o777)) {
        return Some(format!("{mode:04o}"));
    }
    let text = text.strip_prefix('-').filter(|rest| rest.len() == 9).unwrap_or(text);
    let mode = text.chars().zip("rwxrwxrwx".chars()).try_fold(0, |mode, (c, letter)| match c {
        '-' => Some(mode << 1),
        c if c == letter => Some(mode << 1 | 1),
        _ => None,
    });
    mode.filter(|_| text.len() == 9).map(|mode: u32| format!("{mode:04o}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_normal() {
        assert_eq!(normal_path("/a/b").unwrap(), "/a/b");
        assert_eq!(normal_path("/a/").unwrap(), "/a");
        assert_eq!(normal_path("/").unwrap(), "/");
        assert_eq!(normal_path("/..a/b..").unwrap(), "/..a/b..");
        for (text, meant) in [("/a/../b", "/b"), ("/a//b", "/a/b"), ("/./a", "/a"), ("//", "/"), ("/..", "/")]
        {
            assert_eq!(normal_path(text).unwrap_err().suggestion.as_deref(), Some(meant), "{text}");
        }
        assert!(normal_path("a").is_err());
        assert!(normal_path("").is_err());
    }

    #[test]
    fn folders_of_the_host_can_be_mounted() {
        assert_eq!(host_folder("/srv/films/").unwrap(), "/srv/films");
        for text in
            ["", "srv", "~/films", "/", "//", "/srv/..", "/a:b", "/a:/b:ro", "/a\tb", "/a\u{7f}", "/a\0"]
        {
            let fault = host_folder(text).unwrap_err();
            assert_eq!(fault.suggestion, None, "{text}");
        }
        assert_eq!(host_folder("/srv/../data").unwrap_err().suggestion.as_deref(), Some("/data"));
    }

    #[test]
    fn permission_bits_are_octal() {
        assert_eq!(octal("0444", 0o777), Some(0o444));
        assert_eq!(octal("600", 0o777), Some(0o600));
        for text in ["", "8", "1777", "0o644", "-1", "000444"] {
            assert_eq!(octal(text, 0o777), None, "{text}");
        }
        for (text, mode) in [("rw-r--r--", "0644"), ("-rwxr-x---", "0750"), ("0o600", "0600")] {
            assert_eq!(meant_mode(text).as_deref(), Some(mode), "{text}");
        }
        for text in ["rw-", "rw-r--r-x-", "wr-r--r--", "0o999", "all"] {
            assert_eq!(meant_mode(text), None, "{text}");
        }
    }
}
