-- Who did what: an audit log that only grows. Who owns a name, who is invited to. How much of what an account may do at once.

-- One row a change by a person, written in the transaction of the change.
CREATE TABLE audit (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms        INTEGER NOT NULL,
    account      TEXT NOT NULL,
    token_id     TEXT,
    -- A noun and a verb: release.approve.
    action       TEXT NOT NULL,
    subject_kind TEXT NOT NULL,
    subject_id   TEXT NOT NULL,
    reason       TEXT,
    -- An object.
    detail       TEXT NOT NULL,
    request_id   TEXT
) STRICT;

CREATE INDEX audit_account ON audit (account, seq);
CREATE INDEX audit_subject ON audit (subject_id, seq);
CREATE INDEX audit_at ON audit (at_ms);

-- Rows of the log in order, each with the hash over its own content and the hash before it. A table of its own, so that the
-- log's rows are never written twice.
CREATE TABLE audit_chain (
    -- 1, 2, 3, …
    position INTEGER NOT NULL PRIMARY KEY,
    seq      INTEGER NOT NULL UNIQUE,
    hash     TEXT NOT NULL
) STRICT;

-- How far the chain goes: one row. It tells a chain whose end was cut off.
CREATE TABLE audit_head (
    id       INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    position INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    hash     TEXT NOT NULL
) STRICT;

INSERT INTO audit_head (id, position, seq, hash) VALUES (1, 0, 0, '');

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER audit_chain_no_update BEFORE UPDATE ON audit_chain
BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER audit_chain_no_delete BEFORE DELETE ON audit_chain
BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;

-- Who may publish under a name, and withdraw. The last owner stays.
CREATE TABLE owners (
    addon       TEXT NOT NULL REFERENCES addons (addon),
    account     TEXT NOT NULL,
    added_by    TEXT NOT NULL,
    added_at_ms INTEGER NOT NULL,
    PRIMARY KEY (addon, account)
) STRICT;

CREATE INDEX owners_account ON owners (account, addon);

INSERT INTO owners (addon, account, added_by, added_at_ms)
SELECT addon, owner, owner, created_at_ms FROM addons;

CREATE TABLE invitations (
    addon         TEXT NOT NULL REFERENCES addons (addon),
    account       TEXT NOT NULL,
    invited_by    TEXT NOT NULL,
    invited_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (addon, account)
) STRICT;

CREATE INDEX invitations_account ON invitations (account, addon);

-- One bucket an account and kind of change: when it will be full again if nothing more is taken.
CREATE TABLE buckets (
    account    TEXT NOT NULL,
    kind       TEXT NOT NULL,
    full_at_ms INTEGER NOT NULL,
    PRIMARY KEY (account, kind)
) STRICT;
