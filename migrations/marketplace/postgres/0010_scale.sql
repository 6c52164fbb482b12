-- What a million releases take. The words of a listing stand in its own row, so that whoever finds a row has all of it, and can
-- also walk the rows in an order and look at the words of each. The index is kept at once and not by and by: a list of what is to
-- be put in would be read through by every search.
DROP TRIGGER listings_came ON listings;
DROP TRIGGER listings_went ON listings;
DROP FUNCTION listing_came;
DROP FUNCTION listing_went;

ALTER TABLE listings ADD COLUMN words tsvector;
UPDATE listings SET words = search.words FROM search WHERE search.place = listings.place;
ALTER TABLE listings ALTER COLUMN words SET NOT NULL;
DROP TABLE search;
CREATE INDEX listings_words ON listings USING gin (words) WITH (fastupdate = off);

CREATE FUNCTION listing_comes() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    document json;
    pinned   json;
    grade    BIGINT;
    content  TEXT;
BEGIN
    SELECT canonical::json, pins::json, risk,
        NEW.addon || ' ' || NEW.keywords || ' ' || publisher || ' ' || COALESCE(canonical::json ->> 'description', '')
    INTO document, pinned, grade, content FROM releases WHERE seq = NEW.seq;
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
    SELECT array_to_tsvector(words_of(content) || COALESCE((
        SELECT array_agg(chr(57344) || left(kind, 1) || encode(convert_to(value, 'UTF8'), 'hex')) FROM own), '{}'))
    INTO NEW.words;
    RETURN NEW;
END
$$;

CREATE FUNCTION listing_went() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM facets WHERE place = OLD.place;
    RETURN NULL;
END
$$;

CREATE TRIGGER listing_comes BEFORE INSERT ON listings FOR EACH ROW EXECUTE FUNCTION listing_comes();
CREATE TRIGGER listing_went AFTER DELETE ON listings FOR EACH ROW EXECUTE FUNCTION listing_went();

-- Rows of one action are found without reading the log.
CREATE INDEX audit_action ON audit (action, seq);

-- Names are compared by their bytes everywhere: listings and the parts of the index are sorted so, and an index of another order
-- is of no use to what is joined with them.
DROP VIEW listing_rows;
ALTER TABLE addons ALTER COLUMN addon TYPE TEXT COLLATE "C";
ALTER TABLE releases ALTER COLUMN addon TYPE TEXT COLLATE "C";
ALTER TABLE tombstones ALTER COLUMN addon TYPE TEXT COLLATE "C";
ALTER TABLE owners ALTER COLUMN addon TYPE TEXT COLLATE "C";
ALTER TABLE invitations ALTER COLUMN addon TYPE TEXT COLLATE "C";
ALTER TABLE installs ALTER COLUMN addon TYPE TEXT COLLATE "C";

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
