package database_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgbouncer"
)

// timeout is a controller's timeout of a statement. A pool that another pool starves would wait longer.
const timeout = 20 * time.Second

// busy runs statements on a pool, many at a time, until stop is closed or each worker has done a number of them.
func busy(ctx context.Context, stop <-chan struct{}, pool *database.Pool, workers, statements int) error {
	var all errgroup.Group
	for range workers {
		all.Go(func() error {
			for range statements {
				select {
				case <-stop:
					return nil
				default:
				}
				if err := ask(ctx, pool); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return all.Wait()
}

func ask(ctx context.Context, pool *database.Pool) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var n int
	return pool.QueryRow(ctx, `SELECT 1 FROM pg_sleep(0.02)`).Scan(&n)
}

func TestIdleConnectionsAreClosedBehindAPoolerOnly(t *testing.T) {
	t.Parallel()
	base := testenv.Database(t)
	direct := open(t, base)
	require.NoError(t, ask(t.Context(), direct))
	for name, options := range poolers {
		if options == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := open(t, through(t, base, options))
			require.NoError(t, busy(t.Context(), nil, pool, 8, 10))
			require.Positive(t, pool.Stat().NewConnsCount())
			require.Eventually(t, func() bool { return pool.Stat().TotalConns() == 0 }, time.Minute, 10*time.Millisecond)
			require.EqualValues(t, 1, direct.Stat().TotalConns())
			require.EqualValues(t, 1, direct.Stat().NewConnsCount())
		})
	}
}

func TestACallerDoesNotWaitForThePoolerWhileAnotherConnectionBecomesIdle(t *testing.T) {
	t.Parallel()
	_, url := testenv.PgBouncer(t, testenv.Database(t), pgbouncer.Options{
		Mode: "session", Settings: map[string]string{"default_pool_size": "1"},
	})
	pool := open(t, url)
	require.NoError(t, ask(t.Context(), pool))
	require.NoError(t, busy(t.Context(), nil, pool, 8, 20))
}

// Every process gets a connection, although earlier processes are busy and may use all connections of the pooler.
func TestPoolsShareTooFewConnectionsOfASessionPooler(t *testing.T) {
	t.Parallel()
	sized := func(mode, size string) pgbouncer.Options {
		return pgbouncer.Options{Mode: mode, Settings: map[string]string{"default_pool_size": size}}
	}
	const pools = 5 // With 8 connections each.
	for name, options := range map[string]pgbouncer.Options{
		"PgBouncer's defaults":                   {Mode: "session"},
		"PgBouncer's defaults, permissive":       {Mode: "session", Settings: permissive},
		"two connections for each pool":          sized("session", "10"),
		"one connection for each pool":           sized("session", "5"),
		"fewer connections than there are pools": sized("session", "3"),
		"a transaction pooler with few":          sized("transaction", "2"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, url := testenv.PgBouncer(t, testenv.Database(t), options)
			stop := make(chan struct{})
			var all errgroup.Group
			for range pools {
				pool := open(t, url)
				// A pool continues after its first answer, so that the next pool finds it busy.
				require.EventuallyWithT(t, func(c *assert.CollectT) { require.NoError(c, ask(t.Context(), pool)) }, time.Minute, time.Millisecond)
				all.Go(func() error { return busy(t.Context(), stop, pool, 8, 1<<20) })
			}
			close(stop)
			require.NoError(t, all.Wait())
		})
	}
}
