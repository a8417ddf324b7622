"""What the JSON decoder complains of, in the words of the request."""

import re
from typing import Final

import msgspec

from limpet_extproc.dialects.port import BadRequestError

_AT: Final = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_TYPES: Final = re.compile(r"^Expected `(?P<right>[a-z |]+)`, got `(?P<got>[a-z]+)`$")
_IN_JSON: Final = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
}
"""The decoder names Python's types, clients write other languages."""
_MISSING: Final = re.compile(r"missing required field `(?P<field>[^`]+)`")


def decode_error(error: Exception, where: str = "") -> BadRequestError:
    """The decoder's error as one of the request: the field, and what it should have been."""
    if isinstance(error, RecursionError):
        return BadRequestError(where or None, "the body is nested too deeply to be read")
    text = str(error)
    at = _AT.search(text)
    path = ".".join(part for part in (where, at["path"] if at else "") if part) or None
    text = _AT.sub("", text).replace("`", "'")
    if not isinstance(error, msgspec.ValidationError):
        return BadRequestError(path, f"the body is not valid JSON: {text}")
    if missing := _MISSING.search(_AT.sub("", str(error))):
        field = f"{path}.{missing['field']}" if path else missing["field"]
        return BadRequestError(field, f"'{field}' is missing")
    if path is None:
        return BadRequestError(None, f"the body must be a JSON object: {text}")
    if types := _TYPES.match(_AT.sub("", str(error))):
        right = " or ".join(_IN_JSON.get(each, each) for each in types["right"].split(" | "))
        return BadRequestError(
            path, f"'{path}' has the wrong type: write {right}, not {_IN_JSON.get(types['got'], types['got'])}"
        )
    return BadRequestError(path, f"'{path}' has the wrong type: {text}")
