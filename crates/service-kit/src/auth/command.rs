//! `token create` of either binary: for the operator on the host, who can open the database.

use std::time::Duration;

use addon_client::TokenRequest;
use anyhow::Context;
use clap::{Args, Command, Subcommand};

use super::{AuthProfile, TokenStore, api};
use crate::audit::Actor;
use crate::clock::SharedClock;

/// The id of the argument whose help is the service's own.
const SCOPES: &str = "scopes";

/// A command line with `token create`, whose help names the scopes that this service has.
pub(crate) fn with_scopes(command: Command, profile: &AuthProfile) -> Command {
    let meanings: Vec<String> =
        profile.scopes.iter().map(|scope| format!("{scope}: {}", scope.meaning())).collect();
    let help = format!(
        "What the token allows, several with commas. Each includes read.\n{}",
        meanings.iter().map(|meaning| format!("- {meaning}\n")).collect::<String>()
    );
    let help = help.trim_end().to_owned();
    command.mut_subcommand("token", |token| {
        token.mut_subcommand("create", |create| create.mut_arg(SCOPES, |scopes| scopes.help(help)))
    })
}

/// `token …` on the command line.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it; it is shown this once. The service may be running.
    ///
    /// As in: token create --account ci --scope publish --name-pattern 'mqtt-*' --expires-in-days 90
    Create(CreateToken),
}

/// What `token create` is given.
#[derive(Debug, Args)]
pub struct CreateToken {
    /// Account that the token belongs to; made when it is not there.
    #[arg(long)]
    account: String,
    /// What the token allows, several with commas.
    #[arg(long = "scope", id = SCOPES, required = true, value_delimiter = ',', value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Only for addons of these names; * stands for any characters.
    #[arg(long, alias = "names", value_name = "PATTERN")]
    name_pattern: Option<String>,
    /// Days until the token ends; never without this.
    #[arg(long)]
    expires_in_days: Option<u32>,
}

impl TokenCommand {
    /// Does it, and gives the token's text.
    ///
    /// # Errors
    /// Everything that is wrong with what was asked, or that of the database.
    pub async fn run(
        self,
        profile: &AuthProfile,
        store: &TokenStore,
        clock: &SharedClock,
    ) -> anyhow::Result<String> {
        let Self::Create(asked) = self;
        let now = clock.now();
        let expires_at =
            asked.expires_in_days.map(|days| now + Duration::from_secs(u64::from(days) * 86_400));
        let request = TokenRequest {
            account: asked.account,
            scopes: asked.scopes,
            name_pattern: asked.name_pattern,
            expires_at,
        };
        let (token, stored) = api::make(profile, request, now).map_err(|faults| {
            let faults: Vec<String> = faults.into_iter().map(|fault| fault.message).collect();
            anyhow::anyhow!(faults.join("; "))
        })?;
        store.insert(&stored, &Actor::host()).await.context("the token cannot be stored")?;
        Ok(token.text().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _, Parser};

    use super::*;
    use crate::auth::Scope;
    use crate::cli::CommonCommand;

    #[derive(Debug, Parser)]
    struct Arguments {
        #[command(subcommand)]
        command: CommonCommand,
    }

    const PROFILE: AuthProfile =
        AuthProfile { prefix: "oakt", scopes: &[Scope::Read, Scope::Publish, Scope::Admin] };

    #[test]
    fn the_help_names_the_scopes_of_this_service() {
        let mut command = with_scopes(Arguments::command(), &PROFILE);
        let refused =
            command.try_get_matches_from_mut(["x", "token", "create", "--help"]).unwrap_err().to_string();
        for scope in PROFILE.scopes {
            assert!(refused.contains(&format!("- {scope}: {}", scope.meaning())), "{refused}");
        }
        assert!(!refused.contains("operate") && !refused.contains("--names"), "{refused}");
    }

    #[test]
    fn a_pattern_has_the_name_that_the_api_gives_it_and_its_older_one() {
        for option in ["--name-pattern", "--names"] {
            let line = ["x", "token", "create", "--account", "ci", "--scope", "read,publish", option, "a*"];
            let matches = with_scopes(Arguments::command(), &PROFILE).try_get_matches_from(line).unwrap();
            let CommonCommand::Token(TokenCommand::Create(asked)) =
                Arguments::from_arg_matches(&matches).unwrap().command
            else {
                panic!("not token create")
            };
            assert_eq!((asked.name_pattern.as_deref(), asked.scopes.len()), (Some("a*"), 2));
        }
    }
}
