package database_test

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgbouncer"
)

// permissive makes PgBouncer ignore the parameters that it does not pass on.
var permissive = map[string]string{"ignore_startup_parameters": pgbouncer.Permissive}

// poolers are the paths to a database.
var poolers = map[string]*pgbouncer.Options{
	"directly":                                          nil,
	"through a pooler of sessions":                      {Mode: "session"},
	"through a permissive pooler of sessions":           {Mode: "session", Settings: permissive},
	"through a pooler of transactions":                  {Mode: "transaction"},
	"through a permissive pooler of transactions":       {Mode: "transaction", Settings: permissive},
	"through one that changes the connection as it can": {Mode: "transaction", Settings: map[string]string{"server_round_robin": "1"}},
}

func through(t *testing.T, url string, options *pgbouncer.Options) string {
	t.Helper()
	if options == nil {
		return url
	}
	_, pooled := testenv.PgBouncer(t, url, *options)
	return pooled
}

func open(t *testing.T, url string) *database.Pool {
	t.Helper()
	p, err := database.Open(t.Context(), url, database.Options{
		Name: "test", MaxConns: 8, ConnectTimeout: 5 * time.Second,
		Settings: map[string]string{"lock_timeout": "1234ms", "timezone": "UTC"},
	})
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

func with(t *testing.T, databaseURL string, parameters ...string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	require.NoError(t, err)
	query := u.Query()
	for i := 0; i < len(parameters); i += 2 {
		query.Set(parameters[i], parameters[i+1])
	}
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String()
}

// waysIn returns poolers, and those that keep prepared statements if the machine's PgBouncer supports that (1.21 or later).
func waysIn(t *testing.T) map[string]*pgbouncer.Options {
	t.Helper()
	major, minor, err := pgbouncer.Version(t.Context())
	require.NoError(t, err)
	t.Logf("PgBouncer %d.%d", major, minor)
	ways := maps.Clone(poolers)
	if major > 1 || minor >= 21 {
		for _, most := range []string{"0", "1", "200"} {
			ways["with max_prepared_statements="+most] = &pgbouncer.Options{
				Mode: "transaction", Settings: map[string]string{"max_prepared_statements": most, "server_round_robin": "1"},
			}
		}
	}
	return ways
}

func TestAPoolWorksThroughEveryPooler(t *testing.T) {
	t.Parallel()
	for name, options := range waysIn(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := open(t, through(t, testenv.Database(t), options))
			// Many at once, so that connections of Postgres are shared; arrays, since pgx must query their types.
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					for range 40 {
						id := uuid.New()
						var got []uuid.UUID
						assert.NoError(t, pool.QueryRow(t.Context(), `SELECT $1::uuid[]`, []uuid.UUID{id}).Scan(&got))
						assert.Equal(t, []uuid.UUID{id}, got)
						assert.NoError(t, pool.InTx(t.Context(), pgx.ReadCommitted, func(tx pgx.Tx) error {
							return tx.QueryRow(t.Context(), `SELECT $1::uuid[] FROM pg_advisory_xact_lock($2)`, []uuid.UUID{id}, 1).Scan(&got)
						}))
					}
				})
			}
			all.Wait()
			path, err := pool.Check(t.Context())
			require.NoError(t, err)
			assert.Equal(t, options != nil, path.Pooler)
			assert.Equal(t, options != nil && options.Settings["ignore_startup_parameters"] == "", path.Refused != "")
		})
	}
}

func TestTransactionsHaveTheSettingsThroughEveryPooler(t *testing.T) {
	t.Parallel()
	const query = `SELECT concat_ws(' ', current_setting('lock_timeout'), current_setting('timezone'), current_setting('transaction_isolation'))`
	for name, options := range poolers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := through(t, testenv.Database(t), options)
			for _, tc := range []struct{ url, want string }{
				{server, "1234ms UTC repeatable read"},
				{with(t, server, "lock_timeout", "2s"), "2s UTC repeatable read"},
				{with(t, server, "LOCK_TIMEOUT", "3s", "TimeZone", "Asia/Tokyo"), "3s Asia/Tokyo repeatable read"},
			} {
				var got string
				require.NoError(t, open(t, tc.url).InTx(t.Context(), pgx.RepeatableRead, func(tx pgx.Tx) error {
					return tx.QueryRow(t.Context(), query).Scan(&got)
				}))
				assert.Equal(t, tc.want, got)
			}
			if options != nil {
				var left string
				require.NoError(t, open(t, server).QueryRow(t.Context(), `SHOW lock_timeout`).Scan(&left))
				assert.Equal(t, "0", left, "other clients of the pooler must not have it")
			}
		})
	}
}

func TestAnUnusableURLIsReportedWithTheReason(t *testing.T) {
	t.Parallel()
	transaction := &pgbouncer.Options{Mode: "transaction"}
	lax := &pgbouncer.Options{Mode: "session", Settings: permissive}
	for name, tc := range map[string]struct {
		options    *pgbouncer.Options
		parameters []string
		want       string
	}{
		"a statement pooler":                       {&pgbouncer.Options{Mode: "statement"}, nil, "pool_mode=statement"},
		"a search_path that the pooler refuses":    {transaction, []string{"search_path", "a"}, "refuses its parameter search_path"},
		"a search_path that the pooler ignores":    {lax, []string{"search_path", "a"}, "ignores its parameter search_path"},
		"a search_path in options that it ignores": {lax, []string{"options", "-c search_path=a"}, "ignores its parameter search_path"},
		"options that the pooler refuses":          {transaction, []string{"options", "-c search_path=a"}, "refuses its parameter "},
		"a parameter that Postgres does not know":  {nil, []string{"lock_tiemout", "5s"}, `"lock_tiemout"`},
		"a value that Postgres rejects":            {nil, []string{"lock_timeout", "soon"}, `"lock_timeout"`},
		"a value that Postgres rejects behind one": {lax, []string{"datestyle", "soon"}, `DateStyle`},
		"the mode of pgx that queries no types":    {nil, []string{"default_query_exec_mode", "exec"}, "default_query_exec_mode=exec"},
		"the mode of pgx that sends text":          {transaction, []string{"default_query_exec_mode", "simple_protocol"}, "default_query_exec_mode=simple_protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := with(t, through(t, testenv.Database(t), tc.options), tc.parameters...)
			p, err := database.Open(t.Context(), url, database.Options{ConnectTimeout: 5 * time.Second})
			if err == nil {
				t.Cleanup(p.Close)
				_, err = p.Check(t.Context())
			}
			require.ErrorIs(t, err, database.ErrUnusable)
			assert.ErrorContains(t, err, tc.want)
		})
	}
}

func TestAPoolerMayPassParametersOn(t *testing.T) {
	t.Parallel()
	for name, parameters := range map[string][]string{
		"those that PgBouncer knows":        {"client_encoding", "utf8", "datestyle", "ISO, MDY", "application_name", "mine", "timezone", "Asia/Tokyo"},
		"no cache of statements":            {"statement_cache_capacity", "0"},
		"no cache at all":                   {"statement_cache_capacity", "0", "description_cache_capacity", "0"},
		"the mode for poolers":              {"default_query_exec_mode", "cache_describe"},
		"the mode for direct connections":   {"default_query_exec_mode", "cache_statement"},
		"the mode of two round trips":       {"default_query_exec_mode", "describe_exec"},
		"an option that is the default too": {"options", "-c enable_seqscan=on --work_mem=4MB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := testenv.Database(t)
			for _, url := range []string{
				base, through(t, base, &pgbouncer.Options{Mode: "transaction", Settings: map[string]string{
					"server_round_robin": "1", "ignore_startup_parameters": "options",
				}}),
			} {
				pool := open(t, with(t, url, parameters...))
				for range 20 {
					var n int
					require.NoError(t, pool.QueryRow(t.Context(), `SELECT cardinality($1::uuid[])`, []uuid.UUID{{}}).Scan(&n))
				}
			}
		})
	}
}

func TestAPoolerThatIsAddedLaterIsDetected(t *testing.T) {
	t.Parallel()
	base := testenv.Database(t)
	for name, settings := range map[string]map[string]string{"a strict pooler": nil, "a permissive pooler": permissive} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, pooled := testenv.PgBouncer(t, base, pgbouncer.Options{Mode: "transaction", Settings: settings})
			direct, err := url.Parse(base)
			require.NoError(t, err)
			behind, err := url.Parse(pooled)
			require.NoError(t, err)
			door := newSwitch(t, direct.Host)
			direct.Host = door.address
			pool := open(t, direct.String())
			ask := func(ctx context.Context) error {
				var n int
				return pool.QueryRow(ctx, `SELECT cardinality($1::uuid[])`, []uuid.UUID{{}}).Scan(&n)
			}
			require.NoError(t, ask(t.Context()))

			door.to(behind.Host)
			pool.Reset()

			require.EventuallyWithT(t, func(c *assert.CollectT) {
				var all errgroup.Group
				for range 8 {
					all.Go(func() (err error) {
						for range 20 {
							err = errors.Join(err, ask(t.Context()))
						}
						return err
					})
				}
				require.NoError(c, all.Wait())
				// A pooler that accepts the parameters and keeps prepared statements cannot be told from Postgres.
				if settings == nil {
					path, err := pool.Check(t.Context())
					require.NoError(c, err)
					assert.True(c, path.Pooler)
				}
			}, time.Minute, 10*time.Millisecond)
		})
	}
}

func TestOpenDoesNotQuoteAnInvalidURL(t *testing.T) {
	t.Parallel()
	_, err := database.Open(t.Context(), "postgres://sync:hunter22@db:port/m", database.Options{})
	require.ErrorIs(t, err, database.ErrURL)
	assert.NotContains(t, err.Error(), "hunter22")
}
