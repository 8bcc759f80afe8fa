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

// Limits that Postgres enforces for every connection, and behind a pooler for every transaction: a process that is paused or
// disconnected holds no lock for long. A value in the URL takes precedence.
const (
	statementTimeout         = 15 * time.Second
	lockTimeout              = 5 * time.Second
	idleInTransactionTimeout = 10 * time.Second
	connectTimeout           = 5 * time.Second
)

// sessionSettings are the limits as settings of a session.
func sessionSettings() map[string]string {
	return map[string]string{
		"statement_timeout":                   milliseconds(statementTimeout),
		"lock_timeout":                        milliseconds(lockTimeout),
		"idle_in_transaction_session_timeout": milliseconds(idleInTransactionTimeout),
	}
}

const (
	// callTimeout bounds a statement including the network. urlCallTimeout is the bound if the URL sets statement_timeout.
	callTimeout    = statementTimeout + 5*time.Second
	urlCallTimeout = 2 * time.Minute
	// pingTimeout bounds the check of an idle connection. After it the pool takes another connection.
	pingTimeout = time.Second
)

// Options configures a Store.
type Options struct {
	// Name is the application_name of the connections.
	Name string
	// MaxConns bounds the pool. pool_max_conns in the URL takes precedence. 0 is pgx's default.
	MaxConns int32
	// CallTimeout bounds a statement including the network. After it the connection is closed. 0 is a little more than
	// statement_timeout.
	CallTimeout time.Duration
}

// Store is the middleware database. It is safe for concurrent use and reconnects automatically.
type Store struct {
	pool *database.Pool
	q    *dbsqlc.Queries
	// uncertain holds the ids of events that may have been claimed: the response of Postgres was lost.
	uncertain sync.Map
	// installation caches the id of the installation.
	installation atomic.Pointer[string]
}

// Open returns a Store for the database at url. It does not connect: a process starts even if its database is down.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	pool, err := database.Open(ctx, url, database.Options{
		Name: opts.Name, MaxConns: opts.MaxConns, ConnectTimeout: connectTimeout, PingTimeout: pingTimeout,
		Settings: sessionSettings(),
	})
	if err != nil {
		return nil, fmt.Errorf("read the database URL: %w", err)
	}
	bound := callTimeout
	switch {
	case opts.CallTimeout > 0:
		bound = opts.CallTimeout
	case database.Given(url, "statement_timeout"):
		bound = urlCallTimeout
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

// wrap wraps err with what was being done. After a failover, the pool would keep connections to a read-only node (SQLSTATE 25006). wrap
// closes them, so that the next call finds the new primary.
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
