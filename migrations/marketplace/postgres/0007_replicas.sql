-- What one replica does for all of them, for a time: a row is one holder's until its end, and anybody's after it.
CREATE TABLE leases (
    name     TEXT NOT NULL PRIMARY KEY,
    holder   TEXT NOT NULL,
    until_ms BIGINT NOT NULL
);
