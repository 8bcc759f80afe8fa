-- When an appointment was booked. Until now the time of its first event stood in, which is late where that event is a change.

-- +goose Up

ALTER TABLE appointments
    -- When GoHighLevel says that it was booked: the earliest, where events differ. NULL where none says.
    ADD COLUMN booked_at     timestamptz,
    -- Whether an event has reported the booking itself, not only a later change. Rows of older binaries do not say: their first event
    -- counts as the booking, as it did.
    ADD COLUMN creation_seen boolean NOT NULL DEFAULT true;
