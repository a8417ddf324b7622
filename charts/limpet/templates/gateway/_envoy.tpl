{{/* Envoy's bootstrap files. limpet_operator.publish.bootstrap is the same in Python; a test compares the two. */}}
{{- define "limpet.envoyFiles" -}}
envoy.yaml: |
  overload_manager:
    {{- $heap := include "limpet.heapBytes" . }}
    {{- if $heap }}
    refresh_interval: 0.02s
    {{- end }}
    resource_monitors:
    {{- with $heap }}
    - name: envoy.resource_monitors.fixed_heap
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig
        max_heap_size_bytes: {{ . }}
    {{- end }}
    - name: envoy.resource_monitors.global_downstream_max_connections
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
        max_active_downstream_connections: {{ .Values.envoy.maxConnections }}
    {{- if $heap }}
    {{- $full := "name: envoy.resource_monitors.fixed_heap, threshold" }}
    buffer_factory_config: {minimum_account_to_track_power_of_two: 20}
    actions:
    - name: envoy.overload_actions.shrink_heap
      triggers: [{ {{- $full }}: {value: 0.7}}]
    - name: envoy.overload_actions.reset_high_memory_stream
      triggers:
      - name: envoy.resource_monitors.fixed_heap
        scaled: {scaling_threshold: 0.7, saturation_threshold: 0.9}
    - name: envoy.overload_actions.stop_accepting_requests
      triggers: [{ {{- $full }}: {value: 0.95}}]
    - name: envoy.overload_actions.stop_accepting_connections
      triggers: [{ {{- $full }}: {value: 0.97}}]
    loadshed_points:
    - name: envoy.load_shed_points.http1_server_abort_dispatch
      triggers: [{ {{- $full }}: {value: 0.7}}]
    {{- end }}
  admin:
    address:
      socket_address: {address: 127.0.0.1, port_value: 9901}
    ignore_global_conn_limit: true
  dynamic_resources:
    ads_config:
      api_type: DELTA_GRPC
      transport_api_version: V3
      set_node_on_first_message_only: true
      grpc_services:
      - envoy_grpc:
          cluster_name: limpet_controlplane
          retry_policy:
            retry_back_off: {base_interval: 0.2s, max_interval: 1s}
    # No time limit on the first answer: an Envoy without configuration must not report ready.
    cds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
    lds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
  # Without it no provider could be reached through a proxy.
  bootstrap_extensions:
  - name: envoy.bootstrap.internal_listener
    typed_config: {"@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener}
  static_resources:
    clusters:
    - name: limpet_controlplane
      connect_timeout: 1s
      cluster_type:
        name: envoy.cluster.dns
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster
          dns_refresh_rate: 5s
          dns_failure_refresh_rate: {base_interval: 1s, max_interval: 5s}
          dns_lookup_family: V4_PREFERRED
      load_assignment:
        cluster_name: limpet_controlplane
        endpoints:
        - lb_endpoints:
          - endpoint:
              address:
                socket_address: {address: {{ include "limpet.operatorHost" . }}, port_value: 18000}
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config:
            http2_protocol_options:
              # A replica that hangs or whose machine died sends no FIN.
              connection_keepalive: {interval: 15s, timeout: 5s}
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: {{ include "limpet.operatorHost" . }}
          common_tls_context:
            tls_params: {tls_minimum_protocol_version: TLSv1_2}
            tls_certificate_sds_secret_configs:
            - name: client
              sds_config:
                resource_api_version: V3
                path_config_source: {path: /etc/limpet/envoy/client.yaml}
            validation_context_sds_secret_config:
              name: ca
              sds_config:
                resource_api_version: V3
                path_config_source: {path: /etc/limpet/envoy/ca.yaml}
    - name: limpet_admin
      type: STATIC
      connect_timeout: 1s
      load_assignment:
        cluster_name: limpet_admin
        endpoints:
        - lb_endpoints:
          - endpoint:
              address:
                socket_address: {address: 127.0.0.1, port_value: 9901}
    listeners:
    # The public part of the admin page: readiness and metrics; and readiness again, for the kubelet alone. A busy pod must
    # not look unhealthy, however many clients there are and whatever they send.
    {{- range $page := list (list "limpet_open" 9902 (list "/ready" "/stats/prometheus")) (list "limpet_probes" 9903 (list "/ready")) }}
    - name: {{ index $page 0 }}
      address:
        socket_address:
          address: {{ $.Values.listenAddress | quote }}
          port_value: {{ index $page 1 }}
          {{- if eq $.Values.listenAddress "::" }}
          ipv4_compat: true
          {{- end }}
      ignore_global_conn_limit: true
      bypass_overload_manager: true
      filter_chains:
      - filters:
        - name: envoy.filters.network.http_connection_manager
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
            stat_prefix: {{ index $page 0 }}
            request_headers_timeout: 2s
            common_http_protocol_options: {idle_timeout: 10s}
            route_config:
              virtual_hosts:
              - name: open
                domains: ["*"]
                routes:
                {{- range index $page 2 }}
                - match:
                    path: {{ . }}
                    headers:
                    - name: ":method"
                      string_match: {exact: GET}
                  route: {cluster: limpet_admin}
                {{- end }}
            http_filters:
            - name: envoy.filters.http.router
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
    {{- end }}
# Envoy reloads changed certificates only if they come as files like these.
client.yaml: |
  resources:
  - "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
    name: client
    tls_certificate:
      certificate_chain: {filename: /etc/limpet/tls/tls.crt}
      private_key: {filename: /etc/limpet/tls/tls.key}
      watched_directory: {path: /etc/limpet/tls}
ca.yaml: |
  resources:
  - "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
    name: ca
    validation_context:
      trusted_ca: {filename: /etc/limpet/tls/ca.crt}
      watched_directory: {path: /etc/limpet/tls}
      match_typed_subject_alt_names:
      - san_type: DNS
        matcher: {exact: {{ include "limpet.operatorHost" . }}}
{{- if .Values.mesh.sidecars.namespaces }}
mesh.yaml: |
  resources:
  - "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
    name: mesh
    validation_context:
      trusted_ca: {filename: /etc/limpet/mesh/root-cert.pem}
      watched_directory: {path: /etc/limpet/mesh}
{{- end }}
drain.sh: |
{{ .Files.Get "files/drain.sh" | indent 2 }}
{{- end -}}
