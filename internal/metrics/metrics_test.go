package metrics_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/plan"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// everything returns a registry with all metrics, each of which has changed at least once.
func everything(t *testing.T) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	metrics.NewReceiver(reg).Answered("ghl", 200, time.Second)
	relay := metrics.NewRelay(reg)
	relay.Committed(3)
	relay.Relayed(time.Second)
	controller := metrics.NewController(reg, plan.Specs())
	controller.Done(time.Second)
	controller.Breaker("verity-db", true)
	controller.Request("get-contact", 200)
	controller.Budget("loc1", 1000)
	require.NoError(t, metrics.RegisterBuild(reg))
	db := newDatabase(t)
	require.NoError(t, metrics.RegisterEvents(reg, db))
	require.NoError(t, metrics.RegisterPool(reg, "middleware", db.Pool().Stat))
	return reg
}

// TestNamesTypesAndLabelsAreStable fails if a name, a type or a label changes, on which dashboards and alerts rely.
func TestNamesTypesAndLabelsAreStable(t *testing.T) {
	t.Parallel()
	families, err := everything(t).Gather()
	require.NoError(t, err)
	var got []string
	for _, f := range families {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		got = append(got, fmt.Sprintf("%s %s{%s}", strings.ToLower(f.GetType().String()), f.GetName(), strings.Join(labels, ",")))
	}
	slices.Sort(got)
	assert.Equal(t, []string{
		"counter verity_sync_attempts_total{operation,result}",
		"counter verity_sync_database_pool_wait_seconds_total{database}",
		"counter verity_sync_database_pool_waits_total{database}",
		"counter verity_sync_event_transitions_total{from,to}",
		"counter verity_sync_ghl_api_requests_total{code,endpoint}",
		"counter verity_sync_leads_synced_total{result}",
		"counter verity_sync_refused_connections_total{}",
		"counter verity_sync_rolled_back_events_total{}",
		"counter verity_sync_webhook_duplicates_total{}",
		"counter verity_sync_webhook_ignored_total{}",
		"counter verity_sync_webhook_panics_total{}",
		"counter verity_sync_webhook_requests_total{code,source}",
		"gauge verity_sync_breaker_state{destination}",
		"gauge verity_sync_build_info{commit,date,goversion,version}",
		"gauge verity_sync_database_pool_connections_in_use{database}",
		"gauge verity_sync_database_pool_connections_max{database}",
		"gauge verity_sync_database_pool_connections{database}",
		"gauge verity_sync_database_rollback_timestamp_seconds{}",
		"gauge verity_sync_database_up{}",
		"gauge verity_sync_events{status}",
		"gauge verity_sync_ghl_daily_budget_remaining{location}",
		"gauge verity_sync_lost_events{}",
		"gauge verity_sync_oldest_unfinished_event_age_seconds{}",
		"gauge verity_sync_refused_events{}",
		"gauge verity_sync_undispatched_events{}",
		"gauge verity_sync_watch_failing{}",
		"histogram verity_sync_commit_batch_size{}",
		"histogram verity_sync_event_duration_seconds{}",
		"histogram verity_sync_relay_lag_seconds{}",
		"histogram verity_sync_step_duration_seconds{result,step}",
		"histogram verity_sync_webhook_request_duration_seconds{}",
	}, got)
}

func TestMetricsFollowTheConventionsOfPrometheus(t *testing.T) {
	t.Parallel()
	reg := everything(t)
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	assert.Empty(t, problems)

	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		assert.Regexp(t, `^[A-Z0-9].*[^.]\.$`, f.GetHelp(), "%s is described in a sentence", f.GetName())
	}
}

func TestTheMetricsOfABuildAndOfAPool(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	require.NoError(t, metrics.RegisterBuild(reg))
	require.Error(t, metrics.RegisterBuild(reg), "a second time")
	db := newDatabase(t)
	require.NoError(t, metrics.RegisterPool(reg, "middleware", db.Pool().Stat))
	require.Error(t, metrics.RegisterPool(reg, "middleware", db.Pool().Stat), "the same pool a second time")
	idle := pool(t, db.Pool().Config().ConnString())
	require.NoError(t, metrics.RegisterPool(reg, "verity", idle.Stat), "another pool")

	connection, err := db.Pool().Acquire(t.Context())
	require.NoError(t, err)
	now := gather(t, reg)
	for series, want := range map[string]float64{
		`verity_sync_database_pool_connections_in_use{database="middleware"}`: 1,
		`verity_sync_database_pool_connections_max{database="middleware"}`:    poolSize,
		`verity_sync_database_pool_connections_in_use{database="verity"}`:     0,
		`verity_sync_database_pool_connections{database="verity"}`:            0,
		`verity_sync_database_pool_waits_total{database="verity"}`:            0,
		`verity_sync_database_pool_wait_seconds_total{database="verity"}`:     0,
	} {
		require.Contains(t, now, series)
		assert.InDelta(t, want, now[series], 0, series)
	}
	assert.GreaterOrEqual(t, now[`verity_sync_database_pool_connections{database="middleware"}`], 1.0)
	assert.Positive(t, now[`verity_sync_database_pool_waits_total{database="middleware"}`], "the first acquisition waited for a connection")
	connection.Release()
	assert.Zero(t, gather(t, reg)[`verity_sync_database_pool_connections_in_use{database="middleware"}`])

	for series, value := range now {
		if strings.HasPrefix(series, "verity_sync_build_info") {
			assert.InDelta(t, 1, value, 0)
			assert.Contains(t, series, `goversion="go`)
		}
	}
}

// pool returns an unused pool.
func pool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	p, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// gather returns the values of all counters and gauges, and the counts of histograms, by name and labels.
func gather(t *testing.T, reg prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			series := f.GetName()
			if len(labels) > 0 {
				series += "{" + strings.Join(labels, ",") + "}"
			}
			values[series] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}
