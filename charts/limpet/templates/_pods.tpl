{{/* What all pods and containers have in common. */}}

{{/* (dict "image" .Values.x.image "tag" "default tag") */}}
{{- define "limpet.image" -}}
{{ .image.repository }}:{{ .image.tag | default .tag }}{{ with .image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{/* Labels of a pod: (list . "gateway") */}}
{{- define "limpet.podLabels" -}}
{{- $root := index . 0 -}}
{{ include "limpet.selector" . }}
{{- with $root.Values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Who the processes of a pod are. All containers are the same user, as they share a directory of sockets. */}}
{{- define "limpet.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "limpet.securityContext" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where a pod runs and what it is pulled with: (list . "operator") */}}
{{- define "limpet.placement" -}}
{{- $root := index . 0 -}}
{{- $selector := dict "matchLabels" (include "limpet.selector" . | fromYaml) -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
{{ toYaml . }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
{{ toYaml . }}
{{- end }}
{{- with $root.Values.affinity }}
affinity:
{{ toYaml . | indent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if $root.Values.topologySpreadConstraints }}
{{- range $root.Values.topologySpreadConstraints }}
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

{{/* Bytes of a quantity of Kubernetes, such as 2Gi or 1500M; empty where it is none. */}}
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

{{/* What Envoy's heap may take: four fifths of its container's limit, as not all that a process takes is heap. */}}
{{- define "limpet.heapBytes" -}}
{{- with include "limpet.bytes" (dig "limits" "memory" "" .Values.envoy.resources) -}}
{{- div (mul (int64 .) 4) 5 -}}
{{- end -}}
{{- end -}}
