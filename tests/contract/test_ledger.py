"""Rows of the ledger add up field by field."""

from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.ledger import NOTHING_SPENT, SUMS, RowKey, RowSums, added

_SUMS = st.builds(RowSums, *([st.integers(0, 10**9)] * len(SUMS)))


@given(_SUMS, _SUMS)
def test_both_together_have_the_sum_of_each_field(one: RowSums, other: RowSums) -> None:
    both = one.plus(other)
    assert [getattr(both, name) for name in SUMS] == [getattr(one, name) + getattr(other, name) for name in SUMS]
    assert one.plus(NOTHING_SPENT) == one


@given(st.lists(st.tuples(st.sampled_from("ab"), _SUMS)))
def test_rows_of_equal_keys_become_one(drawn: list[tuple[str, RowSums]]) -> None:
    rows = added((RowKey(1, "traffic", provider, "m"), sums) for provider, sums in drawn)
    assert {key.provider for key in rows} == {provider for provider, _ in drawn}
    assert sum(sums.requests for sums in rows.values()) == sum(sums.requests for _, sums in drawn)
