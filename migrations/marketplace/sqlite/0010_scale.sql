-- What a million releases take. The PostgreSQL folder has more to do: its words stand in the rows of listings from here on; here
-- the index of words knows the order of the listings.

-- Rows of one action are found without reading the log.
CREATE INDEX audit_action ON audit (action, seq);
