"""The Lua that runs inside Envoy, with the contract's names and reasons before it as local constants."""

import json
import re
from functools import lru_cache
from importlib.resources import files
from typing import Final

from limpet_extproc.contract import api_keys, apis, envoy
from limpet_extproc.contract.error_types import ANTHROPIC
from limpet_extproc.contract.reasons import Reason, words

CONSTANTS: Final = {
    **{
        name: value
        for names in (envoy, api_keys)
        for name, value in vars(names).items()
        if name[0].isupper() and name.isupper() and isinstance(value, str)
    },
    **{reason.upper().replace(".", "_"): reason for reason in words(Reason)},
    "OBJECT_APIS": f" {' '.join(sorted(apis.OBJECTS))} ",
    "OBJECT_FIELDS": " ".join(f'"{field}"' for field in apis.REFERENCES),
    "MESSAGE_BATCHES": apis.MESSAGE_BATCHES,
    "OF_DEPLOYMENTS": " ".join(apis.OF_DEPLOYMENTS),
    "ERROR_TYPES": "".join(f" {status}={name}" for status, name in ANTHROPIC.items()),
}
"""Name and value of each; `REFUSED_METHOD` is the reason `refused.method`."""

_NAME: Final = re.compile(r"\b[A-Z][A-Z_]+\b")
_WORD: Final = re.compile(r"\w+")
_DECLARED: Final = re.compile(r"^local (?:function (\w+)|(\w+) =)", re.MULTILINE)


def program(*file_names: str, then: str = "") -> str:
    """These files, and what comes after them, as one program with the constants that it uses.

    Lua allows 200 locals, so those of a file that no later one uses end with it.
    """
    sources = [*(files(__package__).joinpath(name).read_text() for name in file_names), then]
    used = sorted(CONSTANTS.keys() & {name for source in sources for name in _NAME.findall(source)})
    constants = "".join(f"local {name} = {json.dumps(CONSTANTS[name])}\n" for name in used)
    words = [set(_WORD.findall(source)) for source in sources]
    return constants + "\n".join(
        _scoped(source, set().union(*words[number + 1 :])) for number, source in enumerate(sources)
    )


_COMMENT_LINE: Final = re.compile(r"^[ \t]*(--[^\n]*)?\n|^[ \t]+", re.MULTILINE)


@lru_cache(maxsize=4)
def without_comments(source: str) -> str:
    """A program without the lines that nobody but people read, and without indentation.

    Where it is in an object of Kubernetes, a quarter less matters. No text of our programs goes on over a line.
    """
    return _COMMENT_LINE.sub("", source)


def _scoped(source: str, later: set[str]) -> str:
    """A file as a block of its own, around which stand the locals that later ones use."""
    shared = sorted(
        name for function, value in _DECLARED.findall(source) if (name := function or value) and name in later
    )

    def declared(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        return found[0].removeprefix("local ") if name in shared else found[0]

    before = f"local {', '.join(shared)}\n" if shared else ""
    return f"{before}do\n{_DECLARED.sub(declared, source)}\nend\n"
