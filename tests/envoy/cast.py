"""The cast of every story: five sellers that differ in all that an attempt sets, what they are sent, what arrives."""

import base64
from typing import Any, Final

from limpet_lab.sim.config import SellerConfig, SellerModel
from limpet_lab.sim.record import Arrival
from limpet_lab.sim.rules import Auth

PLAIN: Final = "plain"
"""A model that every seller calls as clients do, so that nothing in a body has to change."""

TIDE: Final = "The tide comes twice a day, and the limpet is home before it. "
LONG: Final = TIDE * 60
"""Long enough for every prompt cache in these tests."""

PRICES: Final = {"input": "0.15", "cacheRead": "0.003", "output": "0.60"}

_STYLES: Final = {
    "a": (Auth("Authorization", "Bearer"), "/v1"),
    "b": (Auth("x-api-key", "Raw"), "/b/v1"),
    "c": (Auth("api-key", "Raw"), "/openai/v1"),
    "d": (Auth("x-goog-api-key", "Raw"), "/v1beta/openai"),
    "e": (None, "/v1"),
}
"""Header and path prefix of each seller; `e` asks for no key."""


def seller_configs() -> list[SellerConfig]:
    """Five sellers that differ in everything an attempt has to set."""
    return [
        SellerConfig(
            name=name,
            models=(SellerModel(f"flash.{name}"), SellerModel(PLAIN)),
            prefix=prefix,
            api_keys=(f"key-of-{name}", f"new-key-of-{name}") if auth else (),
            credential=auth,
            record=True,
        )
        for name, (auth, prefix) in _STYLES.items()
    ]


def say(text: str, role: str = "user") -> Any:
    """A message."""
    return {"role": role, "content": text}


def big(bytes_: int) -> dict[str, Any]:
    """A message with an image of that size, which costs the seller no more than a small one."""
    return {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * bytes_}}],
    }


def body_of(arrival: Arrival) -> bytes:
    """The exact bytes that a seller got."""
    return base64.b64decode(arrival.body)


def headers_of(arrival: Arrival) -> dict[str, str]:
    """A seller's request headers, names in lower case."""
    return {name.lower(): value for name, value in arrival.headers}
