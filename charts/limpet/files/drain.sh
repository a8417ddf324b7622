#!/bin/bash
# Ends the requests of this Envoy before Kubernetes ends Envoy.
#
#   drain.sh DRAIN_SECONDS DEADLINE_SECONDS [ADMIN_PORT]
#
# For DRAIN_SECONDS new connections are still accepted, because not every client knows yet that this pod is leaving, and
# every answer asks its client to reconnect. Then no more connections are accepted, and the script ends when no request is
# under way, or when DEADLINE_SECONDS are over.
set -u
drain=$1 deadline=$2 port=${3:-9901}

# Send $1 (a method) $2 (a path) to Envoy's admin page and print its answer. Fails when Envoy does not answer.
admin() {
  local line
  {
    printf '%s %s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n' "$1" "$2" >&3
    while IFS= read -r -t 5 line <&3; do printf '%s\n' "${line%$'\r'}"; done
  } 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$port"
}

requests_under_way() {
  local answer
  answer=$(admin GET '/stats?filter=http.limpet.downstream_rq_active') || return 1
  [[ $answer =~ downstream_rq_active:\ ([0-9]+) ]] && echo "${BASH_REMATCH[1]}" || echo 0
}

SECONDS=0
admin POST /healthcheck/fail >/dev/null || exit 0
sleep "$drain"
admin POST /drain_listeners >/dev/null || exit 0
while left=$(requests_under_way) && ((left > 0)); do
  if ((SECONDS >= deadline)); then
    echo "drain.sh: $left requests were still under way after $deadline seconds" >&2
    exit 0
  fi
  sleep 0.5
done
