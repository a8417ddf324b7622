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
