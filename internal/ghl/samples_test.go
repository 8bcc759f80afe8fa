package ghl_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

// received is the time of receipt in these tests: after all events in the bodies.
var received = time.Date(2026, time.November, 20, 12, 0, 0, 0, time.UTC)

// TestSamples compares every sample with its line of testdata/expected.tsv.
func TestSamples(t *testing.T) {
	t.Parallel()
	expected := readTable(t, filepath.Join("testdata", "expected.tsv"))
	samples := readBodies(t, "samples")
	require.Len(t, samples, len(expected), "every sample has a line and every line a sample")

	for sample, raw := range samples {
		t.Run(sample, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, expected, sample)
			body, err := ghl.Decode(jsonType, []byte(raw))
			require.NoError(t, err)
			assert.Equal(t, raw, string(body.Payload), "the payload is the bytes received")
			assert.Nil(t, body.Raw)
			assert.Equal(t, expected[sample], columns(ghl.Normalise(body, received)))
		})
	}
}

// TestReports compares bodies from public reports with their lines.
func TestReports(t *testing.T) {
	t.Parallel()
	expected := readTable(t, filepath.Join("testdata", "reports", "expected.tsv"))
	bodies := readBodies(t, "reports")
	// They happened after the samples.
	received := time.Date(2026, time.November, 25, 12, 0, 0, 0, time.UTC)
	for report := range expected {
		t.Run(report, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, bodies, report)
			body, err := ghl.Decode(jsonType, []byte(bodies[report]))
			require.NoError(t, err)
			assert.Equal(t, expected[report], columns(ghl.Normalise(body, received)))
		})
	}
}

// readBodies reads the JSON files of a directory of testdata, by their names: "samples" are what GoHighLevel and people send,
// "odd" what they should not.
func readBodies(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.json"))
	require.NoError(tb, err)
	require.NotEmpty(tb, files)
	bodies := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(tb, err)
		bodies[strings.TrimSuffix(filepath.Base(file), ".json")] = string(text)
	}
	return bodies
}

// columns renders an event as expected.tsv does.
func columns(e event.Event) map[string]string {
	occurredAt := ""
	if !e.OccurredAt.IsZero() {
		occurredAt = e.OccurredAt.Format(time.RFC3339Nano)
	}
	return map[string]string{
		"type":               e.Type,
		"entity_type":        e.EntityType,
		"entity_id":          e.EntityID,
		"location_id":        e.LocationID,
		"contact_id":         e.ContactID,
		"appointment_status": e.AppointmentStatus,
		"occurred_at":        occurredAt,
	}
}

// readTable reads tab-separated lines under a header, by their first column.
func readTable(t *testing.T, file string) map[string]map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	header := strings.Split(lines[0], "\t")
	table := map[string]map[string]string{}
	for _, line := range lines[1:] {
		cells := strings.Split(line, "\t")
		require.Len(t, cells, len(header), line)
		row := map[string]string{}
		for i, name := range header[1:] {
			row[name] = cells[i+1]
		}
		if at := row["occurred_at"]; at != "" {
			parsed, err := time.Parse(time.RFC3339Nano, at)
			require.NoError(t, err)
			row["occurred_at"] = parsed.Format(time.RFC3339Nano)
		}
		table[cells[0]] = row
	}
	return table
}

func TestEveryRuleNamesItsSource(t *testing.T) {
	t.Parallel()
	for _, source := range ghl.Sources() {
		assert.NotEmpty(t, source)
		if strings.HasPrefix(source, "testdata/") {
			assert.FileExists(t, source)
		}
	}
}
