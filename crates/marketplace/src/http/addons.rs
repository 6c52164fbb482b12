//! Releases: listed, published, read, validated, deleted.

use actix_web::http::header::{self, ContentType};
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use addon_client::{
    Because, FacetsAnswer, Finding, ListReleases, Problem as ProblemBody, Release as WireRelease,
    ReleaseStatus, RightView, ValidationAnswer,
};
use addon_descriptor::{AddonDescriptor, Reading, Right, Version, VersionReq, rights, risk};
use service_kit::audit::Actor;
use service_kit::auth::{Principal, Scope};
use service_kit::body::{JsonBytes, NoQuery, Query};
use service_kit::problem::Problem;

use super::cache::Rendered;
use super::error;
use super::query::{ListQuery, NameQuery, Wanted, fold, next_query};
use super::review::because_of;
use super::{ADDONS, Services, parse_id};
use crate::domain::addon::{identity, resolve};
use crate::domain::release::Release;
use crate::domain::search::{Facet, Sort};
use crate::publish::Publisher;
use crate::storage::{COUNTED, Part, Published, Source};
use crate::verification::checks::{NameFault, name_fault};
use crate::verification::names;

/// Releases: the newest approved one of each addon, oldest first; found by words and filters, in another order.
#[utoipa::path(get, path = "/api/v1/marketplace/addons", tag = "addons", params(ListReleases), responses(
    (status = 200, description = "The releases; `Link: rel=\"next\"` where there are more", body = [WireRelease]),
    (status = 304, description = "The client has this list already"),
    (status = 400, description = "A parameter has a value that it cannot have", body = ProblemBody),
    (status = 401, description = "Statuses other than approved need a token", body = ProblemBody)))]
pub(super) async fn list(
    request: HttpRequest,
    services: web::Data<Services>,
    principal: Principal,
) -> Result<HttpResponse, Problem> {
    let text = request.query_string();
    let query = ListQuery::read(text)?;
    if query.is_kept() {
        let url = format!("list?{text}");
        let render = || list_page(&services, text, &query, None);
        return services.kept(&request, Source::Approved, &url, render).await;
    }
    if query.is_public() {
        return list_page(&services, text, &query, None).await?.send(&request, &services.room).await;
    }
    let own = if principal.allows(Scope::Review) { None } else { Some(services.account(&principal)?) };
    list_page(&services, text, &query, own).await?.send(&request, &services.room).await
}

async fn list_page(
    services: &Services,
    text: &str,
    query: &ListQuery,
    publisher: Option<&str>,
) -> Result<Rendered, Problem> {
    if query.is_search() {
        return found_page(services, text, query).await;
    }
    let held = services.room.take(query.limit).await?;
    let part = services.storage.list(query.filter(publisher)).await.map_err(error::storage)?;
    let Part { releases, more } = part;
    let next =
        releases.last().filter(|_| more).map(|last| format!("{ADDONS}?{}", next_query(text, last.seq)));
    Ok(Rendered::page(Release::into_list(releases), next, held))
}

async fn found_page(services: &Services, text: &str, query: &ListQuery) -> Result<Rendered, Problem> {
    let held = services.room.take(query.limit).await?;
    let (search, storage) = (query.wanted.search(), &services.storage);
    let found = if query.status.is_some() {
        storage.search_versions(&search, query.sort == Sort::Newest, query.after_seq(), query.limit).await
    } else {
        storage.search(&search, query.sort, query.after.as_ref(), query.limit).await
    };
    let found = found.map_err(error::storage)?;
    let next = found.next.map(|cursor| format!("{ADDONS}?{}", next_query(text, cursor)));
    Ok(Rendered::page(Release::into_list(found.releases), next, held))
}

/// How many of the addons that answer a search have which category, keyword, platform and grade of rights.
#[utoipa::path(get, path = "/api/v1/marketplace/facets", tag = "addons", params(
    ("name" = Option<String>, Query, description = "Only this addon"),
    ("q" = Option<String>, Query, description = "As for the list of releases"),
    ("category" = Option<String>, Query, description = "Only addons of this category; a to z in either case"),
    ("keyword" = Option<String>, Query, description = "Only addons with this keyword; a to z in either case"),
    ("platform" = Option<String>, Query, description = "Only addons for this platform, as `linux/arm64`"),
    ("risk" = Option<u8>, Query, description = "Only addons whose rights have this grade, 1 to 6")), responses(
    (status = 200, description = "The counts, most frequent first", body = FacetsAnswer),
    (status = 304, description = "The client has them already"),
    (status = 400, description = "A parameter has a value that it cannot have", body = ProblemBody)))]
pub(super) async fn facets(
    request: HttpRequest,
    services: web::Data<Services>,
) -> Result<HttpResponse, Problem> {
    let text = request.query_string();
    let wanted = Wanted::read_alone(text)?;
    let render = || async {
        let facets = services.storage.facets(&wanted.search()).await.map_err(error::storage)?;
        let of = |facet| {
            let own = facets.counts.iter().find(|(of, _)| *of == facet);
            own.map(|(_, counts)| counts.clone()).unwrap_or_default()
        };
        let answer = FacetsAnswer {
            counted: facets.counted.min(u64::from(COUNTED)),
            complete: facets.complete,
            category: of(Facet::Category),
            keyword: of(Facet::Keyword),
            platform: of(Facet::Platform),
            risk: of(Facet::Risk),
        };
        Ok(Rendered::json(&answer))
    };
    let url = format!("facets?{text}");
    services.kept(&request, Source::Approved, &url, render).await
}

/// Publishes a document. The same document once more is the same release.
#[utoipa::path(post, path = "/api/v1/marketplace/addons", tag = "addons",
    request_body(content = Object, description = "The descriptor", content_type = "application/json",
        example = json!({"name": "hello", "services": [{"service_name": "web", "image": "127.0.0.1:5000/addon-name:latest", "ports": {"10007": "8080"}}]})),
    responses(
    (status = 201, description = "The release, under review", body = WireRelease),
    (status = 200, description = "The release that was there already", body = WireRelease),
    (status = 400, description = "No JSON", body = ProblemBody),
    (status = 403, description = "The name belongs to other accounts", body = ProblemBody),
    (status = 409, description = "Name or version belong to another document", body = ProblemBody),
    (status = 413, description = "Longer than 256 KiB", body = ProblemBody),
    (status = 422, description = "Every rule that the document breaks", body = ProblemBody),
    (status = 429, description = "Too many names or releases at once; `Retry-After`", body = ProblemBody)))]
pub(super) async fn publish(
    services: web::Data<Services>,
    principal: Principal,
    actor: Actor,
    _: NoQuery,
    JsonBytes(body): JsonBytes,
) -> Result<HttpResponse, Problem> {
    let reading = understood(body).await?;
    let Some(descriptor) = reading.descriptor else { return Err(error::violations(&reading.violations)) };
    principal.require_name(descriptor.name.as_str())?;
    let Services { storage, clock, bell, .. } = services.get_ref();
    let publisher = Publisher { storage, clock, bell };
    let published =
        publisher.publish(&descriptor, &reading.warnings, &actor).await.map_err(error::publish)?;
    let (mut response, release) = match published {
        Published::New(release) => (HttpResponse::Created(), release),
        Published::Again(release) | Published::Existing(release) => (HttpResponse::Ok(), release),
    };
    let location = format!("/api/v1/marketplace/addons/{}", release.id);
    response.insert_header((header::LOCATION, location)).content_type(ContentType::json());
    Ok(response.body(release.into_json()))
}

/// A release by its id, in any status.
#[utoipa::path(get, path = "/api/v1/marketplace/addons/{id}", tag = "addons",
    params(("id" = String, Path, description = "The release's id")), responses(
    (status = 200, description = "The release", body = WireRelease),
    (status = 304, description = "The client has it already"),
    (status = 404, description = "There is none", body = ProblemBody)))]
pub(super) async fn read(
    request: HttpRequest,
    services: web::Data<Services>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = parse_id(&id)?;
    let render = || async {
        let release = services.storage.release(id).await.map_err(error::storage)?;
        Ok(Rendered::text(release.ok_or_else(error::not_found)?.into_json()))
    };
    services.kept(&request, Source::Release(id), &id.to_string(), render).await
}

/// Deletes a release; one that was approved more than 72 hours ago is yanked instead.
#[utoipa::path(delete, path = "/api/v1/marketplace/addons/{id}", tag = "addons",
    params(("id" = String, Path, description = "The release's id"), Because), responses(
    (status = 204, description = "Deleted, or yanked"),
    (status = 400, description = "The reason is none that can be shown", body = ProblemBody),
    (status = 403, description = "The addon is somebody else's", body = ProblemBody),
    (status = 404, description = "There is none", body = ProblemBody),
    (status = 409, description = "It is revoked", body = ProblemBody),
    (status = 429, description = "Too many at once; `Retry-After`", body = ProblemBody)))]
pub(super) async fn delete(
    services: web::Data<Services>,
    principal: Principal,
    actor: Actor,
    id: web::Path<String>,
    Query(because): Query<Because>,
) -> Result<HttpResponse, Problem> {
    let reason = because_of(because)?;
    let release = services.release(&id).await?;
    services.require_owner(&principal, &release.addon).await?;
    services.reviewer().delete(&release, &actor, reason.as_deref()).await.map_err(error::review)?;
    Ok(HttpResponse::NoContent().insert_header((header::CONTENT_TYPE, "application/json")).finish())
}

/// The canonical bytes of a release's document, whose SHA-256 is its `digest`.
#[utoipa::path(get, path = "/api/v1/marketplace/addons/{id}/descriptor", tag = "addons",
    params(("id" = String, Path, description = "The release's id")), responses(
    (status = 200, description = "The bytes, and their digest as ETag", body = Object),
    (status = 304, description = "The client has it already"),
    (status = 404, description = "There is none", body = ProblemBody)))]
pub(super) async fn descriptor(
    request: HttpRequest,
    services: web::Data<Services>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = parse_id(&id)?;
    let bytes = services.storage.canonical(id).await.map_err(error::storage)?.ok_or_else(error::not_found)?;
    Rendered::text(bytes).send(&request, &services.room).await
}

/// The approved releases of an addon, newest first; with `version` the one that a range means.
#[utoipa::path(get, path = "/api/v1/marketplace/by-name/{name}", tag = "addons", params(
    ("name" = String, Path, description = "The addon's name; case, `-`, `_` and `.` make no difference"),
    ("version" = Option<String>, Query, description = "A range as Cargo writes them; `*` is the newest"),
    ("limit" = Option<u32>, Query, description = "Longest answer, 1 to 1,000; it is shorter where documents are long, and `Link` leads on"),
    ("cursor" = Option<String>, Query, description = "Where the last answer ended: from its `Link` header")), responses(
    (status = 200, description = "An array of releases, and `Link: rel=\"next\"` where there are more; with `version` one \
                                  release", body = [WireRelease]),
    (status = 304, description = "The client has it already"),
    (status = 400, description = "A parameter has a value that it cannot have", body = ProblemBody),
    (status = 404, description = "No approved release", body = ProblemBody)))]
pub(super) async fn by_name(
    request: HttpRequest,
    services: web::Data<Services>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let addon = fold(&name);
    let text = request.query_string();
    let query = NameQuery::read(text)?;
    let url = format!("name/{addon}?{}", query.key());
    let render = || async {
        match &query.range {
            None => versions_page(&services, &addon, text, &query).await,
            Some(range) => resolved(&services, &addon, range).await,
        }
    };
    services.kept(&request, Source::Approved, &url, render).await
}

async fn versions_page(
    services: &Services,
    addon: &str,
    text: &str,
    query: &NameQuery,
) -> Result<Rendered, Problem> {
    let held = services.room.take(query.limit).await?;
    let part = services.storage.approved_of(addon, query.after.as_ref(), query.limit).await;
    let Part { releases, more } = part.map_err(error::storage)?;
    if releases.is_empty() && query.after.is_none() {
        return Err(none_approved(services, addon, &VersionReq::STAR).await);
    }
    let next = releases.last().filter(|_| more).map(|last| {
        format!("/api/v1/marketplace/by-name/{addon}?{}", next_query(text, identity(&last.version)))
    });
    Ok(Rendered::page(Release::into_list(releases), next, held))
}

async fn resolved(services: &Services, addon: &str, range: &VersionReq) -> Result<Rendered, Problem> {
    let versions = services.storage.approved_versions(addon).await.map_err(error::storage)?;
    let (ids, versions): (Vec<_>, Vec<_>) = versions.into_iter().unzip();
    let Some(id) = resolve(range, &versions).map(|at| ids[at]) else {
        return Err(none_approved(services, addon, range).await);
    };
    let release = services.storage.release(id).await.map_err(error::storage)?;
    Ok(Rendered::text(release.ok_or_else(|| no_approved(addon))?.into_json()))
}

/// One approved version of an addon.
#[utoipa::path(get, path = "/api/v1/marketplace/by-name/{name}/{version}", tag = "addons", params(
    ("name" = String, Path, description = "The addon's name"),
    ("version" = String, Path, description = "A version; build metadata makes no difference")), responses(
    (status = 200, description = "The release", body = WireRelease),
    (status = 304, description = "The client has it already"),
    (status = 404, description = "No such approved version", body = ProblemBody)))]
pub(super) async fn by_version(
    request: HttpRequest,
    services: web::Data<Services>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (name, version) = path.into_inner();
    let addon = fold(&name);
    let version: Version = version.parse().map_err(|_| no_approved(&addon))?;
    let version = identity(&version).to_string();
    let url = format!("name/{addon}/{version}");
    let render = || async {
        let found = services.storage.release_of_version(&addon, &version).await.map_err(error::storage)?;
        match found {
            Some(release) if release.status == ReleaseStatus::Approved => {
                Ok(Rendered::text(release.into_json()))
            }
            other => Err(with_standing(no_approved(&addon), other.as_ref())),
        }
    };
    services.kept(&request, Source::Approved, &url, render).await
}

/// What would be said about a document. Stores nothing.
#[utoipa::path(post, path = "/api/v1/marketplace/validate", tag = "addons",
    request_body(content = Object, description = "The descriptor", content_type = "application/json",
        example = json!({"name": "hello", "services": [{"service_name": "web", "image": "127.0.0.1:5000/addon-name:latest", "ports": {"10007": "8080"}}]})),
    responses(
    (status = 200, description = "What is wrong with it, and what it comes to", body = ValidationAnswer),
    (status = 400, description = "No JSON", body = ProblemBody),
    (status = 413, description = "Longer than 256 KiB", body = ProblemBody)))]
pub(super) async fn validate(
    services: web::Data<Services>,
    principal: Principal,
    _: NoQuery,
    JsonBytes(body): JsonBytes,
) -> Result<HttpResponse, Problem> {
    let reading = understood(body).await?;
    let mut answer = ValidationAnswer {
        valid: reading.descriptor.is_some(),
        violations: reading.violations.iter().map(Finding::from).collect(),
        warnings: reading.warnings.iter().map(Finding::from).collect(),
        rights: Vec::new(),
        risk: None,
        digest: None,
        canonical: None,
    };
    // A name that the verification refuses or holds is told of here as there, since nothing else of the document says so.
    let mut descriptor = reading.descriptor;
    if let Some(read) = &descriptor
        && let Some((fault, finding)) = name_finding(&services, read, &principal).await?
    {
        if fault == NameFault::Reserved {
            (answer.valid, descriptor) = (false, None);
            answer.violations.push(finding);
        } else {
            // Whose a name is may change until it is published.
            answer.warnings.push(finding);
        }
    }
    if let Some(descriptor) = descriptor {
        let rights = rights(&descriptor);
        answer.risk = Some(risk(&rights));
        let view = |right: &Right| RightView { right: right.to_string(), level: right.level().into() };
        answer.rights = rights.iter().map(view).collect();
        answer.digest = Some(descriptor.digest());
        answer.canonical = serde_json::from_slice(&descriptor.canonical()).ok();
    }
    Ok(HttpResponse::Ok().json(answer))
}

async fn name_finding(
    services: &Services,
    descriptor: &AddonDescriptor,
    principal: &Principal,
) -> Result<Option<(NameFault, Finding)>, Problem> {
    let addon = descriptor.name.folded();
    let account = principal.account_or_anonymous();
    let context = names::known(&services.storage, &services.reserved_names, &addon, Some(account)).await;
    let Some((fault, message)) = name_fault(descriptor, &context.map_err(error::storage)?) else {
        return Ok(None);
    };
    let rule = if fault == NameFault::Reserved { "reserved-name" } else { "look-alike-name" };
    let finding = Finding {
        path: "/name".to_owned(),
        rule: rule.to_owned(),
        message,
        suggestion: None,
        line: None,
        column: None,
    };
    Ok(Some((fault, finding)))
}

/// The JSON Schema of the descriptor.
#[utoipa::path(get, path = "/api/v1/marketplace/schema", tag = "addons", responses(
    (status = 200, description = "JSON Schema, 2020-12", body = Object, content_type = "application/schema+json"),
    (status = 304, description = "The client has it already")))]
pub(super) async fn schema(request: HttpRequest) -> HttpResponse {
    let rendered = Rendered::text(addon_descriptor::SCHEMA_TEXT).of_type("application/schema+json");
    rendered.respond(&request)
}

/// Reads a document away from the threads that answer: a hostile one may take some tenths of a second.
async fn understood(body: Bytes) -> Result<Reading, Problem> {
    if body.trim_ascii().is_empty() {
        return Err(error::empty());
    }
    let reading = web::block(move || addon_descriptor::read(&body)).await.map_err(Problem::internal)?;
    reading.map_err(|fault| error::malformed(&fault))
}

/// 404, with what is known of the newest release that would be meant if it were approved.
async fn none_approved(services: &Services, addon: &str, range: &VersionReq) -> Problem {
    let meant = async {
        let (ids, versions): (Vec<_>, Vec<_>) =
            services.storage.other_versions(addon).await?.into_iter().unzip();
        match resolve(range, &versions) {
            Some(at) => services.storage.release(ids[at]).await,
            None => Ok(None),
        }
    };
    match meant.await {
        Ok(release) => with_standing(no_approved(addon), release.as_ref()),
        Err(fault) => error::storage(fault),
    }
}

fn with_standing(problem: Problem, release: Option<&Release>) -> Problem {
    let finding = release.map(|release| Finding {
        path: String::new(),
        rule: "release-not-approved".to_owned(),
        message: release.standing(),
        suggestion: None,
        line: None,
        column: None,
    });
    problem.with_errors(finding)
}

fn no_approved(addon: &str) -> Problem {
    Problem::not_found(format!("there is no such approved release of {addon:?}"))
}
