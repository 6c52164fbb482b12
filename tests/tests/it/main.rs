//! The system tests: one binary, since each further one links 40 MB again. One module a part of what users rely on.

mod demo;
mod deploy;
mod foreign;
mod install;
mod jobs;
mod names;
mod outage;
mod publish;
mod repair;
mod replicas;
mod requests;
mod restart;
mod runtime;
mod schema;
mod uninstall;
mod upgrade;
mod volumes;
mod world;

/// A line of the test's output that says how long something took.
#[expect(clippy::print_stdout, reason = "figures of a run, shown with `--no-capture`")]
fn measured(what: &str, took: std::time::Duration) {
    println!("{what}: {} ms", took.as_millis());
}
