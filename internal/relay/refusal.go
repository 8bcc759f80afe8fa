package relay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// maxRefusal bounds the API server's message on a row, in characters. An admission webhook may answer a long one.
const maxRefusal = 1024

// postponeBounds say when a refused row is tried again: after as long as it has waited already, within these bounds. So an event that
// was received just now is tried soon, and thousands that nobody admits cost the API server little.
var postponeBounds = store.PostponeBounds{Min: 2 * time.Second, Max: time.Minute}

// isRefusal reports whether the API server refuses this very object: an admission policy or webhook denies it, whatever the code of its
// answer, or the API server finds it invalid, as after a change of its definition. Since the object is valid as this program knows it,
// the row waits. Everything else (no answer, missing rights, a full quota, no definition) concerns every object alike.
func isRefusal(err error) bool {
	if byAdmission(err) {
		return true
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch code := status.Status().Code; code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	default:
		return code >= http.StatusBadRequest && code < http.StatusInternalServerError
	}
}

// byAdmission reports whether a policy or a webhook denied the request, or a webhook that has to be asked did not answer. They choose
// code and reason, so that what tells them is how the API server begins their messages (apiserver/pkg/admission/plugin).
func byAdmission(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	message := status.Status().Message
	return strings.HasPrefix(message, "admission webhook ") || strings.Contains(message, "failed calling webhook ") ||
		strings.Contains(message, "AdmissionPolicy '") || strings.Contains(message, "' denied request: ")
}

func refusedRow(row store.EventMeta, err error) store.RefusedEvent {
	message := fmt.Sprintf("the API server refused to create the WebhookEvent %s: %v", v1alpha1.NameOf(row.Source, row.ID.String()), err)
	return store.RefusedEvent{EventMeta: row, Message: bounded(message, maxRefusal, "")}
}

// postpone parks refused rows until they are tried again, so that neither younger rows nor new commits queue behind them.
func (r *Relay) postpone(ctx context.Context, rows []store.RefusedEvent) error {
	if len(rows) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.opts.CallTimeout)
	defer cancel()
	if count := r.refusals.add(len(rows), time.Now()); count > 0 {
		r.opts.Log.Info("the API server refuses WebhookEvents; their rows wait and are tried again within a minute or so",
			"refusals", count, "event", rows[0].ID, "error", rows[0].Message)
	}
	return r.opts.Rows.PostponeRelay(ctx, rows, postponeBounds)
}

// refusalsLoggedEvery bounds the log: rows may be refused by the thousand.
const refusalsLoggedEvery = 10 * time.Second

// refusals counts what was refused since it was last logged.
type refusals struct {
	mu     sync.Mutex
	count  int
	logged time.Time
}

// add counts n refusals and returns how many are to be logged now, 0 for none.
func (c *refusals) add(n int, now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count += n
	if now.Sub(c.logged) < refusalsLoggedEvery {
		return 0
	}
	count := c.count
	c.count, c.logged = 0, now
	return count
}
