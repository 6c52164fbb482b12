//! Tokens that are guessed, and a database that was stolen. That comparing takes the same time whatever is compared is so by
//! construction: hashes are compared, by `subtle`, in `service_kit::auth::TokenHash`.
//! `MARKETPLACE_GUESSES=10000` when this is built guesses more often.

use std::time::Instant;

use futures_util::StreamExt as _;
use reqwest::Method;
use service_kit::auth::Token;

use crate::market::{ADDONS, Market};
use crate::process::Process;
use crate::registry::Registry;

const GUESSES: Option<&str> = option_env!("MARKETPLACE_GUESSES");

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_guesses_find_nothing_and_lock_nobody_out() {
    let market = Market::start(|_| ()).await;
    let number: u64 = GUESSES.map_or(2_000, |number| number.parse().unwrap());
    let begun = Instant::now();
    let guesses = (0..number).map(|n| {
        let market = &market;
        async move {
            let mut id = [0; 8];
            id.copy_from_slice(&n.to_be_bytes());
            // Of the right form, so that the database is asked.
            let guess = Token::new("oakm", id, [n.to_be_bytes()[7]; 32]);
            let answer = market.send(Method::GET, "/api/v1/tokens", Some(guess.text()), None).await;
            if answer.status == 429 {
                assert!(!answer.header("retry-after").is_empty());
            }
            answer.status
        }
    });
    let owner = async {
        let mut asked = 0;
        loop {
            market.get_as_admin("/api/v1/tokens").await.expect(200);
            market.get(ADDONS).await.expect(200);
            asked += 1;
            if asked >= 50 {
                break;
            }
        }
    };
    let guesses = futures_util::stream::iter(guesses).buffer_unordered(16).collect::<Vec<_>>();
    let (statuses, ()) = tokio::join!(guesses, owner);
    let (wrong, waits) = statuses.iter().fold((0, 0), |(wrong, waits), status| match status {
        401 => (wrong + 1, waits),
        429 => (wrong, waits + 1),
        other => panic!("{other}"),
    });
    // 50 at once, and one more each second.
    let most = 50 + begun.elapsed().as_secs() + 1;
    assert!(wrong <= most && waits == number - wrong, "{wrong} of {number} were looked at, {most} may be");
    market.get_as_admin("/api/v1/tokens").await.expect(200);
    println!("{number} guesses in {:?}: {wrong} looked at, {waits} told to wait", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_database_holds_no_token() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), &registry).await;
    let body = serde_json::json!({"account": "ci", "scopes": ["admin"]});
    let made = process.send(Method::POST, "/api/v1/tokens", Some(&body)).await.expect(201).json();
    let tokens = [process.token().to_owned(), made["token"].as_str().unwrap().to_owned()];
    process.kill();
    let mut texts = Vec::new();
    for end in ["", "-wal"] {
        texts.extend(std::fs::read(folder.path().join(format!("marketplace.db{end}"))).unwrap());
    }
    let holds = |text: &str| texts.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("ci") && holds(made["_id"].as_str().unwrap()), "it is the database");
    let mut stolen = Vec::new();
    for token in &tokens {
        let secret = token.splitn(3, '_').nth(2).unwrap();
        assert!(!holds(token) && !holds(secret) && !holds(&secret[..16]), "a token stands in the database");
        let hash = service_kit::auth::TokenHash::of(token).hex();
        assert!(holds(&hash), "its hash does");
        stolen.push(hash);
    }
    // And the hash is no token.
    let process = Process::start(folder.path(), &registry).await;
    for hash in &stolen {
        let request = reqwest::Client::new().get(format!("{}/api/v1/tokens", process.url)).bearer_auth(hash);
        assert_eq!(request.send().await.unwrap().status(), 401);
    }
}
