package preflight_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

func TestAFindingIsOneLineOfVisibleCharacters(t *testing.T) {
	t.Parallel()
	f := preflight.Finding{
		Database: preflight.Verity, Severity: preflight.Error, Check: "constraints",
		Message: "CHECK (CASE\n    WHEN a THEN b\nEND) of \x1b[2J", Action: "drop \u202e\nit",
	}
	const want = `verity database: constraints: CHECK (CASE WHEN a THEN b END) of \u001b[2J: drop \u202e it`
	assert.Equal(t, want, f.String())
	assert.EqualError(t, preflight.Failure([]preflight.Finding{f, f}), "the preflight failed:\n"+want+"\n"+want)
}
