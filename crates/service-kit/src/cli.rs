//! What the command lines of both services share. `main` flattens [`CommonArgs`] into its own.

use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::auth::{AuthProfile, TokenCommand, with_scopes};
use crate::config::ServerSettings;

/// Longest time that a service may take to say whether it is ready.
const HEALTHCHECK_LIMIT: Duration = Duration::from_secs(3);

/// Options that both services have.
#[derive(Debug, Default, Args)]
pub struct CommonArgs {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Show the configuration that results from defaults, file and environment, with secrets hidden, and end.
    #[arg(long)]
    pub print_config: bool,
}

/// Subcommands that both services have.
#[derive(Debug, Subcommand)]
pub enum CommonCommand {
    /// Tokens of this service.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Ask the service that runs here whether it is ready, and end with 0 when it is: for an image's HEALTHCHECK.
    Healthcheck,
}

/// The command line of a service, whose help names the scopes of its tokens. What cannot be read, `--help` and
/// `--version` end the process here, as clap's own `parse` does.
pub fn parse<A: Parser>(profile: &AuthProfile) -> A {
    let matches = with_scopes(A::command(), profile).get_matches();
    A::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Asks the service that runs with these settings on this host whether it is ready.
///
/// # Errors
/// It does not answer within 3 seconds, or says that it is not ready.
pub async fn healthcheck(server: &ServerSettings) -> anyhow::Result<()> {
    let address = match server.address {
        IpAddr::V4(any) if any.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(any) if any.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        address => address,
    };
    let ask = async {
        let mut connection = TcpStream::connect((address, server.port)).await?;
        connection.write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        connection.take(64 * 1024).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(HEALTHCHECK_LIMIT, ask).await;
    let answer = answer.with_context(|| format!("nothing came from {address}:{} within 3 s", server.port))?;
    let answer = answer.with_context(|| format!("{address}:{} does not answer", server.port))?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("not ready: {status}; {}", answer.rsplit("\r\n\r\n").next().unwrap_or_default());
    }
    Ok(())
}

/// Writes what was asked for to standard output: a token, a configuration. Logs go to standard error. A reader that has
/// gone, as `head` goes, has read enough.
///
/// # Errors
/// Standard output cannot be written to, as on a full disk.
pub fn print(text: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    let written = writeln!(output, "{}", text.trim_end()).and_then(|()| output.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
