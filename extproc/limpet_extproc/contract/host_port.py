"""HOST:PORT, as in a flag."""

from typing import NamedTuple, Self


class HostPort(NamedTuple):
    """Where a server listens; port 0 lets the system choose one."""

    host: str
    """A name or an address; IPv6 without brackets."""
    port: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """`HOST:PORT`, an IPv6 host in brackets; None if the text is something else."""
        host, _, port = text.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            return None
        if host.startswith("[") != host.endswith("]"):
            return None
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
