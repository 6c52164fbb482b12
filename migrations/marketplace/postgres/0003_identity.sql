-- Who did what: an audit log that only grows. Who owns a name, who is invited to. How much of what an account may do at once.

-- One row a change by a person, written in the transaction of the change.
CREATE TABLE audit (
    seq          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_ms        BIGINT NOT NULL,
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
);

CREATE INDEX audit_account ON audit (account, seq);
CREATE INDEX audit_subject ON audit (subject_id, seq);
CREATE INDEX audit_at ON audit (at_ms);

-- Rows of the log in order, each with the hash over its own content and the hash before it. A table of its own, so that the
-- log's rows are never written twice.
CREATE TABLE audit_chain (
    -- 1, 2, 3, …
    position BIGINT NOT NULL PRIMARY KEY,
    seq      BIGINT NOT NULL UNIQUE,
    hash     TEXT NOT NULL
);

-- How far the chain goes: one row. It tells a chain whose end was cut off.
CREATE TABLE audit_head (
    id       BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    position BIGINT NOT NULL,
    seq      BIGINT NOT NULL,
    hash     TEXT NOT NULL
);

INSERT INTO audit_head (id, position, seq, hash) VALUES (1, 0, 0, '');

CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log only grows';
END $$;

CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows();
CREATE TRIGGER audit_chain_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_chain
FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows();

-- Who may publish under a name, and withdraw. The last owner stays.
CREATE TABLE owners (
    addon       TEXT NOT NULL REFERENCES addons (addon),
    account     TEXT NOT NULL,
    added_by    TEXT NOT NULL,
    added_at_ms BIGINT NOT NULL,
    PRIMARY KEY (addon, account)
);

CREATE INDEX owners_account ON owners (account, addon);

INSERT INTO owners (addon, account, added_by, added_at_ms)
SELECT addon, owner, owner, created_at_ms FROM addons;

CREATE TABLE invitations (
    addon         TEXT NOT NULL REFERENCES addons (addon),
    account       TEXT NOT NULL,
    invited_by    TEXT NOT NULL,
    invited_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (addon, account)
);

CREATE INDEX invitations_account ON invitations (account, addon);

-- One bucket an account and kind of change: when it will be full again if nothing more is taken.
CREATE TABLE buckets (
    account    TEXT NOT NULL,
    kind       TEXT NOT NULL,
    full_at_ms BIGINT NOT NULL,
    PRIMARY KEY (account, kind)
);
