package main

import (
	"maps"
	"math"
	"slices"
)

// histogram has the counts of a metric's buckets by their upper bounds, as Prometheus has them: each with those below.
type histogram map[float64]float64

// since returns what was added to a histogram since an earlier one.
func (h histogram) since(earlier histogram) histogram {
	added := maps.Clone(h)
	for bound, count := range earlier {
		added[bound] -= count
	}
	return added
}

// quantile estimates as Prometheus' histogram_quantile does, as if values were spread evenly in their bucket; NaN where there are none. A
// value above all bounds counts as the highest of them.
func (h histogram) quantile(q float64) float64 {
	bounds := slices.Sorted(maps.Keys(h))
	if len(bounds) == 0 || h[bounds[len(bounds)-1]] == 0 {
		return math.NaN()
	}
	rank := q * h[bounds[len(bounds)-1]]
	lower, below := 0.0, 0.0
	for _, bound := range bounds {
		if h[bound] >= rank {
			if math.IsInf(bound, 1) {
				return lower
			}
			return lower + (bound-lower)*(rank-below)/(h[bound]-below)
		}
		lower, below = bound, h[bound]
	}
	return lower
}
