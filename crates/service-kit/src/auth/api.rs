//! `/api/v1/tokens`: list, make and revoke tokens. Both services have these calls in their route table.

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use addon_client::{CreatedToken, TokenRequest, TokenView};

use super::store::FIRST_ACCOUNT;
use super::{Auth, NamePattern, Principal, Scope, Scopes, StoredToken, Token};
use crate::audit::Actor;
use crate::body::{Json, NoQuery};
use crate::clock::Timestamp;
use crate::problem::{Finding, Problem};
use crate::random;
use crate::routes::RouteTable;

/// Most scopes that are looked at in one request.
const MOST_SCOPES: usize = 16;

/// The calls, for a service's table.
pub fn routes() -> RouteTable {
    RouteTable::new()
        .get("/api/v1/tokens", Scope::Admin, list)
        .post("/api/v1/tokens", Scope::Admin, create)
        .delete("/api/v1/tokens/{id}", Scope::Admin, revoke)
}

/// List tokens, without their secrets.
#[utoipa::path(get, operation_id = "list_tokens", path = "/api/v1/tokens", tag = "tokens",
    responses((status = 200, description = "Every token, oldest first", body = Vec<TokenView>)))]
pub(crate) async fn list(auth: web::Data<Auth>) -> Result<web::Json<Vec<TokenView>>, Problem> {
    let tokens = auth.store().list().await?;
    Ok(web::Json(tokens.into_iter().map(view).collect()))
}

/// Make a token; its text is shown this once.
#[utoipa::path(post, operation_id = "create_token", path = "/api/v1/tokens", tag = "tokens",
    request_body(content = TokenRequest, example = json!({"account": "ci", "scopes": ["read"]})),
    responses((status = 201, description = "The token, with its text", body = CreatedToken),
              (status = 403, description = "It would allow more than the caller's own: `errors`", body = addon_client::Problem),
              (status = 409, description = "The account is there in another case", body = addon_client::Problem),
              (status = 422, description = "Everything that is wrong with what was asked for: `errors`", body = addon_client::Problem)))]
pub(crate) async fn create(
    auth: web::Data<Auth>,
    principal: Principal,
    actor: Actor,
    _: NoQuery,
    body: Json<TokenRequest>,
) -> Result<HttpResponse, Problem> {
    let now = auth.clock().now();
    let (token, stored) = make(&auth.profile(), body.into_inner(), now).map_err(|errors| {
        Problem::unprocessable("bad-token", "the token cannot be made as asked").with_errors(errors)
    })?;
    let excess = excess(own(&auth, &principal).await?.as_ref(), &stored);
    if !excess.is_empty() {
        let detail = "a token allows no more than the one that makes it";
        return Err(Problem::forbidden("exceeds-own-token", detail).with_errors(excess));
    }
    auth.store().insert(&stored, &actor).await?;
    tracing::info!(
        token.id = token.id(),
        token.account = stored.account,
        by = principal.account(),
        "a token was made"
    );
    let location = format!("/api/v1/tokens/{}", token.id());
    let created = CreatedToken { token: token.text().to_owned(), view: view(stored) };
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, location))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(created))
}

/// Revoke a token; it ends within a second.
#[utoipa::path(delete, operation_id = "revoke_token", path = "/api/v1/tokens/{id}", tag = "tokens",
    params(("id" = String, Path, description = "The token's id")),
    responses((status = 204, description = "It is revoked"),
              (status = 403, description = "It is good for names that the caller's own is not", body = addon_client::Problem),
              (status = 404, description = "There is no token with this id", body = addon_client::Problem)))]
pub(crate) async fn revoke(
    auth: web::Data<Auth>,
    principal: Principal,
    actor: Actor,
    id: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, Problem> {
    let id = id.into_inner();
    let missing = || Problem::not_found("there is no token with this id");
    if let Some(own) = principal.names() {
        let token = auth.store().by_id(&id).await?.ok_or_else(missing)?;
        if !token.names.as_ref().is_some_and(|names| own.covers(names)) {
            let detail = format!(
                "your token is good for addons named {:?} only, and the one to revoke for others too",
                own.as_str()
            );
            return Err(Problem::forbidden("exceeds-own-token", detail));
        }
    }
    if !auth.store().remove(&id, &actor, auth.clock().now()).await? {
        return Err(missing());
    }
    auth.revoked().await;
    tracing::info!(token.id = id, by = principal.account(), "a token was revoked");
    Ok(HttpResponse::NoContent().finish())
}

/// The caller's own token as it is stored; none in open mode, where everyone may do everything.
async fn own(auth: &Auth, principal: &Principal) -> Result<Option<StoredToken>, Problem> {
    let Some(id) = principal.token_id() else { return Ok(None) };
    let own = auth.store().by_id(id).await?;
    // Revoked between the gate and here.
    own.map(Some).ok_or_else(|| auth.unauthorized("the token is unknown or was revoked"))
}

/// Everything in which a new token would allow more than the one that makes it: scopes, names, time.
fn excess(own: Option<&StoredToken>, new: &StoredToken) -> Vec<Finding> {
    let Some(own) = own else { return Vec::new() };
    let mut findings = Vec::new();
    let mut exceeds = |path: &str, message: String, suggestion: Option<String>| {
        let (path, rule) = (path.to_owned(), "exceeds-own-token".to_owned());
        findings.push(Finding { path, rule, message, suggestion, line: None, column: None });
    };
    for scope in new.scopes.iter().filter(|scope| !own.scopes.allows(*scope)) {
        exceeds("/scopes", format!("your own token lacks the scope {scope}"), None);
    }
    if let Some(names) = &own.names
        && !new.names.as_ref().is_some_and(|new| names.covers(new))
    {
        let names = names.as_str();
        let message =
            format!("your own token is good for addons named {names:?} only: give a pattern within that");
        exceeds("/name_pattern", message, Some(names.to_owned()));
    }
    if let Some(end) = own.expires_at
        && new.expires_at.is_none_or(|asked| asked > end)
    {
        let message = format!("your own token ends at {end}: give a time that is not after it");
        exceeds("/expires_at", message, Some(end.to_string()));
    }
    findings
}

/// A new token as it was asked for, and what is stored of it; or everything that is wrong with what was asked.
pub(super) fn make(
    profile: &super::AuthProfile,
    asked: TokenRequest,
    now: Timestamp,
) -> Result<(Token, StoredToken), Vec<Finding>> {
    let mut faults = Vec::new();
    let mut fault = |path: &str, rule: &str, message: String, suggestion: Option<String>| {
        let (path, rule) = (path.to_owned(), rule.to_owned());
        faults.push(Finding { path, rule, message, suggestion, line: None, column: None });
    };
    if !is_account(&asked.account) {
        let message =
            "an account's name has 1 to 63 of a-z A-Z 0-9 . _ - and begins with a letter or digit".to_owned();
        fault("/account", "account-name", message, None);
    }
    if asked.account.eq_ignore_ascii_case(Principal::ANONYMOUS) {
        fault("/account", "account-name", "anonymous is everyone without a token".to_owned(), None);
    }
    // The first start makes that account, and a token can be made before the first start.
    if asked.account != FIRST_ACCOUNT && asked.account.eq_ignore_ascii_case(FIRST_ACCOUNT) {
        let message = format!("the administrator's account is written {FIRST_ACCOUNT:?}");
        fault("/account", "account-case", message, Some(FIRST_ACCOUNT.to_owned()));
    }
    if asked.scopes.is_empty() {
        fault("/scopes", "scopes-empty", "a token needs at least one scope".to_owned(), None);
    }
    if asked.scopes.len() > MOST_SCOPES {
        let message = format!("a token has at most {MOST_SCOPES} scopes; there are not so many");
        fault("/scopes", "scopes-too-many", message, None);
    }
    let mut scopes = Vec::new();
    for (index, name) in asked.scopes.iter().enumerate().take(MOST_SCOPES) {
        match Scope::from_wire(name).filter(|scope| profile.scopes.contains(scope)) {
            Some(scope) => scopes.push(scope),
            None => {
                let known: Vec<&str> = profile.scopes.iter().map(|scope| scope.as_str()).collect();
                let nearest = crate::nearest::nearest(name, known.iter().copied()).map(str::to_owned);
                let message = format!("this service knows no scope {name:?}; it knows {}", known.join(", "));
                fault(&format!("/scopes/{index}"), "unknown-scope", message, nearest);
            }
        }
    }
    let names = asked.name_pattern.as_deref().map(NamePattern::new);
    if names == Some(None) {
        let message = "a pattern has 1 to 80 of a-z A-Z 0-9 . _ - and * for any characters".to_owned();
        fault("/name_pattern", "name-pattern", message, None);
    }
    if asked.expires_at.is_some_and(|end| end <= now) {
        fault("/expires_at", "already-expired", format!("this time has passed: it is {now}"), None);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let token = Token::new(profile.prefix, random::bytes(), random::bytes());
    let stored = StoredToken {
        id: token.id().to_owned(),
        account: asked.account,
        hash: token.hash().hex(),
        scopes: scopes.into_iter().collect::<Scopes>(),
        names: names.flatten(),
        created_at: now,
        expires_at: asked.expires_at,
    };
    Ok((token, stored))
}

/// Whether an account can be called so: 1 to 63 of `a-z A-Z 0-9 . _ -`, first alphanumeric.
pub fn is_account(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn view(token: StoredToken) -> TokenView {
    TokenView {
        id: token.id,
        account: token.account,
        scopes: token.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        name_pattern: token.names.map(|names| names.as_str().to_owned()),
        created_at: token.created_at,
        expires_at: token.expires_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::AuthProfile;

    const PROFILE: AuthProfile =
        AuthProfile { prefix: "oakt", scopes: &[Scope::Read, Scope::Publish, Scope::Admin] };

    fn asked(account: &str, scopes: &[&str]) -> TokenRequest {
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        TokenRequest { account: account.to_owned(), scopes, name_pattern: None, expires_at: None }
    }

    #[test]
    fn a_token_is_made_as_asked() {
        let now = Timestamp::from_millis(1_000);
        let mut request = asked("ci", &["publish"]);
        request.name_pattern = Some("mqtt-*".to_owned());
        request.expires_at = Some(Timestamp::from_millis(2_000));
        let (token, stored) = make(&PROFILE, request, now).unwrap();
        assert!(token.text().starts_with("oakt_"));
        assert_eq!((stored.id.as_str(), stored.hash), (token.id(), token.hash().hex()));
        assert_eq!(stored.scopes.to_string(), "publish");
        assert_eq!(stored.names.unwrap().as_str(), "mqtt-*");
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let now = Timestamp::from_millis(1_000);
        let mut request = asked("-x", &["operate", "pubish"]);
        request.name_pattern = Some("a b".to_owned());
        request.expires_at = Some(now);
        let faults = make(&PROFILE, request, now).unwrap_err();
        let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, ["/account", "/scopes/0", "/scopes/1", "/name_pattern", "/expires_at"]);
        assert_eq!(faults[2].suggestion.as_deref(), Some("publish"));
        assert_eq!(make(&PROFILE, asked("a", &[]), now).unwrap_err()[0].path, "/scopes");
        let many = make(&PROFILE, asked("a", &["nothing"; 20_000]), now).unwrap_err();
        assert_eq!((many.len(), many[0].rule.as_str()), (MOST_SCOPES + 1, "scopes-too-many"));
        for account in ["anonymous", "Anonymous", "Admin", "ADMIN"] {
            assert_eq!(make(&PROFILE, asked(account, &["read"]), now).unwrap_err()[0].path, "/account");
        }
        assert!(make(&PROFILE, asked("admin", &["read"]), now).is_ok());
    }

    #[test]
    fn a_token_allows_no_more_than_the_one_that_makes_it() {
        let token = |scopes: &[Scope], names: Option<&str>, end: Option<i64>| StoredToken {
            id: "id".to_owned(),
            account: "a".to_owned(),
            hash: String::new(),
            scopes: scopes.iter().copied().collect(),
            names: names.map(|names| NamePattern::new(names).unwrap()),
            created_at: Timestamp::from_millis(0),
            expires_at: end.map(Timestamp::from_millis),
        };
        let (admin, publish) = ([Scope::Admin], [Scope::Publish]);
        let limited = token(&admin, Some("mqtt-*"), Some(5_000));
        for (own, new, expected) in [
            (token(&admin, None, None), token(&admin, None, None), &[][..]),
            (token(&admin, None, None), token(&publish, Some("*"), Some(1)), &[]),
            (limited.clone(), token(&admin, Some("mqtt-a*"), Some(5_000)), &[]),
            (limited.clone(), token(&publish, Some("mqtt-a"), Some(4_999)), &[]),
            (limited.clone(), token(&publish, None, None), &["/name_pattern", "/expires_at"]),
            (limited, token(&publish, Some("*"), Some(5_001)), &["/name_pattern", "/expires_at"]),
            (token(&publish, None, None), token(&[Scope::Read, Scope::Publish], None, None), &[]),
            (
                token(&publish, None, None),
                token(&[Scope::Review, Scope::Admin], None, None),
                &["/scopes", "/scopes"],
            ),
        ] {
            let found = excess(Some(&own), &new);
            let paths: Vec<&str> = found.iter().map(|finding| finding.path.as_str()).collect();
            assert_eq!(paths, expected, "{own:?} {new:?}");
        }
        assert_eq!(excess(None, &token(&admin, None, None)), []);
    }
}
