//! The calls that both services have for their tokens.

use reqwest::Method;

use super::ClientError;
use super::transport::Transport;
use crate::{CreatedToken, TokenRequest, TokenView};

const TOKENS: [&str; 3] = ["api", "v1", "tokens"];

impl Transport {
    pub(super) async fn tokens(&self) -> Result<Vec<TokenView>, ClientError> {
        self.read(self.url(&TOKENS)).await
    }

    pub(super) async fn create_token(&self, body: &TokenRequest) -> Result<CreatedToken, ClientError> {
        self.send(Method::POST, self.url(&TOKENS), body).await
    }

    pub(super) async fn revoke_token(&self, id: &str) -> Result<bool, ClientError> {
        self.remove(self.url_of(&TOKENS, id, &[])).await
    }
}
