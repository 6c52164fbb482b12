-- When a release of an addon was approved for the first time: only a name that people have seen can be one that others are
-- taken for.
ALTER TABLE addons ADD COLUMN approved_at_ms BIGINT;
UPDATE addons SET approved_at_ms = (SELECT MIN(approved_at_ms) FROM releases WHERE releases.addon = addons.addon);
-- Of what was deleted is not known whether anybody saw it.
UPDATE addons SET approved_at_ms = created_at_ms
WHERE approved_at_ms IS NULL AND EXISTS (SELECT 1 FROM tombstones WHERE tombstones.addon = addons.addon);

-- The rights of the release that was approved last, whatever became of it.
ALTER TABLE addons ADD COLUMN approved_rights TEXT NOT NULL DEFAULT '[]';
UPDATE addons SET approved_rights = COALESCE((SELECT rights FROM releases WHERE releases.addon = addons.addon
    AND approved_at_ms IS NOT NULL AND status <> 'revoked' ORDER BY approved_at_ms DESC, seq DESC LIMIT 1), '[]');

-- Names without their separators.
CREATE INDEX addons_bare ON addons (REPLACE(skeleton, '-', '')) WHERE approved_at_ms IS NOT NULL;
