package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Label values that are known at the start.
var (
	transitions = [][2]string{
		{"pending", "processing"},
		{"processing", "done"}, {"processing", "error"}, {"processing", "pending"}, // An attempt ends.
		{"done", "pending"}, {"error", "pending"}, // A replay begins.
	}
	steps = []string{"replay", "expire", "hold", "claim", "attempt"}
	// attemptResults are the results of an operation of an attempt.
	attemptResults = []string{
		store.LedgerSuccess, store.LedgerSkipped, destination.Transient.String(), destination.Permanent.String(),
		destination.Unavailable.String(), destination.Limited.String(),
	}
)

// Controller has the metrics of the controller.
type Controller struct {
	transitions *prometheus.CounterVec
	steps       *prometheus.HistogramVec
	attempts    *prometheus.CounterVec
	duration    prometheus.Histogram
	breakers    *prometheus.GaugeVec
	leads       *prometheus.CounterVec
	ghlRequests *prometheus.CounterVec
	ghlBudget   *prometheus.GaugeVec
	watch       prometheus.Gauge
	lost        prometheus.Gauge
	rolledBack  prometheus.Counter
}

// NewController registers the metrics of the controller with reg, which must not have them yet. The series of operations and their results
// start at 0.
func NewController(reg prometheus.Registerer, operations []operation.Spec) *Controller {
	with := promauto.With(reg)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return with.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return with.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	m := &Controller{
		transitions: counter("event_transitions_total", "Status changes of events.", "from", "to"),
		attempts:    counter("attempts_total", "Operations of attempts, by result.", "operation", "result"),
		leads:       counter("leads_synced_total", "Appointment events whose lead was synced, by result.", "result"),
		ghlRequests: counter("ghl_api_requests_total", "Requests to GoHighLevel's API, by status code; 0 without an answer.",
			"endpoint", "code"),
		breakers: gauge("breaker_state", "1 if the destination's circuit breaker is open, else 0.",
			"destination"),
		ghlBudget: gauge("ghl_daily_budget_remaining",
			"Requests to GoHighLevel's API that a location has left today, from its last answer.",
			"location"),
		watch: with.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "watch_failing",
			Help: "1 while the controller cannot list and watch WebhookEvents, also before its first success, else 0.",
		}),
		lost: with.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "lost_events",
			Help: "WebhookEvents whose unfinished event is missing in the database, because a restore or a failover lost it.",
		}),
		rolledBack: with.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "rolled_back_events_total",
			Help: "Finished events that run again because a restore or a failover lost their result.",
		}),
		steps: with.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "step_duration_seconds", Help: "Duration of a step of a reconcile.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"step", "result"}),
		duration: with.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "event_duration_seconds", Help: "Time from the receipt of an event until it is done.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 43200},
		}),
	}
	for _, t := range transitions {
		m.transitions.WithLabelValues(t[0], t[1])
	}
	for _, step := range steps {
		m.steps.WithLabelValues(step, "success")
		m.steps.WithLabelValues(step, "error")
	}
	for _, spec := range operations {
		for _, result := range attemptResults {
			m.attempts.WithLabelValues(spec.Name, result)
		}
		if spec.Name != store.OperationLead {
			continue
		}
		for _, result := range spec.Results {
			m.leads.WithLabelValues(result)
		}
	}
	return m
}

// Transition counts a change of an event's status.
func (m *Controller) Transition(from, to string) { m.transitions.WithLabelValues(from, to).Inc() }

// Step observes a step of a reconcile; failed is whether it returned an error.
func (m *Controller) Step(step string, failed bool, took time.Duration) {
	result := "success"
	if failed {
		result = "error"
	}
	m.steps.WithLabelValues(step, result).Observe(took.Seconds())
}

// Attempt counts an operation of an attempt.
func (m *Controller) Attempt(operation, result string) {
	m.attempts.WithLabelValues(operation, result).Inc()
}

// Done observes an event that is done, took after its receipt.
func (m *Controller) Done(took time.Duration) { m.duration.Observe(took.Seconds()) }

// Lead counts an appointment event by its result.
func (m *Controller) Lead(result string) { m.leads.WithLabelValues(result).Inc() }

// Breaker sets whether a destination's circuit breaker is open.
func (m *Controller) Breaker(destination string, up bool) {
	state := 1.0
	if up {
		state = 0
	}
	m.breakers.WithLabelValues(destination).Set(state)
}

// WatchFailing sets whether WebhookEvents cannot be listed and watched.
func (m *Controller) WatchFailing(failing bool) {
	state := 0.0
	if failing {
		state = 1
	}
	m.watch.Set(state)
}

// Lost sets the number of WebhookEvents whose event the database has lost.
func (m *Controller) Lost(events int) { m.lost.Set(float64(events)) }

// RolledBack counts finished events that run again because the database has lost their result.
func (m *Controller) RolledBack(events int) { m.rolledBack.Add(float64(events)) }

// Request counts a request to GoHighLevel's API.
func (m *Controller) Request(endpoint string, code int) {
	m.ghlRequests.WithLabelValues(endpoint, strconv.Itoa(code)).Inc()
}

// Endpoints starts the series of the endpoints of GoHighLevel's API at 0, for the status code 200.
func (m *Controller) Endpoints(endpoints []string) {
	for _, endpoint := range endpoints {
		m.ghlRequests.WithLabelValues(endpoint, strconv.Itoa(http.StatusOK))
	}
}

// Budget sets the requests that a location has left today.
func (m *Controller) Budget(locationID string, remaining int) {
	m.ghlBudget.WithLabelValues(locationID).Set(float64(remaining))
}
