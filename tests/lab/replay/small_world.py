"""Small worlds: few providers, few requests, and traces by Hypothesis."""

from collections.abc import Sequence

from hypothesis import strategies as st

from limpet_extproc.contract.catalog import Model
from limpet_extproc.contract.prices import Price
from limpet_lab.replay.failures import RecordedTrouble
from limpet_lab.replay.sellers import SellerSpec
from limpet_lab.replay.trace import BLOCK_TOKENS, TraceRow
from limpet_lab.sim.rules import CacheRules

BEGIN_S = 1_764_462_600.0


def seller(
    name: str,
    price: tuple[float, float, float],
    *,
    ttl_s: float = 300.0,
    min_tokens: int = 0,
    write: float | None = None,
    troubles: tuple[RecordedTrouble, ...] = (),
) -> SellerSpec:
    """`price`: of input, reads and output."""
    plain, read, output = price
    model = Model("m", "m", price=Price(plain, output, read, plain if write is None else write))
    rules = CacheRules(block_tokens=BLOCK_TOKENS, min_tokens=min_tokens, ttl_seconds=ttl_s, max_blocks=1 << 60)
    return SellerSpec(name, model, rules, troubles)


def row(at_s: float, *blocks: int, tokens: int = 0, output: int = 100) -> TraceRow:
    return TraceRow(at_s * 1000, tokens or len(blocks) * BLOCK_TOKENS, output, blocks)


@st.composite
def traces(draw: st.DrawFn, most: int = 6) -> Sequence[TraceRow]:
    """Short traces: turns that go on from an earlier prompt at any block of it, pauses around a cache's lifetime."""
    rows: list[TraceRow] = []
    at_s, fresh = 0.0, 0
    for _ in range(draw(st.integers(1, most))):
        at_s += draw(st.sampled_from([0.0, 0.3, 2.0, 100.0, 299.0, 300.0, 700.0]))
        goes_on = bool(rows) and draw(st.booleans())
        earlier = rows[draw(st.integers(0, len(rows) - 1))].hash_ids if goes_on else ()
        kept = earlier[: draw(st.integers(0, len(earlier)))]
        more = draw(st.integers(0 if kept else 1, 3))
        blocks = (*kept, *range(fresh, fresh + more))
        fresh += more
        missing = draw(st.sampled_from([0, 0, 100]))
        tokens = len(blocks) * BLOCK_TOKENS - missing
        rows.append(TraceRow(at_s * 1000, tokens, draw(st.sampled_from([0, 50, 2000])), blocks))
    return rows


SELLERS = st.lists(
    st.builds(
        lambda plain, read, output, ttl_s, min_tokens, write: (
            (plain, plain * read, output),
            {"ttl_s": ttl_s, "min_tokens": min_tokens, "write": plain * write},
        ),
        st.sampled_from([1.0, 1.3, 2.0, 4.0]),
        st.sampled_from([0.02, 0.5, 1.0, 1.2]),
        st.sampled_from([0.0, 3.0]),
        st.sampled_from([60.0, 300.0, 7200.0]),
        st.sampled_from([0, 1024]),
        st.sampled_from([1.0, 1.25]),
    ),
    min_size=1,
    max_size=3,
).map(lambda drawn: tuple(seller("abc"[place], price, **more) for place, (price, more) in enumerate(drawn)))
