//! Settings: `defaults < file (--config, TOML) < environment (PREFIX__SECTION__KEY)`, unknown keys refused with the nearest
//! known one, and the sections that both services share. The one place that reads the environment.
//!
//! A service's settings are one struct with `Default`, `Serialize` and `Deserialize`; which keys there are, and of which
//! kind, is read off its default. An empty map in the default (as `registries`) takes any key.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::Source as _;
use secrecy::{ExposeSecret, SecretString};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::guard;

/// The process's environment, or one that a test made up.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// That of the process. Variables that are not UTF-8 are left out.
    pub fn process() -> Self {
        let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// The value of a variable; `None` when it is not set or empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(variables.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }
}

impl fmt::Debug for Environment {
    /// The names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A variable of another program that is understood too; a variable of our own wins over it.
#[derive(Debug, Clone, Copy)]
pub struct Alias {
    /// The variable, as `ADDON_MARKETPLACE_PORT`.
    pub variable: &'static str,
    /// The key that it sets, as `server.port`.
    pub key: &'static str,
    /// From its text to the key's.
    pub convert: fn(&str) -> String,
}

impl Alias {
    /// A variable whose text is the key's.
    pub const fn same(variable: &'static str, key: &'static str) -> Self {
        Self { variable, key, convert: str::to_owned }
    }
}

/// What a service says about its settings.
#[derive(Debug, Clone, Copy)]
pub struct ConfigProfile {
    /// Begins its variables, as `MARKETPLACE`.
    pub prefix: &'static str,
    /// Variables of other programs that it understands.
    pub aliases: &'static [Alias],
}

/// Why the settings cannot be used. Each says where the fault stands.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("the configuration file {} is no TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        message: String,
    },
    /// There is no such key.
    #[error("{place}: there is no setting {key}{}", nearest.as_deref().map(|n| format!("; did you mean {n}?")).unwrap_or_default())]
    Unknown {
        /// Where it stands.
        place: String,
        /// The key.
        key: String,
        /// The nearest key that there is.
        nearest: Option<String>,
    },
    /// A value is not of the form that it must have.
    #[error("{place}: the setting {key} has a value that it cannot have: {reason}")]
    Invalid {
        /// Where it stands.
        place: String,
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads a service's settings.
pub fn load<T>(
    profile: &ConfigProfile,
    file: Option<&Path>,
    environment: &Environment,
) -> Result<T, ConfigError>
where
    T: Default + Serialize + DeserializeOwned,
{
    let defaults = serde_json::to_value(T::default()).expect("settings are maps with text keys");
    let mut layers = Vec::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let tree = config::File::from_str(&text, config::FileFormat::Toml).collect();
        let tree = tree.and_then(|tree| {
            config::Value::new(None, config::ValueKind::Table(tree)).try_deserialize::<Value>()
        });
        let tree = tree.map_err(|fault| ConfigError::Syntax {
            path: path.to_owned(),
            message: fault.to_string().trim_end().to_owned(),
        })?;
        file_layers(&defaults, &tree, &mut Vec::new(), &path.display().to_string(), &mut layers)?;
    }
    for alias in profile.aliases {
        if let Some(text) = environment.var(alias.variable) {
            let path: Vec<String> = alias.key.split('.').map(str::to_owned).collect();
            let text = (alias.convert)(text);
            layers.push(variable_layer::<T>(&defaults, path, alias.variable, &text)?);
        }
    }
    for (variable, text) in &environment.0 {
        let Some(key) = variable.strip_prefix(profile.prefix).and_then(|rest| rest.strip_prefix("__")) else {
            continue;
        };
        let path: Vec<String> = key.to_ascii_lowercase().split("__").map(str::to_owned).collect();
        layers.push(variable_layer::<T>(&defaults, path, variable, text)?);
    }
    settle(&layers).map_err(|fault| culprit::<T>(&layers, &fault))
}

/// The settings as TOML, with secrets hidden: what `--print-config` shows.
pub fn show(settings: &impl Serialize) -> String {
    let mut tree = serde_json::to_value(settings).expect("settings are maps with text keys");
    without_nulls(&mut tree);
    toml::to_string(&tree).expect("settings without nulls are TOML")
}

/// One value that is set somewhere.
struct Layer {
    place: String,
    path: Vec<String>,
    value: Value,
}

/// The defaults with these values over them, later ones over earlier ones.
fn settle<'a, T>(layers: impl IntoIterator<Item = &'a Layer>) -> Result<T, config::ConfigError>
where
    T: Default + Serialize + DeserializeOwned,
{
    let mut builder = config::Config::builder().add_source(config::Config::try_from(&T::default())?);
    for layer in layers {
        builder = builder.set_override(layer.path.join("."), value(&layer.value))?;
    }
    builder.build()?.try_deserialize()
}

fn value(json: &Value) -> config::Value {
    use config::ValueKind;
    let kind = match json {
        Value::Null => ValueKind::Nil,
        Value::Bool(value) => ValueKind::Boolean(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => ValueKind::I64(number),
            (None, Some(number)) => ValueKind::U64(number),
            (None, None) => ValueKind::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => ValueKind::String(text.clone()),
        Value::Array(items) => ValueKind::Array(items.iter().map(value).collect()),
        Value::Object(members) => {
            ValueKind::Table(members.iter().map(|(key, member)| (key.clone(), value(member))).collect())
        }
    };
    config::Value::new(None, kind)
}

fn file_layers(
    known: &Value,
    tree: &Value,
    path: &mut Vec<String>,
    place: &str,
    layers: &mut Vec<Layer>,
) -> Result<(), ConfigError> {
    match (known, tree) {
        (Value::Object(known), Value::Object(members)) if !known.is_empty() => {
            for (key, value) in members {
                path.push(key.clone());
                let Some(known) = known.get(key) else { return Err(unknown(known, path, place)) };
                file_layers(known, value, path, place, layers)?;
                path.pop();
            }
        }
        (_, value) => {
            layers.push(Layer { place: place.to_owned(), path: path.clone(), value: value.clone() });
        }
    }
    Ok(())
}

fn variable_layer<T>(
    known: &Value,
    path: Vec<String>,
    variable: &str,
    text: &str,
) -> Result<Layer, ConfigError>
where
    T: Default + Serialize + DeserializeOwned,
{
    let place = format!("environment variable {variable}");
    let mut at = known;
    for depth in 0..path.len() {
        match at {
            Value::Object(members) if members.is_empty() => {
                return Err(ConfigError::Invalid {
                    place,
                    key: path[..depth].join("."),
                    reason: "it can be set in the file only, since its keys are free".to_owned(),
                });
            }
            Value::Object(members) => match members.get(&path[depth]) {
                Some(member) => at = member,
                None => return Err(unknown(members, &path[..=depth], &place)),
            },
            _ => return Err(unknown(&Map::new(), &path, &place)),
        }
    }
    let invalid = |reason: String| ConfigError::Invalid { place: place.clone(), key: path.join("."), reason };
    let value = match at {
        Value::Bool(_) => {
            Value::Bool(boolean(text).ok_or_else(|| invalid(format!("{text:?} is not true or false")))?)
        }
        Value::Number(_) => {
            Value::Number(text.parse().map_err(|_| invalid(format!("{text:?} is not a number")))?)
        }
        Value::Array(_) => {
            let items = list(text).ok_or_else(|| {
                invalid(format!("{text:?} is no list; write the texts with commas between them, as a,b"))
            })?;
            Value::Array(items.into_iter().map(Value::String).collect())
        }
        Value::Object(_) => return Err(invalid("it is a section; name one of its keys".to_owned())),
        Value::String(_) => Value::String(text.to_owned()),
        // The default is absence, so that the kind is seen by trying: a text first.
        Value::Null => {
            let scalar = boolean(text).map(Value::Bool).or_else(|| Some(Value::Number(text.parse().ok()?)));
            let candidates = [Some(Value::String(text.to_owned())), scalar].into_iter().flatten();
            let fits = |value: &Value| {
                settle::<T>([&Layer { place: String::new(), path: path.clone(), value: value.clone() }])
                    .is_ok()
            };
            let mut candidates = candidates.filter(fits);
            candidates.next().unwrap_or_else(|| Value::String(text.to_owned()))
        }
    };
    Ok(Layer { place, path, value })
}

/// Texts with commas between them, or a list as the file has it.
fn list(text: &str) -> Option<Vec<String>> {
    let quoted = text.trim_start().starts_with('[') && text.contains(['"', '\'']);
    if quoted || text.trim() == "[]" {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Held {
            list: Vec<String>,
        }
        return Some(toml::from_str::<Held>(&format!("list = {text}")).ok()?.list);
    }
    Some(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn unknown(known: &Map<String, Value>, path: &[String], place: &str) -> ConfigError {
    let (key, section) = path.split_last().expect("a key has a name");
    let nearest = crate::nearest::nearest(key, known.keys().map(String::as_str));
    let nearest =
        nearest.map(|name| section.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("."));
    ConfigError::Unknown { place: place.to_owned(), key: path.join("."), nearest }
}

/// Which of the values it is that makes the settings unreadable.
fn culprit<T>(layers: &[Layer], fault: &config::ConfigError) -> ConfigError
where
    T: Default + Serialize + DeserializeOwned,
{
    for layer in layers {
        if let Err(fault) = settle::<T>([layer]) {
            let (place, key) = (layer.place.clone(), layer.path.join("."));
            let reason = said_of::<T>(layer).unwrap_or_else(|| fault.to_string());
            return ConfigError::Invalid { place, key, reason };
        }
    }
    let (place, key) = ("configuration".to_owned(), "(several)".to_owned());
    ConfigError::Invalid { place, key, reason: fault.to_string() }
}

/// What is wrong with one value over the defaults, in words that name the values which it could have.
fn said_of<T>(layer: &Layer) -> Option<String>
where
    T: Default + Serialize + DeserializeOwned,
{
    let mut tree = serde_json::to_value(T::default()).ok()?;
    // Where the defaults themselves cannot be read in this form, a fault says nothing about the value.
    serde_json::from_value::<T>(tree.clone()).ok()?;
    let mut at = &mut tree;
    for key in &layer.path {
        at = at.as_object_mut()?.entry(key.clone()).or_insert(Value::Null);
    }
    *at = layer.value.clone();
    Some(serde_json::from_value::<T>(tree).err()?.to_string())
}

fn without_nulls(tree: &mut Value) {
    if let Value::Object(members) = tree {
        members.retain(|_, value| !value.is_null());
        members.values_mut().for_each(without_nulls);
    }
}

/// A setting that nobody sees: neither logs nor `--print-config`.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(SecretString);

impl Secret {
    /// A secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text; the reader's responsibility from here on.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The text, in the type that other modules take.
    pub fn inner(&self) -> &SecretString {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[hidden]")
    }
}

/// `[server]` of a service's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Address to listen on. Default 127.0.0.1.
    pub address: IpAddr,
    /// Port to listen on; 0 for any free one.
    pub port: u16,
    /// Names that the service is called by, beside loopback names and addresses.
    #[serde(deserialize_with = "hosts")]
    pub allowed_hosts: Vec<String>,
    /// Origins of pages that may call the service, as `http://dashboard.example:11103`.
    #[serde(deserialize_with = "origins")]
    pub cors_origins: Vec<String>,
    /// Longest request body, in bytes, at least 1. Default 256 KiB, that of a descriptor.
    #[serde(deserialize_with = "at_least_one")]
    pub body_limit_bytes: usize,
    /// Longest time that a request's body may take to arrive, in milliseconds, at least 1. Default 30 s.
    #[serde(deserialize_with = "at_least_one")]
    pub body_timeout_ms: u64,
    /// A client that takes nothing of what it is sent for so long is cut off, in milliseconds, at least 1. Default 60 s.
    #[serde(deserialize_with = "at_least_one")]
    pub unread_timeout_ms: u32,
    /// Threads that answer requests. Default 2.
    pub workers: usize,
    /// Longest time that requests under way have to end when the service stops, in milliseconds. Default 4 s, so that the
    /// whole stop takes less than 5.
    pub shutdown_timeout_ms: u64,
}

fn hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    checked(deserializer, guard::host_fault)
}

fn origins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    checked(deserializer, guard::origin_fault)
}

fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
    fault: fn(&str) -> Option<String>,
) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().find_map(|text| fault(text)).map_or(Ok(texts), |fault| Err(D::Error::custom(fault)))
}

fn at_least_one<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default + PartialEq>(
    deserializer: D,
) -> Result<T, D::Error> {
    let value = T::deserialize(deserializer)?;
    if value == T::default() { Err(D::Error::custom("it is at least 1")) } else { Ok(value) }
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            body_limit_bytes: 256 << 10,
            body_timeout_ms: 30_000,
            unread_timeout_ms: 60_000,
            workers: 2,
            shutdown_timeout_ms: 4_000,
        }
    }
}

impl ServerSettings {
    /// The defaults, on a port.
    pub fn on_port(port: u16) -> Self {
        Self { port, ..Self::default() }
    }

    pub(crate) fn shutdown_timeout(&self) -> Duration {
        Duration::from_millis(self.shutdown_timeout_ms)
    }
}

/// `[registries."host"]` of a service's configuration: how one registry is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistrySettings {
    /// User name.
    pub user: Option<String>,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// Whether it is spoken to with plain HTTP.
    pub insecure: bool,
    /// Host that is asked instead.
    pub mirror: Option<String>,
    /// Of a marketplace: accounts for whose releases the login is used; none: for everybody's.
    pub publishers: Vec<String>,
    /// Of a marketplace: names, with `*` for any characters, of the addons that it is used for; none: for all.
    pub addons: Vec<String>,
}

/// Registries by `host` or `host:port`.
pub type Registries = BTreeMap<String, RegistrySettings>;

/// Where a service keeps its state unless `state_dir` says otherwise: `$XDG_DATA_HOME/<service>`, else
/// `$HOME/.local/share/<service>`, else `/var/lib/<service>`.
pub fn default_state_dir(service: &str, environment: &Environment) -> PathBuf {
    let data = environment.var("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let data = data.or_else(|| Some(Path::new(environment.var("HOME")?).join(".local/share")));
    data.unwrap_or_else(|| PathBuf::from("/var/lib")).join(service)
}

/// Makes the state folder, for its owner only, where it is not there yet.
pub fn prepare_state_dir(path: &Path) -> Result<(), std::io::Error> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        server: ServerSettings,
        registries: Registries,
        platform: Platform,
        #[serde(skip_serializing_if = "Option::is_none")]
        never_known: Option<u8>,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Platform {
        prefix: String,
        retries: Option<u32>,
        project: Option<String>,
        watched: Option<bool>,
        kind: Kind,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        #[default]
        Small,
        Large,
    }

    impl Default for Settings {
        fn default() -> Self {
            let server = ServerSettings::on_port(11102);
            let (registries, platform) = (Registries::new(), Platform::default());
            Self { server, registries, platform, never_known: None }
        }
    }

    const PROFILE: ConfigProfile = ConfigProfile {
        prefix: "SHOP",
        aliases: &[
            Alias::same("ADDON_MARKETPLACE_PORT", "server.port"),
            Alias {
                variable: "ORCHESTRATION_PLANE",
                key: "platform.prefix",
                convert: |text| format!("{text}_"),
            },
        ],
    };

    #[expect(clippy::needless_pass_by_value, reason = "the cases read better")]
    fn read(file: &str, environment: Environment) -> Result<Settings, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.toml");
        std::fs::write(&path, file).unwrap();
        load(&PROFILE, Some(&path), &environment)
    }

    #[test]
    fn defaults_then_file_then_aliases_then_variables() {
        let none = Environment::default();
        assert_eq!(load::<Settings>(&PROFILE, None, &none).unwrap(), Settings::default());

        let file = "[server]\nport = 1\nworkers = 3\nallowed_hosts = [\"a\"]\n[platform]\nprefix = \"file_\"";
        let settings = read(file, none).unwrap();
        assert_eq!((settings.server.port, settings.server.workers), (1, 3));
        assert_eq!(settings.server.address, IpAddr::V4(Ipv4Addr::LOCALHOST));

        let environment = [("ADDON_MARKETPLACE_PORT", "2"), ("ORCHESTRATION_PLANE", "root")].into();
        let settings = read(file, environment).unwrap();
        assert_eq!((settings.server.port, settings.platform.prefix.as_str()), (2, "root_"));

        let environment = [
            ("ADDON_MARKETPLACE_PORT", "2"),
            ("SHOP__SERVER__PORT", "3"),
            ("SHOP__SERVER__ALLOWED_HOSTS", "b, c,"),
            ("SHOP__SERVER__ADDRESS", "::1"),
            ("SHOPPING__SERVER__PORT", "9"),
        ];
        let settings = read(file, environment.into()).unwrap();
        assert_eq!((settings.server.port, settings.server.workers), (3, 3));
        assert_eq!(settings.server.allowed_hosts, ["b", "c"]);
        assert_eq!(settings.server.address, "::1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_variable_of_an_absent_setting_takes_the_kind_that_fits() {
        let environment = [
            ("SHOP__PLATFORM__RETRIES", "7"),
            ("SHOP__PLATFORM__PROJECT", "7"),
            ("SHOP__PLATFORM__WATCHED", "yes"),
        ];
        let platform = load::<Settings>(&PROFILE, None, &environment.into()).unwrap().platform;
        assert_eq!(
            (platform.retries, platform.project.as_deref(), platform.watched),
            (Some(7), Some("7"), Some(true))
        );
    }

    #[test]
    fn a_list_in_a_variable_may_stand_as_in_the_file() {
        let read = |text: &str| {
            let environment = [("SHOP__SERVER__ALLOWED_HOSTS", text)].into();
            load::<Settings>(&PROFILE, None, &environment).map(|settings| settings.server.allowed_hosts)
        };
        for text in ["a,b", " a , b,", r#"["a", "b"]"#, "['a','b']"] {
            assert_eq!(read(text).unwrap(), ["a", "b"], "{text}");
        }
        assert!(read("[]").unwrap().is_empty() && read("").unwrap().is_empty());
        assert_eq!(read("[::1],b").unwrap(), ["[::1]", "b"]);
        for text in [r#"["a""#, r#"["a", 3]"#, "['a']\nb = 1"] {
            assert!(read(text).unwrap_err().to_string().contains("is no list"), "{text}");
        }
    }

    #[test]
    fn what_could_never_match_is_refused() {
        for (key, value, expected) in [
            ("cors_origins", "[\"*\"]", "scheme://host"),
            ("cors_origins", "[\"dash.example/path\"]", "scheme://host"),
            ("allowed_hosts", "[\"http://a\"]", "a host's name"),
            ("body_limit_bytes", "0", "at least 1"),
            ("body_timeout_ms", "0", "at least 1"),
        ] {
            let fault = read(&format!("[server]\n{key} = {value}"), Environment::default());
            let fault = fault.unwrap_err().to_string();
            assert!(fault.contains(&format!("server.{key}")) && fault.contains(expected), "{fault}");
        }
    }

    #[test]
    fn the_values_that_there_are_are_named() {
        let fault = read("[platform]\nkind = \"smal\"", Environment::default()).unwrap_err().to_string();
        assert!(fault.contains("platform.kind") && fault.contains("`small` or `large`"), "{fault}");
    }

    #[test]
    fn a_map_takes_any_key() {
        let file =
            "[registries.\"localhost:5000\"]\ninsecure = true\n[registries.\"quay.io\"]\nuser = \"me\"";
        let registries = read(file, Environment::default()).unwrap().registries;
        assert!(registries["localhost:5000"].insecure);
        assert_eq!(registries["quay.io"].user.as_deref(), Some("me"));
    }

    #[test]
    fn every_fault_names_its_place() {
        for (file, variable, expected) in [
            (
                "[server]\nprot = 1",
                ("", ""),
                "shop.toml: there is no setting server.prot; did you mean server.port?",
            ),
            ("[sever]\nport = 1", ("", ""), "there is no setting sever; did you mean server?"),
            ("zzz = 1", ("", ""), "there is no setting zzz"),
            ("[server\n", ("", ""), "is no TOML: TOML parse error at line 1, column 8"),
            ("[server]\nport = 70000", ("", ""), "the setting server.port has a value that it cannot have"),
            ("[server]\nport = \"x\"", ("", ""), "the setting server.port"),
            ("server = 3", ("", ""), "the setting server has"),
            (
                "[registries.x]\nusr = \"me\"",
                ("", ""),
                "the setting registries has a value that it cannot have: unknown field `usr`",
            ),
            (
                "",
                ("SHOP__SERVER__PROT", "1"),
                "environment variable SHOP__SERVER__PROT: there is no setting server.prot; did you mean server.port?",
            ),
            (
                "",
                ("SHOP__SERVER__PORT", "x"),
                "environment variable SHOP__SERVER__PORT: the setting server.port has a value that it cannot have: \"x\" is not a number",
            ),
            (
                "",
                ("SHOP__SERVER__PORT", "70000"),
                "environment variable SHOP__SERVER__PORT: the setting server.port",
            ),
            ("", ("SHOP__SERVER", "1"), "it is a section"),
            ("", ("SHOP__REGISTRIES__X__USER", "1"), "in the file only"),
            ("", ("SHOP__SERVER__PORT__X", "1"), "there is no setting server.port.x"),
            (
                "",
                ("SHOP__PLATFORM__RETRIES", "many"),
                "environment variable SHOP__PLATFORM__RETRIES: the setting platform.retries",
            ),
            (
                "",
                ("ADDON_MARKETPLACE_PORT", "x"),
                "environment variable ADDON_MARKETPLACE_PORT: the setting server.port",
            ),
        ] {
            let fault = read(file, [variable].into()).unwrap_err().to_string();
            assert!(fault.contains(expected), "{file:?} {variable:?}: {fault}");
        }
        let missing = load::<Settings>(&PROFILE, Some(Path::new("/nowhere/x.toml")), &Environment::default());
        assert!(missing.unwrap_err().to_string().contains("/nowhere/x.toml"));
    }

    #[test]
    fn what_is_shown_can_be_read_again_and_has_no_secrets() {
        let mut settings = Settings::default();
        settings.platform.retries = Some(3);
        settings
            .registries
            .insert("a.b:1".to_owned(), RegistrySettings { insecure: true, ..Default::default() });
        assert_eq!(read(&show(&settings), Environment::default()).unwrap(), settings);
        let secret = Secret::new("geheim");
        assert_eq!(secret.expose(), "geheim");
        let shown = format!("{secret:?} {}", show(&BTreeMap::from([("url", &secret)])));
        assert!(!shown.contains("geheim") && shown.contains("[hidden]"), "{shown}");
    }

    #[test]
    fn state_lies_in_the_folder_for_data() {
        for (environment, expected) in [
            (Environment::from([("XDG_DATA_HOME", "/x"), ("HOME", "/h")]), "/x/shop"),
            (Environment::from([("XDG_DATA_HOME", "relative"), ("HOME", "/h")]), "/h/.local/share/shop"),
            (Environment::from([("HOME", "/h")]), "/h/.local/share/shop"),
            (Environment::default(), "/var/lib/shop"),
        ] {
            assert_eq!(default_state_dir("shop", &environment), Path::new(expected));
        }
    }
}
