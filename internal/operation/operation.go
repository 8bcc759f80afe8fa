// Package operation has the operations of an attempt: it forwards a webhook to Verity, derives a contact's leads, syncs
// contacts to Aloware, and adds tags at GoHighLevel. An operation is one row of the ledger and has its effect once for an
// event, even if the process dies while it runs. The package knows the names of conditions and results, but no Kubernetes
// client.
package operation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Spec declares an operation. It is the same whatever the configuration.
type Spec struct {
	// Name is the operation's name in the ledger, in logs and in metrics, one of the store's Operation constants.
	Name string
	// Direction is the direction of the data in the ledger, one of the store's Direction constants.
	Direction string
	// Condition is the type of the condition that reports the operation.
	Condition string
	// EntityTypes are the entity types whose events it serves; nil is all.
	EntityTypes []string
	// Results are the values of status.result that it returns, in the API's words.
	Results []string
	// After is the name of the operation that must have succeeded before this one runs; "" is none. Otherwise operations
	// do not depend on each other.
	After string
	// Unset says why nothing is synced if the operation is not configured; "" if the event needs no such explanation.
	Unset string
}

// Serves reports whether the operation serves events of this entity type.
func (s Spec) Serves(entityType string) bool {
	return s.EntityTypes == nil || slices.Contains(s.EntityTypes, entityType)
}

// Operation is one effect of an event.
type Operation interface {
	Spec() Spec
	// Run carries it out. A second run must have no further effect, even if the process died during the first.
	Run(ctx context.Context, e *store.Attempt) Outcome
}

// Plan is what one attempt does for an event.
type Plan struct {
	// Unparseable says why the event cannot be read; "" if it can. Such an event has no operations and ends in error.
	Unparseable string
	// Operations run in this order. A failure blocks only the operations that name the failed one in After.
	Operations []Operation
	// NoForward is the reason of the condition Forwarded if no operation forwards the event.
	NoForward string
	// NoSync is the message of the condition Synced if no operation syncs the event.
	NoSync string
}

// Has reports whether an operation of the plan is reported by this type of condition.
func (p Plan) Has(condition string) bool {
	return slices.ContainsFunc(p.Operations, func(o Operation) bool { return o.Spec().Condition == condition })
}

// Outcome is the outcome of one run of an operation: done, skipped, or failed if Err is set.
type Outcome struct {
	// Result is the event's result, as status.result shows it: "LeadUpdated", "ContactSynced", …
	Result string
	// Skipped says why there was nothing to do; "" if something was done.
	Skipped string
	// Note is a remark for users on what was done; "" is none. It contains no personal data.
	Note string
	// TargetID is the id of the object that was written at the destination.
	TargetID string
	// VerityContactID is the id of the contact in Verity that the event was matched with.
	VerityContactID string
	// Details go to the ledger: how a contact was found, what was written. They contain ids and fixed words, no personal data.
	Details map[string]any
	// Err says why it failed, and destination.ClassOf what that means. Its text is shown to users.
	Err error
	// Reason names the failure if there is a better name than its class, for instance "ContactNotFound".
	Reason string
	// NotYet is true if the operation failed only because an effect of the forward is still missing. The attempt counts
	// only after the forward has succeeded.
	NotYet bool
	// Wait is the time for which no call may be made to the destination, because its breaker is open or it requested a
	// pause. The attempt does not count then. It is 0 otherwise.
	Wait time.Duration
}

// Done returns the outcome of an operation that did something.
func Done(result string) Outcome { return Outcome{Result: result} }

// Skip returns the outcome of an operation that found nothing to do, with the reason in words.
func Skip(result, why string) Outcome { return Outcome{Result: result, Skipped: why} }

// Failed returns the outcome of an operation that failed.
func Failed(err error) Outcome { return Outcome{Err: err} }

// Permanent returns the outcome of an operation that can never succeed for this event.
func Permanent(dest, reason, format string, args ...any) Outcome {
	return Outcome{
		Err:    &destination.Error{Destination: dest, Class: destination.Permanent, Message: fmt.Sprintf(format, args...)},
		Reason: reason,
	}
}
