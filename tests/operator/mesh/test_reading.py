"""What `limpet mesh` reads of files besides Providers: the authorities that they name."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.operator.conftest import Build

from limpet_operator.mesh.reading import of_files
from limpet_operator.sources.chosen_place import UnreadablePlaceError


def files(directory: Path, *raws: dict[str, Any]) -> Path:
    for number, raw in enumerate(raws):
        (directory / f"{number}.json").write_text(json.dumps(raw))
    return directory


def with_ca(build: Build, kind: str = "ConfigMap") -> dict[str, Any]:
    return build.raw("Provider", tls={"caCertificateRef": {"kind": kind, "name": "corp", "key": "ca.crt"}})


def config_map(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "corp"}, "data": data}


def test_an_authority_beside_its_provider_is_found(build: Build, tmp_path: Path) -> None:
    found = of_files(files(tmp_path, with_ca(build), config_map(**{"ca.crt": "(pem)"})), print)
    (provider,), notes = found.planned()
    assert (provider.ca_pem, notes) == ("(pem)", ())


def test_without_its_secret_a_provider_is_there_all_the_same(build: Build, tmp_path: Path) -> None:
    (provider,), notes = of_files(files(tmp_path, build.raw("Provider")), print).planned()
    assert (provider.name, provider.credential, notes) == ("deepseek", None, ())


@pytest.mark.parametrize("beside", [None, config_map(other="(pem)")])
def test_without_its_authority_a_provider_is_left_out_and_named(
    build: Build, tmp_path: Path, beside: dict[str, Any] | None
) -> None:
    raws = [with_ca(build), *([] if beside is None else [beside])]
    providers, (note,) = of_files(files(tmp_path, *raws), print).planned()
    assert providers == ()
    assert note.startswith("deepseek is left out: key ca.crt of ConfigMap corp with its authority could not be read")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePlaceError, match="gone"):
        of_files(tmp_path / "gone", print)
