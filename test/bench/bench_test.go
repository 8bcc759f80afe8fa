package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMetricsAreReadWithTheirLabels(t *testing.T) {
	t.Parallel()
	const text = `# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{resource="webhookevents",subresource="status",verb="PUT"} 3
requests_total{resource="leases",subresource="",verb="PUT"} 1e+06
up 1
`
	total := 0.0
	require.NoError(t, parseMetrics(strings.NewReader(text), func(name string, labels map[string]string, value float64) {
		if name == "requests_total" && labels["resource"] == "webhookevents" && labels["subresource"] == "status" {
			total += value
		}
	}))
	assert.InDelta(t, 3, total, 0)
}

func TestFiguresAreShownWithTheirSpread(t *testing.T) {
	t.Parallel()
	r := record{}
	for _, value := range []float64{6240.4, 6100, 6400} {
		r.add("rate", "a", value)
	}
	r.addDuration("latency", "a", 4210*time.Microsecond)
	assert.Equal(t, "6,240 (6,100–6,400)", r.cell("rate", "a"))
	assert.Equal(t, "4.21", r.cell("latency", "a"))
	assert.Equal(t, "–", r.cell("rate", "b"))
	assert.True(t, math.IsNaN(r.ratio("rate", "a", "b")))
	assert.Equal(t, "1,234,567", figure(1234567))
	assert.Equal(t, "12.3", figure(12.34))
	assert.Equal(t, "0.10", figure(0.1))
}

func TestAnAimIsReachedMissedOrNotMeasured(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "- 5 × River: reached, with 5.00 ×.", atLeast("5 × River", 5, 5).String())
	assert.Equal(t, "- under 64 MiB: missed, with 65.0 MiB.", atMost("under 64 MiB", 65, 64, " MiB").String())
	assert.Equal(t, "- 5 × River: not measured.", atLeast("5 × River", math.NaN(), 5).String())
}

func TestASectionOfADocumentIsReplacedAndNothingElse(t *testing.T) {
	t.Parallel()
	const content = "before\n<!-- bench a -->\nold\n<!-- /bench a -->\nbetween\n<!-- bench b -->\n<!-- /bench b -->\nafter\n"
	replaced, err := replaceSection(content, "a", "new\n")
	require.NoError(t, err)
	assert.Equal(t, "before\n<!-- bench a -->\n\nnew\n\n<!-- /bench a -->\nbetween\n<!-- bench b -->\n<!-- /bench b -->\nafter\n", replaced)
	again, err := replaceSection(replaced, "a", "new\n")
	require.NoError(t, err)
	assert.Equal(t, replaced, again)

	_, err = replaceSection(content, "c", "new")
	require.ErrorContains(t, err, "bench c")
}

func TestTheTimeOfPgbenchIsThatOfItsTransactions(t *testing.T) {
	t.Parallel()
	const log = "0 0 1000 0 100 500000\n1 0 3000 0 102 499000\n"
	result, err := parsePgbenchLog([]byte(log))
	require.NoError(t, err)
	assert.Equal(t, 2, result.Acknowledged)
	assert.Equal(t, []time.Duration{time.Millisecond, 3 * time.Millisecond}, result.Latencies)
	assert.Equal(t, 2*time.Second, result.Elapsed)
	assert.InDelta(t, 1, result.Rate(), 1e-9)

	_, err = parsePgbenchLog(nil)
	require.Error(t, err)
	_, err = parsePgbenchLog([]byte("progress: 1.0 s"))
	require.Error(t, err)
}

func TestAQuantileOfAHistogramIsThatOfPrometheus(t *testing.T) {
	t.Parallel()
	earlier := histogram{0.01: 100, 0.1: 100, math.Inf(1): 100}
	added := histogram{0.01: 110, 0.1: 190, math.Inf(1): 200}.since(earlier)
	assert.InDelta(t, 0.01+0.09*40/80, added.quantile(0.5), 1e-9, "values are spread evenly in their bucket")
	assert.InDelta(t, 0.005, added.quantile(0.05), 1e-9)
	assert.InDelta(t, 0.1, added.quantile(0.99), 1e-9, "of what is above all bounds, no more is known")
	assert.True(t, math.IsNaN(earlier.since(earlier).quantile(0.5)), "there was nothing meanwhile")
	assert.True(t, math.IsNaN(histogram{}.quantile(0.5)))
}

func TestRowsThatTakeAnHourAreMeasuredOnlyWhereTheyAreAskedFor(t *testing.T) {
	t.Parallel()
	names := func(rows []row) (names []string) {
		for _, row := range rows {
			names = append(names, row.name)
		}
		return names
	}
	all, err := choose("")
	require.NoError(t, err)
	assert.Equal(t, []string{"intake", "end-to-end", "round-trips", "idle", "backlog", "footprint", "micro"}, names(all))
	some, err := choose("burst,settings")
	require.NoError(t, err)
	assert.Equal(t, []string{"burst", "settings"}, names(some))
	_, err = choose("hour")
	require.ErrorContains(t, err, `there is no row "hour"`)
}
