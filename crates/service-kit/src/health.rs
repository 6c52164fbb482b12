//! `/healthz`: the process answers. `/readyz`: it can do its work; a service says what that takes. `/metrics`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::gate::Guarded;
use crate::metrics;

/// Longest time that a check may take.
const PATIENCE: Duration = Duration::from_secs(2);

type CheckFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Something that must be so for the service to do its work, as that its database answers.
#[derive(Clone)]
pub struct ReadyCheck {
    name: &'static str,
    informative: bool,
    check: Arc<dyn Fn() -> CheckFuture + Send + Sync>,
}

impl ReadyCheck {
    /// A check of this name. What it says when it fails is shown to everyone: nothing internal.
    pub fn new<F, Fut>(name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name, informative: false, check: Arc::new(move || Box::pin(check())) }
    }

    /// The same for something that the service does its own work without: it is shown, and decides nothing.
    pub fn informative<F, Fut>(name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { informative: true, ..Self::new(name, check) }
    }
}

impl fmt::Debug for ReadyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadyCheck").field(&self.name).finish()
    }
}

/// What the handlers here need.
pub(crate) struct Health {
    pub(crate) checks: Vec<ReadyCheck>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) guarded: Vec<Arc<Guarded>>,
}

impl Health {
    /// Looks at everything, all at once.
    pub(crate) async fn look(&self) -> Status {
        let mut checks = Vec::with_capacity(self.checks.len() + 1);
        if self.shutdown.is_cancelled() {
            let message = Some("the service is stopping".to_owned());
            checks.push(CheckStatus { name: "running", ok: false, informative: false, message });
        }
        let asked = futures_util::future::join_all(self.checks.iter().map(|check| async {
            let said = tokio::time::timeout(PATIENCE, (check.check)()).await;
            let message = said.unwrap_or_else(|_| Err("no answer within 2 s".to_owned())).err();
            let (name, informative) = (check.name, check.informative);
            CheckStatus { name, ok: message.is_none(), informative, message }
        }));
        checks.extend(asked.await);
        Status::new(checks)
    }
}

/// How a service is that can do its work.
const READY: &str = "ready";

/// How a service is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// `ok`, `ready` or `not ready`.
    status: &'static str,
    /// What is looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) checks: Vec<CheckStatus>,
}

impl Status {
    /// How a service is of which these things were looked at.
    pub(crate) fn new(checks: Vec<CheckStatus>) -> Self {
        let ready = checks.iter().all(|check| check.ok || check.informative);
        Self { status: if ready { READY } else { "not ready" }, checks }
    }

    /// Whether the service can do its work.
    pub(crate) fn is_ready(&self) -> bool {
        self.status == READY
    }
}

/// How a thing that the service needs is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckStatus {
    /// What was looked at.
    pub(crate) name: &'static str,
    /// Whether it is as it must be.
    pub(crate) ok: bool,
    /// Shown and nothing more: the service is ready without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) informative: bool,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, description = "It does", body = Status)))]
pub(crate) async fn healthz() -> web::Json<Status> {
    web::Json(Status { status: "ok", checks: Vec::new() })
}

/// Whether the service can do its work.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "It can", body = Status),
    (status = 503, description = "It cannot at the moment", body = Status)))]
pub(crate) async fn readyz(health: web::Data<Health>) -> HttpResponse {
    let status = health.look().await;
    if status.is_ready() {
        HttpResponse::Ok().json(status)
    } else {
        HttpResponse::ServiceUnavailable().insert_header((header::RETRY_AFTER, "1")).json(status)
    }
}

/// Metrics in Prometheus's text format.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")))]
pub(crate) async fn show_metrics(health: web::Data<Health>) -> HttpResponse {
    let text = metrics::render(health.guarded.iter().flat_map(|guarded| guarded.stats()));
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(text)
}
