package metrics

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
)

// auditNow requests that the controller compares rows and WebhookEvents at once.
const auditNow = "UPDATE controller_term SET audit_requested_at = clock_timestamp()"

// rollbacks are stories of a database that was set back to an earlier moment. test/restore sets a real one back.
func rollbacks(*environment) []story {
	var lost *v1alpha1.WebhookEvent
	return []story{
		{of: "an event that the database has lost", happens: func(t *testing.T, e *environment) {
			t.Helper()
			require.NoError(t, e.Verity.Faults.Add(fault.Status(http.StatusUnprocessableEntity)))
			lost = post(t, e, note(e), v1alpha1.PhaseError)
			exec(t, e, "DELETE FROM webhook_events WHERE id = $1", lost.Spec.EventID)
			exec(t, e, auditNow)
		}, shows: map[string]bounds{"verity_sync_lost_events": exactly(1)}, over: func(t *testing.T, e *environment) {
			t.Helper()
			require.NoError(t, e.Kubernetes.Delete(t.Context(), lost))
			exec(t, e, auditNow)
		}},
		{of: "nothing that is lost any more", shows: map[string]bounds{"verity_sync_lost_events": exactly(0)}},
		{of: "an event whose end the database has lost", happens: func(t *testing.T, e *environment) {
			t.Helper()
			event := post(t, e, note(e), v1alpha1.PhaseDone)
			exec(t, e, `UPDATE webhook_events SET status = 'pending', started_at = NULL, processed_at = NULL, attempts = 0 WHERE id = $1`,
				event.Spec.EventID)
			exec(t, e, auditNow)
		}, grows: map[string]float64{"verity_sync_rolled_back_events_total": 1, changed("processing", "done"): 2}},
		{of: "a database that has gone back", happens: func(t *testing.T, e *environment) {
			t.Helper()
			exec(t, e, "UPDATE controller_heartbeat SET beat_at = beat_at - interval '1 hour'")
		}, shows: map[string]bounds{"verity_sync_database_rollback_timestamp_seconds": atLeast(1e9)}},
	}
}

func exec(t *testing.T, e *environment, sql string, arguments ...any) {
	t.Helper()
	tag, err := e.Database.Exec(t.Context(), sql, arguments...)
	require.NoError(t, err)
	assert.EqualValues(t, 1, tag.RowsAffected())
}
