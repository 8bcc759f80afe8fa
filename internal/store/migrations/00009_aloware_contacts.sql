-- Which contact of Aloware a contact of GoHighLevel is, once its phone number changes: Aloware knows contacts by their phone number, so
-- that a new number leads to another contact there, and the former one stays.

-- +goose Up

ALTER TABLE contact_mappings
    -- The phone number under which Aloware has aloware_contact_id. NULL where it is not known, or no contact is.
    ADD COLUMN aloware_phone_number       text,
    -- When, at GoHighLevel, the contact was as it was when it got this contact of Aloware.
    ADD COLUMN aloware_contact_since      timestamptz,
    -- Contacts of Aloware that it was before, the last one last.
    ADD COLUMN former_aloware_contact_ids text[] NOT NULL DEFAULT '{}';
