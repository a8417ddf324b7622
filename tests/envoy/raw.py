"""A client on a raw socket: what no HTTP library would send, and the answer as it came."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer: its status, its headers with names in lower case, and its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error in it, which must be in the shape of OpenAI's."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        return error


async def send(origin: str, data: bytes) -> Answered:
    """Send bytes to `http://HOST:PORT` and read one answer, until its length or the end of the connection."""
    host, _, port = origin.removeprefix("http://").rpartition(":")
    async with asyncio.timeout(_PATIENCE_S):
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        try:
            writer.write(data)
            head = await reader.readuntil(b"\r\n\r\n")
            status, *lines = head.decode("latin-1").rstrip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            method = data.split(b" ", 1)[0]
            empty = method == b"HEAD" or b" 204 " in head[:16]
            length = 0 if empty else int(headers.get("content-length", -1))
            body = await (reader.readexactly(length) if length >= 0 else reader.read())
        finally:
            writer.close()
    return Answered(int(status.split(" ")[1]), headers, body)


def request(
    method: str, path: str, *headers: str, body: bytes = b"", version: str = "1.1", host: str = "localhost"
) -> bytes:
    """The bytes of a request; no length is added, and no Host where `host` is empty."""
    lines = [f"{method} {path} HTTP/{version}", *([f"host: {host}"] if host else []), *headers]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n" + body
