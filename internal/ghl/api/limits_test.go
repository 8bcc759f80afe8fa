package ghlapi

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

func TestLimitsStayBelowGHLs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimits()
		var passed []time.Time
		for range 500 {
			require.NoError(t, l.wait(t.Context(), "loc1"))
			passed = append(passed, time.Now())
		}
		for i, first := range passed {
			window := 0
			for _, at := range passed[i:] {
				if at.Sub(first) < 10*time.Second {
					window++
				}
			}
			require.Less(t, window, 100, "requests in ten seconds, from request %d", i)
		}
		took := passed[len(passed)-1].Sub(passed[0])
		assert.Less(t, took, 61*time.Second, "the limit is used")
	})
}

func TestLimitsWait(t *testing.T) {
	t.Parallel()
	spend := func(t *testing.T, l *limits) {
		for range burst {
			require.NoError(t, l.wait(t.Context(), "loc1"))
		}
	}
	t.Run("no longer than the context", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l := newLimits()
			spend(t, l)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			began := time.Now()
			err := l.wait(ctx, "loc1")
			require.ErrorIs(t, err, ErrLimited)
			assert.Equal(t, destination.Limited, destination.ClassOf(err))
			assert.Positive(t, destination.RetryAfterOf(err))
			assert.Zero(t, time.Since(began), "the error is returned at once")
			require.NoError(t, l.wait(t.Context(), "loc1"), "the failed call used no token of the bucket")
			assert.Equal(t, time.Second/perSecond, time.Since(began))
		})
	})
	t.Run("until the caller cancels", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l := newLimits()
			spend(t, l)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			err := l.wait(ctx, "loc1")
			require.ErrorIs(t, err, context.Canceled)
			assert.Equal(t, destination.Transient, destination.ClassOf(err))
		})
	})
	t.Run("no longer than five seconds", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l := newLimits()
			var passed, refused atomic.Int32
			for range 200 {
				go func() {
					if l.wait(t.Context(), "loc1") == nil {
						passed.Add(1)
					} else {
						refused.Add(1)
					}
				}()
			}
			synctest.Wait()
			assert.EqualValues(t, burst, passed.Load())
			assert.EqualValues(t, 200-burst-5*perSecond, refused.Load(), "the calls that would wait longer")
			time.Sleep(maxWait)
			synctest.Wait()
			assert.EqualValues(t, burst+5*perSecond, passed.Load())
		})
	})
	t.Run("for their own location only", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l := newLimits()
			spend(t, l)
			began := time.Now()
			require.NoError(t, l.wait(t.Context(), "loc2"))
			assert.Zero(t, time.Since(began))
		})
	})
}

func TestLimitsRemoveIdleLocations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimits()
		for i := range keep {
			require.NoError(t, l.wait(t.Context(), fmt.Sprint("loc", i)))
		}
		assert.Len(t, l.byLocation, keep)
		time.Sleep(10 * time.Second)
		for range burst {
			require.NoError(t, l.wait(t.Context(), "loc0"))
		}
		require.NoError(t, l.wait(t.Context(), "new"))
		assert.Len(t, l.byLocation, 2, "the busy one and the new one")
		began := time.Now()
		require.NoError(t, l.wait(t.Context(), "loc0"))
		assert.Positive(t, time.Since(began), "the busy one keeps its limiter")
	})
}
