package testenv_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv"
)

func TestALockedTableBlocksStatementsUntilItIsUnlocked(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(unlock func()){
		"by the test":            func(unlock func()) { unlock() },
		"by the end of a test":   func(func()) {},
		"by both, in that order": func(unlock func()) { unlock(); unlock() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := testenv.Postgres(t)
			conn := connect(t, url)
			_, err := conn.Exec(t.Context(), "CREATE TABLE things (id int); SET lock_timeout = '100ms'")
			require.NoError(t, err)

			t.Run("while it is locked", func(t *testing.T) {
				unlock := testenv.LockTable(t, url, "things", "SHARE")
				assert.Zero(t, query[int](t, conn, "SELECT count(*) FROM things"), "this mode allows reads")
				_, err := conn.Exec(t.Context(), "INSERT INTO things VALUES (1)")
				require.ErrorContains(t, err, "lock timeout")
				end(unlock)
			})

			_, err = conn.Exec(t.Context(), "SET lock_timeout = '1min'; INSERT INTO things VALUES (1)")
			require.NoError(t, err)
		})
	}
}
