package destination_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

// hang has a call under way until release.
func hang(b *destination.Breaker, release <-chan struct{}, calls *sync.WaitGroup) {
	calls.Go(func() {
		_ = b.Do(context.Background(), func(context.Context) error { <-release; return nil })
	})
}

func nothing(context.Context) error { return nil }

func TestADestinationThatHangsTakesNoMorePlacesThanItHas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// Two breakers that share the places, as those of GoHighLevel's locations do.
		opts := destination.BreakerOptions{Calls: destination.NewBulkhead("ghl", 2, nil)}
		one, two := destination.NewBreaker("ghl:one", opts), destination.NewBreaker("ghl:two", opts)
		release, calls := make(chan struct{}), sync.WaitGroup{}
		hang(one, release, &calls)
		hang(two, release, &calls)
		synctest.Wait()

		began := time.Now()
		err := one.Do(t.Context(), nothing)
		require.ErrorIs(t, err, destination.ErrFull)
		assert.Equal(t, 100*time.Millisecond, time.Since(began), "a call waits a little for quick ones")
		assert.Equal(t, destination.Limited, destination.ClassOf(err), "it says nothing about the event")
		assert.Positive(t, destination.RetryAfterOf(err))
		assert.True(t, one.Up())

		time.Sleep(2 * time.Second)
		began = time.Now()
		require.ErrorIs(t, one.Do(t.Context(), nothing), destination.ErrFull)
		assert.Zero(t, time.Since(began), "nobody waits behind those that are stuck")

		close(release)
		calls.Wait()
		require.NoError(t, one.Do(t.Context(), nothing))
	})
}

func TestACallGetsThePlaceOfOneThatEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := destination.NewBreaker("aloware", destination.BreakerOptions{Calls: destination.NewBulkhead("aloware", 1, nil)})
		release, calls := make(chan struct{}), sync.WaitGroup{}
		hang(b, release, &calls)
		synctest.Wait()
		time.AfterFunc(50*time.Millisecond, func() { close(release) })
		require.NoError(t, b.Do(t.Context(), nothing))
		calls.Wait()
	})
}
