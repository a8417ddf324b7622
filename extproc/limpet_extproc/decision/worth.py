"""What a request and the turns after it are expected to cost at a provider, as a closed form.

docs/worth.md derives it and lists what it assumes. Dollars are those of a million requests, as prices are of a million
tokens.
"""

from collections.abc import Sequence
from math import inf

import msgspec


class Outlook(msgspec.Struct, frozen=True, gc=False):
    """A request, and how its conversation is expected to go on."""

    prompt_tokens: float
    """Without a head that others keep warm (`TurnRates.each_turn`)."""
    output_tokens: float
    """Of its answer, and of each later one."""
    again: float
    """The chance of one more turn, after each; less than 1."""
    gap_s: float
    """From turn to turn, on average; more than 0."""
    growth_tokens: float
    """By which each prompt is longer than the one before."""
    at_s: float = 0.0
    """Unix time of the request."""

    def lasts(self, ttl_s: float) -> float:
        """The chance that a cache of this lifetime still has a turn when the next one comes.

        Gaps have a long tail: after many short ones somebody goes for lunch. Their law is Lomax's with the exponent 2.
        """
        left = self.gap_s / (self.gap_s + ttl_s)
        return 1.0 - left * left

    def before(self, at_s: float) -> float:
        """Which share of the turns that are expected to follow comes before this time."""
        return 1.0 - self.again ** ((at_s - self.at_s) / self.gap_s) if at_s > self.at_s else 0.0


class TurnRates(msgspec.Struct, frozen=True, gc=False):
    """What a conversation pays at a provider, in dollars per million tokens."""

    write: float
    """For prompt tokens that its cache does not have."""
    read: float
    each_turn: float
    """For each turn besides, whatever its prompt: its answer, and what every turn reads of a head that never runs out.

    Dollars of a million requests."""
    lasts: float
    """The chance that its cache still has a turn when the next one comes (`Outlook.lasts`); 0: it caches nothing."""


def totals(
    all_rates: Sequence[TurnRates],
    outlook: Outlook,
    warm_tokens: Sequence[float],
    later_rates: Sequence[TurnRates] | None = None,
) -> list[tuple[float, float]]:
    """For each provider: the request, where so many of the first tokens of its prompt are warm, and all turns after it.

    First if the conversation stays there as long as its cache lives, then if it leaves it after this request. From then
    on it starts anew where that costs least, and starts again at that one whenever its cache has run out.
    `later_rates`: of all turns after this one, where they are not the same. In the words of docs/worth.md `again` is q,
    `later` z and `warm` m.
    """
    later_rates = all_rates if later_rates is None else later_rates
    prompt, again, growth = outlook.prompt_tokens, outlook.again, outlook.growth_tokens
    per_token = fixed = 0.0
    """What starting anew costs, all further turns included: so much for each token of its first prompt, and so much."""
    least = inf
    ends = 1.0 - again
    for rates in later_rates:
        later = again * rates.lasts
        alone = 1.0 - later
        warm = later / alone
        """How many turns are expected to follow before one finds the cache gone, or none comes."""
        paid = (rates.write + warm * rates.read) * alone / ends
        answers = rates.each_turn * (1.0 + warm)
        grown = growth * (warm * (rates.write + warm * rates.read) + paid * (again - later) / (alone * alone))
        base = (answers + grown) * alone / ends
        if base + paid * prompt < least:
            least, fixed, per_token = base + paid * prompt, base, paid
    leaves = again * (fixed + per_token * (prompt + growth))
    found = []
    for today, rates, tokens in zip(all_rates, later_rates, warm_tokens, strict=True):
        now = today.write * prompt - (today.write - today.read) * min(prompt, tokens) + today.each_turn
        write, read, answer = rates.write, rates.read, rates.each_turn
        later = again * rates.lasts
        alone = 1.0 - later
        warm = later / alone
        stays = warm * (read * (prompt + warm * growth) + write * growth + answer)
        stays += (again - later) / alone * (fixed + per_token * (prompt + growth / alone))
        found.append((now + stays, now + leaves))
    return found
