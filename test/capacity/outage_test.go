package capacity

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

const (
	// people is how many contacts book appointments.
	people = 20
	// undelayed is how much longer an appointment may take in the outage: one poll of the relay for orphaned rows, and its share of a machine
	// that processes thousands of other events.
	undelayed = 3 * time.Second
	// workers is how many events the controller processes at a time.
	workers = 32
)

// changed makes events of contacts that have changed, each of another one.
const changed = `
INSERT INTO webhook_events (id, received_at, source, event_type, entity_type, entity_id, location_id, contact_id, ordering_key, payload_json,
                            body_hash, dedupe_key, headers)
SELECT gen_random_uuid(), now() - interval '1 minute' + n * interval '1 millisecond', 'ghl', 'contact.updated', 'contact', 'changed-' || n,
       'loc1', 'changed-' || n, 'contact:changed-' || n,
       json_build_object('type', 'ContactUpdate', 'id', 'changed-' || n, 'locationId', 'loc1', 'phone', '+1202' || 5550000 + n),
       '\x00', 'ghl:changed-' || n, '{"Content-Type": "application/json"}'
FROM generate_series(1, $1::int) n`

const waitingContacts = `SELECT count(*) FROM webhook_events WHERE entity_type = 'contact' AND status IN ('pending', 'processing')`

func TestAppointmentsAreNotDelayedByThousandsOfContactsThatWaitForAloware(t *testing.T) {
	t.Parallel()
	contacts, live, waiting := either(300, 10_000), either(50, 1000), either(75, 4000)
	s := start(t, map[string]string{
		"MAX_LIVE_EVENTS": strconv.Itoa(live), "MAX_WAITING_EVENTS": strconv.Itoa(waiting), "RETRY_BASE_DELAY": "500ms",
	})
	known(t, s)
	tap := &counter{}
	without := appointments(t, s, "without", either(10, 100))

	require.NoError(t, s.Aloware.Faults.Add(fault.Fault{Kind: fault.Answer, Status: http.StatusServiceUnavailable, Times: -1, Match: tap.note}))
	exec(t, s, changed, contacts)
	samples := watch(t, s, systemtest.Timeout+time.Duration(contacts)*slowest, func(p sample) bool {
		return p.parked > 0 && systemtest.Value[int](t, s, `SELECT count(*) FROM webhook_events WHERE entity_type = 'contact' AND attempts = 0 AND started_at IS NULL`) == 0
	})
	during := appointments(t, s, "during", either(20, 200))
	samples = append(samples, watch(t, s, systemtest.Timeout, func(p sample) bool { return p.live-p.due <= waiting+workers+live })...)
	parked := most(samples, func(p sample) int { return p.parked })
	calls := tap.calls.Load()
	assert.Equal(t, contacts, systemtest.Value[int](t, s, waitingContacts), "all of them wait")
	assert.Positive(t, parked)
	assert.LessOrEqual(t, most(samples, func(p sample) int { return p.due }), live+receivers*batch+workers)
	t.Logf("%d contacts waited, up to %d of them parked; Aloware was called %d times in %s", contacts, parked, calls, tap.lasted().Round(time.Second))
	assert.LessOrEqual(t, calls, int64(workers+5+tap.lasted()/(10*time.Second)+1), "no more than the breaker needs")
	t.Logf("appointments took %s without the outage, %s during it", without, during)
	assert.LessOrEqual(t, during.median, without.median+undelayed)

	s.Aloware.Faults.Clear()
	require.NoError(t, s.Aloware.Faults.Add(fault.Fault{Kind: fault.Delay, DelayMillis: 20, Times: -1, Match: tap.note}))
	ended := time.Now()
	tap.reset()
	// Aloware takes 75 requests a second, two for a contact, and events wait up to 5 minutes for its breaker.
	watch(t, s, 10*time.Minute+time.Duration(contacts)*slowest, func(sample) bool { return systemtest.Value[int](t, s, waitingContacts) == 0 })
	took := time.Since(ended)
	t.Logf("all were done %s after it, with up to %d calls of Aloware in a second", took.Round(time.Second), tap.most.Load())
	assert.LessOrEqual(t, tap.most.Load(), int64(200+2*75), "a burst, and the rate during it")
	assert.Equal(t, contacts, systemtest.Value[int](t, s, `SELECT count(*) FROM webhook_events WHERE entity_type = 'contact' AND status = 'done'`))
	assert.LessOrEqual(t, systemtest.Value[int](t, s, `SELECT coalesce(sum(attempts - 1), 0) FROM webhook_events WHERE entity_type = 'contact'`), workers+5,
		"attempts were not counted, except those that opened the breaker")
	assertMemoryIsFlat(t, samples)
}

// known adds the contacts who book to all systems.
func known(t *testing.T, s *system.System) {
	t.Helper()
	for i := range people {
		phone := fmt.Sprintf("+1303555%04d", i)
		require.NoError(t, s.Map(t.Context(), personID(i), s.Sender.LocationID, phone, ""))
		_, err := s.VerityDatabase.AddContact(t.Context(), phone, "")
		require.NoError(t, err)
	}
}

func personID(i int) string { return fmt.Sprintf("person-%d", i) }

// times are how long events took from their receipt until they were done.
type times struct{ median, longest time.Duration }

func (d times) String() string {
	return fmt.Sprintf("%s (median, %s at most)", d.median.Round(time.Millisecond), d.longest.Round(time.Millisecond))
}

// appointments sends appointments, a few a second, and waits until all are done.
func appointments(t *testing.T, s *system.System, name string, n int) times {
	t.Helper()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	var ids []string
	for i := range n {
		answer, err := s.Post(t.Context(), s.Receivers[i%receivers], s.Sender.Appointment(ghlsender.Create, ghlsender.Appointment{
			ID: fmt.Sprintf("%s-%d", name, i), CalendarID: "calendar", ContactID: personID(i % people), Status: "confirmed",
			Start: time.Now().Add(time.Hour), UpdatedAt: time.Now(),
		}))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, answer.Status, answer.Error)
		ids = append(ids, answer.ID)
		<-ticker.C
	}
	require.Eventually(t, func() bool {
		return systemtest.Value[int](t, s, `SELECT count(*) FROM webhook_events WHERE id = ANY($1::uuid[]) AND status = 'done'`, ids) == n
	}, systemtest.Timeout, systemtest.Tick)
	rows, err := s.Database.Query(t.Context(), `SELECT extract(epoch FROM processed_at - received_at)::float8 FROM webhook_events WHERE id = ANY($1::uuid[])`, ids)
	require.NoError(t, err)
	defer rows.Close()
	var took []time.Duration
	for rows.Next() {
		var seconds float64
		require.NoError(t, rows.Scan(&seconds))
		took = append(took, time.Duration(seconds*float64(time.Second)))
	}
	require.NoError(t, rows.Err())
	slices.Sort(took)
	return times{median: took[len(took)/2], longest: took[len(took)-1]}
}

// counter counts the calls of a simulator.
type counter struct {
	calls, most atomic.Int64

	mu      sync.Mutex
	began   time.Time
	seconds map[int64]int64
}

// note is the condition of a fault: it always holds, and is asked for each call.
func (c *counter) note(*http.Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.calls.Add(1) == 1 {
		c.began, c.seconds = now, map[int64]int64{}
	}
	c.seconds[now.Unix()]++
	c.most.Store(max(c.most.Load(), c.seconds[now.Unix()]))
	return true
}

// lasted is how long ago the first call was.
func (c *counter) lasted() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.began)
}

func (c *counter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls.Store(0)
	c.most.Store(0)
}
