//! The marketplace: publishes, verifies, reviews and serves releases of addons.
//!
//! `http/mod.rs` is the list of what it does; `publish.rs` and `review.rs` are the use cases, `domain/` their rules,
//! `verification/` the worker that looks at images, `trust/` what is signed, `news.rs` what is told to those who follow it,
//! `storage/` the database. `app.rs` puts them together. Web pages will be `pages/`.

pub mod app;
pub mod backup;
pub mod chain;
pub mod config;
pub mod domain;
pub mod http;
pub mod news;
pub mod publish;
pub mod review;
pub mod storage;
pub mod trust;
pub mod verification;
