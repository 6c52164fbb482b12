-- What lists, searches and counts go by: one row an addon that is listed. Triggers keep it, so that every change of what is
-- listed reaches it in its own transaction. The SQLite folder has the same tables; the index of words is the database's own
-- there as here.

-- How often each addon was installed, as managers report that may.
CREATE TABLE installs (
    addon TEXT NOT NULL PRIMARY KEY REFERENCES addons (addon),
    total BIGINT NOT NULL,
    -- How many binary digits `total` has, at most 31: what ranks by it changes seldom.
    grade BIGINT NOT NULL
);

-- Who reported an addon already: an id that a manager draws anew each day. Rows of past days are removed.
CREATE TABLE installers (
    -- Days since the epoch.
    day   BIGINT NOT NULL,
    addon TEXT NOT NULL,
    id    TEXT NOT NULL,
    PRIMARY KEY (day, addon, id)
);

CREATE TABLE listings (
    -- The stored rank, the best first: negative, made of the grade of installs, the second of approval, and the low bits of
    -- `seq`, which tell equals apart.
    place         BIGINT NOT NULL PRIMARY KEY,
    seq           BIGINT NOT NULL UNIQUE,
    addon         TEXT COLLATE "C" NOT NULL UNIQUE,
    -- Title, keywords and categories, for relevance.
    keywords      TEXT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    installs      BIGINT NOT NULL
);

CREATE INDEX listings_updated ON listings (updated_at_ms, seq);
CREATE INDEX listings_installs ON listings (installs, seq);

-- What listings can be filtered by: category, keyword, platform, risk.
CREATE TABLE facets (
    place BIGINT NOT NULL,
    kind  TEXT NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (place, kind, value)
);

-- Words of listings by `place`. Facets are in it as words that no text has: a character of private use, the kind's first
-- letter, and the value in hex.
CREATE TABLE search (
    place BIGINT NOT NULL PRIMARY KEY,
    words tsvector NOT NULL
);

CREATE INDEX search_words ON search USING gin (words);

-- The words of a text: what stands between characters that are neither letters nor digits.
CREATE FUNCTION words_of(content TEXT) RETURNS TEXT[] LANGUAGE sql IMMUTABLE AS $$
    SELECT COALESCE(array_agg(DISTINCT left(word, 200)), '{}') FROM regexp_split_to_table(lower(content),
        '[\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u00d7\u00f7\u2000-\u206f\u3000-\u3004\u3007-\u3020\ue000-\uf8ff]+') AS word
    WHERE word <> ''
$$;

CREATE VIEW listing_rows AS
SELECT
    -((COALESCE(installs.grade, 0) * 8589934592 + COALESCE(approved_at_ms, created_at_ms) / 1000) * 16777216
        + seq % 16777216) AS place,
    seq,
    releases.addon AS addon,
    COALESCE(canonical::json ->> 'title', '')
        || ' ' || COALESCE((SELECT string_agg(value, ' ') FROM json_array_elements_text(canonical::json -> 'keywords') AS value), '')
        || ' ' || COALESCE((SELECT string_agg(value, ' ') FROM json_array_elements_text(canonical::json -> 'categories') AS value), '')
        AS keywords,
    COALESCE(approved_at_ms, created_at_ms) AS updated_at_ms,
    COALESCE(installs.total, 0) AS installs
FROM releases LEFT JOIN installs ON installs.addon = releases.addon
WHERE listed = 1;

CREATE FUNCTION listing_came() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    document json;
    pinned   json;
    grade    BIGINT;
    words    TEXT;
BEGIN
    SELECT canonical::json, pins::json, risk,
        NEW.addon || ' ' || NEW.keywords || ' ' || publisher || ' ' || COALESCE(canonical::json ->> 'description', '')
    INTO document, pinned, grade, words FROM releases WHERE seq = NEW.seq;
    WITH own AS (
    INSERT INTO facets (place, kind, value)
    SELECT NEW.place, 'risk', grade::TEXT
    UNION
    SELECT NEW.place, 'category', lower(value COLLATE "C") FROM json_array_elements_text(document -> 'categories') AS value
    UNION
    SELECT NEW.place, 'keyword', lower(value COLLATE "C") FROM json_array_elements_text(document -> 'keywords') AS value
    UNION
    -- Platforms that every image has, and that the addon takes.
    SELECT NEW.place, 'platform', platform FROM (
        SELECT platform, COUNT(DISTINCT pin.number) AS images
        FROM json_array_elements(pinned) WITH ORDINALITY AS pin (value, number),
            json_array_elements_text(pin.value -> 'platforms') AS platform
        GROUP BY 1) AS every
    WHERE images = json_array_length(pinned) AND platform IS NOT NULL
      AND (document #> '{requires,platforms}' IS NULL
           OR platform IN (SELECT json_array_elements_text(document #> '{requires,platforms}')))
    RETURNING kind, value)
    INSERT INTO search (place, words)
    SELECT NEW.place, array_to_tsvector(words_of(words) || COALESCE((
        SELECT array_agg(chr(57344) || left(kind, 1) || encode(convert_to(value, 'UTF8'), 'hex')) FROM own), '{}'));
    RETURN NULL;
END
$$;

CREATE FUNCTION listing_went() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM facets WHERE place = OLD.place;
    DELETE FROM search WHERE place = OLD.place;
    RETURN NULL;
END
$$;

CREATE FUNCTION release_is_listed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO listings (place, seq, addon, keywords, updated_at_ms, installs)
    SELECT place, seq, addon, keywords, updated_at_ms, installs FROM listing_rows WHERE seq = NEW.seq;
    RETURN NULL;
END
$$;

CREATE FUNCTION release_is_unlisted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM listings WHERE seq = OLD.seq;
    RETURN NULL;
END
$$;

CREATE TRIGGER listings_came AFTER INSERT ON listings FOR EACH ROW EXECUTE FUNCTION listing_came();
CREATE TRIGGER listings_went AFTER DELETE ON listings FOR EACH ROW EXECUTE FUNCTION listing_went();
CREATE TRIGGER release_is_listed AFTER UPDATE OF listed ON releases FOR EACH ROW
WHEN (OLD.listed = 0 AND NEW.listed = 1) EXECUTE FUNCTION release_is_listed();
CREATE TRIGGER release_is_unlisted AFTER UPDATE OF listed ON releases FOR EACH ROW
WHEN (OLD.listed = 1 AND NEW.listed = 0) EXECUTE FUNCTION release_is_unlisted();
CREATE TRIGGER listed_release_went AFTER DELETE ON releases FOR EACH ROW
WHEN (OLD.listed = 1) EXECUTE FUNCTION release_is_unlisted();

INSERT INTO listings (place, seq, addon, keywords, updated_at_ms, installs)
SELECT place, seq, addon, keywords, updated_at_ms, installs FROM listing_rows;
