-- Installations that are reported to the marketplace to be counted, once each; none while `marketplace.report_installs` is off.
CREATE TABLE install_reports (
    installation_id TEXT    NOT NULL PRIMARY KEY REFERENCES installations (id) ON DELETE CASCADE,
    -- 32 hex digits, drawn for this report alone: all that the marketplace is told beside the addon's name.
    report          TEXT    NOT NULL,
    made_at_ms      INTEGER NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 0,
    -- When it is sent, or sent again; none once it was counted, refused or given up.
    due_at_ms       INTEGER
);
CREATE INDEX install_reports_due ON install_reports (due_at_ms) WHERE due_at_ms IS NOT NULL;
