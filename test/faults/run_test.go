package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
)

// The environment of a run.
const (
	durationVariable = "FAULTS_DURATION"
	seedVariable     = "FAULTS_SEED"
	// longVariable injects faults of all kinds one by one, each for longer.
	longVariable = "FAULTS_LONG"
	// onlyVariable is a regular expression that the names of the kinds match that are wanted.
	onlyVariable = "FAULTS_ONLY"
	// poolerVariable is the pool_mode of the poolers that both databases are behind; there are none where it is not set.
	poolerVariable = "FAULTS_POOLER"
	// reportVariable names the page into which the table is written.
	reportVariable = "FAULTS_REPORT"

	defaultDuration = 70 * time.Second
	defaultSeed     = 1
	// settleTimeout is how long everything may take to be done once nothing is broken any more. An audit takes place every minute.
	settleTimeout = 3 * time.Minute
)

var limits = Limits{
	Attempts: 12,
	// The breaker trips at the fifth failure, when 31 more calls may be in flight. The standard library sends a call again whose
	// connection breaks, once.
	Outage: 2 * (5 + 31), Probe: retryMaxDelay,
	// A call that hangs ends after 10 s, which is longer than the delay that other events may have. The rest of that is for a
	// machine that has other tests to run.
	Delay: 9 * time.Second, Handover: 30 * time.Second, Recovery: recoveryTimeout,
	// Both caps, and by how much two replicas may exceed the first one.
	Live: maxLive + maxWaiting + 2*100,
	RSS:  512 << 20, LogRate: 64 << 10,
}

// TestNothingIsLostAndNothingHappensTwice breaks one thing after the other under load, and checks what came of it.
func TestNothingIsLostAndNothingHappensTwice(t *testing.T) {
	t.Parallel()
	duration, seed, short := settings(t)
	e := startEnvironment(t, seed)
	l, err := newLoad(t.Context(), e)
	require.NoError(t, err)

	e.runFor(t, l, duration, short)
	e.collect(t)

	violations := Check(&e.history, limits)
	for i, v := range violations {
		t.Errorf("invariant %d: %s", v.Invariant, v.Message)
		if i < mostTold {
			t.Log(e.history.Report(v.Event))
		}
	}
	table := report(&e.history, violations)
	t.Logf("%s\n%s", e.history.summary(), table)
	if page := os.Getenv(reportVariable); page != "" && !t.Failed() {
		require.NoError(t, write(page, e.history.summary()+"\n\n"+table))
	}
	if t.Failed() {
		e.keepLogs(t)
		t.Logf("to see it again: make faults DURATION=%s SEED=%d", duration, seed)
	}
}

// mostTold is of how many violations the whole history is printed.
const mostTold = 5

func settings(t *testing.T) (duration time.Duration, seed uint64, short bool) {
	t.Helper()
	duration, seed = defaultDuration, defaultSeed
	var err error
	if text := os.Getenv(durationVariable); text != "" {
		duration, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	if text := os.Getenv(seedVariable); text != "" {
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	return duration, seed, os.Getenv(longVariable) == ""
}

// runFor runs load and faults for a while, repairs everything, and waits until all is done.
func (e *environment) runFor(t *testing.T, l *load, duration time.Duration, short bool) {
	t.Helper()
	watching, stop := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	tasks.Go(func() { e.watch.run(watching) })
	tasks.Go(func() { e.sample(watching) })
	tasks.Go(func() { l.introduceStrangers(watching) })
	for _, r := range e.replicas {
		tasks.Go(func() { r.supervise(watching) })
	}
	defer tasks.Wait()
	defer stop()

	breaking, enough := context.WithTimeout(t.Context(), duration)
	defer enough()
	posting, giveUp := context.WithTimeout(t.Context(), duration+settleTimeout)
	defer giveUp()
	var loaded sync.WaitGroup
	loaded.Go(func() { l.run(breaking, posting) })
	err := l.schedule(breaking, posting, short)
	enough()
	loaded.Wait()
	assert.NoError(t, err)
	require.NoError(t, posting.Err(), "not everything was acknowledged")
	assert.Eventually(t, func() bool {
		var unfinished int
		err := e.system.Database.QueryRow(t.Context(),
			"SELECT count(*) FROM webhook_events WHERE status IN ('pending', 'processing')").Scan(&unfinished)
		return err == nil && unfinished == 0 && e.watch.unfinished() == 0 && e.agrees(t.Context())
	}, settleTimeout, tick, "everything is done in the end, and shown as such")
}

// collect adds to the history what there is in the end.
func (e *environment) collect(t *testing.T) {
	t.Helper()
	h := &e.history
	h.Rows = query[Row](t, e, `SELECT id::text, dedupe_key, status, coalesce(reason, '') AS reason,
		encode(sha256(convert_to(payload_json::text, 'UTF8')), 'hex') AS sha256, attempts, received_at,
		coalesce(processed_at, 'epoch') AS processed_at FROM webhook_events`)
	h.Ledger = query[Entry](t, e, `SELECT webhook_event_id::text, operation, status, coalesce(details ->> 'class', '') AS class,
		coalesce(error_message, '') AS message, attempt, coalesce(finished_at, started_at) FROM sync_log`)
	for i := range h.Rows {
		if h.Rows[i].ProcessedAt.Equal(time.Unix(0, 0)) {
			h.Rows[i].ProcessedAt = time.Time{}
		}
	}
	verity, err := pgx.Connect(t.Context(), e.system.VerityDatabaseURL)
	require.NoError(t, err)
	defer verity.Close(t.Context())
	rows, err := verity.Query(t.Context(),
		"SELECT c.phone_e164, coalesce(l.ghl_appointment_id, '') FROM leads l JOIN contacts c ON c.id = l.contact_id")
	require.NoError(t, err)
	h.Leads, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Lead])
	require.NoError(t, err)
	h.Aloware = map[string]string{}
	for _, contact := range e.system.Aloware.Contacts() {
		h.Aloware[contact.PhoneNumber] = contact.FirstName
	}
	h.Shown, err = e.shown(t.Context())
	require.NoError(t, err)
}

// shown returns what the WebhookEvents say.
func (e *environment) shown(ctx context.Context) (map[string]string, error) {
	var all v1alpha1.WebhookEventList
	if err := e.system.Kubernetes.List(ctx, &all, client.InNamespace(e.system.Namespace)); err != nil {
		return nil, err
	}
	phases := map[string]string{}
	for i := range all.Items {
		phases[all.Items[i].Spec.EventID] = string(all.Items[i].Status.Phase)
	}
	return phases, nil
}

// agrees reports whether all WebhookEvents say what their rows do.
func (e *environment) agrees(ctx context.Context) bool {
	phases, err := e.shown(ctx)
	if err != nil {
		return false
	}
	var ids, says []string
	for id, phase := range phases {
		ids, says = append(ids, id), append(says, strings.ToLower(phase))
	}
	var otherwise int
	err = e.system.Database.QueryRow(ctx, `SELECT count(*) FROM unnest($1::uuid[], $2::text[]) AS shown (id, phase)
		LEFT JOIN webhook_events e ON e.id = shown.id WHERE e.status IS DISTINCT FROM shown.phase`, ids, says).Scan(&otherwise)
	return err == nil && otherwise == 0
}

func query[T any](t *testing.T, e *environment, sql string) []T {
	t.Helper()
	rows, err := e.system.Database.Query(t.Context(), sql)
	require.NoError(t, err)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	require.NoError(t, err)
	return list
}

// schedule makes faults, round after round, each once the one before is over and recovered from, until ctx ends: all kinds before any comes
// again.
func (l *load) schedule(ctx, posting context.Context, short bool) error {
	random := randomOf(l.history.Seed, 3)
	for {
		for _, round := range rounds(wanted(), short, random) {
			long := time.Second + time.Duration(random.IntN(3000))*time.Millisecond
			if short {
				long /= 4
			}
			if !pause(ctx, 4*tick) {
				return nil
			}
			if err := l.suffer(posting, round, long); err != nil {
				return err
			}
		}
	}
}

// wanted are the kinds that are asked for, all of them as a rule.
func wanted() []kind {
	only := regexp.MustCompile(os.Getenv(onlyVariable))
	return slices.DeleteFunc(kinds(), func(k kind) bool { return !only.MatchString(k.name) })
}

// suffer makes the faults of a round, and waits until events are done that were posted after them.
func (l *load) suffer(ctx context.Context, round []kind, long time.Duration) error {
	faults, failures := make([]Fault, len(round)), make([]error, len(round))
	var breakings sync.WaitGroup
	for i, k := range round {
		f := &faults[i]
		*f = k.marks
		f.Kind, f.Begin = k.name, time.Now()
		breakings.Go(func() {
			b := &breaking{environment: l.environment, load: l.prober, long: long, fault: f}
			if err := k.does(ctx, b); err != nil {
				failures[i] = fmt.Errorf("%s: %w", k.name, err)
			}
			f.End = time.Now()
			if len(f.Owed) > 0 {
				failures[i] = errors.Join(failures[i], b.settled(ctx))
			}
		})
	}
	breakings.Wait()
	err := errors.Join(failures...)
	if err == nil {
		var recovered time.Time
		if recovered, err = l.prober.probe(ctx); err != nil {
			err = fmt.Errorf("%s: %w", faults[0].Kind, err)
		}
		for i := range faults {
			faults[i].Recovered = recovered
		}
	}
	l.record(func(h *History) { h.Faults = append(h.Faults, faults...) })
	return err
}

// recoveryTimeout is how long a system may take to be itself again, and be waited for.
const recoveryTimeout = 90 * time.Second

// write puts text between the two marks of a page.
func write(page, text string) error {
	const begin, end = "<!-- what the run wrote -->\n", "<!-- end -->"
	content, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(content), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return fmt.Errorf("%s has no marks between which to write", page)
	}
	return os.WriteFile(page, []byte(before+begin+"\n"+text+"\n"+end+after), 0o600)
}

// keepLogs prints the ends of what the processes have logged.
func (e *environment) keepLogs(t *testing.T) {
	t.Helper()
	const most = 20 << 10
	for _, r := range e.replicas {
		log, err := r.Log()
		t.Logf("the end of the log of %s (%v):\n%s", r.Name, err, log[max(0, len(log)-most):])
	}
}
