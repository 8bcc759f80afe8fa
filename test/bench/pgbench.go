package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/test/bench/load"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgproxy"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
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
func (e *environment) pgbench(ctx context.Context, r record, suffix string, delay time.Duration) error {
	databaseURL, err := e.newDatabase(ctx)
	if err != nil {
		return err
	}
	if err := e.migrate(ctx, databaseURL); err != nil {
		return err
	}
	if delay > 0 {
		p, err := pgproxy.NewDelayed(ctx, databaseURL, delay)
		if err != nil {
			return err
		}
		defer p.Close() //nolint:errcheck // No connection uses it any more.
		databaseURL = p.Through(databaseURL)
	}
	if err := e.settle(ctx); err != nil {
		return err
	}
	result, err := e.runPgbench(ctx, databaseURL)
	if err != nil {
		return err
	}
	e.enterLoad(r, pgbench, suffix, result)
	return nil
}

// migrate makes the tables of verity-sync.
func (e *environment) migrate(ctx context.Context, databaseURL string) error {
	migrate := exec.CommandContext(ctx, filepath.Join(e.options.binaries, "verity-sync"), "migrate")
	migrate.Env = []string{"DATABASE_URL=" + databaseURL}
	if output, err := migrate.CombinedOutput(); err != nil {
		return fmt.Errorf("verity-sync migrate: %w: %s", err, proc.Tail(output))
	}
	return nil
}

func (e *environment) runPgbench(ctx context.Context, databaseURL string) (load.Result, error) {
	dir, err := os.MkdirTemp(e.dir, "pgbench")
	if err != nil {
		return load.Result{}, err
	}
	script := filepath.Join(dir, "insert.sql")
	// pgbench takes a colon and a name for one of its variables: the times of the payload are written without.
	body := strings.NewReplacer("'", "''", ":", ": ").Replace(string(e.webhook(500, time.Now()).Body))
	if err := os.WriteFile(script, fmt.Appendf(nil, insert, body, e.sender.LocationID), 0o600); err != nil {
		return load.Result{}, err
	}
	program, err := pgbenchPath()
	if err != nil {
		return load.Result{}, err
	}
	cmd := exec.CommandContext(ctx, program, "--no-vacuum", "--protocol=prepared", "--client="+strconv.Itoa(connections), "--jobs=2",
		"--time="+strconv.Itoa(int(e.options.duration.Seconds())), "--log", "--file="+script, databaseURL)
	cmd.Dir = dir
	output, err := cmd.CombinedOutput()
	if err != nil {
		return load.Result{}, fmt.Errorf("pgbench: %w: %s", err, proc.Tail(output))
	}
	result, err := readPgbenchLogs(dir)
	if err != nil {
		return load.Result{}, fmt.Errorf("read the log of pgbench: %w: %s", err, proc.Tail(output))
	}
	return result, nil
}

// readPgbenchLogs reads what each thread has logged.
func readPgbenchLogs(dir string) (load.Result, error) {
	logs, err := filepath.Glob(filepath.Join(dir, "pgbench_log.*"))
	if err != nil {
		return load.Result{}, err
	}
	var text []byte
	for _, path := range logs {
		content, err := os.ReadFile(path)
		if err != nil {
			return load.Result{}, err
		}
		text = append(text, content...)
	}
	return parsePgbenchLog(text)
}

// parsePgbenchLog reads transactions, one a line: of its fields the third is how long it took, in microseconds, and the fifth and the sixth
// are when it ended, in seconds and microseconds. The time that counts is from the first transaction to the last, without what pgbench
// needs to connect.
func parsePgbenchLog(text []byte) (load.Result, error) {
	const latency, seconds, micros = 2, 4, 5
	var result load.Result
	var first, last time.Time
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) <= micros {
			return load.Result{}, fmt.Errorf("no transaction: %q", line)
		}
		var numbers [micros + 1]int64
		for _, i := range []int{latency, seconds, micros} {
			var err error
			if numbers[i], err = strconv.ParseInt(fields[i], 10, 64); err != nil {
				return load.Result{}, err
			}
		}
		took := time.Duration(numbers[latency]) * time.Microsecond
		end := time.Unix(numbers[seconds], numbers[micros]*int64(time.Microsecond))
		if begin := end.Add(-took); first.IsZero() || begin.Before(first) {
			first = begin
		}
		if end.After(last) {
			last = end
		}
		result.Latencies = append(result.Latencies, took)
	}
	if len(result.Latencies) == 0 {
		return load.Result{}, errors.New("there is no transaction")
	}
	result.Acknowledged, result.Elapsed = len(result.Latencies), last.Sub(first)
	return result, nil
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
