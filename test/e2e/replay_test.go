package e2e

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// annotate asks for a replay with kubectl, as docs/sync.md shows it, and waits until it was served and has ended well.
func annotate(t *testing.T, s *system.System, name, request string, further ...string) {
	t.Helper()
	kubectl(t, s, append([]string{
		"annotate", "webhookevent", name, "--overwrite", "webhooks.dfmiddleware.io/replay-requested-at=" + request,
	}, further...)...)
	kubectl(t, s, "wait", "webhookevent/"+name, "--for=jsonpath={.status.lastHandledReplay}="+request, "--timeout=120s")
	kubectl(t, s, "wait", "webhookevent/"+name, "--for=condition=Ready", "--timeout=120s")
}

func kubectl(t *testing.T, s *system.System, arguments ...string) string {
	t.Helper()
	output, err := s.Kubectl(t.Context(), arguments...)
	require.NoError(t, err, output)
	return output
}

// refuse has Verity refuse the next webhook, and posts it. It returns the event, once it is in error.
func refuse(t *testing.T, s *system.System, w ghlsender.Webhook) string {
	t.Helper()
	require.NoError(t, s.Verity.Faults.Add(fault.Status(http.StatusUnprocessableEntity)))
	id := systemtest.Post(t, s, w)
	systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseError)
	return id
}

func note(s *system.System) ghlsender.Webhook {
	return s.Sender.Marketplace("NoteCreate", map[string]any{"id": ghlsender.NewID(), "contactId": ghlsender.NewID()})
}

func opportunity(s *system.System) ghlsender.Webhook {
	return s.Sender.Opportunity(ghlsender.Create, ghlsender.Opportunity{ID: ghlsender.NewID(), ContactID: ghlsender.NewID()})
}

func TestARefusedEventIsReplayedWithKubectlOnceItsDestinationIsFixed(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 1})
	id := refuse(t, s, opportunity(s))

	annotate(t, s, nameOf(id), "1")

	times, _ := systemtest.Forwards(s, id)
	assert.Equal(t, 1, times, "under the key of the attempt that was refused")
	assert.Equal(t, map[string]int{"verity.forward error": 1, "verity.forward success": 1}, ledgerOf(t, s, id))
	assert.Equal(t, row{Status: "done", Attempts: 1, Reason: "Done"}, rowOf(t, s, id))

	annotate(t, s, nameOf(id), "2")
	times, _ = systemtest.Forwards(s, id)
	assert.Equal(t, 1, times, "what has succeeded is not repeated")

	annotate(t, s, nameOf(id), "3", "webhooks.dfmiddleware.io/replay-from=start")
	times, _ = systemtest.Forwards(s, id)
	assert.Equal(t, 1, times)
	times, _ = systemtest.Forwards(s, id+".3")
	assert.Equal(t, 1, times, "from the start, under a key of its own")

	annotate(t, s, nameOf(id), "4", "webhooks.dfmiddleware.io/replay-from-")
	times, _ = systemtest.Forwards(s, id+".4")
	assert.Zero(t, times, "without the second annotation nothing is repeated again")

	annotate(t, s, nameOf(id), "5", "webhooks.dfmiddleware.io/replay-from=Start")
	times, _ = systemtest.Forwards(s, id+".5")
	assert.Equal(t, 1, times, "in any case")
}

func TestAnEventIsReplayedOnceTheConfigurationIsFixed(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 1, Env: map[string]string{"GHL_API_TOKEN": ""}})
	location, contact := ghlsender.NewID(), ghlsender.NewID()
	_, err := s.VerityDatabase.AddContact(t.Context(), "", contact+"@example.com")
	require.NoError(t, err)
	home := s.Sender.LocationID
	s.Sender.LocationID = location
	w := s.Sender.Appointment(ghlsender.Create, ghlsender.Appointment{ID: ghlsender.NewID(), ContactID: contact, Status: "confirmed"})
	s.Sender.LocationID = home
	id := systemtest.Post(t, s, w)
	e := systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseError)
	assert.Equal(t, row{Status: "error", Attempts: 1, Reason: "LocationUnknown"}, rowOf(t, s, id), "%+v", e.Status.Conditions)

	s.GHL.PutContact(ghlapi.Contact{ID: contact, LocationID: location, Email: contact + "@example.com"})
	require.NoError(t, s.AddLocation(location))
	annotate(t, s, nameOf(id), "1")

	assert.Equal(t, "LeadInserted", systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseDone).Status.Result)
	assert.Equal(t, map[string]int{"verity.forward success": 1, "verity.lead error": 1, "verity.lead success": 1}, ledgerOf(t, s, id))
	times, _ := systemtest.Forwards(s, id)
	assert.Equal(t, 1, times, "it had been forwarded")
}

// replay runs verity-sync replay with nothing but the database, and returns what it prints.
func replay(t *testing.T, s *system.System, flags ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.Binary, append([]string{"replay"}, flags...)...)
	cmd.Env = []string{"DATABASE_URL=" + s.DatabaseURL}
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return string(output)
}

func TestTheReplayCommandReplaysManyAlsoThoseWhoseWebhookEventIsGone(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 1})
	done := systemtest.Post(t, s, booking(s))
	systemtest.WaitForPhase(t, s, done, v1alpha1.PhaseDone)
	there, gone, other := refuse(t, s, opportunity(s)), refuse(t, s, opportunity(s)), refuse(t, s, note(s))
	e, err := systemtest.Get(t.Context(), s, gone)
	require.NoError(t, err)
	require.NoError(t, s.Kubernetes.Delete(t.Context(), e))
	errors := []string{"--status=error", "--since=24h", "--type=opportunity.created"}
	const those = "2 events with the status error, finished in the last 24h, of the type opportunity.created"

	assert.Equal(t, "would replay "+those+"\n", replay(t, s, append(errors, "--dry-run")...))
	assert.Equal(t, row{Status: "error", Attempts: 1, Reason: "Rejected"}, rowOf(t, s, there), "a dry run changes nothing")
	_, err = systemtest.Get(t.Context(), s, gone)
	require.True(t, apierrors.IsNotFound(err), "%v", err)

	assert.Regexp(t, "^replays "+those+` \(.+\)\n$`, replay(t, s, errors...))
	for _, id := range []string{there, gone} {
		systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseDone)
		assert.Equal(t, map[string]int{"verity.forward error": 1, "verity.forward success": 1}, ledgerOf(t, s, id))
		times, _ := systemtest.Forwards(s, id)
		assert.Equal(t, 1, times)
	}
	assert.Equal(t, row{Status: "error", Attempts: 1, Reason: "Rejected"}, rowOf(t, s, other), "of another type")
	assert.True(t, strings.HasPrefix(replay(t, s, errors...), "replays 0 events"))

	t.Run("where to begin is understood in any case, and anything else is refused", func(t *testing.T) {
		assert.True(t, strings.HasPrefix(replay(t, s, "--dry-run", "--since=1h", "--from=START"), "would replay"))
		cmd := exec.CommandContext(t.Context(), s.Binary, "replay", "--dry-run", "--since=1h", "--from=finish")
		cmd.Env = []string{"DATABASE_URL=" + s.DatabaseURL}
		output, err := cmd.CombinedOutput()
		require.Error(t, err)
		assert.Contains(t, string(output), `--from: expected start or nothing, got "finish"`)
	})
	t.Run("those that are done, from the start", func(t *testing.T) {
		assert.True(t, strings.HasPrefix(replay(t, s, "--status=done", "--since=1h", "--type=appointment.created", "--from=start"), "replays 1 event"))
		require.Eventually(t, func() bool {
			times, _ := systemtest.Forwards(s, done+".1")
			return times == 1
		}, systemtest.Timeout, systemtest.Tick)
		systemtest.WaitForPhase(t, s, done, v1alpha1.PhaseDone)
		times, _ := systemtest.Forwards(s, done)
		assert.Equal(t, 1, times)
	})
}

func TestTheWebhookOfAnAddedTagHasNoFurtherEffect(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 1, Env: map[string]string{"GHL_APPOINTMENT_TAGS": "booked"}})
	back := make(chan system.Answer, 10)
	s.GHL.OnTags = func(c ghlapi.Contact) {
		w := s.Sender.Contact("TagUpdate", ghlsender.Contact{ID: c.ID, Email: c.Email, Tags: c.Tags})
		if answer, err := s.Post(t.Context(), s.Receivers[0], w); assert.NoError(t, err) {
			back <- answer
		}
	}
	contact := ghlsender.Contact{ID: ghlsender.NewID(), FirstName: "Ann", Email: ghlsender.NewID() + "@example.com"}
	s.GHL.PutContact(ghlapi.Contact{ID: contact.ID, LocationID: s.Sender.LocationID, Email: contact.Email})
	appointment := ghlsender.Appointment{ID: ghlsender.NewID(), ContactID: contact.ID, Status: "confirmed"}

	booked := systemtest.Post(t, s, s.Sender.WorkflowAppointment(appointment, contact))
	systemtest.WaitForPhase(t, s, booked, v1alpha1.PhaseDone)
	assert.Equal(t, map[string]int{"verity.forward success": 1, "verity.lead success": 1, "ghl.tags success": 1}, ledgerOf(t, s, booked))
	require.Len(t, back, 1, "GoHighLevel sends the webhook of the tag before it answers")
	e := systemtest.WaitForPhase(t, s, (<-back).ID, v1alpha1.PhaseDone)
	assert.Equal(t, "contact.tag_updated", e.Spec.EventType)
	assert.Equal(t, "ContactSkipped", e.Status.Result)

	again := systemtest.Post(t, s, s.Sender.WorkflowAppointment(appointment, contact))
	systemtest.WaitForPhase(t, s, again, v1alpha1.PhaseDone)
	assert.Len(t, s.GHL.Requests.Requests(http.MethodPost, "/contacts/*/tags"), 1, "the contact has it")
	assert.Empty(t, back)
	assert.Empty(t, s.Aloware.Contacts())
}
