// Package plan lists the operations of verity-sync, sets up those that are configured, and plans an event's operations.
package plan

import (
	"context"
	"slices"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/source"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/verity"
)

// Planner plans the operations of events, and reports which destinations are down or busy.
type Planner struct {
	// operations are those that are configured, in the order in which they run; unset are the others.
	operations []operation.Operation
	unset      []operation.Spec

	leads *verity.Leads
	// breakers are those of all destinations except GoHighLevel, which has one for each location. ghl may be nil.
	breakers []*destination.Breaker
	ghl      *operation.GHL
	// bulkheads limit the calls in flight to destinations that not every event needs. released receives after such a call.
	bulkheads []*destination.Bulkhead
	released  chan struct{}
}

// Open sets up the operations that are configured. It connects to no destination.
func Open(ctx context.Context, o Options) (*Planner, error) {
	s, err := newSetup(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, u := range units {
		op, err := u.open(s)
		if err != nil {
			s.planner.Close()
			return nil, err
		}
		if op == nil {
			s.planner.unset = append(s.planner.unset, u.spec)
			continue
		}
		s.planner.operations = append(s.planner.operations, op)
	}
	return s.planner, nil
}

// Specs returns the declarations of all operations, configured or not, in the order in which they run.
func Specs() []operation.Spec {
	specs := make([]operation.Spec, len(units))
	for i, u := range units {
		specs[i] = u.spec
	}
	return specs
}

// Plan returns the operations of an event.
func (p *Planner) Plan(e *store.Attempt) operation.Plan {
	if e.Event.Type == event.TypeUnparseable {
		return operation.Plan{Unparseable: unparseable(e)}
	}
	var plan operation.Plan
	for _, op := range p.operations {
		spec := op.Spec()
		if spec.Serves(e.Event.EntityType) && (e.Forward || spec.Condition != v1alpha1.ForwardedCondition) {
			plan.Operations = append(plan.Operations, op)
		}
	}
	switch {
	case !e.Forward:
		plan.NoForward = v1alpha1.ForwardedByPredecessorReason
	case !plan.Has(v1alpha1.ForwardedCondition):
		plan.NoForward = v1alpha1.ForwardNotConfiguredReason
	}
	if !plan.Has(v1alpha1.SyncedCondition) {
		plan.NoSync = p.whyNoSync(e.Event.EntityType)
	}
	return plan
}

func (p *Planner) whyNoSync(entityType string) string {
	for _, spec := range p.unset {
		if spec.Unset != "" && spec.Serves(entityType) {
			return spec.Unset
		}
	}
	return "nothing is synced for events of this type"
}

// unparseable says why an event cannot be read.
func unparseable(e *store.Attempt) string {
	if fault := source.Of(e.Event.Source).Fault(e.Headers["Content-Type"], e.Body()); fault != "" {
		return fault
	}
	return "the body could not be read when it was received; this release can read it"
}

// Leads returns Verity's database, nil if it is not configured.
func (p *Planner) Leads() *verity.Leads { return p.leads }

// Close closes the connections to databases.
func (p *Planner) Close() {
	if p.leads != nil {
		p.leads.Close()
	}
}

// Outages returns the names of the destinations that are down or requested a pause, and of those among them that allow a trial
// call.
func (p *Planner) Outages() (down, allowTrial []string) {
	breakers := p.breakers
	if p.ghl != nil {
		breakers = append(slices.Clone(breakers), p.ghl.Breakers.All()...)
	}
	return destination.Outages(breakers...)
}

// Slots returns the state of the concurrency limits.
func (p *Planner) Slots() []destination.Slots {
	slots := make([]destination.Slots, len(p.bulkheads))
	for i, b := range p.bulkheads {
		slots[i] = b.Slots()
	}
	return slots
}

// Released receives after a call to a destination with a concurrency limit has ended. Calls that end together may share a
// value.
func (p *Planner) Released() <-chan struct{} { return p.released }
