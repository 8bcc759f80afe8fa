package intake_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/sim/ghlsender"
)

// TestACommitWhoseAnswerIsLostEndsWithTheEventStoredOnce is not parallel: it changes one of the receivers.
func TestACommitWhoseAnswerIsLostEndsWithTheEventStoredOnce(t *testing.T) {
	receiver := middleware.Receivers[1]
	postgres := newCutter(t, middleware.DatabaseURL)
	setDatabase := func(url string) {
		receiver.Env["DATABASE_URL"] = url
		require.NoError(t, receiver.Restart(t.Context()))
	}
	setDatabase(postgres.url)
	defer setDatabase(middleware.DatabaseURL)

	for name, test := range map[string]struct {
		webhook ghlsender.Webhook
		cut     cut
	}{
		"a statement, cut before Postgres has said anything":           {note(), cut{command: "INSERT"}},
		"a statement, cut after Postgres has said that it is executed": {note(), cut{command: "INSERT", keepsTag: true}},
		"a transaction": {newBooking().webhook(), cut{command: "COMMIT"}},
	} {
		t.Run(name, func(t *testing.T) {
			postgres.next.Store(&test.cut)
			lost, err := middleware.Post(t.Context(), receiver, test.webhook)
			require.NoError(t, err)
			assert.Equal(t, http.StatusTooManyRequests, lost.Status)
			assert.NotEmpty(t, lost.Header.Get("Retry-After"))
			assert.Nil(t, postgres.next.Load(), "the connection was cut")
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
