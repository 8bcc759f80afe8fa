package database

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrUnusable means that no connection with this URL can work until the URL, the pooler or the role is changed.
var ErrUnusable = errors.New("the database URL cannot be used")

// probeTimeout bounds a probe: two attempts to connect and a few statements.
const probeTimeout = 15 * time.Second

// beforeConnect configures a connection for the path to Postgres, which it probes once.
func (p *Pool) beforeConnect(ctx context.Context, cfg *pgx.ConnConfig) error {
	path := p.path.Load()
	if path == nil {
		found, err := p.probe(ctx, cfg)
		if err != nil {
			return err
		}
		p.path.CompareAndSwap(nil, &found)
		path = p.path.Load()
	}
	if path.Refused != "" {
		p.leaveOut(cfg)
	}
	if path.Pooler {
		// A prepared statement belongs to a connection of Postgres, and the next statement may get another one.
		cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	return nil
}

// leaveOut removes the parameters that are optional at the start of a session.
func (p *Pool) leaveOut(cfg *pgx.ConnConfig) {
	maps.DeleteFunc(cfg.RuntimeParams, func(name, _ string) bool { return p.isOptional(name) })
}

// probe detects a pooler, on a separate connection.
func (p *Pool) probe(ctx context.Context, cfg *pgx.ConnConfig) (path Path, err error) {
	err = Within(ctx, probeTimeout, func(ctx context.Context) error {
		path, err = p.probeOnce(ctx, cfg)
		return err
	})
	return path, err
}

func (p *Pool) probeOnce(ctx context.Context, cfg *pgx.ConnConfig) (Path, error) {
	cfg = cfg.Copy()
	cfg.Tracer = nil
	for name, value := range p.probed {
		if _, given := parameter(cfg.RuntimeParams, name); !given {
			cfg.RuntimeParams[name] = value
		}
	}
	var path Path
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if path.Refused = refusedParameter(err); path.Refused != "" {
		p.leaveOut(cfg)
		conn, err = pgx.ConnectConfig(ctx, cfg)
	}
	if name := refusedParameter(err); name != "" {
		return Path{}, fmt.Errorf("%w: the pooler refuses its parameter %s: %s", ErrUnusable, name, p.insteadOfRefused(ctx, cfg, name))
	}
	if err != nil {
		return Path{}, unusable(err, cfg)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var pid uint32
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeExec).Scan(&pid); err != nil {
		return Path{}, unusable(err, cfg)
	}
	// A pooler answers for Postgres at the start of a session, with its own key for cancellations.
	path.Pooler = path.Refused != "" || pid != conn.PgConn().PID()
	if !path.Pooler {
		return path, nil
	}
	return path, p.checkPooler(ctx, conn, cfg)
}

// checkPooler returns why no connection through a pooler can work, or nil.
func (p *Pool) checkPooler(ctx context.Context, conn *pgx.Conn, cfg *pgx.ConnConfig) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return unusable(err, cfg)
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // Nothing was changed.
	wanted := p.required(cfg.RuntimeParams)
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		var same bool
		const query = `SELECT coalesce(current_setting($1, true) = set_config($1, $2, true), false)`
		if err := tx.QueryRow(ctx, query, pgx.QueryExecModeExec, name, wanted[name]).Scan(&same); err != nil {
			return unusable(err, cfg)
		}
		if !same {
			return fmt.Errorf("%w: the pooler ignores its parameter %s: %s",
				ErrUnusable, name, instead(ctx, tx, cfg.User, map[string]string{name: wanted[name]}))
		}
	}
	return nil
}

// required returns the parameters that a session must have, including those in "options".
func (p *Pool) required(params map[string]string) map[string]string {
	required := map[string]string{}
	add := func(name, value string) {
		if !strings.EqualFold(name, "application_name") && !p.isOptional(name) {
			required[name] = value
		}
	}
	for name, value := range params {
		if name != "options" {
			add(name, value)
			continue
		}
		for option, value := range parseOptions(value) {
			add(option, value)
		}
	}
	return required
}

func (p *Pool) isOptional(name string) bool {
	return slices.ContainsFunc(p.optional, func(o string) bool { return strings.EqualFold(o, name) })
}

// unsupported matches PgBouncer's message about parameters that it refuses.
var unsupported = regexp.MustCompile(`(?i)unsupported startup parameter(?: in options)?: "?([\w.]+)`)

// refusedParameter returns the session parameter that a pooler refuses, or "" for another error.
func refusedParameter(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		if match := unsupported.FindStringSubmatch(pg.Message); match != nil {
			return match[1]
		}
	}
	return ""
}

// tracer detects that the path to Postgres has changed since the probe.
type tracer struct{ pool *Pool }

// TraceConnectStart implements pgx.ConnectTracer.
func (tracer) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return ctx
}

// TraceConnectEnd implements pgx.ConnectTracer.
func (t tracer) TraceConnectEnd(_ context.Context, data pgx.TraceConnectEndData) {
	if refusedParameter(data.Err) != "" {
		t.pool.path.Store(nil) // The next connection probes again.
	}
}

// TraceQueryStart implements pgx.QueryTracer.
func (tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (t tracer) TraceQueryEnd(_ context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	// A prepared statement that exists already, or does not exist: a pooler has changed the connection of Postgres.
	if pg, ok := errors.AsType[*pgconn.PgError](data.Err); ok && (pg.Code == "42P05" || pg.Code == "26000") {
		t.pool.path.Store(&Path{Pooler: true})
		t.pool.Reset()
	}
}
