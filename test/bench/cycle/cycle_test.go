package cycle_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/bench/cycle"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestEventsGoThroughTheWholeCycle(t *testing.T) {
	t.Parallel()
	const events, contacts, history, outlived = 1100, 100, 600, 500
	url := testenv.Postgres(t)
	_, err := store.Migrate(t.Context(), url, store.MigrateOptions{Normalise: func([]byte, time.Time) event.Event { return event.Event{} }})
	require.NoError(t, err)
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	count := func(sql string) int {
		t.Helper()
		rows, err := pool.Query(t.Context(), "SELECT count(*) FROM "+sql)
		require.NoError(t, err)
		n, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int])
		require.NoError(t, err)
		return n
	}
	require.NoError(t, cycle.History{Contacts: contacts, Events: history, Outlived: outlived}.Fill(t.Context(), pool))
	require.Equal(t, history, count("webhook_events WHERE status = 'done'"))
	require.Equal(t, 2*history, count("sync_log"))

	result, err := cycle.Run(t.Context(), cycle.Options{DatabaseURL: url, Rate: 1000, Duration: events * time.Millisecond, Contacts: contacts})

	require.NoError(t, err)
	assert.Equal(t, events, result.Events)
	assert.Len(t, result.Commit, events)
	assert.Len(t, result.Record, events)
	assert.Greater(t, len(result.Claim), events, "some events are claimed twice")
	assert.NotEmpty(t, result.Ask)
	assert.Zero(t, count("webhook_events WHERE status <> 'done'"))
	assert.Equal(t, events, count("sync_log l JOIN webhook_events e ON e.id = l.webhook_event_id "+
		"WHERE e.entity_id NOT LIKE 'history-%' AND l.operation = 'verity.lead' AND l.status = 'success'"))
	assert.Positive(t, count("sync_log WHERE status = 'error'"), "some attempts meet a destination that does not answer")
	assert.Equal(t, 1000, count("appointments WHERE revision = synced_revision AND verity_contact_id IS NOT NULL"))
	assert.Positive(t, count("contact_mappings WHERE email = 'changed@example.com'"))
	assert.Equal(t, history-outlived, count("webhook_events WHERE entity_id LIKE 'history-%'"), "retention removes the rest")
}

func TestADatabaseWithoutTablesIsAnError(t *testing.T) {
	t.Parallel()
	_, err := cycle.Run(t.Context(), cycle.Options{DatabaseURL: testenv.Postgres(t), Rate: 1, Duration: time.Second, Contacts: 1})
	require.ErrorContains(t, err, `relation "controller_term" does not exist`)
}

func TestAnAppointmentIsBookedAndChangedTwice(t *testing.T) {
	t.Parallel()
	sender := ghlsender.New(nil)
	body := func(i int) string { return string(cycle.Webhook(sender, i, 10, time.Now()).Body) }
	id := func(i int) string {
		t.Helper()
		const before = `"id":"`
		_, rest, found := strings.Cut(body(i), before)
		require.True(t, found)
		return rest[:20]
	}
	for name, test := range map[string]struct {
		i    int
		typ  string
		same int
	}{
		"the first of a thousand books":           {7, "AppointmentCreate", 7},
		"the same place of the second changes it": {1007, "AppointmentUpdate", 7},
		"and that of the third":                   {2007, "AppointmentUpdate", 7},
		"the fourth books others":                 {3007, "AppointmentCreate", 3007},
		"which the fifth changes":                 {4007, "AppointmentUpdate", 3007},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Contains(t, body(test.i), `"type":"`+test.typ+`"`)
			assert.Contains(t, body(test.i), `"contactId":"contact-7"`)
			assert.Equal(t, id(test.same), id(test.i))
		})
	}
	assert.NotEqual(t, id(7), id(3007))
}
