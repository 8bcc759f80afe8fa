package metrics

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

func TestMain(m *testing.M) { systemtest.Main(m) }

// The subtests run one after the other on one system: each sees what the earlier ones counted.
func TestMetrics(t *testing.T) {
	t.Parallel()
	e := start(t)
	t.Run("are shown to accounts that the API server allows to read them", func(t *testing.T) { onlyReadersRead(t, e) })
	t.Run("come with profiles if enabled, for accounts that may read these", func(t *testing.T) { profilersRead(t, e) })
	t.Run("are served with the current certificate, without a restart", func(t *testing.T) { certificatesRotate(t, e) })

	seen := map[string]bool{}
	for _, s := range slices.Concat(intake(e), work(e), outages(e), rollbacks(e), builds()) {
		t.Run("show "+s.of, func(t *testing.T) { show(t, e, s, seen) })
	}
	t.Run("have each changed in one of the stories", func(t *testing.T) {
		now, err := e.scrape(t.Context())
		require.NoError(t, err)
		var unseen []string
		for _, name := range slices.Sorted(maps.Keys(now.kinds)) {
			if strings.HasPrefix(name, "verity_sync_") && !seen[name] {
				unseen = append(unseen, name)
			}
		}
		assert.Empty(t, unseen, "no story moves them: add one")
	})
}

func onlyReadersRead(t *testing.T, e *environment) {
	for _, p := range e.processes() {
		tests := map[string]struct {
			token string
			code  int
		}{
			"an account that may read them":     {e.token, http.StatusOK},
			"an account that may not read them": {e.stranger, http.StatusForbidden},
			"a client without a token":          {"", http.StatusUnauthorized},
			// controller-runtime answers so if the API server reports why a token is invalid.
			"a client with an invalid token": {"guess", http.StatusInternalServerError},
		}
		for name, test := range tests {
			t.Run(p.Name+" for "+name, func(t *testing.T) {
				code, body, _, err := e.get(t.Context(), p.MetricsURL, test.token)
				require.NoError(t, err)
				assert.Equal(t, test.code, code, body)
				assert.Equal(t, test.code == http.StatusOK, strings.Contains(body, "verity_sync_build_info"), "stats are shown to readers only")
			})
		}
		t.Run(p.Name+" for a client without TLS", func(t *testing.T) {
			// The server answers so and closes the connection, which can lose the answer.
			code, body, _, err := e.get(t.Context(), strings.Replace(p.MetricsURL, "https://", "http://", 1), e.token)
			assert.True(t, err != nil || code == http.StatusBadRequest, "answered %d", code)
			assert.NotContains(t, body, "verity_sync_build_info")
		})
	}
}

func profilersRead(t *testing.T, e *environment) {
	with, without := e.Controllers[0], e.Receivers[0]
	for name, test := range map[string]struct {
		of    *system.Process
		token string
		code  int
	}{
		"an account that may read them":                    {with, e.profiler, http.StatusOK},
		"an account that may read metrics":                 {with, e.token, http.StatusForbidden},
		"a client without a token":                         {with, "", http.StatusUnauthorized},
		"an account that may read them, if there are none": {without, e.profiler, http.StatusNotFound},
	} {
		t.Run("for "+name, func(t *testing.T) {
			url := strings.TrimSuffix(test.of.MetricsURL, "/metrics") + "/debug/pprof/heap?debug=1"
			code, body, _, err := e.get(t.Context(), url, test.token)
			require.NoError(t, err)
			assert.Equal(t, test.code, code, body)
			assert.Equal(t, test.code == http.StatusOK, strings.HasPrefix(body, "heap profile: "))
		})
	}
}

func certificatesRotate(t *testing.T, e *environment) {
	for _, p := range e.processes() {
		pid := p.PID()
		_, _, first, err := e.get(t.Context(), p.MetricsURL, e.token)
		require.NoError(t, err)
		renewed := e.authority.issue(t, e.certificates[p.Name])
		require.NotEqual(t, first, renewed)
		systemtest.Eventually(t, func(c *assert.CollectT) {
			code, _, serial, err := e.get(t.Context(), p.MetricsURL, e.token)
			require.NoError(c, err)
			require.Equal(c, http.StatusOK, code)
			require.Equal(c, renewed, serial, p.Name)
		})
		assert.True(t, p.Running())
		assert.Equal(t, pid, p.PID(), "no process was restarted")
	}
}

// A story is something that happens to the system, and the series in which it is seen. A series that ends in "{" is any of that metric.
type story struct {
	of      string
	happens func(t *testing.T, w *environment)
	// grows are series that have grown by so much at least; they may not have been there before.
	grows map[string]float64
	// shows are series that have a value within these bounds, while it lasts.
	shows map[string]bounds
	// over ends what happened, where it does not end by itself.
	over func(t *testing.T, w *environment)
}

type bounds struct{ least, most float64 }

func exactly(value float64) bounds { return bounds{value, value} }

func atLeast(value float64) bounds { return bounds{value, 1e12} }

func show(t *testing.T, e *environment, s story, seen map[string]bool) {
	before, err := e.scrape(t.Context())
	require.NoError(t, err)
	if s.happens != nil {
		s.happens(t, e)
	}
	if s.over != nil {
		defer s.over(t, e)
	}
	systemtest.Eventually(t, func(c *assert.CollectT) {
		now, err := e.scrape(t.Context())
		require.NoError(c, err)
		for series, least := range s.grows {
			was, _ := before.value(series)
			is, _ := now.value(series)
			assert.GreaterOrEqual(c, is-was, least, series)
		}
		for series, want := range s.shows {
			value, found := now.value(series)
			assert.True(c, found, series)
			assert.True(c, want.least <= value && value <= want.most, "%s is %v, want %v", series, value, want)
		}
	})
	for series := range s.grows {
		seen[nameOf(series)] = true
	}
	for series := range s.shows {
		seen[nameOf(series)] = true
	}
}

// nameOf returns the metric that a series is of.
func nameOf(series string) string {
	name, _, _ := strings.Cut(series, "{")
	return strings.TrimSuffix(name, "_count")
}
