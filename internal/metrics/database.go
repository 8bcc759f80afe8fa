package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Stats reads the stats of all events, such as a store.Store.
type Stats interface {
	Stats(ctx context.Context) (store.Stats, error)
}

const (
	figuresTimeout = 5 * time.Second
	// statsAge is the maximum age of stats: scrapes of several Prometheus servers share a query.
	statsAge = 5 * time.Second
)

// events collects the stats of all events. It queries the database when it is scraped. While the database does not answer, the metrics are
// absent, which an alert detects.
type events struct {
	source                                                   Stats
	now                                                      func() time.Time
	status, undispatched, notCreated, oldest, rolledBack, up *prometheus.Desc

	mu    sync.Mutex
	taken time.Time
	last  store.Stats
	err   error
}

// RegisterEvents registers the stats of all events with reg. They are the same in every replica.
func RegisterEvents(reg prometheus.Registerer, source Stats) error {
	return registerEvents(reg, source, time.Now)
}

func registerEvents(reg prometheus.Registerer, source Stats, now func() time.Time) error {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
	}
	return reg.Register(&events{
		source: source,
		now:    now,
		status: desc("events",
			"Events in the database, by status. The number of done events is estimated from the table's statistics. Events in error "+
				"whose body cannot be parsed count as unparseable.", "status"),
		undispatched: desc("undispatched_events", "Unfinished events without a WebhookEvent, including parked ones."),
		notCreated: desc("refused_events",
			"Unfinished events whose WebhookEvent the API server refused to create, for instance because of an admission policy."),
		oldest: desc("oldest_unfinished_event_age_seconds",
			"Time since the receipt of the oldest event that is neither done nor in error, including suspended ones; "+
				"0 without one."),
		rolledBack: desc("database_rollback_timestamp_seconds",
			"Time at which a rollback of the database to an earlier moment was last detected, after a restore or a failover; 0 if never."),
		up: desc("database_up", "1 if the database answered the last query for these metrics, else 0."),
	})
}

// Describe implements prometheus.Collector.
func (e *events) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{e.status, e.undispatched, e.notCreated, e.oldest, e.rolledBack, e.up} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (e *events) Collect(ch chan<- prometheus.Metric) {
	f, err := e.look()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if err != nil {
		gauge(e.up, 0)
		return
	}
	gauge(e.up, 1)
	gauge(e.status, float64(f.Pending), string(store.StatusPending))
	gauge(e.status, float64(f.Processing), string(store.StatusProcessing))
	gauge(e.status, float64(f.Error), string(store.StatusError))
	gauge(e.status, float64(f.Unparseable), event.TypeUnparseable)
	gauge(e.status, float64(f.Done), string(store.StatusDone))
	gauge(e.undispatched, float64(f.Undispatched))
	gauge(e.notCreated, float64(f.NotCreated))
	gauge(e.oldest, f.OldestUnfinished.Seconds())
	gauge(e.rolledBack, float64(f.RolledBackAt.UnixMilli())/1000)
}

func (e *events) look() (store.Stats, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.taken.IsZero() || e.now().Sub(e.taken) > statsAge {
		ctx, cancel := context.WithTimeout(context.Background(), figuresTimeout)
		defer cancel()
		e.last, e.err = e.source.Stats(ctx)
		e.taken = e.now()
	}
	return e.last, e.err
}

// RegisterPool registers the statistics of a connection pool with reg, under the name of the database.
func RegisterPool(reg prometheus.Registerer, database string, stat func() *pgxpool.Stat) error {
	labels := prometheus.Labels{"database": database}
	gauge := func(name, help string, value func(*pgxpool.Stat) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels},
			func() float64 { return value(stat()) })
	}
	counter := func(name, help string, value func(*pgxpool.Stat) float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels},
			func() float64 { return value(stat()) })
	}
	for _, c := range []prometheus.Collector{
		gauge("database_pool_connections", "Open connections of the pool.",
			func(s *pgxpool.Stat) float64 { return float64(s.TotalConns()) }),
		gauge("database_pool_connections_in_use", "Connections in use.",
			func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) }),
		gauge("database_pool_connections_max", "Maximum number of connections of the pool.",
			func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) }),
		counter("database_pool_waits_total", "Acquisitions that waited for a connection.",
			func(s *pgxpool.Stat) float64 { return float64(s.EmptyAcquireCount()) }),
		counter("database_pool_wait_seconds_total", "Time spent waiting for connections.",
			func(s *pgxpool.Stat) float64 { return s.AcquireDuration().Seconds() }),
	} {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}
