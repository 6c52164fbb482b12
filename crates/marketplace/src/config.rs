//! Typed, checked settings of the marketplace: what can be configured, its defaults, and what it becomes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use addon_descriptor::{AddonName, DEFAULT_REGISTRY, Level};
use serde::{Deserialize, Serialize};
use service_kit::auth::{AuthSettings, NamePattern, is_account};
use service_kit::config::{
    Alias, ConfigError, ConfigProfile, Environment, Registries, Secret, ServerSettings, default_state_dir,
    load,
};
use service_kit::db::PostgresSettings;
use service_kit::limit::Rate;
use service_kit::telemetry::LogSettings;
use url::Url;

use crate::domain::limits::{Bucket, Limits};
use crate::domain::verification::{Backoff, Mode};
use crate::trust::key_file;
use crate::verification::registry::{
    self, Credentials, Deadlines, DockerConfigError, Logins, ProxySettings, Registry, docker_config,
    find_key, is_loopback_host, never_asked,
};
use crate::verification::worker::Rules;

/// The port of Oakestra's marketplace, which its clients know.
pub const PORT: u16 = 11102;

const PROFILE: ConfigProfile = ConfigProfile {
    prefix: "MARKETPLACE",
    aliases: &[
        Alias::same("ADDON_MARKETPLACE_PORT", "server.port"),
        Alias::same("https_proxy", "proxy.https"),
        Alias::same("HTTPS_PROXY", "proxy.https"),
        Alias::same("no_proxy", "proxy.no_proxy"),
        Alias::same("NO_PROXY", "proxy.no_proxy"),
    ],
};

/// Everything that can be configured.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of the database and of the first token. Default `$XDG_DATA_HOME/marketplace`, else
    /// `~/.local/share/marketplace`, else `/var/lib/marketplace`.
    pub state_dir: Option<PathBuf>,
    /// Where releases are kept.
    pub database: DatabaseConfig,
    /// Where and how to listen.
    pub server: ServerSettings,
    /// Who may do what.
    pub auth: AuthSettings,
    /// What to log.
    pub log: LogSettings,
    /// Who decides about releases.
    pub review: ReviewConfig,
    /// How images are verified.
    pub verification: VerificationConfig,
    /// What is signed, and with which key.
    pub signing: SigningConfig,
    /// How much an account may do at once.
    pub limits: LimitsConfig,
    /// Kept answers.
    pub cache: CacheConfig,
    /// Who may follow what happens.
    pub events: EventsConfig,
    /// Installations that managers report.
    pub installs: InstallsConfig,
    /// How single registries are spoken to, by `host[:port]`.
    pub registries: Registries,
    /// What is taken over from Docker.
    pub docker: DockerConfig,
    /// A proxy for registries.
    pub proxy: ProxyConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: None,
            database: DatabaseConfig::default(),
            server: ServerSettings::on_port(PORT),
            auth: AuthSettings { public_read: Some(true), ..AuthSettings::default() },
            log: LogSettings::default(),
            review: ReviewConfig::default(),
            verification: VerificationConfig::default(),
            signing: SigningConfig::default(),
            limits: LimitsConfig::default(),
            cache: CacheConfig::default(),
            events: EventsConfig::default(),
            installs: InstallsConfig::default(),
            registries: Registries::new(),
            docker: DockerConfig::default(),
            proxy: ProxyConfig::default(),
        }
    }
}

/// `[database]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// Address of a PostgreSQL server, as `postgres://user:password@host:5432/name`; several replicas may use one. Without
    /// it, releases are in a SQLite file in the state folder.
    pub url: Option<Secret>,
    /// File that holds the address instead.
    pub url_file: Option<PathBuf>,
    /// Most connections of this replica to the server, 4 to 500.
    pub connections: u32,
    /// How long a server that gives no answer is waited for at the start, in milliseconds.
    pub patience_ms: u64,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: None, url_file: None, connections: 16, patience_ms: 30_000 }
    }
}

/// `[review]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReviewConfig {
    /// `automatic`: what passes its checks is approved unless it is held. `manual`: a reviewer approves.
    pub mode: Mode,
    /// Levels of rights that a reviewer decides about: `normal`, `takeover`, `dangerous`.
    pub hold: BTreeSet<Level>,
    /// Names that no addon may have.
    pub reserved_names: Vec<String>,
}

impl Default for ReviewConfig {
    fn default() -> Self {
        let reserved = ["oakestra", "official", "admin", "marketplace", "addons-manager", "addonctl"];
        Self {
            mode: Mode::Automatic,
            hold: BTreeSet::from([Level::Dangerous]),
            reserved_names: reserved.map(str::to_owned).to_vec(),
        }
    }
}

/// `[verification]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VerificationConfig {
    /// Releases that are checked at once, 1 to 64.
    pub parallel: usize,
    /// Wait before a registry that gave no answer is asked again, doubled each time, in milliseconds.
    pub retry_base_ms: u64,
    /// Longest such wait, in milliseconds.
    pub retry_cap_ms: u64,
    /// How long a release is one worker's, in milliseconds: a crashed worker's releases are taken up after this. Four
    /// fifths of it is the time that the checks of one release may take.
    pub lease_ms: u64,
    /// How often the images of approved releases are looked for again, in hours, give or take a tenth; 0: only when
    /// somebody asks for it. At most 8,760.
    pub recheck_hours: u32,
    /// Manifests, image configurations and answers about whole images that are remembered, so that registries need not be
    /// asked for them again: some three of each image are worth their room.
    pub kept_parts: u32,
    /// Longest time to connect to a registry, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Longest silence of a registry in an answer, in milliseconds.
    pub idle_timeout_ms: u64,
    /// Longest time for one answer of a registry, in milliseconds.
    pub request_timeout_ms: u64,
}

impl Default for VerificationConfig {
    fn default() -> Self {
        Self {
            parallel: 8,
            retry_base_ms: 2_000,
            retry_cap_ms: 300_000,
            lease_ms: 120_000,
            recheck_hours: 24,
            kept_parts: 200_000,
            connect_timeout_ms: 5_000,
            idle_timeout_ms: 10_000,
            request_timeout_ms: 30_000,
        }
    }
}

/// `[signing]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SigningConfig {
    /// The private key that the index and the revocations are signed with: ed25519, PKCS#8 in PEM, readable by its owner
    /// alone. Default: `signing-key.pem` in the state folder, made at the first start. Replicas share one.
    pub key_file: Option<PathBuf>,
}

/// `[limits]`: they bind accounts without `admin`, and nobody in open mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Whether there are any.
    pub enabled: bool,
    /// First releases of a name.
    pub new_names: BucketConfig,
    /// Further releases of a name, and having one checked again.
    pub new_versions: BucketConfig,
    /// Yanking, unyanking and deleting.
    pub withdrawals: BucketConfig,
    /// Inviting owners.
    pub invitations: BucketConfig,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let bucket = |burst, interval_ms| BucketConfig { burst, interval_ms };
        Self {
            enabled: true,
            new_names: bucket(5, 600_000),
            new_versions: bucket(30, 60_000),
            withdrawals: bucket(100, 60_000),
            invitations: bucket(30, 60_000),
        }
    }
}

/// So many at once, then one each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketConfig {
    /// How many at once, at least 1.
    pub burst: u32,
    /// The time in which one comes back, in milliseconds, at least 1.
    pub interval_ms: u64,
}

/// `[cache]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Most that kept answers may take, in bytes; 0 keeps none. One that is longer than a thirty-second part of it is not kept.
    pub max_bytes: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { max_bytes: 16 << 20 }
    }
}

/// `[events]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventsConfig {
    /// Clients that may follow the events of this replica at one time.
    pub listeners: u32,
    /// Of these, how many from one address (IPv6: of one /64); 0: all of them, as behind a proxy.
    pub per_address: u32,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self { listeners: 1_000, per_address: 100 }
    }
}

/// `[installs]`: how many reports of one address (IPv6: of one /64) are counted; a burst of 0 is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstallsConfig {
    /// Of all addons together.
    pub per_address: Rate,
    /// Of one addon.
    pub per_addon: Rate,
}

impl Default for InstallsConfig {
    fn default() -> Self {
        Self {
            per_address: Rate { burst: 20, interval_ms: 1_800_000 },
            per_addon: Rate { burst: 3, interval_ms: 28_800_000 },
        }
    }
}

/// `[docker]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DockerConfig {
    /// A Docker `config.json` whose `auths` are used for registries that have no user here.
    pub config_file: Option<PathBuf>,
}

/// `[proxy]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyConfig {
    /// Address of a proxy for https, as `HTTPS_PROXY` has it; it may carry credentials.
    pub https: Option<Secret>,
    /// Hosts that are reached without it, as `NO_PROXY` has them.
    pub no_proxy: Option<String>,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// They cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A value makes no sense beside the others.
    #[error("the setting {key} cannot be used: {reason}")]
    Invalid {
        /// The key.
        key: String,
        /// What to change.
        reason: String,
    },
    /// A file that a setting names.
    #[error("the file {} of the setting {key} cannot be read", path.display())]
    File {
        /// The key.
        key: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The Docker configuration.
    #[error("the setting docker.config_file cannot be used")]
    DockerConfig(#[source] DockerConfigError),
}

impl Config {
    /// Reads defaults, file and environment, and settles where the state lies.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Self, SettingsError> {
        let mut config: Self = load(&PROFILE, file, environment)?;
        config.state_dir.get_or_insert_with(|| default_state_dir("marketplace", environment));
        Ok(config)
    }

    /// Where the database and the first token are.
    pub fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| default_state_dir("marketplace", &Environment::default()))
    }

    /// The PostgreSQL server, where one is to be used. Reads the file that holds its address.
    ///
    /// # Errors
    /// Values out of their ranges, or the file.
    pub fn postgres(&self) -> Result<Option<PostgresSettings>, SettingsError> {
        let DatabaseConfig { url, url_file, connections, patience_ms } = &self.database;
        if !(4..=500).contains(connections) {
            return Err(invalid("database.connections", "it is from 4 to 500"));
        }
        let url = match (url, url_file) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(invalid(
                    "database.url_file",
                    "database.url is set as well: leave one of them out",
                ));
            }
            (Some(url), None) => url.inner().clone(),
            (None, Some(path)) => read_file("database.url_file", path)?.trim().to_owned().into(),
        };
        Ok(Some(PostgresSettings {
            url,
            connections: *connections,
            patience: millis(*patience_ms),
            application: "marketplace".to_owned(),
        }))
    }

    /// The file of the signing key: the configured one, else the one in the state folder.
    pub fn key_file(&self) -> PathBuf {
        self.signing.key_file.clone().unwrap_or_else(|| self.state_dir().join(key_file::NAME))
    }

    /// The rules of the verification.
    ///
    /// # Errors
    /// Values out of their ranges.
    pub fn rules(&self) -> Result<Rules, SettingsError> {
        let VerificationConfig {
            parallel,
            retry_base_ms,
            retry_cap_ms,
            lease_ms,
            recheck_hours,
            kept_parts,
            ..
        } = self.verification;
        if recheck_hours > 8_760 {
            return Err(invalid("verification.recheck_hours", "it is at most 8760, a year; 0 is never"));
        }
        if !(1..=64).contains(&parallel) {
            return Err(invalid("verification.parallel", "it is from 1 to 64"));
        }
        if retry_base_ms == 0 || retry_base_ms > retry_cap_ms {
            return Err(invalid(
                "verification.retry_base_ms",
                "it is at least 1 and at most verification.retry_cap_ms",
            ));
        }
        if lease_ms < 100 {
            return Err(invalid("verification.lease_ms", "it is at least 100"));
        }
        let mut reserved = BTreeSet::new();
        for name in &self.review.reserved_names {
            let name: AddonName = name
                .parse()
                .map_err(|_| invalid("review.reserved_names", format!("{name:?} is no addon's name")))?;
            reserved.insert(name.folded());
        }
        Ok(Rules {
            mode: self.review.mode,
            hold: self.review.hold.clone(),
            reserved,
            backoff: Backoff { base: millis(retry_base_ms), cap: millis(retry_cap_ms) },
            lease: millis(lease_ms),
            parallel,
            recheck: (recheck_hours > 0).then(|| Duration::from_secs(u64::from(recheck_hours) * 3600)),
            kept_parts,
        })
    }

    /// How much an account may do at once; `None`: as much as it likes.
    ///
    /// # Errors
    /// Values out of their ranges.
    pub fn limits(&self) -> Result<Option<Limits>, SettingsError> {
        let LimitsConfig { enabled, new_names, new_versions, withdrawals, invitations } = self.limits;
        let bucket = |name: &str, BucketConfig { burst, interval_ms }: BucketConfig| {
            if burst == 0 || interval_ms == 0 {
                let reason = "burst and interval_ms are at least 1; limits.enabled = false is no limit";
                return Err(invalid(format!("limits.{name}"), reason));
            }
            Ok(Bucket { burst, interval: millis(interval_ms) })
        };
        let limits = Limits {
            new_names: bucket("new_names", new_names)?,
            new_versions: bucket("new_versions", new_versions)?,
            withdrawals: bucket("withdrawals", withdrawals)?,
            invitations: bucket("invitations", invitations)?,
        };
        Ok(enabled.then_some(limits))
    }

    /// How registries are asked. Reads the files that hold passwords.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn registry_settings(&self) -> Result<registry::Settings, SettingsError> {
        let loopback = self.server.address.is_loopback();
        let mut registries = BTreeMap::new();
        for (name, settings) in &self.registries {
            let key = |field: &str| format!("registries.\"{name}\".{field}");
            let host = checked_host(name).ok_or_else(|| {
                invalid(
                    format!("registries.\"{name}\""),
                    "its name is a host with or without a port, as \"ghcr.io\"",
                )
            })?;
            if !loopback && is_loopback_host(&host) {
                return Err(invalid(format!("registries.\"{name}\""), LOOPBACK));
            }
            if let Some(kind) = never_asked(name_of(&host)) {
                return Err(invalid(
                    format!("registries.\"{name}\""),
                    format!("that is {kind}, and no registry is asked there"),
                ));
            }
            let credentials = match (&settings.user, &settings.password_file) {
                (None, None) => None,
                (Some(user), Some(path)) => Some(Credentials {
                    user: user.clone(),
                    password: read_file(&key("password_file"), path)?
                        .trim_end_matches(['\r', '\n'])
                        .to_owned()
                        .into(),
                }),
                (Some(_), None) => return Err(invalid(key("password_file"), "a user needs one")),
                (None, Some(_)) => return Err(invalid(key("user"), "a password needs one")),
            };
            let mirror = settings.mirror.as_deref().map(|mirror| {
                let host = checked_host(mirror);
                host.ok_or_else(|| {
                    invalid(key("mirror"), "it is a host with or without a port, without a scheme")
                })
            });
            if let Some(account) = settings.publishers.iter().find(|account| !is_account(account)) {
                return Err(invalid(key("publishers"), format!("{account:?} is the name of no account")));
            }
            let pattern = |text: &String| {
                let what =
                    || format!("{text:?} is no name: a-z A-Z 0-9 . _ - and * for any of these, at most 80");
                NamePattern::new(text).ok_or_else(|| invalid(key("addons"), what()))
            };
            let registry = Registry {
                credentials,
                publishers: settings.publishers.clone(),
                addons: settings.addons.iter().map(pattern).collect::<Result<_, _>>()?,
                insecure: settings.insecure,
                mirror: mirror.transpose()?,
            };
            registries.insert(host, registry);
        }
        if let Some(path) = &self.docker.config_file {
            let text = read_file("docker.config_file", path)?;
            let Logins { usable, unusable } = docker_config(&text).map_err(SettingsError::DockerConfig)?;
            for key in unusable.iter().filter(|key| !registries.contains_key(*key)) {
                tracing::warn!(
                    registry = key,
                    "its login in docker.config_file cannot be used: that is no user and password for the whole registry; name \
                     them under [registries] if it is to be asked"
                );
            }
            for (host, credentials) in usable {
                // Credentials alone are no leave to reach into the inner network: that is what naming is for.
                let key = find_key(&registries, &host, |registry| registry.insecure);
                if let Some(registry) = key.and_then(|key| registries.get_mut(&key)) {
                    registry.credentials.get_or_insert(credentials);
                } else if !is_inner(&host) {
                    registries
                        .insert(host, Registry { credentials: Some(credentials), ..Registry::default() });
                }
            }
        }
        let idle = registries.iter().find(|(_, one)| one.is_limited() && one.credentials.is_none());
        if let Some((host, _)) = idle {
            let key = format!("registries.\"{host}\"");
            return Err(invalid(
                key,
                "publishers and addons say what its login is used for, and it has none: name user and password_file",
            ));
        }
        let VerificationConfig { connect_timeout_ms, idle_timeout_ms, request_timeout_ms, .. } =
            self.verification;
        for (key, value) in [
            ("verification.connect_timeout_ms", connect_timeout_ms),
            ("verification.idle_timeout_ms", idle_timeout_ms),
            ("verification.request_timeout_ms", request_timeout_ms),
        ] {
            if value == 0 {
                return Err(invalid(key, "it is at least 1: no registry answers in no time"));
            }
        }
        Ok(registry::Settings {
            registries,
            loopback,
            deadlines: Deadlines {
                connect: millis(connect_timeout_ms),
                idle: millis(idle_timeout_ms),
                total: millis(request_timeout_ms),
            },
            proxy: self.proxy.settings()?,
        })
    }
}

const LOOPBACK: &str = "a registry on this machine can be named only while the marketplace listens on loopback alone: \
     whoever publishes could otherwise ask after what listens here. Set server.address = \"127.0.0.1\", or call the \
     registry by an address that its users reach it at";

impl ProxyConfig {
    fn settings(&self) -> Result<Option<ProxySettings>, SettingsError> {
        let Some(https) = &self.https else { return Ok(None) };
        let text = https.expose();
        let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
        let url = url.map_err(|_| invalid("proxy.https", "it is an address as http://proxy.example:3128"))?;
        Ok(Some(ProxySettings { url, no_proxy: self.no_proxy.clone().unwrap_or_default() }))
    }
}

/// `host[:port]` in lower case, if that is what the text is.
fn checked_host(text: &str) -> Option<String> {
    let host = text.to_ascii_lowercase();
    let url = Url::parse(&format!("https://{host}/")).ok()?;
    // Docker Hub under its other names: image references have this one.
    let hub = matches!(host.as_str(), "index.docker.io" | "registry-1.docker.io");
    let host = if hub { DEFAULT_REGISTRY.to_owned() } else { host };
    let plain =
        url.username().is_empty() && url.path() == "/" && url.query().is_none() && !host.contains('@');
    (plain && url.host_str().is_some_and(|host| !host.is_empty())).then_some(host)
}

/// Whether a host is, by its spelling, not one of the internet.
fn is_inner(host: &str) -> bool {
    let bare = name_of(host).trim_start_matches('[').trim_end_matches(']');
    is_loopback_host(host) || bare.parse::<IpAddr>().is_ok()
}

/// `host[:port]` without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    }
}

fn read_file(key: &str, path: &Path) -> Result<String, SettingsError> {
    std::fs::read_to_string(path).map_err(|source| SettingsError::File {
        key: key.to_owned(),
        path: path.to_owned(),
        source,
    })
}

fn invalid(key: impl Into<String>, reason: impl Into<String>) -> SettingsError {
    SettingsError::Invalid { key: key.into(), reason: reason.into() }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
    use service_kit::config::RegistrySettings;

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::default();
        change(&mut config);
        config
    }

    #[test]
    fn limits_can_be_set_and_put_off_and_are_never_nothing() {
        let mut config = Config::default();
        let limits = config.limits().unwrap().unwrap();
        assert_eq!((limits.new_names.burst, limits.new_names.interval), (5, Duration::from_secs(600)));
        config.limits.enabled = false;
        assert_eq!(config.limits().unwrap(), None);
        for bucket in [BucketConfig { burst: 0, interval_ms: 1 }, BucketConfig { burst: 1, interval_ms: 0 }] {
            config.limits.withdrawals = bucket;
            assert!(config.limits().unwrap_err().to_string().contains("limits.withdrawals"));
        }
    }

    #[test]
    fn the_defaults_are_usable() {
        let config = Config::load(None, &Environment::from([("HOME", "/home/x")])).unwrap();
        assert_eq!(config.state_dir(), Path::new("/home/x/.local/share/marketplace"));
        assert_eq!(config.server.port, PORT);
        assert!(config.rules().unwrap().reserved.contains("oakestra"));
        assert!(config.registry_settings().unwrap().registries.is_empty());
    }

    #[test]
    fn variables_of_others_are_understood() {
        let environment =
            [("ADDON_MARKETPLACE_PORT", "4711"), ("HTTPS_PROXY", "proxy:3128"), ("NO_PROXY", "a.b")];
        let config = Config::load(None, &Environment::from(environment)).unwrap();
        assert_eq!(config.server.port, 4711);
        let proxy = config.registry_settings().unwrap().proxy.unwrap();
        assert_eq!((proxy.url.as_str(), proxy.no_proxy.as_str()), ("http://proxy:3128/", "a.b"));
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (change, key) in [
            ((|c| c.verification.parallel = 0) as fn(&mut Config), "verification.parallel"),
            (|c| c.verification.retry_base_ms = 0, "verification.retry_base_ms"),
            (|c| c.verification.retry_cap_ms = 1, "verification.retry_base_ms"),
            (|c| c.verification.lease_ms = 1, "verification.lease_ms"),
            (|c| c.verification.recheck_hours = 8_761, "verification.recheck_hours"),
            (|c| c.review.reserved_names = vec!["a b".to_owned()], "review.reserved_names"),
        ] {
            let error = config(change).rules().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
        for (change, key) in [
            (
                (|c| c.verification.connect_timeout_ms = 0) as fn(&mut Config),
                "verification.connect_timeout_ms",
            ),
            (|c| c.verification.idle_timeout_ms = 0, "verification.idle_timeout_ms"),
            (|c| c.verification.request_timeout_ms = 0, "verification.request_timeout_ms"),
        ] {
            let error = config(change).registry_settings().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn registries_are_checked() {
        let with = |name: &str, settings: RegistrySettings| {
            config(|config| _ = config.registries.insert(name.to_owned(), settings)).registry_settings()
        };
        let user = || RegistrySettings { user: Some("me".to_owned()), ..RegistrySettings::default() };
        assert!(with("https://a.b/", user()).unwrap_err().to_string().contains("is a host"));
        assert!(with("a.b", user()).unwrap_err().to_string().contains("password_file"));
        let mirrored =
            RegistrySettings { mirror: Some("https://m/".to_owned()), ..RegistrySettings::default() };
        assert!(with("a.b", mirrored).unwrap_err().to_string().contains("mirror"));

        for never in ["169.254.169.254", "169.254.169.254:80", "[fe80::1]:5000", "0.0.0.0:5000"] {
            let refusal = with(never, RegistrySettings::default()).unwrap_err().to_string();
            assert!(refusal.contains(never) && refusal.contains("no registry is asked there"), "{refusal}");
        }
        assert!(with("[2a00:1450::5]", RegistrySettings::default()).is_ok());

        let hub = with("index.docker.io", RegistrySettings::default()).unwrap();
        assert!(hub.registries.contains_key("docker.io"));

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let there = || RegistrySettings { password_file: Some(path.clone()), ..user() };
        assert!(matches!(with("a.b", there()), Err(SettingsError::File { .. })));
        std::fs::write(&path, "geheim\n").unwrap();
        let settings = with("A.b:5000", there()).unwrap();
        let credentials = settings.registries["a.b:5000"].credentials.as_ref().unwrap();
        assert_eq!(credentials.password.expose_secret(), "geheim");

        let limited = |publishers: &[&str], addons: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            RegistrySettings { publishers: owned(publishers), addons: owned(addons), ..there() }
        };
        assert!(with("a.b", limited(&["paul"], &["acme-*"])).unwrap().registries["a.b"].is_limited());
        assert!(
            with("a.b", limited(&["no one"], &[]))
                .unwrap_err()
                .to_string()
                .contains("\"no one\" is the name")
        );
        assert!(with("a.b", limited(&[], &["a b"])).unwrap_err().to_string().contains("\"a b\" is no name"));
        let idle = RegistrySettings { user: None, password_file: None, ..limited(&["paul"], &[]) };
        assert!(with("a.b", idle).unwrap_err().to_string().contains("it has none"));
    }

    #[test]
    fn a_registry_on_this_machine_is_for_a_marketplace_on_this_machine() {
        let insecure = || RegistrySettings { insecure: true, ..RegistrySettings::default() };
        let at = |address: &str, host: &str| {
            config(|config| {
                config.server.address = address.parse().unwrap();
                config.registries.insert(host.to_owned(), insecure());
            })
            .registry_settings()
        };
        assert!(at("127.0.0.1", "localhost:5000").unwrap().loopback);
        assert!(at("0.0.0.0", "localhost:5000").unwrap_err().to_string().contains("listens on loopback"));
        assert!(!at("0.0.0.0", "registry:5000").unwrap().loopback);
    }

    #[test]
    fn a_docker_configuration_gives_credentials_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let auths =
            r#"{"auths": {"ghcr.io": {"auth": "bWU6c2VjcmV0"}, "10.0.0.1:5000": {"auth": "bWU6c2VjcmV0"}}}"#;
        std::fs::write(&path, auths).unwrap();
        let at = || Some(path.clone());
        let spelt = config(|config| {
            config.docker.config_file = at();
            config.registries.insert("ghcr.io:443".to_owned(), RegistrySettings::default());
        });
        let spelt = spelt.registry_settings().unwrap().registries;
        assert_eq!(spelt.keys().collect::<Vec<_>>(), ["ghcr.io:443"]);
        assert_eq!(spelt["ghcr.io:443"].credentials.as_ref().unwrap().user, "me");
        let settings = config(|config| config.docker.config_file = at()).registry_settings().unwrap();
        assert_eq!(settings.registries.keys().collect::<Vec<_>>(), ["ghcr.io"]);
        assert_eq!(settings.registries["ghcr.io"].credentials.as_ref().unwrap().user, "me");
    }
}
