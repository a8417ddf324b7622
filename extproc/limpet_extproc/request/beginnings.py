"""What the turns of conversations begin with, from turn to turn: what is known of it is neither read nor hashed again.

No text of a prompt is kept, but hashes of 128 bits and what was found in it: the fields that routing reads, the user
and the value that named the session, the conversation's key, and its owner with the secret of its hashes. All that
lasts until others push it out (`MOST_KNOWN`) or the worker ends, in its memory alone. Nothing depends on whether a
beginning is known but the time that a decision takes. Record 90 has the reasons.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

import msgspec
from xxhash import xxh3_64_digest, xxh3_128, xxh3_128_digest

from limpet_extproc.decision.prefix import Chain
from limpet_extproc.dialects.continued import gone_on, may_go_on
from limpet_extproc.dialects.port import ParsedRequest
from limpet_extproc.request.identity import Identified
from limpet_extproc.request.prefix import HashedPrompt, chain_of_hashed, hash_more, hash_prompt
from limpet_extproc.request.settings_hash import settings_of

MOST_KNOWN: Final = 2_000
"""Beginnings, of five to nine kilobytes each; those that were not used for the longest time are dropped."""

LEAST_BYTES: Final = 1 << 10
"""Of a body: to read a shorter one takes less than to look for it."""

MOST_BYTES: Final = 1 << 18
"""Of a body; longer ones are read elsewhere (`reading.LIGHT_BYTES`)."""

_STEPS: Final = 8
_LENGTHS: Final = tuple(
    int(LEAST_BYTES * 2 ** (step / _STEPS)) for step in range(_STEPS * (MOST_BYTES // LEAST_BYTES).bit_length())
)
"""By the hash of the longest beginning of such a length a known one is found."""
_STEPS_BACK: Final = 5
"""Of these lengths, that a turn may be longer than the one before: half as long again."""
_ALIKE: Final = 4
"""Known ones that share so much that they are found by the same hash."""
_NEAR_BYTES: Final = 256
"""Before the end of a beginning, by which most of those that are others are told apart."""


class Beginning(msgspec.Struct, frozen=True, gc=False):
    """A body up to the end of its last message, and what stands behind that: the rest."""

    whose: bytes
    """The SHA-256 of its owner: the other hashes are fast, but no proof against who looks for two that are the same."""
    found_by: bytes
    """The hash of its owner and of as much of it as is one of the lengths by which beginnings are found."""
    near: bytes
    """The hash of its last bytes."""
    length: int
    digest: bytes
    """The hash of its owner and of all of it."""
    rest_length: int
    rest: bytes
    """The hash of what stands behind it."""
    request: ParsedRequest
    """As all of the body was read."""
    seed: bytes
    """See `chain_of`."""
    prompt: HashedPrompt
    chain: Chain
    settings: bytes
    identified: Identified

    def begins(self, view: memoryview, whose: bytes, hashed: xxh3_128, size: int) -> bool:
        """Whether it begins this owner's body, and its rest ends it. `hashed`: the owner and so many bytes of it."""
        if whose != self.whose:
            return False
        length, rest_length = self.length, self.rest_length
        if length + rest_length > len(view) or xxh3_64_digest(view[length - _NEAR_BYTES : length]) != self.near:
            return False
        whole = hashed.copy()
        whole.update(view[size:length])
        return whole.digest() == self.digest and xxh3_128_digest(view[len(view) - rest_length :]) == self.rest


class BegunTurn(msgspec.Struct, frozen=True, gc=False):
    """A body, and what it goes on from: a `TurnBefore`."""

    beginnings: "Beginnings"
    body: bytes | memoryview
    owner: bytes
    whose: bytes
    """See `Beginning`."""
    before: Beginning | None
    request: ParsedRequest | None
    """As it was read; None: it has to be."""

    @property
    def identified(self) -> Identified | None:
        """See `TurnBefore`. Only what is the same client's is a beginning of this turn."""
        return None if self.before is None else self.before.identified

    def hashed(self, request: ParsedRequest, seed: bytes, identified: Identified) -> tuple[Chain, bytes] | None:
        """See `TurnBefore`."""
        return self.beginnings.hashed(self, request, seed, identified)


class Beginnings:
    """Those of a worker."""

    def __init__(self, most: int = MOST_KNOWN, begin: Callable[[bytes], xxh3_128] = xxh3_128) -> None:
        """`begin`: the hash by which they are found, begun with an owner."""
        self._most = most
        self._begin = begin
        self._count = 0
        self._known: OrderedDict[bytes, tuple[Beginning, ...]] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def turn(self, body: bytes | memoryview, owner: bytes) -> BegunTurn | None:
        """What is known of this body; None: nothing will be, as it is too short or too long.

        `owner` tells apart whose it is and what it asks for, under a secret.
        """
        if not LEAST_BYTES <= len(body) <= MOST_BYTES:
            return None
        view, last, whose = memoryview(body), bisect_right(_LENGTHS, len(body)), sha256(owner).digest()
        # Nearly always by the longest; then the shorter ones need not be hashed.
        known = self._found(view, whose, self._hashed(view, owner, _LENGTHS[last - 1]), _LENGTHS[last - 1])
        if known is None:
            shorter = reversed(self._each_hashed(view, owner, _LENGTHS[max(0, last - _STEPS_BACK) : last - 1]))
            known = next((found for each in shorter if (found := self._found(view, whose, *each)) is not None), None)
        if known is None:
            return BegunTurn(self, body, owner, whose, None, None)
        added = bytes(view[known.length : len(body) - known.rest_length])
        return BegunTurn(self, body, owner, whose, known, gone_on(known.request, known.length, added))

    def _found(self, view: memoryview, whose: bytes, hashed: xxh3_128, size: int) -> Beginning | None:
        """The one that begins this body, if it is found by so many bytes of it."""
        found_by = hashed.digest()
        for known in self._known.get(found_by, ()):
            if known.begins(view, whose, hashed, size):
                self._known.move_to_end(found_by)
                return known
        return None

    def hashed(
        self, turn: BegunTurn, request: ParsedRequest, seed: bytes, identified: Identified
    ) -> tuple[Chain, bytes] | None:
        """The chain of its prompt and the hash of its settings; None: they have to be reckoned from the whole."""
        layout, before, view = request.layout, turn.before, memoryview(turn.body)
        if layout is None:
            return None
        if before is not None and request is before.request and seed == before.seed:
            return before.chain, before.settings
        if before is not None and request is turn.request and seed == before.seed and before.request.layout is not None:
            prompt = hash_more(before.prompt, before.request.layout.count, before.length, view, layout)
            settings = before.settings
        elif may_go_on(request, bytes(turn.body)):
            prompt, settings = hash_prompt(view, layout, seed), settings_of(view, layout, seed)
        else:
            return None
        chain = chain_of_hashed(view, layout, prompt, attached=False)
        self._note(turn, request, seed, prompt, chain, settings, identified)
        return chain, settings

    def _note(
        self,
        turn: BegunTurn,
        request: ParsedRequest,
        seed: bytes,
        prompt: HashedPrompt,
        chain: Chain,
        settings: bytes,
        identified: Identified,
    ) -> None:
        assert request.layout is not None
        view, length = memoryview(turn.body), request.layout.ends[-1]
        last, at = bisect_right(_LENGTHS, len(view)), bisect_right(_LENGTHS, length)
        if at <= max(0, last - _STEPS_BACK):
            return  # too much of it stands behind the messages
        size = _LENGTHS[at - 1]
        hashed = self._hashed(view, turn.owner, size)
        found_by = hashed.digest()
        hashed.update(view[size:length])
        if turn.before is not None:
            self._drop(turn.before)
        alike = self._known.pop(found_by, ())
        self._count += 1 - len(alike[_ALIKE - 1 :])
        new = Beginning(
            turn.whose,
            found_by,
            xxh3_64_digest(view[length - _NEAR_BYTES : length]),
            length,
            hashed.digest(),
            len(view) - length,
            xxh3_128_digest(view[length:]),
            request,
            seed,
            prompt,
            chain,
            settings,
            identified,
        )
        self._known[found_by] = (new, *alike[: _ALIKE - 1])
        while self._count > self._most:
            _, dropped = self._known.popitem(last=False)
            self._count -= len(dropped)

    def _drop(self, known: Beginning) -> None:
        alike = self._known.get(known.found_by, ())
        left = tuple([each for each in alike if each is not known])
        self._count -= len(alike) - len(left)
        if left:
            self._known[known.found_by] = left
        else:
            self._known.pop(known.found_by, None)

    def _hashed(self, view: memoryview, owner: bytes, size: int) -> xxh3_128:
        hashed = self._begin(owner)
        hashed.update(view[:size])
        return hashed

    def _each_hashed(self, view: memoryview, owner: bytes, sizes: Sequence[int]) -> list[tuple[xxh3_128, int]]:
        """The same for each of these sizes, which ascend, in one pass."""
        hashed, begin, found = self._begin(owner), 0, []
        for size in sizes:
            hashed.update(view[begin:size])
            found.append((hashed.copy(), size))
            begin = size
        return found
