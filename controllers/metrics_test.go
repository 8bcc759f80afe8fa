package controllers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

type metricValues map[string]float64

// metricChanges returns the counters, and the number of observations of the histograms, that changed since the start of the controller. The
// keys are "name{label values}", with the values in the order of the labels' names. Of the steps it has only attempt, with any result: the
// other steps run at each reconcile.
func (env *environment) metricChanges() metricValues {
	env.t.Helper()
	families, err := env.registry.Gather()
	require.NoError(env.t, err)
	values := metricValues{}
	for _, f := range families {
		name := strings.TrimPrefix(f.GetName(), "verity_sync_")
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				if name != "step_duration_seconds" || l.GetName() == "step" {
					labels = append(labels, l.GetValue())
				}
			}
			series := fmt.Sprintf("%s{%s}", name, strings.Join(labels, ","))
			if v := m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount()); v > 0 {
				values[series] += v
			}
		}
	}
	for _, step := range []string{"replay", "expire", "hold", "claim"} {
		delete(values, "step_duration_seconds{"+step+"}")
	}
	return values
}

// answers returns the outcomes of an operation's calls, in order; the last one repeats.
func answers(outcomes ...operation.Outcome) func(int, *store.Attempt) operation.Outcome {
	return func(call int, _ *store.Attempt) operation.Outcome { return outcomes[min(call, len(outcomes))-1] }
}

func TestMetricsOfAnEvent(t *testing.T) {
	t.Parallel()
	forwarded, updated := operation.Outcome{}, operation.Done(v1alpha1.ResultLeadUpdated)
	unavailable := failing(destination.Unavailable, "does not answer")
	unavailable.Wait = time.Millisecond
	for name, test := range map[string]struct {
		forward, sync []operation.Outcome
		ends          v1alpha1.WebhookEventPhase
		// replayed is true if the finished event is replayed, with success.
		replayed bool
		want     metricValues
	}{
		"that succeeds": {
			forward: []operation.Outcome{forwarded}, sync: []operation.Outcome{updated}, ends: v1alpha1.PhaseDone,
			want: metricValues{
				"event_transitions_total{pending,processing}": 1, "event_transitions_total{processing,done}": 1,
				"attempts_total{verity.forward,success}": 1, "attempts_total{verity.lead,success}": 1,
				"leads_synced_total{LeadUpdated}": 1, "event_duration_seconds{}": 1, "step_duration_seconds{attempt}": 1,
			},
		},
		"that has nothing to sync": {
			forward: []operation.Outcome{forwarded}, sync: []operation.Outcome{operation.Skip(v1alpha1.ResultLeadUnchanged, "no lead")},
			ends: v1alpha1.PhaseDone,
			want: metricValues{
				"event_transitions_total{pending,processing}": 1, "event_transitions_total{processing,done}": 1,
				"attempts_total{verity.forward,success}": 1, "attempts_total{verity.lead,skipped}": 1,
				"leads_synced_total{LeadUnchanged}": 1, "event_duration_seconds{}": 1, "step_duration_seconds{attempt}": 1,
			},
		},
		"that fails twice, with a lead that is in the ledger after the first attempt": {
			forward: []operation.Outcome{failing(destination.Transient, "answered 503"), unavailable, forwarded},
			sync:    []operation.Outcome{updated}, ends: v1alpha1.PhaseDone,
			want: metricValues{
				"event_transitions_total{pending,processing}": 3, "event_transitions_total{processing,pending}": 2,
				"event_transitions_total{processing,done}": 1,
				"attempts_total{verity.forward,transient}": 1, "attempts_total{verity.forward,unavailable}": 1,
				"attempts_total{verity.forward,success}": 1, "attempts_total{verity.lead,success}": 1,
				"leads_synced_total{LeadUpdated}": 1, "event_duration_seconds{}": 1, "step_duration_seconds{attempt}": 3,
			},
		},
		"that is refused": {
			forward: []operation.Outcome{failing(destination.Permanent, "answered 422")}, sync: []operation.Outcome{updated},
			ends: v1alpha1.PhaseError,
			want: metricValues{
				"event_transitions_total{pending,processing}": 1, "event_transitions_total{processing,error}": 1,
				"attempts_total{verity.forward,permanent}": 1, "attempts_total{verity.lead,success}": 1,
				"leads_synced_total{LeadUpdated}": 1, "step_duration_seconds{attempt}": 1,
			},
		},
		"with a lead that fails until the attempts are used up": {
			forward: []operation.Outcome{forwarded}, sync: []operation.Outcome{failing(destination.Transient, "deadlock")},
			ends: v1alpha1.PhaseError,
			want: metricValues{
				"event_transitions_total{pending,processing}": 4, "event_transitions_total{processing,pending}": 3,
				"event_transitions_total{processing,error}": 1,
				"attempts_total{verity.forward,success}":    1, "attempts_total{verity.lead,transient}": 4,
				"step_duration_seconds{attempt}": 4,
			},
		},
		"that is refused and then replayed": {
			forward: []operation.Outcome{failing(destination.Permanent, "answered 422"), forwarded}, sync: []operation.Outcome{updated},
			ends: v1alpha1.PhaseError, replayed: true,
			want: metricValues{
				"event_transitions_total{pending,processing}": 2, "event_transitions_total{processing,error}": 1,
				"event_transitions_total{error,pending}": 1, "event_transitions_total{processing,done}": 1,
				"attempts_total{verity.forward,permanent}": 1, "attempts_total{verity.forward,success}": 1,
				"attempts_total{verity.lead,success}": 1, "leads_synced_total{LeadUpdated}": 1, "event_duration_seconds{}": 1,
				"step_duration_seconds{attempt}": 2,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t)
			assert.Empty(t, env.metricChanges())
			env.forward.script(answers(test.forward...))
			env.sync.script(answers(test.sync...))
			id := env.deliver("apt1")
			env.waitForPhase(id, test.ends)
			if test.replayed {
				env.replay(id)
				env.waitForPhase(id, v1alpha1.PhaseDone)
			}
			// The controller writes the status before it measures the step.
			var got metricValues
			if !waitFor(func() bool { got = env.metricChanges(); return assert.ObjectsAreEqual(test.want, got) }) {
				assert.Equal(t, test.want, got)
			}
		})
	}
}

func (env *environment) replay(id uuid.UUID) {
	env.t.Helper()
	env.edit(id, func(e *v1alpha1.WebhookEvent) {
		e.Annotations = map[string]string{v1alpha1.ReplayRequestedAtAnnotation: "once"}
	})
}
