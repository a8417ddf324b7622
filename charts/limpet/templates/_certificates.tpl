{{/* What the operator is called by the gateway and by its own replicas, as a JSON list; the first is its common name. */}}
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

{{/* What the operator asks of a gateway's certificate. With the namespace in it, since an issuer may serve several. */}}
{{- define "limpet.gatewayName" -}}
{{ include "limpet.fullname" . }}-gateway.{{ .Release.Namespace }}.svc
{{- end -}}

{{/* What the gateway's certificate carries, as a JSON list; the first is its common name, which must be short. */}}
{{- define "limpet.clientNames" -}}
{{- list (printf "%s-gateway" (include "limpet.fullname" .)) (include "limpet.gatewayName" .) | toJson -}}
{{- end -}}
