//! What the command lines of both services share. `main` flattens [`CommonArgs`] into its own.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::auth::TokenCommand;

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
}

/// Writes what was asked for to standard output: a token, a configuration. Logs go to standard error.
#[expect(clippy::print_stdout, reason = "this is the one place")]
pub fn print(text: &str) {
    println!("{}", text.trim_end());
}
