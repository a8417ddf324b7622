"""The Lua that runs inside Envoy, with the contract's names and reasons before it as local constants."""

import json
import re
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
    "MESSAGE_BATCHES": apis.MESSAGE_BATCHES,
    "ERROR_TYPES": "".join(f" {status}={name}" for status, name in ANTHROPIC.items()),
}
"""Name and value of each; `REFUSED_METHOD` is the reason `refused.method`."""

_NAME: Final = re.compile(r"\b[A-Z][A-Z_]+\b")


def program(*file_names: str) -> str:
    """These files as one program, with the constants that it uses: Lua allows 200 locals."""
    source = "\n".join(files(__package__).joinpath(name).read_text() for name in file_names)
    used = sorted(CONSTANTS.keys() & set(_NAME.findall(source)))
    return "".join(f"local {name} = {json.dumps(CONSTANTS[name])}\n" for name in used) + source
