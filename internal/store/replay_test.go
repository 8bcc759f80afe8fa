package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

func TestReplayAllStartsANewRunOfSelectedEvents(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	w := b.writer(store.WriterOptions{})
	for i := range 4 {
		b.commit(w, delivery(fmt.Sprint("w", i), fmt.Sprint("apt", i), `{}`))
	}
	b.exec(`UPDATE webhook_events SET dispatched_at = now(), attempts = 12, status = 'error', error_message = 'x', processed_at = now()`)
	b.exec(`UPDATE webhook_events SET processed_at = now() - interval '2 days' WHERE entity_id = 'apt1'`)
	b.exec(`UPDATE webhook_events SET event_type = 'contact.updated' WHERE entity_id = 'apt2'`)
	b.exec(`UPDATE webhook_events SET status = 'done' WHERE entity_id = 'apt3'`)
	sel := store.ReplaySelection{Status: store.StatusError, Since: 24 * time.Hour, Type: "appointment.created"}

	n, err := b.CountReplayable(t.Context(), sel)
	require.NoError(t, err)
	assert.EqualValues(t, 1, n)
	assert.Zero(t, value[int64](b, `SELECT count(*) FROM webhook_events WHERE status = 'pending'`), "counting changes nothing")

	n, err = b.ReplayAll(t.Context(), sel, false)
	require.NoError(t, err)
	assert.EqualValues(t, 1, n)
	assert.True(t, value[bool](b, `SELECT status = 'pending' AND run = 1 AND ledger_run = 0 AND attempts = 0 AND dispatched_at IS NULL
		AND error_message IS NULL FROM webhook_events WHERE entity_id = 'apt0'`))
	at, err := b.AuditRequestedAt(t.Context())
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), at, time.Minute)

	sel.Type = ""
	n, err = b.ReplayAll(t.Context(), sel, true)
	require.NoError(t, err)
	assert.EqualValues(t, 1, n)
	assert.True(t, value[bool](b, `SELECT run = 1 AND ledger_run = 1 FROM webhook_events WHERE entity_id = 'apt2'`))
}

func TestReplayAllSelectsEventsThatFinishedWithinAWindow(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	b.exec(`INSERT INTO webhook_events (source, body_hash, event_type, entity_type, entity_id, payload_json, dedupe_key, status, processed_at, erased_at)
		SELECT 'ghl', '', 'x', 'x', hours || ' h' || CASE WHEN erased THEN ' erased' ELSE '' END, '{}', hours || erased::text, 'error',
		       now() - make_interval(hours => hours), CASE WHEN erased THEN now() END
		FROM unnest(ARRAY[1, 23, 25, 47, 49]) hours, unnest(ARRAY[true, false]) erased`)
	yesterday := store.ReplaySelection{Status: store.StatusError, Since: 48 * time.Hour, Until: 24 * time.Hour}

	n, err := b.CountReplayable(t.Context(), yesterday)
	require.NoError(t, err)
	assert.EqualValues(t, 2, n)
	n, err = b.CountErased(t.Context(), yesterday)
	require.NoError(t, err)
	assert.EqualValues(t, 2, n)
	types, err := b.ReplayableTypes(t.Context(), yesterday)
	require.NoError(t, err)
	assert.Equal(t, []store.TypeCount{{Type: "x", Events: 2}}, types)

	n, err = b.ReplayAll(t.Context(), yesterday, false)
	require.NoError(t, err)
	assert.EqualValues(t, 2, n)
	assert.Equal(t, []string{"25 h", "47 h"}, values(b, `SELECT entity_id FROM webhook_events WHERE status = 'pending' ORDER BY 1`))
}

func TestReplayAllLeavesOutEventsThatTheLegacyMiddlewareHadDone(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	b.exec(`INSERT INTO webhook_events (source, event_type, entity_type, entity_id, payload_json, dedupe_key, status, processed_at, started_at, adopted, forward)
		VALUES ('ghl', 'x', 'x', 'done before', '{}', 'a', 'done', now(), NULL, true, false),
		       ('ghl', 'x', 'x', 'done since', '{}', 'b', 'done', now(), now(), true, false),
		       ('ghl', 'x', 'x', 'in error', '{}', 'c', 'error', now(), NULL, true, false)`)
	replayed := func(status store.Status, fromStart bool) []string {
		t.Helper()
		sel := store.ReplaySelection{Status: status, Since: time.Hour}
		counted, err := b.CountReplayable(t.Context(), sel)
		require.NoError(t, err)
		n, err := b.ReplayAll(t.Context(), sel, fromStart)
		require.NoError(t, err)
		assert.Equal(t, counted, n)
		return values(b, `SELECT entity_id || CASE WHEN forward THEN ', forwarded' ELSE '' END FROM webhook_events WHERE status = 'pending' ORDER BY 1`)
	}
	assert.Equal(t, []string{"in error"}, replayed(store.StatusError, false))
	assert.Equal(t, []string{"done since, forwarded", "in error"}, replayed(store.StatusDone, true))
}

func TestDeleteFinishedRemovesOldFinishedRowsInBatchesAndNothingElse(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	b.exec(`INSERT INTO webhook_events (source, body_hash, event_type, entity_type, payload_json, dedupe_key, status, processed_at, received_at)
		SELECT 'ghl', '', 'x', 'x', '{}', n::text, CASE WHEN n % 2 = 0 THEN 'done' ELSE 'error' END, now() - interval '100 days',
		       now() - interval '100 days' FROM generate_series(1, 1200) n`)
	b.exec(`INSERT INTO sync_log (webhook_event_id, direction, entity_type, operation, status)
		SELECT id, 'ghl_to_verity', 'x', 'verity.forward', 'success' FROM webhook_events`)
	b.exec(`INSERT INTO webhook_events (source, body_hash, event_type, entity_type, payload_json, dedupe_key, status, processed_at, received_at) VALUES
		('ghl', '', 'x', 'x', '{}', 'young', 'done', now() - interval '10 days', now() - interval '100 days'),
		('ghl', '', 'x', 'x', '{}', 'unfinished', 'pending', NULL, now() - interval '100 days')`)
	var total int64
	for calls := 1; ; calls++ {
		n, more, err := b.DeleteFinished(t.Context(), 90*24*time.Hour)
		require.NoError(t, err)
		total += n
		if !more {
			assert.Equal(t, 2, calls)
			break
		}
		assert.LessOrEqual(t, n, int64(1000))
	}
	assert.EqualValues(t, 1200, total)
	assert.EqualValues(t, 2, value[int64](b, `SELECT count(*) FROM webhook_events`))
	assert.Zero(t, value[int64](b, `SELECT count(*) FROM sync_log`), "the ledger is deleted with its events")
}

func TestReplayAllLeavesOutUnparseableEventsUnlessTheirTypeIsSelected(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	b.exec(`INSERT INTO webhook_events (source, event_type, entity_type, payload_json, payload_raw, dedupe_key, body_hash, status, processed_at)
		VALUES ('ghl', 'unparseable', 'unknown', '{}', '{', 'a', '', 'error', now()), ('ghl', 'x', 'x', '{}', NULL, 'b', '', 'error', now())`)
	for _, typ := range []string{"", "unparseable"} {
		sel := store.ReplaySelection{Status: store.StatusError, Since: time.Hour, Type: typ}
		counted, err := b.CountReplayable(t.Context(), sel)
		require.NoError(t, err)
		assert.EqualValues(t, 1, counted, typ)
		n, err := b.ReplayAll(t.Context(), sel, false)
		require.NoError(t, err)
		assert.EqualValues(t, 1, n, typ)
	}
}
