{{/* Settings that all pods and containers share. */}}

{{/* (dict "image" .Values.x.image "tag" "default tag") */}}
{{- define "limpet.image" -}}
{{ .image.repository }}:{{ .image.tag | default .tag }}{{ with .image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{/* The values of one component: (list . "redis") */}}
{{- define "limpet.component" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- ternary $root.Values.redis.bundled (get $root.Values $component) (eq $component "redis") | toYaml -}}
{{- end -}}

{{/*
A mapping for all pods, overridden by that of one component; null removes a key: (list . "gateway" "podLabels").
Helm itself removes a null over a default of the chart.
*/}}
{{- define "limpet.mapping" -}}
{{- $root := index . 0 -}}
{{- $field := index . 2 -}}
{{- $merged := dict -}}
{{- range $values := list $root.Values (include "limpet.component" . | fromYaml) -}}
{{- range $key, $value := get $values $field | default dict -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $merged $key -}}
{{- else -}}
{{- $_ := set $merged $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $merged -}}
{{- toYaml $merged -}}
{{- end -}}
{{- end -}}

{{/* The value for all pods, or that of one component instead: (list . "gateway" "nodeSelector") */}}
{{- define "limpet.own" -}}
{{- $root := index . 0 -}}
{{- $field := index . 2 -}}
{{- with get (include "limpet.component" . | fromYaml) $field | default (get $root.Values $field) -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{/* Labels of a pod: (list . "gateway") */}}
{{- define "limpet.podLabels" -}}
{{ include "limpet.selector" . }}
{{- with include "limpet.mapping" (append . "podLabels") }}
{{ . }}
{{- end }}
{{- end -}}

{{/* User and groups of a pod's processes: (list . "gateway"). All containers of a pod run as one user, because they share a directory of sockets. */}}
{{- define "limpet.podSecurityContext" -}}
{{- include "limpet.mapping" (append . "podSecurityContext") | default "{}" -}}
{{- end -}}

{{- define "limpet.securityContext" -}}
{{- include "limpet.mapping" (append . "securityContext") | default "{}" -}}
{{- end -}}

{{/* Labels and annotations of a component's ServiceAccount: (list . "gateway") */}}
{{- define "limpet.accountMetadata" -}}
{{- $account := (include "limpet.component" . | fromYaml).serviceAccount -}}
labels:
  {{- include "limpet.labels" . | nindent 2 }}
  {{- with $account.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $account.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Placement and pull secrets of a pod: (list . "operator") */}}
{{- define "limpet.placement" -}}
{{- $root := index . 0 -}}
{{- $selector := dict "matchLabels" (include "limpet.selector" . | fromYaml) -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
{{ toYaml . }}
{{- end }}
{{- with include "limpet.own" (append . "priorityClassName") }}
priorityClassName: {{ . }}
{{- end }}
{{- range $field := list "nodeSelector" "affinity" "tolerations" }}
{{- with include "limpet.own" (append $ $field) }}
{{ $field }}:
{{ indent 2 . }}
{{- end }}
{{- end }}
topologySpreadConstraints:
{{- $constraints := include "limpet.own" (append . "topologySpreadConstraints") | fromYamlArray -}}
{{- if $constraints }}
{{- range $constraints }}
- {{ toYaml (merge (deepCopy .) (dict "labelSelector" $selector)) | nindent 2 | trim }}
{{- end }}
{{- else }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
{{ toYaml $selector | indent 4 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* An address to listen on, with a port: (list . 8081) */}}
{{- define "limpet.listen" -}}
{{- $host := (index . 0).Values.listenAddress -}}
{{- if contains ":" $host -}}[{{ $host }}]{{- else -}}{{ $host }}{{- end -}}:{{ index . 1 }}
{{- end -}}

{{/* Bytes of a Kubernetes quantity, such as 2Gi or 1500M; empty if it is not one. */}}
{{- define "limpet.bytes" -}}
{{- $text := ternary . (. | int64 | toString) (kindIs "string" .) -}}
{{- $units := dict "" 1 "k" 1000 "Ki" 1024 "M" 1000000 "Mi" 1048576 "G" 1000000000 "Gi" 1073741824 "T" 1000000000000 "Ti" 1099511627776 -}}
{{- if . -}}
{{- $unit := regexReplaceAll "^[0-9.]+" $text "" -}}
{{- if hasKey $units $unit -}}
{{- mulf (float64 (trimSuffix $unit $text)) (get $units $unit) | floor | int64 -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The limit of Envoy's heap: four fifths of its container's limit, because a process also uses memory outside the heap. */}}
{{- define "limpet.heapBytes" -}}
{{- with include "limpet.bytes" (dig "limits" "memory" "" .Values.envoy.resources) -}}
{{- div (mul (int64 .) 4) 5 -}}
{{- end -}}
{{- end -}}
