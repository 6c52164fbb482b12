//! Chains the audit log by hash, in order and within a second: one replica does it for all of them, by a lease. And
//! `audit verify` of the command line, which holds the log to its chain, and to what was signed of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use addon_client::trust::{AuditHead, Envelope, IndexRoot};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use service_kit::clock::SharedClock;
use tokio_util::sync::CancellationToken;

use crate::storage::{Signed, Storage, StorageError};
use crate::trust::newest;

/// How often is looked for rows that are not chained: a row is to be so within a second.
const INTERVAL: Duration = Duration::from_millis(400);

/// How long the lease lasts: a replica that died is replaced after this.
const LEASE: Duration = Duration::from_secs(3);

/// Rows of one transaction: what comes after them waits no longer than these take.
const PART: u32 = 500;

/// Name of the lease.
const NAME: &str = "audit";

/// Chains until `shutdown`, and what is left then.
pub async fn run(storage: Storage, clock: SharedClock, shutdown: CancellationToken) {
    let mut failing = false;
    while !shutdown.is_cancelled() {
        _ = tokio::time::timeout(INTERVAL, shutdown.cancelled()).await;
        match chain(&storage, &clock).await {
            Ok(()) => failing = false,
            Err(error) => {
                // Said once: a database that is away is not told of twice a second.
                if !failing {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the audit log cannot be chained at the moment");
                }
                failing = true;
            }
        }
    }
}

async fn chain(storage: &Storage, clock: &SharedClock) -> Result<(), StorageError> {
    // A look costs no write; the lease does.
    while storage.audit_is_behind().await?
        && storage.lease(NAME, storage.replica(), clock.now(), LEASE).await?
    {
        if storage.chain_audit(PART).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// `audit …` on the command line.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Hold every row of the audit log to its chain, and print what was found. Fails where a row was altered, removed or put in
    /// between.
    Verify {
        /// What was noted earlier of a report: its `position`.
        #[arg(long, requires = "hash")]
        position: Option<i64>,
        /// And its `hash`.
        #[arg(long, requires = "position")]
        hash: Option<String>,
        /// A signed index that was kept earlier, as `GET /api/v1/marketplace/index` answers it: the log must go as far as it
        /// did then. Without it, the one that was signed last.
        #[arg(long, value_name = "FILE")]
        index: Option<PathBuf>,
    },
}

impl AuditCommand {
    /// Does it, and gives the report as JSON.
    ///
    /// # Errors
    /// The log is not what it was; or that of the database.
    pub async fn run(self, storage: &Storage) -> anyhow::Result<String> {
        let Self::Verify { position, hash, index } = self;
        let report = storage.verify_audit().await?;
        let text = serde_json::to_string_pretty(&report)?;
        if !report.intact {
            bail!("the audit log was changed:\n{text}");
        }
        if let (Some(position), Some(hash)) = (position, hash)
            && storage.audit_hash_at(position).await?.as_ref() != Some(&hash)
        {
            bail!(
                "the audit log is another one than was noted: its chain has no {hash} at {position}\n{text}"
            );
        }
        if let Some(fault) = beside_index(storage, index.as_deref()).await? {
            bail!("the audit log is not the one that was signed for: {fault}\n{text}");
        }
        Ok(text)
    }
}

/// What is wrong with the log beside what a signed index says of it: one that was kept, or the last that is stored.
async fn beside_index(storage: &Storage, kept: Option<&Path>) -> anyhow::Result<Option<String>> {
    let (bytes, which) = match kept {
        Some(path) => {
            let which = format!("the index in {}", path.display());
            (std::fs::read(path).with_context(|| format!("{which} cannot be read"))?, which)
        }
        None => match storage.envelope(Signed::Index).await? {
            Some((_, envelope)) => (envelope.into_bytes(), "the index that was signed last".to_owned()),
            None => return Ok(None),
        },
    };
    let keys = newest(storage).await?.context("the database has no signing keys: it is another one")?;
    let checked = Envelope::verified::<IndexRoot>(&bytes, &keys);
    let root = checked.with_context(|| format!("{which} is not one of this marketplace"))?;
    let Some(head) = root.audit else {
        if kept.is_some() {
            bail!(
                "{which} says nothing of the audit log: it was signed by an older version, or before the first row"
            );
        }
        return Ok(None);
    };
    let AuditHead { position, hash } = head;
    let found = storage.audit_hash_at(i64::try_from(position).unwrap_or(i64::MAX)).await?;
    let signed = format!("{which}, of {}, says that it had {hash} at {position}", root.created_at);
    Ok(match found {
        Some(found) if found == hash.to_string() => None,
        Some(found) => Some(format!("{signed}, where it has {found}")),
        None => Some(format!(
            "{signed}, and it ends before: its end was cut off, or an older backup was restored"
        )),
    })
}
