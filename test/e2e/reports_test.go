package e2e

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

const reportsLocation = "locExampleLocation01"

// postReport posts a body of the reports, signed, and returns the event when it is done.
func postReport(t *testing.T, s *system.System, name string) *v1alpha1.WebhookEvent {
	t.Helper()
	file, err := repo.Path("internal", "ghl", "testdata", "reports", name+".json")
	require.NoError(t, err)
	body, err := os.ReadFile(file)
	require.NoError(t, err)
	id := systemtest.Post(t, s, ghlsender.Webhook{Body: body, ContentType: "application/json", Signed: true})
	return systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseDone)
}

func TestAnUpdateOfAnOlderAppointmentLeavesTheLeadWhereItIs(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 1})
	require.NoError(t, s.AddLocation(reportsLocation))
	for _, name := range []string{"p10-0-contact", "p10-1-newer-booking", "p10-2-older-updated"} {
		postReport(t, s, name)
	}
	conn, err := pgx.Connect(t.Context(), s.VerityDatabaseURL)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), `SELECT coalesce(ghl_appointment_id, '') FROM leads`)
	require.NoError(t, err)
	leads, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	assert.Equal(t, []string{"aptExampleNewerP10"}, leads)
}

func TestAnAppointmentWithoutAContactIsSkipped(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 1})
	require.NoError(t, s.AddLocation(reportsLocation))
	s.GHL.PutAppointment(ghlapi.Appointment{ID: "aptExampleApptA01", LocationID: reportsLocation})

	e := postReport(t, s, "a01-appointment-without-contact")
	assert.Equal(t, v1alpha1.ResultLeadSkipped, e.Status.Result)
	assert.EqualValues(t, 1, e.Status.Attempts)
	for _, c := range e.Status.Conditions {
		if c.Type == v1alpha1.SyncedCondition {
			assert.Equal(t, v1alpha1.SyncSkippedReason, c.Reason)
			assert.Equal(t, "GoHighLevel says that the appointment has no contact: it is blocked or busy time", c.Message)
		}
	}
	assert.Equal(t, map[string]int{"verity.forward success": 1, "verity.lead skipped": 1}, ledgerOf(t, s, e.Spec.EventID))
}
