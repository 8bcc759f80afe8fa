package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/store/dbsqlc"
)

// Limits that Postgres enforces on every connection, and through a pooler in every transaction, so that a process that is
// paused or cut off holds no lock for long. A value given in the URL goes before.
const (
	statementTimeout         = 15 * time.Second
	lockTimeout              = 5 * time.Second
	idleInTransactionTimeout = 10 * time.Second
	connectTimeout           = 5 * time.Second
)

const (
	// patience is how long a statement may take in all, its timeout and the way there and back included; ownPatience is
	// that of a database whose URL has a statement_timeout of its own.
	patience    = statementTimeout + 5*time.Second
	ownPatience = 2 * time.Minute
	// pingTimeout is how long a connection that was idle may take to prove that it is alive before another one is taken.
	pingTimeout = time.Second
)

// Options say how a process uses the database.
type Options struct {
	// Name is the application_name that the database shows for the connections.
	Name string
	// MaxConns bounds the pool; a pool_max_conns in the URL goes before. 0 leaves pgx's default.
	MaxConns int32
	// Patience is how long a statement may take in all before its connection is given up for dead. 0 is a little more than
	// Postgres itself gives it.
	Patience time.Duration
}

// Store is the middleware database. It is safe for concurrent use and reconnects by itself.
type Store struct {
	pool *database.Pool
	q    *dbsqlc.Queries
	// uncertain has the ids of events that may have been claimed: Postgres' answer did not arrive.
	uncertain sync.Map
	// installation is the id of the installation, once it was read.
	installation atomic.Pointer[string]
}

// Open returns a Store of the database at url, without waiting for a connection: a process starts whether or not its
// database is up.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	pool, err := database.Open(ctx, url, database.Options{
		Name: opts.Name, MaxConns: opts.MaxConns, ConnectTimeout: connectTimeout, PingTimeout: pingTimeout,
		Settings: map[string]string{
			"statement_timeout":                   milliseconds(statementTimeout),
			"lock_timeout":                        milliseconds(lockTimeout),
			"idle_in_transaction_session_timeout": milliseconds(idleInTransactionTimeout),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("read the database URL: %w", err)
	}
	bound := patience
	switch {
	case opts.Patience > 0:
		bound = opts.Patience
	case database.Given(url, "statement_timeout"):
		bound = ownPatience
	}
	return &Store{pool: pool, q: dbsqlc.New(bounded{pool, bound})}, nil
}

// Close closes every connection, waiting for those in use.
func (s *Store) Close() { s.pool.Close() }

// Pool gives access to the pool for its statistics.
func (s *Store) Pool() *pgxpool.Pool { return s.pool.Pool }

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return s.pool.Ping(ctx) }

// Path connects and returns what is between this process and Postgres. An error that is database.ErrUnusable says that nothing can
// work with this URL.
func (s *Store) Path(ctx context.Context) (database.Path, error) {
	path, err := s.pool.Check(ctx)
	return path, s.wrap(err, "connect to the database")
}

// wrap wraps err with what was being done. After a failover the pool would go on with connections to a node that only
// reads (SQLSTATE 25006): they are dropped here, so that the next call finds the new primary.
func (s *Store) wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	if sqlState(err) == "25006" {
		s.pool.Reset()
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// sqlState returns the SQLSTATE of err, "" where Postgres did not answer.
func sqlState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%d", d.Milliseconds()) }
