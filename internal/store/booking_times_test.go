package store_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

// beforeBookingTimes is a database of the previous release.
func beforeBookingTimes(t *testing.T) *environment {
	t.Helper()
	url := testenv.Postgres(t)
	require.NoError(t, store.MigrateTo(t.Context(), url, 5, store.MigrateOptions{Normalise: normalise}))
	b := &environment{Store: open(t, url), t: t, url: url}
	return b
}

// previously inserts an appointment of the contact verity-1 as the previous release does.
func (b *environment) previously(id string, hour int) {
	b.t.Helper()
	b.exec(`INSERT INTO appointments (ghl_appointment_id, verity_contact_id, first_at, booked, newest)
		VALUES ($1, 'verity-1', $2, true, ROW($2, false, $2, $3)::event_order)`, id, at(hour), uuid.New())
}

// stored inserts an event that the previous release has finished.
func (b *environment) stored(id, eventType string, hour int, payload string) {
	b.t.Helper()
	b.exec(`INSERT INTO webhook_events (id, source, event_type, entity_type, entity_id, payload_json, dedupe_key, body_hash, status, processed_at,
			occurred_at)
		VALUES (gen_random_uuid(), 'ghl', $2, 'appointment', $1, $4::json, gen_random_uuid()::text, '\x00', 'done', now(), $3)`,
		id, eventType, at(hour), payload)
}

func TestAppointmentsOfThePreviousReleaseGetTheirBookingTimes(t *testing.T) {
	t.Parallel()
	const created, updated = "appointment.created", "appointment.updated"
	type event struct {
		kind    string
		hour    int
		payload string
	}
	june := `{"appointment":{"dateAdded":"2020-06-02T14:00:00.000Z"}}`
	tests := map[string]struct {
		firstAt int
		events  []event
		booked  string
		seen    bool
	}{
		"a booking":                                           {1, []event{{created, 1, `{}`}}, "", true},
		"a booking and a change":                              {1, []event{{created, 1, `{}`}, {updated, 2, june}}, "2020-06-02 14:00:00", true},
		"only changes":                                        {2, []event{{updated, 2, `{}`}, {updated, 3, `{}`}}, "", false},
		"a change that says when it was booked":               {2, []event{{updated, 2, june}}, "2020-06-02 14:00:00", false},
		"a creation of what was booked long ago":              {2, []event{{created, 2, june}}, "2020-06-02 14:00:00", false},
		"a change, and a first event that is no longer there": {1, []event{{updated, 2, june}}, "2020-06-02 14:00:00", true},
		"no event any more":                                   {1, nil, "", true},
		"an invalid time":                                     {2, []event{{updated, 2, `{"appointment":{"dateAdded":"2026-13-45T00:00:00Z"}}`}}, "", false},
		"a word that Postgres accepts as a time":              {2, []event{{updated, 2, `{"appointment":{"dateAdded":"yesterday"}}`}}, "", false},
		"a time in the future":                                {2, []event{{updated, 2, `{"appointment":{"dateAdded":"2999-01-01T00:00:00Z"}}`}}, "", false},
		"a body that Postgres cannot unescape": {
			2, []event{{updated, 2, `{"note":"\u0000","appointment":{"dateAdded":"2020-06-02T14:00:00Z","title":"\ud800"}}`}, {updated, 3, june}},
			"2020-06-02 14:00:00", false,
		},
		"a body that is no object": {2, []event{{updated, 2, `[1,2]`}}, "", false},
	}
	b := beforeBookingTimes(t)
	for name, tt := range tests {
		b.previously(name, tt.firstAt)
		for _, e := range tt.events {
			b.stored(name, e.kind, e.hour, e.payload)
		}
	}
	applied := migrate(t, b.url)
	require.NotEmpty(t, applied)
	require.EqualValues(t, 6, applied[0].Version)
	for name, tt := range tests {
		assert.Equal(t, tt.booked, value[string](b, `SELECT coalesce((booked_at AT TIME ZONE 'UTC')::text, '') FROM appointments
			WHERE ghl_appointment_id = $1`, name), name)
		assert.Equal(t, tt.seen, value[bool](b, `SELECT creation_seen FROM appointments WHERE ghl_appointment_id = $1`, name), name)
	}
	assert.EqualValues(t, 0, value[int64](b, `SELECT count(*) FROM pg_tables WHERE tablename = 'verity_sync_bookings' AND schemaname = current_schema()`))
}

func TestAProcessOfThePreviousReleaseContinuesDuringARollout(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	b.previously("old", 5)
	b.merge("changed", said(9, "showed", "x"))
	_, err := b.AttachAppointment(t.Context(), "changed", "x", "verity-1")
	require.NoError(t, err)
	got, err := b.AppointmentsOfContact(t.Context(), "verity-1", byDefault)
	require.NoError(t, err)
	assert.Equal(t, []store.Candidate{{ID: "old", CreationSeen: true}, {ID: "changed"}}, got.Candidates)
}
