"""One conversation's cheapest way, also where too many states make it a bound."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from limpet_lab.replay.bound_line import Line, cheapest, is_line

PRICES = st.tuples(st.sampled_from([1.0, 1.2, 2.0, 5.0]), st.sampled_from([0.02, 0.3]), st.sampled_from([60.0, 7200.0]))


@given(
    st.lists(st.tuples(st.sampled_from([5.0, 59.0, 60.0, 200.0]), st.integers(0, 3)), min_size=1, max_size=6),
    st.lists(PRICES, min_size=1, max_size=3),
    st.integers(0, 2),
)
def test_no_way_is_cheaper_and_its_own_costs_what_it_says(
    turns: list[tuple[float, int]], sellers: list[tuple[float, float, float]], head_blocks: int
) -> None:
    line = _line(turns, sellers, head_blocks)
    ways = product(range(len(sellers)), repeat=len(turns))
    least = min(_along(line, way) for way in ways)
    usd, way = cheapest(line)
    assert usd <= least + 1e-12
    assert usd >= least - 1e-12, "so few turns have no states too many"
    assert abs(_along(line, tuple(way)) - usd) < 1e-12


def test_a_long_one_has_a_bound_although_it_has_too_many_states() -> None:
    sellers = [(1.0, 0.3, 7200.0), (1.01, 0.29, 7200.0), (1.02, 0.28, 7200.0), (1.03, 0.27, 7200.0)]
    line = _line([(10.0, 1 + number % 3) for number in range(40)], sellers, 1)
    usd, way = cheapest(line)
    assert 0 < usd <= _along(line, tuple(way))
    assert all(usd <= _along(line, (p,) * 40) for p in range(4))


def test_a_line_shares_ever_more() -> None:
    assert is_line([[], [3], [3, 5]])
    assert not is_line([[], [3], [5, 3]])


def _line(turns: list[tuple[float, int]], sellers: list[tuple[float, float, float]], head_blocks: int) -> Line:
    at_s, lengths, now_s, blocks = [], [], 0.0, head_blocks + 1
    for gap_s, growth in turns:
        now_s += gap_s
        blocks += growth
        at_s.append(now_s)
        lengths.append(blocks)

    def usd(turn: int, p: int, cached: int) -> float:
        plain, read, _ = sellers[p]
        return plain * (lengths[turn] - min(cached, lengths[turn]) * (1 - read))

    numbers = range(len(sellers))
    return Line(
        at_s,
        [lengths[:turn] for turn in range(len(turns))],
        [list(numbers) for _ in turns],
        usd,
        [[usd(turn, p, lengths[turn - 1] if turn else head_blocks) for p in numbers] for turn in range(len(turns))],
        head_blocks,
        [ttl_s for _, _, ttl_s in sellers],
        lengths,
        [[plain * (1 - read) for plain, read, _ in sellers] for _ in turns],
        [0 for _ in sellers],
    )


def _along(line: Line, way: tuple[int, ...]) -> float:
    total = 0.0
    last: dict[int, int] = {}
    for turn, p in enumerate(way):
        served = last.get(p)
        alive = served is not None and line.at_s[turn] - line.at_s[served] < line.ttls_s[p]
        total += line.usd(turn, p, max(line.head_blocks, line.shared[turn][served]) if alive else line.head_blocks)
        last[p] = turn
    return total
