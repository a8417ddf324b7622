"""What Envoy must know before it has asked anybody: who it is, where the control plane and its own admin page are."""

from typing import Final

from limpet_operator.publish.encode import Json, typed
from limpet_operator.publish.gateway import CONTROLPLANE_CLUSTER

_ADS: Final = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
"""No time limit on the first answer: an Envoy without configuration must not call itself ready."""


def bootstrap(node: str, controlplane: Json, admin: Json) -> Json:
    """Envoy's own file. `controlplane` and `admin` are Envoy addresses: `{"pipe": …}` or `{"socket_address": …}`."""
    return {
        "node": {"id": node, "cluster": "limpet"},
        "admin": {"address": admin},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {
                        "envoy_grpc": {
                            "cluster_name": CONTROLPLANE_CLUSTER,
                            "retry_policy": {"retry_back_off": {"base_interval": "0.2s", "max_interval": "1s"}},
                        }
                    }
                ],
            },
            "cds_config": _ADS,
            "lds_config": _ADS,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": CONTROLPLANE_CLUSTER,
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "load_assignment": {
                        "cluster_name": CONTROLPLANE_CLUSTER,
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": controlplane}}]}],
                    },
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                            "upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}}
                        )
                    },
                }
            ]
        },
    }
