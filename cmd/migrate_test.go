package main

import (
	"regexp"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/legacy"
)

// execute runs SQL in the database at url.
func execute(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), sql)
	require.NoError(t, err)
}

func TestADryRunReportsTheAdoptionOfALegacyDatabase(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	execute(t, url, legacy.Tables+legacy.Rows)
	environ := []string{"DATABASE_URL=" + url}

	out, err := run(t, environ, "migrate", "--dry-run")
	require.NoError(t, err)
	out = regexp.MustCompile(`(?m)^warning: .*\n`).ReplaceAllString(out, "") // They depend on the server of the test.
	out = regexp.MustCompile(`\d+ MiB`).ReplaceAllString(out, "<size>")
	out = regexp.MustCompile(`changed in \S+`).ReplaceAllString(out, "changed in <database>")
	assert.Equal(t, `would apply 1: tables
would apply 2: normalise adopted events
would apply 3: held events
would apply 4: parked events
would apply 5: compatibility
would apply 6: booking times
would apply 7: intake
would apply 8: installation
would apply 9: aloware contacts
would apply 12: ghl locations
would apply 13: controller heartbeat
would apply 14: autovacuum
would apply 15: erasure

The rows of webhook_events would stay, under their ids:

  STATUS       BECOMES   ROWS
  pending      pending   2
  NULL         pending   1
  cancelled    error     1
  done         done      1
  error        error     1
  processing   pending   1

4 are unfinished. They would be processed, oldest first, but not forwarded to Verity again, unless you set --forward-adopted.
Payloads of GoHighLevel's events that are not done would be decoded again:

  TYPE                  BECOMES               ROWS   OF THEM WITH ANOTHER ENTITY
  unknown               appointment.created   2      2
  appointment.created   appointment.created   1      1
  contact.updated       contact.updated       1      0
  contact.updated       unknown               1      1

3 rows would get the dedupe key that GoHighLevel's next delivery of the same webhook has.

These existing tables would change:

  webhook_events.payload_json changes from jsonb to json
  webhook_events.entity_id may be NULL
  webhook_events.received_at becomes NOT NULL
  webhook_events.status becomes NOT NULL
  sync_log.entity_id may be NULL
  sync_log.source_id may be NULL
  contact_mappings.created_at becomes NOT NULL
  contact_mappings.updated_at becomes NOT NULL
  webhook_events gets adopted, forward, location_id, contact_id, appointment_status, payload_raw, truncated, headers, body_hash, `+
		`ordering_key, run, ledger_run, replay_request, attempts, next_attempt_at, claimed_term, suspended, parked, reason, `+
		`result, verity_contact_id, occurred_at, dispatched_at, started_at, held_by, unanswered, erased_at
  sync_log gets webhook_event_id, run, operation, attempt, details
  contact_mappings gets location_id, synced_occurred_at, phone_observed_at, email_observed_at, aloware_phone_number, aloware_contact_since, `+
		`former_aloware_contact_ids
  contact_mappings.aloware_contact_id need not be unique any more: contact_mappings_aloware_contact_id_key is dropped
  contact_mappings.aloware_contact_id need not be unique any more: contact_mappings_aloware_idx is dropped

The new type of payload_json makes Postgres rewrite webhook_events, <size> with its indexes. Reads and writes
of the table wait meanwhile, and as much disk space again must be free.

Nothing was changed in <database>
`, out)

	out, err = run(t, environ, "migrate", "--dry-run", "--forward-adopted")
	require.NoError(t, err)
	assert.Contains(t, out, "They would be processed, oldest first, and forwarded to Verity again.\n")
	out, err = run(t, environ, "migrate", "status")
	require.NoError(t, err)
	assert.Regexp(t, `1 .+ pending\n2 .+ pending\n`, out)
}

func TestABinaryRejectsASchemaThatIsTooNew(t *testing.T) {
	t.Parallel()
	url := migrated(t)
	execute(t, url, "INSERT INTO verity_sync_schema_version (version_id, is_applied) VALUES (999, true)")
	execute(t, url, "UPDATE verity_sync_schema_compatibility SET oldest_version = 999")
	for name, tc := range map[string]struct {
		args []string
		// doing is the step that the error names.
		doing string
		code  int
	}{
		"receiver":   {[]string{"receiver"}, "", 1},
		"controller": {[]string{"controller"}, "", 1},
		"migrate":    {[]string{"migrate"}, "check that this binary is new enough: ", 3},
		"dry run":    {[]string{"migrate", "--dry-run"}, "check that this binary is new enough: ", 3},
		"status":     {[]string{"migrate", "status"}, "check that this binary is new enough: ", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, []string{"DATABASE_URL=" + url, "GHL_WEBHOOK_SECRETS=workflow-secret"}, tc.args...)
			assert.Equal(t, tc.code, p.exitCode(t))
			assert.Contains(t, p.log(), "Error: "+tc.doing+"the database schema is too new for this binary (version 999, for binaries that know at least 999; "+
				"this one knows 15): run the version of verity-sync that migrated it")
		})
	}
}
