-- Release: held events retry early when their destination answers again. No fencing is needed: a stale leader can only release an event early,
-- and that event is held again if its destination is down.
--
-- A released event that is not claimed within a minute is blocked by something else, and no longer counts as released.

-- name: CountReleased :one
-- The number of events that were released or are due, and are not yet claimed.
SELECT count(*)::bigint FROM webhook_events
WHERE status = 'pending' AND held_by IS NOT NULL AND NOT suspended
  AND next_attempt_at > now() - interval '1 minute' AND next_attempt_at <= now();

-- name: ReleaseHeld :many
-- Makes due the oldest held events of which at least one destination is not down.
UPDATE webhook_events e SET next_attempt_at = now()
WHERE e.id IN (
    SELECT h.id FROM webhook_events h
    WHERE h.status = 'pending' AND h.held_by IS NOT NULL AND NOT h.suspended AND h.next_attempt_at > now()
      AND NOT h.held_by <@ @down::text[]
    ORDER BY h.received_at, h.id
    LIMIT @max_rows::int
    FOR UPDATE SKIP LOCKED)
RETURNING e.id, e.source, (e.dispatched_at IS NOT NULL)::boolean AS dispatched;

-- name: CountReleasedForSlots :one
-- The number of events that waited for a slot, are due and are not yet claimed.
SELECT count(*)::bigint FROM webhook_events
WHERE status = 'pending' AND held_by IS NOT NULL AND NOT suspended AND @limit_name::text = ANY (held_by)
  AND next_attempt_at > now() - interval '1 minute' AND next_attempt_at <= now();

-- name: ReleaseForSlots :many
-- Makes due the oldest events that wait only for a slot of this concurrency limit.
UPDATE webhook_events e SET next_attempt_at = now()
WHERE e.id IN (
    SELECT h.id FROM webhook_events h
    WHERE h.status = 'pending' AND h.held_by IS NOT NULL AND NOT h.suspended AND h.next_attempt_at > now()
      AND h.held_by = ARRAY[@limit_name::text]
    ORDER BY h.received_at, h.id
    LIMIT @max_rows::int
    FOR UPDATE SKIP LOCKED)
RETURNING e.id, e.source, (e.dispatched_at IS NOT NULL)::boolean AS dispatched;

-- name: ReleaseForTrial :many
-- Makes due, for each destination, the held event with the earliest next attempt, unless one is due already. If its attempt fails, its next
-- attempt is later, so that the next trial call is for another event.
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
