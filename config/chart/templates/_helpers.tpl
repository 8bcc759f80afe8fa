{{/*
Gives every value that is absent or null its default, in place. Every template begins with it: `helm upgrade --reuse-values` puts the values of
the earlier chart in place of this one's defaults, and they lack what was added since. files/defaults.yaml has each value under its path.
*/}}
{{- define "verity-sync.defaults" -}}
{{- range $path, $default := .Files.Get "files/defaults.yaml" | fromYaml }}
{{- $keys := splitList "." $path }}
{{- $values := $.Values }}
{{- range initial $keys }}
{{- if not (index $values .) }}{{ $_ := set $values . dict }}{{ end }}
{{- $values = index $values . }}
{{- end }}
{{- if kindIs "invalid" (index $values (last $keys)) }}{{ $_ := set $values (last $keys) $default }}{{ end }}
{{- end }}
{{- end }}

{{- define "verity-sync.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* At most 40 characters, so that names with a suffix stay valid. */}}
{{- define "verity-sync.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Names of cluster-wide objects. A release in another namespace can have the same name. */}}
{{- define "verity-sync.clusterName" -}}
{{- $fullname := include "verity-sync.fullname" . }}
{{- if eq .Release.Namespace $fullname }}{{ $fullname }}{{ else }}{{ .Release.Namespace }}-{{ $fullname }}{{ end }}
{{- end }}

{{/* The labels of selectors: of all components, or of one with (list $ "receiver"). */}}
{{- define "verity-sync.selectorLabels" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ include "verity-sync.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- with rest . }}
app.kubernetes.io/component: {{ first . }}
{{- end }}
{{- end }}

{{- define "verity-sync.labels" -}}
{{- $root := first . -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "verity-sync.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "verity-sync.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- define "verity-sync.secretName" -}}
{{- default (include "verity-sync.fullname" .) .Values.secret.name }}
{{- end }}

{{- define "verity-sync.serviceAccountName" -}}
{{- $root := index . 0 }}{{ $component := index . 1 -}}
{{- default (printf "%s-%s" (include "verity-sync.fullname" $root) $component) (index $root.Values $component).serviceAccount.name }}
{{- end }}

{{- define "verity-sync.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "verity-sync.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The variables of a container: (list $ PROCESS NAME-OF-SECRET). files/variables.yaml lists them. Helm reads numbers as floats, which would show 1000000 with an exponent. */}}
{{- define "verity-sync.env" -}}
{{- $root := index . 0 }}{{ $process := index . 1 }}{{ $secretName := index . 2 }}
{{- $variables := $root.Files.Get "files/variables.yaml" | fromYaml }}
{{- if ne $process "migrate" }}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- end }}
{{- range (index $variables $process).secrets }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $secretName }}
      key: {{ . }}
      {{- if not (has . $variables.required) }}
      optional: true
      {{- end }}
{{- end }}
{{- range $name := (index $variables $process).config }}
{{- $value := index $root.Values.config $name }}
{{- if kindIs "float64" $value }}{{ $value = int64 $value }}{{ end }}
{{- with $value | toString }}
- name: {{ $name }}
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- with $root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "verity-sync.metricsArgs" -}}
{{- if .Values.metrics.enabled -}}
- --metrics-bind-address=:{{ .Values.metrics.port }}
{{- if not .Values.metrics.secure }}
- --metrics-secure=false
{{- else if .Values.metrics.tlsSecretName }}
- --metrics-cert-path=/var/run/verity-sync/metrics-tls
{{- end }}
{{- if .Values.metrics.pprof }}
- --metrics-pprof
{{- end }}
{{- end }}
{{- end }}

{{- define "verity-sync.metricsPort" -}}
{{- if .Values.metrics.enabled -}}
- name: metrics
  containerPort: {{ .Values.metrics.port }}
  protocol: TCP
{{- end }}
{{- end }}

{{- define "verity-sync.metricsTLS" -}}
{{- if and .Values.metrics.enabled .Values.metrics.secure }}{{ .Values.metrics.tlsSecretName }}{{ end }}
{{- end }}

{{/* Scheduling of pods, the same for all components. */}}
{{- define "verity-sync.placement" -}}
{{- $fields := dict }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $ $field }}{{ $_ := set $fields $field . }}{{ end }}
{{- end }}
{{- with $fields }}{{ toYaml . }}{{ end }}
{{- end }}

{{- define "verity-sync.spread" -}}
{{- $root := index . 0 }}{{ $component := index . 1 }}
{{- with (index $root.Values $component).topologySpreadConstraints -}}
topologySpreadConstraints:
{{- range . }}
- {{ toYaml . | nindent 2 | trim }}
  labelSelector:
    matchLabels:
      {{- include "verity-sync.selectorLabels" (list $root $component) | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- end }}

{{- define "verity-sync.volumeMounts" -}}
{{- $root := index . 0 }}{{ $component := index . 1 }}
{{- $mounts := list }}
{{- if and (ne $component "migrate") (include "verity-sync.metricsTLS" $root) }}
{{- $mounts = append $mounts (dict "name" "metrics-tls" "mountPath" "/var/run/verity-sync/metrics-tls" "readOnly" true) }}
{{- end }}
{{- if and (eq $component "controller") $root.Values.ghlTokensSecretName }}
{{- $mounts = append $mounts (dict "name" "ghl-tokens" "mountPath" "/var/run/verity-sync/ghl-tokens" "readOnly" true) }}
{{- end }}
{{- with concat $mounts $root.Values.extraVolumeMounts -}}
{{- dict "volumeMounts" . | toYaml }}
{{- end }}
{{- end }}

{{- define "verity-sync.volumes" -}}
{{- $root := index . 0 }}{{ $component := index . 1 }}
{{- $volumes := list }}
{{- $metricsTLS := include "verity-sync.metricsTLS" $root }}
{{- if and (ne $component "migrate") $metricsTLS }}
{{- $volumes = append $volumes (dict "name" "metrics-tls" "secret" (dict "secretName" $metricsTLS)) }}
{{- end }}
{{- if and (eq $component "controller") $root.Values.ghlTokensSecretName }}
{{- $volumes = append $volumes (dict "name" "ghl-tokens" "secret" (dict "secretName" $root.Values.ghlTokensSecretName)) }}
{{- end }}
{{- with concat $volumes $root.Values.extraVolumes -}}
{{- dict "volumes" . | toYaml }}
{{- end }}
{{- end }}

{{/* Hooks for the objects that the migration needs: Helm creates them before it, in order of the weights, and deletes them after it. */}}
{{- define "verity-sync.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* An egress rule: (list PEERS PORTS). Without peers, it allows any. */}}
{{- define "verity-sync.egress" -}}
- ports:
  {{- range index . 1 }}
  - {protocol: TCP, port: {{ . }}}
  {{- end }}
  {{- with index . 0 }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "verity-sync.ingressBackend" -}}
service:
  name: {{ include "verity-sync.fullname" . }}-receiver
  port:
    name: http
{{- end }}
