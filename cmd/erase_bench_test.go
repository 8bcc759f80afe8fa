package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv"
)

// manyEvents are 100,000 events of 3 KB and 1,000 contacts; a tenth of the events name none and have a phone number and an e-mail address.
const manyEvents = `
	INSERT INTO webhook_events (id, received_at, source, event_type, entity_type, entity_id, contact_id, location_id, ordering_key, dedupe_key,
	                            body_hash, status, processed_at, payload_json)
	SELECT gen_random_uuid(), now() - n * interval '1 second', 'ghl', 'contact.updated', CASE WHEN open THEN 'unknown' ELSE 'contact' END,
	       CASE WHEN NOT open THEN contact END, CASE WHEN NOT open THEN contact END, 'loc1',
	       CASE WHEN NOT open THEN 'contact:' || contact END, 'ghl:' || n, sha256(n::text::bytea), 'done', now(),
	       (CASE WHEN open THEN '{"type":"Form Submitted"' ELSE '{"type":"ContactUpdate","id":"' || contact || '"' END ||
	        ',"locationId":"loc1","firstName":"Ada","phone":"+1205' || (5550000 + person) || '","email":"person' || person ||
	        '@example.com","dateAdded":"2026-09-12T20:00:00.000Z","customFields":[' ||
	        (SELECT string_agg('{"id":"' || md5(n::text || i) || '","value":"' || md5(i::text || n) || ' ' || md5(i::text) || '"}', ',')
	         FROM generate_series(1, 24) i) || ']}')::json
	FROM (SELECT n, n % 1000 AS person, n / 1000 % 10 = 7 AS open, 'contactAaBbCc' || lpad((n % 1000)::text, 7, '0') AS contact
	      FROM generate_series(1, 100000) n) e`

// BenchmarkErase erases one person with 100 events in a separate process: `make bench-erase`.
func BenchmarkErase(b *testing.B) {
	var wall, cpu, memory float64
	for b.Loop() {
		b.StopTimer()
		url := testenv.Postgres(b)
		environ := []string{asProgram + "=1", "DATABASE_URL=" + url}
		program := func(args ...string) *exec.Cmd {
			cmd := exec.CommandContext(b.Context(), os.Args[0], args...)
			cmd.Env, cmd.Stderr = environ, os.Stderr
			return cmd
		}
		require.NoError(b, program("migrate").Run())
		conn, err := pgx.Connect(b.Context(), url)
		require.NoError(b, err)
		_, err = conn.Exec(b.Context(), manyEvents)
		require.NoError(b, err)
		require.NoError(b, conn.Close(b.Context()))
		erase := program("erase", "--contact", "contactAaBbCc0000042", "--yes")
		b.StartTimer()
		began := b.Elapsed()
		require.NoError(b, erase.Run())
		wall += (b.Elapsed() - began).Seconds()
		usage, ok := erase.ProcessState.SysUsage().(*syscall.Rusage)
		require.True(b, ok)
		cpu += (erase.ProcessState.UserTime() + erase.ProcessState.SystemTime()).Seconds()
		memory = max(memory, float64(usage.Maxrss)/1000)
	}
	n := float64(b.N)
	b.ReportMetric(wall/n, "s")
	b.ReportMetric(cpu/n, "s-processor")
	b.ReportMetric(memory, "MB")
	b.ReportMetric(0, "ns/op")
}
