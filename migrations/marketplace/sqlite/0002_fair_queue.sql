-- A publisher's flood waits behind everybody's first job: jobs are taken by their turn, and a publisher's jobs have one turn
-- after the other. Those that wait already keep their order.

ALTER TABLE verification_jobs ADD COLUMN publisher TEXT NOT NULL DEFAULT '';
ALTER TABLE verification_jobs ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;

UPDATE verification_jobs SET publisher =
    (SELECT publisher FROM releases WHERE releases.id = verification_jobs.release_id);

DROP INDEX verification_jobs_due;
CREATE INDEX verification_jobs_turn ON verification_jobs (turn, due_at_ms, release_id);
CREATE INDEX verification_jobs_publisher ON verification_jobs (publisher, turn);
