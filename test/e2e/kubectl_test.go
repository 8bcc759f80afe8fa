package e2e

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

func TestKubectlTellsWhereAnEventStandsAndWhy(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 1})
	kubectl := func(t *testing.T, arguments ...string) string {
		t.Helper()
		output, err := s.Kubectl(t.Context(), arguments...)
		require.NoError(t, err)
		return output
	}
	done := nameOf(systemtest.Post(t, s, s.Sender.Opportunity(ghlsender.Create, ghlsender.Opportunity{ID: "opportunity-1", ContactID: "contact-1"})))
	kubectl(t, "wait", "--for=create", "webhookevent/"+done, "--timeout=120s")
	assert.Contains(t, kubectl(t, "wait", "--for=condition=Ready", "whe/"+done, "--timeout=120s"), "condition met")
	require.NoError(t, s.Verity.Faults.Add(fault.Status(http.StatusUnprocessableEntity)))
	refused := nameOf(systemtest.Post(t, s, s.Sender.Opportunity(ghlsender.Update, ghlsender.Opportunity{ID: "opportunity-2", ContactID: "contact-2"})))
	kubectl(t, "wait", "--for=create", "webhookevent/"+refused, "--timeout=120s")
	kubectl(t, "wait", "--for=jsonpath={.status.phase}=Error", "whe/"+refused, "--timeout=120s")

	location := s.Sender.LocationID
	t.Run("get", func(t *testing.T) {
		t.Parallel()
		table := cells(kubectl(t, "get", "webhookevents"))
		require.Len(t, table, 3)
		assert.Equal(t, []string{"NAME", "TYPE", "ENTITY", "PHASE", "ATTEMPTS", "REASON", "AGE"}, table[0])
		assert.Equal(t, []string{done, "opportunity.created", "opportunity-1", "Done", "1", "Done"}, table[1][:6])
		assert.Equal(t, []string{refused, "opportunity.updated", "opportunity-2", "Error", "1", "Rejected"}, table[2][:6])
	})
	t.Run("get -o wide", func(t *testing.T) {
		t.Parallel()
		table := kubectl(t, "get", "whe", "-o", "wide")
		assert.Equal(t, []string{
			"NAME", "TYPE", "ENTITY", "PHASE", "ATTEMPTS", "REASON", "SOURCE", "LOCATION", "CONTACT", "NEXT", "RESULT", "MESSAGE", "AGE",
		}, cells(table)[0])
		assert.Regexp(t, "(?m)^"+done+` .* ghl +`+location+` +contact-1 +ForwardedOnly +forwarded; `, table)
		assert.Regexp(t, "(?m)^"+refused+` .* ghl +`+location+` +contact-2 .*422.*replay the event`, table)
	})
	t.Run("get --field-selector", func(t *testing.T) {
		t.Parallel()
		table := kubectl(t, "get", "webhookevents", "--field-selector", "status.phase=Error")
		assert.Contains(t, table, refused)
		assert.NotContains(t, table, done)
	})
	t.Run("get --selector", func(t *testing.T) {
		t.Parallel()
		table := kubectl(t, "get", "webhookevents", "--selector", "webhooks.dfmiddleware.io/location="+location+","+v1alpha1.EventTypeLabel+"=opportunity.created")
		assert.Contains(t, table, done)
		assert.NotContains(t, table, refused)
	})
	t.Run("describe", func(t *testing.T) {
		t.Parallel()
		text := kubectl(t, "describe", "webhookevent", refused)
		for _, line := range []string{
			`Phase: +Error`, `Reason: +Rejected`, `Type: +Ready`, `Type: +Forwarded`, `Type: +Stalled`, `Event Type: +opportunity.updated`,
			`Warning +Rejected .*422`,
		} {
			assert.Regexp(t, line, text)
		}
	})
	t.Run("wait for what does not come", func(t *testing.T) {
		t.Parallel()
		output, err := s.Kubectl(t.Context(), "wait", "--for=condition=Ready", "whe/"+refused, "--timeout=1s")
		require.Error(t, err)
		assert.Contains(t, output, "timed out waiting for the condition")
	})
}

var spaces = regexp.MustCompile(` {2,}`)

// cells splits a table of kubectl.
func cells(table string) [][]string {
	var rows [][]string
	for line := range strings.Lines(table) {
		rows = append(rows, spaces.Split(strings.TrimSpace(line), -1))
	}
	return rows
}
