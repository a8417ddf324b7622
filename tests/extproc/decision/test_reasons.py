"""One vocabulary: what the code can say is what docs/reasons.md explains, word by word."""

import re
from pathlib import Path
from typing import get_args

import limpet_extproc
from limpet_extproc.decision.choose import Exclusion, Reason
from limpet_extproc.decision.price import Unpaid
from limpet_extproc.request.exchange import Refused

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reasons.md").read_text()
EXPLAINED = re.findall(r"^\| `([a-z_]+\.[a-z_.]+)` \|", PAGE, re.MULTILINE)
SAID_BY_ENVOY = set(
    re.findall(
        r'"((?:answered|refused|fallback)\.[a-z_]+)"',
        "".join(path.read_text() for path in (ROOT / "operator" / "limpet_operator" / "publish").glob("*.[pl][yu]*")),
    )
)


def test_every_reason_is_explained_once_and_no_other() -> None:
    assert len(set(EXPLAINED)) == len(EXPLAINED)
    assert set(EXPLAINED) == {*get_args(Reason), *get_args(Refused), *SAID_BY_ENVOY}


def test_every_word_for_a_provider_that_was_passed_over_is_explained() -> None:
    table = PAGE[PAGE.index("## A provider was passed over") :]
    words = {word for kind in get_args(Exclusion) for word in (get_args(kind) or (kind,))}
    assert set(re.findall(r"`([a-z_]+)`(?=, `| \|)", table)) == words


def test_what_is_said_of_an_unpaid_stay_is_among_the_reasons() -> None:
    assert set(get_args(Unpaid)) <= set(get_args(Reason))


def test_no_reason_is_listed_that_is_never_given() -> None:
    source = "".join(path.read_text() for path in Path(limpet_extproc.__file__).parent.rglob("*.py"))
    for reason in (*get_args(Reason), *get_args(Refused)):
        assert source.count(f'"{reason}"') >= 2, f"{reason} is only listed"
