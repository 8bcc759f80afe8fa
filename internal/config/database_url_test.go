package config_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/config"
)

func TestADatabaseURLWithAnAmbiguousPasswordIsRejected(t *testing.T) {
	t.Parallel()
	const (
		form      = "expected a Postgres URL: "
		ambiguous = "ambiguous, part of the password may be read as a host, database or parameter; percent-encode special characters"
		quote     = "ambiguous, part of the password may be read as another parameter; quote the password"
	)
	for name, tc := range map[string]struct{ value, want string }{
		"an @ in the password":                               {"postgres://sync:hun@ter22@db/m", ambiguous},
		"two of them":                                        {"postgres://sync:hun@ter@22@db/m", ambiguous},
		"an @ at its end":                                    {"postgres://sync:hunter22@@db/m", ambiguous},
		"an @ in the password of several hosts":              {"postgres://sync:hun@ter22@db1:5432,db2:5433/m", ambiguous},
		"an @ in the other scheme":                           {"postgresql://sync:hun@ter22@db/m", ambiguous},
		"an @ in the user name":                              {"postgres://sync@server:hunter22@db/m", ambiguous},
		"a / that leaves a port in front of it":              {"postgres://sync:5432/hunter22@db/m", ambiguous},
		"a / and a letter":                                   {"postgres://sync:hun/ter22@db/m", ambiguous},
		"an @, a / and a query":                              {"postgres://sync:hu@n/t?er=22@db/m", ambiguous},
		"an @ in a parameter":                                {"postgres://sync:hunter22@db/m?application_name=a@b", ambiguous},
		"a % that encodes nothing":                           {"postgres://sync:hun%ter22@db/m", form},
		"a space":                                            {"postgres://sync:hun ter22@db/m", form},
		"the colon is encoded as well":                       {"postgres://sync%3Ahunter22@db/m", ambiguous},
		"all of it is encoded":                               {"postgres://sync%3Ahunter22%40db%2Fm", ambiguous},
		"an & in the query's password":                       {"postgres://db/m?user=sync&password=hun&ter22=x", ambiguous},
		"an encoded password's key":                          {"postgres://db/m?pass%77ord=hun&ter22=x", ambiguous},
		"no scheme":                                          {"sync:hunter22@db/m", form},
		"no scheme and an = in the password":                 {"sync:hunter=22@db/m", form},
		"a scheme in capitals":                               {"POSTGRES://sync:hunter22@db/m?sslmode=require", form},
		"one slash":                                          {"postgres:/sync:hunter22@db/m?sslmode=require", form},
		"another database's scheme":                          {"mysql://sync:hunter22@db/m?tls=true", form},
		"a space in a keyword's password":                    {"host=db password=hunt er22 user=sync", quote},
		"a space and an =":                                   {"host=db password=hunt er22=x user=sync", quote},
		"a ' in a quoted password":                           {"host=db password='hun'ter22=x' user=sync", quote},
		"a quote that does not end":                          {"host=db password='hunter22 user=sync", quote},
		"a URL in place of the host":                         {"host=postgres://sync:hunter22@db user=sync", ambiguous},
		"credentials in the host":                            {"host=sync:hunter22@db user=sync", ambiguous},
		"credentials in the user":                            {"host=db user=sync:hunter22", ambiguous},
		"a URL in place of the database":                     {"host=db user=sync dbname=postgres://sync:hunter22@db/m", ambiguous},
		"the certificate is missing and there is an @":       {"postgres://sync:hun@ter22@db/m?sslrootcert=/nowhere/ca.crt", ambiguous},
		"a password with a port's digits and a path besides": {"postgres://sync:1234/hunter22@db", ambiguous},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, variable := range []string{"DATABASE_URL", "VERITY_DATABASE_URL"} {
				_, err := config.Load[config.Controller]([]string{"DATABASE_URL=" + databaseURL, variable + "=" + tc.value})
				require.ErrorContains(t, err, variable+": "+tc.want)
				assert.NotContains(t, err.Error(), "\n")
				requireNothingOf(t, "hunter22", err.Error())
			}
			assert.Equal(t, "[redacted]", config.DatabaseURL(tc.value).String())
		})
	}
}

func TestEveryUnambiguousDatabaseURLIsAccepted(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"postgres://sync:h%40unter2@db:6432/m":                                            "postgres://sync@db:6432/m",
		"postgres://sync:h:u#n?t&e=r2@db/m":                                               "postgres://sync@db:5432/m",
		"postgres://sync:hunter2@db1:5432,db2:5433/m?target_session_attrs=any":            "postgres://sync@db1:5432/m",
		"postgres://sync:hunter2@[fd00::1]:5432/m":                                        "postgres://sync@[fd00::1]:5432/m",
		"postgres://sync:hunter2@db/m?pool_max_conns=4&search_path=a&auto_explain.x=1":    "postgres://sync@db:5432/m",
		"postgres://db/m?user=sync&password=hunter2&statement_timeout=5000&sslmode=allow": "postgres://sync@db:5432/m",
		"host=db password=h@unter2 user=sync dbname=m statement_timeout=5000":             "postgres://sync@db:5432/m",
		`host=db user = sync password='h\'unt\\er 2' dbname=m auto_explain.x=1`:           "postgres://sync@db:5432/m",
		"host=/var/run/postgresql user=sync dbname=m":                                     "postgres://sync@%2Fvar%2Frun%2Fpostgresql:5432/m",
	} {
		_, err := config.Load[config.Migrate]([]string{"DATABASE_URL=" + value})
		require.NoError(t, err, value)
		assert.Equal(t, want, config.DatabaseURL(value).String())
	}
}

// TestNothingOfAnyPasswordIsShown looks at everything that errors of pgx, of the resolver and of Postgres quote.
func TestNothingOfAnyPasswordIsShown(t *testing.T) {
	t.Parallel()
	const rounds = 4000
	forms := map[string]string{
		"a URL":                      "postgres://sync:%s@db.example.com:5432/middleware?sslmode=require",
		"a URL without port":         "postgresql://sync:%s@db.example.com/middleware",
		"a URL of several hosts":     "postgres://sync:%s@db1.example.com,db2.example.com:5433/middleware",
		"a URL without database":     "postgres://sync:%s@db.example.com",
		"a URL without user":         "postgres://:%s@db.example.com/middleware",
		"a password in the query":    "postgres://db.example.com/middleware?user=sync&password=%s&sslmode=require",
		"a password that ends it":    "postgres://db.example.com/middleware?user=sync&password=%s",
		"keywords":                   "host=db.example.com user=sync password=%s dbname=middleware",
		"keywords with the password": "host=db.example.com user=sync dbname=middleware password=%s",
		"quoted keywords":            "host=db.example.com user=sync password='%s' dbname=middleware",
		"a wrong scheme":             "postgres:/sync:%s@db.example.com/middleware",
		"no scheme":                  "sync:%s@db.example.com/middleware?sslmode=require",
	}
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			accepted := 0
			random := rand.New(rand.NewPCG(1, uint64(len(form))))
			for range rounds {
				password := randomPassword(random)
				// pgx reads a URL that starts with the scheme of another one's password right.
				shown, ok := shownOf(t, fmt.Sprintf(form, password))
				requireNothingOf(t, password, shown)
				if ok {
					accepted++
				}
			}
			if !strings.HasPrefix(name, "a wrong") && !strings.HasPrefix(name, "no ") {
				assert.Positive(t, accepted)
			}
		})
	}
	t.Run("percent-encoded", func(t *testing.T) {
		t.Parallel()
		random := rand.New(rand.NewPCG(2, 2))
		for range rounds {
			password := randomPassword(random)
			u := url.URL{Scheme: "postgres", User: url.UserPassword("sync", password), Host: "db.example.com", Path: "/middleware"}
			shown, ok := shownOf(t, u.String())
			require.True(t, ok, "what is encoded is accepted: %q", password)
			requireNothingOf(t, password, shown)
			cfg, err := pgxpool.ParseConfig(u.String())
			require.NoError(t, err)
			require.Equal(t, password, cfg.ConnConfig.Password)
		}
	})
}

// shownOf returns all that can be printed of a database URL, and whether it is accepted.
func shownOf(t *testing.T, value string) (string, bool) {
	t.Helper()
	shown := []string{config.DatabaseURL(value).String()}
	loaded, err := config.Load[config.Migrate]([]string{"DATABASE_URL=" + value})
	if err != nil {
		return strings.Join(append(shown, err.Error()), "\n"), false
	}
	cfg, err := pgxpool.ParseConfig(loaded.DatabaseURL.Reveal())
	require.NoError(t, err)
	shown = append(shown, cfg.ConnConfig.Host, cfg.ConnConfig.User, cfg.ConnConfig.Database)
	for _, f := range cfg.ConnConfig.Fallbacks {
		shown = append(shown, f.Host, fmt.Sprint(f.Port))
	}
	for name, parameter := range cfg.ConnConfig.RuntimeParams {
		shown = append(shown, name, parameter)
	}
	return strings.Join(shown, "\n"), true
}

// randomPassword returns one whose runs of letters are no word that a message or an address has.
func randomPassword(random *rand.Rand) string {
	const letters, special = "QXZJKV0189", "@#/?%:&=+$!*'\\\" ,;[]{}()|<>~^`.-_\t\n"
	var password strings.Builder
	for range 1 + random.IntN(3) {
		for range 4 + random.IntN(4) {
			password.WriteByte(letters[random.IntN(len(letters))])
		}
		for range random.IntN(3) {
			password.WriteByte(special[random.IntN(len(special))])
		}
	}
	return "Q" + password.String() + "Z"
}

// requireNothingOf requires that no four consecutive letters or digits of password are in shown.
func requireNothingOf(t *testing.T, password, shown string) {
	t.Helper()
	for i := 0; i+4 <= len(password); i++ {
		if part := password[i : i+4]; strings.Contains(shown, part) {
			t.Fatalf("%q of %q is in %s", part, password, shown)
		}
	}
}

func TestAValueInPlaceOfAFilesPathIsNotShown(t *testing.T) {
	t.Parallel()
	_, err := config.Load[config.Controller]([]string{
		"DATABASE_URL_FILE=postgres://sync:hun@ter22@db/m", "GHL_API_TOKEN_FILE=pit-hunter22", "GHL_TOKENS_DIR=pit-hunter22",
		"ALOWARE_BASE_URL=https://sync:1234/hunter22@aloware.example.com", "VERITY_BASE_URL=https://sync:hun#ter22@verity.example.com",
	})
	for _, want := range []string{
		"DATABASE_URL: read DATABASE_URL_FILE: expected the path of a file that holds the value: no such file", "GHL_API_TOKEN: read GHL_API_TOKEN_FILE: ",
		"GHL_TOKENS_DIR: expected a directory", "ALOWARE_BASE_URL: expected a URL without", "VERITY_BASE_URL: expected an absolute",
	} {
		require.ErrorContains(t, err, want)
	}
	for _, part := range []string{"hunt", "ter22", "1234"} {
		assert.NotContains(t, err.Error(), part)
	}
}
