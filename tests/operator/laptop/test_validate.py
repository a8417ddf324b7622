"""What `limpet validate` prints, word for word."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from tests.operator.conftest import Build

from limpet_operator.laptop.validate import exit_status, render_line, validate
from limpet_operator.sources.files import scan

GOOD = """
apiVersion: limpet.dev/v1alpha1
kind: Provider
metadata: {name: deepseek}
spec: {vendor: DeepSeek, url: "https://api.deepseek.com/v1", credential: {env: KEY}, models: [{name: flash}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
"""
BAD = """
apiVersion: limpet.dev/v1alpha1
kind: Provider
metadata: {name: deepseek}
spec: {vendor: DeepSeek, url: "https://elsewhere/v1", models: [{name: flash}]}
---
apiVersion: limpet.dev/v1alpha1
kind: Provider
metadata: {name: other, namespace: ai}
spec: {vendor: DeepSeek, url: ftp, modles: []}
---
apiVersion: limpet.dev/v1alpha1
kind: Pricing
metadata: {name: other}
spec: {providerRef: {name: other}, models: [{name: flash, perMillionTokens: {input: "1", output: "1"}}]}
---
spec: [
"""


def _output(build: Build, path: Path, env: dict[str, str]) -> tuple[list[str], int]:
    lines = validate(scan(path), env, build.parser)
    return [render_line(line) for line in lines], exit_status(lines)


def test_all_is_well(build: Build, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    assert _output(build, tmp_path, {"KEY": "1"}) == (
        [
            "ok   Provider deepseek  (a.yaml, document 1)",
            'skip Deployment  (a.yaml, document 2): Deployment of "apps/v1" is not a kind that Limpet reads',
        ],
        0,
    )


def test_what_is_wrong_where_and_what_to_do(build: Build, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(BAD)
    output, status = _output(build, tmp_path, {})
    assert status == 1
    assert output == [
        (
            "BAD  Provider deepseek  (a.yaml, document 1): EnvVarNotSet: environment variable KEY is not set; "
            "on a laptop export it before starting, in a cluster use spec.credential.secretRef"
        ),
        'skip Deployment  (a.yaml, document 2): Deployment of "apps/v1" is not a kind that Limpet reads',
        (
            "BAD  Provider deepseek  (b.yaml, document 1): metadata.name: Duplicate: Provider deepseek is already in "
            "a.yaml, document 1, which counts; take one of them out"
        ),
        (
            "BAD  Provider ai/other  (b.yaml, document 2):\n"
            "       spec.modles: no such field; did you mean models?\n"
            "       spec.models: is missing (models served here)"
        ),
        (
            "BAD  Pricing other  (b.yaml, document 3): ProviderNotFound: "
            "there is no Provider other in namespace default; create it, or correct spec.providerRef.name"
        ),
        "BAD  document  (b.yaml, document 4): line 18: not valid YAML: did not find expected node content",
    ]


NOTED = """
apiVersion: limpet.dev/v1alpha1
kind: Provider
metadata: {name: claude}
spec: {vendor: Anthropic, url: "https://api.anthropic.com/v1", models: [{name: "claude-*"}], cache: {blockTokens: 1}}
---
apiVersion: limpet.dev/v1alpha1
kind: HealthProbe
metadata: {name: all}
spec: {providerSelector: {}, http: {path: /models}}
"""


def test_what_has_no_effect_is_a_note_and_no_fault_unless_asked_for(build: Build, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(NOTED)
    output, status = _output(build, tmp_path, {})
    assert output == [
        (
            "note Provider claude  (a.yaml, document 1):\n"
            '       NotAPattern: the model name "claude-*" is not a pattern and matches only requests for exactly '
            "this name; list the models one by one\n"
            "       FieldWithoutEffect: spec.cache.blockTokens has no effect in this version: no decision depends on it"
        ),
        "ok   HealthProbe all  (a.yaml, document 2)",
    ]
    assert status == 0
    assert exit_status(validate(scan(tmp_path), {}, build.parser), strict=True) == 1


OVERLAPPING = """
apiVersion: limpet.dev/v1alpha1
kind: Provider
metadata: {name: p}
spec: {vendor: Custom, url: "http://127.0.0.1:1/v1", models: [{name: m}]}
---
apiVersion: limpet.dev/v1alpha1
kind: Pricing
metadata: {name: p}
spec:
  providerRef: {name: p}
  models: [{name: m, perMillionTokens: {input: "1", output: "1"}}]
  windows:
  - {name: weekend, days: [Sat, Sun], from: "00:00", to: "23:00", factor: "0.5"}
  - {name: day, from: "08:00", to: "20:00", factor: "2"}
"""


def test_of_windows_that_overlap_it_is_said_which_holds(build: Build, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(OVERLAPPING)
    output, status = _output(build, tmp_path, {})
    assert (output[1], status) == (
        (
            "ok   Pricing p  (a.yaml, document 2): used as written; of windows that overlap the first in spec.windows "
            "holds: weekend holds where day would too"
        ),
        0,
    )


def test_where_nothing_is_nothing_is_right(build: Build, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text(GOOD)
    assert _output(build, tmp_path, {}) == ([], 1)


def test_the_objects_of_a_list_are_read_as_kubectl_does(build: Build, tmp_path: Path) -> None:
    provider = """{apiVersion: limpet.dev/v1alpha1, kind: Provider, metadata: {name: a, uid: u, managedFields: []},
      spec: {vendor: Custom, url: "http://127.0.0.1:1/v1", models: [{name: m}], wieght: 3}, status: {conditions: []}}"""
    service = "{apiVersion: v1, kind: Service, metadata: {name: s}}"
    (tmp_path / "all.YAML").write_text(f"apiVersion: v1\nkind: List\nitems:\n- {provider}\n- {service}\n")
    assert _output(build, tmp_path, {}) == (
        [
            "BAD  Provider a  (all.YAML, document 1, item 1): spec.wieght: no such field; did you mean weight?",
            'skip Service  (all.YAML, document 1, item 2): Service of "v1" is not a kind that Limpet reads',
        ],
        1,
    )


KEY = "sk-live-4f2b8e0a9c7d"


@pytest.mark.parametrize(
    "spec",
    [
        f"credential: {KEY}",
        f"credential: [{KEY}]",
        f"credential: {{env: {KEY}}}",
        f"credential: {{env: {KEY.replace('-', '_')}}}",
        f"credential: {{secretRef: {KEY}}}",
        f"credential: {{secretRef: {{name: {KEY}, key: k}}}}",
        f"credential: {{secretRef: {{name: s, key: {KEY}}}}}",
        f"credential: {{secretRef: {{name: s, key: '{KEY} '}}}}",
        f"credential: {{header: {KEY}, env: A}}",
        f"url: {KEY}",
        f"vendor: {KEY}",
        f"tls: {KEY}",
        f"weight: {KEY}",
        f"models: [{KEY}]",
    ],
)
def test_a_key_that_was_written_in_the_wrong_place_is_not_repeated(build: Build, tmp_path: Path, spec: str) -> None:
    field = spec.partition(":")[0]
    kept = {"vendor": "Custom", "url": "http://127.0.0.1:1/v1", "models": "[{name: m}]"}
    lines = [spec, *(f"{name}: {value}" for name, value in kept.items() if name != field)]
    (tmp_path / "a.yaml").write_text(
        "apiVersion: limpet.dev/v1alpha1\nkind: Provider\nmetadata: {name: a}\nspec:\n  " + "\n  ".join(lines)
        + "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {other: x}\n"
    )  # fmt: skip
    output, status = _output(build, tmp_path, {})
    assert status == 1
    assert "4f2b8e0a9c7d" not in "\n".join(output)


def test_the_quickstart_is_right(build: Build) -> None:
    lines = validate(scan(Path(__file__).parents[3] / "examples" / "quickstart"), {}, build.parser)
    assert lines
    assert [render_line(line) for line in lines if not line.ok] == []


@pytest.mark.parametrize(
    ("source", "note"),
    [
        ({"name": "x", "retrieved": "2026-11-20"}, ""),
        ({"name": "x", "retrieved": "2020-01-01"}, "Stale: read on 2020-01-01, more than 720h ago; "),
        ({"name": "x", "retrieved": "2030-01-01"}, "DateInFuture: spec.source.retrieved, 2030-01-01, is in the future"),
        ({"name": "x"}, "FieldWithoutEffect: spec.staleAfter has no effect: spec.source.retrieved"),
    ],
)
def test_prices_that_are_old_are_marked(build: Build, tmp_path: Path, source: dict[str, str], note: str) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(build.raw("Pricing", source=source, staleAfter="720h")))
    (tmp_path / "b.yaml").write_text(yaml.safe_dump_all([build.raw("Provider"), build.secret()]))
    priced, *_ = validate(scan(tmp_path), {}, build.parser, datetime(2026, 12, 1, tzinfo=UTC))
    assert priced.status == ("note" if note else "ok")
    assert note in render_line(priced)
