package install

import (
	"context"
	"encoding/json"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/verity"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// Rollouts wait for load balancers, of which there are none here.
var quickRollout = chart(map[string]any{"receiver": map[string]any{"drainSeconds": 1}})

// TestAnUpgradeLosesNothingAndDoesNothingTwice replaces the version before this one as Helm and the Deployments' controllers would: the
// migration first, then one pod after the other, while webhooks come in and are worked on.
func TestAnUpgradeLosesNothingAndDoesNothingTwice(t *testing.T) {
	t.Parallel()
	tree := previousVersion(t)
	before, after := imageOf(t, tree), here(t)
	i := newInstallation(t, ownServer(t), newNamespace())
	old := quickRollout(t, tree, i.namespace, i.variables)
	i.apply(t, old...)
	i.migrate(t, before)
	oldReceivers, oldControllers := i.pods(t, "receiver", before), i.pods(t, "controller", before)
	start(t, append(oldReceivers, oldControllers...)...)
	leader(t, oldControllers)

	traffic := i.beginTraffic(t, oldReceivers)
	traffic.awaitMore(t)
	i.awaitAttemptsUnderWay(t)

	i.apply(t, quickRollout(t, file(t), i.namespace, i.variables)...)
	assert.Contains(t, i.migrate(t, after), "applied 3: ")
	receivers, controllers := i.pods(t, "receiver", after), i.pods(t, "controller", after)

	// The old controller works on events of old and new receivers, on the new schema.
	start(t, receivers[0])
	traffic.add(receivers[0])
	for _, id := range append(traffic.awaitMoreOf(t, oldReceivers[0]), traffic.awaitMoreOf(t, receivers[0])...) {
		i.awaitDone(t, id)
	}

	// The new controller works on events of old and new receivers.
	i.awaitAttemptsUnderWay(t)
	start(t, controllers...)
	for _, p := range oldControllers {
		require.NoError(t, p.stop())
	}
	leader(t, controllers)
	for _, id := range append(traffic.awaitMoreOf(t, oldReceivers[1]), traffic.awaitMoreOf(t, receivers[0])...) {
		i.awaitDone(t, id)
	}

	start(t, receivers[1])
	traffic.add(receivers[1])
	for _, p := range oldReceivers {
		traffic.remove(p)
		require.NoError(t, p.stop())
	}
	traffic.awaitMoreOf(t, receivers[1])

	accepted := traffic.end(t)
	assert.GreaterOrEqual(t, len(accepted), 50)
	for _, id := range accepted {
		i.awaitDone(t, id)
		assert.Equal(t, 1, i.forwards(id), "the event %s was forwarded once", id)
	}
	var rows, effects int
	require.NoError(t, i.database.QueryRow(t.Context(), `
		SELECT count(*), (SELECT count(*) FROM sync_log WHERE operation = 'verity.forward' AND status = 'success')
		FROM webhook_events WHERE status = 'done'`).Scan(&rows, &effects))
	assert.Equal(t, len(accepted), rows)
	assert.Equal(t, len(accepted), effects)
	for _, p := range append(receivers, controllers...) {
		assert.NotContains(t, strings.ToLower(p.log(t)), "forbidden", p.Name)
	}
}

// previousVersion returns the tree of the project as it was when the version in Chart.yaml was last raised.
func previousVersion(t *testing.T) string {
	t.Helper()
	const shallow = "the version before this one is in the history of the repository, which is cut off here: `git fetch --unshallow`"
	raised := git(t, shallow, "log", "-1", "-G^version:", "--format=%H", "--", "config/chart/Chart.yaml")
	require.NotEmpty(t, raised, shallow)
	parent := git(t, shallow, "rev-parse", "--verify", raised+"^")
	tree := t.TempDir()
	archive := exec.CommandContext(t.Context(), "git", "archive", "--format=tar", parent)
	archive.Dir = file(t)
	unpack := exec.CommandContext(t.Context(), "tar", "--extract", "--directory="+tree)
	var err error
	unpack.Stdin, err = archive.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, archive.Start())
	output, err := unpack.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.NoError(t, archive.Wait())
	return tree
}

func git(t *testing.T, otherwise string, arguments ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", arguments...)
	cmd.Dir = file(t)
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "git %s: %s: %s", strings.Join(arguments, " "), output, otherwise)
	return strings.TrimSpace(string(output))
}

// awaitAttemptsUnderWay slows Verity down for a while, and returns when forwards wait for it.
func (i *installation) awaitAttemptsUnderWay(t *testing.T) {
	t.Helper()
	const attempts = 4
	before := i.verity.Requests.Total()
	slow := fault.Fault{Kind: fault.Delay, DelayMillis: 2000, Times: attempts, Path: verity.WebhookPath}
	require.NoError(t, i.verity.Faults.Add(slow))
	require.Eventually(t, func() bool { return i.verity.Requests.Total() >= before+attempts }, systemtest.Timeout, systemtest.Tick)
}

func (i *installation) awaitDone(t *testing.T, id string) {
	t.Helper()
	require.Eventually(t, func() bool {
		var status string
		err := i.database.QueryRow(t.Context(), "SELECT status FROM webhook_events WHERE id = $1", id).Scan(&status)
		return err == nil && status == "done"
	}, systemtest.Timeout, systemtest.Tick, "event %s", id)
}

// traffic is webhooks that are posted one after the other, to the receivers in turn, as through their Service.
type traffic struct {
	mu        sync.Mutex
	receivers []*pod
	accepted  []string
	by        map[*pod][]string

	stop  context.CancelFunc
	group errgroup.Group
}

func (i *installation) beginTraffic(t *testing.T, receivers []*pod) *traffic {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	tr := &traffic{receivers: slices.Clone(receivers), by: map[*pod][]string{}, stop: cancel}
	tr.group.Go(func() error {
		pace := time.NewTicker(50 * time.Millisecond)
		defer pace.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return nil
			case <-pace.C:
			}
			if err := tr.post(ctx, i, n); err != nil {
				return err
			}
		}
	})
	t.Cleanup(cancel)
	return tr
}

// post holds the lock, so that a receiver that was removed is not posted to any more.
func (tr *traffic) post(ctx context.Context, i *installation, n int) error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	to := tr.receivers[n%len(tr.receivers)]
	// A post that was begun is ended: what it was answered counts.
	answer, err := i.sender.Send(context.WithoutCancel(ctx), to.url("http", "http")+"/api/webhooks/ghl", i.note())
	if err != nil {
		return err
	}
	var said struct{ ID, Status, Error string }
	if err := json.Unmarshal(answer.Body, &said); err != nil {
		return err
	}
	if answer.Status != http.StatusOK || said.Status != "accepted" {
		return &refusal{to.Name, answer.Status, said.Error}
	}
	tr.accepted = append(tr.accepted, said.ID)
	tr.by[to] = append(tr.by[to], said.ID)
	return nil
}

type refusal struct {
	by      string
	status  int
	because string
}

func (r *refusal) Error() string {
	return r.by + " answered " + http.StatusText(r.status) + ": " + r.because
}

func (tr *traffic) add(p *pod) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.receivers = append(tr.receivers, p)
}

func (tr *traffic) remove(p *pod) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.receivers = slices.DeleteFunc(tr.receivers, func(q *pod) bool { return q == p })
}

// awaitMore waits until more is accepted than was by now.
func (tr *traffic) awaitMore(t *testing.T) {
	t.Helper()
	tr.awaitMoreIn(t, func() []string { return tr.accepted })
}

// awaitMoreOf waits until a receiver accepts more than it has by now, and returns that.
func (tr *traffic) awaitMoreOf(t *testing.T, p *pod) []string {
	t.Helper()
	return tr.awaitMoreIn(t, func() []string { return tr.by[p] })
}

func (tr *traffic) awaitMoreIn(t *testing.T, list func() []string) []string {
	t.Helper()
	const more = 5
	accepted := func() []string {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return slices.Clone(list())
	}
	before := len(accepted())
	require.Eventually(t, func() bool { return len(accepted()) >= before+more }, systemtest.Timeout, systemtest.Tick, "webhooks are accepted")
	return accepted()[before:]
}

// end returns what was accepted. Every post must have been.
func (tr *traffic) end(t *testing.T) []string {
	t.Helper()
	tr.stop()
	require.NoError(t, tr.group.Wait())
	return tr.accepted
}
