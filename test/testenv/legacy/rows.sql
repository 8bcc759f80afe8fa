INSERT INTO webhook_events (id, received_at, source, event_type, entity_type, entity_id, payload_json, dedupe_key, status, error_message, processed_at) VALUES
 ('00000000-0000-4000-8000-000000000001', '2026-01-01', 'ghl', 'unknown', 'unknown', 'contact1',
  '{"type":"AppointmentCreate","webhookId":"w1","appointment":{"id":"apt1","contactId":"contact1"}}', 'hash1', 'pending', NULL, NULL),
 ('00000000-0000-4000-8000-000000000002', '2026-01-02', 'ghl', 'unknown', 'unknown', 'contact1',
  '{"type":"AppointmentCreate","webhookId":"w1","appointment":{"id":"apt1","contactId":"contact1"},"timestamp":"2026-01-01T23:00:00.000Z"}', 'hash2', 'processing', NULL, '2026-01-03'),
 ('00000000-0000-4000-8000-000000000003', '2026-01-03', 'ghl', 'contact.updated', 'contact', 'contact2', '{"contact_id":"contact2"}', 'hash3', NULL, NULL, NULL),
 ('00000000-0000-4000-8000-000000000004', '2026-01-04', 'ghl', 'contact.updated', 'contact', 'contact3', '{"type":"ContactUpdate","webhookId":"w4","id":"contact3"}', 'hash4', 'done', NULL, '2026-01-05'),
 ('00000000-0000-4000-8000-000000000005', '2026-01-05', 'ghl', 'appointment.created', 'appointment', 'contact4',
  '{"type":"AppointmentCreate","webhookId":"w5","appointment":{"id":"apt5","contactId":"contact4"}}', 'hash5', 'error', 'it broke', NULL),
 ('00000000-0000-4000-8000-000000000006', NULL, 'ghl', 'contact.updated', 'contact', 'contact5', '{"x":1}', 'hash6', 'cancelled', NULL, NULL),
 ('00000000-0000-4000-8000-000000000007', '2026-01-07', 'verity', 'lead.created', 'lead', 'lead1', '[1,2]', 'hash7', 'pending', NULL, NULL);
INSERT INTO sync_log (direction, entity_type, entity_id, source_id, status, started_at) VALUES ('ghl_to_verity', 'appointment', 'a', 'b', 'completed', now());
INSERT INTO contact_mappings (aloware_contact_id, ghl_contact_id, phone_number, sync_direction, created_at) VALUES
 ('al1', 'contact1', '(205) 555-0142', 'ghl_to_aloware', NULL), (NULL, 'contact2', NULL, 'both', now());
