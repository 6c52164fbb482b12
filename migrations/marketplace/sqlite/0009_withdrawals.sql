-- Whose yank it is: an owner takes back an owner's, not an administrator's. 0 also for what is not yanked.
ALTER TABLE releases ADD COLUMN yanked_by_admin INTEGER NOT NULL DEFAULT 0;

-- A revocation can be raised: then the release has one more, of a higher severity.
CREATE TABLE raised_revocations (
    sequence      INTEGER NOT NULL PRIMARY KEY,
    release_id    TEXT NOT NULL,
    name          TEXT NOT NULL,
    version       TEXT NOT NULL,
    digest        TEXT NOT NULL,
    severity      TEXT NOT NULL,
    reason        TEXT NOT NULL,
    fixed_in      TEXT,
    revoked_by    TEXT NOT NULL,
    revoked_at_ms INTEGER NOT NULL,
    UNIQUE (release_id, severity)
) STRICT;

INSERT INTO raised_revocations SELECT sequence, release_id, name, version, digest, severity, reason, fixed_in, revoked_by,
    revoked_at_ms FROM revocations;
DROP TABLE revocations;
ALTER TABLE raised_revocations RENAME TO revocations;

CREATE TRIGGER revocations_no_update BEFORE UPDATE ON revocations
BEGIN SELECT RAISE(ABORT, 'revocations only grow'); END;
CREATE TRIGGER revocations_no_delete BEFORE DELETE ON revocations
BEGIN SELECT RAISE(ABORT, 'revocations only grow'); END;
