{{- define "leadway.name" -}}
{{- if contains "leadway" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-leadway" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "leadway.selector" -}}
app.kubernetes.io/name: leadway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "leadway.labels" -}}
{{ include "leadway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* A pod is stopped by: preStop 5 s, open requests up to the drain, stages up to the drain and 5 s, the log 5 s. */}}
{{- define "leadway.grace" -}}
{{ add (mul 2 (int .Values.drainSeconds)) 25 }}
{{- end }}
