//! The audit log's one way in: who did what to what, when and why. A row is written in the transaction of what it records,
//! so that there is neither a change without its row nor a row without its change. How rows are read, chained and
//! verified is the service's own.
//!
//! ```ignore
//! write_tx!(db, |tx| {
//!     sqlx::query("UPDATE …").execute(&mut *tx).await?;
//!     audit::record(&mut *tx, &Entry::new(now, &actor, "release.yank", "release", &id).because(reason)).await?;
//! });
//! ```

use std::future::{Future, Ready, ready};
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use serde_json::Value;
use sqlx::QueryBuilder;

use crate::auth::Principal;
use crate::clock::Timestamp;
use crate::problem::Problem;
use crate::request_id::RequestId;

/// On whose behalf something changes. Handlers take it as an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    account: String,
    token: Option<String>,
    request: Option<String>,
    unlimited: bool,
}

impl Actor {
    /// Whoever works on the host's command line. No account has this name: one has no blank.
    pub const HOST: &str = "host operator";
    /// The service itself, where nobody asked.
    pub const SERVICE: &str = "the service";

    /// The account of a request.
    pub fn new(principal: &Principal, request: Option<&RequestId>) -> Self {
        Self {
            account: principal.account_or_anonymous().to_owned(),
            token: principal.token_id().map(str::to_owned),
            request: request.map(|id| id.as_str().to_owned()),
            unlimited: principal.allows(crate::auth::Scope::Admin),
        }
    }

    /// Whoever can open the database: the command line of the host.
    pub fn host() -> Self {
        Self { account: Self::HOST.to_owned(), token: None, request: None, unlimited: true }
    }

    /// The service itself.
    pub fn service() -> Self {
        Self { account: Self::SERVICE.to_owned(), token: None, request: None, unlimited: true }
    }

    /// An account, where no request is at hand: tests, and tools.
    pub fn named(account: &str) -> Self {
        Self { account: account.to_owned(), token: None, request: None, unlimited: false }
    }

    /// Its account.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Whether it is an administrator, whom rate limits and ownership do not bind.
    pub fn is_administrator(&self) -> bool {
        self.unlimited
    }
}

impl FromRequest for Actor {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let principal = Principal::from_request(request, payload).into_inner();
        let id = RequestId::from_request(request, payload).into_inner();
        ready(principal.and_then(|principal| Ok(Self::new(&principal, Some(&id?)))))
    }
}

/// A row of the audit log, before it is written.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    at: Timestamp,
    actor: &'a Actor,
    action: &'a str,
    kind: &'a str,
    id: &'a str,
    reason: Option<&'a str>,
    detail: Value,
}

impl<'a> Entry<'a> {
    /// `action` is a noun and a verb: `release.approve`, `token.create`. `kind` is what it was done to (`release`, `addon`,
    /// `token`, `account`, `key`), `id` which of them.
    pub fn new(at: Timestamp, actor: &'a Actor, action: &'a str, kind: &'a str, id: &'a str) -> Self {
        let detail = Value::Object(serde_json::Map::new());
        Self { at, actor, action, kind, id, reason: None, detail }
    }

    /// Why.
    #[must_use]
    pub fn because(mut self, reason: Option<&'a str>) -> Self {
        self.reason = reason;
        self
    }

    /// What else is to be known later, an object: the addon, from where to where, the digest. Never a secret.
    #[must_use]
    pub fn with(mut self, detail: Value) -> Self {
        debug_assert!(detail.is_object(), "the detail of an audit row is an object");
        self.detail = detail;
        self
    }
}

/// A row on its way.
pub type Writing<'a> = Pin<Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 'a>>;

/// A connection in a transaction, of either database.
pub trait Ledger {
    /// Writes rows, at least one.
    fn write<'a>(&'a mut self, entries: &'a [Entry<'_>]) -> Writing<'a>;
}

/// Writes a row of the audit log in the transaction of what it records: `audit::record(&mut *tx, &entry)`.
///
/// # Errors
/// The database; the transaction has to be rolled back then.
pub async fn record<L: Ledger + Send>(transaction: &mut L, entry: &Entry<'_>) -> Result<(), sqlx::Error> {
    transaction.write(std::slice::from_ref(entry)).await
}

/// Writes rows, in their order.
///
/// # Errors
/// The database; the transaction has to be rolled back then.
pub async fn record_all<L: Ledger + Send>(
    transaction: &mut L,
    entries: &[Entry<'_>],
) -> Result<(), sqlx::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    transaction.write(entries).await
}

/// Pushes the values of rows, and runs the query that they are of.
macro_rules! insert {
    ($connection:expr, $sql:expr, $entries:expr, $end:literal) => {{
        let mut sql = QueryBuilder::new($sql);
        sql.push_values($entries, |mut row, entry| {
            row.push_bind(entry.at.millis()).push_bind(&entry.actor.account).push_bind(&entry.actor.token);
            row.push_bind(entry.action).push_bind(entry.kind).push_bind(entry.id).push_bind(entry.reason);
            row.push_bind(entry.detail.to_string()).push_bind(&entry.actor.request);
        });
        sql.push($end);
        // Of as many texts as there are numbers of rows, one is worth remembering.
        sql.build().persistent($entries.len() == 1).execute($connection).await.map(|_| ())
    }};
}

impl Ledger for sqlx::SqliteConnection {
    fn write<'a>(&'a mut self, entries: &'a [Entry<'_>]) -> Writing<'a> {
        let sql = "INSERT INTO audit (at_ms, account, token_id, action, subject_kind, subject_id, reason, detail, request_id) ";
        Box::pin(async move { insert!(self, sql, entries, "") })
    }
}

#[cfg(feature = "postgres")]
impl Ledger for sqlx::PgConnection {
    fn write<'a>(&'a mut self, entries: &'a [Entry<'_>]) -> Writing<'a> {
        // Writers share a lock until they commit; whoever chains rows takes it alone for an instant, and then knows that no
        // row below the highest number is still to come. The lock is a condition of the rows, so it is taken before their
        // numbers are.
        let sql = "INSERT INTO audit (at_ms, account, token_id, action, subject_kind, subject_id, reason, detail, request_id)
                   SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9
                   FROM (SELECT pg_advisory_xact_lock_shared(7020384529) IS NOT NULL AS held OFFSET 0) AS gate, (";
        Box::pin(async move { insert!(self, sql, entries, ") AS entries WHERE gate.held") })
    }
}

/// The lock that PostgreSQL's writers of audit rows share; see [`record`].
pub const LOCK: i64 = 7_020_384_529;
