"""What `limpet validate` prints, word for word."""

from pathlib import Path

from limpet_operator.sources.files import scan
from limpet_operator.validate import exit_status, render_line, validate

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


def _said(build, path: Path, env: dict[str, str]) -> tuple[list[str], int]:
    lines = validate(scan(path), env, build.parser)
    return [render_line(line) for line in lines], exit_status(lines)


def test_all_is_well(build, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    assert _said(build, tmp_path, {"KEY": "1"}) == (
        [
            "ok   Provider deepseek  (a.yaml, document 1)",
            'skip Deployment  (a.yaml, document 2): Deployment of "apps/v1" is not a kind that Limpet reads',
        ],
        0,
    )


def test_what_is_wrong_where_and_what_to_do(build, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(BAD)
    said, status = _said(build, tmp_path, {})
    assert status == 1
    assert said == [
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
            "       spec.models: is missing; write at least one model that is served here"
        ),
        (
            "BAD  Pricing other  (b.yaml, document 3): ProviderNotFound: "
            "there is no Provider other in namespace default; create it, or correct spec.providerRef.name"
        ),
        "BAD  document  (b.yaml, document 4): line 18: no valid YAML: did not find expected node content",
    ]


def test_the_quickstart_is_right(build) -> None:
    lines = validate(scan(Path(__file__).parents[2] / "examples" / "quickstart"), {}, build.parser)
    assert lines
    assert [render_line(line) for line in lines if not line.ok] == []
