//! The server: what each path answers, and the failures it plays on request.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::http::{self, Request};
use crate::{Options, resolve, write_file};

struct Server {
    message: String,
    host: String,
    started: Instant,
    healthy: AtomicBool,
    served: AtomicU64,
}

/// Serves until the process ends. The error says why it could not begin.
pub(crate) fn serve(options: Options) -> Result<(), String> {
    let listener =
        listen(options.port).map_err(|error| format!("cannot listen on port {}: {error}", options.port))?;
    println!("serving on port {}", options.port);
    let reprieve = options.unless.is_some_and(|file| Path::new(&file).exists());
    if let Some(code) = options.exit.filter(|_| !reprieve) {
        std::thread::spawn(move || {
            std::thread::sleep(options.after);
            println!("ending with {code}, as asked");
            std::process::exit(i32::from(code));
        });
    }
    let server = Arc::new(Server {
        message: options.message,
        host: std::fs::read_to_string("/etc/hostname")
            .map_or_else(|_| "unknown".into(), |name| name.trim().into()),
        started: Instant::now(),
        healthy: AtomicBool::new(!options.unhealthy),
        served: AtomicU64::new(0),
    });
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let server = Arc::clone(&server);
        std::thread::spawn(move || {
            // A peer that went away in the middle is its own affair.
            let _gone = server.answer(&stream);
        });
    }
    Ok(())
}

/// Both families where the kernel has both; an engine without IPv6 leaves only the other one.
fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))
}

impl Server {
    fn answer(&self, stream: &TcpStream) -> io::Result<()> {
        let Some(request) = Request::read(stream)? else { return Ok(()) };
        let text = |status, body: &str| http::answer(stream, status, "text/plain", body);
        let result = |result: io::Result<String>| match result {
            Ok(body) => text(200, &body),
            Err(error) => text(404, &error.to_string()),
        };
        match request.path.as_str() {
            "/" => http::answer(stream, 200, "text/html", &self.page()),
            "/health" if self.healthy.load(Ordering::Relaxed) => text(200, "healthy"),
            "/health" => text(503, "unhealthy, as asked"),
            "/health/off" => {
                self.healthy.store(false, Ordering::Relaxed);
                text(200, "unhealthy from now on")
            }
            "/id" => text(200, &self.host),
            "/env" => text(200, &environment()),
            "/fs" => result(std::fs::read_to_string(request.value("path"))),
            "/write" => {
                let (path, body) = (request.value("path"), request.value("text"));
                result(
                    write_file(Path::new(path), body.as_bytes())
                        .map(|()| format!("{} bytes written", body.len())),
                )
            }
            "/resolve" => result(resolve(request.value("name"))),
            "/fetch" => {
                result(http::get(request.value("url")).map(|(status, body)| format!("{status} {body}")))
            }
            "/exit" => {
                let code = request.value("code").parse().unwrap_or(1);
                text(200, "bye")?;
                println!("ending with {code}, as asked by a request");
                std::process::exit(code)
            }
            other => text(404, &format!("nothing at {other}")),
        }
    }

    fn page(&self) -> String {
        let served = self.served.fetch_add(1, Ordering::Relaxed) + 1;
        include_str!("page.html")
            .replace("{{host}}", &http::escape(&self.host))
            .replace("{{message}}", &http::escape(&self.message))
            .replace("{{uptime}}", &self.started.elapsed().as_secs().to_string())
            .replace("{{served}}", &served.to_string())
    }
}

fn environment() -> String {
    let mut lines: Vec<String> = std::env::vars_os()
        .map(|(key, value)| format!("{}={}", key.to_string_lossy(), value.to_string_lossy()))
        .collect();
    lines.sort();
    lines.join("\n")
}
