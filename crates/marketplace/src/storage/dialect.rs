//! The few statements and facts that differ between the databases.

use service_kit::db::Db;

use super::releases::select;

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
             RETURNING release_id, purpose, attempts, publisher, at_once"
        }
        Db::Postgres(_) => {
            "UPDATE verification_jobs SET lease_owner = $1, lease_until_ms = $3, attempts = attempts + 1
             WHERE release_id = (
                 SELECT release_id FROM verification_jobs
                 WHERE due_at_ms <= $2 AND (lease_until_ms IS NULL OR lease_until_ms <= $2) AND publisher <> $4
                 ORDER BY turn, due_at_ms, release_id LIMIT 1 FOR UPDATE SKIP LOCKED)
             RETURNING release_id, purpose, attempts, publisher, at_once"
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

/// What tells other replicas that answers about approved releases hold no longer, where no row of a release changes. SQLite has none.
pub(super) fn approved_changed(db: &Db) -> Option<&'static str> {
    match db {
        Db::Sqlite { .. } => None,
        Db::Postgres(_) => {
            Some("INSERT INTO changes (topic, subject) VALUES ('approved', '') ON CONFLICT DO NOTHING")
        }
    }
}

/// What makes transactions that approve an addon for the first time wait for each other until they end: whose name could be taken
/// for whose is decided among those that were approved. SQLite has one writer and needs nothing.
pub(super) fn lock_names(db: &Db) -> Option<&'static str> {
    match db {
        Db::Sqlite { .. } => None,
        Db::Postgres(_) => Some("SELECT pg_advisory_xact_lock(7020384530)"),
    }
}

/// Waits until every transaction that wrote to the audit log has ended, and keeps new ones waiting until this one's end:
/// see `service_kit::audit::LOCK`. Whoever is to write waits behind this, so it gives up soon (`55P03`): one replica that
/// hangs in the midst of a transaction must not keep all others from writing. SQLite has one writer and needs nothing.
pub(super) fn audit_gate(db: &Db) -> Option<[&'static str; 2]> {
    match db {
        Db::Sqlite { .. } => None,
        Db::Postgres(_) => {
            Some(["SET LOCAL lock_timeout = '100ms'", "SELECT pg_advisory_xact_lock(7020384529)"])
        }
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

/// Most listings whose words PostgreSQL looks at, one after the other, before it asks the index.
const WALKED: i64 = 30_000;

/// The first of them, which tell whether enough will be found so.
const PROBED: i64 = 1_000;

/// The first listings in an order, after a cursor, that answer `$1`, to select from as `listings`; at most `$6` where the
/// database can tell early. Whoever selects says condition, order and limit once more.
///
/// FTS5 gives what it finds in the order of `place`, and is not asked for more. PostgreSQL's index gives everything that it
/// finds, in no order: right for words that few listings have. Words that many have are found sooner by walking the listings
/// in the order that is wanted. Which of the two it is, the first [`PROBED`] of them tell: whether four fifths of [`WALKED`]
/// would do. When that was wrong, and not enough was found, the index is asked all the same.
pub(super) fn answering(db: &Db, after: &str, order: &str) -> String {
    let likely = WALKED * 4 / 5;
    match db {
        Db::Sqlite { .. } if order == "place" => {
            "(SELECT rowid AS hit FROM search WHERE search MATCH $1 AND rowid > $3 ORDER BY rowid LIMIT $6) AS found
             CROSS JOIN listings ON place = hit"
                .to_owned()
        }
        Db::Sqlite { .. } => {
            "(SELECT rowid AS hit FROM search WHERE search MATCH $1) AS found CROSS JOIN listings ON place = hit"
                .to_owned()
        }
        // `OFFSET 0` keeps the last part from being a walk as well.
        Db::Postgres(_) => format!(
            "(WITH probed AS MATERIALIZED (
                  SELECT COUNT(*) AS hits FROM (
                      SELECT words FROM listings WHERE {after} ORDER BY {order} LIMIT {PROBED}) AS first
                  WHERE words @@ CAST($1 AS tsquery)),
              walked AS MATERIALIZED (
                  SELECT {LISTING} FROM (
                      SELECT {LISTING}, words FROM listings
                      WHERE {after} AND (SELECT hits FROM probed) * {likely} >= $6 * {PROBED}
                      ORDER BY {order} LIMIT {WALKED}) AS first
                  WHERE words @@ CAST($1 AS tsquery) LIMIT $6),
              enough AS MATERIALIZED (SELECT COUNT(*) >= $6 AS found FROM walked)
              SELECT {LISTING} FROM walked WHERE (SELECT found FROM enough)
              UNION ALL
              SELECT {LISTING} FROM (
                  SELECT {LISTING} FROM (
                      SELECT {LISTING} FROM listings WHERE words @@ CAST($1 AS tsquery) OFFSET 0) AS found
                  WHERE {after} AND NOT (SELECT found FROM enough) ORDER BY {order} LIMIT $6) AS searched
             ) AS listings"
        ),
    }
}

/// Columns of a listing, without its words.
const LISTING: &str = "place, seq, addon, keywords, updated_at_ms, installs";

/// Addons whose listing answers `$1`.
pub(super) const ADDONS: Both = Both {
    sqlite: "SELECT listings.addon FROM search CROSS JOIN listings ON listings.place = search.rowid WHERE search MATCH $1",
    postgres: "SELECT listings.addon FROM listings WHERE words @@ CAST($1 AS tsquery)",
};

/// Whether a listing answers `$1`.
pub(super) const ANSWERS: Both = Both {
    sqlite: "EXISTS (SELECT 1 FROM search WHERE rowid = listings.place AND search MATCH $1)",
    postgres: "words @@ CAST($1 AS tsquery)",
};

/// Facets of the listings in `chosen`, looked up listing by listing. Left to itself, PostgreSQL reads those of every listing that there is;
/// `OFFSET 0` keeps it from that.
pub(super) const FACETS_OF_CHOSEN: Both = Both {
    sqlite: "chosen CROSS JOIN facets ON facets.place = chosen.place",
    postgres: "chosen CROSS JOIN LATERAL (SELECT kind, value FROM facets WHERE facets.place = chosen.place OFFSET 0) AS facets",
};

/// The numbers of a JSON array, `$1`.
pub(super) const NUMBERS: Both = Both {
    sqlite: "SELECT value FROM json_each($1)",
    postgres: "SELECT CAST(number AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS number",
};

/// The texts of a JSON array, `$1`.
pub(super) const TEXTS: Both = Both {
    sqlite: "SELECT value FROM json_each($1)",
    postgres: "SELECT json_array_elements_text(CAST($1 AS JSON))",
};

/// The releases whose ids stand in the JSON array `$1`.
pub(super) const BY_IDS: Both = Both {
    sqlite: select!("WHERE id IN (SELECT value FROM json_each($1))"),
    postgres: select!("WHERE id = ANY (ARRAY(SELECT json_array_elements_text(CAST($1 AS JSON))))"),
};

/// Addons of others than `$1` that were approved once, and whose bare skeleton stands in the JSON array `$2`; none when `$1` was
/// approved itself. The condition on the skeleton is the expression of an index.
pub(super) const NEAR: Both = Both {
    sqlite: "SELECT other.addon, other.name FROM addons AS own
             JOIN addons AS other ON REPLACE(other.skeleton, '-', '') IN (SELECT value FROM json_each($2))
             WHERE own.addon = $1 AND own.approved_at_ms IS NULL AND other.addon <> own.addon
               AND other.approved_at_ms IS NOT NULL
               AND NOT EXISTS (SELECT mine.account FROM owners AS mine JOIN owners AS theirs
                   ON mine.account = theirs.account WHERE mine.addon = own.addon AND theirs.addon = other.addon)
             ORDER BY other.approved_at_ms, other.addon LIMIT 20",
    postgres: "SELECT other.addon, other.name FROM addons AS own
               JOIN addons AS other ON REPLACE(other.skeleton, '-', '') = ANY
                   (ARRAY(SELECT json_array_elements_text(CAST($2 AS JSON))))
               WHERE own.addon = $1 AND own.approved_at_ms IS NULL AND other.addon <> own.addon
                 AND other.approved_at_ms IS NOT NULL
                 AND NOT EXISTS (SELECT mine.account FROM owners AS mine JOIN owners AS theirs
                     ON mine.account = theirs.account WHERE mine.addon = own.addon AND theirs.addon = other.addon)
               ORDER BY other.approved_at_ms, other.addon LIMIT 20",
};

/// The same for a name that nobody has yet, and the account `$2` that would have it.
pub(super) const NEAR_NEW: Both = Both {
    sqlite: "SELECT other.addon, other.name FROM addons AS other
             WHERE REPLACE(other.skeleton, '-', '') IN (SELECT value FROM json_each($1)) AND other.approved_at_ms IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM owners WHERE owners.addon = other.addon AND account = $2)
             ORDER BY other.approved_at_ms, other.addon LIMIT 20",
    postgres: "SELECT other.addon, other.name FROM addons AS other
               WHERE REPLACE(other.skeleton, '-', '') = ANY (ARRAY(SELECT json_array_elements_text(CAST($1 AS JSON))))
                 AND other.approved_at_ms IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM owners WHERE owners.addon = other.addon AND account = $2)
               ORDER BY other.approved_at_ms, other.addon LIMIT 20",
};
