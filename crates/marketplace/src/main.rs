//! The marketplace's binary: configuration, logs, [`App::build`], run until a signal.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use marketplace::app::{self, App};
use marketplace::backup::{backup, restore};
use marketplace::chain::AuditCommand;
use marketplace::config::Config;
use marketplace::trust::KeysCommand;
use service_kit::auth::TokenStore;
use service_kit::cli::{CommonArgs, CommonCommand, healthcheck, parse, print};
use service_kit::clock::SystemClock;
use service_kit::config::{Environment, show};
use service_kit::memory::{LARGE_GOES_BACK, ONE_PLACE, settle};
use service_kit::telemetry;

/// Publishes, verifies, reviews and serves releases of addons.
#[derive(Debug, Parser)]
#[command(name = "marketplace", version, about)]
struct Arguments {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Common(CommonCommand),
    /// The keys that the index and the revocations are signed with. The service may be running.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// The audit log. The service may be running.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Write the SQLite database to a file that is not there yet. The service may be running.
    Backup {
        /// The file.
        file: PathBuf,
    },
    /// Make a backup the database of a state folder that has none. The service must not be running.
    Restore {
        /// The backup.
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments: Arguments = parse(&app::AUTH);
    let environment = Environment::process();
    if arguments.command.is_none() {
        settle(&[&[ONE_PLACE][..], &LARGE_GOES_BACK].concat(), &environment);
    }
    match run(arguments, &environment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Logging may not be set up yet, and whoever started this reads standard error.
            _ = writeln!(std::io::stderr(), "marketplace: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: Arguments, environment: &Environment) -> anyhow::Result<()> {
    let config = Config::load(arguments.common.config.as_deref(), environment)?;
    if arguments.common.print_config {
        print(&show(&config))?;
        return Ok(());
    }
    let clock = SystemClock::shared();
    match arguments.command {
        None => (),
        Some(Command::Common(CommonCommand::Healthcheck)) => return healthcheck(&config.server).await,
        Some(Command::Keys(command)) => {
            let storage = app::open(&config).await?;
            print(&command.run(&storage, &clock, &config.key_file()).await?)?;
            storage.db().close().await;
            return Ok(());
        }
        Some(Command::Common(CommonCommand::Token(command))) => {
            let storage = app::open(&config).await?;
            let tokens = TokenStore::audited(storage.db().clone());
            print(&command.run(&app::AUTH, &tokens, &clock).await?)?;
            storage.db().close().await;
            return Ok(());
        }
        Some(Command::Audit(command)) => {
            let storage = app::open(&config).await?;
            let said = command.run(&storage).await;
            storage.db().close().await;
            return Ok(print(&said?)?);
        }
        Some(Command::Backup { file }) => {
            let bytes = backup(&config, &file).await?;
            return Ok(print(&format!("{bytes} bytes in {}", file.display()))?);
        }
        Some(Command::Restore { file }) => {
            let bytes = restore(&config, &file).await?;
            return Ok(print(&format!("{bytes} bytes restored from {}", file.display()))?);
        }
    }
    telemetry::init(&config.log)?;
    App::build(&config, clock).await?.run_until_signal().await;
    Ok(())
}
