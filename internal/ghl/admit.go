package ghl

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// Request is an authenticated request and what its body says.
type Request struct {
	Header http.Header
	Query  url.Values
	// Raw is the bytes received, which a signature is over.
	Raw  []byte
	Body Body
}

// Admit decides by p, which Authenticate returned, whether a request is wanted. It returns the proof that counted and e, which
// Normalise made of the body, without what the proof does not cover. Its errors are those of Authorize.
//
// A body that is not GHL's own word in spite of its signature needs a secret, and counts as sent with that secret alone.
func (v *Verifier) Admit(p Proof, r Request, e event.Event) (Proof, event.Event, error) {
	err := v.Authorize(p, r.Body, e)
	if errors.Is(err, ErrNotMarketplace) && v.hasSecret(r.Header, r.Query) {
		p = ProofSecret
		err = v.Authorize(p, r.Body, e)
	}
	if e.DedupeKey != "" && !v.vouchesForID(p, r) {
		e.DedupeKey = ""
	}
	return p, e, err
}

// vouchesForID reports whether the webhookId of a body is GHL's: the request is signed, and the body has not the form of a
// workflow's, in which a field of any name can stand. A signature counts for this also where a secret was what Authenticate went by.
func (v *Verifier) vouchesForID(p Proof, r Request) bool {
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
