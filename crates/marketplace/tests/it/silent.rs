//! A PostgreSQL server that goes silent without a word, as one does that is replaced behind its address, or behind a router
//! that forgets what it carried: connections that stand give no answer, new ones do.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use postgres_for_tests::Server;
use service_kit::config::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::market::{Market, document, eventually};
use crate::registry::Registry;

/// What stands between the marketplace and its server.
struct Carrier {
    port: u16,
    /// Connections that it took so far, and up to which of them nothing is carried.
    taken: Arc<AtomicU64>,
    forgotten: Arc<AtomicU64>,
}

impl Carrier {
    async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let carrier = Self { port, taken: Arc::default(), forgotten: Arc::default() };
        let (taken, forgotten) = (Arc::clone(&carrier.taken), Arc::clone(&carrier.forgotten));
        tokio::spawn(async move {
            loop {
                let (from, _) = listener.accept().await.unwrap();
                let to = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let number = taken.fetch_add(1, Ordering::SeqCst) + 1;
                let ((from_reads, from_writes), (to_reads, to_writes)) = (from.into_split(), to.into_split());
                tokio::spawn(carry(from_reads, to_writes, number, Arc::clone(&forgotten)));
                tokio::spawn(carry(to_reads, from_writes, number, Arc::clone(&forgotten)));
            }
        });
        carrier
    }

    /// From now on nothing is carried on the connections that there are; they are not closed.
    fn forget(&self) {
        self.forgotten.store(self.taken.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: u64, forgotten: Arc<AtomicU64>) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        if number <= forgotten.load(Ordering::SeqCst) {
            // Neither a byte nor an end.
            std::future::pending::<()>().await;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_give_no_answer_are_given_up() {
    let (registry, server) = (Registry::start().await, Server::start());
    let image = registry.push("a", "1").await.image;
    server.sql("postgres", "CREATE ROLE me LOGIN PASSWORD 'richtig'");
    server.sql("postgres", "CREATE DATABASE market OWNER me");
    let url = url::Url::parse(&server.tcp_url("me", "richtig", "market")).unwrap();
    let carrier = Carrier::to(url.port().unwrap()).await;
    let mut carried = url.clone();
    carried.set_port(Some(carrier.port)).unwrap();
    let market = Market::start(|config| {
        registry.allow(config);
        config.database.url = Some(Secret::new(carried.as_str()));
    })
    .await;
    let kept = market.approved(&document("kept", &image)).await;

    // Questions of which some are under way when nothing is carried any more.
    let asking = (0..40).map(|n| {
        let market = &market;
        async move { Some(market.get(&format!("/api/v1/marketplace/by-name/none-{n}")).await.status) }.boxed()
    });
    let forgetting = async {
        carrier.forget();
        None
    };
    let answers: Vec<Option<u16>> =
        asking.chain([forgetting.boxed()]).collect::<FuturesUnordered<_>>().collect().await;
    assert!(answers.iter().flatten().all(|status| [404, 503].contains(status)), "{answers:?}");
    eventually("it is ready again", || async { (market.get("/readyz").await.status == 200).then_some(()) })
        .await;
    let later = market.published(&document("later", &image)).await;
    market.until(&later, "approved").await;
    assert_eq!(market.release(kept["_id"].as_str().unwrap()).await["digest"], kept["digest"]);

    // And one that is silent for good does not keep it from ending.
    carrier.forget();
    carrier.forgotten.store(u64::MAX, Ordering::SeqCst);
    let ending = tokio::time::timeout(Duration::from_secs(15), market.stop());
    ending.await.expect("it ends without its server");
}

/// What a replica leaves behind that is stopped between writing to the audit log and the end of its transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hangs_in_a_transaction_keeps_no_other_from_writing() {
    let (registry, server) = (Registry::start().await, Server::start());
    let image = registry.push("a", "1").await.image;
    server.create("market");
    let market = Market::start(|config| {
        registry.allow(config);
        config.database.url = Some(Secret::new(server.url("market")));
    })
    .await;
    let mut hanging = server.program("psql");
    let mut hanging = hanging
        .args(["--no-psqlrc", "--quiet", "market"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = hanging.stdin.take().unwrap();
    let lock = service_kit::audit::LOCK;
    writeln!(stdin, "BEGIN; SELECT pg_advisory_xact_lock_shared({lock});").unwrap();
    eventually("it hangs", || async {
        let held =
            "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND mode = 'ShareLock'";
        (server.sql("market", held).trim() == "1").then_some(())
    })
    .await;
    for n in 0..10 {
        let begun = Instant::now();
        market.approved(&document(&format!("probe-{n}"), &image)).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    let report = market.get_as_admin("/api/v1/audit/verify").await.expect(200).json();
    assert!(!report["not_chained"].as_array().unwrap().is_empty(), "the chain waits: {report}");
    // It ends, and the chain goes on.
    drop(stdin);
    hanging.wait().unwrap();
    eventually("all is chained", || async {
        let report = market.get_as_admin("/api/v1/audit/verify").await.expect(200).json();
        (report["not_chained"].as_array().unwrap().is_empty() && report["intact"] == true).then_some(())
    })
    .await;
    market.stop().await;
}
