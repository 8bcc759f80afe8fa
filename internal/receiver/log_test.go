package receiver_test

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// logLines are the lines of a log, in JSON.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

// capture records all log lines in memory.
func (f *environment) capture() *logLines {
	captured := &logLines{}
	f.config.Log = funcr.NewJSON(func(line string) {
		captured.mu.Lock()
		defer captured.mu.Unlock()
		captured.lines = append(captured.lines, line)
	}, funcr.Options{Verbosity: 10})
	return captured
}

// with returns the lines that contain text.
func (l *logLines) with(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

func TestTheLogHoldsNoPersonalDataAndNoSecret(t *testing.T) {
	t.Parallel()
	const personal = `{"location_id":"location-1","contact_id":"contact-1","phone":"+15555550100","email":"someone@example.com"}`
	for name, tc := range map[string]struct {
		given func(*environment)
		token string
		body  string
		want  []string
	}{
		"accepted": {want: []string{
			`"outcome":"accepted"`, `"type":"contact.updated"`, `"entity":"contact-1"`, `"location":"location-1"`, `"proof":"secret"`,
		}},
		"refused":     {token: "guess-1234", want: []string{`"outcome":"unauthenticated"`, `"code":401`}},
		"malformed":   {body: "[" + personal + "," + personal + "]", want: []string{`"outcome":"malformed"`, `"code":400`}},
		"unparseable": {body: personal + "}", want: []string{`"outcome":"unparseable"`, `"code":200`, "at byte", `"event":"`}},
		"uncertain": {
			given: failing(fmt.Errorf("commit: %w", store.ErrUncertain)),
			want:  []string{`"outcome":"may be stored"`, "webhook may be stored", `"code":429`},
		},
		"not stored":  {given: failing(errors.New("connection refused")), want: []string{`"outcome":"not stored"`, "connection refused"}},
		"a panic":     {given: panicking(personal), want: []string{`"outcome":"panic"`, "a string", "webhook.go"}},
		"a nil panic": {given: panicking(nil), want: []string{`"outcome":"panic"`, "webhook.go"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newEnvironment(t)
			lines := f.capture()
			if tc.given != nil {
				tc.given(f)
			}
			addr := f.serve(t)
			target := ghl.Path + "?token=" + cmp.Or(tc.token, workflowSecret)
			send(t, addr, requestText("POST", target, asJSON, cmp.Or(tc.body, personal)))
			require.Eventually(t, func() bool { return len(lines.with("outcome")) == 1 }, eventually, tick)

			line := lines.with("outcome")[0]
			for _, want := range tc.want {
				assert.Contains(t, line, want)
			}
			for _, secret := range []string{"+1555", "someone", "workflow-secret", "guess", "token"} {
				assert.Empty(t, lines.with(secret), secret)
			}
		})
	}
}
