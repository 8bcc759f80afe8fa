package store_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// TestTheDocsDropEverythingThatMigrationsCreate runs the statements of "Deleting everything" and migrates again.
func TestTheDocsDropEverythingThatMigrationsCreate(t *testing.T) {
	t.Parallel()
	page, err := repo.Path("docs", "operations.md")
	require.NoError(t, err)
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	statements := regexp.MustCompile("(?s)```sql\n(DROP TABLE .*?)```").FindSubmatch(text)
	require.Len(t, statements, 2)
	url := testenv.Postgres(t)
	migrate(t, url)
	b := &environment{Store: open(t, url), t: t, url: url}

	b.exec(string(statements[1]))

	var left int
	require.NoError(t, b.Pool().QueryRow(t.Context(), `SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace`).Scan(&left))
	require.Zero(t, left, "remaining relations")
	migrate(t, url)
}
