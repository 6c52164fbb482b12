//! Leases: one holder at a time, taken over when they are over.

use super::{LEASE, Storage, at};

pub(super) async fn a_lease_is_one_holders_until_its_end(storage: &Storage) {
    assert!(storage.lease("index", "a", at(0), LEASE).await.unwrap());
    assert!(!storage.lease("index", "b", at(59), LEASE).await.unwrap());
    assert!(storage.lease("audit", "b", at(59), LEASE).await.unwrap(), "each name is its own");
    assert!(storage.lease("index", "a", at(59), LEASE).await.unwrap(), "its holder renews it");
    assert!(!storage.lease("index", "b", at(118), LEASE).await.unwrap(), "from the time of the renewal");
    assert!(storage.lease("index", "b", at(119), LEASE).await.unwrap(), "over is over");
    assert!(!storage.lease("index", "a", at(120), LEASE).await.unwrap());
    // A clock that was a year ahead keeps it from nobody; one that is some seconds ahead does.
    assert!(storage.lease("chain", "ahead", at(31_536_000), LEASE).await.unwrap());
    assert!(storage.lease("chain", "b", at(121), LEASE).await.unwrap());
    assert!(storage.lease("parts", "ahead", at(150), LEASE).await.unwrap());
    assert!(!storage.lease("parts", "b", at(121), LEASE).await.unwrap());
}

pub(super) async fn a_lease_that_is_given_back_is_free(storage: &Storage) {
    for name in ["index", "audit"] {
        assert!(storage.lease(name, "a", at(0), LEASE).await.unwrap());
    }
    assert!(storage.lease("chain", "c", at(0), LEASE).await.unwrap());
    storage.give_back("a").await.unwrap();
    for name in ["index", "audit"] {
        assert!(storage.lease(name, "b", at(1), LEASE).await.unwrap());
    }
    assert!(!storage.lease("chain", "b", at(1), LEASE).await.unwrap(), "others keep theirs");
    storage.give_up("index", "a").await.unwrap();
    assert!(!storage.lease("index", "a", at(1), LEASE).await.unwrap(), "it was not its own");
    storage.give_up("index", "b").await.unwrap();
    assert!(storage.lease("index", "a", at(1), LEASE).await.unwrap());
    assert!(!storage.lease("audit", "a", at(1), LEASE).await.unwrap(), "one alone is given up");
}

pub(super) async fn a_lease_goes_to_one_of_many_who_ask_at_once(storage: &Storage) {
    let asking = (0..10).map(|n| {
        let storage = storage.clone();
        tokio::spawn(async move { storage.lease("index", &n.to_string(), at(0), LEASE).await.unwrap() })
    });
    let mut holders = 0;
    for asked in asking.collect::<Vec<_>>() {
        holders += u32::from(asked.await.unwrap());
    }
    assert_eq!(holders, 1);
}
