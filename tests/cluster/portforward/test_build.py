"""Who runs the cluster's tests by hand is told what has to be built before."""

from pathlib import Path

import pytest
from tests.cluster.portforward.build import PORT_FORWARDER

from limpet_lab.kubernetes.assets import AssetsMissingError


def test_a_program_that_is_not_built_is_named_with_the_command_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(AssetsMissingError, match=r"not built yet; run: python -m tests\.cluster\.portforward\.build$"):
        PORT_FORWARDER.find({"XDG_CACHE_HOME": str(tmp_path)})


def test_another_source_is_another_program(tmp_path: Path) -> None:
    environment, source = {"XDG_CACHE_HOME": str(tmp_path)}, PORT_FORWARDER.source
    for name in ("go.mod", "go.sum", "main.go"):
        (tmp_path / name).write_bytes((source.module / name).read_bytes())
    copy = type(source)(tmp_path, source.programs, source.announcement)
    assert copy.home(environment) == source.home(environment)
    (tmp_path / "main.go").write_text("package main\n")
    assert copy.home(environment) != source.home(environment)
