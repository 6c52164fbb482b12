//! Documents that share a commit: each has its own answer, and nobody waits for ever.

use service_kit::db::Db;

use super::*;
use crate::storage::AuditFilter;

/// Publishes documents at once, in the order given.
async fn at_once(storage: &Storage, posts: Vec<Post<'static>>) -> Vec<Result<Published, InsertError>> {
    let posts = posts.into_iter().map(|post| {
        let storage = storage.clone();
        tokio::spawn(async move { post.send(&storage).await })
    });
    let mut done = Vec::new();
    for post in posts.collect::<Vec<_>>() {
        done.push(post.await.unwrap());
    }
    done
}

pub(super) async fn each_of_a_batch_has_its_own_answer(storage: &Storage) {
    publish(storage, "taken", "x", None).await;
    let names = ["a", "TAKEN", "bad", "b", "a"];
    let posts = names.into_iter().map(|name| post(name, "x", None)).collect();
    // The database refuses one of them. While it is busy, all of these come to wait for one commit.
    let done = match storage.db() {
        Db::Sqlite { writer, .. } => {
            let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON releases WHEN NEW.addon = 'bad'
                          BEGIN SELECT RAISE(ABORT, 'no'); END";
            sqlx::query(refuse).execute(writer).await.unwrap();
            let busy = writer.begin().await.unwrap();
            let (done, ()) = tokio::join!(at_once(storage, posts), async { busy.rollback().await.unwrap() });
            done
        }
        Db::Postgres(pool) => {
            let refuse = "ALTER TABLE releases ADD CONSTRAINT refuse CHECK (addon <> 'bad')";
            sqlx::query(refuse).execute(pool).await.unwrap();
            let mut busy = pool.begin().await.unwrap();
            sqlx::query("LOCK TABLE addons IN EXCLUSIVE MODE").execute(&mut *busy).await.unwrap();
            let (done, ()) = tokio::join!(at_once(storage, posts), async { busy.rollback().await.unwrap() });
            done
        }
    };
    assert!(matches!(&done[1], Err(InsertError::NameTaken { existing }) if existing == "taken"), "{done:?}");
    assert!(matches!(&done[2], Err(InsertError::Storage(_))), "{done:?}");
    assert!(matches!(&done[3], Ok(Published::New(_))), "{done:?}");
    let of_a = [&done[0], &done[4]];
    let count = |is: fn(&Published) -> bool| of_a.iter().filter(|done| done.as_ref().is_ok_and(is)).count();
    assert_eq!(count(|done| matches!(done, Published::New(_))), 1, "{done:?}");
    assert_eq!(count(|done| matches!(done, Published::Existing(_))), 1, "{done:?}");
    assert_eq!(storage.queue_depth().await.unwrap(), 3);
    let rows = storage.audit(AuditFilter { limit: 10, ..AuditFilter::default() }).await.unwrap();
    assert_eq!(rows.len(), 3, "what was refused is in no log: {rows:?}");

    storage.db().close().await;
    let closed = post("late", "x", None).send(storage).await;
    assert!(matches!(&closed, Err(InsertError::Storage(error)) if error.is_unavailable()), "{closed:?}");
}

pub(super) async fn names_that_many_publish_at_once_are_one_accounts_each(storage: &Storage) {
    const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    const ACCOUNTS: [&str; 4] = ["paul", "rita", "anna", "zoe"];
    // Everybody in an order of their own, so that commits at once hold what the others want.
    let posts = ACCOUNTS.into_iter().enumerate().flat_map(|(shift, publisher)| {
        (0..NAMES.len()).map(move |at| {
            let name = NAMES[if shift % 2 == 0 { at } else { NAMES.len() - 1 - at }];
            Post { publisher, ..post(name, "x", Some("1.0.0")) }
        })
    });
    let done = at_once(storage, posts.collect()).await;
    let mut new = BTreeSet::new();
    for done in done {
        match done {
            Ok(Published::New(release)) => assert!(new.insert(release.addon.clone()), "{}", release.addon),
            Err(InsertError::NotOwner) => (),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(new.len(), NAMES.len());
    let turns = storage.queue_depth().await.unwrap();
    assert_eq!(usize::try_from(turns).unwrap(), NAMES.len());
}

pub(super) async fn a_publishers_documents_of_one_commit_have_turns(storage: &Storage) {
    let mut posts = vec![post("a", "x", None), post("b", "x", None), post("c", "x", None)];
    posts.push(Post { publisher: "rita", ..post("d", "x", None) });
    for done in at_once(storage, posts).await {
        assert!(matches!(done, Ok(Published::New(_))), "{done:?}");
    }
    let mut taken = Vec::new();
    while let Some(job) = storage.claim("worker", at(1), LEASE, None).await.unwrap() {
        taken.push(job.release.publisher);
    }
    assert_eq!(taken.len(), 4);
    assert_ne!(taken[3], "rita", "one of a flood waits behind everybody's first: {taken:?}");
}
