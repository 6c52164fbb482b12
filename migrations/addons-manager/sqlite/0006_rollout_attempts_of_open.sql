-- A rollout that was open before its attempts were told apart begins after those of before.
UPDATE rollouts SET after_attempt = (SELECT COALESCE(MAX(id), 0) FROM attempts WHERE started_at_ms < opened_at_ms) WHERE ended_at_ms IS NULL;
