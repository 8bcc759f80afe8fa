-- When an appointment was booked. Until now the time of its first event stood in, which is late where that event is a change.

-- +goose Up

-- What the stored events say is read before the table is locked. A body that cannot be read says nothing.
-- +goose StatementBegin
DO $$
DECLARE
    e        record;
    added    text;
    booked   timestamptz;
BEGIN
    CREATE TABLE verity_sync_bookings (appointment_id text, happened_at timestamptz, creation boolean, booked_at timestamptz);
    FOR e IN
        SELECT entity_id, event_type, coalesce(occurred_at, received_at) AS happened_at, payload_json
        FROM webhook_events
        WHERE entity_type = 'appointment' AND entity_id IS NOT NULL
    LOOP
        booked := NULL;
        BEGIN
            added := e.payload_json #>> '{appointment,dateAdded}';
            IF added ~ '^2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$' THEN
                booked := added::timestamptz;
            END IF;
        EXCEPTION WHEN OTHERS THEN
            booked := NULL;
        END;
        IF booked > e.happened_at THEN
            booked := NULL;
        END IF;
        INSERT INTO verity_sync_bookings
        VALUES (e.entity_id, e.happened_at,
                e.event_type = 'appointment.created' AND coalesce(booked >= e.happened_at - interval '1 day', true), booked);
    END LOOP;
END
$$;
-- +goose StatementEnd

ALTER TABLE appointments
    -- When GoHighLevel says that it was booked: the earliest, where events differ. NULL where none says.
    ADD COLUMN booked_at     timestamptz,
    -- Whether an event has reported the booking itself, not only a later change. Rows of older binaries do not say: their first event
    -- counts as the booking, as it did.
    ADD COLUMN creation_seen boolean NOT NULL DEFAULT true;

-- The first event may be gone already, in which case it is not known what it was.
UPDATE appointments a
SET booked_at = b.booked_at, creation_seen = b.creation OR b.first_at > a.first_at
FROM (
    SELECT appointment_id, min(booked_at) AS booked_at, bool_or(creation) AS creation, min(happened_at) AS first_at
    FROM verity_sync_bookings
    GROUP BY appointment_id
) b
WHERE a.ghl_appointment_id = b.appointment_id;

-- +goose StatementBegin
DO $$
BEGIN
    DROP TABLE verity_sync_bookings;
END
$$;
-- +goose StatementEnd
