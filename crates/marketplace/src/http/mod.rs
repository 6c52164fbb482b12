//! The route table: the list of what the marketplace does. Handlers are in the files beside it; what both services have
//! (tokens, health, metrics, documentation, `/`) comes from `service-kit`.
//!
//! Later there will be `feeds.rs` (revocations, index, events), `tokens.rs` for owners, and `pages/` for browsers.

mod addons;
pub mod cache;
mod error;
mod query;
mod review;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, WWW_AUTHENTICATE};
use addon_client::ReleaseId;
use service_kit::auth::{Access, Auth, Principal, Scope};
use service_kit::clock::SharedClock;
use service_kit::problem::Problem;
use service_kit::routes::RouteTable;
use utoipa::OpenApi;

use self::cache::Answers;
use crate::review::Reviewer;
use crate::storage::Storage;
use crate::verification::worker::Bell;

const ADDONS: &str = "/api/v1/marketplace/addons";
const ADDON: &str = "/api/v1/marketplace/addons/{id}";

/// Everything that the marketplace answers.
pub fn routes() -> RouteTable {
    RouteTable::new()
        .get(ADDONS, Access::PublicRead, addons::list)
        .post(ADDONS, Scope::Publish, addons::publish)
        .get(ADDON, Access::PublicRead, addons::read)
        .delete(ADDON, Scope::Publish, addons::delete)
        .get("/api/v1/marketplace/addons/{id}/descriptor", Access::PublicRead, addons::descriptor)
        .get("/api/v1/marketplace/addons/{id}/verification", Scope::Read, review::report)
        .post("/api/v1/marketplace/addons/{id}/approve", Scope::Review, review::approve)
        .post("/api/v1/marketplace/addons/{id}/reject", Scope::Review, review::reject)
        .post("/api/v1/marketplace/addons/{id}/reverify", Scope::Read, review::reverify)
        .get("/api/v1/marketplace/by-name/{name}", Access::PublicRead, addons::by_name)
        .get("/api/v1/marketplace/by-name/{name}/{version}", Access::PublicRead, addons::by_version)
        .post("/api/v1/marketplace/validate", Access::PublicRead, addons::validate)
        .get("/api/v1/marketplace/schema", Access::PublicRead, addons::schema)
        .alias("/api/addons", ADDONS)
        .alias("/api/addons/{id}", ADDON)
}

/// What the handlers say of themselves.
#[derive(Debug, OpenApi)]
#[openapi(
    paths(
        addons::list,
        addons::publish,
        addons::read,
        addons::delete,
        addons::descriptor,
        addons::by_name,
        addons::by_version,
        addons::validate,
        addons::schema,
        review::report,
        review::approve,
        review::reject,
        review::reverify,
    ),
    tags(
        (name = "addons", description = "Releases of addons"),
        (name = "review", description = "What is checked and decided before a release is listed"),
    )
)]
pub struct ApiDoc;

/// What handlers need.
pub struct Services {
    /// Where releases are.
    pub storage: Storage,
    /// Rendered answers.
    pub answers: Answers,
    /// What time it is.
    pub clock: SharedClock,
    /// Wakes the verification.
    pub bell: Bell,
    /// Who asks.
    pub auth: Auth,
}

impl Services {
    fn reviewer(&self) -> Reviewer<'_> {
        Reviewer { storage: &self.storage, tokens: self.auth.store(), clock: &self.clock, bell: &self.bell }
    }

    /// The account of somebody who showed a token.
    fn account<'a>(&self, principal: &'a Principal) -> Result<&'a str, Problem> {
        principal.account().ok_or_else(|| {
            let detail = format!(
                "releases that are not approved are listed for their publisher and for reviewers: send \
                 \"Authorization: Bearer <token>\"; {}",
                self.auth.whereabouts()
            );
            let challenge = HeaderValue::from_static("Bearer");
            Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).with_header(WWW_AUTHENTICATE, challenge)
        })
    }
}

/// The id in a path; one of another form is that of no release.
fn parse_id(text: &str) -> Result<ReleaseId, Problem> {
    text.parse().map_err(|_| error::not_found())
}
