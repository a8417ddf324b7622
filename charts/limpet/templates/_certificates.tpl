{{/* The operator's DNS names, for the gateway and for its own replicas, as a JSON list; the first is the common name. */}}
{{- define "limpet.serverNames" -}}
{{- $names := list -}}
{{- range $service := list "operator" "operator-peers" -}}
{{- $name := printf "%s-%s" (include "limpet.fullname" $) $service -}}
{{- range $suffix := list "" (printf ".%s" $.Release.Namespace) (printf ".%s.svc" $.Release.Namespace) (printf ".%s.svc.cluster.local" $.Release.Namespace) -}}
{{- $names = append $names (printf "%s%s" $name $suffix) -}}
{{- end -}}
{{- end -}}
{{- $names | toJson -}}
{{- end -}}

{{/* The DNS names of the activity service, as a JSON list; the first is the common name. */}}
{{- define "limpet.activityNames" -}}
{{- $names := list -}}
{{- range $suffix := list "" (printf ".%s" .Release.Namespace) (printf ".%s.svc" .Release.Namespace) (printf ".%s.svc.cluster.local" .Release.Namespace) -}}
{{- $names = append $names (printf "%s-activity%s" (include "limpet.fullname" $) $suffix) -}}
{{- end -}}
{{- $names | toJson -}}
{{- end -}}

{{/* The parts that need a certificate, as a JSON object: the end of its Secret's name, and the component. */}}
{{- define "limpet.certificates" -}}
{{- $parts := dict "server" "operator" "client" "gateway" -}}
{{- if .Values.activity.enabled -}}
{{- $_ := set $parts "activity" "activity" -}}
{{- end -}}
{{- $parts | toJson -}}
{{- end -}}

{{/* The DNS name that the operator requires of a gateway's certificate. It includes the namespace, because an issuer may serve several. */}}
{{- define "limpet.gatewayName" -}}
{{ include "limpet.fullname" . }}-gateway.{{ .Release.Namespace }}.svc
{{- end -}}

{{/* The DNS names in the gateway's certificate, as a JSON list; the first is its common name, which must be short. */}}
{{- define "limpet.clientNames" -}}
{{- list (printf "%s-gateway" (include "limpet.fullname" .)) (include "limpet.gatewayName" .) | toJson -}}
{{- end -}}
