package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

// The checks of a connection.
const (
	CheckReachable     = "reachable"
	CheckPooler        = "pooler"
	checkWritable      = "writable"
	checkServerVersion = "server-version"
	checkEncoding      = "encoding"
	checkTLS           = "tls"
	checkClockSkew     = "clock-skew"
	checkConnections   = "connections"
	checkIsolation     = "isolation"
	checkTimeouts      = "timeouts"
	checkDurability    = "durability"
)

// Inspection configures Inspect.
type Inspection struct {
	Database preflight.Database
	// Clients are the processes that share the connections of the server.
	Clients []Clients
	// Timeouts are the timeouts that verity-sync sets, by name. Without any, as in a migration, a statement may take any time.
	Timeouts map[string]time.Duration
	// Now is the clock that the server's clock is compared with; nil means time.Now.
	Now func() time.Time
}

// Clients are the processes of a kind, as the chart installs them by default.
type Clients struct {
	// Kind names one process: "receiver".
	Kind string
	// Replicas is the number of processes, and Conns the maximum number of connections of each.
	Replicas, Conns int
}

// Conns returns the maximum number of connections of a pool for url, given the number that the process asks for; 0 means pgx's default.
func Conns(url string, asked int32) int {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil || asked > 0 && !Given(url, "pool_max_conns") {
		return int(asked)
	}
	return int(cfg.MaxConns)
}

// inspector holds the input of the checks of a connection.
type inspector struct {
	Inspection
	pool     *Pool
	path     Path
	conn     *pgxpool.Conn
	facts    facts
	settings map[string]Setting
}

// facts describe the server and the role.
type facts struct {
	version                  int
	versionName              string
	recovery, readOnly       bool
	role, database           string
	superuser                bool
	roleLimit, databaseLimit int
	others                   int
}

// Inspect checks the connection, the server and the role. An error means that the database did not answer, or not all questions; the
// findings until then are valid.
func Inspect(ctx context.Context, pool *Pool, inspection Inspection) ([]preflight.Finding, error) {
	i := &inspector{Inspection: inspection, pool: pool}
	if i.Now == nil {
		i.Now = time.Now
	}
	var err error
	if i.path, err = pool.Check(ctx); err != nil {
		if errors.Is(err, ErrUnusable) {
			return []preflight.Finding{i.problem(preflight.Error, CheckPooler, err.Error(), "")}, nil
		}
		return nil, err
	}
	if i.conn, err = pool.Acquire(ctx); err != nil {
		return nil, err
	}
	defer i.conn.Release()
	if err := i.read(ctx); err != nil {
		return nil, err
	}
	findings := []preflight.Finding{
		i.ok(CheckReachable, "%s answers: database %s, role %s",
			i.conn.Conn().PgConn().Conn().RemoteAddr(), i.facts.database, i.facts.role),
		i.pooler(), i.writable(), i.serverVersion(), i.encoding(), i.tls(),
	}
	skew, err := i.clockSkew(ctx)
	if err == nil {
		findings = append(findings, skew)
	}
	return append(findings, i.connections(), i.isolation(), i.timeouts(), i.durability()), err
}

func (i *inspector) ok(check, format string, args ...any) preflight.Finding {
	return preflight.Finding{Database: i.Database, Severity: preflight.OK, Check: check, Message: fmt.Sprintf(format, args...)}
}

func (i *inspector) problem(severity preflight.Severity, check, message, action string) preflight.Finding {
	return preflight.Finding{Database: i.Database, Severity: severity, Check: check, Message: message, Action: action}
}

// or returns the text for the middleware database or for Verity's.
func (i *inspector) or(middleware, verity string) string {
	if i.Database == preflight.Verity {
		return verity
	}
	return middleware
}

func (i *inspector) read(ctx context.Context) error {
	f := &i.facts
	// Limits of roles and databases do not apply to superusers.
	const query = `
		SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery(),
		       current_setting('transaction_read_only')::boolean, session_user, current_database(),
		       r.rolsuper, r.rolconnlimit, d.datconnlimit,
		       (SELECT coalesce(sum(numbackends), 0)::int FROM pg_stat_database)
		FROM pg_roles r, pg_database d
		WHERE r.rolname = session_user AND d.datname = current_database()`
	err := i.conn.QueryRow(ctx, query).Scan(&f.version, &f.versionName, &f.recovery, &f.readOnly, &f.role, &f.database, &f.superuser,
		&f.roleLimit, &f.databaseLimit, &f.others)
	if err != nil {
		return fmt.Errorf("read the facts about the server: %w", err)
	}
	i.settings, err = i.pool.Settings(ctx, i.conn)
	return err
}

func (i *inspector) pooler() preflight.Finding {
	if !i.path.Pooler {
		return i.ok(CheckPooler, "the connection is direct")
	}
	return i.ok(CheckPooler, "the connection is %s", i.path)
}

// clockSkewBound is the difference of clocks above which times in the database and in logs become misleading.
const clockSkewBound = 5 * time.Second

// clockSkew compares the clocks at the middle of a round trip, the shortest of three.
func (i *inspector) clockSkew(ctx context.Context) (preflight.Finding, error) {
	var skew, trip time.Duration
	for n := range 3 {
		var server time.Time
		sent, begun := i.Now(), time.Now()
		if err := i.conn.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&server); err != nil {
			return preflight.Finding{}, fmt.Errorf("read the clock: %w", err)
		}
		if took := time.Since(begun); n == 0 || took < trip {
			skew, trip = server.Sub(sent.Add(took/2)), took
		}
	}
	ahead, most := "ahead of", skew
	if skew < 0 {
		ahead, most = "behind", -skew
	}
	if most-trip/2 <= clockSkewBound {
		return i.ok(checkClockSkew, "the server's clock differs by at most %s from this process's",
			max(most+trip/2, time.Millisecond).Round(time.Millisecond)), nil
	}
	return i.problem(preflight.Warning, checkClockSkew,
		fmt.Sprintf("the server's clock is %s %s this process's: %s", most.Round(100*time.Millisecond), ahead,
			i.or("the times of events and attempts come from two clocks, and an event with a time later than the "+
				"receiver's clock is stored with the receiver's time", "leads of Verity and of verity-sync are dated by two clocks")),
		"synchronise the clocks of the nodes and of the database server (NTP)"), nil
}

// Unusable reports whether findings are those of a URL that cannot be used. In this case nothing else was checked.
func Unusable(findings []preflight.Finding) bool {
	return len(findings) == 1 && findings[0].Severity == preflight.Error
}
