"""`limpet simulate`: the file, its mistakes, and a run from start to end."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from limpet_lab.sim.config import ConfigError, load_sellers
from limpet_lab.simulate import run

pytestmark = pytest.mark.slow

_QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
_RUN = "import sys; from pathlib import Path; from limpet_lab.simulate import run; sys.exit(run(Path(sys.argv[1])))"


def _write(folder: Path, text: str) -> Path:
    file = folder / "sellers.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "not YAML"),
        ("apiVersion: v1\nkind: Secret\n---\napiVersion: v1\nkind: Secret\n", "these are objects for 'limpet up'"),
        ("[]", "no list `sellers`"),
        ("sellers: []", "no list `sellers`"),
        ("sellers: [x]", r"sellers\[0\]: must be a mapping"),
        ("sellers: [{name: a}]", "models"),
        ("sellers: [{name: a, models: []}]", "models is empty"),
        ("sellers: [{name: a, models: [{name: m}], color: red}]", "color"),
        ("sellers: [{name: a, models: [{name: m}], vendor: Acme}]", "vendor 'Acme' is not known: use one of OpenAI"),
        ("sellers: [{name: a, models: [{name: m}], listen: here}]", "write HOST:PORT"),
        ("sellers: [{name: a, models: [{name: m}], cache: {blockTokens: 0}}]", "blockTokens"),
        ("sellers: [{name: a, models: [{name: m}], cache: {block: 1}}]", "unknown field `block`"),
        ("sellers: [{name: a, models: [{name: m}], prices: {input: cheap, output: 1}}]", "prices"),
        ("sellers: [{name: a, models: [{name: m}], apiKeyEnv: NOT_SET}]", "the environment has no NOT_SET"),
        ("sellers: [{name: a, models: [{name: m}]}, {name: a, models: [{name: m}]}]", "two sellers have the name a"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, problem: str) -> None:
    file = _write(tmp_path, text)
    with pytest.raises(ConfigError, match=problem) as error:
        load_sellers(file, {})
    assert str(error.value).startswith(str(file))


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "none.yaml") == 1
    assert "none.yaml: No such file or directory" in capsys.readouterr().err


def test_keys_come_from_the_file_and_the_environment(tmp_path: Path) -> None:
    file = _write(tmp_path, "sellers: [{name: a, models: [{name: m}], apiKeyEnv: KEY, apiKeys: [second]}]")
    assert load_sellers(file, {"KEY": "first"})[0].api_keys == ("first", "second")


def test_the_quickstart_agrees_with_itself() -> None:
    sellers = {seller.name: seller for seller in load_sellers(_QUICKSTART / "sellers.yaml", {})}
    documents = list(yaml.safe_load_all((_QUICKSTART / "limpet.yaml").read_text(encoding="utf-8")))
    by_kind = {
        kind: {d["metadata"]["name"]: d for d in documents if d["kind"] == kind}
        for kind in ("Provider", "Secret", "Pricing")
    }
    assert set(sellers) == set(by_kind["Provider"]) == set(by_kind["Secret"]) == set(by_kind["Pricing"])
    for name, seller in sellers.items():
        spec, prices = (
            by_kind["Provider"][name]["spec"],
            by_kind["Pricing"][name]["spec"]["models"][0]["perMillionTokens"],
        )
        assert spec["url"] == f"http://{seller.listen}{seller.prefix}"
        assert spec["models"][0]["upstreamName"] == seller.models[0].name
        assert by_kind["Secret"][name]["stringData"]["api-key"] == seller.api_keys[0]
        assert seller.prices is not None
        assert prices == {
            "input": str(seller.prices.input),
            "cacheRead": str(seller.prices.cache_read),
            "output": str(seller.prices.output),
        }
    inputs = [seller.prices.input for seller in sellers.values() if seller.prices]
    assert max(inputs) <= min(inputs) * 106 / 100


def _start(file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _RUN, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _ready(process: subprocess.Popen[str], count: int) -> list[list[str]]:
    assert process.stdout is not None
    return [process.stdout.readline().split() for _ in range(count)]


def _two(folder: Path) -> Path:
    return _write(folder, "sellers: [{name: a, models: [{name: m}], apiKey: k}, {name: longer, models: [{name: n}]}]")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_sellers_run_until_told_to_stop_and_never_outlive_their_parent(tmp_path: Path, ending: signal.Signals) -> None:
    with _start(_two(tmp_path)) as process:
        lines = _ready(process, 2)
        assert [(name, models) for name, _, models in lines] == [("a", "m"), ("longer", "n")]
        children = psutil.Process(process.pid).children()
        assert len(children) == 2
        assert httpx.get(lines[0][1] + "/models", headers={"authorization": "Bearer k"}).json()["data"][0]["id"] == "m"
        os.kill(process.pid, ending)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == (-9 if ending is signal.SIGKILL else 0)
        assert errors == ""
        # An orphan that has ended stays a zombie until its new parent looks at it.
        for child in children:
            child_ended(child)


def child_ended(child: psutil.Process) -> None:
    for _ in range(200):
        try:
            if child.status() == psutil.STATUS_ZOMBIE:
                return
            child.wait(0.05)
        except psutil.TimeoutExpired:
            continue
        except psutil.NoSuchProcess:
            return
        return
    pytest.fail(f"seller process {child.pid} outlived its parent")


def test_a_dying_seller_is_reported_and_ends_all(tmp_path: Path) -> None:
    with _start(_two(tmp_path)) as process:
        _ready(process, 2)
        children = psutil.Process(process.pid).children()
        children[0].kill()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "its process ended with code -9; all sellers are stopped" in errors
        child_ended(children[1])


def test_a_taken_port_is_a_clear_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert run(_write(tmp_path, f"sellers: [{{name: a, models: [{{name: m}}], listen: '{address}'}}]")) == 1
    assert f"limpet simulate: seller a: can't listen on {address}: Address already in use" in capsys.readouterr().err
