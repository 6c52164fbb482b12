//! Chains the audit log by hash, in order and within a second: one replica does it for all of them, by a lease.

use std::time::Duration;

use service_kit::clock::SharedClock;
use tokio_util::sync::CancellationToken;

use crate::storage::{Storage, StorageError};

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
    while storage.audit_is_behind().await? && storage.lease(NAME, storage.replica(), clock.now(), LEASE).await? {
        if storage.chain_audit(PART).await? == 0 {
            break;
        }
    }
    Ok(())
}
