package destination_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

// A breakerTest uses a new breaker with a fake clock. changes has the calls of Changed so far.
type breakerTest = func(t *testing.T, b *destination.Breaker, changes *[]bool)

func testBreakers(t *testing.T, tests map[string]breakerTest) {
	t.Helper()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var changes []bool
				b := destination.NewBreaker("d", destination.BreakerOptions{Changed: func(_ string, up bool) { changes = append(changes, up) }})
				test(t, b, &changes)
			})
		})
	}
}

func fail(class destination.Class, retryAfter time.Duration) func(context.Context) error {
	return func(context.Context) error {
		return &destination.Error{Destination: "d", Class: class, RetryAfter: retryAfter, Message: "no"}
	}
}

func succeed(context.Context) error { return nil }

var unavailable, permanent = fail(destination.Unavailable, 0), fail(destination.Permanent, 0)

func TestBreakerOpensAndCloses(t *testing.T) {
	t.Parallel()
	testBreakers(t, map[string]breakerTest{
		"stays closed below the number of failures in a row": func(t *testing.T, b *destination.Breaker, _ *[]bool) {
			for range 3 {
				for range 4 {
					require.Error(t, b.Do(t.Context(), unavailable))
				}
				require.NoError(t, b.Do(t.Context(), succeed))
			}
			assert.True(t, b.Up())
			assert.Zero(t, b.Wait())
		},
		"stays closed however many events are refused": func(t *testing.T, b *destination.Breaker, _ *[]bool) {
			for range 50 {
				require.Error(t, b.Do(t.Context(), permanent))
			}
			assert.True(t, b.Up())
		},
		"opens after consecutive failures, allows a trial call after its timeout, and closes if the trial call succeeds": func(t *testing.T, b *destination.Breaker, changes *[]bool) {
			for range 5 {
				require.Error(t, b.Do(t.Context(), unavailable))
			}
			assert.False(t, b.Up())
			assert.Equal(t, 10*time.Second, b.Wait())
			err := b.Do(t.Context(), func(context.Context) error { t.Error("called while open"); return nil })
			assert.Equal(t, destination.Unavailable, destination.ClassOf(err))
			time.Sleep(11 * time.Second)
			require.Error(t, b.Do(t.Context(), unavailable))
			assert.Equal(t, 10*time.Second, b.Wait(), "the trial call failed: the breaker is open for the same time again")
			time.Sleep(11 * time.Second)
			require.NoError(t, b.Do(t.Context(), succeed))
			assert.True(t, b.Up())
			assert.Zero(t, b.Wait())
			assert.Equal(t, []bool{false, true}, *changes, "a failed trial call is no change")
		},
		"allows one trial call at a time once its timeout has passed": func(t *testing.T, b *destination.Breaker, _ *[]bool) {
			outages := func() [2][]string {
				down, allowTrial := destination.Outages(b, destination.NewBreaker("another", destination.BreakerOptions{}))
				return [2][]string{down, allowTrial}
			}
			assert.Equal(t, [2][]string{}, outages())
			for range 5 {
				require.Error(t, b.Do(t.Context(), unavailable))
			}
			assert.Equal(t, [2][]string{{"d"}}, outages())
			time.Sleep(11 * time.Second)
			assert.Equal(t, [2][]string{{"d"}, {"d"}}, outages())
			require.NoError(t, b.Do(t.Context(), func(context.Context) error {
				assert.Equal(t, [2][]string{{"d"}}, outages(), "the trial call is in flight")
				return nil
			}))
			assert.Equal(t, [2][]string{}, outages())
		},
		"allows another trial call if a trial call was cancelled or answered with a pause": func(t *testing.T, b *destination.Breaker, _ *[]bool) {
			for range 5 {
				require.Error(t, b.Do(t.Context(), unavailable))
			}
			time.Sleep(11 * time.Second)
			require.Error(t, b.Do(t.Context(), func(context.Context) error { return context.Canceled }))
			assert.True(t, b.AllowsTrial())
			require.Error(t, b.Do(t.Context(), fail(destination.Limited, 30*time.Second)))
			assert.False(t, b.AllowsTrial(), "not before the pause ends")
			time.Sleep(31 * time.Second)
			assert.True(t, b.AllowsTrial())
			require.NoError(t, b.Do(t.Context(), succeed))
			assert.True(t, b.Up())
			assert.False(t, b.AllowsTrial())
		},
	})
}

func TestBreakerMakesEventsWait(t *testing.T) {
	t.Parallel()
	testBreakers(t, map[string]breakerTest{
		"backs off longer the longer the outage lasts, up to MaxWait": func(t *testing.T, b *destination.Breaker, _ *[]bool) {
			for range 5 {
				require.Error(t, b.Do(t.Context(), unavailable))
			}
			last := time.Duration(0)
			for range 400 {
				time.Sleep(11 * time.Second)
				require.Error(t, b.Do(t.Context(), unavailable))
				require.GreaterOrEqual(t, b.Wait(), last)
				last = b.Wait()
			}
			assert.Equal(t, 5*time.Minute, last)
		},
		"makes no call during a requested pause": func(t *testing.T, b *destination.Breaker, changes *[]bool) {
			require.Error(t, b.Do(t.Context(), fail(destination.Limited, 30*time.Second)))
			assert.Equal(t, 30*time.Second, b.Wait())
			err := b.Do(t.Context(), func(context.Context) error { t.Error("called during the pause"); return nil })
			assert.Equal(t, destination.Limited, destination.ClassOf(err))
			time.Sleep(31 * time.Second)
			require.NoError(t, b.Do(t.Context(), succeed))
			assert.Zero(t, b.Wait())
			assert.Empty(t, *changes)
		},
		"delays an event that was rejected during a trial call, even if that call has closed the breaker since": func(t *testing.T, b *destination.Breaker, _ *[]bool) {
			for range 5 {
				require.Error(t, b.Do(t.Context(), unavailable))
			}
			time.Sleep(11 * time.Second)
			var rejected error
			require.NoError(t, b.Do(t.Context(), func(ctx context.Context) error {
				rejected = b.Do(ctx, func(context.Context) error { t.Error("called while a trial call is in flight"); return nil })
				return nil
			}))
			require.Error(t, rejected)
			assert.True(t, b.Up())
			assert.Zero(t, b.Wait())
			assert.Equal(t, time.Second, b.WaitAfter(rejected), "no call was made: the event has not failed")
			assert.Zero(t, b.WaitAfter(unavailable(t.Context())), "the call was made and failed")
		},
		"delays an event that was rejected during a pause, even if the pause has ended since": func(t *testing.T, b *destination.Breaker, _ *[]bool) {
			requested := b.Do(t.Context(), fail(destination.Limited, 30*time.Second))
			assert.Equal(t, 30*time.Second, b.WaitAfter(requested))
			rejected := b.Do(t.Context(), succeed)
			require.Error(t, rejected)
			time.Sleep(31 * time.Second)
			for _, err := range []error{requested, rejected} {
				assert.Equal(t, time.Second, b.WaitAfter(err))
			}
		},
		"limits a requested pause to MaxPause": func(t *testing.T, b *destination.Breaker, _ *[]bool) {
			err := b.Do(t.Context(), fail(destination.Limited, 365*24*time.Hour))
			require.Error(t, err)
			assert.Equal(t, 15*time.Minute, b.Wait())
			assert.Equal(t, 15*time.Minute, b.WaitAfter(err))
		},
	})
}
