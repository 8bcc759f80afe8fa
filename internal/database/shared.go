package database

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A pooler that shares connections by session keeps a connection of Postgres for each of its clients from the client's first
// statement until the client disconnects. The first statements of further clients wait in a queue. Three rules keep processes
// from starving one another: a pool closes each of its connections soon, used or not; it has one connection at a time in the
// queue; and a caller takes the first available connection, new or idle. The rules cost little if the pooler shares by
// transaction. The pool cannot detect how a pooler shares.
const (
	// maxLifetime is the maximum lifetime of a connection to a pooler. The minimum is half of it. A receiver has 3 seconds for a
	// commit, in which it must get a connection.
	maxLifetime = 3 * time.Second
	// queueTimeout bounds the wait for the pooler. It is many lifetimes long.
	queueTimeout = 15 * time.Second
	// retirePeriod is how often expired idle connections are closed.
	retirePeriod = 500 * time.Millisecond
	// idlePeriod is how often a caller that waits for a new connection looks for an idle one.
	idlePeriod = time.Millisecond
	// pingPeriod is the time since the last ping after which a connection is pinged before its use.
	pingPeriod = time.Second
)

// lease is the custom data of a connection to a pooler.
type lease struct{ end, alive time.Time }

const leaseKey = "verity-sync lease"

// leaseOf returns nil for a direct connection.
func leaseOf(conn *pgconn.PgConn) *lease {
	l, _ := conn.CustomData()[leaseKey].(*lease)
	return l
}

func (p *Pool) behindPooler() bool {
	path := p.path.Load()
	return path != nil && path.Pooler
}

// afterConnect waits until the pooler has a connection of Postgres. A caller's deadline does not end this wait: the connection
// keeps its position in the pooler's queue and serves the next caller.
func (p *Pool) afterConnect(ctx context.Context, conn *pgx.Conn) error {
	if !p.behindPooler() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	if err := conn.Ping(ctx); err != nil {
		return fmt.Errorf("wait for the pooler: %w", err)
	}
	now := time.Now()
	lifetime := maxLifetime/2 + rand.N(maxLifetime/2) //nolint:gosec // Pools must not reconnect at the same moment; nothing is secret.
	conn.PgConn().CustomData()[leaseKey] = &lease{end: now.Add(lifetime), alive: now}
	return nil
}

// shouldPing decides by the last ping, not by the idle time as pgxpool does: retire resets that.
func (p *Pool) shouldPing(_ context.Context, params pgxpool.ShouldPingParams) bool {
	l := leaseOf(params.Conn.PgConn())
	if l == nil {
		return params.IdleDuration > time.Second // pgxpool's default.
	}
	due := time.Since(l.alive) > pingPeriod
	if due {
		l.alive = time.Now()
	}
	return due
}

// TraceRelease implements pgxpool.ReleaseTracer.
func (tracer) TraceRelease(_ *pgxpool.Pool, data pgxpool.TraceReleaseData) {
	if l := leaseOf(data.Conn.PgConn()); l != nil && time.Now().After(l.end) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = data.Conn.Close(ctx) // The pool drops what is closed.
	}
}

// retire closes expired idle connections until ctx ends.
func (p *Pool) retire(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(retirePeriod):
		}
		if !p.behindPooler() || p.takeTurn(ctx) != nil {
			continue
		}
		for _, conn := range p.AcquireAllIdle(ctx) {
			conn.Release()
		}
		p.endTurn()
	}
}

// takeTurn waits until every earlier caller has a connection. A channel serves its senders in order.
func (p *Pool) takeTurn(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Pool) endTurn() { <-p.turn }

// Acquire returns a connection. Behind a pooler it serves one caller at a time: pgxpool would make each caller wait for a new
// connection even if another one becomes idle.
func (p *Pool) Acquire(ctx context.Context) (*pgxpool.Conn, error) {
	if !p.behindPooler() {
		return p.Pool.Acquire(ctx)
	}
	if err := p.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer p.endTurn()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // A connection that is being set up becomes idle when it is ready.
	var pending acquisition
	look := time.NewTicker(idlePeriod)
	defer look.Stop()
	for {
		stat := p.Stat()
		switch idle := stat.IdleConns() > 0; {
		case pending == nil && (idle || stat.ConstructingConns() == 0):
			pending = p.acquireInBackground(ctx)
		case pending != nil && idle:
			if conn := p.acquireIdle(ctx); conn != nil {
				go pending.release()
				return conn, nil
			}
		}
		select {
		case got := <-pending:
			return got.conn, got.err
		case <-ctx.Done():
			go pending.release()
			return nil, ctx.Err()
		case <-look.C:
		}
	}
}

type acquired struct {
	conn *pgxpool.Conn
	err  error
}

// acquisition receives the connection that is acquired in the background. It is nil if none is.
type acquisition chan acquired

// release returns an unused connection to the pool.
func (a acquisition) release() {
	if a == nil {
		return
	}
	if got := <-a; got.err == nil {
		got.conn.Release()
	}
}

// acquireInBackground acquires a connection that is idle, else a new one, else the next one that is released.
func (p *Pool) acquireInBackground(ctx context.Context) acquisition {
	result := make(acquisition, 1)
	go func() {
		conn, err := p.Pool.Acquire(ctx)
		result <- acquired{conn, err}
	}()
	return result
}

// acquireIdle returns an idle connection, or nil.
func (p *Pool) acquireIdle(ctx context.Context) *pgxpool.Conn {
	idle := p.AcquireAllIdle(ctx)
	if len(idle) == 0 {
		return nil
	}
	for _, conn := range idle[1:] {
		conn.Release()
	}
	return idle[0]
}

// Exec runs a statement on a connection of the pool.
func (p *Pool) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	conn, err := p.Acquire(ctx)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	defer conn.Release()
	return conn.Exec(ctx, sql, args...)
}

// Query runs a query on a connection of the pool, which the rows hold until they are closed.
func (p *Pool) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	conn, err := p.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		conn.Release()
		return nil, err
	}
	return poolRows{rows, conn}, nil
}

// QueryRow runs a query on a connection of the pool, which the row holds until it is scanned.
func (p *Pool) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	conn, err := p.Acquire(ctx)
	if err != nil {
		return poolRow{err: err}
	}
	return poolRow{row: conn.QueryRow(ctx, sql, args...), conn: conn}
}

type poolRows struct {
	pgx.Rows
	conn *pgxpool.Conn
}

// Close implements pgx.Rows.
func (r poolRows) Close() {
	r.Rows.Close()
	r.conn.Release()
}

type poolRow struct {
	row  pgx.Row
	conn *pgxpool.Conn
	err  error
}

// Scan implements pgx.Row.
func (r poolRow) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.conn.Release()
	return r.row.Scan(dest...)
}
