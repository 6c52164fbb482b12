//! Use case: an approved release becomes an installation that the reconciler brings about.
//!
//! Everything that speaks against it is found before anything is made: rights, platform, what it requires, what others have. The decision is
//! taken and written in one transaction, so that of equal requests at once one wins and the others are told who did.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use addon_client::{Finding, InstallRequest, InstallationStatus, ReleaseId};
use addon_descriptor::{AddonDescriptor, AddonName};
use ipnet::{Ipv4Net, Ipv6Net};
use service_kit::audit::Actor;
use service_kit::auth::{Principal, Scope};
use service_kit::clock::{SharedClock, Timestamp};
use service_kit::problem::Problem;
use service_kit::random;

use crate::conflict::{self, Conflict, Holder, World};
use crate::consent;
use crate::domain::claim::{Claim, claims};
use crate::domain::installation::{
    Consent, Desired, Installation, InstallationId, Pin, Revision, folded_name,
};
use crate::domain::specification::{NetworkMode, RevisionSpecification};
use crate::listeners;
use crate::marketplace::{ApprovedRelease, Marketplace, MarketplaceError, Wanted};
use crate::requirement::{self, Requirement};
use crate::resolve::choose::{Choices, TakenPort};
use crate::resolve::{self, HostDefaults, ResolveError, Subject};
use crate::runtime::{ContainerRuntime, Listing, RuntimeError, for_a_request};
use crate::storage::installations::{NewInstallation, Occupied, Present};
use crate::storage::{Storage, StorageError};

/// What this host gives to addons.
#[derive(Debug, Clone)]
pub struct HostPolicy {
    /// For every container. The platform is that of the engine at the time.
    pub defaults: HostDefaults,
    /// `ports.range`.
    pub ports: RangeInclusive<u16>,
    /// `networks.pool`.
    pub pool: Ipv4Net,
    /// The host's own /48.
    pub ula: Ipv6Net,
}

/// Installs.
#[derive(Clone)]
pub struct Installer {
    /// Where installations are kept.
    pub storage: Storage,
    /// Where releases come from.
    pub marketplace: Marketplace,
    /// The engine, to see what it has already.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// What the host gives.
    pub host: HostPolicy,
    /// The time.
    pub clock: SharedClock,
}

/// Why nothing was installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The request contradicts itself or has a value that is none.
    #[error("the request cannot be carried out")]
    Request(Vec<Finding>),
    /// The token is not good for this.
    #[error("{0}")]
    Forbidden(Problem),
    /// There is no release to install.
    #[error(transparent)]
    Marketplace(#[from] MarketplaceError),
    /// The descriptor asks for what this version does not do, or no port or subnet is left.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Rights that have to be named.
    #[error("rights are missing: {}", .0.join(", "))]
    Rights(Vec<String>),
    /// Neither the descriptor nor its images run on this host.
    #[error("the addon runs on {}, this host is {host}", offered.join(", "))]
    Platform {
        /// What it runs on.
        offered: Vec<String>,
        /// The engine's platform.
        host: String,
    },
    /// An image has gone from its registry, and this host does not have it.
    #[error("the image {0} is gone from its registry, and this host does not have it")]
    ImageMissing(String),
    /// Other addons have to be installed first.
    #[error("other addons are required")]
    Requires(Vec<MissingAddon>),
    /// Under this name something is installed, or being removed.
    #[error("the name is taken")]
    NameTaken {
        /// Who has it.
        holder: Present,
        /// Whether it is the same addon.
        same_addon: bool,
    },
    /// Somebody else has what is asked for.
    #[error("{}", .conflicts.iter().map(Conflict::message).collect::<Vec<_>>().join("; "))]
    Conflicts {
        /// What, and who.
        conflicts: Vec<Conflict>,
        /// Where the descriptor asks for each, as a JSON Pointer.
        places: Vec<String>,
    },
    /// What the engine has cannot be known now.
    #[error("the engine does not answer")]
    Engine(#[source] RuntimeError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A required addon that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingAddon {
    /// Which.
    pub requirement: Requirement,
    /// Releases that would do, as the marketplace knows them.
    pub would_do: Vec<String>,
}

impl Installer {
    /// Installs what the request asks for in the name of `who`. The reconciler is to be woken for the answer.
    ///
    /// # Errors
    /// [`InstallError`]: then nothing was written.
    pub async fn install(
        &self,
        request: &InstallRequest,
        who: &Principal,
        by: &Actor,
    ) -> Result<Installation, InstallError> {
        let wanted = wanted(request)?;
        let chosen_name = chosen_name(request)?;
        let mut release = self.marketplace.approved(&wanted).await?;
        let name = chosen_name.unwrap_or_else(|| release.descriptor.name.to_string());
        who.require_name(release.descriptor.name.as_str()).map_err(InstallError::Forbidden)?;
        resolve::not_supported(&release.descriptor)?;
        let granted = granted(&release, request, who)?;
        let required: Vec<Requirement> =
            release.descriptor.requires.addons.iter().map(Requirement::from).collect();
        // Said early and again in the transaction: who cannot be installed at all is told so also while the engine is away.
        let present = self.storage.present().await?;
        name_is_free(&name, &release, &present)?;
        self.requirements_are_met(&required, &present).await?;

        let facts = futures_util::future::try_join(self.runtime.list(), self.runtime.engine());
        let (listing, engine) =
            for_a_request(self.runtime.as_ref(), facts).await.map_err(InstallError::Engine)?;
        runs_on(&release, &engine.platform)?;
        if release.image_missing {
            self.has_every_image(&release).await?;
        }
        if release.pins.is_empty() {
            release.pins = self.pins_of_today(&release).await?;
        }
        let descriptor = &release.descriptor;
        let aliases = self.aliases_of_others(descriptor, &listing).await?;
        let listening = tokio::task::spawn_blocking({
            let listing = listing.clone();
            move || listeners::of_host(&listing)
        });
        let listeners = listening.await.unwrap_or_default();

        let now = self.clock.now();
        let consent = Consent {
            rights: granted,
            digest: release.digest.to_string(),
            by: who.account_or_anonymous().to_owned(),
            at_ms: now.millis(),
        };
        let host = HostDefaults { platform: engine.platform, ..self.host.defaults.clone() };
        let decide = |occupied: &Occupied| {
            name_is_free(&name, &release, &occupied.installations)?;
            if !requirement::missing(&required, &occupied.installations).is_empty() {
                return Err(InstallError::Requires(Vec::new()));
            }
            let world = World { occupied, listing: &listing, aliases: &aliases, listeners: &listeners };
            let mut choices = self.choices(world);
            let subject = Subject { name: &name, descriptor, pins: &release.pins };
            let specification = resolve::resolve(subject, &host, &mut choices)?;
            let kept = conflict::kept_volumes(
                descriptor.name.as_str(),
                &name,
                request.volumes,
                &specification,
                world,
            );
            let wanted = claims(&name, &specification);
            let own: BTreeSet<&str> = kept.taken_back.iter().map(|volume| volume.name.as_str()).collect();
            let mut conflicts = kept.conflicts;
            conflicts.extend(conflict::missing(&specification, &listing));
            let in_the_way: Vec<Claim> = conflicts.iter().map(|conflict| conflict.wanted.clone()).collect();
            conflicts.extend(
                conflict::conflicts(&wanted, &own, world)
                    .into_iter()
                    .filter(|found| !in_the_way.contains(&found.wanted)),
            );
            if !conflicts.is_empty() {
                let places = conflicts.iter().map(|conflict| conflict.place(descriptor)).collect();
                return Err(InstallError::Conflicts { conflicts, places });
            }
            // Volumes that are taken back belong to it also where this revision does not mount them: they go when it does.
            let taken = kept.taken_back.iter().map(|volume| Claim::Volume(volume.name.clone()));
            let claims: BTreeSet<Claim> = wanted.into_iter().chain(taken).collect();
            let installation = new_installation(&release, &name, consent, now);
            let revision = first_revision(&installation, specification);
            Ok(NewInstallation {
                installation,
                revision,
                claims: claims.into_iter().collect(),
                taken_back: kept.taken_back,
                gone: kept.gone,
            })
        };
        let installation = match self.storage.install(by, decide).await? {
            Ok(installation) => installation,
            // Somebody disabled it in between: the same answer as before, with what would do.
            Err(InstallError::Requires(_)) => {
                self.requirements_are_met(&required, &self.storage.present().await?).await?;
                return Err(InstallError::Requires(Vec::new()));
            }
            Err(refused) => return Err(refused),
        };
        tracing::info!(
            installation.id = %installation.id, addon.name = %installation.addon, addon.version = %installation.version,
            release.id = %installation.release_id, account = %installation.consent.by, "installing"
        );
        Ok(installation)
    }

    pub(crate) async fn requirements_are_met(
        &self,
        required: &[Requirement],
        present: &[Present],
    ) -> Result<(), InstallError> {
        let mut missing = Vec::new();
        for requirement in requirement::missing(required, present) {
            let would_do = match requirement.addon.parse::<AddonName>() {
                Ok(addon) => self.marketplace.releases_that_would_do(&addon, &requirement.range).await,
                Err(_) => Vec::new(),
            };
            missing.push(MissingAddon { requirement, would_do });
        }
        if missing.is_empty() { Ok(()) } else { Err(InstallError::Requires(missing)) }
    }

    /// What the images are in their registries now, where the marketplace does not say what they were when they were reviewed. From here on
    /// they are what they are.
    pub(crate) async fn pins_of_today(&self, release: &ApprovedRelease) -> Result<Vec<Pin>, InstallError> {
        let mut pins = Vec::new();
        for service in &release.descriptor.services {
            let image = &service.image;
            let digest = match image.digest() {
                Some(digest) => digest,
                None => {
                    let tag = image.reference();
                    let text = self
                        .runtime
                        .registry_digest(&image.name(), &tag)
                        .await
                        .map_err(InstallError::Engine)?;
                    text.parse().map_err(|_| {
                        let operation = format!("look up {image}", image = image.as_written());
                        InstallError::Engine(RuntimeError::Never {
                            operation,
                            message: format!("{text:?} is no digest"),
                        })
                    })?
                }
            };
            pins.push(Pin {
                service_name: service.service_name.to_string(),
                image: image.as_written().to_owned(),
                digest,
                platforms: Vec::new(),
                bytes: 0,
                manifests: Vec::new(),
            });
        }
        Ok(pins)
    }

    pub(crate) async fn has_every_image(&self, release: &ApprovedRelease) -> Result<(), InstallError> {
        for service in &release.descriptor.services {
            let Some(pin) = release.pins.iter().find(|pin| pin.service_name == service.service_name.as_str())
            else {
                continue;
            };
            let reference = format!("{}@{}", service.image.name(), pin.digest);
            if self.runtime.inspect_image(&reference).await.map_err(InstallError::Engine)?.is_none() {
                return Err(InstallError::ImageMissing(pin.image.clone()));
            }
        }
        Ok(())
    }

    /// Names that containers answer to on networks where this descriptor asks for names. The listing does not tell them.
    pub(crate) async fn aliases_of_others(
        &self,
        descriptor: &AddonDescriptor,
        listing: &Listing,
    ) -> Result<BTreeMap<(String, String), String>, InstallError> {
        let mut asked: BTreeSet<&str> = BTreeSet::new();
        for service in &descriptor.services {
            // A host name is a name on every network of its container.
            let has_host_name = service.hostname.is_some();
            let named =
                service.networks.iter().filter(|(_, attached)| has_host_name || !attached.aliases.is_empty());
            asked.extend(named.map(|(network, _)| network.as_str()));
            if has_host_name && service.networks.is_empty() && service.network_mode.is_none() {
                asked.extend(self.host.defaults.platform_network.as_deref());
            }
        }
        let courtesy = self.storage.given_courtesy_aliases().await?;
        let mut aliases = BTreeMap::new();
        for container in &listing.containers {
            if !container.networks.values().any(|attachment| asked.contains(attachment.network_name.as_str()))
            {
                continue;
            }
            let Some(inspected) = self.runtime.inspect(&container.id).await.map_err(InstallError::Engine)?
            else {
                continue;
            };
            for (network, names) in inspected.aliases {
                // One that an addon has without having asked for it refuses nobody.
                let given = |alias: &String| {
                    courtesy.contains(&(container.id.clone(), network.clone(), alias.clone()))
                };
                let names = names.into_iter().chain(inspected.host_name.clone()).filter(|name| !given(name));
                aliases.extend(names.map(|name| ((network.clone(), name), container.name.clone())));
            }
        }
        Ok(aliases)
    }

    /// What is free on this host.
    pub(crate) fn choices(&self, world: World<'_>) -> Choices {
        let claimed_ports = world.occupied.claims.iter().filter_map(|held| match held.claim {
            Claim::HostPort { ip, port, protocol } => Some(TakenPort { ip, port, protocol }),
            _ => None,
        });
        let published = world
            .listing
            .containers
            .iter()
            .flat_map(|container| &container.ports)
            .map(|port| TakenPort { ip: port.host_ip, port: port.host_port, protocol: port.protocol });
        let claimed_subnets = world.occupied.claims.iter().filter_map(|held| match held.claim {
            Claim::Subnet(subnet) => Some(subnet),
            _ => None,
        });
        let on_engine = world
            .listing
            .networks
            .iter()
            .flat_map(|network| &network.subnets)
            .filter_map(|subnet| subnet.parse().ok());
        Choices::new(
            self.host.ports.clone(),
            self.host.pool,
            self.host.ula,
            claimed_ports.chain(published).chain(world.listeners.iter().copied()),
            claimed_subnets.chain(on_engine),
        )
    }
}

/// The release that a request names.
pub(crate) fn wanted(request: &InstallRequest) -> Result<Wanted, InstallError> {
    let refuse = |path: &str, rule: &str, message: &str| {
        Err(InstallError::Request(vec![finding(path, rule, message)]))
    };
    if request.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty()) {
        return Err(ResolveError::NotSupported { field: "parameters", path: "/parameters".to_owned() }.into());
    }
    match (&request.marketplace_id, &request.addon, &request.version) {
        (Some(_), Some(_), _) => {
            refuse("/addon", "one-of", "give either `marketplace_id` or `addon`, not both")
        }
        (Some(_), None, Some(_)) => {
            refuse("/version", "one-of", "`marketplace_id` names one version already: leave `version` out")
        }
        (Some(id), None, None) => match id.parse::<ReleaseId>() {
            Ok(id) => Ok(Wanted::Id(id)),
            Err(_) => Err(MarketplaceError::NotFound(format!("`{id}`")).into()),
        },
        (None, Some(addon), version) => match addon.parse::<AddonName>() {
            Ok(_) => Ok(Wanted::Named { addon: addon.clone(), version: version.clone() }),
            Err(_) => Err(MarketplaceError::NotFound(format!("of `{addon}`")).into()),
        },
        (None, None, _) => {
            let mut missing = finding(
                "/marketplace_id",
                "required",
                "name the release: `marketplace_id`, or `addon` with or without `version`",
            );
            missing.suggestion = Some("{\"marketplace_id\": \"6b00fc9223516c5e37bee27c\"}".to_owned());
            Err(InstallError::Request(vec![missing]))
        }
    }
}

fn chosen_name(request: &InstallRequest) -> Result<Option<String>, InstallError> {
    let Some(name) = &request.name else { return Ok(None) };
    match name.parse::<AddonName>() {
        Ok(name) => Ok(Some(name.to_string())),
        Err(invalid) => {
            let suggestion = invalid.suggestion;
            Err(InstallError::Request(vec![Finding {
                suggestion,
                ..finding("/name", "name", &invalid.message)
            }]))
        }
    }
}

pub(crate) fn finding(path: &str, rule: &str, message: &str) -> Finding {
    Finding {
        path: path.to_owned(),
        rule: rule.to_owned(),
        message: message.to_owned(),
        suggestion: None,
        line: None,
        column: None,
    }
}

fn granted(
    release: &ApprovedRelease,
    request: &InstallRequest,
    who: &Principal,
) -> Result<BTreeSet<String>, InstallError> {
    let asked_for = addon_descriptor::rights(&release.descriptor);
    let named = request.rights.as_deref().unwrap_or_default();
    let granted =
        consent::grant(&asked_for, named).map_err(|missing| InstallError::Rights(missing.rights))?;
    if consent::needs_consent_scope(&asked_for) {
        who.require(Scope::Consent).map_err(InstallError::Forbidden)?;
    }
    Ok(granted)
}

fn name_is_free(name: &str, release: &ApprovedRelease, present: &[Present]) -> Result<(), InstallError> {
    let folded = folded_name(name);
    match present.iter().find(|present| folded_name(&present.name) == folded) {
        None => Ok(()),
        Some(holder) => {
            let same_addon = holder.addon == release.descriptor.name.as_str();
            Err(InstallError::NameTaken { holder: holder.clone(), same_addon })
        }
    }
}

/// Whether the descriptor and each image are for this host. An image that the descriptor wants of another platform is the author's choice.
pub(crate) fn runs_on(release: &ApprovedRelease, host: &str) -> Result<(), InstallError> {
    let required: Vec<&str> =
        release.descriptor.requires.platforms.iter().map(|platform| platform.as_str()).collect();
    let refuse = |offered: &[&str]| {
        let offered = offered.iter().map(|platform| (*platform).to_owned()).collect();
        Err(InstallError::Platform { offered, host: host.to_owned() })
    };
    if !required.is_empty() && !required.iter().any(|platform| fits(platform, host)) {
        return refuse(&required);
    }
    for pin in &release.pins {
        let chosen =
            release.descriptor.service(&pin.service_name).and_then(|service| service.platform.as_ref());
        let offered: Vec<&str> = pin.platforms.iter().map(String::as_str).collect();
        if chosen.is_none() && !offered.is_empty() && !offered.iter().any(|platform| fits(platform, host)) {
            return refuse(&offered);
        }
    }
    Ok(())
}

/// Whether what is made for `offered` runs on `host`: the same system and architecture, and no later variant where the host says its own.
fn fits(offered: &str, host: &str) -> bool {
    let parts = |platform: &str| -> (String, Option<String>) {
        let mut parts = platform.splitn(3, '/');
        let base = format!("{}/{}", parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        (base, parts.next().map(str::to_owned))
    };
    let ((offered, of_image), (host, of_host)) = (parts(offered), parts(host));
    // Variants are `v5` to `v8` and order as texts.
    offered == host && of_image.zip(of_host).is_none_or(|(image, host)| image <= host)
}

fn new_installation(release: &ApprovedRelease, name: &str, consent: Consent, now: Timestamp) -> Installation {
    Installation {
        id: InstallationId::new(now.seconds(), random::bytes()),
        name: name.to_owned(),
        addon: release.descriptor.name.to_string(),
        version: release.version(),
        release_id: release.id,
        release_digest: release.digest,
        descriptor: release.canonical.clone(),
        pins: release.pins.clone(),
        consent,
        desired: Desired::Active,
        generation: 1,
        revision: 1,
        restart_generation: 0,
        epoch: 0,
        been_up: BTreeSet::new(),
        delete_volumes: false,
        listed: true,
        status: InstallationStatus::Installing,
        status_since: now,
        conditions: Vec::new(),
        service_states: Vec::new(),
        created_at: now,
        updated_at: now,
    }
}

fn first_revision(installation: &Installation, specification: RevisionSpecification) -> Revision {
    let digests =
        specification.services.iter().map(|(name, service)| (name.clone(), service.digest())).collect();
    debug_assert!(
        specification
            .services
            .values()
            .all(|service| !matches!(&service.network, NetworkMode::Networks(on) if on.is_empty()))
    );
    Revision {
        installation: installation.id,
        revision: installation.revision,
        release_id: installation.release_id,
        release_digest: installation.release_digest,
        version: installation.version.clone(),
        descriptor: installation.descriptor.clone(),
        pins: installation.pins.clone(),
        specification,
        digests,
        created_at: installation.created_at,
    }
}

/// Whether all of them are only because something is being removed: waiting helps.
pub fn only_waiting_helps(conflicts: &[Conflict]) -> bool {
    conflicts.iter().all(|conflict| matches!(conflict.holder, Holder::Installation { going: true, .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_the_same_architecture_and_no_later_variant_fits() {
        for (offered, host, fit) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/arm64", "linux/amd64", false),
            ("linux/arm/v6", "linux/arm/v7", true),
            ("linux/arm/v7", "linux/arm/v6", false),
            ("linux/arm/v7", "linux/arm", true),
            ("linux/amd64/v3", "linux/amd64", true),
            ("windows/amd64", "linux/amd64", false),
        ] {
            assert_eq!(fits(offered, host), fit, "{offered} on {host}");
        }
    }

    #[test]
    fn a_request_names_one_release() {
        let request = |text: &str| serde_json::from_str::<InstallRequest>(text).unwrap();
        let id = "6b00fc9223516c5e37bee27c";
        assert_eq!(
            wanted(&request(&format!(r#"{{"marketplace_id":"{id}"}}"#))).unwrap(),
            Wanted::Id(id.parse().unwrap())
        );
        let named = Wanted::Named { addon: "shop".to_owned(), version: Some("^1".to_owned()) };
        assert_eq!(wanted(&request(r#"{"addon":"shop","version":"^1"}"#)).unwrap(), named);
        for (text, path) in [
            ("{}", "/marketplace_id"),
            (r#"{"version":"1"}"#, "/marketplace_id"),
            (r#"{"marketplace_id":"6b00fc9223516c5e37bee27c","addon":"shop"}"#, "/addon"),
            (r#"{"marketplace_id":"6b00fc9223516c5e37bee27c","version":"1"}"#, "/version"),
        ] {
            let Err(InstallError::Request(findings)) = wanted(&request(text)) else { panic!("{text}") };
            assert_eq!(findings[0].path, path, "{text}");
        }
        for text in [r#"{"marketplace_id":"nothing"}"#, r#"{"addon":"../x"}"#] {
            assert!(
                matches!(
                    wanted(&request(text)),
                    Err(InstallError::Marketplace(MarketplaceError::NotFound(_)))
                ),
                "{text}"
            );
        }
    }
}
