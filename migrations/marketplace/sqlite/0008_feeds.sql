-- What happened to releases that everybody may see, for those who follow it; and what feeds and positions are named by. The
-- PostgreSQL folder has the same tables.

-- Which marketplace this is, by whatever name it is called: one row, made once.
CREATE TABLE marketplace (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    -- 32 hex digits.
    uid        TEXT NOT NULL,
    made_at_ms INTEGER NOT NULL
) STRICT;

INSERT INTO marketplace (id, uid, made_at_ms)
VALUES (1, lower(hex(randomblob(16))), CAST(unixepoch('subsec') * 1000 AS INTEGER));

-- What has no number yet: rows are written by triggers, so in the transaction that makes the change and by whoever makes it.
CREATE TABLE event_inbox (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    -- approved, yanked, unyanked, revoked, deleted, image_missing, image_found
    kind       TEXT NOT NULL,
    release_id TEXT NOT NULL,
    name       TEXT NOT NULL,
    version    TEXT NOT NULL,
    digest     TEXT NOT NULL,
    reason     TEXT
) STRICT;

-- The same in the one order that every client is shown. The newest are kept.
CREATE TABLE events (
    -- 1, 2, 3, …
    position   INTEGER NOT NULL PRIMARY KEY,
    kind       TEXT NOT NULL,
    release_id TEXT NOT NULL,
    name       TEXT NOT NULL,
    version    TEXT NOT NULL,
    digest     TEXT NOT NULL,
    reason     TEXT,
    -- When it was numbered, within about a second of the change.
    at_ms      INTEGER NOT NULL
) STRICT;

-- How many there were: one row, which orders those who give numbers.
CREATE TABLE event_count (
    id   INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    last INTEGER NOT NULL
) STRICT;

INSERT INTO event_count (id, last) VALUES (1, 0);

CREATE TRIGGER event_status AFTER UPDATE OF status ON releases
WHEN OLD.status <> NEW.status AND NEW.status IN ('approved', 'yanked', 'revoked')
BEGIN
    INSERT INTO event_inbox (kind, release_id, name, version, digest, reason)
    VALUES (CASE WHEN NEW.status = 'approved' AND OLD.status = 'yanked' THEN 'unyanked' ELSE NEW.status END,
        NEW.id, NEW.name, NEW.version, NEW.digest, NEW.reason);
END;

CREATE TRIGGER event_image AFTER UPDATE OF image_missing_since_ms ON releases
WHEN NEW.status = 'approved' AND (OLD.image_missing_since_ms IS NULL) <> (NEW.image_missing_since_ms IS NULL)
BEGIN
    INSERT INTO event_inbox (kind, release_id, name, version, digest)
    VALUES (CASE WHEN NEW.image_missing_since_ms IS NULL THEN 'image_found' ELSE 'image_missing' END,
        NEW.id, NEW.name, NEW.version, NEW.digest);
END;

CREATE TRIGGER event_deleted AFTER DELETE ON releases WHEN OLD.status IN ('approved', 'yanked')
BEGIN
    INSERT INTO event_inbox (kind, release_id, name, version, digest)
    VALUES ('deleted', OLD.id, OLD.name, OLD.version, OLD.digest);
END;

-- Approved releases by when that was, of all addons and of each: the newest are in the Atom feed, and each addon's are counted.
CREATE INDEX releases_approved ON releases (status, approved_at_ms, seq) WHERE status = 'approved';
CREATE INDEX releases_approved_of ON releases (addon, status, approved_at_ms, seq) WHERE status = 'approved';

-- An id in `installers` is drawn by a manager for one installation, and for nothing else: it tells a report that is sent
-- again, and no two addons of one host belong together by it.
