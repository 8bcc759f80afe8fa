package operation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/legacy"
)

// TestAdoptedChangeOfAnOldAppointmentMovesNoLead adopts a database of the legacy middleware with pending events of old appointments.
// The leads point at an unknown appointment, which the legacy middleware wrote.
func TestAdoptedChangeOfAnOldAppointmentMovesNoLead(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.url = testenv.Postgres(t)
	env.store = env.openStore()
	const insert = `INSERT INTO webhook_events (id, received_at, source, event_type, entity_type, entity_id, payload_json, dedupe_key, status)
		VALUES ($1, $2, 'ghl', 'unknown', 'unknown', $3, $4, md5($3), 'pending')`
	_, err := env.store.Pool().Exec(t.Context(), legacy.Tables)
	require.NoError(t, err)
	tests := map[string]struct {
		payload string
		want    string
	}{
		"an update": {
			`{"type":"AppointmentUpdate","timestamp":"2026-11-02T10:00:00Z","appointment":{"id":"old","contactId":"CONTACT",` +
				`"appointmentStatus":"showed","dateAdded":"2026-06-02T14:00:00Z"}}`, "legacy",
		},
		"an update without a booking time": {
			`{"type":"AppointmentUpdate","appointment":{"id":"old","contactId":"CONTACT","appointmentStatus":"showed"}}`, "legacy",
		},
		"a workflow's change": {
			`{"contact_id":"CONTACT","workflow":{"id":"w"},"calendar":{"appointmentId":"old","appoinmentStatus":"showed"}}`, "legacy",
		},
		"a pending booking": {
			`{"type":"AppointmentCreate","timestamp":"2026-11-02T10:00:00Z","appointment":{"id":"new","contactId":"CONTACT",` +
				`"appointmentStatus":"confirmed","dateAdded":"2026-11-02T10:00:00Z"}}`, "new active",
		},
	}
	ids, contacts := map[string]uuid.UUID{}, map[string]contact{}
	for name, tt := range tests {
		x := env.newContact()
		x.verity = env.addToVerity(x.phone, "")
		ids[name], contacts[name] = uuid.New(), x
		_, err = env.store.Pool().Exec(t.Context(), `INSERT INTO contact_mappings (ghl_contact_id, phone_number, sync_direction) VALUES ($1, $2, 'both')`,
			x.ghl, x.phone)
		require.NoError(t, err)
		_, err = env.store.Pool().Exec(t.Context(), insert, ids[name], at(11), x.ghl, strings.NewReplacer("CONTACT", x.ghl, `"old"`, `"old-`+x.ghl+`"`).Replace(tt.payload))
		require.NoError(t, err)
		_, err = env.verity.AddLead(t.Context(), x.verity, "legacy")
		require.NoError(t, err)
		_, err = env.pool.Exec(t.Context(), `UPDATE leads SET last_activity_at = '2026-10-01' WHERE contact_id = $1`, x.verity)
		require.NoError(t, err)
	}
	_, err = store.Migrate(t.Context(), env.url, store.MigrateOptions{Normalise: func(payload []byte, receivedAt time.Time) event.Event {
		b, err := ghl.Decode("application/json", payload)
		require.NoError(t, err)
		return ghl.Normalise(b, receivedAt)
	}})
	require.NoError(t, err)
	term, err := env.store.AcquireTerm(t.Context(), "test")
	require.NoError(t, err)
	for name, tt := range tests {
		e, err := env.store.Claim(t.Context(), ids[name], term)
		require.NoError(t, err, name)
		require.NoError(t, env.lead().Run(t.Context(), e).Err, name)
		assert.Equal(t, []string{tt.want}, env.leadsOf(contacts[name].verity), name)
	}
}
