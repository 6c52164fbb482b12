//! Plausible addons, as many as are wanted: names, descriptions, keywords and categories of words that are used unevenly, as people's
//! are. The same number is always the same addon.

use std::ops::Range;

use addon_descriptor::{AddonDescriptor, Version};
use anyhow::Context;
use marketplace::domain::release::Document;
use marketplace::storage::Storage;
use serde_json::json;
use service_kit::db::Db;
use sqlx::QueryBuilder;
use sqlx::postgres::PgPoolCopyExt as _;
use tokio::sync::mpsc;

/// The word that one addon of twenty has in its description.
pub(crate) const COMMON: &str = "telemetry";

const THINGS: [&str; 32] = [
    "broker",
    "camera",
    "gateway",
    "monitor",
    "dashboard",
    "recorder",
    "bridge",
    "proxy",
    "scheduler",
    "collector",
    "exporter",
    "database",
    "cache",
    "detector",
    "controller",
    "registry",
    "balancer",
    "resolver",
    "tracker",
    "planner",
    "viewer",
    "logger",
    "backup",
    "updater",
    "relay",
    "sampler",
    "filter",
    "encoder",
    "mapper",
    "indexer",
    "notifier",
    "simulator",
];
const FIELDS: [&str; 32] = [
    "mqtt", "opcua", "modbus", "zigbee", "lora", "video", "audio", "traffic", "weather", "energy", "water",
    "parking", "factory", "robot", "drone", "vehicle", "health", "crowd", "noise", "light", "storage",
    "network", "gpu", "vision", "speech", "anomaly", "billing", "identity", "secrets", "fleet", "edge",
    "cluster",
];
const QUALITIES: [&str; 24] = [
    "fast", "small", "simple", "secure", "robust", "open", "native", "smart", "local", "lean", "hybrid",
    "modern", "static", "quiet", "rapid", "solid", "clear", "live", "deep", "wide", "tiny", "bold", "fresh",
    "prime",
];
const CATEGORIES: [&str; 10] = [
    "messaging",
    "media",
    "monitoring",
    "storage",
    "networking",
    "security",
    "machine learning",
    "automation",
    "mobility",
    "energy",
];
const SENTENCES: [&str; 8] = [
    "Collects measurements of",
    "Shows what happens in",
    "Moves messages between the parts of",
    "Keeps an eye on",
    "Stores what comes from",
    "Finds unusual events in",
    "Lets operators steer",
    "Publishes the state of",
];
const PLATFORMS: [&[&str]; 4] = [
    &["linux/amd64", "linux/arm64"],
    &["linux/amd64"],
    &["linux/amd64", "linux/arm64", "linux/arm/v7"],
    &["linux/arm64"],
];

/// Rows of one statement: SQLite takes 32,766 values in one.
const ROWS: usize = 1_000;

/// Numbers that look like chance and are the same each time (SplitMix64).
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("numbers of things are small");
        usize::try_from(self.next() % end).expect("it is below a usize")
    }

    /// One of some words; the first ones more often.
    pub(crate) fn word(&mut self, words: &[&'static str]) -> &'static str {
        let (a, b) = (self.below(words.len()), self.below(words.len()));
        words[a.min(b)]
    }
}

/// Some words that a person would type, of the kinds that are measured: a beginning, two words, the common one.
pub(crate) fn query(number: usize) -> String {
    let mut draw = Draw(0x5eed + u64::try_from(number).expect("numbers are small"));
    match number % 3 {
        0 => {
            let word = if draw.below(2) == 0 { draw.word(&FIELDS) } else { draw.word(&THINGS) };
            let letters = 2 + draw.below(word.len() - 2);
            word[..letters].to_owned()
        }
        1 => format!("{}+{}", draw.word(&FIELDS), draw.word(&THINGS)),
        _ => COMMON.to_owned(),
    }
}

fn descriptor(number: usize) -> anyhow::Result<AddonDescriptor> {
    let mut draw = Draw(u64::try_from(number).context("a number of addons")?);
    let (field, thing, quality) = (draw.word(&FIELDS), draw.word(&THINGS), draw.word(&QUALITIES));
    let sentence = draw.word(&SENTENCES);
    let common = if number.is_multiple_of(20) { format!(", with {COMMON}") } else { String::new() };
    let other = draw.word(&FIELDS);
    let port = 1024 + draw.below(60_000);
    let document = json!({
        "name": format!("{quality}-{field}-{thing}-{number}"),
        "version": "1.0.0",
        "description": format!("{sentence} {field} and {other} for a {quality} {thing}{common}."),
        "keywords": [field, format!("{other} {thing}"), quality],
        "categories": [draw.word(&CATEGORIES)],
        "license": "Apache-2.0",
        "services": [
            {
                "service_name": "main", "image": format!("ghcr.io/{quality}/{field}-{thing}:1.0"),
                "ports": {port.to_string(): "8080"}, "volumes": ["data:/data"], "resources": {"memory": "64m"},
                "environment": {"LOG_LEVEL": "info", "TOPIC": field},
                "healthcheck": {"test": ["CMD", "healthcheck"], "interval": "10s"}
            },
            {
                "service_name": "view", "image": "docker.io/grafana/grafana:11.3.0", "depends_on": ["main"],
                "environment": {"GF_SERVER_HTTP_PORT": "3000"}, "resources": {"memory": "256m"}
            }
        ],
        "volumes": [{"name": "data"}]
    });
    let reading = addon_descriptor::read(&serde_json::to_vec(&document)?)
        .map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
    reading.descriptor.with_context(|| format!("{:?}", reading.violations))
}

/// Columns of the table of addons, as [`Row::addon`] gives them.
const ADDON: &str = "addon, name, skeleton, owner, created_at_ms, changed_at_ms";

/// Columns of the table of releases, as [`Row::release`] gives them.
const RELEASE: &str = "id, addon, name, version, version_id, version_order, version_rank, digest, canonical, wire, rights, \
                       publisher, pins, warnings, held, status, verdict, risk, created_at_ms, changed_at_ms, approved_at_ms, listed";

/// One row of the table of releases.
struct Row {
    id: String,
    addon: String,
    name: String,
    document: Document,
    publisher: String,
    pins: String,
    at_ms: i64,
    listed: i64,
}

/// A value of a row.
enum Cell {
    Text(String),
    Number(i64),
}

impl Row {
    fn addon(&self) -> Vec<Cell> {
        let texts =
            [&self.addon, &self.name, &self.addon, &self.publisher].map(|text| Cell::Text(text.clone()));
        texts.into_iter().chain([self.at_ms, self.at_ms].map(Cell::Number)).collect()
    }

    fn release(&self) -> Vec<Cell> {
        let Document {
            version,
            version_id,
            version_order,
            version_rank,
            digest,
            canonical,
            wire,
            rights,
            risk,
        } = &self.document;
        let texts = [
            self.id.clone(),
            self.addon.clone(),
            self.name.clone(),
            version.to_string(),
            version_id.clone(),
            version_order.clone(),
            version_rank.clone(),
            digest.to_string(),
            canonical.clone(),
            wire.text().to_owned(),
            json!(rights).to_string(),
            self.publisher.clone(),
            self.pins.clone(),
        ];
        let same = ["[]", "[]", "approved", "pass"].map(str::to_owned);
        let numbers = [i64::from(*risk), self.at_ms, self.at_ms, self.at_ms, self.listed].map(Cell::Number);
        texts.into_iter().chain(same).map(Cell::Text).chain(numbers).collect()
    }
}

/// A row as `COPY` reads it.
fn line(cells: Vec<Cell>, into: &mut String) {
    for (at, cell) in cells.into_iter().enumerate() {
        if at > 0 {
            into.push('\t');
        }
        match cell {
            // Documents are JSON without control characters.
            Cell::Text(text) => into.push_str(&text.replace('\\', "\\\\")),
            Cell::Number(number) => into.push_str(&number.to_string()),
        }
    }
    into.push('\n');
}

/// Pushes a row; a macro, since what it is pushed to is of another type in each database.
macro_rules! push {
    ($row:ident, $cells:expr) => {
        for cell in $cells {
            match cell {
                Cell::Text(text) => $row.push_bind(text),
                Cell::Number(number) => $row.push_bind(number),
            };
        }
    };
}

fn rows(number: usize, versions: usize) -> anyhow::Result<Vec<Row>> {
    let descriptor = descriptor(number)?;
    let mut draw = Draw(!u64::try_from(number)?);
    let platforms = PLATFORMS[draw.below(PLATFORMS.len())];
    let publisher = format!("publisher-{}", draw.below(5_000));
    let (addon, name) = (descriptor.name.folded(), descriptor.name.to_string());
    (0..versions)
        .map(|version| {
            let document = Document::of(&descriptor, Version::new(1, u64::try_from(version)?, 0));
            let pin = |service: &str| {
                json!({"service_name": service, "image": "ghcr.io/a:1", "digest": document.digest.to_string(),
                       "platforms": platforms, "bytes": 40_000_000})
            };
            Ok(Row {
                id: format!("{:024x}", number * versions + version + 1),
                addon: addon.clone(),
                name: name.clone(),
                publisher: publisher.clone(),
                pins: json!([pin("main"), pin("view")]).to_string(),
                at_ms: 1_700_000_000_000 + i64::try_from(number * versions + version)? * 30,
                listed: i64::from(version + 1 == versions),
                document,
            })
        })
        .collect()
}

/// What becomes of a table that many rows are put into, before and after: what holds for one row at a time costs too much.
const BEFORE_SQLITE: [&str; 3] =
    ["PRAGMA synchronous = OFF", "PRAGMA cache_size = -500000", "PRAGMA wal_autocheckpoint = 50000"];
const AFTER_SQLITE: [&str; 4] = [
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA wal_autocheckpoint = 1000",
    "PRAGMA cache_size = -2000",
    "PRAGMA synchronous = FULL",
];
const BEFORE_POSTGRES: [&str; 1] = ["DROP INDEX listings_words"];
const AFTER_POSTGRES: [&str; 2] =
    ["CREATE INDEX listings_words ON listings USING gin (words) WITH (fastupdate = off)", "VACUUM ANALYZE"];

/// What lists and searches go by, of what was inserted since the last time; in the order of their keys, since the index of
/// words of SQLite is written anew for one that comes before the last.
const LISTINGS: &str = "INSERT INTO listings (place, seq, addon, keywords, updated_at_ms, installs)
    SELECT place, seq, addon, keywords, updated_at_ms, installs FROM listing_rows
    WHERE seq > (SELECT COALESCE(MAX(seq), 0) FROM listings) ORDER BY place";

/// Names have an owner each.
const OWNERS: &str = "INSERT INTO owners (addon, account, added_by, added_at_ms)
    SELECT addon, owner, owner, created_at_ms FROM addons WHERE true ON CONFLICT (addon, account) DO NOTHING";

/// A row of the audit log for each release of every fifth addon.
const AUDIT: &str = "INSERT INTO audit (at_ms, account, action, subject_kind, subject_id, detail)
    SELECT created_at_ms, publisher, 'release.publish', 'release', id, '{\"addon\":\"' || addon || '\"}' FROM releases
    WHERE seq > (SELECT COUNT(*) * 5 FROM audit) AND seq % 5 = 0 ORDER BY seq";

/// Stores these addons in each of the databases, each addon with some approved releases.
pub(crate) async fn releases(
    storages: &[Storage],
    addons: Range<usize>,
    versions: usize,
) -> anyhow::Result<()> {
    let at_once = (ROWS / versions).max(1);
    let (sender, mut parts) = mpsc::channel::<Vec<Row>>(4);
    // Documents are made on another thread than they are stored on.
    let maker = tokio::task::spawn_blocking(move || {
        for begin in addons.clone().step_by(at_once) {
            let mut part = Vec::with_capacity(ROWS);
            for number in begin..(begin + at_once).min(addons.end) {
                part.extend(rows(number, versions)?);
            }
            if sender.blocking_send(part).is_err() {
                break;
            }
        }
        anyhow::Ok(())
    });
    for storage in storages {
        run(storage, &BEFORE_SQLITE, &BEFORE_POSTGRES).await?;
    }
    while let Some(part) = parts.recv().await {
        futures_util::future::try_join_all(storages.iter().map(|storage| store(storage, &part))).await?;
    }
    maker.await??;
    let finish = storages.iter().map(|storage| async {
        run(storage, &[OWNERS, LISTINGS, AUDIT], &[OWNERS, LISTINGS, AUDIT]).await?;
        run(storage, &AFTER_SQLITE, &AFTER_POSTGRES).await
    });
    futures_util::future::try_join_all(finish).await?;
    Ok(())
}

/// Runs the statements for the database that it is. On a connection without a limit of time.
async fn run(storage: &Storage, sqlite: &[&'static str], postgres: &[&'static str]) -> anyhow::Result<()> {
    match storage.db() {
        Db::Sqlite { writer, .. } => {
            for sql in sqlite {
                sqlx::query(*sql).execute(writer).await.context(*sql)?;
            }
        }
        Db::Postgres(pool) => {
            let mut connection = pool.acquire().await?;
            sqlx::query("SET statement_timeout = 0").execute(&mut *connection).await?;
            for sql in postgres {
                sqlx::query(*sql).execute(&mut *connection).await.context(*sql)?;
            }
            sqlx::query("SET statement_timeout = '30s'").execute(&mut *connection).await?;
        }
    }
    Ok(())
}

async fn store(storage: &Storage, part: &[Row]) -> anyhow::Result<()> {
    match storage.db() {
        Db::Sqlite { writer, .. } => {
            let mut tx = writer.begin().await?;
            let listed: Vec<&Row> = part.iter().filter(|row| row.listed == 1).collect();
            let mut addons = QueryBuilder::new(format!("INSERT INTO addons ({ADDON}) "));
            addons.push_values(listed, |mut row, new| push!(row, new.addon()));
            addons.build().execute(&mut *tx).await?;
            let mut releases = QueryBuilder::new(format!("INSERT INTO releases ({RELEASE}) "));
            releases.push_values(part, |mut row, new| push!(row, new.release()));
            releases.build().execute(&mut *tx).await?;
            tx.commit().await?;
        }
        Db::Postgres(pool) => {
            let (mut addons, mut releases) = (String::new(), String::new());
            for new in part {
                if new.listed == 1 {
                    line(new.addon(), &mut addons);
                }
                line(new.release(), &mut releases);
            }
            for (table, columns, lines) in [("addons", ADDON, addons), ("releases", RELEASE, releases)] {
                let mut copy = pool.copy_in_raw(&format!("COPY {table} ({columns}) FROM STDIN")).await?;
                copy.send(lines.into_bytes()).await?;
                copy.finish().await?;
            }
        }
    }
    Ok(())
}
