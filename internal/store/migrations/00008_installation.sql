-- Which installation this database is of, so that two of them can share a namespace. It is part of every backup: a restored database is
-- that of the same installation.

-- +goose Up

CREATE TABLE verity_sync_installation (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id  uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO verity_sync_installation DEFAULT VALUES;

-- Rows whose WebhookEvents the API server refused to create are counted whenever metrics are read.
CREATE INDEX webhook_events_not_created_idx ON webhook_events (received_at)
    WHERE status IN ('pending', 'processing') AND dispatched_at IS NULL AND parked AND reason = 'NotCreated';
