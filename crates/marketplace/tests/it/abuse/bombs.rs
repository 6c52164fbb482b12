//! Requests and registries that are to use the service up: refused at their limits, in bounded memory, while others are
//! served.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use wiremock::ResponseTemplate;

use crate::market::{ADDONS, document, eventually};
use crate::process::{Process, run};
use crate::registry::{OCI_INDEX, OCI_MANIFEST, Registry, served};

/// The most memory that the process may ever have had.
const MOST: u64 = 256 << 20;

/// Sends a head and then a part again and again, until it was sent so often or nobody takes more; what was answered.
fn pour(url: &str, head: &str, part: &[u8], times: usize) -> String {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let sent = stream.write_all(head.as_bytes());
    let mut left = if sent.is_ok() { times } else { 0 };
    while left > 0 && stream.write_all(part).is_ok() {
        left -= 1;
    }
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).unwrap_or(0);
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_refused_in_bounded_memory_while_others_are_served() {
    let registry = Registry::start().await;
    let image = registry.push("good", "1").await.image;
    let folder = tempfile::tempdir().unwrap();
    let settings = [("MARKETPLACE__VERIFICATION__IDLE_TIMEOUT_MS", "2000")];
    let process = Process::start_with(folder.path(), &registry, &settings).await;
    let good = process.publish(&document("good", &image)).await.expect(201).json();
    process.until(good["_id"].as_str().unwrap(), "approved").await;

    // Registries: many layers, many platforms, a zip of nothing, more than any manifest.
    let layers = |number: usize| -> Vec<u8> {
        let layer = json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": 1,
            "digest": format!("sha256:{}", "0".repeat(64))});
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2,
                "digest": format!("sha256:{}", "0".repeat(64))},
            "layers": vec![layer; number]});
        serde_json::to_vec(&manifest).unwrap()
    };
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).into_bytes();
    let zipped = run(Command::new("sh").args(["-c", "head -c 100000000 /dev/zero | gzip -c"])).stdout;
    assert!(zipped.len() > 10_000, "gzip is there");
    let platforms = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": (0..20_000).map(|n| json!({
        "mediaType": OCI_MANIFEST, "digest": format!("sha256:{n:064x}"), "size": 1,
        "platform": {"os": "linux", "architecture": "amd64"}})).collect::<Vec<_>>()});
    for (name, answer) in [
        ("layers", served(OCI_MANIFEST, &layers(20_000))),
        ("more-layers", served(OCI_MANIFEST, &layers(100_000))),
        ("platforms", served(OCI_INDEX, &serde_json::to_vec(&platforms).unwrap())),
        ("deep", served(OCI_MANIFEST, &deep)),
        (
            "zipped",
            ResponseTemplate::new(200)
                .insert_header("content-encoding", "gzip")
                .set_body_raw(zipped, OCI_MANIFEST),
        ),
        ("huge", served(OCI_MANIFEST, &vec![b' '; 100 << 20])),
    ] {
        registry.serve(&format!("/v2/{name}/manifests/1"), answer, 50).await;
        let release =
            process.publish(&document(name, &registry.image(&format!("{name}:1")))).await.expect(201).json();
        let id = release["_id"].as_str().unwrap();
        if name == "zipped" {
            // What comes in an encoding that nobody asked for is no answer, and nothing is unpacked.
            eventually("it is told", || async {
                let reason = process.release(id).await["reason"].to_string();
                reason.contains("an encoding that it was not asked for").then_some(())
            })
            .await;
        } else {
            process.until(id, "verification_failed").await;
        }
        if name == "huge" {
            let reason = process.release(id).await["reason"].to_string();
            assert!(reason.contains("answers with more than"), "{reason}");
        }
    }
    assert!(process.peak() < MOST, "{} MiB after registries", process.peak() >> 20);

    // Requests.
    let host = "Host: 127.0.0.1\r\nContent-Type: application/json\r\n";
    let url = process.url.clone();
    let part = vec![b' '; 1 << 20];
    let bombs: Vec<(&str, String, Vec<u8>, usize)> = vec![
        (
            "a hundred MB",
            format!("POST /api/v1/marketplace/validate HTTP/1.1\r\n{host}Content-Length: 104857600\r\n\r\n"),
            part.clone(),
            100,
        ),
        (
            "no end",
            format!("POST /api/v1/marketplace/validate HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n"),
            [b"100000\r\n", part.as_slice(), b"\r\n"].concat(),
            200,
        ),
        ("many headers", format!("GET /healthz HTTP/1.1\r\n{host}"), b"X-Bomb: bomb\r\n".to_vec(), 65_536),
        ("a long header", format!("GET /healthz HTTP/1.1\r\n{host}X-Bomb: "), vec![b'a'; 65_536], 256),
        ("a long path", "GET /".to_owned(), vec![b'a'; 65_536], 256),
        (
            "no end of chunks of one byte",
            format!("POST /api/v1/marketplace/validate HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n"),
            b"1\r\n \r\n".repeat(1000),
            1000,
        ),
    ];
    let pouring = tokio::task::spawn_blocking(move || {
        for (what, head, part, times) in bombs {
            let answer = pour(&url, &head, &part, times);
            let status = answer.get(9..12).and_then(|status| status.parse::<u16>().ok());
            assert!(status.is_none_or(|status| (400..500).contains(&status)), "{what}: {answer}");
        }
    });
    let mut slowest = Duration::ZERO;
    let mut served = 0;
    while !pouring.is_finished() {
        let asked = Instant::now();
        process.get(&format!("{ADDONS}?limit=10")).await.expect(200);
        slowest = slowest.max(asked.elapsed());
        served += 1;
    }
    pouring.await.unwrap();
    assert!(served > 10 && slowest < Duration::from_secs(1), "{served} were served, one in {slowest:?}");

    // Bodies within the limit of bytes that are much to read.
    let nested =
        |open: &str, close: &str, depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    let keys = |number: usize| {
        let keys: Vec<String> = (0..number).map(|n| format!("\"{n}\":0")).collect();
        format!("{{{}}}", keys.join(","))
    };
    let name = format!("{{\"name\":\"{}\"}}", "a".repeat(250_000));
    let services = format!("{{\"name\":\"a\",\"services\":[{}]}}", vec!["{}"; 80_000].join(","));
    for body in [
        nested("[", "]", 100_000),
        nested("{\"a\":", "}", 40_000),
        nested("{\"services\":[", "]}", 15_000),
        keys(25_000),
        name,
        services,
        format!("{{\"name\": 1{}}}", "0".repeat(200_000)),
        format!("{{\"a\":\"{}\"}}", "\\u0000".repeat(40_000)),
    ] {
        for path in [ADDONS, "/api/v1/tokens", "/api/v1/marketplace/by-name/good/owners"] {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let request = client.post(format!("{}{path}", process.url)).bearer_auth(process.token());
            let asked = Instant::now();
            let answer =
                request.header("content-type", "application/json").body(body.clone()).send().await.unwrap();
            let status = answer.status().as_u16();
            assert!((400..500).contains(&status), "{path}: {status}: {}…", &body[..40]);
            assert!(answer.bytes().await.unwrap().len() < 1 << 20, "what is answered is bounded too");
            assert!(asked.elapsed() < Duration::from_secs(5), "{:?}: {}…", asked.elapsed(), &body[..40]);
        }
    }
    let many = keys(1_000_000);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("{}{ADDONS}", process.url)).bearer_auth(process.token());
    // The service does not read to the end what it refuses, so the answer may be cut off with the connection.
    if let Ok(answer) = request.header("content-type", "application/json").body(many).send().await {
        assert_eq!(answer.status(), 413);
    }
    let request = client.post(format!("{}{ADDONS}", process.url)).bearer_auth(process.token());
    let zipped = request.header("content-type", "application/json").header("content-encoding", "gzip");
    assert_eq!(zipped.body("x").send().await.unwrap().status(), 415);
    let long = process.send(Method::GET, &format!("{ADDONS}/{}", "a".repeat(20_000)), None).await;
    assert!([404, 414].contains(&long.status), "{long:?}");
    let peak = process.peak();
    assert!(peak < MOST, "{} MiB", peak >> 20);
    println!("the most memory was {} MiB, the slowest of {served} others took {slowest:?}", peak >> 20);
}

/// Connections that ask for these and read the beginning of the answers.
fn hang(url: &str, paths: impl Iterator<Item = String>) -> Vec<TcpStream> {
    let ask = |path: String| {
        let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    };
    let mut asked: Vec<TcpStream> = paths.map(ask).collect();
    for stream in &mut asked {
        stream.read_exact(&mut [0; 100]).unwrap();
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn long_documents_that_are_read_slowly_take_no_memory_without_end() {
    const VERSIONS: usize = 40;
    let registry = Registry::start().await;
    let image = registry.push("good", "1").await.image;
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start_with(folder.path(), &registry, &[]).await;
    let mut ids = Vec::new();
    for version in 0..VERSIONS {
        let mut document = document("long", &image);
        document["version"] = format!("1.0.{version}").into();
        document["readme"] = "x".repeat(130_000).into();
        ids.push(process.publish(&document).await.expect(201).json()["_id"].as_str().unwrap().to_owned());
    }
    for id in &ids {
        process.until(id, "approved").await;
    }

    let before = process.peak();
    let all = format!("{ADDONS}?name=long&all_versions=true&limit=100");
    let by_name = "/api/v1/marketplace/by-name/long?limit=100".to_owned();
    let url = process.url.clone();
    let hanging = tokio::task::spawn_blocking(move || {
        let paths =
            [all, by_name, format!("{ADDONS}?name=long"), format!("{ADDONS}?q=long&all_versions=true")];
        hang(&url, paths.into_iter().cycle().take(160))
    });
    let hanging = hanging.await.unwrap();
    let more = process.peak().saturating_sub(before);
    assert!(more < 128 << 20, "{} MiB more for {} connections", more >> 20, hanging.len());
    process.get("/readyz").await.expect(200);
    process.get(&format!("{ADDONS}?limit=0")).await.expect(400);
    drop(hanging);

    // Whoever follows the links has every one of them, once and in order.
    for first in [
        "/api/v1/marketplace/by-name/long?limit=100",
        &format!("{ADDONS}?name=long&all_versions=true&limit=100"),
        &format!("{ADDONS}?q=long&all_versions=true&limit=100"),
    ] {
        let (mut found, mut parts, mut next) = (Vec::new(), 0, Some(first.to_owned()));
        while let Some(path) = next {
            let answer = eventually("there is room again", || async {
                let answer = process.get(&path).await;
                (answer.status == 200).then_some(answer)
            })
            .await;
            let releases = answer.json();
            assert!(answer.text.len() < 600 << 10, "{}", answer.text.len());
            found.extend(releases.as_array().unwrap().iter().map(|release| release["version"].to_string()));
            parts += 1;
            let link = answer.header("link").trim_start_matches('<').split('>').next().unwrap();
            next = (!link.is_empty()).then(|| link.to_owned());
        }
        let versions = (0..VERSIONS).map(|version| format!("\"1.0.{version}\""));
        let wanted: Vec<String> = match first.contains("by-name") {
            true => versions.rev().collect(),
            false => versions.collect(),
        };
        assert_eq!(found, wanted, "{first}");
        assert!(parts > VERSIONS / 4, "{parts} parts");
    }
}
