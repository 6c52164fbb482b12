//! The figures that the project promises, each beside its comparison in the same run: a table for people, JSON for tools.
//!
//! A ratio counts, not a time: the machine is the same for both. `http.rs` measures the marketplace's answers against handlers of the same
//! application that return the same bytes, `install.rs` and `repair.rs` the manager against a client that makes the same calls directly
//! (`direct.rs`), installs against Docker Compose as well, `process.rs` memory, start and size, `many.rs` a host with a thousand addons. Run it
//! with `make bench`; words after it choose parts, and `installations=100` makes the last one smaller.
#![allow(clippy::print_stderr, reason = "a bench says what it does not know")]

mod direct;
mod http;
mod install;
mod load;
mod many;
mod process;
mod repair;
mod report;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

/// Measures some figures.
type Part<'a> = &'a dyn Fn(&mut report::Report) -> anyhow::Result<()>;

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    // The load comes from a process of its own: this program started once more.
    if words.first().is_some_and(|word| word == "load") {
        return load::main(&words[1..]);
    }
    let installations = words.iter().find_map(|word| word.strip_prefix("installations="));
    let Ok(installations) = installations.map_or(Ok(many::INSTALLATIONS), str::parse) else {
        eprintln!("installations={} is no number", installations.unwrap_or_default());
        return ExitCode::FAILURE;
    };
    words.retain(|word| !word.starts_with("installations="));
    let parts: [(&str, Part<'_>); 5] = [
        ("http", &http::measure),
        ("install", &install::measure),
        ("repair", &repair::measure),
        ("process", &process::measure),
        ("many", &|report| many::measure(report, installations)),
    ];
    let names = parts.map(|(name, _)| name);
    if let Some(unknown) = unknown_word(&words, &names) {
        eprintln!("there is no part {unknown:?} to measure: there are {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    let mut report = report::Report::default();
    for (name, measure) in parts {
        if !words.is_empty() && !words.iter().any(|word| word == name) {
            continue;
        }
        // A world fails by panicking, as tests do.
        match std::panic::catch_unwind(AssertUnwindSafe(|| measure(&mut report))) {
            Ok(Ok(())) => (),
            Ok(Err(error)) => report.failed(name, &error),
            Err(_) => report.failed(name, &anyhow::anyhow!("see above")),
        }
    }
    report.finish()
}

/// The first word that is no part's name: it would be left out, and nobody would see that nothing was measured.
fn unknown_word<'w>(words: &'w [String], names: &[&str]) -> Option<&'w str> {
    words.iter().map(String::as_str).find(|word| !names.contains(word))
}
