"""Which variables a container is started with, and how they show in its command line."""

import re
from collections.abc import Mapping
from typing import Any, Final

from tests.cluster import volumes
from tests.cluster.volumes import NotThere, Sources

Json = Mapping[str, Any]

_REFERENCE: Final = re.compile(r"\$\$|\$\(([^)]+)\)")


def expanded(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where NAME is set, `$$` for a dollar sign, as Kubernetes does it."""
    return _REFERENCE.sub(
        lambda found: "$" if found[0] == "$$" else env.get(found[1], found[0]),
        text,
    )


def environment(container: Json, pod: Json, sources: Sources) -> dict[str, str]:
    """A container's variables. Raises NotThere, and ValueError for a source that is not played here."""
    env: dict[str, str] = {}
    for each in container.get("envFrom", ()):
        kind, held = ("secretRef", sources.secrets) if "secretRef" in each else ("configMapRef", sources.config_maps)
        if (name := each[kind]["name"]) in held:
            env |= {key: value.decode() for key, value in volumes.content(held[name]).items()}
        elif not each[kind].get("optional"):
            raise NotThere(f"{kind} {name}")
    for each in container.get("env", ()):
        if "valueFrom" not in each:
            env[each["name"]] = expanded(each.get("value", ""), env)
            continue
        source = each["valueFrom"]
        if "fieldRef" in source:
            env[each["name"]] = volumes.field(pod, source["fieldRef"]["fieldPath"])
        elif "secretKeyRef" in source or "configMapKeyRef" in source:
            kind = "secretKeyRef" if "secretKeyRef" in source else "configMapKeyRef"
            objects = sources.secrets if kind == "secretKeyRef" else sources.config_maps
            ref = source[kind]
            value = volumes.content(objects[ref["name"]]).get(ref["key"]) if ref["name"] in objects else None
            if value is not None:
                env[each["name"]] = value.decode()
            elif not ref.get("optional"):
                raise NotThere(f"{ref['name']}/{ref['key']}")
        else:
            raise ValueError(f"variable {each['name']}: of its sources none is played here: {sorted(source)}")
    return env
