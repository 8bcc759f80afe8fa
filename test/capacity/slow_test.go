package capacity

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// slots is how many calls to Aloware may be in flight: a third of the workers.
const slots = workers / 3

// TestASlowAlowareIsKeptBusyAndItsQueueCostsNothing changes many contacts at once while each of the two calls for a contact takes
// long.
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
	// How long the calls take if all slots are always busy.
	least := time.Duration((contacts+slots-1)/slots) * 2 * call
	watch(t, s, systemtest.Timeout+2*least, func(sample) bool { return systemtest.Value[int](t, s, waitingContacts) == 0 })
	took := time.Since(began)
	t.Logf("%d contacts with calls of %s took %s; no fewer than %s are possible with %d calls at a time", contacts, call,
		took.Round(100*time.Millisecond), least, slots)
	assert.GreaterOrEqual(t, took, least, "no more calls at a time than there are slots")
	// This allows for the start and the end of a run, and for slots that are empty between two calls.
	assert.LessOrEqual(t, took, least+least/3+15*time.Second)
	assert.Equal(t, int64(2*contacts), calls.Load(), "two calls for a contact")
	assert.Zero(t, systemtest.Value[int](t, s, `SELECT count(*) FROM sync_log WHERE status = 'error'`), "an event that waits for a slot has not failed")
	assert.Equal(t, 2*contacts, systemtest.Value[int](t, s, `SELECT count(*) FROM sync_log WHERE status = 'success'`))
	assert.Equal(t, contacts, systemtest.Value[int](t, s, `SELECT count(*) FROM webhook_events WHERE status = 'done' AND attempts = 1`))
}
