//! What hosts copy and check: the keys, the signed index and its parts, the signed feed of revocations; and the call that
//! revokes. How they are signed is `crate::trust`, how they are checked `addon_client::trust`.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use addon_client::trust::{Envelope, RevokeRequest, ShardId};
use addon_client::{Problem as ProblemBody, Release as WireRelease, ReviewRequest};
use addon_descriptor::Digest;
use service_kit::audit::Actor;
use service_kit::auth::Principal;
use service_kit::body::{JsonOrDefault, NoQuery, only_parameters};
use service_kit::problem::Problem;

use super::cache::{Rendered, etag, is_known};
use super::query::{bad, first};
use super::review::{answer, heard};
use super::{Services, error};
use crate::review::Word;
use crate::storage::Signed;
use crate::trust::{Revocation, revoke as revoke_release};

/// One JSON text a line.
const LINES: &str = "application/jsonl";

/// How long to wait for the first signature.
const SOON: Duration = Duration::from_secs(1);

/// The newest key set, signed: what a host pins. Each set is signed by a key of the one before.
#[utoipa::path(get, path = "/api/v1/marketplace/keys", tag = "trust", responses(
    (status = 200, description = "A DSSE envelope; its payload is a key set", body = Envelope),
    (status = 304, description = "The client has it already"),
    (status = 503, description = "There is no key yet", body = ProblemBody)))]
pub(super) async fn keys(
    request: HttpRequest,
    services: web::Data<Services>,
    _: NoQuery,
) -> Result<HttpResponse, Problem> {
    let set = services.storage.key_set(None).await.map_err(error::storage)?;
    let set = set.ok_or_else(|| not_signed("the marketplace has no signing key yet"))?;
    Ok(key_set(set).respond(&request))
}

/// One key set of the chain: version *n*+1 is signed by a key of *n*.
#[utoipa::path(get, path = "/api/v1/marketplace/keys/{version}", tag = "trust",
    params(("version" = u64, Path, description = "1 and up")), responses(
    (status = 200, description = "A DSSE envelope; its payload is a key set", body = Envelope),
    (status = 304, description = "The client has it already"),
    (status = 404, description = "There is no such key set", body = ProblemBody)))]
pub(super) async fn keys_of_version(
    request: HttpRequest,
    services: web::Data<Services>,
    version: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, Problem> {
    let none = || Problem::not_found(format!("there is no key set {version}"));
    let number: u64 = version.parse().map_err(|_| none())?;
    let set = services.storage.key_set(Some(number)).await.map_err(error::storage)?.ok_or_else(none)?;
    Ok(key_set(set).for_ever().respond(&request))
}

/// The signed root of the index of all approved, yanked and revoked releases: what each of its parts is.
#[utoipa::path(get, path = "/api/v1/marketplace/index", tag = "trust", responses(
    (status = 200, description = "A DSSE envelope; its payload is the root: version, expiry, and digest, length and number of \
                                  releases of each part", body = Envelope),
    (status = 304, description = "The client has it already"),
    (status = 503, description = "It is not signed yet", body = ProblemBody)))]
pub(super) async fn index(
    request: HttpRequest,
    services: web::Data<Services>,
    _: NoQuery,
) -> Result<HttpResponse, Problem> {
    signed(&request, &services, Signed::Index).await
}

/// One part of the index: a line of JSON for each release of the addons in it. The root has its digest.
#[utoipa::path(get, path = "/api/v1/marketplace/index/{shard}", tag = "trust", params(
    ("shard" = String, Path, description = "00 to ff: the first byte of the SHA-256 of the addon's name in lower case, with _ and . as -"),
    ("digest" = Option<String>, Query, description = "The digest that the root has for it: then the answer never changes")), responses(
    (status = 200, description = "The lines: digest, id, images, name, status, version", body = String, content_type = "application/jsonl"),
    (status = 304, description = "The client has it already"),
    (status = 400, description = "A parameter has a value that it cannot have", body = ProblemBody),
    (status = 404, description = "No release is in this part, or it has another digest by now", body = ProblemBody)))]
pub(super) async fn shard(
    request: HttpRequest,
    services: web::Data<Services>,
    shard: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let query = request.query_string();
    only_parameters(query, &["digest"])?;
    let digest = first(query, "digest").filter(|digest| !digest.is_empty());
    let digest: Option<Digest> = digest
        .map(|text| text.parse().map_err(|_| bad("digest", "is sha256: and 64 hex digits")))
        .transpose()?;
    let id: ShardId = shard.parse().map_err(|_| {
        Problem::not_found(format!("there is no part {shard} of the index: they are 00 to ff"))
    })?;
    let lasts = digest.is_some();
    let found = services.storage.shard_content(id, digest).await.map_err(error::storage)?;
    let (digest, content) = found.ok_or_else(|| {
        Problem::not_found(match digest {
            Some(_) => format!("the part {id} of the index has another digest by now: read the index again"),
            None => format!("no release is in the part {id} of the index"),
        })
    })?;
    let lines = Rendered::tagged(&digest, content).of_type(LINES);
    let lines = if lasts { lines.for_ever() } else { lines };
    Ok(lines.respond(&request))
}

/// The signed feed of revocations: every release that nobody should use any more, and what becomes of installed copies.
#[utoipa::path(get, path = "/api/v1/marketplace/revocations", tag = "trust", responses(
    (status = 200, description = "A DSSE envelope; its payload has version, expiry, and all revocations in order", body = Envelope),
    (status = 304, description = "The client has it already"),
    (status = 503, description = "It is not signed yet", body = ProblemBody)))]
pub(super) async fn revocations(
    request: HttpRequest,
    services: web::Data<Services>,
    _: NoQuery,
) -> Result<HttpResponse, Problem> {
    signed(&request, &services, Signed::Revocations).await
}

/// Revokes a release for good: it leaves every list, and hosts that have it are told. Once more with a higher severity raises
/// it; nothing lowers it.
#[utoipa::path(post, path = "/api/v1/marketplace/addons/{id}/revoke", tag = "review",
    request_body(content = RevokeRequest, description = "`reason` and `severity` are required",
        example = json!({"reason": "the image mines coins", "severity": "stop", "fixed_in": "1.2.4"})),
    params(("id" = String, Path, description = "The release's id")), responses(
    (status = 200, description = "The release, revoked", body = WireRelease),
    (status = 404, description = "There is no such release", body = ProblemBody),
    (status = 409, description = "Its status or its digest forbid it, or it is revoked as severely already", body = ProblemBody),
    (status = 422, description = "No reason, no severity, or a version in `fixed_in` that cannot be one", body = ProblemBody)))]
pub(super) async fn revoke(
    services: web::Data<Services>,
    principal: Principal,
    actor: Actor,
    id: web::Path<String>,
    _: NoQuery,
    JsonOrDefault(said): JsonOrDefault<RevokeRequest>,
) -> Result<HttpResponse, Problem> {
    let RevokeRequest { reason, severity, fixed_in, digest } = said;
    let (release, said) = heard(&services, &principal, &id, ReviewRequest { reason, digest }).await?;
    let Some(reason) = said.reason.as_deref() else {
        let detail = "say why in \"reason\": everybody who has the release reads it";
        return Err(Problem::unprocessable("reason-required", detail));
    };
    let Some(severity) = severity else {
        let detail = "say in \"severity\" what becomes of installed copies: \"warn\" (operators are told), \"block-install\" \
                      (nothing brings it up anew) or \"stop\" (they are stopped)";
        return Err(Problem::unprocessable("severity-required", detail));
    };
    if fixed_in.as_ref().is_some_and(|version| version.cmp_precedence(&release.version).is_le()) {
        let detail =
            "\"fixed_in\" is the first version without the fault, so a later one than that which is revoked";
        return Err(Problem::unprocessable("invalid-body", detail));
    }
    let word = Word { by: &actor, reason: Some(reason), digest: said.digest };
    let revocation = Revocation { reason, severity, fixed_in: fixed_in.as_ref() };
    answer(revoke_release(&services.storage, &services.clock, release.id, word, revocation).await)
}

async fn signed(request: &HttpRequest, services: &Services, kind: Signed) -> Result<HttpResponse, Problem> {
    if request.headers().contains_key(header::IF_NONE_MATCH) {
        // Most who ask have it already: then the document is not even read.
        let digest = services.storage.envelope_digest(kind).await.map_err(error::storage)?;
        if let Some(digest) = digest.filter(|digest| is_known(request, &etag(digest))) {
            return Ok(Rendered::tagged(&digest, String::new()).respond(request));
        }
    }
    let found = services.storage.envelope(kind).await.map_err(error::storage)?;
    let (digest, envelope) =
        found.ok_or_else(|| not_signed("it is not signed yet; the first signature takes a moment"))?;
    Ok(Rendered::tagged(&digest, envelope).respond(request))
}

fn key_set(set: String) -> Rendered {
    Rendered::tagged(&Digest::of(set.as_bytes()).to_string(), set)
}

fn not_signed(detail: &str) -> Problem {
    Problem::unavailable("not-signed", detail, SOON)
}
