-- Changes from one revision to another: the one that is under way, and those that were. Every step of one is written here, or into the roles
-- of containers, before it is done.
CREATE TABLE rollouts (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    installation_id TEXT    NOT NULL REFERENCES installations (id) ON DELETE CASCADE,
    kind            TEXT    NOT NULL CHECK (kind IN ('upgrade', 'rollback', 'parameters')),
    from_revision   INTEGER NOT NULL,
    to_revision     INTEGER NOT NULL,
    -- forward and back are under way.
    phase           TEXT    NOT NULL CHECK (phase IN ('forward', 'back', 'done', 'undone', 'ended')),
    -- Names of services, as JSON arrays: those that are as the new revision has them, and of these the ones that passed their gate.
    moved           TEXT    NOT NULL DEFAULT '[]',
    passed          TEXT    NOT NULL DEFAULT '[]',
    -- Time that counts against its deadline: while manager and engine were up and no image was on its way.
    used_ms         INTEGER NOT NULL DEFAULT 0,
    why             TEXT,                                -- why it goes, or went, back
    logs            TEXT,                                -- of what failed, its last lines
    asked_by        TEXT    NOT NULL,
    opened_at_ms    INTEGER NOT NULL,
    ended_at_ms     INTEGER
);
CREATE UNIQUE INDEX rollouts_open ON rollouts (installation_id) WHERE ended_at_ms IS NULL;
CREATE INDEX rollouts_installation ON rollouts (installation_id, id);
