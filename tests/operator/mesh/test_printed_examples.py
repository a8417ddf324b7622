"""The examples that commands print are what they print."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from limpet_operator.cli import application

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("istio/egress.yaml", ("mesh", "istio", "--providers", str(EXAMPLES / "openai"), "--host", "llm.internal")),
        ("envoy/envoy.yaml", ("render", "--for", "envoy", "--node", "envoy-1")),
    ],
)
def test_it_is_what_the_command_prints(file: str, arguments: tuple[str, ...]) -> None:
    printed = CliRunner().invoke(application(arguments), arguments)
    assert (EXAMPLES / file).read_text() == printed.stdout
