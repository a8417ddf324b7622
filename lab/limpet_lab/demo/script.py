"""The demo's conversations: assistants with their own long instructions, and the questions that people ask them."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation without its answers."""

    name: str
    system: str
    questions: tuple[str, ...]
    streams: bool


@dataclass(frozen=True, slots=True)
class _Role:
    name: str
    opening: str
    things: tuple[str, ...]
    acts: tuple[str, ...]
    questions: tuple[str, ...]


_CLAUSES: Final = (
    "Say plainly when {thing} leaves room for doubt, and {act} before anything else.",
    "Where two sources disagree about {thing}, name both, then {act}.",
    "Never guess {thing}; if it is missing, ask for it once and {act} meanwhile.",
    "Numbers about {thing} carry their unit and their date; without them, {act}.",
    "If someone asks twice about {thing}, answer shorter the second time and {act}.",
    "Keep {thing} apart from opinion, and {act} only after that is clear.",
)

_ROLES: Final = (
    _Role(
        "harbour",
        "Harbour office of a small port: answer skippers who want to moor, refuel or leave.",
        ("the tide table", "the berth plan", "the depth at the quay", "the pilot's hours", "the weather warning"),
        ("note the vessel's length", "check the next low water", "tell the harbour master", "offer the outer pier"),
        (
            "My boat is 14 metres and draws 2.1. Where can I lie tonight?",
            "And if I come in two hours after high water?",
            "Is there diesel on that side of the basin?",
            "Good. What do I owe for one night with power?",
            "Could I stay a second night?",
            "Who do I call when I leave?",
        ),
    ),
    _Role(
        "bakery",
        "Recipe desk of a bakery school: help apprentices to scale, time and rescue their doughs.",
        ("the hydration", "the oven's real temperature", "the flour's protein", "the proofing time", "the salt"),
        ("work in percent of the flour", "ask for the room's temperature", "suggest a trial batch", "list the steps"),
        (
            "My rye dough is sticky and flat after four hours. What went wrong?",
            "I used 78 percent water. Is that too much?",
            "How would I bake it today anyway?",
            "Scale that to twelve loaves, please.",
            "What may I prepare the evening before?",
            "And how do I keep the crust crisp?",
        ),
    ),
    _Role(
        "ledger",
        "Bookkeeping help for a cooperative of farmers: sort receipts, explain deadlines, prepare the yearly return.",
        ("the invoice date", "the rate of tax", "the account number", "the subsidy notice", "the depreciation list"),
        ("quote the receipt's number", "round to whole cents", "keep private costs out", "mark what is unclear"),
        (
            "We bought a used tractor for 31,000. How do I enter it?",
            "Over how many years do we write it off?",
            "The dealer's invoice is from last December. Does that matter?",
            "List what the tax adviser will ask me for.",
            "Is the fuel card an invoice?",
            "What is due before the end of the month?",
        ),
    ),
    _Role(
        "trail",
        "Mountain rescue's planning desk: judge tours, name dangers, suggest a way back before it is needed.",
        ("the avalanche report", "the hut's opening days", "the bridge over the gorge", "the snow line", "the pace"),
        ("state the latest hour to turn round", "name the next shelter", "ask who can call", "prefer the ridge"),
        (
            "Four of us want to cross the pass on Saturday, two are beginners. Too much?",
            "We could start at five in the morning.",
            "Where would we turn round at the latest?",
            "And if the hut is closed?",
            "Which map sheet do we need?",
            "Write a note that we can leave at home.",
        ),
    ),
    _Role(
        "museum",
        "Guide of a museum of clocks: explain movements to visitors of every age without touching the exhibits.",
        ("the maker's signature", "the escapement", "the year on the dial", "the last repair", "the loan contract"),
        ("begin with what the eye can see", "compare it with a clock next to it", "leave prices out", "name the room"),
        (
            "Why does the tall clock in the hall tick so slowly?",
            "Would a longer pendulum make it slower still?",
            "My daughter asks who wound it a hundred years ago.",
            "Which clock should we see next?",
            "Is it the oldest one here?",
            "May she hear one strike?",
        ),
    ),
    _Role(
        "printshop",
        "Night shift of a print shop: keep five presses fed, find the cause of spoiled sheets, hand over in writing.",
        ("the ink density", "the paper's grain", "the job ticket", "the blanket's age", "the registration marks"),
        ("stop the press first", "keep three sheets as proof", "read the last handover", "change one thing only"),
        (
            "Press two prints the cyan half a millimetre off. Where do I begin?",
            "It started after the new pallet of paper.",
            "The grain is across the feed. Can I turn the sheets?",
            "Write the handover for the morning shift.",
            "How many sheets have we lost by now?",
            "Should the customer be told?",
        ),
    ),
)  # fmt: skip

_SYSTEM_CHARS: Final = 4_500
"""About 1,550 tokens of the simulated sellers: above the 1,024 that several vendors ask for before they cache."""


def conversations(turns: int, count: int = len(_ROLES)) -> list[Conversation]:
    """The first `count` conversations with `turns` questions each; every other one streams its answers."""
    return [
        Conversation(role.name, _system(role), role.questions[:turns], streams=number % 2 == 1)
        for number, role in enumerate(_ROLES[:count])
    ]


def _system(role: _Role) -> str:
    """Long instructions that differ from those of every other role from the first word."""
    lines = [role.opening]
    length, rule = len(role.opening), 0
    while length < _SYSTEM_CHARS:
        clause = _CLAUSES[rule % len(_CLAUSES)]
        thing, act = role.things[rule % len(role.things)], role.acts[(rule * 3 + rule // 5) % len(role.acts)]
        lines.append(f"{rule + 1}. " + clause.format(thing=thing, act=act))
        length += len(lines[-1]) + 1
        rule += 1
    return "\n".join(lines)
