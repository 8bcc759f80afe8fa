package metrics_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/plan"
)

func TestControllerMetricsStartAtZero(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	metrics.NewController(reg, plan.Specs()).Endpoints([]string{"contacts.get"})
	start := gather(t, reg)

	for _, series := range []string{
		`verity_sync_event_transitions_total{from="pending",to="processing"}`,
		`verity_sync_event_transitions_total{from="processing",to="done"}`,
		`verity_sync_event_transitions_total{from="processing",to="error"}`,
		`verity_sync_event_transitions_total{from="processing",to="pending"}`,
		`verity_sync_event_transitions_total{from="done",to="pending"}`,
		`verity_sync_event_transitions_total{from="error",to="pending"}`,
		`verity_sync_leads_synced_total{result="LeadUpdated"}`,
		`verity_sync_leads_synced_total{result="LeadInserted"}`,
		`verity_sync_leads_synced_total{result="LeadCleared"}`,
		`verity_sync_leads_synced_total{result="LeadUnchanged"}`,
		`verity_sync_leads_synced_total{result="LeadNotInsertable"}`,
		`verity_sync_leads_synced_total{result="LeadSkipped"}`,
		`verity_sync_leads_synced_total{result="Superseded"}`,
		`verity_sync_step_duration_seconds{result="error",step="attempt"}`,
		`verity_sync_step_duration_seconds{result="success",step="claim"}`,
		`verity_sync_event_duration_seconds`,
		`verity_sync_ghl_api_requests_total{code="200",endpoint="contacts.get"}`,
	} {
		assert.Contains(t, start, series)
	}
	for _, operation := range []string{"verity.forward", "verity.lead", "aloware.contact", "ghl.tags", "webhook.sink"} {
		for _, result := range []string{"success", "skipped", "transient", "permanent", "unavailable", "limited"} {
			assert.Contains(t, start, `verity_sync_attempts_total{operation="`+operation+`",result="`+result+`"}`)
		}
	}
	for series, value := range start {
		assert.Zero(t, value, series)
	}
}

func TestControllerMetricsMove(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		move   func(*metrics.Controller)
		series string
		want   float64
	}{
		"a transition": {
			func(m *metrics.Controller) { m.Transition("pending", "processing") },
			`verity_sync_event_transitions_total{from="pending",to="processing"}`, 1,
		},
		"a step that succeeded": {
			func(m *metrics.Controller) { m.Step("claim", false, time.Second) },
			`verity_sync_step_duration_seconds{result="success",step="claim"}`, 1,
		},
		"a step that failed": {
			func(m *metrics.Controller) { m.Step("claim", true, time.Second) },
			`verity_sync_step_duration_seconds{result="error",step="claim"}`, 1,
		},
		"an operation": {
			func(m *metrics.Controller) { m.Attempt("verity.forward", "limited") },
			`verity_sync_attempts_total{operation="verity.forward",result="limited"}`, 1,
		},
		"an event that is done": {
			func(m *metrics.Controller) { m.Done(time.Minute) },
			`verity_sync_event_duration_seconds`, 1,
		},
		"a lead": {
			func(m *metrics.Controller) { m.Lead("LeadInserted") },
			`verity_sync_leads_synced_total{result="LeadInserted"}`, 1,
		},
		"a destination that is down": {
			func(m *metrics.Controller) { m.Breaker("verity-db", true); m.Breaker("verity-db", false) },
			`verity_sync_breaker_state{destination="verity-db"}`, 1,
		},
		"a destination that is up again": {
			func(m *metrics.Controller) { m.Breaker("verity-db", false); m.Breaker("verity-db", true) },
			`verity_sync_breaker_state{destination="verity-db"}`, 0,
		},
		"a watch that fails": {
			func(m *metrics.Controller) { m.WatchFailing(false); m.WatchFailing(true) },
			`verity_sync_watch_failing`, 1,
		},
		"a watch that works again": {
			func(m *metrics.Controller) { m.WatchFailing(true); m.WatchFailing(false) },
			`verity_sync_watch_failing`, 0,
		},
		"a request to GoHighLevel that got no answer": {
			func(m *metrics.Controller) { m.Request("contacts.get", 0) },
			`verity_sync_ghl_api_requests_total{code="0",endpoint="contacts.get"}`, 1,
		},
		"a daily budget": {
			func(m *metrics.Controller) { m.Budget("loc1", 200000); m.Budget("loc1", 199999) },
			`verity_sync_ghl_daily_budget_remaining{location="loc1"}`, 199999,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := prometheus.NewPedanticRegistry()
			test.move(metrics.NewController(reg, plan.Specs()))
			for series, value := range gather(t, reg) {
				if series == test.series {
					assert.InDelta(t, test.want, value, 0)
				} else {
					assert.Zero(t, value, "%s does not change", series)
				}
			}
			require.Contains(t, gather(t, reg), test.series)
		})
	}
}

func TestAStepIsMeasuredInSeconds(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	m := metrics.NewController(reg, plan.Specs())
	m.Step("attempt", false, 1500*time.Millisecond)
	m.Done(2 * time.Minute)
	families, err := reg.Gather()
	require.NoError(t, err)
	sums := map[string]float64{}
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			sums[f.GetName()] += metric.GetHistogram().GetSampleSum()
		}
	}
	assert.InDelta(t, 1.5, sums["verity_sync_step_duration_seconds"], 1e-9)
	assert.InDelta(t, 120, sums["verity_sync_event_duration_seconds"], 1e-9)
}
