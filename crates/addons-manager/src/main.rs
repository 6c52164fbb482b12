//! Configuration, logging, `App::build`, and run until a signal: nothing else.

use std::process::ExitCode;

use addons_manager::app::{AUTH, App, Parts, state_dir};
use addons_manager::config::{Config, PROFILE};
use addons_manager::state::database_in;
use addons_manager::storage::Storage;
use anyhow::Context as _;
use clap::Parser;
use service_kit::auth::TokenStore;
use service_kit::cli::{CommonArgs, CommonCommand, healthcheck, parse, print};
use service_kit::clock::SystemClock;
use service_kit::config::{Environment, load, prepare_state_dir, show};
use service_kit::memory::{ONE_PLACE, settle};
use service_kit::telemetry;

/// Installs approved addons onto the local container engine and keeps them as they should be.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<CommonCommand>,
}

fn main() -> ExitCode {
    let arguments: Arguments = parse(&AUTH);
    let environment = Environment::process();
    if arguments.command.is_none() {
        settle(&[ONE_PLACE], &environment);
    }
    match start(arguments, &environment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Logging may not be set up yet, and whoever started this reads standard error.
            use std::io::Write as _;
            _ = writeln!(std::io::stderr(), "addons-manager: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn start(arguments: Arguments, environment: &Environment) -> anyhow::Result<()> {
    let config: Config = load(&PROFILE, arguments.common.config.as_deref(), environment)?;
    if arguments.common.print_config {
        print(&show(&config))?;
        return Ok(());
    }
    if let Some(CommonCommand::Healthcheck) = arguments.command {
        return healthcheck(&config.server.0).await;
    }
    let folder = state_dir(&config, environment);
    let clock = SystemClock::shared();
    if let Some(CommonCommand::Token(command)) = arguments.command {
        prepare_state_dir(&folder)
            .with_context(|| format!("the state folder {} cannot be made", folder.display()))?;
        let storage = Storage::open(&database_in(&folder)).await?;
        print(&command.run(&AUTH, &TokenStore::audited(storage.db().clone()), &clock).await?)?;
        storage.close().await;
        return Ok(());
    }
    telemetry::init(&config.log)?;
    let parts = Parts::docker(&config, clock)?;
    let app = App::build(&config, &folder, parts).await?;
    app.run_until_signal().await;
    Ok(())
}
