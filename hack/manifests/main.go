// Command manifests writes what follows from another file: the chart's custom resource definition, the alerts for kustomize, the chart's
// README, whose tables of values come from the comments in values.yaml, the defaults that templates can read, and everything that has the
// variables of internal/config: values, schema, containers and docs.
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

// values is the chart's values.yaml.
const values = "config/chart/values.yaml"

// generated has the path of each file below the repository, the file that it is generated from (the file itself, if blocks of it are
// generated), and how. A file comes before those that are generated from it.
var generated = []struct {
	path, from string
	convert    func(root string, from []byte) ([]byte, error)
}{
	{values, values, chartValues},
	{"config/chart/values.schema.json", "config/chart/values.schema.json", chartSchema},
	{"config/chart/files/variables.yaml", values, chartVariables},
	{"config/receiver/deployment.yaml", "config/receiver/deployment.yaml", containerOf("receiver")},
	{"config/manager/deployment.yaml", "config/manager/deployment.yaml", containerOf("controller")},
	{"config/migrate/job.yaml", "config/migrate/job.yaml", containerOf("migrate")},
	{"config/samples/secret.yaml", "config/samples/secret.yaml", secretSample},
	{"docs/configuration.md", "docs/configuration.md", variablesTable},
	{"docs/install.md", "docs/install.md", secretsTable},
	{"config/chart/templates/crd.yaml", "config/crd/bases/webhooks.dfmiddleware.io_webhookevents.yaml", chartCRD},
	{"config/chart/README.md", values, chartReadme},
	{"config/chart/files/defaults.yaml", values, chartDefaults},
	{"config/prometheus/prometheus_rule.yaml", "config/chart/files/alerts.yaml", prometheusRule},
}

func write(root string) error {
	for _, file := range generated {
		content, err := generate(root, file.from, file.convert)
		if err != nil {
			return fmt.Errorf("generate %s: %w", file.path, err)
		}
		//nolint:gosec // A manifest is readable by everyone.
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

// chartCRD makes the custom resource definition a template, with the options to omit and to keep it.
func chartCRD(_ string, crd []byte) ([]byte, error) {
	const annotations = "  annotations:\n"
	if bytes.Contains(crd, []byte("{{")) {
		return nil, errors.New("the custom resource definition has braces, which a template cannot contain")
	}
	before, after, found := strings.Cut(strings.TrimPrefix(string(crd), "---\n"), annotations)
	if !found {
		return nil, errors.New("the custom resource definition has no annotations to add to")
	}
	return []byte("{{- include \"verity-sync.defaults\" . }}\n{{- if .Values.crds.install }}\n" + before + annotations +
		"    {{- if .Values.crds.keep }}\n    helm.sh/resource-policy: keep\n    {{- end }}\n" + after + "{{- end }}\n"), nil
}

// prometheusRule wraps the alerts. Prometheus reads their file without it.
func prometheusRule(_ string, alerts []byte) ([]byte, error) {
	rule := []byte(`# Generated from ../chart/files/alerts.yaml by ` + "`make manifests`" + `.
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

func chartReadme(root string, content []byte) ([]byte, error) {
	tables, err := describe(content)
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
func chartDefaults(_ string, content []byte) ([]byte, error) {
	tables, err := describe(content)
	if err != nil {
		return nil, err
	}
	defaults := []byte("# Generated from ../values.yaml by `make manifests`. Templates take the default of an absent value from it.\n")
	for _, table := range tables {
		for _, row := range table.Rows {
			defaults = fmt.Appendf(defaults, "%s: %s\n", row.Key, row.Default)
		}
	}
	return defaults, nil
}
