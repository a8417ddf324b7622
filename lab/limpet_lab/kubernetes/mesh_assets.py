"""What tests with a service mesh need: istiod, Envoy Gateway, and the CRDs of both and of the Gateway API.

They are built once, from the modules that `go_istio/go.sum` and `go_envoy_gateway/go.sum` pin, into folders of the
user's cache: `python -m limpet_lab.kubernetes.mesh_assets`.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from limpet_lab.kubernetes.assets import AssetsMissingError, Source

_ISTIOD: Final = "pilot-discovery"
_ISTIO_CRDS: Final = "istio-crds.yaml"
_ENVOY_GATEWAY: Final = "envoy-gateway"
_ENVOY_GATEWAY_CRDS: Final = "envoy-gateway-crds.yaml"

ISTIO: Final = Source(
    Path(__file__).with_name("go_istio"),
    {_ISTIOD: ("istio.io/istio/pilot/cmd/pilot-discovery", "-s -w")},
    "Building istiod: about 9 minutes on two cores, once on this machine.",
    {_ISTIO_CRDS: ("istio.io/api", "kubernetes/customresourcedefinitions.gen.yaml")},
)
ENVOY_GATEWAY: Final = Source(
    Path(__file__).with_name("go_envoy_gateway"),
    {_ENVOY_GATEWAY: ("github.com/envoyproxy/gateway/cmd/envoy-gateway", "-s -w")},
    "Building Envoy Gateway: about 7 minutes on two cores, once on this machine.",
    {_ENVOY_GATEWAY_CRDS: ("github.com/envoyproxy/gateway", "charts/gateway-helm/charts/crds/crds/**/*.yaml")},
)


@dataclass(frozen=True, slots=True)
class MeshAssets:
    """What tests with Istio need."""

    istiod: Path
    """The program `pilot-discovery`."""
    istio_crds: Path
    """Of networking.istio.io, security.istio.io and the rest, for `kubectl apply --server-side`."""


@dataclass(frozen=True, slots=True)
class EnvoyGatewayAssets:
    """What tests with Envoy Gateway need."""

    program: Path
    """The controller, and what makes its certificates."""
    crds: Path
    """Of gateway.envoyproxy.io, and those of the Gateway API that it is built with."""


def find(environment: Mapping[str, str]) -> MeshAssets:
    """Istio's, without building or fetching any. Raises AssetsMissingError if one is not there."""
    home = ISTIO.home(environment)
    return MeshAssets(_there(home / _ISTIOD), _there(home / _ISTIO_CRDS))


def find_envoy_gateway(environment: Mapping[str, str]) -> EnvoyGatewayAssets:
    """The same of Envoy Gateway."""
    home = ENVOY_GATEWAY.home(environment)
    return EnvoyGatewayAssets(_there(home / _ENVOY_GATEWAY), _there(home / _ENVOY_GATEWAY_CRDS))


def provide(environment: Mapping[str, str]) -> MeshAssets:
    """Istio's, built if necessary, which takes minutes. Raises AssetsMissingError."""
    ISTIO.provide(environment)
    return find(environment)


def _there(file: Path) -> Path:
    if not file.exists():
        raise AssetsMissingError(f"{file}: not built yet; run: python -m limpet_lab.kubernetes.mesh_assets")
    return file


if __name__ == "__main__":
    try:
        for source in (ISTIO, ENVOY_GATEWAY):
            source.provide(dict(os.environ))
    except AssetsMissingError as error:
        sys.exit(str(error))
