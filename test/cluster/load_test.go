package cluster

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/sim/verity"
)

// rate is how many webhooks a second are posted under load.
const rate = 50

// load posts webhooks at a constant rate, however slow the answers are, until it is stopped. Every other webhook has a connection of its own; the others
// share connections that stay open.
type load struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu sync.Mutex
	// accepted are the ids of the events that were answered 200, answers how often each answer came.
	accepted map[string]struct{}
	answers  map[string]int
}

// startLoad starts one. The test waits for its first answers.
func startLoad(t *testing.T) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{stop: cancel, accepted: map[string]struct{}{}, answers: map[string]int{}}
	kept := *shared.sender
	single := kept
	keptTransport, singleTransport := &http.Transport{MaxIdleConnsPerHost: rate}, &http.Transport{DisableKeepAlives: true}
	kept.Client = &http.Client{Timeout: 30 * time.Second, Transport: keptTransport}
	single.Client = &http.Client{Timeout: 30 * time.Second, Transport: singleTransport}
	senders := []*ghlsender.Sender{&kept, &single}
	l.done.Go(func() {
		ticker := time.NewTicker(time.Second / rate)
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				sender := senders[i%len(senders)]
				// A request in flight is not cut off at the end.
				l.done.Go(func() { l.post(context.WithoutCancel(ctx), sender) })
			}
		}
	})
	t.Cleanup(func() {
		l.wait()
		keptTransport.CloseIdleConnections()
	})
	l.awaitAccepted(t, rate)
	return l
}

func (l *load) post(ctx context.Context, sender *ghlsender.Sender) {
	answer, err := sender.Send(ctx, shared.webhooks, shared.note())
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.answers[err.Error()]++
		return
	}
	l.answers[strconv.Itoa(answer.Status)]++
	if answer.Status == http.StatusOK {
		id, err := eventID(answer.Body)
		if err != nil {
			l.answers[err.Error()]++
		}
		l.accepted[id] = struct{}{}
	}
}

// awaitAccepted waits until n more webhooks are accepted.
func (l *load) awaitAccepted(t *testing.T, n int) {
	t.Helper()
	l.mu.Lock()
	target := len(l.accepted) + n
	l.mu.Unlock()
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.accepted) >= target
	}, eventually, tick, "webhooks are accepted")
}

// wait stops the load and returns how often each answer came.
func (l *load) wait() map[string]int {
	l.stop()
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.answers)
}

// assertAll200 stops the load, and checks that there was no other answer.
func (l *load) assertAll200(t *testing.T) {
	t.Helper()
	answers := l.wait()
	t.Logf("answers: %v", answers)
	assert.Equal(t, []string{"200"}, slices.Collect(maps.Keys(answers)), "%v", answers)
	assert.Len(t, l.accepted, answers["200"], "each is an event of its own")
}

// assertDone waits until every accepted event is done, and checks that Verity has it.
func (l *load) assertDone(t *testing.T) {
	t.Helper()
	ids := slices.Collect(maps.Keys(l.accepted))
	require.NotEmpty(t, ids)
	require.EventuallyWithT(t, func(c *collect) {
		var done int
		const query = "SELECT count(*) FROM webhook_events WHERE id = ANY($1::uuid[]) AND status = 'done'"
		require.NoError(c, shared.database.QueryRow(t.Context(), query, ids).Scan(&done))
		require.Equal(c, len(ids), done)
	}, eventually, time.Second, "every accepted event is done")
	var deliveries []verity.Delivery
	shared.simulated(t, t.Context(), "deliveries", &deliveries)
	delivered := map[string]int{}
	for _, delivery := range deliveries {
		delivered[delivery.Key] = len(delivery.Times)
	}
	for _, id := range ids {
		assert.Positive(t, delivered[id], "Verity has the event %s", id)
	}
}
