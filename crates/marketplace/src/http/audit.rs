//! The audit log, for administrators: read, and checked against its chain.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use addon_client::{AuditEntry, AuditReport, ListAudit, Problem as ProblemBody};
use service_kit::auth::Principal;
use service_kit::body::{NoQuery, Query};
use service_kit::problem::Problem;

use super::query::next_query;
use super::{Services, error};
use crate::storage::AuditFilter;

pub(super) const AUDIT: &str = "/api/v1/audit";

/// Rows of one answer without a `limit`, and with it at most.
const LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

/// Who did what to what, when and why; the newest first.
#[utoipa::path(get, operation_id = "list_audit", path = "/api/v1/audit", tag = "audit", params(ListAudit), responses(
    (status = 200, description = "The rows; `Link: rel=\"next\"` where there are more", body = [AuditEntry]),
    (status = 400, description = "A parameter has a value that it cannot have", body = ProblemBody)))]
pub(super) async fn list(
    request: HttpRequest,
    services: web::Data<Services>,
    principal: Principal,
    Query(query): Query<ListAudit>,
) -> Result<HttpResponse, Problem> {
    for_every_name(&principal)?;
    let limit = query.limit.unwrap_or(LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::bad_request("bad-query", "the parameter limit is a number from 1 to 1000"));
    }
    fn given(text: &Option<String>) -> Option<&str> {
        text.as_deref().filter(|text| !text.is_empty())
    }
    let filter = AuditFilter {
        account: given(&query.account),
        action: given(&query.action),
        subject: given(&query.subject),
        since: query.since,
        before: query.cursor,
        limit: limit + 1,
    };
    let mut rows = services.storage.audit(filter).await.map_err(error::storage)?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::CACHE_CONTROL, "no-store"));
    if let Some(last) = rows.last().filter(|_| more) {
        let next = next_query(request.query_string(), last.seq);
        answer.insert_header((header::LINK, format!("<{AUDIT}?{next}>; rel=\"next\"")));
    }
    Ok(answer.json(rows))
}

/// Holds every row to the chain: what was altered, removed, put in between, or is not chained yet.
#[utoipa::path(get, operation_id = "verify_audit", path = "/api/v1/audit/verify", tag = "audit", responses(
    (status = 200, description = "What was found; `intact` says whether that is anything", body = AuditReport)))]
pub(super) async fn verify(
    services: web::Data<Services>,
    principal: Principal,
    _: NoQuery,
) -> Result<HttpResponse, Problem> {
    for_every_name(&principal)?;
    let report = services.storage.verify_audit().await.map_err(error::storage)?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(report))
}

/// The log speaks of every addon: it is not for a token that is good for some of them.
fn for_every_name(principal: &Principal) -> Result<(), Problem> {
    match principal.names() {
        None => Ok(()),
        Some(names) => {
            let names = names.as_str();
            let detail =
                format!("this token is good for addons named {names:?} only, and the log speaks of all");
            Err(Problem::forbidden("name-not-allowed", detail))
        }
    }
}
