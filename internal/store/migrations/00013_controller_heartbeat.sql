-- A time that the leading controller moves forward every few seconds, here and on its lease in Kubernetes. A database that was restored to
-- an earlier moment, or that a failover set back, has an earlier time than the lease: its own moment. What was found last is kept.

-- +goose Up

CREATE TABLE controller_heartbeat (
    one              boolean PRIMARY KEY DEFAULT true CHECK (one),
    beat_at          timestamptz NOT NULL,
    rolled_back_at   timestamptz,
    rolled_back_from timestamptz,
    rolled_back_to   timestamptz
);
-- Earlier than every time on a lease: a backup of before this migration that is restored and migrated has gone back too.
INSERT INTO controller_heartbeat (beat_at) VALUES ('epoch');
