-- Erasure of one person's data. The caller decides whose a row is: no statement here compares phone numbers or e-mail addresses, so that none
-- of them reaches a log of Postgres.
--
-- An event is erased under the lock of its row. An attempt in flight records nothing on an erased row, so that erased data does not return:
-- see FinishAttempt, RememberContact and MergeAppointment.

-- name: ScanEvents :many
-- A page of events that are not erased, by id.
SELECT id, source, status, event_type, entity_type, coalesce(entity_id, '')::text AS entity_id, coalesce(location_id, '')::text AS location_id,
       coalesce(contact_id, '')::text AS contact_id, coalesce(appointment_status, '')::text AS appointment_status, dedupe_key,
       coalesce(ordering_key, '')::text AS ordering_key, coalesce(replay_request, '')::text AS replay_request,
       coalesce(error_message, '')::text AS error_message, payload_json, payload_raw, headers
FROM webhook_events
WHERE id > @after AND erased_at IS NULL
ORDER BY id
LIMIT @max_rows::int;

-- name: EraseEvent :one
-- An unfinished event ends in error; an attempt in flight does not match the row any more. Ids, times, type, status and the keys that identify
-- a repeated delivery stay, unless they contain a phone number or an e-mail address (strip).
WITH found AS (
    SELECT f.id, f.status FROM webhook_events f WHERE f.id = @id AND f.erased_at IS NULL FOR UPDATE
)
UPDATE webhook_events e
SET payload_json = '{}', payload_raw = NULL, headers = '{}', contact_id = NULL, verity_contact_id = NULL,
    status = CASE WHEN f.status = 'done' THEN 'done' ELSE 'error' END,
    reason = CASE WHEN f.status = 'done' THEN e.reason ELSE @reason::text END,
    error_message = CASE WHEN f.status <> 'done' THEN @message::text END,
    processed_at = coalesce(e.processed_at, clock_timestamp()), erased_at = clock_timestamp(),
    next_attempt_at = NULL, held_by = NULL, suspended = false, parked = false,
    entity_id = CASE WHEN NOT @strip::boolean THEN e.entity_id END,
    ordering_key = CASE WHEN NOT @strip::boolean THEN e.ordering_key END,
    location_id = CASE WHEN NOT @strip::boolean THEN e.location_id END,
    appointment_status = CASE WHEN NOT @strip::boolean THEN e.appointment_status END,
    replay_request = CASE WHEN NOT @strip::boolean THEN e.replay_request END,
    dedupe_key = CASE WHEN @strip::boolean THEN e.source || ':erased:' || e.id ELSE e.dedupe_key END,
    event_type = CASE WHEN @strip::boolean THEN 'unknown' ELSE e.event_type END,
    entity_type = CASE WHEN @strip::boolean THEN 'unknown' ELSE e.entity_type END
FROM found f
WHERE e.id = f.id
RETURNING f.status;

-- name: EraseLedgerOfEvent :execrows
-- Runs after EraseEvent, in its transaction, so that it sees an attempt that was recorded meanwhile.
UPDATE sync_log
SET error_message = NULL, details = '{}', target_id = NULL, correlation_id = webhook_event_id::text,
    entity_id = CASE WHEN NOT @strip::boolean THEN nullif(entity_id, @contact_id::text) END,
    source_id = CASE WHEN NOT @strip::boolean THEN nullif(source_id, @contact_id::text) END,
    entity_type = CASE WHEN @strip::boolean THEN 'unknown' ELSE entity_type END
WHERE webhook_event_id = @id;

-- name: CountLedgerOfEvents :one
SELECT count(*)::bigint FROM sync_log WHERE webhook_event_id = ANY (@ids::uuid[]);

-- name: ScanUnlinkedLog :many
-- A page of the legacy middleware's log, which names no event.
SELECT id, entity_type, coalesce(entity_id, '')::text AS entity_id, coalesce(source_id, '')::text AS source_id,
       coalesce(target_id, '')::text AS target_id, coalesce(correlation_id, '')::text AS correlation_id,
       coalesce(error_message, '')::text AS error_message, details
FROM sync_log
WHERE webhook_event_id IS NULL AND id > @after AND operation IS DISTINCT FROM 'erase'
ORDER BY id
LIMIT @max_rows::int;

-- name: EraseLogEntry :execrows
UPDATE sync_log
SET error_message = NULL, details = '{}',
    entity_id = CASE WHEN entity_id <> ALL (@ids::text[]) THEN entity_id END,
    source_id = CASE WHEN source_id <> ALL (@ids::text[]) THEN source_id END,
    target_id = CASE WHEN target_id <> ALL (@ids::text[]) THEN target_id END,
    correlation_id = CASE WHEN correlation_id <> ALL (@ids::text[]) THEN correlation_id END
WHERE id = @id AND webhook_event_id IS NULL;

-- name: ScanMappings :many
SELECT ghl_contact_id, coalesce(location_id, '')::text AS location_id, coalesce(phone_number, '')::text AS phone_number,
       coalesce(email, '')::text AS email, coalesce(aloware_phone_number, '')::text AS aloware_phone_number,
       coalesce(aloware_contact_id, '')::text AS aloware_contact_id, former_aloware_contact_ids
FROM contact_mappings
WHERE ghl_contact_id > @after
ORDER BY ghl_contact_id
LIMIT @max_rows::int;

-- name: DeleteMapping :execrows
DELETE FROM contact_mappings WHERE ghl_contact_id = @ghl_contact_id;

-- name: AppointmentsOfGHLContact :many
SELECT ghl_appointment_id FROM appointments
WHERE ghl_contact_id = @ghl_contact_id::text AND (@location_id::text = '' OR location_id IS NULL OR location_id = @location_id::text)
ORDER BY ghl_appointment_id;

-- name: CountUnownedAppointments :one
SELECT count(*)::bigint FROM appointments WHERE ghl_appointment_id = ANY (@ids::text[]) AND ghl_contact_id IS NULL;

-- name: DeleteAppointments :execrows
-- Those of the contact, and those of ids without a contact. In the order in which AttachAppointments locks them.
DELETE FROM appointments WHERE ghl_appointment_id IN (
    SELECT a.ghl_appointment_id FROM appointments a
    WHERE a.ghl_contact_id = nullif(@ghl_contact_id::text, '')
          AND (@location_id::text = '' OR a.location_id IS NULL OR a.location_id = @location_id::text)
       OR (a.ghl_appointment_id = ANY (@ids::text[]) AND a.ghl_contact_id IS NULL)
    ORDER BY a.ghl_appointment_id
    FOR UPDATE);

-- name: RecordErasure :exec
INSERT INTO sync_log (direction, entity_type, operation, status, details, correlation_id, started_at, finished_at)
VALUES ('erasure', 'person', 'erase', @status::text, @details::jsonb, @erasure_id::text, @started_at::timestamptz, clock_timestamp());

-- name: ErasedAt :one
SELECT erased_at FROM webhook_events WHERE id = @id;

-- name: CountErased :one
-- The events that a replay leaves out because their data was erased.
SELECT count(*)::bigint FROM webhook_events
WHERE status = @status::text AND processed_at >= now() - make_interval(secs => @since_seconds::float8)
  AND processed_at <= now() - make_interval(secs => @until_seconds::float8) AND erased_at IS NOT NULL
  AND (event_type = @event_type::text OR @event_type::text = '');
