package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/dfmiddleware/verity-sync/test/bench/cycle"
	"github.com/dfmiddleware/verity-sync/test/bench/relations"
	"github.com/dfmiddleware/verity-sync/test/bench/stats"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

const (
	// historyShare is how many finished events there are at the beginning for each that is put through.
	historyShare = 10
	// settingsContacts are the people that the events are about.
	settingsContacts = 5000
	// watchEvery is how often dead rows are counted.
	watchEvery = time.Second
)

// noCheckpoints prevents checkpoints during a run. After a checkpoint Postgres logs each page that changes as a whole, which would count
// for one setting and not for another.
var noCheckpoints = map[string]string{"checkpoint_timeout": "1d", "max_wal_size": "64GB"}

// setting is a way to have the tables.
type setting struct {
	name string
	// keep leaves what the migrations have set; otherwise the tables are as Postgres makes them.
	keep bool
	// statements come on top.
	statements []string
}

var settings = []setting{
	{name: "Postgres' defaults"},
	{name: "as migrated", keep: true},
	{name: "events: fillfactor 90", statements: []string{"ALTER TABLE webhook_events SET (fillfactor = 90)"}},
	{name: "events: fillfactor 80", statements: []string{"ALTER TABLE webhook_events SET (fillfactor = 80)"}},
	{name: "events: fillfactor 70", statements: []string{"ALTER TABLE webhook_events SET (fillfactor = 70)"}},
	{name: "others: fillfactor 80", statements: []string{
		"ALTER TABLE appointments SET (fillfactor = 80)", "ALTER TABLE contact_mappings SET (fillfactor = 80)",
	}},
	vacuumAt("vacuum at 5 %", "0.05"),
	vacuumAt("vacuum at 1 %", "0.01"),
	vacuumAt("vacuum at 2 %, unthrottled", "0.02, autovacuum_vacuum_cost_delay = 0"),
}

// vacuumAt sets the share of dead rows at which autovacuum processes the tables from which retention deletes.
func vacuumAt(name, share string) setting {
	const set = "ALTER TABLE %s SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = %s)"
	return setting{name: name, statements: []string{fmt.Sprintf(set, "webhook_events", share), fmt.Sprintf(set, "sync_log", share)}}
}

const (
	measureHeap       = "webhook_events, MiB"
	measureIndexes    = "its indexes, MiB"
	measurePartial    = "of which indexes of unfinished events, MiB"
	measureBloat      = " with indexes, times the rewritten size"
	measureHot        = ", HOT updates, %"
	measureDead       = ", dead rows at most"
	measureVacuums    = ", autovacuum runs"
	measureCommitP50  = "commit, p50, ms"
	measureCommitP99  = "commit, p99, ms"
	measureClaimP50   = "claim, p50, ms"
	measureClaimP99   = "claim, p99, ms"
	measureRecordP50  = "record, p50, ms"
	measureRecordP99  = "record, p99, ms"
	measureAskP50     = "backlog queries, p50, ms"
	measureAskP99     = "backlog queries, p99, ms"
	measurePostgresMS = "Postgres CPU an event, ms"
)

// settingsOf says what the settings row is.
func settingsOf(o options) string {
	return fmt.Sprintf("one run of %s at %s events a second on each of the servers, after %d finished events for each that comes",
		o.duration, figure(o.rate), historyShare)
}

// hotTables are those that change with every event.
var hotTables = []string{"webhook_events", "sync_log", "appointments", "contact_mappings"}

// settings puts the same events through the store on tables with different settings, all at the same time, each on a server of its own.
func (e *environment) settings(ctx context.Context, r record) error {
	return e.compare(ctx, r, settings)
}

func (e *environment) compare(ctx context.Context, r record, settings []setting) (err error) {
	contenders := make([]*contender, len(settings))
	defer func() {
		for _, c := range contenders {
			err = errors.Join(err, c.Close())
		}
	}()
	for i, s := range settings {
		contenders[i] = &contender{setting: s, environment: e, record: record{}}
	}
	for _, part := range []func(*contender, context.Context) error{(*contender).prepare, (*contender).run} {
		group, ctx := errgroup.WithContext(ctx)
		for _, c := range contenders {
			group.Go(func() error {
				if err := part(c, ctx); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	for _, c := range contenders {
		for k, values := range c.record {
			r[k] = append(r[k], values...)
		}
	}
	return nil
}

// contender is a server whose tables have a setting.
type contender struct {
	setting
	environment *environment
	record      record
	server      *postgres.Server
	pool        *pgxpool.Pool
}

func (c *contender) Close() error {
	if c.pool != nil {
		c.pool.Close()
	}
	if c.server == nil {
		return nil
	}
	return c.server.Close()
}

// events is how many are put through.
func (c *contender) events() int {
	return max(1, int(c.environment.options.rate*c.environment.options.duration.Seconds()))
}

// prepare makes the tables and their history.
func (c *contender) prepare(ctx context.Context) (err error) {
	if c.server, err = postgres.Start(ctx, postgres.Options{Settings: noCheckpoints}); err != nil {
		return err
	}
	if err := c.environment.migrate(ctx, c.server.URL()); err != nil {
		return err
	}
	if c.pool, err = pgxpool.New(ctx, c.server.URL()); err != nil {
		return err
	}
	if err := c.apply(ctx, c.pool); err != nil {
		return err
	}
	history := cycle.History{Contacts: settingsContacts, Events: historyShare * c.events(), Outlived: c.events()}
	if err := history.Fill(ctx, c.pool); err != nil {
		return err
	}
	_, err = c.pool.Exec(ctx, "CHECKPOINT")
	return err
}

// run stores and processes the events, and measures what they leave in the tables.
func (c *contender) run(ctx context.Context) error {
	postmaster, err := postmasterOf(c.server)
	if err != nil {
		return err
	}
	cpu, err := proc.CPU(postmaster)
	if err != nil {
		return err
	}
	before, err := relations.Read(ctx, c.pool)
	if err != nil {
		return err
	}
	watcher := relations.Watch(ctx, c.pool, watchEvery)
	defer watcher.Stop()
	result, err := cycle.Run(ctx, cycle.Options{
		DatabaseURL: c.server.URL(), Rate: c.environment.options.rate, Duration: c.environment.options.duration, Contacts: settingsContacts,
	})
	if err != nil {
		return err
	}
	used, err := proc.CPU(postmaster)
	if err != nil {
		return err
	}
	after, err := relations.Read(ctx, c.pool)
	if err != nil {
		return err
	}
	dead, err := watcher.MostDead()
	if err != nil {
		return err
	}
	packed, err := pack(ctx, c.pool)
	if err != nil {
		return err
	}
	r := c.record
	r.addDuration(measurePostgresMS, c.name, (used-cpu)/time.Duration(result.Events))
	r.add(measureWAL, c.name, float64(after.WAL-before.WAL)/float64(result.Events))
	r.addCycle(c.name, result)
	r.addTables(c.name, before, after, dead, packed)
	c.environment.options.say("  %-26s: %s times the rewritten size, %s bytes of WAL an event", c.name,
		figure(r.last("webhook_events"+measureBloat, c.name)), figure(r.last(measureWAL, c.name)))
	return nil
}

// apply gives the tables the setting.
func (s setting) apply(ctx context.Context, pool *pgxpool.Pool) error {
	statements := s.statements
	if !s.keep {
		const reset = `
			SELECT format('ALTER TABLE %s RESET (%s)', c.oid::regclass, string_agg(split_part(o, '=', 1), ', '))
			FROM pg_class c, unnest(c.reloptions) o
			WHERE c.relkind = 'r' AND c.relnamespace = quote_ident(current_schema())::regnamespace
			GROUP BY c.oid`
		rows, err := pool.Query(ctx, reset)
		if err != nil {
			return err
		}
		resets, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("read what is set: %w", err)
		}
		statements = append(resets, statements...)
	}
	for _, statement := range statements {
		if _, err := pool.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// pack rewrites the tables as densely as Postgres can, and returns what they take then.
func pack(ctx context.Context, pool *pgxpool.Pool) (relations.Snapshot, error) {
	for _, table := range hotTables {
		for _, statement := range []string{"ALTER TABLE " + table + " RESET (fillfactor)", "VACUUM FULL " + table} {
			if _, err := pool.Exec(ctx, statement); err != nil {
				return relations.Snapshot{}, fmt.Errorf("pack %s: %w", table, err)
			}
		}
	}
	return relations.Read(ctx, pool)
}

func (r record) addCycle(name string, result cycle.Result) {
	for _, part := range []struct {
		p50, p99 string
		took     []time.Duration
	}{
		{measureCommitP50, measureCommitP99, result.Commit}, {measureClaimP50, measureClaimP99, result.Claim},
		{measureRecordP50, measureRecordP99, result.Record}, {measureAskP50, measureAskP99, result.Ask},
	} {
		r.addDuration(part.p50, name, stats.Percentile(part.took, 50))
		r.addDuration(part.p99, name, stats.Percentile(part.took, 99))
	}
}

func (r record) addTables(name string, before, after relations.Snapshot, dead map[string]int64, packed relations.Snapshot) {
	events := after.Tables["webhook_events"]
	r.add(measureHeap, name, mebibytes(events.Heap+events.Toast))
	r.add(measureIndexes, name, mebibytes(events.Indexes))
	r.add(measurePartial, name, mebibytes(partialIndexes(after)))
	for _, table := range hotTables {
		r.add(table+measureDead, name, float64(dead[table]))
		r.add(table+measureVacuums, name, float64(after.AutovacuumsSince(before, table)))
		if after.Tables[table].Updated > before.Tables[table].Updated {
			r.add(table+measureHot, name, 100*after.HotShare(before, table))
		}
		r.add(table+measureBloat, name, float64(after.Tables[table].Total())/float64(packed.Tables[table].Total()))
	}
}

// unfinishedIndexes hold unfinished events alone: what they are larger than a page is bloat.
var unfinishedIndexes = []string{"unfinished_ordering", "live", "left_behind", "parked", "held", "held_next_attempt", "not_created"}

func partialIndexes(s relations.Snapshot) (bytes int64) {
	for _, name := range unfinishedIndexes {
		bytes += s.Indexes["webhook_events_"+name+"_idx"]
	}
	return bytes
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func renderSettings(r record) string {
	names := make([]string, len(settings))
	for i, s := range settings {
		names[i] = s.name
	}
	measures := []string{measureHeap, measureIndexes, measurePartial}
	for _, of := range []string{measureBloat, measureHot, measureDead, measureVacuums} {
		for _, table := range hotTables {
			if _, measured := r[key{table + of, names[0]}]; measured {
				measures = append(measures, table+of)
			}
		}
	}
	measures = append(measures, measureWAL, measurePostgresMS, measureCommitP50, measureCommitP99, measureClaimP50, measureClaimP99,
		measureRecordP50, measureRecordP99, measureAskP50, measureAskP99)
	var out strings.Builder
	out.WriteString(r.table(names, measures...))
	return out.String()
}
