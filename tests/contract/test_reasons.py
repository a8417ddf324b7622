"""One vocabulary: what the gateway can say is what docs/reasons.md explains, word by word."""

import re
from pathlib import Path
from typing import Any

import pytest

from limpet_extproc.contract.reasons import ANSWERED, CAUSE_TEXT, CacheCause, Exclusion, OwnAnswer, Reason, words

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reasons.md").read_text()
SOURCES = {
    path: path.read_text()
    for package in ("operator/limpet_operator", "extproc/limpet_extproc")
    for path in (ROOT / package).rglob("*.[pl][yu]*")
    if path.name != "reasons.py" and path.suffix in {".py", ".lua"}
}


def test_every_reason_is_explained_once_and_no_other() -> None:
    explained = re.findall(r"^\| `([a-z_]+\.[a-z_.]+)` \|", PAGE, re.MULTILINE)
    assert len(set(explained)) == len(explained)
    assert set(explained) == set(words(Reason))


def test_every_word_for_a_provider_that_was_passed_over_is_explained() -> None:
    table = PAGE[PAGE.index("## A provider was passed over") :]
    assert set(re.findall(r"`([a-z_]+)`(?=, `| \|)", table)) == set(words(Exclusion))


def test_every_cause_of_a_read_or_of_none_is_explained_once_and_no_other() -> None:
    page = (ROOT / "docs" / "cache-causes.md").read_text()
    assert sorted(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)) == sorted(words(CacheCause))


def test_the_gateways_own_answers_begin_alike() -> None:
    assert {word for word in words(Reason) if word.startswith(ANSWERED)} == set(words(OwnAnswer))


@pytest.mark.parametrize("kind", [Reason, Exclusion, CacheCause])
def test_no_word_is_listed_that_is_never_given(kind: Any) -> None:
    everything = "".join(SOURCES.values())
    for word in words(kind):
        constant = word.upper().replace(".", "_")
        assert f'"{word}"' in everything or re.search(rf"\b({constant}|{constant.partition('_')[2]})\b", everything), (
            word
        )


@pytest.mark.parametrize("detail", ["", "(message 3)", "(4096)", "(sticky.left.over_limit)", "(ConnectionRefused)"])
@pytest.mark.parametrize("word", words(CacheCause))
def test_every_cause_can_be_kept_with_its_detail(word: str, detail: str) -> None:
    assert CAUSE_TEXT.fullmatch(word + detail)


@pytest.mark.parametrize("text", ["", "hit\n", "hit()", "Hit", "hit(a\r\nx: y)", "partial(" + "9" * 41 + ")"])
def test_what_is_no_cause_is_not_kept(text: str) -> None:
    assert not CAUSE_TEXT.fullmatch(text)
