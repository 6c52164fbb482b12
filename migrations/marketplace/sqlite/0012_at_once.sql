-- Somebody who may review has the registries of a release asked, though they want to be left alone: once, so it goes with the run.
ALTER TABLE verification_jobs ADD COLUMN at_once INTEGER NOT NULL DEFAULT 0;
