package manifests_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/plan"
)

func TestOperationsDescribesEveryMetricAndAlert(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(file(t, "docs", "operations.md"))
	require.NoError(t, err)
	page := string(content)

	described := describer{}
	metrics.NewReceiver(described)
	metrics.NewRelay(described)
	metrics.NewController(described, plan.Specs())
	require.NoError(t, metrics.RegisterEvents(described, noStats{}))
	require.NoError(t, metrics.RegisterBuild(described))
	require.NoError(t, metrics.RegisterPool(described, "middleware", nil))
	rows := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(verity_sync_\\w+)` \\| ([^|]*) \\|").FindAllStringSubmatch(page, -1) {
		rows[row[1]] = row[2]
	}
	for name, labels := range described {
		require.Contains(t, rows, name)
		for _, label := range regexp.MustCompile(`\w+`).FindAllString(labels, -1) {
			assert.Contains(t, rows[name], "`"+label+"`", name)
		}
	}
	assert.Len(t, rows, len(described), "no metric that is gone")

	headings := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^### (VeritySync\w+)$`).FindAllStringSubmatch(page, -1) {
		headings[heading[1]] = true
	}
	for alert := range alerts(t) {
		assert.Contains(t, headings, alert)
	}
	assert.Len(t, headings, len(alerts(t)), "no alert that is gone")
}
