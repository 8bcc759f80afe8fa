package operation

import (
	"context"
	"fmt"
	"net/http"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/verity"
)

// signatureHeader is the name under which the receiver stores the signature's header.
var signatureHeader = http.CanonicalHeaderKey(ghl.HeaderSignature)

// Forwarder sends a webhook on; a verity.Forwarder is one.
type Forwarder interface {
	Forward(ctx context.Context, d verity.Request) (verity.Receipt, error)
}

// Forward sends the bytes that were received to Verity.
type Forward struct {
	Forwarder Forwarder
	Breaker   *destination.Breaker
}

// Name implements Operation.
func (*Forward) Name() string { return store.OperationForward }

// Direction implements Operation.
func (*Forward) Direction() string { return store.DirectionToVerity }

// Run implements Operation. An event that is forwarded again, because the answer to the first time was not recorded,
// carries the same idempotency key.
func (f *Forward) Run(ctx context.Context, e *store.Attempt) Outcome {
	key := IdempotencyKey(e)
	err := f.Breaker.Do(ctx, func(ctx context.Context) error {
		_, err := f.Forwarder.Forward(ctx, verity.Request{
			IdempotencyKey: key, Body: e.Body(), ContentType: e.Headers["Content-Type"], Signature: e.Headers[signatureHeader],
		})
		return err
	})
	failpoint.Hit(failpoint.Forwarded)
	outcome := Outcome{Err: err, Details: map[string]any{"idempotencyKey": key}}
	if err != nil {
		outcome.Wait = f.Breaker.WaitAfter(err)
	}
	return outcome
}

// IdempotencyKey lets Verity tell a repetition from a new event: the event's id, with the number of the run where it was
// replayed from its start.
func IdempotencyKey(e *store.Attempt) string {
	if e.LedgerRun == 0 {
		return e.ID.String()
	}
	return fmt.Sprintf("%s.%d", e.ID, e.LedgerRun)
}
