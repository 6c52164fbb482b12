//! What the periodic resync passes over, and what it sees all the same.

use std::time::Duration;

use addon_client::InstallationStatus;

use super::bench::{Bench, revision, service, with_check, with_volume};
use crate::domain::installation::InstallationId;
use crate::domain::specification::RestartPolicy;
use crate::runtime::Health;

/// Two installations that nothing is to be done for, and the periodic resync knows it. Events are lost from here on.
async fn quiet() -> (Bench, InstallationId, InstallationId) {
    let mut bench = Bench::new().await;
    let shop = with_volume(service("shop", "web"), "shop_data", "/data");
    let shop = bench.install("shop", revision(vec![shop])).await;
    let blog = bench.install("blog", revision(vec![service("blog", "web")])).await;
    // Both have been inspected by now, and their turn comes again.
    for _ in 0..2 {
        bench.clock.advance(Duration::from_secs(60));
        assert!(bench.periodic_resync().await);
    }
    bench.runtime.lose_events(true);
    (bench, shop, blog)
}

/// Makes the row of an installation one that cannot be read.
async fn spoil(bench: &Bench, id: InstallationId) {
    sqlx::query("UPDATE installations SET been_up = 'spoilt' WHERE id = $1")
        .bind(id.to_string())
        .execute(bench.storage.writer())
        .await
        .unwrap();
}

#[tokio::test]
async fn nothing_is_read_of_what_looks_as_it_did_when_nothing_was_to_be_done() {
    let (mut bench, shop, blog) = quiet().await;
    // One of the two has its turn to be inspected in each minute at most.
    let mut passed_over = 0;
    for id in [shop, blog] {
        let before = bench.storage.desired_state(id).await.unwrap().unwrap().installation.been_up;
        spoil(&bench, id).await;
        for _ in 0..2 {
            passed_over += usize::from(bench.periodic_resync().await);
        }
        assert!(!bench.resync().await, "a look at everything reads it");
        sqlx::query("UPDATE installations SET been_up = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(serde_json::to_string(&before).unwrap())
            .execute(bench.storage.writer())
            .await
            .unwrap();
        for _ in 0..2 {
            bench.clock.advance(Duration::from_secs(60));
            assert!(bench.periodic_resync().await);
        }
    }
    assert!(passed_over > 0);
}

#[tokio::test]
async fn what_looks_otherwise_is_looked_at() {
    for change in ["stopped", "removed", "renamed", "unhealthy", "disconnected"] {
        let mut bench = Bench::new().await;
        let id = bench.install("shop", revision(vec![with_check(service("shop", "web"))])).await;
        for _ in 0..2 {
            bench.clock.advance(Duration::from_secs(60));
            assert!(bench.periodic_resync().await);
        }
        bench.runtime.lose_events(true);
        let web = bench.runtime.id_of("shop-web");
        match change {
            "stopped" => bench.runtime.stop_by_hand(&web),
            "removed" => bench.runtime.remove_by_hand(&web),
            "renamed" => bench.runtime.rename_by_hand(&web, "elsewhere"),
            "unhealthy" => bench.runtime.set_health(&web, Health::Unhealthy),
            _ => {
                let networks = bench.container("shop-web").listed.networks;
                bench.runtime.disconnect_by_hand(&web, networks.keys().next().unwrap());
            }
        }
        for _ in 0..3 {
            bench.clock.advance(Duration::from_secs(60));
            bench.periodic_resync().await;
        }
        let found = bench.container("shop-web");
        assert!(bench.is_running("shop-web"), "{change}: {}", bench.why(id).await);
        assert_eq!(found.listed.networks.len(), 1, "{change}: {}", bench.why(id).await);
        assert_ne!(found.listed.health, Some(Health::Unhealthy), "{change}: {}", bench.why(id).await);
    }
}

#[tokio::test]
async fn what_no_listing_tells_is_seen_within_ten_minutes() {
    let (mut bench, shop, _) = quiet().await;
    let web = bench.runtime.id_of("shop-web");
    bench.runtime.update_by_hand(&web, |restart, _| *restart = RestartPolicy::No);
    for _ in 0..11 {
        bench.clock.advance(Duration::from_secs(60));
        bench.periodic_resync().await;
    }
    assert_eq!(bench.container("shop-web").restart, Some(RestartPolicy::Always), "{}", bench.why(shop).await);
}

#[tokio::test]
async fn what_is_asked_for_is_done_and_what_is_disabled_is_looked_at_still() {
    let (mut bench, shop, _) = quiet().await;
    bench.disable(shop).await;
    bench.settle().await;
    assert_eq!(bench.status(shop).await, InstallationStatus::Disabled);
    assert!(bench.runtime.by_name("shop-web").is_none());
    spoil(&bench, shop).await;
    assert!(!bench.periodic_resync().await, "nothing of it is ever inspected");
}
