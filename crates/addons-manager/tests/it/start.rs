//! Starting and stopping: the state folder, the lock, an engine and a marketplace that are away, and what outlives a stop.

use std::time::{Duration, Instant};

use addons_manager::app::AppError;
use addons_manager::runtime::memory::MemoryRuntime;
use serde_json::json;
use service_kit::clock::SystemClock;

use crate::manager::{Manager, addon, build, config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_and_serves_while_engine_and_marketplace_are_away() {
    let folder = tempfile::tempdir().unwrap();
    let engine = MemoryRuntime::new(SystemClock::shared());
    engine.set_away(true);
    let app = build(&config("http://127.0.0.1:9"), folder.path(), &engine).await.unwrap();
    let ready = reqwest::get(format!("{}/readyz", app.url())).await.unwrap();
    assert_eq!(ready.status(), 200);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_manager_on_the_same_state_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = MemoryRuntime::new(SystemClock::shared());
    let first = build(&config("http://127.0.0.1:9"), folder.path(), &engine).await.unwrap();
    let Err(AppError::State(refused)) = build(&config("http://127.0.0.1:9"), folder.path(), &engine).await
    else {
        panic!("it started")
    };
    assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
    first.stop().await;
    build(&config("http://127.0.0.1:9"), folder.path(), &engine).await.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_said_and_the_state_is_free_again() {
    let folder = tempfile::tempdir().unwrap();
    let engine = MemoryRuntime::new(SystemClock::shared());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut busy = config("http://127.0.0.1:9");
    busy.server.0.port = taken.local_addr().unwrap().port();
    let Err(refused) = build(&busy, folder.path(), &engine).await else { panic!("it started") };
    assert!(refused.to_string().contains("server.port"), "{refused}");
    build(&config("http://127.0.0.1:9"), folder.path(), &engine).await.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_mode_on_the_network_has_to_be_meant() {
    let folder = tempfile::tempdir().unwrap();
    let engine = MemoryRuntime::new(SystemClock::shared());
    let mut open = config("http://127.0.0.1:9");
    open.auth.mode = service_kit::auth::AuthMode::Open;
    open.server.0.address = "0.0.0.0".parse().unwrap();
    let Err(refused) = build(&open, folder.path(), &engine).await else { panic!("it started") };
    assert!(refused.to_string().contains("auth.allow_open_network"), "{refused}");
    open.auth.allow_open_network = true;
    let app = build(&open, folder.path(), &engine).await.unwrap();
    assert_eq!(
        reqwest::get(format!("{}/api/v1/addons", app.url())).await.unwrap().status(),
        200,
        "without a token"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_quick_and_leaves_every_addon_running() {
    let manager = Manager::start().await;
    let id = manager.installed(addon("shop", json!({}))).await;
    manager.until(&id, "active").await;
    let before = manager.engine.by_name("shop-web").unwrap();
    let Manager { app, engine, config, folder, market, .. } = manager;
    let begun = Instant::now();
    app.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(engine.by_name("shop-web").unwrap(), before);

    let app = build(&config, &folder.path().join("state"), &engine).await.unwrap();
    let token = std::fs::read_to_string(folder.path().join("state/admin-token")).unwrap();
    let url = format!("{}/api/v1/addons/{id}", app.url());
    let answer = reqwest::Client::new().get(url).bearer_auth(token.trim()).send().await.unwrap();
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["status"], "active", "it knows what it had");
    assert_eq!(engine.by_name("shop-web").unwrap().listed.id, before.listed.id);
    app.stop().await;
    drop(market);
}
