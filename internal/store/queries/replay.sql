-- Replay of many events, and retention: statements about finished rows.

-- name: CountReplayable :one
-- Events that the legacy middleware had done are left out: their rows have what it decoded. So are unparseable events, unless they are selected
-- by their type: they would end in error again. Erased events cannot run again.
SELECT count(*)::bigint FROM webhook_events
WHERE status = @status::text AND processed_at >= now() - make_interval(secs => @since_seconds::float8)
  AND processed_at <= now() - make_interval(secs => @until_seconds::float8)
  AND NOT (adopted AND status = 'done' AND started_at IS NULL) AND erased_at IS NULL
  AND (event_type = @event_type::text OR @event_type::text = '' AND event_type <> 'unparseable');

-- name: ReplayBatch :execrows
-- A batch of finished rows starts a new run, oldest first. Deleted WebhookEvents are recreated; the audit shows existing ones as pending.
UPDATE webhook_events e
SET status = 'pending', run = e.run + 1,
    ledger_run = CASE WHEN @from_start::boolean THEN e.run + 1 ELSE e.ledger_run END,
    forward = e.forward OR @from_start::boolean,
    attempts = 0, next_attempt_at = NULL, processed_at = NULL, reason = NULL, error_message = NULL, dispatched_at = NULL,
    parked = false
WHERE e.id IN (
    SELECT c.id FROM webhook_events c
    WHERE c.status = @status::text AND c.processed_at >= now() - make_interval(secs => @since_seconds::float8)
      AND c.processed_at <= @until::timestamptz
      AND NOT (c.adopted AND c.status = 'done' AND c.started_at IS NULL) AND c.erased_at IS NULL
      AND (c.event_type = @event_type::text OR @event_type::text = '' AND c.event_type <> 'unparseable')
    ORDER BY c.received_at, c.id
    LIMIT @max_rows::int
    FOR UPDATE SKIP LOCKED);

-- name: Now :one
SELECT now()::timestamptz AS now;

-- name: DeleteFinishedBatch :execrows
-- Deletes a batch of rows that finished before the retention time, with their rows of sync_log.
DELETE FROM webhook_events WHERE id IN (
    (SELECT d.id FROM webhook_events d
     WHERE d.status = 'done' AND d.processed_at < now() - make_interval(secs => @retention_seconds::float8)
     ORDER BY d.processed_at
     LIMIT @max_rows::int)
    UNION ALL
    (SELECT e.id FROM webhook_events e
     WHERE e.status = 'error' AND e.processed_at < now() - make_interval(secs => @retention_seconds::float8)
     ORDER BY e.processed_at
     LIMIT @max_rows::int))
  AND status IN ('done', 'error');

-- name: DeleteAdoptedLogBatch :execrows
-- The legacy middleware's log names no event, so that it is not deleted with one.
DELETE FROM sync_log WHERE id IN (
    SELECT l.id FROM sync_log l
    WHERE l.webhook_event_id IS NULL AND l.started_at < now() - make_interval(secs => @retention_seconds::float8)
    LIMIT @max_rows::int);

-- name: ListReplayableTypes :many
-- The types of a selection without a type, for a selection by a type that has no events.
SELECT event_type, count(*)::bigint AS events FROM webhook_events
WHERE status = @status::text AND processed_at >= now() - make_interval(secs => @since_seconds::float8)
  AND processed_at <= now() - make_interval(secs => @until_seconds::float8)
  AND NOT (adopted AND status = 'done' AND started_at IS NULL) AND erased_at IS NULL
GROUP BY event_type
ORDER BY 2 DESC, 1
LIMIT @max_rows::int;

-- name: ReadBody :one
-- The body and headers of an event, and what was decoded from them, for the command explain.
SELECT e.source, e.received_at, e.payload_json, e.headers, e.event_type, coalesce(e.entity_id, '')::text AS entity_id, e.erased_at
FROM webhook_events e
WHERE e.id = @id;
