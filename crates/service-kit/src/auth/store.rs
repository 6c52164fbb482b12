//! Accounts and tokens in the database: all SQL of them.
//!
//! The tables stand in each service's first migration, with this text (the same on both databases):
//!
//! ```sql
//! CREATE TABLE accounts (
//!     name TEXT NOT NULL PRIMARY KEY,
//!     created_at_ms BIGINT NOT NULL
//! );
//! CREATE TABLE tokens (
//!     id TEXT NOT NULL PRIMARY KEY,
//!     account TEXT NOT NULL REFERENCES accounts (name),
//!     hash TEXT NOT NULL UNIQUE,
//!     scopes TEXT NOT NULL,
//!     name_pattern TEXT,
//!     created_at_ms BIGINT NOT NULL,
//!     expires_at_ms BIGINT
//! );
//! ```
//! `hash` is the SHA-256 of the token's text in hex, `scopes` a space-separated list.

use serde_json::json;
use sqlx::FromRow;

use super::scope::{NamePattern, Scopes};
use super::token::TokenHash;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::db::Db;
use crate::problem::{Finding, Problem};
use crate::{read, write_tx};

/// The tables that a service's first migration has: what is said above, for tests and checks.
pub const TABLES: &str = "
CREATE TABLE accounts (
    name TEXT NOT NULL PRIMARY KEY,
    created_at_ms BIGINT NOT NULL
);
CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL REFERENCES accounts (name),
    hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    name_pattern TEXT,
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT
);
";

/// A token as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// Its id.
    pub id: String,
    /// The account that it belongs to.
    pub account: String,
    /// SHA-256 of its text, in hex.
    pub hash: String,
    /// What it allows.
    pub scopes: Scopes,
    /// The names that it is good for; all without one.
    pub names: Option<NamePattern>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// The database failed, or holds something that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum TokenStoreError {
    /// The database failed.
    #[error("the database failed at the tokens")]
    Database(#[from] sqlx::Error),
    /// Another account has this name but for its case: whoever reads them would take one for the other.
    #[error(
        "there is an account {existing:?} already: names that differ only in case are not told apart, so write it like that"
    )]
    OtherCase {
        /// The account as it is there.
        existing: String,
    },
    /// A row that no version of this program writes.
    #[error("the row {id:?} of the table tokens makes no sense")]
    Corrupt {
        /// The row.
        id: String,
    },
}

impl From<TokenStoreError> for Problem {
    fn from(fault: TokenStoreError) -> Self {
        match &fault {
            TokenStoreError::Database(cause) => Self::database(cause).with_source(fault),
            TokenStoreError::OtherCase { existing } => {
                let finding = Finding {
                    path: "/account".to_owned(),
                    rule: "account-case".to_owned(),
                    message: fault.to_string(),
                    suggestion: Some(existing.clone()),
                    line: None,
                    column: None,
                };
                Self::conflict("account-case", fault.to_string()).with_errors([finding])
            }
            TokenStoreError::Corrupt { .. } => Self::internal(fault),
        }
    }
}

#[derive(FromRow)]
struct Row {
    id: String,
    account: String,
    hash: String,
    scopes: String,
    name_pattern: Option<String>,
    created_at_ms: i64,
    expires_at_ms: Option<i64>,
}

impl TryFrom<Row> for StoredToken {
    type Error = TokenStoreError;

    fn try_from(row: Row) -> Result<Self, TokenStoreError> {
        let names = match row.name_pattern.as_deref().map(NamePattern::new) {
            // Without its pattern the token would be good for every name.
            Some(None) => return Err(TokenStoreError::Corrupt { id: row.id }),
            Some(names) => names,
            None => None,
        };
        Ok(Self {
            id: row.id,
            account: row.account,
            hash: row.hash,
            scopes: Scopes::from_stored(&row.scopes),
            names,
            created_at: Timestamp::from_millis(row.created_at_ms),
            expires_at: row.expires_at_ms.map(Timestamp::from_millis),
        })
    }
}

/// The account that the first start makes.
pub const FIRST_ACCOUNT: &str = "admin";

/// Id of the token whose text an operator keeps in a file.
pub(super) const FILE_TOKEN_ID: &str = "admin-token-file";

/// Counts the administrators' tokens that are good at `$1` and for every name. `$2` is the token of a file that is
/// not configured any more: nobody can rely on it.
const ADMINISTRATORS: &str = "SELECT COUNT(*) FROM tokens
     WHERE ' ' || scopes || ' ' LIKE '% admin %' AND name_pattern IS NULL
       AND (expires_at_ms IS NULL OR expires_at_ms > $1) AND id <> $2";

/// Makes account `$1`, where it is not there.
const ADD_ACCOUNT: &str =
    "INSERT INTO accounts (name, created_at_ms) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";

/// The tokens of a service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TokenStore {
    db: Db,
    audited: bool,
}

impl TokenStore {
    /// The tokens in this database.
    pub fn new(db: Db) -> Self {
        Self { db, audited: false }
    }

    /// The tokens in a database that has an audit log: each change of them writes its row there.
    pub fn audited(db: Db) -> Self {
        Self { db, audited: true }
    }

    /// The token with this hash, expired or not.
    pub async fn by_hash(&self, hash: &TokenHash) -> Result<Option<StoredToken>, TokenStoreError> {
        let sql = "SELECT id, account, hash, scopes, name_pattern, created_at_ms, expires_at_ms FROM tokens \
                   WHERE hash = $1";
        let hex = hash.hex();
        let row =
            read!(&self.db, |pool| sqlx::query_as::<_, Row>(sql).bind(&hex).fetch_optional(pool).await)?;
        let token: Option<StoredToken> = row.map(TryInto::try_into).transpose()?;
        Ok(token.filter(|token| hash.is_stored_as(&token.hash)))
    }

    /// Every token, oldest first.
    pub async fn list(&self) -> Result<Vec<StoredToken>, TokenStoreError> {
        let sql = "SELECT id, account, hash, scopes, name_pattern, created_at_ms, expires_at_ms FROM tokens \
                   ORDER BY created_at_ms, id";
        let rows = read!(&self.db, |pool| sqlx::query_as::<_, Row>(sql).fetch_all(pool).await)?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// The token with this id, expired or not.
    pub async fn by_id(&self, id: &str) -> Result<Option<StoredToken>, TokenStoreError> {
        let sql = "SELECT id, account, hash, scopes, name_pattern, created_at_ms, expires_at_ms FROM tokens \
                   WHERE id = $1";
        let row = read!(&self.db, |pool| sqlx::query_as::<_, Row>(sql).bind(id).fetch_optional(pool).await)?;
        row.map(TryInto::try_into).transpose()
    }

    /// Stores a token that somebody makes, and its account where that is not there yet.
    ///
    /// # Errors
    /// [`TokenStoreError::OtherCase`] when the account is there under another spelling.
    pub async fn insert(&self, token: &StoredToken, by: &Actor) -> Result<(), TokenStoreError> {
        write_tx!(&self.db, |tx| {
            // In the transaction that makes the account: SQLite has one writer, so nobody comes between.
            let sql = "SELECT name FROM accounts WHERE lower(name) = lower($1) ORDER BY name";
            let known: Vec<String> = sqlx::query_scalar(sql).bind(&token.account).fetch_all(&mut *tx).await?;
            if let Some(existing) = known.first()
                && !known.contains(&token.account)
            {
                return Err(TokenStoreError::OtherCase { existing: existing.clone() });
            }
            let added = sqlx::query(ADD_ACCOUNT)
                .bind(&token.account)
                .bind(token.created_at.millis())
                .execute(&mut *tx)
                .await?;
            let sql = "INSERT INTO tokens (id, account, hash, scopes, name_pattern, created_at_ms, expires_at_ms) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7)";
            sqlx::query(sql)
                .bind(&token.id)
                .bind(&token.account)
                .bind(&token.hash)
                .bind(token.scopes.to_string())
                .bind(token.names.as_ref().map(NamePattern::as_str))
                .bind(token.created_at.millis())
                .bind(token.expires_at.map(Timestamp::millis))
                .execute(&mut *tx)
                .await?;
            if self.audited {
                if added.rows_affected() == 1 {
                    audit::record(&mut *tx, &account_made(token, by)).await?;
                }
                audit::record(&mut *tx, &token_made(token, by, "token.create")).await?;
            }
        });
        Ok(())
    }

    /// Whether an administrator has a token that is good at this time, for every name.
    pub async fn has_administrator(&self, now: Timestamp) -> Result<bool, TokenStoreError> {
        let count: i64 = read!(&self.db, |pool| {
            let query = sqlx::query_scalar(ADMINISTRATORS).bind(now.millis()).bind(FILE_TOKEN_ID);
            query.fetch_one(pool).await
        })?;
        Ok(count > 0)
    }

    /// Stores the administrator's first token, where no administrator has one yet: whatever other tokens there are.
    /// `written` is called before that is final, so that no token is stored that nobody can read. `false` when there is
    /// an administrator, made by another replica too.
    ///
    /// # Errors
    /// That of `written`, inside; then nothing is stored.
    pub async fn insert_first<E>(
        &self,
        token: &StoredToken,
        written: impl AsyncFnOnce() -> Result<(), E>,
    ) -> Result<Result<bool, E>, TokenStoreError> {
        let mut fault = None;
        match self.insert_first_if(token, written, &mut fault).await {
            Ok(first) => Ok(Ok(first)),
            Err(error) => fault.map_or(Err(error), |fault| Ok(Err(fault))),
        }
    }

    /// As [`Self::insert_first`]; what `written` says is left in `fault`.
    async fn insert_first_if<E>(
        &self,
        token: &StoredToken,
        written: impl AsyncFnOnce() -> Result<(), E>,
        fault: &mut Option<E>,
    ) -> Result<bool, TokenStoreError> {
        let now = token.created_at.millis();
        Ok(write_tx!(&self.db, |tx| {
            // The account's row decides between replicas: the second one waits here for the first one's end, and what it
            // counts then is there.
            let sql = "INSERT INTO accounts (name, created_at_ms) VALUES ($1, $2)
                       ON CONFLICT (name) DO UPDATE SET name = excluded.name";
            sqlx::query(sql).bind(&token.account).bind(now).execute(&mut *tx).await?;
            let administrators: i64 =
                sqlx::query_scalar(ADMINISTRATORS).bind(now).bind(FILE_TOKEN_ID).fetch_one(&mut *tx).await?;
            if administrators == 0 {
                let sql = "INSERT INTO tokens (id, account, hash, scopes, created_at_ms) VALUES ($1, $2, $3, $4, $5)";
                sqlx::query(sql)
                    .bind(&token.id)
                    .bind(&token.account)
                    .bind(&token.hash)
                    .bind(token.scopes.to_string())
                    .bind(now)
                    .execute(&mut *tx)
                    .await?;
                if self.audited {
                    audit::record(&mut *tx, &token_made(token, &Actor::service(), "token.create")).await?;
                }
                if let Err(said) = written().await {
                    *fault = Some(said);
                    // Leaving here drops the transaction, which rolls it back.
                    Err(sqlx::Error::Protocol("the token was not written down".to_owned()))?;
                }
            }
            administrators == 0
        }))
    }

    /// Makes the token with this id the one with this hash: what an operator put into a file is the token, also after
    /// the file has changed.
    pub async fn put(&self, token: &StoredToken) -> Result<(), TokenStoreError> {
        write_tx!(&self.db, |tx| {
            sqlx::query(ADD_ACCOUNT)
                .bind(&token.account)
                .bind(token.created_at.millis())
                .execute(&mut *tx)
                .await?;
            let sql = "INSERT INTO tokens (id, account, hash, scopes, created_at_ms) VALUES ($1, $2, $3, $4, $5) \
                       ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, scopes = excluded.scopes \
                       WHERE tokens.hash <> excluded.hash OR tokens.scopes <> excluded.scopes";
            let changed = sqlx::query(sql)
                .bind(&token.id)
                .bind(&token.account)
                .bind(&token.hash)
                .bind(token.scopes.to_string())
                .bind(token.created_at.millis())
                .execute(&mut *tx)
                .await?;
            if self.audited && changed.rows_affected() == 1 {
                audit::record(&mut *tx, &token_made(token, &Actor::service(), "token.replace")).await?;
            }
        });
        Ok(())
    }

    /// Removes a token for good; `false` when there is none with this id.
    pub async fn remove(&self, id: &str, by: &Actor, now: Timestamp) -> Result<bool, TokenStoreError> {
        Ok(write_tx!(&self.db, |tx| {
            let sql = "DELETE FROM tokens WHERE id = $1 RETURNING account";
            let account: Option<String> = sqlx::query_scalar(sql).bind(id).fetch_optional(&mut *tx).await?;
            if let Some(account) = account.as_ref().filter(|_| self.audited) {
                let entry =
                    Entry::new(now, by, "token.revoke", "token", id).with(json!({"account": account}));
                audit::record(&mut *tx, &entry).await?;
            }
            account.is_some()
        }))
    }
}

fn account_made<'a>(token: &'a StoredToken, by: &'a Actor) -> Entry<'a> {
    Entry::new(token.created_at, by, "account.create", "account", &token.account)
}

/// What the audit log says of a new token: everything but the token.
fn token_made<'a>(token: &'a StoredToken, by: &'a Actor, action: &'a str) -> Entry<'a> {
    let mut detail = json!({"account": token.account, "scopes": token.scopes.to_string()});
    if let Some(names) = &token.names {
        detail["name_pattern"] = names.as_str().into();
    }
    if let Some(end) = token.expires_at {
        detail["expires_at"] = end.to_string().into();
    }
    Entry::new(token.created_at, by, action, "token", &token.id).with(detail)
}
