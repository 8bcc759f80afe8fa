package store_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

// BenchmarkCommit measures a delivery that shares its transaction with concurrent ones, and a single one.
func BenchmarkCommit(b *testing.B) {
	url := testenv.Postgres(b)
	_, err := store.Migrate(b.Context(), url, store.MigrateOptions{Normalise: func([]byte, time.Time) event.Event { return event.Event{} }})
	require.NoError(b, err)
	s, err := store.Open(b.Context(), url, store.Options{Name: "bench", MaxConns: 8})
	require.NoError(b, err)
	b.Cleanup(s.Close)
	body := `{"notes":"` + strings.Repeat("x", 700) + `"}`
	// Marketplace deliveries have an id. Workflow deliveries have none, and are compared with the newest event of their entity.
	for name, id := range map[string]func() string{"with an id": uuid.NewString, "without an id": func() string { return "" }} {
		for arrival, parallelism := range map[string]int{"alone": 0, "together": 64} {
			b.Run(name+"/"+arrival, func(b *testing.B) {
				var deliveries, batches atomic.Int64
				w := store.NewWriter(s, store.WriterOptions{Observe: func(size int) {
					deliveries.Add(int64(size))
					batches.Add(1)
				}})
				defer w.Close()
				b.ReportAllocs()
				commit := func() error {
					_, err := w.Commit(b.Context(), delivery(id(), uuid.NewString(), body))
					return err
				}
				if parallelism == 0 {
					for b.Loop() {
						require.NoError(b, commit())
					}
				} else {
					b.SetParallelism(parallelism)
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							if err := commit(); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				b.ReportMetric(float64(deliveries.Load())/float64(batches.Load()), "deliveries/batch")
			})
		}
	}
}
