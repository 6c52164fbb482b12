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

/// A text of SQL for each database.
pub(super) struct Both {
    sqlite: &'static str,
    postgres: &'static str,
}

impl Both {
    pub(super) fn of(&self, db: &Db) -> &'static str {
        match db {
            Db::Sqlite { .. } => self.sqlite,
            Db::Postgres(_) => self.postgres,
        }
    }
}

/// The question to the index of words: every term has to be there, those that are marked as the beginning of a word. Terms
/// hold letters, digits and characters of private use alone.
pub(super) fn terms(db: &Db, terms: &[(String, bool)]) -> String {
    let (and, prefix, quote) = match db {
        Db::Sqlite { .. } => (" AND ", " *", '"'),
        Db::Postgres(_) => (" & ", ":*", '\''),
    };
    let terms = terms.iter().map(|(term, may)| {
        let prefix = if *may { prefix } else { "" };
        format!("{quote}{term}{quote}{prefix}")
    });
    terms.collect::<Vec<_>>().join(and)
}

/// Places of the listings that answer `$1`. PostgreSQL would rather walk the listings in the order that is asked for, and read
/// the words of each: the index is always better.
pub(super) const MATCHES: Both = Both {
    sqlite: "SELECT rowid AS place FROM search WHERE search MATCH $1",
    postgres: "WITH found AS MATERIALIZED (SELECT place FROM search WHERE words @@ CAST($1 AS tsquery)) SELECT place FROM found",
};

/// The best listings that answer `$1` by stored rank, at most `$6`, to select from as `listings`. FTS5 gives them in that
/// order, and is not asked for more.
pub(super) const BEST_MATCHES: Both = Both {
    sqlite: "(SELECT rowid AS place FROM search WHERE search MATCH $1 AND rowid > $3 ORDER BY rowid LIMIT $6) AS matches
             CROSS JOIN listings ON listings.place = matches.place",
    // `+ 0` keeps it from walking all listings in their order, and reading the words of each.
    postgres: "(SELECT place FROM search WHERE words @@ CAST($1 AS tsquery) AND place + 0 > $3
                ORDER BY place + 0 LIMIT $6) AS matches
               JOIN listings ON listings.place = matches.place",
};

/// The numbers of a JSON array, `$1`.
pub(super) const NUMBERS: Both = Both {
    sqlite: "SELECT value FROM json_each($1)",
    postgres: "SELECT CAST(number AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS number",
};
