-- Runs and failures that were written down before a rollout began say nothing of it, also where an earlier one tried the same specification.
ALTER TABLE rollouts ADD COLUMN after_attempt INTEGER NOT NULL DEFAULT 0;
