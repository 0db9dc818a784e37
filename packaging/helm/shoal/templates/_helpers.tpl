{{- define "shoal.name" -}}
{{ .Release.Name | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "shoal.selectorLabels" -}}
app.kubernetes.io/name: shoal
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "shoal.labels" -}}
{{ include "shoal.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "shoal.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "shoal.name" .) }}
{{- end }}

{{- define "shoal.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "shoal.adminAddress" -}}
{{ ternary "0.0.0.0" .Values.admin.address .Values.podMonitor.enabled }}:{{ .Values.admin.port }}
{{- end }}

{{/* The node's configuration: what the chart decides, over what the user wrote. */}}
{{- define "shoal.config" -}}
{{- $labels := merge (dict "cluster" .Values.node.cluster) (deepCopy .Values.node.labels) }}
{{- with $labels.price }}{{ $_ := set $labels "price" (float64 .) }}{{ end }}
{{- $ingress := dict "listen" (printf "0.0.0.0:%v" .Values.ingress.port) "auth" .Values.ingress.auth }}
{{- if .Values.ingress.tlsSecretName }}
{{- $_ := set $ingress "tls" (dict "cert" "/etc/shoal/tls/tls.crt" "key" "/etc/shoal/tls/tls.key") }}
{{- end }}
{{- $own := dict "node" (dict "labels" $labels) "stateDir" "/var/lib/shoal" "ingress" $ingress
      "notices" (dict "sigterm" (dict "means" "host" "warning" (printf "%ds" (sub (int .Values.terminationGracePeriodSeconds) 60))))
      "mesh" (dict "listen" (printf "0.0.0.0:%v" .Values.mesh.port))
      "admin" (dict "listen" (include "shoal.adminAddress" .)) }}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) $own) }}
{{- end }}
