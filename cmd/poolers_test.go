package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgbouncer"
)

func pooled(t *testing.T, url string, options pgbouncer.Options) string {
	t.Helper()
	_, through := testenv.PgBouncer(t, url, options)
	return through
}

func TestAnUnusableDatabaseURLFailsTheStart(t *testing.T) {
	t.Parallel()
	base := testenv.Database(t)
	_, err := run(t, []string{"DATABASE_URL=" + base}, "migrate")
	require.NoError(t, err)
	statements := pooled(t, base, pgbouncer.Options{Mode: "statement"})
	strict := pooled(t, base, pgbouncer.Options{Mode: "transaction"})
	lax := pooled(t, base, pgbouncer.Options{Mode: "session", Settings: map[string]string{"ignore_startup_parameters": pgbouncer.Permissive}})
	for name, tc := range map[string]struct{ url, want string }{
		"the mode exec":            {base + "&default_query_exec_mode=exec", "default_query_exec_mode=exec"},
		"the simple protocol":      {strict + "&default_query_exec_mode=simple_protocol", "default_query_exec_mode=simple_protocol"},
		"a statement pooler":       {statements, "pool_mode=statement"},
		"a search_path it refuses": {strict + "&search_path=public", "refuses its parameter search_path"},
		"a search_path it ignores": {lax + "&search_path=elsewhere", "ignores its parameter search_path"},
		"an unknown parameter":     {base + "&lock_tiemout=5s", `unrecognized configuration parameter "lock_tiemout"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, cluster := tc.want, withoutCluster(t)
			own := []string{"DATABASE_URL=" + tc.url, "GHL_WEBHOOK_SECRETS=workflow-secret"}
			for process, tc := range map[string]struct {
				environ []string
				args    []string
			}{
				"receiver":                    {own, []string{"receiver", cluster}},
				"controller":                  {own, []string{"controller", cluster, "--namespace=default", "--health-probe-bind-address=0"}},
				"controller, of Verity's":     {[]string{"DATABASE_URL=" + base, "VERITY_DATABASE_URL=" + tc.url}, []string{"controller", cluster, "--namespace=default", "--health-probe-bind-address=0"}},
				"migrate":                     {own, []string{"migrate"}},
				"migrate, which only reports": {own, []string{"migrate", "--dry-run"}},
			} {
				p := start(t, tc.environ, tc.args...)
				assert.Equal(t, exitPermanent, p.exitCode(t), process)
				assert.Contains(t, p.log(), want, process)
			}
		})
	}
}

func TestAMigrationReportsThePooler(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		options pgbouncer.Options
		want    string
	}{
		"a strict pooler":     {pgbouncer.Options{Mode: "transaction"}, `is behind a pooler that refuses \w+_timeout: transactions set the timeouts themselves`},
		"a permissive pooler": {pgbouncer.Options{Mode: "session", Settings: map[string]string{"ignore_startup_parameters": pgbouncer.Permissive}}, `is behind a pooler: transactions`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			environ := []string{"DATABASE_URL=" + pooled(t, testenv.Database(t), tc.options)}
			for _, args := range [][]string{{"migrate", "--dry-run"}, {"migrate"}, {"migrate"}} {
				out, err := run(t, environ, args...)
				require.NoError(t, err)
				assert.Regexp(t, tc.want, out)
			}
		})
	}
	out, err := run(t, []string{"DATABASE_URL=" + testenv.Database(t)}, "migrate")
	require.NoError(t, err)
	assert.NotContains(t, out, "pooler")
}
