-- The tables of verity-sync. A database of the earlier middleware is adopted: where a table of it is there already, the
-- first statement for that table does nothing and those that follow bring it into the present form, rows and ids kept.
-- A fresh database takes the same way, so that there is one.

-- +goose Up

CREATE TABLE IF NOT EXISTS webhook_events (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    received_at   timestamptz NOT NULL DEFAULT now(),
    source        text NOT NULL,
    event_type    text NOT NULL,
    entity_type   text NOT NULL,
    entity_id     text,
    payload_json  json NOT NULL,
    dedupe_key    text NOT NULL UNIQUE,
    status        text NOT NULL DEFAULT 'pending',
    error_message text,
    processed_at  timestamptz
);

-- Whatever is here before the column is, came from the earlier middleware; what comes after did not.
-- forward is false where the earlier middleware has forwarded the event already, which it did when an event came in.
ALTER TABLE webhook_events
    ADD COLUMN adopted boolean NOT NULL DEFAULT true,
    ADD COLUMN forward boolean NOT NULL DEFAULT false;
ALTER TABLE webhook_events
    ALTER COLUMN adopted SET DEFAULT false,
    ALTER COLUMN forward SET DEFAULT true;

-- json keeps the text as it came; jsonb reorders it, and what is forwarded must be what was sent.
ALTER TABLE webhook_events ALTER COLUMN payload_json TYPE json USING payload_json::text::json;

ALTER TABLE webhook_events
    ALTER COLUMN entity_id DROP NOT NULL,
    ALTER COLUMN received_at SET DEFAULT now(),
    ADD COLUMN location_id        text,
    ADD COLUMN contact_id         text,
    ADD COLUMN appointment_status text,
    ADD COLUMN payload_raw        bytea,
    ADD COLUMN truncated          boolean NOT NULL DEFAULT false,
    ADD COLUMN headers            jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN body_hash          bytea,
    ADD COLUMN ordering_key       text,
    -- run counts the replays; what the ledger has since ledger_run need not be done again.
    ADD COLUMN run                integer NOT NULL DEFAULT 0,
    ADD COLUMN ledger_run         integer NOT NULL DEFAULT 0,
    ADD COLUMN replay_request     text,
    ADD COLUMN attempts           integer NOT NULL DEFAULT 0,
    ADD COLUMN next_attempt_at    timestamptz,
    ADD COLUMN claimed_term       bigint,
    ADD COLUMN suspended          boolean NOT NULL DEFAULT false,
    -- A parked row has no WebhookEvent until its next attempt is due.
    ADD COLUMN parked             boolean NOT NULL DEFAULT false,
    -- What the last attempt left to say: the reason of the condition Ready, and the result.
    ADD COLUMN reason             text,
    ADD COLUMN result             text,
    ADD COLUMN verity_contact_id  text,
    ADD COLUMN occurred_at        timestamptz,
    ADD COLUMN dispatched_at      timestamptz,
    ADD COLUMN started_at         timestamptz;

UPDATE webhook_events SET received_at = coalesce(processed_at, now()) WHERE received_at IS NULL;
ALTER TABLE webhook_events ALTER COLUMN received_at SET NOT NULL;

-- An attempt that was under way when the earlier middleware stopped is made again; a status that means nothing here is
-- shown rather than guessed at.
UPDATE webhook_events
SET status        = 'error',
    processed_at  = coalesce(processed_at, now()),
    error_message = coalesce(error_message, 'adopted with the unknown status "' || status || '"')
WHERE status NOT IN ('pending', 'processing', 'done', 'error');
UPDATE webhook_events SET status = 'pending' WHERE status IS NULL OR status = 'processing';
UPDATE webhook_events SET processed_at = received_at WHERE processed_at IS NULL AND status IN ('done', 'error');
UPDATE webhook_events SET processed_at = NULL WHERE processed_at IS NOT NULL AND status = 'pending';

ALTER TABLE webhook_events
    ALTER COLUMN status SET DEFAULT 'pending',
    ALTER COLUMN status SET NOT NULL,
    ADD CONSTRAINT webhook_events_status_check CHECK (status IN ('pending', 'processing', 'done', 'error')),
    ADD CONSTRAINT webhook_events_processed_at_check CHECK ((status IN ('done', 'error')) = (processed_at IS NOT NULL)),
    -- The earlier middleware's route, should it still run, stores no hash: its rows take the contact for the appointment, and
    -- Verity's leads would follow them. They are refused, so that it fails where people look.
    ADD CONSTRAINT webhook_events_earlier_route_check CHECK (adopted OR body_hash IS NOT NULL),
    ADD CONSTRAINT webhook_events_attempts_check CHECK (attempts >= 0),
    ADD CONSTRAINT webhook_events_run_check CHECK (run >= ledger_run AND ledger_run >= 0);

CREATE INDEX IF NOT EXISTS webhook_events_source_received_at_idx ON webhook_events (source, received_at DESC);
-- The newest event of an ordering key: what a delivery without an id of its own is compared with.
CREATE INDEX webhook_events_ordering_idx ON webhook_events (ordering_key, received_at, id) WHERE ordering_key IS NOT NULL;
-- What is not finished stays as small as the work that is left, whatever the size of the table. Three questions are put
-- to it: which event of an entity comes first, what has no WebhookEvent yet, and how many have one.
CREATE INDEX webhook_events_unfinished_ordering_idx ON webhook_events (ordering_key, received_at, id)
    WHERE status IN ('pending', 'processing') AND ordering_key IS NOT NULL;
CREATE INDEX webhook_events_undispatched_idx ON webhook_events (received_at, id)
    WHERE status IN ('pending', 'processing') AND dispatched_at IS NULL;
CREATE INDEX webhook_events_live_idx ON webhook_events (received_at, id)
    WHERE status IN ('pending', 'processing') AND dispatched_at IS NOT NULL;
-- Bodies that name neither a delivery nor an entity are told apart by their hash alone.
CREATE INDEX webhook_events_body_hash_idx ON webhook_events (body_hash, received_at) WHERE ordering_key IS NULL;
-- What retention removes, and what needs a person.
CREATE INDEX webhook_events_done_idx ON webhook_events (processed_at) WHERE status = 'done';
CREATE INDEX webhook_events_error_idx ON webhook_events (processed_at) WHERE status = 'error';

CREATE TABLE IF NOT EXISTS sync_log (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    direction      text NOT NULL,
    entity_type    text NOT NULL,
    entity_id      text,
    source_id      text,
    target_id      text,
    status         text,
    started_at     timestamptz DEFAULT now(),
    finished_at    timestamptz,
    error_message  text,
    correlation_id text
);

ALTER TABLE sync_log
    ALTER COLUMN id SET DEFAULT gen_random_uuid(),
    ALTER COLUMN entity_id DROP NOT NULL,
    ALTER COLUMN source_id DROP NOT NULL,
    ADD COLUMN webhook_event_id uuid REFERENCES webhook_events (id) ON DELETE CASCADE,
    ADD COLUMN run              integer NOT NULL DEFAULT 0,
    ADD COLUMN operation        text,
    ADD COLUMN attempt          integer,
    ADD COLUMN details          jsonb NOT NULL DEFAULT '{}';

ALTER TABLE sync_log
    -- Rows of the earlier middleware name no event and keep the status that it gave them.
    ADD CONSTRAINT sync_log_status_check
        CHECK (webhook_event_id IS NULL OR (status IS NOT NULL AND status IN ('success', 'error', 'skipped'))),
    ADD CONSTRAINT sync_log_operation_check CHECK (webhook_event_id IS NULL OR operation IS NOT NULL);

-- The ledger: what has succeeded once in a run is not done again.
CREATE UNIQUE INDEX sync_log_success_idx ON sync_log (webhook_event_id, run, operation) WHERE status = 'success';
CREATE INDEX sync_log_webhook_event_id_idx ON sync_log (webhook_event_id);
CREATE INDEX sync_log_entity_idx ON sync_log (entity_type, started_at DESC);

CREATE TABLE IF NOT EXISTS contact_mappings (
    id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    aloware_contact_id text,
    ghl_contact_id     text NOT NULL UNIQUE,
    phone_number       text,
    email              text,
    last_synced_at     timestamptz,
    sync_direction     text NOT NULL,
    created_at         timestamptz DEFAULT now(),
    updated_at         timestamptz DEFAULT now()
);

-- Two contacts of GoHighLevel can share a phone, and Aloware knows a contact by its phone.
-- +goose StatementBegin
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT c.conname AS name
        FROM pg_constraint c
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        WHERE c.conrelid = 'contact_mappings'::regclass AND c.contype = 'u' AND cardinality(c.conkey) = 1
          AND a.attname = 'aloware_contact_id'
    LOOP
        EXECUTE format('ALTER TABLE contact_mappings DROP CONSTRAINT %I', found.name);
    END LOOP;
    FOR found IN
        SELECT i.indexrelid::regclass::text AS name
        FROM pg_index i
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = 'contact_mappings'::regclass AND i.indisunique AND NOT i.indisprimary AND i.indnatts = 1
          AND a.attname = 'aloware_contact_id'
    LOOP
        EXECUTE 'DROP INDEX ' || found.name;
    END LOOP;
END
$$;
-- +goose StatementEnd

ALTER TABLE contact_mappings
    ALTER COLUMN id SET DEFAULT gen_random_uuid(),
    ALTER COLUMN sync_direction SET DEFAULT 'ghl_to_aloware',
    ADD COLUMN location_id text,
    -- When, at GoHighLevel, the contact was as it was last synced to Aloware: an older event is superseded.
    ADD COLUMN synced_occurred_at timestamptz,
    -- When, at GoHighLevel, the phone and the e-mail were as they stand here; NULL where nobody knows.
    ADD COLUMN phone_observed_at  timestamptz,
    ADD COLUMN email_observed_at  timestamptz;
UPDATE contact_mappings SET created_at = coalesce(created_at, now()), updated_at = coalesce(updated_at, created_at, now())
WHERE created_at IS NULL OR updated_at IS NULL;
ALTER TABLE contact_mappings
    ALTER COLUMN created_at SET DEFAULT now(),
    ALTER COLUMN created_at SET NOT NULL,
    ALTER COLUMN updated_at SET DEFAULT now(),
    ALTER COLUMN updated_at SET NOT NULL;
CREATE INDEX contact_mappings_aloware_contact_id_idx ON contact_mappings (aloware_contact_id);

-- Which of two events of an appointment has the last word: the later one; at the same instant a deletion, then the later
-- arrival. Fields are compared in this order.
CREATE TYPE event_order AS (at timestamptz, deletion boolean, received_at timestamptz, event_id uuid);

-- What is known of each appointment, from which the lead follows whatever the order in which events arrive. An event that
-- does not say something leaves what another one said, so that each thing is kept with the event that said it.
CREATE TABLE appointments (
    ghl_appointment_id text PRIMARY KEY,
    location_id        text,
    ghl_contact_id     text,
    contact_by         event_order,
    -- The contact of Verity that the contact of GoHighLevel was found to be.
    verity_contact_id  text,
    -- Contacts of Verity that it belonged to before: a lead of theirs may still point at it.
    former_contact_ids text[] NOT NULL DEFAULT '{}',
    -- The earliest and the latest instant at which something happened to it.
    first_at           timestamptz NOT NULL,
    last_at            timestamptz NOT NULL GENERATED ALWAYS AS ((newest).at) STORED,
    status             text NOT NULL DEFAULT '',
    status_by          event_order,
    -- The last deletion, and the last event that is none and says when it happened. One that does not may have happened before
    -- a deletion that it comes after, and does not revive what was deleted.
    deleted_by         event_order,
    alive_by           event_order,
    deleted            boolean NOT NULL GENERATED ALWAYS AS (coalesce(deleted_by > alive_by, deleted_by IS NOT NULL)) STORED,
    -- Whether anything but its end is known: an event that neither deletes nor cancels it.
    booked             boolean NOT NULL,
    newest             event_order NOT NULL,
    last_event_id      uuid NOT NULL GENERATED ALWAYS AS ((newest).event_id) STORED,
    -- revision counts the changes of the above; the leads say what they should as of synced_revision.
    revision           bigint NOT NULL DEFAULT 1,
    synced_revision    bigint NOT NULL DEFAULT 0
);
CREATE INDEX appointments_verity_contact_id_idx ON appointments (verity_contact_id) WHERE verity_contact_id IS NOT NULL;
CREATE INDEX appointments_ghl_contact_id_idx ON appointments (ghl_contact_id) WHERE ghl_contact_id IS NOT NULL;
CREATE INDEX appointments_former_contact_ids_idx ON appointments USING gin (former_contact_ids) WHERE former_contact_ids <> '{}';

-- One row: the fence of the leader. A leader that was paused finds that its term is over and records nothing.
CREATE TABLE controller_term (
    one                boolean PRIMARY KEY DEFAULT true CHECK (one),
    term               bigint NOT NULL,
    holder             text NOT NULL,
    since              timestamptz NOT NULL,
    audit_requested_at timestamptz
);
INSERT INTO controller_term (term, holder, since) VALUES (0, '', now());

-- One row: which receiver relays the rows that were left behind. It runs out in seconds.
CREATE TABLE relay_lease (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    holder     text NOT NULL,
    expires_at timestamptz NOT NULL
);
INSERT INTO relay_lease (holder, expires_at) VALUES ('', now());
