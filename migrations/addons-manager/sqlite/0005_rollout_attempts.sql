-- Runs and failures that were written down before a rollout began say nothing of it, also where an earlier one tried the same specification.
ALTER TABLE rollouts ADD COLUMN after_attempt INTEGER NOT NULL DEFAULT 0;
UPDATE rollouts SET after_attempt = (SELECT COALESCE(MAX(id), 0) FROM attempts WHERE started_at_ms < opened_at_ms) WHERE ended_at_ms IS NULL;
