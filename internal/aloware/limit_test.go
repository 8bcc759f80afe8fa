package aloware

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

func TestRateLimitStaysBelowAlowaresLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Options{Token: "secret", HTTP: http.DefaultClient})
		require.NoError(t, err)
		var passed []time.Time
		for range 10_000 {
			require.NoError(t, c.wait(t.Context()))
			passed = append(passed, time.Now())
		}
		for i := 5000; i < len(passed); i++ {
			require.Greater(t, passed[i].Sub(passed[i-5000]), time.Minute, "5,000 requests before request %d", i)
		}
	})
}

func TestRateLimitWaitsNoLongerThanTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Options{Token: "secret", HTTP: http.DefaultClient})
		require.NoError(t, err)
		for range burst {
			require.NoError(t, c.wait(t.Context()))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began := time.Now()
		err = c.wait(ctx)
		require.ErrorIs(t, err, ErrLimited)
		assert.Equal(t, destination.Limited, destination.ClassOf(err))
		assert.Positive(t, destination.RetryAfterOf(err))
		assert.Zero(t, time.Since(began))

		canceled, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, stop)
		require.ErrorIs(t, c.wait(canceled), context.Canceled)
	})
}

func FuzzContactID(f *testing.F) {
	for _, body := range []string{`{"id":70001}`, `{"contact":{"id":"a"}}`, `{"data":{"id":1}}`, `{"id":1e3}`, `null`, `{"contact":[]}`} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got, err := contactID([]byte(body))
		assert.Equal(t, err == nil, got != "")
		if err == nil {
			assert.Regexp(t, idForm, got)
		}
	})
}
