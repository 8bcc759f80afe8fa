package manifests_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	_ "sigs.k8s.io/controller-runtime/pkg/controller" // Registers the metrics of controllers.
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/plan"
)

// dashboard is what is relied on of Grafana's format.
type dashboard struct {
	UID, Title string
	Templating struct {
		List []struct{ Name, Type, Query, Definition any }
	}
	Panels []panel
}

type panel struct {
	ID          int
	Type, Title string
	Datasource  datasource
	GridPos     struct{ H, W, X, Y int }
	Targets     []struct {
		Datasource                datasource
		RefID, Expr, LegendFormat string
	}
}

type datasource struct{ Type, UID string }

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	content, err := os.ReadFile(file(t, "config", "chart", "files", "dashboard.json"))
	require.NoError(t, err)
	var read dashboard
	require.NoError(t, json.Unmarshal(content, &read))
	require.NotEmpty(t, read.Panels)
	return read
}

// Labels that Prometheus adds to what it scrapes, as the ServiceMonitor has it do.
var targetLabels = []string{"namespace", "pod"}

// everyMetric returns the labels of each metric that a receiver or a controller has, those of the Go runtime, of the process and of
// controller-runtime included.
func everyMetric(t *testing.T) map[string][]string {
	t.Helper()
	described := describer{}
	metrics.NewReceiver(described)
	metrics.NewRelay(described)
	metrics.NewController(described, plan.Specs())
	require.NoError(t, metrics.RegisterEvents(described, noStats{}))
	require.NoError(t, metrics.RegisterBuild(described))
	require.NoError(t, metrics.RegisterPool(described, "middleware", nil))
	require.NoError(t, described.Register(ctrlmetrics.Registry.(prometheus.Collector)))

	labels := map[string][]string{}
	for name, of := range described {
		labels[name] = append(regexp.MustCompile(`\w+`).FindAllString(of, -1), targetLabels...)
		// A describer does not see labels whose value never changes.
		switch {
		case strings.HasPrefix(name, "verity_sync_database_pool_"):
			labels[name] = append(labels[name], "database")
		case name == "verity_sync_build_info":
			labels[name] = append(labels[name], "version", "commit", "date", "goversion")
		}
	}
	return labels
}

var (
	selector = regexp.MustCompile(`(\w+)\{([^}]*)\}`)
	matcher  = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"[^"]*"`)
	grouping = regexp.MustCompile(`\b(?:by|on)\s*\(([^)]*)\)`)
	interval = regexp.MustCompile(`\[[^\]]*\]`)
	word     = regexp.MustCompile(`[A-Za-z_]\w*`)
	legend   = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)
	// words are all that an expression may have besides metrics and labels.
	words = []string{"and", "count", "histogram_quantile", "max", "min", "rate", "sum"}
)

func TestDashboardUsesMetricsThatExist(t *testing.T) {
	t.Parallel()
	exist := everyMetric(t)
	used := map[string]bool{}
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			where := fmt.Sprintf("%s %s: %s", panel.Title, target.RefID, target.Expr)
			var labels []string
			selectors := selector.FindAllStringSubmatch(target.Expr, -1)
			require.NotEmpty(t, selectors, where)
			for _, s := range selectors {
				name, of := metricOf(exist, s[1])
				require.NotNil(t, of, "%s is no metric, in %s", s[1], where)
				used[name] = true
				labels = append(labels, of...)
				assert.Contains(t, s[2], `namespace="$namespace"`, where)
				for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
					assert.Contains(t, of, m[1], "%s is selected by it in %s", s[1], where)
				}
			}
			for _, list := range grouping.FindAllStringSubmatch(target.Expr, -1) {
				assert.Subset(t, labels, word.FindAllString(list[1], -1), where)
			}
			for _, label := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				assert.Contains(t, labels, label[1], "the legend of %s", where)
			}
			rest := target.Expr
			for _, known := range []*regexp.Regexp{selector, grouping, interval} {
				rest = known.ReplaceAllString(rest, "")
			}
			assert.Subset(t, words, word.FindAllString(rest, -1), where)
		}
	}
	for name := range exist {
		if strings.HasPrefix(name, "verity_sync_") {
			assert.True(t, used[name], "no panel shows %s", name)
		}
	}
}

// metricOf returns the metric that a series is of and the labels of the series.
func metricOf(exist map[string][]string, series string) (string, []string) {
	if labels, ok := exist[series]; ok {
		return series, labels
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		// Only histograms have such series, and here they are named for seconds or a size.
		name, ok := strings.CutSuffix(series, suffix)
		labels, exists := exist[name]
		if ok && exists && (strings.HasSuffix(name, "_seconds") || strings.HasSuffix(name, "_size")) {
			return name, append(slices.Clone(labels), "le")
		}
	}
	return series, nil
}

func TestDashboardIsWellFormed(t *testing.T) {
	t.Parallel()
	read := readDashboard(t)
	assert.Equal(t, "verity-sync", read.UID)
	variables := map[any]any{}
	for _, variable := range read.Templating.List {
		variables[variable.Name] = variable.Type
	}
	assert.Equal(t, map[any]any{"datasource": "datasource", "namespace": "query"}, variables)

	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, panel := range read.Panels {
		assert.False(t, ids[panel.ID], "%d is the id of two panels", panel.ID)
		ids[panel.ID] = true
		assert.NotEmpty(t, panel.Title)
		at := panel.GridPos
		assert.LessOrEqual(t, at.X+at.W, 24, panel.Title)
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				assert.Empty(t, cells[[2]int{x, y}], "%s is in its place", panel.Title)
				cells[[2]int{x, y}] = panel.Title
			}
		}
		if panel.Type == "row" {
			continue
		}
		assert.Equal(t, datasource{"prometheus", "${datasource}"}, panel.Datasource, panel.Title)
		refs := map[string]bool{}
		for _, target := range panel.Targets {
			assert.Equal(t, panel.Datasource, target.Datasource, panel.Title)
			assert.False(t, refs[target.RefID], panel.Title)
			refs[target.RefID] = true
		}
		assert.NotEmpty(t, refs, panel.Title)
	}
}

func TestPrometheusReadsEveryExpressionOfTheDashboard(t *testing.T) {
	t.Parallel()
	var rules []map[string]string
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			rules = append(rules, map[string]string{
				"record": fmt.Sprintf("panel_%d:%s", panel.ID, target.RefID),
				"expr":   strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"),
			})
		}
	}
	content, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "rules.yaml")
	require.NoError(t, os.WriteFile(path, content, 0o600))

	output, err := run(t, nil, "promtool", "check", "rules", path)
	require.NoError(t, err)
	assert.Contains(t, string(output), fmt.Sprintf("%d rules found", len(rules)))
}

func TestTheChartHasTheDashboardForGrafanasSidecar(t *testing.T) {
	t.Parallel()
	find := func(objects []*unstructured.Unstructured) *unstructured.Unstructured {
		i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return strings.HasSuffix(o.GetName(), "-dashboard") })
		if i < 0 {
			return nil
		}
		return objects[i]
	}
	assert.Nil(t, find(rendered["chart by default"](t)))
	assert.Nil(t, find(chart(t, "--set=metrics.dashboard.enabled=true,metrics.enabled=false")), "there is nothing to show")

	content, err := os.ReadFile(file(t, "config", "chart", "files", "dashboard.json"))
	require.NoError(t, err)
	object := find(rendered["chart with all components"](t))
	require.NotNil(t, object)
	assert.Equal(t, "1", object.GetLabels()["grafana_dashboard"], "what kube-prometheus-stack looks for")
	data, _, err := unstructured.NestedStringMap(object.Object, "data")
	require.NoError(t, err)
	assert.Equal(t, []string{"verity-sync.json"}, slices.Collect(maps.Keys(data)))
	assert.JSONEq(t, string(content), data["verity-sync.json"])

	object = find(rendered["chart with all options"](t))
	require.NotNil(t, object)
	assert.Equal(t, "hooks", object.GetLabels()["grafana_dashboard"])
	assert.Equal(t, map[string]string{"grafana_folder": "Integrations"}, object.GetAnnotations())
}
