//! The marketplace at its full size: a million releases of 200,000 addons, on SQLite and PostgreSQL side by side, as a table and as
//! JSON. `make bench-marketplace` runs it; `RELEASES=100000` after it makes it smaller.
//!
//! `fill.rs` makes plausible addons and stores them, `measure.rs` asks for them over HTTP, `shipped.rs` looks at the binary that
//! users run: its memory, and its commands.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints")]

mod fill;
#[path = "../figures/load.rs"]
mod load;
mod measure;
mod report;
mod shipped;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use marketplace::storage::Storage;
use postgres_for_tests::Server;
use service_kit::db::PostgresSettings;

use crate::report::Column;

/// Releases of each addon.
const VERSIONS: usize = 5;

/// How many releases where no number is given.
const RELEASES: usize = 1_000_000;

/// How many a small marketplace has, which the whole one is compared with.
const SMALL: usize = 1_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    // The load comes from a process of its own: this program started once more.
    if words.first().is_some_and(|word| word == "load") {
        return load::main(&words[1..]);
    }
    match run(words.first()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("a figure is not reached");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(releases: Option<&String>) -> anyhow::Result<bool> {
    let releases =
        releases.map_or(Ok(RELEASES), |text| text.parse()).context("the argument is a number of releases")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // What is dropped at the end of this, however it comes, is removed: folders, and the server.
    runtime.block_on(async {
        tokio::select! {
            done = measured(releases) => done,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })
}

/// Fills both databases, then measures one after the other.
async fn measured(releases: usize) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let folder = tempfile::tempdir_in(system_tests::target_folder()?)?;
    let states = ["sqlite", "postgres"].map(|name| folder.path().join(name));
    for state in &states {
        std::fs::create_dir(state)?;
    }
    let server = Server::durable();
    server.create("marketplace");
    let url = server.url("marketplace");
    let sqlite = Storage::open_sqlite(&states[0].join(marketplace::app::DATABASE)).await?;
    let postgres = replica(&url).await?;
    let mut columns = [
        Column::new("SQLite", sqlite, states[0].clone(), None),
        Column::new("PostgreSQL", postgres, states[1].clone(), Some(url)),
    ];

    let small = SMALL.min(releases);
    let every = columns.each_ref().map(|column| column.storage.clone());
    fill::releases(&every, 0..small / VERSIONS, VERSIONS).await?;
    for column in &mut columns {
        measure::small(column).await?;
    }
    let filling = Instant::now();
    fill::releases(&every, small / VERSIONS..releases / VERSIONS, VERSIONS).await?;
    eprintln!("filled in {:.0} s", filling.elapsed().as_secs_f64());
    for column in &mut columns {
        let measuring = Instant::now();
        shipped::first_index(column).await?;
        measure::whole(column).await?;
        shipped::commands(column).await?;
        eprintln!("measured {} in {:.0} s", column.name, measuring.elapsed().as_secs_f64());
    }
    for storage in every {
        storage.db().close().await;
    }
    println!(
        "\n{releases} releases of {} addons, {:.0} s",
        releases / VERSIONS,
        begun.elapsed().as_secs_f64()
    );
    report::print(releases, &columns)
}

/// One more replica of a marketplace on PostgreSQL.
pub(crate) async fn replica(url: &str) -> anyhow::Result<Storage> {
    let settings = PostgresSettings {
        url: url.to_owned().into(),
        connections: 16,
        patience: Duration::from_secs(10),
        application: "bench".to_owned(),
    };
    Ok(Storage::open_postgres(&settings).await?)
}
