-- Contacts and appointments, as the events describe them.

-- name: MappingOfContact :one
SELECT ghl_contact_id, coalesce(location_id, '')::text AS location_id, coalesce(aloware_contact_id, '')::text AS aloware_contact_id,
       coalesce(phone_number, '')::text AS phone_number, coalesce(email, '')::text AS email, last_synced_at, synced_occurred_at,
       coalesce(aloware_phone_number, '')::text AS aloware_phone_number, aloware_contact_since, former_aloware_contact_ids
FROM contact_mappings
WHERE ghl_contact_id = @ghl_contact_id;

-- name: RememberContact :execrows
-- Phone and e-mail of the newest source; values that it lacks are kept. An older source fills in missing values only. If Aloware has a
-- contact whose number was not recorded, its number is the one known until now. No row: the event was erased. An erasure waits for the lock,
-- and so sees what this statement writes.
WITH said_by AS (
    SELECT e.erased_at FROM webhook_events e WHERE e.id = @event_id::uuid FOR SHARE
)
INSERT INTO contact_mappings AS m (ghl_contact_id, location_id, phone_number, phone_observed_at, email, email_observed_at)
SELECT @ghl_contact_id, nullif(@location_id::text, ''),
       nullif(@phone_number::text, ''), CASE WHEN @phone_number::text <> '' THEN @observed_at::timestamptz END,
       nullif(@email::text, ''), CASE WHEN @email::text <> '' THEN @observed_at::timestamptz END
WHERE NOT EXISTS (SELECT FROM said_by s WHERE s.erased_at IS NOT NULL)
ON CONFLICT (ghl_contact_id) DO UPDATE
SET location_id       = coalesce(m.location_id, excluded.location_id),
    phone_number      = CASE WHEN m.phone_number IS NULL OR excluded.phone_observed_at >= coalesce(m.phone_observed_at, '-infinity')
                             THEN coalesce(excluded.phone_number, m.phone_number) ELSE m.phone_number END,
    phone_observed_at = greatest(m.phone_observed_at, excluded.phone_observed_at),
    email             = CASE WHEN m.email IS NULL OR excluded.email_observed_at >= coalesce(m.email_observed_at, '-infinity')
                             THEN coalesce(excluded.email, m.email) ELSE m.email END,
    email_observed_at = greatest(m.email_observed_at, excluded.email_observed_at),
    aloware_phone_number = coalesce(m.aloware_phone_number, CASE WHEN m.aloware_contact_id IS NOT NULL THEN m.phone_number END),
    updated_at        = clock_timestamp();

-- name: ContactSynced :exec
-- Records a sync to Aloware. A newer event that was synced meanwhile stays the newest. Without an id, the known one stays. A replaced id is
-- kept among the former ones.
UPDATE contact_mappings
SET aloware_contact_id = coalesce(nullif(@aloware_contact_id::text, ''), aloware_contact_id),
    aloware_phone_number = CASE WHEN @aloware_contact_id::text <> '' THEN @phone_number::text ELSE aloware_phone_number END,
    aloware_contact_since = CASE WHEN @aloware_contact_id::text <> coalesce(aloware_contact_id, '') AND @aloware_contact_id::text <> ''
                                 THEN @occurred_at::timestamptz ELSE aloware_contact_since END,
    former_aloware_contact_ids = CASE
        WHEN @aloware_contact_id::text = '' OR aloware_contact_id = @aloware_contact_id::text THEN former_aloware_contact_ids
        ELSE array_remove(array_append(array_remove(former_aloware_contact_ids, @aloware_contact_id::text), aloware_contact_id), NULL) END,
    last_synced_at = clock_timestamp(), sync_direction = @sync_direction::text,
    synced_occurred_at = greatest(synced_occurred_at, @occurred_at::timestamptz), updated_at = clock_timestamp()
WHERE ghl_contact_id = @ghl_contact_id;

-- name: MergeAppointment :one
-- Merges one event into its appointment: each column has the value of the latest event that has one; the earliest instants are kept. The
-- result does not depend on the order of arrival, and a repetition changes nothing. If the contact of an appointment changes, the appointment
-- leaves its contact of Verity. The mapping of the contact is returned, too, since the caller needs it next. No row: the event was erased.
-- An erasure waits for the lock.
WITH said_by AS (
    SELECT e.erased_at FROM webhook_events e WHERE e.id = @event_id::uuid FOR SHARE
), said AS (
    SELECT ROW(@at::timestamptz, @deleted::boolean, @received_at::timestamptz, @event_id::uuid)::event_order AS by_event
), merged AS (
    INSERT INTO appointments AS a (ghl_appointment_id, location_id, ghl_contact_id, contact_by, first_at, status, status_by,
                                   deleted_by, alive_by, booked, newest, booked_at, creation_seen)
    SELECT @ghl_appointment_id, nullif(@location_id::text, ''),
           nullif(@ghl_contact_id::text, ''), CASE WHEN @ghl_contact_id::text <> '' THEN said.by_event END,
           @at::timestamptz, @status::text, CASE WHEN @status::text <> '' THEN said.by_event END,
           CASE WHEN @deleted::boolean THEN said.by_event END, CASE WHEN @dated::boolean AND NOT @deleted::boolean THEN said.by_event END,
           @booked::boolean, said.by_event, sqlc.narg(booked_at)::timestamptz, @creation::boolean
    FROM said
    WHERE NOT EXISTS (SELECT FROM said_by s WHERE s.erased_at IS NOT NULL)
    ON CONFLICT (ghl_appointment_id) DO UPDATE
    SET location_id        = coalesce(a.location_id, excluded.location_id),
        ghl_contact_id     = CASE WHEN excluded.contact_by >= coalesce(a.contact_by, excluded.contact_by)
                                  THEN excluded.ghl_contact_id ELSE a.ghl_contact_id END,
        contact_by         = greatest(a.contact_by, excluded.contact_by),
        verity_contact_id  = CASE WHEN excluded.contact_by >= a.contact_by AND excluded.ghl_contact_id <> a.ghl_contact_id
                                  THEN NULL ELSE a.verity_contact_id END,
        former_contact_ids = CASE WHEN excluded.contact_by >= a.contact_by AND excluded.ghl_contact_id <> a.ghl_contact_id
                                  THEN array_remove(array_append(a.former_contact_ids, a.verity_contact_id), NULL)
                                  ELSE a.former_contact_ids END,
        first_at           = least(a.first_at, excluded.first_at),
        status             = CASE WHEN excluded.status_by >= coalesce(a.status_by, excluded.status_by)
                                  THEN excluded.status ELSE a.status END,
        status_by          = greatest(a.status_by, excluded.status_by),
        deleted_by         = greatest(a.deleted_by, excluded.deleted_by),
        alive_by           = greatest(a.alive_by, excluded.alive_by),
        booked             = a.booked OR excluded.booked,
        newest             = greatest(a.newest, excluded.newest),
        booked_at          = least(a.booked_at, excluded.booked_at),
        creation_seen      = a.creation_seen OR excluded.creation_seen,
        revision           = a.revision + (
            excluded.newest > a.newest OR excluded.first_at < a.first_at OR excluded.booked > a.booked
            OR excluded.creation_seen > a.creation_seen OR least(a.booked_at, excluded.booked_at) IS DISTINCT FROM a.booked_at
            OR coalesce(greatest(a.deleted_by, excluded.deleted_by) > greatest(a.alive_by, excluded.alive_by),
                        a.deleted OR excluded.deleted_by IS NOT NULL) <> a.deleted
            OR (excluded.status_by IS NOT NULL AND excluded.status_by >= coalesce(a.status_by, excluded.status_by)
                AND excluded.status <> a.status)
            OR (excluded.contact_by IS NOT NULL AND excluded.contact_by >= coalesce(a.contact_by, excluded.contact_by)
                AND excluded.ghl_contact_id IS DISTINCT FROM a.ghl_contact_id))::int
    RETURNING a.*
)
SELECT coalesce(a.location_id, '')::text AS location_id, coalesce(a.ghl_contact_id, '')::text AS ghl_contact_id,
    coalesce(a.verity_contact_id, '')::text AS verity_contact_id, a.former_contact_ids, a.status, a.deleted, a.booked,
    ((a.newest).event_id = @event_id::uuid)::boolean AS is_newest, a.revision, (a.revision > a.synced_revision)::boolean AS unsynced,
    coalesce(m.location_id, '')::text AS contact_location_id, coalesce(m.phone_number, '')::text AS contact_phone_number,
    coalesce(m.email, '')::text AS contact_email
FROM merged a
LEFT JOIN contact_mappings m ON m.ghl_contact_id = a.ghl_contact_id;

-- name: AppointmentByID :one
SELECT coalesce(location_id, '')::text AS location_id, coalesce(ghl_contact_id, '')::text AS ghl_contact_id,
       coalesce(verity_contact_id, '')::text AS verity_contact_id, former_contact_ids, status, deleted, booked, revision,
       (revision > synced_revision)::boolean AS unsynced
FROM appointments
WHERE ghl_appointment_id = @ghl_appointment_id;

-- name: AttachAppointments :one
-- Attaches all appointments of a contact of GoHighLevel to one contact of Verity. Returns their former contacts of Verity, and whether the
-- appointment still belongs to the contact of GoHighLevel.
WITH concerned AS (
    SELECT c.ghl_appointment_id, c.verity_contact_id, c.former_contact_ids FROM appointments c
    WHERE c.ghl_contact_id = nullif(@ghl_contact_id::text, '')
       OR (c.ghl_appointment_id = @ghl_appointment_id AND c.ghl_contact_id IS NULL AND @ghl_contact_id::text = '')
    ORDER BY c.ghl_appointment_id
    FOR UPDATE
), moved AS (
    UPDATE appointments a
    SET former_contact_ids = array_remove(
            array_remove(array_append(c.former_contact_ids, c.verity_contact_id), @verity_contact_id::text), NULL),
        verity_contact_id = @verity_contact_id::text
    FROM concerned c
    WHERE a.ghl_appointment_id = c.ghl_appointment_id AND c.verity_contact_id IS DISTINCT FROM @verity_contact_id::text
      AND EXISTS (SELECT FROM concerned o WHERE o.ghl_appointment_id = @ghl_appointment_id)
)
SELECT EXISTS (SELECT FROM concerned c WHERE c.ghl_appointment_id = @ghl_appointment_id)::boolean AS attached,
       ARRAY(SELECT DISTINCT f.id FROM concerned c, unnest(array_append(c.former_contact_ids, c.verity_contact_id)) AS f(id)
             WHERE f.id <> @verity_contact_id::text)::text[] AS former_contact_ids;

-- name: AppointmentSynced :exec
UPDATE appointments SET synced_revision = greatest(synced_revision, @revision::bigint) WHERE ghl_appointment_id = @ghl_appointment_id;

-- name: RecordBookingTime :exec
-- The event that needs it derives the leads after this, so that no new revision is needed.
UPDATE appointments SET booked_at = least(booked_at, @booked_at::timestamptz) WHERE ghl_appointment_id = @ghl_appointment_id;

-- name: AppointmentsOfContact :many
-- Newest booking first; appointments without a known booking time last, by their first events. Includes appointments that a lead of the
-- contact may still point at. Each part uses a separate index: with one condition for both, Postgres scans a new table that is not yet
-- analyzed.
SELECT a.ghl_appointment_id, a.status, a.deleted, a.booked, a.booked_at,
       (a.creation_seen AND coalesce(a.booked_at >= a.first_at - interval '1 day', true))::boolean AS creation_seen,
       coalesce(a.location_id, '')::text AS location_id, a.former::boolean AS former
FROM (
    SELECT o.ghl_appointment_id, o.status, o.deleted, o.booked, o.creation_seen, o.booked_at, o.first_at, o.location_id, false AS former
    FROM appointments o
    WHERE o.verity_contact_id = @verity_contact_id::text
    UNION ALL
    SELECT f.ghl_appointment_id, f.status, f.deleted, f.booked, f.creation_seen, f.booked_at, f.first_at, f.location_id, true
    FROM appointments f
    WHERE f.former_contact_ids <> '{}' AND f.former_contact_ids @> ARRAY[@verity_contact_id::text]
      AND f.verity_contact_id IS DISTINCT FROM @verity_contact_id::text
) a
ORDER BY (a.creation_seen OR a.booked_at IS NOT NULL) DESC, least(a.booked_at, a.first_at) DESC, a.ghl_appointment_id DESC;
