//! What is asked of a marketplace over HTTP, and how fast it answers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::web::{self, Bytes, Data};
use anyhow::{Context, ensure};
use marketplace::config::Config;
use marketplace::http::{ApiDoc, Services, cache::Answers, routes};
use marketplace::news::News;
use marketplace::storage::Storage;
use serde_json::json;
use service_kit::auth::{Access, Auth, AuthSettings, TokenStore};
use service_kit::clock::{SharedClock, SystemClock};
use service_kit::config::ServerSettings;
use service_kit::db::Db;
use service_kit::server::{Running, Service};
use utoipa::OpenApi as _;

use crate::fill::{self, Draw};
use crate::load;
use crate::report::Column;

/// One load.
const ROUND: Duration = Duration::from_secs(2);
/// Times that each pair is measured, in turn.
const ROUNDS: usize = 3;
/// Searches of each kind that are timed.
const SEARCHES: usize = 500;
/// Counts by facet that are timed.
const COUNTS: usize = 100;
/// Documents that are published against the clock.
const PUBLISHED: usize = 6_000;
/// Different releases that are hot.
const HOT: usize = 1_000;
/// Different releases that are asked for cold, drawn evenly from all.
const COLD: usize = 50_000;

pub(crate) const LIST: &str = "/api/v1/marketplace/addons";
const FACETS: &str = "/api/v1/marketplace/facets";

/// The bytes that the comparison returns, by their name.
type Kept = Arc<HashMap<&'static str, Bytes>>;

async fn kept(kept: Data<Kept>, name: web::Path<String>) -> HttpResponse {
    match kept.get(name.as_str()) {
        Some(bytes) => HttpResponse::Ok().content_type("application/json").body(bytes.clone()),
        None => HttpResponse::NotFound().finish(),
    }
}

/// What a marketplace on a filled database is started with.
struct Bench {
    storage: Storage,
    url: Option<String>,
    state: PathBuf,
    clock: SharedClock,
}

/// One that runs.
struct Served {
    running: Running,
    storage: Storage,
    own: bool,
    token: String,
}

impl Bench {
    fn new(column: &Column) -> Self {
        Self {
            storage: column.storage.clone(),
            url: column.url.clone(),
            state: column.state.clone(),
            clock: SystemClock::shared(),
        }
    }

    /// Starts it with so many bytes of kept answers; none: every answer is made anew. Connections to a server live no longer
    /// than the threads that made them: each has its own.
    async fn serve(&self, cache: u64, answers: Kept) -> anyhow::Result<Served> {
        let storage = match &self.url {
            Some(url) => crate::replica(url).await?,
            None => self.storage.clone(),
        };
        let settings = ServerSettings::default();
        let (tokens, clock) = (TokenStore::new(storage.db().clone()), self.clock.clone());
        let profile = marketplace::app::AUTH;
        let auth = Auth::start(
            profile,
            &AuthSettings::default(),
            settings.address,
            &self.state,
            tokens,
            clock.clone(),
        )
        .await?;
        let token = std::fs::read_to_string(self.state.join("admin-token"))?.trim().to_owned();
        let news = News::open(storage.clone()).await?;
        let services = Services {
            answers: Answers::new(cache),
            ..Services::new(&Config::default(), storage.clone(), auth.clone(), clock, news)
        };
        let table = routes().get("/kept/{name}", Access::PublicRead, kept).hidden("/kept/{name}");
        let service = Service::new("Bench", auth, table, ApiDoc::openapi)
            .with_data(Data::new(services))
            .with_data(Data::new(answers));
        Ok(Served { running: service.start(&settings)?, storage, own: self.url.is_some(), token })
    }
}

impl Served {
    fn port(&self) -> u16 {
        self.running.address().port()
    }

    async fn fetch(&self, path: &str) -> anyhow::Result<Bytes> {
        let answer = reqwest::get(format!("{}{path}", self.running.url())).await?;
        Ok(answer.error_for_status()?.bytes().await?)
    }

    async fn stop(self) {
        if self.own {
            self.storage.db().close().await;
        }
        self.running.stop().await;
    }
}

/// The row that a database of [`crate::SMALL`] releases has, which the same at full size is held to.
const COLD_SMALL: &str = "GET one release, cold, 1,000 stored, against the same handler";

/// What a small marketplace does with `GET`s of single releases, each read from the database.
pub(crate) async fn small(column: &mut Column) -> anyhow::Result<()> {
    let bench = Bench::new(column);
    let ids = cold(&column.storage, HOT).await?;
    let running = bench.serve(0, Kept::default()).await?;
    let one = running.fetch(&ids[0]).await?;
    running.stop().await;
    let running = bench.serve(0, Arc::new(HashMap::from([("one", one)]))).await?;
    let (rate, beside) = pair(running.port(), ids, "one").await?;
    running.stop().await;
    column.plain(COLD_SMALL, rate / beside, "x");
    Ok(())
}

/// What the whole one does.
pub(crate) async fn whole(column: &mut Column) -> anyhow::Result<()> {
    let bench = Bench::new(column);
    let ids = cold(&column.storage, COLD).await?;
    let list = format!("{LIST}?limit=100");
    let running = bench.serve(0, Kept::default()).await?;
    let answers: Kept = Arc::new(HashMap::from([
        ("one", running.fetch(&ids[0]).await?),
        ("list", running.fetch(&list).await?),
    ]));
    running.stop().await;

    let running = bench.serve(0, Arc::clone(&answers)).await?;
    let (rate, beside) = pair(running.port(), ids.clone(), "one").await?;
    column.plain("GET one release, cold", rate, "/s");
    column.plain("  the same bytes from memory", beside, "/s");
    column.at_least("GET one release, cold, against the same handler", rate / beside, "x", 0.25);
    // Both against what is beside them, so that what else the machine does now is not measured.
    let small = column.figures.iter().find(|figure| figure.what == COLD_SMALL).map(|figure| figure.value);
    let small = small.context("the small one is measured first")?;
    column.at_least("  against 1,000 stored", rate / beside / small, "x", 0.9);
    let mut every = Vec::new();
    for (what, kind) in [
        ("search, a beginning: p99", 0),
        ("search, two words: p99", 1),
        ("search, a word of 5 % of all: p99", 2),
    ] {
        let mut took =
            times(&running.running, LIST, |number| fill::query(number * 3 + kind), SEARCHES).await?;
        column.plain(what, percentile(&mut took, 99), "ms");
        every.extend(took);
    }
    column.plain("search, all of them: median", percentile(&mut every, 50), "ms");
    column.at_most("search, all of them: p99", percentile(&mut every, 99), "ms", 25.0);
    let mut took = times(&running.running, FACETS, fill::query, COUNTS).await?;
    column.plain("facets of the same: median", percentile(&mut took, 50), "ms");
    column.at_most("facets of the same: p99", percentile(&mut took, 99), "ms", 100.0);
    running.stop().await;

    let running = bench.serve(64 << 20, answers).await?;
    let port = running.port();
    let hot: Vec<String> = ids.into_iter().take(HOT).collect();
    get(port, hot.clone()).await?;
    let (rate, beside) = pair(port, hot, "one").await?;
    column.at_least("GET one release, 1,000 hot, against the same handler", rate / beside, "x", 0.7);
    get(port, vec![list.clone()]).await?;
    let (rate, beside) = pair(port, vec![list], "list").await?;
    column.at_least("GET list of 100, hot, against the same handler", rate / beside, "x", 0.7);
    running.stop().await;
    publish(column, &bench).await
}

/// Publishes through as many replicas as there can be.
async fn publish(column: &mut Column, bench: &Bench) -> anyhow::Result<()> {
    let whats = ["publish, durable", "publish, durable, 2 replicas", "publish, durable, 3 replicas"];
    let replicas = if column.url.is_some() { 3 } else { 1 };
    for count in 1..=replicas {
        let mut running = Vec::new();
        for _ in 0..count {
            running.push(bench.serve(0, Kept::default()).await?);
        }
        let begun = Instant::now();
        let loads = running.iter().enumerate().map(|(number, running)| {
            let (port, token) = (running.port(), running.token.clone());
            let documents = documents(&format!("published-{count}-{number}"), PUBLISHED / count);
            tokio::task::spawn_blocking(move || load::post(port, LIST, &token, &documents))
        });
        for load in futures_util::future::join_all(loads.collect::<Vec<_>>()).await {
            load??;
        }
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let rate = (PUBLISHED / count * count) as f64 / begun.elapsed().as_secs_f64();
        if count == 1 {
            column.at_least(whats[0], rate, "/s", 1_000.0);
        } else {
            column.plain(whats[count - 1], rate, "/s");
        }
        for running in running {
            running.stop().await;
        }
    }
    Ok(())
}

/// Answers a second to these paths and to the same bytes from memory: in turn, so that what else the machine does hits both;
/// the median of each.
async fn pair(port: u16, paths: Vec<String>, kept: &str) -> anyhow::Result<(f64, f64)> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(get(port, paths.clone()).await?);
        theirs.push(get(port, vec![format!("/kept/{kept}")]).await?);
    }
    Ok((percentile(&mut ours, 50), percentile(&mut theirs, 50)))
}

/// Paths of so many releases, drawn evenly from all.
pub(crate) async fn cold(storage: &Storage, count: usize) -> anyhow::Result<Vec<String>> {
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
async fn times(
    running: &Running,
    path: &str,
    query: impl Fn(usize) -> String,
    count: usize,
) -> anyhow::Result<Vec<f64>> {
    let client = reqwest::Client::new();
    let mut took = Vec::with_capacity(count);
    let warm = count / 10;
    for number in 0..count + warm {
        let limit = if path == LIST { "&limit=20" } else { "" };
        let url = format!("{}{path}?q={}{limit}", running.url(), query(number));
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

fn documents(prefix: &str, count: usize) -> Vec<String> {
    let document = |number| {
        json!({
            "name": format!("{prefix}-{number}"), "version": "1.0.0", "description": "Collects measurements of sensors",
            "keywords": ["sensors", "mqtt"],
            "services": [{"service_name": "broker", "image": "docker.io/library/eclipse-mosquitto:2.0", "ports": {"1883": "1883"}}]
        })
        .to_string()
    };
    (0..count).map(document).collect()
}
