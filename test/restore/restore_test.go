package restore

import (
	"context"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgproxy"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// way is a way in which a database goes back: prepare begins with it, save keeps the moment, and back goes back to it.
type way struct {
	prepare, save, back func(context.Context, *environment) error
}

var nothing = func(context.Context, *environment) error { return nil }

// ways are the ways that need no stop of a process.
var ways = map[string]way{
	"a point-in-time recovery, from a base backup and the write-ahead log": {
		prepare: func(ctx context.Context, e *environment) error { return e.Postgres.BaseBackup(ctx) },
		save:    func(ctx context.Context, e *environment) error { return e.Postgres.RestorePoint(ctx, "before") },
		back:    func(ctx context.Context, e *environment) error { return e.Postgres.Recover(ctx, "before") },
	},
	"a dump that is restored beside the database and takes its name": {
		prepare: nothing,
		save: func(ctx context.Context, e *environment) error {
			_, err := e.Postgres.Run(ctx, "pg_dump", "--format=custom", "--file="+filepath.Join(e.Dir, "middleware.dump"), e.DatabaseURL)
			return err
		},
		back: restoreDump,
	},
}

// restoreDump does as docs/operations.md says.
func restoreDump(ctx context.Context, e *environment) error {
	name := e.DatabaseURL[strings.LastIndex(e.DatabaseURL, "/")+1:]
	name, _, _ = strings.Cut(name, "?")
	conn, err := pgx.Connect(ctx, e.Postgres.URL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	run := func(statements ...string) error {
		for _, statement := range statements {
			if _, err := conn.Exec(ctx, strings.ReplaceAll(statement, "middleware", name)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := run("ALTER DATABASE middleware ALLOW_CONNECTIONS false",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'middleware'",
		"CREATE DATABASE middleware_restored"); err != nil {
		return err
	}
	to := strings.Replace(e.DatabaseURL, "/"+name, "/"+name+"_restored", 1)
	if _, err := e.Postgres.Run(ctx, "pg_restore", "--exit-on-error", "--dbname="+to, filepath.Join(e.Dir, "middleware.dump")); err != nil {
		return err
	}
	return run("ALTER DATABASE middleware RENAME TO middleware_before", "ALTER DATABASE middleware_restored RENAME TO middleware")
}

// lostEvents is how docs/operations.md lists them.
const lostEvents = `jsonpath={range .items[?(@.status.conditions[0].reason=="RowLost")]}{.spec.receivedAt}{"\t"}{.spec.eventType}{"\t"}{.spec.entityID}{"\t"}{.metadata.name}{"\n"}{end}`

func TestARunningSystemWhoseDatabaseGoesBack(t *testing.T) {
	t.Parallel()
	for name, w := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			goBack(t, w)
		})
	}
}

func goBack(t *testing.T, w way) {
	t.Helper()
	e := start(t, system.Options{})
	before := []sent{e.booking(), e.contact("+12055550141")}
	e.untilPhase(v1alpha1.PhaseDone, before...)
	require.NoError(t, w.prepare(t.Context(), e))
	e.verityFails()
	repeated := []sent{e.booking(), e.booking(), e.contact("+12055550142")}
	for _, s := range repeated {
		e.until(s, "tried", func(o *v1alpha1.WebhookEvent) bool { return o.Status.Attempts > 0 })
	}
	require.NoError(t, w.save(t.Context(), e))
	saved := e.heartbeat()

	e.verityWorks()
	e.untilPhase(v1alpha1.PhaseDone, repeated...)
	forgotten := e.booking()
	e.untilPhase(v1alpha1.PhaseDone, forgotten)
	require.NoError(t, e.Verity.Faults.Add(fault.Status(http.StatusUnprocessableEntity)))
	failed := e.post(e.Sender.Marketplace("NoteCreate", map[string]any{"id": "note"}))
	e.untilPhase(v1alpha1.PhaseError, failed)
	e.verityFails()
	lost := []sent{e.booking(), e.contact("+12055550143")}
	for _, s := range lost {
		e.until(s, "tried", func(o *v1alpha1.WebhookEvent) bool { return o.Status.Attempts > 0 })
	}
	e.untilHeartbeatAfter(saved)
	require.Empty(t, e.reported())
	pids := e.pids()

	require.NoError(t, w.back(t.Context(), e))
	back := time.Now()
	e.verityWorks()

	to := e.untilNoticed()
	assert.Less(t, time.Since(back), 30*time.Second, "it is noticed within seconds")
	assert.False(t, to.After(saved), "%s is not after %s", to, saved)
	e.untilReason(v1alpha1.RowLostReason, append(lost, failed)...)
	listed, err := e.Kubectl(t.Context(), "get", "webhookevents", "--output="+lostEvents)
	require.NoError(t, err)
	assert.Len(t, strings.Split(strings.TrimSpace(listed), "\n"), 3, "%s", listed)
	e.untilMetric("verity_sync_lost_events", 3)
	e.untilMetric("verity_sync_rolled_back_events_total", 3)
	e.untilDone(append(before, repeated...)...)
	e.untilPhase(v1alpha1.PhaseDone, append(repeated, forgotten)...)
	for _, s := range repeated {
		assert.Equal(t, 2, e.forwards(s), "what was finished since is forwarded again, under the same key")
	}
	for _, s := range append(before, forgotten) {
		assert.Equal(t, 1, e.forwards(s), "nothing else is")
	}
	systemtest.Eventually(t, func(c *assert.CollectT) { require.Len(c, e.reported(), 1) })
	assert.Equal(t, pids, e.pids(), "no process was restarted")

	for i, s := range append(lost, failed) {
		again := e.post(s.webhook)
		assert.NotEqual(t, s.id, again.id, "%d: it is a new event", i)
		e.untilDone(again)
		require.NoError(t, e.Kubernetes.Delete(t.Context(), &v1alpha1.WebhookEvent{ObjectMeta: metav1.ObjectMeta{
			Namespace: e.Namespace, Name: systemtest.NameOf(e.System, s.id).Name,
		}}))
	}
	e.untilMetric("verity_sync_lost_events", 0)
	e.leadsFollow()
	for _, phone := range []string{"2055550141", "2055550142", "2055550143"} {
		var n int
		for _, c := range e.Aloware.Contacts() {
			if strings.HasSuffix(c.PhoneNumber, phone) {
				n++
			}
		}
		assert.Equal(t, 1, n, "Aloware has the contact once: %s", phone)
	}
}

// heartbeat returns that of the database.
func (e *environment) heartbeat() time.Time {
	e.t.Helper()
	return systemtest.Value[time.Time](e.t, e.System, "SELECT beat_at FROM controller_heartbeat")
}

// untilNoticed waits until the database says that it has gone back, and returns to which moment.
func (e *environment) untilNoticed() (to time.Time) {
	e.t.Helper()
	systemtest.Eventually(e.t, func(c *assert.CollectT) {
		var at *time.Time
		require.NoError(c, e.Database.QueryRow(e.t.Context(), "SELECT rolled_back_to FROM controller_heartbeat").Scan(&at))
		require.NotNil(c, at)
		to = *at
	})
	return to
}

// untilDone waits until the rows of events are done.
func (e *environment) untilDone(events ...sent) {
	e.t.Helper()
	for _, s := range events {
		systemtest.Eventually(e.t, func(c *assert.CollectT) {
			var status string
			require.NoError(c, e.Database.QueryRow(e.t.Context(), "SELECT status FROM webhook_events WHERE id = $1", s.id).Scan(&status))
			require.Equal(c, "done", status)
		})
	}
}

func (e *environment) pids() []int {
	var pids []int
	for _, p := range append(e.Receivers[:1:1], e.Controllers...) {
		if p.Running() {
			pids = append(pids, p.PID())
		}
	}
	return pids
}

// A leader that was elected after the standby's last word, and that was paused, has a term that the promoted standby would give again.
func TestAnAsynchronousFailoverThatLosesTheLeadersTerm(t *testing.T) {
	t.Parallel()
	var proxy *pgproxy.Proxy
	e := start(t, system.Options{Wire: func(ctx context.Context, s *system.System, env map[string]string) (err error) {
		proxy, err = pgproxy.New(ctx, s.DatabaseURL)
		if err == nil {
			env["DATABASE_URL"] = proxy.URL()
		}
		return err
	}})
	t.Cleanup(func() { assert.NoError(t, proxy.Close()) })
	before := e.booking()
	e.untilPhase(v1alpha1.PhaseDone, before)
	for _, p := range e.Controllers {
		require.NoError(t, p.Stop())
	}
	standby, err := e.Postgres.Standby(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, standby.Close()) })
	kept := e.booking() // No controller runs that could start it.
	require.NoError(t, standby.StopFollowing(t.Context(), e.Postgres))
	saved := e.heartbeat()

	require.NoError(t, e.Verity.Faults.Add(fault.Fault{Kind: fault.Hang, Times: -1}))
	old, next := e.Controllers[0], e.Controllers[1]
	require.NoError(t, old.Start(t.Context()))
	e.untilPhase(v1alpha1.PhaseProcessing, kept)
	e.untilHeartbeatAfter(saved)
	require.NoError(t, old.Pause())
	lost := e.booking()
	e.until(lost, "created", func(*v1alpha1.WebhookEvent) bool { return true })
	oldTerm := e.term()

	require.NoError(t, e.Postgres.Kill())
	require.NoError(t, standby.Promote(t.Context()))
	promoted, err := url.Parse(standby.URL())
	require.NoError(t, err)
	require.NoError(t, proxy.Route(promoted.String()))
	e.Database.Close()
	e.connect(proxy.URL())
	assert.Less(t, e.term(), oldTerm, "the standby has not heard of it")
	require.NoError(t, next.Start(t.Context()))

	e.untilNoticed()
	assert.Greater(t, e.term(), oldTerm, "the term is above that of the leader that was paused")
	e.untilReason(v1alpha1.RowLostReason, lost)
	systemtest.Eventually(t, func(c *assert.CollectT) { require.Equal(c, e.term(), e.claimedTerm(kept)) })
	require.NoError(t, old.Continue())
	require.Eventually(t, func() bool { return !old.Running() }, systemtest.Timeout, systemtest.Tick, "it ends")
	e.verityWorks()
	e.untilDone(kept)
	assert.Equal(t, e.term(), e.claimedTerm(kept), "nothing was recorded by the leader that was paused")
	e.untilPhase(v1alpha1.PhaseDone, before, kept)
	assert.Equal(t, 1, e.forwards(before))

	e.untilDone(e.post(lost.webhook))
	require.NoError(t, client.IgnoreNotFound(e.Kubernetes.Delete(t.Context(), &v1alpha1.WebhookEvent{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.Namespace, Name: systemtest.NameOf(e.System, lost.id).Name},
	})))
	e.leadsFollow()
}

// term returns the term of leadership that the database has.
func (e *environment) term() int64 {
	e.t.Helper()
	return systemtest.Value[int64](e.t, e.System, "SELECT term FROM controller_term")
}

// claimedTerm returns the term under which an event was begun last.
func (e *environment) claimedTerm(s sent) int64 {
	e.t.Helper()
	return systemtest.Value[int64](e.t, e.System, "SELECT coalesce(claimed_term, 0) FROM webhook_events WHERE id = $1", s.id)
}
