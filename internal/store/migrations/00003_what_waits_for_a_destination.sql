-- Which destinations an event waits for, so that it can go on as soon as one of them answers.

-- +goose Up

ALTER TABLE webhook_events
    -- NULL where it waits for none, or for something else as well.
    ADD COLUMN held_by text[];

-- Holds what waits for a destination and nothing else, however large the table: in the order in which it is let go, and in
-- that in which destinations are tried with it.
CREATE INDEX webhook_events_held_idx ON webhook_events (received_at, id) WHERE status = 'pending' AND held_by IS NOT NULL;
CREATE INDEX webhook_events_held_next_attempt_idx ON webhook_events (next_attempt_at) WHERE status = 'pending' AND held_by IS NOT NULL;
