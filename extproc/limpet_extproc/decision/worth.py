"""What a request and the turns after it are expected to cost at a provider, as a closed form.

docs/worth.md derives it and lists what it assumes. Dollars are those of a million requests, as prices are of a million
tokens.
"""

from collections.abc import Iterable
from math import exp

import msgspec


class Outlook(msgspec.Struct, frozen=True, gc=False):
    """A request, and how its conversation is expected to go on."""

    prompt_tokens: float
    output_tokens: float
    """Of its answer, and of each later one."""
    again: float
    """The chance of one more turn, after each; less than 1."""
    gap_s: float
    """From turn to turn, on average; more than 0."""
    growth_tokens: float
    """By which each prompt is longer than the one before."""

    def lasts(self, ttl_s: float) -> float:
        """The chance that a cache of this lifetime still has a turn when the next one comes: gaps are exponential."""
        return 1.0 - exp(-ttl_s / self.gap_s)


class TurnRates(msgspec.Struct, frozen=True, gc=False):
    """What a conversation pays at a provider, in dollars per million tokens."""

    write: float
    """For prompt tokens that its cache does not have."""
    read: float
    output: float
    lasts: float
    """The chance that its cache still has a turn when the next one comes (`Outlook.lasts`); 0: it caches nothing."""


class Restart(msgspec.Struct, frozen=True, gc=False):
    """What a conversation costs from a turn on that finds no cache, all further turns included."""

    fixed: float
    per_token: float
    """Of that turn's prompt."""

    def of(self, prompt_tokens: float) -> float:
        """Of a prompt of that length."""
        return self.fixed + self.per_token * prompt_tokens


def restart(rates: TurnRates, outlook: Outlook) -> Restart:
    """At this provider, if it also starts again there whenever the cache has run out."""
    again, growth, later = outlook.again, outlook.growth_tokens, outlook.again * rates.lasts
    warm = later / (1.0 - later)
    """How many turns are expected to follow before one finds the cache gone, or none comes."""
    gone = (again - later) / (1.0 - later)
    ends = (1.0 - later) / (1.0 - again)
    per_token = (rates.write + warm * rates.read) * ends
    answers = rates.output * outlook.output_tokens * (1.0 + warm)
    grown = growth * (warm * (rates.write + warm * rates.read) + per_token * gone / (1.0 - later))
    return Restart((answers + grown) * ends, per_token)


def cheapest_restart(all_rates: Iterable[TurnRates], outlook: Outlook) -> Restart:
    """At the provider where starting again costs least for a prompt as long as this one."""
    return min((restart(rates, outlook) for rates in all_rates), key=lambda each: each.of(outlook.prompt_tokens))


def total(rates: TurnRates, outlook: Outlook, warm_tokens: float, after: Restart) -> float:
    """The request, where the first `warm_tokens` of its prompt are warm, and all turns after it.

    They stay at this provider as long as its cache lives, or leave it after this one, whichever costs less; from then
    on, the rest of the conversation costs what `after` says.
    """
    prompt, growth, later = outlook.prompt_tokens, outlook.growth_tokens, outlook.again * rates.lasts
    answer = rates.output * outlook.output_tokens
    now = rates.write * prompt - (rates.write - rates.read) * min(warm_tokens, prompt) + answer
    leaves = outlook.again * after.of(prompt + growth)
    if not later:
        return now + leaves
    warm = later / (1.0 - later)
    gone = (outlook.again - later) / (1.0 - later)
    warm_turns = warm * (rates.read * (prompt + warm * growth) + rates.write * growth + answer)
    stays = warm_turns + gone * (after.of(prompt) + after.per_token * growth / (1.0 - later))
    return now + min(stays, leaves)
