package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/testenv/proc"
	"github.com/dfmiddleware/verity-sync/test/bench/proxy"
	"github.com/dfmiddleware/verity-sync/test/bench/stats"
)

// insert is verity-sync's own, of one row instead of a batch: the same columns of the same sizes into the same table with the same
// indexes. Ids begin with the time, as version 7 does, and keys are as random as GoHighLevel's.
const insert = `INSERT INTO webhook_events (id, received_at, source, event_type, entity_type, entity_id, location_id, contact_id,
  appointment_status, payload_json, truncated, headers, dedupe_key, body_hash, ordering_key, occurred_at)
SELECT overlay(k.key::text placing substr(t.hex, 1, 8) || '-' || substr(t.hex, 9, 4) from 1 for 13)::uuid, statement_timestamp(), 'ghl',
  'appointment.created', 'appointment', k.entity, '%[2]s', 'contact-500', 'confirmed', '%[1]s'::json, false,
  '{"Content-Type":"application/json"}'::jsonb, 'ghl:' || k.key, sha256(uuid_send(k.key)), 'appointment:' || k.entity, statement_timestamp()
FROM (SELECT key, upper(substr(replace(key::text, '-', ''), 1, 20)) AS entity FROM (SELECT gen_random_uuid() AS key) r) k,
  (SELECT lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') AS hex) t
ON CONFLICT (dedupe_key) DO NOTHING RETURNING id, received_at;
`

// pgbench measures how fast Postgres itself takes the rows, with nothing before it.
func (w *world) pgbench(ctx context.Context, r record, suffix string, delay time.Duration) error {
	databaseURL, err := w.newDatabase(ctx)
	if err != nil {
		return err
	}
	migrate := exec.CommandContext(ctx, filepath.Join(w.options.binaries, "verity-sync"), "migrate")
	migrate.Env = []string{"DATABASE_URL=" + databaseURL}
	if output, err := migrate.CombinedOutput(); err != nil {
		return fmt.Errorf("verity-sync migrate: %w: %s", err, proc.Tail(output))
	}
	if delay > 0 {
		p, err := proxy.Start(ctx, databaseURL, delay)
		if err != nil {
			return err
		}
		defer p.Close() //nolint:errcheck // Nobody is left behind it.
		databaseURL = p.Through(databaseURL)
	}
	if err := w.settle(ctx); err != nil {
		return err
	}
	rate, latencies, err := w.runPgbench(ctx, databaseURL)
	if err != nil {
		return err
	}
	w.options.say("  %-11s%s: %s/s, p50 %s, p99 %s", pgbench, suffix, figure(rate), stats.Percentile(latencies, 50),
		stats.Percentile(latencies, 99))
	r.add(measureRate+suffix, pgbench, rate)
	r.addDuration(measureP50+suffix, pgbench, stats.Percentile(latencies, 50))
	r.addDuration(measureP99+suffix, pgbench, stats.Percentile(latencies, 99))
	return nil
}

func (w *world) runPgbench(ctx context.Context, databaseURL string) (rate float64, latencies []time.Duration, err error) {
	dir, err := os.MkdirTemp(w.dir, "pgbench")
	if err != nil {
		return 0, nil, err
	}
	script := filepath.Join(dir, "insert.sql")
	// pgbench takes a colon and a name for one of its variables: the times of the payload are written without.
	body := strings.NewReplacer("'", "''", ":", ": ").Replace(string(w.webhook(500, time.Now()).Body))
	if err := os.WriteFile(script, fmt.Appendf(nil, insert, body, w.sender.LocationID), 0o600); err != nil {
		return 0, nil, err
	}
	program, err := pgbenchPath()
	if err != nil {
		return 0, nil, err
	}
	cmd := exec.CommandContext(ctx, program, "--no-vacuum", "--protocol=prepared", "--client="+strconv.Itoa(connections), "--jobs=2",
		"--time="+strconv.Itoa(int(w.options.duration.Seconds())), "--log", "--file="+script, databaseURL)
	cmd.Dir = dir
	began := time.Now()
	if output, err := cmd.CombinedOutput(); err != nil {
		return 0, nil, fmt.Errorf("pgbench: %w: %s", err, proc.Tail(output))
	}
	if latencies, err = readPgbenchLogs(dir); err != nil {
		return 0, nil, err
	}
	// It connects before it begins; what is left of the time over its own is that.
	return float64(len(latencies)) / min(time.Since(began), w.options.duration).Seconds(), latencies, nil
}

// readPgbenchLogs reads the latencies, in microseconds, which are the third field of each transaction.
func readPgbenchLogs(dir string) (latencies []time.Duration, err error) {
	logs, err := filepath.Glob(filepath.Join(dir, "pgbench_log.*"))
	if err != nil {
		return nil, err
	}
	for _, path := range logs {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) < 3 {
				continue
			}
			micros, err := strconv.ParseInt(fields[2], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("read the log of pgbench: %w", errors.Join(err, file.Close()))
			}
			latencies = append(latencies, time.Duration(micros)*time.Microsecond)
		}
		if err := errors.Join(lines.Err(), file.Close()); err != nil {
			return nil, fmt.Errorf("read the log of pgbench: %w", err)
		}
	}
	if len(latencies) == 0 {
		return nil, errors.New("pgbench has logged no transaction")
	}
	return latencies, nil
}

// pgbenchPath finds pgbench in PATH or where Debian has the programs of a server.
func pgbenchPath() (string, error) {
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path, nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	if err != nil || len(found) == 0 {
		return "", errors.New("no pgbench: install postgresql-contrib, or the package of the server")
	}
	return found[len(found)-1], nil
}
