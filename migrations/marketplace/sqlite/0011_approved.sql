-- When a release of an addon was approved for the first time: only a name that people have seen can be one that others are
-- taken for.
ALTER TABLE addons ADD COLUMN approved_at_ms INTEGER;
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

-- REPLACE removes rows without telling the triggers that refuse it.
CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER audit_chain_no_replace BEFORE INSERT ON audit_chain
WHEN EXISTS (SELECT 1 FROM audit_chain WHERE position = NEW.position OR seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
