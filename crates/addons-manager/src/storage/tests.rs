//! What the database promises of installations, claims, revisions and kept volumes.

use std::collections::{BTreeMap, BTreeSet};

use addon_client::{InstallationStatus, ReleaseId, Timestamp};
use addon_descriptor::Digest;
use service_kit::audit::Actor;
use tempfile::TempDir;

use super::Storage;
use super::installations::{ListFilter, NewInstallation, Occupied};
use crate::domain::claim::Claim;
use crate::domain::installation::{
    Consent, Desired, Installation, InstallationId, KeptVolume, Revision, VolumeOrigin,
};
use crate::domain::specification::{RevisionSpecification, VolumeSpecification};

async fn storage() -> (Storage, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Storage::open(&folder.path().join("state.db")).await.unwrap(), folder)
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn installation(number: u8, name: &str) -> Installation {
    Installation {
        id: InstallationId::new(u32::from(number), [number; 8]),
        name: name.to_owned(),
        addon: "store".to_owned(),
        version: "1.0.0".to_owned(),
        release_id: ReleaseId::new(1, [1; 8]),
        release_digest: Digest::of(b"{}"),
        descriptor: "{}".to_owned(),
        pins: Vec::new(),
        consent: Consent {
            rights: ["host-network".to_owned()].into(),
            digest: "d".to_owned(),
            by: "me".to_owned(),
            at_ms: 5,
        },
        desired: Desired::Active,
        generation: 1,
        revision: 1,
        restart_generation: 0,
        epoch: 0,
        been_up: BTreeSet::new(),
        delete_volumes: false,
        listed: true,
        status: InstallationStatus::Installing,
        status_since: at(i64::from(number)),
        conditions: Vec::new(),
        service_states: Vec::new(),
        created_at: at(i64::from(number)),
        updated_at: at(i64::from(number)),
    }
}

fn new(installation: &Installation, claims: Vec<Claim>) -> NewInstallation {
    let specification = RevisionSpecification {
        services: BTreeMap::new(),
        networks: BTreeMap::new(),
        volumes: BTreeMap::new(),
        shared_networks: BTreeMap::new(),
        external_volumes: Vec::new(),
    };
    let revision = Revision {
        installation: installation.id,
        revision: 1,
        release_id: installation.release_id,
        release_digest: installation.release_digest,
        version: installation.version.clone(),
        descriptor: installation.descriptor.clone(),
        pins: Vec::new(),
        specification,
        digests: [("web".to_owned(), "sha256:x".to_owned())].into(),
        created_at: installation.created_at,
    };
    NewInstallation {
        installation: installation.clone(),
        revision,
        claims,
        taken_back: Vec::new(),
        gone: Vec::new(),
    }
}

async fn install(storage: &Storage, new: NewInstallation) -> Installation {
    storage.install(&Actor::named("me"), |_: &Occupied| Ok::<_, ()>(new)).await.unwrap().unwrap()
}

#[tokio::test]
async fn what_was_installed_is_read_again() {
    let (storage, _folder) = storage().await;
    let shop = installation(1, "shop");
    let claims = vec![Claim::InstallationName("shop".into()), Claim::Volume("shop_data".into())];
    let new = new(&shop, claims.clone());
    install(&storage, new.clone()).await;
    assert_eq!(storage.installation(shop.id).await.unwrap(), Some(shop.clone()));
    assert_eq!(storage.installations(&ListFilter::default()).await.unwrap(), std::slice::from_ref(&shop));
    assert_eq!(storage.revision(shop.id, 1).await.unwrap(), Some(new.revision.clone()));
    assert_eq!(storage.revisions(shop.id).await.unwrap(), [new.revision]);
    let held = storage.claims().await.unwrap();
    assert_eq!(held.iter().map(|held| held.claim.clone()).collect::<Vec<_>>(), claims);
    assert!(held.iter().all(|held| held.installation == shop.id && held.installation_name == "shop"));
    assert_eq!(storage.installation(InstallationId::new(9, [9; 8])).await.unwrap(), None);
}

#[tokio::test]
async fn a_refusal_writes_nothing() {
    let (storage, _folder) = storage().await;
    assert_eq!(
        storage.install(&Actor::named("me"), |_: &Occupied| Err::<NewInstallation, _>("no")).await.unwrap(),
        Err("no")
    );
    assert!(storage.every_installation().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_equal_claim_is_refused_by_the_index_and_nothing_of_the_second_stays() {
    let (storage, _folder) = storage().await;
    let claim = || vec![Claim::ContainerName("web".into())];
    install(&storage, new(&installation(1, "one"), claim())).await;
    let second = new(&installation(2, "two"), claim());
    assert!(storage.install(&Actor::named("me"), |_: &Occupied| Ok::<_, ()>(second)).await.is_err());
    assert_eq!(storage.every_installation().await.unwrap().len(), 1);
}

#[tokio::test]
async fn of_installs_at_once_each_sees_what_the_ones_before_wrote() {
    let (storage, _folder) = storage().await;
    let tasks = (1..=8_u8).map(|number| {
        let storage = storage.clone();
        tokio::spawn(async move {
            let new = new(&installation(number, "shop"), vec![Claim::InstallationName("shop".into())]);
            let decide = |occupied: &Occupied| {
                if occupied.installations.is_empty() { Ok(new) } else { Err(occupied.installations[0].id) }
            };
            storage.install(&Actor::named("me"), decide).await.unwrap()
        })
    });
    let mut won = Vec::new();
    let mut told = BTreeSet::new();
    for task in tasks.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Ok(installation) => won.push(installation.id),
            Err(holder) => {
                told.insert(holder);
            }
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(told, won.into_iter().collect());
}

#[tokio::test]
async fn a_list_is_filtered_and_cut_oldest_first() {
    let (storage, _folder) = storage().await;
    for (number, name) in [(3, "c"), (1, "a"), (2, "b")] {
        install(&storage, new(&installation(number, name), vec![])).await;
    }
    let names = async |filter: ListFilter| -> String {
        storage
            .installations(&filter)
            .await
            .unwrap()
            .into_iter()
            .map(|installation| installation.name)
            .collect()
    };
    assert_eq!(names(ListFilter::default()).await, "abc");
    assert_eq!(names(ListFilter { limit: Some(2), ..ListFilter::default() }).await, "ab");
    let after = Some((at(1), InstallationId::new(1, [1; 8])));
    assert_eq!(names(ListFilter { after, ..ListFilter::default() }).await, "bc");
    assert_eq!(names(ListFilter { name: Some("b".into()), ..ListFilter::default() }).await, "b");
    assert_eq!(names(ListFilter { status: Some("installing".into()), ..ListFilter::default() }).await, "abc");
    assert_eq!(names(ListFilter { status: Some("nonsense".into()), ..ListFilter::default() }).await, "");
}

#[tokio::test]
async fn enabling_and_disabling_change_what_is_wanted_once() {
    let (storage, _folder) = storage().await;
    let shop = installation(1, "shop");
    install(&storage, new(&shop, vec![])).await;
    let read = async || storage.installation(shop.id).await.unwrap().unwrap();

    assert!(storage.enable(shop.id, &Actor::named("me"), at(10)).await.unwrap(), "it is there");
    assert_eq!(read().await, shop, "and was wanted already");
    assert!(storage.disable(shop.id, &Actor::named("me"), at(11)).await.unwrap());
    let disabled = read().await;
    assert_eq!(
        (disabled.desired, disabled.status, disabled.generation),
        (Desired::Disabled, InstallationStatus::Disabling, 2)
    );
    assert_eq!((disabled.status_since, disabled.updated_at), (at(11), at(11)));
    assert!(storage.disable(shop.id, &Actor::named("me"), at(12)).await.unwrap());
    assert_eq!(read().await, disabled);
    assert!(storage.request_restart(shop.id, &Actor::named("me"), at(13)).await.unwrap());
    assert_eq!(read().await, disabled, "there is nothing to restart");
    assert!(storage.enable(shop.id, &Actor::named("me"), at(14)).await.unwrap());
    let enabled = read().await;
    assert_eq!(
        (enabled.desired, enabled.status, enabled.epoch),
        (Desired::Active, InstallationStatus::Installing, 1)
    );
    assert!(storage.request_restart(shop.id, &Actor::named("me"), at(15)).await.unwrap());
    assert_eq!((read().await.restart_generation, read().await.epoch), (1, 2));
    let nobody = InstallationId::new(9, [9; 8]);
    assert!(
        !storage.enable(nobody, &Actor::named("me"), at(1)).await.unwrap()
            && !storage.disable(nobody, &Actor::named("me"), at(1)).await.unwrap()
    );
}

#[tokio::test]
async fn uninstalling_waits_for_disabled_unless_it_is_forced_and_hides_the_row() {
    let (storage, _folder) = storage().await;
    let shop = installation(1, "shop");
    install(&storage, new(&shop, vec![Claim::InstallationName("shop".into())])).await;
    assert!(!storage.uninstall(shop.id, false, None, &Actor::named("me"), at(10)).await.unwrap());
    assert!(storage.uninstall(shop.id, true, Some(true), &Actor::named("me"), at(11)).await.unwrap());
    let gone = storage.installation(shop.id).await.unwrap().unwrap();
    assert_eq!((gone.desired, gone.listed, gone.delete_volumes), (Desired::Absent, false, true));
    assert!(storage.installations(&ListFilter::default()).await.unwrap().is_empty());
    assert_eq!(
        storage.claims().await.unwrap().len(),
        1,
        "its claims are held until everything of it is gone"
    );
    for change in [
        storage.enable(shop.id, &Actor::named("me"), at(12)).await,
        storage.disable(shop.id, &Actor::named("me"), at(12)).await,
    ] {
        assert!(!change.unwrap());
    }
    assert!(
        !storage.uninstall(shop.id, true, None, &Actor::named("me"), at(13)).await.unwrap(),
        "once is enough"
    );
}

fn kept(name: &str) -> KeptVolume {
    KeptVolume {
        name: name.to_owned(),
        nonce: "n1".to_owned(),
        addon: "store".to_owned(),
        installation_name: "shop".to_owned(),
        origin: VolumeOrigin::Anonymous,
        service: "db".to_owned(),
        specification: VolumeSpecification {
            key: None,
            driver: "local".to_owned(),
            driver_opts: BTreeMap::new(),
            labels: BTreeMap::new(),
        },
        kept_at: at(7),
    }
}

#[tokio::test]
async fn kept_volumes_are_remembered_given_back_and_forgotten() {
    let (storage, _folder) = storage().await;
    for name in ["a", "b", "c"] {
        storage.keep_volume_again(&kept(name), &Actor::named("me"), "because", at(1)).await.unwrap();
    }
    assert_eq!(storage.kept_volumes().await.unwrap(), [kept("a"), kept("b"), kept("c")]);
    let shop = installation(1, "shop");
    let new = NewInstallation {
        taken_back: vec![kept("a")],
        gone: vec!["b".to_owned()],
        ..new(&shop, vec![Claim::Volume("a".into())])
    };
    install(&storage, new).await;
    assert_eq!(storage.kept_volumes().await.unwrap(), [kept("c")]);
    let desired = storage.desired_state(shop.id).await.unwrap().unwrap();
    assert_eq!(
        desired
            .volumes
            .iter()
            .map(|volume| (volume.name.as_str(), volume.nonce.as_str()))
            .collect::<Vec<_>>(),
        [("a", "n1")]
    );

    assert!(!storage.forget_kept_volume("c", "another nonce", &Actor::named("me"), at(20)).await.unwrap());
    assert!(storage.forget_kept_volume("c", "n1", &Actor::named("me"), at(20)).await.unwrap());
    assert!(!storage.forget_kept_volume("c", "n1", &Actor::named("me"), at(20)).await.unwrap());
    assert_eq!(storage.kept_volume("c").await.unwrap(), None);
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_named() {
    let (storage, _folder) = storage().await;
    install(&storage, new(&installation(1, "shop"), vec![])).await;
    sqlx::query("UPDATE installations SET status = 'dancing'").execute(storage.writer()).await.unwrap();
    let fault = storage.every_installation().await.unwrap_err().to_string();
    assert!(fault.contains("installations") && fault.contains("dancing"), "{fault}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    std::fs::write(&path, "this is a text, and quite a long one, so that it is no header of a database")
        .unwrap();
    assert!(Storage::open(&path).await.is_err());
}

#[tokio::test]
async fn changes_of_tokens_are_written_down_for_good() {
    use service_kit::auth::{Scopes, StoredToken, TokenHash, TokenStore};

    let (storage, _folder) = storage().await;
    let tokens = TokenStore::audited(storage.db().clone());
    let token = StoredToken {
        id: "0102".to_owned(),
        account: "ops".to_owned(),
        hash: TokenHash::of("a token").hex(),
        scopes: Scopes::from_stored("read"),
        names: None,
        created_at: at(1),
        expires_at: None,
    };
    let (host, me) = (Actor::host(), Actor::named("me"));
    tokens.insert(&token, &host).await.unwrap();
    assert!(tokens.remove(&token.id, &me, at(2)).await.unwrap());
    assert!(!tokens.remove(&token.id, &me, at(3)).await.unwrap());
    let sql = "SELECT action, account, subject_id FROM audit ORDER BY seq";
    let rows: Vec<(String, String, String)> = sqlx::query_as(sql).fetch_all(&storage.reader).await.unwrap();
    let rows: Vec<_> = rows.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
    assert_eq!(
        rows,
        [
            ("account.create", Actor::HOST, "ops"),
            ("token.create", Actor::HOST, "0102"),
            ("token.revoke", "me", "0102"),
        ]
    );
    for sql in ["DELETE FROM audit", "UPDATE audit SET account = 'nobody'"] {
        let refused = sqlx::query(sql).execute(&storage.writer).await.unwrap_err();
        assert!(refused.to_string().contains("only grows"), "{refused}");
    }
}

#[tokio::test]
async fn a_change_that_cannot_be_written_down_is_not_made() {
    let (storage, _folder) = storage().await;
    let shop = install(&storage, new(&installation(1, "shop"), vec![])).await;
    for name in ["a", "b"] {
        storage.keep_volume_again(&kept(name), &Actor::named("me"), "because", at(1)).await.unwrap();
    }
    sqlx::query("CREATE TRIGGER no_log BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no log'); END")
        .execute(storage.writer())
        .await
        .unwrap();
    let me = Actor::named("me");
    let before = storage.desired_state(shop.id).await.unwrap();
    assert!(storage.disable(shop.id, &me, at(2)).await.is_err());
    assert!(storage.request_restart(shop.id, &me, at(2)).await.is_err());
    assert!(storage.uninstall(shop.id, true, None, &me, at(2)).await.is_err());
    let other = new(&installation(2, "blog"), vec![]);
    assert!(storage.install(&me, |_: &Occupied| Ok::<_, ()>(other)).await.is_err());
    assert!(storage.forget_kept_volume("a", "n1", &me, at(2)).await.is_err());
    assert_eq!(storage.desired_state(shop.id).await.unwrap(), before);
    assert_eq!(storage.every_installation().await.unwrap().len(), 1);
    assert_eq!(storage.kept_volumes().await.unwrap().len(), 2);
}
