"""Plays one kind of failure: two raw upstreams do what its rules say, clients ask, and each answer is compared.

A kind is data. `a` gets every new conversation, `b` has weight 0 and so is only asked when `a` will not do.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.envoy.cast import LONG, PLAIN, say
from tests.envoy.stage import Stage
from tests.envoy.upstream import Got, Reply, Upstream, completion

_USAGE: Final = {"prompt_tokens": 1500, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1408}}


@dataclass(frozen=True, slots=True)
class Rule:
    """What an upstream does with the requests that fit; all that is given must hold."""

    answer: Reply | bytes | str
    contains: str = ""
    turns: range = range(1, 100)
    """Number of user messages."""
    model: str | None = None
    """As the upstream is asked for it."""
    on_connection: int = 1
    """So many requests on the connection, or more."""

    def fits(self, got: Got) -> bool:
        """Whether this request is one of them."""
        body = got.json
        turn = sum(message["role"] == "user" for message in body["messages"])
        return (
            self.contains.encode() in got.body
            and turn in self.turns
            and self.model in (None, body["model"])
            and got.on_connection >= self.on_connection
        )


@dataclass(frozen=True, slots=True)
class Ask:
    """One turn of the conversation that its first user message names."""

    name: str = "hello"
    turn: int = 1
    stream: bool = False
    plain_model: bool = False
    """Ask for the other of the two models."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = "/v1/chat/completions"
    raw: bytes | None = None
    """In place of the body; MODEL stands for the model's name."""


@dataclass(frozen=True, slots=True)
class Want:
    """What must come; None: it does not matter."""

    status: int = 200
    by: str | None = None
    """The upstream that answers; an empty string: none does."""
    decision: str | None = None
    attempts: int | None = None
    says: str = ""
    """Stands in the body."""
    param: str | None = None
    """Of the error."""
    lacks: Sequence[str] = ()
    """Headers that must not be there."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of trouble, and its right outcome."""

    says: str
    turns: Sequence[tuple[Ask, Want]]
    a: Sequence[Rule] = ()
    b: Sequence[Rule] = ()
    specs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    policy: Mapping[str, Any] | None = None
    asked: Mapping[str, int] = field(default_factory=dict)
    """How many requests an upstream must have got at the end."""
    up: Sequence[str] = ("a", "b")
    """Providers that nothing may be held against at the end."""


async def play(kind: Kind, stage: Stage) -> None:
    """Fails where something else comes than is wanted."""
    async with Upstream(_script(kind.a)) as a, Upstream(_script(kind.b)) as b:
        specs = {
            "a": {"url": a.url, **kind.specs.get("a", {})},
            "b": {"url": b.url, "weight": 0, **kind.specs.get("b", {})},
        }
        await stage.serve("a", "b", specs=specs, policy=kind.policy)
        for number, (ask, want) in enumerate(kind.turns, start=1):
            await _turn(f"{kind.says}, request {number}", stage, ask, want)
        for name, upstream in (("a", a), ("b", b)):
            if name in kind.asked:
                assert len(upstream.got) == kind.asked[name], f"{kind.says}: requests at {name}"
            if name in kind.up:
                out = await stage.metric("limpet_provider_out", provider=stage.provider(name))
                assert not out, f"{kind.says}: {name} is out"


async def _turn(where: str, stage: Stage, ask: Ask, want: Want) -> None:
    answer = await stage.post(_body(stage, ask), headers=ask.headers, path=ask.path)
    told = f"{where}: {answer.status} {dict(answer.headers)} {answer.body[:500]!r}"
    assert answer.status == want.status, told
    provider = answer.headers.get("x-limpet-provider")
    if want.by is not None:
        assert (stage.seller_of(provider) if provider else "") == want.by, told
    if want.decision is not None:
        assert answer.headers.get("x-limpet-decision") == want.decision, told
    if want.attempts is not None:
        assert answer.headers.get("x-limpet-attempts") == str(want.attempts), told
    assert want.says in answer.body.decode(), told
    if want.param is not None:
        assert answer.json["error"]["param"] == want.param, told
    assert not set(want.lacks) & set(answer.headers), told
    await stage.settle()


def _body(stage: Stage, ask: Ask) -> bytes:
    model = PLAIN if ask.plain_model else stage.model
    if ask.raw is not None:
        return ask.raw.replace(b"MODEL", model.encode())
    messages = [say(LONG, "system")]
    for turn in range(1, ask.turn + 1):
        messages.append(say(f"{ask.name}: question {turn}"))
        if turn < ask.turn:
            messages.append(say(f"answer {turn}", "assistant"))
    body: dict[str, Any] = {"model": model, "messages": messages, **({"stream": True} if ask.stream else {})}
    return json.dumps(body | dict(ask.extra)).encode()


def _script(rules: Sequence[Rule]) -> Any:
    def script(got: Got) -> Reply | bytes | str:
        return next((rule.answer for rule in rules if rule.fits(got)), completion(usage=_USAGE))

    return script
