//! The route table, readable as the list of what the manager does, and what its handlers share.
//!
//! Handlers parse, call one use case (a plain read goes to the storage), and answer; `error.rs` is the one table from errors to answers,
//! `wire.rs` makes the answers. Nothing here changes anything on the engine.

mod addons;
mod audit;
mod error;
mod host;
pub mod wire;

use std::sync::Arc;

use addon_client::{Condition, Installation as Wire, WhyEntry};
use service_kit::auth::Scope;
use service_kit::clock::SharedClock;
use service_kit::problem::Problem;
use service_kit::routes::RouteTable;
use utoipa::OpenApi as _;

use crate::app::Disk;
use crate::domain::installation::{Installation, InstallationId};
use crate::domain::rollout::Rollout;
use crate::install::Installer;
use crate::reconciler::Reconciler;
use crate::runtime::ContainerRuntime;
use crate::storage::Storage;
use crate::storage::events::Event;
use wire::Answers;

/// What the handlers are given.
pub(crate) struct Api {
    pub(crate) storage: Storage,
    pub(crate) installer: Installer,
    pub(crate) reconciler: Reconciler,
    pub(crate) answers: Answers,
    pub(crate) runtime: Arc<dyn ContainerRuntime>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) disk_reserve_bytes: u64,
    pub(crate) manager_id: String,
    pub(crate) clock: SharedClock,
}

/// Everything that the manager does. Tokens, health, metrics and documentation are added by the server.
pub fn routes() -> RouteTable {
    RouteTable::new()
        // Oakestra's older manual installs at `install`; the alias has what stands at the path so far.
        .post("/api/v1/addons", Scope::Operate, addons::install)
        .alias("/api/addons/install", "/api/v1/addons")
        .get("/api/v1/addons", Scope::Read, addons::list)
        .get("/api/v1/addons/{id}", Scope::Read, addons::get)
        .patch("/api/v1/addons/{id}", Scope::Operate, addons::patch)
        .delete("/api/v1/addons/{id}", Scope::Operate, addons::delete)
        .post("/api/v1/addons/{id}/restart", Scope::Operate, addons::restart)
        .post("/api/v1/addons/{id}/upgrade", Scope::Operate, addons::upgrade)
        .post("/api/v1/addons/{id}/rollback", Scope::Operate, addons::rollback)
        .get("/api/v1/addons/{id}/revisions", Scope::Read, addons::revisions)
        .get("/api/v1/addons/{id}/why", Scope::Read, addons::why)
        .get("/api/v1/addons/{id}/logs", Scope::Read, addons::logs)
        .alias("/api/addons", "/api/v1/addons")
        .alias("/api/addons/{id}", "/api/v1/addons/{id}")
        .get("/api/v1/host", Scope::Read, host::show)
        .post("/api/v1/host/foreign/{id}/adopt", Scope::Admin, host::adopt)
        .delete("/api/v1/host/volumes/{name}", Scope::Operate, host::delete_volume)
        .get("/api/v1/audit", Scope::Admin, audit::list)
}

#[derive(utoipa::OpenApi)]
#[openapi(
    paths(
        addons::list, addons::install, addons::get, addons::patch, addons::delete, addons::restart, addons::upgrade, addons::rollback, addons::revisions, addons::why,
        addons::logs, host::show, host::adopt, host::delete_volume, audit::list
    ),
    tags(
        (name = "addons", description = "The addons that are installed on this host"),
        (name = "host", description = "The engine, what is on it that is not ours, volumes that were kept, and who changed what")
    )
)]
struct Document;

/// The OpenAPI document of the handlers.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

impl Api {
    /// An installation as its clients see it.
    async fn answer(&self, installation: Installation) -> Result<Wire, Problem> {
        let id = installation.id;
        let mut rollouts = self.storage.newest_rollouts(Some(id)).await.map_err(error::storage)?;
        self.answer_with(installation, rollouts.remove(&id)).await
    }

    /// The same where its newest rollout is known already.
    async fn answer_with(
        &self,
        installation: Installation,
        rollout: Option<Rollout>,
    ) -> Result<Wire, Problem> {
        let progress = self.reconciler.progress(installation.id);
        let answer = self.answers.installation(installation, progress, rollout).await;
        let mut answer = answer.map_err(error::storage)?;
        // No pass is made while the engine is away, so that the stored ones do not say it.
        if let Some(since) = self.reconciler.engine_unreachable() {
            let message =
                "the container engine does not answer: everything is shown as it was seen last".to_owned();
            answer.conditions.push(Condition {
                kind: "engine_unreachable".to_owned(),
                service_name: None,
                message,
                since,
            });
        }
        Ok(answer)
    }

    /// The newest entries of an installation's why-log.
    async fn why(
        &self,
        id: InstallationId,
        service: Option<&str>,
        limit: u32,
    ) -> Result<Vec<WhyEntry>, Problem> {
        // All that are kept, where only those of one service are wanted: there are few.
        let events = self
            .storage
            .events(id, if service.is_some() { u32::MAX } else { limit })
            .await
            .map_err(error::storage)?;
        let wanted =
            events.into_iter().filter(|event| service.is_none_or(|service| event.service == service));
        let entry = |event: Event| WhyEntry {
            at: event.at,
            service_name: Some(event.service).filter(|service| !service.is_empty()),
            cause: event.cause,
            operation: event.operation,
            result: event.result,
            next_attempt_at: event.next_attempt,
        };
        Ok(wanted.take(usize::try_from(limit).unwrap_or(usize::MAX)).map(entry).collect())
    }

    /// The last lines of an installation's containers, one after another where all are asked for.
    async fn logs(
        &self,
        installation: &Installation,
        service: Option<&str>,
        tail: usize,
    ) -> Result<String, Problem> {
        let desired = self
            .storage
            .desired_state(installation.id)
            .await
            .map_err(error::storage)?
            .ok_or_else(error::no_installation)?;
        if let Some(service) =
            service.filter(|service| !desired.specification.services.contains_key(*service))
        {
            return Err(Problem::not_found(format!("the addon has no service `{service}`")));
        }
        let mut texts = Vec::new();
        let created = desired
            .containers
            .iter()
            .filter_map(|row| Some((row.service.as_str(), row.engine_id.as_deref()?)));
        for (name, engine_id) in created.filter(|(name, _)| service.is_none_or(|service| service == *name)) {
            let read = self.runtime.logs(engine_id, tail);
            let text = match crate::runtime::for_a_request(self.runtime.as_ref(), read).await {
                // It was removed a moment ago: it has no logs.
                Err(crate::runtime::RuntimeError::Gone { .. }) => String::new(),
                text => text.map_err(error::engine)?,
            };
            texts.push(if service.is_some() { text } else { format!("==> {name} <==\n{text}") });
        }
        Ok(texts.join("\n"))
    }
}
