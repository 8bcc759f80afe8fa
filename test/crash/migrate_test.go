package crash

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/legacy"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// migrations are the points of `verity-sync migrate`.
var migrations = []failpoint.Point{failpoint.MigrationBegun, failpoint.MigrationDone}

func TestAMigrationThatDiesIsRunAgain(t *testing.T) {
	t.Parallel()
	program := systemtest.Shared(t).Binary
	whole := legacyDatabase(t)
	succeeds(t, []string{"DATABASE_URL=" + whole}, program, "migrate")
	expected := adopted(t, whole)
	require.Len(t, expected, 7)
	for _, point := range migrations {
		t.Run(string(point), func(t *testing.T) {
			t.Parallel()
			points := failpoint.Dir(t.TempDir())
			require.NoError(t, points.Arm(point))
			database := legacyDatabase(t)
			environ := []string{"DATABASE_URL=" + database, failpoint.Variable + "=" + string(points)}

			diesOf(t, environ, program, "migrate")
			succeeds(t, environ, program, "migrate")

			assert.True(t, points.Hit(point))
			assert.Equal(t, expected, adopted(t, database), "as if it had not died")
		})
	}
}

// legacyDatabase returns the URL of a database of the legacy middleware.
func legacyDatabase(t *testing.T) string {
	t.Helper()
	url := testenv.Postgres(t)
	for _, sql := range []string{legacy.Tables, legacy.Rows} {
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), sql)
		require.NoError(t, err)
		require.NoError(t, conn.Close(t.Context()))
	}
	return url
}

// adopted returns the rows of webhook_events, but for the times, of which some are those of the migration.
func adopted(t *testing.T, url string) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), "SELECT (to_jsonb(e) - 'received_at' - 'processed_at')::text FROM webhook_events e ORDER BY id")
	require.NoError(t, err)
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return found
}
