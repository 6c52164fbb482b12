//! `/api/v1/addons`: the installations of this host.

use std::collections::BTreeSet;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use addon_client::{
    InstallRequest, Installation as Wire, ListInstallations, PatchInstallation, PatchStatus, RevisionView,
    RollbackRequest, UpgradeRequest, WhyEntry,
};
use serde::Deserialize;
use service_kit::audit::Actor;
use service_kit::auth::Principal;
use service_kit::body::{Json, NoQuery, Query};
use service_kit::clock::Timestamp;
use service_kit::problem::Problem;

use super::{Api, error};
use crate::domain::installation::{Installation, InstallationId};
use crate::storage::installations::ListFilter;
use crate::uninstall::{Removal, Removed};
use crate::{configure, uninstall};

/// Lines of each container that are shown unless more or fewer are asked for.
const DEFAULT_TAIL: usize = 100;
/// Most lines of one container in one answer.
const MAX_TAIL: usize = 10_000;

/// List installations, oldest first.
#[utoipa::path(get, path = "/api/v1/addons", tag = "addons", params(ListInstallations),
    responses((status = 200, description = "The installations; `Link: rel=\"next\"` where a limit cut them off", body = Vec<Wire>)))]
pub(crate) async fn list(
    api: web::Data<Api>,
    request: HttpRequest,
    query: Query<ListInstallations>,
) -> Result<HttpResponse, Problem> {
    let query = query.0;
    if query.limit == Some(0) {
        return Err(Problem::bad_request("bad-query", "`limit` is at least 1; leave it out for all"));
    }
    let after = query.cursor.as_deref().map(read_cursor).transpose()?;
    let filter = ListFilter {
        status: query.status.clone(),
        name: query.name.clone(),
        after,
        // One more tells whether there is more.
        limit: query.limit.map(|limit| limit.saturating_add(1)),
    };
    let mut installations = api.storage.installations(&filter).await.map_err(error::storage)?;
    let mut response = HttpResponse::Ok();
    if let Some(limit) = query.limit {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if installations.len() > limit {
            installations.truncate(limit);
            let last = installations.last().expect("a limit is at least 1");
            response.insert_header((header::LINK, next_link(request.path(), &query, last)));
        }
    }
    let mut rollouts = api.storage.newest_rollouts(None).await.map_err(error::storage)?;
    let mut answers = Vec::with_capacity(installations.len());
    for installation in installations {
        let rollout = rollouts.remove(&installation.id);
        answers.push(api.answer_with(installation, rollout).await?);
    }
    Ok(response.json(answers))
}

/// Install a release.
#[utoipa::path(post, path = "/api/v1/addons", tag = "addons",
    request_body(content = InstallRequest, examples(
        ("addon" = (summary = "The newest release of an addon", value = json!({"addon": "hello"}))),
        ("addon, granting rights" = (summary = "An addon that asks for dangerous rights", value = json!({"addon": "hello", "rights": ["host-pid"]}))),
        ("release" = (summary = "A release, under a name of its own", value = json!({"marketplace_id": "6b017a0f089f44785d84421a", "name": "hello-2"}))))),
    responses(
        (status = 201, description = "It is being installed", body = Wire),
        (status = 403, description = "Dangerous rights are not named in `rights`: `errors` lists them", body = addon_client::Problem),
        (status = 404, description = "No such release", body = addon_client::Problem),
        (status = 409, description = "Installed already, not approved, or something is held by others: `errors` names them", body = addon_client::Problem),
        (status = 422, description = "The request or the addon asks for what cannot be done", body = addon_client::Problem),
        (status = 502, description = "The marketplace's answer is of no use", body = addon_client::Problem),
        (status = 503, description = "The marketplace or the engine does not answer now", body = addon_client::Problem)))]
pub(crate) async fn install(
    api: web::Data<Api>,
    who: Principal,
    by: Actor,
    _: NoQuery,
    body: Json<InstallRequest>,
) -> Result<HttpResponse, Problem> {
    let installation = api.installer.install(&body.into_inner(), &who, &by).await.map_err(error::install)?;
    api.reconciler.wake(installation.id);
    let location = format!("/api/v1/addons/{}", installation.id);
    let answer = api.answer(installation).await?;
    Ok(HttpResponse::Created().insert_header((header::LOCATION, location)).json(answer))
}

/// Get an installation.
#[utoipa::path(get, path = "/api/v1/addons/{id}", tag = "addons", params(("id" = String, Path, description = "The installation's id")),
    responses((status = 200, description = "The installation", body = Wire),
              (status = 404, description = "No such installation", body = addon_client::Problem)))]
pub(crate) async fn get(api: web::Data<Api>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let installation = listed(&api, &id).await?;
    Ok(HttpResponse::Ok().json(api.answer(installation).await?))
}

/// Enable or disable an installation.
#[utoipa::path(patch, path = "/api/v1/addons/{id}", tag = "addons", params(("id" = String, Path, description = "The installation's id")),
    request_body(content = PatchInstallation, example = json!({"status": "disabled"})),
    responses((status = 200, description = "The installation as it is wanted now", body = Wire),
              (status = 404, description = "No such installation", body = addon_client::Problem),
              (status = 422, description = "Anything but `status` as `active` or `disabled`", body = addon_client::Problem)))]
pub(crate) async fn patch(
    api: web::Data<Api>,
    who: Principal,
    by: Actor,
    id: web::Path<String>,
    _: NoQuery,
    body: Json<PatchInstallation>,
) -> Result<HttpResponse, Problem> {
    let installation = listed(&api, &id).await?;
    who.require_name(&installation.addon)?;
    let status = wanted_status(&body.into_inner())?;
    let now = api.clock.now();
    if !configure::set_status(&api.storage, installation.id, status, &by, now)
        .await
        .map_err(error::storage)?
    {
        return Err(error::no_installation());
    }
    api.reconciler.wake(installation.id);
    let installation = listed(&api, &id).await?;
    Ok(HttpResponse::Ok().json(api.answer(installation).await?))
}

/// How an installation is removed.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RemoveQuery {
    /// `true`: at once, whatever its status, and though others require it.
    #[serde(default)]
    force: Option<String>,
    /// `delete`: its volumes go with it; else they are kept. Said at the call that disables, it counts for the one that removes, until `keep` is
    /// said or the installation is enabled.
    #[serde(default)]
    volumes: Option<String>,
}

/// Disable an installation; remove one that is disabled.
#[utoipa::path(delete, path = "/api/v1/addons/{id}", tag = "addons",
    params(("id" = String, Path, description = "The installation's id"), RemoveQuery),
    responses((status = 200, description = "It is being disabled; call again once it is `disabled`", body = Wire),
              (status = 204, description = "It is gone; volumes that stay are listed by `/api/v1/host`"),
              (status = 404, description = "No such installation", body = addon_client::Problem),
              (status = 409, description = "Others require it", body = addon_client::Problem)))]
pub(crate) async fn delete(
    api: web::Data<Api>,
    who: Principal,
    by: Actor,
    id: web::Path<String>,
    request: HttpRequest,
    query: Query<RemoveQuery>,
) -> Result<HttpResponse, Problem> {
    each_said_once(request.query_string())?;
    let how = removal(&query.0)?;
    let installation = listed(&api, &id).await?;
    who.require_name(&installation.addon)?;
    let now = api.clock.now();
    let removed =
        uninstall::remove(&api.storage, installation.id, how, &by, now).await.map_err(error::remove)?;
    api.reconciler.wake(installation.id);
    match removed {
        Removed::Gone => Ok(HttpResponse::NoContent().finish()),
        Removed::Disabling(installation) => Ok(HttpResponse::Ok().json(api.answer(*installation).await?)),
    }
}

/// Start every service afresh, completed and failed jobs too.
#[utoipa::path(post, path = "/api/v1/addons/{id}/restart", tag = "addons", params(("id" = String, Path, description = "The installation's id")),
    responses((status = 202, description = "It is being restarted", body = Wire),
              (status = 404, description = "No such installation", body = addon_client::Problem),
              (status = 409, description = "It is disabled", body = addon_client::Problem)))]
pub(crate) async fn restart(
    api: web::Data<Api>,
    who: Principal,
    by: Actor,
    id: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, Problem> {
    let installation = listed(&api, &id).await?;
    who.require_name(&installation.addon)?;
    configure::restart(&api.storage, installation.id, &by, api.clock.now()).await.map_err(error::restart)?;
    api.reconciler.wake(installation.id);
    let installation = listed(&api, &id).await?;
    Ok(HttpResponse::Accepted().json(api.answer(installation).await?))
}

/// Change an installation to another release of its addon.
///
/// Every image is pulled and every new container created before anything is stopped; then one service after the other is changed and has to be
/// well for a while. What fails is undone by itself: `rollout` of the installation says how far it is, and why it went back.
#[utoipa::path(post, path = "/api/v1/addons/{id}/upgrade", tag = "addons", params(("id" = String, Path, description = "The installation's id")),
    request_body(content = UpgradeRequest, examples(
        ("newest" = (summary = "The newest release", value = json!({}))),
        ("version" = (summary = "A version", value = json!({"version": "2.0.0"}))))),
    responses((status = 202, description = "It is being upgraded", body = Wire),
              (status = 403, description = "Dangerous rights that were not granted before are not named in `rights`: `errors` lists them", body = addon_client::Problem),
              (status = 404, description = "No such installation, or no such release", body = addon_client::Problem),
              (status = 409, description = "It is what is installed, another change is under way, not approved, or something is held by others", body = addon_client::Problem),
              (status = 422, description = "The request or the addon asks for what cannot be done", body = addon_client::Problem),
              (status = 502, description = "The marketplace's answer is of no use", body = addon_client::Problem),
              (status = 503, description = "The marketplace or the engine does not answer now", body = addon_client::Problem)))]
pub(crate) async fn upgrade(
    api: web::Data<Api>,
    who: Principal,
    by: Actor,
    id: web::Path<String>,
    _: NoQuery,
    body: Json<UpgradeRequest>,
) -> Result<HttpResponse, Problem> {
    let installation = listed(&api, &id).await?;
    who.require_name(&installation.addon)?;
    api.installer.upgrade(installation.id, &body.into_inner(), &who, &by).await.map_err(error::change)?;
    changed(&api, &id).await
}

/// Change an installation to a revision that it had before.
#[utoipa::path(post, path = "/api/v1/addons/{id}/rollback", tag = "addons", params(("id" = String, Path, description = "The installation's id")),
    request_body(content = RollbackRequest, example = json!({"revision": 1})),
    responses((status = 202, description = "It is being changed", body = Wire),
              (status = 404, description = "No such installation", body = addon_client::Problem),
              (status = 409, description = "It is what is installed, another change is under way, or something is held by others", body = addon_client::Problem),
              (status = 422, description = "There is no such revision", body = addon_client::Problem),
              (status = 503, description = "The engine does not answer now", body = addon_client::Problem)))]
pub(crate) async fn rollback(
    api: web::Data<Api>,
    who: Principal,
    by: Actor,
    id: web::Path<String>,
    _: NoQuery,
    body: Json<RollbackRequest>,
) -> Result<HttpResponse, Problem> {
    let installation = listed(&api, &id).await?;
    who.require_name(&installation.addon)?;
    api.installer.rollback(installation.id, &body.into_inner(), &who, &by).await.map_err(error::change)?;
    changed(&api, &id).await
}

async fn changed(api: &Api, id: &str) -> Result<HttpResponse, Problem> {
    let installation = listed(api, id).await?;
    api.reconciler.wake(installation.id);
    Ok(HttpResponse::Accepted().json(api.answer(installation).await?))
}

/// The revisions of an installation, newest first.
#[utoipa::path(get, path = "/api/v1/addons/{id}/revisions", tag = "addons", params(("id" = String, Path, description = "The installation's id")),
    responses((status = 200, description = "Its revisions", body = Vec<RevisionView>),
              (status = 404, description = "No such installation", body = addon_client::Problem)))]
pub(crate) async fn revisions(api: web::Data<Api>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let installation = listed(&api, &id).await?;
    let revisions = api.storage.revisions(installation.id).await.map_err(error::storage)?;
    let view = |revision: crate::domain::installation::Revision| RevisionView {
        revision: revision.revision,
        current: revision.revision == installation.revision,
        marketplace_id: revision.release_id,
        version: revision.version,
        digest: revision.release_digest,
        created_at: revision.created_at,
    };
    Ok(HttpResponse::Ok().json(revisions.into_iter().map(view).collect::<Vec<_>>()))
}

/// Which entries of the why-log.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhyQuery {
    /// Only those about this service.
    #[serde(default)]
    service: Option<String>,
    /// At most so many, 1 to 1,000; 100 without it.
    #[serde(default)]
    limit: Option<u32>,
}

/// What was done for an installation, because of what, and how it went; newest first.
#[utoipa::path(get, path = "/api/v1/addons/{id}/why", tag = "addons",
    params(("id" = String, Path, description = "The installation's id"), WhyQuery),
    responses((status = 200, description = "The entries", body = Vec<WhyEntry>),
              (status = 404, description = "No such installation", body = addon_client::Problem)))]
pub(crate) async fn why(
    api: web::Data<Api>,
    id: web::Path<String>,
    query: Query<WhyQuery>,
) -> Result<HttpResponse, Problem> {
    let query = query.0;
    let limit = query.limit.unwrap_or(100);
    if !(1..=1_000).contains(&limit) {
        return Err(Problem::bad_request("bad-query", "`limit` is 1 to 1000"));
    }
    let installation = listed(&api, &id).await?;
    let entries = api.why(installation.id, query.service.as_deref(), limit).await?;
    Ok(HttpResponse::Ok().json(entries))
}

/// Which lines.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogsQuery {
    /// Only this service; all without it.
    #[serde(default)]
    service: Option<String>,
    /// Last lines of each container, 1 to 10,000; 100 without it.
    #[serde(default)]
    tail: Option<usize>,
}

/// The last lines of the containers of an installation, as they stand in the engine now.
#[utoipa::path(get, path = "/api/v1/addons/{id}/logs", tag = "addons",
    params(("id" = String, Path, description = "The installation's id"), LogsQuery),
    responses((status = 200, description = "Text; a heading before each container where several are asked for", body = String, content_type = "text/plain"),
              (status = 404, description = "No such installation or service", body = addon_client::Problem),
              (status = 503, description = "The engine does not answer now", body = addon_client::Problem)))]
pub(crate) async fn logs(
    api: web::Data<Api>,
    id: web::Path<String>,
    query: Query<LogsQuery>,
) -> Result<HttpResponse, Problem> {
    let query = query.0;
    let tail = query.tail.unwrap_or(DEFAULT_TAIL);
    if !(1..=MAX_TAIL).contains(&tail) {
        return Err(Problem::bad_request("bad-query", format!("`tail` is 1 to {MAX_TAIL}")));
    }
    let installation = listed(&api, &id).await?;
    let text = api.logs(&installation, query.service.as_deref(), tail).await?;
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text))
}

/// An installation that is shown; 404 for any other id, also for one of another form.
pub(super) async fn listed(api: &Api, id: &str) -> Result<Installation, Problem> {
    let id: InstallationId = id.parse().map_err(|_| error::no_installation())?;
    let installation = api.storage.installation(id).await.map_err(error::storage)?;
    installation.filter(|installation| installation.listed).ok_or_else(error::no_installation)
}

fn wanted_status(body: &PatchInstallation) -> Result<PatchStatus, Problem> {
    match (body.status, &body.parameters) {
        (_, Some(_)) => Err(Problem::unprocessable(
            "not-supported",
            "`parameters` is not supported by this version of the manager yet",
        )),
        (Some(status), None) => Ok(status),
        (None, None) => Err(Problem::unprocessable(
            "invalid-request",
            "say what is to change: {\"status\": \"disabled\"} or {\"status\": \"active\"}",
        )),
    }
}

/// Of a parameter that is given twice the first counts elsewhere; here data would be deleted, or kept, by the order of two words.
fn each_said_once(query: &str) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    for (name, _) in url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| !name.is_empty()) {
        if !seen.insert(name.clone()) {
            return Err(Problem::bad_request("bad-query", format!("`{name}` is given twice: give it once")));
        }
    }
    Ok(())
}

fn removal(query: &RemoveQuery) -> Result<Removal, Problem> {
    let force = match query.force.as_deref() {
        None | Some("false" | "0") => false,
        Some("true" | "1" | "") => true,
        Some(_) => return Err(Problem::bad_request("bad-query", "`force` is true or false")),
    };
    let delete_volumes = match query.volumes.as_deref() {
        None => None,
        Some("keep") => Some(false),
        Some("delete") => Some(true),
        Some(_) => {
            let detail = "`volumes` is `delete` or `keep`; left out, they are kept unless an earlier call said `delete`";
            return Err(Problem::bad_request("bad-query", detail));
        }
    };
    Ok(Removal { force, delete_volumes })
}

/// A cursor names the last installation of the answer before; it stays good while others come and go.
fn cursor(last: &Installation) -> String {
    format!("{}-{}", last.created_at.millis(), last.id)
}

fn read_cursor(text: &str) -> Result<(Timestamp, InstallationId), Problem> {
    let refused =
        || Problem::bad_request("bad-query", "`cursor` is taken from the `Link` header of the answer before");
    let (at, id) = text.split_once('-').ok_or_else(refused)?;
    Ok((Timestamp::from_millis(at.parse().map_err(|_| refused())?), id.parse().map_err(|_| refused())?))
}

fn next_link(path: &str, query: &ListInstallations, last: &Installation) -> String {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for (key, value) in [("status", &query.status), ("name", &query.name)] {
        if let Some(value) = value {
            pairs.append_pair(key, value);
        }
    }
    if let Some(limit) = query.limit {
        pairs.append_pair("limit", &limit.to_string());
    }
    pairs.append_pair("cursor", &cursor(last));
    format!("<{path}?{}>; rel=\"next\"", pairs.finish())
}
