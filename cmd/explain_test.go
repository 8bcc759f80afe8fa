package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const explainedBody = `{"contact_id":"c","phone":"+1 205-555-0142","email":"ada@example.com","first_name":"Ada","location":{"id":"l"},
	"calendar":{"id":"cal","appointmentId":"a","appoinmentStatus":"No-Show"},"customData":{"type":"Consultation Booked"}}`

func TestExplainShowsHowABodyIsDecoded(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "body.json")
	require.NoError(t, os.WriteFile(file, []byte(explainedBody), 0o600))
	out, err := run(t, nil, "explain", file)
	require.NoError(t, err)
	for _, line := range []string{
		`type +appointment.updated +the appointment or calendar block with an appointment's id`,
		`entity id +a +calendar.appointmentId`, `contact id +c +contact_id`, `appointment status +noshow +calendar.appoinmentStatus`,
		`location id +l +location.id`, `ordering key +appointment:a`, `phone number +"\(15 characters\)"`,
	} {
		assert.Regexp(t, line, out)
	}
	for _, personal := range []string{"555", "ada@", "Ada"} {
		assert.NotContains(t, out, personal)
	}

	out, err = run(t, nil, "explain", file, "--show-personal-data", "-o", "json")
	require.NoError(t, err)
	var shown explained
	require.NoError(t, json.Unmarshal([]byte(out), &shown))
	assert.Equal(t, "appointment", shown.EntityType)
	assert.Equal(t, []person{{"phone number", "+1 205-555-0142"}, {"e-mail address", "ada@example.com"}, {"name", "Ada"}}, shown.Contact)
}

func TestExplainReadsStandardInput(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	root := newRootCommand(nil)
	root.SetIn(strings.NewReader(explainedBody))
	root.SetOut(&out)
	root.SetArgs([]string{"explain", "-"})
	require.NoError(t, root.ExecuteContext(t.Context()))
	assert.Contains(t, out.String(), "appointment.updated")
}

func TestExplainReadsFormsAndDeclarations(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "body")
	require.NoError(t, os.WriteFile(file, []byte("booking[ref]=a"), 0o600))
	out, err := run(t, nil, "explain", file, "--content-type=application/x-www-form-urlencoded", "--type=AppointmentCreate", "--id-path=booking.ref")
	require.NoError(t, err)
	assert.Regexp(t, `entity id +a +the id at the path that the request declares`, out)
}

func TestExplainReadsAStoredEvent(t *testing.T) {
	t.Parallel()
	database := migrated(t)
	const id = "01a2096d-39cf-744a-8892-224fbb1e2449"
	execute(t, database, `INSERT INTO webhook_events (id, source, body_hash, event_type, entity_type, payload_json, headers, dedupe_key)
		VALUES ('`+id+`', 'ghl', '', 'unknown', 'unknown', '{"booking":{"ref":"a"}}',
			'{"X-Webhook-Type":"appointment.created","X-Webhook-Id-Path":"booking.ref"}', '1')`)
	environ := []string{"DATABASE_URL=" + database}
	for _, name := range []string{id, "ghl-" + id} {
		out, err := run(t, environ, "explain", "--event", name)
		require.NoError(t, err)
		assert.Regexp(t, `type +appointment.created +the type that the request declares`, out)
		assert.Contains(t, out, "It was stored as unknown ")
	}
	_, err := run(t, environ, "explain", "--event", strings.Replace(id, "01a2", "01a3", 1))
	require.ErrorContains(t, err, "there is no event")
	assert.Equal(t, exitPermanent, exitCode(err))
}

func TestExplainReportsInvalidInput(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "body.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"a":`), 0o600))
	for want, args := range map[string][]string{
		"body is not valid JSON":           {file},
		"no such file":                     {file + "x"},
		"expected either a file":           {},
		"expected either a file, or - for": {file, "--event=01a2096d-39cf-744a-8892-224fbb1e2449"},
		"--event: expected an event's id":  {"--event=7"},
		"--output: expected text or json":  {file, "-o", "yaml"},
		"--source: expected one of ghl":    {file, "--source=doorbell"},
		"expected one file":                {file, file},
		"DATABASE_URL: required":           {"--event=01a2096d-39cf-744a-8892-224fbb1e2449"},
	} {
		_, err := run(t, nil, append([]string{"explain"}, args...)...)
		require.ErrorContains(t, err, want)
		assert.Equal(t, exitPermanent, exitCode(err), want)
	}
}
