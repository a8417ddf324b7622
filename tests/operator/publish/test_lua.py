"""Lua in Envoy and Python beside it use the same names, which stand in the contract alone."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

import limpet_extproc
import limpet_operator
from limpet_extproc.contract import envoy
from limpet_extproc.contract.reasons import Reason, words
from limpet_operator.publish.attempt_filters import ATTEMPT_PROGRAM
from limpet_operator.publish.direct_responses import FRONT_PROGRAMS
from limpet_operator.publish.error_rules import lua_rules
from limpet_operator.publish.headers import lua_lists
from limpet_operator.publish.listener import UNDECIDED_PROGRAM
from limpet_operator.publish.lua import CONSTANTS, program
from limpet_operator.publish.usage_fields import lua_usage_fields

PUBLISH = Path(str(files("limpet_operator.publish")))
PROGRAMS = [*PUBLISH.glob("*.lua")]
NAMES = {
    value
    for name, value in vars(envoy).items()
    if name.isupper() and isinstance(value, str) and value.startswith(("limpet", "x-limpet", ":route"))
}
"""Values that can't be anything else; keys of the metadata are words that mean other things as well."""


def code(lua: str) -> str:
    """Without comments and strings."""
    return re.sub(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|--[^\n]*', '""', lua)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_no_lua_file_has_a_name_of_the_contract_as_a_string(path: Path) -> None:
    strings = {match[1:-1] for match in re.findall(r'"[^"\n]*"', path.read_text())}
    assert not strings & {*NAMES, *words(Reason)}
    assert not {text for text in strings if text.startswith(("limpet", "x-limpet"))}


def test_no_lua_file_has_a_key_of_the_metadata_as_a_string() -> None:
    keys = {value for name, value in CONSTANTS.items() if name.startswith(("ROUTE", "DECISION", "TRAIL", "RECORD"))}
    for path in PROGRAMS:
        assert not keys & set(re.findall(r'(?:_METADATA, |\w\[|\)\[)"(\w+)"', path.read_text())), path


@pytest.mark.parametrize(
    "files",
    [
        ATTEMPT_PROGRAM,
        UNDECIDED_PROGRAM,
        *FRONT_PROGRAMS.values(),
    ],
)
def test_every_constant_of_a_program_is_declared_in_it(files: tuple[str, ...]) -> None:
    before = lua_rules() + lua_lists() + lua_usage_fields() if "upstream.lua" in files else ""
    text = code(before + program(*files))
    declared = set(re.findall(r"^(?:local )?([A-Z][A-Z_]+) =", text, re.MULTILINE))
    assert set(re.findall(r"\b[A-Z][A-Z_]+\b", text)) == declared


@pytest.mark.parametrize("package", [limpet_operator, limpet_extproc], ids=lambda package: package.__name__)
def test_no_python_file_but_the_contract_has_such_a_name(package: object) -> None:
    for path in Path(str(package.__path__[0])).rglob("*.py"):  # type: ignore[attr-defined]
        if path.name == "envoy.py" and path.parent.name == "contract":
            continue
        strings = set(re.findall(r'"([a-z:][a-z._-]*)"', path.read_text()))
        assert not strings & (NAMES - {"limpet_"}), path
