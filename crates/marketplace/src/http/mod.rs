//! The route table: the list of what the marketplace does. Handlers are in the files beside it; what both services have
//! (tokens, health, metrics, documentation, `/`) comes from `service-kit`.
//!
//! Later there will be `pages/` for browsers.

mod addons;
mod audit;
pub mod cache;
pub mod counts;
mod error;
mod feeds;
pub mod large;
pub mod news;
mod owners;
mod query;
mod review;
mod trust;

use std::collections::BTreeSet;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse};
use addon_client::ReleaseId;
use service_kit::auth::{Access, Auth, Principal, Scope};
use service_kit::clock::SharedClock;
use service_kit::problem::Problem;
use service_kit::routes::RouteTable;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;

use self::cache::{Answers, Rendered};
use self::counts::{KeptStats, ReportLimits};
use self::large::Room;
use self::news::Seats;
use crate::config::Config;
use crate::domain::release::Release;
use crate::news::News;
use crate::review::Reviewer;
use crate::storage::{Source, Storage};
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
        .post("/api/v1/marketplace/addons/{id}/yank", Scope::Publish, review::yank)
        .post("/api/v1/marketplace/addons/{id}/unyank", Scope::Publish, review::unyank)
        .get("/api/v1/marketplace/addons/{id}/diff", Scope::Read, review::diff)
        .post("/api/v1/marketplace/addons/{id}/revoke", Scope::Review, trust::revoke)
        .get("/api/v1/marketplace/by-name/{name}", Access::PublicRead, addons::by_name)
        .get("/api/v1/marketplace/by-name/{name}/{version}", Access::PublicRead, addons::by_version)
        .get("/api/v1/marketplace/by-name/{name}/owners", Access::PublicRead, owners::list)
        .post("/api/v1/marketplace/by-name/{name}/owners", Scope::Publish, owners::invite)
        .delete("/api/v1/marketplace/by-name/{name}/owners/{account}", Scope::Publish, owners::remove)
        .get("/api/v1/marketplace/invitations", Scope::Read, owners::invitations)
        .post("/api/v1/marketplace/invitations/{name}/accept", Scope::Publish, owners::accept)
        .delete("/api/v1/marketplace/invitations/{name}", Scope::Publish, owners::decline)
        .get(audit::AUDIT, Scope::Admin, audit::list)
        .get("/api/v1/audit/verify", Scope::Admin, audit::verify)
        .post("/api/v1/marketplace/validate", Access::PublicRead, addons::validate)
        .get("/api/v1/marketplace/keys", Access::PublicRead, trust::keys)
        .get("/api/v1/marketplace/keys/{version}", Access::PublicRead, trust::keys_of_version)
        .get("/api/v1/marketplace/index", Access::PublicRead, trust::index)
        .get("/api/v1/marketplace/index/{shard}", Access::PublicRead, trust::shard)
        .get("/api/v1/marketplace/revocations", Access::PublicRead, trust::revocations)
        .get("/api/v1/marketplace/facets", Access::PublicRead, addons::facets)
        .get("/api/v1/marketplace/schema", Access::PublicRead, addons::schema)
        .get("/api/v1/marketplace/events", Access::PublicRead, news::events)
        .get(feeds::FEED, Access::PublicRead, feeds::feed)
        .get("/api/v1/marketplace/by-name/{name}/badge.svg", Access::PublicRead, feeds::badge_of)
        .get("/api/v1/marketplace/by-name/{name}/stats", Access::PublicRead, counts::of_addon)
        .get("/api/v1/marketplace/stats", Access::PublicRead, counts::stats)
        .post("/api/v1/marketplace/installs", Access::PublicRead, counts::report)
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
        addons::facets,
        trust::keys,
        trust::keys_of_version,
        trust::index,
        trust::shard,
        trust::revocations,
        trust::revoke,
        review::report,
        review::approve,
        review::reject,
        review::reverify,
        review::yank,
        review::unyank,
        review::diff,
        owners::list,
        owners::invite,
        owners::remove,
        owners::invitations,
        owners::accept,
        owners::decline,
        audit::list,
        audit::verify,
        news::events,
        feeds::feed,
        feeds::badge_of,
        counts::stats,
        counts::of_addon,
        counts::report,
    ),
    tags(
        (name = "addons", description = "Releases of addons"),
        (name = "trust", description = "What is signed: keys, the index of releases, revocations"),
        (name = "review", description = "What is checked and decided before a release is listed"),
        (name = "owners", description = "Who may publish under a name, and withdraw"),
        (name = "audit", description = "Who did what"),
        (name = "feeds", description = "What is new, and how much there is: for pages, readers and consoles"),
    )
)]
pub struct ApiDoc;

/// What handlers need.
pub struct Services {
    /// Where releases are.
    pub storage: Storage,
    /// Rendered answers.
    pub answers: Answers,
    /// Memory for long answers.
    pub room: Room,
    /// What time it is.
    pub clock: SharedClock,
    /// Wakes the verification.
    pub bell: Bell,
    /// Who asks.
    pub auth: Auth,
    /// What happens to releases.
    pub news: News,
    /// Who listens to that.
    pub seats: Seats,
    /// What was counted last.
    pub stats: KeptStats,
    /// How often an address may report installations.
    pub reports: ReportLimits,
    /// Names, folded, that no addon may have.
    pub reserved_names: BTreeSet<String>,
    /// Cancelled when the service begins to stop.
    pub shutdown: CancellationToken,
}

impl Services {
    /// With these settings; with a bell that wakes nobody, no reserved name and a shutdown that nobody begins, where they are not set.
    pub fn new(config: &Config, storage: Storage, auth: Auth, clock: SharedClock, news: News) -> Self {
        Self {
            stats: KeptStats::new(storage.clone(), clock.clone()),
            storage,
            answers: Answers::new(config.cache.max_bytes),
            room: Room::default(),
            clock,
            bell: Bell::default(),
            auth,
            news,
            seats: Seats::new(config.events.listeners, config.events.per_address),
            reports: ReportLimits::new(config.installs.per_address, config.installs.per_addon),
            reserved_names: BTreeSet::new(),
            shutdown: CancellationToken::new(),
        }
    }

    /// The answer that is kept for this URL, or that `render` makes; 304 where the client has it already.
    async fn kept<F: Future<Output = Result<Rendered, Problem>>>(
        &self,
        request: &HttpRequest,
        source: Source,
        url: &str,
        render: impl FnOnce() -> F,
    ) -> Result<HttpResponse, Problem> {
        self.answers.get(&self.storage, source, url, render).await?.send(request, &self.room).await
    }

    fn reviewer(&self) -> Reviewer<'_> {
        let Self { storage, clock, bell, auth, .. } = self;
        Reviewer { storage, tokens: auth.store(), clock, bell, open: auth.is_open() }
    }

    /// The release whose id stands in the path.
    async fn release(&self, id: &str) -> Result<Release, Problem> {
        let found = self.storage.release(parse_id(id)?).await.map_err(error::storage)?;
        found.ok_or_else(error::not_found)
    }

    /// Whether the caller's account owns an addon.
    async fn owns(&self, principal: &Principal, addon: &str) -> Result<bool, Problem> {
        match principal.account() {
            None => Ok(false),
            Some(account) => self.storage.owns(addon, account).await.map_err(error::storage),
        }
    }

    /// Refuses whoever neither owns an addon nor is an administrator, and a token for other names.
    async fn require_owner(&self, principal: &Principal, addon: &str) -> Result<(), Problem> {
        principal.require_name(addon)?;
        if principal.allows(Scope::Admin) || self.owns(principal, addon).await? {
            return Ok(());
        }
        Err(error::not_owner(addon))
    }

    /// Refuses whoever neither owns a release's addon nor reviews, and a token for other names.
    async fn require_owner_or_reviewer(
        &self,
        principal: &Principal,
        release: &Release,
    ) -> Result<(), Problem> {
        principal.require_name(&release.addon)?;
        if principal.allows(Scope::Review) || self.owns(principal, &release.addon).await? {
            return Ok(());
        }
        principal.require(Scope::Review)
    }

    /// The account of somebody who showed a token.
    fn account<'a>(&self, principal: &'a Principal) -> Result<&'a str, Problem> {
        principal.account().ok_or_else(|| {
            let detail = format!(
                "releases that are not approved are listed for their owners and for reviewers: send \
                 \"Authorization: Bearer <token>\"; {}",
                self.auth.whereabouts()
            );
            let challenge = HeaderValue::from_static("Bearer");
            Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
                .with_header(WWW_AUTHENTICATE, challenge)
        })
    }
}

/// The id in a path; one of another form is that of no release.
fn parse_id(text: &str) -> Result<ReleaseId, Problem> {
    text.parse().map_err(|_| error::not_found())
}
