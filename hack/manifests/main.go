// Command manifests writes what the manifests of the installation have twice: the chart's custom resource definition, the alerts for
// kustomize, the chart's README, whose tables of values come from the comments in values.yaml, and the defaults that templates can read.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

func main() {
	root, err := repo.Path()
	if err == nil {
		err = write(root)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "manifests:", err)
		os.Exit(1)
	}
}

// generated has the path of each file below the repository, and how its content is made of another one's.
var generated = []struct {
	path, from string
	convert    func(root string, from []byte) ([]byte, error)
}{
	{"config/chart/templates/crd.yaml", "config/crd/bases/webhooks.dfmiddleware.io_webhookevents.yaml", chartCRD},
	{"config/chart/README.md", "config/chart/values.yaml", chartReadme},
	{"config/chart/files/defaults.yaml", "config/chart/values.yaml", chartDefaults},
	{"config/prometheus/prometheus_rule.yaml", "config/chart/files/alerts.yaml", prometheusRule},
}

func write(root string) error {
	for _, file := range generated {
		content, err := generate(root, file.from, file.convert)
		if err != nil {
			return fmt.Errorf("make %s: %w", file.path, err)
		}
		//nolint:gosec // A manifest is for everyone to read.
		if err := os.WriteFile(filepath.Join(root, file.path), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func generate(root, from string, convert func(string, []byte) ([]byte, error)) ([]byte, error) {
	source, err := os.ReadFile(filepath.Join(root, from))
	if err != nil {
		return nil, err
	}
	return convert(root, source)
}

// chartCRD makes the custom resource definition a template: it can be left out, and Helm told to keep it.
func chartCRD(_ string, crd []byte) ([]byte, error) {
	const annotations = "  annotations:\n"
	if bytes.Contains(crd, []byte("{{")) {
		return nil, errors.New("the custom resource definition has braces, which a template cannot hold")
	}
	before, after, found := strings.Cut(strings.TrimPrefix(string(crd), "---\n"), annotations)
	if !found {
		return nil, errors.New("the custom resource definition has no annotations to add to")
	}
	return []byte("{{- include \"verity-sync.defaults\" . }}\n{{- if .Values.crds.install }}\n" + before + annotations +
		"    {{- if .Values.crds.keep }}\n    helm.sh/resource-policy: keep\n    {{- end }}\n" + after + "{{- end }}\n"), nil
}

// prometheusRule wraps the alerts, whose file Prometheus itself reads as it is.
func prometheusRule(_ string, alerts []byte) ([]byte, error) {
	rule := []byte(`# Made from ../chart/files/alerts.yaml by ` + "`make manifests`" + `.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: verity-sync
  labels:
    app.kubernetes.io/name: verity-sync
    app.kubernetes.io/instance: verity-sync
spec:
`)
	for line := range strings.Lines(string(alerts)) {
		if !strings.HasPrefix(line, "#") {
			rule = append(append(rule, "  "...), line...)
		}
	}
	return rule, nil
}

func chartReadme(root string, values []byte) ([]byte, error) {
	tables, err := describe(values)
	if err != nil {
		return nil, err
	}
	text, err := template.ParseFiles(filepath.Join(root, "config", "chart", "README.md.gotmpl"))
	if err != nil {
		return nil, err
	}
	var readme bytes.Buffer
	err = text.Execute(&readme, tables)
	return readme.Bytes(), err
}

// chartDefaults lists the values by their paths. A template can read this file, but not values.yaml.
func chartDefaults(_ string, values []byte) ([]byte, error) {
	tables, err := describe(values)
	if err != nil {
		return nil, err
	}
	defaults := []byte("# Made from ../values.yaml by `make manifests`. Templates take the default of a value that is absent from it.\n")
	for _, table := range tables {
		for _, row := range table.Rows {
			defaults = fmt.Appendf(defaults, "%s: %s\n", row.Key, row.Default)
		}
	}
	return defaults, nil
}
