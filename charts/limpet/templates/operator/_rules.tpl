{{/*
The operator's rights on the objects of one namespace, or of all, and their binding:
(dict "kind" "Role"|"ClusterRole" "name" … "namespace" … "labels" … "subject" … "secretNames" …)
*/}}
{{- define "limpet.objectsRole" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- .labels | nindent 4 }}
rules:
- apiGroups: [limpet.dev]
  resources: [providers, pricings, healthprobes, stickypolicies]
  verbs: [get, list, watch]
- apiGroups: [limpet.dev]
  resources: [providers/status, pricings/status, healthprobes/status, stickypolicies/status]
  verbs: [patch]
# Credentials and authorities. The operator requests each by the name that a Provider gives, and no others.
- apiGroups: [""]
  resources: [secrets]
  {{- with .secretNames }}
  resourceNames: {{ toJson . }}
  {{- end }}
  verbs: [list, watch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- .labels | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name }}
subjects:
- {{ toYaml .subject | nindent 2 | trim }}
{{- end -}}
