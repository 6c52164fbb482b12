//! Every call of the route table, by every kind of caller, on a release of every status. The cases follow from the table: a
//! call that nobody has said anything about here fails the test.

use std::time::Duration;

use addon_client::{AuditEntry, ReleaseStatus as Status};
use marketplace::storage::AuditFilter;
use reqwest::Method;
use serde_json::json;
use service_kit::auth::{Access, Scope};
use service_kit::clock::Clock as _;
use service_kit::write_tx;

use crate::market::{ADDONS, Market, document};
use crate::registry::Registry;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Nobody,
    Garbage,
    Expired,
    Revoked,
    Reader,
    /// May publish, and owns nothing here.
    Stranger,
    Owner,
    /// The owner's account, by a token for other names.
    OwnerElsewhere,
    Reviewer,
    Administrator,
}

use Caller as C;

const CALLERS: [Caller; 10] = [
    C::Nobody,
    C::Garbage,
    C::Expired,
    C::Revoked,
    C::Reader,
    C::Stranger,
    C::Owner,
    C::OwnerElsewhere,
    C::Reviewer,
    C::Administrator,
];

impl Caller {
    /// What its token allows; `None`: it has none that is good.
    fn scopes(self) -> Option<&'static [Scope]> {
        match self {
            C::Nobody | C::Garbage | C::Expired | C::Revoked => None,
            C::Reader => Some(&[Scope::Read]),
            C::Stranger | C::Owner | C::OwnerElsewhere => Some(&[Scope::Publish]),
            C::Reviewer => Some(&[Scope::Review]),
            C::Administrator => Some(&[Scope::Admin]),
        }
    }

    fn allows(self, scope: Scope) -> bool {
        let scopes = self.scopes().unwrap_or_default();
        scope == Scope::Read && !scopes.is_empty()
            || scopes.contains(&scope)
            || scopes.contains(&Scope::Admin)
    }

    fn owns(self) -> bool {
        matches!(self, C::Owner | C::Administrator)
    }

    fn reviews(self) -> bool {
        self.allows(Scope::Review)
    }
}

/// What the gate says, before any handler; `None`: it lets through.
fn gate(access: Access, caller: Caller) -> Option<u16> {
    match access {
        Access::Probe | Access::Public | Access::PublicRead => None,
        Access::Scope(_) if caller.scopes().is_none() => Some(401),
        Access::Scope(scope) => (!caller.allows(scope)).then_some(403),
    }
}

/// What the handler says; `status` is that of the release in the path, `None` where there is no such release.
fn handler(method: &Method, path: &str, caller: Caller, status: Option<Status>) -> &'static [u16] {
    let of_release = path.contains("/{id}");
    if of_release && status.is_none() {
        return &[404];
    }
    let is = |wanted: &[Status]| status.is_some_and(|status| wanted.contains(&status));
    let decided = |may: bool, on: &[Status]| -> &'static [u16] {
        match (may, is(on)) {
            (false, _) => &[403],
            (true, true) => &[200],
            (true, false) => &[409],
        }
    };
    let seen: &'static [u16] = if caller.owns() || caller.reviews() { &[200] } else { &[403] };
    let path = path.strip_prefix("/api/v1/marketplace").unwrap_or(path);
    match (method.as_str(), path) {
        (
            "GET",
            "/addons" | "/api/addons" | "/addons/{id}" | "/api/addons/{id}" | "/addons/{id}/descriptor",
        ) => &[200],
        ("GET", "/by-name/{name}" | "/by-name/{name}/{version}" | "/by-name/{name}/owners") => &[200],
        ("GET", "/schema" | "/facets" | "/keys" | "/keys/{version}" | "/index" | "/revocations") => &[200],
        (
            "GET",
            "/events" | "/feed.atom" | "/stats" | "/by-name/{name}/stats" | "/by-name/{name}/badge.svg",
        ) => &[200],
        ("POST", "/installs") => &[204],
        // Whether there is such a part depends on the names that there are.
        ("GET", "/index/{shard}") => &[200, 404],
        ("POST", "/validate") => &[200],
        // The document of the release itself: the same once more.
        ("POST", "/addons" | "/api/addons") if caller.owns() => &[200],
        ("POST", "/addons" | "/api/addons") => &[403],
        ("DELETE", "/addons/{id}" | "/api/addons/{id}") if !caller.owns() => &[403],
        ("DELETE", "/addons/{id}" | "/api/addons/{id}") if is(&[Status::Revoked]) => &[409],
        ("DELETE", "/addons/{id}" | "/api/addons/{id}") => &[204],
        ("GET", "/addons/{id}/verification" | "/addons/{id}/diff") => seen,
        ("POST", "/addons/{id}/approve" | "/addons/{id}/reject") => decided(true, &[Status::UnderReview]),
        ("POST", "/addons/{id}/revoke") => {
            decided(true, &[Status::Approved, Status::Yanked, Status::Revoked])
        }
        ("POST", "/addons/{id}/reverify") => {
            decided(caller.owns() || caller.reviews(), &[Status::VerificationFailed, Status::Approved])
        }
        ("POST", "/addons/{id}/yank") => decided(caller.owns(), &[Status::Approved]),
        ("POST", "/addons/{id}/unyank") => decided(caller.owns(), &[Status::Yanked]),
        ("POST", "/by-name/{name}/owners") if caller.owns() => &[201],
        // Of somebody who is no owner; what becomes of owners is told in a test of its own.
        ("DELETE", "/by-name/{name}/owners/{account}") if caller.owns() => &[404],
        ("POST", "/by-name/{name}/owners") | ("DELETE", "/by-name/{name}/owners/{account}") => &[403],
        ("GET", "/invitations") => &[200],
        ("POST", "/invitations/{name}/accept") | ("DELETE", "/invitations/{name}") => match caller {
            C::OwnerElsewhere => &[403],
            _ => &[404],
        },
        ("GET", "/api/v1/audit" | "/api/v1/audit/verify") => &[200],
        _ => panic!("nobody has said yet what {method} {path} answers to whom: say it here"),
    }
}

/// The body that a call needs to succeed.
pub(crate) fn body(method: &Method, path: &str, document: &serde_json::Value) -> Option<serde_json::Value> {
    match method.as_str() {
        "POST" if path.ends_with("/addons") || path.ends_with("/validate") => Some(document.clone()),
        "POST" if path.ends_with("/owners") => Some(json!({"account": "ivan"})),
        "POST" if path.ends_with("/revoke") => Some(json!({"reason": "because", "severity": "warn"})),
        "POST" if path.ends_with("/installs") => Some(json!({"addon": "steady", "report": "0a".repeat(16)})),
        "POST" if path.ends_with("/accept") => None,
        "POST" => Some(json!({"reason": "because"})),
        _ => None,
    }
}

/// Whether a call leaves a row in the audit log: every change does, and nothing else.
fn is_recorded(method: &Method, path: &str, answered: u16, status: Option<Status>) -> bool {
    // What hosts report of themselves is counted, and of nobody.
    let of_nobody = path.ends_with("/validate") || path.ends_with("/installs");
    if *method == Method::GET || of_nobody || !(200..300).contains(&answered) {
        return false;
    }
    // Posted once more, a document changes only what failed.
    !path.ends_with("/addons") || answered == 201 || status == Some(Status::VerificationFailed)
}

/// The newest row of the audit log.
async fn last_row(market: &Market) -> Option<AuditEntry> {
    let filter = AuditFilter { limit: 1, ..AuditFilter::default() };
    market.app().storage().audit(filter).await.unwrap().pop()
}

/// Puts a release where a case wants it, with green checks and nothing that is going to be checked.
async fn stand(market: &Market, id: &str, status: Status) -> Result<u64, sqlx::Error> {
    let now = service_kit::clock::SystemClock.now().millis();
    Ok(write_tx!(market.app().storage().db(), |tx| {
        sqlx::query("DELETE FROM verification_jobs").execute(&mut *tx).await?;
        let sql = "UPDATE releases SET status = $2, verdict = 'pass', held = '[]', approved_at_ms = $3, yanked_by_admin = 0
                   WHERE id = $1";
        sqlx::query(sql).bind(id).bind(status.as_str()).bind(now).execute(&mut *tx).await?.rows_affected()
    }))
}

async fn forget(market: &Market, id: &str) -> Result<(), sqlx::Error> {
    write_tx!(market.app().storage().db(), |tx| {
        sqlx::query("DELETE FROM releases WHERE id = $1").bind(id).execute(&mut *tx).await?;
    });
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_the_table_answers_every_caller_on_every_status_as_it_is_said() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let (market, clock) = Market::start_with_clock(|config| {
        registry.allow(config);
        config.auth.wrong_tokens.burst = 0;
        config.limits.enabled = false;
    })
    .await;
    let end = (clock.now() + Duration::from_secs(60)).to_string();
    let body_of = |value: serde_json::Value| serde_json::to_vec(&value).unwrap();
    let request = json!({"account": "olga", "scopes": ["admin"], "expires_at": end});
    let expired = market.post("/api/v1/tokens", &request).await.expect(201).json();
    let revoked =
        market.post("/api/v1/tokens", &json!({"account": "olga", "scopes": ["admin"]})).await.json();
    let path = format!("/api/v1/tokens/{}", revoked["_id"].as_str().unwrap());
    market.send(Method::DELETE, &path, Some(market.admin()), None).await.expect(204);
    clock.advance(Duration::from_secs(61));
    let text = |token: &serde_json::Value| Some(token["token"].as_str().unwrap().to_owned());
    let mut tokens = Vec::new();
    for caller in CALLERS {
        let token = match caller {
            C::Nobody => None,
            C::Garbage => Some("oakm_garbage".to_owned()),
            C::Expired => text(&expired),
            C::Revoked => text(&revoked),
            C::Reader => Some(market.token("rob", &["read"], None).await),
            C::Stranger => Some(market.token("sam", &["publish"], None).await),
            C::Owner => Some(market.token("olga", &["publish"], None).await),
            C::OwnerElsewhere => Some(market.token("olga", &["publish"], Some("zzz-*")).await),
            C::Reviewer => Some(market.token("rita", &["review"], None).await),
            C::Administrator => Some(market.admin().to_owned()),
        };
        tokens.push((caller, token));
    }
    let owner = tokens.iter().find(|(caller, _)| *caller == C::Owner).unwrap().1.clone().unwrap();
    let with_version = |name: &str| {
        let mut document = document(name, &image);
        document["version"] = "1.0.0".into();
        document
    };
    // What is asked for by name stays as it is.
    let publish = async |document: &serde_json::Value| {
        let answer = market.send(Method::POST, ADDONS, Some(&owner), Some(body_of(document.clone()))).await;
        assert!([200, 201].contains(&answer.status), "{}", answer.text);
        answer.json()["_id"].as_str().unwrap().to_owned()
    };
    let steady = publish(&with_version("steady")).await;
    market.until(&steady, "approved").await;
    let probe = with_version("probe");

    let table = marketplace::http::routes();
    let (mut cases, mut recorded) = (0, 0);
    for (method, path, access) in table.calls() {
        let method = &Method::from_bytes(method.as_str().as_bytes()).unwrap();
        let statuses: Vec<Option<Status>> =
            if path.contains("/{id}") || path.ends_with("/addons") && *method == Method::POST {
                Status::ALL.into_iter().map(Some).chain([None]).collect()
            } else {
                vec![Some(Status::Approved)]
            };
        for status in statuses {
            for (caller, token) in &tokens {
                let id = match status {
                    None => "6b00fc9223516c5e37bee27c".to_owned(),
                    Some(status) => {
                        let id = publish(&probe).await;
                        assert_eq!(stand(&market, &id, status).await.unwrap(), 1);
                        id
                    }
                };
                let url = path
                    .replace("{id}", &id)
                    .replace("{name}", "steady")
                    .replace("{version}", if path.contains("/keys/") { "1" } else { "1.0.0" })
                    .replace("{account}", "zoe")
                    .replace("{shard}", "00");
                let body = body(method, path, &probe).map(body_of);
                let before = last_row(&market).await;
                // A stream has no end: its head says it all.
                let asked = if path.ends_with("/events") { Method::HEAD } else { method.clone() };
                let answer = market.send(asked, &url, token.as_deref(), body).await;
                let alone = gate(access, *caller).map(|status| [status]);
                let expected: &[u16] = match &alone {
                    Some(status) => status,
                    None => handler(method, path, *caller, status),
                };
                assert!(
                    expected.contains(&answer.status),
                    "{method} {path} of {status:?} by {caller:?}: {} and not {expected:?}: {}",
                    answer.status,
                    answer.text
                );
                if answer.status >= 400 {
                    assert_eq!(answer.header("content-type"), "application/problem+json", "{method} {path}");
                    assert!(answer.json()["code"].is_string(), "{method} {path}: {}", answer.text);
                }
                let row = last_row(&market).await.filter(|row| Some(row.seq) != before.map(|row| row.seq));
                assert_eq!(
                    row.is_some(),
                    is_recorded(method, path, answer.status, status),
                    "{method} {path} of {status:?} by {caller:?}, answered with {}: {row:?}",
                    answer.status
                );
                if let Some(row) = row {
                    assert!(token.as_deref().unwrap().contains(row.token_id.as_deref().unwrap()), "{row:?}");
                    recorded += 1;
                }
                // A revocation is for good: the next case has a release of its own.
                if path.ends_with("/revoke") && answer.status == 200 {
                    forget(&market, &id).await.unwrap();
                }
                cases += 1;
            }
        }
    }
    assert!(cases > 1_000 && recorded > 40, "only {cases}, {recorded}");
}
