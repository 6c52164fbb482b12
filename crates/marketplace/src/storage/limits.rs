//! Buckets: how much of what an account did lately. A row says when its bucket is full again, which is all that there is
//! to know of it (the generic cell rate algorithm); taking from it is one statement.

use addon_client::Timestamp;
use service_kit::audit::Actor;
use service_kit::write_tx;

use super::{Storage, StorageError};
use crate::domain::limits::{Kind, Limited};

/// Takes one from the bucket of account `$1` and kind `$2` at `$3`: `$4` is its interval, `$5` how far ahead of the time it
/// may be emptied. No row comes back where it is empty. What is an hour beyond that was written by a clock that was wrong.
pub(super) const TAKE: &str = "INSERT INTO buckets (account, kind, full_at_ms) VALUES ($1, $2, $3 + $4)
     ON CONFLICT (account, kind) DO UPDATE
     SET full_at_ms = (CASE WHEN buckets.full_at_ms BETWEEN $3 AND $3 + $5 + 3600000 THEN buckets.full_at_ms ELSE $3 END) + $4
     WHERE (CASE WHEN buckets.full_at_ms BETWEEN $3 AND $3 + $5 + 3600000 THEN buckets.full_at_ms ELSE $3 END) + $4 <= $3 + $5
     RETURNING full_at_ms";

/// When the bucket of account `$1` and kind `$2` is full again.
pub(super) const FULL_AT: &str = "SELECT full_at_ms FROM buckets WHERE account = $1 AND kind = $2";

/// Takes one in a transaction of either database; gives an `Option<Limited>`. `$limits` is an `Option<Limits>`: none is
/// no limit, as for administrators.
macro_rules! take_in {
    ($tx:ident, $actor:expr, $limits:expr, $kind:expr, $now_ms:expr) => {{
        let (actor, kind, now): (&service_kit::audit::Actor, crate::domain::limits::Kind, i64) =
            ($actor, $kind, $now_ms);
        let limits: Option<crate::domain::limits::Limits> = $limits;
        match limits.filter(|_| !actor.is_administrator()).map(|limits| limits.of(kind)) {
            None => None,
            Some(bucket) => {
                let taken: Option<(i64,)> = sqlx::query_as(crate::storage::limits::TAKE)
                    .bind(actor.account())
                    .bind(kind.as_str())
                    .bind(now)
                    .bind(bucket.interval_ms())
                    .bind(bucket.depth_ms())
                    .fetch_optional(&mut *$tx)
                    .await?;
                match taken {
                    Some(_) => None,
                    None => {
                        let (full_at,): (i64,) = sqlx::query_as(crate::storage::limits::FULL_AT)
                            .bind(actor.account())
                            .bind(kind.as_str())
                            .fetch_one(&mut *$tx)
                            .await?;
                        let wait = bucket.wait(full_at, now);
                        Some(crate::domain::limits::Limited { kind, bucket, wait })
                    }
                }
            }
        }
    }};
}
pub(super) use take_in;

impl Storage {
    /// Takes one from an account's bucket. `Some`: it is empty, and nothing was taken.
    ///
    /// # Errors
    /// The database.
    pub async fn take(
        &self,
        actor: &Actor,
        kind: Kind,
        now: Timestamp,
    ) -> Result<Option<Limited>, StorageError> {
        if self.limits.is_none() || actor.is_administrator() {
            return Ok(None);
        }
        Ok(write_tx!(&self.db, |tx| take_in!(tx, actor, self.limits, kind, now.millis())))
    }
}
