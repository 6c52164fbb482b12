-- What one replica does for all of them, for a time: a row is one holder's until its end, and anybody's after it.
CREATE TABLE leases (
    name     TEXT NOT NULL PRIMARY KEY,
    holder   TEXT NOT NULL,
    until_ms BIGINT NOT NULL
);

-- What was changed, for the other replicas: rows are written by triggers, in the transaction that makes the change, and
-- removed after some minutes. SQLite has one process and no such table.
CREATE TABLE changes (
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- `release` with an id, `approved` with nothing: what answers were made of.
    topic       TEXT NOT NULL,
    subject     TEXT NOT NULL,
    -- Who made it: replicas name themselves by their connections.
    replica     TEXT NOT NULL DEFAULT current_setting('application_name'),
    at_ms       BIGINT NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT,
    PRIMARY KEY (transaction, topic, subject)
);

CREATE INDEX changes_at ON changes (at_ms);

CREATE FUNCTION release_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (topic, subject) VALUES ('release', OLD.id) ON CONFLICT DO NOTHING;
    IF OLD.status = 'approved' OR OLD.listed = 1 OR NEW.status = 'approved' OR NEW.listed = 1 THEN
        INSERT INTO changes (topic, subject) VALUES ('approved', '') ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;

-- A new release is in no answer that is kept.
CREATE TRIGGER release_changed AFTER UPDATE OR DELETE ON releases FOR EACH ROW EXECUTE FUNCTION release_changed();
