package manifests_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

// constants finds the conditions, their reasons, and the results of events.
var constants = regexp.MustCompile(`(?m)^\t(?:\w+(?:Reason|Condition)|Result\w+) += "(\w+)"$`)

func TestSyncDescribesEveryReasonAndResult(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(file(t, "docs", "sync.md"))
	require.NoError(t, err)
	page := string(content)

	sources, err := filepath.Glob(file(t, "api", "v1alpha1", "*.go"))
	require.NoError(t, err)
	known := map[string]bool{}
	for _, path := range sources {
		source, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, constant := range constants.FindAllStringSubmatch(string(source), -1) {
			known[constant[1]] = true
		}
	}
	require.Greater(t, len(known), 20)
	for _, class := range []destination.Class{
		destination.Transient, destination.Permanent, destination.Unavailable, destination.Limited,
	} {
		known[class.String()] = true
	}
	for name := range known {
		assert.Contains(t, page, "`"+name+"`")
	}
}
