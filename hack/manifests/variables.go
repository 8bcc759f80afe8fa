package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/dfmiddleware/verity-sync/internal/config"
)

// Where the chart has variables: under the Secret's keys, or under the variables that are not secret.
const (
	secretValues = "secret.data."
	configValues = "config."
)

// lineWidth is the width of the comments in values.yaml.
const lineWidth = 140

// chartValues writes the values of variables, with their descriptions as comments.
func chartValues(_ string, values []byte) ([]byte, error) {
	return replaceBlocks(values,
		block{"  data:", valueLines("    ", secretValues)},
		block{"config:", valueLines("  ", configValues)},
	)
}

func valueLines(indent, parent string) []string {
	var lines []string
	for _, v := range under(config.All(), parent) {
		lines = append(lines, wrap(indent+"# ", readers(v)+": "+v.Description())...)
		lines = append(lines, indent+v.Name+`: ""`)
	}
	return lines
}

// readers names the processes that read a variable.
func readers(v config.Variable) string {
	if len(v.Readers) == len(config.Installed()) {
		return "All processes"
	}
	text := strings.Join(v.Readers, ", ")
	return strings.ToUpper(text[:1]) + text[1:]
}

// schemas has the JSON schema of each type whose values are not any string. The form of an allowed value is that of the value itself.
var schemas = map[config.Type]string{
	config.TypeBoolean:  `{"enum": ["", true, false, "true", "false"]}`,
	config.TypeInteger:  `{"$ref": "#/$defs/count"}`,
	config.TypeDuration: `{"$ref": "#/$defs/duration"}`,
	config.TypeURL:      `{"$ref": "#/$defs/httpURL"}`,
	config.TypeRegion:   `{"type": "string", "pattern": "^(|[A-Z]{2})$"}`,
	config.TypeRegions:  `{"type": "string", "pattern": "^(| *[A-Za-z0-9_-]+ *= *[A-Z]{2} *(, *[A-Za-z0-9_-]+ *= *[A-Z]{2} *)*)$"}`,
}

// chartSchema writes the schema of the values of variables. Empty is unset.
func chartSchema(_ string, schema []byte) ([]byte, error) {
	return replaceBlocks(schema,
		block{`        "data": {`, schemaLines("          ", secretValues)},
		block{`    "config": {`, schemaLines("      ", configValues)},
	)
}

func schemaLines(indent, parent string) []string {
	lines := []string{indent + `"type": "object",`, indent + `"additionalProperties": false,`, indent + `"properties": {`}
	variables := under(config.All(), parent)
	for i, v := range variables {
		schema, found := schemas[v.Type]
		switch {
		case v.Values != nil:
			schema = `{"enum": ["", "` + strings.Join(v.Values, `", "`) + `"]}`
		case !found:
			schema = `{"type": "string"}`
		}
		comma := ","
		if i == len(variables)-1 {
			comma = ""
		}
		lines = append(lines, fmt.Sprintf(`%s  "%s": %s%s`, indent, v.Name, schema, comma))
	}
	return append(lines, indent+"}")
}

// chartVariables lists the variables of each process. The template of the containers' variables reads this file.
func chartVariables(string, []byte) ([]byte, error) {
	text := []byte("# Generated from internal/config by `make manifests`: the variables of each process, and those that are required.\n")
	for _, process := range config.Installed() {
		text = fmt.Appendf(text, "%s:\n  secrets: [%s]\n  config: [%s]\n", process.Name,
			names(under(process.Variables, secretValues)), names(under(process.Variables, configValues)))
	}
	required := slices.DeleteFunc(config.All(), func(v config.Variable) bool { return !v.Required })
	return fmt.Appendf(text, "required: [%s]\n", names(required)), nil
}

// containerOf returns a conversion that writes the variables of a container in the kustomization: its secrets. A ConfigMap has the others.
func containerOf(process string) func(string, []byte) ([]byte, error) {
	return func(_ string, manifest []byte) ([]byte, error) {
		var lines []string
		if process != "migrate" {
			lines = strings.Split(podNamespace, "\n")
		}
		for _, p := range config.Installed() {
			if p.Name != process {
				continue
			}
			for _, v := range under(p.Variables, secretValues) {
				lines = append(lines, "- name: "+v.Name, "  valueFrom:", "    secretKeyRef:", "      name: verity-sync",
					"      key: "+v.Name)
				if !v.Required {
					lines = append(lines, "      optional: true")
				}
			}
		}
		const indent = "        "
		for i := range lines {
			lines[i] = indent + lines[i]
		}
		return replaceBlocks(manifest, block{indent + "env:", lines})
	}
}

const podNamespace = `- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace`

// secretSample writes the keys of the Secret in config/samples.
func secretSample(_ string, manifest []byte) ([]byte, error) {
	var lines []string
	for _, v := range under(config.All(), secretValues) {
		value := "CHANGE-ME"
		if v.Type == config.TypePostgresURL {
			//nolint:gosec // A placeholder.
			value = "postgres://verity-sync:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full"
		}
		lines = append(lines, wrap("  # ", readers(v)+": "+v.Description())...)
		lines = append(lines, "  "+v.Name+": "+value)
	}
	return replaceBlocks(manifest, block{"stringData:", lines})
}

// secretsTable writes the table of the Secret's keys in docs/install.md.
func secretsTable(_ string, page []byte) ([]byte, error) {
	lines := []string{"| --- | --- | --- | --- | --- |"}
	for _, v := range under(config.All(), secretValues) {
		line := "| `" + v.Name + "` |"
		for _, process := range config.Installed() {
			if slices.Contains(v.Readers, process.Name) {
				line += " ✓"
			}
			line += " |"
		}
		without := v.Unset
		if v.Required {
			without = "the processes do not start"
		}
		lines = append(lines, line+" "+prose(without)+" |")
	}
	return replaceBlocks(page, block{"| key | receiver | controller | migration | without it |", lines})
}

// variablesTable writes the table of all variables in docs/configuration.md.
func variablesTable(_ string, page []byte) ([]byte, error) {
	lines := []string{"| --- | --- | --- | --- | --- | --- |"}
	for _, v := range config.All() {
		name := "`" + v.Name + "`"
		if v.File {
			name += ", `" + v.FileName() + "`"
		}
		form := string(v.Type)
		if v.Values != nil {
			form = "`" + strings.Join(v.Values, "` or `") + "`"
		}
		if v.Secret {
			form += ", secret"
		}
		value := "unset: " + prose(v.Unset)
		if v.Default != "" {
			value = "`" + v.Default + "`"
		}
		if v.Required {
			value = "required"
		}
		lines = append(lines, fmt.Sprintf("| %s | %s | %s | %s | %s | `%s` |",
			name, strings.ToLower(readers(v)), form, value, prose(v.Help), v.Chart))
	}
	return replaceBlocks(page, block{"| variable | read by | form | default | meaning | chart value |", lines})
}

// code is what a table of the docs sets in code: names of variables, and requests.
var code = regexp.MustCompile(`\b[A-Z]+(_[A-Z]+)+\b|\bPOST \S+`)

// prose returns a text as it is in a table of the docs.
func prose(text string) string {
	return markdown.Replace(code.ReplaceAllString(text, "`$0`"))
}

// under returns the variables whose values are below a path of the chart.
func under(variables []config.Variable, parent string) []config.Variable {
	return slices.DeleteFunc(slices.Clone(variables), func(v config.Variable) bool { return v.Chart != parent+v.Name })
}

func names(variables []config.Variable) string {
	list := make([]string, len(variables))
	for i, v := range variables {
		list[i] = v.Name
	}
	return strings.Join(list, ", ")
}

// wrap breaks text into lines of lineWidth that begin with prefix.
func wrap(prefix, text string) []string {
	var lines []string
	line := prefix
	for word := range strings.FieldsSeq(text) {
		if line != prefix && len(line)+1+len(word) > lineWidth {
			lines, line = append(lines, line), prefix
		}
		if line != prefix {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
