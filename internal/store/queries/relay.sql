-- Relay: rows become WebhookEvents.

-- name: TakeRelayLease :execrows
-- The lease runs out by the database's clock; a holder renews it by taking it again.
UPDATE relay_lease
SET holder = @holder, expires_at = now() + make_interval(secs => @ttl_seconds::float8)
WHERE holder = @holder OR expires_at < now();

-- name: ReleaseRelayLease :exec
UPDATE relay_lease SET expires_at = now() WHERE holder = @holder;

-- name: HasLeftBehind :one
-- Whether rows wait for the relay that no replica is about to dispatch by itself.
SELECT EXISTS (
    SELECT 1 FROM webhook_events
    WHERE status IN ('pending', 'processing') AND dispatched_at IS NULL
      AND (NOT parked OR next_attempt_at <= now())
      AND received_at <= now() - make_interval(secs => @grace_seconds::float8)
)::boolean;

-- name: ListUndispatched :many
SELECT id, source, event_type, entity_type, coalesce(entity_id, '')::text AS entity_id,
       coalesce(location_id, '')::text AS location_id, coalesce(contact_id, '')::text AS contact_id, received_at
FROM webhook_events
WHERE status IN ('pending', 'processing') AND dispatched_at IS NULL
  AND (NOT parked OR next_attempt_at <= now())
  AND received_at <= now() - make_interval(secs => @grace_seconds::float8)
ORDER BY received_at, id
LIMIT @max_rows::int;

-- name: MarkDispatched :execrows
UPDATE webhook_events SET dispatched_at = now(), parked = false WHERE id = ANY(@ids::uuid[]) AND dispatched_at IS NULL;

-- name: MarkUnacceptable :execrows
-- A row that the API server will never take ends here, visibly, and holds up nobody.
UPDATE webhook_events
SET status = 'error', processed_at = now(), dispatched_at = now(), reason = @reason::text, error_message = @error_message::text
WHERE id = @id AND status IN ('pending', 'processing');

-- name: CountHouse :one
-- Live WebhookEvents that are due, and those that wait: for a later attempt, for an older event of their entity, or
-- because they are suspended.
SELECT count(*) FILTER (WHERE h.due)::bigint AS due, count(*) FILTER (WHERE NOT h.due)::bigint AS waiting
FROM (
    SELECT NOT e.suspended AND (e.next_attempt_at IS NULL OR e.next_attempt_at <= now())
           AND (e.ordering_key IS NULL
                OR row_number() OVER (PARTITION BY e.ordering_key ORDER BY e.suspended, e.received_at, e.id) = 1) AS due
    FROM webhook_events e
    WHERE e.status IN ('pending', 'processing') AND e.dispatched_at IS NOT NULL
) h;
