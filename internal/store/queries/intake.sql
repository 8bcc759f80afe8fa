-- Intake: what the receiver commits before it answers 200.

-- name: LockKeys :exec
-- In the given order, which is always ascending, so that two batches cannot deadlock.
SELECT pg_advisory_xact_lock(unnest(@keys::bigint[]));

-- name: NewestOfOrderingKeys :many
-- The newest event of each ordering key, and whether it is young enough for a delivery to be its duplicate.
SELECT k.ordering_key::text AS ordering_key, n.id, n.received_at, coalesce(n.body_hash, '')::bytea AS body_hash,
       (n.received_at > now() - interval '24 hours')::boolean AS fresh
FROM (SELECT unnest(@ordering_keys::text[]) AS ordering_key) k
CROSS JOIN LATERAL (
    SELECT e.id, e.received_at, e.body_hash
    FROM webhook_events e
    WHERE e.ordering_key = k.ordering_key
    ORDER BY e.received_at DESC, e.id DESC
    LIMIT 1
) n;

-- name: LatestOfBodyHashes :many
-- The latest event with the same bytes within the hour, for deliveries that name no entity.
SELECT DISTINCT ON (body_hash) body_hash, id, received_at
FROM webhook_events
WHERE body_hash = ANY(@body_hashes::bytea[]) AND ordering_key IS NULL AND received_at > now() - interval '1 hour'
ORDER BY body_hash, received_at DESC, id DESC;

-- name: FindUnanswered :many
-- Events with the same bytes whose sender was not answered 200, oldest first, and those of uncertain_ids, which this process has not yet
-- marked on the rows. GoHighLevel repeats an event for a day at most.
SELECT id, coalesce(body_hash, '')::bytea AS body_hash, received_at FROM (
    SELECT e.id, e.body_hash, e.received_at FROM webhook_events e
    WHERE e.unanswered AND e.body_hash = ANY(@body_hashes::bytea[]) AND e.received_at > now() - interval '24 hours'
    UNION
    SELECT e.id, e.body_hash, e.received_at FROM webhook_events e
    WHERE e.id = ANY(@uncertain_ids::uuid[]) AND e.body_hash = ANY(@body_hashes::bytea[])
) f
ORDER BY received_at, id;

-- name: MarkUnanswered :exec
UPDATE webhook_events SET unanswered = true WHERE id = ANY(@ids::uuid[]) AND NOT unanswered;

-- name: MarkAnswered :exec
-- The retry of these events has arrived.
UPDATE webhook_events SET unanswered = false WHERE id = ANY(@ids::uuid[]) AND unanswered;

-- name: InsertEvents :many
-- One statement for a whole batch. received_at comes from the database's clock, a microsecond apart in the order of arrival, so that all
-- replicas agree on the order. Rows are inserted by dedupe key: two batches that share keys wait for each other in the same order.
INSERT INTO webhook_events (
    id, received_at, source, event_type, entity_type, entity_id, location_id, contact_id, appointment_status,
    payload_json, payload_raw, truncated, headers, dedupe_key, body_hash, ordering_key, occurred_at)
SELECT d.id, statement_timestamp() + d.n * interval '1 microsecond', d.source, d.event_type, d.entity_type,
       nullif(d.entity_id, ''), nullif(d.location_id, ''), nullif(d.contact_id, ''), nullif(d.appointment_status, ''),
       d.payload_json::json, nullif(d.payload_raw, ''::bytea), d.truncated, d.headers::jsonb, d.dedupe_key, d.body_hash,
       nullif(d.ordering_key, ''),
       CASE WHEN d.occurred_at > '0001-01-02' THEN least(d.occurred_at, statement_timestamp()) END
FROM (
    SELECT unnest(@ids::uuid[])                  AS id,
           unnest(@ns::int[])                    AS n,
           unnest(@sources::text[])              AS source,
           unnest(@event_types::text[])          AS event_type,
           unnest(@entity_types::text[])         AS entity_type,
           unnest(@entity_ids::text[])           AS entity_id,
           unnest(@location_ids::text[])         AS location_id,
           unnest(@contact_ids::text[])          AS contact_id,
           unnest(@appointment_statuses::text[]) AS appointment_status,
           unnest(@payloads_json::text[])        AS payload_json,
           unnest(@payloads_raw::bytea[])        AS payload_raw,
           unnest(@truncateds::boolean[])        AS truncated,
           unnest(@headers::text[])              AS headers,
           unnest(@dedupe_keys::text[])          AS dedupe_key,
           unnest(@body_hashes::bytea[])         AS body_hash,
           unnest(@ordering_keys::text[])        AS ordering_key,
           unnest(@occurred_ats::timestamptz[])  AS occurred_at
) d
ORDER BY d.dedupe_key
ON CONFLICT (dedupe_key) DO NOTHING
RETURNING id, received_at;

-- name: EventsByDedupeKeys :many
SELECT dedupe_key, id, received_at FROM webhook_events WHERE dedupe_key = ANY(@dedupe_keys::text[]);

-- name: CountBacklog :one
-- Each part is counted in a separate partial index, as in ReadStats.
SELECT (u.n + p.n + l.n)::bigint AS pending, (u.n + p.n)::bigint AS undispatched
FROM (SELECT count(*) AS n FROM webhook_events
      WHERE status IN ('pending', 'processing') AND dispatched_at IS NULL AND NOT parked) u,
     (SELECT count(*) AS n FROM webhook_events
      WHERE status IN ('pending', 'processing') AND dispatched_at IS NULL AND parked) p,
     (SELECT count(*) AS n FROM webhook_events WHERE status IN ('pending', 'processing') AND dispatched_at IS NOT NULL) l;
