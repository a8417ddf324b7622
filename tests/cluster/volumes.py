"""What a pod's volumes hold: directories that follow Secrets and ConfigMaps the way a node's do.

A change is one rename of the link `..data`, so that a reader sees all old files or all new ones, and watchers of the
directory (Envoy's among them) hear of it as in a cluster.
"""

import base64
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = Mapping[str, Any]
Files = Mapping[str, bytes]


class NotThere(Exception):  # noqa: N818 (names what happened)
    """A volume needs an object or a key that does not exist yet; the pod waits for it."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What volumes are made of: objects of the pod's namespace by name, the pod itself, its token."""

    secrets: Mapping[str, Json]
    config_maps: Mapping[str, Json]
    pod: Json
    token: Files
    """`token`, `ca.crt` and `namespace` of the pod's ServiceAccount; empty if it wants none."""


def field(pod: Json, path: str) -> str:
    """A field of the pod by the downward API's path. Raises LookupError for one that is not supported."""
    if path.endswith("']"):
        kind, _, key = path.removesuffix("']").partition("['")
        return str(pod["metadata"].get(kind.removeprefix("metadata."), {}).get(key, ""))
    value: Any = pod
    for part in path.split("."):
        value = value[part]
    return str(value)


def files_of(volume: Json, sources: Sources) -> Files | None:
    """The files of a volume; None for a directory that only pods write to.

    Raises NotThere, and ValueError for a kind of volume that is not played here.
    """
    if "emptyDir" in volume:
        return None
    if "secret" in volume:
        return _picked(volume["secret"], volume["secret"]["secretName"], sources.secrets, "Secret")
    if "configMap" in volume:
        return _picked(volume["configMap"], volume["configMap"]["name"], sources.config_maps, "ConfigMap")
    if "downwardAPI" in volume:
        return _downward(volume["downwardAPI"]["items"], sources.pod)
    if "projected" in volume:
        merged: dict[str, bytes] = {}
        for source in volume["projected"]["sources"]:
            merged |= _projected(source, sources)
        return merged
    raise ValueError(f"volume {volume['name']}: of its kinds none is played here: {sorted(volume)}")


def _projected(source: Json, sources: Sources) -> Files:
    if "secret" in source:
        return _picked(source["secret"], source["secret"]["name"], sources.secrets, "Secret")
    if "configMap" in source:
        return _picked(source["configMap"], source["configMap"]["name"], sources.config_maps, "ConfigMap")
    if "downwardAPI" in source:
        return _downward(source["downwardAPI"]["items"], sources.pod)
    if "serviceAccountToken" in source:
        return {source["serviceAccountToken"]["path"]: sources.token["token"]}
    raise ValueError(f"projected volume: of its sources one is not played here: {sorted(source)}")


def _downward(items: Sequence[Json], pod: Json) -> Files:
    return {item["path"]: field(pod, item["fieldRef"]["fieldPath"]).encode() for item in items}


def _picked(volume: Json, name: str, objects: Mapping[str, Json], kind: str) -> Files:
    if name not in objects:
        if volume.get("optional"):
            return {}
        raise NotThere(f"{kind} {name}")
    held = content(objects[name])
    if not (items := volume.get("items")):
        return held
    for item in items:
        if item["key"] not in held and not volume.get("optional"):
            raise NotThere(f"key {item['key']} of {kind} {name}")
    return {item["path"]: held[item["key"]] for item in items if item["key"] in held}


def content(held: Json) -> Files:
    """The bytes of a Secret or a ConfigMap by key."""
    if held.get("kind") == "ConfigMap":
        binary = {key: base64.b64decode(value) for key, value in (held.get("binaryData") or {}).items()}
        return {key: value.encode() for key, value in (held.get("data") or {}).items()} | binary
    return {key: base64.b64decode(value) for key, value in (held.get("data") or {}).items()}


def mode_of(volume: Json) -> int:
    """The mode of a volume's files."""
    for kind in ("secret", "configMap", "projected", "downwardAPI"):
        if kind in volume:
            return int(volume[kind].get("defaultMode") or 0o644)
    return 0o644


class Directory:
    """A volume's place on this machine."""

    def __init__(self, path: Path, mode: int) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._mode = mode
        self._number = 0
        self._files: Files | None = None

    def show(self, files: Files) -> bool:
        """Make these the files, all at once; False if they were already."""
        if files == self._files:
            return False
        old = self.path / f"..{self._number}"
        self._number += 1
        new = self.path / f"..{self._number}"
        new.mkdir()
        for name, data in files.items():
            file = new / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            file.chmod(self._mode)
        link = self.path / "..data_new"
        link.symlink_to(new.name)
        link.replace(self.path / "..data")
        shown = {name.partition("/")[0] for name in files}
        for name in shown:
            if not os.path.lexists(self.path / name):
                (self.path / name).symlink_to(f"..data/{name}")
        for entry in self.path.iterdir():
            if not entry.name.startswith("..") and entry.name not in shown:
                entry.unlink()
        if old.exists():
            shutil.rmtree(old)
        self._files = dict(files)
        return True
