-- Which occurrences are stored though their sender was not answered 200, and which events cannot be read.

-- +goose Up

ALTER TABLE webhook_events
    -- True where the sender was not answered 200 and sends the event again: its next delivery with the same bytes is this one. Kept for
    -- events that only this tells from the next of their kind, such as a reply without an id.
    ADD COLUMN unanswered boolean NOT NULL DEFAULT false;

CREATE INDEX webhook_events_unanswered_idx ON webhook_events (body_hash, received_at) WHERE unanswered;
-- Counts the events whose body cannot be read apart from the others in error.
CREATE INDEX webhook_events_unparseable_idx ON webhook_events (processed_at) WHERE status = 'error' AND event_type = 'unparseable';
