package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// Receiver has the metrics of the intake.
type Receiver struct {
	requests   *prometheus.CounterVec
	duration   prometheus.Histogram
	duplicates prometheus.Counter
	ignored    prometheus.Counter
	panics     prometheus.Counter
	refused    prometheus.Counter
}

// NewReceiver registers the metrics of the receiver with reg, which must not have them yet.
func NewReceiver(reg prometheus.Registerer) *Receiver {
	with := promauto.With(reg)
	m := &Receiver{
		requests: with.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace,
			Name:      "webhook_requests_total",
			Help:      "Requests to the webhook path, by status code.",
		}, []string{"source", "code"}),
		duration: with.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace,
			Name:      "webhook_request_duration_seconds",
			Help:      "Time from the headers of a webhook to its response.",
			// The timeout of the commit is 3 s, that of the body 10 s.
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 3, 5, 10},
		}),
		duplicates: with.NewCounter(prometheus.CounterOpts{
			Namespace: namespace,
			Name:      "webhook_duplicates_total",
			Help:      "Webhooks that were duplicates of a stored one.",
		}),
		ignored: with.NewCounter(prometheus.CounterOpts{
			Namespace: namespace,
			Name:      "webhook_ignored_total",
			Help:      "Webhooks of locations outside the allow-list.",
		}),
		panics: with.NewCounter(prometheus.CounterOpts{
			Namespace: namespace,
			Name:      "webhook_panics_total",
			Help:      "Webhooks answered 429 because the handler panicked, which is a bug.",
		}),
		refused: with.NewCounter(prometheus.CounterOpts{
			Namespace: namespace,
			Name:      "refused_connections_total",
			Help:      "Connections refused at the limit that follows from the memory limit.",
		}),
	}
	for _, source := range event.Sources {
		for _, code := range []int{
			http.StatusOK, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed,
			http.StatusRequestEntityTooLarge, http.StatusTooManyRequests,
		} {
			m.requests.WithLabelValues(source, strconv.Itoa(code))
		}
	}
	return m
}

// Answered counts a request to the webhook path.
func (m *Receiver) Answered(source string, code int, took time.Duration) {
	m.requests.WithLabelValues(source, strconv.Itoa(code)).Inc()
	m.duration.Observe(took.Seconds())
}

// Duplicate counts a webhook that had been stored before.
func (m *Receiver) Duplicate() { m.duplicates.Inc() }

// Ignored counts a webhook of a location that is not on the allow-list.
func (m *Receiver) Ignored() { m.ignored.Inc() }

// Panicked counts a webhook whose handling panicked.
func (m *Receiver) Panicked() { m.panics.Inc() }

// ConnectionRefused counts a connection that was refused at the limit that follows from the memory limit.
func (m *Receiver) ConnectionRefused() { m.refused.Inc() }
