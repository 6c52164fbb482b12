-- What is remembered of registries, by all replicas together.

-- What a repository serves under a digest, as it was read: it can be nothing else later. Rows are removed oldest first.
CREATE TABLE registry_parts (
    -- `registry/path`: what one repository shows is no answer about another.
    repository TEXT NOT NULL,
    digest     TEXT NOT NULL,
    -- JSON: a manifest's or a configuration's facts.
    part       TEXT NOT NULL,
    kept_at_ms INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) STRICT;

CREATE INDEX registry_parts_kept ON registry_parts (kept_at_ms);

-- Registries that said when they want to be asked again: nobody asks them before.
CREATE TABLE registry_pauses (
    registry TEXT NOT NULL PRIMARY KEY,
    until_ms INTEGER NOT NULL
) STRICT;

-- When it is looked whether the images of an approved release are still there; 0: to be decided.
ALTER TABLE verification_reports ADD COLUMN recheck_at_ms INTEGER NOT NULL DEFAULT 0;

CREATE INDEX verification_reports_recheck ON verification_reports (recheck_at_ms);
