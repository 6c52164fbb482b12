//! A document with the values of its parameters put in, as it is meant on one host.
//!
//! What comes out is held to the reader's rules again: alone a value may be right, and wrong where it is put.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use secrecy::{ExposeSecret as _, SecretString};

use super::check::{text_fault, violation, wanted};
use super::{Parameter, Text, Token, Value, Values, references, tokens};
use crate::descriptor::{AddonDescriptor, FileSource, HostPort, MountSource, PortMapping, ServiceSpec};
use crate::names::ParameterName;
use crate::read::mounts::host_folder;
use crate::read::networks::{HOST_NAME, is_hostname};
use crate::read::ports::port_range;
use crate::read::report::{about, shown};
use crate::read::texts::{MAX_FILES, MAX_TEXT};
use crate::read::tree::MAX_DOCUMENT;
use crate::rights::{Right, rights, risk};
use crate::rules;
use crate::validate::{overlaps, taken};
use crate::violation::{Invalid, Violation};

/// A document with values put in.
#[derive(Debug, Clone, PartialEq)]
pub struct Filled {
    descriptor: AddonDescriptor,
    texts: Vec<ServiceTexts>,
}

/// The texts of a service in which values are put, as they stand in the [`ServiceSpec`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceTexts {
    /// Words.
    pub command: Vec<Text>,
    /// Words.
    pub entrypoint: Vec<Text>,
    /// Values by their key.
    pub environment: BTreeMap<String, Text>,
    /// The name of its host.
    pub hostname: Option<Text>,
    /// Contents, in the order of the service's `files`.
    pub files: Vec<Text>,
}

impl Filled {
    /// The document without parameters: it says what the other one says with these values. A text that holds secrets
    /// has `${name}` in place of each, and no meaning but for people; what is meant stands in [`services`](Self::services).
    pub fn descriptor(&self) -> &AddonDescriptor {
        &self.descriptor
    }

    /// Each service with its texts.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceSpec, &ServiceTexts)> {
        self.descriptor.services.iter().zip(&self.texts)
    }

    /// The names of the secrets that stand somewhere.
    pub fn secrets(&self) -> BTreeSet<&ParameterName> {
        self.texts.iter().flat_map(ServiceTexts::all).flat_map(Text::secrets).collect()
    }

    /// What it may do to this host: the paths and ports are those that were given, where the
    /// [`rights`](fn@rights) of the document, which are known when it is reviewed, name parameters.
    pub fn rights(&self) -> BTreeSet<Right> {
        rights(&self.descriptor)
    }

    /// The grade of these rights, 1 to 6.
    pub fn risk(&self) -> u8 {
        risk(&self.rights())
    }
}

impl ServiceTexts {
    fn all(&self) -> impl Iterator<Item = &Text> {
        let words = self.command.iter().chain(&self.entrypoint);
        words.chain(self.environment.values()).chain(&self.hostname).chain(&self.files)
    }
}

/// Puts values in: into the values of `environment`, the words of `command` and `entrypoint`, `files`, `hostname`, host
/// ports and, of a path, the left side of volumes. What has no value leaves nothing in a text, and any free port of the host.
/// A document that declares no parameters stays as it is.
///
/// # Errors
/// What is no valid document then, each at `/parameters/<name>` of a parameter that it comes from.
pub fn put_in(descriptor: &AddonDescriptor, values: &Values) -> Result<Filled, Vec<Violation>> {
    let mut filler = Filler::new(&descriptor.parameters, values);
    let mut filled = descriptor.clone();
    filled.parameters = Vec::new();
    let texts: Vec<ServiceTexts> =
        filled.services.iter_mut().map(|service| filler.service(service)).collect();
    if !descriptor.parameters.is_empty() {
        filler.ports();
        // More may be in it than the texts that were put in, in the one form that it is read from.
        if filler.bytes <= MAX_DOCUMENT && filled.canonical().len() > MAX_DOCUMENT {
            filler.too_large();
        }
    }
    let violations: Vec<Violation> = filler.faults.into_values().collect();
    if violations.is_empty() { Ok(Filled { descriptor: filled, texts }) } else { Err(violations) }
}

/// Goes through the places where a value can stand, and collects what is wrong there.
struct Filler<'a> {
    declared: BTreeMap<&'a str, &'a Parameter>,
    values: &'a Values,
    /// Bytes of all texts together: a few short references to long values could make gigabytes.
    bytes: usize,
    /// Bytes of the contents of files.
    file_bytes: usize,
    /// How much each parameter put in, to tell which of them made too much.
    put: BTreeMap<&'a str, usize>,
    /// Published ports with their service, and the parameter that one comes from.
    published: Vec<(String, PortMapping, Option<ParameterName>)>,
    /// One a parameter and rule: the same value is wrong in the same way wherever it is put.
    faults: BTreeMap<(&'a str, &'static str), Violation>,
}

/// A part of a text with what is put in.
enum Part<'a, 't> {
    Literal(Cow<'t, str>),
    Value(&'a Parameter, Cow<'a, str>),
    Secret(&'a Parameter, &'a SecretString),
}

impl<'a> Filler<'a> {
    fn new(declared: &'a [Parameter], values: &'a Values) -> Self {
        let mut filler = Self {
            declared: declared.iter().map(|parameter| (parameter.name.as_str(), parameter)).collect(),
            values,
            bytes: 0,
            file_bytes: 0,
            put: BTreeMap::new(),
            published: Vec::new(),
            faults: BTreeMap::new(),
        };
        // Values may be put together by others than `check`.
        for (name, value, _) in values.iter() {
            if let Some((rule, fault)) = text_fault(value) {
                filler.fault(name.as_str(), rule, fault);
            }
        }
        filler
    }

    fn fault(&mut self, name: &str, rule: &'static str, fault: Invalid) {
        if let Some((name, parameter)) = self.declared.get_key_value(name) {
            self.faults.entry((*name, rule)).or_insert_with(|| violation(&parameter.name, rule, fault));
        }
    }

    /// The parameter that put in most.
    fn most(&self) -> Option<&'a str> {
        self.put.iter().max_by_key(|(_, bytes)| **bytes).map(|(name, _)| *name)
    }

    fn too_large(&mut self) {
        if let Some(name) = self.most() {
            let message = format!(
                "with all values put in the document has more than {} KiB, most of it from `{name}`: a shorter value \
                 is needed",
                MAX_DOCUMENT / 1024
            );
            self.fault(name, rules::TEXT_TOO_LONG, Invalid::new(message));
        }
    }

    fn service(&mut self, service: &mut ServiceSpec) -> ServiceTexts {
        let texts = ServiceTexts {
            command: service.command.iter().map(|word| self.text(word)).collect(),
            entrypoint: service.entrypoint.iter().map(|word| self.text(word)).collect(),
            environment: service
                .environment
                .iter()
                .map(|(key, value)| (key.clone(), self.text(value)))
                .collect(),
            hostname: service.hostname.as_ref().map(|hostname| self.hostname(hostname)),
            files: service.files.iter().map(|file| self.file(&file.source)).collect(),
        };
        service.command = texts.command.iter().map(Text::to_string).collect();
        service.entrypoint = texts.entrypoint.iter().map(Text::to_string).collect();
        service.environment =
            texts.environment.iter().map(|(key, text)| (key.clone(), text.to_string())).collect();
        service.hostname = texts.hostname.as_ref().map(Text::to_string);
        for (file, text) in service.files.iter_mut().zip(&texts.files) {
            file.source = FileSource::Content(text.to_string());
        }
        for mapping in &mut service.ports {
            let parameter = self.port(mapping);
            self.published.push((service.service_name.to_string(), mapping.clone(), parameter));
        }
        service.ports.sort();
        // Any free port stands twice where two parameters have no value.
        service.ports.dedup();
        for mount in &mut service.volumes {
            if let MountSource::HostParameter(name) = &mount.source
                && let Some(path) = self.folder(name, &mount.target)
            {
                mount.source = MountSource::HostPath(path);
            }
        }
        texts
    }

    fn text(&mut self, template: &str) -> Text {
        let (text, by) = self.limited(template, MAX_TEXT);
        if let Some(name) = by {
            let message = format!(
                "with `{name}` put in, a text of the document has more than {MAX_TEXT} bytes: a shorter value is needed"
            );
            self.fault(name, rules::TEXT_TOO_LONG, Invalid::new(message));
        }
        text
    }

    fn file(&mut self, source: &FileSource) -> Text {
        let (text, by) = match source {
            FileSource::Content(template) => self.content(template),
            FileSource::Parameter(name) => self.content(&format!("${{{name}}}")),
        };
        if let Some(name) = by {
            let message = format!(
                "with `{name}` put in, the contents of all files together exceed {} KiB: a shorter value is needed",
                MAX_FILES / 1024
            );
            self.fault(name, rules::FILES_TOO_LARGE, Invalid::new(message));
        }
        text
    }

    fn content(&mut self, template: &str) -> (Text, Option<&'a str>) {
        let before = self.bytes;
        let found = self.limited(template, MAX_FILES - self.file_bytes);
        self.file_bytes = (self.file_bytes + self.bytes - before).min(MAX_FILES);
        found
    }

    /// The text with values put in. When that is longer than it may be, it ends there, and a parameter is named.
    fn limited(&mut self, template: &str, longest: usize) -> (Text, Option<&'a str>) {
        if self.declared.is_empty() {
            return (Text::literal(template), None);
        }
        let mut text = Text::default();
        let mut length = 0;
        let mut last = None;
        for token in tokens(template) {
            if self.bytes > MAX_DOCUMENT {
                self.too_large();
                return (Text::default(), None);
            }
            let part = self.part(token);
            let added = match &part {
                Part::Literal(literal) => literal.len(),
                Part::Value(_, value) => value.len(),
                Part::Secret(_, secret) => secret.expose_secret().len(),
            };
            if let Part::Value(parameter, _) | Part::Secret(parameter, _) = &part {
                let name = parameter.name.as_str();
                last = Some(name);
                *self.put.entry(name).or_default() += added;
            }
            length += added;
            self.bytes += added;
            if length > longest {
                return (text, last.or_else(|| self.most()));
            }
            match part {
                Part::Literal(literal) => text.push(&literal),
                Part::Value(_, value) => text.push(&value),
                Part::Secret(parameter, _) => text.push_secret(parameter.name.clone()),
            }
        }
        (text, None)
    }

    /// What stands in place of a part of a text.
    fn part<'t>(&self, token: Token<'t>) -> Part<'a, 't> {
        let name = match token {
            Token::Text(literal) => return Part::Literal(Cow::Borrowed(literal)),
            Token::Reference(name) => name,
        };
        let Some(parameter) = self.declared.get(name).copied() else {
            return Part::Literal(Cow::Owned(format!("${{{name}}}")));
        };
        match self.values.get(name) {
            None => Part::Value(parameter, Cow::Borrowed("")),
            Some(Value::Secret(secret)) => Part::Secret(parameter, secret),
            Some(value) => Part::Value(parameter, value.text().unwrap_or_default()),
        }
    }

    fn hostname(&mut self, template: &str) -> Text {
        let text = self.text(template);
        let named: BTreeSet<&str> =
            references(template).filter(|name| self.declared.contains_key(name)).collect();
        let whole = text.with_secrets(|name| self.values.secret(name.as_str()));
        if named.is_empty() || whole.is_some_and(|whole| is_hostname(whole.expose_secret())) {
            return text;
        }
        // What can stand in no host name is at fault; else all of them together.
        let cannot = |name: &&str| match self.values.get(name) {
            None => false,
            Some(Value::Secret(secret)) => !is_of_hostname(secret.expose_secret()),
            Some(value) => !value.text().is_some_and(|text| is_of_hostname(&text)),
        };
        let alone: BTreeSet<&str> = named.iter().copied().filter(cannot).collect();
        for name in if alone.is_empty() { named } else { alone } {
            let message = format!(
                "with `{name}` put in, `{}` is no name of a host: {HOST_NAME}, at most 63 characters",
                shown(&text.to_string())
            );
            self.fault(name, rules::INVALID_HOST, Invalid::new(message));
        }
        text
    }

    /// Gives a port its number, and tells the parameter that has it.
    fn port(&mut self, mapping: &mut PortMapping) -> Option<ParameterName> {
        let HostPort::Parameter(name) = mapping.host.clone() else { return None };
        let value = self.values.get(name.as_str());
        let text = value.map(|value| value.text().unwrap_or_default());
        match text.as_deref().map(|text| port_range(text).filter(|range| range.count() == 1)) {
            None => mapping.host = HostPort::Any,
            Some(Some(range)) => mapping.host = HostPort::Fixed(range),
            Some(None) => {
                self.fault(
                    name.as_str(),
                    rules::INVALID_PORT,
                    Invalid::new("a port from 1 to 65535 is needed"),
                );
            }
        }
        Some(name)
    }

    /// No two entries on one port of the host.
    fn ports(&mut self) {
        let published = std::mem::take(&mut self.published);
        for (later, earlier) in overlaps(published.iter().map(|(_, mapping, _)| mapping)) {
            let ((_, _, of_later), (_, _, of_earlier)) = (&published[later], &published[earlier]);
            let (name, (service, mapping, _)) = match (of_later, of_earlier) {
                (Some(name), _) => (name, &published[earlier]),
                (None, Some(name)) => (name, &published[later]),
                // The reader refuses two that are fixed.
                (None, None) => continue,
            };
            let message = format!("{}: another port is needed", taken(mapping, service));
            self.fault(name.as_str(), rules::PORT_OVERLAP, Invalid::new(message));
        }
    }

    fn folder(&mut self, name: &ParameterName, target: &str) -> Option<String> {
        let Some(value) = self.values.get(name.as_str()) else {
            if let Some(parameter) = self.declared.get(name.as_str()) {
                let target = shown(target);
                let message =
                    format!("`{name}` is mounted on `{target}`: it needs {}", wanted(&parameter.kind));
                self.fault(name.as_str(), rules::MISSING_VALUE, Invalid::new(message));
            }
            return None;
        };
        let text = value.text().unwrap_or_default();
        match host_folder(&text) {
            Ok(path) => Some(path),
            Err(fault) => {
                self.fault(name.as_str(), rules::INVALID_PATH, about(&text, fault));
                None
            }
        }
    }
}

/// Whether a text is made of what can stand in a host name.
fn is_of_hostname(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
