package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

func TestNamesInADatabaseCannotForgeFindings(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, printFindings([]preflight.Finding{{
		Database: preflight.Verity, Severity: preflight.Error, Check: "constraints",
		Message: "CASE\n  WHEN\ta \x1b[2J", Action: "drop \u202ex\nverity\tok \x1b]0;t\a",
	}}, "text", &out))
	assert.Equal(t, `DATABASE  CHECK        SEVERITY  FINDING
verity    constraints  error     CASE WHEN a \u001b[2J
                                 -> drop \u202ex verity ok \u001b]0;t\u0007
`, out.String())
}
