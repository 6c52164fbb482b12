//! Claims: what an installation has for itself on this host, one row each, under one unique index.

use std::str::FromStr;

use sqlx::sqlite::SqliteConnection;

use super::{Storage, StorageError};
use crate::domain::claim::{Claim, HeldClaim};
use crate::domain::installation::InstallationId;

impl Storage {
    /// Every claim of this host.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a row makes no sense.
    pub async fn claims(&self) -> Result<Vec<HeldClaim>, StorageError> {
        let mut connection = self.reader().acquire().await.map_err(StorageError::query("list claims"))?;
        held(&mut connection).await
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    kind: String,
    value: String,
    installation_id: String,
    name: String,
}

/// Every claim with the name of who holds it.
pub(super) async fn held(connection: &mut SqliteConnection) -> Result<Vec<HeldClaim>, StorageError> {
    let sql = "SELECT c.kind, c.value, c.installation_id, i.name FROM claims c JOIN installations i ON i.id = c.installation_id
               ORDER BY c.kind, c.value";
    let rows: Vec<Row> =
        sqlx::query_as(sql).fetch_all(connection).await.map_err(StorageError::query("list claims"))?;
    let read = |row: Row| {
        let corrupt =
            |what: &str| StorageError::corrupt("claims", format_args!("{}/{}", row.kind, row.value), what);
        Ok(HeldClaim {
            claim: Claim::parse(&row.kind, &row.value).ok_or_else(|| corrupt("is no claim"))?,
            installation: InstallationId::from_str(&row.installation_id)
                .map_err(|_| corrupt("names no installation"))?,
            installation_name: row.name.clone(),
        })
    };
    rows.into_iter().map(read).collect()
}

/// Names on shared networks that installations asked for: id of the installation, network and name.
pub(super) async fn aliases(
    connection: &mut SqliteConnection,
) -> Result<Vec<(String, (String, String))>, StorageError> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT installation_id, value FROM claims WHERE kind = 'alias'")
            .fetch_all(connection)
            .await
            .map_err(StorageError::query("list claims"))?;
    rows.into_iter()
        .map(|(installation, value)| match Claim::parse("alias", &value) {
            Some(Claim::Alias { network, alias }) => Ok((installation, (network, alias))),
            _ => Err(StorageError::corrupt("claims", format_args!("alias/{value}"), "is no claim")),
        })
        .collect()
}

/// Writes the claims of an installation. The caller has looked for overlaps in this transaction; the index refuses equal ones anyhow.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    installation: InstallationId,
    claims: &[Claim],
) -> Result<(), StorageError> {
    let id = installation.to_string();
    for claim in claims {
        sqlx::query("INSERT INTO claims (kind, value, installation_id, detail) VALUES ($1, $2, $3, $4)")
            .bind(claim.kind())
            .bind(claim.value())
            .bind(&id)
            .bind(claim.describe())
            .execute(&mut *connection)
            .await
            .map_err(StorageError::query("insert claim"))?;
    }
    Ok(())
}

/// Gives a claim up.
pub(super) async fn free(connection: &mut SqliteConnection, claim: &Claim) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM claims WHERE kind = $1 AND value = $2")
        .bind(claim.kind())
        .bind(claim.value())
        .execute(connection)
        .await
        .map_err(StorageError::query("free claim"))?;
    Ok(())
}
