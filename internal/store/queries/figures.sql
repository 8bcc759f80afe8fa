-- Figures: what people watch. Each part is found in a partial index that is as small as what it counts.

-- name: ReadFigures :one
WITH unfinished AS (
    SELECT count(*) FILTER (WHERE status = 'pending')    AS pending,
           count(*) FILTER (WHERE status = 'processing') AS processing,
           count(*) FILTER (WHERE dispatched_at IS NULL) AS undispatched,
           min(received_at)                              AS oldest
    FROM webhook_events WHERE status IN ('pending', 'processing')
), failed AS (
    SELECT count(*) AS n FROM webhook_events WHERE status = 'error'
)
SELECT u.pending::bigint AS pending, u.processing::bigint AS processing, u.undispatched::bigint AS undispatched,
       f.n::bigint AS error,
       coalesce(extract(epoch FROM now() - u.oldest), 0)::float8 AS oldest_seconds
FROM unfinished u, failed f;
