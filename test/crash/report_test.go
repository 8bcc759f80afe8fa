package crash

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// The marks on the page between which the table is.
const (
	begin = "<!-- what the run wrote -->\n"
	end   = "<!-- end -->"
)

// report is a table of what was seen, in Markdown.
type report struct{ rows strings.Builder }

func (r *report) add(c crash, took time.Duration) {
	times := "once"
	if c.forwards == 2 {
		times = "twice"
	}
	fmt.Fprintf(&r.rows, "| `%s` | %s | %s | %s | %s | %.1f s |\n", c.point, c.gap, c.answer, times, cmp.Or(c.again, "–"), took.Seconds())
}

// write puts the table on the page that CRASH_REPORT names.
func (r *report) write(t *testing.T) {
	t.Helper()
	table := "| point | between | response to GoHighLevel | Verity received it | also repeated | done after |\n" +
		"| --- | --- | --- | --- | --- | ---: |\n" + r.rows.String()
	page := os.Getenv("CRASH_REPORT")
	if page == "" {
		t.Log("\n" + table)
		return
	}
	content, err := os.ReadFile(page)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(content), begin)
	_, after, ended := strings.Cut(rest, end)
	require.True(t, found && ended, "%s has marks between which to write", page)
	require.NoError(t, os.WriteFile(page, []byte(before+begin+"\n"+table+"\n"+end+after), 0o600))
}

func TestTheDocumentationHasEveryPoint(t *testing.T) {
	t.Parallel()
	page, err := repo.Path("docs", "crash-points.md")
	require.NoError(t, err)
	content, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, point := range failpoint.All() {
		assert.Contains(t, string(content), "\n| `"+string(point)+"` |", "docs/crash-points.md has a row for it")
	}
}
