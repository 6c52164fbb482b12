//! The audit log, for administrators.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use addon_client::{AuditEntry, ListAudit};
use service_kit::auth::Principal;
use service_kit::body::Query;
use service_kit::problem::Problem;

use super::{Api, error};
use crate::storage::audit::AuditFilter;

const AUDIT: &str = "/api/v1/audit";

/// Rows of one answer without a `limit`, and with it at most.
const LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

/// Who did what on this host, when and why; newest first. Installations by their id, volumes by their name.
#[utoipa::path(get, operation_id = "list_audit", path = "/api/v1/audit", tag = "host", params(ListAudit),
    responses((status = 200, description = "The rows; `Link: rel=\"next\"` where there are more", body = [AuditEntry]),
              (status = 400, description = "A parameter has a value that it cannot have", body = addon_client::Problem)))]
pub(crate) async fn list(
    api: web::Data<Api>,
    who: Principal,
    request: HttpRequest,
    query: Query<ListAudit>,
) -> Result<HttpResponse, Problem> {
    if let Some(names) = who.names() {
        let names = names.as_str();
        let detail = format!("this token is good for addons named {names:?} only, and the log speaks of all");
        return Err(Problem::forbidden("name-not-allowed", detail));
    }
    let query = query.0;
    let limit = query.limit.unwrap_or(LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::bad_request("bad-query", "`limit` is 1 to 1000"));
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
    let mut rows = api.storage.audit(filter).await.map_err(error::storage)?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::CACHE_CONTROL, "no-store"));
    if let Some(last) = rows.last().filter(|_| more) {
        let mut next = url::form_urlencoded::Serializer::new(String::new());
        let asked = url::form_urlencoded::parse(request.query_string().as_bytes());
        next.extend_pairs(asked.filter(|(key, _)| key != "cursor"));
        next.append_pair("cursor", &last.seq.to_string());
        answer.insert_header((header::LINK, format!("<{AUDIT}?{}>; rel=\"next\"", next.finish())));
    }
    Ok(answer.json(rows))
}
