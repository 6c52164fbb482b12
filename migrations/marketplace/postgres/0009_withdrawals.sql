-- Whose yank it is: an owner takes back an owner's, not an administrator's. 0 also for what is not yanked.
ALTER TABLE releases ADD COLUMN yanked_by_admin BIGINT NOT NULL DEFAULT 0;

-- A revocation can be raised: then the release has one more, of a higher severity.
ALTER TABLE revocations DROP CONSTRAINT revocations_release_id_key;
ALTER TABLE revocations ADD CONSTRAINT revocations_release_id_severity_key UNIQUE (release_id, severity);
