"""The Lua of every attempt outside of Envoy, in the same LuaJIT: what it makes of an answer, and what it notes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lupa.luajit21 import LuaRuntime

from limpet_extproc.contract.envoy import (
    ATTEMPT_HEADER,
    DECISION_METADATA,
    HEAD_STATE,
    PATH_STATE,
    USAGE_METADATA,
    USAGE_TOKENS,
)
from limpet_operator.publish.attempt_filters import ATTEMPT_LUA

_FAKE: Final = Path(__file__).with_name("fake_envoy.lua").read_text()


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a client got of an attempt's answer, and what was noted about it."""

    chunks: Sequence[bytes]
    headers: Mapping[str, str]
    metadata: Mapping[str, Any]

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self.chunks)

    @property
    def usage(self) -> Mapping[str, float] | None:
        """The tokens that were noted."""
        noted: Mapping[str, float] | None = self.metadata.get(USAGE_METADATA, {}).get(USAGE_TOKENS)
        return noted


@dataclass(frozen=True, slots=True)
class PreparedAttempt:
    """What a provider gets of a request, and how often the program asked for what it is told of the provider."""

    headers: Mapping[str, str]
    contexts_asked_for: int
    metadata: Mapping[str, Any]
    local_status: str | None
    """Of the program's own answer, if it gave one."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A provider's answer: one chunk is a body with its length, more come as they are."""

    chunks: Sequence[bytes]
    status: str = "200"
    headers: Mapping[str, str] = field(default_factory=dict)


class LuaWorld:
    """The program, loaded once."""

    def __init__(self, before: str = "", program: str = ATTEMPT_LUA) -> None:
        """`before`: Lua that runs first."""
        self.lua: Any = LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self.lua.execute(before.encode())
        self.lua.execute(_FAKE.encode())
        self.lua.execute(program.encode())

    def call(self, name: str, *arguments: object) -> Any:
        """A function that the program has under a global name."""
        return self.lua.globals()[name.encode()](*map(self._lua, arguments))

    def request(
        self,
        headers: Mapping[str, str],
        context: Mapping[str, Any],
        *,
        path: str = "/v1/chat/completions",
        noted: Mapping[str, Any] | None = None,
    ) -> PreparedAttempt:
        """What becomes of a request with these headers at a provider with this filter context."""
        sent, metadata = self._lua(headers), self._lua({DECISION_METADATA: {"reason": "first.scored"}, **(noted or {})})
        scope = self.lua.globals()
        state = self._lua({PATH_STATE: path})
        handle = scope[b"handle_of"](sent, self._lua([]), self._lua(context), metadata, state, None, None)
        ask, times, statuses = handle[b"filterContext"], list[None](), list[str]()

        def asked(_: object) -> Any:
            times.append(None)
            return ask(handle)

        handle[b"filterContext"] = asked
        handle[b"respond"] = lambda _, answer, body: statuses.append(answer[b":status"].decode())
        scope[b"envoy_on_request"](handle)
        return PreparedAttempt(
            {key.decode(): value.decode() for key, value in sent.items()},
            len(times),
            self._python(metadata),
            statuses[0] if statuses else None,
        )

    def answer(
        self,
        reply: Reply,
        *,
        decision: Mapping[str, Any] | None = None,
        noted: Mapping[str, Any] | None = None,
        words: Sequence[str] = (),
        keys: Sequence[str] = (),
        head: str | None = None,
        path: str = "/v1/chat/completions",
        passed: Callable[[int], None] = lambda number: None,
        now_ms: Callable[[], int] = lambda: 1000,
    ) -> Attempt:
        """What becomes of an answer.

        `words` hold of its provider, `keys` are the values of the headers with its keys, and `head` has those of the
        client; `noted` is metadata besides the decision.
        `passed` hears of each chunk but the last as it goes on to the client.
        """
        whole = len(reply.chunks) == 1
        length = {"content-length": str(len(reply.chunks[0]))} if whole else {}
        attempt = " ".join(["1", *words]) + "".join(f"|{key}" for key in keys)
        headers = self._lua({":status": reply.status, ATTEMPT_HEADER: attempt, **length, **reply.headers})
        chunks = self._lua(list(reply.chunks))
        metadata = self._lua({DECISION_METADATA: {"reason": "first.scored", **(decision or {})}, **(noted or {})})
        known = self._lua({"name": "alpha", "vendor": "Custom"})
        state = self._lua({PATH_STATE: path, **({} if head is None else {HEAD_STATE: head})})
        scope = self.lua.globals()
        handle = scope[b"handle_of"](headers, chunks, known, metadata, state, passed, now_ms)
        scope[b"envoy_on_response"](handle)
        return Attempt(
            [bytes(chunk) for chunk in chunks.values()],
            {key.decode(): value.decode() for key, value in headers.items()},
            {key: value for key, value in self._python(metadata).items() if key != DECISION_METADATA},
        )

    def _lua(self, value: Any) -> Any:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, Mapping):
            return self.lua.table_from({self._lua(key): self._lua(item) for key, item in value.items()})
        return self.lua.table_from([self._lua(item) for item in value]) if isinstance(value, list) else value

    def _python(self, value: Any) -> Any:
        if isinstance(value, bytes):
            return value.decode()
        if not hasattr(value, "items"):
            return value
        return {self._python(key): self._python(item) for key, item in value.items()}
