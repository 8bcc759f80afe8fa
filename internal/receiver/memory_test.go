package receiver_test

import (
	"fmt"
	"net/url"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dfmiddleware/verity-sync/internal/receiver"
)

// TestTheMemoryIsDividedOnce adds up the maximum of all floods.
func TestTheMemoryIsDividedOnce(t *testing.T) {
	t.Parallel()
	const copies = 7 // Of a body, on its way to Postgres.
	for _, container := range []int64{256, 512, 1024, 8192} {
		t.Run(fmt.Sprintf("%d MiB", container), func(t *testing.T) {
			t.Parallel()
			limit := container * mebibyte / 100 * 90
			connections, bodies, decoding := receiver.LimitsOf(limit)
			all := int64(connections+receiver.ProbeConnections)*receiver.ConnectionCost + copies*bodies + decoding
			assert.LessOrEqual(t, all, limit)
		})
	}
	for name, limit := range map[string]int64{"none that is known": 0, "a byte": 1, "64 MiB": 64 * mebibyte} {
		t.Run("every webhook fits into "+name, func(t *testing.T) {
			t.Parallel()
			connections, bodies, decoding := receiver.LimitsOf(limit)
			assert.GreaterOrEqual(t, connections, 32)
			assert.GreaterOrEqual(t, bodies, int64(3*mebibyte), "a form and the JSON that it becomes")
			assert.GreaterOrEqual(t, decoding, receiver.DecodingOf(mebibyte, 12<<10))
		})
	}
	unknown, _, _ := receiver.LimitsOf(0)
	chart, _, _ := receiver.LimitsOf(1024 * mebibyte / 100 * 90)
	assert.Equal(t, chart, unknown, "the chart's limit is assumed")
}

// TestAQueryAllocatesWhatItIsChargedFor is not parallel: it measures what the process allocates.
func TestAQueryAllocatesWhatItIsChargedFor(t *testing.T) {
	for name, query := range map[string]string{
		"one name each":   fill(12_000, flag),
		"one name":        fill(12_000, func(int) string { return "a&" }),
		"the token":       fill(12_000, func(int) string { return "token&" }),
		"escaped letters": fill(12_000, func(int) string { return "%61&" }),
	} {
		t.Run(name, func(t *testing.T) {
			u := url.URL{RawQuery: query}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			u.Query()
			runtime.ReadMemStats(&after)
			assert.LessOrEqual(t, int64(after.TotalAlloc-before.TotalAlloc), receiver.DecodingOf(0, len(query)))
		})
	}
}
