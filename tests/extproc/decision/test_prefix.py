"""How far two prompts are the same, by the hashes of their beginnings."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.decision.prefix import boundary_count, boundary_name, changed_at, packed, shared_boundaries
from limpet_extproc.dialects.prompt_layout import kept_positions


def _hashes(parts: Sequence[int]) -> bytes:
    """Of a prompt with these parts: a hash covers all before it."""
    kept = [hash(tuple(parts[: at + 1])).to_bytes(8, "little", signed=True) for at in kept_positions(len(parts))]
    return packed(kept, len(parts))


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (mine, its) in enumerate(pairs) if mine != its), min(len(one), len(other)))


_PARTS = st.integers(0, 200).flatmap(lambda count: st.lists(st.integers(0, 1), min_size=count, max_size=count))


@given(_PARTS, _PARTS, st.integers(0, 200))
def test_what_is_shared_is_never_said_to_be_more_than_it_is(one: list[int], tail: list[int], at: int) -> None:
    other = [*one[:at], *tail]
    common = _common(one, other)
    shared = shared_boundaries(_hashes(one), _hashes(other))
    assert boundary_count(_hashes(one)) == len(one)
    kept = kept_positions(len(one))
    assert shared == 0 or kept[shared - 1] < common
    both = set(kept) & set(kept_positions(len(other)))
    assert {each for each in both if each < common} <= set(kept[:shared])
    changed = changed_at(_hashes(one), _hashes(other))
    assert changed == "" or common < min(len(one), len(other))
    if len(one) <= 64 and len(other) <= 64:
        assert shared == common
        departs = common < min(len(one), len(other))
        assert changed == (boundary_name(common) if departs else "")


@given(st.integers(1, 500), st.integers(0, 31))
def test_a_conversation_that_goes_on_departs_nowhere(count: int, more: int) -> None:
    before, after = _hashes(range(count)), _hashes(range(count + more))
    kept = kept_positions(count + more)
    assert kept[shared_boundaries(after, before) - 1] == count - 1
    assert changed_at(after, before) == ""


@pytest.mark.parametrize(
    ("index", "name"), [(0, "tools"), (1, "system"), (2, "message 1"), (9, "message 8")], ids=lambda each: str(each)
)
def test_what_departs_has_a_name(index: int, name: str) -> None:
    before = list(range(12))
    after = [*before[:index], -1, *before[index + 1 :]]
    assert boundary_name(index) == name
    assert changed_at(_hashes(after), _hashes(before)) == name


def test_nothing_is_shared_with_nothing() -> None:
    assert shared_boundaries(b"", _hashes([1])) == 0
    assert shared_boundaries(_hashes([1]), b"") == 0
    assert changed_at(_hashes([1]), b"") == ""
