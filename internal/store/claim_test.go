package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgproxy"
)

// Attempts are limited. A Postgres that commits while its answers are lost must not use them up.
func TestAClaimWhoseAnswerIsLostIsCountedOnce(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	b.exec(`INSERT INTO webhook_events (source, event_type, entity_type, payload_json, body_hash, dedupe_key)
	        VALUES ('ghl', 'contact.updated', 'contact', '{}', '\x00', 'one')`)
	var id uuid.UUID
	require.NoError(t, b.Pool().QueryRow(t.Context(), `SELECT id FROM webhook_events`).Scan(&id))
	proxy := b.proxy()
	db := open(t, proxy.URL())
	term, err := db.AcquireTerm(t.Context(), "one")
	require.NoError(t, err)
	attempts := func() (n int) {
		require.NoError(t, b.Pool().QueryRow(t.Context(), `SELECT attempts FROM webhook_events`).Scan(&n))
		return n
	}

	proxy.Cut(&pgproxy.Cut{Command: "UPDATE", Always: true})
	for range 3 {
		_, err := db.Claim(t.Context(), id, term)
		require.Error(t, err)
	}
	assert.Equal(t, 1, attempts(), "Postgres has committed each claim")
	proxy.Cut(nil)
	var claimed *store.Attempt
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var err error
		claimed, err = db.Claim(t.Context(), id, term)
		require.NoError(c, err)
	}, time.Minute, 10*time.Millisecond)
	assert.EqualValues(t, 1, claimed.Attempts)

	again, err := db.Claim(t.Context(), id, term)
	require.NoError(t, err)
	assert.EqualValues(t, 2, again.Attempts, "an attempt that started and was not recorded counts")
}
