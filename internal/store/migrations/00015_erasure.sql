-- Erasure of a person's data: which events have lost theirs. They stay, so that a repeated delivery is still a duplicate, and do not run again.

-- +goose Up

ALTER TABLE webhook_events
    -- When the data of the event was erased. NULL where it was not.
    ADD COLUMN erased_at timestamptz;
