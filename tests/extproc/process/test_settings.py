"""The settings of ext_proc: which flags go together, what the others are refused with, and how workers get theirs."""

import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.host_port import HostPort
from limpet_extproc.process.flags import parse
from limpet_extproc.process.memory_key import read_memory_key
from limpet_extproc.process.settings import LOG_FORMATS, LOG_LEVELS, SERVERS, SupervisorSettings, WorkerSettings
from limpet_extproc.process.start_error import StartError

ALWAYS = ["--control-plane=unix:/run/operator.sock", "--node=gateway-0"]
ONE = ["--socket=/run/extproc.sock"]
SEVERAL = ["--socket-dir=/run/limpet"]
SHARED = ["--redis-url=redis://redis:6379", "--memory-key-file=/etc/limpet/memory-key/key"]


@pytest.mark.parametrize(
    "flags",
    [
        ONE,
        [*ONE, "--metrics-port=9100"],
        [*ONE, *SHARED],
        [*ONE, "--memory-key-file=/key"],
        [*ONE, "--activity=unix:/run/limpet/activity.sock"],
        [*ONE, "--memory-key-file=/key", "--ledger-file=/home/alice/.local/state/limpet/ledger.sqlite3"],
        SEVERAL,
        [*SEVERAL, "--workers=4", *SHARED, "--http=[::]:9100", "--probes=[::]:9101", "--tls-dir=/etc/limpet/tls"],
        [*SEVERAL, "--workers=2", *SHARED, "--redis-credentials=/etc/limpet/redis", "--http=[::]:9100"],
    ],
)
def test_flags_that_go_together(flags: list[str]) -> None:
    assert parse([*ALWAYS, *flags]).node == "gateway-0"


def test_the_commands_beside_an_envoy_of_ones_own_are_accepted() -> None:
    text = (Path(__file__).parents[3] / "examples/envoy/README.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"^python -m limpet_extproc (.*) &$", text, re.MULTILINE)
    assert [parse(shlex.split(flags)).node for flags in commands] == ["envoy-1", "envoy-1"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([*SEVERAL, "--workers=0"], "at least one worker is needed"),
        ([*ONE, "--workers=2"], "give several a directory with --socket-dir DIR"),
        ([*ONE, "--http=0.0.0.0:9100"], "one worker has --metrics-port"),
        ([*ONE, "--probes=0.0.0.0:9101"], "--probes goes with --socket-dir DIR"),
        ([*SEVERAL, "--http=9100"], "--http 9100: not HOST:PORT, such as [::]:9100 or 0.0.0.0:9100"),
        ([*SEVERAL, "--probes=9101"], "--probes 9101: not HOST:PORT"),
        ([*SEVERAL, "--http=0.0.0.0:99999"], "not HOST:PORT"),
        ([*ONE, "--metrics-port=70000"], "--metrics-port 70000: a port is a number up to 65535"),
        ([*ONE, "--metrics-port=-1"], "--metrics-port -1: a port is a number up to 65535"),
        ([*SEVERAL, "--metrics-port=9100"], "the metrics of all workers are at --http HOST:PORT"),
        ([*SEVERAL, "--workers=2"], "Give them a Redis to share, or run one worker"),
        ([*SEVERAL, "--workers=2", "--memory-key-file=/key"], "--workers 2 without --redis-url"),
        ([*SEVERAL, SHARED[0]], "Give all gateways the same file of 32 random bytes"),
        ([*SEVERAL, "--redis-url=http://redis", SHARED[1]], "the Redis URL starts with none of redis://"),
        ([*SEVERAL, "--redis-credentials=/etc/limpet/redis"], "--redis-credentials without --redis-url"),
        ([*SEVERAL, *SHARED, "--redis-deadline-ms=0"], "it must be above 0"),
    ],
)
def test_flags_that_do_not(flags: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([*ALWAYS, *flags])
    assert words in capsys.readouterr().err


def test_the_server_is_our_own_unless_it_is_named() -> None:
    assert parse([*ALWAYS, *ONE]).server == "own"
    assert parse([*ALWAYS, *SEVERAL, "--server=grpcio"]).server == "grpcio"


def test_machines_read_json_and_people_read_text() -> None:
    assert parse([*ALWAYS, *ONE]).log_format == "text"
    assert parse([*ALWAYS, *SEVERAL]).log_format == "json"
    assert parse([*ALWAYS, *SEVERAL, "--log-format=text"]).log_format == "text"


PATHS = st.text("abc/.", min_size=1).map(Path)
WORKERS = st.builds(
    WorkerSettings,
    control_plane=st.just("unix:/run/operator.sock"),
    node=st.text("abc", min_size=1),
    tls_dir=st.none() | PATHS,
    redis_url=st.just("redis://redis:6379"),
    redis_credentials=st.none() | PATHS,
    redis_deadline_ms=st.floats(0.1, 1e6),
    memory_key_file=PATHS,
    max_conversations=st.integers(),
    server=st.sampled_from(SERVERS),
    clock_zero_s=st.none() | st.floats(0, 1e10),
    verbose=st.booleans(),
    log_level=st.sampled_from(LOG_LEVELS),
    log_format=st.sampled_from(LOG_FORMATS),
    socket=PATHS,
    status_socket=st.none() | PATHS,
    metrics_port=st.integers(0, 65535),
    worker=st.none() | st.integers(0, 9),
    siblings=st.integers(1, 9),
)


@given(settings=WORKERS)
def test_a_command_line_parses_to_the_settings_that_made_it(settings: WorkerSettings) -> None:
    assert parse(settings.to_argv()) == settings


def test_a_worker_has_the_settings_of_its_supervisor_and_a_place_among_the_others() -> None:
    several = [
        "--workers=2",
        *SHARED,
        "--redis-deadline-ms=7",
        "--log-level=debug",
        "--verbose",
        "--http=[::]:9100",
        "--server=grpcio",
    ]
    supervisor = parse([*ALWAYS, *SEVERAL, *several])
    assert isinstance(supervisor, SupervisorSettings)
    assert supervisor.worker(1) == WorkerSettings(
        control_plane="unix:/run/operator.sock",
        node="gateway-0",
        redis_url="redis://redis:6379",
        redis_deadline_ms=7.0,
        memory_key_file=Path("/etc/limpet/memory-key/key"),
        verbose=True,
        log_level="debug",
        log_format="json",
        server="grpcio",
        socket=Path("/run/limpet/extproc-1.sock"),
        status_socket=Path("/run/limpet/status-1.sock"),
        worker=1,
        siblings=2,
    )


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("0.0.0.0:9100", ("0.0.0.0", 9100)),
        ("[::1]:9100", ("::1", 9100)),
        ("localhost:0", ("localhost", 0)),
        (":9100", None),
        ("localhost", None),
        ("localhost:http", None),
        ("[::1:9100", None),
        ("::1]:9100", None),
        ("localhost:65536", None),
    ],
)
def test_hosts_and_ports(text: str, parsed: tuple[str, int] | None) -> None:
    found = HostPort.parse(text)
    assert found == parsed
    assert found is None or str(found) == text


def test_a_memory_key_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"\x00 sixteen bytes\n")
    assert read_memory_key(file) == b"\x00 sixteen bytes\n"


def test_a_memory_key_that_is_short_or_missing_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    with pytest.raises(StartError, match="cannot be read: No such file or directory"):
        read_memory_key(file)
    file.write_bytes(b"fifteen letters")
    with pytest.raises(StartError, match="holds 15 bytes, and at least 16 are needed: fill it with 32 random ones"):
        read_memory_key(file)
