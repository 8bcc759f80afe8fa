package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Relay has the metrics from the delivery to the WebhookEvent.
type Relay struct {
	batch prometheus.Histogram
	lag   prometheus.Histogram
}

// NewRelay registers the metrics of commits and of the relay with reg, which must not have them yet.
func NewRelay(reg prometheus.Registerer) *Relay {
	with := promauto.With(reg)
	return &Relay{
		batch: with.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace,
			Name:      "commit_batch_size",
			Help:      "Deliveries per transaction.",
			Buckets:   prometheus.ExponentialBuckets(1, 2, 9),
		}),
		lag: with.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace,
			Name:      "relay_lag_seconds",
			Help:      "Time from the receipt of an event to its WebhookEvent.",
			// Usually milliseconds; hours after an outage of the API server.
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60, 300, 1800, 7200},
		}),
	}
}

// Committed observes a transaction of size deliveries.
func (m *Relay) Committed(size int) { m.batch.Observe(float64(size)) }

// Relayed observes a WebhookEvent that was created lag after its event was received.
func (m *Relay) Relayed(lag time.Duration) { m.lag.Observe(lag.Seconds()) }
