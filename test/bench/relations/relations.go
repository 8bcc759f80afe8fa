// Package relations reads what Postgres itself knows of a database: the sizes of tables and indexes, dead rows, updates, runs of
// autovacuum, and the WAL position. It knows nothing of who writes there.
package relations

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Table is what Postgres knows of one.
type Table struct {
	// Heap, Toast and Indexes are sizes in bytes: the rows, values that were moved out of their rows, and all indexes together.
	Heap, Toast, Indexes int64
	// Live and Dead are the estimated numbers of rows.
	Live, Dead int64
	// Inserted, Updated and Deleted count rows since the database exists. HotUpdated are those of Updated that needed no index entry.
	Inserted, Updated, HotUpdated, Deleted int64
	// Autovacuums counts how often autovacuum has processed it.
	Autovacuums int64
}

// Total is the size of all that belongs to the table.
func (t Table) Total() int64 { return t.Heap + t.Toast + t.Indexes }

// Snapshot is a database at a moment.
type Snapshot struct {
	Tables map[string]Table
	// Indexes has the size of each index by its name, in bytes.
	Indexes map[string]int64
	// WAL is the position in the log, in bytes, and WALFiles how much of it is on disk.
	WAL, WALFiles int64
}

const tables = `
	SELECT s.relname, pg_table_size(s.relid) - coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0),
		coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0), pg_indexes_size(s.relid), s.n_live_tup, s.n_dead_tup,
		s.n_tup_ins, s.n_tup_upd, s.n_tup_hot_upd, s.n_tup_del, s.autovacuum_count
	FROM pg_stat_user_tables s
	JOIN pg_class c ON c.oid = s.relid
	WHERE s.schemaname = current_schema()`

const indexes = `SELECT indexrelname, pg_relation_size(indexrelid) FROM pg_stat_user_indexes WHERE schemaname = current_schema()`

const wal = `SELECT (pg_current_wal_lsn() - '0/0')::bigint, (SELECT coalesce(sum(size), 0)::bigint FROM pg_ls_waldir())`

// Read takes a snapshot of the tables of the current schema. The role has to be a superuser, or one that may monitor.
func Read(ctx context.Context, pool *pgxpool.Pool) (Snapshot, error) {
	s := Snapshot{Tables: map[string]Table{}, Indexes: map[string]int64{}}
	var name string
	var t Table
	columns := []any{
		&name, &t.Heap, &t.Toast, &t.Indexes, &t.Live, &t.Dead, &t.Inserted, &t.Updated, &t.HotUpdated, &t.Deleted, &t.Autovacuums,
	}
	if err := each(ctx, pool, tables, columns, func() { s.Tables[name] = t }); err != nil {
		return s, fmt.Errorf("read the state of the tables: %w", err)
	}
	var size int64
	if err := each(ctx, pool, indexes, []any{&name, &size}, func() { s.Indexes[name] = size }); err != nil {
		return s, fmt.Errorf("read the sizes of the indexes: %w", err)
	}
	if err := pool.QueryRow(ctx, wal).Scan(&s.WAL, &s.WALFiles); err != nil {
		return s, fmt.Errorf("read the position of the WAL: %w", err)
	}
	return s, nil
}

func each(ctx context.Context, pool *pgxpool.Pool, statement string, columns []any, see func()) error {
	rows, err := pool.Query(ctx, statement)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, columns, func() error {
		see()
		return nil
	})
	return err
}

// AutovacuumsSince is how often autovacuum has processed a table since an earlier snapshot.
func (s Snapshot) AutovacuumsSince(earlier Snapshot, table string) int64 {
	return s.Tables[table].Autovacuums - earlier.Tables[table].Autovacuums
}

// HotShare is the share of the updates of a table since an earlier snapshot that needed no index entry; 0 where there were none.
func (s Snapshot) HotShare(earlier Snapshot, table string) float64 {
	now, then := s.Tables[table], earlier.Tables[table]
	if now.Updated == then.Updated {
		return 0
	}
	return float64(now.HotUpdated-then.HotUpdated) / float64(now.Updated-then.Updated)
}

// Watcher looks at the tables until it is stopped, and keeps the most dead rows that each had.
type Watcher struct {
	mu   sync.Mutex
	dead map[string]int64
	err  error
	stop context.CancelFunc
	done chan struct{}
}

// Watch starts a Watcher, which looks as often as every says.
func Watch(ctx context.Context, pool *pgxpool.Pool, every time.Duration) *Watcher {
	ctx, stop := context.WithCancel(ctx)
	w := &Watcher{dead: map[string]int64{}, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for ctx.Err() == nil {
			s, err := Read(ctx, pool)
			if ctx.Err() == nil {
				w.see(s, err)
			}
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
	}()
	return w
}

func (w *Watcher) see(s Snapshot, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	for name, t := range s.Tables {
		w.dead[name] = max(w.dead[name], t.Dead)
	}
}

// MostDead returns the most dead rows that each table had since the last call. An error says that Postgres could not be asked.
func (w *Watcher) MostDead() (map[string]int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	most := maps.Clone(w.dead)
	clear(w.dead)
	return most, w.err
}

// Stop ends the watching.
func (w *Watcher) Stop() {
	w.stop()
	<-w.done
}
