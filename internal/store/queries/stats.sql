-- Stats of all events. Each part uses a partial index that is as small as what it counts.

-- name: ReadStats :one
-- With one condition for all unfinished events, Postgres uses no index and scans the table. An event without a WebhookEvent is pending: it is
-- not yet claimed, or is parked.
WITH undispatched AS (
    SELECT count(*) AS n, min(received_at) AS oldest
    FROM webhook_events WHERE status IN ('pending', 'processing') AND dispatched_at IS NULL AND NOT parked
), parked AS (
    SELECT count(*) AS n, min(received_at) AS oldest
    FROM webhook_events WHERE status IN ('pending', 'processing') AND dispatched_at IS NULL AND parked
), refused AS (
    SELECT count(*) AS n
    FROM webhook_events WHERE status IN ('pending', 'processing') AND dispatched_at IS NULL AND parked AND reason = 'NotCreated'
), live AS (
    SELECT count(*) FILTER (WHERE status = 'pending')    AS pending,
           count(*) FILTER (WHERE status = 'processing') AS processing,
           min(received_at)                              AS oldest
    FROM webhook_events WHERE status IN ('pending', 'processing') AND dispatched_at IS NOT NULL
), failed AS (
    SELECT count(*) AS n FROM webhook_events WHERE status = 'error'
), unparseable AS (
    SELECT count(*) AS n FROM webhook_events WHERE status = 'error' AND event_type = 'unparseable'
)
SELECT (l.pending + u.n + p.n)::bigint AS pending, l.processing::bigint AS processing, (u.n + p.n)::bigint AS undispatched,
       r.n::bigint AS not_created, (f.n - b.n)::bigint AS error, b.n::bigint AS unparseable,
       coalesce(extract(epoch FROM now() - least(u.oldest, p.oldest, l.oldest)), 0)::float8 AS oldest_seconds,
       coalesce(h.rolled_back_at, 'epoch')::timestamptz AS rolled_back_at
FROM undispatched u, parked p, refused r, live l, failed f, unparseable b, controller_heartbeat h;
