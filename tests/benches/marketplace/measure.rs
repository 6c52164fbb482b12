//! What is asked of a marketplace over HTTP, and how fast it answers.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::web::{self, Bytes, Data};
use anyhow::{Context, ensure};
use marketplace::config::Config;
use marketplace::http::{ApiDoc, Services, cache::Answers, routes};
use marketplace::news::News;
use marketplace::storage::Storage;
use serde_json::{Value, json};
use service_kit::auth::{Access, Auth, AuthSettings, TokenStore};
use service_kit::clock::{SharedClock, SystemClock};
use service_kit::config::ServerSettings;
use service_kit::db::Db;
use service_kit::server::{Running, Service};
use utoipa::OpenApi as _;

use crate::fill::{self, Draw};
use crate::load;

/// One load.
const ROUND: Duration = Duration::from_secs(3);
/// Searches that are timed.
const SEARCHES: usize = 1_500;
/// Counts by facet that are timed.
const COUNTS: usize = 100;
/// Documents that are published against the clock.
const PUBLISHED: usize = 3_000;
/// Different releases that are hot.
const HOT: usize = 1_000;
/// Different releases that are asked for cold, drawn evenly from all.
const COLD: usize = 50_000;

const LIST: &str = "/api/v1/marketplace/addons";

/// A figure, and what it is to be.
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    least: Option<f64>,
    most: Option<f64>,
}

impl Figure {
    /// One that is only told.
    pub(crate) fn plain(what: &'static str, value: f64, unit: &'static str) -> Self {
        Self { what, value, unit, least: None, most: None }
    }

    fn at_least(self, least: f64) -> Self {
        Self { least: Some(least), ..self }
    }

    fn at_most(self, most: f64) -> Self {
        Self { most: Some(most), ..self }
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.least.is_none_or(|least| self.value >= least) && self.most.is_none_or(|most| self.value <= most)
    }

    pub(crate) fn target(&self) -> String {
        match (self.least, self.most) {
            (Some(least), _) => format!("at least {least}"),
            (_, Some(most)) => format!("at most {most}"),
            (None, None) => String::new(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({"what": self.what, "value": self.value, "unit": self.unit, "at_least": self.least, "at_most": self.most,
               "reached": self.is_reached()})
    }
}

/// The bytes that the comparison returns, by their name.
type Kept = Arc<HashMap<&'static str, Bytes>>;

async fn kept(kept: Data<Kept>, name: web::Path<String>) -> HttpResponse {
    match kept.get(name.as_str()) {
        Some(bytes) => HttpResponse::Ok().content_type("application/json").body(bytes.clone()),
        None => HttpResponse::NotFound().finish(),
    }
}

/// A marketplace on a filled database, and the way to start it with another cache.
struct Bench<'a> {
    storage: &'a Storage,
    auth: Auth,
    clock: SharedClock,
    news: News,
    token: String,
}

impl<'a> Bench<'a> {
    async fn new(storage: &'a Storage, folder: &Path) -> anyhow::Result<Self> {
        let clock = SystemClock::shared();
        let tokens = TokenStore::new(storage.db().clone());
        let address = ServerSettings::default().address;
        let settings = AuthSettings::default();
        let auth =
            Auth::start(marketplace::app::AUTH, &settings, address, folder, tokens, clock.clone()).await?;
        let token = std::fs::read_to_string(folder.join("admin-token"))?.trim().to_owned();
        let news = News::open(storage.clone()).await?;
        Ok(Self { storage, auth, clock, news, token })
    }

    /// Starts it with so many bytes of kept answers; none: every answer is made anew.
    fn serve(&self, cache: u64, answers: Kept) -> anyhow::Result<Running> {
        let (auth, clock, news) = (self.auth.clone(), self.clock.clone(), self.news.clone());
        let services = Services {
            answers: Answers::new(cache),
            ..Services::new(&Config::default(), self.storage.clone(), auth, clock, news)
        };
        let table = routes().get("/kept/{name}", Access::PublicRead, kept).hidden("/kept/{name}");
        let service = Service::new("Bench", self.auth.clone(), table, ApiDoc::openapi());
        Ok(service
            .with_data(Data::new(services))
            .with_data(Data::new(answers))
            .start(&ServerSettings::default())?)
    }
}

/// What a database of 1,000 releases does: answers a second to `GET`s of single releases, each read from the database.
pub(crate) async fn small(storage: &Storage, folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let bench = Bench::new(storage, folder).await?;
    let running = bench.serve(0, Kept::default())?;
    let rate = get(running.address().port(), cold(storage, HOT).await?).await?;
    running.stop().await;
    Ok(vec![Figure::plain("GET one release, cold, 1,000 stored", rate, "/s")])
}

/// What the whole one does; `small` is the rate of [`small`].
pub(crate) async fn whole(storage: &Storage, folder: &Path, small: f64) -> anyhow::Result<Vec<Figure>> {
    let bench = Bench::new(storage, folder).await?;
    let ids = cold(storage, COLD).await?;
    let list = format!("{LIST}?limit=100");
    let running = bench.serve(0, Kept::default())?;
    let fetch = async |path: &str| {
        anyhow::Ok(reqwest::get(format!("{}{path}", running.url())).await?.error_for_status()?.bytes().await?)
    };
    let answers: Kept =
        Arc::new(HashMap::from([("one", fetch(&ids[0]).await?), ("list", fetch(&list).await?)]));
    running.stop().await;

    let running = bench.serve(0, Arc::clone(&answers))?;
    let port = running.address().port();
    let beside = get(port, vec!["/kept/one".to_owned()]).await?;
    let beside_list = get(port, vec!["/kept/list".to_owned()]).await?;
    let rate = get(port, ids.clone()).await?;
    let mut figures = vec![
        Figure::plain("GET one release, cold", rate, "/s"),
        Figure::plain("  against the same handler", rate / beside, "x").at_least(0.25),
        Figure::plain("  against 1,000 stored", rate / small, "x").at_least(0.9),
    ];
    let mut took = times(&running, LIST, SEARCHES).await?;
    figures.push(Figure::plain(
        "search: prefix, two words, a word of 5 %: median",
        percentile(&mut took, 50),
        "ms",
    ));
    figures.push(Figure::plain("search: p99", percentile(&mut took, 99), "ms").at_most(25.0));
    let mut took = times(&running, "/api/v1/marketplace/facets", COUNTS).await?;
    figures.push(Figure::plain("facets of the same: p99", percentile(&mut took, 99), "ms"));
    running.stop().await;

    let running = bench.serve(64 << 20, answers)?;
    let port = running.address().port();
    let hot: Vec<String> = ids.into_iter().take(HOT).collect();
    get(port, hot.clone()).await?;
    let rate = get(port, hot).await?;
    figures.push(
        Figure::plain("GET one release, 1,000 hot, against the same handler", rate / beside, "x")
            .at_least(0.7),
    );
    get(port, vec![list.clone()]).await?;
    let rate = get(port, vec![list]).await?;
    figures.push(
        Figure::plain("GET list of 100, hot, against the same handler", rate / beside_list, "x")
            .at_least(0.7),
    );
    let (token, documents) = (bench.token.clone(), documents());
    let rate = tokio::task::spawn_blocking(move || load::post(port, LIST, &token, &documents)).await??;
    let published = Figure::plain("publish, durable, 32 connections", rate, "/s");
    figures.push(match storage.db() {
        Db::Sqlite { .. } => published.at_least(1_000.0),
        Db::Postgres(_) => published,
    });
    running.stop().await;
    Ok(figures)
}

/// Paths of so many releases, drawn evenly from all.
async fn cold(storage: &Storage, count: usize) -> anyhow::Result<Vec<String>> {
    let sql = "SELECT COUNT(*) FROM releases";
    let (stored,): (i64,) = match storage.db() {
        Db::Sqlite { reader, .. } => sqlx::query_as(sql).fetch_one(reader).await?,
        Db::Postgres(pool) => sqlx::query_as(sql).fetch_one(pool).await?,
    };
    let stored = usize::try_from(stored).context("a number of releases")?;
    let mut draw = Draw(7);
    Ok((0..count).map(|_| format!("{LIST}/{:024x}", draw.below(stored) + 1)).collect())
}

async fn get(port: u16, paths: Vec<String>) -> anyhow::Result<f64> {
    tokio::task::spawn_blocking(move || load::get(port, &paths, ROUND)).await?
}

/// How long each of so many searches took, one after the other, in milliseconds; the first tenth warms up.
async fn times(running: &Running, path: &str, count: usize) -> anyhow::Result<Vec<f64>> {
    let client = reqwest::Client::new();
    let mut took = Vec::with_capacity(count);
    let warm = count / 10;
    for number in 0..count + warm {
        let limit = if path == LIST { "&limit=20" } else { "" };
        let url = format!("{}{path}?q={}{limit}", running.url(), fill::query(number));
        let begun = Instant::now();
        let answer = client.get(&url).send().await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        let time = begun.elapsed();
        ensure!(status.is_success(), "{url}: {status} {}", String::from_utf8_lossy(&body));
        if number >= warm {
            took.push(time.as_secs_f64() * 1000.0);
        }
    }
    Ok(took)
}

/// The value that so many of a hundred are not above.
fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values
        .get((values.len() * percent / 100).min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

fn documents() -> Vec<String> {
    let document = |number| {
        json!({
            "name": format!("published-{number}"), "version": "1.0.0", "description": "Collects measurements of sensors",
            "keywords": ["sensors", "mqtt"],
            "services": [{"service_name": "broker", "image": "docker.io/library/eclipse-mosquitto:2.0", "ports": {"1883": "1883"}}]
        })
        .to_string()
    };
    (0..PUBLISHED).map(document).collect()
}
