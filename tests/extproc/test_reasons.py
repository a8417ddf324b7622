"""One vocabulary: what the code can say is what docs/reasons.md explains, word by word."""

import re
from pathlib import Path
from typing import get_args

import limpet_extproc
from limpet_extproc.choose import Reason
from limpet_extproc.exchange import Refused
from limpet_extproc.price import Unpaid

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reasons.md").read_text()
EXPLAINED = re.findall(r"^\| `([a-z_.]+)` \|", PAGE, re.MULTILINE)
SAID_BY_ENVOY = set(
    re.findall(
        r'"((?:refused|fallback)\.[a-z_]+)"',
        "".join(path.read_text() for path in (ROOT / "operator" / "limpet_operator" / "publish").glob("*.py")),
    )
)


def test_every_reason_is_explained_once_and_no_other() -> None:
    assert len(set(EXPLAINED)) == len(EXPLAINED)
    assert set(EXPLAINED) == {*get_args(Reason), *get_args(Refused), *SAID_BY_ENVOY}


def test_what_is_said_of_an_unpaid_stay_is_among_the_reasons() -> None:
    assert set(get_args(Unpaid)) <= set(get_args(Reason))


def test_no_reason_is_listed_that_is_never_given() -> None:
    source = "".join(path.read_text() for path in Path(limpet_extproc.__file__).parent.glob("*.py"))
    for reason in (*get_args(Reason), *get_args(Refused)):
        assert source.count(f'"{reason}"') >= 2, f"{reason} is only listed"
