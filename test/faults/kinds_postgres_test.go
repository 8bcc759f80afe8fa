package faults

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgproxy"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
)

// database is one of the two, each on a server of its own.
type database struct {
	name  string
	url   func(*environment) string
	at    func(*environment) *postgres.Server
	proxy func(*environment) *pgproxy.Proxy
	// tables are those that are locked, or have no room left.
	tables []string
	marks  Fault
	lane   string
}

func databases() []database {
	return []database{
		{
			name: "Postgres", url: func(e *environment) string { return e.system.DatabaseURL },
			at:    func(e *environment) *postgres.Server { return e.system.Postgres },
			proxy: func(e *environment) *pgproxy.Proxy { return e.own }, tables: []string{"webhook_events", "sync_log"}, marks: forgets,
		},
		{
			name: "Verity's Postgres", url: func(e *environment) string { return e.system.VerityDatabaseURL },
			at:    func(e *environment) *postgres.Server { return e.system.VerityPostgres },
			proxy: func(e *environment) *pgproxy.Proxy { return e.veritys }, tables: []string{"leads"},
			marks: Fault{Destination: DestinationLeads}, lane: DestinationLeads,
		},
	}
}

func postgresKinds() (all []kind) {
	for _, d := range databases() {
		add := func(what string, does func(context.Context, *breaking) error) {
			all = append(all, kind{name: d.name + " " + what, does: does, marks: d.marks, lane: d.lane})
		}
		add("is restarted in fast mode", d.restart(func(s *postgres.Server) error { return s.Stop(postgres.Fast) }))
		add("is restarted in immediate mode", d.restart(func(s *postgres.Server) error { return s.Stop(postgres.Immediate) }))
		add("is killed", d.restart((*postgres.Server).Kill))
		add("terminates its connections", d.endBackends)
		add("is set to read-only", d.setReadOnly)
		add("is a standby for a while", d.demote)
		add("has no connections left", d.exhaust)
		add("has a locked table", d.holding(fmt.Sprintf("LOCK TABLE %s IN ACCESS EXCLUSIVE MODE", d.tables[0])))
		add("has a full disk", d.fill)
		add("is behind half-open connections", d.halfOpen)
		add("commits and its answer is lost", d.cut)
	}
	return append(all,
		kind{name: "the leader's term is locked", does: databases()[0].holding("SELECT term FROM controller_term FOR UPDATE"), marks: forgets},
		kind{
			name: "another session holds the locks of all contacts", does: holdContacts, marks: Fault{Destination: DestinationLeads},
			lane: DestinationLeads,
		},
		kind{name: "another session holds the lock of a contact's webhooks", does: holdIntake},
		kind{name: "Postgres is killed in the middle of a call", does: midCall(databases()[0].restart((*postgres.Server).Kill)), marks: forgets},
	)
}

func (d database) restart(stop func(*postgres.Server) error) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		return within(ctx, func(ctx context.Context) error {
			err := stop(d.at(b.environment))
			pause(ctx, b.long)
			return errors.Join(err, d.at(b.environment).Start(ctx))
		})
	}
}

// exec runs statements on a connection of their own, past the proxy.
func (d database) exec(ctx context.Context, e *environment, statements ...string) error {
	return within(ctx, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, d.url(e))
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		for _, sql := range statements {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
}

const terminate = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE datname = current_database() AND application_name LIKE 'verity-sync%'`

func (d database) endBackends(ctx context.Context, b *breaking) error {
	return d.exec(ctx, b.environment, terminate)
}

func (d database) setReadOnly(ctx context.Context, b *breaking) error {
	const reload = "SELECT pg_reload_conf()"
	err := d.exec(ctx, b.environment, "ALTER SYSTEM SET default_transaction_read_only = on", reload)
	pause(ctx, b.long)
	return errors.Join(err, d.exec(ctx, b.environment, "SET default_transaction_read_only = off",
		"ALTER SYSTEM RESET default_transaction_read_only", reload))
}

// demote restarts the server as a standby, which is read-only, and promotes it again.
func (d database) demote(ctx context.Context, b *breaking) error {
	server := d.at(b.environment)
	return within(ctx, func(ctx context.Context) error {
		err := server.Stop(postgres.Fast)
		err = errors.Join(err, os.WriteFile(filepath.Join(server.Dir(), "data", "standby.signal"), nil, 0o644))
		err = errors.Join(err, server.Start(ctx))
		pause(ctx, b.long)
		return errors.Join(err, d.exec(ctx, b.environment, "SELECT pg_promote()"))
	})
}

// exhaust takes every connection that the server has, those of verity-sync too.
func (d database) exhaust(ctx context.Context, b *breaking) error {
	return within(ctx, func(ctx context.Context) error {
		release, err := d.at(b.environment).Exhaust(ctx, "verity-sync%")
		pause(ctx, b.long)
		release()
		return err
	})
}

// holding runs a statement in a transaction that is left open for a while.
func (d database) holding(sql string, args ...any) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		return d.hold(ctx, b.environment, func() { pause(ctx, b.long) }, sql, args...)
	}
}

// hold does something while a transaction is open.
func (d database) hold(ctx context.Context, e *environment, do func(), sql string, args ...any) error {
	conn, err := pgx.Connect(ctx, d.url(e))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sql, args...)
		do()
		return err
	})
}

// holdContacts takes the locks under which leads are written, for all contacts.
func holdContacts(ctx context.Context, b *breaking) error {
	conn, err := pgx.Connect(ctx, b.system.VerityDatabaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT id::text FROM contacts")
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	keys := make([]int64, len(ids))
	for i, id := range ids {
		sum := sha256.Sum256([]byte("verity-sync/lead/" + id))
		keys[i] = int64(binary.BigEndian.Uint64(sum[:]))
	}
	return databases()[1].holding("SELECT pg_advisory_xact_lock(unnest($1::bigint[]))", keys)(ctx, b)
}

// holdIntake takes the lock under which it is decided whether a webhook without an id repeats another one, and posts such a webhook.
func holdIntake(ctx context.Context, b *breaking) error {
	p := b.load.newcomer()
	sum := sha256.Sum256([]byte("verity-sync intake " + event.OrderingKeyOf(event.EntityContact, p.id)))
	key := int64(binary.BigEndian.Uint64(sum[:8]))
	var posts errgroup.Group
	err := databases()[0].hold(ctx, b.environment, func() {
		posts.Go(func() error { return b.load.postUnkeyed(ctx, p) })
		pause(ctx, b.long)
	}, "SELECT pg_advisory_xact_lock($1)", key)
	return errors.Join(err, posts.Wait())
}

// fill leaves the tables no room on their disk.
func (d database) fill(ctx context.Context, b *breaking) error {
	return within(ctx, func(ctx context.Context) error {
		disk, err := newDisk(ctx, d, b.environment)
		if err != nil {
			return err
		}
		err = disk.fill(ctx)
		pause(ctx, b.long)
		return errors.Join(err, disk.close(ctx))
	})
}

// halfOpen has the connections that there are go silent for ever, and new ones for a while.
func (d database) halfOpen(ctx context.Context, b *breaking) error {
	d.proxy(b.environment).HalfOpen()
	pause(ctx, b.long)
	d.proxy(b.environment).Heal()
	return nil
}

// cut makes the outcome of every statement unknown to its client.
func (d database) cut(ctx context.Context, b *breaking) error {
	d.proxy(b.environment).Cut(&pgproxy.Cut{Always: true})
	pause(ctx, max(b.long, 2*time.Second))
	d.proxy(b.environment).Cut(nil)
	return nil
}
