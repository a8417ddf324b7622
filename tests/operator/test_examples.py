"""The examples, vendor by vendor: right as they stand, served as they stand, and right all together."""

from pathlib import Path

import pytest
from tests.operator.conftest import Build

from limpet_operator.laptop.validate import render_line, validate
from limpet_operator.sources.files import scan

EXAMPLES = Path(__file__).parents[2] / "examples"
VENDORS = (
    "anthropic", "baseten", "deepseek", "google-ai-studio", "moonshot", "openai", "vertex-ai", "vllm", "xai",
)  # fmt: skip


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_example_is_right_and_holds_all_that_it_needs(build: Build, vendor: str) -> None:
    lines = validate(scan(EXAMPLES / vendor), {}, build.parser)
    assert [render_line(line) for line in lines if not line.ok] == []
    output = "\n".join(map(render_line, lines))
    assert "Provider" in output
    assert "HealthProbe" in output


def test_all_examples_can_be_applied_to_one_namespace(build: Build, tmp_path: Path) -> None:
    for vendor in VENDORS:
        (tmp_path / f"{vendor}.yaml").write_text((EXAMPLES / vendor / "provider.yaml").read_text())
    lines = validate(scan(tmp_path), {}, build.parser)
    assert [render_line(line) for line in lines if not line.ok] == []


def test_no_folder_of_examples_goes_untested() -> None:
    others = {"quickstart", "istio", "envoy", "envoy-gateway"}  # Those of meshes are in tests/mesh.
    assert {folder.name for folder in EXAMPLES.iterdir() if folder.is_dir()} == {*VENDORS, *others}
