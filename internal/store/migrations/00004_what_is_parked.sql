-- Parked rows in an index of their own: thousands of them may wait for a destination that is down, and the relay, which looks for
-- rows without a WebhookEvent twice a second, would have to pass by each of them.

-- +goose Up

CREATE INDEX webhook_events_parked_idx ON webhook_events (next_attempt_at)
    WHERE status IN ('pending', 'processing') AND dispatched_at IS NULL AND parked;
CREATE INDEX webhook_events_left_behind_idx ON webhook_events (received_at, id)
    WHERE status IN ('pending', 'processing') AND dispatched_at IS NULL AND NOT parked;
DROP INDEX webhook_events_undispatched_idx;
