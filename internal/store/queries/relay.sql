-- Relay: rows become WebhookEvents.

-- name: TakeRelayLease :execrows
-- The lease expires by the database's clock. Its holder renews it by acquiring it again.
UPDATE relay_lease
SET holder = @holder, expires_at = now() + make_interval(secs => @ttl_seconds::float8)
WHERE holder = @holder OR expires_at < now();

-- name: ReleaseRelayLease :exec
UPDATE relay_lease SET expires_at = now() WHERE holder = @holder;

-- name: Installation :one
SELECT id FROM verity_sync_installation;

-- name: FindOrphans :one
-- Whether there are orphaned rows, which no replica is about to dispatch, and whether parked rows are due. Each part uses a separate index, so
-- that neither scans the rows of the other.
SELECT EXISTS (
    SELECT 1 FROM webhook_events
    WHERE status IN ('pending', 'processing') AND dispatched_at IS NULL AND NOT parked
      AND received_at <= now() - make_interval(secs => @grace_seconds::float8)
)::boolean AS orphaned, EXISTS (
    SELECT 1 FROM webhook_events
    WHERE status IN ('pending', 'processing') AND dispatched_at IS NULL AND parked AND next_attempt_at <= now()
)::boolean AS returning_due;

-- name: ListUndispatched :many
-- Orphaned rows, oldest first, and a limited number of parked rows that are due. Rows that wait for an older event of their entity can be
-- skipped.
SELECT u.id, u.source, u.event_type, u.entity_type, coalesce(u.entity_id, '')::text AS entity_id,
       coalesce(u.location_id, '')::text AS location_id, coalesce(u.contact_id, '')::text AS contact_id, u.received_at,
       coalesce(u.started_at, 'epoch')::timestamptz AS started_at
FROM (
    (SELECT e.id, e.source, e.event_type, e.entity_type, e.entity_id, e.location_id, e.contact_id, e.received_at, e.started_at
     FROM webhook_events e
     WHERE e.status IN ('pending', 'processing') AND e.dispatched_at IS NULL AND NOT e.parked
       AND (NOT @skip_blocked::boolean OR e.ordering_key IS NULL OR NOT EXISTS (
           SELECT 1 FROM webhook_events o
           WHERE o.ordering_key = e.ordering_key AND o.status IN ('pending', 'processing') AND NOT o.suspended
             AND (o.received_at, o.id) < (e.received_at, e.id)))
     ORDER BY e.received_at, e.id
     LIMIT @max_rows::int)
    UNION ALL
    (SELECT r.id, r.source, r.event_type, r.entity_type, r.entity_id, r.location_id, r.contact_id, r.received_at, r.started_at
     FROM webhook_events r
     WHERE r.status IN ('pending', 'processing') AND r.dispatched_at IS NULL AND r.parked AND r.next_attempt_at <= now()
     ORDER BY r.next_attempt_at
     LIMIT @max_returning::int)
) u
ORDER BY u.received_at, u.id
LIMIT @max_rows::int;

-- name: MarkDispatched :execrows
-- A parked row stays marked as parked until it is claimed: CountLive counts these. A mark after the start of an attempt has no effect: the
-- claim has marked the row, and if it is unmarked again, its WebhookEvent was deleted since.
UPDATE webhook_events SET dispatched_at = now()
WHERE id = ANY(@ids::uuid[]) AND dispatched_at IS NULL
  AND coalesce(started_at, 'epoch') = (@started_ats::timestamptz[])[array_position(@ids::uuid[], id)];

-- name: PostponeRelay :execrows
-- Parks rows whose WebhookEvents the API server refused to create. The relay retries after as long as they have waited already, within bounds.
-- Rows with a WebhookEvent, or with an attempt that has started since, are not changed. No destination holds the row.
UPDATE webhook_events
SET parked = true, held_by = NULL, reason = @reason::text,
    error_message = (@messages::text[])[array_position(@ids::uuid[], id)],
    next_attempt_at = greatest(next_attempt_at, now() + (0.8 + 0.4 * random()) * least(greatest(now() - received_at,
        make_interval(secs => @min_seconds::float8)), make_interval(secs => @max_seconds::float8)))
WHERE id = ANY(@ids::uuid[]) AND status IN ('pending', 'processing') AND dispatched_at IS NULL
  AND coalesce(started_at, 'epoch') = (@started_ats::timestamptz[])[array_position(@ids::uuid[], id)];

-- name: MarkUnacceptable :execrows
-- A row that can have no WebhookEvent ends in error, and does not block the events of its entity.
UPDATE webhook_events
SET status = 'error', processed_at = clock_timestamp(), dispatched_at = now(), reason = @reason::text, error_message = @error_message::text
WHERE id = @id AND status IN ('pending', 'processing');

-- name: CountLive :one
-- Live events that are due, those of them that were parked, and those that wait: for a later attempt, for an older event of their entity
-- (blocked), or because they are suspended.
SELECT count(*) FILTER (WHERE h.due AND h.head)::bigint               AS due,
       count(*) FILTER (WHERE h.due AND h.head AND h.parked)::bigint  AS returning_due,
       count(*) FILTER (WHERE NOT (h.due AND h.head))::bigint         AS waiting,
       count(*) FILTER (WHERE NOT h.suspended AND NOT h.head)::bigint AS blocked
FROM (
    SELECT e.suspended, e.parked, NOT e.suspended AND (e.next_attempt_at IS NULL OR e.next_attempt_at <= now()) AS due,
           (e.ordering_key IS NULL
            OR row_number() OVER (PARTITION BY e.ordering_key ORDER BY e.suspended, e.received_at, e.id) = 1) AS head
    FROM webhook_events e
    WHERE e.status IN ('pending', 'processing') AND e.dispatched_at IS NOT NULL
) h;
