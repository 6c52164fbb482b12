-- What is signed: the keys, the index of releases in 256 shards, the feed of revocations.

-- Key sets, each signed by a key of the one before: the chain that clients follow. Private keys are in no table.
CREATE TABLE key_sets (
    version       INTEGER NOT NULL PRIMARY KEY,
    envelope      TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT;

-- The newest signed index and the newest signed feed: `index`, `revocations`.
CREATE TABLE signed_documents (
    kind          TEXT NOT NULL PRIMARY KEY,
    version       INTEGER NOT NULL,
    envelope      TEXT NOT NULL,
    -- SHA-256 of the envelope.
    digest        TEXT NOT NULL,
    -- The key that signed it, and the key set that it speaks of.
    keyid         TEXT NOT NULL,
    keys          INTEGER NOT NULL,
    -- How much was in it: all builds of shards so far, all revocations so far.
    covers        INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT;

-- Addons whose releases in the index changed: a row a change, written by triggers, so in the transaction that makes the
-- change and by whoever makes it.
CREATE TABLE index_changes (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    addon TEXT NOT NULL
) STRICT;

INSERT INTO index_changes (addon)
SELECT DISTINCT addon FROM releases WHERE status IN ('approved', 'yanked', 'revoked');

CREATE TRIGGER index_release_came AFTER INSERT ON releases
WHEN NEW.status IN ('approved', 'yanked', 'revoked')
BEGIN INSERT INTO index_changes (addon) VALUES (NEW.addon); END;

CREATE TRIGGER index_release_changed AFTER UPDATE OF status, pins ON releases
WHEN (OLD.status <> NEW.status OR OLD.pins <> NEW.pins)
     AND (OLD.status IN ('approved', 'yanked', 'revoked') OR NEW.status IN ('approved', 'yanked', 'revoked'))
BEGIN INSERT INTO index_changes (addon) VALUES (NEW.addon); END;

CREATE TRIGGER index_release_went AFTER DELETE ON releases
WHEN OLD.status IN ('approved', 'yanked', 'revoked')
BEGIN INSERT INTO index_changes (addon) VALUES (OLD.addon); END;

-- Which shard an addon is in: the first byte of the SHA-256 of its folded name.
CREATE TABLE index_addons (
    addon TEXT NOT NULL PRIMARY KEY,
    shard INTEGER NOT NULL
) STRICT;

CREATE INDEX index_addons_shard ON index_addons (shard, addon);

-- The shards that ever had a release. One is to be built while `changed` is not `built`.
CREATE TABLE index_shards (
    shard   INTEGER NOT NULL PRIMARY KEY,
    changed INTEGER NOT NULL,
    built   INTEGER NOT NULL,
    -- Of its content; none while it has no release.
    digest  TEXT,
    bytes   INTEGER NOT NULL DEFAULT 0,
    entries INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What shards are, and for a moment what they were: whoever read the root before can still fetch what it means.
CREATE TABLE index_contents (
    digest           TEXT NOT NULL PRIMARY KEY,
    content          TEXT NOT NULL,
    superseded_at_ms INTEGER
) STRICT;

CREATE INDEX index_contents_superseded ON index_contents (superseded_at_ms);

-- The revocations, in order and without gaps. They only grow.
CREATE TABLE revocations (
    sequence      INTEGER NOT NULL PRIMARY KEY,
    release_id    TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    version       TEXT NOT NULL,
    digest        TEXT NOT NULL,
    severity      TEXT NOT NULL,
    reason        TEXT NOT NULL,
    fixed_in      TEXT,
    revoked_by    TEXT NOT NULL,
    revoked_at_ms INTEGER NOT NULL
) STRICT;

-- How many there are: one row, which orders those who add one.
CREATE TABLE revocation_count (
    id   INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    last INTEGER NOT NULL
) STRICT;

INSERT INTO revocation_count (id, last) VALUES (1, 0);

CREATE TRIGGER revocations_no_update BEFORE UPDATE ON revocations
BEGIN SELECT RAISE(ABORT, 'revocations only grow'); END;
CREATE TRIGGER revocations_no_delete BEFORE DELETE ON revocations
BEGIN SELECT RAISE(ABORT, 'revocations only grow'); END;
