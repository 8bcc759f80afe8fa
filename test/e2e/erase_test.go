package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgbouncer"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// erase runs verity-sync erase with nothing but the database, and returns its report.
func erase(t *testing.T, s *system.System, databaseURL string, flags ...string) (report struct {
	Rows       map[string]int
	Unfinished int `json:"unfinishedEvents"`
	Events     []string
},
) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.Binary, append([]string{"erase", "--yes", "-o", "json"}, flags...)...)
	cmd.Env = []string{"DATABASE_URL=" + databaseURL}
	output, err := cmd.Output()
	require.NoError(t, err, "%s", output)
	require.NoError(t, json.Unmarshal(output, &report))
	return report
}

// stored returns which of the texts stand anywhere in the middleware database.
func stored(t *testing.T, s *system.System, texts ...string) (found []string) {
	t.Helper()
	for _, table := range []string{"webhook_events", "sync_log", "contact_mappings", "appointments"} {
		var dump string
		require.NoError(t, s.Database.QueryRow(t.Context(), fmt.Sprintf(`SELECT coalesce(string_agg(t::text, ' '), '') FROM %s t`, table)).Scan(&dump))
		for _, text := range texts {
			if strings.Contains(strings.ToLower(dump), strings.ToLower(text)) {
				found = append(found, table+": "+text)
			}
		}
	}
	return found
}

// TestAPersonIsErasedWhileEventsOfThePersonAreInProgress erases behind a pooler that shares its sessions, while an attempt hangs at Verity and
// an event is suspended.
func TestAPersonIsErasedWhileEventsOfThePersonAreInProgress(t *testing.T) {
	t.Parallel()
	s, pooler := behind(t, 1, pgbouncer.Options{Mode: "transaction"})
	url, err := pooler.URL(s.DatabaseURL)
	require.NoError(t, err)
	person := ghlsender.Contact{
		ID: ghlsender.NewID(), FirstName: "Adelheid", LastName: "Unmistakable", Phone: "+12055550163", Email: "adelheid.unmistakable@example.com",
	}
	texts := []string{"Adelheid", "Unmistakable", "5550163"}
	first := s.Sender.Contact(ghlsender.Create, person)
	done := systemtest.Post(t, s, first)
	systemtest.WaitForPhase(t, s, done, v1alpha1.PhaseDone)
	booked := systemtest.Post(t, s, s.Sender.WorkflowAppointment(ghlsender.Appointment{ID: ghlsender.NewID(), ContactID: person.ID, Status: "confirmed"}, person))
	systemtest.WaitForPhase(t, s, booked, v1alpha1.PhaseDone)
	require.NotEmpty(t, stored(t, s, texts...))

	require.NoError(t, s.Verity.Faults.Add(fault.Fault{Kind: fault.Hang}))
	sent := s.Verity.Requests.Total()
	underWay := systemtest.Post(t, s, s.Sender.Contact(ghlsender.Update, person))
	waitForRequests(t, s, sent+1)
	systemtest.WaitForPhase(t, s, underWay, v1alpha1.PhaseProcessing)
	behindIt := systemtest.Post(t, s, s.Sender.Contact(ghlsender.Update, person))
	systemtest.WaitForPhase(t, s, behindIt, v1alpha1.PhasePending)
	kubectl(t, s, "patch", "webhookevent", nameOf(behindIt), "--type=merge", `--patch={"spec":{"suspend":true}}`)
	other := systemtest.Post(t, s, booking(s))
	systemtest.WaitForPhase(t, s, other, v1alpha1.PhaseDone)

	report := erase(t, s, url, "--contact="+person.ID)

	assert.ElementsMatch(t, []string{done, booked, underWay, behindIt}, report.Events)
	assert.Equal(t, 2, report.Unfinished)
	assert.Equal(t, 1, report.Rows["contact_mappings"])
	assert.Equal(t, 1, report.Rows["appointments"])
	assert.Empty(t, stored(t, s, texts...))
	s.Verity.Faults.Clear() // The attempt continues.
	for _, id := range []string{underWay, behindIt} {
		e := systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseError)
		ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition)
		assert.Equal(t, v1alpha1.ErasedReason, ready.Reason)
		assert.Equal(t, "the data of the event was erased at a person's request; it does not run again", ready.Message)
		assert.Equal(t, v1alpha1.ErasedReason, rowOf(t, s, id).Reason)
	}
	assert.Equal(t, row{Status: "done", Attempts: 1, Reason: "Done"}, rowOf(t, s, done))

	for _, id := range []string{done, underWay} {
		kubectl(t, s, "annotate", "webhookevent", nameOf(id), "webhooks.dfmiddleware.io/replay-requested-at=1")
		kubectl(t, s, "wait", "webhookevent/"+nameOf(id), "--for=condition=ReplayRefused", "--timeout=120s")
		e, err := systemtest.Get(t.Context(), s, id)
		require.NoError(t, err)
		refused := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReplayRefusedCondition)
		assert.Equal(t, v1alpha1.ErasedReason, refused.Reason)
		assert.Contains(t, refused.Message, "the data of the event was erased")
	}
	assert.Contains(t, replay(t, s, "--status=error", "--since=24h", "--from=start"), "replays 0 events")
	assert.Empty(t, stored(t, s, texts...), "nothing is stored again")

	answer, err := s.Post(t.Context(), s.Receivers[0], first)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, answer.Status)
	assert.Equal(t, "duplicate", answer.Outcome)
	assert.Equal(t, done, answer.ID)
	systemtest.WaitForPhase(t, s, systemtest.Post(t, s, s.Sender.Contact(ghlsender.Update, person)), v1alpha1.PhaseDone)
	assert.NotEmpty(t, stored(t, s, texts...), "a later webhook is stored again")
	assert.Len(t, erase(t, s, url, "--contact="+person.ID).Events, 1)
	assert.Empty(t, stored(t, s, texts...))
}
