// Package storable_test tests package ghl with a real Postgres. It is separate because ghl's own tests, which include fuzz tests, do not
// depend on the test environment.
package storable_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// TestPostgresKeepsPayloads shows that a column of the payload's type stores every payload of Decode unchanged, and that a text column
// stores every value of Normalise.
func TestPostgresKeepsPayloads(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), testenv.Postgres(t))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	_, err = conn.Exec(t.Context(), `CREATE TABLE stored (payload json NOT NULL, found text[] NOT NULL)`)
	require.NoError(t, err)

	bodies := map[string][]byte{
		"NUL in ids": []byte(`{"type":"a\u0000b","id":"a\u0000b","contactId":"\u0000","locationId":"l\u0000","webhookId":"\u0000w"}`),
		"lone surrogates in ids": []byte(
			`{"type":"x\ud800","customData":{"type":"AppointmentUpdate","id":"\udfff"},"appointmentStatus":"\ud800"}`),
	}
	for _, dir := range []string{"samples", "odd"} {
		files, err := filepath.Glob(filepath.Join("..", "testdata", dir, "*.json"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			bodies[file], err = os.ReadFile(file)
			require.NoError(t, err)
		}
	}

	for name, raw := range bodies {
		body, err := ghl.Decode("application/json", raw)
		require.NoError(t, err, name)
		e := ghl.Normalise(body, time.Now())
		found := []string{e.Type, e.EntityType, e.EntityID, e.LocationID, e.ContactID, e.AppointmentStatus, e.DedupeKey}

		var text string
		var back []string
		err = conn.QueryRow(t.Context(), `INSERT INTO stored VALUES ($1, $2) RETURNING payload::text, found`,
			body.Payload, found).Scan(&text, &back)
		require.NoError(t, err, name)
		assert.Equal(t, string(raw), text, name)
		assert.Equal(t, found, back, name)
	}
}
