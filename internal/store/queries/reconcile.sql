-- Reconcile: the claim, the ledger and the end of an attempt. Every statement that records something requires the current term.
--
-- now() is the time at which a statement reached Postgres. It may be before changes that the statement sees, since the statement may wait for
-- the processor or for a lock. Recorded times are therefore clock_timestamp(), read after the statement's snapshot: they are later than every
-- recorded time that the statement sees. Conditions use now(), for which Postgres can use an index.

-- name: AcquireTerm :one
-- Terms are times in microseconds, so that a database that was rolled back to an earlier moment does not issue a term twice. A leader from
-- before the rollback may still have it.
UPDATE controller_term
SET term = greatest(term + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint), holder = @holder::text, since = clock_timestamp()
RETURNING term;

-- name: CurrentTerm :one
SELECT term FROM controller_term;

-- name: LoadEvent :one
-- The state of an event without its payload, its ledger, and the older event of its entity that comes first.
SELECT e.id, e.source, e.status, e.attempts, e.suspended,
       coalesce(e.reason, '')::text AS reason, coalesce(e.error_message, '')::text AS error_message,
       coalesce(e.result, '')::text AS result, coalesce(e.verity_contact_id, '')::text AS verity_contact_id,
       coalesce(e.replay_request, '')::text AS replay_request,
       e.next_attempt_at, e.started_at, e.processed_at,
       coalesce(extract(epoch FROM e.next_attempt_at - now()), 0)::float8 AS due_in_seconds,
       ARRAY(SELECT l.operation FROM sync_log l
             WHERE l.webhook_event_id = e.id AND l.status = 'success' AND l.run >= e.ledger_run)::text[] AS succeeded,
       coalesce((SELECT o.source || '-' || o.id FROM webhook_events o
                 WHERE o.ordering_key = e.ordering_key AND o.status IN ('pending', 'processing') AND NOT o.suspended
                   AND (o.received_at, o.id) < (e.received_at, e.id)
                 ORDER BY o.received_at, o.id LIMIT 1), '')::text AS waits_for
FROM webhook_events e
WHERE e.id = @id;

-- name: ClaimEvent :one
-- No row: finished, not due, blocked by an older event, or fenced; LoadEvent and CurrentTerm show which. A claim proves that the WebhookEvent
-- exists, so that the relay need not mark it in a separate write. A claim whose answer was lost is repeated without counting again: no attempt
-- has started.
UPDATE webhook_events e
SET status = 'processing',
    attempts = e.attempts
        + CASE WHEN @repeated::boolean AND e.status = 'processing' AND e.claimed_term = @term::bigint THEN 0 ELSE 1 END,
    claimed_term = @term::bigint, started_at = clock_timestamp(), next_attempt_at = NULL,
    suspended = false, parked = false, dispatched_at = coalesce(e.dispatched_at, now())
WHERE e.id = @id AND e.status IN ('pending', 'processing')
  AND (e.next_attempt_at IS NULL OR e.next_attempt_at <= now())
  AND (SELECT t.term FROM controller_term t) = @term::bigint
  AND NOT EXISTS (
      SELECT 1 FROM webhook_events o
      WHERE o.ordering_key = e.ordering_key AND o.status IN ('pending', 'processing') AND NOT o.suspended
        AND (o.received_at, o.id) < (e.received_at, e.id))
RETURNING e.id, e.received_at, e.source, e.event_type, e.entity_type, coalesce(e.entity_id, '')::text AS entity_id,
    coalesce(e.location_id, '')::text AS location_id, coalesce(e.contact_id, '')::text AS contact_id,
    coalesce(e.appointment_status, '')::text AS appointment_status, e.occurred_at, e.truncated,
    e.payload_json, e.payload_raw, e.headers, e.run, e.ledger_run, e.attempts, e.forward, e.started_at,
    coalesce(e.result, '')::text AS result,
    ARRAY(SELECT l.operation FROM sync_log l
          WHERE l.webhook_event_id = e.id AND l.status = 'success' AND l.run >= e.ledger_run)::text[] AS succeeded,
    ARRAY(SELECT l.operation || E'\t' || coalesce(l.details ->> 'reason', '') || E'\t' || coalesce(l.error_message, '') FROM sync_log l
          WHERE l.webhook_event_id = e.id AND l.status = 'error' AND l.run = e.run
            AND l.details ->> 'class' = 'permanent')::text[] AS refused;

-- name: FinishAttempt :one
-- Ledger rows and the row's new state in one statement, and so in one transaction. No row: fenced, or the row does not belong to this attempt
-- any more. next_id is the next event of the same entity, if this one is finished.
WITH finished AS (
    UPDATE webhook_events e
    SET status = @status::text,
        attempts = @attempts::int,
        next_attempt_at = CASE WHEN @status::text = 'pending' THEN clock_timestamp() + make_interval(secs => @delay_seconds::float8) END,
        held_by = @held_by::text[],
        processed_at = CASE WHEN @status::text <> 'pending' THEN clock_timestamp() END,
        reason = @reason::text,
        error_message = nullif(@error_message::text, ''),
        result = nullif(@result::text, ''),
        verity_contact_id = coalesce(nullif(@verity_contact_id::text, ''), e.verity_contact_id)
    WHERE e.id = @id AND e.status = 'processing' AND e.claimed_term = @term::bigint AND e.run = @run::int
      AND (SELECT t.term FROM controller_term t) = @term::bigint
    RETURNING e.*
), logged AS (
    INSERT INTO sync_log (webhook_event_id, run, direction, operation, entity_type, entity_id, source_id, target_id, status,
                          attempt, error_message, details, started_at, finished_at, correlation_id)
    SELECT f.id, f.run, s.direction, s.operation, f.entity_type, f.entity_id, f.entity_id, nullif(s.target_id, ''), s.status,
           @attempt::int, nullif(s.error_message, ''), s.details::jsonb, s.started_at, s.finished_at, f.id::text
    FROM finished f, (
        SELECT unnest(@operations::text[])           AS operation,
               unnest(@directions::text[])           AS direction,
               unnest(@target_ids::text[])           AS target_id,
               unnest(@statuses::text[])             AS status,
               unnest(@error_messages::text[])       AS error_message,
               unnest(@details::text[])              AS details,
               unnest(@started_ats::timestamptz[])   AS started_at,
               unnest(@finished_ats::timestamptz[])  AS finished_at
    ) s
    ON CONFLICT (webhook_event_id, run, operation) WHERE status = 'success' DO NOTHING
)
SELECT f.status, f.attempts, f.next_attempt_at, f.processed_at,
       coalesce((SELECT n.source || '-' || n.id FROM webhook_events n
                 WHERE f.status <> 'pending' AND n.ordering_key = f.ordering_key AND n.status IN ('pending', 'processing')
                   AND NOT n.suspended AND n.id <> f.id
                 ORDER BY n.received_at, n.id LIMIT 1), '')::text AS next_name
FROM finished f;

-- name: SetSuspended :one
-- Suspends or resumes an event. A suspended event does not block the next one of its entity, which is returned.
WITH held AS (
    UPDATE webhook_events e SET suspended = @suspended::boolean
    WHERE e.id = @id AND e.status IN ('pending', 'processing') AND e.suspended <> @suspended::boolean
    RETURNING e.*
)
SELECT coalesce((SELECT n.source || '-' || n.id FROM webhook_events n, held h
                 WHERE h.suspended AND n.ordering_key = h.ordering_key AND n.status IN ('pending', 'processing')
                   AND NOT n.suspended AND n.id <> h.id
                 ORDER BY n.received_at, n.id LIMIT 1), '')::text AS next_name;

-- name: ReplayEvent :execrows
-- A finished event starts a new run. The value of the request stays on the row, so that a crash right after this does not replay twice.
UPDATE webhook_events e
SET status = 'pending', run = e.run + 1,
    ledger_run = CASE WHEN @from_start::boolean THEN e.run + 1 ELSE e.ledger_run END,
    forward = e.forward OR @from_start::boolean,
    replay_request = @request::text, attempts = 0, next_attempt_at = NULL, processed_at = NULL, reason = NULL,
    error_message = NULL, parked = false, dispatched_at = coalesce(e.dispatched_at, now())
WHERE e.id = @id AND e.status IN ('done', 'error') AND e.replay_request IS DISTINCT FROM @request::text AND e.erased_at IS NULL
  AND (SELECT t.term FROM controller_term t) = @term::bigint;

-- name: RefuseReplay :execrows
-- The request is answered, and the event does not run again.
UPDATE webhook_events SET replay_request = @request::text
WHERE id = @id AND status IN ('done', 'error') AND (SELECT t.term FROM controller_term t) = @term::bigint;

-- name: UndispatchEvents :execrows
-- The relay recreates the WebhookEvents of these rows. Finished rows are not changed.
UPDATE webhook_events SET dispatched_at = NULL
WHERE id = ANY(@ids::uuid[]) AND status IN ('pending', 'processing') AND dispatched_at IS NOT NULL;

-- name: ParkEvents :many
-- Parks waiting events until their next attempt is due, when the relay recreates their WebhookEvents.
UPDATE webhook_events SET dispatched_at = NULL, parked = true
WHERE id = ANY(@ids::uuid[]) AND status = 'pending' AND dispatched_at IS NOT NULL AND next_attempt_at > now()
RETURNING id;

-- name: ListDispatched :many
-- A page of the rows that should have a WebhookEvent, for the audit. Rows that were dispatched just now are left out: their WebhookEvents may
-- not have reached the cache.
SELECT id, source, received_at FROM webhook_events
WHERE status IN ('pending', 'processing') AND dispatched_at < now() - make_interval(secs => @grace_seconds::float8)
  AND (received_at, id) > (@after_received_at::timestamptz, @after_id::uuid)
ORDER BY received_at, id
LIMIT @max_rows::int;

-- name: StatusOfEvents :many
SELECT id, status FROM webhook_events WHERE id = ANY(@ids::uuid[]);

-- name: RequestAudit :exec
-- Each request is later than the one before, even if two are concurrent or the clock is set back: the controller looks for a later one.
UPDATE controller_term SET audit_requested_at = greatest(clock_timestamp(), audit_requested_at + interval '1 microsecond');

-- name: AuditRequestedAt :one
SELECT coalesce(audit_requested_at, 'epoch')::timestamptz AS audit_requested_at FROM controller_term;

-- name: Beat :one
-- known is the latest heartbeat that was seen. A database with an earlier one was rolled back to that moment. The statement records this
-- together with the next heartbeat, which is later than both. A beat whose answer was lost is repeated with the same known, with the same
-- result. No row: fenced.
UPDATE controller_heartbeat h
SET beat_at = greatest(clock_timestamp(), h.beat_at + interval '1 microsecond', k.known + interval '1 microsecond'),
    rolled_back_at = CASE WHEN h.beat_at < k.known THEN clock_timestamp() ELSE h.rolled_back_at END,
    rolled_back_from = CASE WHEN h.beat_at < k.known THEN k.known ELSE h.rolled_back_from END,
    rolled_back_to = CASE WHEN h.beat_at < k.known THEN h.beat_at ELSE h.rolled_back_to END
FROM (SELECT @known::timestamptz AS known) k
WHERE (SELECT t.term FROM controller_term t) = @term::bigint
RETURNING h.beat_at, coalesce(h.rolled_back_from = k.known, false)::boolean AS rolled_back,
    coalesce(h.rolled_back_to, 'epoch')::timestamptz AS rolled_back_to;
