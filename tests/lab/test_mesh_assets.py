"""Who runs the mesh's tests by hand is told what has to be built before, and files of Go modules are kept beside it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from limpet_lab.kubernetes.assets import AssetsMissingError, Source
from limpet_lab.kubernetes.mesh_assets import EnvoyGatewayAssets, MeshAssets, find, find_envoy_gateway

# Stands for Go, which would need the network: it says its version, and where the module is that is asked for.
_GO = """\
#!/bin/sh
case "$1 $4" in
  "env "*) echo go1.99.0 ;;
  "mod example.com/known") echo '{"Dir": "MODULE"}' ;;
  *) echo "no such module: $4" >&2; exit 1 ;;
esac
"""


def environment(place: Path) -> dict[str, str]:
    module, programs = place / "module", place / "bin"
    (module / "crds").mkdir(parents=True)
    (module / "crds/b.yaml").write_text("b: 2")
    (module / "crds/a.yaml").write_text("a: 1")
    programs.mkdir()
    (programs / "go").write_text(_GO.replace("MODULE", str(module)))
    (programs / "go").chmod(0o755)
    return {"XDG_CACHE_HOME": str(place), "PATH": f"{programs}:/usr/bin:/bin"}


def source(place: Path, module: str) -> Source:
    for name in ("go.mod", "go.sum"):
        (place / name).write_text("")
    return Source(place, {}, "Fetching.", {"all.yaml": (module, "crds/*.yaml")})


@pytest.mark.parametrize("looked_for", [find, find_envoy_gateway])
def test_what_is_not_built_is_named_with_the_command_that_builds_it(
    looked_for: Callable[[Mapping[str, str]], MeshAssets | EnvoyGatewayAssets], tmp_path: Path
) -> None:
    with pytest.raises(AssetsMissingError, match=r"not built yet; run: python -m limpet_lab\.kubernetes\.mesh_assets$"):
        looked_for({"XDG_CACHE_HOME": str(tmp_path)})


def test_files_of_a_module_are_joined_into_one(tmp_path: Path) -> None:
    home = source(tmp_path, "example.com/known").provide(environment(tmp_path))
    assert (home / "all.yaml").read_text() == "a: 1\n---\nb: 2"


def test_a_module_that_cannot_be_fetched_leaves_nothing_behind(tmp_path: Path) -> None:
    missing, known = source(tmp_path, "example.com/missing"), environment(tmp_path)
    with pytest.raises(AssetsMissingError, match=r"all\.yaml could not be fetched:\nno such module"):
        missing.provide(known)
    assert not missing.home(known).exists()
