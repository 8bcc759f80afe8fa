{{- define "type_members" -}}
{{- if eq .Name "metadata" -}}
standard metadata; `name` is `<spec.source>-<spec.eventID>`
{{- else -}}
{{ .Doc | trim | replace "\n" " " | replace "|" "\\|" }}
{{- end -}}
{{- end -}}
