-- What lists, searches and counts go by: one row an addon that is listed. Triggers keep it, so that every change of what is
-- listed reaches it in its own transaction. The PostgreSQL folder has the same tables; the index of words is the database's
-- own there as here.

-- How often each addon was installed, as managers report that may.
CREATE TABLE installs (
    addon TEXT NOT NULL PRIMARY KEY REFERENCES addons (addon),
    total INTEGER NOT NULL,
    -- How many binary digits `total` has, at most 31: what ranks by it changes seldom.
    grade INTEGER NOT NULL
) STRICT;

-- Who reported an addon already: an id that a manager draws anew each day. Rows of past days are removed.
CREATE TABLE installers (
    -- Days since the epoch.
    day   INTEGER NOT NULL,
    addon TEXT NOT NULL,
    id    TEXT NOT NULL,
    PRIMARY KEY (day, addon, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE listings (
    -- The stored rank, the best first: negative, made of the grade of installs, the second of approval, and the low bits of
    -- `seq`, which tell equals apart.
    place         INTEGER PRIMARY KEY,
    seq           INTEGER NOT NULL UNIQUE,
    addon         TEXT NOT NULL UNIQUE,
    -- Title, keywords and categories, for relevance.
    keywords      TEXT NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    installs      INTEGER NOT NULL
) STRICT;

CREATE INDEX listings_updated ON listings (updated_at_ms, seq);
CREATE INDEX listings_installs ON listings (installs, seq);

-- What listings can be filtered by: category, keyword, platform, risk.
CREATE TABLE facets (
    place INTEGER NOT NULL,
    kind  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (place, kind, value)
) STRICT, WITHOUT ROWID;

-- Words of listings by `place`, so that matches come with the best first. Facets are in it as words that no text has: a
-- character of private use, the kind's first letter, and the value in hex.
CREATE VIRTUAL TABLE search USING fts5 (
    words, content = '', contentless_delete = 1, prefix = '2 3 4', tokenize = 'unicode61 remove_diacritics 0'
);

CREATE VIEW listing_rows AS
SELECT
    -((COALESCE(installs.grade, 0) * 8589934592 + COALESCE(approved_at_ms, created_at_ms) / 1000) * 16777216
        + seq % 16777216) AS place,
    seq,
    releases.addon AS addon,
    COALESCE(canonical ->> '$.title', '')
        || ' ' || COALESCE((SELECT group_concat(value, ' ') FROM json_each(canonical, '$.keywords')), '')
        || ' ' || COALESCE((SELECT group_concat(value, ' ') FROM json_each(canonical, '$.categories')), '') AS keywords,
    COALESCE(approved_at_ms, created_at_ms) AS updated_at_ms,
    COALESCE(installs.total, 0) AS installs
FROM releases LEFT JOIN installs ON installs.addon = releases.addon
WHERE listed = 1;

CREATE TRIGGER listings_came AFTER INSERT ON listings
BEGIN
    INSERT OR IGNORE INTO facets (place, kind, value)
    SELECT NEW.place, 'risk', CAST(risk AS TEXT) FROM releases WHERE seq = NEW.seq;
    INSERT OR IGNORE INTO facets (place, kind, value)
    SELECT NEW.place, 'category', lower(value) FROM releases, json_each(canonical, '$.categories') WHERE seq = NEW.seq;
    INSERT OR IGNORE INTO facets (place, kind, value)
    SELECT NEW.place, 'keyword', lower(value) FROM releases, json_each(canonical, '$.keywords') WHERE seq = NEW.seq;
    -- Platforms that every image has, and that the addon takes.
    INSERT OR IGNORE INTO facets (place, kind, value)
    SELECT NEW.place, 'platform', platform FROM (
        SELECT offered.value AS platform, COUNT(DISTINCT pin.key) AS images,
            json_array_length(pins) AS all_images, canonical
        FROM releases, json_each(pins) AS pin, json_each(pin.value, '$.platforms') AS offered
        WHERE seq = NEW.seq GROUP BY 1)
    WHERE images = all_images
      AND (canonical -> '$.requires.platforms' IS NULL
           OR platform IN (SELECT value FROM json_each(canonical, '$.requires.platforms')));
    INSERT INTO search (rowid, words)
    SELECT NEW.place,
        replace(NEW.addon || ' ' || NEW.keywords || ' ' || publisher || ' ' || COALESCE(canonical ->> '$.description', ''),
            char(57344), ' ')
        || COALESCE((SELECT group_concat(' ' || char(57344) || substr(kind, 1, 1) || lower(hex(value)), '')
                     FROM facets WHERE place = NEW.place), '')
    FROM releases WHERE seq = NEW.seq;
END;

CREATE TRIGGER listings_went AFTER DELETE ON listings
BEGIN
    DELETE FROM facets WHERE place = OLD.place;
    DELETE FROM search WHERE rowid = OLD.place;
END;

CREATE TRIGGER release_is_listed AFTER UPDATE OF listed ON releases WHEN OLD.listed = 0 AND NEW.listed = 1
BEGIN
    INSERT INTO listings (place, seq, addon, keywords, updated_at_ms, installs)
    SELECT place, seq, addon, keywords, updated_at_ms, installs FROM listing_rows WHERE seq = NEW.seq;
END;

CREATE TRIGGER release_is_unlisted AFTER UPDATE OF listed ON releases WHEN OLD.listed = 1 AND NEW.listed = 0
BEGIN DELETE FROM listings WHERE seq = OLD.seq; END;

CREATE TRIGGER listed_release_went AFTER DELETE ON releases WHEN OLD.listed = 1
BEGIN DELETE FROM listings WHERE seq = OLD.seq; END;

INSERT INTO listings (place, seq, addon, keywords, updated_at_ms, installs)
SELECT place, seq, addon, keywords, updated_at_ms, installs FROM listing_rows;
