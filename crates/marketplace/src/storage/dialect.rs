//! The few statements and facts that differ between the databases.

use service_kit::db::Db;

/// Takes the job whose turn it is of those that are due: `$1` owner, `$2` now, `$3` end of the lease, `$4` a publisher
/// whose jobs are passed over.
///
/// SQLite has one writer, so the inner query sees what the outer one changes; PostgreSQL has many, and each passes over
/// the rows that another is taking.
pub(super) fn claim(db: &Db) -> &'static str {
    match db {
        Db::Sqlite { .. } => {
            "UPDATE verification_jobs SET lease_owner = $1, lease_until_ms = $3, attempts = attempts + 1
             WHERE release_id = (
                 SELECT release_id FROM verification_jobs
                 WHERE due_at_ms <= $2 AND (lease_until_ms IS NULL OR lease_until_ms <= $2) AND publisher <> $4
                 ORDER BY turn, due_at_ms, release_id LIMIT 1)
             RETURNING release_id, purpose, attempts"
        }
        Db::Postgres(_) => {
            "UPDATE verification_jobs SET lease_owner = $1, lease_until_ms = $3, attempts = attempts + 1
             WHERE release_id = (
                 SELECT release_id FROM verification_jobs
                 WHERE due_at_ms <= $2 AND (lease_until_ms IS NULL OR lease_until_ms <= $2) AND publisher <> $4
                 ORDER BY turn, due_at_ms, release_id LIMIT 1 FOR UPDATE SKIP LOCKED)
             RETURNING release_id, purpose, attempts"
        }
    }
}

/// What keeps other transactions away from the releases of addon `$1` until this one ends: the newest of them is worked out
/// from all, and a version that is being deleted must not be given at the same time. SQLite has one writer and needs
/// nothing.
pub(super) fn lock_addon(db: &Db) -> Option<&'static str> {
    match db {
        Db::Sqlite { .. } => None,
        Db::Postgres(_) => Some("SELECT addon FROM addons WHERE addon = $1 FOR UPDATE"),
    }
}

/// Waits until every transaction that wrote to the audit log has ended, and keeps new ones waiting until this one's end:
/// see `service_kit::audit::LOCK`. SQLite has one writer and needs nothing.
pub(super) fn audit_gate(db: &Db) -> Option<&'static str> {
    match db {
        Db::Sqlite { .. } => None,
        Db::Postgres(_) => Some("SELECT pg_advisory_xact_lock(7020384529)"),
    }
}

/// Whether this process is the only one at this database: then every lease that it finds at its start is of a process
/// that is gone.
pub(super) fn is_exclusive(db: &Db) -> bool {
    matches!(db, Db::Sqlite { .. })
}
