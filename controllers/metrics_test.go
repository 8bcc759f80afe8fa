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

type moves map[string]float64

// moved returns what has moved since the controller was started: counters, and of histograms how often something was
// observed, as "name{label values}" with the values in the order of the labels' names. Of the steps there is the attempt
// alone, however it ended: the others are taken whenever somebody looks at the event.
func (s *suite) moved() moves {
	s.t.Helper()
	families, err := s.registry.Gather()
	require.NoError(s.t, err)
	values := moves{}
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

// inTurn answers the calls of an operation in turn; the last answer is given from then on.
func inTurn(outcomes ...operation.Outcome) func(int, *store.Attempt) operation.Outcome {
	return func(call int, _ *store.Attempt) operation.Outcome { return outcomes[min(call, len(outcomes))-1] }
}

func TestMetricsMoveWithAnEvent(t *testing.T) {
	t.Parallel()
	forwarded, updated := operation.Outcome{}, operation.Done(v1alpha1.ResultLeadUpdated)
	unavailable := failing(destination.Unavailable, "does not answer")
	unavailable.Wait = time.Millisecond
	for name, test := range map[string]struct {
		forward, sync []operation.Outcome
		ends          v1alpha1.WebhookEventPhase
		// replayed is true where the event is asked to run again once it has ended, which it does well.
		replayed bool
		want     moves
	}{
		"that goes through": {
			forward: []operation.Outcome{forwarded}, sync: []operation.Outcome{updated}, ends: v1alpha1.PhaseDone,
			want: moves{
				"event_transitions_total{pending,processing}": 1, "event_transitions_total{processing,done}": 1,
				"attempts_total{verity.forward,success}": 1, "attempts_total{verity.lead,success}": 1,
				"leads_synced_total{LeadUpdated}": 1, "event_duration_seconds{}": 1, "step_duration_seconds{attempt}": 1,
			},
		},
		"that has nothing to sync": {
			forward: []operation.Outcome{forwarded}, sync: []operation.Outcome{operation.Skip(v1alpha1.ResultLeadUnchanged, "no lead")},
			ends: v1alpha1.PhaseDone,
			want: moves{
				"event_transitions_total{pending,processing}": 1, "event_transitions_total{processing,done}": 1,
				"attempts_total{verity.forward,success}": 1, "attempts_total{verity.lead,skipped}": 1,
				"leads_synced_total{LeadUnchanged}": 1, "event_duration_seconds{}": 1, "step_duration_seconds{attempt}": 1,
			},
		},
		"that fails twice, and whose lead is in the ledger from the first attempt on": {
			forward: []operation.Outcome{failing(destination.Transient, "answered 503"), unavailable, forwarded},
			sync:    []operation.Outcome{updated}, ends: v1alpha1.PhaseDone,
			want: moves{
				"event_transitions_total{pending,processing}": 3, "event_transitions_total{processing,pending}": 2,
				"event_transitions_total{processing,done}": 1,
				"attempts_total{verity.forward,transient}": 1, "attempts_total{verity.forward,unavailable}": 1,
				"attempts_total{verity.forward,success}": 1, "attempts_total{verity.lead,success}": 1,
				"leads_synced_total{LeadUpdated}": 1, "event_duration_seconds{}": 1, "step_duration_seconds{attempt}": 3,
			},
		},
		"that is refused, which is not done": {
			forward: []operation.Outcome{failing(destination.Permanent, "answered 422")}, sync: []operation.Outcome{updated},
			ends: v1alpha1.PhaseError,
			want: moves{
				"event_transitions_total{pending,processing}": 1, "event_transitions_total{processing,error}": 1,
				"attempts_total{verity.forward,permanent}": 1, "attempts_total{verity.lead,success}": 1,
				"leads_synced_total{LeadUpdated}": 1, "step_duration_seconds{attempt}": 1,
			},
		},
		"whose lead fails until its attempts are spent": {
			forward: []operation.Outcome{forwarded}, sync: []operation.Outcome{failing(destination.Transient, "deadlock")},
			ends: v1alpha1.PhaseError,
			want: moves{
				"event_transitions_total{pending,processing}": 4, "event_transitions_total{processing,pending}": 3,
				"event_transitions_total{processing,error}": 1,
				"attempts_total{verity.forward,success}":    1, "attempts_total{verity.lead,transient}": 4,
				"step_duration_seconds{attempt}": 4,
			},
		},
		"that is refused and then replayed": {
			forward: []operation.Outcome{failing(destination.Permanent, "answered 422"), forwarded}, sync: []operation.Outcome{updated},
			ends: v1alpha1.PhaseError, replayed: true,
			want: moves{
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
			s := newSuite(t)
			assert.Empty(t, s.moved())
			s.forward.script(inTurn(test.forward...))
			s.sync.script(inTurn(test.sync...))
			id := s.post("apt1")
			s.untilPhase(id, test.ends)
			if test.replayed {
				s.replay(id)
				s.untilPhase(id, v1alpha1.PhaseDone)
			}
			// The status is shown before the end of the step is measured.
			var got moves
			if !eventually(func() bool { got = s.moved(); return assert.ObjectsAreEqual(test.want, got) }) {
				assert.Equal(t, test.want, got)
			}
		})
	}
}

func (s *suite) replay(id uuid.UUID) {
	s.t.Helper()
	s.change(id, func(e *v1alpha1.WebhookEvent) {
		e.Annotations = map[string]string{v1alpha1.ReplayRequestedAtAnnotation: "once"}
	})
}
