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
