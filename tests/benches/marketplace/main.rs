//! The marketplace at its full size: a million releases of 200,000 addons, on SQLite and PostgreSQL side by side, as a table and as
//! JSON. `make bench-marketplace` runs it; `RELEASES=100000` after it makes it smaller.
//!
//! `fill.rs` makes plausible addons and stores them, `measure.rs` asks for them over HTTP.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints")]

mod fill;
#[path = "../figures/load.rs"]
mod load;
mod measure;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use marketplace::storage::Storage;
use postgres_for_tests::Server;
use serde_json::{Value, json};
use service_kit::db::PostgresSettings;

use crate::measure::Figure;

/// Releases of each addon.
const VERSIONS: usize = 5;

/// How many releases where no number is given.
const RELEASES: usize = 1_000_000;

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
    let folder = tempfile::tempdir_in(system_tests::target_folder()?)?;
    let mut columns = Vec::new();
    {
        let storage = runtime.block_on(Storage::open_sqlite(&folder.path().join("marketplace.db")))?;
        columns.push(("SQLite", runtime.block_on(column(storage, folder.path(), releases))?));
    }
    {
        let server = Server::start();
        server.create("marketplace");
        let state = tempfile::tempdir_in(system_tests::target_folder()?)?;
        let settings = PostgresSettings {
            url: server.url("marketplace").into(),
            connections: 16,
            patience: Duration::from_secs(10),
            application: "bench".to_owned(),
        };
        let storage = runtime.block_on(Storage::open_postgres(&settings))?;
        columns.push(("PostgreSQL", runtime.block_on(column(storage, state.path(), releases))?));
    }
    report(releases, &columns)
}

/// Fills a database and measures it.
async fn column(storage: Storage, folder: &std::path::Path, releases: usize) -> anyhow::Result<Vec<Figure>> {
    let small = 1_000.min(releases);
    fill::releases(&storage, 0..small / VERSIONS, VERSIONS).await?;
    let mut figures = measure::small(&storage, folder).await?;
    let begun = std::time::Instant::now();
    fill::releases(&storage, small / VERSIONS..releases / VERSIONS, VERSIONS).await?;
    figures.push(Figure::plain("filled", begun.elapsed().as_secs_f64(), "s"));
    figures.extend(measure::whole(&storage, folder, figures[0].value).await?);
    storage.db().close().await;
    Ok(figures)
}

/// Prints the table and the JSON; whether every figure is reached.
fn report(releases: usize, columns: &[(&str, Vec<Figure>)]) -> anyhow::Result<bool> {
    let (_, first) = columns.first().context("there is a column")?;
    println!("\n{releases} releases of {} addons", releases / VERSIONS);
    print!("{:<64}", "");
    for (name, _) in columns {
        print!("{name:>16}");
    }
    println!("  target");
    let mut reached = true;
    for (row, figure) in first.iter().enumerate() {
        print!("{:<64}", figure.what);
        for (_, figures) in columns {
            let figure = &figures[row];
            reached &= figure.is_reached();
            let mark = if figure.is_reached() { "" } else { " !" };
            print!("{:>16}", format!("{:.2} {}{mark}", figure.value, figure.unit));
        }
        println!("  {}", figure.target());
    }
    let of = |(name, figures): &(&str, Vec<Figure>)| {
        let figures: Vec<Value> = figures.iter().map(Figure::json).collect();
        json!({"database": name, "figures": figures})
    };
    let whole = json!({"releases": releases, "databases": columns.iter().map(of).collect::<Vec<_>>()});
    let path = system_tests::target_folder()?.join("bench-marketplace.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&whole)?)?;
    println!("\n{}", path.display());
    Ok(reached)
}
