{{/* Names and labels that all objects share. */}}

{{/* Short enough for the longest suffix of a Service: names of Services end at 63 characters. */}}
{{- define "limpet.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The labels that a Deployment and its Services select by: (list . "operator") */}}
{{- define "limpet.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "limpet.labels" -}}
{{- $root := index . 0 -}}
{{ include "limpet.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: limpet
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The DNS name of the operator, which its certificate carries. */}}
{{- define "limpet.operatorHost" -}}
{{ include "limpet.fullname" . }}-operator.{{ .Release.Namespace }}.svc
{{- end -}}

{{/* The Role in each namespace of applications by which the operator writes for their sidecars; several gateways may. */}}
{{- define "limpet.sidecarRole" -}}
{{ .Release.Namespace }}-{{ include "limpet.fullname" . }}-operator-mesh
{{- end -}}

{{- define "limpet.serverSecret" -}}
{{ .Values.tls.existingServerSecret | default (printf "%s-controlplane-server" (include "limpet.fullname" .)) }}
{{- end -}}

{{- define "limpet.clientSecret" -}}
{{ .Values.tls.existingClientSecret | default (printf "%s-controlplane-client" (include "limpet.fullname" .)) }}
{{- end -}}

{{- define "limpet.activitySecret" -}}
{{ .Values.tls.existingActivitySecret | default (printf "%s-controlplane-activity" (include "limpet.fullname" .)) }}
{{- end -}}

{{/* The DNS name of the activity service, which its certificate carries. */}}
{{- define "limpet.activityHost" -}}
{{ include "limpet.fullname" . }}-activity.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "limpet.pageSecret" -}}
{{ .Values.activity.page.existingSecret | default (printf "%s-page" (include "limpet.fullname" .)) }}
{{- end -}}

{{/* The names that the activity page may be reached by, as a JSON list. */}}
{{- define "limpet.pageHosts" -}}
{{- $service := printf "%s-page" (include "limpet.fullname" .) -}}
{{- $hosts := list $service (printf "%s.%s" $service .Release.Namespace) (printf "%s.%s.svc" $service .Release.Namespace) -}}
{{- $hosts = concat $hosts .Values.activity.page.hosts -}}
{{- with .Values.activity.ingress -}}
{{- if .enabled -}}{{- $hosts = append $hosts .host -}}{{- end -}}
{{- end -}}
{{- with .Values.activity.httpRoute -}}
{{- if .enabled -}}{{- $hosts = concat $hosts .hostnames -}}{{- end -}}
{{- end -}}
{{- $hosts | uniq | toJson -}}
{{- end -}}

{{/* "true" if the chart makes a claim for the records. */}}
{{- define "limpet.claimsVolume" -}}
{{- with .Values.activity.persistence -}}
{{- if and .enabled (not .existingClaim) (not $.Values.activity.postgresql.existingSecret) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{- define "limpet.memoryKeySecret" -}}
{{ .Values.memoryKey.existingSecret | default (printf "%s-memory-key" (include "limpet.fullname" .)) }}
{{- end -}}

{{/* "true" if the chart installs Redis. */}}
{{- define "limpet.bundlesRedis" -}}
{{- if and .Values.redis.bundled.enabled (not .Values.redis.url) -}}true{{- end -}}
{{- end -}}

{{- define "limpet.redisUrl" -}}
{{- if .Values.redis.url -}}
{{ .Values.redis.url }}
{{- else if .Values.redis.bundled.enabled -}}
redis://{{ include "limpet.fullname" . }}-redis.{{ .Release.Namespace }}.svc:6379/0
{{- end -}}
{{- end -}}

{{- define "limpet.redisSecret" -}}
{{- if include "limpet.bundlesRedis" . -}}
{{ .Values.redis.bundled.existingSecret | default (printf "%s-redis" (include "limpet.fullname" .)) }}
{{- else if .Values.redis.url -}}
{{ .Values.redis.existingSecret }}
{{- end -}}
{{- end -}}

{{/* The values that must name Secrets so that the chart generates none, as a JSON list. */}}
{{- define "limpet.secretsToMake" -}}
{{- $unnamed := list -}}
{{- if not (or .Values.tls.certManager.enabled .Values.tls.existingServerSecret) -}}
{{- $unnamed = append $unnamed "tls.existingServerSecret and tls.existingClientSecret (or tls.certManager.enabled=true)" -}}
{{- end -}}
{{- if not .Values.memoryKey.existingSecret -}}
{{- $unnamed = append $unnamed "memoryKey.existingSecret" -}}
{{- end -}}
{{- if and .Values.activity.enabled (not .Values.activity.page.existingSecret) -}}
{{- $unnamed = append $unnamed "activity.page.existingSecret (or activity.enabled=false)" -}}
{{- end -}}
{{- if and (include "limpet.bundlesRedis" .) (not .Values.redis.bundled.existingSecret) -}}
{{- $unnamed = append $unnamed "redis.bundled.existingSecret (or redis.url)" -}}
{{- end -}}
{{- $unnamed | toJson -}}
{{- end -}}

{{/* The comment above a Secret that this rendering generated. */}}
{{- define "limpet.generatedComment" -}}
# Made by this rendering, because none was found in the cluster. A tool that applies each rendering would replace it every time:
# for such a tool, name your own Secrets and set generateSecrets=false.
{{- end -}}

{{/* The namespaces that serve this gateway, as a JSON list. */}}
{{- define "limpet.namespaces" -}}
{{- .Values.watch.namespaces | default (list .Release.Namespace) | uniq | toJson -}}
{{- end -}}
