//! What is decided about releases: the report, the difference to the last approved one, approve, reject, checking again,
//! yanking. Revoking is beside the feed that tells of it.

use actix_web::dev::Payload;
use actix_web::http::header::ContentType;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use addon_client::{
    Because, Check, Problem as ProblemBody, Release as WireRelease, ReleaseDiff, ReleaseId, ReviewRequest,
    Verdict, VerificationReport,
};
use futures_util::future::LocalBoxFuture;
use service_kit::audit::Actor;
use service_kit::auth::{Principal, Scope};
use service_kit::body::{JsonOrDefault, NoQuery};
use service_kit::problem::Problem;

use super::{Services, error, parse_id};
use crate::domain::diff::Documented;
use crate::domain::release::{Release, Status};
use crate::domain::verification::overall;
use crate::review::{ReviewError, Reviewer, Word};
use crate::storage::Report;

/// Longest reason, in characters: it is shown beside the release.
const MAX_REASON: usize = 1000;

/// What the checks of a release found, check by check, and when those without an answer are made again.
#[utoipa::path(get, path = "/api/v1/marketplace/addons/{id}/verification", tag = "review",
    params(("id" = String, Path, description = "The release's id")), responses(
    (status = 200, description = "The report", body = VerificationReport),
    (status = 403, description = "It is for the addon's owners and for reviewers", body = ProblemBody),
    (status = 404, description = "There is no such release", body = ProblemBody)))]
pub(super) async fn report(
    services: web::Data<Services>,
    principal: Principal,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = parse_id(&id)?;
    let found = services.storage.report(id).await.map_err(error::storage)?;
    let (release, report) = found.ok_or_else(error::not_found)?;
    services.require_owner_or_reviewer(&principal, &release).await?;
    Ok(HttpResponse::Ok().json(compose(release, report)))
}

/// Approves a release whose checks are green. `digest` is the one that was reviewed.
#[utoipa::path(post, path = "/api/v1/marketplace/addons/{id}/approve", tag = "review",
    request_body(content = ReviewRequest, description = "May be empty", example = json!({"reason": "it has to see processes"})),
    params(("id" = String, Path, description = "The release's id")), responses(
    (status = 200, description = "The release, approved", body = WireRelease),
    (status = 403, description = "It is your own, and somebody else may review", body = ProblemBody),
    (status = 404, description = "There is no such release", body = ProblemBody),
    (status = 409, description = "Its status, its checks or its digest forbid it", body = ProblemBody),
    (status = 422, description = "The reason is none that can be shown", body = ProblemBody)))]
pub(super) async fn approve(decision: Decision) -> Result<HttpResponse, Problem> {
    answer(decision.reviewer().approve(decision.release.id, decision.word()).await)
}

/// Rejects a release that is under review.
#[utoipa::path(post, path = "/api/v1/marketplace/addons/{id}/reject", tag = "review",
    request_body(content = ReviewRequest, description = "`reason` is required", example = json!({"reason": "the image has no source"})),
    params(("id" = String, Path, description = "The release's id")), responses(
    (status = 200, description = "The release, rejected", body = WireRelease),
    (status = 404, description = "There is no such release", body = ProblemBody),
    (status = 409, description = "Its status, its checks or its digest forbid it", body = ProblemBody),
    (status = 422, description = "No reason", body = ProblemBody)))]
pub(super) async fn reject(decision: Decision) -> Result<HttpResponse, Problem> {
    decision.has_a_reason("its publisher reads it")?;
    answer(decision.reviewer().reject(decision.release.id, decision.word()).await)
}

/// Has the checks of a failed release made again, or an approved one's images looked for. Asked by somebody who may review,
/// registries are asked once though they want to be left alone, also for a release under review that waits for one.
#[utoipa::path(post, path = "/api/v1/marketplace/addons/{id}/reverify", tag = "review",
    request_body(content = ReviewRequest, description = "May be empty", example = json!({})),
    params(("id" = String, Path, description = "The release's id")), responses(
    (status = 200, description = "The release", body = WireRelease),
    (status = 403, description = "It is for the addon's owners and for reviewers", body = ProblemBody),
    (status = 404, description = "There is no such release", body = ProblemBody),
    (status = 409, description = "Its status forbids it", body = ProblemBody),
    (status = 422, description = "The reason is none that can be shown", body = ProblemBody),
    (status = 429, description = "Too many at once; `Retry-After`", body = ProblemBody)))]
pub(super) async fn reverify(decision: Decision) -> Result<HttpResponse, Problem> {
    let Decision { services, principal, release, .. } = &decision;
    services.require_owner_or_reviewer(principal, release).await?;
    if !principal.allows(Scope::Review) {
        principal.require(Scope::Publish)?;
    }
    let at_once = principal.allows(Scope::Review);
    answer(decision.reviewer().reverify(release.id, decision.word(), at_once).await)
}

/// Takes an approved release out of the lists. Those who have it keep it, and can still read it by its id.
#[utoipa::path(post, path = "/api/v1/marketplace/addons/{id}/yank", tag = "review",
    request_body(content = ReviewRequest, description = "`reason` is required", example = json!({"reason": "loses its data on restart"})),
    params(("id" = String, Path, description = "The release's id")), responses(
    (status = 200, description = "The release, yanked", body = WireRelease),
    (status = 403, description = "It is for the addon's owners", body = ProblemBody),
    (status = 404, description = "There is no such release", body = ProblemBody),
    (status = 409, description = "Its status or its digest forbid it", body = ProblemBody),
    (status = 422, description = "No reason", body = ProblemBody),
    (status = 429, description = "Too many at once; `Retry-After`", body = ProblemBody)))]
pub(super) async fn yank(decision: Decision) -> Result<HttpResponse, Problem> {
    decision.is_the_owners().await?;
    decision.has_a_reason("those who have the release read it")?;
    answer(decision.reviewer().yank(decision.release.id, decision.word()).await)
}

/// Puts a yanked release back into the lists. What an administrator yanked, an administrator puts back.
#[utoipa::path(post, path = "/api/v1/marketplace/addons/{id}/unyank", tag = "review",
    request_body(content = ReviewRequest, description = "May be empty", example = json!({"reason": "it was the host's fault"})),
    params(("id" = String, Path, description = "The release's id")), responses(
    (status = 200, description = "The release, approved again", body = WireRelease),
    (status = 403, description = "It is for the addon's owners, or an administrator yanked it", body = ProblemBody),
    (status = 404, description = "There is no such release", body = ProblemBody),
    (status = 409, description = "Its status or its digest forbid it", body = ProblemBody),
    (status = 422, description = "The reason is none that can be shown", body = ProblemBody),
    (status = 429, description = "Too many at once; `Retry-After`", body = ProblemBody)))]
pub(super) async fn unyank(decision: Decision) -> Result<HttpResponse, Problem> {
    decision.is_the_owners().await?;
    answer(decision.reviewer().unyank(decision.release.id, decision.word()).await)
}

/// What a release changes against the addon's last approved one: fields by JSON Pointer, rights, images and their sizes.
#[utoipa::path(get, path = "/api/v1/marketplace/addons/{id}/diff", tag = "review",
    params(("id" = String, Path, description = "The release's id")), responses(
    (status = 200, description = "The difference", body = ReleaseDiff),
    (status = 403, description = "It is for the addon's owners and for reviewers", body = ProblemBody),
    (status = 404, description = "There is no such release", body = ProblemBody)))]
pub(super) async fn diff(
    services: web::Data<Services>,
    principal: Principal,
    id: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, Problem> {
    let release = services.release(&id).await?;
    services.require_owner_or_reviewer(&principal, &release).await?;
    let base = services.storage.approved_before(&release).await.map_err(error::storage)?;
    let document = document(&services, release.id).await?;
    let of_base = match &base {
        Some(base) => Some((base, self::document(&services, base.id).await?)),
        None => None,
    };
    let new = Documented { release: &release, document: &document };
    let base = of_base.as_ref().map(|(release, document)| Documented { release, document });
    Ok(HttpResponse::Ok().json(crate::domain::diff::diff(new, base)))
}

async fn document(services: &Services, id: ReleaseId) -> Result<serde_json::Value, Problem> {
    let text = services.storage.canonical(id).await.map_err(error::storage)?.ok_or_else(error::not_found)?;
    serde_json::from_str(&text).map_err(Problem::internal)
}

/// What a decision comes with: who decides, about which release, and what is said of it.
pub(super) struct Decision {
    services: web::Data<Services>,
    principal: Principal,
    actor: Actor,
    release: Release,
    said: ReviewRequest,
}

impl FromRequest for Decision {
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        type Asked = (web::Data<Services>, Principal, Actor, web::Path<String>);
        type Said = (NoQuery, JsonOrDefault<ReviewRequest>);
        let (asked, said) = (Asked::from_request(request, payload), Said::from_request(request, payload));
        Box::pin(async move {
            let (services, principal, actor, id) = asked.await?;
            let (NoQuery, JsonOrDefault(said)) = said.await?;
            let (release, said) = heard(&services, &principal, &id, said).await?;
            Ok(Self { services, principal, actor, release, said })
        })
    }
}

impl Decision {
    fn reviewer(&self) -> Reviewer<'_> {
        self.services.reviewer()
    }

    fn word(&self) -> Word<'_> {
        Word { by: &self.actor, reason: self.said.reason.as_deref(), digest: self.said.digest }
    }

    /// Refuses whoever does not own the addon.
    async fn is_the_owners(&self) -> Result<(), Problem> {
        self.services.require_owner(&self.principal, &self.release.addon).await
    }

    /// 422 without a reason, which says for whom it is.
    fn has_a_reason(&self, who_reads: &str) -> Result<(), Problem> {
        if self.said.reason.is_some() {
            return Ok(());
        }
        Err(Problem::unprocessable("reason-required", format!("say why in \"reason\": {who_reads}")))
    }
}

/// What every decision begins with: the release, if the caller's token is for its addon's name, and what is said of it.
pub(super) async fn heard(
    services: &Services,
    principal: &Principal,
    id: &str,
    said: ReviewRequest,
) -> Result<(Release, ReviewRequest), Problem> {
    let said = checked(said)?;
    let release = services.release(id).await?;
    principal.require_name(&release.addon)?;
    Ok((release, said))
}

/// And what it ends with.
pub(super) fn answer(decided: Result<Release, ReviewError>) -> Result<HttpResponse, Problem> {
    let body = decided.map_err(error::review)?.into_json();
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(body))
}

/// What is said of a change by a call that has no body.
pub(super) fn because_of(said: Because) -> Result<Option<String>, Problem> {
    reason(said.reason).map_err(|fault| Problem::bad_request("bad-query", fault))
}

fn checked(said: ReviewRequest) -> Result<ReviewRequest, Problem> {
    let reason = reason(said.reason).map_err(|fault| Problem::unprocessable("invalid-body", fault))?;
    Ok(ReviewRequest { reason, ..said })
}

/// Holds a reason to its rules; a blank one is none.
fn reason(said: Option<String>) -> Result<Option<String>, String> {
    let Some(reason) = said.filter(|reason| !reason.trim().is_empty()) else { return Ok(None) };
    let length = reason.chars().count();
    if length > MAX_REASON {
        return Err(format!("\"reason\" has {length} characters; {MAX_REASON} are the most"));
    }
    if reason.chars().any(is_hidden) {
        return Err("\"reason\" is text without control characters".to_owned());
    }
    Ok(Some(reason))
}

/// Control characters other than tab and line feed, and those that turn the direction of text.
fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The report as clients get it: before the first run it has the checks that will be made.
fn compose(release: Release, report: Report) -> VerificationReport {
    let mut checks = report.checks;
    let open = release.status == Status::UnderReview && release.verdict == Verdict::Pending;
    if checks.is_empty() || open {
        checks = pending(&release, report.next_attempt_at);
    }
    VerificationReport {
        release_id: release.id,
        status: release.status,
        digest: release.digest,
        verdict: overall(&checks),
        held: release.held,
        checks,
        attempts: report.attempts,
        next_attempt_at: report.next_attempt_at,
        // What a run before found is shown no more.
        checked_at: report.checked_at.filter(|_| !open),
    }
}

fn pending(release: &Release, next_attempt_at: Option<addon_client::Timestamp>) -> Vec<Check> {
    let fields = release.wire.object();
    let services = fields.get("services").and_then(|services| services.as_array());
    let names = services.into_iter().flatten().filter_map(|service| service.get("service_name")?.as_str());
    names
        .map(|name| Check {
            check: "image-exists".to_owned(),
            subject: Some(name.to_owned()),
            verdict: Verdict::Pending,
            message: "the image's registry has not been asked yet".to_owned(),
            evidence: serde_json::Map::new(),
            attempts: 0,
            next_attempt_at,
            checked_at: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_text_of_a_bounded_length() {
        let said = |text: &str| Some(text.to_owned());
        assert_eq!(reason(None).unwrap(), None);
        assert_eq!(reason(said(" \n")).unwrap(), None);
        assert_eq!(reason(said("two\nlines")).unwrap(), said("two\nlines"));
        for text in ["\0", "\u{1b}[2J", "a\u{202e}b", &"x".repeat(1001)] {
            let body = ReviewRequest { reason: said(text), digest: None };
            assert_eq!(checked(body).unwrap_err().status().as_u16(), 422, "{text:?}");
            let query = Because { reason: said(text) };
            assert_eq!(because_of(query).unwrap_err().status().as_u16(), 400, "{text:?}");
        }
        assert!(reason(said(&"ñ".repeat(1000))).is_ok());
    }
}
