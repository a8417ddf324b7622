"""Objects as people would apply them."""

from typing import Any


def provider(name: str, **spec: Any) -> dict[str, Any]:
    """A Provider with the credential `key` of the Secret that is called like it."""
    return {
        "apiVersion": "limpet.dev/v1alpha1",
        "kind": "Provider",
        "metadata": {"name": name},
        "spec": {
            "vendor": "DeepSeek",
            "url": "https://api.deepseek.com/v1",
            "credential": {"secretRef": {"name": name, "key": "key"}},
            "models": [{"name": "flash"}],
            **spec,
        },
    }


def secret(name: str, **values: str) -> dict[str, Any]:
    """A Secret, by default with a `key` that contains its name."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": values or {"key": f"sk-{name}"},
    }


def health_probe(name: str, **spec: Any) -> dict[str, Any]:
    """A HealthProbe that asks every Provider of its namespace for its models each second, and believes each answer."""
    return {
        "apiVersion": "limpet.dev/v1alpha1",
        "kind": "HealthProbe",
        "metadata": {"name": name},
        "spec": {
            "providerSelector": {},
            "interval": "1s",
            "timeout": "500ms",
            "http": {"path": "/models"},
            "thresholds": {"failuresToDown": 1, "successesToUp": 1},
            **spec,
        },
    }
