package database_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/advice"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgbouncer"
)

// TestTheAdviceAboutAParameterHelps follows the advice of each error until there is no error.
func TestTheAdviceAboutAParameterHelps(t *testing.T) {
	t.Parallel()
	strict := &pgbouncer.Options{Mode: "transaction"}
	lax := &pgbouncer.Options{Mode: "session", Settings: map[string]string{
		"ignore_startup_parameters": pgbouncer.Permissive + ",schema,connection_limit,ssl_min_protocol_version,work_mem",
	}}
	for name, tc := range map[string]struct {
		options    *pgbouncer.Options
		parameters []string
		// advice is a part of the first error, and path the final search_path.
		advice, path string
	}{
		"a setting of the server":     {nil, []string{"ssl_min_protocol_version", "TLSv1.2"}, "remove ssl_min_protocol_version from the URL, since a session cannot set it", ""},
		"a setting of the start":      {nil, []string{"shared_buffers", "1GB"}, "remove shared_buffers from the URL, since a session cannot set it", ""},
		"a setting of superusers":     {nil, []string{"log_statement", "none"}, "remove log_statement from the URL, since the role may not set it", ""},
		"a parameter that is unknown": {nil, []string{"connection_limit", "5"}, "remove connection_limit from the URL, or correct it", ""},
		"Prisma's schema":             {nil, []string{"schema", "crm"}, "replace schema in the URL by search_path=crm", "crm"},
		"Prisma's schema in capitals": {nil, []string{"schema", "Crm"}, "replace schema in the URL by search_path=%22Crm%22", `"Crm"`},

		"a search_path that a pooler refuses":        {strict, []string{"search_path", `crm,"a, b"`}, `SET search_path = "crm", "a, b"`, `crm, "a, b"`},
		"a search_path that a pooler ignores":        {lax, []string{"search_path", `"$user", crm`}, `SET search_path = "$user", "crm"`, `"$user", crm`},
		"a setting that a pooler ignores":            {lax, []string{"work_mem", "9MB"}, `SET work_mem = '9MB'`, ""},
		"options that a pooler refuses":              {strict, []string{"options", `-c search_path=crm,\ public --work-mem=8MB`}, `SET search_path = "crm", "public"`, "crm, public"},
		"options that a pooler ignores":              {lax, []string{"options", `-c search_path=crm`}, `SET search_path = "crm"`, "crm"},
		"options of timeouts alone":                  {strict, []string{"options", `-c statement_timeout=5s`}, "its parameter options: remove it from the URL", ""},
		"Prisma's schema that a pooler refuses":      {strict, []string{"schema", "Crm"}, `Postgres has no parameter schema; the schema is that of search_path`, `"Crm"`},
		"Prisma's schema that a pooler ignores":      {lax, []string{"schema", "crm"}, `replace schema in the URL by search_path=crm`, "crm"},
		"an unknown parameter that a pooler refuses": {strict, []string{"connection_limit", "5"}, "remove it from the URL (Postgres has no parameter connection_limit that the role may set)", ""},
		"an unknown parameter that a pooler ignores": {lax, []string{"connection_limit", "5"}, "remove connection_limit from the URL", ""},
		"a setting of the server, behind a pooler":   {strict, []string{"shared_buffers", "1GB"}, "remove it from the URL (a session cannot set shared_buffers)", ""},
		"a hidden setting of the server, behind one": {strict, []string{"ssl_min_protocol_version", "TLSv1.2"}, "remove it from the URL (Postgres has no parameter ssl_min_protocol_version that the role may set)", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newInspected(t, "")
			base := strings.Split(d.as(), "?")[0] + "?sslmode=disable"
			url, restart := base, func() {}
			if tc.options != nil {
				pooler, pooled := testenv.PgBouncer(t, base, *tc.options)
				url, restart = pooled, func() {
					require.NoError(t, pooler.Stop())
					require.NoError(t, pooler.Start(t.Context()))
				}
			}
			url = with(t, url, tc.parameters...)
			err := check(t, url)
			require.ErrorIs(t, err, database.ErrUnusable)
			require.ErrorContains(t, err, tc.advice)
			for range 3 {
				if err == nil {
					break
				}
				action := strings.ReplaceAll(err.Error(), "remove it from", "remove "+tc.parameters[0]+" from")
				for _, statement := range advice.Statements(action) {
					d.exec(statement)
				}
				url = advice.URL(url, action)
				restart()
				err = check(t, url)
			}
			require.NoError(t, err)
			if tc.path != "" {
				var path string
				require.NoError(t, open(t, url).QueryRow(t.Context(), "SHOW search_path").Scan(&path))
				assert.Equal(t, strings.ReplaceAll(tc.path, " ", ""), strings.ReplaceAll(path, " ", ""))
			}
		})
	}
}

func TestInvalidOptionsAreReported(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"garbage", "-z", "--nothing"} {
		err := check(t, with(t, testenv.Postgres(t), "options", options))
		require.ErrorIs(t, err, database.ErrUnusable)
		assert.ErrorContains(t, err, "correct options in the URL")
	}
}

// check opens a pool and connects.
func check(t *testing.T, url string) error {
	t.Helper()
	p, err := database.Open(t.Context(), url, database.Options{ConnectTimeout: 5 * time.Second})
	require.NoError(t, err)
	defer p.Close()
	_, err = p.Check(t.Context())
	return err
}
