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

// hang starts a call that is in flight until release is closed.
func hang(b *destination.Breaker, release <-chan struct{}, calls *sync.WaitGroup) {
	calls.Go(func() {
		_ = b.Do(context.Background(), func(context.Context) error { <-release; return nil })
	})
}

func TestADestinationThatHangsUsesNoMoreSlotsThanItsLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// Two breakers share the slots, as those of GoHighLevel's locations do.
		opts := destination.BreakerOptions{Calls: destination.NewBulkhead("ghl", 2, nil)}
		one, two := destination.NewBreaker("ghl:one", opts), destination.NewBreaker("ghl:two", opts)
		release, calls := make(chan struct{}), sync.WaitGroup{}
		hang(one, release, &calls)
		hang(two, release, &calls)
		synctest.Wait()

		started := time.Now()
		err := one.Do(t.Context(), succeed)
		require.ErrorIs(t, err, destination.ErrLimitReached)
		assert.Equal(t, 100*time.Millisecond, time.Since(started), "a call waits briefly for a slot")
		assert.Equal(t, destination.Limited, destination.ClassOf(err), "the event has not failed")
		assert.Positive(t, destination.RetryAfterOf(err))
		assert.True(t, one.Up())

		time.Sleep(2 * time.Second)
		started = time.Now()
		require.ErrorIs(t, one.Do(t.Context(), succeed), destination.ErrLimitReached)
		assert.Zero(t, time.Since(started), "no call waits while another one is stuck")

		close(release)
		calls.Wait()
		require.NoError(t, one.Do(t.Context(), succeed))
	})
}

func TestACallGetsTheSlotOfACallThatEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := destination.NewBreaker("aloware", destination.BreakerOptions{Calls: destination.NewBulkhead("aloware", 1, nil)})
		release, calls := make(chan struct{}), sync.WaitGroup{}
		hang(b, release, &calls)
		synctest.Wait()
		time.AfterFunc(50*time.Millisecond, func() { close(release) })
		require.NoError(t, b.Do(t.Context(), succeed))
		calls.Wait()
	})
}
