package manifests_test

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

func TestAlertsUseMetricsThatExist(t *testing.T) {
	t.Parallel()
	described := describer{}
	metrics.NewReceiver(described)
	metrics.NewRelay(described)
	metrics.NewController(described)
	require.NoError(t, metrics.RegisterEvents(described, noFigures{}))
	require.NoError(t, metrics.RegisterBuild(described))
	metric := regexp.MustCompile(`(verity_sync_\w+)(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`(\w+)=`)

	alerts := 0
	groups := readYAML(t, file(t, "config", "chart", "files", "alerts.yaml"))["groups"].([]any)
	for _, group := range groups {
		for _, rule := range group.(map[string]any)["rules"].([]any) {
			rule := rule.(map[string]any)
			used := metric.FindAllStringSubmatch(rule["expr"].(string), -1)
			require.NotEmpty(t, used, rule["alert"])
			for _, selector := range used {
				desc, found := described[strings.TrimSuffix(selector[1], "_bucket")]
				assert.True(t, found, "%s uses %s", rule["alert"], selector[1])
				for _, matcher := range label.FindAllStringSubmatch(selector[2], -1) {
					assert.Contains(t, desc, matcher[1], "%s selects %s by it", rule["alert"], selector[1])
				}
			}
			annotations := rule["annotations"].(map[string]any)
			assert.NotEmpty(t, annotations["summary"], rule["alert"])
			assert.NotEmpty(t, annotations["description"], rule["alert"])
			alerts++
		}
	}
	assert.GreaterOrEqual(t, alerts, 8)
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

// noFigures are not asked for.
type noFigures struct{}

func (noFigures) Figures(context.Context) (store.Figures, error) { return store.Figures{}, nil }

func TestAlertsFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	_, err := run(t, nil, "promtool", "test", "rules", "testdata/alerts_test.yaml")
	require.NoError(t, err)
}
