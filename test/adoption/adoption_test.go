// Package adoption tests how a database of the earlier middleware is taken over, by real processes: what it had not done is done, oldest
// first, while webhooks come in. What becomes of each kind of row is tested in internal/store.
package adoption_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

const (
	// backlog is how many rows are left behind, unless ADOPTION_ROWS says otherwise: what a busy machine of two cores drains in about a
	// minute, with the race detector.
	backlog = 1500
	// finished is how many rows of each kind the earlier middleware had done, or failed at.
	finished = 100

	receivers = 2
	// batch is by how much each receiver may exceed MAX_LIVE_EVENTS.
	batch = 100

	startTimeout = 10 * time.Minute
	// sampling is how often the drain is looked at, and samplesWhenFull how often while nothing more should happen.
	sampling        = time.Second
	samplesWhenFull = 3
	// slowest is what a row may take of the time of all.
	slowest = 250 * time.Millisecond
)

func TestWhatTheEarlierMiddlewareLeftBehindIsDoneOldestFirst(t *testing.T) {
	t.Parallel()
	rows, full := backlog, os.Getenv("ADOPTION_ROWS")
	if full != "" {
		var err error
		rows, err = strconv.Atoi(full)
		require.NoError(t, err)
	}
	maxLive := min(1000, rows/10)
	s := start(t, system.Options{Receivers: receivers, Controllers: 1, Durable: full != "", Env: map[string]string{
		"MAX_LIVE_EVENTS": strconv.Itoa(maxLive),
		// Aloware takes 5,000 requests a minute, two for a contact: the drain would take as long as that does.
		"ALOWARE_API_TOKEN": "",
	}})
	leaveBehind(t, s, rows)
	untouched := finishedRows(t, s)

	assert.Contains(t, migrate(t, s, "--dry-run"), fmt.Sprintf("%d are unfinished", rows))
	began := time.Now()
	assert.Contains(t, migrate(t, s), "applied 2: ")
	t.Logf("verity-sync migrate took %.1f s for %d rows", time.Since(began).Seconds(), rows+2*finished)

	d := &drain{system: s, t: t, patience: time.Duration(rows) * slowest}
	for _, receiver := range s.Receivers {
		require.NoError(t, receiver.Start(t.Context()))
	}
	d.fill(rows, maxLive)
	require.NoError(t, s.Controllers[0].Start(t.Context()))
	took := d.watch(func(int) bool {
		return count(t, s, `SELECT count(*) FROM webhook_events WHERE adopted AND status IN ('pending', 'processing')`) == 0
	})
	t.Logf("%d rows were drained in %.0f s, %.0f a second, with at most %d live WebhookEvents; %d webhooks were taken meanwhile",
		rows, took.Seconds(), float64(rows)/took.Seconds(), d.mostLive, len(d.posted))
	assert.LessOrEqual(t, d.mostLive, maxLive+receivers*batch)
	require.Eventually(t, func() bool {
		return count(t, s, `SELECT count(*) FROM webhook_events WHERE status IN ('pending', 'processing')`) == 0
	}, startTimeout, 50*time.Millisecond, "what came in meanwhile is done as well")

	assert.Equal(t, rows, count(t, s, `SELECT count(*) FROM webhook_events WHERE adopted AND status = 'done' AND attempts = 1`))
	assert.Equal(t, rows, count(t, s, `SELECT count(*) FROM contact_mappings WHERE phone_number IS NOT NULL`), "each was synced")
	assert.Equal(t, untouched, finishedRows(t, s))
	assert.LessOrEqual(t, count(t, s, `
		SELECT max(abs(received - started)) FROM (
			SELECT row_number() OVER (ORDER BY received_at, id) AS received, row_number() OVER (ORDER BY started_at) AS started
			FROM webhook_events WHERE adopted AND started_at IS NOT NULL) places`),
		maxLive+receivers*batch, "none was overtaken by more than are live at a time")

	var forwarded []string
	for _, delivery := range s.Verity.Deliveries() {
		forwarded = append(forwarded, delivery.Key)
	}
	assert.ElementsMatch(t, d.posted, forwarded, "what came in meanwhile was forwarded, and nothing that the earlier middleware had forwarded")
}

func start(t *testing.T, options system.Options) *system.System {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	s, err := system.Start(ctx, options)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range slices.Concat(s.Receivers, s.Controllers) {
				log, err := p.Log()
				t.Logf("%s (%v)\n%s", p.Name, err, log)
			}
		}
		assert.NoError(t, s.Close())
	})
	return s
}

// migrate runs verity-sync migrate and returns what it printed.
func migrate(t *testing.T, s *system.System, flags ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.Binary, append([]string{"migrate"}, flags...)...)
	cmd.Env = []string{"DATABASE_URL=" + s.DatabaseURL}
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, string(output))
	return string(output)
}

// drain is the time until nothing is pending.
type drain struct {
	system   *system.System
	t        *testing.T
	patience time.Duration

	mostLive int
	// posted are the ids of the webhooks that came in meanwhile.
	posted []string
}

// watch takes samples until one is what is wanted, and returns how long that took. A webhook is posted with each.
func (d *drain) watch(until func(live int) bool) time.Duration {
	d.t.Helper()
	began := time.Now()
	tick := time.NewTicker(sampling)
	defer tick.Stop()
	for {
		live := d.live()
		d.mostLive = max(d.mostLive, live)
		d.post()
		if until(live) {
			return time.Since(began)
		}
		require.Less(d.t, time.Since(began), d.patience)
		<-tick.C
	}
}

// fill has the relay make WebhookEvents while nobody works on them. It makes as many as there may be, of the oldest rows.
func (d *drain) fill(rows, maxLive int) {
	d.t.Helper()
	d.watch(func(live int) bool { return live >= maxLive })
	pending, undispatched := d.processPending()
	assert.Equal(d.t, rows+len(d.posted), pending)
	samples := 0
	d.watch(func(int) bool { samples++; return samples == samplesWhenFull })
	assert.LessOrEqual(d.t, pending-undispatched, maxLive+receivers*batch)
	assert.LessOrEqual(d.t, d.mostLive, maxLive+receivers*batch)
	assert.LessOrEqual(d.t, count(d.t, d.system, `
		SELECT max(place) FROM (SELECT dispatched_at, row_number() OVER (ORDER BY received_at, id) AS place
			FROM webhook_events WHERE status = 'pending') unfinished
		WHERE dispatched_at IS NOT NULL`), maxLive+receivers*batch, "the place of the newest of them among all")
}

// processPending does what the cron jobs of the earlier middleware do: it wakes the relay and says how much there is to do.
func (d *drain) processPending() (pending, undispatched int) {
	d.t.Helper()
	url := d.system.Receivers[0].URL + "/api/jobs/process-pending"
	request, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, url, http.NoBody)
	require.NoError(d.t, err)
	request.Header.Set("Authorization", "Bearer "+d.system.JobsSecret)
	response, err := http.DefaultClient.Do(request)
	require.NoError(d.t, err)
	defer response.Body.Close()
	require.Equal(d.t, http.StatusOK, response.StatusCode)
	var said struct{ Pending, Undispatched int }
	require.NoError(d.t, json.NewDecoder(response.Body).Decode(&said))
	return said.Pending, said.Undispatched
}

// live counts the WebhookEvents that are not finished.
func (d *drain) live() int {
	d.t.Helper()
	var list v1alpha1.WebhookEventList
	require.NoError(d.t, d.system.Kubernetes.List(d.t.Context(), &list, client.InNamespace(d.system.Namespace)))
	live := 0
	for i := range list.Items {
		if !list.Items[i].Status.Phase.Finished() {
			live++
		}
	}
	return live
}

// post posts a webhook, which must be taken whatever the backlog is.
func (d *drain) post() {
	d.t.Helper()
	receiver := d.system.Receivers[len(d.posted)%receivers]
	answer, err := d.system.Post(d.t.Context(), receiver, d.system.Sender.Marketplace("NoteCreate", map[string]any{"id": "note"}))
	require.NoError(d.t, err)
	require.Equal(d.t, http.StatusOK, answer.Status, answer.Error)
	d.posted = append(d.posted, answer.ID)
}

// count returns the number that a query says.
func count(t *testing.T, s *system.System, query string) int {
	t.Helper()
	var n int
	require.NoError(t, s.Database.QueryRow(t.Context(), query).Scan(&n))
	return n
}
