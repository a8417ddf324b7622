{{/* Checks that the schema can't express, because they compare two values. */}}
{{- define "limpet.check" -}}
{{- $values := .Values -}}
{{- if and (gt (int $values.gateway.workers) 1) (not (include "limpet.redisUrl" .)) -}}
{{- fail (printf "gateway.workers is %d, but without Redis each worker would remember other conversations: set redis.url, or redis.bundled.enabled=true for a trial, or gateway.workers=1" (int $values.gateway.workers)) -}}
{{- end -}}
{{- if and $values.watch.allNamespaces $values.watch.namespaces -}}
{{- fail "watch.allNamespaces and watch.namespaces are both set: leave watch.namespaces empty to serve all, or set watch.allNamespaces=false" -}}
{{- end -}}
{{- if ne (empty $values.tls.existingServerSecret) (empty $values.tls.existingClientSecret) -}}
{{- fail "tls.existingServerSecret and tls.existingClientSecret belong together: set both, or none" -}}
{{- end -}}
{{- if and (gt (int $values.activity.replicas) 1) (not $values.activity.postgresql.existingSecret) -}}
{{- fail (printf "activity.replicas is %d, but each pod would keep other records in its SQLite database: set activity.postgresql.existingSecret, or activity.replicas=1" (int $values.activity.replicas)) -}}
{{- end -}}
{{- range $path, $way := dict "gateway" $values.gateway "activity" $values.activity -}}
{{- if and $way.ingress.enabled (not $way.ingress.host) -}}
{{- fail (printf "%s.ingress.enabled is true without %s.ingress.host: set the host name" $path $path) -}}
{{- end -}}
{{- if and $way.httpRoute.enabled (not $way.httpRoute.parentRefs) -}}
{{- fail (printf "%s.httpRoute.enabled is true without %s.httpRoute.parentRefs: name the Gateway, [{name: …}]" $path $path) -}}
{{- end -}}
{{- end -}}
{{- if and $values.activity.httpRoute.enabled (not $values.activity.httpRoute.hostnames) -}}
{{- fail "activity.httpRoute.enabled is true without activity.httpRoute.hostnames: the page answers to the names that it knows" -}}
{{- end -}}
{{- if and $values.tls.certManager.enabled $values.tls.existingServerSecret -}}
{{- fail "tls.certManager.enabled and tls.existingServerSecret exclude each other: either cert-manager makes the certificates or you do" -}}
{{- end -}}
{{- if and $values.tls.existingServerSecret $values.activity.enabled (not $values.tls.existingActivitySecret) -}}
{{- fail "tls.existingServerSecret is set, and tls.existingActivitySecret is not: name a certificate for the activity service, or set activity.enabled=false" -}}
{{- end -}}
{{- if lt (int $values.gateway.terminationGracePeriodSeconds) (add (int $values.gateway.drainSeconds) 15) -}}
{{- fail (printf "gateway.terminationGracePeriodSeconds is %d, too short for gateway.drainSeconds=%d: set it to %d or more" (int $values.gateway.terminationGracePeriodSeconds) (int $values.gateway.drainSeconds) (add (int $values.gateway.drainSeconds) 15)) -}}
{{- end -}}
{{- if and $values.gateway.autoscaling.enabled (gt (int $values.gateway.autoscaling.minReplicas) (int $values.gateway.autoscaling.maxReplicas)) -}}
{{- fail (printf "gateway.autoscaling.minReplicas is %d, more than maxReplicas %d" (int $values.gateway.autoscaling.minReplicas) (int $values.gateway.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if and $values.gateway.tls.secretName (eq (int $values.gateway.tls.port) (int $values.gateway.service.port)) -}}
{{- fail (printf "gateway.tls.port and gateway.service.port are both %d: give the Service two ports" (int $values.gateway.tls.port)) -}}
{{- end -}}
{{- if and (eq $values.gateway.service.type "ClusterIP") $values.gateway.service.nodePort -}}
{{- fail "gateway.service.nodePort is set, but a Service of type ClusterIP has none: set gateway.service.type to NodePort or LoadBalancer" -}}
{{- end -}}
{{- $unnamed := include "limpet.secretsToMake" . | fromJsonArray -}}
{{- if and $unnamed (not $values.generateSecrets) -}}
{{- fail (printf "generateSecrets is false, and these are not set: %s" (join ", " $unnamed)) -}}
{{- end -}}
{{- with include "limpet.heapBytes" . -}}
{{- $needed := mul (add 128 (mul 5 (int $values.gateway.bodyLimitMiB))) 1048576 -}}
{{- if lt (int64 .) $needed -}}
{{- fail (printf "envoy.resources.limits.memory is %v, too little for bodies of gateway.bodyLimitMiB=%d: set it to %dMi or more" $values.envoy.resources.limits.memory (int $values.gateway.bodyLimitMiB) (add1 (div (div (mul $needed 5) 4) 1048576))) -}}
{{- end -}}
{{- end -}}
{{- if and $values.mesh.istio.enabled (eq $values.mesh.istio.mode "sidecar") -}}
{{- if not $values.mesh.sidecars.namespaces -}}
{{- fail "mesh.istio.mode is sidecar without mesh.sidecars.namespaces: list the namespaces of the applications" -}}
{{- end -}}
{{- if has .Release.Namespace $values.mesh.sidecars.namespaces -}}
{{- fail (printf "mesh.istio.mode is sidecar and mesh.sidecars.namespaces lists %s, the gateway's own namespace, whose pods would ask themselves: have applications in others" .Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- if contains "@" $values.redis.url -}}
{{- fail "redis.url contains a user or a password, which anyone who may see pods could read: put them into a Secret as username and password, and name it in redis.existingSecret" -}}
{{- end -}}
{{- if and $values.redis.existingSecret (not $values.redis.url) -}}
{{- fail "redis.existingSecret is set without redis.url: set redis.url to the Redis that these credentials are for" -}}
{{- end -}}
{{- end -}}
