//! Facts: how much there is of everything, how an addon does, and the reports of installations that are counted.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use addon_client::{AddonStats, InstallReport, MarketStats, Problem as ProblemBody};
use service_kit::body::{Json, NoQuery};
use service_kit::clock::SharedClock;
use service_kit::limit::{Buckets, Rate, network};
use service_kit::problem::Problem;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::cache::Rendered;
use super::query::fold;
use super::{Services, error};
use crate::domain::limits::seconds;
use crate::storage::{Counted, Storage, StorageError};

/// Shortest time that counts are shown.
const SHOWN: Duration = Duration::from_secs(1);

/// Counts are shown for so many times as long as counting took: counting takes at most a hundredth of the time, however
/// large the tables are.
const SHARE: u32 = 100;

/// What was counted last. One count is under way at a time; who asks meanwhile waits for it. Cheap to clone.
#[derive(Clone)]
pub struct KeptStats {
    storage: Storage,
    clock: SharedClock,
    kept: Arc<Mutex<Option<Kept>>>,
}

#[derive(Debug, Clone)]
struct Kept {
    stats: Arc<MarketStats>,
    rendered: Rendered,
    until: Instant,
}

impl KeptStats {
    /// Nothing is counted yet.
    pub fn new(storage: Storage, clock: SharedClock) -> Self {
        Self { storage, clock, kept: Arc::default() }
    }

    /// How much there is of everything, as it was counted lately.
    ///
    /// # Errors
    /// The database.
    pub async fn stats(&self) -> Result<Arc<MarketStats>, StorageError> {
        Ok(self.kept().await?.stats)
    }

    async fn kept(&self) -> Result<Kept, StorageError> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| Instant::now() < kept.until) {
            return Ok(kept.clone());
        }
        let begun = Instant::now();
        let stats = Arc::new(self.storage.market_stats(self.clock.now()).await?);
        let (rendered, until) = (Rendered::json(&*stats), Instant::now() + shown_for(begun.elapsed()));
        Ok(kept.insert(Kept { stats, rendered, until }).clone())
    }
}

/// How often an address may report installations, in all and of one addon.
#[derive(Debug)]
pub struct ReportLimits {
    of_all: Buckets<IpAddr>,
    of_one: Buckets<(IpAddr, String)>,
}

impl ReportLimits {
    /// With these rates of one address.
    pub fn new(of_all: Rate, of_one: Rate) -> Self {
        Self { of_all: Buckets::new(of_all), of_one: Buckets::new(of_one) }
    }

    /// Takes one; how long to wait where that was one too many.
    fn take(&self, from: IpAddr, addon: &str, now_ms: i64) -> Option<Duration> {
        let from = network(from);
        self.of_one.take((from, addon.to_owned()), now_ms).or_else(|| self.of_all.take(from, now_ms))
    }
}

/// How much there is of everything.
#[utoipa::path(get, path = "/api/v1/marketplace/stats", tag = "feeds", operation_id = "market_stats", responses(
    (status = 200, description = "The counts, and when they were made", body = MarketStats),
    (status = 304, description = "The client has them already")))]
pub(super) async fn stats(
    request: HttpRequest,
    services: web::Data<Services>,
    _: NoQuery,
) -> Result<HttpResponse, Problem> {
    let kept = services.stats.kept().await.map_err(error::storage)?;
    Ok(kept.rendered.respond(&request))
}

/// How long counts are shown that took so long.
fn shown_for(counting: Duration) -> Duration {
    counting.saturating_mul(SHARE).max(SHOWN)
}

/// Facts about a listed addon.
#[utoipa::path(get, path = "/api/v1/marketplace/by-name/{name}/stats", tag = "feeds", operation_id = "addon_stats",
    params(("name" = String, Path, description = "The addon's name")), responses(
    (status = 200, description = "The facts", body = AddonStats),
    (status = 304, description = "The client has them already"),
    (status = 404, description = "No such addon is listed", body = ProblemBody)))]
pub(super) async fn of_addon(
    request: HttpRequest,
    services: web::Data<Services>,
    name: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, Problem> {
    let addon = fold(&name);
    let stats = services.storage.addon_stats(&addon).await.map_err(error::storage)?;
    let stats = stats.ok_or_else(|| not_listed(&addon))?;
    Ok(Rendered::json(&stats).respond(&request))
}

/// Counts an installation that a manager reports. A report that is sent again is counted once; of the sender nothing is stored.
#[utoipa::path(post, path = "/api/v1/marketplace/installs", tag = "feeds", operation_id = "report_install",
    request_body(content = InstallReport, example = json!({"addon": "hello", "report": "0af9651916cd43dd8448eb211c80319c"})), responses(
    (status = 204, description = "It is counted, now or before"),
    (status = 404, description = "No such addon is listed", body = ProblemBody),
    (status = 422, description = "The report is not 32 hex digits", body = ProblemBody),
    (status = 429, description = "Too many from one address; `Retry-After`", body = ProblemBody)))]
pub(super) async fn report(
    request: HttpRequest,
    services: web::Data<Services>,
    _: NoQuery,
    Json(report): Json<InstallReport>,
) -> Result<HttpResponse, Problem> {
    let addon = fold(&report.addon);
    if !report.is_well_formed() {
        let detail = "\"report\" is 32 lower-case hex digits, drawn for this report alone";
        return Err(Problem::unprocessable("invalid-body", detail));
    }
    // Not every database can be asked for a text with NUL.
    if addon.contains('\0') {
        return Err(not_listed(&addon));
    }
    let now = services.clock.now();
    let known = services.storage.knows_report(&addon, &report.report, now).await;
    if known.map_err(error::storage)? {
        return Ok(HttpResponse::NoContent().finish());
    }
    // Where there is no address, all share one.
    let from = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    if let Some(wait) = services.reports.take(from, &addon, now.millis()) {
        let detail = format!(
            "this address reports more installations than are counted; try again in {} s",
            seconds(wait)
        );
        let wait = Duration::from_secs(seconds(wait).max(1));
        return Err(
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", detail).with_retry_after(wait)
        );
    }
    match services.storage.count_install(&addon, &report, now).await.map_err(error::storage)? {
        Counted::New(_) | Counted::Known => Ok(HttpResponse::NoContent().finish()),
        Counted::NoAddon => Err(not_listed(&addon)),
    }
}

fn not_listed(addon: &str) -> Problem {
    Problem::not_found(format!("no addon {addon:?} is listed"))
}

#[cfg(test)]
mod tests {
    use service_kit::clock::SystemClock;

    use super::*;

    #[test]
    fn counting_takes_a_hundredth_of_the_time() {
        for (counting, shown) in [(0, 1_000), (5, 1_000), (300, 30_000), (5_000, 500_000)] {
            assert_eq!(shown_for(Duration::from_millis(counting)), Duration::from_millis(shown));
        }
    }

    #[tokio::test]
    async fn who_asks_again_soon_is_shown_what_was_counted() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open_sqlite(&folder.path().join("test.db")).await.unwrap();
        let kept = KeptStats::new(storage.clone(), SystemClock::shared());
        let first = kept.kept().await.unwrap();
        let again = kept.stats().await.unwrap();
        assert!(Arc::ptr_eq(&first.stats, &again) || Instant::now() >= first.until);
        storage.db().close().await;
    }

    #[test]
    fn an_address_is_bounded_for_each_addon_and_for_all() {
        let rate = |burst, interval_ms| Rate { burst, interval_ms };
        let limits = ReportLimits::new(rate(5, 1_000), rate(2, 10_000));
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let takes = |from, addon: &str, now| limits.take(from, addon, now).is_none();
        assert!(takes(one, "a", 0) && takes(one, "a", 0));
        assert_eq!(limits.take(one, "a", 0), Some(Duration::from_secs(10)));
        assert!(takes(one, "b", 0) && takes(one, "b", 0) && takes(one, "c", 0));
        assert_eq!(limits.take(one, "d", 0), Some(Duration::from_secs(1)), "of all addons");
        assert!(takes(other, "a", 0));
        assert!(takes(one, "d", 1_000) && takes(one, "a", 11_000));
    }
}
