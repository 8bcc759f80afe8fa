package metrics_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/metrics"
)

func TestReceiverMetricsStartAtZeroAndCount(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	m := metrics.NewReceiver(reg)
	m.Answered("ghl", 200, 20*time.Millisecond)
	m.Answered("ghl", 200, 4*time.Second)
	m.Duplicate()

	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP verity_sync_webhook_requests_total Requests to the webhook path, by status code.
# TYPE verity_sync_webhook_requests_total counter
verity_sync_webhook_requests_total{code="200",source="ghl"} 2
verity_sync_webhook_requests_total{code="400",source="ghl"} 0
verity_sync_webhook_requests_total{code="401",source="ghl"} 0
verity_sync_webhook_requests_total{code="403",source="ghl"} 0
verity_sync_webhook_requests_total{code="405",source="ghl"} 0
verity_sync_webhook_requests_total{code="413",source="ghl"} 0
verity_sync_webhook_requests_total{code="429",source="ghl"} 0
# HELP verity_sync_webhook_duplicates_total Webhooks that were duplicates of a stored one.
# TYPE verity_sync_webhook_duplicates_total counter
verity_sync_webhook_duplicates_total 1
# HELP verity_sync_webhook_ignored_total Webhooks of locations outside the allow-list.
# TYPE verity_sync_webhook_ignored_total counter
verity_sync_webhook_ignored_total 0
`), "verity_sync_webhook_requests_total", "verity_sync_webhook_duplicates_total", "verity_sync_webhook_ignored_total"))

	count, err := testutil.GatherAndCount(reg)
	require.NoError(t, err)
	assert.Equal(t, 12, count, "seven codes, one histogram, four counters")

	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	assert.Empty(t, problems)
}
