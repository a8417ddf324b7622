"""The sellers of the bed, and the directory of YAML that makes providers of them, as a user would write it."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import yaml

from limpet_lab.bed import Object, objects_for, policy_object
from limpet_lab.bench.faults.authority import Authority
from limpet_lab.bench.faults.name_server import DOMAIN
from limpet_lab.sim.config import Pace, SellerConfig, SellerModel
from limpet_lab.sim.prices import PriceList
from limpet_lab.sim.sellers import Seller, Sellers

MODEL: Final = "deepseek/deepseek-v4-flash"
"""What clients ask for."""

BY_TLS: Final = "alpha"
BY_NAME: Final = "beta"
PLAIN: Final = "gamma"
SELLERS: Final = (BY_TLS, BY_NAME, PLAIN)
"""One is reached over TLS, one by a name that DNS resolves, one by its address."""

FIRST_BYTE_S: Final = 3.0
"""How long a provider may be silent: the longest that a hanging one holds up a request."""

_PACE: Final = Pace(first_byte_ms=100.0, uncached_ms_per_thousand=5.0, chunk_ms=0.5)
_PRICES: Final = {BY_TLS: "0.150", BY_NAME: "0.152", PLAIN: "0.154"}
"""Near enough to each other that new conversations are spread over all three."""


def seller_configs(authority: Authority) -> list[SellerConfig]:
    """The three sellers."""
    return [
        SellerConfig(
            name=name,
            models=(SellerModel(f"flash-at-{name}"),),
            api_keys=(f"key-of-{name}",),
            prices=PriceList(Decimal(_PRICES[name]), Decimal("0.60"), Decimal("0.003")),
            pace=_PACE,
            tls=authority.issue("127.0.0.1") if name == BY_TLS else None,
        )
        for name in SELLERS
    ]


def whole(sellers: Sellers, authority: Authority) -> list[Object]:
    """All objects of the installation."""
    written: list[Object] = [policy_object(failover={"onTimeout": "NextProvider"}, memory={"ttl": "10m"})]
    for seller in sellers:
        written += objects_for(seller, MODEL, **_provider(seller))
    authorities = {"ca.crt": authority.pem}
    written.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authority"}, "data": authorities})
    return written


def _provider(seller: Seller) -> dict[str, Any]:
    silence = f"{FIRST_BYTE_S * 1000:.0f}ms"
    spec: dict[str, Any] = {
        "timeouts": {"connect": "500ms", "firstByte": silence, "unstreamed": silence, "idle": silence},
    }
    if seller.name == BY_TLS:
        spec["tls"] = {"caCertificateRef": {"name": "authority", "key": "ca.crt"}}
    if seller.name == BY_NAME:
        spec["url"] = f"http://{BY_NAME}.{DOMAIN}:{seller.port}{seller.config.prefix}"
    return spec


def changed(objects: Iterable[Object], name: str, **spec: Any) -> list[Object]:
    """The same with other fields in that Provider's spec; None removes one."""
    return [_changed(each, spec) if _is(each, "Provider", name) else each for each in objects]


def _is(written: Object, kind: str, name: str) -> bool:
    return bool(written["kind"] == kind and written["metadata"]["name"] == name)


def _changed(written: Object, fields: Mapping[str, Any]) -> Object:
    spec = {name: value for name, value in {**written["spec"], **fields}.items() if value is not None}
    return {**written, "spec": spec}


def write(objects: Iterable[Object], folder: Path) -> None:
    """Make these all that the directory holds: one file, replaced at once."""
    new = folder / ".new"
    new.write_text(yaml.safe_dump_all(objects, sort_keys=False), encoding="utf-8")
    new.rename(folder / "installation.yaml")
