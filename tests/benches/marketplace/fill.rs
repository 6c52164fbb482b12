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

/// Inserts rows; a macro, since the two databases are two types.
macro_rules! insert {
    ($pool:expr, $rows:expr) => {{
        let rows: &[Row] = $rows;
        let mut tx = $pool.begin().await?;
        let mut addons = QueryBuilder::new("INSERT INTO addons (addon, name, skeleton, owner, created_at_ms, changed_at_ms) ");
        addons.push_values(rows.iter().filter(|row| row.listed == 1), |mut row, new| {
            row.push_bind(&new.addon).push_bind(&new.name).push_bind(&new.addon).push_bind(&new.publisher);
            row.push_bind(new.at_ms).push_bind(new.at_ms);
        });
        addons.build().execute(&mut *tx).await?;
        let mut releases = QueryBuilder::new(
            "INSERT INTO releases (id, addon, name, version, version_id, version_order, version_rank, digest, canonical, wire,
                 rights, risk, publisher, pins, created_at_ms, changed_at_ms, approved_at_ms, listed, warnings, held, status,
                 verdict) ",
        );
        releases.push_values(rows, |mut row, new| {
            let document = &new.document;
            row.push_bind(&new.id).push_bind(&new.addon).push_bind(&new.name);
            row.push_bind(document.version.to_string()).push_bind(&document.version_id);
            row.push_bind(&document.version_order).push_bind(&document.version_rank);
            row.push_bind(document.digest.to_string()).push_bind(&document.canonical);
            row.push_bind(serde_json::Value::from(document.wire.clone()).to_string());
            row.push_bind(serde_json::Value::from(document.rights.clone()).to_string());
            row.push_bind(i64::from(document.risk)).push_bind(&new.publisher).push_bind(&new.pins);
            row.push_bind(new.at_ms).push_bind(new.at_ms).push_bind(new.at_ms).push_bind(new.listed);
            row.push("'[]'").push("'[]'").push("'approved'").push("'pass'");
        });
        releases.build().execute(&mut *tx).await?;
        tx.commit().await?;
    }};
}

/// What lists and searches go by, of what was inserted since the last time.
const LISTINGS: &str = "INSERT INTO listings (place, seq, addon, keywords, updated_at_ms, installs)
    SELECT place, seq, addon, keywords, updated_at_ms, installs FROM listing_rows
    WHERE seq > (SELECT COALESCE(MAX(seq), 0) FROM listings)";

/// Stores these addons, each with some approved releases.
pub(crate) async fn releases(storage: &Storage, addons: Range<usize>, versions: usize) -> anyhow::Result<()> {
    let at_once = (ROWS / versions).max(1);
    let mut begin = addons.start;
    while begin < addons.end {
        let end = (begin + at_once).min(addons.end);
        let mut part = Vec::with_capacity(ROWS);
        for number in begin..end {
            part.extend(rows(number, versions)?);
        }
        match storage.db() {
            Db::Sqlite { writer, .. } => insert!(writer, &part),
            Db::Postgres(pool) => insert!(pool, &part),
        }
        begin = end;
    }
    match storage.db() {
        Db::Sqlite { writer, .. } => {
            sqlx::query(LISTINGS).execute(writer).await?;
            sqlx::query("ANALYZE").execute(writer).await?;
        }
        Db::Postgres(pool) => {
            sqlx::query(LISTINGS).execute(pool).await?;
            sqlx::query("VACUUM ANALYZE").execute(pool).await?;
        }
    }
    Ok(())
}
