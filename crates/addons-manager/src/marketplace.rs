//! The releases this host may install: fetched from the marketplace, held to their digest, refused unless approved.
//!
//! What is installed lives from its own copy: nothing here is asked for again to keep an addon running.

use std::time::Duration;

use addon_client::{ClientError, Finding, MarketplaceClient, Pin, Release, ReleaseId, ReleaseStatus};
use addon_descriptor::{AddonDescriptor, AddonName, Digest, Version, VersionReq, Violation};

/// When to come back where the marketplace does not say.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The marketplace of this host.
#[derive(Debug, Clone)]
pub struct Marketplace {
    client: MarketplaceClient,
    allow_unpinned: bool,
}

/// Which release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// By its id.
    Id(ReleaseId),
    /// The newest approved one of an addon, within a range.
    Named {
        /// The addon's name.
        addon: String,
        /// Exact version or range; none: the newest.
        version: Option<String>,
    },
}

/// An approved release, read and held to its digest.
#[derive(Debug, Clone)]
pub struct ApprovedRelease {
    /// Its id.
    pub id: ReleaseId,
    /// What was reviewed.
    pub descriptor: AddonDescriptor,
    /// The canonical bytes of `descriptor`.
    pub canonical: String,
    /// SHA-256 of `canonical`.
    pub digest: Digest,
    /// The images as they were reviewed; empty only with `marketplace.allow_unpinned`: then they are pinned when it is installed.
    pub pins: Vec<Pin>,
    /// An image has gone from its registry: only a host that has all of them can install.
    pub image_missing: bool,
}

impl ApprovedRelease {
    /// Its version; empty where the marketplace knows none.
    pub fn version(&self) -> String {
        self.descriptor.version.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// Why there is no release to install.
#[derive(Debug, thiserror::Error)]
pub enum MarketplaceError {
    /// The marketplace has no such release.
    #[error("the marketplace has no release {0}")]
    NotFound(String),
    /// It has some of that name, and none is approved: what it says of the newest.
    #[error("{0}")]
    NoneApproved(String),
    /// It has, and it must not be installed.
    #[error("release {id} is {status}{}", reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    NotApproved {
        /// Which.
        id: ReleaseId,
        /// Where it stands.
        status: ReleaseStatus,
        /// Why.
        reason: Option<String>,
    },
    /// It says nothing of what the images were when they were reviewed.
    #[error("the marketplace pins no digests for release {0}")]
    Unpinned(ReleaseId),
    /// It does not answer, or asks to come back.
    #[error("the marketplace does not answer")]
    Unavailable {
        /// When to come back.
        retry_after: Duration,
        /// What happened.
        #[source]
        source: ClientError,
    },
    /// It answers what no marketplace would, or wants credentials that this host does not have.
    #[error("the marketplace's answer cannot be used: {what}")]
    Unusable {
        /// What is wrong with it; nothing secret.
        what: String,
        /// What this version does not understand in the descriptor.
        errors: Vec<Finding>,
    },
}

impl Marketplace {
    /// Asks through this client; installs what is not pinned only where that is allowed.
    pub fn new(client: MarketplaceClient, allow_unpinned: bool) -> Self {
        Self { client, allow_unpinned }
    }

    /// An approved release with its descriptor.
    ///
    /// # Errors
    /// [`MarketplaceError`] when there is none, or it must not be installed, or the marketplace is of no use now.
    pub async fn approved(&self, wanted: &Wanted) -> Result<ApprovedRelease, MarketplaceError> {
        let release = self.release(wanted).await?;
        if release.status != ReleaseStatus::Approved {
            return Err(MarketplaceError::NotApproved {
                id: release.id,
                status: release.status,
                reason: release.reason,
            });
        }
        let bytes = match release.digest {
            Some(digest) => {
                let bytes = self.client.checked_descriptor(release.id, digest).await.map_err(unusable)?;
                bytes.ok_or_else(|| {
                    garbage(format!("release {} has a digest but no descriptor", release.id))
                })?
            }
            None if !self.allow_unpinned => return Err(MarketplaceError::Unpinned(release.id)),
            None => serde_json::to_vec(&release.descriptor).expect("a map of JSON values has string keys"),
        };
        if release.pins.is_empty() && !self.allow_unpinned {
            return Err(MarketplaceError::Unpinned(release.id));
        }
        let descriptor = understood(&bytes, release.id)?;
        let canonical = descriptor.canonical();
        let digest = Digest::of(&canonical);
        if release.digest.is_some_and(|published| published != digest) {
            // The bytes are those that were reviewed, but this version would read them as something else.
            return Err(garbage(format!(
                "release {} is written in a form that this version reads differently; upgrade the manager",
                release.id
            )));
        }
        Ok(ApprovedRelease {
            id: release.id,
            descriptor,
            canonical: String::from_utf8(canonical).expect("canonical JSON is UTF-8"),
            digest,
            pins: release.pins,
            image_missing: release.image_missing_since.is_some(),
        })
    }

    /// The approved versions of an addon that a range allows, newest first, as texts `name 1.2.3 (id)`; empty when the marketplace cannot say.
    pub async fn releases_that_would_do(&self, addon: &AddonName, range: &VersionReq) -> Vec<String> {
        let fits = |release: &Release| {
            release.status == ReleaseStatus::Approved
                && release.version().is_some_and(|version| {
                    Version::parse(version).is_ok_and(|version| range.matches(&version))
                })
        };
        match self.client.versions(addon.as_str()).await {
            Ok(Some(releases)) => releases
                .iter()
                .filter(|release| fits(release))
                .map(|release| format!("{addon} {} ({})", release.version().unwrap_or_default(), release.id))
                .collect(),
            // The refusal stands without this help.
            Ok(None) | Err(_) => Vec::new(),
        }
    }

    async fn release(&self, wanted: &Wanted) -> Result<Release, MarketplaceError> {
        match wanted {
            Wanted::Id(id) => {
                let release = self.client.get(*id).await.map_err(unusable)?;
                let release = release.ok_or_else(|| MarketplaceError::NotFound(id.to_string()))?;
                if release.id == *id {
                    Ok(release)
                } else {
                    Err(garbage(format!("asked for release {id}, it gave {}", release.id)))
                }
            }
            Wanted::Named { addon, version } => {
                let named = || match version {
                    Some(version) => format!("of `{addon}` {version}"),
                    None => format!("of `{addon}`"),
                };
                // Where a range is written, a plain version would be read as `^1.2.3`.
                let range = version.as_ref().map(|version| match Version::parse(version) {
                    Ok(exact) => format!("={exact}"),
                    Err(_) => version.clone(),
                });
                match self.client.resolve_or_why(addon, range.as_deref()).await {
                    Ok(Ok(release)) => Ok(release),
                    Ok(Err(Some(why))) => Err(MarketplaceError::NoneApproved(why)),
                    Ok(Err(None)) => Err(MarketplaceError::NotFound(named())),
                    // The range, or the name, is none: that is the request's fault.
                    Err(ClientError::Problem { status: 400 | 422, .. }) => {
                        Err(MarketplaceError::NotFound(named()))
                    }
                    Err(error) => Err(unusable(error)),
                }
            }
        }
    }
}

fn understood(bytes: &[u8], id: ReleaseId) -> Result<AddonDescriptor, MarketplaceError> {
    let reading = addon_descriptor::read(bytes)
        .map_err(|malformed| garbage(format!("the descriptor of release {id}: {malformed}")))?;
    reading.descriptor.ok_or_else(|| MarketplaceError::Unusable {
        what: format!("this version does not understand the descriptor of release {id}"),
        errors: reading.violations.iter().map(|violation: &Violation| Finding::from(violation)).collect(),
    })
}

fn garbage(what: String) -> MarketplaceError {
    MarketplaceError::Unusable { what, errors: Vec::new() }
}

fn unusable(error: ClientError) -> MarketplaceError {
    match error {
        ClientError::Problem { status: 401 | 403, .. } => {
            garbage("it wants a token that may read; name its file in marketplace.token_file".to_owned())
        }
        ClientError::Problem { status, retry_after_s, .. } if status == 429 || status >= 500 => {
            let retry_after = retry_after_s.map_or(RETRY_AFTER, Duration::from_secs);
            MarketplaceError::Unavailable { retry_after, source: error }
        }
        ClientError::Unreachable { .. } => {
            MarketplaceError::Unavailable { retry_after: RETRY_AFTER, source: error }
        }
        other => garbage(other.to_string()),
    }
}
