//! The `healthcheck` of the command line, against a service, against none, and against one that says nothing.

use std::net::{IpAddr, SocketAddr};

use service_kit::cli::healthcheck;
use service_kit::config::ServerSettings;
use tokio::net::TcpListener;

use crate::service::{Example, Options};

async fn ask(address: SocketAddr) -> Result<(), String> {
    let settings = ServerSettings { address: address.ip(), ..ServerSettings::on_port(address.port()) };
    healthcheck(&settings).await.map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn a_service_that_is_ready_is_healthy() {
    let example = Example::start().await;
    ask(example.address).await.unwrap();
    // One that listens everywhere is asked on this machine.
    let everywhere: IpAddr = "0.0.0.0".parse().unwrap();
    ask(SocketAddr::new(everywhere, example.address.port())).await.unwrap();
}

#[tokio::test]
async fn a_service_that_is_not_ready_is_not_and_says_why() {
    let options = Options { ready: Err("the things are away".to_owned()), ..Options::default() };
    let example = Example::start_with(options).await.unwrap();
    let said = ask(example.address).await.unwrap_err();
    assert!(said.contains("503") && said.contains("the things are away"), "{said}");
}

#[tokio::test]
async fn where_nothing_listens_nothing_is_healthy() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let said = ask(address).await.unwrap_err();
    assert!(said.contains(&format!("{address} does not answer")), "{said}");
}

#[tokio::test]
async fn a_service_that_hangs_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let said = ask(listener.local_addr().unwrap()).await.unwrap_err();
    assert!(said.contains("within 3 s"), "{said}");
}

#[tokio::test]
async fn another_program_at_the_port_is_not_the_service() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let other = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut connection, b"SSH-2.0-x\r\n").await.unwrap();
    });
    let said = ask(address).await.unwrap_err();
    assert!(said.contains("SSH-2.0-x") || said.contains("does not answer"), "{said}");
    other.await.unwrap();
}
