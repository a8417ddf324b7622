"""Which paths are served: as patterns for Envoy's routes, and as words for people.

Clients write a path in many ways (`apis.asked`). All of them are one pattern, so that the routes need not be there for
each API, and change only with the endpoints that some Provider lists.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from limpet_extproc.contract.apis import CONVERSATIONS, COUNTING, LIVE, MESSAGE_BATCHES, OBJECTS

_BASE: Final = "(?:/(?:anthropic|openai(?:/deployments/[!-~]+)?))?(?:/v1)*"

_MOST_LETTERS: Final = 48
"""Of the names in one pattern: by default Envoy takes no expression whose program has more than a hundred steps."""

_BELOW: Final = {
    "audio": ("speech", "transcriptions", "translations"),
    "images": ("edits", "generations", "variations"),
}
"""What there is of APIs that have more than one path."""

KNOWN: Final = frozenset(
    (
        *("audio", "classify", "completions", "detokenize", "embeddings", "fim", "images", "moderations", "ocr"),
        *("pooling", "rerank", "score", "tokenize"),
    )
)
"""Stateless APIs of the vendors, so that one which no Provider lists is told apart from a word that nobody knows."""


def pattern(*paths: str) -> str:
    """A regular expression for all ways to write one of these, which are expressions themselves."""
    return f"{_BASE}(?:{'|'.join(paths)})/?"


def below(names: Sequence[str]) -> list[str]:
    """The paths of APIs by their names, and all below them, in as few patterns as Envoy allows."""
    chunks: list[list[str]] = []
    letters = _MOST_LETTERS
    for path in sorted(map(_of_api, names)):
        letters += len(path)
        if letters > _MOST_LETTERS:
            chunks.append([])
            letters = len(path)
        chunks[-1].append(path)
    return [f"{_BASE}(?:{'|'.join(chunk)})(?:/\\C*)?" for chunk in chunks]


def _of_api(name: str) -> str:
    return "/messages/batches" if name == MESSAGE_BATCHES else "/" + re.escape(name)


_OF_MESSAGES: Final = "/messages"
MESSAGES: Final = pattern(*(path for path in (*CONVERSATIONS, *COUNTING) if path.startswith(_OF_MESSAGES)))
CHAT_AND_RESPONSES: Final = pattern(
    *(path for path in (*CONVERSATIONS, *COUNTING) if not path.startswith(_OF_MESSAGES))
)
MODELS: Final = pattern("/models(?:/\\C*)?")
RESPONSE: Final = "/responses/[!-.0-~]+"
ODD: Final = r"(?i)[^?]*(?:\\|%(?:2[35ef]|3f|5c|7f|[01][0-9a-f]))\C*"
"""Paths that a server behind could take for others: with an encoded slash, dot, percent sign, or the like."""
NAMES_A_MODEL: Final = rf"{MODELS}|/openai/deployments/[^/?]+/[^%?\\]*(?:\?\C*)?"
"""Of these, those where it stands in the name of a model, which no provider gets by its path."""
LIVE_APIS: Final = below(tuple(LIVE))[0]


@dataclass(frozen=True, slots=True)
class Served:
    """What the gateway serves besides conversations, by `apis.Api.name`."""

    stateless: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()

    @classmethod
    def of(cls, endpoints: Iterable[str]) -> "Served":
        """From what the Providers list."""
        names = sorted(set(endpoints))
        return cls(tuple(n for n in names if n not in OBJECTS), tuple(n for n in names if n in OBJECTS))

    @property
    def unlisted(self) -> tuple[list[str], list[str]]:
        """What some Provider could list and none does: stateless APIs, and those with objects."""
        return sorted(KNOWN - set(self.stateless)), sorted(OBJECTS - set(self.objects))

    @property
    def lines(self) -> tuple[str, ...]:
        """`METHOD /path` of each, without its `/v1`."""
        stateless = (f"/{name}/{each}" if each else f"/{name}" for name in self.stateless for each in _paths(name))
        posts = (*CONVERSATIONS, *COUNTING, *stateless)
        objects = [_of_api(name) for name in self.objects]
        reads = ("/responses/{id}", "/responses/{id}/input_items", "/models", "/models/{id}")
        return (
            *(f"POST {path}" for path in (*posts, "/responses/{id}/cancel", *objects)),
            *(f"GET {path}" for path in (*reads, *(f"{path}/{{id}}" for path in objects))),
        )

    @property
    def words(self) -> str:
        """For a sentence."""
        by_method: dict[str, list[str]] = {}
        for line in self.lines:
            method, path = line.split(" ")
            by_method.setdefault(method, []).append(f"/v1{path}")
        return "; ".join(f"{method} {', '.join(paths)}" for method, paths in by_method.items())


def _paths(name: str) -> tuple[str, ...]:
    return _BELOW.get(name, ("",))
