"""A PostgreSQL of one's own: its data in a temporary folder, on a Unix socket there, never the system's."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

_PACKAGED: Final = "/usr/lib/postgresql"
"""Where Debian has each version's programs."""
_USER: Final = "limpet"
_START_S: Final = 60.0
_STOP_S: Final = 60.0
_SOMEBODY: Final = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
"""It refuses to run as root; so in a namespace in which we are somebody else."""


class NoPostgresqlError(Exception):
    """It is not installed, or does not start; the text says what to do."""


class PostgresqlServer:
    """One server, which may be stopped and started again."""

    def __init__(self, folder: Path, settings: Sequence[str] = ()) -> None:
        """`settings`: `name=value`, as of postgresql.conf."""
        self._folder: Final = folder
        self._settings: Final = [word for setting in settings for word in ("-c", setting)]
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Final = folder / "log"

    def url(self, database: str = "postgres") -> str:
        """For `limpet-activity --store`."""
        return f"postgresql://{_USER}@/{database}?host={self._folder}"

    def create(self, *words: str) -> None:
        """Make its data folder, with further flags of initdb. Raises NoPostgresqlError."""
        words = ("-D", self._data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", *words)
        made = subprocess.run(_command("initdb", words), capture_output=True, text=True, check=False)  # noqa: S603
        if made.returncode:
            raise NoPostgresqlError(f"initdb failed: {made.stderr or made.stdout}")

    def start(self) -> None:
        """Returns once it answers. Raises NoPostgresqlError."""
        words = ["-D", self._data, "-k", str(self._folder), "-h", "", *self._settings]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(_command("postgres", words), stdout=log, stderr=log)  # noqa: S603
        latest = time.monotonic() + _START_S
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > latest:
                raise NoPostgresqlError(f"postgres does not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether it takes connections."""
        words = ["-q", "-h", str(self._folder), "-U", _USER, "-d", "postgres"]
        return subprocess.run([program("pg_isready"), *words], check=False).returncode == 0  # noqa: S603

    def stop(self) -> None:
        """End all connections and stop; what was committed is on disk."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_STOP_S)
            self._process = None

    def limit_files(self, most_bytes: int) -> None:
        """From its next connection on its files are to be no larger, as on a disk that is full; -1: as large as any."""
        assert self._process is not None
        psutil.Process(self._process.pid).rlimit(psutil.RLIMIT_FSIZE, (most_bytes, -1))

    def cpu_s(self) -> float:
        """Processor time that it has used, by all its processes that still run."""
        if self._process is None:
            return 0.0
        server = psutil.Process(self._process.pid)
        times = [each.cpu_times() for each in (server, *server.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    def run(self, statement: str, database: str = "postgres") -> str:
        """What psql prints for a statement."""
        words = ["-h", str(self._folder), "-U", _USER, "-d", database, "-Atqc", statement]
        return subprocess.run(  # noqa: S603
            [program("psql"), *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    @property
    def _data(self) -> str:
        return str(self._folder / "data")


def program(name: str) -> str:
    """The path of one of its programs. Raises NoPostgresqlError."""
    packaged = sorted(Path(_PACKAGED).glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]), reverse=True)
    found = str(packaged[0]) if packaged else shutil.which(name)
    if found is None:
        raise NoPostgresqlError(f"This needs PostgreSQL's {name}: apt-get install postgresql, or your system's way.")
    return found


def _command(name: str, words: Sequence[str]) -> list[str]:
    return [*(_SOMEBODY if os.geteuid() == 0 else ()), program(name), *words]


@contextmanager
def postgresql_server(settings: Sequence[str] = ()) -> Iterator[PostgresqlServer]:
    """One that runs until the end of the block. Raises NoPostgresqlError."""
    with tempfile.TemporaryDirectory(prefix="limpet-pg-") as folder:
        server = PostgresqlServer(Path(folder), settings)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()
