-- Release: events that wait for a destination which answers again go on before their time. Nothing is recorded here that a
-- leader whose term is over could do harm with: who is let go too early finds the destination down and waits on.
--
-- What was let go and is not claimed after a minute is stuck behind something else, and no longer waited for.

-- name: CountReleased :one
-- How many events were let go, or have come to their time, and have yet to be claimed.
SELECT count(*)::bigint FROM webhook_events
WHERE status = 'pending' AND held_by IS NOT NULL AND NOT suspended
  AND next_attempt_at > now() - interval '1 minute' AND next_attempt_at <= now();

-- name: ReleaseHeld :many
-- Makes due what no destination holds back any more, the oldest first.
UPDATE webhook_events e SET next_attempt_at = now()
WHERE e.id IN (
    SELECT h.id FROM webhook_events h
    WHERE h.status = 'pending' AND h.held_by IS NOT NULL AND NOT h.suspended AND h.next_attempt_at > now()
      AND NOT h.held_by <@ @down::text[]
    ORDER BY h.received_at, h.id
    LIMIT @max_rows::int
    FOR UPDATE SKIP LOCKED)
RETURNING e.id, e.source, (e.dispatched_at IS NOT NULL)::boolean AS dispatched;

-- name: CountReleasedForPlaces :one
-- How many events that wait for places are due and have yet to be claimed.
SELECT count(*)::bigint FROM webhook_events
WHERE status = 'pending' AND held_by IS NOT NULL AND NOT suspended AND @places::text = ANY (held_by)
  AND next_attempt_at > now() - interval '1 minute' AND next_attempt_at <= now();

-- name: ReleaseForPlaces :many
-- Makes due what waits for places and for nothing else, the oldest first.
UPDATE webhook_events e SET next_attempt_at = now()
WHERE e.id IN (
    SELECT h.id FROM webhook_events h
    WHERE h.status = 'pending' AND h.held_by IS NOT NULL AND NOT h.suspended AND h.next_attempt_at > now()
      AND h.held_by = ARRAY[@places::text]
    ORDER BY h.received_at, h.id
    LIMIT @max_rows::int
    FOR UPDATE SKIP LOCKED)
RETURNING e.id, e.source, (e.dispatched_at IS NOT NULL)::boolean AS dispatched;

-- name: ReleaseToTry :many
-- Makes due, for each destination, one event that it holds back, unless there is one already: that whose time is nearest. It
-- is put off when the try fails, so that the next try is made with another one.
UPDATE webhook_events e SET next_attempt_at = now()
WHERE e.id IN (
    SELECT (SELECT h.id FROM webhook_events h
            WHERE h.status = 'pending' AND h.held_by IS NOT NULL AND NOT h.suspended AND h.next_attempt_at > now()
              AND d.name = ANY (h.held_by)
            ORDER BY h.next_attempt_at
            LIMIT 1)
    FROM (SELECT unnest(@destinations::text[]) AS name) d
    WHERE NOT EXISTS (
        SELECT 1 FROM webhook_events t
        WHERE t.status = 'pending' AND t.held_by IS NOT NULL AND NOT t.suspended
          AND t.next_attempt_at > now() - interval '1 minute' AND t.next_attempt_at <= now() AND d.name = ANY (t.held_by)))
  AND e.status = 'pending' AND e.next_attempt_at > now()
RETURNING e.id, e.source, (e.dispatched_at IS NOT NULL)::boolean AS dispatched;
