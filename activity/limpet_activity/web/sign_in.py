"""Who has signed in: tokens, cookies and how many wrong ones an address may try."""

import hmac
from collections import OrderedDict
from typing import Final

COOKIE: Final = "limpet_page"

WRONG_A_MINUTE: Final = 10
"""Wrong tokens that one address may send; then it is told to wait."""

_MOST_ADDRESSES: Final = 10_000


def is_token(given: str, token: str) -> bool:
    """Whether it is the one, in a time that does not depend on how much of it is right."""
    return bool(token) and hmac.compare_digest(given.encode(), token.encode())


def cookie_value(token: str, until_s: float) -> str:
    """Says until when somebody is signed in, signed by the token; the token cannot be read from it."""
    until = str(int(until_s))
    return f"{until}.{_signature(token, until)}"


def is_signed_in(cookie: str, token: str, now_s: float) -> bool:
    """Whether the cookie is one of this token's, and still holds."""
    until, _, signature = cookie.partition(".")
    right = hmac.compare_digest(signature.encode(), _signature(token, until).encode())
    return right and until.isascii() and until.isdigit() and now_s < int(until)


def _signature(token: str, until: str) -> str:
    return hmac.digest(token.encode(), f"limpet page until {until}".encode(), "sha256").hex()


class WrongTokens:
    """How many wrong tokens each address has sent of late: a bucket that drains by WRONG_A_MINUTE."""

    def __init__(self) -> None:
        self._level: Final[OrderedDict[str, tuple[float, float]]] = OrderedDict()

    def wait_s(self, address: str, now_s: float) -> float:
        """How long it is told to wait after another wrong one; 0: not at all."""
        over = self._now(address, now_s) - (WRONG_A_MINUTE - 1)
        return max(0.0, over * 60 / WRONG_A_MINUTE)

    def count(self, address: str, now_s: float) -> None:
        """It sent a wrong one."""
        self._level[address] = (self._now(address, now_s) + 1, now_s)
        self._level.move_to_end(address)
        if len(self._level) > _MOST_ADDRESSES:
            self._level.popitem(last=False)

    def _now(self, address: str, now_s: float) -> float:
        level, at_s = self._level.get(address, (0.0, now_s))
        return max(0.0, level - max(0.0, now_s - at_s) * WRONG_A_MINUTE / 60)
