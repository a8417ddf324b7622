"""The objects of `limpet bench apply`, as users write them: providers, and what belongs to each of them."""

from collections.abc import Iterator
from typing import Final

from limpet_lab.bed import Object

API_KEY: Final = "sk-limpet-bench"
KEY: Final = "api-key"
"""The name of the credential in each Secret."""

_API: Final = "limpet.dev/v1alpha1"
_PRICES: Final = {"input": "0.15", "cacheRead": "0.003", "output": "0.60"}


def name_of(number: int) -> str:
    """The name of a Provider, of what belongs to it, and of the model that it alone serves."""
    return f"p{number:05}"


def provider(name: str, url: str, upstream: str) -> Object:
    """A Provider of one model, with a credential from the Secret of its own name."""
    return {
        "apiVersion": _API,
        "kind": "Provider",
        "metadata": {"name": name},
        "spec": {
            "vendor": "DeepSeek",
            "url": url,
            "credential": {"secretRef": {"name": name, "key": KEY}},
            "models": [{"name": name, "upstreamName": upstream}],
            "responseModel": "Upstream",  # shows which of its names was asked for
        },
    }


def secret(name: str) -> Object:
    """The credential of the provider of this name."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {KEY: API_KEY}}


def world(providers: int, objects: int, url: str, upstream: str) -> Iterator[Object]:
    """Providers with a Secret each, then a Pricing each; of the rest half are HealthProbes, half StickyPolicies."""
    pricings = min(providers, objects - 2 * providers)
    probes = (objects - 2 * providers - pricings) // 2
    for number in range(providers):
        yield secret(name_of(number))
        yield provider(name_of(number), url, upstream)
    for number in range(pricings):
        yield _pricing(name_of(number))
    for number in range(probes):
        yield _probe(name_of(number), name_of(number % providers))
    for number in range(objects - 2 * providers - pricings - probes):
        yield _policy(name_of(number))


def _pricing(name: str) -> Object:
    models = [{"name": name, "perMillionTokens": _PRICES}]
    return _object("Pricing", name, {"providerRef": {"name": name}, "models": models})


def _probe(name: str, provider: str) -> Object:
    return _object("HealthProbe", name, {"providerRefs": [{"name": provider}], "http": {"path": "/models"}})


def _policy(name: str) -> Object:
    return _object("StickyPolicy", name, {"models": [name]})


def _object(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": _API, "kind": kind, "metadata": {"name": name}, "spec": spec}
