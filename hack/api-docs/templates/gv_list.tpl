{{- define "gvList" -}}
<!-- Made from the Go types by `make api-docs`: edit api/v1alpha1 instead. -->

# API reference
{{- range . }}
{{ template "gvDetails" . }}
{{- end }}
{{ end -}}
