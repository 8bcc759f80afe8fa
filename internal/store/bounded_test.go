package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

// A firewall that drops a connection notifies neither side. A caller without a deadline, such as the housekeeper, must detect it.
func TestAHalfOpenConnectionIsGivenUp(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	proxy := b.proxy()
	db, err := store.Open(t.Context(), proxy.URL(), store.Options{Name: "test", MaxConns: 2, CallTimeout: 2 * time.Second})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	_, err = db.AcquireTerm(t.Context(), "one")
	require.NoError(t, err)

	proxy.HalfOpen()
	proxy.Heal()
	for name, ask := range map[string]func() error{
		"a row": func() error { _, err := db.AcquireTerm(context.Background(), "two"); return err },
		"rows": func() error {
			_, err := db.ListUndispatched(context.Background(), store.DispatchQuery{Limit: 1})
			return err
		},
		"neither": func() error { return db.RequestAudit(context.Background()) },
	} {
		require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, ask()) }, time.Minute, time.Millisecond, name)
		proxy.HalfOpen()
		proxy.Heal()
	}
}
