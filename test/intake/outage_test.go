package intake_test

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

const (
	// inTime is how long an answer may take: 3 s for the database and what a busy machine adds.
	inTime = 4 * time.Second
	// posts is how many webhooks each receiver gets in an outage.
	posts = 10
)

// TestWhatPostgresDoesNotTakeIsAnswered429AndTakenLater is not parallel: it breaks the Postgres of all.
func TestWhatPostgresDoesNotTakeIsAnswered429AndTakenLater(t *testing.T) {
	for name, breakPostgres := range map[string]func(*testing.T) (repair func()){
		"stopped":                  stop,
		"read-only":                setReadOnly,
		"out of connections":       exhaustConnections,
		"slower than the deadline": lockTable,
	} {
		t.Run(name, func(t *testing.T) {
			before := pids()
			repair := sync.OnceFunc(breakPostgres(t))
			defer repair()
			awaitOutage(t)

			deliveries := newDeliveries()
			deliveries.send(t, *middleware.Sender)
			slowest := time.Duration(0)
			for _, d := range deliveries {
				slowest = max(slowest, d.took)
				require.NoError(t, d.err)
				assert.Equal(t, http.StatusTooManyRequests, d.answer.Status)
				seconds, err := strconv.Atoi(d.answer.Header.Get("Retry-After"))
				assert.NoError(t, err)
				assert.Positive(t, seconds)
				assert.NotEmpty(t, d.answer.Error)
				assert.Empty(t, d.answer.ID)
			}
			t.Logf("the slowest of %d answers took %s", len(deliveries), slowest)
			assert.Less(t, slowest, inTime)
			for _, receiver := range middleware.Receivers {
				assert.Equal(t, http.StatusOK, get(t, receiver.URL+"/readyz"))
			}

			recovered := make(chan struct{})
			go func() {
				defer close(recovered)
				repair()
			}()
			deliveries.send(t, asGHLRetries())
			<-recovered
			var ids []string
			for _, d := range deliveries {
				require.NoError(t, d.err)
				require.Equal(t, http.StatusOK, d.answer.Status, d.answer.Error)
				assert.Equal(t, []string{d.answer.ID}, stored(t, d.webhook.Body), "what was acknowledged is there once")
				ids = append(ids, d.answer.ID)
			}
			requireDoneOnce(t, ids...)
			assert.Equal(t, before, pids(), "nothing had to be started again")
		})
	}
}

// delivery is a webhook on its way to a receiver, and how that ended.
type delivery struct {
	receiver *system.Process
	webhook  ghlsender.Webhook

	answer system.Answer
	took   time.Duration
	err    error
}

type deliveries []*delivery

// newDeliveries are signed webhooks, and contacts and replies of workflows, to both receivers.
func newDeliveries() deliveries {
	var all deliveries
	for i := range posts {
		for _, receiver := range middleware.Receivers {
			w := note()
			switch i % 3 {
			case 1:
				w = middleware.Sender.WorkflowContact(ghlsender.Contact{ID: ghlsender.NewID()}, nil)
			case 2:
				w = reply(ghlsender.NewID(), "Yes")
			}
			all = append(all, &delivery{receiver: receiver, webhook: w})
		}
	}
	return all
}

// send posts all at once.
func (all deliveries) send(t *testing.T, sender ghlsender.Sender) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), systemtest.Timeout)
	defer cancel()
	poster := system.System{Sender: &sender}
	var wg sync.WaitGroup
	for _, d := range all {
		wg.Go(func() {
			started := time.Now()
			d.answer, d.err = poster.Post(ctx, d.receiver, d.webhook)
			d.took = time.Since(started)
		})
	}
	wg.Wait()
}

// asGHLRetries returns a sender that sends again after a 429 as GHL has always done, only sooner.
func asGHLRetries() ghlsender.Sender {
	sender := *middleware.Sender
	sender.Retries, sender.RetryDelay = 1000, 100*time.Millisecond
	return sender
}

// awaitOutage posts until no receiver takes anything any more. What is taken until then must be there as well.
func awaitOutage(t *testing.T) {
	t.Helper()
	var wg sync.WaitGroup
	for _, receiver := range middleware.Receivers {
		wg.Go(func() {
			assert.Eventually(t, func() bool {
				answer, err := middleware.Post(t.Context(), receiver, note())
				return err == nil && answer.Status == http.StatusTooManyRequests
			}, systemtest.Timeout, systemtest.Tick)
		})
	}
	wg.Wait()
}

func pids() []int {
	return []int{middleware.Receivers[0].PID(), middleware.Receivers[1].PID()}
}

func get(t *testing.T, url string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}
