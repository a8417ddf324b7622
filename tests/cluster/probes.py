"""Probes a container the way a node does: over the network from outside of the pod, or by a command within."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

Exec = Callable[[list[str], float], Awaitable[tuple[int, str]]]
"""Runs a command in the container for at most so many seconds: status and output. Raises TimeoutError."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where probes and hooks find a container."""

    ip: str
    ports: Mapping[str, int]
    run: Exec


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often and how many, with Kubernetes' defaults."""

    delay_s: float
    period_s: float
    timeout_s: float
    successes: int
    failures: int

    @classmethod
    def of(cls, probe: Mapping[str, Any]) -> "Rhythm":
        """The intervals and thresholds of a probe."""
        return cls(
            probe.get("initialDelaySeconds") or 0,
            probe.get("periodSeconds") or 10,
            probe.get("timeoutSeconds") or 1,
            probe.get("successThreshold") or 1,
            probe.get("failureThreshold") or 3,
        )


async def ask(action: Mapping[str, Any], place: Place, timeout_s: float) -> str | None:
    """Run a probe or a hook; None if it succeeds, else the reason why not.

    Raises ValueError for a kind that is not played here.
    """
    try:
        if "httpGet" in action:
            return await _get(action["httpGet"], place, timeout_s)
        if "tcpSocket" in action:
            port = _port(action["tcpSocket"]["port"], place)
            _, writer = await asyncio.wait_for(asyncio.open_connection(place.ip, port), timeout_s)
            writer.close()
            return None
        if "exec" in action:
            status, output = await place.run(list(action["exec"]["command"]), timeout_s)
            return None if status == 0 else f"status {status}: {output.strip()[-500:]}"
        if "sleep" in action:
            await asyncio.sleep(action["sleep"]["seconds"])
            return None
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except (OSError, aiohttp.ClientError) as error:
        return f"{type(error).__name__}: {error}"
    raise ValueError(f"of these kinds of probe or hook none is played here: {sorted(action)}")


async def _get(get: Mapping[str, Any], place: Place, timeout_s: float) -> str | None:
    url = f"http://{get.get('host') or place.ip}:{_port(get['port'], place)}{get.get('path', '/')}"
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session,
        session.get(url, allow_redirects=False) as response,
    ):
        if 200 <= response.status < 400:
            return None
        return f"{url} says {response.status}: {(await response.text())[:300].strip()}"


def _port(port: int | str, place: Place) -> int:
    return port if isinstance(port, int) else place.ports[port]
