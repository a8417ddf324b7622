"""The way to the activity service: gRPC over a Unix socket, or over TCP with the certificates of the operator link."""

from pathlib import Path
from typing import Any, Final, cast

import grpc
import grpc.aio

from limpet_extproc.contract.activity import METHOD
from limpet_extproc.operator_link.operator_channel import open_channel

_CALL_S: Final = 10.0
"""A batch that is not taken by then is sent again."""

_NEVER: Final = (grpc.StatusCode.INVALID_ARGUMENT,)
"""What sending the same once more would not change. A service of another version may be about to be replaced."""


class TakingError(Exception):
    """A batch was not taken; the text says why."""

    def __init__(self, why: str, *, final: bool) -> None:
        """`final`: it never will be."""
        super().__init__(why)
        self.final = final


class ActivityChannel:
    """One channel for all batches; after an error a new one, as certificates may have been renewed by then."""

    def __init__(self, target: str, tls_dir: Path | None) -> None:
        """`target`: `unix:/run/activity.sock`, or `dns:///limpet-activity.limpet.svc:18010`."""
        self._target = target
        self._tls_dir = None if target.startswith("unix:") else tls_dir
        self._channel: grpc.aio.Channel | None = None

    async def send(self, batch: bytes) -> None:
        """Hand a batch over. Raises TakingError."""
        try:
            if self._channel is None:
                self._channel = open_channel(self._target, self._tls_dir)
            # Raw bytes; the stubs insist on coders.
            await cast("Any", self._channel).unary_unary(METHOD)(batch, timeout=_CALL_S)
        except grpc.aio.AioRpcError as error:
            final = error.code() in _NEVER
            if not final:
                await self.close()
            raise TakingError(f"{self._target}: {error.details() or error.code().name}", final=final) from error
        except OSError as error:
            raise TakingError(f"the certificate files cannot be read: {error}", final=False) from error

    async def close(self) -> None:
        """Close the channel, if there is one."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(None)
