package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run builds verity-sync once for all tests.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // nothing but space is lost
	binary = filepath.Join(dir, "verity-sync")
	if err := system.Build(context.Background(), binary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func options() system.Options {
	return system.Options{
		Binary: binary, DatabaseURL: os.Getenv(testenv.DatabaseURLVariable), Kubeconfig: os.Getenv(testenv.KubeconfigVariable),
	}
}

func TestTheFirstRoundShowsEverythingAndEnds(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	d := dev{out: &out, once: true, options: options()}
	require.NoError(t, d.run(t.Context()), out.String())

	text := out.String()
	for _, line := range []string{
		`==> migrating the middleware database`,
		`NAME +TYPE +ENTITY +PHASE +ATTEMPTS +REASON +AGE\n`,
		`contact\.tag_updated +bob +Done `,
		`appointment\.created +ann-appointment +Done `,
		`opportunity\.created +refused-opportunity +Error +1 +Rejected `,
		`id +contact_id +ghl_appointment_id .*last_activity_at`,
		` bob-appointment `,
	} {
		assert.Regexp(t, line, text)
	}
	assert.NotContains(t, text, "curl", "nothing is left running to call")
	assert.NoDirExists(t, d.Dir)
}

func TestAnInterruptEndsItInOrder(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &trigger{text: "Ctrl-C stops everything", pull: cancel}
	d := dev{out: out, options: options()}
	require.NoError(t, d.run(ctx), out.String())
	assert.NoDirExists(t, d.Dir)
	for _, p := range append(d.Receivers, d.Controllers...) {
		assert.False(t, p.Running(), p.Name)
	}
}

// trigger pulls once its text is printed.
type trigger struct {
	bytes.Buffer
	text string
	pull func()
}

func (t *trigger) Write(p []byte) (int, error) {
	n, err := t.Buffer.Write(p)
	if strings.Contains(t.String(), t.text) {
		t.pull()
	}
	return n, err
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	ended := func(reason, result string) *v1alpha1.WebhookEvent {
		e := &v1alpha1.WebhookEvent{Status: v1alpha1.WebhookEventStatus{Result: result}}
		e.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ReadyCondition, Reason: reason, Message: "because"}}
		return e
	}
	for name, test := range map[string]struct {
		wants post
		event *v1alpha1.WebhookEvent
		says  string
	}{
		"done as it should be":       {post{reason: "Done"}, ended("Done", "ForwardedOnly"), ""},
		"refused as it should be":    {post{reason: "Rejected"}, ended("Rejected", ""), ""},
		"the result as it should be": {post{reason: "Done", result: "LeadUpdated"}, ended("Done", "LeadUpdated"), ""},
		"an error instead of done":   {post{reason: "Done"}, ended("Rejected", ""), "ended with Rejected instead of Done: because"},
		"done instead of refused":    {post{reason: "Rejected"}, ended("Done", ""), "ended with Done instead of Rejected"},
		"refused for something else": {post{reason: "Rejected"}, ended("LocationUnknown", ""), "ended with LocationUnknown instead of Rejected"},
		"done, and something else came of it": {
			post{reason: "Done", result: "LeadUpdated"}, ended("Done", "LeadInserted"), "led to LeadInserted instead of LeadUpdated",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := verdict(map[string]post{"event": test.wants}, map[string]*v1alpha1.WebhookEvent{"event": test.event})
			if test.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.says)
		})
	}
}
