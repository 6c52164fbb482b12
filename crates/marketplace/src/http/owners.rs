//! Who owns a name: owners, and invitations, which the invited account accepts.

use actix_web::{HttpResponse, web};
use addon_client::{Because, InvitationView, InviteRequest, OwnersView, Problem as ProblemBody};
use service_kit::audit::Actor;
use service_kit::auth::{Principal, Scope, is_account};
use service_kit::body::{Json, NoQuery, Query};
use service_kit::problem::Problem;

use super::query::fold;
use super::review::because_of;
use super::{Services, error};
use crate::domain::limits::Kind;
use crate::storage::{Invited, Removal};

/// The owners of a name. Who is invited is told to owners and administrators.
#[utoipa::path(get, operation_id = "list_owners", path = "/api/v1/marketplace/by-name/{name}/owners", tag = "owners",
    params(("name" = String, Path, description = "The addon's name")), responses(
    (status = 200, description = "The owners", body = OwnersView),
    (status = 404, description = "No such addon is in lists", body = ProblemBody)))]
pub(super) async fn list(
    services: web::Data<Services>,
    principal: Principal,
    name: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, Problem> {
    let addon = fold(&name);
    let owns = services.owns(&principal, &addon).await?;
    let (name, listed) = spelling(&services, &addon).await?;
    // What nobody can see yet has no owners for strangers either.
    if !listed && !owns && !principal.allows(Scope::Review) {
        return Err(no_addon(&addon));
    }
    let invited = owns || principal.allows(Scope::Admin);
    Ok(HttpResponse::Ok().json(view(&services, name, &addon, invited).await?))
}

/// Invites an account to own a name. Whether there is such an account is not told.
#[utoipa::path(post, operation_id = "invite_owner", path = "/api/v1/marketplace/by-name/{name}/owners", tag = "owners",
    request_body(content = InviteRequest, example = json!({"account": "mary"})),
    params(("name" = String, Path, description = "The addon's name")), responses(
    (status = 201, description = "Owners, and who is invited", body = OwnersView),
    (status = 403, description = "The addon is somebody else's", body = ProblemBody),
    (status = 404, description = "There is no such addon", body = ProblemBody),
    (status = 409, description = "It is an owner already", body = ProblemBody),
    (status = 422, description = "No account is called so", body = ProblemBody),
    (status = 429, description = "Too many at once; `Retry-After`", body = ProblemBody)))]
pub(super) async fn invite(
    services: web::Data<Services>,
    principal: Principal,
    actor: Actor,
    name: web::Path<String>,
    _: NoQuery,
    Json(asked): Json<InviteRequest>,
) -> Result<HttpResponse, Problem> {
    let addon = fold(&name);
    let name = owned(&services, &principal, &addon).await?;
    let account = asked.account;
    if !is_account(&account) || account.eq_ignore_ascii_case(Principal::ANONYMOUS) {
        let detail = "\"account\" has 1 to 63 of a-z A-Z 0-9 . _ -, begins with a letter or digit, and is not anonymous";
        return Err(Problem::unprocessable("invalid-body", detail));
    }
    let now = services.clock.now();
    if let Some(bound) = services.storage.take(&actor, Kind::Invitation, now).await.map_err(error::storage)? {
        return Err(error::limited(bound));
    }
    match services.storage.invite(&addon, &account, &actor, now).await.map_err(error::storage)? {
        Invited::Owner => {
            Err(Problem::conflict("already-owner", format!("{account} is an owner of {name} already")))
        }
        Invited::Invited => {
            tracing::info!(
                addon.name = addon,
                invited = account,
                by = actor.account(),
                "an owner was invited"
            );
            Ok(HttpResponse::Created().json(view(&services, name, &addon, true).await?))
        }
    }
}

/// Takes a name, or an invitation to it, away from an account. The last owner stays, but for administrators.
#[utoipa::path(delete, operation_id = "remove_owner", path = "/api/v1/marketplace/by-name/{name}/owners/{account}", tag = "owners",
    params(("name" = String, Path, description = "The addon's name"),
           ("account" = String, Path, description = "The owner, or who is invited"), Because), responses(
    (status = 204, description = "It is an owner no more, or not invited any more"),
    (status = 400, description = "The reason is none that can be shown", body = ProblemBody),
    (status = 403, description = "The addon is somebody else's", body = ProblemBody),
    (status = 404, description = "There is no such addon, or that is no owner of it", body = ProblemBody),
    (status = 409, description = "It is the last owner", body = ProblemBody)))]
pub(super) async fn remove(
    services: web::Data<Services>,
    principal: Principal,
    actor: Actor,
    path: web::Path<(String, String)>,
    Query(because): Query<Because>,
) -> Result<HttpResponse, Problem> {
    let reason = because_of(because)?;
    let (name, account) = path.into_inner();
    let addon = fold(&name);
    let name = owned(&services, &principal, &addon).await?;
    let now = services.clock.now();
    let removed = services.storage.remove_owner(&addon, &account, &actor, reason.as_deref(), now).await;
    match removed.map_err(error::storage)? {
        Removal::Removed | Removal::Withdrawn => {
            tracing::info!(addon.name = addon, owner = account, by = actor.account(), "an owner was removed");
            Ok(HttpResponse::NoContent().finish())
        }
        Removal::Neither => {
            Err(Problem::not_found(format!("{account} neither owns {name} nor is invited to")))
        }
        Removal::Last => {
            let detail = format!(
                "{account} is the last owner of {name}: invite another one first, whose acceptance makes it an owner"
            );
            Err(Problem::conflict("last-owner", detail))
        }
    }
}

/// The names that the caller is invited to own.
#[utoipa::path(get, operation_id = "list_invitations", path = "/api/v1/marketplace/invitations", tag = "owners", responses(
    (status = 200, description = "Invitations that hold", body = [InvitationView])))]
pub(super) async fn invitations(
    services: web::Data<Services>,
    actor: Actor,
    _: NoQuery,
) -> Result<HttpResponse, Problem> {
    let invitations = services.storage.invitations_to(actor.account(), services.clock.now()).await;
    Ok(HttpResponse::Ok().json(invitations.map_err(error::storage)?))
}

/// Makes the caller an owner of a name that it is invited to.
#[utoipa::path(post, operation_id = "accept_invitation", path = "/api/v1/marketplace/invitations/{name}/accept", tag = "owners",
    params(("name" = String, Path, description = "The addon's name")), responses(
    (status = 200, description = "The owners", body = OwnersView),
    (status = 403, description = "The token is for other names", body = ProblemBody),
    (status = 404, description = "There is no invitation that holds", body = ProblemBody)))]
pub(super) async fn accept(
    services: web::Data<Services>,
    principal: Principal,
    actor: Actor,
    name: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, Problem> {
    let addon = fold(&name);
    principal.require_name(&addon)?;
    let now = services.clock.now();
    if !services.storage.accept_invitation(&addon, &actor, now).await.map_err(error::storage)? {
        return Err(no_invitation(&addon));
    }
    tracing::info!(addon.name = addon, account.name = actor.account(), "an invitation was accepted");
    let (name, _) = spelling(&services, &addon).await?;
    Ok(HttpResponse::Ok().json(view(&services, name, &addon, true).await?))
}

/// Declines an invitation.
#[utoipa::path(delete, operation_id = "decline_invitation", path = "/api/v1/marketplace/invitations/{name}", tag = "owners",
    params(("name" = String, Path, description = "The addon's name")), responses(
    (status = 204, description = "It is declined"),
    (status = 403, description = "The token is for other names", body = ProblemBody),
    (status = 404, description = "There is no invitation that holds", body = ProblemBody)))]
pub(super) async fn decline(
    services: web::Data<Services>,
    principal: Principal,
    actor: Actor,
    name: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, Problem> {
    let addon = fold(&name);
    principal.require_name(&addon)?;
    let now = services.clock.now();
    if !services.storage.decline_invitation(&addon, &actor, now).await.map_err(error::storage)? {
        return Err(no_invitation(&addon));
    }
    Ok(HttpResponse::NoContent().finish())
}

/// How an addon is written that there is, and that the caller may manage.
async fn owned(services: &Services, principal: &Principal, addon: &str) -> Result<String, Problem> {
    principal.require_name(addon)?;
    let (name, listed) = spelling(services, addon).await?;
    match services.require_owner(principal, addon).await {
        // Whoever may not see it is not told that it is there.
        Err(refused) if refused.code() == "not-owner" && !listed => Err(no_addon(addon)),
        other => other.map(|()| name),
    }
}

async fn spelling(services: &Services, addon: &str) -> Result<(String, bool), Problem> {
    services.storage.spelling(addon).await.map_err(error::storage)?.ok_or_else(|| no_addon(addon))
}

async fn view(
    services: &Services,
    name: String,
    addon: &str,
    with_invitations: bool,
) -> Result<OwnersView, Problem> {
    let owners = services.storage.owners(addon).await.map_err(error::storage)?;
    let invitations = if with_invitations {
        services.storage.invitations_of(addon, services.clock.now()).await.map_err(error::storage)?
    } else {
        Vec::new()
    };
    Ok(OwnersView { name, owners, invitations })
}

fn no_addon(addon: &str) -> Problem {
    Problem::not_found(format!("there is no addon {addon:?}"))
}

fn no_invitation(addon: &str) -> Problem {
    Problem::not_found(format!("there is no invitation of yours to {addon:?} that holds"))
}
