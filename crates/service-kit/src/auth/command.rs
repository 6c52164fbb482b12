//! `token create` of either binary: for the operator on the host, who can open the database.

use std::time::Duration;

use addon_client::TokenRequest;
use anyhow::Context;
use clap::{Args, Subcommand};

use super::{AuthProfile, TokenStore, api};
use crate::clock::SharedClock;

/// `token …` on the command line.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it; it is shown this once. The service may be running.
    ///
    /// As in: token create --account ci --scope publish --names 'mqtt-*' --expires-in-days 90
    Create(CreateToken),
}

/// What `token create` is given.
#[derive(Debug, Args)]
pub struct CreateToken {
    /// Account that the token belongs to; made when it is not there.
    #[arg(long)]
    account: String,
    /// What the token allows, several with commas: read, publish, review, operate, consent or admin, as far as this
    /// service has it. Each includes read, and admin everything.
    #[arg(long = "scope", required = true, value_delimiter = ',')]
    scopes: Vec<String>,
    /// Only for addons of these names; * stands for any characters. The API calls it name_pattern.
    #[arg(long, visible_alias = "name-pattern", value_name = "PATTERN")]
    names: Option<String>,
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
            name_pattern: asked.names,
            expires_at,
        };
        let (token, stored) = api::make(profile, request, now).map_err(|faults| {
            let faults: Vec<String> = faults.into_iter().map(|fault| fault.message).collect();
            anyhow::anyhow!(faults.join("; "))
        })?;
        store.insert(&stored).await.context("the token cannot be stored")?;
        Ok(token.text().to_owned())
    }
}
