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
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// unavailable has Verity refuse forwards until the function returned is called.
func (e *environment) unavailable(t *testing.T) (repair func()) {
	t.Helper()
	down := fault.Status(http.StatusServiceUnavailable)
	down.Times = -1
	require.NoError(t, e.Verity.Faults.Add(down))
	return e.Verity.Faults.Clear
}

// waits posts the webhook and waits until its event waits for another attempt.
func (e *environment) waits(t *testing.T, s *subject) *v1alpha1.WebhookEvent {
	t.Helper()
	e.deliver(t, s)
	object := &v1alpha1.WebhookEvent{}
	systemtest.Eventually(t, func(c *assert.CollectT) {
		require.NoError(c, e.Kubernetes.Get(t.Context(), systemtest.NameOf(e.System, s.id), object))
		require.NotNil(c, object.Status.NextAttemptTime, "%+v", object.Status)
	})
	return object
}

// deleteUnfinished deletes the WebhookEvent of an event that waits for another attempt: it must be created again.
func deleteUnfinished(point failpoint.Point) provocation {
	return func(t *testing.T, env *environment, s *subject) {
		t.Helper()
		repair := env.unavailable(t)
		e := env.waits(t, s)
		env.arm(t, point)
		require.NoError(t, env.Kubernetes.Delete(t.Context(), e))
		env.waitHit(t, point)
		repair()
	}
}

// changeLeader has another controller begin to lead.
func changeLeader(t *testing.T, e *environment, s *subject) {
	t.Helper()
	e.arm(t, failpoint.TermAcquired)
	require.NoError(t, e.endControllers())
	e.deliver(t, s)
	e.waitHit(t, failpoint.TermAcquired)
}

// refused has the event end in error.
func (e *environment) refused(t *testing.T, s *subject) *v1alpha1.WebhookEvent {
	t.Helper()
	require.NoError(t, e.Verity.Faults.Add(fault.Status(http.StatusUnprocessableEntity)))
	e.deliver(t, s)
	return systemtest.WaitForPhase(t, e.System, s.id, v1alpha1.PhaseError)
}

// replay replays an event that ended in error.
func replay(t *testing.T, env *environment, s *subject) {
	t.Helper()
	e := env.refused(t, s)
	env.arm(t, failpoint.ReplayRaised)
	asked := e.DeepCopy()
	asked.Annotations = map[string]string{v1alpha1.ReplayRequestedAtAnnotation: "once"}
	require.NoError(t, env.Kubernetes.Patch(t.Context(), asked, client.MergeFrom(e)))
	env.waitHit(t, failpoint.ReplayRaised)
	env.isDoneOnce(t, s, 1)
	assert.Equal(t, 1, env.runOf(t, s), "the request is served once")
}

func (e *environment) runOf(t *testing.T, s *subject) (run int) {
	t.Helper()
	require.NoError(t, e.Database.QueryRow(t.Context(), "SELECT run FROM webhook_events WHERE id = $1", s.id).Scan(&run))
	return run
}

// replayMany has the command that replays die, and runs it again.
func replayMany(t *testing.T, e *environment, s *subject) {
	t.Helper()
	e.refused(t, s)
	other := booking(t, e)
	e.refused(t, other)
	require.NoError(t, e.points.Arm(failpoint.ReplayBatch))
	environ := []string{"DATABASE_URL=" + e.DatabaseURL, failpoint.Variable + "=" + string(e.points)}

	diesOf(t, environ, e.Binary, "replay", "--status=error", "--since=1h")
	succeeds(t, environ, e.Binary, "replay", "--status=error", "--since=1h")

	e.isDoneOnce(t, other, 1)
	e.isDoneOnce(t, s, 1)
	assert.Equal(t, []int{1, 1}, []int{e.runOf(t, s), e.runOf(t, other)}, "replayed once")
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

// parkOne makes one more event wait than may, so that one of them is parked.
func parkOne(t *testing.T, e *environment, s *subject) {
	t.Helper()
	repair := e.unavailable(t)
	other := booking(t, e)
	e.arm(t, failpoint.Parked)
	e.deliver(t, s)
	e.deliver(t, other)
	e.waitHit(t, failpoint.Parked)
	repair()
	e.isDoneOnce(t, other, 1)
}

// removeOld has retention remove more rows than it does at a time.
func removeOld(t *testing.T, e *environment, s *subject) {
	t.Helper()
	_, err := e.Database.Exec(t.Context(), `
		INSERT INTO webhook_events (received_at, source, event_type, entity_type, payload_json, dedupe_key, body_hash, status, processed_at)
		SELECT now() - interval '1 year', 'ghl', 'note.created', 'note', '{}', 'old:' || n, sha256(n::text::bytea), 'done',
		       now() - interval '1 year'
		FROM generate_series(1, 1200) n`)
	require.NoError(t, err)
	e.deliver(t, s)
	e.isDoneOnce(t, s, 1)
	e.arm(t, failpoint.RetentionRemoved)
	require.NoError(t, e.endControllers()) // The next leader starts with the oldest events.
	e.waitHit(t, failpoint.RetentionRemoved)
	systemtest.Eventually(t, func(c *assert.CollectT) {
		var old int
		require.NoError(c, e.Database.QueryRow(t.Context(), "SELECT count(*) FROM webhook_events WHERE dedupe_key LIKE 'old:%'").Scan(&old))
		require.Zero(c, old)
	})
}
