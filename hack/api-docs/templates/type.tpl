{{- define "type" -}}
{{- if markdownShouldRenderType . }}

## {{ .Name }}

{{ .Doc | trim }}
{{- if .IsAlias }}

It is a {{ markdownRenderTypeLink .UnderlyingType }}.
{{- end }}
{{- if .References }}

Used by:
{{- range $i, $type := .SortedReferences }}{{ if $i }},{{ end }} {{ markdownRenderTypeLink $type }}{{ end }}.
{{- end }}
{{- if .Members }}

| field | type | description | default | validation |
| --- | --- | --- | --- | --- |
{{- if .GVK }}
| `apiVersion` | string | `{{ .GVK.Group }}/{{ .GVK.Version }}` | | |
| `kind` | string | `{{ .GVK.Kind }}` | | |
{{- end }}
{{- range .Members }}
| `{{ .Name }}` | {{ markdownRenderType .Type }} | {{ template "type_members" . }} | {{ with markdownRenderDefault .Default }}`{{ . | replace "\\" "" }}`{{ end }} | {{ range $i, $rule := .Validation }}{{ if $i }}<br>{{ end }}{{ $rule | replace ": {}" "" | replace "|" "\\|" }}{{ end }} |
{{- end }}
{{- end }}
{{- if .EnumValues }}

| value | meaning |
| --- | --- |
{{- range .EnumValues }}
| `{{ .Name }}` | {{ regexReplaceAll "^\\w+: " .Doc "" | trim | replace "\n" " " | replace "|" "\\|" }} |
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
