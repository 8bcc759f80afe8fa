CREATE TABLE webhook_events (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), received_at timestamptz DEFAULT now(), source text NOT NULL,
    event_type text NOT NULL, entity_type text NOT NULL, entity_id text NOT NULL, payload_json jsonb NOT NULL,
    dedupe_key text NOT NULL UNIQUE, status text DEFAULT 'pending', error_message text, processed_at timestamptz);
CREATE INDEX webhook_events_status_idx ON webhook_events (status);
CREATE INDEX webhook_events_source_status_idx ON webhook_events (source, status);
CREATE INDEX webhook_events_received_at_idx ON webhook_events (received_at);
CREATE INDEX webhook_events_entity_idx ON webhook_events (entity_type, entity_id);
CREATE TABLE sync_log (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), direction text NOT NULL, entity_type text NOT NULL, entity_id text NOT NULL,
    source_id text NOT NULL, target_id text, status text, started_at timestamptz, finished_at timestamptz, error_message text,
    correlation_id text);
CREATE TABLE contact_mappings (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), aloware_contact_id text UNIQUE, ghl_contact_id text NOT NULL UNIQUE,
    phone_number text, email text, last_synced_at timestamptz, sync_direction text NOT NULL,
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now());
CREATE UNIQUE INDEX contact_mappings_aloware_idx ON contact_mappings (aloware_contact_id);
