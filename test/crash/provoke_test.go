package crash

import (
	"net/http"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
)

// unavailable has Verity refuse forwards until the function returned is called.
func (w *world) unavailable(t *testing.T) (mend func()) {
	t.Helper()
	down := fault.Status(http.StatusServiceUnavailable)
	down.Times = -1
	require.NoError(t, w.Verity.Faults.Add(down))
	return w.Verity.Faults.Clear
}

// waits posts the webhook and waits until its event waits for another attempt.
func (w *world) waits(t *testing.T, s *subject) *v1alpha1.WebhookEvent {
	t.Helper()
	w.deliver(t, s)
	e := &v1alpha1.WebhookEvent{}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		require.NoError(c, w.Kubernetes.Get(t.Context(), w.nameOf(s), e))
		require.NotNil(c, e.Status.NextAttemptTime, "%+v", e.Status)
	}, eventually, tick)
	return e
}

// deleteUnfinished deletes the WebhookEvent of an event that waits for another attempt: it is to come back.
func deleteUnfinished(point failpoint.Point) provocation {
	return func(t *testing.T, w *world, s *subject) {
		t.Helper()
		mend := w.unavailable(t)
		e := w.waits(t, s)
		w.arm(t, point)
		require.NoError(t, w.Kubernetes.Delete(t.Context(), e))
		w.waitHit(t, point)
		mend()
	}
}

// changeLeader has another controller begin to lead.
func changeLeader(t *testing.T, w *world, s *subject) {
	t.Helper()
	w.arm(t, failpoint.TermAcquired)
	require.NoError(t, w.endControllers())
	w.deliver(t, s)
	w.waitHit(t, failpoint.TermAcquired)
}

// refused has the event end in error.
func (w *world) refused(t *testing.T, s *subject) *v1alpha1.WebhookEvent {
	t.Helper()
	require.NoError(t, w.Verity.Faults.Add(fault.Status(http.StatusUnprocessableEntity)))
	w.deliver(t, s)
	return w.waitFor(t, s, v1alpha1.PhaseError)
}

// replay replays an event that ended in error.
func replay(t *testing.T, w *world, s *subject) {
	t.Helper()
	e := w.refused(t, s)
	w.arm(t, failpoint.ReplayRaised)
	asked := e.DeepCopy()
	asked.Annotations = map[string]string{v1alpha1.ReplayRequestedAtAnnotation: "once"}
	require.NoError(t, w.Kubernetes.Patch(t.Context(), asked, client.MergeFrom(e)))
	w.waitHit(t, failpoint.ReplayRaised)
	w.isDoneOnce(t, s, 1)
	assert.Equal(t, 1, w.runOf(t, s), "the request is served once")
}

func (w *world) runOf(t *testing.T, s *subject) (run int) {
	t.Helper()
	require.NoError(t, w.Database.QueryRow(t.Context(), "SELECT run FROM webhook_events WHERE id = $1", s.id).Scan(&run))
	return run
}

// replayMany has the command that replays die, and runs it again.
func replayMany(t *testing.T, w *world, s *subject) {
	t.Helper()
	w.refused(t, s)
	other := booking(t, w)
	w.refused(t, other)
	require.NoError(t, w.points.Arm(failpoint.ReplayBatch))
	environ := []string{"DATABASE_URL=" + w.DatabaseURL, failpoint.Variable + "=" + string(w.points)}

	diesOf(t, environ, w.Binary, "replay", "--status=error", "--since=1h")
	succeeds(t, environ, w.Binary, "replay", "--status=error", "--since=1h")

	w.isDoneOnce(t, other, 1)
	w.isDoneOnce(t, s, 1)
	assert.Equal(t, []int{1, 1}, []int{w.runOf(t, s), w.runOf(t, other)}, "replayed once")
}

// diesOf runs a command that must die by SIGKILL.
func diesOf(t *testing.T, environ []string, binary string, arguments ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, arguments...)
	cmd.Env = environ
	output, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s", output)
	assert.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), "%s", output)
}

func succeeds(t *testing.T, environ []string, binary string, arguments ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, arguments...)
	cmd.Env = environ
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// parkOne has one more event wait than may, so that one of them is parked.
func parkOne(t *testing.T, w *world, s *subject) {
	t.Helper()
	mend := w.unavailable(t)
	other := booking(t, w)
	w.arm(t, failpoint.Parked)
	w.deliver(t, s)
	w.deliver(t, other)
	w.waitHit(t, failpoint.Parked)
	mend()
	w.isDoneOnce(t, other, 1)
}

// removeOld has retention remove more rows than it does at a time.
func removeOld(t *testing.T, w *world, s *subject) {
	t.Helper()
	_, err := w.Database.Exec(t.Context(), `
		INSERT INTO webhook_events (received_at, source, event_type, entity_type, payload_json, dedupe_key, body_hash, status, processed_at)
		SELECT now() - interval '1 year', 'ghl', 'note.created', 'note', '{}', 'old:' || n, sha256(n::text::bytea), 'done',
		       now() - interval '1 year'
		FROM generate_series(1, 1200) n`)
	require.NoError(t, err)
	w.deliver(t, s)
	w.isDoneOnce(t, s, 1)
	w.arm(t, failpoint.RetentionRemoved)
	require.NoError(t, w.endControllers()) // Whoever leads next begins with what is old.
	w.waitHit(t, failpoint.RetentionRemoved)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var old int
		require.NoError(c, w.Database.QueryRow(t.Context(), "SELECT count(*) FROM webhook_events WHERE dedupe_key LIKE 'old:%'").Scan(&old))
		require.Zero(c, old)
	}, eventually, tick)
}
