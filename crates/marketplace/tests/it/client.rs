//! The typed client against the marketplace itself: what it sends is understood, and what is answered it reads.

use addon_client::{
    ClientOptions, InstallReport, ListAudit, ListReleases, MarketplaceClient, ReleaseId, ReleaseStatus,
    ReviewRequest,
};
use serde_json::json;

use crate::market::{Market, document};
use crate::registry::Registry;

fn client(market: &Market, token: &str) -> MarketplaceClient {
    let options = ClientOptions::new(market.url().parse().unwrap()).with_token(Some(token.to_owned()));
    MarketplaceClient::new(options).unwrap()
}

fn because(reason: &str) -> ReviewRequest {
    ReviewRequest { reason: Some(reason.to_owned()), digest: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_come_and_go() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let olga = client(&market, &market.token("olga", &["publish"], None).await);
    let ivan = client(&market, &market.token("ivan", &["publish"], None).await);
    let release = olga.publish(document("My-Probe", &image).to_string()).await.unwrap();
    market.until(&release.id.to_string(), "approved").await;

    assert_eq!(olga.owners("none").await.unwrap(), None);
    let owners = olga.invite_owner("my-probe", "ivan").await.unwrap();
    assert_eq!((owners.name.as_str(), owners.invitations.len()), ("My-Probe", 1));
    assert_eq!(olga.invite_owner("my-probe", "olga").await.unwrap_err().status(), Some(409));
    let invitations = ivan.invitations().await.unwrap();
    assert_eq!((invitations[0].name.as_str(), invitations[0].invited_by.as_str()), ("My-Probe", "olga"));
    assert!(ivan.decline_invitation("my-probe").await.unwrap());
    assert!(!ivan.decline_invitation("my-probe").await.unwrap());
    assert_eq!(ivan.accept_invitation("my-probe").await.unwrap(), None);
    olga.invite_owner("my-probe", "ivan").await.unwrap();
    let owners = ivan.accept_invitation("my-probe").await.unwrap().unwrap();
    assert_eq!(
        owners.owners.iter().map(|owner| owner.account.as_str()).collect::<Vec<_>>(),
        ["olga", "ivan"]
    );
    let reason = "left the team; ask Ivan & co";
    assert!(ivan.remove_owner("my-probe", "olga", Some(reason)).await.unwrap());
    assert!(!ivan.remove_owner("my-probe", "olga", None).await.unwrap());
    assert_eq!(ivan.remove_owner("my-probe", "ivan", None).await.unwrap_err().status(), Some(409));
    assert_eq!(ivan.owners("my-probe").await.unwrap().unwrap().owners.len(), 1);
    assert!(ivan.delete(release.id, Some("moved")).await.unwrap());
    assert!(!ivan.delete(release.id, None).await.unwrap());
    let log = client(&market, market.admin()).audit(&ListAudit::default()).await.unwrap().items;
    let why = |action: &str| log.iter().find(|row| row.action == action).unwrap().reason.as_deref();
    assert_eq!((why("owner.remove"), why("release.delete")), (Some(reason), Some("moved")));
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_decided_is_told_in_the_log() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let admin = client(&market, market.admin());
    let first = admin.publish(document("probe", &image).to_string()).await.unwrap();
    market.until(&first.id.to_string(), "approved").await;
    let mut second = document("probe", &image);
    second["description"] = "Says more".into();
    second["version"] = "2.0.0".into();
    let second = admin.publish(second.to_string()).await.unwrap();
    market.until(&second.id.to_string(), "approved").await;

    let diff = admin.diff(second.id).await.unwrap().unwrap();
    assert_eq!(diff.base.unwrap().release_id, first.id);
    assert!(diff.fields.iter().any(|field| field.path == "/description"), "{:?}", diff.fields);
    assert_eq!(admin.diff(ReleaseId::new(1, [1; 8])).await.unwrap(), None);

    assert_eq!(admin.yank(second.id, &because("it leaks")).await.unwrap().status, ReleaseStatus::Yanked);
    let yanked = admin.get(second.id).await.unwrap().unwrap();
    assert_eq!(yanked.reason.as_deref(), Some("it leaks"));
    assert_eq!(
        admin.unyank(second.id, &ReviewRequest::default()).await.unwrap().status,
        ReleaseStatus::Approved
    );
    assert_eq!(admin.reverify(second.id, &ReviewRequest::default()).await.unwrap().id, second.id);
    let revocation = serde_json::from_value(json!({"reason": "it mines coins", "severity": "stop"})).unwrap();
    assert_eq!(admin.revoke(second.id, &revocation).await.unwrap().status, ReleaseStatus::Revoked);
    assert_eq!(admin.unyank(second.id, &ReviewRequest::default()).await.unwrap_err().status(), Some(409));

    let of_release =
        ListAudit { subject: Some(second.id.to_string()), limit: Some(3), ..ListAudit::default() };
    let page = admin.audit(&of_release).await.unwrap();
    let actions: Vec<&str> = page.items.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["release.revoke", "release.reverify", "release.unyank"]);
    let next = page.next.expect("there are more").parse().unwrap();
    let rest = admin.audit(&ListAudit { cursor: Some(next), ..of_release }).await.unwrap();
    assert_eq!(rest.items[0].action, "release.yank");
    assert!(admin.verify_audit().await.unwrap().intact);
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_is_counted() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let admin = client(&market, market.admin());
    let mut probe = document("probe", &image);
    probe["categories"] = json!(["media"]);
    market.approved(&probe).await;

    // What orders and cuts a list says nothing here.
    let query = ListReleases {
        category: Some("media".to_owned()),
        sort: Some("name".to_owned()),
        limit: Some(1),
        ..ListReleases::default()
    };
    let facets = admin.facets(&query).await.unwrap();
    assert_eq!((facets.counted, facets.category[0].value.as_str()), (1, "media"));
    assert!(admin.schema().await.unwrap()["$schema"].is_string());

    let report = InstallReport { addon: "probe".to_owned(), report: "0af9".repeat(8) };
    assert!(admin.report_install(&report).await.unwrap());
    assert!(admin.report_install(&report).await.unwrap());
    assert!(!admin.report_install(&InstallReport { addon: "none".to_owned(), ..report }).await.unwrap());
    assert_eq!(admin.addon_stats("probe").await.unwrap().unwrap().installs, 1);
    assert_eq!(admin.addon_stats("none").await.unwrap(), None);
    let stats = admin.stats().await.unwrap();
    assert_eq!((stats.listed, stats.installs, stats.releases["approved"]), (1, 1, 1));
    market.stop().await;
}
