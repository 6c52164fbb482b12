//! The one table from what went wrong to status, code and body. 4xx say what the client can change, 5xx nothing internal.

use std::time::Duration;

use actix_web::http::header::{self, HeaderValue};
use service_kit::problem::{Finding, Problem};

use crate::configure::RestartError;
use crate::host::KeptVolumeError;
use crate::install::{InstallError, only_waiting_helps};
use crate::marketplace::MarketplaceError;
use crate::reconciler::adopt::AdoptError;
use crate::resolve::ResolveError;
use crate::runtime::RuntimeError;
use crate::storage::StorageError;
use crate::uninstall::RemoveError;
use crate::upgrade::ChangeError;

/// When to come back to an engine that is away: it is looked for all the time.
const ENGINE_RETRY: Duration = Duration::from_secs(5);
/// When to come back to an installation that is being changed.
const ROLLOUT_RETRY: Duration = Duration::from_secs(15);
/// When to come back to a name that is being freed.
const REMOVAL_RETRY: Duration = Duration::from_secs(2);

/// No installation of that id, or no id at all.
pub(super) fn no_installation() -> Problem {
    Problem::not_found("Addon not found")
}

pub(super) fn storage(error: StorageError) -> Problem {
    match &error {
        StorageError::Query { source, .. } => Problem::database(source).with_source(error),
        StorageError::Open(_) | StorageError::Corrupt { .. } => Problem::internal(error),
    }
}

/// What an engine says to a call that a request waits for.
pub(super) fn engine(error: RuntimeError) -> Problem {
    match &error {
        RuntimeError::Retry { engine_unreachable: true, .. } => Problem::unavailable(
            "engine-unreachable",
            "the container engine does not answer now (docker.host; /readyz says where it is looked for)",
            ENGINE_RETRY,
        )
        .with_source(error),
        RuntimeError::Retry { .. } => {
            Problem::unavailable("engine-failed", "the container engine could not do this now", ENGINE_RETRY)
                .with_source(error)
        }
        RuntimeError::WaitForChange { message, .. } | RuntimeError::Never { message, .. } => {
            let detail = format!("the container engine refuses: {message}");
            Problem::conflict("engine-refuses", detail).with_source(error)
        }
        RuntimeError::Gone { .. } => Problem::not_found("it is not there any more").with_source(error),
    }
}

pub(super) fn install(error: InstallError) -> Problem {
    match error {
        InstallError::Request(errors) => {
            let detail = errors.first().map_or_else(
                || "the request cannot be carried out".to_owned(),
                |finding| finding.message.clone(),
            );
            Problem::unprocessable("invalid-request", detail).with_errors(errors)
        }
        InstallError::Forbidden(problem) => problem,
        InstallError::Marketplace(error) => marketplace(error),
        InstallError::Resolve(error) => resolve(&error),
        InstallError::Rights(rights) => {
            let detail = format!(
                "the addon asks for rights that have to be granted by name: send them in `rights`: {}",
                rights.join(", ")
            );
            let missing = rights.iter().map(|right| {
                let message = format!("the addon asks for `{right}`");
                Finding { suggestion: Some(right.clone()), ..finding("/rights", "missing-right", message) }
            });
            Problem::forbidden("rights-required", detail).with_errors(missing.collect::<Vec<_>>())
        }
        InstallError::Platform { offered, host } => {
            let detail = format!("the addon is made for {}; this host is {host}", offered.join(", "));
            Problem::conflict("platform", detail)
        }
        InstallError::ImageMissing(image) => {
            let detail =
                format!("the image {image} is gone from its registry, and this host does not have it");
            Problem::conflict("image-missing", detail)
        }
        InstallError::Requires(missing) => {
            let words = missing
                .iter()
                .map(|missing| format!("`{}` {}", missing.requirement.addon, missing.requirement.range));
            let detail = format!(
                "other addons have to be installed and active first: {}",
                words.collect::<Vec<_>>().join(", ")
            );
            let errors = missing.iter().map(|missing| {
                let (addon, range) = (&missing.requirement.addon, &missing.requirement.range);
                let message = match missing.would_do.as_slice() {
                    [] => format!("`{addon}` {range} is required, and the marketplace has no release of it that would do"),
                    releases => format!("`{addon}` {range} is required; these would do: {}", releases.join(", ")),
                };
                finding("/requires/addons", "required-addon", message)
            });
            Problem::conflict("requires-addons", detail).with_errors(errors.collect::<Vec<_>>())
        }
        InstallError::NameTaken { holder, same_addon } => {
            let (id, name, addon) = (holder.id, &holder.name, &holder.addon);
            let location =
                HeaderValue::from_str(&format!("/api/v1/addons/{id}")).expect("an id is a header value");
            let (code, message) = match (holder.desired, same_addon) {
                (crate::domain::installation::Desired::Absent, _) => {
                    let message = format!(
                        "`{name}` ({id}) is being removed and still holds the name: try again in a moment"
                    );
                    let problem =
                        Problem::conflict("being-removed", &message).with_retry_after(REMOVAL_RETRY);
                    return problem.with_errors([finding("/name", "installation-name", message)]);
                }
                (_, true) => (
                    "already-installed",
                    format!(
                        "`{addon}` is installed already, as `{name}` ({id}); send another `name` to install it twice"
                    ),
                ),
                (_, false) => (
                    "name-taken",
                    format!("the name `{name}` is held by addon `{addon}` ({id}); send another `name`"),
                ),
            };
            let problem = Problem::conflict(code, &message).with_header(header::LOCATION, location);
            problem.with_errors([finding("/name", "installation-name", message)])
        }
        InstallError::Conflicts { conflicts, places } => {
            let messages: Vec<String> = conflicts.iter().map(crate::conflict::Conflict::message).collect();
            let errors =
                conflicts.iter().zip(&messages).zip(&places).map(|((conflict, message), place)| {
                    finding(place, conflict.wanted.kind(), message.clone())
                });
            let problem =
                Problem::conflict("conflict", messages.join("; ")).with_errors(errors.collect::<Vec<_>>());
            if only_waiting_helps(&conflicts) { problem.with_retry_after(REMOVAL_RETRY) } else { problem }
        }
        InstallError::Engine(error) => engine(error),
        InstallError::Storage(error) => storage(error),
    }
}

fn marketplace(error: MarketplaceError) -> Problem {
    match error {
        MarketplaceError::NotFound(what) => {
            Problem::not_found(format!("the marketplace has no approved release {what}"))
        }
        MarketplaceError::NoneApproved(what) => {
            let detail = format!("{what}; only approved releases are installed");
            Problem::conflict("release-not-approved", detail)
        }
        MarketplaceError::NotApproved { status, .. } => {
            let code = match status {
                addon_client::ReleaseStatus::Yanked => "release-yanked",
                addon_client::ReleaseStatus::Revoked => "release-revoked",
                _ => "release-not-approved",
            };
            Problem::conflict(code, format!("{error}; only approved releases are installed"))
        }
        MarketplaceError::Unpinned(_) => {
            let detail = format!(
                "{error}; set marketplace.allow_unpinned = true to install what was not pinned when it was reviewed"
            );
            Problem::conflict("release-unpinned", detail)
        }
        MarketplaceError::Unavailable { retry_after, .. } => Problem::unavailable(
            "marketplace-unreachable",
            "the marketplace does not answer now",
            retry_after,
        )
        .with_source(error),
        MarketplaceError::Unusable { what, errors } => Problem::bad_gateway(
            "marketplace-unusable",
            format!("the marketplace's answer cannot be used: {what}"),
        )
        .with_errors(errors),
    }
}

fn resolve(error: &ResolveError) -> Problem {
    match error {
        ResolveError::NotSupported { field, path } => {
            let message = format!("`{field}` is not supported by this version of the manager yet");
            Problem::unprocessable("not-supported", message.clone()).with_errors([finding(
                path,
                "not-supported",
                message,
            )])
        }
        ResolveError::NoPin { .. } => Problem::bad_gateway(
            "marketplace-unusable",
            format!("the marketplace's pins do not fit: {error}"),
        ),
        ResolveError::NetworkChanges { network, .. } => {
            let detail = format!(
                "{error}: publish a release that gives `{network}` another subnet, or none, or uninstall the addon and install it again"
            );
            Problem::conflict("network-changes", detail)
        }
        ResolveError::NoFreePort { .. } => {
            Problem::conflict("no-free-port", format!("{error}; widen ports.range or uninstall something"))
        }
        ResolveError::NoFreeSubnet { .. } => Problem::conflict(
            "no-free-subnet",
            format!("{error}; widen networks.pool or uninstall something"),
        ),
    }
}

pub(super) fn change(error: ChangeError) -> Problem {
    let detail = error.to_string();
    match error {
        ChangeError::NotFound => no_installation(),
        ChangeError::Refused(error) => install(error),
        ChangeError::OtherAddon { .. } => Problem::unprocessable("other-addon", &detail)
            .with_errors([finding("/marketplace_id", "other-addon", detail)]),
        ChangeError::Older { .. } => {
            Problem::conflict("older", format!("{detail}: name the version to go back to it all the same"))
        }
        ChangeError::Already(_) => Problem::conflict("already-installed", detail),
        ChangeError::NoRevision { .. } => Problem::unprocessable("no-such-revision", &detail)
            .with_errors([finding("/revision", "no-such-revision", detail)]),
        ChangeError::UnderWay(rollout) => Problem::conflict(
            "rollout-under-way",
            format!("{detail}, since {}: wait for its end, or disable the installation", rollout.opened_at),
        )
        .with_retry_after(ROLLOUT_RETRY),
        ChangeError::VolumeChanges(_) => Problem::conflict(
            "volume-changes",
            format!(
                "{detail}: publish a release that declares it as before, or gives the new one another name"
            ),
        ),
    }
}

pub(super) fn restart(error: RestartError) -> Problem {
    match error {
        RestartError::NotFound => no_installation(),
        RestartError::Disabled => Problem::conflict("disabled", error.to_string()),
        RestartError::Storage(error) => storage(error),
    }
}

pub(super) fn remove(error: RemoveError) -> Problem {
    match error {
        RemoveError::NotFound => no_installation(),
        RemoveError::Required(_) => Problem::conflict(
            "required-by-others",
            format!("{error}; remove those first, or send ?force=true"),
        ),
        RemoveError::Storage(error) => storage(error),
    }
}

pub(super) fn adopt(error: AdoptError) -> Problem {
    match error {
        AdoptError::NoInstallation(_) => no_installation(),
        AdoptError::NoObject(_) => Problem::not_found(error.to_string()),
        AdoptError::DoesNotFit(_) => Problem::conflict("does-not-fit", error.to_string()),
        AdoptError::Taken(_) => Problem::conflict("place-taken", error.to_string()),
        AdoptError::Engine(error) => engine(error),
        AdoptError::Storage(error) => storage(error),
    }
}

pub(super) fn kept_volume(error: KeptVolumeError) -> Problem {
    match error {
        KeptVolumeError::NotFound(_) => Problem::not_found(error.to_string()),
        KeptVolumeError::NotOurs(_) => Problem::conflict("not-ours", error.to_string()),
        KeptVolumeError::Owned { .. } => Problem::conflict("in-use", error.to_string()),
        KeptVolumeError::Leaving { .. } => {
            Problem::conflict("being-removed", error.to_string()).with_retry_after(REMOVAL_RETRY)
        }
        KeptVolumeError::InUse { .. } => Problem::conflict("in-use", error.to_string()),
        KeptVolumeError::Engine(error) => engine(error),
        KeptVolumeError::Storage(error) => storage(error),
    }
}

fn finding(path: &str, rule: &str, message: String) -> Finding {
    Finding {
        path: path.to_owned(),
        rule: rule.to_owned(),
        message,
        suggestion: None,
        line: None,
        column: None,
    }
}
