//! `/api/v1/host`: the engine, what is on it that is not ours, and volumes that outlived their addons.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use addon_client::{AdoptRequest, DiskView, EngineView, ForeignKind, ForeignObject, HostView, KeptVolume};
use service_kit::audit::Actor;
use service_kit::body::{Json, NoQuery};
use service_kit::problem::Problem;

use super::{Api, error};
use crate::host;
use crate::reconciler::adopt;
use crate::reconciler::adopt::AdoptError;

/// How long the engine is waited for: the host is shown also without what it would say.
const ENGINE_WAITS: Duration = Duration::from_secs(4);

/// The host.
#[utoipa::path(get, path = "/api/v1/host", tag = "host",
    responses((status = 200, description = "The host; also while the engine is away", body = HostView)))]
pub(crate) async fn show(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    // What the engine would say is not waited for where it is known to say nothing, and else asked for all at once.
    let away = api.reconciler.engine_unreachable().is_some();
    let limit = (!away).then_some(ENGINE_WAITS);
    let kept = host::kept_volumes(&api.storage, within(limit, async { api.runtime.list().await.ok() }));
    let (facts, kept, foreign, free_bytes) = tokio::join!(
        within(limit, async { api.runtime.engine().await.ok() }),
        kept,
        within(limit, async { Some(api.reconciler.foreign().await) }),
        within(limit, api.disk.free_bytes()),
    );
    let kept = kept.map_err(error::storage)?;
    let foreign = match foreign {
        Some(Ok(objects)) => objects.into_iter().map(foreign_object).collect(),
        // What is on an engine that is away is not known; the rest of the host is.
        None | Some(Err(AdoptError::Engine(_))) => Vec::new(),
        Some(Err(error)) => return Err(error::adopt(error)),
    };
    let reachable = facts.is_some();
    let facts = facts.as_ref();
    Ok(HttpResponse::Ok().json(HostView {
        manager_id: api.manager_id.clone(),
        engine: EngineView {
            reachable,
            unreachable_since: if reachable { None } else { api.reconciler.engine_unreachable() },
            version: facts.map(|facts| facts.version.clone()),
            api_version: facts.map(|facts| facts.api_version.clone()),
            platform: facts.map(|facts| facts.platform.clone()),
            root: facts.map(|facts| facts.root_dir.clone()),
        },
        disk: DiskView { free_bytes, reserve_bytes: api.disk_reserve_bytes },
        foreign,
        kept_volumes: kept
            .into_iter()
            .map(|volume| KeptVolume {
                name: volume.name,
                addon: volume.addon,
                installation: volume.installation_name,
                since: volume.kept_at,
            })
            .collect(),
    }))
}

/// What the engine answers within the limit; without one it is not asked.
async fn within<T>(limit: Option<Duration>, call: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout(limit?, call).await.ok().flatten()
}

fn foreign_object(object: adopt::ForeignObject) -> ForeignObject {
    let unproven = "it carries labels like ours, and the database does not prove it to be ours";
    ForeignObject {
        kind: match object.kind {
            adopt::ForeignKind::Container => ForeignKind::Container,
            adopt::ForeignKind::Network => ForeignKind::Network,
            adopt::ForeignKind::Volume => ForeignKind::Volume,
        },
        id: object.id,
        name: object.name,
        installation: object.fits.as_ref().map(|(id, _)| *id),
        reason: match object.fits {
            Some((_, place)) => format!("{unproven}; it would fit as `{place}`"),
            None => unproven.to_owned(),
        },
    }
}

/// Take a container in that is not ours: it becomes the service of the installation that it fits.
#[utoipa::path(post, path = "/api/v1/host/foreign/{id}/adopt", tag = "host",
    request_body(content = AdoptRequest, example = json!({"installation": "6b017a113e3414c9ffdc12ff"})),
    params(("id" = String, Path, description = "The object's id on the engine, as `/api/v1/host` lists it")),
    responses((status = 202, description = "It is ours from now on"),
              (status = 404, description = "No such object or installation", body = addon_client::Problem),
              (status = 409, description = "It does not fit", body = addon_client::Problem)))]
pub(crate) async fn adopt(
    api: web::Data<Api>,
    by: Actor,
    id: web::Path<String>,
    _: NoQuery,
    body: Json<AdoptRequest>,
) -> Result<HttpResponse, Problem> {
    let installation = body.into_inner().installation;
    super::addons::listed(&api, &installation.to_string()).await?;
    api.reconciler.adopt(&id, installation, &by).await.map_err(error::adopt)?;
    api.reconciler.wake(installation);
    Ok(HttpResponse::Accepted().finish())
}

/// Delete a volume that an uninstalled addon left, and its data with it.
#[utoipa::path(delete, path = "/api/v1/host/volumes/{name}", tag = "host",
    params(("name" = String, Path, description = "The volume's name on the engine")),
    responses((status = 204, description = "It is deleted"),
              (status = 404, description = "No kept volume has this name", body = addon_client::Problem),
              (status = 409, description = "A container uses it, or it is not ours", body = addon_client::Problem),
              (status = 503, description = "The engine does not answer now", body = addon_client::Problem)))]
pub(crate) async fn delete_volume(
    api: web::Data<Api>,
    by: Actor,
    name: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, Problem> {
    let now = api.clock.now();
    let deleted = host::delete_kept_volume(&api.storage, api.runtime.as_ref(), &name, &by, now);
    deleted.await.map_err(error::kept_volume)?;
    Ok(HttpResponse::NoContent().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_that_says_nothing_is_waited_for_a_moment_and_one_that_is_away_not_at_all() {
        let limit = Some(Duration::from_millis(1));
        assert_eq!(within(limit, async { Some(7) }).await, Some(7));
        assert_eq!(within::<u8>(limit, std::future::pending()).await, None);
        let never_asked = async { unreachable!("it is known to be away") };
        assert_eq!(within::<u8>(None, never_asked).await, None);
    }
}
