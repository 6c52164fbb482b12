//! The marketplace over HTTP: started as `main` starts it, on a port of its own, beside registries that answer, fail and
//! mislead as a test wants it. One file a resource.

#![allow(clippy::unwrap_used, reason = "the harness is test code as well")]

mod abuse;
mod binary;
mod client;
mod faults;
mod feeds;
mod identity;
mod images;
mod market;
mod matrix;
mod news;
mod process;
mod publish;
mod read;
mod registry;
mod replicas;
mod review;
mod search;
mod silent;
mod trust;
mod verification;
mod wire;
