// Package operation holds what an attempt does at the destinations: it forwards a webhook to Verity, keeps a contact's
// leads pointing at the right appointment, syncs contacts to Aloware and adds tags at GoHighLevel. Each operation is one
// line of the ledger: done once for an event, whatever happens around it. It knows no Kubernetes.
package operation

import (
	"context"
	"fmt"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Operation is one thing that an event asks for.
type Operation interface {
	// Name is the operation's name in the ledger, one of the store's Operation constants.
	Name() string
	// Direction is from where to where it carries, one of the store's Direction constants.
	Direction() string
	// Run does it. Running it again, also after a crash in the middle, must have no further effect.
	Run(ctx context.Context, e *store.Attempt) Outcome
}

// Outcome is what running an operation came to: done, skipped, or failed where Err is set.
type Outcome struct {
	// Result is what the event led to, as status.result shows it: "LeadUpdated", "ContactSynced", …
	Result string
	// Skipped says why there was nothing to do; "" where something was done.
	Skipped string
	// Note says what a person should know of something that was done; "" for nothing. Like Details, it holds no personal data.
	Note string
	// TargetID is the id of what was written at the destination.
	TargetID string
	// VerityContactID is the contact that the event was matched with.
	VerityContactID string
	// Details go to the ledger: how a contact was found, what was written. They hold ids and words, no personal data.
	Details map[string]any
	// Err says why it failed; destination.ClassOf says what that means. Its text is shown to people.
	Err error
	// Reason names the failure where there is a better name than its class has, for instance "ContactNotFound".
	Reason string
	// NotYet is true where the operation failed only because something that the forward leads to is not there yet: the
	// attempt counts only once the forward has succeeded.
	NotYet bool
	// Wait is how long the destination is to be left alone where its breaker is open or it asked for a pause: the attempt
	// is given back. 0 where neither is so.
	Wait time.Duration
}

// Done returns the outcome of an operation that did something.
func Done(result string) Outcome { return Outcome{Result: result} }

// Skip returns the outcome of an operation that found nothing to do, with the reason in words.
func Skip(result, why string) Outcome { return Outcome{Result: result, Skipped: why} }

// Failed returns the outcome of an operation that did not succeed.
func Failed(err error) Outcome { return Outcome{Err: err} }

// Permanent returns the outcome of an operation that can never succeed for this event.
func Permanent(dest, reason, format string, args ...any) Outcome {
	return Outcome{
		Err:    &destination.Error{Destination: dest, Class: destination.Permanent, Message: fmt.Sprintf(format, args...)},
		Reason: reason,
	}
}
