package operation

import (
	"context"
	"fmt"
	"net/http"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/verity"
)

// signatureHeader is the name under which the receiver stores the signature's header.
var signatureHeader = http.CanonicalHeaderKey(ghl.HeaderSignature)

// Forwarder forwards a webhook; *verity.Forwarder implements it.
type Forwarder interface {
	Forward(ctx context.Context, d verity.Request) error
}

// ForwardSpec declares Forward.
var ForwardSpec = Spec{
	Name: store.OperationForward, Direction: store.DirectionToVerity, Condition: v1alpha1.ForwardedCondition,
}

// Forward sends the bytes that were received to Verity.
type Forward struct {
	Forwarder Forwarder
	Breaker   *destination.Breaker
}

// Spec implements Operation.
func (*Forward) Spec() Spec { return ForwardSpec }

// Run implements Operation. A repeated forward, whose first answer was not recorded, has the same idempotency key.
func (f *Forward) Run(ctx context.Context, e *store.Attempt) Outcome {
	key := IdempotencyKey(e)
	err := f.Breaker.Do(ctx, func(ctx context.Context) error {
		return f.Forwarder.Forward(ctx, verity.Request{
			IdempotencyKey: key, Body: e.Body(), ContentType: e.Headers["Content-Type"], Signature: e.Headers[signatureHeader],
		})
	})
	failpoint.Hit(failpoint.Forwarded)
	outcome := Outcome{Err: err, Details: map[string]any{"idempotencyKey": key}}
	if err != nil {
		outcome.Wait = f.Breaker.WaitAfter(err)
	}
	return outcome
}

// IdempotencyKey identifies an event at a destination, so that it can recognise a repetition: the event's id, followed by the
// number of the run if the event was replayed from its start.
func IdempotencyKey(e *store.Attempt) string {
	if e.LedgerRun == 0 {
		return e.ID.String()
	}
	return fmt.Sprintf("%s.%d", e.ID, e.LedgerRun)
}
