package ghl

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// Request is an authenticated request with its body.
type Request struct {
	Header http.Header
	Query  url.Values
	// Raw is the body as received. A signature covers it.
	Raw  []byte
	Body Body
}

// Admit decides by p, the result of Authenticate, whether the request is for this installation. It returns the proof that applies and e,
// the result of Normalise, without what the proof does not cover. Its errors are those of Authorize.
//
// A signed body that GoHighLevel did not write needs a secret. Then the secret is its only proof.
func (v *Verifier) Admit(p Proof, r Request, e event.Event) (Proof, event.Event, error) {
	err := v.Authorize(p, r.Body, e)
	if errors.Is(err, ErrNotMarketplace) && v.hasSecret(r.Header, r.Query) {
		p = ProofSecret
		err = v.Authorize(p, r.Body, e)
	}
	if e.DedupeKey != "" && !v.coversID(p, r) {
		e.DedupeKey = ""
	}
	return p, e, err
}

// coversID reports whether the webhookId of a body is GoHighLevel's: the request is signed, and the body is not a workflow's, in which
// people can name a field webhookId. A valid signature counts even if a secret was the proof.
func (v *Verifier) coversID(p Proof, r Request) bool {
	if r.Body.workflowShaped() {
		return false
	}
	if p.Signed() {
		return true
	}
	signature, ok := signatureOf(r.Header)
	if ok {
		_, ok = v.verify(signature, r.Raw)
	}
	return ok
}
