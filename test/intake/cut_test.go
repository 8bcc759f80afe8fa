package intake_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgproxy"
)

// TestACommitWhoseAnswerIsLostEndsWithTheEventStoredOnce is not parallel: it changes one of the receivers.
func TestACommitWhoseAnswerIsLostEndsWithTheEventStoredOnce(t *testing.T) {
	receiver := middleware.Receivers[1]
	postgres, err := pgproxy.New(t.Context(), middleware.DatabaseURL)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, postgres.Close()) })
	setDatabase := func(url string) {
		receiver.Env["DATABASE_URL"] = url
		require.NoError(t, receiver.Restart(t.Context()))
	}
	setDatabase(postgres.URL())
	defer setDatabase(middleware.DatabaseURL)

	for name, test := range map[string]struct {
		webhook ghlsender.Webhook
		cut     pgproxy.Cut
	}{
		"a statement, cut before Postgres has said anything":           {note(), pgproxy.Cut{Command: "INSERT"}},
		"a statement, cut after Postgres has said that it is executed": {note(), pgproxy.Cut{Command: "INSERT", KeepsTag: true}},
		"a transaction":            {newBooking().webhook(), pgproxy.Cut{Command: "COMMIT"}},
		"a transaction of a reply": {reply(ghlsender.NewID(), "Yes"), pgproxy.Cut{Command: "COMMIT"}},
	} {
		t.Run(name, func(t *testing.T) {
			postgres.Cut(&test.cut)
			lost, err := middleware.Post(t.Context(), receiver, test.webhook)
			require.NoError(t, err)
			assert.Equal(t, http.StatusTooManyRequests, lost.Status)
			assert.NotEmpty(t, lost.Header.Get("Retry-After"))
			assert.False(t, postgres.Cutting(), "the connection was cut")
			ids := stored(t, test.webhook.Body)
			require.Len(t, ids, 1, "Postgres has committed")

			again := post(t, receiver, test.webhook)
			assert.Equal(t, "duplicate", again.Outcome)
			assert.Equal(t, ids[0], again.ID)
			assert.Equal(t, ids, stored(t, test.webhook.Body))
			requireDoneOnce(t, ids...)
		})
	}
}
