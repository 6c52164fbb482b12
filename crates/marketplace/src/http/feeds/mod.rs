//! What others show of this marketplace: an Atom feed of new releases, and badges.

mod atom;
mod badge;

use actix_web::{HttpRequest, HttpResponse, web};
use addon_client::Problem as ProblemBody;
use addon_descriptor::AddonName;
use service_kit::body::only_parameters;
use service_kit::problem::Problem;

use self::badge::{Shown, badge};
use super::cache::Rendered;
use super::query::{bad, first, fold};
use super::{Services, error};
use crate::storage::Source;

pub(super) const FEED: &str = "/api/v1/marketplace/feed.atom";

/// Entries of a feed: what a reader that comes once a day does not miss in a busy marketplace's day.
const ENTRIES: u32 = 100;

/// How long pages that show a badge need not ask again: somebody else's page does not wait for this service each time.
const BADGE_LASTS: &str = "max-age=300";

/// New releases, as an Atom feed: those that were approved last, of all addons or of one.
#[utoipa::path(get, path = "/api/v1/marketplace/feed.atom", tag = "feeds", operation_id = "atom_feed", params(
    ("name" = Option<String>, Query, description = "Only releases of this addon")), responses(
    (status = 200, description = "At most 100 releases, the newest first", body = String, content_type = "application/atom+xml"),
    (status = 304, description = "The client has it already"),
    (status = 400, description = "A parameter that there is not", body = ProblemBody),
    (status = 404, description = "No release of this addon is approved", body = ProblemBody)))]
pub(super) async fn feed(
    request: HttpRequest,
    services: web::Data<Services>,
) -> Result<HttpResponse, Problem> {
    let query = request.query_string();
    only_parameters(query, &["name"])?;
    let addon = first(query, "name").filter(|name| !name.is_empty()).map(|name| fold(&name));
    let addon = addon.as_deref();
    let render = || async {
        let releases = services.storage.newest_approved(addon, ENTRIES).await.map_err(error::storage)?;
        if let (Some(addon), true) = (addon, releases.is_empty()) {
            return Err(Problem::not_found(format!("no release of {addon:?} is approved")));
        }
        let text = atom::feed(services.news.identity(), addon, &releases);
        Ok(Rendered::text(text).of_type("application/atom+xml"))
    };
    let url = format!("feed?{}", addon.unwrap_or_default());
    services.kept(&request, Source::Approved, &url, render).await
}

/// A badge of an addon, for its project's page. Of one that is not listed it says so.
#[utoipa::path(get, path = "/api/v1/marketplace/by-name/{name}/badge.svg", tag = "feeds", operation_id = "badge", params(
    ("name" = String, Path, description = "The addon's name"),
    ("show" = Option<String>, Query, description = "`version` (the default), `status` or `installs`")), responses(
    (status = 200, description = "A picture that loads nothing", body = String, content_type = "image/svg+xml"),
    (status = 304, description = "The client has it already"),
    (status = 400, description = "A parameter has a value that it cannot have", body = ProblemBody),
    (status = 404, description = "No addon can have this name", body = ProblemBody)))]
pub(super) async fn badge_of(
    request: HttpRequest,
    services: web::Data<Services>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    if name.parse::<AddonName>().is_err() {
        return Err(Problem::not_found("no addon can have this name"));
    }
    let addon = fold(&name);
    let query = request.query_string();
    only_parameters(query, &["show"])?;
    let shown = match first(query, "show").as_deref() {
        None | Some("") => Shown::Version,
        Some(text) => Shown::from_wire(text)
            .ok_or_else(|| bad("show", &format!("is one of {}", Shown::ALL.map(Shown::as_str).join(", "))))?,
    };
    let render = || async {
        let standing = services.storage.standing(&addon).await.map_err(error::storage)?;
        let installs = match shown {
            Shown::Installs => services.storage.addon_stats(&addon).await.map_err(error::storage)?,
            Shown::Version | Shown::Status => None,
        };
        let svg = badge(&addon, shown, &standing, installs.map_or(0, |stats| stats.installs)).svg();
        Ok(Rendered::text(svg).of_type("image/svg+xml").lasting(BADGE_LASTS))
    };
    if shown == Shown::Installs {
        // Installations are counted all the time.
        return Ok(render().await?.respond(&request));
    }
    let url = format!("badge/{addon}?{}", shown.as_str());
    services.kept(&request, Source::Approved, &url, render).await
}
