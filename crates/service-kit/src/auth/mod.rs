//! Who may do what: tokens of accounts, with scopes. Knows neither service: a service gives its prefix and its scopes.
//!
//! `scope.rs` has the values, `token.rs` a token's text, `store.rs` the SQL, `api.rs` the calls that list, make
//! and revoke tokens, `command.rs` the same for the command line. This file reads the settings, makes the first token and
//! turns an `Authorization` header into a [`Principal`]; `gate.rs`, beside this folder, asks it on each request.

pub mod api;
pub mod command;
mod scope;
pub mod store;
mod token;

pub use api::is_account;
pub use command::TokenCommand;
pub(crate) use command::with_scopes;
pub(crate) use scope::missing_scope;
pub use scope::{Access, NamePattern, Principal, Scope, Scopes};
pub use store::{StoredToken, TokenStore, TokenStoreError};
pub use token::{Token, TokenHash};

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{SharedClock, Timestamp};
use crate::limit::{Rate, WrongTokens};
use crate::problem::Problem;
use crate::random;
use store::FILE_TOKEN_ID;
use token::{Form, MAX_TOKEN};

/// How long an answer of the database about a token is believed: below the second within which a revoked one ends.
const BELIEVED: Duration = Duration::from_millis(700);

/// Most tokens that are remembered at once.
const REMEMBERED: usize = 4_096;

/// Name of the file in the state folder that the first token is written to.
const ADMIN_TOKEN_FILE: &str = "admin-token";

/// Shortest first token that an operator may choose, in characters.
const SHORTEST_CHOSEN: usize = 20;

/// Whether callers need tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// They do.
    #[default]
    Token,
    /// They do not: everyone is an administrator.
    Open,
}

/// `[auth]` of a service's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// Whether callers need tokens.
    pub mode: AuthMode,
    /// With `mode = "open"` on an address other than loopback: yes, the whole network.
    pub allow_open_network: bool,
    /// File whose content is the administrator's token, instead of one that is made.
    pub admin_token_file: Option<PathBuf>,
    /// Whether reads of published things need no token. A service that publishes nothing leaves it out of its defaults, so that it has no
    /// such setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_read: Option<bool>,
    /// How many wrong tokens one address may show.
    pub wrong_tokens: Rate,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            mode: AuthMode::Token,
            allow_open_network: false,
            admin_token_file: None,
            public_read: None,
            wrong_tokens: Rate { burst: 50, interval_ms: 1_000 },
        }
    }
}

/// What a service says about its tokens.
#[derive(Debug, Clone, Copy)]
pub struct AuthProfile {
    /// Begins each of its tokens, as `oakm`.
    pub prefix: &'static str,
    /// The scopes that it knows.
    pub scopes: &'static [Scope],
}

/// Why a service refuses to start.
#[derive(Debug, thiserror::Error)]
pub enum AuthStartError {
    /// Open mode for a whole network was not asked for.
    #[error(
        "auth.mode = \"open\" makes everyone who reaches {address} an administrator: bind to 127.0.0.1 (server.address), \
         or use auth.mode = \"token\", or, where that is meant, set auth.allow_open_network = true"
    )]
    OpenNetwork {
        /// The address that the service would listen on.
        address: IpAddr,
    },
    /// The operator's token cannot be read.
    #[error("the file {} of auth.admin_token_file cannot be read", path.display())]
    ReadToken {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The operator's token is none.
    #[error("the file {} of auth.admin_token_file holds no token: {reason}", path.display())]
    BadToken {
        /// The file.
        path: PathBuf,
        /// What is wrong with its content.
        reason: &'static str,
    },
    /// The first token cannot be written.
    #[error("the administrator's token cannot be written to {}", path.display())]
    WriteToken {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] TokenStoreError),
}

/// Tells who makes a request. Cheap to clone.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

struct Inner {
    profile: AuthProfile,
    open: bool,
    public_read: bool,
    /// Where the operator finds the first token, for messages.
    token_file: PathBuf,
    /// The token in that file, as long as it is good.
    file_token: Mutex<Option<TokenHash>>,
    /// Whether a text of any form may be a token.
    chosen: bool,
    store: TokenStore,
    clock: SharedClock,
    nobody: Principal,
    everyone: Principal,
    known: Mutex<HashMap<TokenHash, Known>>,
    wrong: WrongTokens,
}

#[derive(Clone)]
struct Known {
    principal: Principal,
    expires_at: Option<Timestamp>,
    asked_at: Timestamp,
}

/// What an `Authorization` header says.
#[derive(Debug)]
pub(crate) enum Identity {
    /// There is none: nobody, or everyone in open mode.
    Without(Principal),
    /// A token that is good.
    With(Principal),
    /// Something that is no token that is good.
    Refused(Problem),
    /// A token of which nobody can say at the moment whose it is.
    Unknown(Problem),
}

impl Auth {
    /// Checks the settings against the address that the service listens on, and makes the administrator's token where no
    /// administrator has one.
    pub async fn start(
        profile: AuthProfile,
        settings: &AuthSettings,
        address: IpAddr,
        state_dir: &Path,
        store: TokenStore,
        clock: SharedClock,
    ) -> Result<Self, AuthStartError> {
        let open = settings.mode == AuthMode::Open;
        if open && !address.is_loopback() && !settings.allow_open_network {
            return Err(AuthStartError::OpenNetwork { address });
        }
        let (token_file, file_token) = match &settings.admin_token_file {
            Some(path) => {
                let hash = TokenHash::of(&chosen_token(path, profile.prefix)?);
                store.put(&administrator(FILE_TOKEN_ID, &hash, clock.now())).await?;
                (path.clone(), Some(hash))
            }
            None => {
                let path = state_dir.join(ADMIN_TOKEN_FILE);
                if first_token(profile, &path, &store, clock.now()).await? {
                    tracing::info!(file = %path.display(), "the administrator's token was made");
                }
                let hash = std::fs::read_to_string(&path).ok().map(|text| TokenHash::of(text.trim()));
                let hash = still_good(&store, hash).await?;
                if !open && hash.is_none() {
                    tracing::warn!(
                        file = %path.display(),
                        "an administrator has a token, which is not in this file; `token create` makes another"
                    );
                }
                (path, hash)
            }
        };
        if open {
            tracing::warn!(
                server.address = %address,
                "auth.mode is open: everyone who reaches this service is an administrator of it"
            );
        }
        Ok(Self(Arc::new(Inner {
            profile,
            open,
            public_read: settings.public_read.unwrap_or(true),
            token_file: std::path::absolute(&token_file).unwrap_or(token_file),
            file_token: Mutex::new(file_token),
            chosen: settings.admin_token_file.is_some(),
            store,
            clock,
            nobody: Principal::nobody(),
            everyone: Principal::open(),
            known: Mutex::default(),
            wrong: WrongTokens::new(settings.wrong_tokens),
        })))
    }

    /// Whether everyone is an administrator.
    pub fn is_open(&self) -> bool {
        self.0.open
    }

    /// The tokens.
    pub fn store(&self) -> &TokenStore {
        &self.0.store
    }

    /// What the service says about its tokens.
    pub fn profile(&self) -> AuthProfile {
        self.0.profile
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    pub(crate) fn public_read(&self) -> bool {
        self.0.public_read
    }

    /// A token was revoked: the database is asked anew about every one, that of the file among them.
    pub(crate) async fn revoked(&self) {
        self.known().clear();
        let hash = *self.file_token();
        match still_good(&self.0.store, hash).await {
            Ok(hash) => *self.file_token() = hash,
            // Whoever shows it is told.
            Err(error) => {
                tracing::warn!(error = %error, "whether the token of the file is still good is not known");
            }
        }
    }

    /// Who a caller without an `Authorization` header is.
    pub(crate) fn without(&self) -> Principal {
        if self.0.open { self.0.everyone.clone() } else { self.0.nobody.clone() }
    }

    /// Who sends this `Authorization` header, where that is known without asking the database.
    pub(crate) fn recall(&self, header: &str) -> Result<Identity, TokenHash> {
        let Some(text) = bearer(header) else {
            let refused = self.unauthorized("the Authorization header is not of the form \"Bearer <token>\"");
            return Ok(self.unless_open(Identity::Refused(refused)));
        };
        let form =
            if text.len() > MAX_TOKEN { Form::Damaged } else { token::form(self.0.profile.prefix, text) };
        if form == Form::Damaged || (form == Form::Other && !self.0.chosen) {
            let refused = Identity::Refused(self.unauthorized(match form {
                Form::Damaged => "the token is damaged: its checksum does not fit",
                _ => "this is no token of this service",
            }));
            return Ok(self.unless_open(refused));
        }
        let hash = TokenHash::of(text);
        let now = self.0.clock.now();
        let known = self.known().get(&hash).filter(|known| now.since(known.asked_at) < BELIEVED).cloned();
        // A clock that was set back must not keep a revoked token alive.
        match known.filter(|known| known.asked_at <= now) {
            Some(known) => Ok(self.unless_open(self.judge(&known, now))),
            None => Err(hash),
        }
    }

    /// Asks the database who holds a token.
    pub(crate) async fn look_up(&self, hash: TokenHash) -> Identity {
        let now = self.0.clock.now();
        let stored = match self.0.store.by_hash(&hash).await {
            Ok(stored) => stored,
            // It says nothing of the token.
            Err(fault) => return self.unless_open(Identity::Unknown(fault.into())),
        };
        let Some(stored) = stored else {
            self.known().remove(&hash);
            // Another replica may have revoked it.
            self.file_token().take_if(|of_file| *of_file == hash);
            return self
                .unless_open(Identity::Refused(self.unauthorized("the token is unknown or was revoked")));
        };
        let principal = Principal::token(stored.account, stored.id, stored.scopes, stored.names);
        let known = Known { principal, expires_at: stored.expires_at, asked_at: now };
        let identity = self.judge(&known, now);
        let mut all = self.known();
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(hash, known);
        drop(all);
        self.unless_open(identity)
    }

    /// What is said to an address that shows a token which is not good: 401, or 429 where it does so too often.
    pub(crate) fn bounded(&self, identity: Identity, from: Option<IpAddr>) -> Identity {
        let Identity::Refused(problem) = &identity else { return identity };
        if problem.status() != actix_web::http::StatusCode::UNAUTHORIZED {
            return identity;
        }
        let Some(wait) = from.and_then(|from| self.0.wrong.note(from, self.0.clock.now().millis())) else {
            return identity;
        };
        let detail = format!(
            "too many wrong tokens came from your address: {}. A token that is good passes at any time",
            problem.detail()
        );
        let status = actix_web::http::StatusCode::TOO_MANY_REQUESTS;
        let wait = Duration::from_secs(wait.as_secs().saturating_add(1));
        Identity::Refused(Problem::new(status, "too-many-wrong-tokens", detail).with_retry_after(wait))
    }

    /// Where the administrator's token is, or how one is made where the file's was revoked, as a part of a sentence. True in a container as
    /// well, whose files are not those of its host.
    pub fn whereabouts(&self) -> String {
        if self.file_token().is_none() {
            return "no file of the service holds an administrator's token that is good, and the command `token create --account admin \
                    --scope admin` of its program makes one, on the machine or in the container that it runs in"
                .to_owned();
        }
        let file = self.0.token_file.display();
        format!(
            "the administrator's token is in the file {file} of the machine or container that the service runs in"
        )
    }

    /// 401 that names both ways on: `what` is wrong, here is where the token is, and this is how to do without.
    pub fn unauthorized(&self, what: &str) -> Problem {
        let detail = format!(
            "{what}. Send \"Authorization: Bearer <token>\"; {}. A service that is to ask for no tokens is configured \
             with auth.mode = \"open\"",
            self.whereabouts()
        );
        Problem::new(actix_web::http::StatusCode::UNAUTHORIZED, "unauthorized", detail).with_header(
            actix_web::http::header::WWW_AUTHENTICATE,
            actix_web::http::header::HeaderValue::from_static("Bearer"),
        )
    }

    fn judge(&self, known: &Known, now: Timestamp) -> Identity {
        match known.expires_at {
            Some(end) if end <= now => {
                Identity::Refused(self.unauthorized(&format!("the token ended at {end}")))
            }
            _ if self.0.open => Identity::With(self.0.everyone.clone()),
            _ => Identity::With(known.principal.clone()),
        }
    }

    /// In open mode a token that is not good is as good as none.
    fn unless_open(&self, identity: Identity) -> Identity {
        match identity {
            Identity::Refused(_) | Identity::Unknown(_) if self.0.open => Identity::Without(self.without()),
            other => other,
        }
    }

    fn file_token(&self) -> std::sync::MutexGuard<'_, Option<TokenHash>> {
        self.0.file_token.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<TokenHash, Known>> {
        self.0.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The token, where it is one that the service knows.
async fn still_good(
    store: &TokenStore,
    hash: Option<TokenHash>,
) -> Result<Option<TokenHash>, TokenStoreError> {
    let Some(hash) = hash else { return Ok(None) };
    Ok(store.by_hash(&hash).await?.map(|_| hash))
}

/// Makes the administrator's token and writes it to its file, where no administrator has one. Tells whether it did.
async fn first_token(
    profile: AuthProfile,
    path: &Path,
    store: &TokenStore,
    now: Timestamp,
) -> Result<bool, AuthStartError> {
    // Every start but the first ends here, without a write.
    if store.has_administrator(now).await? {
        return Ok(false);
    }
    let token = Token::new(profile.prefix, random::bytes(), random::bytes());
    let stored = administrator(token.id(), &token.hash(), now);
    let write = async || write_secret(path, token.text());
    let made = store.insert_first(&stored, write).await?;
    made.map_err(|source| AuthStartError::WriteToken { path: path.to_owned(), source })
}

/// The token of an `Authorization` header.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, text) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
}

fn administrator(id: &str, hash: &TokenHash, now: Timestamp) -> StoredToken {
    StoredToken {
        id: id.to_owned(),
        account: store::FIRST_ACCOUNT.to_owned(),
        hash: hash.hex(),
        scopes: [Scope::Admin].into_iter().collect(),
        names: None,
        created_at: now,
        expires_at: None,
    }
}

/// The token that an operator put into a file.
fn chosen_token(path: &Path, prefix: &str) -> Result<String, AuthStartError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| AuthStartError::ReadToken { path: path.to_owned(), source })?;
    let text = text.trim();
    let bad = |reason| Err(AuthStartError::BadToken { path: path.to_owned(), reason });
    if text.len() < SHORTEST_CHOSEN || text.len() > MAX_TOKEN {
        return bad("a token has 20 to 512 characters");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return bad("a token is one line of printable ASCII without blanks");
    }
    if token::form(prefix, text) == Form::Damaged {
        return bad("it begins like a token of this service and its checksum does not fit");
    }
    Ok(text.to_owned())
}

/// Writes a file that only its owner can read: under another name first, so that it is never there half.
fn write_secret(path: &Path, text: &str) -> Result<(), std::io::Error> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let draft = path.with_extension("new");
    match std::fs::remove_file(&draft) {
        Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => return Err(fault),
        _ => (),
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}
