package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv"
)

func TestReplayAcceptsEverySpellingOfAType(t *testing.T) {
	t.Parallel()
	database := migrated(t)
	environ := []string{"DATABASE_URL=" + database}
	replay := func(args ...string) string {
		t.Helper()
		out, err := run(t, environ, append([]string{"replay", "--since=24h", "--dry-run"}, args...)...)
		require.NoError(t, err)
		return out
	}
	assert.Equal(t, "would replay 0 events with the status error, finished in the last 24h, of the type appointment.created\n"+
		"There are no events of other types with this status in that time either.\n", replay("--type=AppointmentCreate"))

	execute(t, database, `INSERT INTO webhook_events (source, body_hash, event_type, entity_type, payload_json, dedupe_key, status, processed_at) VALUES
		('ghl', '', 'appointment.created', 'appointment', '{}', '1', 'error', now()), ('ghl', '', 'appointment.created', 'appointment', '{}', '2', 'error', now()),
		('ghl', '', 'contact.tag_updated', 'contact', '{}', '3', 'error', now()), ('ghl', '', 'a_type_of_its_own', 'unknown', '{}', '4', 'error', now()),
		('ghl', '', 'contact.deleted', 'contact', '{}', '5', 'done', now())`)
	for _, spelling := range []string{
		"appointment.created", "AppointmentCreate", "appointmentcreate", "appointment_created", "APPOINTMENT.CREATED", "Appointment Created", "appointment.create",
	} {
		assert.Equal(t, "would replay 2 events with the status error, finished in the last 24h, of the type appointment.created\n", replay("--type="+spelling))
	}
	assert.Contains(t, replay("--type=ContactTagUpdate"), "would replay 1 events")
	assert.Contains(t, replay("--type=a_type_of_its_own"), "would replay 1 events", "an unknown type is taken as it is")
	const there = "Types with this status in that time: appointment.created (2), a_type_of_its_own (1), contact.tag_updated (1).\n"
	for spelling, typ := range map[string]string{
		"ContactDelete": "contact.deleted", "appointment.craeted": "appointment.craeted", "appointment": "appointment", "nothing": "nothing",
	} {
		assert.Equal(t, "would replay 0 events with the status error, finished in the last 24h, of the type "+typ+"\n"+
			"There are no events of the type "+typ+". "+there, replay("--type="+spelling))
	}
	assert.Contains(t, replay("--type=ContactDelete", "--status=DONE"), "would replay 1 events with the status done")

	out, err := run(t, environ, "replay", "--since=24h", "--type=ContactDelete", "--from=Start", "--status=Error")
	require.NoError(t, err)
	assert.Contains(t, out, "replays 0 ")
	assert.Contains(t, out, there, "a replay prints it as well")
	out, err = run(t, environ, "replay", "--since=24h", "--type=AppointmentCreate", "--from=Start", "--status=Error")
	require.NoError(t, err)
	assert.Contains(t, out, "replays 2 events")
	out, err = run(t, environ, "replay", "--since=2d", "--until=24h", "--status=done")
	require.NoError(t, err)
	assert.Equal(t, "replays 0 events with the status done, finished in the last 2d and at least 24h ago", strings.Split(out, " (")[0])
	for _, until := range []string{"24h", "2d", "-1h", "yesterday"} {
		_, err = run(t, environ, "replay", "--since=24h", "--until="+until)
		require.ErrorContains(t, err, `--until: expected a duration shorter than --since, got "`+until+`"`)
	}
	_, err = run(t, environ, "replay", "--since=24h", "--from=begin", "--status=pending")
	require.ErrorContains(t, err, `--from: expected start or nothing, got "begin"`)
	require.ErrorContains(t, err, `--status: expected error or done, got "pending"`)
	assert.Equal(t, exitPermanent, exitCode(err))
}

func TestReplayNeedsAMigratedDatabase(t *testing.T) {
	t.Parallel()
	_, err := run(t, []string{"DATABASE_URL=" + testenv.Postgres(t)}, "replay", "--since=24h")
	require.ErrorContains(t, err, "run `verity-sync migrate` first")
}
