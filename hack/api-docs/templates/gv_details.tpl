{{- define "gvDetails" }}
The API group and version are `{{ .GroupVersionString }}`. {{ .Doc | trim }}

[webhookevents.md](webhookevents.md) shows how to read, suspend and replay a WebhookEvent, and [sync.md](sync.md) lists every reason and result.
{{- range .SortedTypes }}
{{- template "type" . }}
{{- end }}
{{- end -}}
