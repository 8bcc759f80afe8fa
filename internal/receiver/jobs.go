package receiver

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
)

var errNoBearer = errors.New("expected the bearer token of the jobs endpoint")

type backlog struct {
	Pending      int64 `json:"pending"`
	Undispatched int64 `json:"undispatched"`
}

// processPending serves the cron jobs that drained the queue of the legacy middleware. They are no longer needed: it wakes the relay,
// returns the size of the backlog, and does not wait.
func (s *Server) processPending(r *http.Request) answer {
	if s.cfg.JobsSecret == "" {
		return notFound()
	}
	if r.Method != http.MethodPost {
		return notAllowed(http.MethodPost)
	}
	if !bearerIs(r.Header.Get("Authorization"), s.cfg.JobsSecret) {
		return refuse(http.StatusUnauthorized, "unauthenticated", errNoBearer)
	}
	ctx, cancel := context.WithTimeout(r.Context(), commitTimeout)
	defer cancel()
	found, err := s.cfg.Jobs.Backlog(ctx)
	if err == nil {
		err = s.cfg.Jobs.Wake(ctx)
	}
	if err != nil {
		s.cfg.Log.Error(err, "failed to serve the jobs endpoint; it answers 429, and the caller can try again")
		return answer{code: http.StatusTooManyRequests, body: failure{"the database does not answer, try again later"}}
	}
	return answer{code: http.StatusOK, body: backlog(found)}
}

// bearerIs compares digests, so that its duration reveals neither the content nor the length of the secret.
func bearerIs(authorization, secret string) bool {
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	got, want := sha256.Sum256([]byte(strings.TrimSpace(token))), sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}
