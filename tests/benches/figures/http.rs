//! The marketplace's answers against handlers of the same application, behind the same middleware, that return the same bytes from memory;
//! and that middleware against none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::{Context, ensure};
use marketplace::config::Config;
use marketplace::http::{ApiDoc, Services, cache::Answers, routes};
use marketplace::news::News;
use marketplace::storage::Storage;
use serde_json::json;
use service_kit::auth::{Access, Auth, AuthSettings, TokenStore};
use service_kit::clock::SystemClock;
use service_kit::config::ServerSettings;
use service_kit::db::Db;
use service_kit::server::Service;
use utoipa::OpenApi as _;

use crate::load;
use crate::report::{Report, Target, median};

/// Different releases that are asked for.
const RELEASES: usize = 1000;
/// Documents that are published against the clock.
const PUBLISHED: usize = 6000;
/// One load.
const ROUND: Duration = Duration::from_secs(2);
/// Times that each pair is measured, in turn.
const ROUNDS: usize = 5;

const LIST: &str = "/api/v1/marketplace/addons";

/// The bytes that the comparison returns, by their name.
type Kept = Arc<HashMap<&'static str, Bytes>>;

async fn kept(kept: Data<Kept>, name: web::Path<String>) -> HttpResponse {
    match kept.get(name.as_str()) {
        Some(bytes) => HttpResponse::Ok().content_type("application/json").body(bytes.clone()),
        None => HttpResponse::NotFound().finish(),
    }
}

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measured(report))
}

async fn measured(report: &mut Report) -> anyhow::Result<()> {
    // On a disk, not in memory: a publish is answered when it is durable.
    let folder = tempfile::tempdir_in(system_tests::target_folder()?)?;
    let storage = Storage::open_sqlite(&folder.path().join("marketplace.db")).await?;
    let clock = SystemClock::shared();
    let settings = ServerSettings::default();
    let tokens = TokenStore::new(storage.db().clone());
    let auth = Auth::start(
        marketplace::app::AUTH,
        &AuthSettings::default(),
        settings.address,
        folder.path(),
        tokens,
        clock.clone(),
    )
    .await?;
    let token = std::fs::read_to_string(folder.path().join("admin-token"))?.trim().to_owned();
    let news = News::open(storage.clone()).await?;
    let serve = |answers: Kept| {
        let (clock, news) = (clock.clone(), news.clone());
        let services = Services {
            answers: Answers::new(64 << 20),
            ..Services::new(&Config::default(), storage.clone(), auth.clone(), clock, news)
        };
        let table = routes().get("/kept/{name}", Access::PublicRead, kept).hidden("/kept/{name}");
        Service::new("Bench", auth.clone(), table, ApiDoc::openapi)
            .with_data(Data::new(services))
            .with_data(Data::new(answers))
            .start(&settings)
    };

    // Releases to ask for, approved by hand: images are not what is measured.
    let running = serve(Kept::default())?;
    load_in_thread(running.address().port(), &token, documents("seed", RELEASES)).await?;
    running.stop().await;
    approve_all(storage.db()).await?;
    let ids: Vec<String> = release_ids(storage.db()).await?;
    ensure!(ids.len() == RELEASES, "{} of {RELEASES} releases are there", ids.len());

    // The bytes as they are served, for the comparison.
    let running = serve(Kept::default())?;
    let one = format!("{LIST}/{}", ids[0]);
    let list = format!("{LIST}?limit=100");
    let fetch = async |path: &str| {
        anyhow::Ok(reqwest::get(format!("{}{path}", running.url())).await?.error_for_status()?.bytes().await?)
    };
    let answers: Kept = Arc::new(HashMap::from([
        ("one", fetch(&one).await?),
        ("list", fetch(&list).await?),
        ("short", Bytes::from_static(br#"{"status":"ok"}"#)),
    ]));
    ensure!(answers["list"].len() > 50 * answers["one"].len() / 2, "the list has 100 releases");
    running.stop().await;

    let running = serve(Arc::clone(&answers))?;
    let port = running.address().port();
    let gets: Vec<String> = ids.iter().map(|id| format!("{LIST}/{id}")).collect();
    let same = |name: &str| vec![format!("/kept/{name}")];
    let (measured, beside) = pair((port, gets), (port, same("one"))).await?;
    report.ratio("GET one release, 1,000 hot, 32 connections", measured, beside, "/s", Target::AtLeast(0.7));
    let (measured, beside) = pair((port, vec![list]), (port, same("list"))).await?;
    report.ratio("GET list of 100, hot, 32 connections", measured, beside, "/s", Target::AtLeast(0.7));

    // The same handler with nothing around it.
    let bare_answers = Arc::clone(&answers);
    let bare = HttpServer::new(move || {
        App::new().app_data(Data::new(Arc::clone(&bare_answers))).route("/kept/{name}", web::get().to(kept))
    });
    let bare = bare.workers(settings.workers).disable_signals().tcp_nodelay(true).bind(("127.0.0.1", 0))?;
    let bare_port = bare.addrs().first().context("it listens")?.port();
    let server = bare.run();
    let handle = server.handle();
    let task = tokio::spawn(server);
    let (measured, beside) = pair((port, same("short")), (bare_port, same("short"))).await?;
    report.ratio(
        "the middleware, against a bare actix-web handler",
        measured,
        beside,
        "/s",
        Target::AtLeast(0.6),
    );
    handle.stop(false).await;
    task.abort();

    let rate = load_in_thread(port, &token, documents("publish", PUBLISHED)).await?;
    report.absolute("publish, durable, 32 connections", rate, "/s", Target::AtLeast(1000.0));
    running.stop().await;
    Ok(())
}

/// Both in turn, so that what else the machine does hits both: the median of each.
async fn pair(measured: (u16, Vec<String>), beside: (u16, Vec<String>)) -> anyhow::Result<(f64, f64)> {
    tokio::task::spawn_blocking(move || {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let (first, second) =
                (load::get(measured.0, &measured.1, ROUND)?, load::get(beside.0, &beside.1, ROUND)?);
            // The first one warms up.
            if round > 0 {
                ours.push(first);
                theirs.push(second);
            }
        }
        Ok((median(ours), median(theirs)))
    })
    .await?
}

async fn load_in_thread(port: u16, token: &str, bodies: Vec<String>) -> anyhow::Result<f64> {
    let token = token.to_owned();
    tokio::task::spawn_blocking(move || load::post(port, LIST, &token, &bodies)).await?
}

/// Addons of two services, as they are published: each its own name.
fn documents(prefix: &str, count: usize) -> Vec<String> {
    let document = |number| {
        json!({
            "name": format!("{prefix}-{number}"),
            "version": "1.0.0",
            "description": "Collects measurements of sensors and shows them",
            "keywords": ["sensors", "mqtt"],
            "services": [
                {
                    "service_name": "broker", "image": "docker.io/library/eclipse-mosquitto:2.0",
                    "ports": {"1883": "1883"}, "volumes": ["data:/mosquitto/data"], "resources": {"memory": "64m"},
                    "healthcheck": {"test": ["CMD", "mosquitto_sub", "-t", "$SYS/#", "-C", "1"], "interval": "10s"}
                },
                {
                    "service_name": "view", "image": "docker.io/grafana/grafana:11.3.0", "depends_on": ["broker"],
                    "environment": {"GF_SERVER_HTTP_PORT": "3000"}, "ports": {"3000": "3000"}, "resources": {"memory": "256m"}
                }
            ],
            "volumes": [{"name": "data"}]
        })
        .to_string()
    };
    (0..count).map(document).collect()
}

async fn approve_all(db: &Db) -> anyhow::Result<()> {
    let Db::Sqlite { writer, .. } = db else { anyhow::bail!("the bench runs on SQLite") };
    let sql = "UPDATE releases SET status = 'approved', verdict = 'pass', approved_at_ms = created_at_ms, listed = 1";
    sqlx::query(sql).execute(writer).await?;
    sqlx::query("DELETE FROM verification_jobs").execute(writer).await?;
    Ok(())
}

async fn release_ids(db: &Db) -> anyhow::Result<Vec<String>> {
    let Db::Sqlite { reader, .. } = db else { anyhow::bail!("the bench runs on SQLite") };
    Ok(sqlx::query_scalar("SELECT id FROM releases WHERE listed = 1 ORDER BY seq").fetch_all(reader).await?)
}
