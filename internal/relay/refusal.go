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

// postponeBounds bound the delay before a refused row is tried again: the time that it has already waited. So a new event is tried again
// soon, and thousands of refused ones cost the API server little.
var postponeBounds = store.PostponeBounds{Min: 2 * time.Second, Max: time.Minute}

// isRefusal reports whether the API server refuses this object in particular: an admission policy or webhook denies it, with any status
// code, or the API server finds it invalid, for instance after a change of the definition. The object is valid by this release's
// definition, so the row waits. Every other error (no answer, missing rights, a full quota, no definition) applies to all objects.
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

// byAdmission reports whether a policy or a webhook denied the request, or a required webhook did not answer. They choose code and
// reason, so only the API server's prefix of their messages identifies them (apiserver/pkg/admission/plugin).
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

// postpone sets when refused rows are tried again, so that newer rows do not queue behind them.
func (r *Relay) postpone(ctx context.Context, rows []store.RefusedEvent) error {
	if len(rows) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.opts.CallTimeout)
	defer cancel()
	if count := r.refusals.add(len(rows), time.Now()); count > 0 {
		r.opts.Log.Info("the API server refuses WebhookEvents; their events are stored, and the relay tries again within about a minute",
			"count", count, "event", rows[0].ID, "error", rows[0].Message)
	}
	return r.opts.Rows.PostponeRelay(ctx, rows, postponeBounds)
}

// refusalsLoggedEvery bounds the log: thousands of rows may be refused.
const refusalsLoggedEvery = 10 * time.Second

// refusals counts the refusals since the last log line.
type refusals struct {
	mu     sync.Mutex
	count  int
	logged time.Time
}

// add counts n refusals and returns how many to log now, 0 for no line.
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
