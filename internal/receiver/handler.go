package receiver

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Paths that are served beside those of the sources; each with or without a slash at its end.
const (
	JobsPath = "/api/jobs/process-pending"
	LivePath = "/healthz"
	// RootPath is the path that load balancers check by default. It answers as LivePath does.
	RootPath  = "/"
	ReadyPath = "/readyz"
)

// retryAfter is the Retry-After of a 429, in seconds. A failover of Postgres is faster.
const retryAfter = "30"

// ServeHTTP dispatches by the exact path. http.ServeMux would redirect a path that it can clean, and a redirect counts
// as a failed delivery.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// An error means that the connection has no deadlines, as in some tests. net/http resets the deadline before the next request.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))

	path := strings.TrimSuffix(r.URL.Path, "/")
	if source, ok := s.sources[path]; ok {
		s.serveWebhook(w, r, source)
		return
	}
	if path == JobsPath {
		s.write(w, r, s.processPending(r))
		return
	}
	s.serveProbe(w, r)
}

// answer is the response to a request.
type answer struct {
	code int
	// body is encoded as JSON.
	body any
	// allow lists the allowed methods of a 405.
	allow string
	// outcome names the result in a word or two, for the log.
	outcome string
	// cause is why the answer is not 200, for the log.
	cause error
	// bodyRead is true if the request's body has been read to its end.
	bodyRead bool
}

type status struct {
	ID     string `json:"id,omitempty"`
	Status string `json:"status"`
}

type failure struct {
	Error string `json:"error"`
}

// Outcomes that code depends on.
const (
	accepted  = "accepted"
	uncertain = "may be stored"
)

var (
	errUnparseableRate = errors.New("too many bodies that cannot be parsed")

	errNotFound = errors.New("not found")
	errMethod   = errors.New("method not allowed")
	errDraining = errors.New("draining")
)

// refuse rejects a request for the sender's mistake, and says which.
func refuse(code int, outcome string, err error) answer {
	return answer{code: code, body: failure{err.Error()}, outcome: outcome, cause: err}
}

func notFound() answer { return refuse(http.StatusNotFound, "not found", errNotFound) }

func notAllowed(allow string) answer {
	a := refuse(http.StatusMethodNotAllowed, "method", errMethod)
	a.allow = allow
	return a
}

// notStoredNow asks the sender to send the webhook again.
const notStoredNow = "the event cannot be stored now, send it again"

// later asks the sender to send the webhook again. Only the log has the cause.
func later(outcome string, cause error) answer {
	return answer{
		code:    http.StatusTooManyRequests,
		body:    failure{notStoredNow},
		outcome: outcome,
		cause:   cause,
	}
}

// mayBeStored is the answer if the outcome of a commit is unknown. The next delivery is stored, or is a duplicate.
func mayBeStored(cause error) answer {
	a := later(uncertain, cause)
	a.body = failure{"the event may be stored, send it again to be sure"}
	return a
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, a answer) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	switch a.code {
	case http.StatusTooManyRequests:
		h.Set("Retry-After", retryAfter)
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case http.StatusUnsupportedMediaType:
		h.Set("Accept-Encoding", "gzip")
	case http.StatusMethodNotAllowed:
		h.Set("Allow", a.allow)
	}
	// A connection with an unread body cannot be used again before the body is read, and a slow body would delay the answer. While
	// draining, clients must send their next request to another replica.
	if s.draining.Load() || (!a.bodyRead && r.ContentLength != 0) {
		h.Set("Connection", "close")
	}
	body, err := json.Marshal(a.body)
	if err != nil {
		panic(err) // Every body is of a type of this package.
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.code)
	if _, err := w.Write(body); err != nil {
		s.cfg.Log.V(1).Info("client closed the connection before the response", "code", a.code)
	}
}

// serveProbe answers the probes, and 404 to any other path.
func (s *Server) serveProbe(w http.ResponseWriter, r *http.Request) {
	switch strings.TrimSuffix(r.URL.Path, "/") {
	case LivePath:
		s.write(w, r, live(r))
	case ReadyPath:
		s.write(w, r, s.ready(r))
	default:
		s.write(w, r, elsewhere(r))
	}
}

// elsewhere answers every other path.
func elsewhere(r *http.Request) answer {
	if r.URL.Path == RootPath && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return live(r)
	}
	return notFound()
}

func live(r *http.Request) answer {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return notAllowed("GET, HEAD")
	}
	return answer{code: http.StatusOK, body: status{Status: "ok"}}
}

// ready fails only while draining. If readiness depended on Postgres, an outage of Postgres would make the Ingress answer 503, and the
// event could be lost.
func (s *Server) ready(r *http.Request) answer {
	if s.draining.Load() && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return refuse(http.StatusServiceUnavailable, "draining", errDraining)
	}
	return live(r)
}
