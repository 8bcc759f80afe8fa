package store_test

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

// The effects of an erasure on a column of an event, of its ledger entry, or of another row of the person.
const (
	erased  = "erased"  // It is empty afterwards.
	kept    = "kept"    // It does not change, unless it contains a phone number or an e-mail address.
	changed = "changed" // It shows that the event was erased, or ends it.
	deleted = "deleted" // The row is deleted.
	none    = "none"    // The table has no personal data.
)

// columns has the effect on every column. A column of a new migration must be added here, and to EraseEvent or a similar statement if it can
// have personal data.
var columns = map[string]map[string][]string{
	"webhook_events": {
		erased: {
			"payload_json", "payload_raw", "headers", "contact_id", "verity_contact_id", "held_by", "next_attempt_at", "suspended", "parked",
		},
		kept: {
			"id", "received_at", "source", "event_type", "entity_type", "entity_id", "dedupe_key", "adopted", "forward", "location_id",
			"appointment_status", "truncated", "body_hash", "ordering_key", "run", "ledger_run", "replay_request", "attempts", "claimed_term",
			"result", "occurred_at", "dispatched_at", "started_at", "unanswered",
		},
		changed: {"status", "processed_at", "error_message", "reason", "erased_at"},
	},
	"sync_log": {
		erased: {"source_id", "target_id", "error_message", "details", "entity_id"},
		kept: {
			"id", "direction", "entity_type", "status", "started_at", "finished_at", "webhook_event_id", "run", "operation", "attempt",
		},
		changed: {"correlation_id"},
	},
	"contact_mappings": {deleted: {
		"id", "aloware_contact_id", "ghl_contact_id", "phone_number", "email", "last_synced_at", "sync_direction", "created_at", "updated_at",
		"location_id", "synced_occurred_at", "phone_observed_at", "email_observed_at", "aloware_phone_number", "aloware_contact_since",
		"former_aloware_contact_ids",
	}},
	"appointments": {deleted: {
		"ghl_appointment_id", "location_id", "ghl_contact_id", "contact_by", "verity_contact_id", "former_contact_ids", "first_at", "last_at",
		"status", "status_by", "deleted_by", "alive_by", "deleted", "booked", "newest", "last_event_id", "revision", "synced_revision",
		"booked_at", "creation_seen",
	}},
	"ghl_locations":                    {none: {"location_id", "answered_at"}},
	"controller_heartbeat":             {none: {"one", "beat_at", "rolled_back_at", "rolled_back_from", "rolled_back_to"}},
	"controller_term":                  {none: {"one", "term", "holder", "since", "audit_requested_at"}},
	"relay_lease":                      {none: {"one", "holder", "expires_at"}},
	"verity_sync_installation":         {none: {"one", "id"}},
	"verity_sync_schema_compatibility": {none: {"one", "oldest_version"}},
	"verity_sync_schema_version":       {none: {"id", "version_id", "is_applied", "tstamp"}},
}

func TestEveryColumnHasAnErasureEffect(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	there := values(b, `SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = current_schema()`)
	var decided []string
	for table, decisions := range columns {
		for _, names := range decisions {
			for _, name := range names {
				decided = append(decided, table+"."+name)
			}
		}
	}
	assert.ElementsMatch(t, there, decided, "add each column to columns, and erase it in EraseEvent or a similar statement")
}

// TestEraseEventHasTheEffectOnEachColumn fills every column of an event and of its ledger, and compares the result with columns.
func TestEraseEventHasTheEffectOnEachColumn(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	id := b.commit(b.writer(store.WriterOptions{}), delivery("w1", "apt1", `{"name":"Ada"}`))
	b.exec(`UPDATE webhook_events SET payload_raw = 'Ada', verity_contact_id = 'Ada', held_by = '{Ada}', next_attempt_at = now(), suspended = true,
		parked = true, error_message = 'Ada', reason = 'Ada', replay_request = 'now', result = 'LeadUpdated', occurred_at = now(), started_at = now(),
		dispatched_at = now(), claimed_term = 3, attempts = 4, run = 2, ledger_run = 1, unanswered = true, truncated = true,
		appointment_status = 'confirmed' WHERE id = $1`, id)
	b.exec(`INSERT INTO sync_log (webhook_event_id, run, direction, operation, entity_type, entity_id, source_id, target_id, status, attempt, error_message,
		details, finished_at, correlation_id) VALUES ($1, 1, 'ghl_to_verity', 'verity.lead', 'contact', 'contact1', 'contact1', 'Ada', 'error', 1, 'Ada',
		'{"name":"Ada"}', now(), 'Ada')`, id)
	rows := func(table, key string) map[string]any {
		t.Helper()
		found, err := b.Pool().Query(t.Context(), `SELECT * FROM `+table+` WHERE `+key+` = $1`, id)
		require.NoError(t, err)
		row, err := pgx.CollectExactlyOneRow(found, pgx.RowToMap)
		require.NoError(t, err)
		return row
	}
	events, ledger := rows("webhook_events", "id"), rows("sync_log", "webhook_event_id")

	done, err := b.EraseEvent(t.Context(), store.EventErasure{ID: id, ContactID: "contact1", Reason: "Erased", Message: "erased"})
	require.NoError(t, err)
	assert.Equal(t, store.ErasedEvent{Was: store.StatusPending, Ledger: 1}, done)

	for table, before := range map[string]map[string]any{"webhook_events": events, "sync_log": ledger} {
		after := rows(table, map[string]string{"webhook_events": "id", "sync_log": "webhook_event_id"}[table])
		for _, name := range slices.Sorted(maps.Keys(after)) {
			switch {
			case slices.Contains(columns[table][kept], name):
				assert.Equal(t, before[name], after[name], "%s.%s", table, name)
			case slices.Contains(columns[table][erased], name):
				assert.Contains(t, []any{nil, false, map[string]any{}}, after[name], "%s.%s", table, name)
			default:
				assert.NotEqual(t, before[name], after[name], "%s.%s", table, name)
			}
		}
	}
	_, err = b.EraseEvent(t.Context(), store.EventErasure{ID: id})
	require.ErrorIs(t, err, store.ErrErased, "once")
	_, err = b.EraseEvent(t.Context(), store.EventErasure{ID: uuid.New()})
	require.ErrorIs(t, err, store.ErrErased, "a deleted row")
	body, err := b.ReadBody(t.Context(), id)
	require.NoError(t, err)
	assert.NotNil(t, body.ErasedAt)
}

func TestAnAttemptInFlightRecordsNothingOfAnErasedEvent(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	id := b.commit(b.writer(store.WriterOptions{}), delivery("w1", "apt1", `{}`))
	term, err := b.AcquireTerm(t.Context(), "test")
	require.NoError(t, err)
	claimed, err := b.Claim(t.Context(), id, term)
	require.NoError(t, err)
	said := store.AppointmentEvent{AppointmentID: "apt1", GHLContactID: "contact1", At: time.Now(), ReceivedAt: claimed.ReceivedAt, EventID: id}
	_, _, err = b.MergeAppointment(t.Context(), said)
	require.NoError(t, err, "before")

	done, err := b.EraseEvent(t.Context(), store.EventErasure{ID: id, ContactID: "contact1", Reason: "Erased", Message: "erased"})
	require.NoError(t, err)
	assert.Equal(t, store.StatusProcessing, done.Was)
	_, err = b.DeleteAppointments(t.Context(), "contact1", "", nil)
	require.NoError(t, err)

	mapping := store.Mapping{GHLContactID: "contact1", Phone: "+12055550142", Email: "ada@example.com", SaidBy: id}
	require.ErrorIs(t, b.RememberContact(t.Context(), mapping, time.Now()), store.ErrErased)
	_, _, err = b.MergeAppointment(t.Context(), said)
	require.ErrorIs(t, err, store.ErrErased)
	_, err = b.AttachAppointment(t.Context(), "apt1", "contact1", "verity1")
	require.ErrorIs(t, err, store.ErrContactChanged)
	require.NoError(t, b.ContactSynced(t.Context(), "contact1", store.AlowareContact{ID: "aloware1", Phone: "+12055550142"}, time.Now()))
	require.NoError(t, b.AppointmentSynced(t.Context(), "apt1", 1))
	require.NoError(t, b.RecordBookingTime(t.Context(), "apt1", time.Now()))
	_, err = b.FinishAttempt(t.Context(), claimed, store.AttemptResult{
		Status: store.StatusDone, VerityContactID: "verity1", Message: "Ada",
		Ledger: []store.LedgerEntry{{Operation: store.OperationLead, Direction: store.DirectionToVerity, Status: store.LedgerSuccess, TargetID: "lead1"}},
	})
	require.ErrorIs(t, err, store.ErrNotClaimable)
	assert.Zero(t, value[int64](b, `SELECT (SELECT count(*) FROM contact_mappings) + (SELECT count(*) FROM appointments) + (SELECT count(*) FROM sync_log)`))
	assert.True(t, value[bool](b, `SELECT status = 'error' AND reason = 'Erased' AND verity_contact_id IS NULL FROM webhook_events`))

	mapping.SaidBy = b.commit(b.writer(store.WriterOptions{}), delivery("w2", "apt1", `{"later":true}`))
	require.NoError(t, b.RememberContact(t.Context(), mapping, time.Now()), "a later webhook is stored again")
}

// TestAnErasureAndAnAttemptWaitForEachOther holds the lock of an event's row in the middle of each.
func TestAnErasureAndAnAttemptWaitForEachOther(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		hold string
		do   func(t *testing.T, b *environment, id uuid.UUID) error
		want error
	}{
		"an erasure waits for the writes of an attempt": {
			`SELECT FROM webhook_events WHERE id = $1 FOR SHARE`, func(t *testing.T, b *environment, id uuid.UUID) error {
				_, err := b.EraseEvent(t.Context(), store.EventErasure{ID: id})
				return err
			}, nil,
		},
		"a contact waits for an erasure, and is not kept": {
			`UPDATE webhook_events SET erased_at = now() WHERE id = $1`, func(t *testing.T, b *environment, id uuid.UUID) error {
				return b.RememberContact(t.Context(), store.Mapping{GHLContactID: "contact1", Email: "ada@example.com", SaidBy: id}, time.Now())
			}, store.ErrErased,
		},
		"an appointment waits for an erasure, and is not kept": {
			`UPDATE webhook_events SET erased_at = now() WHERE id = $1`, func(t *testing.T, b *environment, id uuid.UUID) error {
				_, _, err := b.MergeAppointment(t.Context(), store.AppointmentEvent{
					AppointmentID: "apt1", GHLContactID: "contact1", At: time.Now(), ReceivedAt: time.Now(), EventID: id,
				})
				return err
			}, store.ErrErased,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newEnvironment(t)
			id := b.commit(b.writer(store.WriterOptions{}), delivery("w1", "apt1", `{}`))
			done := make(chan error, 1)
			require.NoError(t, pgx.BeginFunc(t.Context(), b.Pool(), func(tx pgx.Tx) error {
				if _, err := tx.Exec(t.Context(), tt.hold, id); err != nil {
					return err
				}
				var pid int32
				if err := tx.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
					return err
				}
				go func() { done <- tt.do(t, b, id) }()
				waits := func() bool {
					return value[bool](b, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid)))`, pid)
				}
				if !assert.Eventually(t, waits, 30*time.Second, 10*time.Millisecond, "it waits") {
					return errors.New("it did not wait")
				}
				return nil
			}))
			require.ErrorIs(t, <-done, tt.want)
			assert.Zero(t, value[int64](b, `SELECT (SELECT count(*) FROM contact_mappings) + (SELECT count(*) FROM appointments)`))
		})
	}
}

func TestTheCheckedPrivilegesAreThoseThatAnErasureNeeds(t *testing.T) {
	t.Parallel()
	d := newTenant(t)
	db, err := store.Open(t.Context(), d.as(""), store.Options{Name: "test", MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	require.NoError(t, db.CheckEraseRights(t.Context()), "the privileges in docs/security.md suffice")
	for table, privilege := range map[string]string{
		"contact_mappings": "DELETE", "appointments": "DELETE", "sync_log": "INSERT", "webhook_events": "UPDATE", "controller_term": "UPDATE",
	} {
		d.exec("REVOKE " + privilege + " ON " + table + " FROM $role")
		err := db.CheckEraseRights(t.Context())
		var lacking *store.RightsError
		require.ErrorAs(t, err, &lacking)
		assert.Regexp(t, `may not `+privilege+` .*`+table+`: run GRANT `+privilege+` ON .*`+table+` TO `, err.Error())
		d.exec("GRANT " + privilege + " ON " + table + " TO $role")
	}
}
