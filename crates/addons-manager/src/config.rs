//! The settings of this manager: what there is to set, its defaults, and what cannot be.
//!
//! Everything is checked once, at start, with messages that say what to change. How a file and the environment become a [`Config`] stands in
//! `service_kit::config`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use addon_descriptor::{NetworkName, ServiceName};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use service_kit::auth::AuthSettings;
use service_kit::config::{Alias, ConfigProfile, Registries, ServerSettings};
use service_kit::telemetry::LogSettings;
use url::Url;

use crate::domain::specification::Logging;
use crate::resolve::HostDefaults;

/// The variables that set something: ours (`ADDONS_MANAGER__PLATFORM__PREFIX`) and those that Oakestra's own manager reads.
pub const PROFILE: ConfigProfile = ConfigProfile {
    prefix: "ADDONS_MANAGER",
    aliases: &[
        Alias::same("ADDONS_MANAGER_PORT", "server.port"),
        Alias { variable: "MARKETPLACE_ADDR", key: "marketplace.url", convert: with_scheme },
        Alias {
            variable: "ORCHESTRATION_PLANE",
            key: "platform.prefix",
            convert: |plane| format!("{plane}_"),
        },
        Alias::same("DEFAULT_PROJECT_NAME", "platform.project"),
    ],
};

/// Port of Oakestra's addons manager.
const PORT: u16 = 11101;

/// Oakestra writes the marketplace's address with and without its scheme.
fn with_scheme(address: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
}

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of the database, the files of addons and the administrator's token; none: the user's folder for data.
    pub state_dir: Option<PathBuf>,
    /// Where it listens.
    pub server: ServerConfig,
    /// Who may call.
    pub auth: AuthSettings,
    /// What is logged.
    pub log: LogSettings,
    /// The engine.
    pub docker: DockerConfig,
    /// Logins of registries, by host.
    pub registries: Registries,
    /// Where releases come from.
    pub marketplace: MarketplaceConfig,
    /// The platform that addons extend.
    pub platform: PlatformConfig,
    /// What every container gets unless its descriptor says otherwise.
    pub containers: ContainersConfig,
    /// Networks of addons.
    pub networks: NetworksConfig,
    /// Ports of the host.
    pub ports: PortsConfig,
    /// Space on the engine's disk.
    pub disk: DiskConfig,
    /// Pulls of images.
    pub pulls: PullsConfig,
    /// How addons are kept as they should be.
    pub reconciler: ReconcilerConfig,
    /// How installations are changed from one revision to another.
    pub rollouts: RolloutsConfig,
}

/// The shared settings of a server, with this service's port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServerConfig(pub ServerSettings);

impl Default for ServerConfig {
    fn default() -> Self {
        Self(ServerSettings::on_port(PORT))
    }
}

/// `[docker]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DockerConfig {
    /// `unix:///var/run/docker.sock`, or `tcp://host:port` with the three files below.
    pub host: String,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem`, for a `tcp` engine.
    pub tls_dir: Option<PathBuf>,
    /// A Docker `config.json` with logins of registries.
    pub config_file: Option<PathBuf>,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self { host: "unix:///var/run/docker.sock".to_owned(), tls_dir: None, config_file: None }
    }
}

/// `[marketplace]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MarketplaceConfig {
    /// Address of the marketplace.
    pub url: Url,
    /// File with the token that is sent to it.
    pub token_file: Option<PathBuf>,
    /// Install also what the marketplace pins no digests for (Oakestra's own): they are pinned to what their registries have at install.
    pub allow_unpinned: bool,
    /// Tell the marketplace once of each addon that was installed, so that it can be counted: the addon's name, and a number drawn for it
    /// alone.
    pub report_installs: bool,
}

impl Default for MarketplaceConfig {
    fn default() -> Self {
        let url = Url::parse("http://127.0.0.1:11102").expect("it is a URL");
        Self { url, token_file: None, allow_unpinned: false, report_installs: false }
    }
}

/// `[platform]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlatformConfig {
    /// In front of names of containers: `root_`.
    pub prefix: String,
    /// Compose project of the platform; containers of addons are grouped under it. None: a group of its own for each addon.
    pub project: Option<String>,
    /// Network that services are on which name none; made when it is missing, never removed. Empty: none.
    pub network: String,
    /// Names of further containers that belong to the platform and may be taken over.
    pub components: Vec<String>,
    /// Names of containers that are never taken over.
    pub protected: Vec<String>,
}

impl Default for PlatformConfig {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            project: None,
            network: "oakestra".to_owned(),
            components: Vec::new(),
            protected: [
                "mongo",
                "mongo_addons",
                "redis",
                "marketplace_manager",
                "addons_manager",
                "addons_monitor",
            ]
            .map(str::to_owned)
            .to_vec(),
        }
    }
}

/// `[containers]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainersConfig {
    /// Most processes and threads of a container.
    pub pids: u32,
    /// Keep programs from gaining rights by set-user-id bits.
    pub no_new_privileges: bool,
    /// Driver of logs.
    pub log_driver: String,
    /// Its options.
    pub log_options: BTreeMap<String, String>,
}

impl Default for ContainersConfig {
    fn default() -> Self {
        Self {
            pids: 4_096,
            no_new_privileges: true,
            log_driver: "json-file".to_owned(),
            // Empty in the default, so that any key can be set; `logging` below fills it in for json-file.
            log_options: BTreeMap::new(),
        }
    }
}

/// `[networks]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworksConfig {
    /// Subnets of addons' networks are cut from this.
    pub pool: String,
}

impl Default for NetworksConfig {
    fn default() -> Self {
        Self { pool: "10.209.0.0/16".to_owned() }
    }
}

/// `[ports]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortsConfig {
    /// Free host ports are chosen from this: `20000-29999`.
    pub range: String,
}

impl Default for PortsConfig {
    fn default() -> Self {
        Self { range: "20000-29999".to_owned() }
    }
}

/// `[disk]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskConfig {
    /// Bytes on the engine's disk that pulls leave free: a size as `2g`, or bytes.
    pub reserve: String,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self { reserve: "2g".to_owned() }
    }
}

/// `[pulls]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PullsConfig {
    /// Pulls at one time.
    pub parallel: u32,
    /// Longest time without a byte.
    pub idle_timeout_ms: u64,
    /// Longest time in all.
    pub total_timeout_ms: u64,
}

impl Default for PullsConfig {
    fn default() -> Self {
        Self { parallel: 3, idle_timeout_ms: 60_000, total_timeout_ms: 3_600_000 }
    }
}

/// `[reconciler]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReconcilerConfig {
    /// Longest time between two looks at everything. Events wake it at once; this is for those that were lost.
    pub resync_interval_ms: u64,
    /// Installations that are worked on at one time.
    pub parallel: u32,
    /// Calls to the engine at one time for one installation.
    pub parallel_steps: u32,
}

impl Default for ReconcilerConfig {
    fn default() -> Self {
        Self { resync_interval_ms: 60_000, parallel: 8, parallel_steps: 8 }
    }
}

/// `[rollouts]`: how an installation is changed from one revision to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutsConfig {
    /// How long a service of a new revision has to be well (healthy; without a check: running, and not restarted) before the next one is
    /// changed: at most 5 minutes.
    pub settle_ms: u64,
    /// How long a change may take for each service that it changes. Only the time counts in which manager and engine are up and no image is
    /// on its way.
    pub deadline_ms: u64,
}

impl Default for RolloutsConfig {
    fn default() -> Self {
        Self { settle_ms: 10_000, deadline_ms: 600_000 }
    }
}

/// The same settings, read: what cannot be is refused before anything starts.
#[derive(Debug, Clone)]
pub struct Checked {
    /// For every container. The platform is filled in from the engine.
    pub defaults: HostDefaults,
    /// `ports.range`
    pub ports: RangeInclusive<u16>,
    /// `networks.pool`
    pub pool: Ipv4Net,
    /// `disk.reserve`
    pub disk_reserve_bytes: u64,
    /// `platform.project`
    pub project: Option<String>,
    /// `reconciler.resync_interval_ms`
    pub resync_interval: Duration,
    /// The token for the marketplace.
    pub marketplace_token: Option<service_kit::config::Secret>,
}

/// A setting that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("the setting {key} {reason}")]
pub struct InvalidSetting {
    /// Which.
    pub key: &'static str,
    /// What is wrong with it, and what to write instead.
    pub reason: String,
}

impl Config {
    /// Reads what settings mean, files that they name included.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the first one that cannot be.
    pub fn check(&self) -> Result<Checked, InvalidSetting> {
        let invalid = |key, reason: String| InvalidSetting { key, reason };
        let prefix = &self.platform.prefix;
        // A prefix is the beginning of a container's name: what the engine takes there, and not too long.
        if !prefix.is_empty() && (prefix.parse::<ServiceName>().is_err() || prefix.len() > 32) {
            let reason = format!(
                "is {prefix:?}: it begins names of containers, so it is at most 32 of a-z, A-Z, 0-9, `.`, `_` and `-`"
            );
            return Err(invalid("platform.prefix", reason));
        }
        let network = &self.platform.network;
        if !network.is_empty() && network.parse::<NetworkName>().is_err() {
            return Err(invalid(
                "platform.network",
                format!("is {network:?}, which is no name of a network; empty for none"),
            ));
        }
        if matches!(network.as_str(), "host" | "none" | "bridge" | "default") {
            return Err(invalid(
                "platform.network",
                format!("is {network:?}, which means something else to the engine"),
            ));
        }
        let project = self.platform.project.clone().filter(|project| !project.is_empty());
        let is_project = |project: &String| {
            project
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
                && project.as_bytes()[0].is_ascii_alphanumeric()
        };
        if let Some(project) = project.as_ref().filter(|project| !is_project(project)) {
            return Err(invalid(
                "platform.project",
                format!("is {project:?}: a Compose project is written with a-z, 0-9, `_` and `-`"),
            ));
        }
        let host = &self.docker.host;
        let is_host = host.strip_prefix("unix://").unwrap_or(host).starts_with('/')
            || ["tcp://", "http://", "https://"]
                .iter()
                .any(|scheme| host.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
        if !is_host {
            return Err(invalid(
                "docker.host",
                format!("is {host:?}: write unix:///path/docker.sock or tcp://host:port"),
            ));
        }
        for file in ["ca.pem", "cert.pem", "key.pem"] {
            if let Some(path) =
                self.docker.tls_dir.as_ref().map(|folder| folder.join(file)).filter(|path| !path.is_file())
            {
                return Err(invalid("docker.tls_dir", format!("names a folder without {}", path.display())));
            }
        }
        if !matches!(self.marketplace.url.scheme(), "http" | "https")
            || self.marketplace.url.host_str().is_none()
        {
            let reason =
                format!("is {:?}: write http://host:port or https://host", self.marketplace.url.as_str());
            return Err(invalid("marketplace.url", reason));
        }
        let ports = port_range(&self.ports.range).map_err(|reason| invalid("ports.range", reason))?;
        let pool: Ipv4Net = self.networks.pool.parse().map_err(|_| {
            invalid(
                "networks.pool",
                format!("is {:?}: write a network of IPv4 as 10.209.0.0/16", self.networks.pool),
            )
        })?;
        if pool.trunc() != pool || pool.prefix_len() > 26 {
            let reason = format!(
                "is {pool}: write it without host bits ({}) and with at most /26, which one addon's network takes",
                pool.trunc()
            );
            return Err(invalid("networks.pool", reason));
        }
        let disk_reserve_bytes = addon_descriptor::parse_size(&self.disk.reserve).map_err(|fault| {
            invalid("disk.reserve", format!("is {:?}: {fault}, as 2g", self.disk.reserve))
        })?;
        for (key, value) in [
            ("pulls.parallel", self.pulls.parallel),
            ("reconciler.parallel", self.reconciler.parallel),
            ("reconciler.parallel_steps", self.reconciler.parallel_steps),
        ] {
            if !(1..=256).contains(&value) {
                return Err(invalid(key, format!("is {value}: write 1 to 256")));
            }
        }
        if self.rollouts.settle_ms > 300_000 {
            let reason = format!("is {}: write at most 300000 milliseconds", self.rollouts.settle_ms);
            return Err(invalid("rollouts.settle_ms", reason));
        }
        for (key, value, least) in [
            ("rollouts.deadline_ms", self.rollouts.deadline_ms, 1_000),
            ("pulls.idle_timeout_ms", self.pulls.idle_timeout_ms, 1_000),
            ("pulls.total_timeout_ms", self.pulls.total_timeout_ms, 1_000),
            ("reconciler.resync_interval_ms", self.reconciler.resync_interval_ms, 100),
        ] {
            if !(least..=86_400_000).contains(&value) {
                return Err(invalid(key, format!("is {value}: write {least} to 86400000 milliseconds")));
            }
        }
        if self.containers.pids < 16 {
            return Err(invalid(
                "containers.pids",
                format!("is {}: nothing runs with fewer than 16", self.containers.pids),
            ));
        }
        let logging = self.containers.logging().map_err(|reason| invalid("containers.log_driver", reason))?;
        let marketplace_token = match &self.marketplace.token_file {
            None => None,
            Some(path) => Some(token(path).map_err(|reason| invalid("marketplace.token_file", reason))?),
        };
        Ok(Checked {
            defaults: HostDefaults {
                prefix: prefix.clone(),
                platform_network: Some(network.clone()).filter(|network| !network.is_empty()),
                logging,
                pids: i64::from(self.containers.pids),
                no_new_privileges: self.containers.no_new_privileges,
                platform: String::new(),
            },
            ports,
            pool,
            disk_reserve_bytes,
            project,
            resync_interval: Duration::from_millis(self.reconciler.resync_interval_ms),
            marketplace_token,
        })
    }
}

impl ContainersConfig {
    /// The driver with its options; json-file and local rotate at 3 x 10 MiB unless something else is said.
    fn logging(&self) -> Result<Logging, String> {
        let driver: addon_descriptor::descriptor::LogDriver = self
            .log_driver
            .parse()
            .map_err(|_| format!("is {:?}, which is none that is built into the engine", self.log_driver))?;
        let mut options = self.log_options.clone();
        if matches!(driver.as_str(), "json-file" | "local") {
            options.entry("max-size".to_owned()).or_insert_with(|| "10m".to_owned());
            options.entry("max-file".to_owned()).or_insert_with(|| "3".to_owned());
        }
        Ok(Logging { driver: driver.as_str().to_owned(), options })
    }
}

fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let refused = || format!("is {text:?}: write the lowest and the highest port, as 20000-29999");
    let (first, last) = text.split_once('-').ok_or_else(refused)?;
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(refused);
    let (first, last) = (port(first)?, port(last)?);
    if first > last { Err(refused()) } else { Ok(first..=last) }
}

fn token(path: &Path) -> Result<service_kit::config::Secret, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("names {}, which cannot be read: {error}", path.display()))?;
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(format!("names {}, which does not hold one token", path.display()));
    }
    Ok(service_kit::config::Secret::new(text))
}

#[cfg(test)]
mod tests {
    use service_kit::config::{Environment, load};

    use super::*;

    fn from(file: &str, environment: &Environment) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manager.toml");
        std::fs::write(&path, file).unwrap();
        load(&PROFILE, Some(&path), environment).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_good() {
        let checked = Config::default().check().unwrap();
        assert_eq!(checked.ports, 20_000..=29_999);
        assert_eq!(checked.disk_reserve_bytes, 2 << 30);
        assert_eq!(checked.defaults.platform_network.as_deref(), Some("oakestra"));
        assert_eq!(checked.defaults.logging.options["max-size"], "10m");
        assert_eq!(Config::default().server.0.port, 11101);
    }

    #[test]
    fn oakestras_variables_are_understood() {
        let environment = [
            ("ADDONS_MANAGER_PORT", "11201"),
            ("MARKETPLACE_ADDR", "marketplace_manager:11102"),
            ("ORCHESTRATION_PLANE", "cluster"),
            ("DEFAULT_PROJECT_NAME", "cluster_orchestrator"),
        ];
        let config = from("", &environment.into()).unwrap();
        assert_eq!(config.server.0.port, 11201);
        assert_eq!(config.marketplace.url.as_str(), "http://marketplace_manager:11102/");
        assert_eq!(config.platform.prefix, "cluster_");
        assert_eq!(config.check().unwrap().project.as_deref(), Some("cluster_orchestrator"));
        assert_eq!(with_scheme("https://market.example"), "https://market.example");
    }

    #[test]
    fn an_empty_network_is_none() {
        let config = from("[platform]\nnetwork = \"\"", &Environment::default()).unwrap();
        assert_eq!(config.check().unwrap().defaults.platform_network, None);
    }

    #[test]
    fn log_options_are_added_to() {
        let config =
            from("[containers.log_options]\nmax-size = \"50m\"\ntag = \"x\"", &Environment::default())
                .unwrap();
        let logging = config.check().unwrap().defaults.logging;
        assert_eq!(
            (logging.options["max-size"].as_str(), logging.options["max-file"].as_str()),
            ("50m", "3")
        );
        assert_eq!(logging.options["tag"], "x");
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_setting_and_what_to_write() {
        for (file, expected) in [
            ("[platform]\nprefix = \"-root\"", "platform.prefix"),
            ("[platform]\nprefix = \"a/b\"", "platform.prefix"),
            ("[platform]\nnetwork = \"host\"", "platform.network"),
            ("[platform]\nnetwork = \"a b\"", "platform.network"),
            ("[platform]\nproject = \"Root\"", "platform.project"),
            ("[docker]\nhost = \"unix://relative\"", "docker.host"),
            ("[docker]\nhost = \"ssh://host\"", "docker.host"),
            (
                "[docker]\nhost = \"tcp://h:2376\"\ntls_dir = \"/nowhere\"",
                "docker.tls_dir names a folder without /nowhere/ca.pem",
            ),
            ("[marketplace]\nurl = \"ftp://x\"", "marketplace.url"),
            ("[marketplace]\ntoken_file = \"/nowhere/token\"", "marketplace.token_file names /nowhere/token"),
            ("[ports]\nrange = \"20000\"", "ports.range"),
            ("[ports]\nrange = \"30000-20000\"", "ports.range"),
            ("[ports]\nrange = \"0-10\"", "ports.range"),
            (
                "[networks]\npool = \"10.0.0.1/16\"",
                "networks.pool is 10.0.0.1/16: write it without host bits (10.0.0.0/16)",
            ),
            ("[networks]\npool = \"10.0.0.0/27\"", "networks.pool"),
            ("[networks]\npool = \"fd00::/48\"", "networks.pool"),
            ("[disk]\nreserve = \"2Gi\"", "disk.reserve"),
            ("[pulls]\nparallel = 0", "pulls.parallel"),
            ("[pulls]\nidle_timeout_ms = 1", "pulls.idle_timeout_ms"),
            ("[reconciler]\nparallel = 1000", "reconciler.parallel"),
            ("[containers]\npids = 1", "containers.pids"),
            ("[containers]\nlog_driver = \"papyrus\"", "containers.log_driver"),
        ] {
            let fault = from(file, &Environment::default()).unwrap().check().unwrap_err().to_string();
            assert!(fault.contains(expected), "{file}: {fault}");
        }
        assert!(
            from("[platfrom]\nprefix = \"a\"", &Environment::default())
                .unwrap_err()
                .contains("did you mean platform?")
        );
        // Nothing of a manager is public, so there is nothing to set.
        let public = from("[auth]\npublic_read = true", &Environment::default()).unwrap_err();
        assert!(public.contains("there is no setting auth.public_read"), "{public}");
    }
}
