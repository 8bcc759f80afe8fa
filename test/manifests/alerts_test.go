package manifests_test

import (
	"context"
	"regexp"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

// alerts returns the rules by the names of their alerts.
func alerts(t *testing.T) map[string]map[string]any {
	t.Helper()
	byName := map[string]map[string]any{}
	for _, group := range readYAML(t, file(t, "config", "chart", "files", "alerts.yaml"))["groups"].([]any) {
		for _, rule := range group.(map[string]any)["rules"].([]any) {
			rule := rule.(map[string]any)
			byName[rule["alert"].(string)] = rule
		}
	}
	require.GreaterOrEqual(t, len(byName), 8)
	return byName
}

func TestAlertsUseMetricsThatExist(t *testing.T) {
	t.Parallel()
	exist := everyMetric(t)
	metric := regexp.MustCompile(`((?:verity_sync|leader_election)_\w+)(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`(\w+)=`)
	for alert, rule := range alerts(t) {
		used := metric.FindAllStringSubmatch(rule["expr"].(string), -1)
		require.NotEmpty(t, used, alert)
		for _, selector := range used {
			_, labels := metricOf(exist, selector[1])
			require.NotNil(t, labels, "%s uses %s", alert, selector[1])
			for _, matcher := range label.FindAllStringSubmatch(selector[2], -1) {
				assert.Contains(t, labels, matcher[1], "%s selects %s by it", alert, selector[1])
			}
		}
		annotations := rule["annotations"].(map[string]any)
		assert.NotEmpty(t, annotations["summary"], alert)
		assert.NotEmpty(t, annotations["description"], alert)
	}
}

// describer is a registry that only remembers the labels of each metric, as prometheus.Desc prints them.
type describer map[string]string

var descForm = regexp.MustCompile(`fqName: "(\w+)".*variableLabels: (\{.*\})\}`)

func (d describer) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		c.Describe(descs)
	}()
	for desc := range descs {
		parts := descForm.FindStringSubmatch(desc.String())
		d[parts[1]] = parts[2]
	}
	return nil
}

func (d describer) MustRegister(collectors ...prometheus.Collector) {
	for _, c := range collectors {
		_ = d.Register(c)
	}
}

func (d describer) Unregister(prometheus.Collector) bool { return false }

// noStats are not asked for.
type noStats struct{}

func (noStats) Stats(context.Context) (store.Stats, error) { return store.Stats{}, nil }

func TestAlertsFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	_, err := run(t, nil, "promtool", "check", "rules", "--lint=all", "--lint-fatal", file(t, "config", "chart", "files", "alerts.yaml"))
	require.NoError(t, err)
	_, err = run(t, nil, "promtool", "test", "rules", "testdata/alerts_test.yaml")
	require.NoError(t, err)
}

func TestEveryAlertIsSeenToFireAndNotTo(t *testing.T) {
	t.Parallel()
	fires, rests := map[string]bool{}, map[string]bool{}
	for _, test := range readYAML(t, "testdata/alerts_test.yaml")["tests"].([]any) {
		for _, expected := range test.(map[string]any)["alert_rule_test"].([]any) {
			expected := expected.(map[string]any)
			if expected["exp_alerts"] != nil {
				fires[expected["alertname"].(string)] = true
			} else {
				rests[expected["alertname"].(string)] = true
			}
		}
	}
	for alert := range alerts(t) {
		assert.True(t, fires[alert], "no test has %s fire", alert)
		assert.True(t, rests[alert], "no test has %s not fire", alert)
	}
}
