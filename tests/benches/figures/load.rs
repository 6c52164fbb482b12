//! Load over HTTP: connections that are kept, each with one request under way. It reads as little of an answer as it can, so that the
//! machine is left to what is measured.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its figures go to its parent")]

use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Connections at once.
const CONNECTIONS: usize = 32;

/// Answers to `GET`s of these paths, over and over, for this time: how many a second.
pub(crate) fn get(port: u16, paths: &[String], time: Duration) -> anyhow::Result<f64> {
    let list = tempfile::NamedTempFile::new()?;
    std::fs::write(list.path(), paths.join("\n"))?;
    run(&["get", &port.to_string(), &time.as_millis().to_string(), path_of(&list)?])
}

/// `POST`s of these bodies to a path, once each: how many a second.
pub(crate) fn post(port: u16, path: &str, token: &str, bodies: &[String]) -> anyhow::Result<f64> {
    let list = tempfile::NamedTempFile::new()?;
    std::fs::write(list.path(), bodies.join("\n"))?;
    run(&["post", &port.to_string(), path, token, path_of(&list)?])
}

fn path_of(file: &tempfile::NamedTempFile) -> anyhow::Result<&str> {
    file.path().to_str().context("a path of ours is UTF-8")
}

fn run(words: &[&str]) -> anyhow::Result<f64> {
    let output = Command::new(std::env::current_exe()?).arg("load").args(words).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "the load failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text.trim().parse()?)
}

/// The process that makes the load.
pub(crate) fn main(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let rate = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(load(&words)));
    match rate {
        Ok(rate) => {
            println!("{rate}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn load(words: &[&str]) -> anyhow::Result<f64> {
    let (port, requests, time) = match words {
        ["get", port, time, list] => {
            let head =
                |path: &str| format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").into_bytes();
            let requests: Vec<Vec<u8>> = std::fs::read_to_string(list)?.lines().map(head).collect();
            (port, requests, Some(Duration::from_millis(time.parse()?)))
        }
        ["post", port, path, token, list] => {
            let whole = |body: &str| {
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\
                     Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                head.into_bytes()
            };
            let requests: Vec<Vec<u8>> = std::fs::read_to_string(list)?.lines().map(whole).collect();
            (port, requests, None)
        }
        _ => bail!("unknown load {words:?}"),
    };
    let port: u16 = port.parse()?;
    let (requests, next) = (Arc::new(requests), Arc::new(AtomicUsize::new(0)));
    let begun = Instant::now();
    let connections = (0..CONNECTIONS).map(|_| {
        let (requests, next) = (Arc::clone(&requests), Arc::clone(&next));
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            let mut buffer = Vec::with_capacity(1 << 20);
            let mut answered = 0_u64;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let over = match time {
                    Some(time) => begun.elapsed() >= time,
                    None => number >= requests.len(),
                };
                if over {
                    return anyhow::Ok(answered);
                }
                stream.write_all(&requests[number % requests.len()]).await?;
                answer(&mut stream, &mut buffer).await?;
                answered += 1;
            }
        })
    });
    let mut answered = 0;
    for connection in connections.collect::<Vec<_>>() {
        answered += connection.await??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a few million at most")]
    let answered = answered as f64;
    Ok(answered / begun.elapsed().as_secs_f64())
}

/// Reads one answer to its end; anything but success is an error.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    buffer.clear();
    let head = loop {
        ensure!(stream.read_buf(buffer).await? > 0, "the connection was closed");
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = std::str::from_utf8(&buffer[..head])?;
    ensure!(text.starts_with("HTTP/1.1 2"), "{text}");
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let length = length.context("an answer has a length")??;
    while buffer.len() < head + length {
        ensure!(stream.read_buf(buffer).await? > 0, "the connection was closed");
    }
    Ok(())
}
