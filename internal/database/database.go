// Package database opens pools of connections to Postgres, directly or through a pooler such as PgBouncer. It knows what a
// pooler refuses, ignores or shares between its clients, and nothing of what is stored.
package database

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Options configures a pool.
type Options struct {
	// Name is the application_name of the connections.
	Name string
	// Settings are session settings. Parameters of the URL override them. A direct connection has them from the start. Behind a
	// pooler they apply only in the transactions of InTx: the pooler shares sessions or refuses their settings.
	Settings map[string]string
	// Probed are settings that other pools for this URL have. Open does not set them; it finds out whether a pooler accepts them.
	Probed map[string]string
	// MaxConns bounds the pool. 0 is pgx's default. pool_max_conns in the URL overrides it.
	MaxConns int32
	// MinMaxConns is the lowest bound of the pool. It overrides the URL.
	MinMaxConns int32
	// ConnectTimeout bounds an attempt to connect, unless the URL has a connect_timeout.
	ConnectTimeout time.Duration
	// PingTimeout bounds the check of an idle connection. If it expires, the pool uses another connection.
	PingTimeout time.Duration
}

// timeouts are the settings that are optional at the start of a session: InTx and the deadlines of contexts replace them.
var timeouts = []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"}

// Pool is a pool of connections that also works behind a pooler, which it detects.
type Pool struct {
	*pgxpool.Pool
	// settings are the settings of each transaction behind a pooler.
	settings map[string]string
	// probed are those of Options.
	probed map[string]string
	// optional names the parameters that are left out if a pooler refuses one.
	optional []string
	config   *pgx.ConnConfig
	path     atomic.Pointer[Path]
	// turn is held by the caller that acquires a connection behind a pooler.
	turn chan struct{}
	// stop ends the background work.
	stop context.CancelFunc
	// closing counts the connections that are being closed.
	closing atomic.Int32
}

// Path describes the connection between this process and Postgres.
type Path struct {
	// Pooler is true if a pooler shares the connections of Postgres among its clients.
	Pooler bool
	// Refused is the first session setting that the pooler refuses, or "".
	Refused string
}

// String describes the consequences for the connections. It is empty for direct connections.
func (p Path) String() string {
	switch {
	case !p.Pooler:
		return ""
	case p.Refused != "":
		return "behind a pooler that refuses " + p.Refused +
			": transactions set the timeouts themselves, other statements end with their deadlines, and nothing is prepared"
	default:
		return "behind a pooler: transactions set the timeouts themselves, and nothing is prepared"
	}
}

// ErrURL means that pgx cannot parse a URL. pgx's own error quotes the URL, which may include the password.
var ErrURL = errors.New("not a Postgres URL or connection string")

// Open returns a pool for url. The pool connects on first use. The error does not quote the URL.
func Open(ctx context.Context, url string, opts Options) (*Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, ErrURL
	}
	if err := checkMode(cfg.ConnConfig.DefaultQueryExecMode); err != nil {
		return nil, err
	}
	if opts.MaxConns > 0 && !Given(url, "pool_max_conns") {
		cfg.MaxConns = opts.MaxConns
	}
	cfg.MaxConns = max(cfg.MaxConns, opts.MinMaxConns)
	cfg.ConnConfig.ConnectTimeout = cmp.Or(cfg.ConnConfig.ConnectTimeout, opts.ConnectTimeout)
	if opts.PingTimeout > 0 {
		cfg.PingTimeout = opts.PingTimeout
	}
	p := &Pool{settings: map[string]string{}, probed: opts.Probed, optional: timeouts, turn: make(chan struct{}, 1)}
	params := cfg.ConnConfig.RuntimeParams
	if _, given := parameter(params, "application_name"); !given {
		params["application_name"] = opts.Name
	}
	for name, value := range opts.Settings {
		p.optional = append(slices.Clone(p.optional), name)
		if given, ok := parameter(params, name); ok {
			value = given
		} else {
			params[name] = value
		}
		p.settings[name] = value
	}
	// Some URLs disable a cache because of a pooler. pgx cannot work without the cache of its mode.
	if cfg.ConnConfig.DescriptionCacheCapacity <= 0 {
		cfg.ConnConfig.DescriptionCacheCapacity = cacheCapacity
	}
	if cfg.ConnConfig.StatementCacheCapacity <= 0 {
		cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	cfg.ConnConfig.Tracer = tracer{p}
	cfg.BeforeConnect, cfg.AfterConnect, cfg.ShouldPing, cfg.BeforeClose = p.beforeConnect, p.afterConnect, p.shouldPing, p.beforeClose
	p.config = cfg.ConnConfig.Copy()
	if p.Pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, fmt.Errorf("set up the pool: %w", err)
	}
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	go p.retire(ctx)
	return p, nil
}

// closeGrace is how long a server has to end idle sessions.
const closeGrace = time.Second

// Close closes all connections as they are released. It does not wait for a server that hangs, to which pgx gives 15 seconds.
func (p *Pool) Close() {
	p.stop()
	closed := make(chan struct{})
	go func() {
		p.Pool.Close()
		close(closed)
	}()
	for {
		select {
		case <-closed:
			return
		case <-time.After(closeGrace):
			if p.Stat().AcquiredConns() <= p.closing.Load() {
				return
			}
		}
	}
}

// beforeClose counts a connection as closing. The pool counts it as in use until the server has ended it.
func (p *Pool) beforeClose(conn *pgx.Conn) {
	p.closing.Add(1)
	go func() {
		<-conn.PgConn().CleanupDone()
		p.closing.Add(-1)
	}()
}

// cacheCapacity is pgx's default.
const cacheCapacity = 512

// Given reports whether url sets a parameter of the session or of the pool.
func Given(url, name string) bool {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return false
	}
	_, given := parameter(cfg.RuntimeParams, name)
	return given
}

// Quote quotes the name of an object for SQL, with its qualifiers such as the schema.
func Quote(name ...string) string { return pgx.Identifier(name).Sanitize() }

// parameter returns the value of a parameter. Postgres ignores the case of its name.
func parameter(params map[string]string, name string) (string, bool) {
	for key, value := range params {
		if strings.EqualFold(key, name) {
			return value, true
		}
	}
	return "", false
}

// checkMode refuses the modes in which pgx does not query the types of parameters: it cannot encode a uuid[] in them.
func checkMode(mode pgx.QueryExecMode) error {
	if mode == pgx.QueryExecModeExec || mode == pgx.QueryExecModeSimpleProtocol {
		return fmt.Errorf("%w: default_query_exec_mode=%s cannot encode arrays: remove the parameter; a pooler is detected without it",
			ErrUnusable, strings.ReplaceAll(mode.String(), " ", "_"))
	}
	return nil
}

// InTx runs f in a transaction with the settings of the pool, also behind a pooler.
func (p *Pool) InTx(ctx context.Context, level pgx.TxIsoLevel, f func(pgx.Tx) error) error {
	conn, err := p.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	opts := pgx.TxOptions{IsoLevel: level}
	// pgx sends all of it in one round trip.
	if path := p.path.Load(); path != nil && path.Pooler {
		opts.BeginQuery = begin(level) + setLocal(p.settings)
	}
	return pgx.BeginTxFunc(ctx, conn, opts, f)
}

func begin(level pgx.TxIsoLevel) string {
	if level == "" {
		return "BEGIN"
	}
	return "BEGIN ISOLATION LEVEL " + string(level)
}

func setLocal(settings map[string]string) (statements string) {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		statements += fmt.Sprintf("; SET LOCAL %s = '%s'", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	return statements
}

// Check connects and returns the Path. ErrUnusable means that no connection can work.
func (p *Pool) Check(ctx context.Context) (Path, error) {
	if err := p.Ping(ctx); err != nil {
		return Path{}, err
	}
	if path := p.path.Load(); path != nil {
		return *path, nil
	}
	return Path{}, nil
}
