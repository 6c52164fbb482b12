-- The marketplace's tables. The same text stands in the SQLite folder but for the types of numbers, the collation of
-- texts that are sorted by their bytes, and the numbering of rows. Times are milliseconds since the epoch, UTC; documents
-- are JSON texts; names of constraints are the database's own.

-- One row a name. It stays when its last release is deleted, so that a name never changes hands unasked.
CREATE TABLE addons (
    -- The name in lower case, with `_` and `.` read as `-`.
    addon         TEXT NOT NULL PRIMARY KEY,
    -- The spelling that was published first.
    name          TEXT NOT NULL,
    -- The form in which names that look alike are equal.
    skeleton      TEXT NOT NULL,
    -- The account that published first.
    owner         TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    changed_at_ms BIGINT NOT NULL
);

CREATE INDEX addons_skeleton ON addons (skeleton);

-- One row an (addon, version). The document never changes; what stands below `status` does.
CREATE TABLE releases (
    -- In the order of publishing: lists and their cursors go by it.
    seq                    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id                     TEXT NOT NULL UNIQUE,
    addon                  TEXT NOT NULL REFERENCES addons (addon),
    name                   TEXT NOT NULL,
    version                TEXT NOT NULL,
    -- The version without build metadata, which does not tell versions apart.
    version_id             TEXT NOT NULL,
    -- Sorts as SemVer does; `version_rank` has every pre-release below every release.
    version_order          TEXT COLLATE "C" NOT NULL,
    version_rank           TEXT COLLATE "C" NOT NULL,
    digest                 TEXT NOT NULL,
    canonical              TEXT NOT NULL,
    -- The descriptor's fields as clients get them.
    wire                   TEXT NOT NULL,
    rights                 TEXT NOT NULL,
    risk                   BIGINT NOT NULL,
    warnings               TEXT NOT NULL,
    publisher              TEXT NOT NULL,
    created_at_ms          BIGINT NOT NULL,
    status                 TEXT NOT NULL,
    -- Of the last run of the checks: pending, pass, no_answer, fail.
    verdict                TEXT NOT NULL,
    held                   TEXT NOT NULL,
    pins                   TEXT NOT NULL,
    reason                 TEXT,
    -- The account that approved or rejected; none when the checks did.
    decided_by             TEXT,
    approved_at_ms         BIGINT,
    changed_at_ms          BIGINT NOT NULL,
    image_missing_since_ms BIGINT,
    -- 1 for the newest approved release of its addon, which is the one in lists.
    listed                 BIGINT NOT NULL DEFAULT 0,
    UNIQUE (addon, version_id)
);

CREATE INDEX releases_order ON releases (addon, version_order);
CREATE INDEX releases_rank ON releases (addon, version_rank);
CREATE INDEX releases_status ON releases (status, seq);
CREATE UNIQUE INDEX releases_listed ON releases (addon) WHERE listed = 1;
CREATE INDEX releases_listed_seq ON releases (seq) WHERE listed = 1;

-- Versions of deleted releases: never given to another digest.
CREATE TABLE tombstones (
    addon         TEXT NOT NULL REFERENCES addons (addon),
    version_id    TEXT NOT NULL,
    version       TEXT NOT NULL,
    version_order TEXT COLLATE "C" NOT NULL,
    digest        TEXT NOT NULL,
    deleted_by    TEXT NOT NULL,
    deleted_at_ms BIGINT NOT NULL,
    PRIMARY KEY (addon, version_id)
);

CREATE INDEX tombstones_order ON tombstones (addon, version_order);

-- Releases whose checks are to be made. A row is taken with a lease; who loses the lease loses the right to record.
CREATE TABLE verification_jobs (
    release_id     TEXT NOT NULL PRIMARY KEY REFERENCES releases (id) ON DELETE CASCADE,
    -- `review`: decides about a release under review. `recheck`: are an approved release's images still there?
    purpose        TEXT NOT NULL,
    due_at_ms      BIGINT NOT NULL,
    -- How often it was taken: with the holder, the number that fences a lost lease.
    attempts       BIGINT NOT NULL,
    lease_owner    TEXT,
    lease_until_ms BIGINT
);

CREATE INDEX verification_jobs_due ON verification_jobs (due_at_ms);

-- What the last run of the checks found.
CREATE TABLE verification_reports (
    release_id         TEXT NOT NULL PRIMARY KEY REFERENCES releases (id) ON DELETE CASCADE,
    checks             TEXT NOT NULL,
    attempts           BIGINT NOT NULL,
    checked_at_ms      BIGINT NOT NULL,
    next_attempt_at_ms BIGINT
);

-- Accounts and their tokens: the same text in every service.
CREATE TABLE accounts (
    name TEXT NOT NULL PRIMARY KEY,
    created_at_ms BIGINT NOT NULL
);

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL REFERENCES accounts (name),
    hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    name_pattern TEXT,
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT
);
