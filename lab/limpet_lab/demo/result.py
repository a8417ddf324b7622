"""What the demo's turns and ledgers add up to: pure arithmetic, the JSON, and whether the demo worked."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from limpet_lab.demo.talk import Turn


@dataclass(frozen=True, slots=True)
class Part:
    """The same conversations under one policy."""

    second_turn_hits: int
    second_turns: int
    cached_share: float
    """Cached over all prompt tokens, all turns."""
    usd: float
    """From the sellers' own ledgers."""
    client_errors: int
    served: dict[str, list[str]]
    """By conversation: the provider of each turn."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What the sticky part cost by Limpet's own ledger, and would have cost by other rules, in dollars."""

    requests: int
    paid_usd: float
    uncached_usd: float
    spread_usd: float
    cheapest_usd: float


@dataclass(frozen=True, slots=True)
class Failover:
    """What became of the conversations when their provider died and when it came back."""

    killed: str
    client_errors: int
    conversations: int
    on_killed: int
    """Conversations that were warm at the provider when it was killed."""
    moved_within_one_turn: int
    stayed_moved: int
    """Of those, conversations that stayed at their new provider, also after the old one returned."""
    served: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Result:
    """The whole demo."""

    sticky: Part
    off: Part
    failover: Failover
    ledger: Spent

    def as_json(self) -> dict[str, Any]:
        """The keys that docs/benchmarks.md documents."""
        return asdict(self)


def part(turns: Sequence[Turn], usd: float) -> Part:
    """Add up the turns of one part."""
    second = [turn for turn in turns if turn.number == 2]
    prompt = sum(turn.prompt for turn in turns)
    return Part(
        second_turn_hits=sum(turn.hit for turn in second),
        second_turns=len(second),
        cached_share=sum(turn.cached for turn in turns) / prompt if prompt else 0.0,
        usd=usd,
        client_errors=sum(bool(turn.error) for turn in turns),
        served=served(turns),
    )


def served(turns: Sequence[Turn]) -> dict[str, list[str]]:
    """By conversation: the provider of each turn, empty for a turn that failed."""
    found: dict[str, list[str]] = {}
    for turn in sorted(turns, key=lambda turn: turn.number):
        found.setdefault(turn.conversation, []).append(turn.provider)
    return found


def failover(turns: Sequence[Turn], killed: str, after_turn: int) -> Failover:
    """Follow each conversation that was at `killed` when it died, after turn number `after_turn`."""
    by_conversation = served(turns)
    later = [providers[after_turn:] for providers in by_conversation.values() if providers[after_turn - 1] == killed]
    moved = [providers for providers in later if providers and providers[0] not in ("", killed)]
    return Failover(
        killed=killed,
        client_errors=sum(bool(turn.error) for turn in turns),
        conversations=len(by_conversation),
        on_killed=len(later),
        moved_within_one_turn=len(moved),
        stayed_moved=sum(len(set(providers)) == 1 for providers in moved),
        served=by_conversation,
    )


def saved(result: Result) -> str:
    """The demo in one sentence."""
    sticky, off = result.sticky, result.off
    less = f"{1 - sticky.usd / off.usd:.0%} less" if off.usd else "of nothing"
    return (
        f"With stickiness {sticky.cached_share:.0%} of the prompt tokens came from caches instead of "
        f"{off.cached_share:.0%}, and the bill was ${sticky.usd:.5f} instead of ${off.usd:.5f}: {less}."
    )


def problems(result: Result) -> list[str]:
    """Why the demo did not show what it should; empty when it did."""
    sticky, lost = result.sticky, result.failover
    found = []
    if errors := sticky.client_errors + result.off.client_errors + lost.client_errors:
        found.append(f"{errors} requests failed at the client; each is shown above")
    if sticky.second_turn_hits < sticky.second_turns:
        found.append(f"only {sticky.second_turn_hits} of {sticky.second_turns} second turns found their cache")
    if abs(result.ledger.paid_usd - sticky.usd) > 0.01 * sticky.usd:
        found.append(f"the ledger has ${result.ledger.paid_usd:.5f}, the sellers billed ${sticky.usd:.5f}")
    if not lost.on_killed:
        found.append(f"no conversation was at {lost.killed} when it was killed, so nothing was shown")
    if lost.moved_within_one_turn < lost.on_killed:
        moved = f"{lost.moved_within_one_turn} of {lost.on_killed}"
        found.append(f"only {moved} conversations of {lost.killed} moved within one turn")
    elif lost.stayed_moved < lost.on_killed:
        found.append(f"only {lost.stayed_moved} of {lost.on_killed} moved conversations stayed where they were warm")
    return found
