//! What both services share around their own job: configuration, telemetry, problem responses, tokens, health, metrics,
//! guards, the database pools, the route table and the server around it. It knows neither service.
//!
//! A service reads its settings ([`config::load`]), opens its database ([`db::Db`]), makes its [`auth::Auth`], and hands
//! its [`routes::RouteTable`] to a [`server::Service`], which `main` and tests start alike:
//!
//! ```ignore
//! let auth = Auth::start(PROFILE, &settings.auth, settings.server.address, &state_dir, TokenStore::new(db.clone()), clock).await?;
//! let running = Service::new("Addon Marketplace", auth, http::routes(), http::ApiDoc::openapi)
//!     .with_shutdown(shutdown)
//!     .with_data(web::Data::new(app))
//!     .with_check(ReadyCheck::new("database", move || { let db = db.clone(); async move { db.ping().await.map_err(|_| "no answer".to_owned()) } }))
//!     .start(&settings.server)?;
//! running.run_until_signal().await;
//! ```
//! Handlers take [`auth::Principal`], [`body::Json`], [`body::JsonBytes`], [`body::Query`], `web::Path`, `web::Data`,
//! and return `Result<impl Responder, `[`problem::Problem`]`>`.

pub mod audit;
pub mod auth;
pub mod body;
pub mod cli;
pub mod clock;
pub mod config;
pub mod db;
pub mod events;
mod gate;
mod guard;
pub mod health;
pub mod limit;
pub mod memory;
pub mod metrics;
mod nearest;
pub mod openapi;
mod page;
mod path;
pub mod problem;
pub mod random;
mod request_id;
pub mod routes;
pub mod server;
pub mod telemetry;

pub use page::{About, Count};
pub use request_id::{RequestId, X_REQUEST_ID};
