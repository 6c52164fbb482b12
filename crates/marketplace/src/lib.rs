//! The marketplace: publishes, verifies, reviews and serves releases of addons.
//!
//! `http/mod.rs` is the list of what it does; `publish.rs` and `review.rs` are the use cases, `domain/` their rules,
//! `verification/` the worker that looks at images, `storage/` the database. `app.rs` puts them together. What others copy
//! (revocations, a signed index) will be `feed.rs`, web pages `pages/`.

pub mod app;
pub mod backup;
pub mod chain;
pub mod config;
pub mod domain;
pub mod http;
pub mod publish;
pub mod review;
pub mod storage;
pub mod trust;
pub mod verification;
