//! Use cases: an installation is to have another release, or a revision that it had before. The reconciler brings it about, and back when it
//! fails.
//!
//! As with an install, everything that speaks against it is found before anything is changed, and decided and written in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use addon_client::{InstallRequest, RollbackRequest, UpgradeRequest};
use addon_descriptor::{AddonDescriptor, Right, Version};
use ipnet::IpNet;
use service_kit::audit::Actor;
use service_kit::auth::{Principal, Scope};
use service_kit::clock::Timestamp;

use crate::conflict::{self, World};
use crate::consent;
use crate::domain::claim::{Claim, claims};
use crate::domain::installation::{Consent, Installation, InstallationId, Revision};
use crate::domain::rollout::{Rollout, RolloutKind};
use crate::domain::specification::RevisionSpecification;
use crate::install::{InstallError, Installer, runs_on, wanted};
use crate::listeners;
use crate::requirement::Requirement;
use crate::resolve::choose::{Kept, TakenPort};
use crate::resolve::{self, HostDefaults, Subject};
use crate::runtime::{Listing, for_a_request};
use crate::storage::StorageError;
use crate::storage::installations::{NewRevision, Occupied, Standing};

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such installation.
    #[error("there is no such installation")]
    NotFound,
    /// What an install would be refused for.
    #[error(transparent)]
    Refused(#[from] InstallError),
    /// The release is another addon's.
    #[error("the release is of addon `{release}`, what is installed is `{installed}`")]
    OtherAddon {
        /// Of the release.
        release: String,
        /// Of the installation.
        installed: String,
    },
    /// It is as it was asked to be.
    #[error("{0} is what is installed")]
    Already(String),
    /// It had no such revision, or not any more.
    #[error("there is no revision {revision}; there are: {}", .there.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    NoRevision {
        /// What was asked for.
        revision: i64,
        /// What there is.
        there: Vec<i64>,
    },
    /// The newest release is older than what is installed, and nobody has named it.
    #[error("the newest approved version is {newest}, and {installed} is installed")]
    Older {
        /// Of the release.
        newest: String,
        /// Of the installation.
        installed: String,
    },
    /// Another change is under way.
    #[error("{} from revision {} to {} is under way", .0.kind.describe(), .0.from, .0.to)]
    UnderWay(Box<Rollout>),
    /// A volume is declared in another way than the one that is there.
    #[error(
        "volume `{0}` is declared with another driver or other options than the one that is there, which holds the data"
    )]
    VolumeChanges(String),
}

impl From<StorageError> for ChangeError {
    fn from(error: StorageError) -> Self {
        Self::Refused(error.into())
    }
}

impl Installer {
    /// Has an installation changed to another release of its addon, in the name of `who`. The reconciler is to be woken.
    ///
    /// # Errors
    /// [`ChangeError`]: then nothing was written.
    pub async fn upgrade(
        &self,
        id: InstallationId,
        request: &UpgradeRequest,
        who: &Principal,
        by: &Actor,
    ) -> Result<(), ChangeError> {
        let installation = self.listed(id).await?;
        let release = InstallRequest {
            marketplace_id: request.marketplace_id.clone(),
            addon: request.marketplace_id.is_none().then(|| installation.addon.clone()),
            version: request.version.clone(),
            ..InstallRequest::default()
        };
        let mut release = self.marketplace.approved(&wanted(&release)?).await.map_err(InstallError::from)?;
        if release.descriptor.name.as_str() != installation.addon {
            let release = release.descriptor.name.to_string();
            return Err(ChangeError::OtherAddon { release, installed: installation.addon });
        }
        if release.digest == installation.release_digest {
            return Err(ChangeError::Already(format!("version {}", release.version())));
        }
        let is_named = request.marketplace_id.is_some() || request.version.is_some();
        if !is_named && is_older(&release.version(), &installation.version) {
            return Err(ChangeError::Older { newest: release.version(), installed: installation.version });
        }
        resolve::not_supported(&release.descriptor).map_err(InstallError::from)?;
        let asked_for = addon_descriptor::rights(&release.descriptor);
        let named = request.rights.as_deref().unwrap_or_default();
        // Said early and again in the transaction, as of what has been agreed to by then.
        widened(&installation.consent, &asked_for, named, who, self.clock.now())?;
        let required: Vec<Requirement> =
            release.descriptor.requires.addons.iter().map(Requirement::from).collect();
        self.requirements_are_met(&required, &self.storage.present().await?).await?;

        let host = self.host_of_today().await?;
        runs_on(&release, &host.defaults.platform)?;
        if release.image_missing {
            self.has_every_image(&release).await?;
        }
        if release.pins.is_empty() {
            release.pins = self.pins_of_today(&release).await?;
        }
        let own = self.own_objects(id).await?;
        let aliases = self.aliases_of_others(&release.descriptor, &host.without(&own)).await?;
        let now = self.clock.now();
        let decide = |occupied: &Occupied, standing: &Standing| {
            may_change(standing)?;
            let before = standing_revision(standing)?;
            let consent = widened(&standing.installation.consent, &asked_for, named, who, now)?;
            let revision = 1 + standing.last_revision;
            let others = Others::of(id, &own, occupied, &host);
            let world = others.world(&aliases);
            let others = standing.revisions.iter().filter(|known| known.revision != before.revision);
            let kept = Kept {
                revision,
                before: before.specification.clone(),
                others: others.map(|known| known.specification.clone()).collect(),
            };
            let mut choices = self.choices(world).keeping(kept);
            own_subnets(&own, &host.listing).for_each(|subnet| choices.take_subnet(subnet));
            let name = &standing.installation.name;
            let subject = Subject { name, descriptor: &release.descriptor, pins: &release.pins };
            let specification =
                resolve::resolve(subject, &host.defaults, &mut choices).map_err(InstallError::from)?;
            for (volume, declared) in &specification.volumes {
                let mut revisions = standing.revisions.iter();
                // One of a revision that failed may never have been made.
                let is_there = host.listing.volumes.iter().any(|listed| listed.name == *volume);
                let is_another = |known: &Revision| {
                    let theirs = known.specification.volumes.get(volume);
                    (is_there || known.revision == before.revision)
                        && theirs.is_some_and(|there| there != declared)
                };
                if revisions.any(is_another) {
                    return Err(ChangeError::VolumeChanges(declared.key.clone().unwrap_or(volume.clone())));
                }
            }
            let claims = free_claims(name, &release.descriptor, &specification, &host.listing, world)?;
            let digests =
                specification.services.iter().map(|(name, service)| (name.clone(), service.digest()));
            Ok(NewRevision {
                kind: RolloutKind::Upgrade,
                claims,
                consent: Some(Consent { digest: release.digest.to_string(), ..consent }),
                by: by.clone(),
                revision: Revision {
                    installation: id,
                    revision,
                    release_id: release.id,
                    release_digest: release.digest,
                    version: release.version(),
                    descriptor: release.canonical.clone(),
                    pins: release.pins.clone(),
                    digests: digests.collect(),
                    specification,
                    created_at: now,
                },
            })
        };
        self.storage.change_revision(id, now, decide).await?.ok_or(ChangeError::NotFound)?
    }

    /// Has an installation changed to a revision that it had before, in the name of `who`. The reconciler is to be woken.
    ///
    /// # Errors
    /// [`ChangeError`]: then nothing was written.
    pub async fn rollback(
        &self,
        id: InstallationId,
        request: &RollbackRequest,
        who: &Principal,
        by: &Actor,
    ) -> Result<(), ChangeError> {
        self.listed(id).await?;
        let host = self.host_of_today().await?;
        let own = self.own_objects(id).await?;
        let aliases = match self.storage.revision(id, request.revision).await? {
            Some(revision) => self.aliases_of_others(&descriptor_of(&revision)?, &host.without(&own)).await?,
            None => BTreeMap::new(),
        };
        let decide = |occupied: &Occupied, standing: &Standing| {
            may_change(standing)?;
            let there = || standing.revisions.iter().map(|known| known.revision).collect();
            let found = standing.revisions.iter().find(|known| known.revision == request.revision);
            let found = found
                .ok_or_else(|| ChangeError::NoRevision { revision: request.revision, there: there() })?;
            if found.revision == standing.installation.revision {
                return Err(ChangeError::Already(format!("revision {}", found.revision)));
            }
            let others = Others::of(id, &own, occupied, &host);
            let world = others.world(&aliases);
            let descriptor = descriptor_of(found)?;
            // Consent is only ever widened: what it had once it may have again, and nothing that it never had.
            let asked_for = addon_descriptor::rights(&descriptor);
            widened(&standing.installation.consent, &asked_for, &[], who, self.clock.now())?;
            let name = &standing.installation.name;
            let claims = free_claims(name, &descriptor, &found.specification, &host.listing, world)?;
            Ok(NewRevision {
                kind: RolloutKind::Rollback,
                revision: found.clone(),
                claims,
                consent: None,
                by: by.clone(),
            })
        };
        self.storage.change_revision(id, self.clock.now(), decide).await?.ok_or(ChangeError::NotFound)?
    }

    async fn listed(&self, id: InstallationId) -> Result<Installation, ChangeError> {
        let found = self.storage.installation(id).await?;
        found.filter(|installation| installation.listed).ok_or(ChangeError::NotFound)
    }

    async fn host_of_today(&self) -> Result<HostOfToday, InstallError> {
        let facts = futures_util::future::try_join(self.runtime.list(), self.runtime.engine());
        let (listing, engine) =
            for_a_request(self.runtime.as_ref(), facts).await.map_err(InstallError::Engine)?;
        let listening = tokio::task::spawn_blocking({
            let listing = listing.clone();
            move || listeners::of_host(&listing)
        });
        let listeners = listening.await.unwrap_or_default();
        let defaults = HostDefaults { platform: engine.platform, ..self.host.defaults.clone() };
        Ok(HostOfToday { listing, listeners, defaults })
    }

    async fn own_objects(&self, id: InstallationId) -> Result<BTreeSet<String>, StorageError> {
        let owners = self.storage.owners().await?;
        Ok(owners.into_iter().filter(|(_, owner)| *owner == id).map(|(object, _)| object).collect())
    }
}

/// What is on the host at the moment of the request.
struct HostOfToday {
    listing: Listing,
    listeners: Vec<TakenPort>,
    defaults: HostDefaults,
}

impl HostOfToday {
    /// What is there beside these containers and networks.
    fn without(&self, own: &BTreeSet<String>) -> Listing {
        let mut listing = self.listing.clone();
        listing.containers.retain(|container| !own.contains(&container.id));
        listing.networks.retain(|network| !own.contains(&network.id));
        listing
    }
}

/// The host without what the installation has itself.
struct Others {
    occupied: Occupied,
    listing: Listing,
    listeners: Vec<TakenPort>,
}

impl Others {
    fn of(id: InstallationId, own: &BTreeSet<String>, occupied: &Occupied, host: &HostOfToday) -> Self {
        let (mine, claims): (Vec<_>, Vec<_>) =
            occupied.claims.iter().cloned().partition(|held| held.installation == id);
        let volumes: BTreeSet<String> = mine
            .into_iter()
            .filter_map(|held| match held.claim {
                Claim::Volume(name) => Some(name),
                _ => None,
            })
            .collect();
        // The engine listens itself on the ports that it publishes.
        let containers = host.listing.containers.iter().filter(|container| own.contains(&container.id));
        let published: BTreeSet<_> = containers
            .flat_map(|container| &container.ports)
            .map(|port| (port.host_port, port.protocol))
            .collect();
        let listeners = host.listeners.iter().copied();
        let listeners =
            listeners.filter(|taken| !published.contains(&(taken.port, taken.protocol))).collect();
        let mut listing = host.without(own);
        listing.volumes.retain(|volume| !volumes.contains(&volume.name));
        let occupied = Occupied { claims, ..occupied.clone() };
        Self { occupied, listing, listeners }
    }

    fn world<'a>(&'a self, aliases: &'a BTreeMap<(String, String), String>) -> World<'a> {
        World { occupied: &self.occupied, listing: &self.listing, aliases, listeners: &self.listeners }
    }
}

/// Whether a version comes before another in SemVer's order.
fn is_older(version: &str, than: &str) -> bool {
    match (version.parse::<Version>(), than.parse::<Version>()) {
        (Ok(version), Ok(than)) => version < than,
        _ => false,
    }
}

/// Subnets of the installation's own networks as they are, those among them that no revision wants any more and that are still to go.
fn own_subnets(own: &BTreeSet<String>, listing: &Listing) -> impl Iterator<Item = IpNet> {
    let networks = listing.networks.iter().filter(|network| own.contains(&network.id));
    networks.flat_map(|network| &network.subnets).filter_map(|subnet| subnet.parse().ok())
}

fn may_change(standing: &Standing) -> Result<(), ChangeError> {
    match &standing.rollout {
        Some(rollout) => Err(ChangeError::UnderWay(Box::new(rollout.clone()))),
        None => Ok(()),
    }
}

fn standing_revision(standing: &Standing) -> Result<&Revision, StorageError> {
    let wanted = standing.installation.revision;
    let found = standing.revisions.iter().find(|known| known.revision == wanted);
    found.ok_or_else(|| {
        let id = standing.installation.id;
        StorageError::corrupt("installations", id, format_args!("revision {wanted} is missing"))
    })
}

fn descriptor_of(revision: &Revision) -> Result<AddonDescriptor, StorageError> {
    let key = || format!("{}/{}", revision.installation, revision.revision);
    let reading = addon_descriptor::read(revision.descriptor.as_bytes());
    let reading =
        reading.map_err(|_| StorageError::corrupt("revisions", key(), "the descriptor is no JSON"))?;
    reading
        .descriptor
        .ok_or_else(|| StorageError::corrupt("revisions", key(), "the descriptor is not understood"))
}

/// What the revision has for itself, where nobody else has any of it.
fn free_claims(
    name: &str,
    descriptor: &AddonDescriptor,
    specification: &RevisionSpecification,
    listing: &Listing,
    world: World<'_>,
) -> Result<Vec<Claim>, InstallError> {
    let wanted = claims(name, specification);
    let mut conflicts = conflict::missing(specification, listing);
    let in_the_way: Vec<Claim> = conflicts.iter().map(|conflict| conflict.wanted.clone()).collect();
    let found = conflict::conflicts(&wanted, &BTreeSet::new(), world).into_iter();
    conflicts.extend(found.filter(|found| !in_the_way.contains(&found.wanted)));
    if conflicts.is_empty() {
        return Ok(wanted);
    }
    let places = conflicts.iter().map(|conflict| conflict.place(descriptor)).collect();
    Err(InstallError::Conflicts { conflicts, places })
}

/// The consent with what the release asks for beside it. Only what was not agreed to before has to be named.
fn widened(
    before: &Consent,
    asked_for: &BTreeSet<Right>,
    named: &[String],
    who: &Principal,
    now: Timestamp,
) -> Result<Consent, InstallError> {
    let new: BTreeSet<Right> =
        asked_for.iter().filter(|right| !before.rights.contains(right.as_str())).cloned().collect();
    let granted = consent::grant(&new, named).map_err(|missing| InstallError::Rights(missing.rights))?;
    if consent::needs_consent_scope(&new) {
        who.require(Scope::Consent).map_err(InstallError::Forbidden)?;
    }
    Ok(Consent {
        rights: before.rights.iter().cloned().chain(granted).collect(),
        digest: before.digest.clone(),
        by: who.account_or_anonymous().to_owned(),
        at_ms: now.millis(),
    })
}
