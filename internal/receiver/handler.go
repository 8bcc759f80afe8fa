package receiver

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Paths that are served; each with or without a slash at its end.
const (
	WebhookPath = "/api/webhooks/ghl"
	JobsPath    = "/api/jobs/process-pending"
	LivePath    = "/healthz"
	// RootPath is what load balancers check that are told no path. It says no more than LivePath.
	RootPath  = "/"
	ReadyPath = "/readyz"
)

// retryAfter is what a 429 asks for, in seconds. Postgres fails over in less than that.
const retryAfter = "30"

// ServeHTTP dispatches by the exact path. http.ServeMux would redirect a path that it can clean, and a redirect counts
// as a failed delivery.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The error says that the connection has no deadlines, as in a test without one. net/http takes it off again before
	// the next request.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))

	switch strings.TrimSuffix(r.URL.Path, "/") {
	case WebhookPath:
		s.serveWebhook(w, r)
	case JobsPath:
		s.write(w, r, s.processPending(r))
	default:
		s.serveProbe(w, r)
	}
}

// answer is what a request is answered with.
type answer struct {
	code int
	// body is encoded as JSON.
	body any
	// allow lists the methods that a 405 names.
	allow string
	// outcome says in a word or two what became of the request, for the log.
	outcome string
	// cause says why it was not answered 200, for the log.
	cause error
	// bodyRead is true where the request's body has been read to its end.
	bodyRead bool
}

type status struct {
	ID     string `json:"id,omitempty"`
	Status string `json:"status"`
}

type failure struct {
	Error string `json:"error"`
}

// Outcomes that are looked at.
const (
	accepted  = "accepted"
	uncertain = "may be stored"
)

var (
	errUnparseableRate = errors.New("too many bodies that cannot be read")

	errNotFound = errors.New("not found")
	errMethod   = errors.New("method not allowed")
	errDraining = errors.New("draining")
)

// refuse is for mistakes of the sender, who is told what they are.
func refuse(code int, outcome string, err error) answer {
	return answer{code: code, body: failure{err.Error()}, outcome: outcome, cause: err}
}

func notFound() answer { return refuse(http.StatusNotFound, "not found", errNotFound) }

func notAllowed(allow string) answer {
	a := refuse(http.StatusMethodNotAllowed, "method", errMethod)
	a.allow = allow
	return a
}

// notStoredNow is what a sender is told that should send again.
const notStoredNow = "the event cannot be stored now, send it again"

// later asks the sender to send again. What is wrong with us is nobody's business but the log's.
func later(outcome string, cause error) answer {
	return answer{
		code:    http.StatusTooManyRequests,
		body:    failure{notStoredNow},
		outcome: outcome,
		cause:   cause,
	}
}

// mayBeStored is for a commit of which it is not known how it ended. Sent again, the event is stored or a duplicate.
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
	// A body that was not read would have to be, before the connection could be used again, and a slow one holds up the
	// answer. While draining, clients must find another instance for their next request.
	if s.draining.Load() || (!a.bodyRead && r.ContentLength != 0) {
		h.Set("Connection", "close")
	}
	body, err := json.Marshal(a.body)
	if err != nil {
		panic(err) // The types of body are this package's own.
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.code)
	if _, err := w.Write(body); err != nil {
		s.cfg.Log.V(1).Info("client left before its answer", "code", a.code)
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

// elsewhere answers what no other path does.
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

// ready fails while draining and at no other time: an instance that is taken out because Postgres is down would make
// the Ingress answer 503, and that may be an event lost.
func (s *Server) ready(r *http.Request) answer {
	if s.draining.Load() && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return refuse(http.StatusServiceUnavailable, "draining", errDraining)
	}
	return live(r)
}
