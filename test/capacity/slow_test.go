package capacity

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/fault"
)

// places is how many calls to Aloware may be under way at a time: a third of the workers.
const places = workers / 3

// TestASlowAlowareIsKeptBusyAndItsQueueCostsNothing has many contacts change at once where each of the two calls that a contact takes
// lasts for long.
func TestASlowAlowareIsKeptBusyAndItsQueueCostsNothing(t *testing.T) {
	t.Parallel()
	contacts := either(60, 300)
	call := time.Duration(either(500, 1400)) * time.Millisecond
	s := start(t, nil)
	var calls atomic.Int64
	require.NoError(t, s.Aloware.Faults.Add(fault.Fault{
		Kind: fault.Delay, DelayMillis: int(call.Milliseconds()), Times: -1, Match: func(*http.Request) bool { calls.Add(1); return true },
	}))
	began := time.Now()
	exec(t, s, changed, contacts)
	// What the calls take where all places are busy all the time.
	least := time.Duration((contacts+places-1)/places) * 2 * call
	watch(t, s, patience+2*least, func(sample) bool { return value[int](t, s, waitingContacts) == 0 })
	took := time.Since(began)
	t.Logf("%d contacts with calls of %s took %s; no fewer than %s are possible with %d calls at a time", contacts, call,
		took.Round(100*time.Millisecond), least, places)
	assert.GreaterOrEqual(t, took, least, "no more calls at a time than there are places")
	// The start and the end of a run, and what a place stands empty between two calls.
	assert.LessOrEqual(t, took, least+least/3+15*time.Second)
	assert.Equal(t, int64(2*contacts), calls.Load(), "two calls for a contact")
	assert.Zero(t, value[int](t, s, `SELECT count(*) FROM sync_log WHERE status = 'error'`), "who waits for a place has not failed")
	assert.Equal(t, 2*contacts, value[int](t, s, `SELECT count(*) FROM sync_log WHERE status = 'success'`))
	assert.Equal(t, contacts, value[int](t, s, `SELECT count(*) FROM webhook_events WHERE status = 'done' AND attempts = 1`))
}
