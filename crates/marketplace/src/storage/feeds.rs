//! What feeds and badges show: the newest approved releases, and how an addon stands.

use service_kit::read;

use super::releases::{Row, first_of, select};
use super::{Storage, StorageError};
use crate::domain::release::Release;

/// How an addon stands, as everybody may know it.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// It is listed, with this release.
    Listed(Box<Release>),
    /// It was listed; every release was withdrawn.
    Withdrawn,
    /// It is not listed, or not there.
    None,
}

impl Storage {
    /// The releases that were approved last and still are, of an addon or of all, the newest first; fewer where their documents are long.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn newest_approved(
        &self,
        addon: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Release>, StorageError> {
        let most = i64::from(limit);
        let (rows, _) = match addon {
            None => {
                let sql =
                    select!("WHERE status = 'approved' ORDER BY approved_at_ms DESC, seq DESC LIMIT $1");
                read!(&self.db, |pool| first_of(sqlx::query_as(sql).bind(most).fetch(pool), limit).await)?
            }
            Some(addon) => {
                let sql = select!(
                    "WHERE addon = $2 AND status = 'approved' ORDER BY approved_at_ms DESC, seq DESC LIMIT $1"
                );
                read!(&self.db, |pool| {
                    first_of(sqlx::query_as(sql).bind(most).bind(addon).fetch(pool), limit).await
                })?
            }
        };
        rows.into_iter().map(Row::release).collect()
    }

    /// How an addon, folded, stands.
    ///
    /// # Errors
    /// The database, or a row that makes no sense.
    pub async fn standing(&self, addon: &str) -> Result<Standing, StorageError> {
        let sql = select!("WHERE addon = $1 AND listed = 1");
        let row: Option<Row> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(addon).fetch_optional(pool).await)?;
        if let Some(row) = row {
            return Ok(Standing::Listed(Box::new(row.release()?)));
        }
        let sql = "SELECT seq FROM releases WHERE addon = $1 AND status IN ('yanked', 'revoked') LIMIT 1";
        let found: Option<(i64,)> =
            read!(&self.db, |pool| sqlx::query_as(sql).bind(addon).fetch_optional(pool).await)?;
        Ok(if found.is_some() { Standing::Withdrawn } else { Standing::None })
    }
}
