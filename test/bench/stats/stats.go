// Package stats is the arithmetic of the benchmarks: percentiles of what was measured once, and medians with their spread of what was
// measured several times. It knows nothing of what was measured.
package stats

import (
	"math"
	"slices"
)

// Number is whatever can be measured.
type Number interface {
	~int | ~int64 | ~float64
}

// Percentile returns the smallest of the values that at least p percent of them do not exceed (the nearest rank): a value that was
// measured, never one in between. It returns 0 where there are none. The values need not be in order.
func Percentile[T Number](values []T, p float64) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Summary is what several repetitions of a measurement came to.
type Summary struct {
	Median, Min, Max float64
	// Count is how many repetitions there were.
	Count int
}

// Summarise returns the median, between the middle two where their number is even, and the extremes.
func Summarise[T Number](values []T) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	middle := len(sorted) / 2
	median := float64(sorted[middle])
	if len(sorted)%2 == 0 {
		median = (float64(sorted[middle-1]) + median) / 2
	}
	return Summary{Median: median, Min: float64(sorted[0]), Max: float64(sorted[len(sorted)-1]), Count: len(sorted)}
}

// Ratios divides each repetition by its peer of the same repetition, so that what slowed the machine down for a while slowed both.
// Repetitions that only one of them has are left out, and those in which the peer is 0.
func Ratios[T Number](values, peers []T) []float64 {
	var ratios []float64
	for i := range min(len(values), len(peers)) {
		if peers[i] != 0 {
			ratios = append(ratios, float64(values[i])/float64(peers[i]))
		}
	}
	return ratios
}

// Spread is how far the largest of the values lies above the smallest, as a share of the smallest: 0.15 is 15 %.
func Spread[T Number](values []T) float64 {
	if len(values) == 0 || slices.Min(values) == 0 {
		return 0
	}
	return float64(slices.Max(values))/float64(slices.Min(values)) - 1
}
