//! The marketplace's binary: configuration, logs, [`App::build`], run until a signal.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use marketplace::app::{self, App};
use marketplace::config::Config;
use service_kit::auth::TokenStore;
use service_kit::cli::{CommonArgs, CommonCommand, healthcheck, parse, print};
use service_kit::clock::SystemClock;
use service_kit::config::{Environment, show};
use service_kit::telemetry;

/// Publishes, verifies, reviews and serves releases of addons.
#[derive(Debug, Parser)]
#[command(name = "marketplace", version, about)]
struct Arguments {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<CommonCommand>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(parse(&app::AUTH)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Logging may not be set up yet, and whoever started this reads standard error.
            _ = writeln!(std::io::stderr(), "marketplace: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = Config::load(arguments.common.config.as_deref(), &Environment::process())?;
    if arguments.common.print_config {
        print(&show(&config))?;
        return Ok(());
    }
    if let Some(CommonCommand::Healthcheck) = arguments.command {
        return healthcheck(&config.server).await;
    }
    let clock = SystemClock::shared();
    if let Some(CommonCommand::Token(command)) = arguments.command {
        let storage = app::open(&config).await?;
        print(&command.run(&app::AUTH, &TokenStore::new(storage.db().clone()), &clock).await?)?;
        storage.db().close().await;
        return Ok(());
    }
    telemetry::init(&config.log)?;
    App::build(&config, clock).await?.run_until_signal().await;
    Ok(())
}
