"""Many providers, each at a price of its own: a conversation goes and costs as if all of them were looked at."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.extproc.conftest import Make
from tests.extproc.decision.test_bills import record
from tests.extproc.decision.test_pool import DOWN, NOW, one_by_one

from limpet_extproc.contract.prices import Price
from limpet_extproc.contract.record import TurnsBefore
from limpet_extproc.decision.bills import bill
from limpet_extproc.decision.choose import choose
from limpet_extproc.decision.draws import Draws
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.envoy.usage import TokenUsage
from limpet_extproc.memory import ConversationPace, Remembered, Warm

_NEARLY = 3e-4
"""By which what spreading costs may differ where nearly equal prices count as one."""
_LEAST = st.sampled_from((1e-9, 0.5))
_WITHIN = st.sampled_from((0.0, 25.0, 200.0))
_NAMES = st.integers(0, 19).map(lambda at: f"p{at}")


@st.composite
def providers(draw: st.DrawFn, weights: tuple[int, ...] = (100,)) -> list[dict[str, Any]]:
    """Twenty or more, at prices between one of these and a half more, or less at the cache."""
    least, number = draw(_LEAST), draw(st.integers(20, 60))
    output, read = draw(st.sampled_from((0.0, 0.1, 2.0))), draw(st.sampled_from((0.05, 0.9)))
    picked = draw(st.randoms(use_true_random=False))
    found = []
    for _ in range(number):
        usd = least * picked.uniform(1.0, 1.5)
        price = Price(usd, usd * output * picked.uniform(1.0, 1.5), usd * read, usd)
        found.append({"price": price, "weight": picked.choice(weights)})
    for at in draw(st.lists(st.integers(0, number - 1), max_size=3)):
        found[at]["drain"] = True
    return found


@settings(deadline=None)
@given(
    fields=providers(),
    warm=st.lists(_NAMES, min_size=1, max_size=3, unique=True),
    shared=st.integers(1, 4_000),
    dearer=st.lists(_NAMES, max_size=4),
    down=st.lists(_NAMES, max_size=3),
    within=_WITHIN,
    attempts=st.integers(1, 6),
)
def test_a_turn_goes_where_it_would_with_all_of_them(
    make: Make,
    fields: list[dict[str, Any]],
    warm: list[str],
    shared: int,
    dearer: list[str],
    down: list[str],
    within: float,
    attempts: int,
) -> None:
    lane = make.lane(
        *(make.provider(f"p{at}", **each) for at, each in enumerate(fields)),
        spread_within_percent=within,
        max_attempts=attempts,
    )
    remembered = Remembered(
        tuple(Warm(name, NOW + 100, 4_000, shared) for name in warm),
        pace=ConversationPace(3, NOW - 60, 60.0, 4_000, 300.0, 200.0),
    )
    known = ProviderStates(health=dict.fromkeys(down, DOWN), factors=dict.fromkeys(dearer, 1.5))
    plain = choose(make.query(one_by_one(lane)), remembered, known, NOW, b"")
    assert choose(make.query(lane), remembered, known, NOW, b"", draws=Draws()) == plain


@settings(deadline=None)
@given(
    fields=providers((100, 100, 100, 50)) | providers((100, 100, 0)),
    order=st.lists(_NAMES, min_size=1, max_size=3, unique=True),
    excluded=st.lists(_NAMES, max_size=6),
    within=_WITHIN,
    output=st.sampled_from((0, 1, 300, 20_000)),
    turns=st.integers(0, 30),
    growth=st.integers(0, 2_000),
)
def test_a_bill_is_as_if_all_of_them_were_reckoned(
    make: Make,
    fields: list[dict[str, Any]],
    order: list[str],
    excluded: list[str],
    within: float,
    output: int,
    turns: int,
    growth: int,
) -> None:
    lane = make.lane(*(make.provider(f"p{at}", **each) for at, each in enumerate(fields)), spread_within_percent=within)
    made = record(
        order=tuple(order),
        ttls_s=(300.0,) * len(order),
        excluded=dict.fromkeys(excluded, "down"),
        before=TurnsBefore(turns, 20.0, 20.0, growth),
    )
    usage = TokenUsage(10_000, 8_000, output)
    plain, found = bill(one_by_one(lane), order[0], made, usage), bill(lane, order[0], made, usage)
    assert plain is not None
    assert found is not None
    assert found.spread_usd == pytest.approx(plain.spread_usd, rel=_NEARLY, abs=0.0)
    assert msgspec.structs.replace(found, spread_usd=plain.spread_usd) == plain
