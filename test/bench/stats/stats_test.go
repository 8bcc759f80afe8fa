package stats_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/dfmiddleware/verity-sync/test/bench/stats"
)

func TestAPercentileIsAValueThatWasMeasured(t *testing.T) {
	t.Parallel()
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = i + 1
	}
	rand.Shuffle(len(hundred), func(i, j int) { hundred[i], hundred[j] = hundred[j], hundred[i] })
	for name, test := range map[string]struct {
		values []int
		p      float64
		want   int
	}{
		"the median of a hundred":                 {hundred, 50, 50},
		"the 99th of a hundred":                   {hundred, 99, 99},
		"the last of a hundred":                   {hundred, 100, 100},
		"the first of a hundred":                  {hundred, 0, 1},
		"the 99.9th of a hundred is the last":     {hundred, 99.9, 100},
		"the median of an odd number":             {[]int{30, 10, 20}, 50, 20},
		"the median of an even number is no mean": {[]int{10, 20}, 50, 10},
		"the 99th of few is the largest":          {[]int{7, 1, 3}, 99, 7},
		"of one it is that one":                   {[]int{4}, 99, 4},
		"of none it is nothing":                   {nil, 99, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, stats.Percentile(test.values, test.p))
		})
	}
}

func TestPercentilesLeaveTheOrderOfTheValuesAlone(t *testing.T) {
	t.Parallel()
	values := []time.Duration{3, 1, 2}
	assert.Equal(t, time.Duration(3), stats.Percentile(values, 99))
	assert.InDelta(t, 2, stats.Summarise(values).Median, 0)
	assert.Equal(t, []time.Duration{3, 1, 2}, values)
}

func TestASummaryHasTheMedianAndTheExtremes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		values []float64
		want   stats.Summary
	}{
		"five repetitions of which one was disturbed": {
			[]float64{100, 104, 12, 101, 99}, stats.Summary{Median: 100, Min: 12, Max: 104, Count: 5},
		},
		"an even number lies between the middle two": {[]float64{4, 1, 3, 2}, stats.Summary{Median: 2.5, Min: 1, Max: 4, Count: 4}},
		"one":  {[]float64{8}, stats.Summary{Median: 8, Min: 8, Max: 8, Count: 1}},
		"none": {nil, stats.Summary{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, stats.Summarise(test.values))
		})
	}
}

func TestARatioComparesWithinARepetition(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []float64{2, 2, 2}, stats.Ratios([]int{200, 100, 20}, []int{100, 50, 10}), "the machine slowed down")
	assert.Equal(t, []float64{2}, stats.Ratios([]int{200, 100}, []int{100}), "the peer has failed once")
	assert.Equal(t, []float64{4}, stats.Ratios([]int{200, 4}, []int{0, 1}), "a peer that did nothing is no measure")
}

func TestASpreadIsAShareOfTheSmallest(t *testing.T) {
	t.Parallel()
	assert.InDelta(t, 0.15, stats.Spread([]float64{1.1, 1.15, 1}), 1e-9)
	assert.Zero(t, stats.Spread([]int{3}))
	assert.Zero(t, stats.Spread[int](nil))
}
