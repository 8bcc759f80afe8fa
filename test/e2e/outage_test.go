package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/sim/fault"
	"github.com/dfmiddleware/verity-sync/internal/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/internal/testenv/system"
)

// TestAfterAnOutageOfHoursWhatPiledUpIsDoneAtOnce has Verity answer nobody until events wait for it. That they are told to
// wait for as long as in an outage of hours is done by hand.
func TestAfterAnOutageOfHoursWhatPiledUpIsDoneAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 1, Env: map[string]string{"MAX_WAITING_EVENTS": "10"}})
	down := fault.Status(http.StatusServiceUnavailable)
	down.Times = -1
	require.NoError(t, s.Verity.Faults.Add(down))
	ids := make([]string, 25)
	for i := range ids {
		ids[i] = post(t, s, s.Sender.Opportunity(ghlsender.Create, ghlsender.Opportunity{ID: ghlsender.NewID()}))
	}
	count := func(where string) (n int) {
		require.NoError(t, s.Database.QueryRow(t.Context(), "SELECT count(*) FROM webhook_events WHERE "+where).Scan(&n))
		return n
	}
	const held, long = "held_by = '{verity-http}'", "next_attempt_at > now() + interval '30 minutes'"
	require.Eventually(t, func() bool {
		_, err := s.Database.Exec(t.Context(), "UPDATE webhook_events SET next_attempt_at = now() + interval '1 hour' WHERE status = 'pending' AND "+held)
		require.NoError(t, err)
		return count(held+" AND "+long) == len(ids) && count("parked") >= 15
	}, eventually, tick)
	attempts := count("attempts > 0")
	calls := s.Verity.Requests.Total()

	ended := time.Now()
	s.Verity.Faults.Clear()
	for _, id := range ids {
		waitFor(t, s, id, v1alpha1.PhaseDone)
		times, _ := forwardsOf(s, id)
		assert.Equal(t, 1, times)
	}
	t.Logf("%d events were done %s after the end of the outage, in %d calls", len(ids), time.Since(ended).Round(time.Millisecond),
		s.Verity.Requests.Total()-calls)
	assert.Less(t, time.Since(ended), eventually, "and not after an hour")
	assert.LessOrEqual(t, s.Verity.Requests.Total()-calls, len(ids)+2, "each calls once, bar who was trying when it ended")
	assert.LessOrEqual(t, count("attempts > 1"), attempts, "the first failures count, the wait does not")
}
