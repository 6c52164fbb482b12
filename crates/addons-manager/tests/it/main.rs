//! The manager over HTTP: `App::build` on a free port, an engine in memory, a marketplace that says what a test wants.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]
#![allow(clippy::needless_pass_by_value, reason = "documents are written where they are handed over")]

mod audit;
mod conflicts;
mod host;
mod install;
mod list;
mod manager;
mod remove;
mod reports;
mod start;
mod upgrade;
mod wire;
