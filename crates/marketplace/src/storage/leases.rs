//! Leases on what one replica does for all of them, as chaining the audit log: a row with an end, which is renewed while
//! its holder lives and taken over after that.
//!
//! A lease saves work, it fences nothing: whoever was away for longer than it lasted may still be writing. What is written
//! under one is therefore right whoever writes it, at once or twice. Ends are told by the replicas' own clocks.

use std::time::Duration;

use addon_client::Timestamp;
use service_kit::write_tx;

use super::{Storage, StorageError};

/// Clocks of replicas may be ahead of each other by so much. An end that is further away was written by one that was wrong, and is over.
const AHEAD: Duration = Duration::from_secs(60);

impl Storage {
    /// Takes or renews the lease of this name until `now + ttl`: `true` when this holder has it now, `false` while it is
    /// another's. Renew it at the latest after a third of `ttl`.
    ///
    /// # Errors
    /// The database; nothing is known then about who holds it.
    pub async fn lease(
        &self,
        name: &str,
        holder: &str,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<bool, StorageError> {
        let sql = "INSERT INTO leases (name, holder, until_ms) VALUES ($1, $2, $4)
                   ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms
                   WHERE leases.holder = excluded.holder OR leases.until_ms <= $3 OR leases.until_ms > $5";
        Ok(write_tx!(&self.db, |tx| {
            let done = sqlx::query(sql)
                .bind(name)
                .bind(holder)
                .bind(now.millis())
                .bind((now + ttl).millis())
                .bind((now + ttl + AHEAD).millis())
                .execute(&mut *tx)
                .await?;
            done.rows_affected() == 1
        }))
    }

    /// Gives back one lease where this holder has it: another one need not wait until it runs out.
    ///
    /// # Errors
    /// The database; the lease runs out then.
    pub async fn give_up(&self, name: &str, holder: &str) -> Result<(), StorageError> {
        let sql = "DELETE FROM leases WHERE name = $1 AND holder = $2";
        write_tx!(&self.db, |tx| {
            sqlx::query(sql).bind(name).bind(holder).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Gives back every lease of this holder, at its end: the next one need not wait for theirs.
    ///
    /// # Errors
    /// The database; the leases run out then.
    pub async fn give_back(&self, holder: &str) -> Result<(), StorageError> {
        write_tx!(&self.db, |tx| {
            sqlx::query("DELETE FROM leases WHERE holder = $1").bind(holder).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// This process's name among the replicas: random, another one after each start.
    pub fn replica(&self) -> &str {
        &self.replica
    }
}
