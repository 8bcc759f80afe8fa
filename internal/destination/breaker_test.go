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

func TestBreaker(t *testing.T) {
	t.Parallel()
	fail := func(class destination.Class, retryAfter time.Duration) func(context.Context) error {
		return func(context.Context) error {
			return &destination.Error{Destination: "d", Class: class, RetryAfter: retryAfter, Message: "no"}
		}
	}
	succeed := func(context.Context) error { return nil }
	unavailable, permanent := fail(destination.Unavailable, 0), fail(destination.Permanent, 0)

	for name, check := range map[string]func(t *testing.T, b *destination.Breaker, changes *[]bool){
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
		"refusals of single events do not open it": func(t *testing.T, b *destination.Breaker, _ *[]bool) {
			for range 50 {
				require.Error(t, b.Do(t.Context(), permanent))
			}
			assert.True(t, b.Up())
		},
		"opens after failures in a row, lets one try after a while, and closes when that succeeds": func(t *testing.T, b *destination.Breaker, changes *[]bool) {
			for range 5 {
				require.Error(t, b.Do(t.Context(), unavailable))
			}
			assert.False(t, b.Up())
			assert.Equal(t, 10*time.Second, b.Wait())
			err := b.Do(t.Context(), func(context.Context) error { t.Error("called while open"); return nil })
			assert.Equal(t, destination.Unavailable, destination.ClassOf(err))
			time.Sleep(11 * time.Second)
			require.Error(t, b.Do(t.Context(), unavailable))
			assert.Equal(t, 10*time.Second, b.Wait(), "the try failed: as long again")
			time.Sleep(11 * time.Second)
			require.NoError(t, b.Do(t.Context(), succeed))
			assert.True(t, b.Up())
			assert.Zero(t, b.Wait())
			assert.Equal(t, []bool{false, true}, *changes, "a failed try is no change")
		},
		"may be tried again once it was open for a while, by one call at a time": func(t *testing.T, b *destination.Breaker, _ *[]bool) {
			outages := func() [2][]string {
				down, mayTry := destination.Outages(b, destination.NewBreaker("another", destination.BreakerOptions{}))
				return [2][]string{down, mayTry}
			}
			assert.Equal(t, [2][]string{}, outages())
			for range 5 {
				require.Error(t, b.Do(t.Context(), unavailable))
			}
			assert.Equal(t, [2][]string{{"d"}}, outages())
			time.Sleep(11 * time.Second)
			assert.Equal(t, [2][]string{{"d"}, {"d"}}, outages())
			require.NoError(t, b.Do(t.Context(), func(context.Context) error {
				assert.Equal(t, [2][]string{{"d"}}, outages(), "somebody tries")
				return nil
			}))
			assert.Equal(t, [2][]string{}, outages())
		},
		"may be tried again where who tried was asked for a pause, or gave up": func(t *testing.T, b *destination.Breaker, _ *[]bool) {
			for range 5 {
				require.Error(t, b.Do(t.Context(), unavailable))
			}
			time.Sleep(11 * time.Second)
			require.Error(t, b.Do(t.Context(), func(context.Context) error { return context.Canceled }))
			assert.True(t, b.MayTry())
			require.Error(t, b.Do(t.Context(), fail(destination.Limited, 30*time.Second)))
			assert.False(t, b.MayTry(), "not before the pause is over")
			time.Sleep(31 * time.Second)
			assert.True(t, b.MayTry())
			require.NoError(t, b.Do(t.Context(), succeed))
			assert.True(t, b.Up())
			assert.False(t, b.MayTry())
		},
		"makes events wait longer the longer it lasts, up to a bound": func(t *testing.T, b *destination.Breaker, _ *[]bool) {
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
		"keeps the pause that was asked for, and calls nobody during it": func(t *testing.T, b *destination.Breaker, changes *[]bool) {
			require.Error(t, b.Do(t.Context(), fail(destination.Limited, 30*time.Second)))
			assert.Equal(t, 30*time.Second, b.Wait())
			err := b.Do(t.Context(), func(context.Context) error { t.Error("called during the pause"); return nil })
			assert.Equal(t, destination.Limited, destination.ClassOf(err))
			time.Sleep(31 * time.Second)
			require.NoError(t, b.Do(t.Context(), succeed))
			assert.Zero(t, b.Wait())
			assert.Empty(t, *changes)
		},
		"who was held back waits, though the destination was found to be up the moment after": func(t *testing.T, b *destination.Breaker, _ *[]bool) {
			for range 5 {
				require.Error(t, b.Do(t.Context(), unavailable))
			}
			time.Sleep(11 * time.Second)
			var held error
			require.NoError(t, b.Do(t.Context(), func(ctx context.Context) error {
				held = b.Do(ctx, func(context.Context) error { t.Error("called while somebody tries"); return nil })
				return nil
			}))
			require.Error(t, held)
			assert.True(t, b.Up())
			assert.Zero(t, b.Wait())
			assert.Equal(t, time.Second, b.WaitAfter(held), "what was not called has failed nobody")
			assert.Zero(t, b.WaitAfter(unavailable(t.Context())), "what was called has")
		},
		"who met a pause waits, though it was over the moment after": func(t *testing.T, b *destination.Breaker, _ *[]bool) {
			asked := b.Do(t.Context(), fail(destination.Limited, 30*time.Second))
			assert.Equal(t, 30*time.Second, b.WaitAfter(asked))
			met := b.Do(t.Context(), succeed)
			require.Error(t, met)
			time.Sleep(31 * time.Second)
			for _, err := range []error{asked, met} {
				assert.Equal(t, time.Second, b.WaitAfter(err))
			}
		},
		"does not believe in a pause of a year": func(t *testing.T, b *destination.Breaker, _ *[]bool) {
			err := b.Do(t.Context(), fail(destination.Limited, 365*24*time.Hour))
			require.Error(t, err)
			assert.Equal(t, 15*time.Minute, b.Wait())
			assert.Equal(t, 15*time.Minute, b.WaitAfter(err))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var changes []bool
				b := destination.NewBreaker("d", destination.BreakerOptions{Changed: func(_ string, up bool) { changes = append(changes, up) }})
				check(t, b, &changes)
			})
		})
	}
}
