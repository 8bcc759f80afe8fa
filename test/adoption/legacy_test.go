package adoption_test

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/legacy"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

// adoptLegacy stops the processes and replaces their database by one of the legacy middleware.
func adoptLegacy(t *testing.T, s *system.System, pending int) {
	t.Helper()
	for _, p := range slices.Concat(s.Receivers, s.Controllers) {
		require.NoError(t, p.Stop())
	}
	for _, sql := range []string{"DROP SCHEMA public CASCADE", "CREATE SCHEMA public", legacy.Tables} {
		_, err := s.Database.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	for status, rows := range map[string]int{"pending": pending, "done": finished, "error": finished} {
		_, err := s.Database.Exec(t.Context(), legacyRows, status, rows)
		require.NoError(t, err)
	}
	_, err := s.Database.Exec(t.Context(), "ANALYZE")
	require.NoError(t, err)
}

// legacyRows inserts rows of changed contacts, each of another contact and of about 1 KB, in random order.
const legacyRows = `
INSERT INTO webhook_events (received_at, source, event_type, entity_type, entity_id, payload_json, dedupe_key, status, error_message, processed_at)
SELECT now() - interval '14 days' + n * interval '20 seconds', 'ghl', 'contact.updated', 'contact', 'contact-' || $1 || '-' || n,
       jsonb_build_object(
           'type', 'ContactUpdate', 'locationId', 've9EPM428h8vShlRW1KT', 'versionId', '6878cec452e7c8d29d4dd3d9',
           'appId', '6878cec452e7c8d29d4dd3d9', 'webhookId', gen_random_uuid(), 'timestamp', now() - interval '14 days' + n * interval '20 seconds',
           'id', 'contact-' || $1 || '-' || n, 'firstName', 'Example', 'lastName', 'Person ' || n, 'name', 'Example Person ' || n,
           'email', 'person-' || n || '@example.com', 'phone', '+120255501' || lpad((n % 100)::text, 2, '0'), 'country', 'US',
           'address1', '1 Example Street', 'city', 'Springfield', 'state', 'AL', 'postalCode', '00000', 'source', 'form',
           'dateAdded', now() - interval '1 year', 'tags', jsonb_build_array('newsletter', 'spring', 'callback'), 'dnd', false,
           'customFields', (SELECT jsonb_agg(jsonb_build_object('id', md5(n || '/' || f), 'value', 'answer ' || f)) FROM generate_series(1, 7) f)),
       md5($1 || n), $1, CASE WHEN $1 = 'error' THEN 'it broke' END, CASE WHEN $1 <> 'pending' THEN now() - interval '1 day' END
FROM generate_series(1, $2::int) n
ORDER BY random()`

// finishedRows returns the rows that the legacy middleware had finished, in its own columns.
func finishedRows(t *testing.T, s *system.System) []string {
	t.Helper()
	rows, err := s.Database.Query(t.Context(), `
		SELECT concat_ws(' ', id, received_at, source, event_type, entity_type, entity_id, payload_json::jsonb, status, error_message, processed_at)
		FROM webhook_events WHERE entity_id LIKE 'contact-done-%' OR entity_id LIKE 'contact-error-%' ORDER BY id`)
	require.NoError(t, err)
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Len(t, found, 2*finished)
	return found
}
