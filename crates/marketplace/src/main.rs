//! The marketplace's binary: configuration, logs, [`App::build`], run until a signal.

use anyhow::Context as _;
use clap::Parser;
use marketplace::app::{self, App};
use marketplace::config::Config;
use service_kit::auth::TokenStore;
use service_kit::cli::{CommonArgs, CommonCommand, print};
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
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config = Config::load(arguments.common.config.as_deref(), &Environment::process())?;
    if arguments.common.print_config {
        print(&show(&config));
        return Ok(());
    }
    telemetry::init(&config.log)?;
    let clock = SystemClock::shared();
    if let Some(CommonCommand::Token(command)) = arguments.command {
        let storage = app::open(&config).await?;
        let token = command.run(&app::AUTH, &TokenStore::new(storage.db().clone()), &clock).await?;
        print(&token);
        return Ok(());
    }
    let app = App::build(&config, clock).await.context("the marketplace cannot start")?;
    app.run_until_signal().await;
    Ok(())
}
