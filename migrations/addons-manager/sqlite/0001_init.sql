-- The state of an addons manager. One file beside the engine that it looks after.
-- Times are milliseconds since the epoch, UTC; ids and documents are text; 0/1 stand for false and true.

-- What somebody asked for. A row stays, unlisted, until the reconciler has removed what was made for it.
CREATE TABLE installations (
    id                 TEXT    NOT NULL PRIMARY KEY,
    name               TEXT    NOT NULL,
    addon              TEXT    NOT NULL,
    version            TEXT    NOT NULL,
    release_id         TEXT    NOT NULL,
    release_digest     TEXT    NOT NULL,
    descriptor         TEXT    NOT NULL,                 -- canonical
    pins               TEXT    NOT NULL,
    parameters         TEXT    NOT NULL DEFAULT '{}',
    consent            TEXT    NOT NULL DEFAULT '{}',
    desired            TEXT    NOT NULL CHECK (desired IN ('active', 'disabled', 'absent')),
    generation         INTEGER NOT NULL DEFAULT 1,       -- counts every change of what is asked for
    revision           INTEGER NOT NULL,
    -- Restarts that were asked for: a container or a completion of an older count is due.
    restart_generation INTEGER NOT NULL DEFAULT 0,
    -- Fresh starts: counted up by /restart and by enabling; failures of an older epoch are forgiven.
    epoch              INTEGER NOT NULL DEFAULT 0,
    -- Names of the services that have been up since install or enable, as a JSON array; emptied by enabling.
    been_up            TEXT    NOT NULL DEFAULT '[]',
    delete_volumes     INTEGER NOT NULL DEFAULT 0,
    listed             INTEGER NOT NULL DEFAULT 1,
    status             TEXT    NOT NULL,
    status_since_ms    INTEGER NOT NULL,
    conditions         TEXT    NOT NULL DEFAULT '[]',
    -- Per service, as derived by the last pass.
    service_states     TEXT    NOT NULL DEFAULT '[]',
    created_at_ms      INTEGER NOT NULL,
    updated_at_ms      INTEGER NOT NULL
);
CREATE INDEX installations_listed ON installations (listed, created_at_ms, id);
CREATE INDEX installations_addon ON installations (addon);

-- What the engine is asked for, resolved once. Passes compare with this and never compute it anew.
CREATE TABLE revisions (
    installation_id TEXT    NOT NULL REFERENCES installations (id) ON DELETE CASCADE,
    revision        INTEGER NOT NULL,
    release_id      TEXT    NOT NULL,
    release_digest  TEXT    NOT NULL,
    version         TEXT    NOT NULL,
    descriptor      TEXT    NOT NULL,
    pins            TEXT    NOT NULL,
    specification   TEXT    NOT NULL,
    digests         TEXT    NOT NULL,                    -- service to digest of its specification
    created_at_ms   INTEGER NOT NULL,
    PRIMARY KEY (installation_id, revision)
);

-- What an installation has for itself. The unique index reports equal claims, also between two requests at once.
CREATE TABLE claims (
    kind            TEXT NOT NULL,
    value           TEXT NOT NULL,
    installation_id TEXT NOT NULL REFERENCES installations (id) ON DELETE CASCADE,
    detail          TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (kind, value)
);
CREATE INDEX claims_installation ON claims (installation_id);

-- The ledger of containers. A row is committed before the engine is asked to create; its nonce goes on as a label and proves the container
-- ours until its id is written, which alone proves it from then on.
CREATE TABLE containers (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    installation_id    TEXT    NOT NULL REFERENCES installations (id) ON DELETE CASCADE,
    service            TEXT    NOT NULL,
    revision           INTEGER NOT NULL,
    role               TEXT    NOT NULL CHECK (role IN ('current', 'candidate', 'previous')),
    name               TEXT    NOT NULL,
    nonce              TEXT    NOT NULL UNIQUE,
    engine_id          TEXT    UNIQUE,
    spec_digest        TEXT    NOT NULL,
    asked              TEXT    NOT NULL,                 -- what was last asked of the engine for it
    providers          TEXT    NOT NULL DEFAULT '{}',    -- the containers that it was started against, by service
    verified           INTEGER NOT NULL DEFAULT 0,       -- compared with what was meant, after create
    started_at         TEXT,                             -- of its running process, as the engine writes it
    restart_generation INTEGER NOT NULL DEFAULT 0,
    -- The three as they were before the last start that we asked for: a start that did not come true is taken back.
    providers_before   TEXT    NOT NULL DEFAULT '{}',
    started_at_before  TEXT,
    restart_generation_before INTEGER NOT NULL DEFAULT 0,
    created_at_ms      INTEGER NOT NULL,
    UNIQUE (installation_id, service, role)
);

-- Networks that were made here. The platform's has no installation and is never removed.
CREATE TABLE networks (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    installation_id TEXT    REFERENCES installations (id) ON DELETE CASCADE,
    name            TEXT    NOT NULL,
    nonce           TEXT    NOT NULL,
    engine_id       TEXT    UNIQUE,
    -- One of several that were made under one name (names of networks are not unique): to be removed.
    surplus         INTEGER NOT NULL DEFAULT 0,
    specification   TEXT    NOT NULL,
    created_at_ms   INTEGER NOT NULL
);
CREATE UNIQUE INDEX networks_name ON networks (name) WHERE surplus = 0;
CREATE INDEX networks_installation ON networks (installation_id);

-- Volumes that were made here. A volume has no id: name and nonce together stay the proof.
CREATE TABLE volumes (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    installation_id TEXT    NOT NULL REFERENCES installations (id) ON DELETE CASCADE,
    name            TEXT    NOT NULL UNIQUE,
    nonce           TEXT    NOT NULL,
    origin          TEXT    NOT NULL CHECK (origin IN ('declared', 'anonymous', 'image')),
    service         TEXT    NOT NULL DEFAULT '',
    specification   TEXT    NOT NULL,
    created_at_ms   INTEGER NOT NULL
);
CREATE INDEX volumes_installation ON volumes (installation_id);

-- Volumes that outlived their installation, for the next one of that addon under that name.
CREATE TABLE kept_volumes (
    name              TEXT    NOT NULL PRIMARY KEY,
    nonce             TEXT    NOT NULL,
    addon             TEXT    NOT NULL,
    installation_name TEXT    NOT NULL,
    origin            TEXT    NOT NULL,
    service           TEXT    NOT NULL DEFAULT '',
    specification     TEXT    NOT NULL,
    kept_at_ms        INTEGER NOT NULL
);

-- What was learned of an image when it was pulled and tagged for a service of a revision.
CREATE TABLE images (
    installation_id TEXT    NOT NULL REFERENCES installations (id) ON DELETE CASCADE,
    revision        INTEGER NOT NULL,
    service         TEXT    NOT NULL,
    image_id        TEXT    NOT NULL,
    tag             TEXT    NOT NULL,
    volumes         TEXT    NOT NULL,                    -- paths of VOLUME, as a JSON array
    has_healthcheck INTEGER NOT NULL,
    PRIMARY KEY (installation_id, revision, service)
);

-- Jobs that are done. A job is not run again for the same specification until a restart is asked for.
CREATE TABLE completions (
    installation_id    TEXT    NOT NULL REFERENCES installations (id) ON DELETE CASCADE,
    service            TEXT    NOT NULL,
    spec_digest        TEXT    NOT NULL,
    restart_generation INTEGER NOT NULL,
    finished_at_ms     INTEGER NOT NULL,
    watched            INTEGER NOT NULL,                 -- 0: found ended by a listing, nobody saw it end
    PRIMARY KEY (installation_id, service, spec_digest, restart_generation)
);

-- One row a run of a container, and one for each operation that failed before there was a run.
CREATE TABLE attempts (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    installation_id TEXT    NOT NULL REFERENCES installations (id) ON DELETE CASCADE,
    service         TEXT    NOT NULL,                    -- empty: the installation as a whole
    container_row   INTEGER,
    engine_id       TEXT,
    spec_digest     TEXT    NOT NULL,
    epoch           INTEGER NOT NULL,
    started_by      TEXT    NOT NULL CHECK (started_by IN ('manager', 'engine', 'person')),
    started_at_ms   INTEGER NOT NULL,
    unhealthy_at_ms INTEGER,
    ended_at_ms     INTEGER,
    exit_code       INTEGER,
    oom             INTEGER NOT NULL DEFAULT 0,
    ended_by        TEXT    CHECK (ended_by IN ('itself', 'person', 'engine', 'manager')),
    watched         INTEGER NOT NULL DEFAULT 0,          -- its end was seen in the event stream
    error_kind      TEXT,                                -- retry, never, unhealthy, or what has to change
    error           TEXT,
    not_before_ms   INTEGER,                             -- the other side asked us not to come back earlier
    logs            TEXT
);
CREATE INDEX attempts_service ON attempts (installation_id, service, id);
CREATE INDEX attempts_open ON attempts (engine_id) WHERE ended_at_ms IS NULL;

-- The why-log: what was done, because of what, and how it went. Kept up to a bound for each installation.
CREATE TABLE events (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    installation_id TEXT    NOT NULL REFERENCES installations (id) ON DELETE CASCADE,
    at_ms           INTEGER NOT NULL,
    service         TEXT    NOT NULL DEFAULT '',
    cause           TEXT    NOT NULL,
    operation       TEXT    NOT NULL,
    result          TEXT    NOT NULL,
    next_attempt_ms INTEGER
);
CREATE INDEX events_installation ON events (installation_id, id);

-- Who may call. The text is the same in both services: service_kit::auth::store.
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
