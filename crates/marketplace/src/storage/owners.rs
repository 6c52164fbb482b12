//! Who owns a name, and who is invited to. The first owner comes with the first release (`publish.rs`).

use std::time::Duration;

use addon_client::{InvitationView, OwnerView, Timestamp};
use serde_json::json;
use service_kit::audit::{self, Actor, Entry};
use service_kit::{read, write_tx};

use super::{Storage, StorageError, dialect};

/// How long an invitation holds.
const INVITATION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What inviting came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invited {
    /// The account is invited, or is so for another while.
    Invited,
    /// It is an owner already.
    Owner,
}

/// What taking an owner away came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// The account is an owner no more.
    Removed,
    /// It was not one, but invited: the invitation is gone.
    Withdrawn,
    /// It is neither.
    Neither,
    /// It is the last one.
    Last,
}

impl Storage {
    /// How an addon's name is written, and whether one of its releases is in lists. `None`: nobody has the name.
    ///
    /// # Errors
    /// The database.
    pub async fn spelling(&self, addon: &str) -> Result<Option<(String, bool)>, StorageError> {
        let sql =
            "SELECT name, (SELECT COUNT(*) FROM releases WHERE releases.addon = addons.addon AND listed = 1)
                   FROM addons WHERE addon = $1";
        let found: Option<(String, i64)> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(addon).fetch_optional(pool).await)?;
        Ok(found.map(|(name, listed)| (name, listed > 0)))
    }

    /// Whether an account owns a name.
    ///
    /// # Errors
    /// The database.
    pub async fn owns(&self, addon: &str, account: &str) -> Result<bool, StorageError> {
        let sql = "SELECT COUNT(*) FROM owners WHERE addon = $1 AND LOWER(account) = LOWER($2)";
        let (count,): (i64,) =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(addon).bind(account).fetch_one(pool).await)?;
        Ok(count > 0)
    }

    /// The owners of a name, the oldest first.
    ///
    /// # Errors
    /// The database.
    pub async fn owners(&self, addon: &str) -> Result<Vec<OwnerView>, StorageError> {
        let sql = "SELECT account, added_at_ms FROM owners WHERE addon = $1 ORDER BY added_at_ms, account";
        let rows: Vec<(String, i64)> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(addon).fetch_all(pool).await)?;
        let view = |(account, since)| OwnerView { account, since: Timestamp::from_millis(since) };
        Ok(rows.into_iter().map(view).collect())
    }

    /// Invitations that hold: to this name, the oldest first.
    ///
    /// # Errors
    /// The database.
    pub async fn invitations_of(
        &self,
        addon: &str,
        now: Timestamp,
    ) -> Result<Vec<InvitationView>, StorageError> {
        let sql = "SELECT name, account, invited_by, invited_at_ms, expires_at_ms FROM invitations
                   JOIN addons ON addons.addon = invitations.addon
                   WHERE invitations.addon = $1 AND expires_at_ms > $2 ORDER BY invited_at_ms, account";
        self.invitations(sql, addon, now).await
    }

    /// Invitations that hold: for this account, the oldest first.
    ///
    /// # Errors
    /// The database.
    pub async fn invitations_to(
        &self,
        account: &str,
        now: Timestamp,
    ) -> Result<Vec<InvitationView>, StorageError> {
        let sql = "SELECT name, account, invited_by, invited_at_ms, expires_at_ms FROM invitations
                   JOIN addons ON addons.addon = invitations.addon
                   WHERE LOWER(invitations.account) = LOWER($1) AND expires_at_ms > $2 ORDER BY invited_at_ms, name";
        self.invitations(sql, account, now).await
    }

    async fn invitations(
        &self,
        sql: &'static str,
        of: &str,
        now: Timestamp,
    ) -> Result<Vec<InvitationView>, StorageError> {
        let rows: Vec<(String, String, String, i64, i64)> = read!(&self.db, |pool| {
            sqlx::query_as(sql).bind(of).bind(now.millis()).fetch_all(pool).await
        })?;
        let view = |(name, account, invited_by, at, end)| InvitationView {
            name,
            account,
            invited_by,
            invited_at: Timestamp::from_millis(at),
            expires_at: Timestamp::from_millis(end),
        };
        Ok(rows.into_iter().map(view).collect())
    }

    /// Invites an account, which need not be there yet: whether there is one is nobody's business.
    ///
    /// # Errors
    /// The database.
    pub async fn invite(
        &self,
        addon: &str,
        account: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Invited, StorageError> {
        let owner = "SELECT COUNT(*) FROM owners WHERE addon = $1 AND LOWER(account) = LOWER($2)";
        let sql = "INSERT INTO invitations (addon, account, invited_by, invited_at_ms, expires_at_ms)
                   VALUES ($1, $2, $3, $4, $5)
                   ON CONFLICT (addon, account) DO UPDATE SET invited_by = excluded.invited_by,
                       invited_at_ms = excluded.invited_at_ms, expires_at_ms = excluded.expires_at_ms";
        Ok(write_tx!(&self.db, |tx| {
            if let Some(lock) = dialect::lock_addon(&self.db) {
                sqlx::query(lock).bind(addon).execute(&mut *tx).await?;
            }
            let (owners,): (i64,) =
                sqlx::query_as(owner).bind(addon).bind(account).fetch_one(&mut *tx).await?;
            if owners == 0 {
                sqlx::query(sql)
                    .bind(addon)
                    .bind(account)
                    .bind(by.account())
                    .bind(now.millis())
                    .bind((now + INVITATION).millis())
                    .execute(&mut *tx)
                    .await?;
                let entry = Entry::new(now, by, "owner.invite", "addon", addon);
                audit::record(&mut *tx, &entry.with(json!({"account": account}))).await?;
                Invited::Invited
            } else {
                Invited::Owner
            }
        }))
    }

    /// Makes whoever was invited an owner. `false`: there is no invitation that holds.
    ///
    /// # Errors
    /// The database.
    pub async fn accept_invitation(
        &self,
        addon: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let sql =
            "DELETE FROM invitations WHERE addon = $1 AND LOWER(account) = LOWER($2) AND expires_at_ms > $3
                   RETURNING invited_by";
        let add = "INSERT INTO owners (addon, account, added_by, added_at_ms) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (addon, account) DO NOTHING";
        Ok(write_tx!(&self.db, |tx| {
            if let Some(lock) = dialect::lock_addon(&self.db) {
                sqlx::query(lock).bind(addon).execute(&mut *tx).await?;
            }
            let query = sqlx::query_as(sql).bind(addon).bind(by.account()).bind(now.millis());
            let invited: Option<(String,)> = query.fetch_optional(&mut *tx).await?;
            if let Some((inviter,)) = &invited {
                sqlx::query(add)
                    .bind(addon)
                    .bind(by.account())
                    .bind(inviter)
                    .bind(now.millis())
                    .execute(&mut *tx)
                    .await?;
                let entry = Entry::new(now, by, "owner.accept", "addon", addon);
                audit::record(&mut *tx, &entry.with(json!({"invited_by": inviter}))).await?;
            }
            invited.is_some()
        }))
    }

    /// Ends an invitation of the one who was invited. `false`: there is none that holds.
    ///
    /// # Errors
    /// The database.
    pub async fn decline_invitation(
        &self,
        addon: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let sql =
            "DELETE FROM invitations WHERE addon = $1 AND LOWER(account) = LOWER($2) AND expires_at_ms > $3";
        Ok(write_tx!(&self.db, |tx| {
            let query = sqlx::query(sql).bind(addon).bind(by.account()).bind(now.millis());
            let done = query.execute(&mut *tx).await?.rows_affected() >= 1;
            if done {
                audit::record(&mut *tx, &Entry::new(now, by, "owner.decline", "addon", addon)).await?;
            }
            done
        }))
    }

    /// Takes a name, or an invitation to it, away from an account. Only an administrator takes it from the last owner.
    ///
    /// # Errors
    /// The database.
    pub async fn remove_owner(
        &self,
        addon: &str,
        account: &str,
        by: &Actor,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<Removal, StorageError> {
        Ok(write_tx!(&self.db, |tx| {
            if let Some(lock) = dialect::lock_addon(&self.db) {
                sqlx::query(lock).bind(addon).execute(&mut *tx).await?;
            }
            let sql = "SELECT account FROM owners WHERE addon = $1";
            let owners: Vec<(String,)> = sqlx::query_as(sql).bind(addon).fetch_all(&mut *tx).await?;
            let mut detail = json!({"account": account});
            if owners.iter().any(|(owner,)| owner == account) {
                if owners.len() == 1 && !by.is_administrator() {
                    Removal::Last
                } else {
                    let sql = "DELETE FROM owners WHERE addon = $1 AND account = $2";
                    sqlx::query(sql).bind(addon).bind(account).execute(&mut *tx).await?;
                    // Whom it let in and has not come yet must not come after it is gone.
                    let sql =
                        "DELETE FROM invitations WHERE addon = $1 AND invited_by = $2 RETURNING account";
                    let withdrawn: Vec<(String,)> =
                        sqlx::query_as(sql).bind(addon).bind(account).fetch_all(&mut *tx).await?;
                    if !withdrawn.is_empty() {
                        detail["invitations_withdrawn"] = withdrawn.into_iter().map(|(to,)| to).collect();
                    }
                    let entry = Entry::new(now, by, "owner.remove", "addon", addon);
                    audit::record(&mut *tx, &entry.because(reason).with(detail)).await?;
                    Removal::Removed
                }
            } else {
                let sql = "DELETE FROM invitations WHERE addon = $1 AND LOWER(account) = LOWER($2)";
                let done = sqlx::query(sql).bind(addon).bind(account).execute(&mut *tx).await?;
                if done.rows_affected() >= 1 {
                    let entry = Entry::new(now, by, "owner.withdraw", "addon", addon);
                    audit::record(&mut *tx, &entry.because(reason).with(detail)).await?;
                    Removal::Withdrawn
                } else {
                    Removal::Neither
                }
            }
        }))
    }
}
