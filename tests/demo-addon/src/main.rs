//! The container that the demo and the system tests install: one static binary that is all of its image.
//!
//! It serves a page, reports its health, shows what it was given (environment, files, names it can resolve) and fails
//! in the ways that a test asks for. It knows nothing about the platform. There is no shell in its image, so the
//! healthcheck and every other command of a descriptor is this binary again, with another first word.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a container's log is its standard output")]

mod http;
mod serve;

use std::net::ToSocketAddrs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

const USAGE: &str = "\
demo-addon [serve] [--port N] [--unhealthy] [--ignore-term] [--exit CODE] [--after MS]
                     [--unless FILE] [--message TEXT]
demo-addon healthcheck [--port N] [--path /health]
demo-addon exit CODE [--after MS]
demo-addon fetch URL [--tries N]
demo-addon write FILE TEXT
demo-addon read FILE

serve        a page on /, and /health /id /env /fs?path= /write?path=&text= /resolve?name= /fetch?url= /health/off /exit?code=
healthcheck  asks a running `serve` on this host; ends with 0 when it is healthy
--exit       ends by itself, unless that file is there
exit         ends with that code, after that time
fetch        prints what a URL serves; tries again every 200 ms
The port is 8080 unless --port or the variable PORT says otherwise.";

fn main() -> ExitCode {
    // The kernel delivers to process 1 only signals that it handles or has blocked. Blocked before any thread starts,
    // so that all of them inherit it, and waited for on one thread, SIGTERM ends us at once, as process 1 too.
    let stop = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    if let Err(error) = stop.thread_block() {
        eprintln!("demo-addon: cannot block signals: {error}");
        return ExitCode::FAILURE;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words, stop) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("demo-addon: {message}\n{USAGE}");
            ExitCode::from(64)
        }
    }
}

fn run(words: &[String], stop: SigSet) -> Result<ExitCode, String> {
    let (command, rest) = match words.first() {
        Some(first) if !first.starts_with("--") => (first.as_str(), &words[1..]),
        _ => ("serve", words),
    };
    let options = Options::read(rest)?;
    if !options.ignore_term {
        std::thread::spawn(move || {
            // Fails only for an empty or invalid set.
            let signal = stop.wait().map_or("a signal", |signal| signal.as_str());
            println!("stopping on {signal}");
            std::process::exit(0);
        });
    }
    match (command, options.words.as_slice()) {
        ("serve", []) => serve::serve(options).map(|()| ExitCode::SUCCESS),
        ("healthcheck", []) => Ok(healthcheck(&options)),
        ("exit", [code]) => {
            let code: u8 = code.parse().map_err(|_| format!("{code} is no exit code (0 to 255)"))?;
            println!("ending with {code} after {} ms", options.after.as_millis());
            std::thread::sleep(options.after);
            Ok(ExitCode::from(code))
        }
        ("fetch", [url]) => Ok(fetch(url, options.tries)),
        ("write", [file, text]) => done(write_file(Path::new(file), text.as_bytes())),
        ("read", [file]) => done(std::fs::read_to_string(file).map(|text| println!("{text}"))),
        _ => Err(format!("unknown command or wrong number of words: {}", words.join(" "))),
    }
}

fn done(result: std::io::Result<()>) -> Result<ExitCode, String> {
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("demo-addon: {error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn healthcheck(options: &Options) -> ExitCode {
    match http::get(&format!("http://127.0.0.1:{}{}", options.port, options.path)) {
        Ok((200, body)) => {
            println!("{body}");
            ExitCode::SUCCESS
        }
        Ok((status, body)) => {
            println!("{status} {body}");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn fetch(url: &str, tries: u32) -> ExitCode {
    for attempt in 1..=tries {
        match http::get(url) {
            Ok((200, body)) => {
                println!("{body}");
                return ExitCode::SUCCESS;
            }
            Ok((status, _)) => println!("attempt {attempt}: {url} answered {status}"),
            Err(error) => println!("attempt {attempt}: {url}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    ExitCode::FAILURE
}

fn write_file(path: &Path, text: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text)
}

/// The addresses behind a name, as this container's resolver sees it.
fn resolve(name: &str) -> std::io::Result<String> {
    let addresses: Vec<String> =
        (name, 0).to_socket_addrs()?.map(|address| address.ip().to_string()).collect();
    Ok(addresses.join("\n"))
}

/// What the command line asks for; every command reads the options that it knows.
struct Options {
    words: Vec<String>,
    port: u16,
    path: String,
    message: String,
    unhealthy: bool,
    ignore_term: bool,
    exit: Option<u8>,
    unless: Option<String>,
    after: Duration,
    tries: u32,
}

impl Options {
    #[expect(clippy::disallowed_methods, reason = "this program has no configuration but its environment")]
    fn read(words: &[String]) -> Result<Self, String> {
        let mut options = Self {
            words: Vec::new(),
            port: match std::env::var("PORT") {
                Ok(port) => port.parse().map_err(|_| format!("PORT={port} is no port"))?,
                Err(_) => 8080,
            },
            path: "/health".to_owned(),
            message: std::env::var("MESSAGE").unwrap_or_else(|_| "Your addon is up and running".to_owned()),
            unhealthy: false,
            ignore_term: false,
            exit: None,
            unless: None,
            after: Duration::ZERO,
            tries: 1,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            let number = |text: &String| text.parse::<u64>().map_err(|_| format!("{word} {text}: no number"));
            match word.as_str() {
                "--port" => {
                    let text = value()?;
                    options.port = text.parse().map_err(|_| format!("--port {text}: no port"))?;
                }
                "--path" => options.path.clone_from(value()?),
                "--message" => options.message.clone_from(value()?),
                "--unhealthy" => options.unhealthy = true,
                "--ignore-term" => options.ignore_term = true,
                "--exit" => {
                    let text = value()?;
                    options.exit = Some(text.parse().map_err(|_| format!("--exit {text}: no exit code"))?);
                }
                "--unless" => options.unless = Some(value()?.clone()),
                "--after" => options.after = Duration::from_millis(number(value()?)?),
                "--tries" => {
                    let text = value()?;
                    options.tries = text.parse().map_err(|_| format!("--tries {text}: no number"))?;
                }
                option if option.starts_with("--") => return Err(format!("unknown option {option}")),
                other => options.words.push(other.to_owned()),
            }
        }
        Ok(options)
    }
}
