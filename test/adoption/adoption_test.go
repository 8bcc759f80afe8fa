// Package adoption tests how real processes adopt a database of the legacy middleware: its unfinished events are done, oldest first, while new
// webhooks arrive. How each kind of row is adopted is tested in internal/store.
package adoption_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

const (
	// backlog is the number of unfinished rows, unless ADOPTION_ROWS is set: a busy machine of two cores drains them in about a minute,
	// with the race detector.
	backlog = 1500
	// finished is the number of rows that the legacy middleware had done, and of those that it had failed at.
	finished = 100

	receivers = 2
	// batch is how far each receiver may exceed MAX_LIVE_EVENTS.
	batch = 100

	// sampling is the time between two samples of the drain, and samplesWhenFull how many are taken while the live events are at their limit.
	sampling        = time.Second
	samplesWhenFull = 3
	// slowest is how long the drain may take for each row.
	slowest = 250 * time.Millisecond
)

func TestUnfinishedEventsOfTheLegacyMiddlewareAreDoneOldestFirst(t *testing.T) {
	t.Parallel()
	rows, full := backlog, os.Getenv("ADOPTION_ROWS")
	if full != "" {
		var err error
		rows, err = strconv.Atoi(full)
		require.NoError(t, err)
	}
	maxLive := min(1000, rows/10)
	s := systemtest.StartOnOwnServers(t, system.Options{Receivers: receivers, Controllers: 1, Durable: full != "", Env: map[string]string{
		"MAX_LIVE_EVENTS": strconv.Itoa(maxLive),
		// Aloware takes 5,000 requests a minute, two for a contact: the drain would take as long as that does.
		"ALOWARE_API_TOKEN": "",
	}})
	adoptLegacy(t, s, rows)
	untouched := finishedRows(t, s)

	assert.Contains(t, migrate(t, s, "--dry-run"), fmt.Sprintf("%d are unfinished", rows))
	began := time.Now()
	assert.Contains(t, migrate(t, s), "applied 2: ")
	t.Logf("verity-sync migrate took %.1f s for %d rows", time.Since(began).Seconds(), rows+2*finished)

	d := &drain{system: s, t: t, timeout: time.Duration(rows) * slowest}
	for _, receiver := range s.Receivers {
		require.NoError(t, receiver.Start(t.Context()))
	}
	d.fill(rows, maxLive)
	require.NoError(t, s.Controllers[0].Start(t.Context()))
	took := d.watch(func(int) bool {
		return systemtest.Value[int](t, s, `SELECT count(*) FROM webhook_events WHERE adopted AND status IN ('pending', 'processing')`) == 0
	})
	t.Logf("%d rows were drained in %.0f s, %.0f a second, with at most %d live WebhookEvents; %d new webhooks were accepted",
		rows, took.Seconds(), float64(rows)/took.Seconds(), d.mostLive, len(d.posted))
	assert.LessOrEqual(t, d.mostLive, maxLive+receivers*batch)
	require.Eventually(t, func() bool {
		return systemtest.Value[int](t, s, `SELECT count(*) FROM webhook_events WHERE status IN ('pending', 'processing')`) == 0
	}, 10*time.Minute, 50*time.Millisecond, "new webhooks are done as well")

	assert.Equal(t, rows, systemtest.Value[int](t, s, `SELECT count(*) FROM webhook_events WHERE adopted AND status = 'done' AND attempts = 1`))
	assert.Equal(t, rows, systemtest.Value[int](t, s, `SELECT count(*) FROM contact_mappings WHERE phone_number IS NOT NULL`), "each was synced")
	assert.Equal(t, untouched, finishedRows(t, s))
	assert.LessOrEqual(t, systemtest.Value[int](t, s, `
		SELECT max(abs(received - started)) FROM (
			SELECT row_number() OVER (ORDER BY received_at, id) AS received, row_number() OVER (ORDER BY started_at) AS started
			FROM webhook_events WHERE adopted AND started_at IS NOT NULL) places`),
		maxLive+receivers*batch, "none was overtaken by more than are live at a time")

	var forwarded []string
	for _, delivery := range s.Verity.Deliveries() {
		forwarded = append(forwarded, delivery.Key)
	}
	assert.ElementsMatch(t, d.posted, forwarded, "new webhooks were forwarded, and nothing that the legacy middleware had forwarded")
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

// drain waits until nothing is pending.
type drain struct {
	system  *system.System
	t       *testing.T
	timeout time.Duration

	mostLive int
	// posted are the ids of the new webhooks.
	posted []string
}

// watch takes samples until one is as wanted, and returns how long that took. It sends a webhook with each sample.
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
		require.Less(d.t, time.Since(began), d.timeout)
		<-tick.C
	}
}

// fill waits until the relay has created as many WebhookEvents as there may be, while no controller runs. They are those of the oldest rows.
func (d *drain) fill(rows, maxLive int) {
	d.t.Helper()
	d.watch(func(live int) bool { return live >= maxLive })
	pending, undispatched := d.processPending()
	assert.Equal(d.t, rows+len(d.posted), pending)
	samples := 0
	d.watch(func(int) bool { samples++; return samples == samplesWhenFull })
	assert.LessOrEqual(d.t, pending-undispatched, maxLive+receivers*batch)
	assert.LessOrEqual(d.t, d.mostLive, maxLive+receivers*batch)
	assert.LessOrEqual(d.t, systemtest.Value[int](d.t, d.system, `
		SELECT max(number) FROM (SELECT dispatched_at, row_number() OVER (ORDER BY received_at, id) AS number
			FROM webhook_events WHERE status = 'pending') unfinished
		WHERE dispatched_at IS NOT NULL`), maxLive+receivers*batch, "the position of the newest of them among all")
}

// processPending calls the endpoint that the cron jobs of the legacy middleware call: it wakes the relay and returns how much there is to do.
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

// post sends a webhook, which must be accepted whatever the backlog is.
func (d *drain) post() {
	d.t.Helper()
	receiver := d.system.Receivers[len(d.posted)%receivers]
	answer, err := d.system.Post(d.t.Context(), receiver, d.system.Sender.Marketplace("NoteCreate", map[string]any{"id": "note"}))
	require.NoError(d.t, err)
	require.Equal(d.t, http.StatusOK, answer.Status, answer.Error)
	d.posted = append(d.posted, answer.ID)
}
